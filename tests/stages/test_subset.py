"""What the stage takes of a dataset, and its account of what it leaves out or fills."""

import h5py
import numpy as np
import pytest
import yaml

from spinlock.features.dataset import open_dataset
from spinlock.features.table import FeatureTable
from spinlock.settings import load_experiment
from spinlock.stages import subset


def test_rows_columns_and_labels_are_those_of_the_dataset(finished):
    with FeatureTable(finished.path("subset.h5")) as table, h5py.File(finished.dataset) as data:
        assert table.n_rows == 140
        np.testing.assert_array_equal(table.row_ids, np.arange(140))
        summary = data["features/summary/aggregated/features"][:140]
        np.testing.assert_array_equal(table.read()[:, :12], summary)
        assert [c.family for c in table.columns].count("temporal") == 2 * 12
        assert table.labels("metadata/kind")[:4].tolist() == [f"kind {i % 3}" for i in range(4)]
        assert table.fields(slice(None)) is None
        with open_dataset(finished.dataset) as source:
            assert table.source_digest == source.digest()


def test_nothing_is_left_out_or_filled_without_an_account(finished):
    with FeatureTable(finished.path("subset.h5")) as table:
        assert table.account == {
            "rows_of_dataset": 150,
            "rows_beyond_max_samples": 10,
            "rows_on_no_side_of_the_split": 0,
            "filled_cells": {"temporal": 14},
        }


def test_rows_on_no_side_of_a_published_split_are_counted(tmp_path):
    sides = np.array([0] * 20 + [1] * 5 + [2] * 5 + [-1] * 3)
    fields = np.zeros((33, 1, 4, 4))
    fields[2, 0, 0, :3] = np.nan, np.inf, 1e300
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["features/initial/features"] = np.random.default_rng(0).normal(size=(33, 3))
        file["inputs/fields"] = fields
        file["meta/side"] = sides
    values = {
        "dataset_path": "d.h5",
        "families": {"initial": {"encoder": "InitialHybridEncoder"}},
        "split": {"column": "meta/side"},
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(values))
    experiment = load_experiment(tmp_path / "e.yaml")
    subset.run(experiment, [tmp_path / "d.h5"], tmp_path / "subset.h5")
    with FeatureTable(tmp_path / "subset.h5") as table:
        assert table.account["rows_on_no_side_of_the_split"] == 3
        assert table.account["filled_cells"] == {"inputs/fields": 3}
        np.testing.assert_array_equal(table.split, sides[:30])
        assert np.isfinite(table.fields(slice(None))).all()


def test_too_few_rows_for_max_samples_are_told(finished, tmp_path, caplog):
    experiment = finished.experiment.model_copy(update={"max_samples": 1000})
    subset.run(experiment, [finished.dataset], tmp_path / "subset.h5")
    assert "max_samples is 1000, the dataset has 150" in caplog.text


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_shards_give_the_bytes_of_one_file(finished, tmp_path, parts):
    edges = np.linspace(0, 150, parts + 1).astype(int)
    paths = [tmp_path / f"{first}.h5" for first in edges[:-1]]
    with h5py.File(finished.dataset) as data:
        for path, first, last in zip(paths, edges, edges[1:], strict=False):
            with h5py.File(path, "w") as file:
                for name in ("features/summary/aggregated/features", "features/temporal/features"):
                    file[name] = data[name][first:last]
                file["metadata/kind"] = data["metadata/kind"].asstr()[first:last].tolist()
    subset.run(finished.experiment, paths, tmp_path / "subset.h5")
    assert (tmp_path / "subset.h5").read_bytes() == finished.path("subset.h5").read_bytes()
