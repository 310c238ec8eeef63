"""The model that training starts from: book sizes by rate–distortion, then the start from data."""

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spinlock.tokenizer.initialization import (
    BookRequest,
    decide_book_sizes,
    initialize_model,
)
from spinlock.tokenizer.model import ModelShape, TokenizerModel
from spinlock.tokenizer.principal_axes import principal_axes
from spinlock.tokenizer.rows import Rows
from spinlock.training.loop import TrainingPlan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelRequest:
    """What the settings and the categories ask of the model; book sizes are still open."""

    partition: list[list[int]]
    column_family: list[str]
    encoders: dict[str, dict[str, Any]]
    books: BookRequest
    embedding_dim: int = 64
    hidden_dim: int = 128
    dropout: float = 0.1
    decay: float = 0.99
    use_ema: bool = True
    beam_width: int = 8
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    caps: Tensor | None = None

    def shape(self, book_sizes: list[list[int]], field_channels: int | None) -> ModelShape:
        """Return the shape of the model with these numbers of codes."""
        return ModelShape(
            partition=self.partition,
            book_sizes=book_sizes,
            column_family=self.column_family,
            encoders=self.encoders,
            embedding_dim=self.embedding_dim,
            hidden_dim=self.hidden_dim,
            dropout=self.dropout,
            decay=self.decay,
            use_ema=self.use_ema,
            beam_width=self.beam_width,
            series=self.series,
            field_channels=field_channels,
        )


def start_model(
    request: ModelRequest, train: Rows, validation: Rows, plan: TrainingPlan
) -> TokenizerModel:
    """Return the model before any gradient step."""
    generator = torch.Generator().manual_seed(plan.seed)
    axes = principal_axes(train.x, request.partition, request.embedding_dim)
    sizes = decide_book_sizes(train.x, request.partition, axes, request.books, generator)
    explicit = request.books.explicit
    channels = None if train.fields is None else train.fields.shape[1]
    model = initialize_model(
        request.shape(sizes, channels),
        axes,
        train,
        validation,
        generator,
        latent_dims=[[dim for dim, _ in levels] for levels in explicit] if explicit else None,
        batch_size=min(plan.batch_size, len(train)),
        caps=request.caps,
    )
    bits = float(torch.as_tensor(sizes).double().log2().sum())
    log.info("%d categories, %d levels, %.0f bits", len(sizes), model.n_levels, bits)
    return model
