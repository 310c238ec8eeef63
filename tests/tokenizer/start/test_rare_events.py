"""Rare events are found, dealt out anew, and told apart by the books that saw them so."""

import pytest
import torch
from torch import Tensor

from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start import rare_events
from spinlock.tokenizer.start.book_sizes import BookRequest, choose_book_sizes
from spinlock.tokenizer.start.category import Category, categories_of
from spinlock.tokenizer.start.category_axes import CategoryAxes, principal_axes
from spinlock.tokenizer.start.initialization import initialize_model
from spinlock.tokenizer.start.rare_events import (
    SeldomEvents,
    rare_columns,
    rare_directions,
    with_recombined,
)

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
    directions = rare_directions(rare_columns(x), axes)
    assert directions.shape == (1, 2, 3)
    assert axes.project(x) @ directions[0, 0] == pytest.approx(x[:, 2].numpy(), abs=1e-4)


def test_rare_columns_are_found_block_by_block(monkeypatch):
    x = torch.cat([torch.randn(N_ROWS, 4), spiked([[7], [9, 11]])], dim=1)
    monkeypatch.setattr(rare_events, "COLUMN_BLOCK", 4)
    assert rare_columns(x).tolist() == [False] * 4 + [True] * 2


def test_columns_without_spread_have_nothing_to_recombine():
    x = torch.zeros(5, 2)
    assert not len(rare_directions(rare_columns(x), CategoryAxes.principal(x, 2)))
    z = torch.zeros(5, 2)
    assert with_recombined(z, z.new_empty(0, 2, 2), torch.Generator()) is z


def test_recombined_rows_have_the_same_events_elsewhere_and_the_rest_in_place():
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(50, 3, generator=generator)
    directions = torch.eye(3)[1:, None].expand(2, 2, 3)
    both = with_recombined(z, directions, generator)
    again = both[50:]
    assert torch.equal(both[:50], z)
    torch.testing.assert_close(again[:, 0], z[:, 0])
    torch.testing.assert_close(again.sort(dim=0).values, z.sort(dim=0).values)
    assert not torch.equal(again[:, 1].argsort(), again[:, 2].argsort())
    assert (again[:, 1:] != z[:, 1:]).float().mean() > 0.9


