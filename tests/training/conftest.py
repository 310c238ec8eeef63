"""How the models of these tests are trained."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from spinlock.training.loop import TrainingPlan
from spinlock.training.objective import LossWeights

PLAN = TrainingPlan(
    num_epochs=6,
    batch_size=32,
    learning_rate=1e-3,
    optimizer="adam",
    scheduler=None,
    warmup_epochs=0,
    weights=LossWeights(1.0, 1.0, 0.1, 0.1, 0.3, commitment_cost=0.25, topo_samples=32),
    input_noise=0.2,
    early_stopping_patience=100,
    early_stopping_min_delta=0.0,
    dead_code_reset_interval=2,
    dead_code_threshold=2.0,
    dead_code_max_reset_fraction=0.5,
    val_every_n_epochs=1,
    seed=0,
    compile=False,
    log_interval=100,
    eval_interval=None,
)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., TrainingPlan]:
    """Give a function that makes a plan with some of its values changed."""
    return lambda **changes: replace(PLAN, **changes)
