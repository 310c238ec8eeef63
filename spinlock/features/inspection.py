"""What a dataset holds, and how messy it is."""

from typing import Any

import numpy as np

from spinlock.features.dataset import OperatorDataset
from spinlock.features.family_layout import FamilyLayout

ROW_BLOCK = 2048


def inspect_dataset(source: OperatorDataset) -> dict[str, Any]:
    """Return families (shape, type, gaps, constant columns, memory) and labels of a dataset."""
    return {
        "operators": source.n_operators,
        "families": {name: _family(source, name) for name in source.families},
        "initial_fields": _field_shape(source),
        "labels": {path: len(np.unique(source.labels(path))) for path in source.label_paths},
    }


def _family(source: OperatorDataset, name: str) -> dict[str, Any]:
    """Return what one pass over the rows of a family shows, block by block."""
    layout = source.families[name]
    lowest = np.full(layout.shape, np.inf)
    highest = np.full(layout.shape, -np.inf)
    gaps = np.zeros(layout.shape, np.int64)
    rows_with_gaps = 0
    for first in range(0, source.n_operators, ROW_BLOCK):
        values = source.read(name, slice(first, min(first + ROW_BLOCK, source.n_operators)))
        finite = np.isfinite(values)
        gaps += (~finite).sum(axis=0)
        rows_with_gaps += int((~finite.reshape(len(values), -1).all(axis=1)).sum())
        lowest = np.minimum(lowest, np.where(finite, values, np.inf).min(axis=0))
        highest = np.maximum(highest, np.where(finite, values, -np.inf).max(axis=0))
    bytes_of_row = int(np.prod(layout.shape)) * layout.dtype.itemsize
    constant = lowest >= highest
    magnitude = np.maximum(np.abs(lowest), np.abs(highest))
    return {
        "shape": [source.n_operators, *layout.shape],
        "type": str(layout.dtype),
        "megabytes": round(source.n_operators * bytes_of_row / 1e6, 3),
        "rows_with_gaps": rows_with_gaps,
        "columns_with_gaps": int((gaps > 0).sum()),
        "constant_columns": int(constant.sum()),
        "largest_magnitude": float(magnitude[np.isfinite(magnitude)].max(initial=0.0)),
        "first_names": layout.column_names[:5],
        "gaps_by_name": _gaps_by_name(layout, gaps),
        "names_of_constants": [
            name
            for name, same in zip(layout.column_names, _by_name(constant).all(axis=0), strict=True)
            if same
        ],
    }


def _gaps_by_name(layout: FamilyLayout, gaps: np.ndarray) -> dict[str, int]:
    """Return name → gaps of the columns that have any, all steps of a series together."""
    total = _by_name(gaps).sum(axis=0)
    most_first = np.argsort(-total, kind="stable")
    return {layout.column_names[i]: int(total[i]) for i in most_first if total[i]}


def _by_name(values: np.ndarray) -> np.ndarray:
    """Return what is known of each column, or of each step of a channel, as [steps, names]."""
    return values.reshape(-1, values.shape[-1])


def _field_shape(source: OperatorDataset) -> list[int] | None:
    fields = source.fields(slice(0, 1))
    return None if fields is None else [source.n_operators, *fields.shape[1:]]
