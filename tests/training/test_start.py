"""The model before any gradient step: what was asked for, and repeatable."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.category_axes import principal_axes
from spinlock.tokenizer.initialization import BookRequest
from spinlock.tokenizer.rows import Rows
from spinlock.training import start
from spinlock.training.start import start_model
from spinlock.training.validation import validation_entries


def test_books_have_the_sizes_that_were_asked_for(make_model):
    model = make_model(books=BookRequest(explicit=[[(None, 5), (None, 3)], [(None, 2), (None, 9)]]))
    assert model.quantizer.sizes.tolist() == [[5, 3], [2, 9]]
    assert model.n_levels == 2


def test_automatic_books_keep_to_the_budget(make_model, caplog):
    with caplog.at_level(logging.INFO):
        model = make_model(books=BookRequest(bits=14))
    assert model.n_levels == 3
    assert np.log2(model.quantizer.sizes).sum() == 14
    assert "2 categories, 3 levels, 14 bits" in caplog.text


def test_levels_may_be_limited_to_few_dimensions(make_model):
    explicit = [[(1, 8), (None, 4)], [(2, 8), (3, 4)]]
    model = make_model(books=BookRequest(explicit=explicit))
    ranks = [int(torch.linalg.matrix_rank(model.quantizer.book(c, 0), rtol=1e-4)) for c in (0, 1)]
    assert ranks == [1, 2]


def test_the_shape_is_what_was_asked_for_with_the_book_sizes(make_request, make_model):
    asked = {"embedding_dim": 5, "hidden_dim": 7, "dropout": 0.3, "decay": 0.8, "beam_width": 3}
    explicit = [[(None, 4)], [(None, 2)]]
    model = make_model(books=BookRequest(explicit=explicit), **asked)
    assert model.shape == replace(make_request(**asked).shape, book_sizes=[[4], [2]])


def test_equal_seeds_give_equal_models(make_request, make_plan, train, validation):
    first, second, other = (
        start_model(make_request(), train, validation, make_plan(seed=seed)).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    assert not torch.equal(first["quantizer.all_codes"], other["quantizer.all_codes"])


@pytest.mark.parametrize(("batch_size", "share"), [(64, 64), (1000, 130)])
def test_codes_start_with_the_weight_of_a_batch(
    make_request, make_plan, train, validation, batch_size, share
):
    model = start_model(make_request(), train, validation, make_plan(batch_size=batch_size))
    assert float(model.quantizer.count(0)[0].sum()) == pytest.approx(share)


def test_categories_that_share_factors_start_from_joint_axes(
    make_request, make_plan, caplog, monkeypatch
):
    def rows(seed: int, n_rows: int) -> Rows:
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=(n_rows, 6)) * np.sqrt([6, 5, 4, 3, 2, 2])
        return Rows(torch.from_numpy(np.hstack([shared, shared])).float())

    train, validation = rows(0, 1500), rows(1, 300)
    request = make_request(
        partition=[[*range(6)], [*range(6, 12)]],
        column_family=["summary"] * 12,
        books=BookRequest(bits=26),
        embedding_dim=6,
    )
    mean = train.x.mean(dim=0)
    with caplog.at_level(logging.INFO):
        model = start_model(request, train, validation, make_plan())
    assert "which are taken" in caplog.text
    monkeypatch.setattr(start, "MOST_COLUMNS", 0)
    principal = start_model(request, train, validation, make_plan())
    errors = [validation_entries(one, validation, mean)["val_loss"] for one in (model, principal)]
    assert errors[0] < 0.8 * errors[1]
    np.testing.assert_allclose(
        np.log2(model.quantizer.sizes).sum(), np.log2(principal.quantizer.sizes).sum()
    )


def test_a_start_that_is_no_better_is_left_out(
    make_request, make_plan, train, validation, monkeypatch
):
    def useless(x, partition, limit, bits, most_bits):
        return [
            replace(one, analysis=0 * one.analysis) for one in principal_axes(x, partition, limit)
        ]

    monkeypatch.setattr(start, "joint_axes", useless)
    model = start_model(make_request(), train, validation, make_plan())
    monkeypatch.setattr(start, "MOST_COLUMNS", 0)
    principal = start_model(make_request(), train, validation, make_plan()).state_dict()
    assert all(torch.equal(values, principal[name]) for name, values in model.state_dict().items())


def test_encoders_of_fields_read_those_of_the_rows(make_request, make_plan, train, validation):
    params = ENCODER_PARAMS["InitialCNNEncoder"](channels=[2], output_dim=3).model_dump()
    request = make_request(
        encoders={"summary": {"encoder": "InitialCNNEncoder", "encoder_params": params}},
        field_channels=2,
    )
    with_fields = [Rows(rows.x, torch.randn(len(rows), 2, 4, 4)) for rows in (train, validation)]
    model = start_model(request, *with_fields, make_plan())
    assert model.tokenize(with_fields[1]).shape == (60, 2, 3)


def test_books_larger_than_the_rows_are_told_once(make_model, caplog):
    make_model(books=BookRequest(explicit=[[(None, 512), (None, 2)], [(None, 8), (None, 4)]]))
    assert caplog.text.count("more codes (up to 512) than there are train rows (130)") == 1
    caplog.clear()
    make_model()
    assert not caplog.text
