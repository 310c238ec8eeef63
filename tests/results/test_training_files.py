"""Statistics and categories are read back as they were written, or told to be something else."""

import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.results.training_files import read_categories, read_statistics, write_statistics


def test_statistics_come_back_as_they_were_written(finished, tmp_path):
    fitted = read_statistics(finished.path("feature_statistics.npz"))
    write_statistics(fitted, tmp_path / "again.npz")
    again = read_statistics(tmp_path / "again.npz")
    for name, array in fitted.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_missing_statistics_are_told(tmp_path):
    with pytest.raises(SpinlockError, match="feature statistics"):
        read_statistics(tmp_path / "gone.npz")


def test_statistics_that_contradict_themselves_are_told(finished, tmp_path):
    arrays = read_statistics(finished.path("feature_statistics.npz")).arrays()
    with (tmp_path / "bad.npz").open("wb") as file:
        np.savez(file, **arrays | {"kept": arrays["kept"][1:]})
    with pytest.raises(SpinlockError, match="kept and reason differ"):
        read_statistics(tmp_path / "bad.npz")


@pytest.mark.parametrize(("at", "byte"), [(8, 99), (6, 1), (4, 200)])
def test_archives_that_claim_other_methods_are_told(finished, tmp_path, at, byte):
    content = bytearray(finished.path("feature_statistics.npz").read_bytes())
    directory = content.index(b"PK\x01\x02")  # where an archive lists what it holds
    content[at] = content[directory + at + 2] = byte
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(SpinlockError, match="feature statistics"):
        read_statistics(tmp_path / "bad.npz")


def test_categories_of_other_features_are_told(finished, kept_names):
    with pytest.raises(SpinlockError, match="leaves features out") as caught:
        read_categories(finished.path("categories.json"), [*kept_names, "other/feature"])
    assert "categories.json" in str(caught.value)
