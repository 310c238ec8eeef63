"""Joining shards: they are the one file, with what has no rows, and whatever their types."""

from itertools import pairwise

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.features.concatenation import concatenate
from spinlock.features.dataset import open_dataset


def contents(path) -> dict[str, object]:
    """Return every dataset and attribute of a file."""
    found: dict[str, object] = {}

    def visit(name: str, item: object) -> None:
        found.update({f"{name}@{key}": str(value) for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype, item[()].tolist())

    with h5py.File(path, "r") as file:
        visit("", file)
        file.visititems(visit)
    return found


@settings(deadline=None, max_examples=10)
@given(st.sets(st.integers(1, 299), max_size=4))
def test_shards_joined_are_the_one_file(tmp_path_factory, write_operators, cuts):
    folder = tmp_path_factory.mktemp("joined")
    edges = [0, *sorted(cuts), 300]
    shards = [
        write_operators(folder / f"{first}.h5", slice(first, last))
        for first, last in pairwise(edges)
    ]
    with h5py.File(folder / "joined.h5", "w") as file:
        concatenate(shards, file)
    assert contents(folder / "joined.h5") == contents(
        write_operators(folder / "one.h5", slice(0, 300))
    )
    with open_dataset(shards) as apart, open_dataset(folder / "joined.h5") as joined:
        assert apart.digest() == joined.digest()


def test_joining_twice_makes_the_same_bytes(tmp_path, write_operators):
    shards = [write_operators(tmp_path / f"{i}.h5", slice(i, i + 60)) for i in (0, 60)]
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            concatenate(shards, file)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_shards_of_ones_own_need_no_metadata_and_keep_what_has_no_rows(tmp_path):
    shards = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for i, path in enumerate(shards):
        with h5py.File(path, "w") as file:
            file["features/own/features"] = np.arange(6.0).reshape(3, 2) + 10 * i
            file["features/own"].attrs["version"] = 3
            file.attrs["units"] = "SI"
            file["features/own/feature_names"] = ["x", "y"]
            file["a_scalar"] = "text"
            file["meta/group"] = [i, i, i]
    with h5py.File(tmp_path / "joined.h5", "w") as output:
        concatenate(shards, output)
        assert output["a_scalar"].asstr()[()] == "text"
        assert output["features/own"].attrs["version"] == 3
        assert output.attrs["units"] == "SI"
        assert "metadata" not in output
    with open_dataset(tmp_path / "joined.h5") as source:
        assert source.families["own"].column_names == ["x", "y"]
        assert source.read("own", slice(None))[:, 0].tolist() == [0, 2, 4, 10, 12, 14]
        assert source.labels("meta/group").tolist() == [0, 0, 0, 1, 1, 1]


def test_lists_of_one_length_are_joined_as_lists(tmp_path):
    shards = [own_shard(tmp_path / f"{i}.h5", 4) for i in range(2)]
    for i, path in enumerate(shards):
        with h5py.File(path, "a") as file:
            events = file.create_dataset("events", (4,), dtype=h5py.vlen_dtype(np.float64))
            for row in range(4):
                events[row] = [i, row, 0.5]
    with h5py.File(tmp_path / "joined.h5", "w") as output:
        concatenate(shards, output)
        joined = [row.tolist() for row in output["events"]]
    assert joined == [[i, row, 0.5] for i in range(2) for row in range(4)]


def test_whole_numbers_that_no_type_holds_together_are_refused(tmp_path):
    kinds = (np.int64, np.uint64)
    shards = [
        own_shard(tmp_path / f"{kind.__name__}.h5", 3, label=np.arange(3, dtype=kind))
        for kind in kinds
    ]
    with (
        h5py.File(tmp_path / "joined.h5", "w") as output,
        pytest.raises(SpinlockError, match="label holds int64, uint64"),
    ):
        concatenate(shards, output)


def own_shard(path, n_rows: int, **others):
    with h5py.File(path, "w") as file:
        file["features/own/features"] = np.arange(2.0 * n_rows).reshape(n_rows, 2)
        for name, values in others.items():
            file[f"meta/{name}"] = values
    return path


def test_labels_of_joined_shards_are_those_of_the_shards(tmp_path):
    shards = [
        own_shard(tmp_path / "a.h5", 3, subject=[b"s1", b"s2", b"s3"], i=np.int8([1, 2, 3])),
        own_shard(tmp_path / "b.h5", 2, subject=[b"s10", b"s11"], i=np.int32([300, -70000])),
        own_shard(tmp_path / "c.h5", 2, subject=["s1", "längst"], i=np.int16([4, 5])),
    ]
    for path in shards:
        with h5py.File(path, "a") as file:
            file["meta/again"] = file["meta/i"]
            file["meta/soft"] = h5py.SoftLink("/meta/subject")
            file["meta/nothing"] = h5py.Empty("f4")
    with h5py.File(tmp_path / "joined.h5", "w") as output:
        concatenate(shards, output)
    names = ["meta/again", "meta/i", "meta/soft", "meta/subject"]
    with open_dataset(shards) as apart, open_dataset(tmp_path / "joined.h5") as joined:
        assert joined.label_paths == apart.label_paths == names
        for name in names:
            assert joined.labels(name).tolist() == apart.labels(name).tolist()


def test_families_behind_links_are_joined_with_their_names(tmp_path):
    shards = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in shards:
        with h5py.File(path, "w") as file:
            file["above/own/features"] = np.ones((3, 2))
            file["above/own"].attrs["feature_names"] = ["x", "y"]
            file["features/own"] = h5py.SoftLink("/above/own")
            file["zero"] = np.ones((3, 0, 4))
    with h5py.File(tmp_path / "joined.h5", "w") as output:
        concatenate(shards, output)
        assert output["zero"].shape == (6, 0, 4)
    with open_dataset(tmp_path / "joined.h5") as joined:
        assert joined.families["own"].column_names == ["x", "y"]
        assert joined.n_operators == 6


def test_names_of_as_many_columns_as_rows_are_no_rows(tmp_path):
    shards = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path in shards:
        with h5py.File(path, "w") as file:
            file["features/own/features"] = np.ones((2, 2))
            file["features/own/feature_names"] = ["x", "y"]
    with h5py.File(tmp_path / "joined.h5", "w") as output:
        concatenate(shards, output)
    with open_dataset(tmp_path / "joined.h5") as joined:
        assert joined.families["own"].column_names == ["x", "y"]


@pytest.mark.parametrize("other", [np.zeros((2, 3)), ["a", "b"]], ids=["shape", "text"])
def test_datasets_that_no_type_holds_are_refused(tmp_path, other):
    shards = [
        own_shard(tmp_path / "a.h5", 3, one=np.zeros((3, 2))),
        own_shard(tmp_path / "b.h5", 2, one=other),
    ]
    with (
        h5py.File(tmp_path / "joined.h5", "w") as output,
        pytest.raises(SpinlockError, match="/meta/one holds") as caught,
    ):
        concatenate(shards, output)
    assert str(shards[1]) in str(caught.value)


def test_shards_with_other_datasets_are_refused(tmp_path, write_operators):
    first = write_operators(tmp_path / "a.h5", slice(0, 4))
    second = write_operators(tmp_path / "b.h5", slice(4, 8))
    with h5py.File(second, "a") as file:
        file["features/extra/features"] = np.zeros((4, 2))
    with (
        h5py.File(tmp_path / "joined.h5", "w") as output,
        pytest.raises(SpinlockError, match="different arrays") as caught,
    ):
        concatenate([first, second], output)
    assert str(second) in str(caught.value)
