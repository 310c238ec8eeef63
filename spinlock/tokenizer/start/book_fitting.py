"""Residual books fitted to the embeddings of one category."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spinlock.tokenizer.network.codebook import residual_tokens
from spinlock.tokenizer.start.category_axes import CategoryAxes
from spinlock.tokenizer.start.combinations import codes_of_values
from spinlock.tokenizer.start.kmeans import residual_books
from spinlock.tokenizer.start.rows_between import with_rows_between

FIT_BEAMS = (1, 4, 8, 16)  # widths that residual books are fitted with
BEAM_ROWS = 16_000  # that a width above 4 may give k-means, those between rows not counted
FITS = 3  # that validation rows choose from, per category


def best_books(
    z: Tensor,
    held_out: Tensor,
    sizes: Sequence[int],
    generator: torch.Generator,
    beam: int,
    *,
    rare_events: bool = False,
) -> list[Tensor]:
    """Fit residual books with several beams and return those with the lowest held-out error.

    They are fitted on rows z [n, E] alone, and with rows between these. Where rows have rare
    events, also without a beam: a beam as wide as a small book follows every event's code for all
    rows, and the levels below learn to take these back instead of other events.
    """
    widths = fit_beams(len(z))
    if rare_events:
        widths = tuple(sorted({1, *widths}))
    more = with_rows_between(z, generator)
    fits = [
        residual_books(rows, sizes, generator, beam=width)
        for rows in ([z] if more is z else [z, more])
        for width in widths
    ]
    return min(fits, key=lambda books: books_error(held_out, books, beam))


def fit_beams(n_rows: int) -> tuple[int, ...]:
    """Return the beams that books are fitted with: the fewer rows, the wider.

    A wide beam shows the later levels residuals that are not the closest, as those of unseen
    rows are not: with few rows for each code this keeps books from learning rows by heart.
    """
    affordable = [width for width in FIT_BEAMS if width <= 4 or width * n_rows <= BEAM_ROWS]
    return tuple(affordable[-FITS:])


def books_error(z: Tensor, books: Sequence[Tensor], beam: int) -> float:
    """Return the squared error of rows z [n, E] under residual books."""
    tokens = residual_tokens(z, books, beam)
    decoded = torch.stack([book[tokens[:, i]] for i, book in enumerate(books)]).sum(dim=0)
    return float((z - decoded).square().sum())


def books_in_subspaces(
    z: Tensor, sizes: Sequence[int], limits: Sequence[int | None], generator: torch.Generator
) -> tuple[list[Tensor], list[Tensor]]:
    """Fit each level in the leading principal axes of what the levels before left.

    Returns
    -------
    books : list [L] of Tensor [K, E]
    axes : list [L] of Tensor [r, E]
        Orthonormal rows that span the subspaces.
    """
    books, of_levels = [], []
    residual = z
    for size, limit in zip(sizes, limits, strict=True):
        axes = CategoryAxes.principal(residual, limit or z.shape[1]).analysis.T
        book, residual = _book_within(residual, axes, size, generator)
        books.append(book)
        of_levels.append(axes)
    return books, of_levels


def books_within(
    z: Tensor, sizes: Sequence[int], parts: Sequence[Tensor], generator: torch.Generator
) -> list[Tensor]:
    """Fit each level in the subspace that is spanned by the orthonormal rows [r, E] of its part."""
    books, residual = [], z
    for size, axes in zip(sizes, parts, strict=True):
        book, residual = _book_within(residual, axes, size, generator)
        books.append(book)
    return books


def _book_within(
    residual: Tensor, axes: Tensor, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a book of what a subspace holds of residuals [n, E], and what it leaves.

    It is of all combinations of values along the axes [r, E] where these are few.
    """
    values = residual @ axes.T
    codes = codes_of_values(values, size, generator)
    tokens = residual_tokens(values, [codes], 1)[:, 0]
    book = codes @ axes
    return book, residual - book[tokens]
