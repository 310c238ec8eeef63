"""Cleaning and normalisation of feature columns, as they were fitted."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self

import numpy as np

from spinlock.tokenizer.normalization.tails import compressed, stretched

ROW_BLOCK = 256
INDICES = ("kept", "twin")  # of raw columns
NUMBERS = ("impute", "center", "scale", "mean", "slope", "intercept")  # which must be finite
LARGEST = 1e9  # deviations at which every column is capped: float32 can still sum its squares


class Reason(IntEnum):
    """What became of a column, as files of statistics hold it."""

    KEPT = 0
    MISSING = 1
    CONSTANT = 2
    DUPLICATE = 3
    NEARLY_CONSTANT = 4

    @property
    def label(self) -> str:
        """The name that accounts and messages give it."""
        return self.name.lower()


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view of an array that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class FeatureStatistics:
    """Everything that turns raw columns into normalised ones and back.

    The arrays cannot be written to: models share them with who reads them. All but `kept` have
    one entry per raw column; `kept` lists the D raw columns that
    are kept. Values are capped at `lower` and `upper`; of these, what is below `log_below` or
    above `log_above` (infinite, but for columns with tails) goes on as logarithms. `mean` is that
    of the train rows after both. A duplicate repeats the raw column `twin` as
    `slope * twin + intercept`.
    """

    kept: np.ndarray
    reason: np.ndarray
    impute: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    log_below: np.ndarray
    log_above: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    twin: np.ndarray
    slope: np.ndarray
    intercept: np.ndarray
    imputed: np.ndarray
    capped: np.ndarray

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            object.__setattr__(self, name, read_only(array))

    @property
    def normalized_mean(self) -> np.ndarray:
        """Mean [D] of the normalised train rows: zero for the method standard."""
        kept = self.kept
        return (self.mean[kept] - self.center[kept]) / self.scale[kept]

    @property
    def normalized_caps(self) -> np.ndarray:
        """Lowest and highest normalised values [2, D] of capped columns; infinite for others."""
        kept = self.kept
        caps = self._compressed(np.stack([self.lower[kept], self.upper[kept]]), kept)
        caps -= self.center[kept]
        caps /= self.scale[kept]
        capped = np.abs(caps) < LARGEST / 2  # beyond, the cap only keeps sums of squares finite
        return np.where(capped, caps, np.copysign(np.inf, caps)).astype(np.float32)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Clean and normalise raw rows [n, raw columns] to float32 [n, D]."""
        kept = self.kept
        normalised = np.empty((len(values), len(kept)), np.float32)
        impute, lower, upper = self.impute[kept], self.lower[kept], self.upper[kept]
        center, scale = self.center[kept], self.scale[kept]
        for block, x in self._kept_blocks(values):
            finite = np.isfinite(x)
            if not finite.all():
                np.copyto(x, impute, where=~finite)
            np.maximum(x, lower, out=x)
            np.minimum(x, upper, out=x)
            x = self._compressed(x, kept)  # noqa: PLW2901
            np.subtract(x, center, out=x)
            np.divide(x, scale, out=x)
            normalised[block] = x
        return normalised

    def altered_cells(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what `apply` changes in raw rows [n, raw columns].

        Returns
        -------
        bool array [n, D]
            Cells that are imputed.
        float32 array [n, D]
            How far cells are beyond their caps, normalised (tails as logarithms), up to `LARGEST`;
            0 within.
        """
        kept = self.kept
        imputed = np.empty((len(values), len(kept)), bool)
        beyond = np.zeros(imputed.shape, np.float32)
        lower, upper, scale = self.lower[kept], self.upper[kept], self.scale[kept]
        for block, x in self._kept_blocks(values):
            np.logical_not(np.isfinite(x), out=imputed[block])
            cells = ((x < lower) | (x > upper)) & ~imputed[block]  # few, as a rule
            column, outside = np.nonzero(cells)[1], x[cells]
            with np.errstate(over="ignore"):
                capped = outside.clip(lower[column], upper[column])
                excess = self._compressed(outside, kept[column])
                excess = (excess - self._compressed(capped, kept[column])) / scale[column]
            beyond[block][cells] = excess.clip(-LARGEST, LARGEST)
        return imputed, beyond

    def _compressed(self, values: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """Return values [n, columns] of raw columns with their tails as logarithms."""
        return compressed(values, self.log_below[raw], self.log_above[raw])

    def _kept_blocks(self, values: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Give blocks of rows, and copies of their kept columns in float64."""
        for first in range(0, len(values), ROW_BLOCK):  # a block stays in the processor's cache
            block = slice(first, first + ROW_BLOCK)
            yield block, values[block].take(self.kept, axis=1).astype(np.float64, copy=False)

    def invert(self, normalised: np.ndarray) -> np.ndarray:
        """Return raw columns [n, raw columns] float64 of normalised rows [n, D].

        Dropped columns come back as what was measured of them: constants and mostly missing
        columns as their median, duplicates as the linear function of their twin.
        """
        kept = self.kept
        raw = np.tile(self.impute, (len(normalised), 1))
        raw[:, kept] = self.in_units(normalised, np.arange(len(kept)))
        repeats = np.flatnonzero(self.reason == Reason.DUPLICATE)
        raw[:, repeats] = raw[:, self.twin[repeats]] * self.slope[repeats] + self.intercept[repeats]
        return raw

    def in_units(self, normalised: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return values [..., columns] of kept columns in original units, in float64.

        Tails end at the caps, also where a decoder goes farther.
        """
        raw = self.kept[columns]
        values = normalised.astype(np.float64) * self.scale[raw] + self.center[raw]
        low, high = self.log_below[raw], self.log_above[raw]
        tailed = np.isfinite(low)
        if tailed.any():
            far = stretched(values, low, high).clip(self.lower[raw], self.upper[raw])
            values = np.where(tailed, far, values)
        return values

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the statistics as named arrays."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Read statistics back from named arrays."""
        return cls(**{item.name: np.asarray(arrays[item.name]) for item in fields(cls)})

    def require_consistent(self, n_columns: int | None = None) -> None:
        """Check that all arrays describe the same columns, `n_columns` of them, by sound numbers.

        Raises
        ------
        ValueError
            When they do not.
        """
        n_columns = self.reason.size if n_columns is None else n_columns
        for name, array in self.arrays().items():
            if array.dtype.kind not in ("iu" if name in INDICES else "fiu") or array.ndim != 1:
                raise ValueError(f"{name} is no list of numbers")
            if name != "kept" and len(array) != n_columns:
                raise ValueError(f"{name} describes {len(array)} columns of {n_columns}")
        if not np.array_equal(self.kept, np.flatnonzero(self.reason == Reason.KEPT)):
            raise ValueError("kept and reason differ")
        if not len(self.kept):
            raise ValueError("no column is kept")
        self._require_sound()

    def _require_sound(self) -> None:
        """Raise ValueError where numbers would give rows that mean nothing."""
        repeats = self.reason == Reason.DUPLICATE
        if not np.isin(self.twin[repeats], self.kept).all():
            raise ValueError("the twin of a duplicate is no column that is kept")
        for name in NUMBERS:
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds what is not a number")
        if not (self.scale > 0).all():
            raise ValueError("a scale is not above zero")
        if not (self.lower <= self.upper).all():
            raise ValueError("a lower cap is not below the upper one")
        tailed = np.isfinite(self.log_below)
        if not ((self.log_below < self.log_above) & (tailed == np.isfinite(self.log_above))).all():
            raise ValueError("logarithms do not begin below and above a column's usual values")

    def summary(self) -> dict[str, int]:
        """Count columns by what became of them, and train cells imputed and capped."""
        counts = {one.label: int((self.reason == one).sum()) for one in Reason}
        return counts | {
            "imputed_cells": int(self.imputed[self.kept].sum()),
            "capped_cells": int(self.capped[self.kept].sum()),
        }
