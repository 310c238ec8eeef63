"""Datasets, rows and models that tests share, and how many examples hypothesis draws."""

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

from spinlock.features.operator_file import OperatorFileWriter
from spinlock.settings.families import ENCODER_PARAMS
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.book_sizes import BookRequest
from spinlock.tokenizer.start.model import ModelRequest, start_model

# the same examples in every run; `make fuzz` draws new ones instead, and keeps what fails
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile(
    "fuzz",
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
# of a mutation test: that an example fails is enough, the simplest one is not looked for
settings.register_profile(
    "quick", settings.get_profile("same"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

PARTITION = [[0, 1, 2], [3, 4, 5]]
MLP = ENCODER_PARAMS["MLPEncoder"](hidden_dims=[6], output_dim=4).model_dump()
SHAPE = ModelShape(
    partition=PARTITION,
    book_sizes=[],
    column_family=["summary"] * 6,
    encoders={"summary": {"encoder": "MLPEncoder", "encoder_params": MLP}},
    embedding_dim=3,
    hidden_dim=4,
    beam_width=2,
)
REQUEST = ModelRequest(
    SHAPE, BookRequest(explicit=[[(None, 8), (None, 4), (None, 2)]] * 2), batch_size=32, seed=0
)


def changed_request(**changes) -> ModelRequest:
    """What is asked of a model, with some values of it, or of its shape, changed."""
    own = {name: changes.pop(name) for name in ("books", "batch_size", "seed") if name in changes}
    return replace(REQUEST, shape=replace(SHAPE, **changes), **own)


def draw_rows(seed: int, n_rows: int) -> Rows:
    """Rows of six columns of two hidden causes."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(n_rows, 2)), 3, axis=1) + 0.4 * rng.normal(size=(n_rows, 6))
    return Rows(torch.from_numpy(x).float())


@pytest.fixture
def planted_features() -> Callable[..., dict[str, np.ndarray]]:
    """Give features of three hidden causes: architecture [n, 5], summary [n, 12]."""

    def features(n_rows: int, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        causes = rng.normal(size=(n_rows, 3))
        summary = np.repeat(causes, 4, axis=1) + 0.3 * rng.normal(size=(n_rows, 12))
        return {
            "architecture": rng.uniform(size=(n_rows, 5)).astype(np.float32),
            "summary": summary.astype(np.float32),
        }

    return features


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes families, and labels, to a dataset in the layout."""

    def write(
        features: dict[str, np.ndarray],
        labels: dict[str, np.ndarray] | None = None,
        name: str = "dataset.h5",
        fields: np.ndarray | None = None,
    ) -> Path:
        blocks = {
            f"features/{family}/{'features' if values.ndim == 3 else 'aggregated/features'}": values
            for family, values in features.items()
        }
        blocks |= {f"metadata/{label}": values for label, values in (labels or {}).items()}
        if fields is not None:
            blocks["inputs/fields"] = fields
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            writer = OperatorFileWriter(file, len(next(iter(features.values()))), {})
            writer.write(0, blocks)
        return path

    return write


@pytest.fixture(scope="session")
def train() -> Rows:
    return draw_rows(0, 130)


@pytest.fixture(scope="session")
def validation() -> Rows:
    return draw_rows(1, 60)


@pytest.fixture(scope="session")
def make_request() -> Callable[..., ModelRequest]:
    """Give a function that makes a request with some values of it, or of its shape, changed."""
    return changed_request


@pytest.fixture(scope="session")
def make_model(train: Rows, validation: Rows) -> Callable[..., TokenizerModel]:
    """Give a function that makes the model before end-to-end training, the same every time."""
    made: dict[str, TokenizerModel] = {}

    def make(**changes) -> TokenizerModel:
        key = repr(changes)
        if key not in made:
            made[key] = start_model(changed_request(**changes), train, validation)
        return copy.deepcopy(made[key])

    return make


@pytest.fixture(scope="session")
def disturbed() -> Callable[[TokenizerModel, int, float], TokenizerModel]:
    """Give a function that leaves a model as a bad training might."""

    def disturb(model: TokenizerModel, seed: int, size: float) -> TokenizerModel:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weights in model.parameters():
                weights.add_(size * torch.randn(weights.shape, generator=generator))
            # padding stays what it is
            for level in range(model.n_levels):
                codes = model.quantizer.codes(level)
                codes[~model.quantizer.valid(level)] = 0.0
        return model.eval()

    return disturb
