"""Reading datasets in the HDF5 layout: what is read, and what is refused with a reason."""

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
from spinlock.features.dataset import DIGEST_ROWS, open_dataset

SUMMARY = "features/summary/aggregated/features"
TEMPORAL = "features/temporal/features"


def test_values_come_back_bit_by_bit_gaps_and_all(write_h5, values):
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
def test_rows_outside_the_dataset_are_refused(shards, rows, values):
    with (
        open_dataset(shards(values(), [4])) as source,
        pytest.raises(SpinlockError, match="outside the 10"),
    ):
        source.read("summary", np.array(rows))


def test_a_missing_family_is_told_with_those_that_are_there(write_h5, values):
    path = write_h5(values())
    with open_dataset(path) as source:
        source.require(["temporal", "summary"])
        with pytest.raises(SpinlockError, match="no family initial, other") as caught:
            source.require(["initial", "summary", "other"])
        assert str(path) in str(caught.value)
        assert "summary, temporal" in str(caught.value)


def test_no_file_at_all_is_told():
    with pytest.raises(SpinlockError, match="no file of the dataset"):
        open_dataset([])


def test_initial_fields_are_optional(shards, write_h5, values):
    contents = values()
    with open_dataset(shards(contents, [3, 7])) as source:
        np.testing.assert_array_equal(
            source.fields(np.array([2, 3, 9])), contents["inputs/fields"][[2, 3, 9]]
        )
        assert source.grid == contents["inputs/fields"].shape[-2:]
    with open_dataset(write_h5({SUMMARY: contents[SUMMARY]})) as source:
        assert source.fields(slice(None)) is None


def test_the_digest_tells_fields_apart_where_they_are_read(shards, values):
    contents = values()
    other = contents | {"inputs/fields": contents["inputs/fields"] + 1}
    found = {}
    for name, held in (("one", contents), ("other", other), ("none", values())):
        if name == "none":
            del held["inputs/fields"]
        for cuts in ([], [4]):
            with open_dataset(shards(held, cuts)) as source:
                found[name, len(cuts)] = source.digest(), source.digest(fields=True)
    plain, with_fields = zip(*found.values(), strict=True)
    assert len(set(plain)) == 1
    assert len(set(with_fields)) == 3, "the same for one file and for its shards"
    assert found["none", 0][0] == found["none", 0][1]


def test_fields_of_shards_have_one_size(write_h5, values):
    paths = [
        write_h5(values() | {"inputs/fields": np.zeros((10, 1, side, side))}, name=f"{side}.h5")
        for side in (4, 5)
    ]
    with (
        open_dataset(paths) as source,
        pytest.raises(SpinlockError, match=r"\(1, 5, 5\), and \(1, 4, 4\) in .*4\.h5") as caught,
    ):
        source.fields(slice(None))
    assert "5.h5" in str(caught.value)


def test_fields_that_some_shards_lack_are_none(write_h5, values):
    first = write_h5(values(), name="first.h5")
    second = write_h5({place: values()[place] for place in (SUMMARY, TEMPORAL)}, name="second.h5")
    with open_dataset([first, second]) as source:
        assert source.grid is None


@pytest.mark.parametrize("shape", [(9, 2, 8, 8), (11, 2, 8, 8), (10, 8)])
def test_fields_that_are_not_one_per_operator_are_refused(write_h5, values, shape):
    path = write_h5(values() | {"inputs/fields": np.zeros(shape)})
    with (
        open_dataset(path) as source,
        pytest.raises(SpinlockError, match=r"/inputs/fields.*should be numbers \[10, C, H, W\]"),
    ):
        source.fields(slice(None))


def test_attributes_of_the_metadata_are_given(write_h5, values):
    path = write_h5(values(), {"metadata": {"version": "1.0"}})
    with open_dataset(path) as source:
        assert source.attributes == {"version": "1.0"}
    with open_dataset(write_h5({SUMMARY: values()[SUMMARY]}, name="bare.h5")) as source:
        assert source.attributes == {}


def test_digest_is_the_same_for_one_file_and_its_shards(write_h5, shards, values):
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


def test_whole_numbers_of_any_type_are_one_content(tmp_path):
    numbers, digests = np.arange(40).reshape(20, 2), set()
    for types in (["i4", "i8"], ["u1", "f8"], ["f8", "f8"]):
        paths = [tmp_path / f"{kind}_{i}.h5" for i, kind in enumerate(types)]
        for path, part in zip(paths, np.split(numbers, 2), strict=True):
            with h5py.File(path, "w") as file:
                file[SUMMARY] = part.astype(path.name[:2])
        with open_dataset(paths) as source:
            digests.add(source.digest())
            assert source.read("summary", slice(0, 20)).dtype == np.float64
    assert len(digests) == 1


