"""A model's start from data: linear embeddings, residual k-means, ridge decoders."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.network.codebook import residual_books
from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows
from spinlock.tokenizer.start.book_fitting import best_books, books_error, books_in_subspaces
from spinlock.tokenizer.start.category_axes import CategoryAxes, principal_axes
from spinlock.tokenizer.start.corrections import fit_corrections
from spinlock.tokenizer.start.cross_fitting import encodings_of
from spinlock.tokenizer.start.rare_events import rare_directions, rows_at_caps, with_recombined
from spinlock.tokenizer.start.rate_allocation import choose_book_sizes

log = logging.getLogger(__name__)

FIT_ROWS = 20_000  # rows that books are fitted on, at most


@dataclass(frozen=True)
class BookRequest:
    """How many codes each book gets.

    Attributes
    ----------
    bits : int
        Budget per row, for automatic sizes.
    target_quality : float, optional
        Fewest bits, at most `bits`, that reach this held-out R².
    max_tokens : int, optional
        Largest automatic book.
    explicit : list [C] of list [L] of (latent_dim or None, num_tokens or None), optional
        What the settings say; None entries are filled automatically.
    """

    bits: int = 288
    target_quality: float | None = None
    max_tokens: int | None = None
    explicit: list[list[tuple[int | None, int | None]]] | None = None


def decide_book_sizes(
    x: Tensor,
    partition: Sequence[Sequence[int]],
    axes: Sequence[CategoryAxes],
    request: BookRequest,
    generator: torch.Generator,
) -> list[list[int]]:
    """Return the number of codes [C][L]: the settings' own where given, else by rate–distortion."""
    given = [[n for _, n in levels] for levels in request.explicit or []]
    embeddings = [
        one.project(x[:, list(members)]) for one, members in zip(axes, partition, strict=True)
    ]
    target = None
    if request.target_quality is not None:
        total, embedded = _variance(x), sum(_variance(z) for z in embeddings)
        # what embeddings leave out is lost whatever the bits
        target = (1 - request.target_quality) * total - (total - embedded)
    return choose_book_sizes(
        embeddings,
        request.bits,
        generator,
        given=given or None,
        rare=_rare_directions(x, partition, axes),
        max_tokens=request.max_tokens,
        target_distortion=target,
    )


def _variance(x: Tensor) -> float:
    """Return the summed variances of columns x [n, d]."""
    return float(x.var(dim=0, correction=0).double().sum())


def partition_quality(
    x: Tensor,
    held_out: Tensor,
    partition: Sequence[Sequence[int]],
    request: BookRequest,
    limit: int,
    generator: torch.Generator,
) -> float:
    """Return the held-out R² of residual books for a partition, without the joint decoder."""
    axes = principal_axes(x, partition, limit)
    sizes = decide_book_sizes(x, partition, axes, request, generator)
    error = 0.0
    for one, members, category_sizes in zip(axes, partition, sizes, strict=True):
        columns = held_out[:, list(members)]
        z = one.project(columns)
        books = residual_books(one.project(x[:, list(members)]), category_sizes, generator, beam=1)
        lost = (columns - one.mean).square().sum() - z.square().sum()
        error += books_error(z, books, beam=1) + float(lost)
    total = float((held_out - x.mean(dim=0)).square().sum())
    return 1 - error / max(total, float(np.finfo(np.float32).tiny))


def initialize_model(
    shape: ModelShape,
    axes: Sequence[CategoryAxes],
    train: Rows,
    validation: Rows,
    generator: torch.Generator,
    *,
    latent_dims: Sequence[Sequence[int | None]] | None = None,
    batch_size: int = 512,
    caps: Tensor | None = None,
) -> TokenizerModel:
    """Build a model that starts from the data; its encoders and decoder are linear.

    Parameters
    ----------
    shape : ModelShape
    axes : sequence of CategoryAxes
        Of each category, fitted on the train rows.
    train, validation : Rows
        Validation rows only choose between fits.
    generator : torch.Generator
        For k-means; networks are initialised from the seed it gives.
    latent_dims : list [C] of list [L], optional
        Dimensions that a level may use; None for all.
    batch_size : int
        Weight of the start in the moving averages.
    caps : Tensor [2, D], optional
        Lowest and highest values that cleaning lets through; infinite where there are none.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = TokenizerModel(shape)
    model = model.to(train.x.device).eval()
    _set_linear_paths(model, axes)
    chosen = torch.randperm(len(train), generator=generator)[:FIT_ROWS].sort().values
    fitted = train.x[chosen.to(train.x.device)]
    rare = _rare_directions(fitted, shape.partition, axes)
    outliers = _outliers(fitted, shape.partition, axes, caps)
    books, projectors = _fit_books(
        model, fitted, validation.x, rare, outliers, generator, latent_dims
    )
    for level, projector in enumerate(projectors):
        model.quantizer.set_projector(level, projector)
    model.quantizer.set_books(books, share=batch_size)
    fit_partial_decoders(model)
    fit_corrections(model, encodings_of(model, train, validation))
    return model


def fit_partial_decoders(model: TokenizerModel) -> None:
    """Let every partial decoder start as the category's own linear decoding, in place."""
    with torch.no_grad():
        model.partial.weight.copy_(model.decoder.own.weight.repeat(model.n_levels, 1, 1))
        model.partial.bias.copy_(model.decoder.own.bias.repeat(model.n_levels, 1, 1))


