"""Damaged text of variable length, on which the HDF5 library does not come back: told in time."""

import errno
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from spinlock import cli
from spinlock.errors import SpinlockError
from spinlock.features import hdf5
from spinlock.features.concatenation import concatenate
from spinlock.features.dataset import open_dataset
from spinlock.features.hdf5 import create_hdf5, read_text
from spinlock.features.table import Column, FeatureTable, TableHeader, TableWriter
from spinlock.tokenizer.token_file import open_tokens

SUMMARY = "features/summary/aggregated/features"
ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)
KINDS = ["a", "b", "a", "b"]
HEAP = b"GCOL"  # where HDF5 keeps values of variable length: 16 bytes, then each with 16 of its own


def damage_texts(path: Path) -> None:
    """Turn the first text of each heap into a gap of no length: the library never passes it."""
    content = bytearray(path.read_bytes())
    at = content.find(HEAP)
    assert at >= 0
    while at >= 0:
        content[at + 16 : at + 32] = bytes(16)
        at = content.find(HEAP, at + 1)
    path.write_bytes(content)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A trial that is given up soon."""
    monkeypatch.setattr(hdf5, "TRIAL_SECONDS", 0.2)


def told(path: Path, read: Callable[[], object]) -> None:
    """Check that reading gives the message, and that the file is closed."""
    with pytest.raises(SpinlockError, match=r"text cannot be read: .* within 0\.2 s") as caught:
        read()
    assert str(path) in str(caught.value)
    with h5py.File(path, "a") as file:  # h5py refuses to write a file that is open for reading
        file["mark"] = 1


@pytest.mark.parametrize(
    "place", ["features/summary", "features/summary/aggregated", SUMMARY], ids=str
)
def test_names_of_columns(write_h5, place):
    path = write_h5({SUMMARY: ROWS}, {place: {"feature_names": '["a", "b"]'}})
    open_dataset(path).close()
    damage_texts(path)
    told(path, lambda: open_dataset(path))


def test_a_dataset_of_names(write_h5):
    path = write_h5({SUMMARY: ROWS, "features/summary/feature_names": ["a", "b"]})
    open_dataset(path).close()
    damage_texts(path)
    told(path, lambda: open_dataset(path))


def test_names_in_one_of_several_shards(write_h5):
    names = {"features/summary": {"feature_registry": '{"x": {"a": 0, "b": 1}}'}}
    shards = [write_h5({SUMMARY: ROWS}, names, name=f"{i}.h5") for i in range(2)]
    damage_texts(shards[1])
    told(shards[0], lambda: open_dataset(shards))


def test_labels(write_h5):
    path = write_h5({SUMMARY: ROWS, "metadata/kind": KINDS})
    damage_texts(path)
    with open_dataset(path) as source:
        assert source.label_paths == ["metadata/kind"]
        with pytest.raises(SpinlockError, match="text cannot be read"):
            source.labels("metadata/kind")


def test_attributes(write_h5):
    path = write_h5({SUMMARY: ROWS}, {"metadata": {"config": "{}"}})
    with open_dataset(path) as source:
        assert source.attributes == {"config": "{}"}
    damage_texts(path)
    with open_dataset(path) as source, pytest.raises(SpinlockError, match="text cannot be read"):
        source.attributes  # noqa: B018 - reading it is what fails


@pytest.mark.parametrize("text", [KINDS, None])
def test_shards_that_are_joined(write_h5, text):
    contents = {SUMMARY: ROWS} | ({"metadata/kind": text} if text else {})
    path = write_h5(contents, None if text else {"metadata": {"config": "{}"}})
    damage_texts(path)
    with h5py.File(path.with_name("joined.h5"), "w") as output:
        with pytest.raises(SpinlockError, match="text cannot be read"):
            concatenate([path], output)
        assert not list(output)


@pytest.mark.parametrize("varying", ["format", "header", "label"])
def test_a_table(tmp_path, varying):
    path = tmp_path / "subset.h5"
    header = TableHeader([Column("summary", "a"), Column("summary", "b")], "digest")
    with create_hdf5(path) as file:
        writer = TableWriter(file, header, np.arange(4), np.zeros(4), np.dtype(np.float32))
        writer.write(0, ROWS)
        writer.write_labels("kind", np.array(KINDS))
        if varying == "format":
            file.attrs["format"] = "spinlock-subset-1"
        elif varying == "header":
            del file["header"]
            file["header"] = header.to_json()
        else:
            del file["labels/kind"]
            file["labels/kind"] = KINDS
    with FeatureTable(path) as table:
        assert list(table.labels("kind")) == KINDS
    damage_texts(path)
    if varying != "label":
        told(path, lambda: FeatureTable(path))
        return
    with FeatureTable(path) as table, pytest.raises(SpinlockError, match="text cannot be read"):
        table.labels("kind")


def test_sound_text_is_read_where_children_are_not_waited_for(write_h5):
    path = write_h5({SUMMARY: ROWS, "metadata/kind": KINDS})
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with open_dataset(path) as source:
            assert list(source.labels("metadata/kind")) == KINDS
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_where_no_process_can_be_started_the_file_is_not_called_damaged(write_h5, monkeypatch):
    def refuse():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    path = write_h5({SUMMARY: ROWS, "metadata/kind": KINDS})
    monkeypatch.setattr(os, "fork", refuse)
    with open_dataset(path) as source, pytest.raises(SpinlockError, match="can be started") as told:
        source.labels("metadata/kind")
    assert "ulimit" in told.value.remedy
    assert str(path) in str(told.value)


def test_tokens(tmp_path):
    path = tmp_path / "tokens.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "spinlock-tokens-1", "model_digest": "0"})
        file["tokens"] = np.zeros((4, 2, 3), np.uint8)
        file["row_ids"] = file["split"] = np.arange(4)
    open_tokens(path).close()
    damage_texts(path)
    told(path, lambda: open_tokens(path))


def test_the_command_line_says_so_in_one_message(write_h5, monkeypatch, capsys):
    path = write_h5({SUMMARY: ROWS}, {SUMMARY: {"feature_names": "['a', 'b']"}})
    damage_texts(path)
    monkeypatch.setattr("sys.argv", ["spinlock", "inspect", str(path)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: its text cannot be read")
    assert "Traceback" not in captured.err
    assert not captured.out


def test_a_library_that_ends_the_process_is_told(write_h5):
    def crash() -> None:
        signal.raise_signal(signal.SIGKILL)

    path = write_h5({"kind": KINDS})
    with h5py.File(path) as file, pytest.raises(SpinlockError, match="ends with SIGKILL"):
        read_text(crash, path, [file["kind"]])


def test_what_the_trial_says_and_raises_is_left_to_the_reading_itself(write_h5, caplog, capfd):
    said = []

    def read() -> None:
        said.append(os.getpid())
        logging.getLogger("spinlock").warning("once")
        raise KeyError("no such thing")

    with h5py.File(write_h5({"kind": KINDS})) as file, pytest.raises(KeyError, match="no such"):
        read_text(read, "data.h5", [file["kind"]])
    assert said == [os.getpid()]
    assert [record.message for record in caplog.records] == ["once"]
    assert capfd.readouterr().err == ""


def test_a_reading_that_is_interrupted_ends_its_trial(write_h5, monkeypatch):
    tried = []

    def interrupted(child: int, _: int) -> None:
        tried.append(child)
        raise KeyboardInterrupt

    wait = os.waitpid
    monkeypatch.setattr(os, "waitpid", interrupted)
    monkeypatch.setattr(hdf5, "TRIAL_SECONDS", 600)
    with h5py.File(write_h5({"kind": KINDS})) as file, pytest.raises(KeyboardInterrupt):
        read_text(signal.pause, "data.h5", [file["kind"]])
    assert os.WTERMSIG(wait(tried[0], 0)[1]) == signal.SIGKILL


def test_text_of_fixed_length_and_numbers_need_no_trial(write_h5, monkeypatch):
    def forbidden() -> int:
        raise AssertionError("forked")

    contents = {SUMMARY: ROWS, "metadata/system": np.arange(4), "metadata/kind": np.bytes_(KINDS)}
    path = write_h5(contents, {SUMMARY: {"feature_names": np.bytes_('["a", "b"]')}})
    monkeypatch.setattr(os, "fork", forbidden)
    with open_dataset(path) as source:
        assert source.families["summary"].column_names == ["a", "b"]
        assert list(source.labels("metadata/kind")) == KINDS
