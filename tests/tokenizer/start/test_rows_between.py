"""Rows between neighbouring rows."""

import pytest
import torch

from spinlock.tokenizer.start import rows_between
from spinlock.tokenizer.start.book_fitting import best_books, books_error
from spinlock.tokenizer.start.rows_between import with_rows_between


def drawn(n_rows: int, seed: int = 0, dims: int = 3) -> torch.Tensor:
    return torch.randn(n_rows, dims, generator=torch.Generator().manual_seed(seed))


def test_added_rows_lie_nearer_to_a_row_on_the_way_to_one_of_its_neighbours(monkeypatch):
    monkeypatch.setattr(rows_between, "NEIGHBOURS", 4)
    monkeypatch.setattr(rows_between, "ROW_BLOCK", 16)  # neighbours are searched block by block
    z = drawn(50)
    rows = with_rows_between(z, torch.Generator().manual_seed(0))
    assert torch.equal(rows[:50], z)
    added = rows[50:].reshape(rows_between.TIMES, 50, 3)
    near = torch.cdist(z, z).fill_diagonal_(torch.inf).topk(4, largest=False).indices
    for copy in added:
        for row, own, others in zip(copy, z, z[near], strict=True):
            ways = others - own
            share = ((row - own) * ways).sum(dim=1) / ways.square().sum(dim=1)
            missed = (own + share[:, None] * ways - row).norm(dim=1)
            assert missed.min() < 1e-5
            assert 0 <= share[missed.argmin()] <= 0.5


def test_each_time_ways_and_neighbours_are_drawn_anew():
    z = drawn(40)
    first, second, third = (
        with_rows_between(z, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    copies = first[40:].reshape(-1, 40, 3)
    assert not torch.equal(copies[0], copies[1])


@pytest.mark.parametrize(
    ("n_rows", "times"), [(1, 0), (2, 3), (25, 3), (26, 2), (33, 2), (34, 1), (50, 1), (51, 0)]
)
def test_rows_are_added_while_there_is_room(monkeypatch, n_rows, times):
    monkeypatch.setattr(rows_between, "MOST_ROWS", 100)
    assert len(with_rows_between(drawn(n_rows), torch.Generator())) == n_rows * (1 + times)


def test_equal_rows_have_only_themselves_between_them():
    z = torch.ones(8, 2)
    assert torch.equal(with_rows_between(z, torch.Generator()).unique(dim=0), z[:1])


def test_books_of_few_rows_tell_unseen_rows_better(monkeypatch):
    train, unseen = drawn(120, dims=6), drawn(2000, seed=1, dims=6)

    def error(seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        books = best_books(train, unseen[:100], [32, 16], generator, beam=4)
        return books_error(unseen[100:], books, beam=4)

    with_added = sum(error(seed) for seed in range(5))
    monkeypatch.setattr(rows_between, "MOST_ROWS", 0)
    assert with_added < 0.98 * sum(error(seed) for seed in range(5))
