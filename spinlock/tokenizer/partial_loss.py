"""The informativeness loss category by category, without the padding of the plain one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spinlock.tokenizer.losses import inner_product
from spinlock.tokenizer.model import TokenizerModel


def prefix_error(z: Tensor, prefixes: Sequence[Tensor], x: Tensor, model: TokenizerModel) -> Tensor:
    """Return the mean squared error of the partial decoders, averaged over prefixes.

    What `informativeness_loss` is of the decoded straight-through prefixes: the gradient of a
    prefix goes to the embeddings. Only what exists is computed, a category at a time, so that
    its errors are still in the cache when the gradients need them.

    Parameters
    ----------
    z : Tensor [C, B, E]
        Embeddings.
    prefixes : L tensors [C, B, E]
        Code sums of levels 0..l, without gradient.
    x : Tensor [B, D]
    model : TokenizerModel
    """
    weight, bias = model.partial.weight, model.partial.bias
    squares = _PrefixSquares.apply(z, prefixes, x, weight, bias, model)
    return squares / (x.numel() * len(prefixes))


class _PrefixSquares(torch.autograd.Function):
    """Sum of squared errors; the gradients are taken while the errors are at hand."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        prefixes: Sequence[Tensor],
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        model: TokenizerModel,
    ) -> Tensor:
        gradients = tuple(torch.zeros_like(one) for one in (z, weight, bias))
        by_level = [one.unflatten(0, (len(prefixes), -1)) for one in (weight, bias, *gradients[1:])]
        total = x.new_zeros(())
        for c, (size, dim) in enumerate(
            zip(model.layout.sizes, model.encoder.dims.sizes, strict=True)
        ):
            exist = (slice(None), c, slice(dim), slice(size))
            weights, biases, to_weights, to_biases = (one[exist] for one in by_level)
            codes = torch.stack([prefix[c, :, :dim] for prefix in prefixes])
            columns = x.index_select(1, model.layout.index[c, :size])
            error = torch.baddbmm(biases, codes, weights).sub_(columns)
            total += inner_product(error, error)
            to_z = gradients[0][c, :, :dim]
            torch.addbmm(to_z, error, weights.transpose(1, 2), out=to_z)
            to_weights.copy_(torch.bmm(codes.transpose(1, 2), error))
            to_biases.copy_(error.sum(dim=1, keepdim=True))
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        to_z, to_weight, to_bias = (one * (2 * gradients[0]) for one in ctx.saved_tensors)
        return to_z, None, None, to_weight, to_bias, None
