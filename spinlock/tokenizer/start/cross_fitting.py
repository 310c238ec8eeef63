"""Train rows encoded by books that have not seen them.

The books of a model lie closer to the rows that they are fitted on than to any others: what
these rows' codes tell of the columns is no measure of what codes tell of unseen rows. Cross-fitting
(Chernozhukov et al., 2018, Econometrics Journal 21(1), definition 3.1) gives rows the codes of
books that are fitted on others.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from spinlock.tokenizer.network.model import TokenizerModel
from spinlock.tokenizer.network.quantizer import ResidualQuantizer
from spinlock.tokenizer.network.rows import ROW_BLOCK, Rows
from spinlock.tokenizer.network.token_search import TokenSearch
from spinlock.tokenizer.start.book_fitting import books_within
from spinlock.tokenizer.start.column_parts import columns_of_space
from spinlock.tokenizer.start.kmeans import residual_books
from spinlock.tokenizer.start.rare_events import rare_columns

OWN_NUMBERS = 3 * 2**24  # of codes and columns: the rows, spread over all, that own books encode
OWN_SHARE = 0.5  # weight of the codes of the model's own books, in units of that of the others
ENCODINGS = 12_800  # of rows, at most: with more rows, books hardly know them by heart
TIMES = 8  # that a row is encoded, at most: each time the rows are dealt anew
LEAST_ROWS = 4  # halves of fewer fit no book
BEAM, ITERATIONS = 4, 8  # of k-means: books that are used once need no more


@dataclass(frozen=True)
class Encoding:
    """Rows as tokens of books.

    Attributes
    ----------
    rows : Rows
    tokens : Tensor [n, C, L]
    quantizer : ResidualQuantizer
        Has the books.
    """

    rows: Rows
    tokens: Tensor
    quantizer: ResidualQuantizer

    def blocks(self, levels: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Give rows [B, D] and the sums of their codes [C, B, E], of the first levels."""
        blocks = (values.split(ROW_BLOCK) for values in (self.rows.x, self.tokens))
        for x, tokens in zip(*blocks, strict=True):
            yield x, self.quantizer.decode(tokens.transpose(0, 1), levels)


@dataclass(frozen=True)
class Encodings:
    """What a decoder is fitted to.

    Attributes
    ----------
    own : Encoding
        Train rows by the books of the model.
    others : list of Encoding
        The same rows by books that have not seen them; there may be none.
    held_out : Encoding
        Validation rows by the books of the model: they only choose between fits.
    rare : Tensor [D]
        Columns with rare events: books that have not seen an event miss all of it, and what they
        miss says nothing of the books of the model. No column where there are no others.
    """

    own: Encoding
    others: list[Encoding]
    held_out: Encoding
    rare: Tensor

    @property
    def own_weight(self) -> float:
        """Weight of a row as the model's books encode it; as the others do, it is 1."""
        n_others = sum(len(one.rows) for one in self.others)
        return OWN_SHARE * n_others / len(self.own.rows) if n_others else 1.0


def encodings_of(
    model: TokenizerModel,
    train: Rows,
    validation: Rows,
    generator: torch.Generator | None = None,
) -> Encodings:
    """Encode rows by the model's own books, and with a generator train rows also by others.

    Of more train rows than memory holds the codes and columns of (192 MiB), every second, third, …
    """
    numbers = model.decoder.dims.total + train.x.shape[1]  # of a row
    most = max(ENCODINGS, OWN_NUMBERS // numbers)
    spread = train[:: max(1, -(-len(train) // most))]
    own, held_out = (
        Encoding(rows, model.tokenize(rows), model.quantizer) for rows in (spread, validation)
    )
    others = list(cross_fitted(model, train, generator)) if generator else []
    rare = (
        rare_columns(train.x) if others else train.x.new_zeros(train.x.shape[1], dtype=torch.bool)
    )
    return Encodings(own, others, held_out, rare)


@torch.no_grad()
def cross_fitted(
    model: TokenizerModel, rows: Rows, generator: torch.Generator
) -> Iterator[Encoding]:
    """Encode rows by books of the model's sizes that have not seen them.

    Each time the rows are dealt in two halves, and the books fitted on the embeddings of one
    encode the other. Nothing is given for fewer than `LEAST_ROWS` or more than `ENCODINGS` rows.
    """
    if not LEAST_ROWS <= len(rows) <= ENCODINGS:
        return
    z = torch.cat([model.encoder(part.x, part.fields) for part in rows.split(ROW_BLOCK)], dim=1)
    for _ in range(min(TIMES, ENCODINGS // len(rows))):
        order = torch.randperm(len(rows), generator=generator).to(rows.x.device)
        halves = order.chunk(2)
        for fitted, encoded in (halves, halves[::-1]):
            quantizer = _quantizer_of(model, z[:, fitted], generator)
            part = rows.take(encoded.sort().values)
            search = TokenSearch(model.encoder, quantizer, model.shape.beam_width)
            tokens = search.draft(part.__getitem__, len(part))
            yield Encoding(Rows(part.x), tokens, quantizer)  # fields would be kept many times


def _quantizer_of(
    model: TokenizerModel, z: Tensor, generator: torch.Generator
) -> ResidualQuantizer:
    """Return the model's quantizer with books fitted to embeddings z [C, n, E]."""
    quantizer = copy.deepcopy(model.quantizer)
    books = []
    for c, dim in enumerate(model.encoder.dims.sizes):
        embeddings, sizes = z[c, :, :dim], quantizer.sizes[c].tolist()
        columns = model.encoder.linear.weight[c, : model.layout.sizes[c], :dim]
        parts = [columns_of_space(space, columns) for space in quantizer.spaces(c, dim)]
        books.append(
            books_within(embeddings, sizes, parts, generator)
            if parts
            else residual_books(embeddings, sizes, generator, beam=BEAM, iterations=ITERATIONS)
        )
    quantizer.set_books(books)
    return quantizer
