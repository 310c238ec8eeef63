"""What a training writes, and what it keeps when something goes wrong on its way."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from spinlock.errors import SpinlockError
from spinlock.features.split import TRAIN, VALIDATION
from spinlock.files import sole_writer
from spinlock.settings import load_experiment
from spinlock.stages import train
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.validation import validation_entries
from spinlock.tokenizer.state_file import read_state
from spinlock.training import beginning
from spinlock.training.objective import Objective

FLAGS = ("subset", "statistics", "categories")
INPUTS = ("subset.h5", "feature_statistics.npz", "categories.json")


def run(finished, output, bits=None, **changes):
    experiment = finished.experiment
    training = experiment.training.model_copy(update=changes)
    model = experiment.model.model_copy(update={"bits": bits or experiment.model.bits})
    experiment = experiment.model_copy(update={"training": training, "model": model})
    train.run(experiment, *[finished.path(name) for name in INPUTS], output)


def test_all_that_belongs_to_a_model_is_written_next_to_it(finished):
    checkpoint = Checkpoint.load(finished.path("best_model.pt"))
    assert json.loads(finished.path("training_history.json").read_text()) == checkpoint.history
    assert load_experiment(finished.path("config.yaml")) == finished.experiment
    with np.load(finished.path("normalization_stats.npz")) as stats:
        for category, entry in checkpoint.category_normalization().items():
            np.testing.assert_array_equal(stats[f"{category}/mean"], entry["mean"])
    assert not (finished.out / "state/last.pt").exists()


def test_a_model_is_fitted_on_train_rows_and_chosen_by_validation_rows(
    finished, rows_of, tmp_path, monkeypatch
):
    given = []

    def watch(module, name, first):
        watched = getattr(module, name)

        def watching(*arguments):
            given.append(arguments[first : first + 2])
            return watched(*arguments)

        monkeypatch.setattr(module, name, watching)

    watch(beginning, "start_model", 1)
    watch(beginning, "Trainer", 1)
    watch(train, "refine", 1)
    run(finished, tmp_path / "best_model.pt")
    assert len(given) == 3
    for rows in given:
        np.testing.assert_array_equal(rows[0].x, rows_of(TRAIN))
        np.testing.assert_array_equal(rows[1].x, rows_of(VALIDATION))


def test_the_loss_of_a_model_is_that_of_its_validation_rows(finished, rows_of, tmp_path):
    run(finished, tmp_path / "best_model.pt", bits=18)  # with which both estimates are taken
    checkpoint = Checkpoint.load(tmp_path / "best_model.pt")
    validation = Rows(torch.from_numpy(rows_of(VALIDATION)))
    mean = torch.from_numpy(rows_of(TRAIN)).mean(dim=0)
    found = validation_entries(checkpoint.model, validation, mean)
    assert checkpoint.val_loss == pytest.approx(found["val_loss"], rel=1e-5)
    assert checkpoint.metrics["quality"] == pytest.approx(found["val_quality"], rel=1e-5)
    assert [one["step"] for one in checkpoint.history[-2:]] == ["books", "decoder"]
    assert any(one["accepted"] for one in checkpoint.history[-2:])
    measured = [
        one for one in checkpoint.history if "val_loss" in one and one.get("accepted", True)
    ]
    assert checkpoint.val_loss == min(one["val_loss"] for one in measured)


def test_the_same_training_gives_the_same_bytes(finished, tmp_path):
    run(finished, tmp_path / "best_model.pt")
    for name in ("best_model.pt", "normalization_stats.npz", "training_history.json"):
        assert (tmp_path / name).read_bytes() == finished.path(name).read_bytes(), name


def test_every_epoch_and_the_result_are_shown_where_the_settings_ask_for_it(
    finished, tmp_path, monkeypatch
):
    shown, results = [], []

    @contextmanager
    def tracked(wanted, folder, config):
        assert wanted
        assert folder == tmp_path
        yield SimpleNamespace(show_epoch=shown.append, show_result=results.append)

    monkeypatch.setattr(train, "tracked", tracked)
    settings = finished.experiment.logging.model_copy(update={"wandb": True})
    experiment = finished.experiment.model_copy(update={"logging": settings})
    train.run(experiment, *[finished.path(name) for name in INPUTS], tmp_path / "best_model.pt")
    checkpoint = Checkpoint.load(tmp_path / "best_model.pt")
    assert shown == [one for one in checkpoint.history if one["step"] in {"start", "epoch"}]
    assert results == [checkpoint.metrics]


def test_a_new_training_leaves_no_checkpoints_of_an_earlier_one(finished, tmp_path):
    model = tmp_path / "best_model.pt"
    run(finished, model, num_epochs=4, save_every=2)
    run(finished, model, num_epochs=3, save_every=3)
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint_epoch_0003.pt"]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(
    finished, tmp_path, monkeypatch
):
    forward, batches = Objective.forward, []

    def broken(self, *batch):
        terms, quantized = forward(self, *batch)
        batches.append(1)
        if len(batches) == 8:  # two batches in an epoch: the second one of epoch 4
            terms = terms.clone()
            terms[2] = torch.nan
        return terms, quantized

    monkeypatch.setattr(Objective, "forward", broken)
    with pytest.raises(SpinlockError, match="orthogonality loss became nan in epoch 4, batch 2"):
        run(finished, tmp_path / "best_model.pt", num_epochs=6, save_every=1)
    assert not (tmp_path / "best_model.pt").exists()
    kept = Checkpoint.load(tmp_path / "checkpoint_epoch_0003.pt")
    assert kept.history[-1]["epoch"] == 3
    assert not (tmp_path / "checkpoint_epoch_0004.pt").exists()
    state = read_state(tmp_path / "state/last.pt")["training_state"]
    assert all(torch.isfinite(weights).all() for weights in state["model"].values())


def nan_losses(terms):
    return terms * torch.nan


def nan_gradients(terms):  # the losses are still numbers
    terms.register_hook(lambda gradient: gradient * torch.nan)
    return terms


@pytest.mark.parametrize("batch", [7, 8])  # the first and the last one of epoch 4
@pytest.mark.parametrize("spoil", [nan_losses, nan_gradients])
def test_what_is_saved_while_numbers_are_lost_goes_on_to_the_undisturbed_model(
    finished, tmp_path, monkeypatch, spoil, batch
):
    forward, batches = Objective.forward, []

    def broken(self, *given):
        terms, quantized = forward(self, *given)
        batches.append(1)
        return spoil(terms) if len(batches) == batch else terms, quantized

    whole, cut = tmp_path / "whole/best_model.pt", tmp_path / "cut/best_model.pt"
    run(finished, whole, num_epochs=6, save_every=1)
    with monkeypatch.context() as patch:
        patch.setattr("spinlock.training.resume.SAVE_SECONDS", -1.0)  # before every batch
        patch.setattr(Objective, "forward", broken)
        with pytest.raises(SpinlockError, match=f"in epoch 4, (after )?batch {batch - 6}"):
            run(finished, cut, num_epochs=6, save_every=1)
    assert not (cut.parent / "checkpoint_epoch_0004.pt").exists()
    run(finished, cut, num_epochs=6, save_every=1)
    assert cut.read_bytes() == whole.read_bytes()


class OutOfMemoryError(RuntimeError):
    """As torch.cuda raises it."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:98] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_lack_of_memory_names_the_setting_to_lower(finished, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(beginning, "start_model", fail)
    with pytest.raises(SpinlockError, match="not enough memory to train") as caught:
        run(finished, tmp_path / "best_model.pt")
    assert "training.batch_size" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_another_error_of_torch_is_not_taken_for_lack_of_memory(finished, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(beginning, "start_model", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(finished, tmp_path / "best_model.pt")


@pytest.mark.parametrize("now", [0.0, 4e9, -1.0])
def test_a_clock_that_jumps_changes_no_byte(finished, tmp_path, monkeypatch, now):
    monkeypatch.setattr("time.time", lambda: now)
    run(finished, tmp_path / "best_model.pt")
    assert (tmp_path / "best_model.pt").read_bytes() == finished.path("best_model.pt").read_bytes()


def in_two_processes(finished, config: Path, output: Path) -> subprocess.CompletedProcess[str]:
    inputs = [
        option
        for flag, name in zip(FLAGS, INPUTS, strict=True)
        for option in (f"--{flag}", str(finished.path(name)))
    ]
    command = ["--processes", "2", "--threads", "2", "--config", str(config), *inputs]
    return subprocess.run(
        [sys.executable, "-m", "spinlock.stages.train", *command, "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_one_of_several_processes_watches_the_one_that_started_it(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(train, "started_together", lambda: True)
    monkeypatch.setattr(train, "end_with_parent", lambda _: called.append("watches"))
    monkeypatch.setattr(train, "run", lambda **_: called.append("runs"))
    given = [f"--{name}=x" for name in ("config", *FLAGS, "output")]
    train.main([*given, "--processes=2"])
    assert called == ["watches", "runs"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_folder_of_another_training_is_left_alone(finished, tmp_path, processes, capsys):
    inputs = [f"--{flag}={finished.path(name)}" for flag, name in zip(FLAGS, INPUTS, strict=True)]
    output = f"--output={tmp_path / 'best_model.pt'}"
    with sole_writer(tmp_path), pytest.raises(SystemExit) as stopped:
        train.main(["--config", str(finished.config), *inputs, output, "--processes", processes])
    assert stopped.value.code == 2
    assert "another training writes into this folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def without_dropout(finished, folder: Path) -> Path:
    settings = yaml.safe_load(finished.config.read_text())
    settings["model"]["dropout"] = 0.0
    for family in settings["families"].values():
        family["encoder_params"] = {"dropout": 0.0}
    config = folder / "experiment.yaml"
    config.write_text(yaml.safe_dump(settings))
    return config


def test_two_processes_write_the_model_of_one(finished, tmp_path):
    config = without_dropout(finished, tmp_path)
    done = in_two_processes(finished, config, tmp_path / "two/best_model.pt")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("2 levels") + done.stderr.count("3 levels") == 1  # one start for both
    train.run(config, *[finished.path(name) for name in INPUTS], tmp_path / "one/best_model.pt")
    two, one = (Checkpoint.load(tmp_path / name / "best_model.pt") for name in ("two", "one"))
    assert two.model.shape == one.model.shape
    assert two.provenance["processes"] == 2
    for of_two, of_one in zip(two.history, one.history, strict=True):
        assert of_two["val_loss"] == pytest.approx(of_one["val_loss"], rel=1e-4)
    assert not (tmp_path / "two/state/last.pt").exists()


def test_a_mistake_in_two_processes_is_told(finished, tmp_path):
    done = in_two_processes(finished, tmp_path / "none.yaml", tmp_path / "best_model.pt")
    assert done.returncode != 0
    assert "none.yaml" in done.stderr
    assert not (tmp_path / "best_model.pt").exists()


def test_networks_that_have_no_part_in_the_model_are_told(finished, tmp_path, caplog):
    caplog.set_level("INFO")
    run(finished, tmp_path / "best_model.pt", num_epochs=0)
    assert "the start from data is kept, in which encoder networks have no part" in caplog.text
    assert "initial fields" not in caplog.text
    caplog.clear()
    model = Checkpoint.load(tmp_path / "best_model.pt").model
    model.shape = SimpleNamespace(field_channels=1)
    train._tell_of_silent_networks(model)
    assert "initial fields have no part in the tokens" in caplog.text
    caplog.clear()
    torch.nn.init.normal_(model.encoder.head.weight)
    train._tell_of_silent_networks(model)
    assert not caplog.text
