"""The number of codes of every book, from measured rate–distortion and a budget of bits."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.start.bit_allocation import allocate_bits, distortion_at, fewest_bits
from spinlock.tokenizer.start.bit_budget import largest_book_bits, largest_complete_book_bits
from spinlock.tokenizer.start.category import Category, Levels
from spinlock.tokenizer.start.category_curves import CategoryCurves

log = logging.getLogger(__name__)

CAPS_TRIED = 3  # sizes of the largest book that are compared
ROWS_FOR_ONE_FOLD = 1500  # from here on a single held-out part is precise enough
FOLDS = 3
ROWS_MEASURED = 6000  # rows that the curves are measured on, at most


@dataclass(frozen=True)
class BookRequest:
    """How many codes each book gets.

    Attributes
    ----------
    bits : int
        Budget per row, for automatic sizes.
    target_quality : float, optional
        Fewest bits, at most `bits`, that reach this held-out R².
    max_tokens : int, optional
        Largest automatic book; by default the one with the lowest held-out distortion.
    explicit : list [C] of list [L] of (latent_dim or None, num_tokens or None), optional
        What the settings say; None entries are filled automatically.
    """

    bits: int = 288
    target_quality: float | None = None
    max_tokens: int | None = None
    explicit: list[Levels] | None = None


def choose_book_sizes(
    x: Tensor, categories: Sequence[Category], request: BookRequest, generator: torch.Generator
) -> list[list[int]]:
    """Choose the number of codes of every category and level.

    Parameters
    ----------
    x : Tensor [n, D]
        Train rows.
    categories : sequence of Category
        Sizes that they settle are kept, and take their bits first.
    request : BookRequest
        Its budget, target and largest book.
    generator : torch.Generator

    Returns
    -------
    list [C] of list [L] of int
    """
    given = [size for one in categories for size in one.sizes]
    if None not in given:
        return [[int(size) for size in one.sizes] for one in categories]  # type: ignore[arg-type]
    settled = math.ceil(sum(math.log2(size) for size in given if size))
    budget = request.bits - settled
    caps, complete = _bits_of_largest_books(len(x), request.max_tokens)
    folds = _folds(len(x), generator)
    curves = [CategoryCurves(folds, generator, complete, one, one.embed(x)) for one in categories]
    choices = [_Choice(cap, curves, all_used=budget >= given.count(None)) for cap in caps]
    chosen = min(choices, key=lambda one: one.distortion(budget))
    if request.target_quality is None:
        return chosen.sizes_within(budget, settled)
    target = _distortion_allowed(x, categories, request.target_quality)
    return chosen.sizes_for(target, budget, settled)


def _bits_of_largest_books(n_rows: int, max_tokens: int | None) -> tuple[Sequence[int], int]:
    """Return the bits of largest books to try, and of the largest book of all combinations."""
    largest, complete = largest_book_bits(n_rows), largest_complete_book_bits(n_rows)
    if max_tokens is None:
        return range(max(1, largest - CAPS_TRIED + 1), largest + 1), complete
    limit = int(np.log2(max_tokens))
    return [min(largest, limit)], min(complete, limit)


def _distortion_allowed(x: Tensor, categories: Sequence[Category], quality: float) -> float:
    """Return the distortion of embeddings that leaves this R² of the columns x [n, D].

    What embeddings leave out is lost, whatever the bits.
    """
    total, embedded = _variance(x), sum(_variance(one.embed(x)) for one in categories)
    return (1 - quality) * total - (total - embedded)


def _variance(x: Tensor) -> float:
    """Return the summed variances of columns x [n, d]."""
    return float(x.var(dim=0, correction=0).double().sum())


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
                "model.target_quality is not reached by each category alone with %d bits: %s",
                *(bits.sum() + settled, self._limit(int(bits.sum()), budget, target)),
            )
        return self._sizes(bits)

    @staticmethod
    def _limit(used: int, budget: int, target: float) -> str:
        """Return what keeps books from leaving a target."""
        if target <= 0:
            return "embeddings of model.group_embedding_dim dimensions leave out more than that"
        if used >= budget:
            return "raise model.bits"
        return "books hold no more with so few rows, or more would not lower the held-out error"

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
