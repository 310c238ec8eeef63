"""A training that was stopped, at whatever moment, ends as if it never had been."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from spinlock.errors import SpinlockError
from spinlock.features.operator_file import OperatorFileWriter
from spinlock.settings import load_experiment
from spinlock.stages import cluster, normalize, subset, train
from spinlock.tokenizer.state_file import read_state, write_state
from spinlock.training.objective import Objective

HARNESS = Path(__file__).with_name("kill_trainings.py")
# everything that has a state of its own
SETTINGS = {
    "dataset_path": "data.h5",
    "families": {
        "architecture": {"encoder": "MLPEncoder", "encoder_params": {"hidden_dims": [4]}},
        "summary": {"encoder": "MLPEncoder", "encoder_params": {"hidden_dims": [4]}},
    },
    "model": {"bits": 12, "group_hidden_dim": 8, "group_embedding_dim": 8, "dropout": 0.2},
    "training": {
        "batch_size": 24,
        "num_epochs": 14,
        "learning_rate": 0.001,
        "scheduler": "plateau",
        "warmup_epochs": 2,
        "num_categories_auto": 2,
        "val_every_n_epochs": 2,
        "dead_code_reset_interval": 3,
        "dead_code_threshold": 1.5,
        "early_stopping_patience": 25,
        "use_torch_compile": False,
    },
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Give a folder with everything that training reads."""
    import h5py

    folder = tmp_path_factory.mktemp("trainings")
    rng = np.random.default_rng(0)
    causes = np.repeat(rng.normal(size=(150, 3)), 4, axis=1)
    blocks = {
        "features/architecture/aggregated/features": rng.uniform(size=(150, 5)),
        "features/summary/aggregated/features": causes + 0.3 * rng.normal(size=(150, 12)),
    }
    with h5py.File(folder / "data.h5", "w") as file:
        writer = OperatorFileWriter(file, 150, {})
        writer.write(0, {name: values.astype(np.float32) for name, values in blocks.items()})
    config = folder / "experiment.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    table, statistics = folder / "subset.h5", folder / "feature_statistics.npz"
    subset.run(config, [folder / "data.h5"], table)
    normalize.run(config, table, statistics)
    others = [folder / name for name in ("categories.json", "silhouette.csv", "linkage.npz")]
    cluster.run(config, table, statistics, *others)
    return folder


def run(prepared: Path, output: Path, resume_from: Path | None = None, **training: object) -> Path:
    """Train with some settings changed; return the model's file."""
    overrides = {f"training.{key}": value for key, value in training.items()}
    experiment = load_experiment(prepared / "experiment.yaml", overrides)
    names = ("subset.h5", "feature_statistics.npz", "categories.json")
    train.run(experiment, *(prepared / name for name in names), output, resume_from)
    return output


