"""Reading datasets in the HDF5 layout: what is read, and what is refused with a reason."""

import logging
import os
import shutil
import tempfile
import tracemalloc
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset

SUMMARY = "features/summary/aggregated/features"
TEMPORAL = "features/temporal/features"


def values(n_rows: int = 10, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    summary = rng.normal(size=(n_rows, 4)).astype(np.float32)
    summary[::3, 1] = np.nan
    summary[1::3, 2] = -np.inf
    return {
        SUMMARY: summary,
        TEMPORAL: rng.normal(size=(n_rows, 6, 3)).astype(np.float32),
        "inputs/fields": rng.normal(size=(n_rows, 2, 8, 8)).astype(np.float32),
        "metadata/system": np.arange(n_rows) % 3,
        "metadata/kind": [f"kind {i % 2} ✓" for i in range(n_rows)],
    }


def part(contents: dict[str, object], rows: slice) -> dict[str, object]:
    return {place: array[rows] for place, array in contents.items()}


@pytest.fixture
def shards(write_h5):
    """Return a function that cuts contents into files at the given rows."""

    def write(contents: dict, cuts: list[int], attributes: dict | None = None) -> list:
        edges = [0, *cuts, len(contents[SUMMARY])]
        return [
            write_h5(part(contents, slice(first, last)), attributes, name=f"shard_{first}.h5")
            for first, last in pairwise(edges)
        ]

    return write


def refused(path, *said: str) -> str:
    """Check that opening is refused in words that name the file, and that the file is closed."""
    with pytest.raises(SpinlockError) as caught:
        open_dataset(path)
    for words in (str(path), *said):
        assert words in str(caught.value)
    return str(caught.value)


def test_families_are_found_in_both_places_of_the_layout(write_h5):
    with open_dataset(write_h5(values())) as source:
        assert source.n_operators == 10
        assert source.families["summary"].shape == (4,)
        assert source.families["temporal"].shape == (6, 3)
        assert source.families["temporal"].dtype == np.float32


def test_values_come_back_bit_by_bit_gaps_and_all(write_h5):
    contents = values()
    with open_dataset(str(write_h5(contents))) as source:
        for family, place in (("summary", SUMMARY), ("temporal", TEMPORAL)):
            np.testing.assert_array_equal(source.read(family, slice(None)), contents[place])


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i4", "u1", "?"])
def test_every_type_of_number_is_read(write_h5, dtype):
    whole = np.arange(12).reshape(4, 3).astype(dtype)
    with open_dataset(write_h5({SUMMARY: whole})) as source:
        np.testing.assert_array_equal(source.read("summary", slice(None)), whole)
        assert source.families["summary"].dtype.kind == "f"


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_rows_of_shards_are_those_of_one_array(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shards")
    expected = np.arange(60.0).reshape(20, 3)
    cuts = sorted(data.draw(st.sets(st.integers(1, 19), max_size=4)))
    paths = []
    for first, last in pairwise([0, *cuts, 20]):
        paths.append(folder / f"{first}.h5")
        with h5py.File(paths[-1], "w") as file:
            file[SUMMARY] = expected[first:last]
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, 19)))), dtype=int)
    first, last = sorted(data.draw(st.tuples(st.integers(0, 25), st.integers(0, 25))))
    with open_dataset(paths) as source:
        assert source.n_operators == 20
        np.testing.assert_array_equal(source.read("summary", chosen), expected[chosen])
        rows = slice(first, last)
        np.testing.assert_array_equal(source.read("summary", rows), expected[rows])


@pytest.mark.parametrize("rows", [[10], [-1, 3], [3, 10]])
def test_rows_outside_the_dataset_are_refused(shards, rows):
    with (
        open_dataset(shards(values(), [4])) as source,
        pytest.raises(SpinlockError, match="outside the 10"),
    ):
        source.read("summary", np.array(rows))


def test_a_missing_family_is_told_with_those_that_are_there(write_h5):
    path = write_h5(values())
    with open_dataset(path) as source:
        assert source.require(["temporal", "summary"]) is source
        with pytest.raises(SpinlockError, match="no family initial, other") as caught:
            source.require(["initial", "summary", "other"])
        assert str(path) in str(caught.value)
        assert "summary, temporal" in str(caught.value)


def test_no_file_at_all_is_told():
    with pytest.raises(SpinlockError, match="no file of the dataset"):
        open_dataset([])


