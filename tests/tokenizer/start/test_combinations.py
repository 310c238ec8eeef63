"""All combinations of values: each once, in books repeated, none where they are too many."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.start.combinations import all_combinations, codes_of_values


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4), st.integers(1, 30))
def test_they_are_the_product_of_the_values_of_the_columns(seed, n_columns, most):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 3, (6, n_columns), generator=generator).float()
    wanted = set(itertools.product(*(set(column) for column in x.T.tolist())))
    found = all_combinations(x, most)
    if len(wanted) > most:
        assert found is None
    else:
        assert found.shape == (len(wanted), n_columns)
        assert {tuple(one) for one in found.round().tolist()} == wanted
        torch.testing.assert_close(found, found.round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("k", "told"), [(4, False), (6, True), (16, True)])
def test_a_book_repeats_them_where_it_has_more_codes(k, told):
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0], [0.0, 9.0]])  # four of six
    codes = codes_of_values(x, k, torch.Generator().manual_seed(0))
    unseen = torch.tensor([[1.0, 5.0], [1.0, 9.0]])
    assert codes.shape == (k, 2)
    assert (torch.cdist(unseen, codes).amin(dim=1) < 1e-4).all() == told


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_rounding_makes_no_more_values(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-300, 300, (5,), generator=generator) / 10
    exact = values[torch.randint(0, 5, (400,), generator=generator)]
    rounded = exact + 3e-4 * torch.rand(400, generator=generator)
    found = all_combinations(rounded[:, None], 5)
    assert set(found.flatten().mul(10).round().tolist()) == set(exact.mul(10).round().tolist())


@pytest.mark.parametrize("n_rows", [100, 5000, 50_000])
def test_values_of_a_continuous_column_are_too_many(n_rows):
    x = torch.randn(n_rows, 1, generator=torch.Generator().manual_seed(0))
    assert all_combinations(x, 64) is None
