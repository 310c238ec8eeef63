"""Bits that automatic books can hold and use, and what categories suit a budget of bits."""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from spinlock.tokenizer.start.combinations import numbers_of_values

LEVELS = 3
MOST_BOOK_BITS = 10  # of the largest automatic book
ROWS_PER_CODE = 2  # train rows for each code of the largest book, at least
ROOM = 1.5  # what a category count's books could hold, over the budget: a choice of where bits go
LEAST_LOGARITHM = -40.0  # of a variance: less is rounding
ROW_BLOCK = 4096  # rows that are float64 at a time
WATER_STEPS = 50  # halvings of what is not known of the water level
OVER_GAUSSIAN = 2.0  # bits of tokens, over those of Gaussian columns at the same R²
BITS_PER_CATEGORY = 12  # below, an unseen row is told better by fewer, larger categories


def largest_book_bits(n_rows: int) -> int:
    """Return the bits of the largest automatic book: there are two train rows for each code."""
    return _bits_of_codes(n_rows / ROWS_PER_CODE)


def largest_complete_book_bits(n_rows: int) -> int:
    """Return the bits of the largest book that holds all there is: it takes no rows to place codes.

    It has no more codes than rows, most of which would stay unused.
    """
    return _bits_of_codes(n_rows)


def _bits_of_codes(most: float) -> int:
    return int(np.clip(np.log2(max(most, 2)), 1, MOST_BOOK_BITS))


def rows_of_books(n_rows: int, max_tokens: int | None) -> int:
    """Return the rows that automatic books are sized for: no more than the largest book uses."""
    return min(n_rows, ROWS_PER_CODE * max_tokens) if max_tokens else n_rows


def most_bits(n_categories: int, n_rows: int) -> int:
    """Return the bits that automatic books of so many categories hold at most."""
    return n_categories * LEVELS * largest_book_bits(n_rows)


def useful_categories(budget: int, n_rows: int) -> tuple[int, int]:
    """Return the fewest categories that leave room for a choice, and the most that get enough."""
    fewest = max(2, math.ceil(ROOM * budget / most_bits(1, n_rows)))
    return fewest, max(fewest, budget // BITS_PER_CATEGORY)


def bits_for_quality(x: np.ndarray, target: float) -> int:
    """Return the bits that an R² of columns x [n, D] takes, by a rule of thumb.

    Twice what Gaussian columns of their covariance take by reverse water-filling (Cover & Thomas,
    theorem 10.3.3): categories tell again what others tell, and books are no Gaussian codes.
    """
    variances = _variances_along_axes(x)
    low, high = LEAST_LOGARITHM, float(np.log2(variances.max()))
    for _ in range(WATER_STEPS):
        level = (low + high) / 2
        missed = np.minimum(variances, 2.0**level).sum() / variances.sum()
        low, high = (low, level) if missed > 1 - target else (level, high)
    return math.ceil(OVER_GAUSSIAN * np.maximum(np.log2(variances) - low, 0).sum() / 2)


class BitDemand:
    """What categories of columns want of a budget of bits, beside what their books hold.

    Of Gaussian columns that categories tell apart, the bits that lower the error most are those
    of reverse water-filling over the principal axes of every category (Cover & Thomas, 2006,
    Elements of Information Theory, theorem 10.3.3): an axis of variance λ gets ½ log₂(λ/θ), where
    λ is above the water level θ, which the budget sets. A category whose columns take few
    different values wants no more than tells these apart.

    Parameters
    ----------
    x : array [n, D]
        Train rows.
    budget : int
    n_rows : int
        Rows that the books are as large as.
    """

    def __init__(self, x: np.ndarray, budget: int, n_rows: int):
        self._x = x
        self._budget = budget
        self._held = most_bits(1, n_rows)
        self._few = len(x) / ROWS_PER_CODE  # different values: of more, each row may have its own
        self._known: dict[tuple[int, ...], tuple[np.ndarray, float]] = {}

    @cached_property
    def _values(self) -> np.ndarray:
        return numbers_of_values(self._x)

    def share(self, partition: Sequence[np.ndarray]) -> float:
        """Return the share of the wanted bits that the categories' books hold."""
        wanted = self.wanted(partition)
        missed = np.maximum(wanted - self._held, 0).sum()
        return 1 - float(missed / max(wanted.sum(), 1))

    def overfull(self, partition: Sequence[np.ndarray]) -> list[int]:
        """Return the categories that want more bits than their books hold, the neediest first."""
        wanted = self.wanted(partition)
        return [int(c) for c in np.argsort(-wanted, kind="stable") if wanted[c] > self._held]

    def wanted(self, partition: Sequence[np.ndarray]) -> np.ndarray:
        """Return the bits [C] that categories would get if their books could hold any number."""
        variances, limits = zip(*(self._category(members) for members in partition), strict=True)
        logarithms = np.log2(np.concatenate(variances))
        firsts = np.cumsum([0, *map(len, variances[:-1])])
        low, high = LEAST_LOGARITHM, float(logarithms.max())
        for _ in range(WATER_STEPS):
            level = (low + high) / 2
            bits = np.add.reduceat(np.maximum(logarithms - level, 0) / 2, firsts)
            bits = np.minimum(bits, limits)
            low, high = (level, high) if bits.sum() > self._budget else (low, level)
        return bits

    def _category(self, members: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the variances along principal axes, and the bits that tell all values apart."""
        key = tuple(members.tolist())
        if key not in self._known:
            variances = _variances_along_axes(self._x[:, members])
            self._known[key] = variances, self._limit(members)
        return self._known[key]

    def _limit(self, members: np.ndarray) -> float:
        values = self._values[members]
        if values.max() > self._few:
            return math.inf
        rows = len(np.unique(self._x[:, members], axis=0))
        return math.log2(rows) if rows <= self._few else float(np.log2(values).sum())


def _variances_along_axes(x: np.ndarray) -> np.ndarray:
    """Return the variances [d] of rows x [n, d] along their principal axes; [n] of fewer rows."""
    n, d = x.shape
    mean = x.mean(axis=0, dtype=np.float64)
    if n < d:  # the smaller product has the same eigenvalues
        deviation = x - mean
        gram = deviation @ deviation.T
    else:
        gram = np.zeros((d, d))
        for block in np.array_split(x, -(-n // ROW_BLOCK)):
            deviation = block - mean
            gram += deviation.T @ deviation
    return np.maximum(np.linalg.eigvalsh(gram / n), 2.0**LEAST_LOGARITHM)
