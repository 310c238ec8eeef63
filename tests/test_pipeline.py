"""The stages in one process, and what is simulated."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from spinlock import pipeline
from spinlock.errors import SpinlockError
from spinlock.files import sole_writer
from spinlock.settings import load_experiment

DATASET = "{num_operators: 24, shard_size: 12, grid_size: 8, channels: 1, steps: 8, max_depth: 1}\n"
EXPERIMENT = {
    "dataset_path": "datasets/tiny.h5",
    "families": {"summary": {"encoder": "IdentityEncoder"}},
    "model": {"bits": 12, "group_hidden_dim": 4},
    "training": {"num_epochs": 1, "num_categories_auto": 2, "use_torch_compile": False},
}


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Give a function that reads an experiment on a dataset that can be simulated."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/datasets").mkdir(parents=True)
    (tmp_path / "configs/datasets/tiny.yaml").write_text(DATASET)

    def read(**changes):
        (tmp_path / "e.yaml").write_text(yaml.safe_dump(EXPERIMENT | changes))
        return load_experiment(tmp_path / "e.yaml")

    return read


def write_given(path):
    with h5py.File(path, "w") as file:
        file["features/summary/features"] = np.random.default_rng(0).normal(size=(30, 4))
        file["meta/kind"] = np.arange(30) % 3


def test_missing_shards_are_simulated_once(experiment, tmp_path):
    model = pipeline.train_experiment(experiment(), tmp_path / "out")
    shards = sorted((tmp_path / "datasets/tiny").glob("*.h5"))
    assert model == tmp_path / "out/best_model.pt"
    assert model.is_file()
    assert len(shards) == 2
    before = [shard.stat().st_mtime_ns for shard in shards]
    shards[1].unlink()
    pipeline.generate_missing(experiment(), workers=1)
    assert shards[0].stat().st_mtime_ns == before[0]
    assert shards[1].is_file()

    config = tmp_path / "configs/datasets/tiny.yaml"
    config.write_text(DATASET.replace("max_depth: 1", "max_depth: 2"))
    with pytest.raises(SpinlockError, match="simulated with another max_depth"):
        pipeline.generate_missing(experiment())
    shards[0].write_bytes(b"damaged")
    with pytest.raises(SpinlockError, match="not a file of simulated operators"):
        pipeline.generate_missing(experiment())


def test_a_training_that_cannot_go_on_from_its_checkpoint_writes_nothing(experiment, tmp_path):
    write_given(tmp_path / "given.h5")
    out = tmp_path / "out"
    model = pipeline.train_experiment(experiment(dataset_path="given.h5"), out)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features/summary/features"] = np.random.default_rng(1).normal(size=(30, 4))
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    longer = {"training": EXPERIMENT["training"] | {"num_epochs": 2}}
    for changes, start, problem in (
        ({"dataset_path": "other.h5"} | longer, model, "other dataset"),
        ({"dataset_path": "given.h5"} | longer, tmp_path / "gone.pt", "gone.pt"),
        ({"dataset_path": "given.h5", "random_seed": 7}, model, "other settings"),
        ({"dataset_path": "given.h5", "max_samples": 20}, model, "other settings"),
        ({"dataset_path": "given.h5", "normalization_method": "mad"}, model, "other settings"),
        ({"dataset_path": "given.h5", "device": "cuda:77"}, None, "not available"),
    ):
        with pytest.raises(SpinlockError, match=problem):
            pipeline.train_experiment(experiment(**changes), out, start)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    pipeline.train_experiment(experiment(dataset_path="given.h5", **longer), out, model)


def test_data_that_a_checkpoint_was_not_made_from_does_not_come_beside_it(experiment, tmp_path):
    write_given(tmp_path / "given.h5")
    mapping, out = tmp_path / "map.json", tmp_path / "out"
    manual = {"category_assignment": "manual", "category_mapping_file": "map.json"}

    def training(epochs):
        settings = EXPERIMENT["training"] | manual | {"num_epochs": epochs}
        return experiment(dataset_path="given.h5", training=settings)

    mapping.write_text('{"a": [0, 1], "b": [2, 3]}')
    model = pipeline.train_experiment(training(1), out)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    mapping.write_text('{"a": [0, 1, 2], "b": [3]}')
    with pytest.raises(SpinlockError, match="other data"):
        pipeline.train_experiment(training(2), out, model)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert not list(out.glob(".*"))
    mapping.write_text("{}")
    with pytest.raises(SpinlockError) as caught:
        pipeline.train_experiment(training(2), out, model)
    assert caught.value.where == Path("map.json")
    mapping.write_text('{"a": [0, 1], "b": [2, 3]}')
    pipeline.train_experiment(training(2), out, model)
    assert not list(out.glob(".*"))


def test_a_preparation_that_fails_leaves_the_model_that_is_there_what_it_was_made_from(
    experiment, tmp_path
):
    write_given(tmp_path / "given.h5")
    out, given = tmp_path / "out", {"dataset_path": "given.h5"}
    pipeline.train_experiment(experiment(**given), out)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    all_dropped = {"feature_cleaning": {"variance_tolerance": 0.99}, "max_samples": 20}
    with pytest.raises(SpinlockError):
        pipeline.train_experiment(experiment(**given, **all_dropped), out)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert not list(out.glob(".*"))


def test_levels_of_unknown_categories_leave_the_model_that_is_there_as_it_was(experiment, tmp_path):
    write_given(tmp_path / "given.h5")
    out, given = tmp_path / "out", {"dataset_path": "given.h5"}
    pipeline.train_experiment(experiment(**given), out)
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    levels = {"model": {"levels": {"wrong": [{"num_tokens": 4}]}}, "random_seed": 7}
    with pytest.raises(SpinlockError, match="unknown categories"):
        pipeline.train_experiment(experiment(**given, **levels), out)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_a_training_writes_over_nothing_that_it_reads(experiment, tmp_path):
    write_given(tmp_path / "given.h5")
    (tmp_path / "out").mkdir()
    given = {"dataset_path": "given.h5"}
    config = tmp_path / "out/config.yaml"
    config.write_text("mine")
    with pytest.raises(SpinlockError, match="is read here too"):
        pipeline.train_experiment(experiment(**given), tmp_path / "out", config=config)
    (tmp_path / "out/categories.json").write_text('{"a": [0, 1, 2, 3]}')
    manual = {
        "category_assignment": "manual",
        "category_mapping_file": "out/categories.json",
    }
    with pytest.raises(SpinlockError, match="is read here too"):
        pipeline.train_experiment(experiment(training=manual, **given), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "categories.json",
        "config.yaml",
    ]
    assert config.read_text() == "mine"


def test_two_trainings_do_not_write_into_one_folder(experiment, tmp_path):
    write_given(tmp_path / "given.h5")
    out = tmp_path / "out"
    with sole_writer(out), pytest.raises(SpinlockError, match="another training"):
        pipeline.train_experiment(experiment(dataset_path="given.h5"), out)
    assert list(out.iterdir()) == []
    pipeline.train_experiment(experiment(dataset_path="given.h5"), out)


def test_a_dataset_is_not_simulated_for_a_place_where_it_cannot_go(experiment, tmp_path):
    experiment()
    (tmp_path / "there").mkdir()
    with pytest.raises(SpinlockError, match="is a folder"):
        pipeline.generate_dataset(tmp_path / "configs/datasets/tiny.yaml", tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "told"), [("notes.md", "no suffix of what is written"), ("own.h5", "another kind")]
)
def test_a_file_that_was_not_simulated_stays(experiment, tmp_path, name, told):
    experiment()
    write_given(tmp_path / name)
    with h5py.File(tmp_path / name, "a") as file:  # as another program describes its own
        file.require_group("metadata").attrs.update({"config": '{"solver": "rk4"}', "version": "2"})
    before = (tmp_path / name).read_bytes()
    with pytest.raises(SpinlockError, match=told):
        pipeline.generate_dataset(tmp_path / "configs/datasets/tiny.yaml", tmp_path / name)
    assert (tmp_path / name).read_bytes() == before


def test_a_disk_that_is_full_is_told_by_the_file_that_was_asked_for(
    experiment, tmp_path, monkeypatch
):
    experiment()

    def full(parts, _):
        raise SpinlockError("cannot write the file", where=parts[0])

    monkeypatch.setattr(pipeline.concatenate, "run", full)
    output = tmp_path / "out/all.h5"
    with pytest.raises(SpinlockError, match="cannot write") as caught:
        pipeline.generate_dataset(tmp_path / "configs/datasets/tiny.yaml", output)
    assert caught.value.where == output
    assert list(output.parent.iterdir()) == []


def test_a_dataset_that_is_nowhere_is_told_before_anything_is_written(experiment, tmp_path):
    with pytest.raises(SpinlockError, match="does not exist") as caught:
        pipeline.train_experiment(experiment(dataset_path="gone.h5"), tmp_path / "out")
    assert "tiny" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_same_experiment_twice_gives_the_same_files(experiment, tmp_path):
    write_given(tmp_path / "given.h5")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        pipeline.train_experiment(experiment(dataset_path="given.h5"), folder)
    names = [sorted(p.name for p in folder.iterdir() if p.is_file()) for folder in folders]
    assert names[0] == names[1]
    assert len(names[0]) >= 9
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


LONG = "{num_operators: 4000, shard_size: 500, grid_size: 32, steps: 64}\n"


@pytest.mark.parametrize(
    ("command", "number"), [("generate", signal.SIGINT), ("train-vqvae", signal.SIGTERM)]
)
def test_a_simulation_that_is_asked_to_end_leaves_at_once_and_nothing_hidden(
    experiment, tmp_path, command, number
):
    (tmp_path / "configs/datasets/tiny.yaml").write_text(LONG)
    experiment()  # which writes e.yaml
    config = {"generate": "configs/datasets/tiny.yaml", "train-vqvae": "e.yaml"}[command]
    # a shell lets what it runs in the background ignore Ctrl-C
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    program += "from spinlock.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, command, "--config", config],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        while not list(tmp_path.rglob("*.part")):
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        running.send_signal(number)
        messages = running.communicate(timeout=60)[1]
    assert running.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}[number], messages
    assert "Traceback" not in messages
    assert not list(tmp_path.rglob(".*"))
    assert not list(tmp_path.rglob("*.h5"))
    given_up = time.monotonic() + 20
    while runs(running.pid):
        assert time.monotonic() < given_up, "a process that simulates is left behind"
        time.sleep(0.05)


def test_a_simulation_that_is_killed_leaves_no_process(experiment, tmp_path):
    (tmp_path / "configs/datasets/tiny.yaml").write_text(LONG)
    experiment()
    command = ["generate", "--config", "configs/datasets/tiny.yaml", "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "spinlock.cli", *command], start_new_session=True
    ) as running:
        while not list(tmp_path.rglob("*.part")):
            assert running.poll() is None
            time.sleep(0.05)
        running.kill()
    given_up = time.monotonic() + 20
    while runs(running.pid):
        assert time.monotonic() < given_up, "a process that simulates is left behind"
        time.sleep(0.05)


def runs(group):
    """Whether a process of this group runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_the_system_ends_is_told_with_what_to_lower():
    with (
        pytest.raises(SpinlockError, match="memory ran out") as caught,
        pipeline._workers(1) as pool,
    ):
        pool.submit(signal.raise_signal, signal.SIGKILL).result()
    assert "fewer workers, or lower grid_size" in caught.value.remedy


