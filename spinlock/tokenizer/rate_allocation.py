"""Bits per category from measured rate–distortion, and codebook sizes per level."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.bit_budget import LEVELS, largest_book_bits
from spinlock.tokenizer.codebook import Beam, kmeans
from spinlock.tokenizer.rare_events import with_recombined

CAPS_TRIED = 3  # sizes of the largest book that are compared
ROWS_FOR_ONE_FOLD = 1500  # from here on a single held-out part is precise enough
FOLDS = 3
ROWS_MEASURED = 6000  # rows that the curves are measured on, at most
LLOYD_STEPS = 8


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


def split_bits(bits: int, cap: int, levels: int = LEVELS) -> list[int]:
    """Split a category's bits over levels, coarse first: each level as full as it may be.

    The first levels get up to `cap` bits; every level keeps one bit while there are enough.
    """
    least = 1 if bits >= levels else 0
    split = [least] * levels if bits >= levels else [1] * bits + [0] * (levels - bits)
    spare = bits - sum(split)
    for level in range(levels):
        more = min(spare, cap - split[level])
        split[level] += more
        spare -= more
    return split


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
    hulls = [_convex_hull(curve) for curve in curves]
    bits = np.array([curve.bits[0] for curve in curves])
    position = np.zeros(len(curves), int)
    while True:
        best, best_gain = -1, 0.0
        for c, (curve, hull) in enumerate(zip(curves, hulls, strict=True)):
            step = position[c] + 1
            if step < len(curve.bits) and bits.sum() + 1 <= budget:
                gain = hull[step - 1] - hull[step]
                if gain > best_gain:
                    best, best_gain = c, gain
        if best < 0:
            return bits
        position[best] += 1
        bits[best] = curves[best].bits[position[best]]


def distortion_at(curves: Sequence[RateDistortion], bits: np.ndarray) -> float:
    """Return the summed distortion of categories that get `bits`."""
    return float(
        sum(
            curve.distortion[np.searchsorted(curve.bits, b)]
            for curve, b in zip(curves, bits, strict=True)
        )
    )


def choose_book_sizes(
    embeddings: Sequence[Tensor],
    budget: int,
    generator: torch.Generator,
    *,
    rare: Sequence[Tensor] | None = None,
    max_tokens: int | None = None,
    target_distortion: float | None = None,
) -> list[list[int]]:
    """Choose the number of codes of every category and level.

    Parameters
    ----------
    embeddings : sequence of Tensor [n, E_c]
        Train rows of each category, in units in which squared errors add up.
    budget : int
        Bits per row over all categories and levels.
    rare : sequence of Tensor [R_c, 2, E_c], optional
        Directions of each category whose rare events are measured in new combinations too.
    max_tokens : int, optional
        Largest book; by default the one with the lowest held-out distortion.
    target_distortion : float, optional
        Use the fewest bits, at most `budget`, with at most this held-out distortion.

    Returns
    -------
    list [C] of list [L] of int
    """
    least = LEVELS if budget >= LEVELS * len(embeddings) else 0
    n_rows = len(embeddings[0])
    largest = largest_book_bits(n_rows)
    caps = list(range(max(1, largest - CAPS_TRIED + 1), largest + 1))
    if max_tokens is not None:
        caps = [min(largest, int(np.log2(max_tokens)))]
    folds = _folds(n_rows, generator)
    options = []
    directions = rare or [z.new_empty(0, 2, z.shape[1]) for z in embeddings]
    measured = [
        _CategoryCurves(z, folds, generator, events)
        for z, events in zip(embeddings, directions, strict=True)
    ]
    for cap in caps:
        curves = [one.curve(cap, least) for one in measured]
        bits = allocate_bits(curves, budget)
        options.append((distortion_at(curves, bits), cap, bits, curves))
    _, cap, bits, curves = min(options, key=lambda option: option[:2])
    if target_distortion is not None:
        bits = _fewest_bits(curves, budget, target_distortion)
    return [[2**b for b in split_bits(int(total), cap)] for total in bits]


def _fewest_bits(curves: list[RateDistortion], budget: int, target: float) -> np.ndarray:
    low, high = int(sum(curve.bits[0] for curve in curves)), budget
    while low < high:
        middle = (low + high) // 2
        if distortion_at(curves, allocate_bits(curves, middle)) <= target:
            high = middle
        else:
            low = middle + 1
    return allocate_bits(curves, low)


def _folds(n_rows: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Return pairs of row positions: fitted, held out."""
    order = torch.randperm(n_rows, generator=generator)[:ROWS_MEASURED]
    if len(order) >= ROWS_FOR_ONE_FOLD:
        held_out = len(order) // 5
        return [(order[held_out:], order[:held_out])]
    parts = order.chunk(min(FOLDS, len(order)))
    return [
        (torch.cat([other for other in parts if other is not part]), part)
        for part in parts
        if len(parts) > 1
    ] or [(order, order)]


class _CategoryCurves:
    """Measures the distortion of short residual k-means chains of one category, each once."""

    def __init__(
        self,
        z: Tensor,
        folds: list[tuple[Tensor, Tensor]],
        generator: torch.Generator,
        rare: Tensor,
    ):
        self._folds = [
            tuple(with_recombined(z[rows], rare, generator) for rows in fold) for fold in folds
        ]
        self._generator = generator
        self._chains: dict[tuple[int, ...], tuple[list[Beam], list[Beam], float]] = {}

    def curve(self, cap: int, least: int) -> RateDistortion:
        """Return the curve from `least` bits to full levels of `cap` bits each."""
        grid = sorted(
            {least, *range(LEVELS, cap + LEVELS), *range(cap + 2, LEVELS * cap, 3), LEVELS * cap}
        )
        measured = [self._distortion(tuple(split_bits(b, cap))) for b in grid]
        bits = np.arange(least, LEVELS * cap + 1)
        logarithm = np.interp(bits, grid, np.log(np.maximum(measured, 1e-12)))
        return RateDistortion(bits, np.exp(logarithm))

    def _distortion(self, split: tuple[int, ...]) -> float:
        return self._chain(tuple(b for b in split if b))[2]

    def _chain(self, split: tuple[int, ...]) -> tuple[list[Beam], list[Beam], float]:
        if split not in self._chains:
            self._chains[split] = self._extend(split)
        return self._chains[split]

    def _extend(self, split: tuple[int, ...]) -> tuple[list[Beam], list[Beam], float]:
        if not split:
            fitted = [Beam(z, 1) for z, _ in self._folds]
            held_out = [Beam(z, 1) for _, z in self._folds]
            return fitted, held_out, _mean_error(held_out)
        before_fitted, before_held_out, _ = self._chain(split[:-1])
        fitted, held_out = [], []
        for a, b in zip(before_fitted, before_held_out, strict=True):
            size = 2 ** split[-1]
            codes = kmeans(a.residual[:, 0], size, self._generator, LLOYD_STEPS, spread=False)
            fitted.append(_extended(a, codes))
            held_out.append(_extended(b, codes))
        return fitted, held_out, _mean_error(held_out)


def _extended(beam: Beam, codes: Tensor) -> Beam:
    longer = Beam(beam.residual[:, 0], 1)
    longer.extend(codes)
    return longer


def _mean_error(beams: list[Beam]) -> float:
    errors = torch.cat([beam.error.flatten() for beam in beams])
    return float(errors.clamp_min(0).double().mean())


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
