"""Categories: every kept feature in exactly one, found or given, with what they came from."""

import json
from itertools import chain

import numpy as np
import pandas as pd
import pytest

from spinlock.features.split import TRAIN, VALIDATION
from spinlock.results.training_files import read_categories
from spinlock.stages import cluster
from spinlock.tokenizer.categories.column_tree import correlation_matrix
from spinlock.tokenizer.normalization.statistics import FeatureStatistics


def run(finished, experiment, folder):
    cluster.run(
        experiment, finished.path("subset.h5"), finished.path("feature_statistics.npz"),
        folder / "categories.json", folder / "silhouette.csv", folder / "linkage.npz",
    )  # fmt: skip
    return json.loads((folder / "categories.json").read_text())


def with_training(finished, **changes):
    experiment = finished.experiment
    training = experiment.training.model_copy(update=changes)
    return experiment.model_copy(update={"training": training})


def test_every_kept_feature_is_in_exactly_one_category(finished, kept_names):
    found = json.loads(finished.path("categories.json").read_text())
    assert sorted(name for names in found.values() for name in names) == sorted(kept_names)
    partition = read_categories(finished.path("categories.json"), kept_names)
    assert sorted(np.concatenate(list(partition.values()))) == list(range(len(kept_names)))


def test_what_the_choice_was_made_from_is_written(finished, kept_names):
    candidates = pd.read_csv(finished.path("silhouette.csv"))
    found = json.loads(finished.path("categories.json").read_text())
    assert candidates.loc[candidates.chosen, "num_categories"].tolist() == [len(found)]
    with np.load(finished.path("linkage.npz")) as arrays:
        assert arrays["Z"].shape == (len(kept_names) - 1, 4)
        assert arrays["correlation"].shape == (len(kept_names),) * 2


def test_categories_by_held_out_quality_are_measured(finished, tmp_path):
    experiment = with_training(finished, num_categories_auto="validation", max_clusters=4)
    run(finished, experiment, tmp_path)
    candidates = pd.read_csv(tmp_path / "silhouette.csv")
    best = candidates.loc[candidates.validation_quality.idxmax()]
    assert best.chosen
    assert candidates.validation_quality.notna().all()


def test_partitions_are_fitted_on_train_rows_and_measured_on_validation_rows(
    finished, rows_of, tmp_path, monkeypatch
):
    measured, quality = [], cluster.partition_quality

    def watched(train, held_out, *rest):
        measured.append((train, held_out, rest[-1].initial_seed()))
        return quality(train, held_out, *rest)

    monkeypatch.setattr(cluster, "partition_quality", watched)
    experiment = with_training(finished, num_categories_auto="validation", max_clusters=3)
    run(finished, experiment, tmp_path)
    assert measured
    for train, held_out, seed in measured:
        np.testing.assert_array_equal(train, rows_of(TRAIN))
        np.testing.assert_array_equal(held_out, rows_of(VALIDATION))
        assert seed == experiment.random_seed


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_columns_of_train_rows_are_compared_as_the_settings_say(
    finished, rows_of, tmp_path, method, given
):
    manual = {
        "category_assignment": "manual",
        "category_mapping_file": str(finished.path("categories.json")),
    }
    experiment = with_training(finished, category_correlation=method, **manual if given else {})
    run(finished, experiment, tmp_path)
    with np.load(tmp_path / "linkage.npz") as arrays:
        expected = correlation_matrix(rows_of(TRAIN), method)
        np.testing.assert_allclose(arrays["correlation"], expected, atol=1e-6)


def test_categories_that_a_user_gives_are_taken(finished, kept_names, tmp_path):
    wanted = {"first": kept_names[:5], "the rest": kept_names[5:]}
    (tmp_path / "map.json").write_text(json.dumps(wanted))
    experiment = with_training(
        finished, category_assignment="manual", category_mapping_file=str(tmp_path / "map.json")
    )
    assert run(finished, experiment, tmp_path) == wanted


def test_of_many_rows_some_are_compared_the_same_with_the_same_seed(
    finished, tmp_path, monkeypatch
):
    rows = []

    def counted(statistics, values):
        rows.append(values)
        return apply(statistics, values)

    apply = FeatureStatistics.apply
    monkeypatch.setattr(FeatureStatistics, "apply", counted)
    monkeypatch.setattr(cluster, "CORRELATION_ROWS", 40)
    experiment = finished.experiment
    seeds = (experiment.random_seed, experiment.random_seed, experiment.random_seed + 1)
    first, again, other = (
        run(finished, experiment.model_copy(update={"random_seed": seed}), tmp_path)
        for seed in seeds
    )
    assert first == again
    train = rows[::2]
    assert [len(values) for values in train] == [40, 40, 40]
    np.testing.assert_array_equal(train[0], train[1])
    assert not np.array_equal(train[0], train[2], equal_nan=True)
    named = [sorted(chain.from_iterable(found.values())) for found in (first, other)]
    assert named[0] == named[1]


def test_categories_that_cannot_hold_the_bits_are_told(finished, tmp_path, caplog):
    free = {"num_categories_auto": None}
    found = run(finished, with_training(finished, **free), tmp_path)
    assert not caplog.records
    large = with_training(finished, **free, min_features_per_category=8)
    more_bits = large.model.model_copy(update={"bits": 288})
    fewer = run(finished, large.model_copy(update={"model": more_bits}), tmp_path)
    assert len(fewer) < len(found)
    assert "min_features_per_category" in caplog.text


def test_fewer_categories_than_asked_for_are_told(finished, tmp_path, caplog):
    asked = {"num_categories_auto": 300, "min_features_per_category": 4}
    run(finished, with_training(finished, **asked), tmp_path)
    n_categories = len(json.loads((tmp_path / "categories.json").read_text()))
    assert f"{n_categories} categories instead of the 300" in caplog.text


def test_fewer_categories_are_to_hold_a_target_quality(finished, tmp_path):
    found = {}
    for target in (None, 0.5):
        model = finished.experiment.model.model_copy(update={"bits": 200, "target_quality": target})
        experiment = with_training(finished, num_categories_auto=None)
        found[target] = len(run(finished, experiment.model_copy(update={"model": model}), tmp_path))
    assert found[0.5] < found[None]
