"""Each term of the loss against its equation, written as plain loops in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock.tokenizer.network.layout import CategoryLayout, EmbeddingDims
from spinlock.tokenizer.network.losses import (
    PAIR_ROWS,
    distances,
    informativeness_loss,
    mean_squared_cosine,
    orthogonality_loss,
    quantization_loss,
    reconstruction_loss,
    topographic_loss,
)

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def dims_mask(n_dims: list[int], width: int) -> Tensor:
    """Return 1 for the first n dimensions of each category, [C, 1, E]."""
    return (torch.arange(width) < torch.tensor(n_dims).unsqueeze(1)).double().unsqueeze(1)


def pearson(a: list[float], b: list[float]) -> float:
    return float(np.corrcoef(a, b)[0, 1])


@modest
@given(seeds, st.integers(1, 6), st.integers(1, 5))
def test_reconstruction_is_the_mean_squared_error(seed, n_rows, n_columns):
    x, decoded = draw(seed, n_rows, n_columns), draw(seed + 1, n_rows, n_columns)
    total = 0.0
    for i, j in itertools.product(range(n_rows), range(n_columns)):
        total += float(x[i, j] - decoded[i, j]) ** 2
    assert float(reconstruction_loss(x, decoded)) == pytest.approx(total / (n_rows * n_columns))


@modest
@given(seeds, st.booleans(), st.floats(0, 4))
def test_quantization_is_commitment_and_the_pull_on_trained_codes(seed, train_codes, beta):
    n_dims = [1, 3, 2]
    mask = dims_mask(n_dims, 3)
    residuals, codes = draw(seed, 2, 3, 5, 3) * mask, draw(seed + 2, 2, 3, 5, 3) * mask
    total = 0.0
    for residual, code in zip(residuals, codes, strict=True):
        for c, row in itertools.product(range(3), range(5)):
            for e in range(n_dims[c]):
                squared = float(residual[c, row, e] - code[c, row, e]) ** 2
                total += (beta + train_codes) * squared / (sum(n_dims) * 5)
    dims = EmbeddingDims(n_dims, 3)
    loss = quantization_loss(residuals, codes, dims, beta, train_codes=train_codes)
    assert float(loss) == pytest.approx(total)


def test_commitment_moves_the_encoder_and_the_second_part_the_codes():
    residual, code = draw(0, 1, 2, 4, 3).requires_grad_(), draw(1, 1, 2, 4, 3).requires_grad_()
    quantization_loss(residual, code, EmbeddingDims([3, 3], 3), 0.25, train_codes=True).backward()
    difference = 2 * (residual - code).detach() / (6 * 4)
    torch.testing.assert_close(residual.grad, 0.25 * difference)
    torch.testing.assert_close(code.grad, -difference)


def test_codes_that_follow_averages_get_no_gradient():
    residual, code = draw(0, 1, 2, 4, 3).requires_grad_(), draw(1, 1, 2, 4, 3).requires_grad_()
    dims = EmbeddingDims([3, 3], 3)
    quantization_loss(residual, code, dims, 0.25, train_codes=False).backward()
    assert code.grad is None


def orthogonality_by_loop(z: Tensor, codes: Tensor, n_dims: list[int]) -> float:
    squared = []
    for a, b in itertools.permutations(range(len(z)), 2):
        for i, j in itertools.product(range(n_dims[a]), range(n_dims[b])):
            squared.append(pearson(z[a, :, i].tolist(), z[b, :, j].tolist()) ** 2)
    cosines = []
    for book in codes[:, :PAIR_ROWS].numpy():
        for i, j in itertools.permutations(range(len(book)), 2):
            if (book[i] != book[j]).any():
                lengths = np.linalg.norm(book[i]) * np.linalg.norm(book[j])
                cosines.append((book[i] @ book[j] / lengths) ** 2)
    told = sum(n_dims) * (len(z) - 1)
    between = sum(squared) / told if told else 0.0
    return between + (sum(cosines) / len(cosines) if cosines else 0.0)


@modest
@given(seeds, st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(2, 40))
def test_orthogonality_is_the_correlation_of_categories_and_the_cosine_of_codes(
    seed, n_dims, n_rows
):
    mask = dims_mask(n_dims, 3)
    z = draw(seed, len(n_dims), n_rows, 3) * mask
    # few codes, so that many rows share one
    tokens = np.random.default_rng(seed).integers(4, size=n_rows)
    # codes are equal or 0.1 apart: within a rounding error of each other they count as one
    book = draw(seed + 1, len(n_dims), 4, 3)
    book = (book.round(decimals=1) + book.sign()) * mask
    codes = book[:, tokens]  # none so short that the guard of 0/0 shows
    expected = orthogonality_by_loop(z, codes, n_dims)
    loss = orthogonality_loss(z, codes, EmbeddingDims(n_dims, 3))
    assert float(loss) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_rows_that_share_a_code_are_no_pair_of_codes():
    # float32 and over 25 rows: distances from a matrix product would not be exactly zero
    generator = torch.Generator().manual_seed(0)
    book = 3 * torch.randn(1, 8, 16, generator=generator)
    codes = book[:, torch.randint(8, (64,), generator=generator)]
    expected = orthogonality_by_loop(torch.zeros(1, 64, 16), codes.double(), [16])
    loss = orthogonality_loss(torch.zeros(1, 64, 16), codes, EmbeddingDims([16], 16))
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_rows_share_a_code_up_to_rounding_at_any_scale(scale):
    # of the straight-through value z + (q - z) the last bits are those of the row
    generator = torch.Generator().manual_seed(0)
    code = scale * torch.randn(1, 1, 8, generator=generator)
    rounding = 1e-7 * scale * torch.randn(1, 30, 8, generator=generator)
    loss = orthogonality_loss(torch.zeros(1, 30, 8), code + rounding, EmbeddingDims([8], 8))
    assert float(loss) == 0


def test_orthogonality_is_zero_for_one_category_with_one_code():
    z, codes = draw(0, 1, 9, 2), torch.ones(1, 9, 2)
    assert float(orthogonality_loss(z, codes, EmbeddingDims([2], 2))) == 0


def test_dependent_categories_cost_more_than_independent_ones():
    z = draw(0, 1, 200, 2)
    dims = EmbeddingDims([2, 2], 2)
    codes = torch.ones(2, 200, 2)
    same = float(orthogonality_loss(torch.cat([z, z]), codes, dims))
    other = float(orthogonality_loss(torch.cat([z, draw(1, 1, 200, 2)]), codes, dims))
    assert same > 0.5 - 0.05
    assert other < 0.05


@modest
@given(
    seeds,
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(1, 6),
)
@example(0, [2, 3], 2, 1)
def test_informativeness_is_the_mean_error_of_the_partial_decoders(seed, widths, n_levels, n_rows):
    n_categories, width = len(widths), max(widths)
    columns = np.split(np.arange(sum(widths)), np.cumsum(widths)[:-1])
    layout, mask = CategoryLayout(columns, sum(widths)), dims_mask(widths, width)
    z, *prefixes = draw(seed, 1 + n_levels, n_categories, n_rows, 3)
    x = draw(seed + 1, n_categories, n_rows, width) * mask
    weight = draw(seed + 2, n_levels, n_categories, 3, width) * mask
    bias = draw(seed + 3, n_levels, n_categories, 1, width) * mask
    leaves = [one.requires_grad_() for one in (z, weight, bias)]
    total = 0.0
    for level, c, row in itertools.product(range(n_levels), range(n_categories), range(n_rows)):
        code = z[c, row] + (prefixes[level][c, row] - z[c, row]).detach()
        decoded = code @ weight[level, c] + bias[level, c, 0]
        for j in range(widths[c]):
            total = total + (x[c, row, j] - decoded[j]) ** 2
    expected = total / (sum(widths) * n_rows * n_levels)
    decoders = weight.flatten(0, 1), bias.flatten(0, 1)
    loss = informativeness_loss(z, prefixes, x, *decoders, layout)
    torch.testing.assert_close(loss, expected)
    wanted = torch.autograd.grad(3 * expected, leaves)
    for found, plain in zip(torch.autograd.grad(3 * loss, leaves), wanted, strict=True):
        torch.testing.assert_close(found, plain)


def pair_distances(rows: Tensor) -> list[float]:
    return [
        math.sqrt(float((rows[i] - rows[j]).square().sum()))
        for i, j in itertools.combinations(range(len(rows)), 2)
    ]


@modest
@given(seeds, st.integers(3, 15))
def test_topographic_is_one_less_the_correlation_over_pairs_without_the_diagonal(seed, n_rows):
    x, codes = draw(seed, n_rows, 4), draw(seed + 1, 2, n_rows, 3)
    joined = codes.transpose(0, 1).flatten(1)
    expected = 1 - pearson(pair_distances(x), pair_distances(joined))
    assert float(topographic_loss(x, joined)) == pytest.approx(expected, abs=1e-4)


def test_independent_noise_does_not_score_by_its_zero_diagonal():
    x, codes = draw(0, 12, 50), draw(1, 12, 50)
    with_diagonal = correlation(distances(x).flatten(), distances(codes).flatten())
    assert with_diagonal > 0.8
    assert float(topographic_loss(x, codes)) > 0.7


def test_codes_that_are_the_rows_have_no_topographic_loss():
    x = draw(0, 20, 3)
    assert float(topographic_loss(x, x)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n_rows", [1, 2])
def test_fewer_than_three_rows_have_no_topographic_loss(n_rows):
    assert float(topographic_loss(draw(0, n_rows, 2), draw(1, n_rows, 2))) == 0


@modest
@given(seeds, st.integers(2, 30))
def test_distances_in_float32_are_those_of_float64(seed, n_rows):
    x = draw(seed, n_rows, 5)
    expected = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    measured = distances(x.float()).double()
    torch.testing.assert_close(measured, expected, rtol=1e-3, atol=5e-3)


def test_the_correlation_with_a_constant_is_zero():
    assert float(topographic_loss(draw(0, 9, 3), torch.full((9, 2), 2.0))) == 1


def hard_rows(kind: str) -> tuple[Tensor, Tensor]:
    """Return embeddings and codes [2, 6, 3] where square roots and quotients are at their limit."""
    z, codes = draw(0, 2, 6, 3).float(), draw(1, 2, 6, 3).float()
    if kind == "all zero":
        return torch.zeros_like(z), torch.zeros_like(codes)
    if kind == "all rows equal":
        return z[:, :1].repeat(1, 6, 1), codes[:, :1].repeat(1, 6, 1)
    if kind == "codes equal":
        return z, codes[:, :1].repeat(1, 6, 1)
    if kind == "embeddings are the codes":
        return codes.clone(), codes
    return 1e6 * z, 1e-6 * codes


@pytest.mark.parametrize(
    "kind",
    ["all zero", "all rows equal", "codes equal", "embeddings are the codes", "far and near"],
)
def test_all_gradients_are_finite(kind):
    z, codes = (one.requires_grad_() for one in hard_rows(kind))
    dims, layout = EmbeddingDims([3, 3], 3), CategoryLayout(np.split(np.arange(6), 2), 6)
    x = z.detach().transpose(0, 1).flatten(1)
    decoders = torch.eye(3).to(z).expand(2, 3, 3), torch.zeros(2, 1, 3).to(z)
    terms = [
        reconstruction_loss(x, z.transpose(0, 1).flatten(1)),
        quantization_loss(z.unsqueeze(0), codes.unsqueeze(0), dims, 0.25, train_codes=True),
        orthogonality_loss(z, codes, dims),
        informativeness_loss(z, [codes.detach()], z.detach(), *decoders, layout),
        topographic_loss(x, dims.compact(codes)),
    ]
    for term in terms:
        z.grad = codes.grad = None
        term.backward(retain_graph=True)
        assert term.isfinite()
        for leaf in (z, codes):
            assert leaf.grad is None or leaf.grad.isfinite().all()


def correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.square().sum() * b.square().sum() + 1e-8).sqrt()


def plain_correlation(x: Tensor, y: Tensor) -> Tensor:
    i, j = torch.triu_indices(len(x), len(x), offset=1)
    return correlation((x[i] - x[j]).norm(dim=1), (y[i] - y[j]).norm(dim=1))


@modest
@given(seeds, st.integers(3, 12))
def test_the_topographic_gradient_is_that_of_the_plain_correlation(seed, n_rows):
    x, y = draw(seed, n_rows, 4), draw(seed + 1, n_rows, 3).requires_grad_()
    (expected,) = torch.autograd.grad(1 - plain_correlation(x, y), y)
    (gradient,) = torch.autograd.grad(topographic_loss(x, y), y)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
    (weighted,) = torch.autograd.grad(3 * topographic_loss(x, y), y)
    torch.testing.assert_close(weighted, 3 * gradient)


@modest
@given(seeds, st.integers(2, 8))
def test_the_gradient_of_squared_cosines_is_that_of_the_plain_loop(seed, n_vectors):
    vectors = draw(seed, 2, n_vectors, 3).requires_grad_()
    pairs = torch.ones(n_vectors, n_vectors).double() - torch.eye(n_vectors)
    unit = vectors / vectors.norm(dim=-1, keepdim=True)
    plain = [
        (unit[c, i] @ unit[c, j]).square()
        for c in range(2)
        for i, j in itertools.permutations(range(n_vectors), 2)
    ]
    (expected,) = torch.autograd.grad(torch.stack(plain).mean(), vectors)
    loss = mean_squared_cosine(vectors, pairs.expand(2, -1, -1))
    (gradient,) = torch.autograd.grad(3 * loss, vectors)
    torch.testing.assert_close(gradient, 3 * expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_a_process_may_have_any_part_of_a_batch(n_rows):
    dims = EmbeddingDims([2, 2], 2)
    residual = torch.ones(2, n_rows, 2, requires_grad=True)
    loss = quantization_loss([residual], [torch.zeros(2, n_rows, 2)], dims, 1.0, train_codes=False)
    loss.backward()
    assert loss.item() == (1.0 if n_rows else 0.0)
    assert residual.grad.isfinite().all()
    layout = CategoryLayout(np.split(np.arange(4), 2), 4)
    decoders = torch.zeros(2, 2, 2), torch.zeros(2, 1, 2)
    rows = residual.detach()
    told = informativeness_loss(rows, [rows], rows, *decoders, layout)
    assert told.item() == (1.0 if n_rows else 0.0)
