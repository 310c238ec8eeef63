"""What books hold and use, and the numbers of categories that follow from it."""

import numpy as np
import pytest

from spinlock.tokenizer.start.bit_budget import (
    LEVELS,
    largest_book_bits,
    most_bits,
    rows_of_books,
    usable_bits,
    useful_categories,
)


@pytest.mark.parametrize(
    ("n_rows", "bits"), [(1, 1), (2, 1), (20, 3), (320, 7), (3200, 10), (10**6, 10)]
)
def test_an_automatic_book_has_two_rows_for_each_code(n_rows, bits):
    assert largest_book_bits(n_rows) == bits


@pytest.mark.parametrize(("budget", "n_rows"), [(96, 142), (288, 320), (288, 3200), (70, 10)])
def test_the_fewest_categories_hold_half_more_than_the_budget_and_one_less_would_not(
    budget, n_rows
):
    fewest, most = useful_categories(budget, n_rows)
    held_by_one = LEVELS * largest_book_bits(n_rows)
    assert held_by_one * fewest >= 1.5 * budget > held_by_one * (fewest - 1)
    assert most >= fewest


def test_so_many_categories_get_twelve_bits_each():
    assert useful_categories(288, 3200) == (15, 24)
    assert useful_categories(36, 3200) == (2, 3)


def test_a_category_uses_no_more_bits_than_its_values_take():
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 2, (400, 3)).astype(float)
    measured = rng.normal(size=(400, 2))
    x = np.hstack([answers, measured])
    full = most_bits(1, 400)
    assert full == 3 * 7
    assert usable_bits(x, [np.arange(3)], 400) == 3
    assert usable_bits(x, [np.array([0]), np.array([1, 2])], 400) == 3
    assert usable_bits(x, [np.arange(3), np.array([3, 4])], 400) == 3 + full
    assert usable_bits(x, [np.arange(5)], 400) == full
    assert usable_bits(x, [np.array([3])], 10) == most_bits(1, 10)


def test_a_category_uses_no_more_bits_than_its_books_hold():
    x = np.arange(400.0)[:, None] // 4  # a hundred values
    assert usable_bits(x, [np.array([0])], 400) == np.log2(100)
    assert usable_bits(x, [np.array([0])], 4) == most_bits(1, 4) == 3


def test_there_are_two_categories_at_least():
    assert useful_categories(1, 3200) == (2, 2)


@pytest.mark.parametrize(
    ("n_rows", "max_tokens", "rows"), [(1000, None, 1000), (1000, 16, 32), (10, 16, 10)]
)
def test_books_that_may_not_be_larger_count_as_those_of_fewer_rows(n_rows, max_tokens, rows):
    assert rows_of_books(n_rows, max_tokens) == rows
    if max_tokens:
        assert 2 ** largest_book_bits(rows) <= max_tokens