def _set_linear_paths(model: TokenizerModel, axes: Sequence[CategoryAxes]) -> None:
    encoder, decoder = model.encoder.linear, model.decoder.own
    with torch.no_grad():
        for c, one in enumerate(axes):
            width, dims = one.analysis.shape
            encoder.weight[c, :width, :dims] = one.analysis
            encoder.bias[c, 0, :dims] = -one.mean @ one.analysis
            decoder.weight[c, :dims, :width] = one.synthesis
            decoder.bias[c, 0, :width] = one.mean


def _fit_books(
    model: TokenizerModel,
    x_train: Tensor,
    x_validation: Tensor,
    rare: Sequence[Tensor],
    outliers: Sequence[Tensor],
    generator: torch.Generator,
    latent_dims: Sequence[Sequence[int | None]] | None,
) -> tuple[list[list[Tensor]], list[Tensor]]:
    z, z_held_out = _linear_embeddings(model, x_train), _linear_embeddings(model, x_validation)
    sizes = model.quantizer.sizes.tolist()
    dims = [min(n, model.shape.width) for n in model.layout.sizes]
    books = []
    projectors = torch.eye(model.shape.width, device=z.device).repeat(
        model.n_levels, len(sizes), 1, 1
    )
    for c, category_sizes in enumerate(sizes):
        own, held_out = (rows[c, :, : dims[c]] for rows in (z, z_held_out))
        fitted = torch.cat([with_recombined(own, rare[c], generator), outliers[c]])
        held_out = with_recombined(held_out, rare[c], generator, events_of=own)
        limits = latent_dims[c] if latent_dims else None
        if limits and any(limit is not None and limit < dims[c] for limit in limits):
            book, spaces = books_in_subspaces(fitted, category_sizes, limits, generator)
            projectors[:, c, : dims[c], : dims[c]] = torch.stack(spaces)
            books.append(book)
        else:
            best = best_books(
                fitted,
                held_out,
                category_sizes,
                generator,
                model.shape.beam_width,
                rare_events=len(rare[c]) > 0,
            )
            books.append(best)
    restricted = latent_dims is not None and any(any(levels) for levels in latent_dims)
    return books, list(projectors) if restricted else []


def _rare_directions(
    x: Tensor, partition: Sequence[Sequence[int]], axes: Sequence[CategoryAxes]
) -> list[Tensor]:
    """Return the directions of each category's columns that have rare events."""
    return [
        rare_directions(x[:, list(members)], one)
        for one, members in zip(axes, partition, strict=True)
    ]


def _outliers(
    x: Tensor,
    partition: Sequence[Sequence[int]],
    axes: Sequence[CategoryAxes],
    caps: Tensor | None,
) -> list[Tensor]:
    """Return the embeddings of outliers in each category's columns that no row has."""
    if caps is None:
        return [x.new_empty(0, len(one.synthesis)) for one in axes]
    caps = caps.to(x.device)
    return [
        one.project(rows_at_caps(x[:, list(members)], caps[:, list(members)]))
        for one, members in zip(axes, partition, strict=True)
    ]


@torch.no_grad()
def _linear_embeddings(model: TokenizerModel, x: Tensor) -> Tensor:
    """Return embeddings [C, n, E] by the linear paths; padded columns stand for a block only."""
    blocks = [model.encoder.linear(model.layout.gather(block)) for block in x.split(ROW_BLOCK)]
    return torch.cat(blocks, dim=1)
