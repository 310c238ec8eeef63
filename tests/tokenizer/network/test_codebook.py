"""Nearest codes and the beam search, against brute force."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock.tokenizer.network.codebook import (
    Beam,
    Book,
    code_norms,
    code_scores,
    lowest,
    residual_tokens,
    search,
    take_lowest,
)
from spinlock.tokenizer.start.kmeans import residual_books

modest = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def on_grid(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Small integers: exact in float32, so that equal errors are equal."""
    return torch.randint(-3, 4, shape, generator=generator).float()


def nearest_code(z: Tensor, codes: Tensor) -> Tensor:
    return lowest(code_scores(z, codes, code_norms(codes)))


def decode(tokens: Tensor, books: list[Tensor]) -> Tensor:
    return torch.stack([book[tokens[:, i]] for i, book in enumerate(books)]).sum(0)


def errors(z: Tensor, books: list[Tensor], beam: int) -> Tensor:
    """Return the squared error of each row in float64."""
    decoded = decode(residual_tokens(z, books, beam), books)
    return (z - decoded).double().square().sum(1)


@modest
@given(seeds, st.integers(1, 9), st.integers(1, 4))
def test_the_nearest_code_is_the_first_of_the_nearest(seed, k, dim):
    generator = generator_of(seed)
    z, codes = on_grid((25, dim), generator), on_grid((k, dim), generator)
    distances = ((z.double().numpy()[:, None] - codes.double().numpy()) ** 2).sum(-1)
    assert nearest_code(z, codes).tolist() == distances.argmin(1).tolist()


@modest
@given(seeds)
def test_batched_books_give_the_codes_that_each_book_gives(seed):
    generator = generator_of(seed)
    z, codes = on_grid((3, 10, 2), generator), on_grid((3, 5, 2), generator)
    assert torch.equal(
        nearest_code(z, codes), torch.stack([nearest_code(z[c], codes[c]) for c in range(3)])
    )


@modest
@given(seeds, st.integers(1, 9), st.integers(1, 9), st.sampled_from([torch.float32, torch.float64]))
def test_the_lowest_scores_are_taken_out_the_first_of_equals_first(seed, k, more, dtype):
    scores = on_grid((25, k + more), generator_of(seed)).to(dtype)
    expected = scores.sort(dim=-1, stable=True)
    left = scores.clone()
    values, places = take_lowest(left, k)
    assert torch.equal(values, expected.values[:, :k])
    assert torch.equal(places, expected.indices[:, :k])
    assert torch.equal(left, scores.scatter(-1, places, torch.inf))


@modest
@given(seeds, st.integers(1, 9), st.integers(1, 9))
def test_compiled_and_on_a_gpu_the_same_scores_are_taken(seed, k, more):
    scores = torch.randn(25, k + more, generator=generator_of(seed))
    expected, taken = scores.clone(), scores.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.compiler.is_compiling", lambda: True)
        found = take_lowest(taken, k)
    assert torch.equal(lowest(scores.view(5, 5, -1)), scores.view(5, 5, -1).argmin(-1))
    for one, other in zip(found, take_lowest(expected, k), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(taken, expected)


def test_a_compiled_model_takes_the_same_of_the_lowest():
    scores = torch.randint(0, 3, (4, 50, 6)).float()
    compiled = torch.compile(lowest, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(scores), lowest(scores))


def test_the_lowest_is_of_the_last_dimension_on_any_device():
    assert lowest(torch.empty(4, 5, 6, device="meta")).shape == (4, 5)


def test_codes_that_do_not_exist_are_infinitely_far():
    codes = torch.zeros(4, 2)
    norms = code_norms(codes, torch.tensor([True, True, False, False]))
    scores = code_scores(torch.zeros(3, 2), codes, norms)
    assert scores[:, :2].isfinite().all()
    assert (scores[:, 2:] == torch.inf).all()


@modest
@given(seeds, st.integers(1, 6))
def test_scores_are_squared_distances_less_the_norm_of_the_row(seed, dim):
    generator = generator_of(seed)
    z, codes = on_grid((8, dim), generator), on_grid((5, dim), generator)
    distances = (z.unsqueeze(1) - codes).square().sum(-1)
    expected = distances - z.square().sum(1, keepdim=True)
    assert torch.equal(code_scores(z, codes, code_norms(codes)), expected)


@pytest.mark.parametrize("beam", [1, 4])
def test_in_float64_codes_far_from_the_origin_are_told_apart_whatever_rows_are_beside(beam):
    generator, far = generator_of(0), 2e7
    z = far + torch.randn(700, 9, generator=generator, dtype=torch.float64)
    coarse = far + torch.randn(50, 9, generator=generator, dtype=torch.float64)
    fine = torch.randn(20, 9, generator=generator, dtype=torch.float64)
    tokens = residual_tokens(z, [coarse, fine], beam)
    alone = torch.cat([residual_tokens(row, [coarse, fine], beam) for row in z.split(1)])
    assert torch.equal(tokens, alone)
    if beam == 1:
        nearest = (z.unsqueeze(1) - coarse).square().sum(-1).argmin(1)
        assert torch.equal(tokens[:, 0], nearest)


def test_of_equal_codes_the_first_is_taken_in_float64():
    codes = torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)
    z = torch.zeros(3, 1, dtype=torch.float64)
    assert residual_tokens(z, [codes], 1).tolist() == [[1]] * 3
    assert residual_tokens(z, [codes], 2).tolist() == [[1]] * 3


