"""Reading settings: what is accepted, what an override does, and the way back to YAML."""

import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from spinlock.errors import SpinlockError
from spinlock.settings import (
    Experiment,
    OperatorDatasetSettings,
    load_dataset_settings,
    load_experiment,
    to_yaml,
)

# the example of the public format, word for word
SEED_EXAMPLE = """\
# Dataset
dataset_path: "datasets/baseline_10k.h5"
max_samples: null  # Optional: limit dataset size

# Feature Families
families:
  summary:
    encoder: MLPEncoder
    encoder_params:
      hidden_dims: [256, 128]
      output_dim: 64
      dropout: 0.1
      activation: "relu"
      batch_norm: true

  architecture:
    encoder: MLPEncoder
    encoder_params:
      hidden_dims: [128, 64]
      output_dim: 64
      dropout: 0.1
      activation: "relu"
      batch_norm: true

# VQ-VAE Architecture
model:
  group_embedding_dim: 64
  group_hidden_dim: 128
  levels: []  # Empty for auto-scaling
  commitment_cost: 0.25
  use_ema: true
  decay: 0.99
  dropout: 0.1
  orthogonality_weight: 0.1
  informativeness_weight: 0.1

# Training
training:
  batch_size: 512
  learning_rate: 0.001
  num_epochs: 500
  optimizer: "adam"
  scheduler: null
  warmup_epochs: 0

  # Category discovery
  category_assignment: "auto"
  num_categories_auto: null
  orthogonality_target: 0.15
  min_features_per_category: 3
  max_clusters: 25

  # Loss weights
  reconstruction_weight: 1.0
  vq_weight: 1.0
  orthogonality_weight: 0.1
  informativeness_weight: 0.1
  topo_weight: 0.3
  topo_samples: 512

  # Checkpointing
  checkpoint_dir: "checkpoints/vqvae"
  save_every: null

  # Callbacks
  early_stopping_patience: 100
  early_stopping_min_delta: 0.001
  dead_code_reset_interval: 100
  dead_code_threshold: 10.0
  dead_code_max_reset_fraction: 0.25

  # Validation
  val_every_n_epochs: 5

  # Performance
  use_torch_compile: true

# Logging
logging:
  wandb: false
  log_interval: 100
  eval_interval: 500
  verbose: true

# Random seed
random_seed: 42
"""
SMALLEST = {"dataset_path": "data.h5", "families": {"summary": {}}}


def leaves(values: object, path: tuple = ()) -> dict[tuple, object]:
    """Return every value inside mappings, by its path."""
    if not isinstance(values, dict):
        return {path: values}
    inner = [leaves(one, (*path, key)) for key, one in values.items()]
    return {place: value for part in inner for place, value in part.items()}


def reversed_keys(values: object) -> object:
    if not isinstance(values, dict):
        return values
    return {key: reversed_keys(one) for key, one in reversed(values.items())}


def test_every_key_of_the_seeds_example_has_the_value_that_it_says(write):
    resolved = leaves(load_experiment(write(SEED_EXAMPLE)).model_dump(mode="json"))
    said = leaves(yaml.safe_load(SEED_EXAMPLE))
    assert len(said) == 54
    assert {path: resolved.get(path, "absent") for path in said} == said


def test_defaults_are_those_of_the_seeds_example(write):
    example = yaml.safe_load(SEED_EXAMPLE)
    smallest = {key: example[key] for key in ("dataset_path", "families")}
    # three by default too, but not where that leaves bits unused
    smallest["training"] = {"min_features_per_category": 3}
    assert load_experiment(write(yaml.safe_dump(smallest))) == load_experiment(write(SEED_EXAMPLE))


@pytest.mark.parametrize("text", [SEED_EXAMPLE, yaml.safe_dump(SMALLEST)])
def test_settings_come_back_from_their_yaml(write, text):
    experiment = load_experiment(write(text))
    assert load_experiment(write(to_yaml(experiment))) == experiment
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


NO_LINE_BREAKS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
TEXT = st.text(NO_LINE_BREAKS, min_size=1, max_size=12) | st.sampled_from(
    ["1e3", "1.5e5", "null", "yes", "1:30", "2024-01-01", "0x1f", "~", "a: b", "'", "- a", "é ✓"]
)
NUMBER = st.floats(1e-12, 1e12)


