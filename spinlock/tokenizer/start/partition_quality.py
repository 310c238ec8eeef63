"""What books of a partition tell of rows that they have not seen: how partitions are compared."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from spinlock.tokenizer.start.book_fitting import books_error
from spinlock.tokenizer.start.book_sizes import BookRequest, choose_book_sizes
from spinlock.tokenizer.start.category import categories_of
from spinlock.tokenizer.start.category_axes import principal_axes
from spinlock.tokenizer.start.kmeans import residual_books
from spinlock.tokenizer.start.rare_events import SeldomEvents


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
    categories = categories_of(partition, axes, SeldomEvents.of(x))
    error = 0.0
    sizes = choose_book_sizes(x, categories, request, generator)
    for one, category_sizes in zip(categories, sizes, strict=True):
        z = one.embed(held_out)
        books = residual_books(one.embed(x), category_sizes, generator, beam=1)
        lost = (held_out[:, one.members] - one.axes.mean).square().sum() - z.square().sum()
        error += books_error(z, books, beam=1) + float(lost)
    total = float((held_out - x.mean(dim=0)).square().sum())
    return 1 - error / max(total, float(np.finfo(np.float32).tiny))
