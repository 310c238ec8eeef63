"""Metrics on rows that no fit has seen, with an account of what cleaning changed."""

import json
import shutil

import h5py
import numpy as np
import pytest

from spinlock.analysis.evaluation import baselines_of
from spinlock.analysis.rows import RowsOfSplit
from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.features.split import SPLIT_NAMES, TEST, TRAIN
from spinlock.features.table import FeatureTable
from spinlock.files import file_digest
from spinlock.stages import encode, evaluate
from spinlock.stages.evaluation_files import read_baselines, read_metrics
from spinlock.stages.training_files import read_statistics
from spinlock.tokenizer.tokenizer import Tokenizer

MOSTLY_CAPPED = {"quality_before_caps": {"percentile_10": 0.2, "capped_share": 0.4}}


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


def test_quality_is_that_of_the_test_rows_about_the_train_mean(finished, metrics, rows_of):
    tokenizer = Tokenizer.load(finished.path("best_model.pt"))
    x = rows_of(TEST)
    tokens = tokenizer.tokenize(x)
    mean = tokenizer.statistics.normalized_mean
    total = ((x - mean).astype(float) ** 2).sum()
    for levels, name in enumerate(tokenizer.levels, start=1):
        missed = (x - tokenizer.reconstruct(tokens, levels)).astype(float) ** 2
        assert metrics["quality_by_level"][name] == pytest.approx(1 - missed.sum() / total)


def test_a_model_is_measured_again_as_its_stage_measured_it(finished, metrics):
    measured = evaluate.measure_model(finished.path("best_model.pt"))
    rows = {key: n for key, n in metrics["rows"].items() if key != "baselines_of"}
    assert measured == metrics | {"baselines": {}, "probe": None, "rows": rows}
    assert metrics["model_digest"] == file_digest(finished.path("best_model.pt"))
    measured = evaluate.measure_model(finished.path("best_model.pt"), baselines=True)
    assert measured == metrics | {"probe": None}


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
    monkeypatch.setattr(evaluate, "rows_within", lambda *_: 40)
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
    monkeypatch.setattr(evaluate, "rows_within", lambda *asked: seen.append(asked) or 40)
    model, subset = finished.path("best_model.pt"), finished.path("subset.h5")
    results = [tmp_path / name for name in ("metrics.json", "baselines.csv")]
    evaluate.run(finished.config, model, subset, *results)
    measured = read_metrics(results[0])
    assert seen == [(1.0, len(Tokenizer.load(model).kept))]
    assert measured["rows"] == metrics["rows"] | {"baselines_of": 40}
    assert measured["quality"] == metrics["quality"]
    assert measured["baselines"] != metrics["baselines"]
    assert f"baselines are fitted to 40 of {n_train} train rows" in caplog.text
    for dataset in ((), [finished.dataset]):
        measured = evaluate.measure_model(model, dataset, baselines=True)
        assert measured["rows"]["baselines_of"] == 40
    assert "baselines_of" not in evaluate.measure_model(model)["rows"]


def test_all_rows_of_a_dataset_are_measured(finished, caplog):
    measured = evaluate.measure_model(finished.path("best_model.pt"), [finished.dataset])
    assert (measured["rows"]["all"], measured["rows"]["measured_on"]) == (150, "all")
    assert measured["rows"]["test"] == 0
    with FeatureTable(finished.path("subset.h5")) as table:
        assert measured["rows"]["seen_in_training"] == (table.split != TEST).sum()
    (said,) = [one.getMessage() for one in caplog.records if "not a fair test" in one.msg]
    assert said == "this is the dataset that the model was trained on: not a fair test"


def test_baselines_of_another_dataset_know_the_train_rows_of_the_model_alone(
    finished, metrics, rows_of, tmp_path
):
    model, other = tmp_path / "best_model.pt", tmp_path / "other.h5"
    shutil.copy(finished.path("best_model.pt"), model)
    shutil.copy(finished.dataset, other)
    with h5py.File(other, "r+") as file:
        file["features/summary/aggregated/features"][:] += 0.1
    with pytest.raises(SpinlockError, match=r"no subset\.h5(?s:.*)without baselines"):
        evaluate.measure_model(model, [other], baselines=True)
    shutil.copy(finished.path("subset.h5"), tmp_path)
    found = evaluate.measure_model(model, [other], baselines=True)["baselines"]
    tokenizer = Tokenizer.load(model)
    with open_dataset([other]) as source:
        x = RowsOfSplit.of_dataset(source, tokenizer).x
    last = {one.method: one.quality for one in baselines_of(tokenizer, rows_of(TRAIN), x)}
    del last["gaussian_reference"]  # of the train rows, not of this dataset
    assert {name: one["quality"] for name, one in found.items()} == last
    assert found.keys() == metrics["baselines"].keys() - {"gaussian_reference"}


