"""The files of a result folder that a model is made from, and where those of its training are.

Apart from the stages, so that a stage depends on the files that it reads, not on the code that
made them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spinlock.errors import SpinlockError, located
from spinlock.features.table import FeatureTable
from spinlock.files import atomic_path, write_json
from spinlock.tokenizer.categories.mapping import mapped_partition, read_mapping
from spinlock.tokenizer.normalization.statistics import FeatureStatistics


def training_inputs(results: Path) -> list[Path]:
    """Return the files of a result folder that its model is made from."""
    return [results / name for name in ("subset.h5", "feature_statistics.npz", "categories.json")]


def training_outputs(results: Path) -> list[Path]:
    """Return the model of a result folder, and what every training writes beside it."""
    beside = (
        "normalization_stats.npz", "training_history.json", "config.yaml", "provenance.json"
    )  # fmt: skip
    return [results / name for name in ("best_model.pt", *beside)]


def checkpoints(results: Path) -> list[Path]:
    """Return the checkpoints in a result folder, of whatever training."""
    return sorted(results.glob("checkpoint_epoch_*.pt"))


def require_own_subset(
    table: FeatureTable, provenance: Mapping[str, Any], remedy: str = "give its own subset"
) -> None:
    """Check that a subset has the rows and sides that a model was trained with.

    Raises
    ------
    SpinlockError
        When not: rows that the model was trained on could count as unseen.
    """
    if table.digest != provenance.get("subset"):
        raise SpinlockError(
            "this subset is not the one that the model was trained with",
            where=table.path,
            remedy=f"{remedy}, or train again",
        )


def write_statistics(statistics: FeatureStatistics, path: Path) -> None:
    """Write statistics as arrays without pickles."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **statistics.arrays())


def read_statistics(path: Path) -> FeatureStatistics:
    """Read what `write_statistics` wrote.

    Raises
    ------
    SpinlockError
        When the file is missing, damaged or of another kind.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            statistics = FeatureStatistics.from_arrays(dict(arrays))
        statistics.require_consistent()
        return statistics
    except Exception as error:  # damaged archives make their reader raise nearly anything
        raise SpinlockError(
            f"this is not a file of feature statistics: {error}",
            where=path,
            remedy="make it with the stage `normalize`",
        ) from error


def write_categories(partition: dict[str, np.ndarray], names: list[str], path: Path) -> None:
    """Write the names of the columns of each category: `partition` says their positions."""
    named = {category: [names[i] for i in members] for category, members in partition.items()}
    write_json(path, named)


def read_categories(path: Path, kept_names: list[str]) -> dict[str, np.ndarray]:
    """Return category → positions among the kept columns.

    Raises
    ------
    SpinlockError
        When the file does not fit the columns.
    """
    mapping = read_mapping(path, remedy="make it with the stage `cluster`")
    with located(path):
        return mapped_partition(mapping, kept_names, np.arange(len(kept_names)))


def read_fitted(
    table: FeatureTable, statistics: Path, categories: Path
) -> tuple[FeatureStatistics, dict[str, np.ndarray]]:
    """Return the statistics of a table, and the categories of the columns that they keep."""
    fitted = read_statistics(statistics)
    names = [table.columns[i].full_name for i in fitted.kept]
    return fitted, read_categories(categories, names)
