"""Mappings of categories: the columns that they name are found, and mistakes are named."""

import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.tokenizer.categories.mapping import mapped_columns, mapped_partition

NAMES = ["summary/energy", "summary/drift", "initial/mean", "initial/spread", "initial/dropped"]
KEPT = np.array([0, 1, 2, 3])


def test_a_mapping_takes_indices_names_and_full_names():
    mapping = {"dynamics": ["energy", 1], "start": ["initial/spread", "mean"]}
    partition = mapped_partition(mapping, NAMES, KEPT)
    assert {name: members.tolist() for name, members in partition.items()} == {
        "dynamics": [0, 1],
        "start": [2, 3],
    }


def test_a_mapping_counts_positions_among_the_kept_columns_and_passes_dropped_ones_over():
    mapping = {"a": ["initial/dropped", 3, 1], "only dropped": [0]}
    partition = mapped_partition(mapping, NAMES, np.array([1, 3]))
    assert {name: members.tolist() for name, members in partition.items()} == {"a": [0, 1]}


@pytest.mark.parametrize(
    ("mapping", "problem", "named"),
    [
        ({"a": [0, 1, 2, 3], "b": ["nonsense"]}, "unknown", "nonsense"),
        ({"a": [0, 1, 2, 3, 5]}, "unknown", "5"),
        ({"a": [0, 1, 2, 3, -1]}, "unknown", "-1"),
        ({"a": [0, 1, 2, 3], "b": [2]}, "twice", "initial/mean"),
        ({"a": ["energy", 1, 2, 3], "b": ["dropped", 4]}, "twice", "initial/dropped"),
        ({"a": [0, 1, 2, 3, "energy"]}, "twice", "summary/energy"),
        ({"a": [0, 1], "b": [3]}, "leaves", "initial/mean"),
        ({}, "leaves", "summary/energy"),
    ],
)
def test_a_mistake_in_a_mapping_is_named(mapping, problem, named):
    with pytest.raises(SpinlockError, match=problem) as caught:
        mapped_partition(mapping, NAMES, KEPT)
    assert named in caught.value.problem


def test_a_short_name_of_two_families_is_asked_about():
    names = ["initial/mean", "summary/mean", "summary/energy"]
    with pytest.raises(SpinlockError, match="of which family: mean"):
        mapped_columns({"a": ["mean", "energy"]}, names)
    full = {"a": ["summary/mean", "energy"], "b": ["initial/mean"]}
    assert mapped_columns(full, names) == {"a": [1, 2], "b": [0]}
