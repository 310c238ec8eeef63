"""Cleaning and normalisation fitted to the columns of train rows."""

from collections.abc import Callable, Iterable

import numpy as np

from spinlock.errors import SpinlockError
from spinlock.settings.data import FeatureCleaning
from spinlock.tokenizer.normalization.statistics import LARGEST, FeatureStatistics, Reason
from spinlock.tokenizer.normalization.tails import HUGE, compressed, stretched

MAD_TO_DEVIATION = 1.4826  # of a Gaussian
GRAM_ROWS = 2048  # rows of all columns that correlations are accumulated from at once
NOISE, NOISE_VALUES = 1e-12, 16  # deviation, or different values, that rounding of constants has
FEWEST_ROWS = 4  # that tell repeated columns: two rows correlate all columns, three some
FEWEST_OTHERS = 4  # rows that differ from what most have, to tell what is usual among them
ROUNDING = 1e-6  # relative deviations below this are rounding noise
TAIL = 0.01  # of the rows beyond the caps, at least: fewer are outliers, and no tail
REACH = 3.0  # of a tail's logarithms, in the distance that three quarters of its values are within

ReadColumns = Callable[[slice, slice], np.ndarray]
ALL_ROWS = slice(None)


def fit_statistics(
    read_train: ReadColumns,
    n_rows: int,
    n_columns: int,
    cleaning: FeatureCleaning,
    normalization_method: str,
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
    cleaning : FeatureCleaning
        What is dropped and capped.
    normalization_method : str
        standard (mean, standard deviation) or mad (median, median absolute deviation).
    scale_groups : iterable of int arrays
        Columns that share one scale, such as the coefficients of a channel of a series: the
        scale is the root of the summed variances, so that a channel counts as one feature and
        its curve keeps its shape.

    Raises
    ------
    SpinlockError
        When no column is left.
    """
    parts = [
        _fit_block(
            np.asarray(read_train(slice(first, first + block), ALL_ROWS), np.float64),
            cleaning,
            normalization_method,
        )
        for first in range(0, n_columns, block)
    ]
    fitted = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for group in scale_groups:
        _share_scale(fitted, group)
    reason = fitted["reason"]
    if not (reason == Reason.KEPT).any():
        counts = {one.label: int((reason == one).sum()) for one in Reason if one != Reason.KEPT}
        raise SpinlockError(
            f"no feature column is left after cleaning {n_columns} columns: {counts}",
            remedy="check the dataset, or relax feature_cleaning",
        )
    twins = _find_duplicates(read_train, fitted, cleaning.deduplicate_threshold, n_rows)
    return FeatureStatistics(kept=np.flatnonzero(reason == Reason.KEPT), **fitted, **twins)


def _fit_block(
    values: np.ndarray, cleaning: FeatureCleaning, normalization_method: str
) -> dict[str, np.ndarray]:
    n_columns = values.shape[1]
    finite, given = np.isfinite(values), values
    present = finite.any(axis=0)
    values = np.where(finite, np.clip(values, -HUGE, HUGE), np.nan)
    values[:, ~present] = 0.0
    median = np.nanmedian(values, axis=0)
    filled = np.where(np.isnan(values), median, values)
    magnitude = np.abs(filled).max(axis=0)
    unit = np.where(magnitude > 0, magnitude, 1.0)
    reason = np.full(n_columns, Reason.KEPT, np.int8)
    deviation = (filled / unit).std(axis=0)
    for column in np.flatnonzero(deviation <= cleaning.variance_tolerance):
        rounded = deviation[column] <= NOISE or len(np.unique(filled[:, column])) <= NOISE_VALUES
        reason[column] = Reason.CONSTANT if rounded else Reason.NEARLY_CONSTANT
    reason[(~finite).mean(axis=0) > cleaning.max_missing_fraction] = Reason.MISSING
    lower, upper = _caps(values, filled, median, cleaning)
    knees = _knees(filled, lower, upper, cleaning)
    usual = compressed(filled, *knees)
    lower, upper = _ends_of_tails(usual, lower, upper, np.isfinite(knees[0]))
    center, scale = _center_and_scale(np.clip(usual, lower, upper), normalization_method)
    scale = np.where(reason == Reason.KEPT, scale, 1.0)
    with np.errstate(over="ignore"):
        lower = np.maximum(np.maximum(lower, center - LARGEST * scale), -HUGE)
        upper = np.minimum(np.minimum(upper, center + LARGEST * scale), HUGE)
    mean = np.clip(usual, lower, upper).mean(axis=0)
    lower, upper = stretched(np.stack([lower, upper]), *knees).clip(-HUGE, HUGE)
    return {
        "reason": reason,
        "impute": median,
        "lower": lower,
        "upper": upper,
        "log_below": knees[0],
        "log_above": knees[1],
        "center": center,
        "mean": mean,
        "scale": scale,
        "imputed": (~finite).sum(axis=0),
        "capped": (((given < lower) | (given > upper)) & finite).sum(axis=0),
    }


def _caps(
    values: np.ndarray, filled: np.ndarray, median: np.ndarray, cleaning: FeatureCleaning
) -> tuple[np.ndarray, np.ndarray]:
    """Return where outliers begin, by what was measured: gaps make no value an outlier."""
    if cleaning.outlier_method == "none":
        return np.full(len(median), -np.inf), np.full(len(median), np.inf)
    bound = cleaning.outlier_bound
    if cleaning.outlier_method == "percentile":
        lower, upper = np.nanpercentile(values, [bound, 100 - bound], axis=0)
    else:
        spread = bound * _usual_distance(filled, median)
        lower, upper = median - spread, median + spread
    # caps that leave a single value would make the column constant
    flat = lower == upper
    return np.where(flat, filled.min(axis=0), lower), np.where(flat, filled.max(axis=0), upper)


def _knees(
    filled: np.ndarray, lower: np.ndarray, upper: np.ndarray, cleaning: FeatureCleaning
) -> tuple[np.ndarray, np.ndarray]:
    """Return where logarithms begin: at the caps of columns with tails; infinite for others."""
    if cleaning.outliers == "cap":
        return np.full_like(lower, -np.inf), np.full_like(upper, np.inf)
    beyond = ((filled < lower) | (filled > upper)).mean(axis=0)
    tailed = (beyond >= TAIL) & np.isfinite(upper - lower)
    return np.where(tailed, lower, -np.inf), np.where(tailed, upper, np.inf)


def _ends_of_tails(
    usual: np.ndarray, lower: np.ndarray, upper: np.ndarray, tailed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return caps, those of columns with tails farther out: at the ends of these.

    `usual` [n, columns] has tails as logarithms. Their ends go by what three quarters of a tail's
    values are within, so that a few corrupt values make no column's variance.
    """
    lower, upper = lower.copy(), upper.copy()
    for column in np.flatnonzero(tailed):
        x, low, high = usual[:, column], lower[column], upper[column]
        beyond = np.maximum(low - x, x - high)
        beyond = beyond[beyond > 0]  # what is so by its last digit no longer is as a logarithm
        if len(beyond):
            reach = REACH * np.quantile(beyond, 0.75)
            lower[column], upper[column] = low - reach, high + reach
    return lower, upper


def _robust_deviation(filled: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Return the median distance from the median, as a standard deviation.

    Of equal values there (gaps that were filled, among them) one counts: many would make it
    nothing. Where hardly a row has another value, it is the standard deviation itself.
    """
    return _middle_distance(filled, *_distances(filled, median))


def _middle_distance(filled: np.ndarray, distance: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the robust deviation of columns by what `_distances` gives."""
    first = np.maximum(len(filled) - others - 1, 0)
    below, above = (first + len(filled) - 1) // 2, (first + len(filled)) // 2
    middle = np.take_along_axis(distance, np.stack([below, above]), axis=0).mean(axis=0)
    return np.where(others >= FEWEST_OTHERS, MAD_TO_DEVIATION * middle, _safe_std(filled))


def _usual_distance(filled: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Return how far from the median values are as a rule: their robust deviation.

    Where most values are the median, that is the distance which three quarters of the others do
    not exceed: rare values (a class of one row in fifty, low counts) are far beyond their own
    standard deviation, and no outliers for being rare, while outliers make that of the whole
    column as large as they are. Where fewer than four rows have others, nobody knows a rule.
    """
    distance, others = _distances(filled, median)
    place = len(filled) - others + 3 * (others - 1) // 4
    rule = np.take_along_axis(distance, place[None], axis=0)[0]
    robust = _middle_distance(filled, distance, others)
    return np.where((others >= FEWEST_OTHERS) & (2 * others < len(filled)), rule, robust)


def _distances(filled: np.ndarray, median: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of rows from the median, ascending, and how many rows differ from it."""
    distance = np.sort(np.abs(filled - median), axis=0)
    return distance, (distance > ROUNDING * np.abs(median)).sum(axis=0)


def _center_and_scale(usual: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    if method == "mad":
        median = np.median(usual, axis=0)
        return median, _robust_deviation(usual, median)
    # the mean of large equal values is beside them, by rounding
    mean = usual.mean(axis=0).clip(usual.min(axis=0), usual.max(axis=0))
    return mean, _safe_std(usual)


def _safe_std(values: np.ndarray) -> np.ndarray:
    """Return standard deviations without overflow of the squares of very large values."""
    magnitude = np.abs(values).max(axis=0)
    unit = np.where(magnitude > 0, magnitude, 1.0)
    return (values / unit).std(axis=0) * unit


def _share_scale(fitted: dict[str, np.ndarray], group: np.ndarray) -> None:
    """Give the columns of a group one scale, and those without a cap the bounds of that scale."""
    kept = group[fitted["reason"][group] == Reason.KEPT]
    if not len(kept):
        return
    center, own = fitted["center"][kept], fitted["scale"][kept]
    unit = own.max()
    shared = unit * np.sqrt(((own / unit) ** 2).sum())
    fitted["scale"][kept] = shared
    with np.errstate(over="ignore"):
        for name, sign in (("lower", -1), ("upper", 1)):
            bound = fitted[name][kept]
            free = sign * (bound - center) >= LARGEST / 2 * own
            farthest = np.clip(center + sign * LARGEST * shared, -HUGE, HUGE)
            # never nearer: what is as far as numbers go stays there
            wider = sign * np.maximum(sign * bound, sign * farthest)
            fitted[name][kept] = np.where(free, wider, bound)


def _find_duplicates(
    read_train: ReadColumns, fitted: dict[str, np.ndarray], threshold: float, n_rows: int
) -> dict[str, np.ndarray]:
    """Mark columns that repeat an earlier kept one, in `fitted['reason']`."""
    n_columns = len(fitted["reason"])
    twin = np.full(n_columns, -1)
    slope, intercept = np.zeros(n_columns), np.zeros(n_columns)
    kept = np.flatnonzero((fitted["reason"] == Reason.KEPT) & (n_rows >= FEWEST_ROWS))
    correlation = np.triu(_correlations(read_train, fitted, kept, n_rows), k=1)
    for first, second in kept[np.argwhere(np.abs(correlation) > threshold)]:
        if fitted["reason"][first] == fitted["reason"][second] == Reason.KEPT:
            line = _line(read_train, fitted, first, second)
            if np.isfinite(line).all():  # of units too far apart no number is the slope
                fitted["reason"][second] = Reason.DUPLICATE
                twin[second] = first
                slope[second], intercept[second] = line
    return {"twin": twin, "slope": slope, "intercept": intercept}


def _correlations(
    read_train: ReadColumns, fitted: dict[str, np.ndarray], kept: np.ndarray, n_rows: int
) -> np.ndarray:
    """Return the correlations of the capped kept columns, accumulated row block by row block."""
    gram = np.zeros((len(kept), len(kept)))
    for first in range(0, n_rows, GRAM_ROWS):
        part = slice(first, min(first + GRAM_ROWS, n_rows))
        capped = _capped(read_train, fitted, slice(0, len(fitted["reason"])), part)
        z = compressed(capped, fitted["log_below"], fitted["log_above"])[:, kept]
        z -= fitted["mean"][kept]
        z /= fitted["scale"][kept]
        gram += z.T @ z
    norm = np.sqrt(np.maximum(gram.diagonal(), np.finfo(np.float64).tiny))
    return np.clip(gram / norm / norm[:, None], -1, 1)


def _capped(
    read_train: ReadColumns,
    fitted: dict[str, np.ndarray],
    block: slice,
    rows: slice = ALL_ROWS,
) -> np.ndarray:
    """Return columns in original units, gaps filled, outliers at the caps."""
    values = np.asarray(read_train(block, rows), np.float64)
    values = np.where(np.isfinite(values), values, fitted["impute"][block])
    return np.clip(values, fitted["lower"][block], fitted["upper"][block])


def _line(
    read_train: ReadColumns, fitted: dict[str, np.ndarray], first: int, second: int
) -> tuple[float, float]:
    """Return slope and intercept of column `second` as a function of column `first`.

    They are not finite where no number is large enough.
    """
    x = _capped(read_train, fitted, slice(first, first + 1))[:, 0]
    y = _capped(read_train, fitted, slice(second, second + 1))[:, 0]
    unit = np.abs(x - x.mean()).max()
    deviation = (x - x.mean()) / unit
    with np.errstate(over="ignore", invalid="ignore"):
        slope = (deviation * (y - y.mean())).mean() / (deviation**2).mean() / unit
        return float(slope), float(y.mean() - slope * x.mean())
