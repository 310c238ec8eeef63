"""The error of rows that no fit sees, and that measuring it changes nothing."""

import math

import pytest
import torch

from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start import validation as validation_module
from spinlock.tokenizer.start.validation import row_errors, validation_entries


def test_the_error_of_validation_rows_is_that_of_their_tokens(make_model, validation, train):
    model, mean = make_model(), train.x.mean(0)
    entry = validation_entries(model, validation, mean)
    decoded = model.reconstruct(model.tokenize(validation))
    error = (validation.x - decoded).double().square()
    total = (validation.x - mean).double().square().sum()
    assert entry["val_loss"] == pytest.approx(float(error.mean()), rel=1e-6)
    assert entry["val_quality"] == pytest.approx(1 - float(error.sum() / total), rel=1e-6)


def test_rows_are_measured_one_by_one_in_their_order(make_model, validation, monkeypatch):
    model = make_model()
    whole = row_errors(model, validation)
    decoded = model.reconstruct(model.tokenize(validation))
    expected = (validation.x - decoded).double().square().sum(dim=1)
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=0)
    monkeypatch.setattr(validation_module, "ROW_BLOCK", 7)
    torch.testing.assert_close(row_errors(model, validation), whole, rtol=1e-5, atol=0)


def test_without_validation_rows_there_is_no_quality(make_model, validation, train):
    entry = validation_entries(make_model(), Rows(validation.x[:0]), train.x.mean(0))
    assert entry["val_loss"] == 0
    assert math.isnan(entry["val_quality"])


def test_a_model_in_training_is_measured_as_it_evaluates(make_model, validation):
    model = make_model(dropout=0.5)
    torch.nn.init.ones_(model.decoder.network[-1].weight)
    evaluated = row_errors(model.eval(), validation)
    assert torch.equal(row_errors(model.train(), validation), evaluated)


def test_validation_changes_neither_weights_nor_buffers(make_model, validation, train):
    model = make_model().train()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    validation_entries(model, validation, train.x.mean(0))
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
