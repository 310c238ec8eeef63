"""Bits of categories, given where they lower the summed distortion most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RateDistortion:
    """Held-out distortion of one category at each number of bits, for one largest book.

    Attributes
    ----------
    bits : int array
        Ascending, from the least that the levels need.
    distortion : float array
        Held-out squared error per row at each.
    """

    bits: np.ndarray
    distortion: np.ndarray


def allocate_bits(curves: Sequence[RateDistortion], budget: int) -> np.ndarray:
    """Give each category the bits that lower the summed distortion most.

    Greedy on the lower convex hull of the curves, which is optimal for convex ones
    (Shoham & Gersho, 1988).

    Returns
    -------
    int array [C]
        Bits of each category; their sum is at most `budget`, less only when every
        category has all it can use.
    """
    *_, most = allocations(curves, budget)
    return most


def allocations(curves: Sequence[RateDistortion], budget: int) -> Iterator[np.ndarray]:
    """Give the least bits [C], then one bit more each time, while that helps and is in budget."""
    hulls = [_convex_hull(curve) for curve in curves]
    gains = [np.append(hull[:-1] - hull[1:], 0.0) for hull in hulls]
    position = np.zeros(len(curves), int)
    while True:
        bits = np.array([curve.bits[i] for curve, i in zip(curves, position, strict=True)])
        yield bits
        next_gains = [gain[i] for gain, i in zip(gains, position, strict=True)]
        best = int(np.argmax(next_gains))
        if next_gains[best] <= 0 or bits.sum() >= budget:
            return
        position[best] += 1


def distortion_at(curves: Sequence[RateDistortion], bits: np.ndarray) -> float:
    """Return the summed distortion of categories that get `bits`."""
    return float(
        sum(
            curve.distortion[np.searchsorted(curve.bits, b)]
            for curve, b in zip(curves, bits, strict=True)
        )
    )


def fewest_bits(curves: Sequence[RateDistortion], budget: int, target: float) -> np.ndarray:
    """Return the fewest bits [C] that leave at most `target`, or else all that help."""
    for bits in allocations(curves, budget):
        if distortion_at(curves, bits) <= target:
            break
    return bits


def _convex_hull(curve: RateDistortion) -> np.ndarray:
    """Return the lower convex hull of a curve, at each of its points."""
    kept: list[int] = []
    for i in range(len(curve.bits)):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            slope_ab = (curve.distortion[b] - curve.distortion[a]) / (b - a)
            slope_ai = (curve.distortion[i] - curve.distortion[a]) / (i - a)
            if slope_ai > slope_ab:
                break
            kept.pop()
        kept.append(i)
    return np.interp(np.arange(len(curve.bits)), kept, curve.distortion[kept])
