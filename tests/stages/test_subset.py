"""What the stage takes of a dataset, and its account of what it leaves out or fills."""

import h5py
import numpy as np
import pytest
import yaml

from spinlock.errors import SpinlockError
from spinlock.features.columns import choose_columns
from spinlock.features.dataset import open_dataset
from spinlock.features.split import TEST, TRAIN, VALIDATION, random_split, split_by_group
from spinlock.features.table import FeatureTable
from spinlock.settings import Experiment, load_experiment
from spinlock.stages import subset

N_OPERATORS = 100
GROUPS = np.arange(N_OPERATORS) // 4
SIDES = np.random.default_rng(0).choice([-1, TRAIN, VALIDATION, TEST], N_OPERATORS)
VALUES = np.random.default_rng(1).normal(size=(N_OPERATORS, 3))
FRACTIONS = {"val_fraction": 0.1, "test_fraction": 0.3}


@pytest.fixture
def take(tmp_path):
    """Give a function that makes a subset of 100 operators, whose fields say which each is."""
    numbers = np.arange(N_OPERATORS, dtype=np.float32).reshape(-1, 1, 1, 1)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["features/initial/features"] = VALUES
        file["inputs/fields"] = np.broadcast_to(numbers, (N_OPERATORS, 2, 4, 4))
        file["meta/side"], file["meta/group"] = SIDES, GROUPS
        file["meta/name"] = [f"operator {i}" for i in range(N_OPERATORS)]

    def run(**changes) -> FeatureTable:
        settings = {"dataset_path": "data.h5", "families": {"initial": {}}} | changes
        experiment = Experiment.model_validate(settings)
        subset.run(experiment, [tmp_path / "data.h5"], tmp_path / "subset.h5")
        return FeatureTable(tmp_path / "subset.h5")

    return run


def test_rows_columns_and_labels_are_those_of_the_dataset(finished):
    with FeatureTable(finished.path("subset.h5")) as table, h5py.File(finished.dataset) as data:
        side = data["metadata/side"][:140]
        np.testing.assert_array_equal(table.row_ids, np.flatnonzero(side >= 0))
        np.testing.assert_array_equal(table.split, side[side >= 0])
        summary = data["features/summary/aggregated/features"][:140][side >= 0]
        np.testing.assert_array_equal(table.read()[:, :12], summary)
        assert [c.family for c in table.columns].count("temporal") == 2 * 12
        assert table.labels("metadata/kind").tolist() == [f"kind {i % 3}" for i in table.row_ids]
        assert table.fields(slice(None)) is None
        with open_dataset(finished.dataset) as source:
            assert table.source_digest == source.digest()


def test_nothing_is_left_out_or_filled_without_an_account(finished):
    with FeatureTable(finished.path("subset.h5")) as table:
        assert table.account == {
            "rows_of_dataset": 150,
            "rows_beyond_max_samples": 10,
            "rows_on_no_side_of_the_split": 140 - table.n_rows,
            "rows_that_repeat_others": 0,
            "held_out_rows_that_repeat_train_rows": 0,
            "filled_cells": {"temporal": 14},
            "variance_kept_of_series": table.account["variance_kept_of_series"],
        }
        kept = table.account["variance_kept_of_series"]
    assert {name.split("/")[0] for name in kept} == {"temporal"}
    assert all(0 < share <= 1 for share in kept.values())


@pytest.mark.parametrize("seed", [1, 7])
def test_rows_are_split_by_the_fractions_and_the_seed_of_the_settings(take, seed):
    with take(split=FRACTIONS, random_seed=seed) as table:
        split = table.split
    np.testing.assert_array_equal(split, random_split(N_OPERATORS, 0.1, 0.3, seed))
    assert np.bincount(split).tolist() == [60, 10, 30]


@pytest.mark.parametrize("seed", [1, 7])
def test_groups_are_split_by_the_fractions_and_the_seed_of_the_settings(take, seed):
    with take(split=FRACTIONS | {"group_by": "meta/group"}, random_seed=seed) as table:
        split = table.split
    np.testing.assert_array_equal(split, split_by_group(GROUPS, 0.1, 0.3, seed))
    assert np.bincount(split).tolist() == [56, 12, 32]


@pytest.mark.parametrize("most", [N_OPERATORS, 70])
def test_what_is_said_of_a_row_is_that_of_its_operator(take, monkeypatch, most):
    monkeypatch.setattr(subset, "ROW_BLOCK", 8)
    families = {"initial": {"encoder": "InitialCNNEncoder"}}
    with take(split={"column": "meta/side"}, max_samples=most, families=families) as table:
        rows = table.row_ids
        np.testing.assert_array_equal(rows, np.flatnonzero(SIDES[:most] >= 0))
        np.testing.assert_array_equal(table.split, SIDES[rows])
        np.testing.assert_array_equal(table.read(), VALUES[rows])
        np.testing.assert_array_equal(table.fields(slice(None))[:, 0, 0, 0], rows)
        assert table.labels("meta/name").tolist() == [f"operator {i}" for i in rows]
        assert table.account["rows_beyond_max_samples"] == N_OPERATORS - most


def test_only_shares_far_from_those_asked_for_are_told(caplog):
    split = np.repeat([TRAIN, VALIDATION, TEST], [70, 18, 12])
    subset._warn_of_shares(split, {VALIDATION: 0.1, TEST: 0.1})
    assert not caplog.text
    subset._warn_of_shares(split, {VALIDATION: 0.05, TEST: 0.1})
    assert "the validation has 18.0 % of the rows, not 5.0 %" in caplog.text
    subset._warn_of_shares(split, {VALIDATION: 0.1, TEST: 0.3})
    assert "the test has 12.0 % of the rows, not 30.0 %" in caplog.text
    assert len(caplog.records) == 2


