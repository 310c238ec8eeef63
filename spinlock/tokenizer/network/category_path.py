"""From one category's columns to its embedding: without padding, normalisation folded in.

All categories at once are one operation each, which a GPU and small batches want. Many rows on a
CPU go category by category: a third less arithmetic, and what is computed stays in the cache.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spinlock.tokenizer.network.category_encoder import CategoryEncoder
from spinlock.tokenizer.network.category_norm import CategoryNorm
from spinlock.tokenizer.network.encoders import MLPEncoder
from spinlock.tokenizer.network.layout import CategoryLinear, Dropout


class Affine(NamedTuple):
    """The map x [B, n_in] → x @ weight + bias."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, linear: CategoryLinear, place: int, n_in: int | None = None) -> "Affine":
        """Return what a batched map does with the first `n_in` inputs of a category."""
        return cls(linear.weight[place, :n_in], linear.bias[place, 0])

    def __call__(self, x: Tensor) -> Tensor:
        """Return the image of rows x."""
        return torch.addmm(self.bias, x, self.weight)


class CategoryPath:
    """What `CategoryEncoder` does with one category, in evaluation.

    Parameters
    ----------
    encoder : CategoryEncoder
    category : int
    """

    def __init__(self, encoder: CategoryEncoder, category: int):
        layout, self.dims = encoder.layout, encoder.dims.sizes[category]
        width = layout.sizes[category]
        self.columns = layout.index[category, :width]
        self.linear = Affine.of(encoder.linear, category, width)
        self.readers: list[Callable[[Tensor, Mapping[str, Tensor]], Tensor]] = []
        projections = []
        for family, network in encoder.networks.items():
            members = getattr(encoder, f"members_{family}").tolist()
            if category in members:
                place = members.index(category)
                self.readers.append(_reader(family, network, place, self.columns))
                projections.append(Affine.of(encoder.projections[family], place))
        if projections:  # side by side, the families' projections are one product
            weights, biases = zip(*projections, strict=True)
            self.projection = Affine(torch.cat(weights), sum(biases))
        self.head = Affine.of(encoder.head, category)
        if len(encoder.networks) and not projections:  # the head of nothing is its bias
            self.linear = self.linear._replace(bias=self.linear.bias + self.head.bias)

    def embed(self, x: Tensor, read: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings [B, E_c] of normalised columns x [B, D].

        `read` holds what the families in `families_read_together` gave, [C_f, B, output_dim].
        """
        own = x.index_select(1, self.columns)
        z = self.linear(own)
        if self.readers:
            inputs = [reader(own, read) for reader in self.readers]
            side_by_side = torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]
            hidden = nn.functional.gelu(self.projection(side_by_side))
            z += self.head(hidden)
        return z[:, : self.dims]


def families_read_together(encoder: CategoryEncoder) -> list[str]:
    """Return the families whose networks do not come apart by category."""
    return [name for name, network in encoder.networks.items() if type(network) is not MLPEncoder]


def _reader(
    family: str, network: nn.Module, place: int, own_columns: Tensor
) -> Callable[[Tensor, Mapping[str, Tensor]], Tensor]:
    """Return what a family's network makes of the category's own columns [B, n]."""
    if type(network) is not MLPEncoder:
        return lambda _, read: read[family][place]
    columns = network.layout.index[place, : network.layout.sizes[place]]
    layers = _layers(network.network, place, len(columns))
    reads_all = torch.equal(columns, own_columns)
    among_own = (own_columns == columns.unsqueeze(1)).int().argmax(dim=1)

    def perceptron(own: Tensor, _: Mapping[str, Tensor]) -> Tensor:
        h = own if reads_all else own.index_select(1, among_own)
        for layer in layers:
            h = layer(h)
        return h

    return perceptron


def _layers(network: nn.Sequential, place: int, width: int) -> list[Callable[[Tensor], Tensor]]:
    """Return a perceptron's layers for one category whose columns are `width` many."""
    layers: list[Callable[[Tensor], Tensor]] = []
    for layer in network:
        if isinstance(layer, CategoryLinear):
            layers.append(Affine.of(layer, place, None if layers else width))
        elif isinstance(layer, CategoryNorm):
            weight, bias = layers[-1]
            scale, shift = (one[place] for one in layer.by_averages())
            layers[-1] = Affine(weight * scale, bias * scale + shift)
        elif not isinstance(layer, Dropout):
            layers.append(layer)
    return layers
