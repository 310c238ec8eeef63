"""The number of codes of every book, from measured rate–distortion and a budget of bits."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.start.bit_allocation import allocate_bits, distortion_at, fewest_bits
from spinlock.tokenizer.start.bit_budget import (
    LEVELS,
    largest_book_bits,
    largest_complete_book_bits,
)
from spinlock.tokenizer.start.category_curves import CategoryCurves

log = logging.getLogger(__name__)

CAPS_TRIED = 3  # sizes of the largest book that are compared
ROWS_FOR_ONE_FOLD = 1500  # from here on a single held-out part is precise enough
FOLDS = 3
ROWS_MEASURED = 6000  # rows that the curves are measured on, at most


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
    caps = range(max(1, largest - CAPS_TRIED + 1), largest + 1)
    complete = largest_complete_book_bits(n_rows)
    if max_tokens is not None:
        limit = int(np.log2(max_tokens))
        caps, complete = [min(largest, limit)], min(complete, limit)
    folds = _folds(n_rows, generator)
    directions = rare or [z.new_empty(0, 2, z.shape[1]) for z in embeddings]
    spaces = parts or [[]] * len(embeddings)
    beside = outliers or [z[:0] for z in embeddings]
    categories = [
        CategoryCurves(folds, generator, complete, *of_category)
        for of_category in zip(embeddings, directions, given, spaces, beside, strict=True)
    ]
    choices = [_Choice(cap, categories, all_used=budget >= free) for cap in caps]
    chosen = min(choices, key=lambda one: one.distortion(budget))
    if target_distortion is not None:
        return chosen.sizes_for(target_distortion, budget, settled)
    return chosen.sizes_within(budget, settled)


class _Choice:
    """The books of all categories, for a largest book of `cap` bits."""

    def __init__(self, cap: int, categories: Sequence[CategoryCurves], *, all_used: bool):
        self._cap = cap
        self._categories = categories
        self._curves = [one.curve(cap, all_used=all_used) for one in categories]

    def distortion(self, budget: int) -> float:
        """Return the summed distortion that a budget of bits leaves."""
        return distortion_at(self._curves, allocate_bits(self._curves, budget))

    def sizes_for(self, target: float, budget: int, settled: int) -> list[list[int]]:
        """Return the sizes of the fewest bits, at most `budget`, that leave at most `target`.

        The budget is beside the `settled` bits of books that are given.
        """
        bits = fewest_bits(self._curves, budget, target)
        if distortion_at(self._curves, bits) > target:
            log.warning(
                "model.target_quality is not reached by each category alone with the %d bits of "
                "model.bits",
                budget + settled,
            )
        return self._sizes(bits)

    def sizes_within(self, budget: int, settled: int) -> list[list[int]]:
        """Return the sizes for a budget, beside the `settled` bits of books that are given.

        Books of all combinations of values need no whole number of bits: what they save is spent.
        """
        nominal, found = budget, None
        while True:
            bits = allocate_bits(self._curves, nominal)
            sizes = self._sizes(bits)
            used = sum(math.log2(size) for levels in sizes for size in levels)
            spare = math.floor(budget + settled - used)
            if found and spare < 0:
                return found
            if spare < 1 or bits.sum() < nominal:
                return sizes
            found, nominal = sizes, nominal + spare

    def _sizes(self, bits: np.ndarray) -> list[list[int]]:
        of_categories = zip(self._categories, bits, strict=True)
        return [one.sizes(int(total), self._cap) for one, total in of_categories]


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
