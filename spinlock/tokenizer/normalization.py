"""Cleaning and normalisation of feature columns, fitted on train rows only."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from spinlock.errors import SpinlockError

MAD_TO_DEVIATION = 1.4826  # of a Gaussian
ROW_BLOCK = 256
GRAM_ROWS = 2048  # rows of all columns that correlations are accumulated from at once
ROUNDING = 1e-6  # relative deviations below this are rounding noise
LARGEST = 1e9  # deviations at which every column is capped: float32 can still sum its squares
HUGE = 1e300  # magnitude at which every column is capped: float64 can still sum its rows
KEPT, MISSING, CONSTANT, DUPLICATE = 0, 1, 2, 3
REASONS = ("kept", "missing", "constant", "duplicate")

ReadColumns = Callable[[slice, slice], np.ndarray]
ALL_ROWS = slice(None)


@dataclass(frozen=True)
class CleaningRules:
    """What `fit_statistics` drops and caps.

    Attributes
    ----------
    max_missing_fraction : float
        Columns with more non-finite train values are dropped.
    variance_tolerance : float
        Columns whose deviation is at most this fraction of their magnitude are constant.
    deduplicate_threshold : float
        A column whose |correlation| with an earlier one is above this repeats it.
    outlier_method : str
        mad, percentile or none.
    outlier_bound : float
        mad: deviations from the median; percentile: per cent cut at either end.
    method : str
        standard (mean, standard deviation) or mad (median, median absolute deviation).
    """

    max_missing_fraction: float = 0.5
    variance_tolerance: float = 1e-6
    deduplicate_threshold: float = 1 - 1e-6
    outlier_method: str = "mad"
    outlier_bound: float = 5.0
    method: str = "standard"


@dataclass(frozen=True)
class FeatureStatistics:
    """Everything that turns raw columns into normalised ones and back.

    All arrays but `kept` have one entry per raw column; `kept` lists the D raw columns that
    are kept; `mean` is that of the capped train rows. A duplicate repeats the raw column `twin`
    as `slope * twin + intercept`.
    """

    kept: np.ndarray
    reason: np.ndarray
    impute: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    twin: np.ndarray
    slope: np.ndarray
    intercept: np.ndarray
    imputed: np.ndarray
    capped: np.ndarray

    @property
    def normalized_mean(self) -> np.ndarray:
        """Mean [D] of the normalised train rows: zero for the method standard."""
        kept = self.kept
        return (self.mean[kept] - self.center[kept]) / self.scale[kept]

    @property
    def normalized_caps(self) -> np.ndarray:
        """Lowest and highest normalised values [2, D] of capped columns; infinite for others."""
        kept = self.kept
        caps = np.stack([self.lower[kept], self.upper[kept]]) - self.center[kept]
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
            np.subtract(x, center, out=x)
            np.divide(x, scale, out=x)
            normalised[block] = x
        return normalised

    def altered_cells(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which cells of raw rows `apply` imputes, and which it caps: two bool [n, D]."""
        kept = self.kept
        imputed, capped = np.empty((2, len(values), len(kept)), bool)
        lower, upper = self.lower[kept], self.upper[kept]
        for block, x in self._kept_blocks(values):
            finite = np.isfinite(x)
            np.logical_not(finite, out=imputed[block])
            np.logical_and((x < lower) | (x > upper), finite, out=capped[block])
        return imputed, capped

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
        raw[:, kept] = normalised.astype(np.float64) * self.scale[kept] + self.center[kept]
        repeats = np.flatnonzero(self.reason == DUPLICATE)
        raw[:, repeats] = raw[:, self.twin[repeats]] * self.slope[repeats] + self.intercept[repeats]
        return raw

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the statistics as named arrays."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Read statistics back from named arrays."""
        return cls(**{item.name: np.asarray(arrays[item.name]) for item in fields(cls)})

    def require_consistent(self, n_columns: int | None = None) -> None:
        """Check that all arrays describe the same columns, `n_columns` of them.

        Raises
        ------
        ValueError
            When they do not.
        """
        n_columns = self.reason.size if n_columns is None else n_columns
        for name, array in self.arrays().items():
            if array.dtype.kind not in "fiu" or array.ndim != 1:
                raise ValueError(f"{name} is no list of numbers")
            if name != "kept" and len(array) != n_columns:
                raise ValueError(f"{name} describes {len(array)} columns of {n_columns}")
        if not np.array_equal(self.kept, np.flatnonzero(self.reason == KEPT)):
            raise ValueError("kept and reason differ")
        if not (len(self.kept) and np.isfinite(self.scale[self.kept]).all()):
            raise ValueError("no column is kept, or a scale is not a number")

    def summary(self) -> dict[str, int]:
        """Count columns by what became of them, and train cells imputed and capped."""
        counts = {name: int((self.reason == code).sum()) for code, name in enumerate(REASONS)}
        return counts | {
            "imputed_cells": int(self.imputed[self.kept].sum()),
            "capped_cells": int(self.capped[self.kept].sum()),
        }


