"""The tokens of rows: searched in float32, and in float64 where float32 cannot tell.

So tokens are those of exact arithmetic, whatever the device, the number of threads, the rows
beside a row, and the order in which a library adds up.
"""

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spinlock.tokenizer.category_path import CategoryPath, families_read_together
from spinlock.tokenizer.codebook import Book, search

if TYPE_CHECKING:
    from spinlock.tokenizer.model import CategoryEncoder, Rows
    from spinlock.tokenizer.quantizer import ResidualQuantizer

UNCLEAR = 3e-6  # margin that rounding in float32 may close; it was seen to close 4e-7


class TokenSearch:
    """Tokens of normalised rows, with the weights as they are now.

    Parameters
    ----------
    encoder : CategoryEncoder
    quantizer : ResidualQuantizer
    beam : int
        Encodings to follow; 1 is greedy.
    """

    def __init__(self, encoder: "CategoryEncoder", quantizer: "ResidualQuantizer", beam: int):
        self.beam = beam
        self.given = _Precision(encoder, quantizer)
        exact = self.given.dtype == torch.float64
        self.exact = self.given if exact else _Precision(*_doubled(encoder, quantizer))

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def __call__(self, rows: "Rows") -> Tensor:
        """Return tokens [B, C, L]."""
        embedded = self.given.embed_all(rows)
        return torch.stack([self._tokens(rows, c, z) for c, z in enumerate(embedded)], dim=1)

    def _tokens(self, rows: "Rows", category: int, z: Tensor) -> Tensor:
        tokens, margin = search(z, self.given.books[category], self.beam)
        if self.exact is not self.given:
            unclear = (margin < UNCLEAR).nonzero()[:, 0]
            if len(unclear):
                again = self.exact.embed(rows.take(unclear).double(), category)
                tokens[unclear] = search(again, self.exact.books[category], self.beam).tokens
        return tokens


class _Precision:
    """Embeddings and books in one precision."""

    def __init__(self, encoder: "CategoryEncoder", quantizer: "ResidualQuantizer"):
        self.encoder = encoder
        self.dtype = quantizer.all_codes.dtype
        self.dims = encoder.dims.sizes
        self.paths = [CategoryPath(encoder, c) for c in range(quantizer.n_categories)]
        self.together = families_read_together(encoder)
        self.books = [
            [Book.of(codes) for codes in quantizer.books(c, dim)] for c, dim in enumerate(self.dims)
        ]

    def embed_all(self, rows: "Rows") -> Iterable[Tensor]:
        """Give the embeddings [B, E_c] of each category; one by one is less arithmetic on a CPU."""
        if rows.x.device.type == "cpu":
            return self._one_by_one(rows)
        z = self.encoder(rows.x, rows.fields)
        return (z[c, :, :dim] for c, dim in enumerate(self.dims))

    def embed(self, rows: "Rows", category: int) -> Tensor:
        """Return the embeddings of one category."""
        return self.paths[category].embed(rows.x, self._read(rows))

    def _one_by_one(self, rows: "Rows") -> Iterator[Tensor]:
        read = self._read(rows)
        return (path.embed(rows.x, read) for path in self.paths)

    def _read(self, rows: "Rows") -> dict[str, Tensor]:
        networks = self.encoder.networks
        return {family: networks[family](rows.x, rows.fields) for family in self.together}


def _doubled(
    encoder: "CategoryEncoder", quantizer: "ResidualQuantizer"
) -> tuple["CategoryEncoder", "ResidualQuantizer"]:
    return copy.deepcopy(encoder).double(), copy.deepcopy(quantizer).double()
