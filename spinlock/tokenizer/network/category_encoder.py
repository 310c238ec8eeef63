"""The embeddings of categories: a linear path of each, plus what the networks of families say."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spinlock.tokenizer.network import field_encoders, series_encoder  # noqa: F401 they register
from spinlock.tokenizer.network.encoders import NO_NETWORK, FamilyColumns, build_encoder
from spinlock.tokenizer.network.layout import (
    CategoryLayout,
    CategoryLinear,
    Dropout,
    EmbeddingDims,
    add_to_members,
)
from spinlock.tokenizer.network.model_shape import ModelShape


class CategoryEncoder(nn.Module):
    """Each category's embedding from its own columns and what fields its networks read.

    z_c = (x_c − m_c) A_c + h_c(networks of the families that c holds), where h starts at
    zero, so that training begins exactly at the linear start.
    """

    def __init__(self, shape: ModelShape, layout: CategoryLayout, dims: EmbeddingDims):
        super().__init__()
        self.layout = layout
        self.dims = dims
        n_categories = layout.n_categories
        self.linear = CategoryLinear(n_categories, layout.width, shape.width, zero=True)
        self.networks = nn.ModuleDict()
        self.projections = nn.ModuleDict()
        for family, choice in shape.encoders.items():
            columns, categories = family_columns(shape, family)
            if not categories or choice["encoder"] == NO_NETWORK:
                continue
            encoder = build_encoder(choice["encoder"], columns, choice["encoder_params"])
            name = module_name(family)
            self.networks[name] = encoder
            self.projections[name] = CategoryLinear(
                len(categories), encoder.output_dim, shape.hidden_dim
            )
            self.register_buffer(f"members_{name}", torch.tensor(categories), persistent=False)
        self.dropout = Dropout(shape.dropout, of_categories=True)
        self.head = CategoryLinear(n_categories, shape.hidden_dim, shape.width, zero=True)

    def forward(self, x: Tensor, fields: Tensor | None = None) -> Tensor:
        """Return embeddings [C, B, E] of normalised columns x [B, D]."""
        z = self.linear(self.layout.gather(x))
        if len(self.networks):
            hidden = self.dropout(functional.gelu(self._read_families(x, fields)))
            z = z + self.head(hidden)
        return z * self.dims.mask

    def _read_families(self, x: Tensor, fields: Tensor | None) -> Tensor:
        """Return the sum [C, B, hidden] of what the networks of the families say."""
        n_categories = self.layout.n_categories
        everywhere, elsewhere = [], []
        for name, network in self.networks.items():
            projected = self.projections[name](network(x, fields))
            if len(projected) == n_categories:  # needs no place to be found for it
                everywhere.append(projected)
            else:
                elsewhere.append((getattr(self, f"members_{name}"), projected))
        if everywhere:
            hidden = everywhere.pop()
        else:
            some = elsewhere[0][1]
            hidden = some.new_zeros(n_categories, *some.shape[1:])
        for projected in everywhere:
            hidden = hidden + projected
        for members, projected in elsewhere:
            hidden = add_to_members(hidden, projected, members)
        return hidden


def module_name(family: str) -> str:
    """Return what torch calls the modules of a family: it takes no dots, nor its own names."""
    name = family.replace("%", "%25").replace(".", "%2E")
    return f"{name}%" if hasattr(nn.ModuleDict(), name) else name


def family_columns(shape: ModelShape, family: str) -> tuple[FamilyColumns, list[int]]:
    """Return a family's columns by category, and the categories that hold some."""
    families = np.array(shape.column_family)
    parts = [np.array(m)[families[m] == family] for m in shape.partition]
    categories = [c for c, members in enumerate(parts) if len(members)]
    series: Mapping[str, Any] = shape.series.get(family, {})
    return (
        FamilyColumns(
            partition=[parts[c] for c in categories],
            n_columns=len(families),
            channel=_array(series.get("channel")),
            coefficient=_array(series.get("coefficient")),
            steps=series.get("steps"),
            field_channels=shape.field_channels,
        ),
        categories,
    )


def _array(values: Sequence[int] | None) -> np.ndarray | None:
    return None if values is None else np.asarray(values)
