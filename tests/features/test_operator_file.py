"""Writing operator datasets: what is written is read, and bytes repeat."""

import json
import time

import h5py
import numpy as np

from spinlock.features.dataset import open_dataset


def test_what_is_written_is_read_with_its_names(tmp_path, write_operators, operators):
    path = write_operators(tmp_path / "a.h5", slice(0, 300))
    with open_dataset(path) as source:
        expected = operators(300)
        assert source.n_operators == 300
        assert source.families["summary"].column_names == [
            "energy/mean",
            "energy/deviation",
            "shape/mean",
        ]
        assert source.families["architecture"].column_names == ["depth", "width"]
        assert source.families["temporal"].column_names == ["temporal_0", "temporal_1"]
        for name in ("summary", "architecture"):
            place = f"features/{name}/aggregated/features"
            np.testing.assert_array_equal(source.read(name, slice(None)), expected[place])
        np.testing.assert_array_equal(source.fields(slice(None)), expected["inputs/fields"])
        np.testing.assert_array_equal(source.labels("metadata/kind"), expected["metadata/kind"])
        assert json.loads(source.attributes["config"]) == {"random_seed": 1, "grid_size": 8}
        assert "version" in source.attributes
    with h5py.File(path) as file:
        assert file["parameters/vectors"].attrs["dimension_names"].tolist() == [
            "gain",
            "damping",
            "noise",
        ]


def test_the_registry_maps_category_and_name_to_the_column(tmp_path, write_operators):
    with h5py.File(write_operators(tmp_path / "a.h5", slice(0, 4))) as file:
        registry = json.loads(file["features/summary"].attrs["feature_registry"])
    assert registry == {"energy": {"mean": 0, "deviation": 1}, "shape": {"mean": 2}}


def test_the_same_operators_make_the_same_bytes_at_any_time(tmp_path, write_operators):
    first = write_operators(tmp_path / "a.h5", slice(0, 120)).read_bytes()
    time.sleep(1.1)  # HDF5 would note whole seconds
    assert write_operators(tmp_path / "b.h5", slice(0, 120)).read_bytes() == first
