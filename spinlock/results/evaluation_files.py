"""What the stage `evaluate` wrote: metrics.json and baselines.csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spinlock.errors import SpinlockError
from spinlock.features.split import SPLIT_NAMES
from spinlock.files import read_json, write_text

BASELINE_COLUMNS = ["method", "bits", "quality"]
SHAPE_OF_METRICS = {
    "targets": list,
    "rows": dict,
    "quality_by_feature": dict,
    "bits": dict,
    "baselines": dict,
    "cleaning": dict,
}


def write_baselines(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write what each method reaches at each number of bits."""
    write_text(path, pd.DataFrame(rows, columns=BASELINE_COLUMNS).to_csv(index=False))


def read_baselines(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return method → its bits and R², arrays, of what the stage wrote to baselines.csv.

    Raises
    ------
    SpinlockError
        When the file is missing or something else.
    """
    try:
        table = pd.read_csv(path)
        return {
            str(method): (rows["bits"].to_numpy(float), rows["quality"].to_numpy(float))
            for method, rows in table.groupby("method", sort=False)
        }
    except (OSError, ValueError, KeyError) as error:
        raise _another_file("baselines", path, error, "the stage `evaluate`") from error


def is_metrics(path: Path) -> bool:
    """Return whether a file holds metrics, of whatever version."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "targets" in found


def read_metrics(path: Path) -> dict[str, Any]:
    """Return what the stage wrote to metrics.json.

    Raises
    ------
    SpinlockError
        When the file is missing or something else.
    """
    try:
        measured = read_json(path)
        for key, kind in SHAPE_OF_METRICS.items():
            if not isinstance(measured[key], kind):
                raise TypeError(f"{key} is no {kind.__name__}")
        if type(measured["rows"]["pairs_of"]) is not int:
            raise TypeError("rows.pairs_of is no whole number")
        return measured
    except (OSError, ValueError, TypeError, KeyError) as error:
        if path.suffix != ".json" or not path.parent.is_dir():
            raise SpinlockError(
                "there is no such folder, and no file of metrics",
                where=path if path.suffix != ".json" else path.parent,
                remedy="name the result folder of an experiment, or its metrics.json",
            ) from error
        model = path.with_name("best_model.pt")
        command = f"`spinlock evaluate --model {model} --output {path}`"
        raise _another_file(
            "metrics", path, error, f"the stage `evaluate`, or {command}"
        ) from error


def are_metrics_of(measured: Mapping[str, Any], model_digest: str, dataset_digest: str) -> bool:
    """Return whether metrics are of a model, on a side of the dataset that it is of.

    That is the test, or what there is where no row was set aside.
    """
    return (
        measured.get("model_digest") == model_digest
        and measured.get("dataset_digest") == dataset_digest
        and measured["rows"].get("measured_on") in SPLIT_NAMES
    )


def _another_file(wanted: str, path: Path, error: Exception, maker: str) -> SpinlockError:
    return SpinlockError(
        f"this is not a file of {wanted} ({error})", where=path, remedy=f"make it with {maker}"
    )
