"""A plain operator that tests vary one property of."""

from collections.abc import Callable

import numpy as np
import pytest

from spinlock.operators.design import DesignSpace, OperatorSpec
from spinlock.operators.simulation import SimulationPlan, Trajectories, simulate


@pytest.fixture
def plain() -> OperatorSpec:
    """An operator without noise, damping, forcing, dropout or saturation."""
    return OperatorSpec(
        index=3,
        depth=1,
        width=4,
        kernel_size=3,
        activation="tanh",
        normalization=False,
        gain=1.0,
        bias_scale=0.2,
        dropout=0.0,
        noise_scale=0.0,
        policy="autoregressive",
        step_size=0.0,
        mixing_rate=0.0,
        kernel_decay=0.5,
        anisotropy=0.5,
        channel_coupling=0.5,
        damping=0.0,
        forcing=0.0,
        saturation=0.0,
        initial_kind="gaussian_field",
        initial_scale=0.2,
        initial_amplitude=1.0,
    )


@pytest.fixture
def space() -> DesignSpace:
    """All that a dataset's settings allow by default."""
    return DesignSpace(
        max_depth=4,
        max_width=8,
        policies=("autoregressive", "residual", "convex"),
        initial_conditions=("gaussian_field", "band_noise", "sinusoids", "blobs"),
    )


@pytest.fixture
def run() -> Callable[..., Trajectories]:
    """Return a function that simulates an operator on a small grid."""

    def simulate_small(spec: OperatorSpec, **changes: object) -> Trajectories:
        plan = {
            "seed": 7,
            "grid": 8,
            "channels": 2,
            "steps": 6,
            "realizations": 2,
            "divergence_bound": 1e4,
        }
        return simulate(spec, SimulationPlan(**(plan | changes)))

    return simulate_small


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
