"""Bits that automatic books can hold and use, and how many categories suit a budget of bits."""

import math
from collections.abc import Sequence

import numpy as np

LEVELS = 3
MOST_BOOK_BITS = 10  # of the largest automatic book
ROWS_PER_CODE = 2  # train rows for each code of the largest book, at least
ROOM = 1.5  # what a category count's books could hold, over the budget: a choice of where bits go
BITS_PER_CATEGORY = 12  # below, an unseen row is told better by fewer, larger categories


def largest_book_bits(n_rows: int) -> int:
    """Return the bits of the largest automatic book: there are two train rows for each code."""
    return int(np.clip(np.log2(max(n_rows / ROWS_PER_CODE, 2)), 1, MOST_BOOK_BITS))


def rows_of_books(n_rows: int, max_tokens: int | None) -> int:
    """Return the rows that automatic books are sized for: no more than the largest book uses."""
    return min(n_rows, ROWS_PER_CODE * max_tokens) if max_tokens else n_rows


def most_bits(n_categories: int, n_rows: int) -> int:
    """Return the bits that automatic books of so many categories hold at most."""
    return n_categories * LEVELS * largest_book_bits(n_rows)


def usable_bits(x: np.ndarray, partition: Sequence[np.ndarray], n_rows: int) -> float:
    """Return the bits that automatic books of the categories of rows x [n, D] can use.

    A category whose rows take few different values, like one of yes and no, needs no more than
    the logarithm of their number.
    """
    total = 0.0
    for members in partition:
        distinct = len(np.unique(x[:, members], axis=0))
        most = most_bits(1, n_rows)
        few = distinct <= len(x) / ROWS_PER_CODE
        total += min(most, math.log2(distinct)) if few else most
    return total


def useful_categories(budget: int, n_rows: int) -> tuple[int, int]:
    """Return the fewest categories that leave room for a choice, and the most that get enough."""
    fewest = max(2, math.ceil(ROOM * budget / most_bits(1, n_rows)))
    return fewest, max(fewest, budget // BITS_PER_CATEGORY)