def test_initial_fields_are_optional(shards, write_h5):
    contents = values()
    with open_dataset(shards(contents, [3, 7])) as source:
        np.testing.assert_array_equal(
            source.fields(np.array([2, 3, 9])), contents["inputs/fields"][[2, 3, 9]]
        )
    with open_dataset(write_h5({SUMMARY: contents[SUMMARY]})) as source:
        assert source.fields(slice(None)) is None


def test_attributes_of_the_metadata_are_given(write_h5):
    path = write_h5(values(), {"metadata": {"version": "1.0"}})
    with open_dataset(path) as source:
        assert source.attributes == {"version": "1.0"}
    with open_dataset(write_h5({SUMMARY: values()[SUMMARY]}, name="bare.h5")) as source:
        assert source.attributes == {}


def test_labels_are_text_or_whole_numbers(shards):
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
        assert kinds.dtype.kind == "U"
        assert source.labels("meta/bytes").tolist() == ["ab"] * 10
        np.testing.assert_array_equal(source.labels("meta/flag"), contents["meta/flag"])


def test_only_what_has_one_value_per_operator_is_a_label(shards):
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
        assert sorted(source.label_paths()) == ["metadata/kind", "metadata/system", "system"]


@pytest.mark.parametrize("name", ["metadata/gone", "metadata", "", SUMMARY])
def test_a_missing_label_is_told_with_those_that_are_there(write_h5, name):
    path = write_h5(values())
    with open_dataset(path) as source, pytest.raises(SpinlockError, match="no label") as caught:
        source.labels(name)
    assert str(path) in str(caught.value)
    assert "metadata/kind, metadata/system" in str(caught.value)


def test_digest_is_the_same_for_one_file_and_its_shards(write_h5, shards):
    contents = values(50)
    names = {"features/summary": {"feature_names": list("abcd")}}
    digests = set()
    for paths in (write_h5(contents, names), shards(contents, [20], names)):
        with open_dataset(paths) as source:
            digests.add(source.digest())
    paths = shards(contents, [1, 2, 49], names)
    with open_dataset(paths) as source:
        digests.add(source.digest())
    assert len(digests) == 1
    with open_dataset(paths[::-1]) as source:
        assert source.digest() not in digests, "the order of the operators counts"


def test_digest_is_blind_to_how_a_file_is_stored(write_h5, tmp_path):
    contents = values(50)
    with open_dataset(write_h5(contents)) as source:
        expected = source.digest()
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        for place in (TEMPORAL, SUMMARY):
            file.create_dataset(place, data=contents[place], compression="gzip", shuffle=True)
    with open_dataset(tmp_path / "packed.h5") as source:
        assert source.digest() == expected


def test_digest_changes_with_any_value_name_type_or_family(write_h5):
    contents = {SUMMARY: values(20)[SUMMARY]}
    nudged = contents[SUMMARY].copy()
    nudged[19, 3] = np.nextafter(nudged[19, 3], np.float32(np.inf))
    variants = [
        (contents, None),
        ({SUMMARY: nudged}, None),
        ({SUMMARY: contents[SUMMARY].astype(np.float64)}, None),
        ({SUMMARY: contents[SUMMARY][:, :3]}, None),
        ({SUMMARY: contents[SUMMARY][:19]}, None),
        ({SUMMARY.replace("summary", "initial"): contents[SUMMARY]}, None),
        ({TEMPORAL: contents[SUMMARY].reshape(20, 2, 2)}, None),
        (contents, {"features/summary": {"feature_names": list("abcd")}}),
        (contents, {"features/summary": {"feature_names": list("abdc")}}),
    ]
    digests = set()
    for one, attributes in variants:
        with open_dataset(write_h5(one, attributes)) as source:
            digests.add(source.digest())
    assert len(digests) == len(variants)


@pytest.mark.parametrize(
    "change",
    [
        {SUMMARY: np.zeros((5, 3), np.float32)},
        {SUMMARY: np.zeros((5, 4), np.float64)},
        {TEMPORAL: np.zeros((5, 7, 3), np.float32)},
        {"features/extra/features": np.zeros((5, 3), np.float32)},
    ],
)
def test_shards_that_differ_are_refused(write_h5, change):
    first = write_h5(values(), name="first.h5")
    second = write_h5(values(5) | change, name="second.h5")
    with pytest.raises(SpinlockError, match="shards of the dataset differ") as caught:
        open_dataset([first, second])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_shards_with_other_column_names_are_refused(write_h5):
    first = write_h5(values(), name="first.h5")
    second = write_h5(
        values(), {"features/summary": {"feature_names": list("abcd")}}, name="second.h5"
    )
    with pytest.raises(SpinlockError, match="shards of the dataset differ"):
        open_dataset([first, second])


