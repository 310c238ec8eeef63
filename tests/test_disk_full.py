"""A disk that is full: the reason is told, the old file stays, nothing is left behind."""

import resource
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from spinlock.errors import SpinlockError
from spinlock.features.hdf5 import create_hdf5
from spinlock.files import atomic_path, write_text
from spinlock.tokenizer.graphs import write_graph
from spinlock.tokenizer.state_file import write_state

ROOM = 20_000  # bytes
VALUES = np.random.default_rng(0).normal(size=10_000)


def write_hdf5(path: Path) -> None:
    with create_hdf5(path) as file:
        for block in range(10):
            file.create_dataset(f"block_{block}", data=VALUES[block * 1000 : (block + 1) * 1000])


def write_chunks(path: Path) -> None:
    with create_hdf5(path) as file:
        file.create_dataset("values", data=VALUES, chunks=(100,), compression="gzip")
        file.attrs["about"] = "chunks"


def write_arrays(path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, values=VALUES)


def write_table(path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pd.DataFrame({"values": VALUES}).to_parquet(file)


def write_program(path: Path) -> None:
    program = torch.nn.Linear(100, 100).requires_grad_(False)
    write_graph(torch.export.export(program, (torch.zeros(2, 100),)), path)


WRITERS = {
    "text": lambda path: write_text(path, "x" * 80_000),
    "model": lambda path: write_state(path, {"values": torch.from_numpy(VALUES)}),
    "hdf5": write_hdf5,
    "hdf5 in chunks": write_chunks,
    "arrays": write_arrays,
    "table": write_table,
    "graph": write_program,
}


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond `ROOM`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_told_and_the_old_file_stays(kind, full_disk, tmp_path):
    path = tmp_path / "result"
    path.write_bytes(b"old")
    with pytest.raises(SpinlockError, match="File too large") as caught:
        WRITERS[kind](path)
    assert caught.value.where == path
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", WRITERS)
def test_with_room_the_file_is_there(kind, tmp_path):
    WRITERS[kind](tmp_path / "result")
    assert (tmp_path / "result").stat().st_size > ROOM
    assert len(list(tmp_path.iterdir())) == 1


def test_a_new_hdf5_file_holds_what_was_written_and_the_same_bytes_every_time(tmp_path):
    for name in ("one.h5", "other.h5"):
        write_chunks(tmp_path / name)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()
    with h5py.File(tmp_path / "one.h5") as file:
        np.testing.assert_array_equal(file["values"], VALUES)
        assert file.attrs["about"] == "chunks"


def test_a_block_that_fails_leaves_no_hdf5_file(tmp_path):
    def fail() -> None:
        with create_hdf5(tmp_path / "x.h5") as file:
            file.create_dataset("values", data=VALUES)
            raise ValueError("in the block")

    with pytest.raises(ValueError, match="in the block"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_same_state_has_the_same_bytes_whatever_its_file_is_called(tmp_path):
    for name in ("one.pt", "other.pt"):
        write_state(tmp_path / name, {"values": torch.arange(5), "names": ["a"]})
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()
