"""A model measured on its test rows again, or on another dataset."""

import json
import shutil

import h5py
import numpy as np
import pytest

from spinlock.analysis import comparison
from spinlock.analysis.comparison import baselines_of
from spinlock.analysis.rows import RowsOfSplit
from spinlock.commands import evaluate
from spinlock.errors import SpinlockError
from spinlock.features.dataset import open_dataset
from spinlock.features.split import TEST, TRAIN
from spinlock.features.table import FeatureTable
from spinlock.files import file_digest
from spinlock.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def metrics(finished):
    return json.loads(finished.path("metrics.json").read_text(), parse_constant=pytest.fail)


def test_a_model_is_measured_again_as_its_stage_measured_it(finished, metrics):
    measured = evaluate.run(finished.path("best_model.pt"))
    rows = {key: n for key, n in metrics["rows"].items() if key != "baselines_of"}
    assert measured == metrics | {"baselines": {}, "probe": None, "rows": rows}
    assert metrics["model_digest"] == file_digest(finished.path("best_model.pt"))
    measured = evaluate.run(finished.path("best_model.pt"), baselines=True)
    assert measured == metrics | {"probe": None}


def test_all_rows_of_a_dataset_are_measured(finished, caplog):
    measured = evaluate.run(finished.path("best_model.pt"), [finished.dataset])
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
        evaluate.run(model, [other], baselines=True)
    shutil.copy(finished.path("subset.h5"), tmp_path)
    found = evaluate.run(model, [other], baselines=True)["baselines"]
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
    rows = evaluate.run(model, [larger])["rows"]
    assert rows["seen_in_training"] == (seen < 60).sum()
    assert expected in caplog.text
    caplog.clear()
    with h5py.File(larger, "r+") as other:
        other["features/summary/aggregated/features"][:60] += 0.1
    assert evaluate.run(model, [larger])["rows"]["seen_in_training"] == 0
    (tmp_path / "subset.h5").write_bytes(b"damaged")
    assert evaluate.run(model, [larger])["rows"]["seen_in_training"] is None
    assert not caplog.text


def test_a_dataset_in_other_units_is_told_and_nothing_is_said_of_tails(finished, tmp_path, caplog):
    with h5py.File(finished.dataset) as file, h5py.File(tmp_path / "other.h5", "w") as other:
        for name in ("features/summary/aggregated/features", "features/temporal/features"):
            other[name] = 1000 * file[name][:]
    evaluate.run(finished.path("best_model.pt"), [tmp_path / "other.h5"])
    assert "are its units, as theirs?" in caplog.text
    assert "outliers: log" not in caplog.text
    caplog.clear()
    evaluate.run(finished.path("best_model.pt"), [finished.dataset])
    assert "are its units" not in caplog.text


def test_baselines_are_fitted_to_what_memory_allows(finished, monkeypatch):
    model = finished.path("best_model.pt")
    monkeypatch.setattr(comparison, "rows_within", lambda *_: 40)
    for dataset in ((), [finished.dataset]):
        measured = evaluate.run(model, dataset, baselines=True)
        assert measured["rows"]["baselines_of"] == 40
    assert "baselines_of" not in evaluate.run(model)["rows"]