def assert_same(ours: object, theirs: object, where: str = "") -> None:
    """Assert that nested values are the same to the last bit."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key, value in ours.items():
            assert_same(value, theirs[key], f"{where}/{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}/{i}")
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where
    else:
        assert ours == theirs or (ours != ours and theirs != theirs), where  # noqa: PLR0124


def test_a_training_that_is_killed_at_random_moments_ends_with_the_same_bits(prepared):
    done = subprocess.run(
        [sys.executable, str(HARNESS), str(prepared)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert len(kills) >= 20
    for number, status, seconds in kills:
        expected = {-number} if number == signal.SIGKILL else {128 + number, -number}
        assert status in expected
        assert seconds < 5
    undisturbed = prepared / "undisturbed"
    killed = sorted(prepared.glob("killed_*"))
    assert len(killed) >= 3
    for folder in killed:
        assert_same(read_state(folder / "best_model.pt"), read_state(undisturbed / "best_model.pt"))
        names = ("training_history.json", "config.yaml", "normalization_stats.npz")
        for name in ("best_model.pt", *names):
            assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()
        assert not list(folder.glob("state/last.pt"))


def test_a_state_of_another_kind_of_device_is_not_used(prepared, monkeypatch, caplog):
    output = prepared / "elsewhere" / "best_model.pt"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "_finish", stop)
        with pytest.raises(KeyboardInterrupt):
            run(prepared, output, num_epochs=2)
    state = output.parent / "state" / "last.pt"
    entries = read_state(state)
    write_state(state, entries | {"stamp": entries["stamp"] | {"device": "cuda"}})
    with caplog.at_level("INFO"):
        run(prepared, output, num_epochs=2)
    assert f"{state} is of other device: starting anew" in caplog.text


@pytest.fixture(scope="module")
def finished(prepared) -> Path:
    """Give the folder of a training of 6 epochs with a checkpoint of every second one."""
    folder = prepared / "finished"
    run(prepared, folder / "best_model.pt", num_epochs=6, save_every=2)
    return folder


def test_a_checkpoint_of_an_epoch_goes_on_to_the_same_model(prepared, finished):
    again = prepared / "from_checkpoint" / "best_model.pt"
    run(prepared, again, finished / "checkpoint_epoch_0002.pt", num_epochs=6, save_every=2)
    assert_same(read_state(again), read_state(finished / "best_model.pt"))


def test_what_early_stopping_ended_waits_as_long_again(prepared):
    never = {"early_stopping_patience": 4, "early_stopping_min_delta": 1e6}
    stopped = run(prepared, prepared / "stopped" / "best_model.pt", num_epochs=14, **never)
    longer = prepared / "longer" / "best_model.pt"
    run(prepared, longer, stopped, num_epochs=20, **never)
    last = [
        max(entry.get("epoch", 0) for entry in read_state(path)["history"])
        for path in (stopped, longer)
    ]
    assert last == [6, 10]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_asked_to_end_saves_the_batch_it_is_in(
    prepared, finished, monkeypatch, number
):
    forward, batches = Objective.forward, []

    def interrupted(self, *given):
        batches.append(1)
        if len(batches) == 8:  # in the middle of an epoch: nothing would be saved by itself
            signal.raise_signal(number)
        return forward(self, *given)

    output = prepared / f"asked_by_{number}" / "best_model.pt"
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "forward", interrupted)
        with pytest.raises(SystemExit) as caught:
            run(prepared, output, num_epochs=6, save_every=2)
    assert caught.value.code == 128 + number
    state = read_state(output.parent / "state/last.pt")["training_state"]
    assert state["batches"] == 8
    assert state["place"]["done"] > 0
    run(prepared, output, num_epochs=6, save_every=2)
    assert output.read_bytes() == (finished / "best_model.pt").read_bytes()


def test_a_training_goes_on_with_rows_in_a_file_to_the_same_bits(prepared, finished, caplog):
    again = prepared / "from_file" / "best_model.pt"
    half_way = finished / "checkpoint_epoch_0002.pt"
    with caplog.at_level("INFO"):
        run(prepared, again, half_way, num_epochs=6, save_every=2, memory_budget=0.0)
    assert "GiB of rows stay in a file" in caplog.text
    ours, theirs = (read_state(path) for path in (again, finished / "best_model.pt"))
    assert ours.pop("config") != theirs.pop("config")  # which says where rows are kept
    assert_same(ours, theirs)


def test_more_epochs_go_on_from_a_finished_model(prepared, finished):
    longer = run(
        prepared, prepared / "longer/best_model.pt", finished / "best_model.pt", num_epochs=9
    )
    before = [e for e in read_state(finished / "best_model.pt")["history"] if e["step"] == "epoch"]
    after = [e for e in read_state(longer)["history"] if e["step"] == "epoch"]
    assert [entry["epoch"] for entry in after] == list(range(1, 10))
    assert_same(after[:6], before)


@pytest.mark.parametrize("name", ["best_model.pt", "checkpoint_epoch_0002.pt"])
def test_a_checkpoint_of_other_settings_is_refused_with_the_reason(prepared, finished, name):
    output = prepared / "refused" / "best_model.pt"
    with pytest.raises(SpinlockError, match="made with other settings"):
        run(prepared, output, finished / name, learning_rate=0.5)
    assert not output.exists()


def test_a_checkpoint_of_other_data_or_code_is_refused_with_the_reason(
    prepared, finished, monkeypatch
):
    statistics = prepared / "feature_statistics.npz"
    bytes_before = statistics.read_bytes()
    try:
        statistics.write_bytes(bytes_before + b"\0")
        with pytest.raises(SpinlockError, match="made with other data"):
            run(prepared, prepared / "refused/best_model.pt", finished / "best_model.pt")
    finally:
        statistics.write_bytes(bytes_before)
    monkeypatch.setattr("spinlock.results.continuation.source_digest", lambda module: "other")
    with pytest.raises(SpinlockError, match="made with other code"):
        run(prepared, prepared / "refused/best_model.pt", finished / "best_model.pt")


def test_an_unfinished_training_of_another_length_is_not_gone_on_with(prepared, finished, caplog):
    folder = prepared / "cut"

    def cut(self, trainer, *, now=False):
        save(self, trainer, now=True)
        if trainer.epoch == 3:
            raise KeyboardInterrupt

    save = train.SavedState.save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.SavedState, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            run(prepared, folder / "best_model.pt", num_epochs=5)
    with caplog.at_level("INFO"):
        run(prepared, folder / "best_model.pt", num_epochs=6, save_every=2)
    assert "is of other settings: starting anew" in caplog.text
    assert_same(read_state(folder / "best_model.pt"), read_state(finished / "best_model.pt"))
