"""What becomes of values beyond the caps of their column: the cap, or a logarithm, and back.

A value that is e beyond a cap stands at u·log(1 + e/u) beyond it: at the cap with the slope of the
values within, and farther out as far for each tenfold e. The unit u belongs to the column; where
it is 0, values beyond are put at the cap.
"""

import numpy as np

HUGE = 1e300  # magnitude at which every column is capped: float64 can still sum its rows


def bounded(
    values: np.ndarray, lower: np.ndarray, upper: np.ndarray, tail: np.ndarray
) -> np.ndarray:
    """Return values [n, columns] with what is beyond the caps at these, or as logarithms."""
    within = np.clip(values, lower, upper)
    with np.errstate(over="ignore"):
        excess = values - within
        ratio = np.minimum(np.abs(excess) / np.where(tail > 0, tail, 1.0), HUGE)
    return within + np.copysign(tail * np.log1p(ratio), excess)


def unbounded(
    values: np.ndarray, lower: np.ndarray, upper: np.ndarray, tail: np.ndarray
) -> np.ndarray:
    """Return what `bounded` was given [n, columns], but for what it put at caps.

    No more than `HUGE`, also where a decoder goes farther out than any value did.
    """
    within = np.clip(values, lower, upper)
    beyond = values - within
    ratio = np.minimum(np.abs(beyond) / np.where(tail > 0, tail, 1.0), np.log(HUGE))
    with np.errstate(over="ignore"):
        excess = np.minimum(tail * np.expm1(ratio), HUGE)
    return np.where(tail > 0, within + np.copysign(excess, beyond), values)
