"""Bits go where they lower the distortion most, and never beyond the budget."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.start.bit_allocation import (
    RateDistortion,
    allocate_bits,
    distortion_at,
    fewest_bits,
)

modest = settings(deadline=None, max_examples=60)


def curve(distortions: list[float], first: int = 0) -> RateDistortion:
    return RateDistortion(np.arange(first, first + len(distortions)), np.array(distortions))


@st.composite
def convex_curves(draw) -> list[RateDistortion]:
    curves = []
    for _ in range(draw(st.integers(1, 3))):
        falls = sorted(draw(st.lists(st.integers(0, 50), min_size=0, max_size=4)), reverse=True)
        start = sum(falls) + draw(st.integers(0, 20))
        curves.append(curve([start - sum(falls[:i]) for i in range(len(falls) + 1)]))
    return curves


@modest
@given(convex_curves(), st.integers(0, 14))
def test_for_convex_curves_no_other_allocation_is_better(curves, budget):
    bits = allocate_bits(curves, budget)
    best = min(
        distortion_at(curves, np.array(choice))
        for choice in itertools.product(*(one.bits for one in curves))
        if sum(choice) <= budget
    )
    assert bits.sum() <= budget
    assert distortion_at(curves, bits) == pytest.approx(best)


def test_a_step_that_pays_only_later_is_taken():
    curves = [curve([10.0, 10.0, 0.0]), curve([9.0, 7.0, 6.0])]
    assert allocate_bits(curves, 2).tolist() == [2, 0]


def test_categories_keep_the_least_that_their_levels_need():
    curves = [curve([5.0, 4.0], first=3), curve([50.0, 1.0], first=3)]
    assert allocate_bits(curves, 6).tolist() == [3, 3]
    assert allocate_bits(curves, 7).tolist() == [3, 4]


def test_distortion_is_summed_at_the_bits_of_each_category():
    curves = [curve([5.0, 4.0], first=3), curve([50.0, 10.0, 1.0])]
    assert distortion_at(curves, np.array([4, 1])) == 14


def test_the_fewest_bits_are_found_where_more_bits_lose_for_a_while():
    curves = [curve([10.0, 4.0, 6.0, 3.0]), curve([5.0, 4.5])]
    assert fewest_bits(curves, 4, 4.0 + 5.0).tolist() == [1, 0]
    assert fewest_bits(curves, 4, 3.0 + 5.0).tolist() == [3, 0]
    assert fewest_bits(curves, 4, 0.0).tolist() == [3, 1]
