"""Rows of a split with their tokens: what a model is measured on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse

from spinlock.analysis.cleaning import Altered
from spinlock.features.dataset import OperatorDataset
from spinlock.features.split import TEST, TRAIN, VALIDATION
from spinlock.features.table import FeatureTable
from spinlock.tokenizer.tokenizer import Tokenizer

ENOUGH_PAIR_ROWS = 1000
PAIRS_SEED = 0  # the same rows in every evaluation of a split


@dataclass(frozen=True)
class RowsOfSplit:
    """Rows, normalised, with their tokens, and which side of the split each is on.

    Attributes
    ----------
    x : float32 array [n, D]
    tokens : int array [n, C, L]
    altered : Altered
        What cleaning changed in them.
    beyond : sparse float32 array [reported rows, D]
        How far their values are beyond the caps, in units of x.
    split : int8 array [n]
    account : mapping
        What the stage `subset` left out or filled.
    """

    x: np.ndarray
    tokens: np.ndarray
    altered: Altered
    beyond: sparse.csr_array
    split: np.ndarray
    account: Mapping[str, Any]

    @classmethod
    def of_table(cls, table: FeatureTable, tokenizer: Tokenizer) -> Self:
        """Read and encode all rows of a subset."""
        blocks = ((table.read(block), table.fields(block)) for block in table.blocks())
        return cls(*_encoded(blocks, table.split, tokenizer), table.split, table.account)

    @classmethod
    def of_dataset(cls, source: OperatorDataset, tokenizer: Tokenizer) -> Self:
        """Read and encode all rows of a dataset; each is reported on."""
        split = np.full(source.n_operators, TEST, np.int8)
        encoded = _encoded(tokenizer.read_blocks(source), split, tokenizer)
        return cls(*encoded, split, {})

    @property
    def side(self) -> int:
        """The side that is reported on: the test, or what there is where no row was set aside."""
        return reported_side(self.split)

    def of(self, side: int) -> np.ndarray:
        """Return the positions of the rows of a side."""
        return np.flatnonzero(self.split == side)

    @property
    def reported(self) -> np.ndarray:
        """Positions of the rows that are reported on."""
        return self.of(self.side)


def reported_side(split: np.ndarray) -> int:
    """Return the side that is reported on: the test, or what there is where it has no rows."""
    return next(side for side in (TEST, VALIDATION, TRAIN) if (split == side).any())


def pair_rows(split: np.ndarray, most: int) -> np.ndarray:
    """Return the positions of rows whose distances are compared, `most` of them at most.

    Those of the test, with validation where it is few, in an order of chance: a dataset may be
    sorted by what its operators are.

    Parameters
    ----------
    split : int array [n]
        Side of every row.
    """
    side = reported_side(split)
    rows = np.flatnonzero(split == side)
    if side == TEST and len(rows) < ENOUGH_PAIR_ROWS:
        rows = np.flatnonzero(np.isin(split, (TEST, VALIDATION)))
    return np.random.default_rng(PAIRS_SEED).permutation(rows)[:most]


def _encoded(
    blocks: Iterable[tuple[np.ndarray, np.ndarray | None]], split: np.ndarray, tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray, Altered, sparse.csr_array]:
    """Return normalised rows [n, D], tokens [n, C, L], and what cleaning changed in them."""
    reported = split == reported_side(split)
    # blocks put together would be twice it
    x = np.empty((len(split), len(tokenizer.kept)), np.float32)
    tokens, altered, beyond, first = [], [], [], 0
    for values, fields in blocks:
        part = x[first : first + len(values)]
        part[:] = tokenizer.normalize(values)
        tokens.append(tokenizer.tokenize(part, fields))
        imputed, excess = tokenizer.statistics.altered_cells(values)
        altered.append(Altered.of(imputed, excess))
        beyond.append(sparse.csr_array(excess[reported[first : first + len(values)]]))
        first += len(values)
    cut = sparse.vstack(beyond, format="csr")
    return x, np.concatenate(tokens), Altered.of_blocks(altered), cut
