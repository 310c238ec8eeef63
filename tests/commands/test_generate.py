"""Datasets that are simulated, whole or what an experiment lacks of them."""

import os
import signal
import subprocess
import sys
import time

import h5py
import pytest

from spinlock.commands import generate, train_vqvae
from spinlock.errors import SpinlockError

LONG = "{num_operators: 4000, shard_size: 500, grid_size: 32, steps: 64}\n"


def test_missing_shards_are_simulated_once(experiment, tmp_path):
    model = train_vqvae.run(experiment(), tmp_path / "out")
    shards = sorted((tmp_path / "datasets/tiny").glob("*.h5"))
    assert model == tmp_path / "out/best_model.pt"
    assert model.is_file()
    assert len(shards) == 2
    before = [shard.stat().st_mtime_ns for shard in shards]
    shards[1].unlink()
    generate.generate_missing(experiment(), workers=1)
    assert shards[0].stat().st_mtime_ns == before[0]
    assert shards[1].is_file()

    config = tmp_path / "configs/datasets/tiny.yaml"
    config.write_text(config.read_text().replace("max_depth: 1", "max_depth: 2"))
    with pytest.raises(SpinlockError, match="simulated with another max_depth"):
        generate.generate_missing(experiment())
    shards[0].write_bytes(b"damaged")
    with pytest.raises(SpinlockError, match="not a file of simulated operators"):
        generate.generate_missing(experiment())


def test_a_dataset_is_not_simulated_for_a_place_where_it_cannot_go(experiment, tmp_path):
    experiment()
    (tmp_path / "there").mkdir()
    with pytest.raises(SpinlockError, match="is a folder"):
        generate.run(tmp_path / "configs/datasets/tiny.yaml", tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "told"), [("notes.md", "no suffix of what is written"), ("own.h5", "another kind")]
)
def test_a_file_that_was_not_simulated_stays(experiment, write_given, tmp_path, name, told):
    experiment()
    write_given(tmp_path / name)
    with h5py.File(tmp_path / name, "a") as file:  # as another program describes its own
        file.require_group("metadata").attrs.update({"config": '{"solver": "rk4"}', "version": "2"})
    before = (tmp_path / name).read_bytes()
    with pytest.raises(SpinlockError, match=told):
        generate.run(tmp_path / "configs/datasets/tiny.yaml", tmp_path / name)
    assert (tmp_path / name).read_bytes() == before


def test_a_disk_that_is_full_is_told_by_the_file_that_was_asked_for(
    experiment, tmp_path, monkeypatch
):
    experiment()

    def full(parts, _):
        raise SpinlockError("cannot write the file", where=parts[0])

    monkeypatch.setattr(generate.concatenate, "run", full)
    output = tmp_path / "out/all.h5"
    with pytest.raises(SpinlockError, match="cannot write") as caught:
        generate.run(tmp_path / "configs/datasets/tiny.yaml", output)
    assert caught.value.where == output
    assert list(output.parent.iterdir()) == []


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
        generate._workers(1) as pool,
    ):
        pool.submit(signal.raise_signal, signal.SIGKILL).result()
    assert "fewer workers, or lower grid_size" in caught.value.remedy


def test_a_folder_that_cannot_be_made_for_operators_is_told(experiment, tmp_path):
    (tmp_path / "datasets").write_text("a file")
    with pytest.raises(SpinlockError, match="cannot write there"):
        generate.generate_missing(experiment())
    with pytest.raises(SpinlockError, match="cannot write there"):
        generate.run(tmp_path / "configs/datasets/tiny.yaml", tmp_path / "datasets/x.h5")
