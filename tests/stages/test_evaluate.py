"""Metrics on rows that no fit has seen, with an account of what cleaning changed."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from spinlock.analysis import comparison
from spinlock.commands import evaluate as measure_again
from spinlock.errors import SpinlockError
from spinlock.features.split import SPLIT_NAMES, TEST
from spinlock.features.table import FeatureTable
from spinlock.files import file_digest
from spinlock.results.evaluation_files import read_baselines, read_metrics
from spinlock.results.training_files import read_statistics
from spinlock.stages import encode, evaluate
from spinlock.tokenizer.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def metrics(finished):
    return json.loads(finished.path("metrics.json").read_text(), parse_constant=pytest.fail)


def test_cleaning_is_accounted_for_by_name_and_number(finished, metrics):
    cleaning = metrics["cleaning"]
    assert cleaning["dropped"]["constant"] == ["summary/summary_11"]
    with FeatureTable(finished.path("subset.h5")) as table:
        values, split = table.read(), table.split
        names = [column.full_name for column in table.columns]
    kept = read_statistics(finished.path("feature_statistics.npz")).kept
    gaps = ~np.isfinite(values[:, kept])
    in_train = gaps[split == 0].sum(axis=0)
    assert cleaning["imputed_train_cells"] == {
        names[column]: count for column, count in zip(kept, in_train.tolist(), strict=True) if count
    }
    assert cleaning["imputed_cells"] == {
        names[column]: count
        for column, count in zip(kept, gaps.sum(axis=0).tolist(), strict=True)
        if count
    }
    assert cleaning["rows_with_imputed_cells"] == {
        name: int(gaps[split == side].any(axis=1).sum()) for side, name in enumerate(SPLIT_NAMES)
    }
    assert (
        sum(cleaning["capped_train_cells"].values())
        == (cleaning["counts_on_train_rows"]["capped_cells"])
    )
    assert cleaning["rows_beyond_max_samples"] == 10
    assert cleaning["filled_cells"] == {"temporal": 14}


def keys_within(value):
    """Return the keys of a value of metrics.json and of all that is in it."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_within, value.values()))
    return set().union(*map(keys_within, value)) if isinstance(value, list) else set()


def test_every_key_is_on_the_page_of_metrics(metrics):
    page = (ROOT / "docs/metrics.md").read_text()
    (book, *_), *_ = (list(levels.values()) for levels in metrics["books"].values())
    of_data = ("books", "cleaning", "quality_by_family", "quality_by_category")
    fixed = {key: value for key, value in metrics.items() if key not in of_data}
    keys = {key for key in keys_within([fixed, book]) if not key.isdecimal()} | set(of_data)
    assert len(keys) > 50
    assert [key for key in sorted(keys) if f"`{key}`" not in page] == []


def test_quality_is_that_of_the_test_rows_about_the_train_mean(finished, metrics, rows_of):
    tokenizer = Tokenizer.load(finished.path("best_model.pt"))
    x = rows_of(TEST)
    tokens = tokenizer.tokenize(x)
    mean = tokenizer.statistics.normalized_mean
    total = ((x - mean).astype(float) ** 2).sum()
    for levels, name in enumerate(tokenizer.levels, start=1):
        missed = (x - tokenizer.reconstruct(tokens, levels)).astype(float) ** 2
        assert metrics["quality_by_level"][name] == pytest.approx(1 - missed.sum() / total)


def test_metrics_name_the_model_that_was_measured_though_it_is_replaced(
    finished, tmp_path, monkeypatch
):
    model = tmp_path / "best_model.pt"
    shutil.copy(finished.path("best_model.pt"), model)
    measure = evaluate.measure

    def replaced_meanwhile(*arguments):
        model.write_bytes(b"another model")
        return measure(*arguments)

    monkeypatch.setattr(evaluate, "measure", replaced_meanwhile)
    metrics, baselines = tmp_path / "metrics.json", tmp_path / "baselines.csv"
    evaluate.run(finished.config, model, finished.path("subset.h5"), metrics, baselines)
    measured = json.loads(metrics.read_text())["model_digest"]
    assert measured == file_digest(finished.path("best_model.pt"))


def test_a_job_without_the_gpu_of_the_training_measures_the_same(finished, metrics, tmp_path):
    paths = [tmp_path / name for name in ("metrics.json", "baselines.csv")]
    evaluate.run(
        finished.experiment.model_copy(update={"device": "cuda"}),
        *[finished.path(name) for name in ("best_model.pt", "subset.h5")],
        *paths,
    )
    assert json.loads(paths[0].read_text()) == metrics
    assert paths[1].read_bytes() == finished.path("baselines.csv").read_bytes()


