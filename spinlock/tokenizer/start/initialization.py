"""A model's start from data: linear embeddings, residual k-means, ridge decoders."""

from collections.abc import Sequence

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
from spinlock.tokenizer.start.category import Category
from spinlock.tokenizer.start.category_curves import NO_ERROR
from spinlock.tokenizer.start.corrections import fit_corrections
from spinlock.tokenizer.start.cross_fitting import encodings_of
from spinlock.tokenizer.start.rare_events import with_recombined

FIT_ROWS = 20_000  # rows that books are fitted on, at most


def initialize_model(
    shape: ModelShape,
    categories: Sequence[Category],
    train: Rows,
    validation: Rows,
    generator: torch.Generator,
    batch_size: int = 512,
) -> TokenizerModel:
    """Build a model that starts from the data; its encoders and decoder are linear.

    Parameters
    ----------
    shape : ModelShape
        With the sizes of all books.
    categories : sequence of Category
        Of the partition of the shape; their axes, rare events and outliers are of the train rows.
    train, validation : Rows
        Validation rows only choose between fits.
    generator : torch.Generator
        For k-means; networks are initialised from the seed it gives.
    batch_size : int
        Weight of the start in the moving averages.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        model = TokenizerModel(shape)
    model = model.to(train.x.device).eval()
    _set_linear_paths(model, categories)
    chosen = torch.randperm(len(train), generator=generator)[:FIT_ROWS].sort().values
    fitted = train.x[chosen.to(train.x.device)]
    books, spaces = _fit_books(model, fitted, validation.x, categories, generator)
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


def _set_linear_paths(model: TokenizerModel, categories: Sequence[Category]) -> None:
    encoder, decoder = model.encoder.linear, model.decoder.own
    with torch.no_grad():
        for c, one in enumerate(category.axes for category in categories):
            width, dims = one.analysis.shape
            encoder.weight[c, :width, :dims] = one.analysis
            encoder.bias[c, 0, :dims] = -one.mean @ one.analysis
            decoder.weight[c, :dims, :width] = one.synthesis
            decoder.bias[c, 0, :width] = one.mean


def _fit_books(
    model: TokenizerModel,
    x_train: Tensor,
    x_validation: Tensor,
    categories: Sequence[Category],
    generator: torch.Generator,
) -> tuple[list[list[Tensor]], list[Sequence[Tensor]]]:
    """Return the books [C][L], and what spans the spaces [C][L] of levels that do not tell all."""
    z, z_held_out = _linear_embeddings(model, x_train), _linear_embeddings(model, x_validation)
    found = []
    for c, category in enumerate(categories):
        dims = min(model.layout.sizes[c], model.shape.width)
        own, held_out = (rows[c, :, :dims] for rows in (z, z_held_out))
        fitted = torch.cat([with_recombined(own, category.rare, generator), category.outliers])
        held_out = with_recombined(held_out, category.rare, generator, events_of=own)
        sizes, beam = model.quantizer.sizes[c].tolist(), model.shape.beam_width
        found.append(_books_of_category(fitted, held_out, sizes, category, beam, generator))
    return [books for books, _ in found], [spaces for _, spaces in found]


def _books_of_category(
    fitted: Tensor,
    held_out: Tensor,
    sizes: Sequence[int],
    category: Category,
    beam: int,
    generator: torch.Generator,
) -> tuple[list[Tensor], Sequence[Tensor]]:
    """Return books [L], and what spans the spaces [L] that they tell, where not the whole one."""
    dims = fitted.shape[1]
    if any(limit is not None and limit < dims for limit in category.dims):
        return books_in_subspaces(fitted, sizes, category.dims, generator)
    rare_events = len(category.rare) > 0
    books = best_books(fitted, held_out, sizes, generator, beam, rare_events=rare_events)
    if not category.parts:
        return books, []
    of_parts = books_within(fitted, sizes, category.parts, generator)
    # where all is told, books of all combinations also tell what no held-out row has
    least = NO_ERROR * len(held_out)
    errors = [max(books_error(held_out, one, beam), least) for one in (books, of_parts)]
    return (of_parts, category.parts) if errors[1] <= errors[0] else (books, [])


def _projectors(spaces: Sequence[Sequence[Tensor]], model: TokenizerModel) -> Tensor:
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
