"""Labels of operators: what is one, and what is told where there is none."""

import h5py
import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset

SUMMARY = "features/summary/aggregated/features"
TEMPORAL = "features/temporal/features"


def test_labels_are_text_or_whole_numbers(shards, values):
    contents = values() | {
        "meta/flag": np.arange(10) % 2 == 0,
        "meta/bytes": np.array([b"ab"] * 10),
    }
    with open_dataset(shards(contents, [4])) as source:
        np.testing.assert_array_equal(
            source.labels("/metadata/system"), contents["metadata/system"]
        )
        kinds = source.labels("metadata/kind", np.array([1, 4]))
        assert kinds.tolist() == ["kind 1 ✓", "kind 0 ✓"]
        assert source.labels("meta/bytes").tolist() == ["ab"] * 10
        np.testing.assert_array_equal(source.labels("meta/flag"), contents["meta/flag"])


def test_only_what_has_one_value_per_operator_is_a_label(shards, values):
    contents = values() | {
        "metadata/fraction": np.zeros(10),
        "metadata/pairs": np.zeros((10, 2), int),
        "parameters/index": np.arange(10),
        "features/index": np.arange(10),
        "system": np.arange(10),
    }
    paths = shards(contents, [4])
    with h5py.File(paths[0], "a") as file:
        file["metadata/short"] = np.arange(3)
        file["metadata/first"] = np.arange(4)
        file["metadata/uneven"] = np.arange(4)
    with h5py.File(paths[1], "a") as file:
        file["metadata/uneven"] = np.arange(5)
    with open_dataset(paths) as source:
        assert source.label_paths == [
            "features/index", "metadata/kind", "metadata/system", "parameters/index", "system"
        ]  # fmt: skip


def test_a_label_is_found_by_each_of_its_names(write_h5, values):
    path = write_h5(values())
    with h5py.File(path, "a") as file:
        file["metadata/again"] = file["metadata/system"]
        file["soft"] = h5py.SoftLink("/metadata/system")
        file["metadata/above"] = h5py.SoftLink("/")  # a circle
        file["metadata/broken"] = h5py.SoftLink("/gone")
    with open_dataset(path) as source:
        assert {"metadata/again", "metadata/system", "soft"} <= set(source.label_paths)
        for name in ("metadata/again", "soft"):
            np.testing.assert_array_equal(source.labels(name), source.labels("metadata/system"))


@pytest.mark.parametrize(
    ("array", "said"),
    [(np.zeros(10), "holds float64 (10,)"), (np.ones((10, 1), int), "holds int64 (10, 1)")],
)
def test_a_dataset_that_is_no_label_is_told_with_what_it_holds(write_h5, values, array, said):
    path = write_h5(values() | {"meta/g": array})
    with open_dataset(path) as source, pytest.raises(SpinlockError, match="no label") as caught:
        source.labels("/meta/g")
    assert said in caught.value.problem
    assert "whole numbers or text of shape [N]" in caught.value.remedy


@pytest.mark.parametrize("name", ["metadata/gone", "metadata", "", SUMMARY])
def test_a_missing_label_is_told_with_those_that_are_there(write_h5, name, values):
    path = write_h5(values())
    with open_dataset(path) as source, pytest.raises(SpinlockError, match="no label") as caught:
        source.labels(name)
    assert str(path) in str(caught.value)
    assert "metadata/kind, metadata/system" in str(caught.value)
