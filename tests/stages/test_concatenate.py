"""Shards joined by the stage: what it must not write over."""

import h5py
import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.stages import concatenate


@pytest.fixture
def shards(tmp_path):
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in paths:
        with h5py.File(path, "w") as file:
            file["features/own/features"] = np.ones((3, 2))
    return paths


def test_shards_are_joined_where_nothing_stands(shards, tmp_path):
    concatenate.run(shards, tmp_path / "all.h5")
    with open_dataset(tmp_path / "all.h5") as joined:
        assert joined.n_operators == 6


def test_the_joined_file_is_none_of_its_shards(shards, tmp_path):
    concatenate.run(shards, tmp_path / "all.h5")
    with pytest.raises(SpinlockError, match="is read here too"):
        concatenate.run([*shards, tmp_path / "all.h5"], tmp_path / "all.h5")
    with open_dataset(tmp_path / "all.h5") as joined:
        assert joined.n_operators == 6


def test_another_kind_of_file_is_not_written_over(shards, tmp_path):
    concatenate.run(shards, tmp_path / "all.h5")
    concatenate.run(shards[:1], tmp_path / "all.h5")  # a dataset may take the place of one
    (tmp_path / "notes.h5").write_text("mine")
    with pytest.raises(SpinlockError, match="another kind of file"):
        concatenate.run(shards, tmp_path / "notes.h5")
    assert (tmp_path / "notes.h5").read_text() == "mine"
