"""What is known of a category: its levels as they were asked for, its events and its parts."""

import pytest
import torch

from spinlock.tokenizer.start.bit_budget import LEVELS
from spinlock.tokenizer.start.category import Category, categories_of
from spinlock.tokenizer.start.category_axes import CategoryAxes, principal_axes
from spinlock.tokenizer.start.column_parts import column_parts
from spinlock.tokenizer.start.rare_events import SeldomEvents, rare_columns, rare_directions

PARTITION = [[0, 2], [3, 1, 4]]


def categories(x: torch.Tensor, **asked) -> list[Category]:
    return categories_of(PARTITION, principal_axes(x, PARTITION, 64), SeldomEvents.of(x), **asked)


def test_levels_are_open_unless_they_are_given():
    x = torch.randn(50, 5)
    for one in categories(x):
        assert one.dims == one.sizes == (None,) * LEVELS
        assert not one.is_limited
    first, second = categories(x, levels=[[(None, 8)], [(2, None), (None, 4)]])
    assert (first.dims, first.sizes, first.is_limited) == ((None,), (8,), False)
    assert (second.dims, second.sizes, second.is_limited) == ((2, None), (None, 4), True)


def test_rows_are_embedded_by_the_columns_of_the_category():
    x, unseen = torch.randn(50, 5), torch.randn(9, 5)
    for one, members in zip(categories(x), PARTITION, strict=True):
        assert one.members == members
        assert torch.equal(one.embed(unseen), one.axes.project(unseen[:, members]))


def test_rare_events_are_those_of_its_own_columns():
    x = torch.randn(400, 5)
    x[:, 4] = 0.0
    x[7, 4] = 20.0
    first, second = categories(x)
    assert not len(first.rare)
    expected = rare_directions(rare_columns(x)[PARTITION[1]], second.axes)
    assert torch.equal(second.rare, expected)
    assert len(expected) == 1


def test_outliers_are_those_of_its_own_columns():
    x, caps = torch.randn(50, 5), torch.tensor([[-9.0], [9.0]]).repeat(1, 5)
    events = SeldomEvents.of(x, caps)
    first, second = categories_of(PARTITION, principal_axes(x, PARTITION, 64), events)
    for one in (first, second):
        rows = events.rows_at_caps(one.members)
        assert len(rows) == 2 * len(one.members)
        assert torch.equal(one.outliers, one.axes.project(rows))


@pytest.mark.parametrize(
    ("rows", "values", "tried"), [(400, 100, True), (400, 101, False), (40_000, 1200, True)]
)
def test_values_are_few_where_each_is_of_four_rows(rows, values, tried):
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(rows, generator=generator) % values for _ in range(4)]
    x = torch.stack(orders, dim=1).float()
    axes = CategoryAxes.principal(x, 64)
    assert bool(Category.of(range(4), axes, SeldomEvents.of(x)).with_parts(x).parts) is tried


def test_each_category_has_its_own_parts():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=generator)
    x[:, PARTITION[1]] = x[:, PARTITION[1]].round()
    many, few = (one.with_parts(x) for one in categories(x))
    assert not many.parts
    expected = column_parts(x[:, PARTITION[1]], few.axes, LEVELS)
    assert len(expected) == LEVELS
    assert all(torch.equal(*pair) for pair in zip(few.parts, expected, strict=True))


def test_there_are_as_many_parts_as_levels():
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)).round()
    levels = [[(None, None)] * 2] * 2
    assert [len(one.with_parts(x).parts) for one in categories(x, levels=levels)] == [2, 2]
