"""Books of one category: their error, and the beams that they are fitted with."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.network.codebook import residual_tokens
from spinlock.tokenizer.start import book_fitting
from spinlock.tokenizer.start.book_fitting import (
    best_books,
    books_error,
    books_in_subspaces,
    books_within,
    fit_beams,
)

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


@pytest.mark.parametrize("best", list(itertools.product([4, 8, 16], [40, 160])))
def test_the_books_with_the_lowest_error_of_held_out_rows_are_taken(monkeypatch, best):
    z, held_out = torch.zeros(40, 1), torch.tensor([[3.0], [5.0]])

    def fitted(rows, sizes, generator, beam):
        assert torch.equal(rows[: len(z)], z)
        return [torch.tensor([[4.0 if (beam, len(rows)) == best else 9.0]])]

    monkeypatch.setattr(book_fitting, "residual_books", fitted)
    (book,) = best_books(z, held_out, [1], torch.Generator(), 3)
    assert book.item() == 4.0


def test_books_are_compared_with_the_beam_that_will_encode(monkeypatch):
    beams, error = [], books_error

    def watched(z, books, beam):
        beams.append(beam)
        return error(z, books, beam)

    monkeypatch.setattr(book_fitting, "books_error", watched)
    best_books(torch.randn(40, 2), torch.randn(9, 2), [4, 2], torch.Generator(), 3)
    assert beams == [3] * 6


def test_a_level_in_a_subspace_is_fitted_to_what_the_levels_before_left():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(400, 3, generator=generator) * torch.tensor([3.0, 2.0, 1.0])
    books, spans = books_in_subspaces(z, [8, 8], [1, 1], generator)
    for axis, (leading,) in enumerate(spans):
        assert leading[axis].square() > 0.9
        assert float(leading.norm()) == pytest.approx(1, abs=1e-4)
    assert books_error(z, books, 1) < 0.5 * books_error(z, books[:1], 1)


@pytest.mark.parametrize(
    ("n_rows", "beams"),
    [
        (40, (4, 8, 16)),
        (1000, (4, 8, 16)),
        (1500, (1, 4, 8)),
        (3200, (1, 4)),
        (80_000, (1, 4)),
    ],
)
def test_books_of_few_rows_are_fitted_with_wide_beams(n_rows, beams):
    assert fit_beams(n_rows) == beams


def test_a_level_within_a_given_subspace_is_fitted_to_what_the_levels_before_left():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(400, 2, generator=generator)
    books = books_within(z, [8, 8], [torch.eye(2)] * 2, generator)
    assert books_error(z, books, 1) < 0.5 * books_error(z, books[:1], 1)


def test_a_book_of_few_combinations_holds_also_those_that_no_row_has():
    z = torch.tensor([[0.0, 1, 5], [1, 0, 7], [1, 1, 9]])
    generator = torch.Generator().manual_seed(0)
    parts = [torch.eye(3)[:2], torch.eye(3)[2:]]
    first, second = books_within(z, [4, 2], parts, generator)
    unseen = torch.tensor([0.0, 0, 0])
    assert (first - unseen).norm(dim=1).min() < 1e-4
    assert len(torch.unique(first.round(), dim=0)) == 4
    assert torch.equal(second[:, :2], torch.zeros(2, 2))  # of three values, by k-means


def test_books_within_a_turned_space_are_turned_books():
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(0, 4, (200, 3), generator=generator).float()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    plain, turned = (
        books_within(rows, [4, 16], [axes[:1], axes[1:]], generator)
        for rows, axes in ((z, torch.eye(3)), (z @ turn, turn))
    )
    for one, other in zip(plain, turned, strict=True):
        torch.testing.assert_close(one @ turn, other, atol=1e-3, rtol=0)
