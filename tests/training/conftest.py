"""Rows of two hidden causes, and a model that training starts from."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.initialization import BookRequest
from spinlock.training.loop import TrainingPlan
from spinlock.training.objective import LossWeights
from spinlock.training.start import ModelRequest, start_model

PARTITION = [[0, 1, 2], [3, 4, 5]]
MLP = ENCODER_PARAMS["MLPEncoder"](hidden_dims=[6], output_dim=4).model_dump()

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

SHAPE = ModelShape(
    partition=PARTITION,
    book_sizes=[],
    column_family=["summary"] * 6,
    encoders={"summary": {"encoder": "MLPEncoder", "encoder_params": MLP}},
    embedding_dim=3,
    hidden_dim=4,
    beam_width=2,
)
REQUEST = ModelRequest(SHAPE, BookRequest(explicit=[[(None, 8), (None, 4), (None, 2)]] * 2))


def changed_request(books: BookRequest = REQUEST.books, **changes) -> ModelRequest:
    return ModelRequest(replace(SHAPE, **changes), books)


def draw_rows(seed: int, n_rows: int) -> Rows:
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(n_rows, 2)), 3, axis=1) + 0.4 * rng.normal(size=(n_rows, 6))
    return Rows(torch.from_numpy(x).float())


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def train() -> Rows:
    return draw_rows(0, 130)


@pytest.fixture(scope="session")
def validation() -> Rows:
    return draw_rows(1, 60)


@pytest.fixture(scope="session")
def make_plan() -> Callable[..., TrainingPlan]:
    """Give a function that makes a plan with some of its values changed."""
    return lambda **changes: replace(PLAN, **changes)


@pytest.fixture(scope="session")
def make_request() -> Callable[..., ModelRequest]:
    """Give a function that makes a request with some values of its shape changed."""
    return changed_request


@pytest.fixture(scope="session")
def make_model(train: Rows, validation: Rows) -> Callable[..., TokenizerModel]:
    """Give a function that makes the model before end-to-end training, the same every time."""
    made: dict[str, TokenizerModel] = {}

    def make(**changes) -> TokenizerModel:
        key = repr(changes)
        if key not in made:
            made[key] = start_model(changed_request(**changes), train, validation, PLAN)
        return copy.deepcopy(made[key])

    return make
