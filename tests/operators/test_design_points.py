"""The points of a design: each by the seed and its number alone, and evenly spread."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.operators.design_points import DIMENSIONS, design_points


def test_dimensions_have_names_of_their_own():
    assert len(DIMENSIONS) == len(set(DIMENSIONS)) == 21


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31 - 1), st.integers(0, 500), st.integers(1, 40))
def test_an_operator_is_the_same_whatever_is_drawn_with_it(seed, first, count):
    whole = design_points(seed, 0, first + count)
    np.testing.assert_array_equal(design_points(seed, first, count), whole[first:])


def test_an_operator_far_away_is_reached():
    assert design_points(42, 10**6, 1).shape == (1, len(DIMENSIONS))


def test_another_seed_is_another_design():
    assert (design_points(0, 0, 64) != design_points(1, 0, 64)).all()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31 - 1), st.sampled_from([16, 64, 256]))
def test_every_dimension_is_covered_evenly(seed, count):
    points = design_points(seed, 0, count)
    cells = np.sort(np.floor(points * count).astype(int), axis=0)
    np.testing.assert_array_equal(cells, np.arange(count)[:, None].repeat(len(DIMENSIONS), 1))
