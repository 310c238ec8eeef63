"""The tokens of rows: searched in float32, and in float64 where float32 cannot tell.

So tokens are those of exact arithmetic, whatever the device, the number of threads, the rows
beside a row, and the order in which a library adds up.
"""

import copy
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from spinlock.tokenizer.network.category_encoder import CategoryEncoder
from spinlock.tokenizer.network.category_path import CategoryPath, families_read_together
from spinlock.tokenizer.network.codebook import ROW_BLOCK, Book, Found, search
from spinlock.tokenizer.network.products import full_float32
from spinlock.tokenizer.network.quantizer import ResidualQuantizer
from spinlock.tokenizer.network.rows import Rows, joined
from spinlock.tokenizer.network.threads import map_parts, row_blocks

# margin that rounding in float32 may close, where embeddings are about as large as the columns, as
# those along principal axes are; it was seen to close 4e-7
UNCLEAR = 3e-6
THREADED_ROWS = 256  # of a block; with fewer, threads cost the categories more than they save


class TokenSearch:
    """Tokens of normalised rows, with the weights as they are now.

    Parameters
    ----------
    encoder : CategoryEncoder
    quantizer : ResidualQuantizer
    beam : int
        Encodings to follow; 1 is greedy.
    """

    def __init__(self, encoder: CategoryEncoder, quantizer: ResidualQuantizer, beam: int):
        self.beam = beam
        dims = encoder.dims.sizes
        books = [[Book.of(one) for one in quantizer.books(c, dim)] for c, dim in enumerate(dims)]
        self.given = _Precision(encoder, books)

    @cached_property
    def exact(self) -> "_Precision":
        """The same in float64, made when a token is unclear."""
        return self.given if self.given.in_float64 else self.given.double()

    def tokens(self, read: Callable[[slice], Rows], n_rows: int) -> Tensor:
        """Return tokens [n, C, L] of the rows that `read` gives by block.

        On a CPU, threads share the blocks, or the categories where there is one block. Unclear
        rows of all blocks are searched again together.
        """
        tokens, unclear, doubtful = self._drafts(read, n_rows)
        return self._settled(torch.cat(tokens), torch.cat(unclear), joined(doubtful))

    def draft(self, read: Callable[[slice], Rows], n_rows: int) -> Tensor:
        """Return the tokens before the unclear ones are searched again: enough for a mean error."""
        tokens, _, _ = self._drafts(read, n_rows)
        return torch.cat(tokens)

    def _drafts(
        self, read: Callable[[slice], Rows], n_rows: int
    ) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Rows]]:
        """Return what `_draft` gives for each block."""

        def draft(block: slice) -> tuple[Tensor, Tensor, Rows]:
            return self._draft(read(block))

        blocks = row_blocks(n_rows)
        with full_float32():
            drafts = map(draft, blocks) if self.given.on_gpu else map_parts(draft, blocks)
            tokens, unclear, doubtful = zip(*drafts, strict=True)
        return tokens, unclear, doubtful

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def _draft(self, rows: Rows) -> tuple[Tensor, Tensor, Rows]:
        """Return tokens [B, C, L], which are unclear [B, C], and the rows that have such."""
        embedded = self.given.embedder(rows)

        def find(category: int) -> Found:
            return search(embedded(category), self.given.books[category], self.beam)

        categories = range(len(self.given.books))
        alone = self.given.on_gpu or len(rows) < THREADED_ROWS
        found = [find(c) for c in categories] if alone else map_parts(find, categories)
        unclear = torch.stack([one.margin for one in found], dim=1) < UNCLEAR
        if self.given.in_float64:
            unclear = torch.zeros_like(unclear)
        doubtful = rows.take(unclear.any(dim=1).nonzero()[:, 0])
        return torch.stack([one.tokens for one in found], dim=1), unclear, doubtful

    @torch.no_grad()
    @torch.autocast("cuda", enabled=False)
    @torch.autocast("cpu", enabled=False)
    def _settled(self, tokens: Tensor, unclear: Tensor, doubtful: Rows) -> Tensor:
        """Return the tokens with those that were unclear searched in float64."""
        place = unclear.any(dim=1).nonzero()[:, 0]
        for category in unclear.any(dim=0).nonzero()[:, 0].tolist():
            for part in unclear[place, category].nonzero()[:, 0].split(ROW_BLOCK):
                z = self.exact.embed(doubtful.take(part).double(), category)
                found = search(z, self.exact.books[category], self.beam)
                tokens[place[part], category] = found.tokens
        return tokens


class _Precision:
    """Embeddings and books in one precision."""

    def __init__(self, encoder: CategoryEncoder, books: list[list[Book]]):
        self.encoder, self.books = encoder, books
        codes = books[0][0].codes
        self.on_gpu, self.in_float64 = codes.is_cuda, codes.dtype == torch.float64
        self.dims = encoder.dims.sizes
        self.paths = [CategoryPath(encoder, c) for c in range(len(books))]
        self.together = families_read_together(encoder)

    def double(self) -> "_Precision":
        """Return the same in float64."""
        books = [[book.double() for book in category] for category in self.books]
        return _Precision(copy.deepcopy(self.encoder).double(), books)

    def embedder(self, rows: Rows) -> Callable[[int], Tensor]:
        """Return what gives the embeddings [B, E_c] of a category.

        On a CPU each is computed by itself, which is less arithmetic.
        """
        if self.on_gpu:
            z = self.encoder(rows.x, rows.fields)
            return lambda category: z[category, :, : self.dims[category]]
        read = self._read(rows)
        return lambda category: self.paths[category].embed(rows.x, read)

    def embed(self, rows: Rows, category: int) -> Tensor:
        """Return the embeddings of one category."""
        return self.paths[category].embed(rows.x, self._read(rows))

    def _read(self, rows: Rows) -> dict[str, Tensor]:
        networks = self.encoder.networks
        return {family: networks[family](rows.x, rows.fields) for family in self.together}
