"""HDF5 files that appear whole or not at all."""

import sys

import h5py
import pytest

from spinlock.errors import SpinlockError
from spinlock.features.writing import hdf5_file

FULL = "Unable to write (file write failed: time = now, errno = 28, error message = '…')"


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a.h5"
    with hdf5_file(path) as file:
        file["x"] = 3
        assert not path.exists()
    with h5py.File(path) as file:
        assert file["x"][()] == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_a_full_disk_is_told_in_words_once(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    passed_on = []
    monkeypatch.setattr(sys, "__unraisablehook__", passed_on.append)
    with (
        pytest.raises(SpinlockError, match="cannot write the file: No space left on device"),
        hdf5_file(tmp_path / "a.h5"),
    ):
        raise kind(FULL)
    assert list(tmp_path.iterdir()) == []

    class Unraisable:
        exc_value = RuntimeError(FULL)

    sys.unraisablehook(Unraisable)
    assert passed_on == [], "HDF5 says it again when its objects go"
    Unraisable.exc_value = ValueError("something else")
    sys.unraisablehook(Unraisable)
    assert passed_on == [Unraisable]


def test_another_error_passes_through(tmp_path):
    with pytest.raises(RuntimeError, match="shapes differ"), hdf5_file(tmp_path / "a.h5"):
        raise RuntimeError("shapes differ")
    assert list(tmp_path.iterdir()) == []