def test_a_folder_that_cannot_be_made_for_operators_is_told(experiment, tmp_path):
    (tmp_path / "datasets").write_text("a file")
    with pytest.raises(SpinlockError, match="cannot write there"):
        pipeline.generate_missing(experiment())
    with pytest.raises(SpinlockError, match="cannot write there"):
        pipeline.generate_dataset(
            tmp_path / "configs/datasets/tiny.yaml", tmp_path / "datasets/x.h5"
        )


def test_a_dataset_in_the_place_of_a_result_is_not_overwritten(experiment, tmp_path):
    dataset = tmp_path / "out" / "subset.h5"
    dataset.parent.mkdir()
    write_given(dataset)
    before = dataset.read_bytes()
    with pytest.raises(SpinlockError, match="is read here too"):
        pipeline.train_experiment(experiment(dataset_path=str(dataset)), dataset.parent)
    assert dataset.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("checkpoint_epoch_0001.pt", "another kind of file"),
        ("best_model.pt", "another kind of file"),
        ("subset.h5", "another kind of file"),
        ("config.yaml", "config.yaml would be written over"),
        ("linkage.npz", "linkage.npz would be written over"),
    ],
)
def test_a_training_writes_over_nothing_that_no_training_wrote(experiment, tmp_path, name, told):
    other = tmp_path / "out" / name
    other.parent.mkdir()
    other.write_text("of someone else")
    with pytest.raises(SpinlockError, match=told):
        pipeline.train_experiment(experiment(), other.parent)
    assert other.read_text() == "of someone else"
    assert list(other.parent.iterdir()) == [other]


def test_a_file_in_the_place_of_the_output_folder_is_told(experiment, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpinlockError, match="cannot write"):
        pipeline.train_experiment(experiment(), tmp_path / "file")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"evaluation": {"probe_column": "metadata/nope"}}, "metadata/nope"),
        ({"visualization": {"color_by": "summary/nope"}}, "summary/nope"),
    ],
)
def test_names_that_later_stages_read_are_looked_for_before_anything_is_written(
    experiment, tmp_path, settings, told
):
    write_given(tmp_path / "given.h5")
    wrong = experiment(dataset_path=str(tmp_path / "given.h5"), **settings)
    with pytest.raises(SpinlockError, match=told):
        pipeline.train_experiment(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()
