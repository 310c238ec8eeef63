"""The account of what cleaning did to a dataset: every column, cell and row that it changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spinlock.features.table import SPLIT_NAMES, Column
from spinlock.tokenizer.normalization import KEPT, REASONS, FeatureStatistics


def describe_cleaning(
    statistics: FeatureStatistics,
    columns: Sequence[Column],
    altered: np.ndarray,
    split: np.ndarray,
    account: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what was dropped, imputed, capped and left out, by name and number.

    Parameters
    ----------
    altered : bool array [n, 2]
        Which rows had cells imputed, and which capped, among the kept columns.
    split : int array [n]
        Side of every row.
    account : mapping
        What the stage `subset` noted: rows that it left out, gaps in series and fields.
    """
    names = [column.full_name for column in columns]
    dropped: dict[str, list[str]] = {name: [] for name in REASONS if name != REASONS[KEPT]}
    for name, reason in zip(names, statistics.reason, strict=True):
        if reason != KEPT:
            dropped[REASONS[reason]].append(name)
    return {
        "counts_on_train_rows": statistics.summary(),
        "dropped": dropped,
        "imputed_train_cells": _by_name(names, statistics.kept, statistics.imputed),
        "capped_train_cells": _by_name(names, statistics.kept, statistics.capped),
        "rows_with_imputed_cells": _by_side(altered[:, 0], split),
        "rows_with_capped_cells": _by_side(altered[:, 1], split),
        **account,
    }


def _by_name(names: Sequence[str], kept: np.ndarray, counts: np.ndarray) -> dict[str, int]:
    """Return the number of cells of each kept column that has any."""
    return {names[i]: int(counts[i]) for i in kept if counts[i]}


def _by_side(rows: np.ndarray, split: np.ndarray) -> dict[str, int]:
    return {name: int(rows[split == side].sum()) for side, name in enumerate(SPLIT_NAMES)}
