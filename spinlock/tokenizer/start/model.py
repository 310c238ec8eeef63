"""The model that training starts from: axes, book sizes by rate–distortion, the start from data."""

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.network.freed_memory import return_freed_memory
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.start.bit_budget import most_bits, rows_of_books
from spinlock.tokenizer.start.book_sizes import BookRequest, choose_book_sizes
from spinlock.tokenizer.start.category import Category, categories_of
from spinlock.tokenizer.start.category_axes import principal_axes
from spinlock.tokenizer.start.decoder_fitting import fit_decoder
from spinlock.tokenizer.start.initialization import initialize_model
from spinlock.tokenizer.start.joint_axes import joint_axes
from spinlock.tokenizer.start.rare_events import SeldomEvents
from spinlock.tokenizer.start.reestimation import reestimate_books
from spinlock.tokenizer.start.validation import row_errors

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
    batch_size : int
        Rows that the start weighs as much as, in the moving averages of training.
    seed : int
        Of everything that the start draws.
    caps : Tensor [2, D], optional
        Lowest and highest values that cleaning lets through.
    """

    shape: ModelShape
    books: BookRequest
    batch_size: int
    seed: int
    caps: Tensor | None = None


def start_model(request: ModelRequest, train: Rows, validation: Rows) -> TokenizerModel:
    """Return the model before end-to-end training: the best books, with their decoder fitted."""
    model = _best_books(request, train, validation)
    return_freed_memory()
    log.info("fitting the decoder")
    fit_decoder(model, train, validation, torch.Generator().manual_seed(request.seed))
    return_freed_memory()
    _warn_of_large_books(model, len(train))
    bits = _bits(model)
    log.info("%d categories, %d levels, %.0f bits", len(bits), model.n_levels, bits.sum())
    _warn_of_unused_bits(request.books, bits.sum())
    _warn_of_given_books(request.books, model)
    return model


def _best_books(request: ModelRequest, train: Rows, validation: Rows) -> TokenizerModel:
    """Return the model whose books tell validation rows best.

    They are of principal axes, with levels that tell parts of the columns where that lowers the
    validation error, or of joint axes where those lower it by more than chance would.
    """
    partition, limit = request.shape.partition, request.shape.embedding_dim
    events = SeldomEvents.of(train.x, request.caps)
    levels = request.books.explicit
    axes = principal_axes(train.x, partition, limit)
    categories = categories_of(partition, axes, events, levels)
    log.info("fitting books of principal axes to %d rows", len(train))
    model = _model_of(categories, request, train, validation)
    of_parts = [one.with_parts(train.x) for one in categories]
    if any(one.parts for one in of_parts) and not any(one.is_limited for one in categories):
        log.info("fitting books of parts of the columns")
        other = _model_of(of_parts, request, train, validation)
        errors = [_errors_once_refined(one, train, validation) for one in (model, other)]
        model = other if _is_better("parts of columns", *errors, 0) else model
    if len(partition) > 1 and len(train) > 1 and train.x.shape[1] <= MOST_COLUMNS:
        log.info("fitting books of joint axes")
        bits = _bits(model)
        room = _room(request.books, bits, len(train))
        axes = joint_axes(train.x, partition, limit, bits.sum(), room)
        books = replace(request.books, bits=math.ceil(bits.sum()), target_quality=None)
        categories = categories_of(partition, axes, events, levels)
        other = _model_of(categories, replace(request, books=books), train, validation)
        errors = [row_errors(one, validation) for one in (model, other)]
        model = other if _is_better("joint axes", *errors, CLEARLY) else model
    return model


def _model_of(
    categories: Sequence[Category], request: ModelRequest, train: Rows, validation: Rows
) -> TokenizerModel:
    """Return the model whose linear paths are the categories' axes, with books and decoders."""
    generator = torch.Generator().manual_seed(request.seed)
    sizes = choose_book_sizes(train.x, categories, request.books, generator)
    return_freed_memory()
    shape = replace(request.shape, book_sizes=sizes)
    batch_size = min(request.batch_size, len(train))
    return initialize_model(shape, categories, train, validation, generator, batch_size)


def _errors_once_refined(model: TokenizerModel, train: Rows, validation: Rows) -> Tensor:
    """Return the error of each validation row once books are estimated again, where that helps.

    Residual books gain by it what books of parts have from the start.
    """
    refined = copy.deepcopy(model)
    reestimate_books(refined, train)
    errors = [row_errors(one, validation) for one in (model, refined)]
    return min(errors, key=torch.mean)


def _is_better(name: str, before: Tensor, after: Tensor, chances: float) -> bool:
    """Return whether rows, compared one by one, have an error that is lower by so many chances."""
    gain = before - after
    chance = gain.std() / len(gain) ** 0.5 if len(gain) > 1 else torch.inf
    better = bool(gain.mean() > chances * chance)
    log.info(
        "validation error of a row: %.4g, with %s %+.4g ± %.2g: %s",
        *(before.mean(), name, -gain.mean(), chance),
        "taken" if better else "not taken",
    )
    return better


def _bits(model: TokenizerModel) -> np.ndarray:
    """Return the bits [C] of each category's tokens."""
    return np.log2(model.quantizer.sizes).sum(axis=1)


def _room(books: BookRequest, bits: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the bits [C] that joint axes may give each category, which has `bits` otherwise."""
    if books.explicit:
        return bits
    return np.full(len(bits), WELL_USED * most_bits(1, rows_of_books(n_rows, books.max_tokens)))


def _warn_of_unused_bits(books: BookRequest, used: float) -> None:
    if not books.explicit and books.target_quality is None and used <= books.bits - 1:
        log.warning(
            "%.0f of the %d bits of model.bits are used: books hold no more with so few rows, or "
            "more would not lower the held-out error",
            used,
            books.bits,
        )


def _warn_of_given_books(books: BookRequest, model: TokenizerModel) -> None:
    """Tell of levels whose size is left open, and for which the sizes that are given leave none."""
    given = [[size for _, size in levels] for levels in books.explicit or []]
    taken = sum(np.log2(size) for sizes in given for size in sizes if size)
    silent = [
        found == 1 and size is None
        for sizes, chosen in zip(given, model.quantizer.sizes.tolist(), strict=False)
        for size, found in zip(sizes, chosen, strict=True)
    ]
    if taken and any(silent) and taken + sum(silent) > books.bits:
        log.warning(
            "the sizes in model.levels take %.0f of the %d bits of model.bits: %d levels whose "
            "size is left open have one code, and tell nothing; raise model.bits",
            taken,
            books.bits,
            sum(silent),
        )


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