@pytest.mark.parametrize("n_events", [20, 30, 50, 53])
def test_events_of_other_rows_are_dealt_to_rows_repeated_until_each_is(n_events):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(20, 2, generator=generator)
    events = torch.randn(n_events, 2, generator=generator)
    directions = torch.eye(2)[1:, None].expand(1, 2, 2)
    both = with_recombined(z, directions, generator, events_of=events)
    repeated, dealt = both.chunk(2)
    assert torch.equal(repeated, z.repeat(-(-n_events // 20), 1))
    assert torch.equal(dealt[:, 0], repeated[:, 0])
    distance = (dealt[:, 1:] - events[:, 1]).abs()
    assert distance.amin(dim=0).max() < 1e-5, "each event is dealt"
    assert distance.amin(dim=1).max() < 1e-5, "nothing else is"


def test_no_rows_have_no_events_to_deal():
    z, events = torch.zeros(0, 2), torch.randn(9, 2)
    directions = torch.eye(2)[:, None].expand(2, 2, 2)
    assert not len(with_recombined(z, directions, torch.Generator(), events_of=events))


def test_events_that_move_one_another_are_dealt_from_the_rows_as_they_are():
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    reads, moves = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    both = with_recombined(z, torch.stack([reads, moves], 1), torch.Generator().manual_seed(2))
    change = both[50:] - z
    generator = torch.Generator().manual_seed(2)
    dealt = [z[torch.randperm(50, generator=generator), i] - z[:, i] for i in (0, 1)]
    torch.testing.assert_close(change, (dealt[0] + dealt[1]).unsqueeze(1).expand(50, 2))


def test_bits_are_given_to_combinations_that_no_row_shows():
    z = spiked([list(range(8)), list(range(8)), list(range(8))])  # always all three together
    axes = CategoryAxes(torch.zeros(3), torch.eye(3), torch.eye(3))
    request = BookRequest(bits=9, target_quality=0.97)
    together, apart = (
        choose_book_sizes(
            z, [Category([0, 1, 2], axes, rare, z[:0])], request, torch.Generator().manual_seed(0)
        )
        for rare in (z.new_empty(0, 2, 3), torch.eye(3)[:, None].expand(3, 2, 3))
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
    categories = categories_of([[0, 1]], [axes], SeldomEvents.of(rows.x))
    model = initialize_model(shape, categories, rows, rows, torch.Generator().manual_seed(0))
    alone = torch.stack([train[5, 0], train[0, 1]])[None]  # one event without the other
    tokens = model.tokenize(Rows(alone))
    codes = model.embed(tokens).transpose(0, 1)
    with torch.no_grad():
        decoded = model.decoder.decode_own(codes)  # the correction expects both again
    assert float((decoded - alone).square().sum() / alone.square().sum()) < 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("places", [[[1, 2, 3, 4, 5], [10, 11], [20]], [[20]]])
def test_books_that_miss_an_event_are_not_chosen_where_no_validation_row_has_it(places, seed):
    columns = [*range(len(places))]
    shape = ModelShape([columns], [[2, 2, 2]], ["summary"] * len(places), {}, embedding_dim=3)
    train, validation = Rows(spiked(places)), Rows(spiked(places)[30:60])
    axes = principal_axes(train.x, [columns], 3)
    generator = torch.Generator().manual_seed(seed)
    categories = categories_of([columns], axes, SeldomEvents.of(train.x))
    model = initialize_model(shape, categories, train, validation, generator)
    tokens = model.tokenize(train)
    with torch.no_grad():  # the correction may make up for it on the train rows
        alone = model.decoder.decode_own(model.embed(tokens).transpose(0, 1))
    for decoded in (alone, model.reconstruct(tokens)):
        assert float((decoded - train.x).square().sum() / train.x.square().sum()) < 0.01


def test_rows_at_caps_are_the_mean_but_for_a_column_at_a_cap_that_no_row_reaches():
    x = torch.tensor([[0.0, -3.0, 2.0], [2.0, 1.0, 2.0]])
    caps = torch.tensor([[-5.0, -3.0, -torch.inf], [2.0, 4.0, 6.0]])
    expected = torch.tensor([[-5.0, -1.0, 2.0], [1.0, 4.0, 2.0], [1.0, -1.0, 6.0]])
    assert torch.equal(SeldomEvents.of(x, caps).rows_at_caps([0, 1, 2]), expected)


def test_there_are_no_rows_at_caps_of_many_columns_or_where_nothing_is_capped():
    x = torch.randn(9, 4)
    caps = torch.tensor([[-9.0], [9.0]]).expand(2, 4)
    assert SeldomEvents.of(x, caps).rows_at_caps(range(4)).shape == (0, 4)
    assert SeldomEvents.of(x, caps).rows_at_caps([3, 0, 1]).shape == (6, 3)
    assert SeldomEvents.of(x, torch.inf * caps).rows_at_caps(range(3)).shape == (0, 3)


def test_a_column_of_rare_events_has_no_rows_at_caps():
    x = torch.cat([torch.linspace(-2, 2, N_ROWS).unsqueeze(1), spiked([[7]])], dim=1)
    caps = torch.tensor([[-5.0, -20.0], [5.0, 20.0]])
    assert SeldomEvents.of(x, caps).rows_at_caps([0, 1])[:, 0] == pytest.approx([-5.0, 5.0])


def test_an_outlier_that_no_train_row_has_is_told_by_a_code_at_the_cap():
    x = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    rows = Rows(x)
    shape = ModelShape([[0]], [[8, 8, 4]], ["summary"], {})
    axes = principal_axes(x, [[0]], 1)
    outliers = Rows(torch.tensor([[-9.0], [12.0]]))
    told = {}
    for name, caps in {"caps": torch.tensor([[-9.0], [12.0]]), "none": None}.items():
        generator = torch.Generator().manual_seed(0)
        categories = categories_of([[0]], axes, SeldomEvents.of(x, caps))
        model = initialize_model(shape, categories, rows, rows, generator)
        told[name] = {
            "outliers": model.reconstruct(model.tokenize(outliers)).flatten(),
            "rows": (model.reconstruct(model.tokenize(rows)) - x).square().mean(),
        }
    assert told["caps"]["outliers"] == pytest.approx([-9.0, 12.0], abs=0.2)
    assert told["none"]["outliers"].abs().max() < 7
    assert told["caps"]["rows"] < 0.01


@pytest.mark.parametrize(("events", "rare"), [(10, 1), (20, 0)])
def test_events_are_rare_where_less_than_about_one_row_in_25_has_one(events, rare):
    x = torch.cat([torch.linspace(-2, 2, N_ROWS)[:, None], spiked([[*range(events)]])], dim=1) + 7
    assert len(rare_directions(rare_columns(x), CategoryAxes.principal(x, 2))) == rare


def test_a_column_is_read_by_synthesis_and_moved_by_analysis():
    x = torch.cat([torch.randn(N_ROWS, 1), spiked([[3, 50]])], dim=1)
    mean, analysis = x.mean(dim=0), torch.tensor([[2.0, 0.0], [1.0, 4.0]])
    axes = CategoryAxes(mean, analysis, torch.linalg.inv(analysis))
    both = with_recombined(
        axes.project(x), rare_directions(rare_columns(x), axes), torch.Generator()
    )
    columns = mean + both[N_ROWS:] @ axes.synthesis
    torch.testing.assert_close(columns[:, 0], x[:, 0])
    torch.testing.assert_close(columns[:, 1].sort().values, x[:, 1].sort().values)


@pytest.mark.parametrize(("short", "reached"), [(0.1, False), (1e-4, True)])
def test_a_cap_is_reached_but_for_rounding(short, reached):
    x = torch.linspace(-5 + short, 5 - short, 9).unsqueeze(1)
    caps = torch.tensor([[-5.0], [5.0]])
    assert len(SeldomEvents.of(x, caps).rows_at_caps([0])) == (0 if reached else 2)
