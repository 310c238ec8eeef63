"""What Weights & Biases is told of a training; a stand-in for the package writes it down."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from spinlock.errors import SpinlockError
from spinlock.training import tracking
from spinlock.training.tracking import require_tracking, tracked


class Refused(Exception):
    """What the package raises when it knows no key."""


class Run:
    """A run that remembers what it is given."""

    def __init__(self) -> None:
        self.logged, self.summary, self.ended = [], {}, []

    def log(self, numbers, step):
        self.logged.append((step, numbers))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self.ended.append(kind)


@pytest.fixture
def wandb(monkeypatch) -> SimpleNamespace:
    made = SimpleNamespace(Error=Refused, run=Run(), begun=[])

    def init(**given):
        made.begun.append(given)
        return made.run

    made.init = init
    monkeypatch.setitem(sys.modules, "wandb", made)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return made


def test_a_run_is_named_like_the_folder_and_has_the_settings(wandb, monkeypatch, tmp_path):
    folder = tmp_path / "small"
    for _ in range(2):
        with tracked(True, folder, {"random_seed": 3}):
            pass
        monkeypatch.setenv("WANDB_PROJECT", "other")
    settings = {"name": "small", "dir": folder, "config": {"random_seed": 3}}
    assert wandb.begun == [{"project": name} | settings for name in ("spinlock", "other")]


def test_an_epoch_shows_its_numbers_and_the_means_of_its_books(wandb, tmp_path):
    entry = {"step": "epoch", "epoch": 2, "val_loss": 0.5, "perplexity": [[1.0, 2.0], [3.0, 6.0]]}
    with tracked(True, tmp_path, {}) as tracker:
        tracker.show_epoch(entry)
        tracker.show_result({"quality": 0.9})
    assert wandb.run.logged == [(2, {"epoch": 2, "val_loss": 0.5, "perplexity": 3.0})]
    assert wandb.run.summary == {"quality": 0.9}


def test_a_run_ends_with_the_training_also_when_that_fails(wandb, tmp_path):
    with pytest.raises(ZeroDivisionError), tracked(True, tmp_path, {}):
        raise ZeroDivisionError
    assert wandb.run.ended == [ZeroDivisionError]


def test_unasked_nothing_is_begun(wandb, tmp_path):
    with tracked(False, tmp_path, {}) as tracker:
        tracker.show_epoch({"epoch": 0})
        tracker.show_result({})
    assert not wandb.begun


def test_a_run_that_cannot_begin_is_a_message(wandb, monkeypatch, tmp_path):
    def init(**given):
        raise Refused("No API key configured")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(SpinlockError, match="No API key configured") as caught:
        tracked(True, tmp_path, {}).__enter__()
    assert "WANDB_MODE=offline" in caught.value.remedy


def test_without_the_package_a_training_that_is_to_be_shown_does_not_begin(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    with (
        pytest.raises(SpinlockError, match=r"wandb, which is not installed[\s\S]*\.\[wandb\]"),
        tracked(True, tmp_path, {}),
    ):
        pytest.fail("it began")


@pytest.mark.parametrize(("there", "told"), [(None, True), (object(), False)])
def test_the_package_is_looked_for_where_a_training_is_to_be_shown(monkeypatch, there, told):
    monkeypatch.setattr(tracking, "find_spec", lambda name: there)
    require_tracking(wanted=False)
    with pytest.raises(SpinlockError, match="not installed") if told else nullcontext():
        require_tracking(wanted=True)
