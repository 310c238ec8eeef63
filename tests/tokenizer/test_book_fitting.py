"""Books of one category: their error, and the beams that they are fitted with."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.book_fitting import books_error, fit_beams
from spinlock.tokenizer.codebook import residual_tokens

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


@modest
@given(seeds, st.integers(1, 4))
def test_the_error_of_books_is_what_their_tokens_leave(seed, beam):
    generator = torch.Generator().manual_seed(seed)
    books = [torch.randn(k, 2, generator=generator) for k in (4, 3)]
    z = torch.randn(20, 2, generator=generator)
    tokens = residual_tokens(z, books, beam)
    left = sum(
        float((row - books[0][a] - books[1][b]).square().sum())
        for row, (a, b) in zip(z, tokens.tolist(), strict=True)
    )
    assert books_error(z, books, beam) == pytest.approx(left, rel=1e-4)


@pytest.mark.parametrize(
    ("n_rows", "beams"), [(40, (4, 8, 16)), (1000, (4, 8, 16)), (1500, (1, 4, 8)), (3200, (1, 4))]
)
def test_books_of_few_rows_are_fitted_with_wide_beams(n_rows, beams):
    assert fit_beams(n_rows) == beams