def exhaustive_errors(z: Tensor, books: list[Tensor]) -> Tensor:
    sums = torch.stack([torch.stack(one).sum(0) for one in itertools.product(*books)])
    return (z.unsqueeze(1) - sums).double().square().sum(-1).min(1).values


@modest
@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_a_beam_that_keeps_every_encoding_is_exhaustive(seed, sizes):
    generator = generator_of(seed)
    books = [on_grid((k, 2), generator) for k in sizes]
    z = on_grid((15, 2), generator)
    assert torch.equal(errors(z, books, beam=64), exhaustive_errors(z, books))


@modest
@given(seeds, st.integers(2, 6))
def test_over_two_levels_no_row_is_worse_with_a_beam_than_greedily(seed, beam):
    # where levels are more, or codes equally near, a beam may drop the greedy encoding of a row
    generator = generator_of(seed)
    books = [torch.randn(5, 3, generator=generator) for _ in range(2)]
    z = torch.randn(40, 3, generator=generator)
    assert (errors(z, books, beam) <= errors(z, books, beam=1) + 1e-5).all()


@modest
@given(seeds, st.sampled_from([2, 4, 8]))
def test_with_fitted_books_a_beam_does_not_raise_the_error_of_all_rows(seed, beam):
    generator = generator_of(seed)
    z = torch.randn(200, 3, generator=generator)
    books = residual_books(z, [8, 4, 4], generator, beam=1)
    assert errors(z, books, beam).sum() <= errors(z, books, beam=1).sum()


@modest
@given(seeds, st.integers(1, 5))
def test_a_beam_says_what_is_left_of_each_encoding_best_first(seed, width):
    generator = generator_of(seed)
    books = [on_grid((k, 2), generator) for k in (4, 3, 2)]
    z = on_grid((12, 2), generator)
    search = Beam(z, width)
    for codes in books:
        search.extend(codes)
    for path in range(search.tokens.shape[1]):
        left = z - decode(search.tokens[:, path], books)
        assert torch.equal(search.residual[:, path], left)
        assert torch.equal(search.error[:, path], left.square().sum(1))
    assert (search.error.diff(dim=1) >= 0).all()


@modest
@given(seeds, st.integers(2, 5))
def test_a_row_alone_is_followed_by_as_wide_a_beam(seed, beam):
    generator = generator_of(seed)
    books = [torch.randn(6, 2, generator=generator) for _ in range(3)]
    z = torch.randn(20, 2, generator=generator)
    alone = torch.cat([residual_tokens(row, books, beam) for row in z.split(1)])
    assert torch.equal(alone, residual_tokens(z, books, beam))


def test_rows_beyond_one_block_are_encoded_as_if_alone():
    generator = generator_of(0)
    z = on_grid((5000, 2), generator)
    books = [on_grid((6, 2), generator), on_grid((3, 2), generator)]
    tokens = residual_tokens(z, books, beam=1)
    for first in (0, 2047, 2048, 4999):
        assert torch.equal(
            tokens[first : first + 1], residual_tokens(z[first : first + 1], books, 1)
        )


@modest
@given(seeds, st.integers(1, 3))
def test_a_greedy_margin_is_the_least_difference_between_the_best_code_and_the_next(seed, levels):
    generator = generator_of(seed)
    z = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    books = [torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(levels)]
    found = search(z, [Book.of(codes) for codes in books], 1)
    for row, tokens, margin in zip(z, found.tokens, found.margin, strict=True):
        residual, margins = row, []
        for codes, token in zip(books, tokens, strict=True):
            scores = (residual - codes).square().sum(1)
            best, following = scores.sort().values[:2]
            assert scores[token] == best
            margins.append((following - best) / (1 + row.square().sum() + best.abs()))
            residual = residual - codes[token]
        assert margin.item() == pytest.approx(min(margins).item(), rel=1e-9)


@modest
@given(seeds)
def test_the_margin_of_a_beam_is_that_of_what_it_left_out_and_of_the_best(seed):
    """Of the last level only the best is kept, so only the next one counts there."""
    generator = generator_of(seed)
    z = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    first, second = (torch.randn(k, 3, generator=generator, dtype=torch.float64) for k in (5, 4))
    found = search(z, [Book.of(first), Book.of(second)], 2)
    for row, tokens, margin in zip(z, found.tokens, found.margin, strict=True):
        scale = 1 + row.square().sum()
        by_code = (row - first).square().sum(1).sort()
        kept, left = by_code.values[1], by_code.values[2]
        margins = [(left - kept) / (scale + kept)]
        paths = [(i, j) for i in by_code.indices[:2].tolist() for j in range(4)]
        errors = torch.stack([(row - first[i] - second[j]).square().sum() for i, j in paths])
        best, following = errors.sort().values[:2]
        margins.append((following - best) / (scale + best))
        assert tuple(tokens.tolist()) == paths[errors.argmin()]
        assert margin.item() == pytest.approx(min(margins).item(), rel=1e-9)


def test_codes_are_the_same_where_all_their_numbers_are():
    codes = torch.tensor([[0.0, 1e-9], [-0.0, 1e-9], [0.0, 2e-9], [0.0, -1e-9]])
    assert Book.of(codes).norms.isfinite().flatten().tolist() == [True, False, True, True]


def test_a_book_in_float64_leaves_out_the_same_codes():
    codes = torch.randn(4, 2, generator=generator_of(0))
    book = Book.of(torch.cat([codes, codes]))
    double = book.double()
    assert double.codes.dtype == double.norms.dtype == torch.float64
    assert torch.equal(double.norms.isfinite(), book.norms.isfinite())
    assert double.norms.isfinite().flatten().tolist() == [True] * 4 + [False] * 4
