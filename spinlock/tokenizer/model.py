"""The Categorical Hierarchical VQ-VAE: category encoders, residual books, joint decoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spinlock.tokenizer import field_encoders, series_encoder  # noqa: F401 they register
from spinlock.tokenizer.decoder import JointDecoder
from spinlock.tokenizer.encoders import NO_NETWORK, FamilyColumns, build_encoder
from spinlock.tokenizer.layout import (
    CategoryLayout,
    CategoryLinear,
    Dropout,
    EmbeddingDims,
    add_to_members,
)
from spinlock.tokenizer.quantizer import (
    Quantized,
    ResidualQuantizer,
    straight_through,
)
from spinlock.tokenizer.rows import Rows
from spinlock.tokenizer.token_search import TokenSearch

ROW_BLOCK = 1024  # rows that go through the model at once where no gradient is needed
NETWORK_WIDTH = 4  # hidden width of the decoder's network, in units of group_hidden_dim


@dataclass(frozen=True)
class ModelShape:
    """All that is needed to build a model, in plain values that a checkpoint can hold.

    Attributes
    ----------
    partition : list [C] of lists
        Kept columns of each category.
    book_sizes : list [C] of lists [L]
        Number of codes of each category and level.
    column_family : list [D]
        Family of each kept column.
    encoders : dict
        Family → {"encoder": name, "encoder_params": {...}}.
    embedding_dim, hidden_dim : int
        Widths of a category's embedding (at most) and hidden layer.
    dropout, decay : float
    use_ema : bool
    beam_width : int
        Encodings that are followed when tokens are made.
    series : dict
        Family → {"steps", "channel" [D], "coefficient" [D]} for families of series.
    field_channels : int or None
        Channels of the initial fields, when the dataset has them.
    """

    partition: list[list[int]]
    book_sizes: list[list[int]]
    column_family: list[str]
    encoders: dict[str, dict[str, Any]]
    embedding_dim: int = 64
    hidden_dim: int = 128
    dropout: float = 0.1
    decay: float = 0.99
    use_ema: bool = True
    beam_width: int = 8
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    field_channels: int | None = None

    @property
    def width(self) -> int:
        """E: no category's embedding needs more dimensions than it has columns."""
        return min(self.embedding_dim, max(len(members) for members in self.partition))


@dataclass(frozen=True)
class Encoded:
    """A training batch on its way: embeddings [C, B, E] and what quantisation made of them."""

    z: Tensor
    quantized: Quantized

    def through(self) -> Tensor:
        """Return the codes of all levels [C, B, E] with the gradient of the embeddings."""
        return straight_through(self.z, self.quantized.codes)


class CategoryEncoder(nn.Module):
    """Each category's embedding from its own columns: a linear path plus the family networks.

    z_c = (x_c − m_c) A_c + h_c(networks of the families that c holds), where h starts at
    zero, so that a principal component start is exactly what training begins from.
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
            self.networks[family] = encoder
            self.projections[family] = CategoryLinear(
                len(categories), encoder.output_dim, shape.hidden_dim
            )
            self.register_buffer(f"members_{family}", torch.tensor(categories), persistent=False)
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
        for family, network in self.networks.items():
            projected = self.projections[family](network(x, fields))
            if len(projected) == n_categories:  # needs no place to be found for it
                everywhere.append(projected)
            else:
                elsewhere.append((getattr(self, f"members_{family}"), projected))
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


class TokenizerModel(nn.Module):
    """Encoder, quantizer and decoder on normalised columns.

    Parameters
    ----------
    shape : ModelShape
    """

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape = shape
        n_columns = len(shape.column_family)
        self.layout = CategoryLayout([np.array(m) for m in shape.partition], n_columns)
        dims = EmbeddingDims([min(n, shape.width) for n in self.layout.sizes], shape.width)
        self.encoder = CategoryEncoder(shape, self.layout, dims)
        self.quantizer = ResidualQuantizer(
            shape.book_sizes, shape.width, decay=shape.decay, use_ema=shape.use_ema
        )
        n_levels = self.quantizer.n_levels
        self.decoder = JointDecoder(
            self.layout,
            dims,
            n_levels,
            NETWORK_WIDTH * shape.hidden_dim,
            shape.dropout,
        )
        # of level l and category c at l · C + c: all of them are one batched product
        self.partial = CategoryLinear(
            n_levels * self.layout.n_categories, shape.width, self.layout.width, zero=True
        )

    @property
    def n_levels(self) -> int:
        """L, the number of levels."""
        return self.quantizer.n_levels

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load a state dict, also that of a model whose levels are restricted to subspaces."""
        for level in range(self.n_levels):
            self.quantizer.set_projector(level, weights[f"quantizer.projector_{level}"])
        self.load_state_dict(weights)

    def not_finite(self) -> str | None:
        """Return the name of the first weights or buffer with what is no number; None if sound."""
        weights = self.state_dict()
        # a sum in float64 is a number when all that it adds are: one pass instead of several
        sums = [one.sum(dtype=torch.float64) for one in weights.values()]
        finite = torch.stack(sums).isfinite()
        bad = (~finite).nonzero().flatten().tolist()  # the device is waited for once
        return list(weights)[bad[0]] if bad else None

    def encode(self, rows: Rows) -> Encoded:
        """Embed and quantise a batch greedily, for training."""
        z = self.encoder(rows.x, rows.fields)
        return Encoded(z, self.quantizer(z))

    def tokenize(self, rows: Rows, beam: int | None = None) -> Tensor:
        """Return tokens [B, C, L] of normalised rows, following `beam` encodings."""
        return self.token_search(beam).tokens(rows.__getitem__, len(rows))

    def draft_tokens(self, rows: Rows) -> Tensor:
        """Return tokens [B, C, L] where rounding may decide between two nearly as good."""
        return self.token_search().draft(rows.__getitem__, len(rows))

    def token_search(self, beam: int | None = None) -> TokenSearch:
        """Return what finds the tokens of rows, with the weights as they are now."""
        return TokenSearch(self.encoder, self.quantizer, beam or self.shape.beam_width)

    def embed(self, tokens: Tensor, levels: int | None = None) -> Tensor:
        """Return the code sums [B, C, E] of tokens [B, C, L], of the first `levels`."""
        return self.quantizer.decode(tokens.transpose(0, 1), levels).transpose(0, 1)

    @torch.no_grad()
    def decode_own(self, tokens: Tensor, levels: int) -> Tensor:
        """Return normalised rows [B, D], each column decoded by its own category alone."""
        decoded = self.quantizer.all_codes.new_empty(len(tokens), self.layout.n_columns)
        blocks = zip(decoded.split(ROW_BLOCK), tokens.split(ROW_BLOCK), strict=True)
        for part, block in blocks:
            codes = self.quantizer.decode(block.transpose(0, 1), levels)
            part.copy_(self.decoder.decode_own(codes))
        return decoded

    @torch.no_grad()
    def reconstruct(self, tokens: Tensor, levels: int | None = None) -> Tensor:
        """Return normalised rows [B, D] of tokens [B, C, L], of the first `levels`."""
        levels = self.n_levels if levels is None else levels
        codes = self.quantizer.decode(tokens.transpose(0, 1), levels)
        return self.decoder(codes, levels - 1)


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
