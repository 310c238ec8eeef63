"""Families of a dataset as the columns of one table."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spinlock.errors import SpinlockError
from spinlock.features.dataset import OperatorDataset
from spinlock.features.family_layout import FamilyLayout
from spinlock.features.series import coefficient_names, describe_series, description_dtype
from spinlock.features.table import Column, Series

log = logging.getLogger(__name__)

SERIES_COEFFICIENTS = 16  # where nothing says how many are wanted


@dataclass(frozen=True)
class TableColumns:
    """The columns of chosen families, and how series stand in them.

    Attributes
    ----------
    columns : list of Column
    series : dict
        Family name → Series, for families of series.
    """

    columns: list[Column]
    series: dict[str, Series]

    @property
    def families(self) -> list[str]:
        """Names of the families, in the order of their columns."""
        return list(dict.fromkeys(column.family for column in self.columns))

    def dtype(self, source: OperatorDataset) -> np.dtype:
        """Return the type that holds the columns of a dataset."""
        whole = np.result_type(*(source.families[name].dtype for name in self.families))
        return description_dtype(whole) if self.series else whole


def choose_columns(
    source: OperatorDataset, families: Sequence[str], coefficients: Mapping[str, int | None]
) -> TableColumns:
    """Return the columns of families; series with the number of coefficients that is given.

    Raises
    ------
    SpinlockError
        When the dataset lacks a family.
    """
    source.require(families)
    return columns_of([source.families[name] for name in families], coefficients)


def columns_of(
    layouts: Sequence[FamilyLayout], coefficients: Mapping[str, int | None]
) -> TableColumns:
    """Return the columns of families that look as `layouts` say, whether they exist yet or not."""
    columns: list[Column] = []
    series: dict[str, Series] = {}
    for layout in layouts:
        names = list(layout.column_names)
        if len(layout.shape) == 2:
            steps = layout.shape[0]
            kept = min(coefficients.get(layout.name) or SERIES_COEFFICIENTS, steps)
            series[layout.name] = Series(steps, kept, names)
            names = coefficient_names(names, kept)
        columns += [Column(layout.name, name) for name in names]
    return TableColumns(columns, series)


def read_columns(
    source: OperatorDataset,
    chosen: TableColumns,
    rows: np.ndarray,
    filled: Counter[str] | None = None,
) -> np.ndarray:
    """Return the columns [n, D] of rows of a dataset; series as their coefficients.

    Cells of series that are not finite, and so are bridged, are added to `filled` by family.
    """
    parts = []
    for family in chosen.families:
        values = source.read(family, rows)
        if family in chosen.series:
            _note_gaps(family, values, filled)
            values = describe_series(values, chosen.series[family].coefficients)
            _warn_of_overflow(family, values)
        parts.append(values)
    return np.concatenate(parts, axis=1)


def read_fields(
    source: OperatorDataset, rows: np.ndarray, filled: Counter[str] | None = None
) -> np.ndarray:
    """Return the initial fields [n, C, H, W] of rows; realizations are further channels.

    What is not finite in float32 becomes zero, and is added to `filled`.

    Raises
    ------
    SpinlockError
        When the dataset has none.
    """
    fields = source.fields(rows)
    if fields is None:
        raise SpinlockError(
            "an encoder reads initial fields, and the dataset has none at /inputs/fields",
            where=source.where,
            remedy="use MLPEncoder for the family `initial`",
        )
    return finite_fields(fields.reshape(len(fields), -1, *fields.shape[-2:]), filled)


def finite_fields(fields: np.ndarray, filled: Counter[str] | None = None) -> np.ndarray:
    """Return a contiguous float32 copy of fields; what is not finite in float32 is zero.

    How many values that are is added to `filled`.
    """
    with np.errstate(over="ignore"):
        copy = np.array(fields, np.float32, order="C")
    _note_gaps("inputs/fields", copy, filled)
    return np.nan_to_num(copy, copy=False, posinf=0.0, neginf=0.0)


def _warn_of_overflow(family: str, coefficients: np.ndarray) -> None:
    lost = int(np.isinf(coefficients).sum())
    if lost:
        log.warning(
            "%d coefficients of the series %r are beyond %s, and count as missing: "
            "store the series as float64",
            lost,
            family,
            coefficients.dtype,
        )


def _note_gaps(name: str, values: np.ndarray, filled: Counter[str] | None) -> None:
    if filled is not None:
        filled[name] += int((~np.isfinite(values)).sum())
