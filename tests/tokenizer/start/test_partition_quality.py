"""The quality of a partition: that of its books alone, on rows that they have not seen."""

import numpy as np
import pytest
import torch
from torch import Tensor

from spinlock.tokenizer.network.codebook import residual_tokens
from spinlock.tokenizer.start.book_sizes import BookRequest, choose_book_sizes
from spinlock.tokenizer.start.category import categories_of
from spinlock.tokenizer.start.category_axes import principal_axes
from spinlock.tokenizer.start.kmeans import residual_books
from spinlock.tokenizer.start.partition_quality import partition_quality
from spinlock.tokenizer.start.rare_events import SeldomEvents

PARTITION = [[0, 2, 4, 6], [1, 3, 5]]


def rows(seed: int) -> Tensor:
    """Rows of seven columns of three causes, shared by the two categories."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(3, 7))
    x = rng.normal(size=(300, 3)) @ mixing + 0.3 * rng.normal(size=(300, 7))
    return torch.from_numpy(x).float()


def quality_of(held_out: Tensor, dims: int = 3, **asked) -> float:
    request, generator = BookRequest(**asked), torch.Generator().manual_seed(0)
    return partition_quality(rows(0), held_out, PARTITION, request, dims, generator)


def test_it_is_that_of_the_books_alone():
    generator = torch.Generator().manual_seed(0)
    axes = principal_axes(rows(0), PARTITION, 3)
    categories = categories_of(PARTITION, axes, SeldomEvents.of(rows(0)))
    sizes = choose_book_sizes(rows(0), categories, BookRequest(bits=12), generator)
    decoded = torch.empty_like(rows(1))
    for one, members, k in zip(axes, PARTITION, sizes, strict=True):
        books = residual_books(one.project(rows(0)[:, members]), k, generator, beam=1)
        tokens = residual_tokens(one.project(rows(1)[:, members]), books, 1)
        codes = sum(book[tokens[:, i]] for i, book in enumerate(books))
        decoded[:, members] = codes @ one.synthesis + one.mean
    total = (rows(1) - rows(0).mean(0)).square().sum()
    expected = 1 - float((rows(1) - decoded).square().sum() / total)
    assert quality_of(rows(1), bits=12) == pytest.approx(expected, abs=1e-4)


def test_it_is_a_number_where_nothing_varies():
    assert np.isfinite(quality_of(rows(0).mean(dim=0, keepdim=True), bits=12))


def test_what_embeddings_leave_out_counts_towards_a_target():
    target, dims = 0.75, 1  # which loses a fifth of the variance
    reached = quality_of(rows(2), dims, bits=60, target_quality=target)
    assert target - 0.01 < reached < target + 0.02  # 6 bits, the fewest, reach 0.72


def test_a_target_beyond_what_embeddings_hold_takes_the_whole_budget():
    beyond = quality_of(rows(2), 2, bits=18, target_quality=0.98)
    assert beyond == quality_of(rows(2), 2, bits=18)
