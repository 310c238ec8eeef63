"""The informativeness loss category by category, without the padding of the plain one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spinlock.tokenizer.losses import inner_product
from spinlock.tokenizer.model import TokenizerModel
from spinlock.tokenizer.products import float32_products


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
    squares, *_ = prefix_squares(
        z,
        list(prefixes),
        x,
        model.partial.weight,
        model.partial.bias,
        model.layout.index,
        model.layout.sizes,
        model.encoder.dims.sizes,
    )
    return squares / (x.numel() * len(prefixes))


@torch.library.custom_op("spinlock::prefix_squares", mutates_args=())
@float32_products("highest")  # of one category they are small, and MKL's are quicker
def prefix_squares(
    z: Tensor,
    prefixes: list[Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    index: Tensor,
    sizes: list[int],
    dims: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the sum of squared errors, and half its gradients by z, weight and bias.

    The gradients are taken while the errors are at hand. The compiler takes it as it is: it
    would put the padding back.
    """
    gradients = tuple(torch.zeros_like(one) for one in (z, weight, bias))
    by_level = [one.unflatten(0, (len(prefixes), -1)) for one in (weight, bias, *gradients[1:])]
    total = x.new_zeros(())
    for c, (size, dim) in enumerate(zip(sizes, dims, strict=True)):
        exist = (slice(None), c, slice(dim), slice(size))
        weights, biases, to_weights, to_biases = (one[exist] for one in by_level)
        codes = torch.stack([prefix[c, :, :dim] for prefix in prefixes])
        columns = x.index_select(1, index[c, :size])
        error = torch.baddbmm(biases, codes, weights).sub_(columns)
        total += inner_product(error, error)
        to_z = gradients[0][c, :, :dim]
        torch.addbmm(to_z, error, weights.transpose(1, 2), out=to_z)
        to_weights.copy_(torch.bmm(codes.transpose(1, 2), error))
        to_biases.copy_(error.sum(dim=1, keepdim=True))
    return total, *gradients


@prefix_squares.register_fake
def _shapes(*inputs: Any) -> tuple[Tensor, ...]:
    z, _, x, weight, bias, *_ = inputs
    return x.new_empty(()), *(torch.empty_like(one) for one in (z, weight, bias))


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.n_levels = len(inputs[1])
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
    to_z, to_weight, to_bias = (one * (2 * gradients[0]) for one in ctx.saved_tensors)
    return to_z, [None] * ctx.n_levels, None, to_weight, to_bias, None, None, None


prefix_squares.register_autograd(_scale_gradients, setup_context=_keep_gradients)
