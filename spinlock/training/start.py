"""The model that training starts from: axes, book sizes by rate–distortion, the start from data."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.bit_budget import most_bits, rows_of_books
from spinlock.tokenizer.start.category_axes import CategoryAxes, principal_axes
from spinlock.tokenizer.start.decoder_fitting import fit_decoder
from spinlock.tokenizer.start.initialization import (
    BookRequest,
    decide_book_sizes,
    initialize_model,
)
from spinlock.tokenizer.start.joint_axes import joint_axes
from spinlock.training.loop import TrainingPlan
from spinlock.training.validation import row_errors

log = logging.getLogger(__name__)

CLEARLY = 2  # standard errors
MOST_COLUMNS = 2000  # that joint axes are tried for: their time grows with the cube
WELL_USED = 0.5  # of what its books can hold: more bits of one category come dearer than they say


@dataclass(frozen=True)
class ModelRequest:
    """What the settings and the categories ask of a model.

    Attributes
    ----------
    shape : ModelShape
        Without book sizes: `books` says how they are found.
    books : BookRequest
    caps : Tensor [2, D], optional
        Lowest and highest values that cleaning lets through.
    """

    shape: ModelShape
    books: BookRequest
    caps: Tensor | None = None


def start_model(
    request: ModelRequest, train: Rows, validation: Rows, plan: TrainingPlan
) -> TokenizerModel:
    """Return the model before end-to-end training.

    It starts from principal axes, or from joint ones where those lower the validation error by
    more than chance would.
    """
    partition, limit = request.shape.partition, request.shape.embedding_dim
    model = _model_on(principal_axes(train.x, partition, limit), request, train, validation, plan)
    if len(partition) > 1 < len(train) and train.x.shape[1] <= MOST_COLUMNS:
        bits = _bits(model)
        room = _room(request.books, bits, len(train))
        joint = joint_axes(train.x, partition, limit, bits.sum(), room)
        books = replace(request.books, bits=math.ceil(bits.sum()), target_quality=None)
        other = _model_on(joint, replace(request, books=books), train, validation, plan)
        model = other if _is_better(other, model, validation) else model
    fit_decoder(model, train, validation, torch.Generator().manual_seed(plan.seed))
    _warn_of_large_books(model, len(train))
    bits = _bits(model)
    log.info("%d categories, %d levels, %.0f bits", len(bits), model.n_levels, bits.sum())
    return model


def _is_better(joint: TokenizerModel, principal: TokenizerModel, validation: Rows) -> bool:
    """Return whether validation rows, compared one by one, clearly have the lower error."""
    errors = [row_errors(one, validation) for one in (principal, joint)]
    gain = errors[0] - errors[1]
    chance = gain.std() / len(gain) ** 0.5 if len(gain) > 1 else torch.inf
    better = bool(gain.mean() > CLEARLY * chance)
    log.info(
        "validation error of a row: %.4g from principal axes, %.4g ± %.2g less from joint ones%s",
        *(errors[0].mean(), gain.mean(), chance),
        ", which are taken" if better else "",
    )
    return better


def _bits(model: TokenizerModel) -> np.ndarray:
    """Return the bits [C] of each category's tokens."""
    return np.log2(model.quantizer.sizes).sum(axis=1)


def _model_on(
    axes: Sequence[CategoryAxes],
    request: ModelRequest,
    train: Rows,
    validation: Rows,
    plan: TrainingPlan,
) -> TokenizerModel:
    """Return the model whose linear paths are these axes, with books and decoders for them."""
    generator = torch.Generator().manual_seed(plan.seed)
    sizes = decide_book_sizes(train.x, request.shape.partition, axes, request.books, generator)
    explicit = request.books.explicit
    return initialize_model(
        replace(request.shape, book_sizes=sizes),
        axes,
        train,
        validation,
        generator,
        latent_dims=[[dim for dim, _ in levels] for levels in explicit] if explicit else None,
        batch_size=min(plan.batch_size, len(train)),
        caps=request.caps,
    )


def _room(books: BookRequest, bits: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the bits [C] that joint axes may give each category, which has `bits` otherwise."""
    if books.explicit:
        return bits
    return np.full(len(bits), WELL_USED * most_bits(1, rows_of_books(n_rows, books.max_tokens)))


def _warn_of_large_books(model: TokenizerModel, n_rows: int) -> None:
    sizes = model.quantizer.sizes
    if sizes.max() > n_rows:
        log.warning(
            "%d books have more codes (up to %d) than there are train rows (%d): codes will stay "
            "unused; lower num_tokens in model.levels, or model.max_tokens",
            int((sizes > n_rows).sum()),
            int(sizes.max()),
            n_rows,
        )
