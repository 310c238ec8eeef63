"""Shards of simulated operators: the same operators however they are cut, and joined again."""

import h5py
import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.settings import OperatorDatasetSettings
from spinlock.stages import concatenate, generate

SETTINGS = OperatorDatasetSettings(
    num_operators=6, grid_size=8, channels=1, steps=8, realizations=2, max_width=4, max_depth=1
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    generate.run(SETTINGS, path)
    return path


def test_the_same_settings_give_the_same_bytes(whole, tmp_path):
    generate.run(SETTINGS, tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(("cut", "block"), [(4, 50), (2, 50), (2, 2), (3, 2)])
def test_shards_hold_the_operators_of_the_whole_and_are_joined_to_it(
    whole, tmp_path, monkeypatch, cut, block
):
    monkeypatch.setattr(generate, "ROW_BLOCK", block)
    shards = [tmp_path / "first.h5", tmp_path / "second.h5"]
    generate.run(SETTINGS, shards[0], 0, cut)
    generate.run(SETTINGS, shards[1], cut, 6 - cut)
    concatenate.run(shards, tmp_path / "joined.h5")
    with open_dataset(whole) as one, open_dataset(shards) as two:
        assert one.digest() == two.digest()
    with h5py.File(whole) as one, h5py.File(tmp_path / "joined.h5") as joined:
        names: list[str] = []
        one.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        for name in names:
            np.testing.assert_array_equal(joined[name][:], one[name][:])


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (0, 0), (5, 2), (6, 1)])
def test_operators_that_there_are_not_are_told(tmp_path, first, count):
    with pytest.raises(SpinlockError, match="not among the 6"):
        generate.run(SETTINGS, tmp_path / "x.h5", first, count)
    assert list(tmp_path.iterdir()) == []
