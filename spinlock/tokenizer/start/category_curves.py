"""Held-out distortion of one category at each number of bits, measured with chains of books."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.network.codebook import Beam
from spinlock.tokenizer.start.bit_allocation import RateDistortion, allocations, distortion_at
from spinlock.tokenizer.start.bit_budget import LEVELS
from spinlock.tokenizer.start.category import Category
from spinlock.tokenizer.start.combinations import all_combinations, codes_of_values
from spinlock.tokenizer.start.kmeans import kmeans
from spinlock.tokenizer.start.rare_events import with_recombined

LLOYD_STEPS = 8
NO_ERROR = 1e-6  # squared deviations: what is less is rounding


class CategoryCurves:
    """Measures the distortion of one category at each number of bits.

    Of residual books, and where the category has parts, also of a book of each.

    Parameters
    ----------
    folds : list of (int Tensor, int Tensor)
        Positions of rows that books are fitted to, and of rows that they are measured on.
    generator : torch.Generator
    complete : int
        Bits, at most, of a book that holds all combinations of values of a part.
    category : Category
        What settles some sizes, which parts there are, and what is put beside the rows.
    z : Tensor [n, E]
        Embeddings of rows.
    """

    def __init__(
        self,
        folds: list[tuple[Tensor, Tensor]],
        generator: torch.Generator,
        complete: int,
        category: Category,
        z: Tensor,
    ):
        self._given = category.sizes
        rare, outliers = category.rare, category.outliers
        rows = [
            (
                torch.cat([with_recombined(z[fitted], rare, generator), outliers]),
                with_recombined(z[held_out], rare, generator, events_of=z[fitted]),
            )
            for fitted, held_out in folds
        ]
        self._whole = _Chains(rows, generator)
        parts = category.parts if all(size is None for size in self._given) else ()
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
        for split in allocations(curves, sum(int(curve.bits[-1]) for curve in curves)):
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


def _number_of_combinations(x: Tensor, most: int) -> int:
    """Return how many combinations of values the columns of rows x have; 0 for over `most`."""
    combinations = all_combinations(x, most)
    return 0 if combinations is None else len(combinations)


@dataclass(frozen=True)
class _Link:
    """The last book of a chain in one fold, and which of its codes rows take.

    What a chain leaves of the rows is a thousand times larger, and found from these again.
    """

    codes: Tensor
    fitted: Tensor
    held_out: Tensor


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
        self._links: dict[tuple[int, ...], list[_Link]] = {}
        self._distortions = {(): _mean([z.square().sum(-1) for _, z in folds])}

    def distortion(self, sizes: Iterable[int]) -> float:
        """Return the held-out squared error per row that books of these sizes leave."""
        sizes = tuple(sizes)
        self._fit_chain(sizes)
        return self._distortions[sizes]

    def _fit_chain(self, sizes: tuple[int, ...]) -> None:
        if sizes in self._distortions:
            return
        self._fit_chain(sizes[:-1])
        links, errors = [], []
        for fitted, held_out in self.left(sizes[:-1]):
            codes = self._fit(fitted, sizes[-1], self._generator, LLOYD_STEPS, spread=False)
            (of_fitted, _), (of_held_out, error) = (_nearest(z, codes) for z in (fitted, held_out))
            links.append(_Link(codes, of_fitted, of_held_out))
            errors.append(error)
        self._links[sizes] = links
        self._distortions[sizes] = _mean(errors)

    def left(self, sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
        """Return what books of these sizes leave of the fitted and the held-out rows of a fold."""
        if not sizes:
            return list(self._folds)
        return [
            (
                fitted - link.codes.index_select(0, link.fitted),
                held_out - link.codes.index_select(0, link.held_out),
            )
            for (fitted, held_out), link in zip(
                self.left(sizes[:-1]), self._links[sizes], strict=True
            )
        ]


def _nearest(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the code [n] of each row z [n, E], and the squared error [n] that it leaves."""
    beam = Beam(z, 1)
    beam.extend(codes)
    return beam.tokens[:, 0, 0].int(), beam.error[:, 0]


def _mean(errors: Sequence[Tensor]) -> float:
    return float(torch.cat(list(errors)).clamp_min(0).double().mean())
