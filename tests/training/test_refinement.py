"""What is fitted again after training: never worse on validation rows, and honest about it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.model import Rows, TokenizerModel
from spinlock.training.loop import validation_entries
from spinlock.training.refinement import reestimate_books, refine, refit_decoder

modest = settings(deadline=None, max_examples=12)


def disturbed(model: TokenizerModel, seed: int, size: float) -> TokenizerModel:
    """Return the model as a bad training might leave it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            weights += size * torch.randn(weights.shape, generator=generator)
        # padding stays what it is
        for level in range(model.n_levels):
            codes = model.quantizer.codes(level)
            codes[~model.quantizer.valid(level)] = 0.0
    return model.eval()


def loss_of(model: TokenizerModel, rows: Rows, train: Rows) -> float:
    return validation_entries(model, rows, train.x.mean(0))["val_loss"]


@modest
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.3, 3.0]))
def test_refinement_never_worsens_validation(make_model, train, validation, seed, size):
    model = disturbed(make_model(), seed, size)
    before = loss_of(model, validation, train)
    entries = refine(model, train, validation)
    after = loss_of(model, validation, train)
    assert after <= before
    accepted = [entry["val_loss"] for entry in entries if entry["accepted"]]
    assert after == pytest.approx(accepted[-1] if accepted else before, rel=1e-6)


def test_each_step_has_an_entry_that_says_whether_it_was_kept(make_model, train, validation):
    model = disturbed(make_model(), 0, 0.3)
    before = loss_of(model, validation, train)
    entries = refine(model, train, validation)
    assert [entry["step"] for entry in entries] == ["books", "decoder"]
    assert entries[0]["accepted"] == (entries[0]["val_loss"] < before)
    assert any(entry["accepted"] for entry in entries)


def test_a_step_that_does_not_help_is_undone(make_model, train, validation):
    model = make_model(books=None or make_model().shape and make_request_books())
    assert model is not None
