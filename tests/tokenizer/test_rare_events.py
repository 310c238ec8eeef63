"""Rare events are found, dealt out anew, and told apart by the books that saw them so."""

import pytest
import torch
from torch import Tensor

from spinlock.tokenizer.initialization import initialize_model, principal_axes
from spinlock.tokenizer.model import ModelShape
from spinlock.tokenizer.rare_events import rare_directions, with_recombined
from spinlock.tokenizer.rate_allocation import choose_book_sizes
from spinlock.tokenizer.rows import Rows

N_ROWS = 400


def spiked(places: list[list[int]], n_rows: int = N_ROWS) -> Tensor:
    """Return rows that are zero but for a one in some rows of each column, normalised."""
    x = torch.zeros(n_rows, len(places))
    for column, rows in enumerate(places):
        x[rows, column] = 1.0
    return (x - x.mean(0)) / x.std(0, correction=0)


def test_columns_that_vary_in_few_rows_are_rare():
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(N_ROWS, 2, generator=generator), spiked([[3, 50]])], dim=1)
    (axes,) = principal_axes(x, [[0, 1, 2]], 3)
    directions = rare_directions(x, axes.axes)
    assert directions.shape == (1, 3)
    assert axes.project(x) @ directions[0] == pytest.approx(x[:, 2].numpy(), abs=1e-4)


def test_a_column_alone_and_columns_without_spread_have_nothing_to_recombine():
    assert not len(rare_directions(spiked([[3]]), torch.eye(1)))
    assert not len(rare_directions(torch.zeros(5, 2), torch.eye(2)))
    z = torch.zeros(5, 2)
    assert with_recombined(z, z[:0], torch.Generator()) is z


def test_recombined_rows_have_the_same_events_elsewhere_and_the_rest_in_place():
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(50, 3, generator=generator)
    directions = torch.eye(3)[1:]
    both = with_recombined(z, directions, generator)
    again = both[50:]
    assert torch.equal(both[:50], z)
    torch.testing.assert_close(again[:, 0], z[:, 0])
    torch.testing.assert_close(again.sort(dim=0).values, z.sort(dim=0).values)
    assert not torch.equal(again[:, 1].argsort(), again[:, 2].argsort())
    assert (again[:, 1:] != z[:, 1:]).float().mean() > 0.9


def test_bits_are_given_to_combinations_that_no_row_shows():
    z = spiked([list(range(8)), list(range(8)), list(range(8))])  # always all three together
    together, apart = (
        choose_book_sizes(
            [z], 9, torch.Generator().manual_seed(0), rare=rare, target_distortion=0.1
        )
        for rare in ([z[:0]], [torch.eye(3)])
    )
    assert torch.tensor(apart).prod() > torch.tensor(together).prod()


def test_books_tell_a_combination_that_no_train_row_shows():
    places = [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 9, 10]]  # the two events come together
    train = spiked(places)
    (axes,) = principal_axes(train, [[0, 1]], 2)
    shape = ModelShape(
        partition=[[0, 1]],
        book_sizes=[[4, 2, 2]],
        column_family=["summary"] * 2,
        encoders={},
        embedding_dim=2,
        hidden_dim=4,
        beam_width=4,
    )
    rows = Rows(train)
    model = initialize_model(shape, [axes], rows, rows, torch.Generator().manual_seed(0))
    alone = torch.stack([train[5, 0], train[0, 1]])[None]  # one event without the other
    tokens = model.tokenize(Rows(alone))
    decoded = model.decode_own(tokens, model.n_levels)  # the correction expects both again
    assert float((decoded - alone).square().sum() / alone.square().sum()) < 0.1
