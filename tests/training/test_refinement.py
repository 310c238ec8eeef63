"""What is fitted again after training: never worse on validation rows, and honest about it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.validation import validation_entries
from spinlock.training import refinement
from spinlock.training.refinement import refine

modest = settings(deadline=None, max_examples=12)


def loss_of(model: TokenizerModel, rows: Rows, train: Rows) -> float:
    return validation_entries(model, rows, train.x.mean(0))["val_loss"]


@modest
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.3, 3.0]))
def test_refinement_never_worsens_validation(make_model, disturbed, train, validation, seed, size):
    model = disturbed(make_model(), seed, size)
    before = loss_of(model, validation, train)
    entries = refine(model, train, validation, seed=0)
    after = loss_of(model, validation, train)
    assert after <= before
    accepted = [entry["val_loss"] for entry in entries if entry["accepted"]]
    assert after == pytest.approx(accepted[-1] if accepted else before, rel=1e-6)


def test_each_step_has_an_entry_that_says_whether_it_was_kept(
    make_model, disturbed, train, validation
):
    model = disturbed(make_model(), 0, 0.3)
    before = loss_of(model, validation, train)
    entries = refine(model, train, validation, seed=0)
    assert [entry["step"] for entry in entries] == ["books", "decoder"]
    assert entries[0]["accepted"] == (entries[0]["val_loss"] < before)
    assert any(entry["accepted"] for entry in entries)


def test_quality_of_a_step_is_measured_about_the_mean_of_the_train_rows(
    make_model, train, validation
):
    total = float((validation.x - train.x.mean(dim=0)).square().mean())
    for entry in refine(make_model(), train, validation, seed=0):
        assert entry["val_quality"] == pytest.approx(1 - entry["val_loss"] / total, abs=1e-5)


def test_the_decoder_is_fitted_to_train_rows_and_chosen_by_validation_rows(
    make_model, disturbed, train, validation, monkeypatch
):
    given, fit = [], refinement.fit_decoder
    monkeypatch.setattr(
        refinement, "fit_decoder", lambda *parts: given.append(parts) or fit(*parts)
    )
    model = disturbed(make_model(), 0, 0.05)
    assert refine(model, train, validation, seed=3)[-1]["accepted"]
    ((fitted, *rows, generator),) = given
    assert fitted is model
    assert rows == [train, validation]
    assert generator.initial_seed() == 3


def test_a_step_that_changes_nothing_is_not_kept(make_model, train, validation, monkeypatch):
    for step in ("reestimate_books", "fit_decoder"):
        monkeypatch.setattr(refinement, step, lambda *_: None)
    entries = refine(make_model(), train, validation, seed=0)
    assert [entry["accepted"] for entry in entries] == [False, False]


def test_steps_that_do_not_help_are_undone(make_model, train, validation):
    model = make_model()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    elsewhere = Rows(train.x + 10)  # says nothing of the validation rows
    entries = refine(model, elsewhere, validation, seed=0)
    assert not any(entry["accepted"] for entry in entries)
    after = model.state_dict()
    prefixes = [f"decoder.{name}.{i}" for name in ("cross", "offset") for i in (0, 1)]
    for name in before.keys() - prefixes:
        assert torch.equal(after[name], before[name]), name


def test_the_corrections_of_shorter_prefixes_are_fitted_to_the_refined_books(
    make_model, disturbed, train, validation
):
    model = disturbed(make_model(), 0, 0.3)
    refine(model, train, validation, seed=0)
    tokens = model.tokenize(validation)
    for levels in (1, 2):
        decoded = model.reconstruct(tokens, levels)
        with torch.no_grad():
            own = model.decoder.decode_own(model.embed(tokens, levels).transpose(0, 1))
        error, alone = ((validation.x - one).square().sum() for one in (decoded, own))
        assert error <= alone * (1 + 1e-6)
