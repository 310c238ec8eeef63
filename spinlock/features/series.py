"""Series as leading coefficients of an orthonormal discrete cosine transform.

The transform is linear and orthonormal, so tokens of the coefficients decode back to curves, and
a squared error of all coefficients is the squared error of the curve (Parseval). Leading
coefficients alone are the smooth part of a curve.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import dct, idct

from spinlock.errors import SpinlockError


def describe_series(series: ArrayLike, coefficients: int) -> np.ndarray:
    """Return leading DCT-II coefficients [n, channels * coefficients] of series [n, T, channels].

    Parameters
    ----------
    series : array [n, T, channels]
        Gaps (NaN, ±inf) are bridged by the nearest earlier value, at the start by the
        nearest later one; a channel without any finite value gives NaN coefficients.
    coefficients : int
        Number of coefficients kept per channel, at most T.

    Returns
    -------
    array [n, channels * coefficients], channel by channel, see `description_dtype`
        Infinite where a coefficient is beyond it: the first is √T times the mean.

    Raises
    ------
    SpinlockError
        When the series are no such array of numbers, or do not have so many coefficients.
    """
    series = _numbers(series, "series [n, T, channels]", 3)
    _require_coefficients(coefficients, series.shape[1])
    filled = bridge_gaps(series).astype(description_dtype(series.dtype), copy=False)
    spectrum = dct(filled, type=2, norm="ortho", axis=1)[:, :coefficients]
    return spectrum.transpose(0, 2, 1).reshape(len(series), spectrum.shape[2] * coefficients)


def kept_variance(series: np.ndarray, coefficients: int) -> np.ndarray:
    """Return the share [channels] of a series' variance over rows that its coefficients keep.

    NaN of a channel that does not vary.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        filled = bridge_gaps(np.asarray(series, np.float64))
        filled = filled[np.isfinite(filled).all(axis=(1, 2))]
        if not len(filled):
            return np.full(series.shape[2], np.nan)
        whole = filled.var(axis=0).sum(axis=0)
        kept = describe_series(filled, coefficients).var(axis=0)
        return kept.reshape(-1, coefficients).sum(axis=1) / np.where(whole > 0, whole, np.nan)


def description_dtype(dtype: np.dtype) -> np.dtype:
    """Return the type of the coefficients of series of a type: float32 at least."""
    return np.promote_types(dtype, np.float32)


def restore_series(description: ArrayLike, steps: int, coefficients: int) -> np.ndarray:
    """Return the curves [n, T, channels] of leading coefficients [n, channels * coefficients].

    Parameters
    ----------
    description : array [n, channels * coefficients]
        What `describe_series` gives, or `Tokenizer.decode` of a model of series alone.
    steps : int
        T, of the series that were described.
    coefficients : int
        Number of coefficients kept per channel, at most T.

    Raises
    ------
    SpinlockError
        When the columns are no such array of numbers, or the counts do not fit.
    """
    description = _numbers(description, "coefficients [n, channels * coefficients]", 2)
    _require_coefficients(coefficients, steps)
    n_rows, width = description.shape
    if width % coefficients:
        raise SpinlockError(
            f"{width} columns are no whole number of channels of {coefficients} coefficients",
            remedy="give the columns of the series alone, and the coefficients that were kept",
        )
    channels = width // coefficients
    spectrum = description.reshape(n_rows, channels, coefficients).transpose(0, 2, 1)
    padded = np.zeros((n_rows, steps, channels), dtype=description_dtype(description.dtype))
    padded[:, :coefficients] = spectrum
    return idct(padded, type=2, norm="ortho", axis=1)


def _numbers(values: ArrayLike, what: str, n_axes: int) -> np.ndarray:
    """Return values as an array of so many axes, or raise a SpinlockError."""
    array = np.asarray(values)
    if array.ndim != n_axes or array.dtype.kind not in "biuf":
        raise SpinlockError(
            f"these are {array.dtype} {array.shape}, and no {what} of numbers",
            remedy=f"give an array of {n_axes} axes, with NaN for gaps",
        )
    return array


def _require_coefficients(coefficients: int, steps: int) -> None:
    whole = isinstance(coefficients, int | np.integer)
    if not whole or not 1 <= coefficients <= steps:
        raise SpinlockError(
            f"{coefficients!r} coefficients of {steps} steps; there may be 1 to {steps}",
            remedy="give as many coefficients per channel as the model keeps",
        )


def bridge_gaps(series: np.ndarray) -> np.ndarray:
    """Replace non-finite values [n, T, channels] by the last finite one before, else the next."""
    finite = np.isfinite(series)
    if finite.all():
        return series
    steps = np.arange(series.shape[1])[None, :, None]
    earlier = np.maximum.accumulate(np.where(finite, steps, -1), axis=1)
    first = np.argmax(finite, axis=1)[:, None, :]
    source = np.where(earlier >= 0, earlier, first)
    filled = np.take_along_axis(series, source, axis=1)
    return np.where(finite.any(axis=1, keepdims=True), filled, np.nan).astype(series.dtype)


def coefficient_names(channels: list[str], coefficients: int) -> list[str]:
    """Return one name per column of `describe_series`."""
    return [f"{channel}/dct_{k:02d}" for channel in channels for k in range(coefficients)]
