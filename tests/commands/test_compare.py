"""Metrics side by side, and whether they are of the models beside them."""

import json
import shutil

import pytest

from spinlock.analysis.baselines import REFERENCE
from spinlock.commands import compare, evaluate
from spinlock.errors import SpinlockError
from spinlock.files import write_json
from spinlock.results.evaluation_files import read_metrics


def test_metrics_of_the_model_beside_them_are_shown(finished, caplog):
    table = compare.run([finished.out, finished.path("metrics.json")])
    one, other = table.values()
    assert one == other
    assert one["rows"] > 0
    assert one["measured on"] == "test"
    assert not caplog.text


def test_metrics_without_baselines_are_shown_beside_others(finished, tmp_path, caplog):
    written = tmp_path / "metrics.json"
    write_json(written, evaluate.run(finished.path("best_model.pt")))
    shutil.copy(finished.path("best_model.pt"), tmp_path)
    ours, whole = compare.run([written, finished.out]).values()
    assert ours == whole | {"best baseline": None}
    assert not caplog.text


def test_rows_that_training_saw_are_told(finished, tmp_path):
    model, path = finished.path("best_model.pt"), tmp_path / "metrics.json"
    write_json(path, measured := evaluate.run(model, [finished.dataset]))
    seen = measured["rows"]["seen_in_training"]
    assert compare.run([path])[str(path)]["measured on"] == f"all, {seen} seen in training"


def test_metrics_of_different_values_are_told(finished, tmp_path, caplog):
    metrics = read_metrics(finished.path("metrics.json"))
    metrics["values_digest"] = "another"
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    compare.run([finished.out, tmp_path])
    assert "different values" in caplog.text
    assert "do not compare" in caplog.text


def test_metrics_of_another_version_are_told(finished, tmp_path):
    metrics = read_metrics(finished.path("metrics.json"))
    del metrics["values_digest"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(SpinlockError, match="'values_digest' is missing") as caught:
        compare.run([tmp_path])
    assert "again" in caught.value.remedy


def test_metrics_that_hold_another_kind_of_value_are_told(finished, tmp_path):
    metrics = read_metrics(finished.path("metrics.json")) | {"quality_before_caps": None}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(SpinlockError, match=r"of this version \('NoneType' .* subscriptable\)"):
        compare.run([tmp_path])


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SpinlockError, match="no such folder") as caught:
        compare.run([tmp_path / "none" / "metrics.json"])
    assert caught.value.where == tmp_path / "none"


def test_the_best_baseline_is_the_one_of_the_highest_quality_that_can_be_built(finished, tmp_path):
    metrics = read_metrics(finished.path("metrics.json"))
    qualities = {"a": 0.4, "b": 0.7, "c": None, "d": 0.5, REFERENCE: 0.9}
    metrics["baselines"] = {
        method: {"bits": 24, "quality": quality} for method, quality in qualities.items()
    }
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics))
    assert compare.run([path])[str(path)]["best baseline"] == 0.7


def test_metrics_of_an_earlier_model_are_told(finished, tmp_path, caplog):
    shutil.copy(finished.path("metrics.json"), tmp_path)
    compare.run([tmp_path])
    assert not caplog.text  # there is no model to compare with
    content = finished.path("best_model.pt").read_bytes()
    (tmp_path / "best_model.pt").write_bytes(content + b"\0")
    compare.run([tmp_path])
    assert "the model beside it is another one" in caplog.text


def test_metrics_that_do_not_record_their_model_are_told(finished, tmp_path, caplog):
    metrics = read_metrics(finished.path("metrics.json"))
    del metrics["model_digest"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    shutil.copy(finished.path("best_model.pt"), tmp_path)
    compare.run([tmp_path])
    assert "does not record of what model" in caplog.text


def test_what_holds_no_metrics_is_told(tmp_path):
    with pytest.raises(SpinlockError, match="not a file of metrics") as caught:
        compare.run([tmp_path])
    command = f"spinlock evaluate --model {tmp_path}/best_model.pt --output {tmp_path}/metrics.json"
    assert f"`{command}`" in caught.value.remedy
