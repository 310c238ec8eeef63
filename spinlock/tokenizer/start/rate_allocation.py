"""Bits per category from measured rate–distortion, and codebook sizes per level."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.network.codebook import Beam, kmeans
from spinlock.tokenizer.start.bit_budget import (
    LEVELS,
    largest_book_bits,
    largest_complete_book_bits,
)
from spinlock.tokenizer.start.combinations import all_combinations, codes_of_values
from spinlock.tokenizer.start.rare_events import with_recombined

log = logging.getLogger(__name__)

CAPS_TRIED = 3  # sizes of the largest book that are compared
ROWS_FOR_ONE_FOLD = 1500  # from here on a single held-out part is precise enough
FOLDS = 3
ROWS_MEASURED = 6000  # rows that the curves are measured on, at most
LLOYD_STEPS = 8
NO_ERROR = 1e-6  # squared deviations: what is less is rounding


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
    *_, most = _allocations(curves, budget)
    return most


def _allocations(curves: Sequence[RateDistortion], budget: int) -> Iterator[np.ndarray]:
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


def choose_book_sizes(
    embeddings: Sequence[Tensor],
    budget: int,
    generator: torch.Generator,
    *,
    given: Sequence[Sequence[int | None]] | None = None,
    rare: Sequence[Tensor] | None = None,
    parts: Sequence[Sequence[Tensor]] | None = None,
    outliers: Sequence[Tensor] | None = None,
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
    given : sequence [C] of sequence [L] of int or None, optional
        Sizes of books that are settled and take their bits first; None for those to choose. By
        default three levels to choose.
    rare : sequence of Tensor [R_c, 2, E_c], optional
        Directions of each category whose rare events are measured in new combinations too.
    parts : sequence [C] of sequence [L] of Tensor [r, E_c], optional
        Columns of each category that levels may tell one by one, as orthonormal directions in its
        embedding, where that is better than telling what the levels before left; none where a
        category has no such.
    outliers : sequence of Tensor [m, E_c], optional
        Rows beside those of each category, of which a book that holds all combinations has codes.
    max_tokens : int, optional
        Largest book; by default the one with the lowest held-out distortion.
    target_distortion : float, optional
        Use the fewest bits, at most `budget`, with at most this held-out distortion.

    Returns
    -------
    list [C] of list [L] of int
    """
    given = given or [[None] * LEVELS] * len(embeddings)
    if all(size is not None for levels in given for size in levels):
        return [[int(size) for size in levels] for levels in given]  # type: ignore[arg-type]
    settled = math.ceil(sum(math.log2(size) for levels in given for size in levels if size))
    budget -= settled
    free = sum(size is None for levels in given for size in levels)
    n_rows = len(embeddings[0])
    largest = largest_book_bits(n_rows)
    caps = list(range(max(1, largest - CAPS_TRIED + 1), largest + 1))
    complete = largest_complete_book_bits(n_rows)
    if max_tokens is not None:
        limit = int(np.log2(max_tokens))
        caps, complete = [min(largest, limit)], min(complete, limit)
    folds = _folds(n_rows, generator)
    options = []
    directions = rare or [z.new_empty(0, 2, z.shape[1]) for z in embeddings]
    spaces = parts or [[] for _ in embeddings]
    beside = outliers or [z[:0] for z in embeddings]
    measured = [
        _CategoryCurves(folds, generator, complete, *of_category)
        for of_category in zip(embeddings, directions, given, spaces, beside, strict=True)
    ]
    for cap in caps:
        curves = [one.curve(cap, all_used=budget >= free) for one in measured]
        bits = allocate_bits(curves, budget)
        options.append((distortion_at(curves, bits), cap, bits, curves))
    _, cap, bits, curves = min(options, key=lambda option: option[:2])
    if target_distortion is not None:
        bits = _fewest_bits(curves, budget, target_distortion)
        if distortion_at(curves, bits) > target_distortion:
            log.warning(
                "model.target_quality is not reached by each category alone with the %d bits of "
                "model.bits; all of them are used",
                budget,
            )
        return _sizes(measured, bits, cap)
    return _sizes_within(budget, settled, measured, curves, cap)


def _sizes(measured: Sequence["_CategoryCurves"], bits: np.ndarray, cap: int) -> list[list[int]]:
    return [one.sizes(int(total), cap) for one, total in zip(measured, bits, strict=True)]


def _sizes_within(
    budget: int,
    settled: int,
    measured: Sequence["_CategoryCurves"],
    curves: Sequence[RateDistortion],
    cap: int,
) -> list[list[int]]:
    """Return the sizes for a budget; what books with no need of a whole number of bits save, too.

    Such are books that hold all combinations of values.
    """
    nominal, found = budget, None
    while True:
        bits = allocate_bits(curves, nominal)
        sizes = _sizes(measured, bits, cap)
        used = sum(math.log2(size) for levels in sizes for size in levels)
        spare = math.floor(budget + settled - used)
        if found and spare < 0:
            return found
        if spare < 1 or bits.sum() < nominal:
            return sizes
        found, nominal = sizes, nominal + spare


