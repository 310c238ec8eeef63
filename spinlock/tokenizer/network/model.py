"""The Categorical Hierarchical VQ-VAE: category encoders, residual books, joint decoder."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from spinlock.tokenizer.network.category_encoder import CategoryEncoder
from spinlock.tokenizer.network.decoder import JointDecoder
from spinlock.tokenizer.network.layout import CategoryLayout, CategoryLinear, EmbeddingDims
from spinlock.tokenizer.network.model_shape import ModelShape
from spinlock.tokenizer.network.quantizer import (
    Quantized,
    ResidualQuantizer,
    straight_through,
)
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.network.token_search import TokenSearch

NETWORK_WIDTH = 4  # hidden width of the decoder's network, in units of group_hidden_dim


@dataclass(frozen=True)
class Encoded:
    """A training batch on its way: embeddings [C, B, E] and what quantisation made of them."""

    z: Tensor
    quantized: Quantized

    def through(self) -> Tensor:
        """Return the codes of all levels [C, B, E] with the gradient of the embeddings."""
        return straight_through(self.z, self.quantized.codes)


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
    def reconstruct(self, tokens: Tensor, levels: int | None = None) -> Tensor:
        """Return normalised rows [B, D] of tokens [B, C, L], of the first `levels`."""
        levels = self.n_levels if levels is None else levels
        codes = self.quantizer.decode(tokens.transpose(0, 1), levels)
        return self.decoder(codes, levels - 1)
