"""Sizes of books: within the budget, as the data want them, those that are given as they are."""

from typing import Any

import numpy as np
import pytest
import torch

from spinlock.tokenizer.start import book_sizes
from spinlock.tokenizer.start.bit_budget import LEVELS
from spinlock.tokenizer.start.book_sizes import (
    ROWS_FOR_ONE_FOLD,
    BookRequest,
    _folds,
    choose_book_sizes,
)
from spinlock.tokenizer.start.category import Category
from spinlock.tokenizer.start.category_axes import CategoryAxes


@pytest.mark.parametrize("n_rows", [2, 10, 700, 1500, 7000])
def test_rows_are_held_out_of_what_is_fitted(n_rows):
    folds = _folds(n_rows, torch.Generator().manual_seed(0))
    for fitted, held_out in folds:
        assert len(fitted) > 0 < len(held_out)
        assert not set(fitted.tolist()) & set(held_out.tolist())
    if n_rows < ROWS_FOR_ONE_FOLD:
        each = torch.cat([held_out for _, held_out in folds])
        assert sorted(each.tolist()) == list(range(n_rows))


def test_the_largest_book_is_the_one_that_leaves_the_least(monkeypatch):
    left = {5: 2.0, 6: 1.0, 7: 3.0}  # by the bits of the largest book

    def measured(curves, _):
        return left[int(curves[0].bits[-1]) // LEVELS]

    monkeypatch.setattr(book_sizes, "distortion_at", measured)
    assert np.max(choose(embeddings((1.0,), n_rows=300), 30)) == 2**6


def embeddings(scales: tuple[float, ...], n_rows: int = 200) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [scale * torch.randn(n_rows, 3, generator=generator) for scale in scales]


def choose(
    z: list[torch.Tensor],
    bits: int,
    each: list[dict[str, Any]] | None = None,
    seed: int = 1,
    **asked,
) -> list[list[int]]:
    """Return the sizes for categories whose embeddings [n, E_c] are their columns."""
    ends = np.cumsum([one.shape[1] for one in z]).tolist()
    categories = []
    for end, columns, known in zip(ends, z, each or [{}] * len(z), strict=True):
        dims, nothing = columns.shape[1], columns[:0]
        whole = {
            "axes": CategoryAxes(torch.zeros(dims), torch.eye(dims), torch.eye(dims)),
            "rare": nothing.unsqueeze(1).expand(0, 2, dims),
            "outliers": nothing,
        }
        categories.append(Category([*range(end - dims, end)], **whole | known))
    generator = torch.Generator().manual_seed(seed)
    request = BookRequest(bits=bits, **asked)
    return choose_book_sizes(torch.cat(z, dim=1), categories, request, generator)


def bits_of(sizes: list[list[int]]) -> list[float]:
    return np.log2(sizes).sum(1).tolist()


@pytest.mark.parametrize("budget", [1, 4, 6, 11, 20, 500])
def test_sizes_are_powers_of_two_within_the_budget(budget):
    sizes = choose(embeddings((1.0, 2.0)), budget)
    assert np.shape(sizes) == (2, 3)
    assert sum(bits_of(sizes)) <= budget
    assert all(k == 2 ** int(np.log2(k)) for k in np.ravel(sizes))
    if budget >= 6:
        assert np.min(sizes) >= 2
    if budget <= 20:
        assert sum(bits_of(sizes)) == budget


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_a_category_that_varies_more_gets_more_bits(unit):
    small, large = bits_of(choose(embeddings((0.3 * unit, 3.0 * unit)), 14))
    assert large > small


def test_levels_are_front_loaded():
    for levels in choose(embeddings((1.0, 2.0)), 16):
        assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("max_tokens", [2, 7, 16])
def test_no_book_is_larger_than_allowed(max_tokens):
    assert np.max(choose(embeddings((1.0, 2.0)), 60, max_tokens=max_tokens)) <= max_tokens


@pytest.mark.parametrize("max_tokens", [None, 1024])
def test_books_are_not_larger_than_half_the_rows(max_tokens):
    z = embeddings((1.0,), n_rows=100)
    assert np.max(choose(z, 60, max_tokens=max_tokens)) <= 50


@pytest.mark.parametrize("n_rows", [2, 3, 5, 40])
def test_few_rows_are_enough(n_rows):
    assert np.shape(choose(embeddings((1.0, 1.0), n_rows), 12)) == (2, 3)


def test_equal_generators_give_equal_sizes():
    z = embeddings((1.0, 2.0, 0.5))
    assert choose(z, 20) == choose(z, 20)


def test_a_target_takes_fewer_bits_the_weaker_it_is():
    z = embeddings((1.0, 2.0))
    spent = [
        sum(bits_of(choose(z, 30, target_quality=1 - share))) for share in (1.0, 0.5, 0.2, 1e-9)
    ]
    assert spent == sorted(spent)
    assert spent[0] == 6  # one bit for each level
    assert spent[1] < spent[2] < 30
    # what cannot be reached takes all that helps
    assert spent[3] == sum(bits_of(choose(z, 30)))


@pytest.mark.parametrize(
    ("given", "budget", "chosen"),
    [
        ([[None] * 5] * 2, 24, 24),
        ([[16, None, None]] * 2, 24, 16),
        ([[None, 10, None], [None, None, None]], 20, 16),  # ten codes take four bits
        ([[None]] * 2, 8, 8),
        ([[32, None], [32, None]], 8, 0),
        ([[7, 3], [5, 9]], 8, 0),
    ],
)
def test_sizes_that_are_given_take_their_bits_first(given, budget, chosen):
    sizes = choose(embeddings((3.0, 1.0)), budget, [{"sizes": levels} for levels in given])
    assert [len(levels) for levels in sizes] == [len(levels) for levels in given]
    bits = 0.0
    for levels, wanted in zip(sizes, given, strict=True):
        for size, settled in zip(levels, wanted, strict=True):
            assert settled in (None, size)
            bits += 0 if settled else np.log2(size)
    assert bits == chosen


def test_a_quality_that_the_bits_do_not_reach_is_told_with_what_limits_them(caplog):
    z = embeddings((3.0, 1.0))
    choose(z, 6, target_quality=0.999)
    assert "is not reached by each category alone with 6 bits: raise model.bits" in caplog.text
    caplog.clear()
    given = [[256, None, None], [None, None, None]]
    choose(z, 16, [{"sizes": levels} for levels in given], target_quality=0.999)
    assert "with 16 bits: raise" in caplog.text  # those of given books are among them
    caplog.clear()
    choose(z, 300, target_quality=0.9999)
    assert "with 36 bits: books hold no more" in caplog.text
    caplog.clear()
    axes = CategoryAxes(torch.zeros(3), torch.eye(3)[:, :1], torch.eye(3)[:1])
    narrow = {"axes": axes, "rare": torch.empty(0, 2, 1), "outliers": torch.empty(0, 1)}
    choose(z, 300, [narrow, {}], target_quality=0.9)
    assert "embeddings of model.group_embedding_dim dimensions leave out more" in caplog.text
    caplog.clear()
    choose(z, 6, target_quality=-1.0)
    assert not caplog.text


def test_rows_are_held_out_by_chance():
    for n_rows in (700, 6000):  # a dataset may be sorted
        for _, held_out in _folds(n_rows, torch.Generator().manual_seed(0)):
            assert held_out.max() - held_out.min() > 0.9 * n_rows


def test_parts_get_the_bits_that_tell_them_where_that_is_better_than_residuals(graded):
    z, parts = graded()
    noise = 0.1 * torch.randn(900, 3, generator=torch.Generator().manual_seed(0))
    sizes, others = choose([z, noise], 13, [{"parts": parts}, {}])
    assert sizes == [2, 8, 8]
    assert np.log2(others).sum() == 6
    residual, _ = choose([z, noise], 13)
    assert residual != sizes


def test_a_book_of_all_combinations_takes_no_two_rows_for_each_code():
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(8, (100, 2), generator=generator) / 8  # 64 combinations
    parts = [torch.eye(2), torch.eye(2)[:0], torch.eye(2)[:0]]
    for max_tokens, first in ((None, 64), (63, 32)):
        ((size, *_),) = choose([z], 30, [{"parts": parts}], max_tokens=max_tokens)
        assert size == first
    many = torch.randint(16, (100, 2), generator=generator) / 16
    ((size, *_),) = choose([many], 30, [{"parts": parts}])
    assert size <= 32


def test_books_of_all_combinations_have_no_other_codes_and_what_that_saves_is_spent():
    generator = torch.Generator().manual_seed(0)
    grades = [torch.randint(n, (900,), generator=generator) / n for n in (17, 9, 5)]
    z, parts = torch.stack(grades, dim=1), [row.diag() for row in torch.eye(3)]
    parts = [part[part.any(dim=1)] for part in parts]
    noise = 0.01 * torch.randn(900, 3, generator=generator)
    budget = 5 + 4 + 3 + 6  # the bits of books of 32, 16 and 8 codes, and others
    sizes, others = choose([z, noise], budget, [{"parts": parts}, {}])
    assert sizes == [17, 9, 5]
    assert np.log2(others).sum() == 6 + 2  # of 12 bits, books of 17 · 9 · 5 codes take 9.6


@pytest.mark.parametrize("values", [3, 5])
def test_books_of_all_combinations_hold_outliers_that_no_row_shows(values):
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(values, (900, 1), generator=generator) / values
    parts = [torch.eye(1), torch.eye(1)[:0], torch.eye(1)[:0]]
    for outliers, number in ([], values), ([[7.0], [-3.0]], values + 2):
        beside = torch.tensor(outliers).reshape(-1, 1)
        (sizes,) = choose([z], 12, [{"parts": parts, "outliers": beside}])
        assert sizes == [number, 1, 1]


@pytest.mark.parametrize("given", [[None, 4, None], [4, 4, 4]])
def test_given_books_are_not_of_parts(given, graded):
    z, parts = graded(90)
    sizes = choose([z, z], 20, [{"sizes": given, "parts": parts}] * 2)
    assert all(size[1] == 4 for size in sizes)
