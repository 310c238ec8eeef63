"""The five terms of the training loss; docs/method.md has their equations.

None grows with the number of rows, so their weights do not depend on the batch size: they are
means over rows, but for orthogonality and topographic, which are correlations.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spinlock.tokenizer.network.layout import CategoryLayout, EmbeddingDims

PAIR_ROWS = 64  # rows whose codes are compared within a category
SAME_CODE = 1e-5  # of the largest value: closer rows took one code
TINY = 1e-8


def reconstruction_loss(x: Tensor, decoded: Tensor) -> Tensor:
    """Return the mean squared error of decoded [B, D] against x [B, D]."""
    return functional.mse_loss(decoded, x)


def quantization_loss(
    residuals: Sequence[Tensor],
    codes: Sequence[Tensor],
    dims: EmbeddingDims,
    commitment_cost: float,
    *,
    train_codes: bool,
) -> Tensor:
    """Return the commitment of the encoder, and the pull on the codes when they are trained.

    Σ_l mean(β ‖r_l − sg(q_l)‖² + ‖sg(r_l) − q_l‖²), the second term only when `train_codes`
    (van den Oord et al. 2017, equation 3).

    Parameters
    ----------
    residuals, codes : L tensors [C, B, E]
        What each level had to quantise, and the code vectors it took; padding is zero.
    dims : EmbeddingDims
        Which dimensions are padding.
    """
    pairs = list(zip(residuals, codes, strict=True))
    loss = commitment_cost * sum(squared_distance(r, q.detach()) for r, q in pairs)
    if train_codes:
        loss = loss + sum(squared_distance(q, r.detach()) for r, q in pairs)
    n_rows = max(residuals[0].shape[1], 1)  # a process may have none of a batch
    return loss / (dims.total * n_rows)


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ (a − b)² with the gradient of a: one difference serves both."""
    return _SquaredDistance.apply(a, b)


