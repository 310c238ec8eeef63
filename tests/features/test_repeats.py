"""Rows that repeat others are found, whatever they hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.features.repeats import repeated_rows, row_keys


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 600))
def test_the_same_rows_have_the_same_key_and_others_another(seed, n_rows, n_columns):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_rows, n_columns))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, rng.integers(n_columns)] = np.arange(n_rows)  # all that tells some of them apart
    keys = row_keys(values)
    assert len(set(keys.tolist())) == n_rows
    chosen = rng.integers(0, n_rows, 5)
    assert (row_keys(values[chosen]) == keys[chosen]).all()


def test_zero_is_one_value_whatever_its_sign():
    assert row_keys(np.array([[0.0, 1.0]])) == row_keys(np.array([[-0.0, 1.0]]))


@pytest.mark.parametrize(
    ("keys", "split", "found"),
    [
        ([1, 2, 3], [0, 1, 2], (0, 0)),
        ([1, 1, 1, 2], [0, 0, 2, 1], (2, 1)),
        ([1, 2, 2, 3], [0, 1, 2, 2], (1, 0)),  # only held-out rows: none of them was learned from
        ([5, 5], [1, 0], (1, 1)),
    ],
)
def test_rows_of_other_sides_that_repeat_train_rows_are_counted(keys, split, found):
    assert repeated_rows(np.array(keys), np.array(split)) == found
