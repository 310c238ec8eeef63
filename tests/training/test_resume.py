"""Saved states are used where they fit, and refused with the reason where they do not."""

import logging

import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.tokenizer.state_file import read_state, write_state
from spinlock.training.loop import Trainer
from spinlock.training.resume import (
    SavedState,
    bad_state_told,
    differences,
    state_of_checkpoint,
)

STAMP = {"settings": "aaa", "code": "bbb", "data": "ccc"}


@pytest.fixture
def trainer(make_model, make_plan, train, validation) -> Trainer:
    """A trainer after two epochs."""
    made = Trainer(make_model(), train, validation, make_plan())
    for entry in made.run():
        if entry["epoch"] == 2:
            break
    return made


def test_a_state_that_was_saved_is_read_back(trainer, tmp_path):
    path = tmp_path / "state" / "last.pt"
    SavedState(path, STAMP).save(trainer, now=True)
    state = SavedState(path, STAMP).read()
    assert state["epoch"] == 2
    assert state["history"] == trainer.history
    for name, weights in trainer.model.state_dict().items():
        assert torch.equal(state["model"][name], weights)


def test_without_a_file_there_is_no_state(tmp_path):
    assert SavedState(tmp_path / "last.pt", STAMP).read() is None


@pytest.mark.parametrize("name", STAMP)
def test_a_state_of_other_settings_data_or_code_is_not_used_and_says_why(
    trainer, tmp_path, caplog, name
):
    path = tmp_path / "last.pt"
    SavedState(path, STAMP | {name: "other"}).save(trainer, now=True)
    with caplog.at_level(logging.INFO):
        assert SavedState(path, STAMP).read() is None
    assert f"is of other {name}: starting anew" in caplog.text


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_a_damaged_state_is_not_used_and_says_so(tmp_path, caplog, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert SavedState(path, STAMP).read() is None
    assert "saved state is not used" in caplog.text


def test_a_state_is_saved_at_once_when_asked_and_else_only_now_and_then(
    trainer, tmp_path, monkeypatch
):
    clock = [100.0]
    monkeypatch.setattr("spinlock.training.resume.time.monotonic", lambda: clock[0])
    saved = SavedState(tmp_path / "last.pt", STAMP)
    saved.save(trainer)
    assert not saved.path.exists()
    clock[0] += 60
    saved.save(trainer)
    assert saved.path.exists()
    saved.discard()
    saved.save(trainer)
    assert not saved.path.exists()
    saved.save(trainer, now=True)
    assert saved.path.exists()


def test_what_is_no_number_is_not_saved_over_the_last_sound_state(trainer, tmp_path):
    saved = SavedState(tmp_path / "last.pt", STAMP)
    saved.save(trainer, now=True)
    sound = saved.path.read_bytes()

    def spoil_and_save() -> None:
        if trainer.place.done:
            torch.nn.init.constant_(trainer.model.decoder.own.bias, torch.nan)
            saved.save(trainer, now=True)

    with pytest.raises(SpinlockError, match="in epoch 3, after batch 1"):
        list(trainer.run(spoil_and_save))
    assert saved.path.read_bytes() == sound


def test_discarding_what_is_not_there_does_no_harm(tmp_path):
    SavedState(tmp_path / "last.pt", STAMP).discard()


def no_settings(config: object) -> list[str]:
    raise AssertionError("settings are the same")


def write_checkpoint(trainer: Trainer, path, **changes) -> None:
    state = trainer.state_dict()
    entries = {
        "optimizer_state_dict": state.pop("optimizer"),
        "training_state": state,
        "provenance": {"spinlock": "0.1.0"} | STAMP,
    }
    write_state(path, entries | changes)


def test_a_checkpoint_gives_a_trainer_its_state(
    trainer, make_model, make_plan, train, validation, tmp_path
):
    path = tmp_path / "checkpoint_epoch_0002.pt"
    write_checkpoint(trainer, path)
    again = Trainer(make_model(), train, validation, make_plan())
    again.load_state_dict(state_of_checkpoint(path, STAMP, 100, no_settings))
    for one in (trainer, again):
        list(one.run())
    assert again.history == trainer.history
    for name, weights in trainer.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weights)


def test_early_stopping_waits_anew_from_where_it_ended_a_training(
    make_model, make_plan, train, validation, tmp_path
):
    plan = make_plan(num_epochs=50, learning_rate=5.0, early_stopping_patience=3)
    ended, path = Trainer(make_model(), train, validation, plan), tmp_path / "best_model.pt"
    list(ended.run())
    assert ended.stopped
    write_checkpoint(ended, path)
    again = Trainer(make_model(), train, validation, plan)
    again.load_state_dict(state_of_checkpoint(path, STAMP, 50, no_settings))
    list(again.run())
    assert again.stopped
    assert again.epoch >= ended.epoch + 3


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"settings": "other"}, r"other settings \(a\.b, c\)\n"),
        ({"code": "other", "data": "other"}, "other code and data\n"),
    ],
)
def test_a_checkpoint_of_other_settings_data_or_code_is_refused_with_the_reason(
    trainer, tmp_path, changed, problem
):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(trainer, path, provenance=STAMP | changed, config={"differ": ["a.b", "c"]})
    with pytest.raises(SpinlockError, match=problem) as caught:
        state_of_checkpoint(path, STAMP, 100, lambda config: config["differ"])
    assert caught.value.where == path


def test_a_checkpoint_that_has_trained_longer_than_wanted_is_refused(trainer, tmp_path):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(trainer, path)
    epoch = trainer.epoch
    assert epoch > 1
    assert state_of_checkpoint(path, STAMP, epoch, no_settings)["epoch"] == epoch
    with pytest.raises(SpinlockError, match=f"trained {epoch} epochs, and num_epochs is 1"):
        state_of_checkpoint(path, STAMP, 1, no_settings)


def test_a_checkpoint_without_a_training_state_is_refused(trainer, tmp_path):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(trainer, path, training_state={}, provenance={})  # as of an exported model
    with pytest.raises(SpinlockError, match="no training state"):
        state_of_checkpoint(path, STAMP, 100, no_settings)


def test_a_file_that_says_nothing_of_its_making_is_refused(trainer, tmp_path):
    path = tmp_path / "checkpoint.pt"
    write_state(path, {"weights": torch.ones(2)})
    with pytest.raises(SpinlockError, match="no training state"):
        state_of_checkpoint(path, STAMP, 100, no_settings)
    assert read_state(path).keys() == {"weights"}


def test_differences_are_the_names_whose_digests_differ():
    assert differences(STAMP | {"more": "x"}, STAMP) == []
    assert differences({"settings": "aaa", "code": "x"}, STAMP) == ["code", "data"]


def test_a_state_that_says_nothing_of_its_making_is_not_used(tmp_path):
    path = tmp_path / "last.pt"
    write_state(path, {"training_state": {"epoch": 2}})
    assert SavedState(path, STAMP).read() is None


@pytest.mark.parametrize("entries", [{"stamp": [1]}, {"stamp": STAMP}, {"training_state": {}}])
def test_a_state_of_other_entries_is_not_used(tmp_path, caplog, entries):
    write_state(tmp_path / "last.pt", entries)
    with caplog.at_level(logging.INFO):
        assert SavedState(tmp_path / "last.pt", STAMP).read() is None
    assert "not used" in caplog.text or "starting anew" in caplog.text


def test_a_lack_of_memory_is_no_fault_of_the_state(tmp_path):
    with pytest.raises(MemoryError), bad_state_told(tmp_path / "last.pt"):
        raise MemoryError
