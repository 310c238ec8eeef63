"""Random numbers of an operator depend on the seed and its number alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.operators.randomness import operator_generator

KEYS = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 10**9))


@settings(deadline=None)
@given(KEYS)
def test_the_same_key_draws_the_same_numbers(key):
    np.testing.assert_array_equal(
        operator_generator(*key).standard_normal(5), operator_generator(*key).standard_normal(5)
    )


@settings(deadline=None)
@given(st.sets(KEYS, min_size=2, max_size=6))
def test_other_keys_draw_other_numbers(keys):
    drawn = {operator_generator(*key).random() for key in keys}
    assert len(drawn) == len(keys)


def test_seed_and_number_are_no_sum():
    assert operator_generator(1, 2).random() != operator_generator(2, 1).random()


def test_neighbours_are_not_correlated():
    drawn = np.stack([operator_generator(0, i).standard_normal(2000) for i in range(20)])
    correlation = np.corrcoef(drawn)[np.triu_indices(20, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
