"""The examples run on the results of a small experiment."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from spinlock.commands import train_vqvae
from spinlock.settings import load_experiment
from spinlock.stages import encode

ROOT = Path(__file__).parents[1]


@pytest.fixture
def results(tmp_path, monkeypatch, planted_features, write_dataset):
    """Give a dataset and the results of an experiment on it, tokens included."""
    features = planted_features(150)
    # one thing that operators are made of shows in two sides of how they behave
    features["architecture"][:, 0] = features["summary"][:, [0, 4]].sum(axis=1)
    dataset, config, made = write_dataset(features), tmp_path / "small.yaml", tmp_path / "made"
    config.write_text(
        f"dataset_path: {dataset}\nfamilies: {{architecture: {{encoder: IdentityEncoder}},\n"
        "  summary: {encoder: IdentityEncoder}}\nmodel: {bits: 30, group_hidden_dim: 4}\n"
        "training: {num_epochs: 1, batch_size: 64, num_categories_auto: 6, max_clusters: 6,\n"
        "  min_features_per_category: 1, use_torch_compile: false}\nlogging: {verbose: false}\n"
    )
    monkeypatch.chdir(tmp_path)
    model = train_vqvae.run(load_experiment(config), made, None)
    encode.run(model, [dataset], made / "tokens.h5", subset=made / "subset.h5")
    return dataset, made


def run(name, *arguments):
    done = started(name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def started(name, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["token_language_model.py", "probe_architecture.py"])
def test_an_example_without_its_files_says_what_makes_them(name, tmp_path):
    done = started(name, tmp_path / "gone.h5")
    assert done.returncode == 2
    assert "is not there; `make all` makes" in done.stderr
    assert "Traceback" not in done.stderr


def test_tokens_without_a_split_are_told_where_there_are_some(tmp_path):
    with h5py.File(tmp_path / "tokens.h5", "w") as file:
        file["tokens"], file["split"] = np.zeros((4, 2, 3), np.uint8), np.full(4, -1)
        file["vocabulary/offsets"] = 3 + np.arange(6).reshape(2, 3)
        file.attrs["vocabulary_size"] = 9
    done = started("token_language_model.py", tmp_path / "tokens.h5")
    assert done.returncode == 2
    assert "does not tell train, validation and test rows" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dataset_without_the_family_is_told(results, write_dataset, planted_features):
    _, made = results
    dataset = write_dataset({"summary": planted_features(150)["summary"]}, name="other.h5")
    done = started("probe_architecture.py", dataset, "--results", made)
    assert done.returncode == 2
    assert "the dataset has no family architecture" in done.stderr
    assert "Traceback" not in done.stderr


def test_tokens_without_a_split_are_told_to_the_probe(results):
    dataset, made = results
    with h5py.File(made / "tokens.h5", "a") as file:
        file["split"][:] = -1
    done = started("probe_architecture.py", dataset, "--results", made)
    assert done.returncode == 2
    assert "does not tell train and test rows" in done.stderr


def test_both_examples_run_and_compare_with_what_they_should(results):
    dataset, made = results
    last = run("token_language_model.py", made / "tokens.h5", "--quick")[-1].split()
    nominal, unigram, transformer = (
        float(last[last.index(name) + 1].rstrip(","))
        for name in ("nominal", "unigram", "transformer")
    )
    assert 0 < transformer < unigram + 0.5
    assert unigram < nominal + 1
    shown = run("probe_architecture.py", dataset, "--results", made)
    assert "hold behaviour alone" in shown[0]
    quality = {line.split()[0]: [float(one) for one in line.split()[1:]] for line in shown[2:]}
    assert len(quality) == 5
    best = max(quality, key=lambda name: quality[name][0])
    assert quality[best][1] > 0.9
    others = [from_tokens for name, (from_tokens, _) in quality.items() if name != best]
    assert quality[best][0] > np.max(others)
