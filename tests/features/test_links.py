"""Links that leave a file: refused unless they are allowed, wherever they stand."""

import h5py
import numpy as np
import pytest

from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.features.links import linked_files

SUMMARY = "features/summary/aggregated/features"
TEMPORAL = "features/temporal/features"


@pytest.mark.parametrize("place", ["features", "features/summary", SUMMARY, "inputs/fields"])
def test_a_link_to_another_file_is_refused(write_h5, place, values, read_all):
    secret = write_h5(values(), name="secret.h5")
    contents = values()
    own = {name: array for name, array in contents.items() if not name.startswith(place)}
    path = write_h5(own | {place: h5py.ExternalLink(str(secret), place)})
    with pytest.raises(SpinlockError, match="link to another file") as caught:
        read_all(path)
    assert str(secret) in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_link_that_leads_outside_in_two_steps_is_refused(write_h5, values, refused):
    secret = write_h5(values(), name="secret.h5")
    path = write_h5(
        {
            "elsewhere": h5py.ExternalLink(str(secret), "/features/summary"),
            "features/summary": h5py.SoftLink("/elsewhere"),
        }
    )
    refused(path, "other files")


def test_links_inside_the_file_are_followed(write_h5, values):
    contents = {"store/a": values()[SUMMARY], SUMMARY: h5py.SoftLink("/store/a")}
    with open_dataset(write_h5(contents)) as source:
        assert source.read("summary", slice(None)).shape == (10, 4)


@pytest.mark.parametrize("place", ["features/summary", SUMMARY])
def test_a_link_to_nowhere_is_told(write_h5, place, refused):
    refused(write_h5({place: h5py.SoftLink("/gone")}), place, "cannot be read")


@pytest.mark.parametrize("place", [SUMMARY, "inputs/fields", "metadata/system"])
def test_data_that_stands_in_another_file_is_not_read(write_h5, place, values, read_all):
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
def test_data_that_stands_in_a_raw_file_is_not_read(write_h5, tmp_path, place, values, read_all):
    (tmp_path / "secret.bin").write_bytes(bytes(100_000))
    contents = values()
    array = contents.pop(place)
    path = write_h5(contents)
    with h5py.File(path, "a") as file:
        raw = [(str(tmp_path / "secret.bin"), 0, array.nbytes)]
        file.create_dataset(place, array.shape, array.dtype, external=raw)
    with pytest.raises(SpinlockError):
        read_all(path)


def test_links_to_other_files_are_followed_where_that_is_allowed(write_h5, values, read_all):
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


def test_all_files_are_found_that_a_file_leads_to(write_h5, tmp_path, values):
    last = write_h5(values(), name="last.h5")
    other = write_h5({"features": h5py.ExternalLink("last.h5", "features")}, name="other.h5")
    (tmp_path / "raw.bin").write_bytes(bytes(800))
    path = write_h5({
        "features/a": h5py.ExternalLink(str(other), "features"),
        "features/b": h5py.SoftLink("/features/a"),
        "gone": h5py.ExternalLink("gone.h5", "features"),
    })  # fmt: skip
    layout = h5py.VirtualLayout((10,), "i8")
    layout[:] = h5py.VirtualSource("last.h5", "metadata/system", (10,))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("virtual", layout)
        own = h5py.VirtualLayout((10,), "i8")
        own[:] = h5py.VirtualSource(".", "virtual", (10,))
        file.create_virtual_dataset("own", own)  # of data in this file
        file.create_dataset("raw", (100,), "f8", external=[(str(tmp_path / "raw.bin"), 0, 800)])
        file["circle"] = h5py.ExternalLink(path.name, "/")
    found = {one.name for one in linked_files(path)}
    assert found == {"other.h5", "last.h5", "gone.h5", "raw.bin"}
    assert linked_files(last) == []
    assert linked_files(tmp_path / "gone.h5") == []


def test_files_behind_the_links_of_linked_files_are_found(write_h5):
    write_h5({"x": [1]}, name="c.h5")
    write_h5({"x": h5py.ExternalLink("c.h5", "x")}, name="b.h5")
    path = write_h5({"x": h5py.ExternalLink("b.h5", "x")}, name="a.h5")
    assert [one.name for one in linked_files(path)] == ["b.h5", "c.h5"]


def test_a_file_that_is_linked_by_many_names_is_listed_once(write_h5, tmp_path):
    (tmp_path / "inner").mkdir()
    for name, other in (("a.h5", "../inner/b.h5"), ("inner/b.h5", "../inner/../a.h5")):
        links = {f"x{i}": h5py.ExternalLink(("inner/" if name == "a.h5" else "") + other, "x")
                 for i in range(3)}  # fmt: skip
        write_h5(links, name=name)
    assert [one.resolve() for one in linked_files(tmp_path / "a.h5")] == [tmp_path / "inner/b.h5"]
