"""Families in a file: where they are found, and what is refused with a reason."""

import logging

import h5py
import numpy as np
import pytest

from spinlock.features.dataset import open_dataset

SUMMARY = "features/summary/aggregated/features"
TEMPORAL = "features/temporal/features"


def test_families_are_found_in_both_places_of_the_layout(write_h5, values):
    with open_dataset(write_h5(values())) as source:
        assert source.n_operators == 10
        assert source.families["summary"].shape == (4,)
        assert source.families["temporal"].shape == (6, 3)
        assert source.families["temporal"].dtype == np.float32


def test_whole_numbers_are_kept_to_the_last_digit(write_h5):
    with open_dataset(write_h5({SUMMARY: np.array([[2**40 + 1]])})) as source:
        layout = source.families["summary"]
        read = source.read("summary", slice(None)).astype(layout.dtype)
    assert int(read.item()) == 2**40 + 1


def test_families_of_different_length_are_refused(write_h5, values, refused):
    path = write_h5(values() | {TEMPORAL: np.zeros((9, 6, 3))})
    refused(path, "different numbers of operators", "'summary': 10", "'temporal': 9")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (["a", "b"], "not numbers"),
        (np.array([[b"a"], [b"b"]]), "not numbers"),
        (np.zeros((4, 3), complex), "not numbers"),
        (np.zeros((4, 3), [("x", "f4")]), "not numbers"),
        (np.zeros(4), "features are [N, D] or [N, T, D]"),
        (np.zeros((4, 3, 2, 2)), "features are [N, D] or [N, T, D]"),
        (np.float64(3), "features are [N, D] or [N, T, D]"),
        (h5py.Empty("f4"), "features are [N, D] or [N, T, D]"),
        (np.zeros((0, 3)), "is empty"),
        (np.zeros((4, 0)), "is empty"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(write_h5, array, said, refused):
    refused(write_h5({SUMMARY: array}), "features", said)


def test_lists_of_different_length_are_refused(tmp_path, refused):
    with h5py.File(tmp_path / "ragged.h5", "w") as file:
        file.create_dataset(SUMMARY, (4, 3), dtype=h5py.vlen_dtype(np.float32))
    refused(tmp_path / "ragged.h5", "not numbers")


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"inputs/fields": np.zeros((4, 2, 8, 8))}, "no group /features"),
        ({"features": np.zeros((4, 3))}, "no group /features"),
    ],
)
def test_a_file_without_features_is_refused(write_h5, contents, said, refused):
    refused(write_h5(contents), said)


@pytest.mark.parametrize("place", ["features/summary", "features/a/b", SUMMARY + "/deeper"])
def test_what_stands_elsewhere_is_listed_where_there_is_no_family(write_h5, place, refused):
    path = write_h5({place: np.zeros((4, 3)), "inputs/fields": np.zeros((4, 2, 8, 8))})
    message = refused(path, "no feature family", f"datasets there: /{place} (4, 3)\n")
    assert "[N, D] at /features/<name>/features" in message


def test_an_empty_group_is_told_as_such(write_h5, refused):
    refused(write_h5({}, {"features/summary": {"version": "1"}}), "datasets there: none")


def test_what_is_no_family_beside_others_is_told(write_h5, values, caplog):
    path = write_h5(values() | {"features/extra": np.zeros((10, 3)), "features/b/c": np.zeros(10)})
    open_dataset(path).close()
    (told,) = caplog.messages
    assert str(path) in told
    assert "not read: /features/b, /features/extra;" in told


def test_of_two_tables_of_a_family_the_one_that_is_not_read_is_told(write_h5, values, caplog):
    path = write_h5(values() | {"features/summary/features": np.zeros((10, 3))})
    open_dataset(path).close()
    (told,) = caplog.messages
    assert "not read: /features/summary/features; the family is read from" in told


def test_a_huge_number_of_columns_is_refused(tmp_path, refused):
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file.create_dataset(SUMMARY, (4, 10**10), np.float32, chunks=(1, 1000))
    refused(tmp_path / "wide.h5", "10,000,000,000 columns")


def test_parameters_in_either_place_are_no_feature_family(write_h5, caplog, values):
    for name in ("vectors", "params"):
        contents = values() | {f"parameters/{name}": np.zeros((10, 5))}
        with caplog.at_level(logging.WARNING), open_dataset(write_h5(contents)) as source:
            assert set(source.families) == {"summary", "temporal"}
    assert not caplog.records