def test_families_of_different_length_are_refused(write_h5):
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
def test_what_is_no_table_of_numbers_is_refused(write_h5, array, said):
    refused(write_h5({SUMMARY: array}), "features", said)


def test_lists_of_different_length_are_refused(tmp_path):
    with h5py.File(tmp_path / "ragged.h5", "w") as file:
        file.create_dataset(SUMMARY, (4, 3), dtype=h5py.vlen_dtype(np.float32))
    refused(tmp_path / "ragged.h5", "not numbers")


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"inputs/fields": np.zeros((4, 2, 8, 8))}, "no group /features"),
        ({"features": np.zeros((4, 3))}, "no group /features"),
        ({"features/summary": np.zeros((4, 3))}, "no feature family"),
        ({"features/summary/other": np.zeros((4, 3))}, "no feature family"),
        ({SUMMARY + "/deeper": np.zeros((4, 3))}, "no feature family"),
    ],
)
def test_a_file_without_features_is_refused(write_h5, contents, said):
    refused(write_h5(contents), said)


def test_a_missing_file_a_folder_and_other_files_are_refused(tmp_path):
    refused(tmp_path / "gone.h5", "does not exist")
    refused(tmp_path, "is a folder")
    for name, content in (("empty", b""), ("text", b"a,b\n1,2\n"), ("zip", b"PK\3\4" + bytes(900))):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "is not an HDF5 file")


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "cut.h5"
    with h5py.File(path, "w") as file:
        for place, array in values(4).items():
            if isinstance(array, np.ndarray):
                file[place] = array
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    message = refused(path)
    assert "truncated" in message or "not an HDF5 file" in message


def test_a_refused_file_is_not_kept_open(write_h5):
    good = write_h5(values(), name="good.h5")
    bad = write_h5({SUMMARY: np.zeros(4)}, name="bad.h5")
    with pytest.raises(SpinlockError) as caught:  # which keeps the frames of the call alive
        open_dataset([good, bad])
    for path in (good, bad):
        with h5py.File(path, "a") as file:  # refused by HDF5 while the file is open elsewhere
            file["mark"] = 1
    assert str(bad) in str(caught.value)


def test_files_are_closed_with_the_dataset(write_h5):
    path = write_h5(values())
    with open_dataset(path) as source:
        source.read("summary", slice(None))
    with h5py.File(path, "a") as file:
        file["mark"] = 1


def test_a_file_that_may_not_be_read_is_told(write_h5):
    with tempfile.TemporaryDirectory() as folder:  # its parents are open to every user
        path = Path(folder) / "data.h5"
        shutil.move(write_h5(values()), path)
        path.chmod(0)
        Path(folder).chmod(0o755)
        user = os.geteuid()
        if user == 0:  # root may read everything
            os.seteuid(65534)
        try:
            message = refused(path, "may not be read", "permission")
        finally:
            os.seteuid(user)
    assert "HDF5" not in message


def test_damage_inside_the_data_is_told_when_it_is_read(tmp_path):
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w") as file:
        noise = np.random.default_rng(0).normal(size=(100, 20))
        file.create_dataset(SUMMARY, data=noise, chunks=(10, 20), compression="gzip")
        place = file[SUMMARY].id.get_chunk_info(3).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 10 : place + 60] = bytes(50)
    path.write_bytes(content)
    with open_dataset(path) as source:
        assert len(source.read("summary", slice(0, 30))) == 30
        with pytest.raises(SpinlockError, match="cannot be read") as caught:
            source.read("summary", slice(None))
        assert str(path) in str(caught.value)
        with pytest.raises(SpinlockError, match="cannot be read"):
            source.digest()


