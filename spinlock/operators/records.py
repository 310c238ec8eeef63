"""Operators as rows of a dataset: simulated, described and labelled."""

import numpy as np

from spinlock.features.behaviour import (
    INITIAL_NAMES,
    SUMMARY_NAMES,
    TEMPORAL_NAMES,
    TRAJECTORY_NAMES,
    describe_behaviour,
)
from spinlock.operators.design import (
    ARCHITECTURE_NAMES,
    DesignSpace,
    OperatorSpec,
    operator_specs,
)
from spinlock.operators.design_points import design_points
from spinlock.operators.simulation import SimulationPlan, simulate

FAMILY_COLUMNS = {
    "architecture": ARCHITECTURE_NAMES,
    "initial": INITIAL_NAMES,
    "summary": SUMMARY_NAMES,
    "temporal": TEMPORAL_NAMES,
}
TRAJECTORY_COLUMNS = {"summary/per_trajectory": TRAJECTORY_NAMES}  # beside them, no family


def operator_records(
    space: DesignSpace, plan: SimulationPlan, first: int, count: int
) -> dict[str, np.ndarray]:
    """Return the datasets [count, ...] of operators first..first+count, by their place in HDF5."""
    rows = [_record(spec, plan) for spec in operator_specs(space, plan.seed, first, count)]
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    points = design_points(plan.seed, first, count).astype(np.float32)
    return {"parameters/vectors": points} | stacked


def _record(spec: OperatorSpec, plan: SimulationPlan) -> dict[str, np.ndarray]:
    trajectories = simulate(spec, plan)
    behaviour = describe_behaviour(trajectories.initial, trajectories.states)
    return {
        "features/architecture/aggregated/features": spec.architecture(),
        "features/initial/aggregated/features": behaviour.initial,
        "features/summary/aggregated/features": behaviour.summary,
        "features/summary/per_trajectory/features": behaviour.per_trajectory,
        "features/temporal/features": behaviour.temporal,
        "inputs/fields": trajectories.initial,
        "metadata/diverged": np.array(trajectories.diverged, np.uint8),
        "metadata/evolution_policy": np.array(spec.policy),
        "metadata/initial_condition": np.array(spec.initial_kind),
    }
