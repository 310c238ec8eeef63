"""k-means and residual books, against brute force."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock.tokenizer.network.codebook import residual_tokens
from spinlock.tokenizer.start.kmeans import cluster_means, kmeans, residual_books

modest = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def errors(z: Tensor, books: list[Tensor], beam: int) -> Tensor:
    """Return the squared error of each row."""
    tokens = residual_tokens(z, books, beam)
    return (z - sum(book[tokens[:, i]] for i, book in enumerate(books))).square().sum(1)


@modest
@given(seeds, st.integers(1, 12), st.integers(1, 30))
def test_kmeans_depends_on_its_own_generator_and_leaves_the_global_ones_alone(seed, k, n):
    x = torch.randn(n, 3, generator=generator_of(seed))
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    first = kmeans(x, k, generator_of(seed))
    after = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.manual_seed(int(first.abs().sum() * 1000))
    assert torch.equal(kmeans(x, k, generator_of(seed)), first)


@modest
@given(seeds, st.integers(1, 5), st.integers(0, 20))
def test_with_more_centres_than_rows_every_row_has_its_own(seed, n, more):
    x = torch.randint(-3, 4, (n, 2), generator=generator_of(seed)).float()
    centres = kmeans(x, n + more, generator_of(seed))
    assert centres.shape == (n + more, 2)
    assert centres.isfinite().all()
    assert (torch.cdist(x, centres).min(1).values < 1e-5).all()


@modest
@given(seeds, st.integers(2, 6))
def test_planted_clusters_are_found(seed, k):
    generator = generator_of(seed)
    planted = torch.arange(k).unsqueeze(1) * torch.tensor([1000.0, -500.0])
    x = planted.repeat(20, 1) + torch.randn(20 * k, 2, generator=generator)
    centres = kmeans(x, k, generator)
    expected = torch.stack([x[c::k].mean(0) for c in range(k)])
    torch.testing.assert_close(centres[centres[:, 0].argsort()], expected, rtol=1e-4, atol=1e-3)


@modest
@given(seeds, st.integers(1, 8))
def test_more_steps_of_kmeans_never_raise_the_error(seed, k):
    x = torch.randn(60, 2, generator=generator_of(seed))
    error = [
        float(errors(x, [kmeans(x, k, generator_of(seed), steps)], beam=1).sum())
        for steps in (0, 1, 5, 20)
    ]
    assert all(later <= earlier * (1 + 1e-4) for earlier, later in itertools.pairwise(error))


@modest
@given(seeds, st.integers(1, 5))
def test_cluster_means_are_the_means_of_the_rows_of_each_label(seed, k):
    generator = generator_of(seed)
    x = torch.randn(30, 2, generator=generator)
    labels = torch.randint(k, (30,), generator=generator)
    means, counts = cluster_means(x, labels, k + 1)
    for label in range(k + 1):
        mine = x[labels == label]
        assert counts[label] == len(mine)
        expected = mine.mean(0) if len(mine) else torch.zeros(2)
        torch.testing.assert_close(means[label], expected)


@pytest.mark.parametrize("beam", [1, 4])
def test_residual_books_lower_the_error_level_by_level(beam):
    generator = generator_of(0)
    z = torch.randn(300, 4, generator=generator)
    books = residual_books(z, [16, 8, 4], generator, beam=beam)
    assert [len(book) for book in books] == [16, 8, 4]
    left = [float(errors(z, books[: i + 1], beam).sum()) for i in range(3)]
    assert float(z.square().sum()) > left[0] > left[1] > left[2]


def test_residual_books_with_enough_codes_leave_nothing():
    z = torch.randn(10, 3, generator=generator_of(0))
    books = residual_books(z, [10, 2], generator_of(1), beam=1)
    assert errors(z, books, beam=1).max() < 1e-9


def test_each_level_is_fitted_to_what_all_levels_before_it_leave():
    z = torch.tensor([[float(a + b + c)] for a in (-99, 99) for b in (-9, 9) for c in (-1, 1)])
    books = residual_books(z, [2, 2, 2], generator_of(0), beam=1)
    assert errors(z, books, beam=1).max() < 1e-9


def test_an_empty_cluster_moves_to_the_row_that_is_farthest_from_its_centre():
    x = torch.tensor([[0.0]] * 40 + [[100.0], [103.0], [107.0], [-60.0]])
    for seed in range(20):  # random rows are nearly always forty times the same
        centres = kmeans(x, 5, generator_of(seed), spread=False)
        assert sorted(centres.flatten().tolist()) == [-60.0, 0.0, 100.0, 103.0, 107.0]


def test_a_cluster_of_one_row_is_not_empty():
    x = torch.tensor([[0.0], [0.1], [0.2], [50.0]])
    assert sorted(kmeans(x, 2, generator_of(0)).flatten().tolist()) == pytest.approx([0.1, 50.0])


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_centres_that_are_spread_start_in_clusters_that_are_apart(unit):
    planted = torch.arange(8).unsqueeze(1) * torch.tensor([1.0, -2.0]) * unit
    for seed in range(20):
        generator = generator_of(seed)
        noise = 1e-4 * unit * torch.randn(80, 2, generator=generator)
        rows = planted.repeat_interleave(10, dim=0) + noise
        start = kmeans(rows, 8, generator, iterations=0)
        nearest = torch.cdist(start, planted).argmin(1)
        assert sorted(nearest.tolist()) == list(range(8))
        every = kmeans(planted, 8, generator, iterations=0)
        assert torch.equal(every[every[:, 0].argsort()], planted)