def test_digest_is_blind_to_how_a_file_is_stored(write_h5, tmp_path, values):
    contents = values(50)
    with open_dataset(write_h5(contents)) as source:
        expected = source.digest()
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        file.create_group("features", track_order=True)  # families are listed as they were made
        for place in (TEMPORAL, SUMMARY):
            file.create_dataset(place, data=contents[place], compression="gzip", shuffle=True)
    with open_dataset(tmp_path / "packed.h5") as source:
        assert source.digest() == expected


def test_digest_changes_with_any_value_name_type_or_family(write_h5, values):
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
        ({TEMPORAL: np.zeros((20, 4, 2), np.float32)}, None),
        ({TEMPORAL: np.zeros((20, 2, 2), np.float64)}, None),  # the same bytes
        (contents, {"features/summary": {"feature_names": list("abcd")}}),
        (contents, {"features/summary": {"feature_names": list("abdc")}}),
    ]
    digests = set()
    for one, attributes in variants:
        with open_dataset(write_h5(one, attributes)) as source:
            digests.add(source.digest())
    assert len(digests) == len(variants)


def test_digest_reads_every_block_of_rows(write_h5):
    digests = set()
    for last in (0.0, 1.0):
        values = np.zeros((2 * DIGEST_ROWS + 1, 1))
        values[-1] = last
        with open_dataset(write_h5({SUMMARY: values})) as source:
            digests.add(source.digest())
    assert len(digests) == 2


@pytest.mark.parametrize(
    "change",
    [
        {SUMMARY: np.zeros((5, 3), np.float32)},
        {SUMMARY: np.zeros((5, 4), np.float64)},
        {TEMPORAL: np.zeros((5, 7, 3), np.float32)},
        {"features/extra/features": np.zeros((5, 3), np.float32)},
    ],
)
def test_shards_that_differ_are_refused(write_h5, change, values):
    first = write_h5(values(), name="first.h5")
    second = write_h5(values(5) | change, name="second.h5")
    with pytest.raises(SpinlockError, match="shards of the dataset differ") as caught:
        open_dataset([first, second])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_shards_with_other_column_names_are_refused(write_h5, values):
    first = write_h5(values(), name="first.h5")
    second = write_h5(
        values(), {"features/summary": {"feature_names": list("abcd")}}, name="second.h5"
    )
    with pytest.raises(SpinlockError, match="shards of the dataset differ"):
        open_dataset([first, second])


def test_a_missing_file_a_folder_and_other_files_are_refused(tmp_path, refused):
    refused(tmp_path / "gone.h5", "does not exist")
    (tmp_path / "own").mkdir()
    refused(tmp_path / "own", "a folder", "there are: none")
    (tmp_path / "own/other.h5").touch()
    refused(tmp_path / "own", "a folder", f"there are: {tmp_path / 'own/other.h5'}")
    (tmp_path / "own/shard_00000.h5").touch()
    joins = f"--shards {tmp_path}/own/shard_*.h5 --output {tmp_path / 'own.h5'}"
    refused(tmp_path / "own", "a folder", f"spinlock.stages.concatenate {joins}")
    refused(tmp_path, "is a folder")
    for name, content in (("empty", b""), ("text", b"a,b\n1,2\n"), ("zip", b"PK\3\4" + bytes(900))):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "is not an HDF5 file")


@settings(deadline=None, max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, share, values, refused):
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


def test_a_refused_file_is_not_kept_open(write_h5, values):
    good = write_h5(values(), name="good.h5")
    bad = write_h5({SUMMARY: np.zeros(4)}, name="bad.h5")
    with pytest.raises(SpinlockError) as caught:  # which keeps the frames of the call alive
        open_dataset([good, bad])
    for path in (good, bad):
        with h5py.File(path, "a") as file:  # refused by HDF5 while the file is open elsewhere
            file["mark"] = 1
    assert str(bad) in str(caught.value)


def test_files_are_closed_with_the_dataset(write_h5, values):
    path = write_h5(values())
    with open_dataset(path) as source:
        source.read("summary", slice(None))
    with h5py.File(path, "a") as file:
        file["mark"] = 1


def test_a_file_that_may_not_be_read_is_told(write_h5, values, refused):
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


@pytest.mark.parametrize("byte", [b"\0", b"\x01", b"\xff"])
def test_a_wrong_byte_anywhere_is_read_over_or_told(write_h5, byte, values, read_all):
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


def test_names_that_do_not_fit_are_told_once_of_all_shards(shards, values, caplog):
    names = {"features/summary": {"feature_names": ["a", "b"]}}
    paths = shards(values(), [3, 6], names)
    for _ in range(2):  # of every dataset that is opened
        caplog.clear()
        with open_dataset(paths) as source:
            assert source.families["summary"].column_names[0] == "summary_0"
        assert len(caplog.records) == 1
