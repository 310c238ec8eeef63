"""Parts of columns: alike ones together, all apart in the embedding, none where values are many."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.start.book_fitting import books_error, books_within
from spinlock.tokenizer.start.category_axes import CategoryAxes
from spinlock.tokenizer.start.column_parts import (
    _even_cuts,
    column_parts,
    columns_of_space,
)
from spinlock.tokenizer.start.kmeans import residual_books

GROUPS = [[0, 3, 6], [1, 4], [2, 5]]  # of alike columns


def graded(seed: int = 0, n_rows: int = 400, grades: int = 4) -> torch.Tensor:
    """Return columns of few values, of which those of a group are alike."""
    rng = np.random.default_rng(seed)
    x = np.empty((n_rows, 7))
    for members in GROUPS:
        shared = rng.normal(size=(n_rows, 1))
        x[:, members] = shared + 0.3 * rng.normal(size=(n_rows, len(members)))
    return torch.from_numpy(np.clip(np.round(x), -grades // 2, grades // 2 - 1)).float()


def parts_of(x: torch.Tensor, levels: int = 3, limit: int = 64) -> list[torch.Tensor]:
    return column_parts(x, CategoryAxes.principal(x, limit), levels)


def test_alike_columns_are_of_one_part_and_those_that_say_most_come_first():
    x = graded()
    axes = CategoryAxes.principal(x, 64)
    found = []
    for part in column_parts(x, axes, 3):
        of_columns = part @ axes.analysis.T
        torch.testing.assert_close(of_columns, of_columns.round(), atol=1e-5, rtol=0)
        found.append(of_columns.round().nonzero()[:, 1].sort().values.tolist())
    assert found[0] == GROUPS[0]
    assert sorted(found[1:]) == GROUPS[1:]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_parts_are_apart_and_together_all_of_the_embedding(seed, levels):
    parts = parts_of(graded(seed, n_rows=60), levels)
    assert len(parts) == levels
    together = torch.cat(parts)
    torch.testing.assert_close(together @ together.T, torch.eye(7), atol=1e-4, rtol=0)


def test_books_of_parts_tell_combinations_that_residual_ones_of_their_sizes_do_not():
    x, unseen = graded(0, 2000), graded(1, 200)
    axes = CategoryAxes.principal(x, 64)
    parts, z = column_parts(x, axes, 3), axes.project(x)
    sizes = [2 * len(torch.unique((z @ one.T).round(decimals=3), dim=0)) for one in parts]
    generator = torch.Generator().manual_seed(0)
    of_parts = books_within(z, sizes, parts, generator)
    residual = residual_books(z, sizes, generator)
    errors = [books_error(axes.project(unseen), books, 4) for books in (of_parts, residual)]
    assert errors[0] < 0.01 * float((unseen - axes.mean).square().sum())
    assert errors[0] < 0.5 * errors[1]


def test_half_of_the_columns_take_few_values():
    few, many = graded()[:, :3], torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    assert parts_of(torch.cat([few, many[:, :3]], dim=1))
    assert not parts_of(torch.cat([few, many], dim=1))


@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_of_few_columns_each_is_a_part_and_the_last_ones_are_empty(n_columns):
    x = graded()[:, :n_columns]
    parts = parts_of(x)
    assert [len(part) for part in parts] == [1] * n_columns + [0] * (3 - n_columns)
    z = CategoryAxes.principal(x, 64).project(x)
    books = books_within(z, [4, 4, 4], parts, torch.Generator().manual_seed(0))
    assert [book.shape for book in books] == [(4, n_columns)] * 3
    assert books_error(z, books, 1) == pytest.approx(0, abs=1e-3)


def test_columns_are_apart_only_in_a_rotation_of_them():
    x = graded()
    axes = CategoryAxes.principal(x, 64)
    assert not parts_of(x, limit=6)
    weighted = CategoryAxes(axes.mean, 2 * axes.analysis, axes.synthesis / 2)
    assert not column_parts(x, weighted, 3)


def test_a_column_that_never_changes_is_of_some_part():
    x = graded()
    x[:, 3] = 1.0
    together = torch.cat(parts_of(x))
    torch.testing.assert_close(together @ together.T, torch.eye(7), atol=1e-4, rtol=0)


def test_a_part_has_few_columns_where_they_take_many_values():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, [32, 2, 2, 2, 2, 2, 2, 2], (2000, 8))).float()
    axes = CategoryAxes.principal(x, 64)
    numbers = torch.tensor([32, 2, 2, 2, 2, 2, 2, 2])
    combinations = [
        int(numbers[(part @ axes.analysis.T).round().nonzero()[:, 1]].prod())
        for part in column_parts(x, axes, 3)
    ]
    assert max(combinations) <= 64  # of equal numbers of columns, 128 at least


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 99), min_size=1, max_size=8), st.data())
def test_no_other_cuts_make_fewer_combinations(numbers, data):
    numbers, n = np.array(numbers, float), len(numbers)
    runs = data.draw(st.integers(1, n))
    found = np.split(numbers, _even_cuts(np.log2(numbers), runs))
    assert len(found) == runs
    assert all(map(len, found))
    fewest = min(
        sum(run.prod() for run in np.split(numbers, cuts))
        for cuts in itertools.combinations(range(1, n), runs - 1)
    )
    assert sum(run.prod() for run in found) == pytest.approx(fewest)


def test_the_columns_of_a_part_are_found_again_in_its_space():
    x = graded()
    axes = CategoryAxes.principal(x, 64)
    for part in column_parts(x, axes, 3):
        found = columns_of_space(part.T @ part, axes.analysis)
        assert {tuple(one) for one in found.tolist()} == {tuple(one) for one in part.tolist()}


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_space_without_its_columns_is_spanned_all_the_same(seed, rank):
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q[:rank]
    space = axes.T @ axes
    for columns in (torch.eye(5), 2 * axes, axes[:-1]):
        found = columns_of_space(space, columns)
        torch.testing.assert_close(found.T @ found, space, atol=1e-4, rtol=0)
        torch.testing.assert_close(found @ found.T, torch.eye(rank), atol=1e-4, rtol=0)
