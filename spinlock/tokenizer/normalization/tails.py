"""Tails of a column as logarithms, and back.

A value that is e beyond a knee stands at u·log(1 + e/u) beyond it: at the knee with the slope of
the values between the knees, and farther out as far for each tenfold e. The unit u is a tenth of
the distance between the knees of the column; where these are infinite, values stay as they are.
"""

import numpy as np

UNIT = 0.1  # of logarithms, in distances between the knees
HUGE = 1e300  # magnitude at which every column is capped: float64 can still sum its rows


def log_units(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the units of the logarithms of columns; 1 where there are none."""
    tailed = np.isfinite(low)
    low, high = (np.where(tailed, knee, 0.0) for knee in (low, high))
    return np.where(tailed, UNIT * high - UNIT * low, 1.0)


def compressed(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return values [n, columns] with those below and above the knees as logarithms."""
    if not np.isfinite(low).any():
        return values
    unit, within = log_units(low, high), np.clip(values, low, high)
    with np.errstate(over="ignore"):
        excess = values - within
        ratio = np.minimum(np.abs(excess) / unit, HUGE)
    return within + np.copysign(unit * np.log1p(ratio), excess)


def stretched(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return what `compressed` was given; no more than `HUGE` beyond the knees."""
    if not np.isfinite(low).any():
        return values
    unit, within = log_units(low, high), np.clip(values, low, high)
    beyond = values - within
    ratio = np.minimum(np.abs(beyond) / unit, np.log(HUGE))
    with np.errstate(over="ignore"):
        excess = np.minimum(unit * np.expm1(ratio), HUGE)
    return within + np.copysign(excess, beyond)
