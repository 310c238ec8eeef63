"""Rows encoded by books that have not seen them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start import cross_fitting
from spinlock.tokenizer.start.cross_fitting import Encoding, cross_fitted, encodings_of


@pytest.fixture
def rows(draw_rows: Callable[[int, int], Rows]) -> Rows:
    return draw_rows(0, 40)


def encodings(model: TokenizerModel, rows: Rows, seed: int = 0) -> list[Encoding]:
    return list(cross_fitted(model, rows, torch.Generator().manual_seed(seed)))


@torch.no_grad()
def missed_by(model: TokenizerModel, encoding: Encoding) -> float:
    z = model.encoder(encoding.rows.x)
    return float((z - encoding.quantizer.decode(encoding.tokens.transpose(0, 1))).square().mean())


def others_than(all_rows: Tensor, some: Tensor) -> Tensor:
    """Return the rows that are not among some."""
    among = (all_rows[:, None] == some[None]).all(dim=-1).any(dim=1)
    return all_rows[~among]


def test_each_time_every_row_is_encoded_once(start_of, rows):
    model = start_of(rows)
    found = encodings(model, rows)
    assert len(found) == 2 * cross_fitting.TIMES
    for one, other in zip(found[::2], found[1::2], strict=True):
        both = torch.cat([one.rows.x, other.rows.x])
        assert torch.equal(both.sort(dim=0).values, rows.x.sort(dim=0).values)
    assert not torch.equal(found[0].rows.x, found[2].rows.x)


def test_fields_are_not_kept_with_every_encoding(start_of, rows):
    found = encodings(start_of(rows), Rows(rows.x, torch.zeros(len(rows), 1, 2, 2)))
    assert all(one.rows.fields is None for one in found)


def test_tokens_are_those_of_the_books_that_come_with_them(start_of, rows):
    model = start_of(rows)
    for one in encodings(model, rows)[:4]:
        books = model.quantizer.state_dict()
        model.quantizer.load_state_dict(one.quantizer.state_dict())
        assert torch.equal(model.draft_tokens(one.rows), one.tokens)
        model.quantizer.load_state_dict(books)


def test_books_are_strangers_to_the_rows_that_they_encode(start_of, rows):
    model = start_of(rows, sizes=[16, 8, 4])
    for one in encodings(model, rows):
        own_half = Rows(others_than(rows.x, one.rows.x))
        model_books = copy.deepcopy(model.quantizer.state_dict())
        model.quantizer.load_state_dict(one.quantizer.state_dict())
        fitted = Encoding(own_half, model.tokenize(own_half), one.quantizer)
        model.quantizer.load_state_dict(model_books)
        assert missed_by(model, one) > 2 * missed_by(model, fitted)


def test_the_model_is_left_alone_and_the_generator_decides(start_of, rows):
    model = start_of(rows)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    first, again, other = (encodings(model, rows, seed) for seed in (0, 0, 1))
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a.rows.x, b.rows.x) for a, b in zip(first, other, strict=True))


def test_restricted_levels_stay_in_their_subspace(start_of, rows):
    model = start_of(rows, dims=[1, 2, None])
    for one in encodings(model, rows)[:2]:
        for c in range(2):
            for level in range(3):
                inside = one.quantizer.project(one.quantizer.codes(level), level)
                torch.testing.assert_close(inside, one.quantizer.codes(level))
            assert torch.linalg.matrix_rank(one.quantizer.book(c, 0), rtol=1e-4) == 1


@pytest.mark.parametrize(("n_rows", "times"), [(3, 0), (4, 4), (5, 3), (10, 1), (16, 1), (17, 0)])
def test_the_more_rows_the_fewer_times(start_of, draw_rows, monkeypatch, n_rows, times):
    monkeypatch.setattr(cross_fitting, "ENCODINGS", 16)
    model = start_of(draw_rows(0, 40))
    assert len(encodings(model, draw_rows(1, n_rows))) == 2 * times


def test_books_have_the_sizes_of_their_category(checkpoint):
    model, x = checkpoint.model, torch.randn(60, 10)
    quantizer = model.quantizer
    assert len({*map(tuple, quantizer.sizes.tolist())}) == 2
    for one in encodings(model, Rows(x))[:2]:
        for level in range(model.n_levels):
            codes, exist = one.quantizer.codes(level), quantizer.valid(level)
            assert codes[exist].any(dim=-1).all()
            assert not codes[~exist].any()


def test_books_are_fitted_to_what_networks_add_too(checkpoint):
    model, rows = copy.deepcopy(checkpoint.model), Rows(torch.randn(60, 10))
    with torch.no_grad():
        model.encoder.head.bias.fill_(50.0)
    for one in encodings(model, rows)[:2]:
        sums = one.quantizer.decode(one.tokens.transpose(0, 1))
        torch.testing.assert_close(sums.mean(dim=1), torch.full((2, 4), 50.0), rtol=0, atol=3)


def test_of_many_rows_those_with_own_codes_are_spread_over_all(start_of, draw_rows, monkeypatch):
    rows, validation = draw_rows(0, 90), draw_rows(1, 50)
    model = start_of(rows)
    numbers = model.decoder.dims.total + rows.x.shape[1]
    monkeypatch.setattr(cross_fitting, "OWN_NUMBERS", 40 * numbers)
    monkeypatch.setattr(cross_fitting, "ENCODINGS", 10)
    found = encodings_of(model, rows, validation)
    assert torch.equal(found.own.rows.x, rows.x[::3])
    assert torch.equal(found.own.tokens, model.tokenize(rows)[::3])
    assert torch.equal(found.held_out.rows.x, validation.x)
    assert torch.equal(found.held_out.tokens, model.tokenize(validation))
    assert not found.others
    assert found.own_weight == 1


def test_rows_few_enough_for_others_are_never_left_out(start_of, draw_rows, monkeypatch):
    rows = draw_rows(0, 90)
    monkeypatch.setattr(cross_fitting, "OWN_NUMBERS", 1)
    found = encodings_of(start_of(rows), rows, rows[:20])
    assert torch.equal(found.own.rows.x, rows.x)


def test_own_codes_keep_a_third_of_the_weight(start_of, draw_rows):
    rows = draw_rows(0, 90)
    found = encodings_of(start_of(rows), rows, rows[:20], torch.Generator().manual_seed(0))
    n_others = sum(len(one.rows) for one in found.others)
    assert n_others == cross_fitting.TIMES * 90
    assert found.own_weight * 90 == n_others / 2


def test_columns_with_rare_events_are_known_where_others_encode_the_rows(start_of, draw_rows):
    rows = draw_rows(0, 200)
    rows.x[:, 3] = 0.0
    rows.x[5, 3] = 9.0
    model, validation = start_of(rows), draw_rows(1, 20)
    found = encodings_of(model, rows, validation, torch.Generator().manual_seed(0))
    assert found.rare.nonzero().flatten().tolist() == [3]
    assert not encodings_of(model, rows, validation).rare.any()
