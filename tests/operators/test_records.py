"""Operators as rows of a dataset: the same row in whatever shard, with all that the layout has."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from spinlock.features.behaviour import describe_behaviour
from spinlock.operators.design import (
    ARCHITECTURE_NAMES,
    DesignSpace,
    operator_specs,
)
from spinlock.operators.design_points import design_points
from spinlock.operators.layouts import LABELS
from spinlock.operators.records import FAMILY_COLUMNS, operator_records
from spinlock.operators.simulation import SimulationPlan, simulate
from spinlock.settings.dataset import EvolutionPolicy, InitialCondition

PLAN = SimulationPlan(seed=5, grid=8, channels=2, steps=10, realizations=3, divergence_bound=1e4)
SPACE = DesignSpace(
    max_depth=4,
    max_width=8,
    policies=get_args(EvolutionPolicy),
    initial_conditions=get_args(InitialCondition),
)
COUNT = 40


@pytest.fixture(scope="module")
def records() -> dict[str, np.ndarray]:
    return operator_records(SPACE, PLAN, 0, COUNT)


def test_every_dataset_of_the_layout_is_there_with_its_shape_and_type(records):
    found = {name: (values.shape, values.dtype.kind) for name, values in records.items()}
    assert found == {
        "parameters/vectors": ((COUNT, 21), "f"),
        "features/architecture/aggregated/features": ((COUNT, 21), "f"),
        "features/initial/aggregated/features": ((COUNT, 42), "f"),
        "features/summary/aggregated/features": ((COUNT, 275), "f"),
        "features/summary/per_trajectory/features": ((COUNT, 3, 55), "f"),
        "features/temporal/features": ((COUNT, 10, 63), "f"),
        "inputs/fields": ((COUNT, 3, 2, 8, 8), "f"),
        "metadata/diverged": ((COUNT,), "u"),
        "metadata/evolution_policy": ((COUNT,), "U"),
        "metadata/initial_condition": ((COUNT,), "U"),
    }
    assert all(v.dtype == np.float32 for v in records.values() if v.dtype.kind == "f")


def test_labels_are_what_records_hold_beside_features_and_what_made_them(records):
    made = ("features/", "inputs/", "parameters/")
    assert {name for name in records if not name.startswith(made)} == set(LABELS)


def test_every_column_has_a_name(records):
    for family, names in FAMILY_COLUMNS.items():
        places = [f"features/{family}/aggregated/features", f"features/{family}/features"]
        values = next(records[place] for place in places if place in records)
        assert values.shape[-1] == len(names) == len(set(names))


@pytest.mark.parametrize(("first", "count"), [(0, 1), (7, 1), (39, 1), (13, 10), (20, 20)])
def test_a_row_has_the_same_bits_whatever_shard_it_is_in(records, first, count):
    shard = operator_records(SPACE, PLAN, first, count)
    assert shard.keys() == records.keys()
    for name, values in shard.items():
        expected = records[name][first : first + count]
        if values.dtype.kind == "U":  # as wide as the longest text of the shard
            assert values.tolist() == expected.tolist()
        else:
            assert values.tobytes() == expected.tobytes(), name


def test_rows_tell_the_operator_that_they_are_of(records):
    specs = list(operator_specs(SPACE, PLAN.seed, 0, COUNT))
    architecture = records["features/architecture/aggregated/features"]
    np.testing.assert_array_equal(architecture, [spec.architecture() for spec in specs])
    assert records["metadata/evolution_policy"].tolist() == [spec.policy for spec in specs]
    assert records["metadata/initial_condition"].tolist() == [s.initial_kind for s in specs]
    np.testing.assert_array_equal(
        records["parameters/vectors"], design_points(PLAN.seed, 0, COUNT).astype(np.float32)
    )
    assert len(ARCHITECTURE_NAMES) == architecture.shape[1]


def test_rows_describe_the_trajectories_of_their_operator(records):
    spec = next(operator_specs(SPACE, PLAN.seed, 11, 1))
    trajectories = simulate(spec, PLAN)
    behaviour = describe_behaviour(trajectories.initial, trajectories.states)
    assert not trajectories.diverged
    expected = {
        "inputs/fields": trajectories.initial,
        "features/initial/aggregated/features": behaviour.initial,
        "features/summary/aggregated/features": behaviour.summary,
        "features/summary/per_trajectory/features": behaviour.per_trajectory,
        "features/temporal/features": behaviour.temporal,
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(records[name][11], values)


def test_initial_features_never_have_gaps_and_behaviour_only_of_the_diverged(records):
    diverged = records["metadata/diverged"].astype(bool)
    assert np.isfinite(records["inputs/fields"]).all()
    assert np.isfinite(records["features/initial/aggregated/features"]).all()
    for place in ("summary/aggregated", "summary/per_trajectory", "temporal"):
        values = records[f"features/{place}/features"].reshape(COUNT, -1)
        np.testing.assert_array_equal(~np.isfinite(values).all(axis=1), diverged)


def test_a_tight_bound_flags_more_operators_and_nothing_else_changes(records):
    tight = operator_records(SPACE, replace(PLAN, divergence_bound=2.0), 0, COUNT)
    diverged = tight["metadata/diverged"].astype(bool)
    assert diverged.sum() > records["metadata/diverged"].sum()
    for name in records.keys() - {"metadata/diverged"}:
        np.testing.assert_array_equal(tight[name][~diverged], records[name][~diverged])


def test_operators_differ(records):
    summary = records["features/summary/aggregated/features"]
    assert len({row.tobytes() for row in summary}) == COUNT
