"""The networks that read a family's columns within each category: a registry by name.

Every encoder maps the normalised columns of a batch to one vector per category that holds
columns of the family. All categories go through one batched operation.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor, nn

from spinlock.errors import SpinlockError
from spinlock.tokenizer.network.category_norm import CategoryNorm
from spinlock.tokenizer.network.layout import CategoryLayout, CategoryLinear, Dropout

NO_NETWORK = "IdentityEncoder"  # of a family that the linear path of the category alone reads
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True)
class FamilyColumns:
    """A family's columns as they stand in the categories.

    Attributes
    ----------
    partition : list of int arrays
        Columns of the table, for each category that holds some of the family.
    n_columns : int
        D, the number of columns of the table.
    channel, coefficient : int arrays [D], optional
        For a family of series: which channel and DCT coefficient a column is.
    steps : int, optional
        T, for a family of series.
    field_channels : int, optional
        C, for encoders that read initial fields [B, C, H, W].
    """

    partition: list[np.ndarray]
    n_columns: int
    channel: np.ndarray | None = None
    coefficient: np.ndarray | None = None
    steps: int | None = None
    field_channels: int | None = None


class FamilyEncoder(nn.Module):
    """Base of the encoders: columns x [B, D] and fields → [C_f, B, output_dim]."""

    output_dim: int

    @abstractmethod
    def forward(self, x: Tensor, fields: Tensor | None) -> Tensor:
        """Encode a batch."""


REGISTRY: dict[str, Callable[[FamilyColumns, Mapping[str, Any]], FamilyEncoder]] = {}


def register(encoder: type[FamilyEncoder]) -> type[FamilyEncoder]:
    """Make an encoder available to the settings under its class name."""
    REGISTRY[encoder.__name__] = encoder
    return encoder


def build_encoder(name: str, columns: FamilyColumns, params: Mapping[str, Any]) -> FamilyEncoder:
    """Return the encoder that the settings name.

    Raises
    ------
    SpinlockError
        When the name is not in the registry.
    """
    if name not in REGISTRY:
        raise SpinlockError(
            f"unknown encoder {name!r}",
            remedy=f"choose one of {', '.join(sorted([NO_NETWORK, *REGISTRY]))}, or register the "
            "class before a model of it is loaded (docs/encoders.md)",
        )
    return REGISTRY[name](columns, params)


def perceptron(
    n_categories: int, widths: Sequence[int], params: Mapping[str, Any]
) -> nn.Sequential:
    """Return one multilayer perceptron per category over `widths`, as batched layers."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths[:-1]):
        layers.append(CategoryLinear(n_categories, n_in, n_out))
        if params.get("batch_norm"):
            layers.append(CategoryNorm(n_categories, n_out))
        layers.append(ACTIVATIONS[params.get("activation", "relu")]())
        layers.append(Dropout(params.get("dropout", 0.0), of_categories=True))
    layers.append(CategoryLinear(n_categories, widths[-2], widths[-1]))
    return nn.Sequential(*layers)


@register
class MLPEncoder(FamilyEncoder):
    """A multilayer perceptron per category.

    Parameters of the settings: hidden_dims, output_dim, dropout, activation, batch_norm.
    """

    def __init__(self, columns: FamilyColumns, params: Mapping[str, Any]):
        super().__init__()
        self.layout = CategoryLayout(columns.partition, columns.n_columns)
        self.output_dim = params["output_dim"]
        widths = [self.layout.width, *params["hidden_dims"], self.output_dim]
        self.network = perceptron(self.layout.n_categories, widths, params)

    def forward(self, x: Tensor, fields: Tensor | None) -> Tensor:  # noqa: ARG002
        """Encode a batch."""
        return self.network(self.layout.gather(x))
