"""What is fitted again after training: never worse on validation rows, and honest about it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.rows import Rows
from spinlock.training import refinement
from spinlock.training.refinement import reestimate_books, refine
from spinlock.training.validation import validation_entries

modest = settings(deadline=None, max_examples=12)


def disturbed(model: TokenizerModel, seed: int, size: float) -> TokenizerModel:
    """Return the model as a bad training might leave it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(size * torch.randn(weights.shape, generator=generator))
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
    entries = refine(model, train, validation, seed=0)
    after = loss_of(model, validation, train)
    assert after <= before
    accepted = [entry["val_loss"] for entry in entries if entry["accepted"]]
    assert after == pytest.approx(accepted[-1] if accepted else before, rel=1e-6)


def test_each_step_has_an_entry_that_says_whether_it_was_kept(make_model, train, validation):
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
    make_model, train, validation, monkeypatch
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
    make_model, train, validation
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


@modest
@given(st.integers(0, 2**32 - 1))
def test_reestimated_codes_are_the_means_of_what_they_stand_for(make_model, train, seed):
    model = disturbed(make_model(), seed, 0.2)
    quantizer = model.quantizer
    tokens = model.tokenize(train)
    with torch.no_grad():
        z = model.encoder(train.x).double()
    books = [[quantizer.book(c, level).double() for level in range(3)] for c in range(2)]
    reestimate_books(model, train)
    for c in range(2):
        for level in range(3):
            rest = z[c] - sum(
                books[c][other][tokens[:, c, other]] for other in range(3) if other != level
            )
            for k in range(len(books[c][level])):
                mine = rest[tokens[:, c, level] == k]
                if len(mine):
                    books[c][level][k] = mine.mean(0)
            found = quantizer.book(c, level).double()
            torch.testing.assert_close(found, books[c][level], rtol=1e-4, atol=1e-4)


@modest
@given(st.integers(0, 2**32 - 1))
def test_reestimated_books_leave_less_of_the_train_rows(make_model, train, seed):
    model = disturbed(make_model(), seed, 0.2)
    tokens = model.tokenize(train)
    with torch.no_grad():
        z = model.encoder(train.x).transpose(0, 1)
    before = (z - model.embed(tokens)).square().sum()
    reestimate_books(model, train)
    assert (z - model.embed(tokens)).square().sum() <= before * (1 + 1e-5)


def test_books_of_categories_with_rare_events_stay(make_model, train):
    model = disturbed(make_model(), 0, 0.2)
    before = [[model.quantizer.book(c, level).clone() for level in range(3)] for c in range(2)]
    rows = Rows(train.x.clone())
    rows.x[:, 4] = 0.0
    rows.x[3, 4] = 9.0
    reestimate_books(model, rows)
    same = [
        [torch.equal(model.quantizer.book(c, level), before[c][level]) for level in range(3)]
        for c in range(2)
    ]
    assert same == [[False] * 3, [True] * 3]


def test_reestimated_books_of_restricted_levels_stay_in_their_subspace(
    make_model, make_request, train
):
    books = make_request().books
    explicit = [[(1, 8), (2, 4), (None, 2)]] * 2
    model = make_model(books=type(books)(explicit=explicit))
    reestimate_books(model, train)
    for c in range(2):
        assert torch.linalg.matrix_rank(model.quantizer.book(c, 0), rtol=1e-4) == 1