def inner_product(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ a b over all entries."""
    return (a * b).sum()  # oneDNN, which large products go to, takes ten times as long for a dot


class _SquaredDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        difference = a - b
        ctx.save_for_backward(difference)
        return inner_product(difference, difference)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * (2 * gradients[0]), None


def orthogonality_loss(z: Tensor, code_vectors: Tensor, dims: EmbeddingDims) -> Tensor:
    """Return the dependence between categories plus that between the codes of a category.

    Between categories: the squared correlations, over the batch, of a dimension of one embedding
    with all those of another, summed (how much of it the other tells, were its dimensions
    uncorrelated), the mean over dimensions and other categories. Within a category: the mean
    squared cosine of the codes that different rows took, which carries the gradient of the
    embeddings.

    Parameters
    ----------
    z : Tensor [C, B, E]
        Embeddings.
    code_vectors : Tensor [C, B, E]
        Code vectors with the straight-through gradient.
    dims : EmbeddingDims
        Which dimensions are padding.
    """
    return _between_categories(z, dims) + _within_categories(code_vectors[:, :PAIR_ROWS])


def _between_categories(z: Tensor, dims: EmbeddingDims) -> Tensor:
    if z.shape[0] < 2 or z.shape[1] < 2:
        return z.new_zeros(())
    flat = dims.compact(z)
    per_pair = mean_squared_cosine((flat - flat.mean(dim=0)).T, dims.between)
    return per_pair * dims.met_in_another


def _within_categories(code_vectors: Tensor) -> Tensor:
    with torch.no_grad():
        codes = code_vectors.float()
        # equal codes have equal products with any vector; others hardly ever
        place = (codes * _probe(codes.shape[-1], codes.device)).sum(-1)
        apart = (place.unsqueeze(-1) - place.unsqueeze(-2)).abs()
        differ = apart > SAME_CODE * codes.abs().max()
    return mean_squared_cosine(code_vectors, differ.to(code_vectors.dtype))


def _probe(width: int, device: torch.device) -> Tensor:
    """Return a vector [E] without symmetry that codes could share."""
    return torch.arange(1, width + 1, device=device).mul(12.9898).sin() + 2


class _MeanSquaredCosine(torch.autograd.Function):
    """The gradient is one product of the cosines, which autograd would take two for."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, pairs: Tensor) -> Tensor:
        norms = vectors.square().sum(-1, keepdim=True).clamp_min_(TINY).sqrt_()
        unit = vectors / norms
        cosines = unit @ unit.transpose(-1, -2)
        chosen = cosines * pairs
        scale = pairs.sum().clamp_min(1).reciprocal()
        ctx.save_for_backward(unit, norms, chosen, scale)
        return (chosen * cosines).sum() * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        unit, norms, chosen, scale = ctx.saved_tensors
        toward = (chosen @ unit) * (4 * gradients[0] * scale)
        return (toward - unit * (toward * unit).sum(-1, keepdim=True)) / norms, None


def mean_squared_cosine(vectors: Tensor, pairs: Tensor) -> Tensor:
    """Return the mean of cos² over pairs of vectors [..., n, d].

    `pairs` [..., n, n] is symmetric: 1 for pairs that count, else 0; without any the mean is 0.
    """
    return _MeanSquaredCosine.apply(vectors, pairs)


def informativeness_loss(
    z: Tensor,
    prefixes: Sequence[Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    layout: CategoryLayout,
) -> Tensor:
    """Return the mean squared error of the partial decoders, averaged over prefixes.

    They tell a category's columns from its codes of levels 0..l alone. The gradient of a prefix
    goes to the embeddings, as that of straight-through codes.

    Parameters
    ----------
    z : Tensor [C, B, E]
        Embeddings.
    prefixes : L tensors [C, B, E]
        Sum of the code vectors of levels 0..l, without gradient.
    x : Tensor [C, B, W]
        Columns by category, padding zero.
    weight : Tensor [L · C, E, W]
    bias : Tensor [L · C, 1, W]
        Of the partial decoders; what they say of padding is zero.
    layout : CategoryLayout
        Which columns are padding.
    """
    squares = _PartialSquares.apply(z, weight, bias, x, *prefixes)
    return squares / (layout.n_columns * max(x.shape[1], 1) * len(prefixes))


class _PartialSquares(torch.autograd.Function):
    """Σ_l ‖x − prefix_l W_l − b_l‖², level by level.

    The gradients, too, are taken while the errors of a level are at hand: those of all levels
    are never held, which in wide tables would be most of what a step holds.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, weight: Tensor, bias: Tensor, x: Tensor, *prefixes: Tensor
    ) -> Tensor:
        total, to_z = x.new_zeros(()), torch.zeros_like(prefixes[0])
        to_weights, to_biases = [], []
        n_levels = len(prefixes)
        of_level = zip(prefixes, weight.chunk(n_levels), bias.chunk(n_levels), strict=True)
        for prefix, weights, biases in of_level:
            error = torch.bmm(prefix, weights).to(x.dtype).add_(biases).sub_(x)
            total = total + inner_product(error, error)
            to_z = to_z + torch.bmm(error, weights.transpose(1, 2))
            to_weights.append(torch.bmm(prefix.transpose(1, 2), error))
            to_biases.append(error.sum(1, keepdim=True))
        gradients = to_z.to(z.dtype), torch.cat(to_weights), torch.cat(to_biases)
        ctx.save_for_backward(*gradients)
        ctx.n_others = 1 + n_levels
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = 2 * gradients[0]
        to_z, to_weight, to_bias = (one * scale.to(one.dtype) for one in ctx.saved_tensors)
        return to_z, to_weight, to_bias, *[None] * ctx.n_others


def topographic_loss(x: Tensor, code_vectors: Tensor) -> Tensor:
    """Return 1 − the correlation of input distances with code distances, over pairs i < j.

    Parameters
    ----------
    x : Tensor [B, D]
        Normalised rows.
    code_vectors : Tensor [B, S]
        Decoded embeddings of all categories, with the straight-through gradient.
    """
    if len(x) < 3:
        return x.new_zeros(())
    return 1 - _DistanceCorrelation.apply(x, code_vectors)


class _DistanceCorrelation(torch.autograd.Function):
    """The correlation over all pairs i ≠ j, each twice, which changes nothing.

    With a, b the centred distances: ∂ρ/∂b = (a/‖a‖ − ρ b/‖b‖)/‖b‖ =: g, which is centred, so
    the gradient of row i is 2 Σ_j g_ij (y_i − y_j)/d_ij: one product instead of two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        a, between_codes = _centre(distances(x)), distances(y)
        b = _centre(between_codes.clone())
        norm_a, norm_b = (inner_product(one, one).add(TINY).sqrt() for one in (a, b))
        rho = inner_product(a, b) / (norm_a * norm_b)
        ctx.save_for_backward(y, between_codes, a.div_(norm_a), b.div_(norm_b), rho, norm_b)
        return rho

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        y, between_codes, a, b, rho, norm_b = ctx.saved_tensors
        toward = torch.addcmul(a, b, rho, value=-1).div_(between_codes)
        scale = 2 * gradients[0] / norm_b
        return None, (toward.sum(1, keepdim=True) * y).sub_(toward @ y).mul_(scale)


def _centre(between: Tensor) -> Tensor:
    """Take from distances [B, B] their mean over i ≠ j, in place; the diagonal becomes zero."""
    n_rows = len(between)
    pairs = n_rows * (n_rows - 1)
    mean = (between.sum() - between.diagonal().sum()) / pairs
    between.sub_(mean).diagonal().zero_()
    return between


def distances(x: Tensor) -> Tensor:
    """Return the Euclidean distances [B, B] of rows x [B, D], from one Gram matrix."""
    norms = x.square().sum(1)
    squared = torch.addmm(norms.unsqueeze(1) + norms.unsqueeze(0), x, x.T, alpha=-2)
    return squared.clamp_min_(TINY).sqrt_()
