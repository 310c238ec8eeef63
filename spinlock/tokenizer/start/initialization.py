"""A model's start from data: linear embeddings, residual k-means, ridge decoders."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows
from spinlock.tokenizer.start.book_fitting import (
    best_books,
    books_error,
    books_in_subspaces,
    books_within,
)
from spinlock.tokenizer.start.book_sizes import choose_book_sizes
from spinlock.tokenizer.start.category_axes import CategoryAxes, principal_axes
from spinlock.tokenizer.start.category_curves import NO_ERROR
from spinlock.tokenizer.start.column_parts import Parts
from spinlock.tokenizer.start.corrections import fit_corrections
from spinlock.tokenizer.start.cross_fitting import encodings_of
from spinlock.tokenizer.start.kmeans import residual_books
from spinlock.tokenizer.start.rare_events import SeldomEvents, with_recombined

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

    @property
    def latent_dims(self) -> list[list[int | None]] | None:
        """Dimensions [C][L] that a level may use, None for all; None where no level is limited."""
        dims = [[dim for dim, _ in levels] for levels in self.explicit or []]
        return dims if any(dim is not None for levels in dims for dim in levels) else None


def decide_book_sizes(
    x: Tensor,
    partition: Sequence[Sequence[int]],
    axes: Sequence[CategoryAxes],
    request: BookRequest,
    generator: torch.Generator,
    events: SeldomEvents,
    parts: Parts | None = None,
) -> list[list[int]]:
    """Return the number of codes [C][L]: the settings' own where given, else by rate–distortion."""
    given = [[n for _, n in levels] for levels in request.explicit or []]
    embeddings = _Embeddings(x, partition, axes)
    target = None
    if request.target_quality is not None:
        total, embedded = _variance(x), sum(_variance(z) for z in embeddings)
        # what embeddings leave out is lost whatever the bits
        target = (1 - request.target_quality) * total - (total - embedded)
    of_categories = list(zip(partition, axes, strict=True))
    return choose_book_sizes(
        embeddings,
        request.bits,
        generator,
        given=given or None,
        rare=[events.directions(*of_category) for of_category in of_categories],
        parts=parts,
        outliers=[events.outliers(*of_category) for of_category in of_categories],
        max_tokens=request.max_tokens,
        target_distortion=target,
    )


@dataclass(frozen=True)
class _Embeddings(Sequence[Tensor]):
    """The embeddings [n, E_c] of rows in each category, made when asked for: never all at once."""

    x: Tensor
    partition: Sequence[Sequence[int]]
    axes: Sequence[CategoryAxes]

    def __len__(self) -> int:
        return len(self.axes)

    def __getitem__(self, category: int) -> Tensor:  # type: ignore[override]
        return self.axes[category].project(self.x[:, list(self.partition[category])])


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
    sizes = decide_book_sizes(x, partition, axes, request, generator, SeldomEvents.of(x))
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
    events: SeldomEvents,
    *,
    latent_dims: Sequence[Sequence[int | None]] | None = None,
    batch_size: int = 512,
    parts: Parts | None = None,
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
    events : SeldomEvents
        Of the train rows.
    latent_dims : list [C] of list [L], optional
        Dimensions that a level may use; None for all.
    batch_size : int
        Weight of the start in the moving averages.
    parts : list [C] of list [L] of Tensor [r, E_c], optional
        Columns that the levels of a category may tell one by one, as what they are in its
        embedding: orthonormal directions.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = TokenizerModel(shape)
    model = model.to(train.x.device).eval()
    _set_linear_paths(model, axes)
    chosen = torch.randperm(len(train), generator=generator)[:FIT_ROWS].sort().values
    fitted = train.x[chosen.to(train.x.device)]
    unlimited = [[None] * model.n_levels] * len(axes)
    of_categories = zip(
        shape.partition, axes, latent_dims or unlimited, parts or [[]] * len(axes), strict=True
    )
    requests = [
        _CategoryRequest(events.directions(members, one), events.outliers(members, one), *how)
        for members, one, *how in of_categories
    ]
    books, spaces = _fit_books(model, fitted, validation.x, requests, generator)
    if any(spaces):
        for level, projector in enumerate(_projectors(spaces, model)):
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


@dataclass(frozen=True)
class _CategoryRequest:
    """What the books of one category are fitted with, beside its rows."""

    rare: Tensor
    outliers: Tensor
    latent_dims: Sequence[int | None]
    parts: list[Tensor]


def _fit_books(
    model: TokenizerModel,
    x_train: Tensor,
    x_validation: Tensor,
    requests: Sequence[_CategoryRequest],
    generator: torch.Generator,
) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
    """Return the books [C][L], and what spans the spaces [C][L] of levels that do not tell all."""
    z, z_held_out = _linear_embeddings(model, x_train), _linear_embeddings(model, x_validation)
    found = []
    for c, request in enumerate(requests):
        dims = min(model.layout.sizes[c], model.shape.width)
        own, held_out = (rows[c, :, :dims] for rows in (z, z_held_out))
        fitted = torch.cat([with_recombined(own, request.rare, generator), request.outliers])
        held_out = with_recombined(held_out, request.rare, generator, events_of=own)
        sizes, beam = model.quantizer.sizes[c].tolist(), model.shape.beam_width
        found.append(_books_of_category(fitted, held_out, sizes, request, beam, generator))
    return [books for books, _ in found], [spaces for _, spaces in found]


def _books_of_category(
    fitted: Tensor,
    held_out: Tensor,
    sizes: Sequence[int],
    request: _CategoryRequest,
    beam: int,
    generator: torch.Generator,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return books [L], and what spans the spaces [L] that they tell, where not the whole one."""
    dims = fitted.shape[1]
    if any(limit is not None and limit < dims for limit in request.latent_dims):
        return books_in_subspaces(fitted, sizes, request.latent_dims, generator)
    rare_events = len(request.rare) > 0
    books = best_books(fitted, held_out, sizes, generator, beam, rare_events=rare_events)
    if not request.parts:
        return books, []
    of_parts = books_within(fitted, sizes, request.parts, generator)
    # where all is told, books of all combinations also tell what no held-out row has
    least = NO_ERROR * len(held_out)
    errors = [max(books_error(held_out, one, beam), least) for one in (books, of_parts)]
    return (of_parts, request.parts) if errors[1] <= errors[0] else (books, [])


def _projectors(spaces: Sequence[list[Tensor]], model: TokenizerModel) -> Tensor:
    """Return projectors [L, C, E, E] on what [C][L] spans; where there is none, on everything."""
    whole = torch.eye(model.shape.width, device=model.quantizer.all_codes.device)
    projectors = whole.repeat(model.n_levels, len(spaces), 1, 1)
    for c, of_levels in enumerate(spaces):
        for level, axes in enumerate(of_levels):
            dims = axes.shape[1]
            projectors[level, c, :dims, :dims] = axes.T @ axes
    return projectors


@torch.no_grad()
def _linear_embeddings(model: TokenizerModel, x: Tensor) -> Tensor:
    """Return embeddings [C, n, E] by the linear paths; padded columns stand for a block only."""
    layout = model.layout
    z = x.new_empty(layout.n_categories, len(x), model.shape.width)
    # put in place: parts that are kept would each hold the memory of a block behind them
    for place, block in zip(z.split(ROW_BLOCK, dim=1), x.split(ROW_BLOCK), strict=True):
        place.copy_(model.encoder.linear(layout.gather(block)))
    return z
