"""A small dataset of two hidden causes, and a tokenizer that starts from it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spinlock.features.table import Column, TableHeader
from spinlock.settings.data import FeatureCleaning
from spinlock.tokenizer.checkpoint import Checkpoint
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.normalization.fitting import fit_statistics
from spinlock.tokenizer.start.category import categories_of
from spinlock.tokenizer.start.category_axes import principal_axes
from spinlock.tokenizer.start.initialization import initialize_model
from spinlock.tokenizer.start.rare_events import SeldomEvents
from spinlock.tokenizer.tokenizer import Tokenizer

N_ROWS, N_TRAIN = 240, 180
UNCAPPED = FeatureCleaning(outlier_method="none")
COLUMNS = [
    *(Column("architecture", f"a{i}") for i in range(4)),
    *(Column("summary", f"s{i}") for i in range(6)),
    Column("summary", "constant"),
    Column("summary", "repeat"),
    Column("summary", "missing"),
]
PARTITION = [[0, 1, 4, 5, 6], [2, 3, 7, 8, 9]]
MLP = {
    "hidden_dims": [6],
    "output_dim": 4,
    "dropout": 0.1,
    "activation": "relu",
    "batch_norm": True,
}

ENCODERS = {
    "architecture": {"encoder": "IdentityEncoder", "encoder_params": {}},
    "summary": {"encoder": "MLPEncoder", "encoder_params": MLP},
}


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def raw_values() -> np.ndarray:
    """Raw features [240, 13]: two causes, then a constant, a repeat of s0 and mostly NaN."""
    rng = np.random.default_rng(7)
    causes = rng.normal(size=(N_ROWS, 2))
    cause_of = [0, 0, 1, 1, 0, 0, 0, 1, 1, 1]
    signal = causes[:, cause_of] + 0.4 * rng.normal(size=(N_ROWS, 10))
    kept = signal * np.logspace(-3, 6, 10) + np.linspace(-5, 5, 10)
    constant = np.full((N_ROWS, 1), 3.25)
    repeat = 2.0 - 4.0 * kept[:, 4:5]
    missing = np.where(rng.uniform(size=(N_ROWS, 1)) < 0.8, np.nan, 1.0)
    return np.hstack([kept, constant, repeat, missing])


@pytest.fixture(scope="session")
def make_checkpoint(raw_values: np.ndarray) -> Callable[..., Checkpoint]:
    """Give a function that makes a checkpoint with books of the given sizes [C][L]."""

    def make(
        book_sizes: list[list[int]],
        fields: np.ndarray | None = None,
        cleaning: FeatureCleaning = UNCAPPED,
        **changes: Any,
    ) -> Checkpoint:
        train = raw_values[:N_TRAIN]
        statistics = fit_statistics(
            lambda chosen, rows: train[rows, chosen], *train.shape, cleaning, "standard"
        )
        shape = ModelShape(
            partition=PARTITION,
            book_sizes=book_sizes,
            column_family=[COLUMNS[i].family for i in statistics.kept],
            embedding_dim=4,
            hidden_dim=8,
            beam_width=2,
            **{"encoders": ENCODERS} | changes,
        )
        x = torch.from_numpy(statistics.apply(raw_values))
        rows = Rows(x, None if fields is None else torch.from_numpy(fields))
        model = initialize_model(
            shape,
            categories_of(
                PARTITION,
                principal_axes(x[:N_TRAIN], PARTITION, shape.embedding_dim),
                SeldomEvents.of(x[:N_TRAIN]),
            ),
            rows.take(torch.arange(N_TRAIN)),
            rows.take(torch.arange(N_TRAIN, N_ROWS)),
            torch.Generator().manual_seed(0),
        )
        return Checkpoint(
            model=model,
            header=TableHeader(COLUMNS, "digest-of-the-dataset"),
            statistics=statistics,
            categories={f"category_{c:02d}": np.array(part) for c, part in enumerate(PARTITION)},
            config={"random_seed": 3},
            history=[{"step": "start", "epoch": 0, "val_loss": 0.25}],
            val_loss=0.25,
            metrics={"quality": 0.75},
            provenance={"data": "abc"},
            digest="digest-of-the-model",
        )

    return make


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    """A checkpoint that no test changes."""
    return make_checkpoint([[16, 8, 4], [8, 8, 2]])


@pytest.fixture(scope="session")
def fields() -> np.ndarray:
    """Initial fields [240, 2, 12, 12] of the raw values."""
    return np.random.default_rng(0).normal(size=(N_ROWS, 2, 12, 12)).astype(np.float32)


@pytest.fixture(scope="session")
def fields_checkpoint(make_checkpoint: Callable[..., Checkpoint], fields: np.ndarray) -> Checkpoint:
    """A checkpoint of a model that reads fields, and whose tokens depend on them."""
    params = {
        "channels": [3],
        "kernel_size": 3,
        "output_dim": 4,
        "dropout": 0,
        "activation": "relu",
    }
    checkpoint = make_checkpoint(
        [[8, 4, 2], [8, 4, 2]],
        fields,
        encoders={"summary": {"encoder": "InitialCNNEncoder", "encoder_params": params}},
        field_channels=2,
    )
    head = checkpoint.model.encoder.head.weight  # zero at the start: nothing would be read
    with torch.no_grad():
        head.copy_(torch.from_numpy(np.random.default_rng(1).normal(size=head.shape)))
    return checkpoint


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    return Tokenizer(checkpoint)


@pytest.fixture(scope="session")
def randomize() -> Callable[[nn.Module, int], nn.Module]:
    """Give a function that fills all weights at random, so that no path is silent."""

    def fill(module: nn.Module, seed: int) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, values in module.state_dict().items():
                if values.is_floating_point() and values.numel():
                    drawn = torch.randn(values.shape, generator=generator)
                    values.copy_(drawn.abs() + 0.5 if "running_var" in name else drawn)
        return module

    return fill


@pytest.fixture(scope="session")
def draw_rows() -> Callable[[int, int], Rows]:
    """Return what draws rows of seven columns of three causes, which two categories share."""
    mixing = np.random.default_rng(99).normal(size=(3, 7))

    def draw(seed: int, n_rows: int) -> Rows:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n_rows, 3)) @ mixing + 0.3 * rng.normal(size=(n_rows, 7))
        return Rows(torch.from_numpy(x).float())

    return draw


@pytest.fixture(scope="session")
def start_of() -> Callable[..., TokenizerModel]:
    """Return what makes the start from rows of `draw_rows`, of two categories of equal books."""
    partition = [[0, 2, 4, 6], [1, 3, 5]]

    def make(
        train: Rows,
        sizes: Sequence[int] = (8, 4, 2),
        dims: Sequence[int | None] | None = None,
    ) -> TokenizerModel:
        shape = ModelShape(
            partition=partition,
            book_sizes=[list(sizes)] * 2,
            column_family=["summary"] * 7,
            encoders={},
            embedding_dim=3,
            hidden_dim=4,
            beam_width=2,
        )
        axes = principal_axes(train.x, partition, shape.embedding_dim)
        generator = torch.Generator().manual_seed(0)
        levels = None if dims is None else [[(limit, None) for limit in dims]] * 2
        categories = categories_of(partition, axes, SeldomEvents.of(train.x), levels)
        return initialize_model(shape, categories, train, train, generator)

    return make
