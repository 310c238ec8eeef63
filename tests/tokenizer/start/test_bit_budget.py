"""What books hold and use, and the numbers of categories that follow from it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.analysis.metrics import gaussian_reference
from spinlock.tokenizer.start.bit_budget import (
    LEVELS,
    BitDemand,
    bits_for_quality,
    largest_book_bits,
    largest_complete_book_bits,
    most_bits,
    rows_of_books,
    useful_categories,
)


@pytest.mark.parametrize(
    ("n_rows", "bits"), [(1, 1), (2, 1), (20, 3), (320, 7), (3200, 10), (10**6, 10)]
)
def test_an_automatic_book_has_two_rows_for_each_code(n_rows, bits):
    assert largest_book_bits(n_rows) == bits


@pytest.mark.parametrize(
    ("n_rows", "bits"), [(1, 1), (2, 1), (63, 5), (64, 6), (1200, 10), (10**6, 10)]
)
def test_a_book_of_all_there_is_has_no_more_codes_than_rows(n_rows, bits):
    assert largest_complete_book_bits(n_rows) == bits


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


def test_bits_are_wanted_as_reverse_water_filling_gives_them():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 3)) @ np.diag([4.0, 1.0, 0.5])
    demand = BitDemand(x, 4, 20_000)
    apart = demand.wanted([np.array([0]), np.array([1]), np.array([2])])
    assert apart == pytest.approx([3, 1, 0], abs=0.05)
    assert demand.wanted([np.array([0, 2]), np.array([1])]) == pytest.approx([3, 1], abs=0.05)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 100))
def test_all_bits_are_wanted_where_values_are_many(seed, budget):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, 6)) * rng.uniform(0, 3, 6)
    wanted = BitDemand(x, budget, 50).wanted([np.array([0, 3]), np.array([1]), np.array([2, 4, 5])])
    assert wanted.sum() == pytest.approx(budget, rel=1e-6)


def test_fewer_rows_than_columns_want_what_their_principal_axes_do():
    rows = np.random.default_rng(0).normal(size=(20, 8))
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(60, 8)))[0]
    pair = [np.arange(8), np.array([8])]
    x = np.hstack([rows, rows[:, :1]])
    wide = np.hstack([rows @ turned.T, rows[:, :1]])
    expected = BitDemand(x, 30, 20).wanted(pair)
    found = BitDemand(wide, 30, 20).wanted([np.arange(60), np.array([60])])
    assert found == pytest.approx(expected, rel=1e-6)


def test_alike_columns_want_less_than_those_apart():
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(1000, 1))
    x = np.hstack([cause + 0.01 * rng.normal(size=(1000, 3)), rng.normal(size=(1000, 3))])
    alike, apart = BitDemand(x, 12, 1000).wanted([np.arange(3), np.arange(3, 6)])
    assert alike < apart / 2


def test_a_category_wants_no_more_bits_than_tell_its_values_apart():
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 2, (400, 3)).astype(float)
    measured = rng.normal(size=(400, 2))
    demand = BitDemand(np.hstack([answers, measured]), 30, 400)
    wanted = demand.wanted([np.arange(3), np.array([3]), np.array([4])])
    assert wanted[0] == pytest.approx(3)
    assert wanted.sum() == pytest.approx(30, rel=1e-6)
    assert demand.wanted([np.array([0]), np.array([1, 2])]) == pytest.approx([1, 2])


def test_combinations_that_rows_take_are_told_apart_or_else_those_of_the_values():
    codes = np.arange(256)
    columns = np.stack([codes // 16, codes % 16], axis=1).astype(float)
    all_seen = BitDemand(columns.repeat(4, axis=0), 60, 1024)
    assert all_seen.wanted([np.arange(2)]) == pytest.approx([8])
    once = BitDemand(columns[::3], 60, 86)
    assert once.wanted([np.arange(2)]) == pytest.approx([8])
    alike = np.hstack([columns[:, :1]] * 2)  # sixteen of the combinations
    assert BitDemand(alike, 60, 256).wanted([np.arange(2)]) == pytest.approx([4])


def test_a_category_that_wants_more_than_its_books_hold_is_overfull():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 6))
    held = most_bits(1, 32)
    assert held == 3 * 4
    demand = BitDemand(x, 30, 32)
    assert demand.overfull([np.arange(2), np.arange(2, 6)]) == [1]
    assert demand.overfull([np.arange(6)]) == [0]
    assert demand.share([np.arange(6)]) == pytest.approx(held / 30)
    halves = [np.arange(3), np.arange(3, 6)]
    both = BitDemand(x, 40, 32).overfull(halves)
    wanted = BitDemand(x, 40, 32).wanted(halves)
    assert both == [int(np.argmax(wanted)), int(np.argmin(wanted))]
    assert not BitDemand(x, 6, 32).overfull(halves)
    assert BitDemand(x, 6, 32).share(halves) == pytest.approx(1)


def test_what_no_values_need_is_not_wanted_and_not_missed():
    x = np.arange(16.0).repeat(4)[:, None]  # sixteen values, four bits
    for budget, bits in ((16, 4), (3, 3)):
        demand = BitDemand(x, budget, 64)
        assert demand.wanted([np.array([0])]) == pytest.approx([bits])
        assert demand.share([np.array([0])]) == pytest.approx(1)


def test_there_are_two_categories_at_least():
    assert useful_categories(1, 3200) == (2, 2)


@pytest.mark.parametrize(
    ("n_rows", "max_tokens", "rows"), [(1000, None, 1000), (1000, 16, 32), (10, 16, 10)]
)
def test_books_that_may_not_be_larger_count_as_those_of_fewer_rows(n_rows, max_tokens, rows):
    assert rows_of_books(n_rows, max_tokens) == rows
    if max_tokens:
        assert 2 ** largest_book_bits(rows) <= max_tokens


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.999))
def test_bits_for_a_quality_are_twice_those_of_gaussian_columns(seed, target):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    bits = bits_for_quality(x, target)
    variances = np.linalg.eigvalsh(np.cov(x, rowvar=False, ddof=0))
    assert gaussian_reference(variances, bits / 2) >= target - 1e-9
    if bits > 2:
        assert gaussian_reference(variances, bits / 2 - 1) < target


def test_columns_that_say_the_same_take_no_more_bits_than_one():
    one = np.random.default_rng(0).normal(size=(500, 1))
    assert bits_for_quality(np.repeat(one, 9, axis=1), 0.9) == bits_for_quality(one, 0.9) == 4
