"""Whether a result folder still holds what its model was made from."""

import json
import shutil

import h5py
import numpy as np
import pytest
import yaml

from spinlock.commands import verify
from spinlock.errors import SpinlockError
from spinlock.tokenizer.checkpoint import Checkpoint


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished.out, tmp_path / "copy")


def test_an_untouched_folder_is_the_same(copy):
    assert verify.run(copy) == dict.fromkeys(
        ("settings", "code", "dataset", "data", "tokens", "metrics"), verify.SAME
    )


CHANGES = [
    {"max_samples": 20}, {"normalization_method": "mad"}, {"training": {"max_clusters": 7}},
    {"training": {"num_epochs": 300}}, {"split": {"column": "metadata/kind"}},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_a_model_depends_on_counts_as_its_settings(
    copy, finished, tmp_path, monkeypatch, change
):
    monkeypatch.chdir(tmp_path)
    results = shutil.copytree(copy, tmp_path / "results/one")
    config = tmp_path / "configs/vqvae/one.yaml"
    config.parent.mkdir(parents=True)
    settings = yaml.safe_load(finished.config.read_text())
    for key, value in change.items():
        inner = isinstance(value, dict)
        settings[key] = settings.get(key, {}) | value if inner else value
    config.write_text(yaml.safe_dump(settings))
    assert verify.run(results)["settings"] == verify.DIFFERS


@pytest.mark.parametrize("name", ["one", "sub/lr0.01"])
def test_settings_are_those_of_the_experiment_as_it_is_configured(
    copy, finished, tmp_path, monkeypatch, caplog, name
):
    monkeypatch.chdir(tmp_path)
    results = shutil.copytree(copy, tmp_path / "results" / name)
    assert verify.run(results)["settings"] == verify.SAME  # there is no configuration
    config = tmp_path / f"configs/vqvae/{name}.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(finished.config.read_text())
    assert verify.run(results)["settings"] == verify.SAME
    settings = yaml.safe_load(finished.config.read_text())
    settings["model"]["commitment_cost"] = 0.75
    config.write_text(yaml.safe_dump(settings))
    assert verify.run(results)["settings"] == verify.DIFFERS
    assert "not trained with: model.commitment_cost" in caplog.text
    assert verify.run(copy)["settings"] == verify.SAME


def test_changed_data_and_tokens_of_another_model_differ(copy):
    (copy / "categories.json").write_text("{}")
    assert verify.run(copy)["data"] == verify.DIFFERS
    content = (copy / "best_model.pt").read_bytes()
    (copy / "best_model.pt").write_bytes(content + b"\0")
    assert verify.run(copy)["tokens"] == verify.run(copy)["metrics"] == verify.DIFFERS


@pytest.mark.parametrize(
    "of", [{"dataset_digest": "0" * 64}, {"rows": {"measured_on": "all", "pairs_of": 2}}]
)
def test_metrics_of_other_rows_differ(copy, of):
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps(metrics | of))
    assert verify.run(copy)["metrics"] == verify.DIFFERS


def test_what_a_model_does_not_record_is_said(copy):
    model = copy / "best_model.pt"
    checkpoint = Checkpoint.load(model)
    checkpoint.provenance = {}
    checkpoint.save(model)
    metrics = json.loads((copy / "metrics.json").read_text())
    del metrics["model_digest"]
    (copy / "metrics.json").write_text(json.dumps(metrics))
    states = verify.run(copy)
    assert states.pop("tokens") == verify.DIFFERS  # of the model before
    assert set(states.values()) == {verify.UNKNOWN}


def test_what_is_not_there_is_said(copy):
    (copy / "tokens.h5").unlink()
    (copy / "subset.h5").unlink()
    (copy / "metrics.json").unlink()
    assert verify.run(copy) == {
        "settings": verify.SAME, "code": verify.SAME, "dataset": verify.SAME,
        "data": verify.MISSING, "tokens": verify.MISSING, "metrics": verify.MISSING,
    }  # fmt: skip


def test_a_dataset_that_is_gone_or_another_is_said(copy, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "dataset_files", lambda _: [tmp_path / "gone.h5"])
    assert verify.run(copy)["dataset"] == verify.MISSING
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features/summary/features"] = np.zeros((5, 2))
    monkeypatch.setattr(verify, "dataset_files", lambda _: [tmp_path / "other.h5"])
    assert verify.run(copy)["dataset"] == verify.DIFFERS

    def none(_):
        raise SpinlockError("there is no such dataset")

    monkeypatch.setattr(verify, "dataset_files", none)
    assert verify.run(copy)["dataset"] == verify.MISSING


def test_wall_times_are_those_of_the_benchmarks(copy):
    (copy / "benchmarks").mkdir()
    (copy / "benchmarks/train.tsv").write_text("s\th:m:s\n12.5\t0:00:12\n")
    for name, text in (("a", ""), ("b", "s\th:m:s"), ("c", "h:m:s\n0\n"), ("d", "a\ts\n1\n")):
        (copy / f"benchmarks/{name}.tsv").write_text(text)
    assert verify.wall_times(copy) == {"train": 12.5}


def test_the_file_of_a_model_is_told_where_its_folder_is(copy):
    with pytest.raises(SpinlockError, match="no result folder") as caught:
        verify.run(copy / "best_model.pt")
    assert caught.value.remedy == f"give the folder: {copy}"
