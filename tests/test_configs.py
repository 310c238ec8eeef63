"""Every configuration in the repository is valid and says what its name promises."""

import json
from pathlib import Path

import pytest

from spinlock.commands.preconditions import describe_data
from spinlock.features.behaviour import SUMMARY_NAMES
from spinlock.settings import load_dataset_settings, load_experiment
from spinlock.settings.documentation import default_yaml

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "configs/vqvae"
NAMED_BY_THE_SEED = (
    "default", "summary_1k", "summary_1k_auto", "validation/1k_initial_only",
    "validation/1k_architecture_only", "validation/1k_summary_only", "validation/1k_arch_summary",
    "validation/1k_arch_summary_highgpu", "production/10k_arch_summary_400epochs", "arch_summary",
)  # fmt: skip
ALL = sorted(str(p.relative_to(EXPERIMENTS).with_suffix("")) for p in EXPERIMENTS.rglob("*.yaml"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_file_that_the_seed_names_is_there():
    assert set(NAMED_BY_THE_SEED) <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_experiment_is_valid_and_its_data_can_be_had(name):
    experiment = load_experiment(EXPERIMENTS / f"{name}.yaml")
    assert describe_data(experiment)["rows"] > 0


@pytest.mark.parametrize("path", sorted((ROOT / "configs/datasets").glob("*.yaml")), ids=str)
def test_every_dataset_is_valid(path):
    assert load_dataset_settings(path).num_operators > 0


def test_baselines_differ_in_nothing_but_their_number():
    settings = [
        load_dataset_settings(path).model_dump(exclude={"num_operators", "shard_size"})
        for path in sorted((ROOT / "configs/datasets").glob("baseline_*.yaml"))
    ]
    assert settings[1:] == settings[:-1]


def test_the_template_is_what_the_settings_generate():
    assert (EXPERIMENTS / "default.yaml").read_text() == default_yaml(), "run `make docs`"


def test_highgpu_is_eight_times_the_batch_and_four_times_the_model():
    base = load_experiment(EXPERIMENTS / "validation/1k_arch_summary.yaml")
    high = load_experiment(EXPERIMENTS / "validation/1k_arch_summary_highgpu.yaml")
    assert high.training.batch_size == 8 * base.training.batch_size
    assert high.model.group_embedding_dim == 4 * base.model.group_embedding_dim
    assert high.model.group_hidden_dim == 4 * base.model.group_hidden_dim


def test_the_manual_mapping_names_every_summary_feature_once():
    mapping = json.loads((EXPERIMENTS / "mappings/summary_by_subject.json").read_text())
    assert sorted(name for names in mapping.values() for name in names) == sorted(SUMMARY_NAMES)