def test_held_out_rows_that_repeat_train_rows_are_told(tmp_path, caplog):
    path = tmp_path / "own.h5"
    rows = np.random.default_rng(0).normal(size=(20, 3))
    rows[5, 1] = np.nan
    with h5py.File(path, "w") as file:
        file["features/own/features"] = np.concatenate([rows, rows[:6], rows[:6]])
        file["meta/side"] = np.repeat([0, 1, 2, 0], [20, 4, 2, 6])
    experiment = Experiment.model_validate(
        {"dataset_path": str(path), "families": {"own": {}}, "split": {"column": "meta/side"}}
    )
    subset.run(experiment, [path], tmp_path / "subset.h5")
    assert "12 rows have the features of others, and 6 rows of validation and test" in caplog.text
    with FeatureTable(tmp_path / "subset.h5") as table:
        assert table.account["rows_that_repeat_others"] == 12
        assert table.account["held_out_rows_that_repeat_train_rows"] == 6


def test_what_coefficients_lose_of_series_is_told(tmp_path, caplog):
    path, steps = tmp_path / "own.h5", 24
    rng = np.random.default_rng(0)
    slow = rng.normal(size=(40, 1)) * np.cos(np.pi * (np.arange(steps) + 0.5) / steps)
    with h5py.File(path, "w") as file:
        file["features/own/features"] = np.stack([slow, rng.normal(size=(40, steps))], axis=2)
        file["features/own"].attrs["feature_names"] = ["slow", "noise"]
    experiment = Experiment.model_validate({"dataset_path": str(path), "families": {"own": {}}})
    subset.run(experiment, [path], tmp_path / "subset.h5")
    with FeatureTable(tmp_path / "subset.h5") as table:
        kept = table.account["variance_kept_of_series"]
    assert kept["own/slow"] == 1
    assert kept["own/noise"] == pytest.approx(16 / 24, abs=0.05)
    assert "16 of 24 coefficients keep less than 90 % of the variance of 1 channels" in caplog.text
    assert "of own/noise" in caplog.text


def test_what_coefficients_lose_of_sorted_series_is_told(tmp_path, monkeypatch):
    path, steps = tmp_path / "own.h5", 24
    rng = np.random.default_rng(0)
    slow = rng.normal(size=(320, 1)) * np.cos(np.pi * (np.arange(steps) + 0.5) / steps)
    noise = rng.normal(size=(320, steps))
    with h5py.File(path, "w") as file:
        file["features/own/features"] = np.concatenate([slow, noise])[..., None]
    monkeypatch.setattr(subset, "SERIES_ROWS", 320)
    with open_dataset(path) as source:
        chosen = choose_columns(source, ["own"], {})
        (kept,) = subset._kept_of_series(source, chosen, np.arange(640)).values()
    assert 0.5 < kept < 0.95


def test_long_series_are_measured_on_fewer_rows(finished, monkeypatch):
    seen = []
    monkeypatch.setattr(subset, "kept_variance", lambda x, _: seen.append(len(x)) or np.ones(2))
    with open_dataset(finished.dataset) as source:
        chosen = choose_columns(source, ["temporal"], {})
        for cells in (100 * 12 * 2, 12):  # three runs of 30 rows, or one
            monkeypatch.setattr(subset, "SERIES_CELLS", cells)
            subset._kept_of_series(source, chosen, np.arange(150))
    assert seen == [90, 30]


@pytest.mark.parametrize(
    ("first", "told"), [(3, "is 3, 4, 5, 6, 7, …: 0, 1 and 2"), (9, "is 9, 10: 0, 1 and 2")]
)
def test_values_of_a_published_split_that_name_no_side_are_told(
    take, monkeypatch, first, told, caplog
):
    published = np.where(SIDES < 0, first + np.arange(N_OPERATORS) % (11 - first), SIDES)
    monkeypatch.setattr(subset.OperatorDataset, "labels", lambda *_: published)
    with take(split={"column": "meta/side"}) as table:
        assert table.account["rows_on_no_side_of_the_split"] == (SIDES < 0).sum()
    assert f"rows are left out where split.column {told} name sides, -1 none" in caplog.text


def test_rows_on_no_side_of_a_published_split_are_counted(tmp_path, caplog):
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
    assert "rows are left out" not in caplog.text
    with FeatureTable(tmp_path / "subset.h5") as table:
        assert table.account["rows_on_no_side_of_the_split"] == 3
        assert table.account["filled_cells"] == {"inputs/fields": 3}
        np.testing.assert_array_equal(table.split, sides[:30])
        assert np.isfinite(table.fields(slice(None))).all()


def test_only_the_files_that_an_experiment_names_must_hold_its_operators(
    take, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(subset, "require_simulation", asked.append)
    take()
    assert not asked
    take(dataset_path=str(tmp_path / "data.h5"))
    assert len(asked) == 1


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
                file["metadata/side"] = data["metadata/side"][first:last]
    subset.run(finished.experiment, paths, tmp_path / "subset.h5")
    assert (tmp_path / "subset.h5").read_bytes() == finished.path("subset.h5").read_bytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"evaluation": {"probe_column": "meta/group2"}}, "no label /meta/group2"),
        ({"visualization": {"color_by": "initial/initial_9"}}, "is no feature"),
    ],
)
def test_what_later_stages_would_refuse_is_told_first(take, tmp_path, changes, told):
    with pytest.raises(SpinlockError, match=told) as caught:
        take(**changes)
    assert "meta/group" in caught.value.remedy or "initial/initial_0" in caught.value.remedy
    assert not (tmp_path / "subset.h5").exists()
