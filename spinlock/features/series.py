"""Series as leading coefficients of an orthonormal discrete cosine transform.

The transform is linear and orthonormal, so tokens of the coefficients decode back to curves, and
a squared error of all coefficients is the squared error of the curve (Parseval). Leading
coefficients alone are the smooth part of a curve.
"""

import numpy as np
from scipy.fft import dct, idct


def describe_series(series: np.ndarray, coefficients: int) -> np.ndarray:
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
    """
    filled = bridge_gaps(series).astype(description_dtype(series.dtype), copy=False)
    spectrum = dct(filled, type=2, norm="ortho", axis=1)[:, :coefficients]
    return spectrum.transpose(0, 2, 1).reshape(len(series), -1)


def description_dtype(dtype: np.dtype) -> np.dtype:
    """Return the type of the coefficients of series of a type: float32 at least."""
    return np.promote_types(dtype, np.float32)


def restore_series(description: np.ndarray, steps: int, coefficients: int) -> np.ndarray:
    """Return the curves [n, T, channels] of leading coefficients [n, channels * coefficients]."""
    n_rows = len(description)
    spectrum = description.reshape(n_rows, -1, coefficients).transpose(0, 2, 1)
    padded = np.zeros((n_rows, steps, spectrum.shape[2]), dtype=description.dtype)
    padded[:, :coefficients] = spectrum
    return idct(padded, type=2, norm="ortho", axis=1)


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