@pytest.mark.parametrize("place", ["features", "features/summary", SUMMARY, "inputs/fields"])
def test_a_link_to_another_file_is_refused(write_h5, place):
    secret = write_h5(values(), name="secret.h5")
    contents = values()
    own = {name: array for name, array in contents.items() if not name.startswith(place)}
    path = write_h5(own | {place: h5py.ExternalLink(str(secret), place)})
    with pytest.raises(SpinlockError, match="link to another file") as caught:
        read_all(path)
    assert str(secret) in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_link_that_leads_outside_in_two_steps_is_refused(write_h5):
    secret = write_h5(values(), name="secret.h5")
    path = write_h5(
        {
            "elsewhere": h5py.ExternalLink(str(secret), "/features/summary"),
            "features/summary": h5py.SoftLink("/elsewhere"),
        }
    )
    refused(path, "other files")


def test_links_inside_the_file_are_followed(write_h5):
    contents = {"store/a": values()[SUMMARY], SUMMARY: h5py.SoftLink("/store/a")}
    with open_dataset(write_h5(contents)) as source:
        assert source.read("summary", slice(None)).shape == (10, 4)


@pytest.mark.parametrize("place", ["features/summary", SUMMARY])
def test_a_link_to_nowhere_is_told(write_h5, place):
    refused(write_h5({place: h5py.SoftLink("/gone")}), place, "cannot be read")


@pytest.mark.parametrize("place", [SUMMARY, "inputs/fields", "metadata/system"])
def test_data_that_stands_in_another_file_is_not_read(write_h5, place):
    secret = write_h5(values(), name="secret.h5")
    contents = values()
    array = contents.pop(place)
    path = write_h5(contents)
    layout = h5py.VirtualLayout(array.shape, array.dtype)
    layout[:] = h5py.VirtualSource(str(secret), place, array.shape)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset(place, layout)
    with pytest.raises(SpinlockError):
        read_all(path)


@pytest.mark.parametrize("place", [SUMMARY, "inputs/fields", "metadata/system"])
def test_data_that_stands_in_a_raw_file_is_not_read(write_h5, tmp_path, place):
    (tmp_path / "secret.bin").write_bytes(bytes(100_000))
    contents = values()
    array = contents.pop(place)
    path = write_h5(contents)
    with h5py.File(path, "a") as file:
        raw = [(str(tmp_path / "secret.bin"), 0, array.nbytes)]
        file.create_dataset(place, array.shape, array.dtype, external=raw)
    with pytest.raises(SpinlockError):
        read_all(path)


@pytest.mark.parametrize("byte", [b"\0", b"\x01", b"\xff"])
def test_a_wrong_byte_anywhere_is_read_over_or_told(write_h5, byte):
    path = write_h5(values())
    whole = path.read_bytes()
    told = 0
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at] + byte + whole[at + 1 :])
        try:
            read_all(path)
        except SpinlockError:
            told += 1
    assert told, "some of these bytes matter"


def read_all(path, **options) -> tuple:
    with open_dataset(path, **options) as source:
        values = source.read("summary", slice(None))
        return values, source.fields(slice(None)), source.labels("metadata/system")


def test_links_to_other_files_are_followed_where_that_is_allowed(write_h5):
    contents = values()
    other = write_h5(contents, name="other.h5")
    layout = h5py.VirtualLayout((10,), contents["metadata/system"].dtype)
    layout[:] = h5py.VirtualSource(str(other), "metadata/system", (10,))
    places = {name: h5py.ExternalLink(str(other), name) for name in ("features", "inputs/fields")}
    path = write_h5(places)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("metadata/system", layout)
    with pytest.raises(SpinlockError, match="allow_external_data: true"):
        read_all(path)
    for expected, read in zip(read_all(other), read_all(path, external=True), strict=True):
        np.testing.assert_array_equal(expected, read)


def test_a_huge_declared_shape_without_data_opens_in_no_memory(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset(SUMMARY, (10**12, 50), np.float32, chunks=(100, 50))
    tracemalloc.start()
    with open_dataset(tmp_path / "huge.h5") as source:
        assert source.n_operators == 10**12
        assert source.read("summary", slice(0, 3)).shape == (3, 50)
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6


def test_a_huge_number_of_columns_is_refused(tmp_path):
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file.create_dataset(SUMMARY, (4, 10**10), np.float32, chunks=(1, 1000))
    refused(tmp_path / "wide.h5", "10,000,000,000 columns")


def test_parameters_in_either_place_are_no_feature_family(write_h5, caplog):
    for name in ("vectors", "params"):
        contents = values() | {f"parameters/{name}": np.zeros((10, 5))}
        with caplog.at_level(logging.WARNING), open_dataset(write_h5(contents)) as source:
            assert set(source.families) == {"summary", "temporal"}
    assert not caplog.records
