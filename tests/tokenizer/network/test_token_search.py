"""Tokens are those of exact arithmetic, whatever float32 makes of two codes nearly as near."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.network import products, token_search
from spinlock.tokenizer.network.codebook import Book, search
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.network.token_search import UNCLEAR, TokenSearch

SIZES = [[16, 8, 8], [8, 16, 4]]


def linear_model(randomize, seed: int) -> TokenizerModel:
    encoders = {"family": {"encoder": "IdentityEncoder", "encoder_params": {}}}
    shape = ModelShape([[0, 2, 5], [1, 3, 4]], SIZES, ["family"] * 6, encoders)
    model = randomize(TokenizerModel(shape), seed).eval()
    with torch.no_grad():
        model.quantizer.all_codes.mul_(model.encoder.dims.mask)
        # orthonormal, as principal axes are: embeddings are about as large as the columns
        model.encoder.linear.weight.copy_(torch.linalg.qr(model.encoder.linear.weight).Q)
    return model


def rows_near_ties(model: TokenizerModel, n_rows: int, seed: int) -> Rows:
    """Rows whose first category lies midway between two codes, as far as float32 can say."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        linear = copy.deepcopy(model.encoder.linear).double()
        codes = model.quantizer.book(0, 0).double()
        neighbours = torch.cdist(codes, codes).argsort(dim=1)[:, 1]
        one = torch.randint(len(codes), (n_rows,), generator=generator)
        between = (codes[one] + codes[neighbours[one]]) / 2 - linear.bias[0]
        x[:, model.shape.partition[0]] = torch.linalg.solve(linear.weight[0].T, between.T).T
        x *= 1 + 3e-7 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return Rows(x.float())


def clear_of_ties(model: TokenizerModel, rows: Rows, beam: int) -> torch.Tensor:
    """Which tokens float64 itself chooses beyond its own rounding [B, C]."""
    exact = copy.deepcopy(model).double()
    given = TokenSearch(exact.encoder, exact.quantizer, beam).given
    with torch.no_grad():
        embedded = given.embedder(rows.double())
        found = [search(embedded(c), books, beam) for c, books in enumerate(given.books)]
    return torch.stack([one.margin > 1e-12 for one in found], dim=1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([1, 2, 5]))
def test_tokens_in_float32_are_those_of_float64(randomize, seed, beam):
    model = linear_model(randomize, seed)
    rows = rows_near_ties(model, 200, seed)
    expected = copy.deepcopy(model).double().tokenize(rows.double(), beam)
    differ = (model.tokenize(rows, beam) != expected).any(dim=-1)
    assert not (differ & clear_of_ties(model, rows, beam)).any()


def test_float32_alone_would_take_other_tokens(randomize, monkeypatch):
    model = linear_model(randomize, 0)
    rows = rows_near_ties(model, 4000, 0)
    tokens = model.tokenize(rows, beam=1)
    monkeypatch.setattr("spinlock.tokenizer.network.token_search.UNCLEAR", 0.0)
    assert (model.tokenize(rows, beam=1) != tokens).any()


def test_a_draft_differs_in_unclear_tokens_only(randomize):
    model = linear_model(randomize, 0)
    rows = rows_near_ties(model, 4000, 0)
    search = model.token_search(beam=1)
    draft, tokens = (one(rows.__getitem__, len(rows)) for one in (search.draft, search.tokens))
    _, unclear, _ = search._draft(rows)
    differ = (draft != tokens).any(dim=-1)
    assert differ.any()
    assert not (differ & ~unclear).any()


def test_few_tokens_of_ordinary_rows_are_unclear(randomize):
    model = linear_model(randomize, 0)
    rows = Rows(torch.randn(4000, 6, generator=torch.Generator().manual_seed(0)))
    _, unclear, _ = model.token_search()._draft(rows)
    assert unclear.float().mean() < 1e-3


def test_where_float32_errs_its_margin_is_far_below_what_counts_as_unclear(randomize):
    model = linear_model(randomize, 1)
    rows = rows_near_ties(model, 4000, 1)
    expected = copy.deepcopy(model).double().tokenize(rows.double(), beam=1)
    given = TokenSearch(model.encoder, model.quantizer, beam=1).given
    with torch.no_grad():
        embedded = given.embedder(rows)
        found = [search(embedded(c), books, 1) for c, books in enumerate(given.books)]
    tokens = torch.stack([one.tokens for one in found], dim=1)
    margin = torch.stack([one.margin for one in found], dim=1)
    wrong = (tokens != expected).any(dim=-1)
    assert wrong.any()
    assert margin[wrong].max() < UNCLEAR / 3


@pytest.mark.parametrize("beam", [1, 4])
def test_rows_alone_get_the_tokens_that_they_get_among_others(randomize, beam):
    model = linear_model(randomize, 2)
    rows = rows_near_ties(model, 300, 2)
    together = model.tokenize(rows, beam)
    alone = torch.cat([model.tokenize(part, beam) for part in rows.split(1)])
    assert torch.equal(alone, together)


def test_autocast_changes_no_token(randomize):
    model = linear_model(randomize, 3)
    rows = rows_near_ties(model, 300, 3)
    expected = model.tokenize(rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.tokenize(rows), expected)


@pytest.mark.parametrize("beam", [1, 3])
def test_of_equal_codes_the_first_is_taken(beam):
    generator = torch.Generator().manual_seed(0)
    distinct = torch.randn(7, 5, generator=generator)
    repeated = torch.cat([distinct, distinct.flip(0), distinct])
    assert Book.of(repeated).norms.isinf().sum() == 14
    z = torch.randn(500, 5, generator=generator)
    tokens = [
        search(z, [Book.of(codes), Book.of(0.3 * codes)], beam).tokens
        for codes in (distinct, repeated)
    ]
    assert torch.equal(*tokens)


def test_a_book_of_one_code_leaves_no_doubt():
    found = search(torch.randn(9, 3), [Book.of(torch.zeros(1, 3))], 1)
    assert found.margin.isinf().all()


@pytest.mark.parametrize("seed", range(5))
def test_where_an_encoder_makes_rounding_several_times_larger_all_that_errs_is_unclear(
    randomize, monkeypatch, seed
):
    model = linear_model(randomize, seed)
    with torch.no_grad():  # two columns nearly alike, read with large opposite weights
        model.encoder.linear.weight[0, 0] += 3
        model.encoder.linear.weight[0, 1] -= 3
    rows = rows_near_ties(model, 4000, seed)
    expected = copy.deepcopy(model).double().tokenize(rows.double(), beam=1)
    clear = clear_of_ties(model, rows, beam=1)

    def errs() -> bool:
        differ = (model.tokenize(rows, beam=1) != expected).any(dim=-1)
        return bool((differ & clear).any())

    assert not errs()
    monkeypatch.setattr("spinlock.tokenizer.network.token_search.UNCLEAR", 0.0)
    assert errs(), "of such rows float32 alone takes other tokens"


def test_nothing_of_float32_is_rounded_off_whatever_torch_was_told(randomize, monkeypatch):
    model = linear_model(randomize, 0)
    seen = []

    def watched(*arguments):
        seen.append({one.fp32_precision for one in products.SETTINGS})
        return search(*arguments)

    monkeypatch.setattr(token_search, "search", watched)
    with products.precision("none", *products.SETTINGS):
        torch.set_float32_matmul_precision("medium")
        model.tokenize(rows_near_ties(model, 3, 0))
    assert seen[:2] == [{"ieee"}] * 2