def test_what_is_measured_follows_the_settings(finished, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(comparison, "rows_within", lambda *_: 40)
    changes = {"max_pair_rows": 12, "baselines": False, "probe_column": None}
    evaluation = finished.experiment.evaluation.model_copy(update=changes)
    evaluate.run(
        finished.experiment.model_copy(update={"evaluation": evaluation}),
        *[finished.path(name) for name in ("best_model.pt", "subset.h5")],
        *[tmp_path / name for name in ("metrics.json", "baselines.csv")],
    )
    metrics = read_metrics(tmp_path / "metrics.json")
    assert metrics["rows"]["pairs_of"] == 12
    assert metrics["baselines"] == read_baselines(tmp_path / "baselines.csv") == {}
    assert metrics["probe"] is None
    assert "baselines_of" not in metrics["rows"]
    assert "are fitted to" not in caplog.text


def test_baselines_are_fitted_to_what_memory_allows(
    finished, metrics, monkeypatch, tmp_path, caplog
):
    caplog.set_level("INFO")
    n_train = metrics["rows"]["train"]
    assert metrics["rows"]["baselines_of"] == n_train
    seen = []
    monkeypatch.setattr(comparison, "rows_within", lambda *asked: seen.append(asked) or 40)
    model, subset = finished.path("best_model.pt"), finished.path("subset.h5")
    results = [tmp_path / name for name in ("metrics.json", "baselines.csv")]
    evaluate.run(finished.config, model, subset, *results)
    measured = read_metrics(results[0])
    assert seen == [(1.0, len(Tokenizer.load(model).kept))]
    assert measured["rows"] == metrics["rows"] | {"baselines_of": 40}
    assert measured["quality"] == metrics["quality"]
    assert measured["baselines"] != metrics["baselines"]
    assert f"baselines are fitted to 40 of {n_train} train rows" in caplog.text


def test_a_label_is_predicted_better_than_by_chance_or_said_to_be_missing(finished, metrics):
    assert set(metrics["probe"]) == {"column", "majority", "logistic", "nearest"}
    assert metrics["probe"]["column"] == "metadata/kind"
    for predictor in ("logistic", "nearest"):
        assert set(metrics["probe"][predictor]) == {"features", "tokens", "faiss_rq"}
    experiment = finished.experiment
    evaluation = experiment.evaluation.model_copy(update={"probe_column": "gone"})
    with pytest.raises(SpinlockError, match="no label 'gone'"):
        evaluate.run(
            experiment.model_copy(update={"evaluation": evaluation}),
            *[finished.path(n) for n in ("best_model.pt", "subset.h5", "unused", "unused")],
        )


def test_baselines_have_the_bits_of_the_model_or_the_most_that_they_can_spend(finished, metrics):
    assert metrics["baselines"]
    n_columns = len(Tokenizer.load(finished.path("best_model.pt")).kept)
    most = {"faiss_pq4": 4 * n_columns, "pca_lloyd_max": 6 * n_columns}  # of so few train rows
    for method, one in metrics["baselines"].items():
        enough = min(metrics["bits"]["nominal"], most.get(method, np.inf))
        slack = 1e-9 if method == "gaussian_reference" else 0
        assert one["bits"] >= enough - slack, method


def test_rows_are_counted_for_every_metric(rows_of, metrics):
    rows = metrics["rows"]
    assert rows["measured_on"] == "test"
    assert [rows[name] for name in SPLIT_NAMES] == [len(rows_of(side)) for side in range(3)]
    assert rows["utilization_of"] == rows["train"] + rows["validation"] + rows["test"]
    assert rows["pairs_of"] == rows["dependence_of"] == rows["validation"] + rows["test"]


def reverse_sides(file):
    file["split"][:] = file["split"][:][::-1]


def exchange_dataset(file):
    header = json.loads(file["header"][()])
    file["header"][()] = json.dumps(header | {"source_digest": "0" * 64})


@pytest.mark.parametrize("change", [reverse_sides, exchange_dataset])
def test_a_subset_of_other_rows_is_not_taken_for_the_models_own(finished, tmp_path, change):
    for name in ("best_model.pt", "subset.h5"):
        shutil.copy(finished.path(name), tmp_path)
    model, subset = tmp_path / "best_model.pt", tmp_path / "subset.h5"
    assert measure_again.run(model)["rows"]["measured_on"] == "test"
    with h5py.File(subset, "r+") as file:
        change(file)
    of_no_other = pytest.raises(SpinlockError, match="not the one that the model was trained with")
    with of_no_other:
        measure_again.run(model)
    results = [tmp_path / name for name in ("metrics.json", "baselines.csv")]
    with of_no_other:
        evaluate.run(finished.config, model, subset, *results)
    with pytest.raises(SpinlockError, match=r"not the one that|of another dataset"):
        encode.run(model, [finished.dataset], tmp_path / "tokens.h5", subset=subset)
    assert not any(path.exists() for path in (*results, tmp_path / "tokens.h5"))
    (tmp_path / "subset.h5").unlink()
    with pytest.raises(SpinlockError, match=r"no subset\.h5"):
        measure_again.run(model)
