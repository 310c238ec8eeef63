"""The training loop: what is repeatable, what is kept, what can be interrupted."""

import io
import logging
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.validation import validation_entries
from spinlock.training import loop
from spinlock.training.loop import Trainer
from spinlock.training.objective import TERMS, LossWeights


@pytest.fixture(scope="session")
def make_trainer(make_model, make_plan, train, validation):
    """Give a function that makes a trainer at the start, with some of the plan changed."""

    def make(rows: Rows = train, model: dict | None = None, **changes) -> Trainer:
        return Trainer(make_model(**model or {}), rows, validation, make_plan(**changes))

    return make


def finish(trainer: Trainer, at_rest: Callable[[], None] = lambda: None) -> Trainer:
    for _ in trainer.run(at_rest):
        pass
    return trainer


def through_a_file(state: dict) -> dict:
    """Return what a saved state is when it is read in another process."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_equal_states(a: object, b: object, place: str = "state") -> None:
    """Compare nested states bit by bit."""
    assert type(a) is type(b), place
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_equal_states(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), place
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_equal_states(one, other, f"{place}[{i}]")
    else:
        assert a == b, place


def test_the_same_seed_gives_the_same_weights_and_history(make_trainer):
    first = finish(make_trainer(seed=3))
    torch.rand(7)
    second = finish(make_trainer(seed=3))
    assert_equal_states(first.state_dict(), second.state_dict())


def test_another_seed_gives_other_weights(make_trainer):
    first, second = finish(make_trainer(seed=3)), finish(make_trainer(seed=4))
    assert not torch.equal(first.model.quantizer.codes(0), second.model.quantizer.codes(0))


@settings(deadline=None, max_examples=6)
@given(
    st.integers(0, 5),
    st.integers(0, 2**31 - 1),
    st.sampled_from(["adam", "adamw", "sgd"]),
    st.sampled_from([None, "cosine", "step", "plateau"]),
    st.booleans(),
)
def test_a_training_that_was_interrupted_goes_on_as_if_it_never_had_been(
    make_trainer, epoch, seed, optimizer, scheduler, use_ema
):
    changes = {
        "model": {"use_ema": use_ema},
        "seed": seed,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "warmup_epochs": 2,
        "val_every_n_epochs": 2,
        "early_stopping_patience": 4,
    }
    whole = finish(make_trainer(**changes))
    interrupted = make_trainer(**changes)
    for entry in interrupted.run():
        if entry["epoch"] == epoch:
            break
    state = through_a_file(interrupted.state_dict())
    torch.rand(5)
    resumed = make_trainer(**changes)
    resumed.load_state_dict(state)
    assert_equal_states(finish(resumed).state_dict(), whole.state_dict())


def test_what_was_finished_stays_finished(make_trainer):
    whole = finish(make_trainer())
    again = make_trainer()
    again.load_state_dict(through_a_file(whole.state_dict()))
    assert again.finished
    assert list(again.run()) == []


def test_training_lowers_the_validation_loss(make_trainer):
    trainer = make_trainer(learning_rate=3e-3)
    with torch.no_grad():
        trainer.model.decoder.own.bias += 0.3  # a start that is not the best there is
    finish(trainer)
    assert trainer.best.val_loss < 0.8 * trainer.history[0]["val_loss"]
    assert trainer.best.val_loss == min(entry["val_loss"] for entry in trainer.history)


def test_the_start_is_kept_when_training_does_not_help(make_trainer, make_model):
    trainer = finish(make_trainer(learning_rate=5.0))
    assert all(entry["val_loss"] > trainer.history[0]["val_loss"] for entry in trainer.history[1:])
    assert trainer.best.epoch == 0
    assert_equal_states(dict(trainer.best.weights), dict(make_model().state_dict()))


def test_no_epochs_leave_the_start(make_trainer):
    trainer = finish(make_trainer(num_epochs=0))
    assert [entry["step"] for entry in trainer.history] == ["start"]
    assert trainer.best.epoch == 0


def test_the_best_weights_have_the_loss_that_is_reported(make_trainer, validation):
    trainer = finish(make_trainer(num_epochs=10))
    trainer.model.load_state_dict(trainer.best.weights)
    again = validation_entries(trainer.model, validation, trainer.train_mean)
    assert again["val_loss"] == trainer.best.val_loss


def test_early_stopping_ends_a_training_that_does_not_improve(make_trainer):
    trainer = finish(make_trainer(num_epochs=50, learning_rate=5.0, early_stopping_patience=3))
    assert trainer.stopped
    assert trainer.epoch < 50
    since = trainer.epoch - 3
    best_before = min(entry["val_loss"] for entry in trainer.history[1 : since + 1])
    assert all(entry["val_loss"] >= best_before for entry in trainer.history[since + 1 :])


def test_validation_is_due_every_so_many_epochs_and_at_the_end(make_trainer):
    trainer = finish(make_trainer(num_epochs=7, val_every_n_epochs=3))
    validated = [entry["epoch"] for entry in trainer.history if "val_loss" in entry]
    assert validated == [0, 3, 6, 7]


def test_an_entry_says_what_happened_in_its_epoch(make_trainer):
    weights = LossWeights(1.0, 0.5, 0.25, 0.125, 2.0, commitment_cost=0.25, topo_samples=32)
    trainer = finish(make_trainer(weights=weights, scheduler="cosine", num_epochs=2))
    entry = trainer.history[1]
    named = [
        entry[f"{name}_loss"]
        for name in ("reconstruction", "vq", "orthogonality", "informativeness", "topographic")
    ]
    expected = sum(w * v for w, v in zip((1.0, 0.5, 0.25, 0.125, 2.0), named, strict=True))
    assert entry["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert entry["learning_rate"] == trainer.schedule.at(1)
    assert len(entry["utilization"]) == len(entry["perplexity"]) == 2
    assert 0 < entry["utilization"][0][0] <= 1 <= entry["perplexity"][0][0] <= 8


NEARLY_ALL_DEAD = {"dead_code_threshold": 0.01, "dead_code_max_reset_fraction": 1.0}


@pytest.mark.parametrize("use_ema", [True, False])
def test_dead_codes_are_reset_once_an_interval_is_over(make_trainer, use_ema):
    changes = {"num_epochs": 6, "model": {"use_ema": use_ema}, **NEARLY_ALL_DEAD}
    trainer = finish(make_trainer(dead_code_reset_interval=2, **changes))
    counts = [entry["codes_reset"] for entry in trainer.history[1:]]
    assert [bool(count) for count in counts] == [False, False, True, False, True, False]
    never = finish(make_trainer(dead_code_reset_interval=0, **changes))
    assert not any(entry["codes_reset"] for entry in never.history[1:])


def test_codes_that_were_reset_are_trained_before_they_are_validated(make_trainer):
    trainer, moved_after = make_trainer(dead_code_reset_interval=1, **NEARLY_ALL_DEAD), []
    reset = trainer.model.quantizer.reset_dead_codes

    def noted(*args, **kwargs):
        moved_after.append(trainer.batches % 5)
        return reset(*args, **kwargs)

    trainer.model.quantizer.reset_dead_codes = noted
    finish(trainer)
    assert trainer.batches == 6 * 5
    assert moved_after == [0] * 5  # in the first batch of all epochs but the first


def test_epochs_that_are_added_reset_as_if_they_had_been_asked_for_at_once(make_trainer):
    changes = {"dead_code_reset_interval": 2, **NEARLY_ALL_DEAD}
    at_once = finish(make_trainer(num_epochs=8, **changes))
    first, added = (
        finish(make_trainer(num_epochs=4, **changes)),
        make_trainer(num_epochs=8, **changes),
    )
    added.load_state_dict(first.state_dict())
    finish(added)
    assert [e["codes_reset"] > 0 for e in added.history[1:]] == [0, 0, 1, 0, 1, 0, 1, 0]
    assert added.history == at_once.history


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("use_ema", [True, False])
def test_codes_move_with_averages_or_by_gradient(make_trainer, make_model, optimizer, use_ema):
    trainer = finish(
        make_trainer(model={"use_ema": use_ema}, optimizer=optimizer, dead_code_reset_interval=0)
    )
    start = make_model(use_ema=use_ema)
    for level in range(3):
        moved = trainer.model.quantizer.codes(level) - start.quantizer.codes(level)
        assert moved.abs().max() > 1e-6
        use, at_start = (one.quantizer.count(level) for one in (trainer.model, start))
        assert not torch.equal(use, at_start)


@pytest.mark.parametrize("batch_size", [2, 43, 60, 129, 130, 1000])
def test_all_rows_of_an_epoch_train_and_count_but_a_lone_last_one(make_trainer, batch_size):
    trainer, places = make_trainer(batch_size=batch_size, num_epochs=1), []
    finish(trainer, lambda: places.append(trainer.place))
    lone_row = 130 % batch_size == 1
    assert trainer.batches == math.ceil(130 / batch_size) - lone_row
    counts = places[0].use.all_counts
    assert counts.sum() == (130 - lone_row) * trainer.model.quantizer.sizes.size
    assert math.isfinite(trainer.history[-1]["train_loss"])


def test_every_epoch_has_an_order_and_a_noise_of_its_own(make_trainer, train):
    trainer = make_trainer(num_epochs=3, batch_size=1000, dead_code_reset_interval=0)
    orders, noises = [], []

    def note() -> None:
        orders.append(tuple(trainer.place.order.tolist()))
        noises.append(tuple(trainer.place.noise.get_state().tolist()))

    finish(trainer, note)
    unshuffled = tuple(range(len(train)))
    assert all(tuple(sorted(order)) == unshuffled for order in orders)
    assert len({unshuffled, *orders}) == 4
    assert len(set(noises)) == 3


def test_two_rows_are_enough_to_train(make_trainer, train):
    rows = train.take(torch.arange(2))
    trainer = finish(make_trainer(rows=rows, num_epochs=2))
    assert math.isfinite(trainer.history[-1]["train_loss"])


def test_a_loss_that_is_no_number_is_an_error_that_names_term_epoch_and_batch(make_trainer, train):
    broken = Rows(train.x.clone())
    broken.x[5, 2] = math.nan
    trainer = make_trainer(rows=broken, batch_size=1000)
    with pytest.raises(SpinlockError, match=r"reconstruction loss became nan in epoch 1, batch 1"):
        finish(trainer)


def test_noise_is_on_the_input_only_and_repeats_with_the_seed(make_trainer):
    clean, noisy = (finish(make_trainer(input_noise=noise)) for noise in (0.0, 0.5))
    assert clean.history[0] == noisy.history[0]
    assert noisy.history[1]["reconstruction_loss"] > clean.history[1]["reconstruction_loss"]


def test_noise_of_the_size_asked_for_is_read_and_clean_train_rows_are_wanted(
    make_trainer, train, monkeypatch
):
    trainer, seen = make_trainer(num_epochs=1, batch_size=60, input_noise=0.3), []
    forward = trainer.objective.forward

    def watched(clean, noisy, n_rows):
        seen.append((clean.x, noisy.x))
        return forward(clean, noisy, n_rows)

    monkeypatch.setattr(trainer.objective, "forward", watched)
    finish(trainer)
    clean, noisy = (torch.cat(batches) for batches in zip(*seen, strict=True))
    assert torch.equal(clean.sort(dim=0).values, train.x.sort(dim=0).values)
    assert float((noisy - clean).std()) == pytest.approx(0.3, rel=0.1)
    assert float((noisy - clean).mean()) == pytest.approx(0, abs=0.05)


def test_a_validation_loss_on_a_plateau_lowers_the_learning_rate(make_trainer, monkeypatch):
    level = {"val_loss": 1.0, "val_quality": 0.0}
    monkeypatch.setattr(loop, "validation_entries", lambda *_: level)
    trainer = finish(make_trainer(num_epochs=7, learning_rate=1e-3, scheduler="plateau"))
    assert [entry["learning_rate"] for entry in trainer.history[1:]] == [1e-3] * 6 + [5e-4]


def test_quality_is_measured_about_the_mean_of_the_train_rows(make_trainer, train, validation):
    start = finish(make_trainer(num_epochs=0)).history[0]
    total = float((validation.x - train.x.mean(dim=0)).square().mean())
    assert start["val_quality"] == pytest.approx(1 - start["val_loss"] / total, rel=1e-5)


def test_extra_validations_change_nothing(make_trainer):
    plain = finish(make_trainer(eval_interval=None))
    extra = finish(make_trainer(eval_interval=2, log_interval=1))
    assert_equal_states(plain.state_dict(), extra.state_dict())


def test_without_a_compiler_training_goes_on_with_one_warning(make_trainer, monkeypatch, caplog):
    def broken(objective):
        def compiled(*_):
            raise RuntimeError("no compiler here")

        return compiled

    monkeypatch.setattr(torch, "compile", broken)
    plain = finish(make_trainer())
    with caplog.at_level(logging.WARNING):
        compiled = finish(make_trainer(compile=True))
    assert caplog.text.count("no compiler here") == 1
    assert_equal_states(plain.state_dict(), compiled.state_dict())


def test_only_batches_of_the_usual_size_are_compiled(make_trainer, monkeypatch):
    sizes = []

    def watched(objective):
        def compiled(clean, noisy, n_rows):
            sizes.append(len(clean))
            return objective(clean, noisy, n_rows)

        return compiled

    monkeypatch.setattr(torch, "compile", watched)
    trainer = make_trainer(compile=True, batch_size=17)
    finish(trainer)
    assert len(trainer.train_rows) % 17 > 1
    full = len(trainer.train_rows) // 17
    assert sizes == [17] * full * trainer.epoch


def test_the_losses_of_an_entry_are_the_means_over_its_batches(make_trainer, monkeypatch):
    trainer, seen = make_trainer(num_epochs=1), []
    forward = trainer.objective.forward

    def watched(*batch):
        terms, quantized = forward(*batch)
        seen.append(terms.detach())
        return terms, quantized

    monkeypatch.setattr(trainer.objective, "forward", watched)
    entry = finish(trainer).history[1]
    means = torch.stack(seen).mean(dim=0).tolist()
    assert [entry[f"{name}_loss"] for name in TERMS] == pytest.approx(means)


def test_steps_are_taken_at_the_rate_of_their_epoch(make_trainer):
    trainer, rates = make_trainer(num_epochs=3, scheduler="cosine"), []
    for entry in trainer.run():
        if entry["epoch"]:
            rates.append(trainer.optimizer.param_groups[0]["lr"])
            assert rates[-1] == entry["learning_rate"]
    assert rates == sorted(set(rates), reverse=True)


def test_no_more_of_a_book_is_reset_at_once_than_the_settings_say(make_trainer):
    every_code_is_dead = {"dead_code_threshold": 1e-6, "dead_code_max_reset_fraction": 0.25}
    trainer = finish(make_trainer(num_epochs=2, dead_code_reset_interval=1, **every_code_is_dead))
    assert trainer.model.quantizer.sizes.tolist() == [[8, 4, 2]] * 2
    assert trainer.history[2]["codes_reset"] == 2 * (2 + 1 + 0)