def fit_statistics(
    read_train: ReadColumns,
    n_rows: int,
    n_columns: int,
    rules: CleaningRules,
    scale_groups: Iterable[np.ndarray] = (),
    block: int = 64,
) -> FeatureStatistics:
    """Fit cleaning and normalisation, column block by column block.

    Parameters
    ----------
    read_train : callable
        Gives train rows [n, columns] of a slice of columns and a slice of the train rows.
    n_rows, n_columns : int
        Number of train rows and of raw columns.
    rules : CleaningRules
    scale_groups : iterable of int arrays
        Columns that share one scale, such as the coefficients of one series: the scale is the
        root of the summed variances, so that a series counts as one feature and its curve
        keeps its shape.

    Raises
    ------
    SpinlockError
        When no column is left.
    """
    parts = [
        _fit_block(np.asarray(read_train(slice(first, first + block), ALL_ROWS), np.float64), rules)
        for first in range(0, n_columns, block)
    ]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for group in scale_groups:
        columns["scale"][group] = _shared_scale(columns, group)
    reason = columns["reason"]
    if not (reason == KEPT).any():
        counts = {name: int((reason == code).sum()) for code, name in enumerate(REASONS) if code}
        raise SpinlockError(
            f"no feature column is left after cleaning {n_columns} columns: {counts}",
            remedy="check the dataset, or relax feature_cleaning",
        )
    twins = _find_duplicates(read_train, columns, rules.deduplicate_threshold, n_rows)
    return FeatureStatistics(kept=np.flatnonzero(reason == KEPT), **columns, **twins)


def _fit_block(values: np.ndarray, rules: CleaningRules) -> dict[str, np.ndarray]:
    n_columns = values.shape[1]
    finite, given = np.isfinite(values), values
    present = finite.any(axis=0)
    values = np.where(finite, np.clip(values, -HUGE, HUGE), np.nan)
    values[:, ~present] = 0.0
    median = np.nanmedian(values, axis=0)
    filled = np.where(np.isnan(values), median, values)
    magnitude = np.abs(filled).max(axis=0)
    unit = np.where(magnitude > 0, magnitude, 1.0)
    reason = np.full(n_columns, KEPT, np.int8)
    reason[(filled / unit).std(axis=0) <= rules.variance_tolerance] = CONSTANT
    reason[finite.mean(axis=0) < 1 - rules.max_missing_fraction] = MISSING
    lower, upper = _caps(filled, median, rules)
    capped = np.clip(filled, lower, upper)
    center, scale = _center_and_scale(capped, rules.method)
    scale = np.where(reason == KEPT, scale, 1.0)
    with np.errstate(over="ignore"):
        lower = np.maximum(np.maximum(lower, center - LARGEST * scale), -HUGE)
        upper = np.minimum(np.minimum(upper, center + LARGEST * scale), HUGE)
    return {
        "reason": reason,
        "impute": median,
        "lower": lower,
        "upper": upper,
        "center": center,
        "mean": np.clip(filled, lower, upper).mean(axis=0),
        "scale": scale,
        "imputed": (~finite).sum(axis=0),
        "capped": (((given < lower) | (given > upper)) & finite).sum(axis=0),
    }


