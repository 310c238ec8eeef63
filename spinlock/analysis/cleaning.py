"""The account of what cleaning did to a dataset: every column, cell and row that it changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from spinlock.features.split import SPLIT_NAMES
from spinlock.features.table import Column
from spinlock.tokenizer.normalization.statistics import FeatureStatistics, Reason


@dataclass(frozen=True)
class Altered:
    """What cleaning changed in rows: which of them [n], and how many cells of each column [D]."""

    imputed_rows: np.ndarray
    imputed_cells: np.ndarray
    capped_rows: np.ndarray
    capped_cells: np.ndarray

    @classmethod
    def of(cls, imputed: np.ndarray, beyond: np.ndarray) -> Self:
        """Count cells [n, D] that are imputed, and beyond their caps, by row and by column."""
        capped = beyond != 0
        return cls(imputed.any(axis=1), imputed.sum(axis=0), capped.any(axis=1), capped.sum(axis=0))

    @classmethod
    def of_blocks(cls, blocks: Sequence[Self]) -> Self:
        """Join what was counted in blocks of rows."""
        return cls(
            np.concatenate([block.imputed_rows for block in blocks]),
            np.sum([block.imputed_cells for block in blocks], axis=0),
            np.concatenate([block.capped_rows for block in blocks]),
            np.sum([block.capped_cells for block in blocks], axis=0),
        )


def describe_cleaning(
    statistics: FeatureStatistics,
    columns: Sequence[Column],
    altered: Altered,
    split: np.ndarray,
    account: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what was dropped, imputed, capped and left out, by name and number.

    Parameters
    ----------
    altered : Altered
        What was imputed and capped among the kept columns, of all rows.
    split : int array [n]
        Side of every row.
    account : mapping
        What the stage `subset` noted: rows that it left out, gaps in series and fields.
    """
    names, kept = [column.full_name for column in columns], statistics.kept
    dropped = {
        reason.label: [names[i] for i in np.flatnonzero(statistics.reason == reason)]
        for reason in Reason
        if reason != Reason.KEPT
    }
    return {
        "counts_on_train_rows": statistics.summary(),
        "dropped": dropped,
        "imputed_train_cells": _by_name(names, kept, statistics.imputed[kept]),
        "capped_train_cells": _by_name(names, kept, statistics.capped[kept]),
        "imputed_cells": _by_name(names, kept, altered.imputed_cells),
        "capped_cells": _by_name(names, kept, altered.capped_cells),
        "rows_with_imputed_cells": _by_side(altered.imputed_rows, split),
        "rows_with_capped_cells": _by_side(altered.capped_rows, split),
        **account,
    }


def _by_name(names: Sequence[str], kept: np.ndarray, counts: np.ndarray) -> dict[str, int]:
    """Return the number of cells of each kept column that has any."""
    return {names[i]: int(count) for i, count in zip(kept, counts, strict=True) if count}


def _by_side(rows: np.ndarray, split: np.ndarray) -> dict[str, int]:
    return {name: int(rows[split == side].sum()) for side, name in enumerate(SPLIT_NAMES)}
