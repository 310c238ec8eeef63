"""An experiment on operators that are simulated in a second, or on a dataset that is given."""

import h5py
import numpy as np
import pytest
import yaml

from spinlock.settings import load_experiment

DATASET = "{num_operators: 24, shard_size: 12, grid_size: 8, channels: 1, steps: 8, max_depth: 1}\n"
EXPERIMENT = {
    "dataset_path": "datasets/tiny.h5",
    "families": {"summary": {"encoder": "IdentityEncoder"}},
    "model": {"bits": 12, "group_hidden_dim": 4},
    "training": {"num_epochs": 1, "num_categories_auto": 2, "use_torch_compile": False},
}


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Give a function that reads an experiment on a dataset that can be simulated.

    What it changes of the training is added to what the others have.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/datasets").mkdir(parents=True)
    (tmp_path / "configs/datasets/tiny.yaml").write_text(DATASET)

    def read(**changes):
        training = {"training": EXPERIMENT["training"] | changes.get("training", {})}
        (tmp_path / "e.yaml").write_text(yaml.safe_dump(EXPERIMENT | changes | training))
        return load_experiment(tmp_path / "e.yaml")

    return read


@pytest.fixture
def write_given():
    """Give a function that writes a dataset of 30 operators of other programs."""

    def write(path):
        with h5py.File(path, "w") as file:
            file["features/summary/features"] = np.random.default_rng(0).normal(size=(30, 4))
            file["meta/kind"] = np.arange(30) % 3

    return write
