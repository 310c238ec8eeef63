"""compare: show the metrics of experiments side by side.

Reads metrics.json of each; writes nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spinlock.analysis.baselines import REFERENCE
from spinlock.errors import SpinlockError
from spinlock.files import file_digest
from spinlock.results.evaluation_files import read_metrics

NAMES = ("quality", "utilization", "orthogonality", "topographic", "trustworthiness")

log = logging.getLogger(__name__)


def run(results: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the metrics of result folders, or of metrics.json files, by name.

    Raises
    ------
    SpinlockError
        When a file is missing, or holds no metrics of this version.
    """
    table, values = {}, set()
    for folder in results:
        path = folder / "metrics.json" if folder.is_dir() else folder
        found = read_metrics(path)
        _warn_of_another_model(found, path)
        try:
            table[str(folder)] = _summary(found)
            values.add(found["values_digest"])
        except (KeyError, TypeError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise SpinlockError(
                f"this is not a file of metrics of this version ({what})",
                where=path,
                remedy="make it again with the stage `evaluate`",
            ) from error
    if len(values) > 1:
        log.warning(
            "these were measured on different values (datasets, families, test rows, or their "
            "cleaning and normalisation): their figures do not compare"
        )
    return table


def _warn_of_another_model(found: dict[str, Any], path: Path) -> None:
    model = path.with_name("best_model.pt")
    if not model.is_file():
        return
    measured = found.get("model_digest")
    if measured is None:
        log.warning("%s: it does not record of what model; run the stage `evaluate` again", path)
    elif measured != file_digest(model):
        log.warning("%s: the model beside it is another one; run the stage `evaluate` again", path)


def _measured_on(rows: Mapping[str, Any]) -> str:
    seen = rows.get("seen_in_training")  # of a dataset that was named
    return f"{rows['measured_on']}, {seen} seen in training" if seen else rows["measured_on"]


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    baselines = [
        one["quality"]
        for method, one in found["baselines"].items()
        if method != REFERENCE and one["quality"] is not None
    ]
    return {name: found[name] for name in NAMES} | {
        "quality before caps": found["quality_before_caps"]["pooled"],
        "bits": found["bits"]["nominal"],
        "best baseline": max(baselines, default=None),
        "rows": found["rows"][found["rows"]["measured_on"]],
        "measured on": _measured_on(found["rows"]),
        "targets met": sum(target["met"] for target in found["targets"]),
    }
