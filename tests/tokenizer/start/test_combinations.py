"""All combinations of values: each once or repeated, none where they are too many."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.start.combinations import all_combinations


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 30))
def test_they_are_the_product_of_the_values_of_the_columns(seed, n_columns, most):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 3, (6, n_columns), generator=generator).float()
    wanted = set(itertools.product(*(set(column) for column in x.T.tolist())))
    found = all_combinations(x, most)
    if len(wanted) > most:
        assert found is None
    else:
        assert found.shape == (most, n_columns)
        assert {tuple(one) for one in found.round().tolist()} == wanted
        torch.testing.assert_close(found, found.round(), atol=1e-4, rtol=0)


def test_rounding_makes_no_more_values():
    x = torch.tensor([[1.0], [1.0 + 1e-6], [2.0]])
    assert all_combinations(x, 2).flatten().tolist() == pytest.approx([1, 2], abs=1e-4)


def test_values_of_a_continuous_column_are_too_many():
    assert all_combinations(torch.randn(100, 2), 64) is None