def test_rows_of_another_dataset_that_the_training_saw_are_told(finished, tmp_path, caplog):
    """As where a larger dataset begins with the operators of the one that was trained on."""
    for name in ("best_model.pt", "subset.h5"):
        shutil.copy(finished.path(name), tmp_path)
    model, larger = tmp_path / "best_model.pt", tmp_path / "larger.h5"
    with FeatureTable(finished.path("subset.h5")) as table:
        seen = table.row_ids[table.split != TEST]
    with h5py.File(finished.dataset) as file, h5py.File(larger, "w") as other:
        for name in ("features/summary/aggregated/features", "features/temporal/features"):
            values = file[name][:]
            other[name] = np.concatenate([values[:60], values[60:] + 0.1])
    expected = f"{(seen < 60).sum()} of these 150 rows are ones that the model was trained"
    rows = evaluate.measure_model(model, [larger])["rows"]
    assert rows["seen_in_training"] == (seen < 60).sum()
    assert expected in caplog.text
    caplog.clear()
    with h5py.File(larger, "r+") as other:
        other["features/summary/aggregated/features"][:60] += 0.1
    assert evaluate.measure_model(model, [larger])["rows"]["seen_in_training"] == 0
    (tmp_path / "subset.h5").write_bytes(b"damaged")
    assert evaluate.measure_model(model, [larger])["rows"]["seen_in_training"] is None
    assert not caplog.text


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


def test_a_dataset_in_other_units_is_told_and_nothing_is_said_of_tails(finished, tmp_path, caplog):
    with h5py.File(finished.dataset) as file, h5py.File(tmp_path / "other.h5", "w") as other:
        for name in ("features/summary/aggregated/features", "features/temporal/features"):
            other[name] = 1000 * file[name][:]
    evaluate.measure_model(finished.path("best_model.pt"), [tmp_path / "other.h5"])
    assert "are its units, as theirs?" in caplog.text
    assert "outliers: log" not in caplog.text
    caplog.clear()
    evaluate.measure_model(finished.path("best_model.pt"), [finished.dataset])
    assert "are its units" not in caplog.text


def test_what_caps_hide_is_told(caplog):
    evaluate._warn_of_caps({"quality_by_feature": {"percentile_10": 0.9}} | MOSTLY_CAPPED)
    assert "below 0.900, and below 0.200 of the values before, of which 40.0 %" in caplog.text
    caplog.clear()
    evaluate._warn_of_caps({"quality_by_feature": {"percentile_10": 0.21}} | MOSTLY_CAPPED)
    assert not caplog.text


def test_a_feature_that_decides_the_quality_alone_is_told(finished, caplog):
    weights = {"worst": [{}] * 5, "heaviest": {"feature": "summary/x", "share": 0.9}}
    evaluate._warn_of_one_feature(weights)
    assert "summary/x alone has 90 %" in caplog.text
    caplog.clear()
    evaluate._warn_of_one_feature(weights | {"heaviest": {"feature": "summary/x", "share": 0.4}})
    evaluate._warn_of_one_feature(weights | {"heaviest": None})
    assert not caplog.text


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
    assert evaluate.measure_model(model)["rows"]["measured_on"] == "test"
    with h5py.File(subset, "r+") as file:
        change(file)
    of_no_other = pytest.raises(SpinlockError, match="not the one that the model was trained with")
    with of_no_other:
        evaluate.measure_model(model)
    results = [tmp_path / name for name in ("metrics.json", "baselines.csv")]
    with of_no_other:
        evaluate.run(finished.config, model, subset, *results)
    with pytest.raises(SpinlockError, match=r"not the one that|of another dataset"):
        encode.run(model, [finished.dataset], tmp_path / "tokens.h5", subset=subset)
    assert not any(path.exists() for path in (*results, tmp_path / "tokens.h5"))
    (tmp_path / "subset.h5").unlink()
    with pytest.raises(SpinlockError, match=r"no subset\.h5"):
        evaluate.measure_model(model)


@pytest.mark.parametrize(("n_rows", "told"), [(29, True), (30, False)])
def test_metrics_of_few_rows_are_told(caplog, n_rows, told):
    evaluate._warn_of_few_rows(n_rows)
    assert (f"of {n_rows} rows: what differs" in caplog.text) is told


@pytest.mark.parametrize(
    ("by_level", "told"),
    [
        ({"coarse": 0.5, "medium": 0.44, "fine": 0.9}, ["medium, quality is 0.440, less than"]),
        ({"coarse": 0.5, "medium": 0.495, "fine": 0.9}, []),
        ({"coarse": None, "fine": 0.9}, []),
    ],
)
def test_levels_that_tell_less_than_those_before_are_told(caplog, by_level, told):
    evaluate._warn_of_falling_levels(by_level)
    assert [text for text in told if text in caplog.text] == told
    assert len(caplog.records) == len(told)
