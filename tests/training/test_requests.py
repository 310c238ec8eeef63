"""What the settings ask of model and training."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from spinlock.errors import SpinlockError
from spinlock.features.series import coefficient_names
from spinlock.features.table import Column, FeatureTable, Series, TableHeader, TableWriter
from spinlock.settings import Experiment
from spinlock.training.requests import (
    explicit_levels,
    model_request,
    training_plan,
)


def experiment(**sections) -> Experiment:
    described = {
        "dataset_path": "none.h5",
        "families": {
            "summary": {"encoder": "MLPEncoder"},
            "temporal": {"encoder": "TemporalCNNEncoder"},
        },
    }
    return Experiment.model_validate(described | sections)


def test_the_plan_has_the_values_of_the_settings():
    training = {
        "num_epochs": 7,
        "batch_size": 33,
        "learning_rate": 0.02,
        "optimizer": "sgd",
        "scheduler": "step",
        "warmup_epochs": 3,
        "input_noise": 0.4,
        "reconstruction_weight": 1.5,
        "vq_weight": 2.5,
        "orthogonality_weight": 3.5,
        "informativeness_weight": 4.5,
        "topo_weight": 5.5,
        "topo_samples": 66,
        "early_stopping_patience": 8,
        "early_stopping_min_delta": 0.3,
        "dead_code_reset_interval": 9,
        "dead_code_threshold": 2.5,
        "dead_code_max_reset_fraction": 0.125,
        "val_every_n_epochs": 4,
        "use_torch_compile": False,
    }
    plan = training_plan(
        experiment(
            training=training,
            model={"commitment_cost": 0.75},
            logging={"log_interval": 11, "eval_interval": None},
            random_seed=12,
        )
    )
    renamed = {"use_torch_compile": "compile"}
    for key in training.keys() - {key for key in training if "weight" in key or "topo" in key}:
        assert getattr(plan, renamed.get(key, key)) == training[key], key
    weights = plan.weights
    assert (weights.reconstruction, weights.vq, weights.orthogonality) == (1.5, 2.5, 3.5)
    assert (weights.informativeness, weights.topographic) == (4.5, 5.5)
    assert (weights.commitment_cost, weights.topo_samples) == (0.75, 66)
    assert (plan.seed, plan.log_interval, plan.eval_interval) == (12, 11, None)


def test_a_batch_of_one_row_is_refused_when_the_settings_are_read():
    with pytest.raises(ValidationError, match="batch_size"):
        experiment(training={"batch_size": 1})


def test_without_levels_their_sizes_are_automatic():
    assert explicit_levels(experiment(), ["a", "b"]) is None


def test_one_list_of_levels_is_that_of_every_category():
    levels = [{"num_tokens": 8}, {"latent_dim": 2}]
    expected = [(None, 8), (2, None)]
    assert explicit_levels(experiment(model={"levels": levels}), ["a", "b"]) == [expected] * 2


def test_levels_by_category_are_taken_in_the_order_of_the_categories():
    levels = {"b": [{"num_tokens": 2}], "a": [{"num_tokens": 8}]}
    found = explicit_levels(experiment(model={"levels": levels}), ["a", "b"])
    assert found == [[(None, 8)], [(None, 2)]]


def test_levels_of_other_categories_are_an_error_that_names_them():
    levels = {"a": [{"num_tokens": 2}], "typo": [{"num_tokens": 8}]}
    with pytest.raises(SpinlockError) as caught:
        explicit_levels(experiment(model={"levels": levels}), ["a", "b"])
    assert "typo" in caught.value.problem
    assert "'b'" in caught.value.problem


def test_levels_of_a_mapped_category_that_cleaning_emptied_are_passed_over(tmp_path):
    mapping = tmp_path / "map.json"
    mapping.write_text('{"a": [0], "b": [1], "gone": [2]}')
    training = {"category_assignment": "manual", "category_mapping_file": str(mapping)}
    levels = {name: [{"num_tokens": 2}] for name in ("a", "b", "gone")}
    asked = experiment(model={"levels": levels}, training=training)
    assert explicit_levels(asked, ["a", "b"]) == [[(None, 2)]] * 2
    with pytest.raises(SpinlockError, match="leaves out \\['c'\\]"):
        explicit_levels(asked, ["a", "b", "c"])


@pytest.fixture
def table(tmp_path: Path):
    """Two columns of a summary, then a series of two channels with three coefficients each."""
    names = coefficient_names(["mean", "energy"], 3)
    columns = [Column("summary", "s0"), Column("summary", "s1")]
    columns += [Column("temporal", name) for name in names]
    header = TableHeader(columns, "digest", {"temporal": Series(20, 3, ["mean", "energy"])})
    path = tmp_path / "subset.h5"
    with h5py.File(path, "w") as file:
        TableWriter(file, header, np.arange(4), np.zeros(4, np.int8), np.dtype(np.float32))
    with FeatureTable(path) as opened:
        yield opened


def keeping(kept, caps=None):
    """Statistics that keep some columns, with caps if these are given."""
    return SimpleNamespace(
        kept=kept, normalized_caps=np.zeros((2, len(kept))) if caps is None else caps
    )


def test_the_model_has_the_columns_and_encoders_of_table_and_settings(table):
    kept = np.array([1, 2, 4, 5, 7])
    partition = {"x": np.array([0, 2]), "y": np.array([1, 3, 4])}
    asked = experiment(
        model={
            "group_embedding_dim": 5,
            "group_hidden_dim": 6,
            "dropout": 0.25,
            "decay": 0.5,
            "use_ema": False,
            "beam_width": 3,
            "bits": 40,
            "max_tokens": 16,
            "target_quality": 0.5,
            "levels": [{"num_tokens": 4}],
        }
    )
    request = model_request(asked, table, keeping(kept), partition)
    shape, books = request.shape, request.books
    assert shape.partition == [[0, 2], [1, 3, 4]]
    assert shape.column_family == ["summary"] + ["temporal"] * 4
    assert {name: one["encoder"] for name, one in shape.encoders.items()} == {
        "summary": "MLPEncoder",
        "temporal": "TemporalCNNEncoder",
    }
    assert shape.encoders["summary"]["encoder_params"]["hidden_dims"] == [256, 128]
    assert (shape.embedding_dim, shape.hidden_dim, shape.dropout) == (
        5,
        6,
        0.25,
    )
    assert (shape.decay, shape.use_ema, shape.beam_width) == (0.5, False, 3)
    assert (books.bits, books.max_tokens, books.target_quality) == (40, 16, 0.5)
    assert books.explicit == [[(None, 4)]] * 2


def test_the_caps_of_cleaning_are_part_of_the_request(table):
    kept, partition = np.array([1, 2]), {"x": np.arange(2)}
    caps = np.array([[-5.0, -np.inf], [5.0, np.inf]], np.float32)
    request = model_request(experiment(), table, keeping(kept, caps), partition)
    assert request.caps.tolist() == caps.tolist()


@pytest.mark.parametrize("channels", [None, 3])
def test_the_channels_of_the_fields_are_those_of_the_table(table, monkeypatch, channels):
    fields = None if channels is None else np.zeros((1, channels, 4, 4), np.float32)
    monkeypatch.setattr(table, "fields", lambda _: fields)
    request = model_request(experiment(), table, keeping(np.arange(8)), {"x": np.arange(8)})
    assert request.shape.field_channels == channels


def test_kept_columns_of_a_series_know_their_channel_and_coefficient(table):
    kept = np.array([1, 2, 4, 5, 7])
    request = model_request(experiment(), table, keeping(kept), {"x": np.arange(5)})
    series = request.shape.series["temporal"]
    assert series["steps"] == 20
    assert series["channel"][1:] == [0, 0, 1, 1]
    assert series["coefficient"][1:] == [0, 2, 0, 2]