def _fewest_bits(curves: list[RateDistortion], budget: int, target: float) -> np.ndarray:
    for bits in _allocations(curves, budget):
        if distortion_at(curves, bits) <= target:
            break
    return bits


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
    """Measures the distortion of one category at each number of bits.

    Of residual books, and where the category has parts, also of a book of each.
    """

    def __init__(
        self,
        folds: list[tuple[Tensor, Tensor]],
        generator: torch.Generator,
        complete: int,
        z: Tensor,
        rare: Tensor,
        given: Sequence[int | None],
        parts: Sequence[Tensor],
        outliers: Tensor,
    ):
        self._given = given
        rows = [
            (
                with_recombined(z[fitted], rare, generator),
                with_recombined(z[held_out], rare, generator, events_of=z[fitted]),
            )
            for fitted, held_out in folds
        ]
        self._whole = _Chains(rows, generator)
        parts = parts if all(size is None for size in given) else ()
        self._parts = [
            _Chains([(a @ part.T, b @ part.T) for a, b in rows], generator, codes_of_values)
            for part in parts
        ]
        told = torch.cat([z, outliers])
        self._combinations = [_number_of_combinations(told @ part.T, 2**complete) for part in parts]
        self._splits_over_parts: dict[tuple[int, int], list[int]] = {}

    def curve(self, cap: int, *, all_used: bool) -> RateDistortion:
        """Return the curve from no bits, or one of each level, to levels of `cap` bits each."""
        levels = self._given.count(None)
        least, most = levels if all_used else 0, levels * cap
        grid = sorted({least, *range(levels, cap + levels), *range(cap + 2, most, 3), most})
        grid = [b for b in grid if b <= most]
        sizes = [self._with_given(split_bits(b, cap, levels)) for b in grid]
        measured = [self._whole.distortion(size for size in one if size > 1) for one in sizes]
        splits = list(self._over_parts(cap, least_of_each=int(all_used)))
        bits = np.arange(least, max([most, *(int(split.sum()) for split, _ in splits)]) + 1)
        logarithm = np.interp(bits, grid, np.log(np.maximum(measured, NO_ERROR)))
        distortion = np.exp(logarithm)
        for split, of_parts in splits:
            total = int(split.sum())
            if of_parts < distortion[total - least]:
                distortion[total - least] = max(of_parts, NO_ERROR)
                self._splits_over_parts[total, cap] = split.tolist()
        return RateDistortion(bits, distortion)

    def _over_parts(self, cap: int, least_of_each: int) -> Iterator[tuple[np.ndarray, float]]:
        """Give the best splits of bits over the parts, and the distortion that each leaves."""
        if not self._parts:
            return
        curves = []
        for part, number in zip(self._parts, self._combinations, strict=True):
            most = max(cap, math.ceil(math.log2(number)) if number else 0)
            bits = np.arange(least_of_each, most + 1)
            left = [part.distortion([2**b]) for b in bits.tolist()]
            curves.append(RateDistortion(bits, np.array(left)))
        for split in _allocations(curves, sum(int(curve.bits[-1]) for curve in curves)):
            yield split, distortion_at(curves, split)

    def sizes(self, bits: int, cap: int) -> list[int]:
        """Return the sizes of all books when those to choose share so many bits."""
        split = self._splits_over_parts.get((bits, cap))
        if split:
            parts = zip(split, self._combinations, strict=True)
            return [min(2**b, number or 2**b) for b, number in parts]
        return self._with_given(split_bits(bits, cap, self._given.count(None)))

    def _with_given(self, split: Sequence[int]) -> list[int]:
        chosen = iter(split)
        return [2 ** next(chosen) if size is None else size for size in self._given]


def _number_of_combinations(x: Tensor, most: int) -> int:
    """Return how many combinations of values the columns of rows x have; 0 for over `most`."""
    combinations = all_combinations(x, most)
    return 0 if combinations is None else len(combinations)


class _Chains:
    """Short residual chains of books, fitted to some rows and measured on others, each once."""

    def __init__(
        self,
        folds: Sequence[tuple[Tensor, Tensor]],
        generator: torch.Generator,
        fit: Callable[..., Tensor] = kmeans,
    ):
        self._folds = folds
        self._generator = generator
        self._fit = fit
        self._found: dict[tuple[int, ...], tuple[list[Beam], list[Beam], float]] = {}

    def distortion(self, sizes: Iterable[int]) -> float:
        """Return the held-out squared error per row that books of these sizes leave."""
        return self.chain(tuple(sizes))[2]

    def chain(self, sizes: tuple[int, ...]) -> tuple[list[Beam], list[Beam], float]:
        """Return what books of these sizes leave of fitted and held-out rows, and distortion."""
        if sizes not in self._found:
            self._found[sizes] = self._extend(sizes)
        return self._found[sizes]

    def _extend(self, sizes: tuple[int, ...]) -> tuple[list[Beam], list[Beam], float]:
        if not sizes:
            fitted = [Beam(z, 1) for z, _ in self._folds]
            held_out = [Beam(z, 1) for _, z in self._folds]
            return fitted, held_out, _mean_error(held_out)
        before_fitted, before_held_out, _ = self.chain(sizes[:-1])
        fitted, held_out = [], []
        for a, b in zip(before_fitted, before_held_out, strict=True):
            left = a.residual[:, 0]
            codes = self._fit(left, sizes[-1], self._generator, LLOYD_STEPS, spread=False)
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