@settings(deadline=None, max_examples=80)
@given(
    st.dictionaries(TEXT, st.just({"encoder": "IdentityEncoder"}), min_size=1, max_size=3),
    TEXT,
    st.none() | TEXT,
    NUMBER,
    NUMBER,
    st.dictionaries(TEXT, st.just([{"num_tokens": 8}, {}]), min_size=1, max_size=3),
)
def test_any_text_and_any_number_come_back_from_yaml(
    tmp_path_factory, families, dataset_path, group, rate, bound, levels
):
    experiment = Experiment.model_validate(
        {
            "dataset_path": dataset_path,
            "families": families,
            "split": {"group_by": group},
            "model": {"levels": levels},
            "training": {"learning_rate": rate},
            "feature_cleaning": {"outlier_bound": bound},
        }
    )
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_bytes(to_yaml(experiment).encode())
    assert load_experiment(path) == experiment


@pytest.mark.parametrize("text", ["1e-3", "1.e-3", "0.1e-2", ".1E-2", "+1e-03", "0.001", "1.0e-3"])
def test_a_number_may_be_written_in_any_usual_way(load, text):
    assert load(f"training: {{learning_rate: {text}}}\n").training.learning_rate == 0.001


def test_a_whole_number_may_stand_for_a_fraction(load):
    assert load(training={"learning_rate": 1}).training.learning_rate == 1.0


def test_a_mark_of_byte_order_is_no_part_of_the_first_key(write):
    assert load_experiment(write(b"\xef\xbb\xbf" + SEED_EXAMPLE.encode())).random_seed == 42


def test_windows_line_ends_change_nothing(write):
    windows = load_experiment(write(SEED_EXAMPLE.replace("\n", "\r\n")))
    assert windows == load_experiment(write(SEED_EXAMPLE))


def test_the_order_of_keys_changes_nothing(write):
    backward = reversed_keys(yaml.safe_load(SEED_EXAMPLE))
    changed = load_experiment(write(yaml.safe_dump(backward, sort_keys=False)))
    original = load_experiment(write(SEED_EXAMPLE))
    assert changed == original
    assert to_yaml(changed) == to_yaml(original)
    assert list(changed.families) == list(original.families) == ["architecture", "summary"]


def test_settings_do_not_change_once_read(load):
    with pytest.raises(ValidationError, match="frozen"):
        load().random_seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        load().training.num_epochs = 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.num_epochs", 7),
        ("training.learning_rate", 0.5),
        ("device", "cpu"),
        ("model.levels", [{"latent_dim": 2, "num_tokens": 4}]),
        ("split.val_fraction", 0.25),
        ("families.summary.encoder_params.output_dim", 5),
    ],
)
def test_an_override_changes_its_key_alone(write, key, value):
    path = write(SEED_EXAMPLE)
    before = leaves(load_experiment(path).model_dump(mode="json"))
    after = leaves(load_experiment(path, {key: value}).model_dump(mode="json"))
    assert {place for place in before if before[place] != after[place]} == {tuple(key.split("."))}
    assert after[tuple(key.split("."))] == value


def test_an_override_makes_the_section_that_the_file_leaves_out_or_empty(write):
    path = write(yaml.safe_dump(SMALLEST) + "training:\n")
    changed = load_experiment(path, {"training.num_epochs": 7, "model.bits": 9})
    assert (changed.training.num_epochs, changed.model.bits) == (7, 9)


@pytest.mark.parametrize(
    ("key", "value"),
    [("training.epochs", 3), ("training.num_epochs", -1), ("trainin.num_epochs", 3), ("x", None)],
)
def test_a_wrong_override_is_told_with_its_key(write, key, value):
    path = write(SEED_EXAMPLE)
    with pytest.raises(SpinlockError) as caught:
        load_experiment(path, {key: value})
    assert key.split(".")[0] in str(caught.value)
    assert str(path) in str(caught.value.where)
    if key == "training.num_epochs":
        assert "the command line" in caught.value.where


def test_what_is_wrong_in_the_file_is_told_of_the_file_beside_an_override_too(write):
    path = write("nonsense: 3\n" + SEED_EXAMPLE)
    with pytest.raises(SpinlockError) as caught:
        load_experiment(path, {"training.num_epochs": -1})
    assert caught.value.where == path


def test_an_override_of_a_shared_weight_wins_over_both_sections(write):
    changed = load_experiment(write(SEED_EXAMPLE), {"training.orthogonality_weight": 0.7})
    assert changed.model.orthogonality_weight == changed.training.orthogonality_weight == 0.7


def test_dataset_settings_come_back_from_their_yaml(write):
    made = OperatorDatasetSettings(num_operators=10, divergence_bound=1e20)
    assert load_dataset_settings(write(to_yaml(made))) == made


def test_reading_settings_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'scipy', 'sklearn', 'pandas', 'h5py', 'matplotlib'}"
    code = f"import sys, spinlock.settings; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_an_override_does_not_hide_a_section_of_a_wrong_kind(write):
    path = write(yaml.safe_dump(SMALLEST | {"training": 5}))
    with pytest.raises(SpinlockError, match="training"):
        load_experiment(path, {"training.num_epochs": 3})
