"""What the stage `cluster` wrote beside the categories: silhouette.csv and linkage.npz."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from spinlock.errors import SpinlockError
from spinlock.files import atomic_path, write_text

CANDIDATES = ("num_categories", "silhouette", "mean_abs_cosine", "validation_quality", "chosen")


def write_candidates(candidates: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write a row for each number of categories that was looked at."""
    write_text(path, pd.DataFrame(candidates, columns=list(CANDIDATES)).to_csv(index=False))


def read_candidates(path: Path) -> dict[str, np.ndarray]:
    """Return the numbers of categories that were looked at, and what each scored.

    Raises
    ------
    SpinlockError
        When the file is missing or something else.
    """
    try:
        table = pd.read_csv(path)
        return {name: table[name].to_numpy(float) for name in CANDIDATES}
    except (OSError, ValueError, LookupError) as error:
        raise _unreadable(path, error) from error


def write_tree(merge_tree: np.ndarray, correlation: np.ndarray, path: Path) -> None:
    """Write the tree [D − 1, 4] that columns were merged in, and their correlations [D, D]."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, Z=merge_tree, correlation=correlation.astype(np.float32))


def read_tree(path: Path, n_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tree that columns were merged in, and their correlations.

    Raises
    ------
    SpinlockError
        When the file is missing or something else, or of another number of columns.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            tree, correlation = arrays["Z"], arrays["correlation"]
        if (tree.shape, correlation.shape) != ((n_columns - 1, 4), (n_columns, n_columns)):
            raise ValueError("it is of another number of columns than the model")
    except Exception as error:  # damaged archives make their reader raise nearly anything
        raise _unreadable(path, error) from error
    return tree, correlation


def _unreadable(path: Path, error: Exception) -> SpinlockError:
    return SpinlockError(
        f"this file cannot be read: {error}", where=path, remedy="make it with the stage `cluster`"
    )