def _caps(
    filled: np.ndarray, median: np.ndarray, rules: CleaningRules
) -> tuple[np.ndarray, np.ndarray]:
    if rules.outlier_method == "none":
        return np.full(len(median), -np.inf), np.full(len(median), np.inf)
    if rules.outlier_method == "percentile":
        bound = rules.outlier_bound
        lower, upper = np.percentile(filled, [bound, 100 - bound], axis=0)
        # a cap that leaves a single value would make the column constant
        flat = lower == upper
        return np.where(flat, filled.min(axis=0), lower), np.where(flat, filled.max(axis=0), upper)
    spread = rules.outlier_bound * _robust_deviation(filled, median)
    return median - spread, median + spread


def _robust_deviation(filled: np.ndarray, median: np.ndarray) -> np.ndarray:
    """MAD as a standard deviation; where over half the values are equal, the deviation itself."""
    mad = MAD_TO_DEVIATION * np.median(np.abs(filled - median), axis=0)
    return np.where(mad > ROUNDING * np.abs(median), mad, _safe_std(filled))


def _center_and_scale(capped: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    if method == "mad":
        median = np.median(capped, axis=0)
        return median, _robust_deviation(capped, median)
    return capped.mean(axis=0), _safe_std(capped)


def _safe_std(values: np.ndarray) -> np.ndarray:
    """Return standard deviations without overflow of the squares of very large values."""
    magnitude = np.abs(values).max(axis=0)
    unit = np.where(magnitude > 0, magnitude, 1.0)
    return (values / unit).std(axis=0) * unit


def _shared_scale(columns: dict[str, np.ndarray], group: np.ndarray) -> np.ndarray:
    kept = group[columns["reason"][group] == KEPT]
    if not len(kept):
        return columns["scale"][group]
    unit = columns["scale"][kept].max()
    return np.full(len(group), unit * np.sqrt(((columns["scale"][kept] / unit) ** 2).sum()))


def _find_duplicates(
    read_train: ReadColumns, columns: dict[str, np.ndarray], threshold: float, n_rows: int
) -> dict[str, np.ndarray]:
    """Mark columns that repeat an earlier kept one, in `columns['reason']`."""
    n_columns = len(columns["reason"])
    twin = np.full(n_columns, -1)
    slope, intercept = np.zeros(n_columns), np.zeros(n_columns)
    kept = np.flatnonzero(columns["reason"] == KEPT)
    correlation = np.triu(_correlations(read_train, columns, kept, n_rows), k=1)
    for first, second in kept[np.argwhere(np.abs(correlation) > threshold)]:
        if columns["reason"][first] == columns["reason"][second] == KEPT:
            columns["reason"][second] = DUPLICATE
            twin[second] = first
            slope[second], intercept[second] = _line(read_train, columns, first, second)
    return {"twin": twin, "slope": slope, "intercept": intercept}


def _correlations(
    read_train: ReadColumns, columns: dict[str, np.ndarray], kept: np.ndarray, n_rows: int
) -> np.ndarray:
    """Return the correlations of the capped kept columns, accumulated row block by row block."""
    gram = np.zeros((len(kept), len(kept)))
    for first in range(0, n_rows, GRAM_ROWS):
        part = slice(first, min(first + GRAM_ROWS, n_rows))
        z = _capped(read_train, columns, slice(0, len(columns["reason"])), part)[:, kept]
        z -= columns["mean"][kept]
        z /= columns["scale"][kept]
        gram += z.T @ z
    norm = np.sqrt(np.maximum(gram.diagonal(), np.finfo(np.float64).tiny))
    return gram / norm / norm[:, None]


def _capped(
    read_train: ReadColumns,
    columns: dict[str, np.ndarray],
    block: slice,
    rows: slice = ALL_ROWS,
) -> np.ndarray:
    values = np.asarray(read_train(block, rows), np.float64)
    values = np.where(np.isfinite(values), values, columns["impute"][block])
    return np.clip(values, columns["lower"][block], columns["upper"][block])


def _line(
    read_train: ReadColumns, columns: dict[str, np.ndarray], first: int, second: int
) -> tuple[float, float]:
    """Return slope and intercept of column `second` as a function of column `first`."""
    x = _capped(read_train, columns, slice(first, first + 1))[:, 0]
    y = _capped(read_train, columns, slice(second, second + 1))[:, 0]
    unit = np.abs(x - x.mean()).max()
    deviation = (x - x.mean()) / unit
    slope = float((deviation * (y - y.mean())).mean() / (deviation**2).mean() / unit)
    return slope, float(y.mean() - slope * x.mean())
