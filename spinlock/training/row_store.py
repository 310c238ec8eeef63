"""The normalised rows that a model is trained on: in memory where they fit, else behind a file."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor

from spinlock.errors import SpinlockError
from spinlock.features.split import TRAIN
from spinlock.features.table import ROW_BLOCK, FeatureTable
from spinlock.tokenizer.network.rows import Rows
from spinlock.tokenizer.normalization.statistics import FeatureStatistics

log = logging.getLogger(__name__)

GIB = 2**30


@dataclass(frozen=True)
class RowStore:
    """Where normalised rows are kept.

    Rows in a file are mapped: what a batch takes is read when it is taken, and the operating
    system drops it when memory is short. They are the same bits in the same order either way.

    Attributes
    ----------
    folder : Path
        Of the file, which has no name there and is gone with the process.
    budget : float
        GiB of rows, of all sides together, that stay in memory.
    device : torch.device
        Where the rows go in the end.
    """

    folder: Path
    budget: float
    device: torch.device

    def read(
        self, table: FeatureTable, statistics: FeatureStatistics, sides: tuple[int, ...]
    ) -> list[Rows]:
        """Return the rows of each side of the split, for an empty one the train rows."""
        chosen = [table.rows(side) for side in sides]
        if not all(len(rows) for rows in chosen):
            log.warning(
                "no row is for validation: train rows stand for them, so that what is called "
                "validation says nothing of other rows; raise split.val_fraction, or mark rows in "
                "split.column"
            )
            chosen = [rows if len(rows) else table.rows(TRAIN) for rows in chosen]
        one = table.fields(chosen[0][:1])
        row_bytes = 4 * (len(statistics.kept) + (0 if one is None else one[0].size))
        needed = row_bytes * sum(len(rows) for rows in chosen) / GIB
        mapped = needed > self.budget
        if mapped:
            log.info("%.2f GiB of rows stay in a file: training.memory_budget", needed)
        return [self._side(table, statistics, rows, mapped) for rows in chosen]

    def _side(
        self, table: FeatureTable, statistics: FeatureStatistics, rows: np.ndarray, mapped: bool
    ) -> Rows:
        keep = self._in_file if mapped else _in_memory
        values = (statistics.apply(table.read(block)) for block in _blocks(rows))
        x = keep(values, (len(rows), len(statistics.kept))).to(self.device)
        one = table.fields(rows[:1])
        if one is None:
            return Rows(x)
        fields = (table.fields(block) for block in _blocks(rows))
        return Rows(x, keep(fields, (len(rows), *one.shape[1:])).to(self.device))

    def _in_file(self, blocks: Iterator[np.ndarray], shape: tuple[int, ...]) -> Tensor:
        if 0 in shape:
            return torch.empty(shape)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.folder) as file:
                for block in blocks:
                    file.write(np.ascontiguousarray(block, np.float32))
                file.flush()
                # copy on write: torch wants memory that it may write to, and never does
                return torch.from_numpy(np.memmap(file, np.float32, "c", shape=shape))
        except OSError as error:
            raise SpinlockError(
                f"cannot keep rows in a file: {error.strerror or error}",
                where=self.folder,
                remedy="free some disk there, or raise training.memory_budget to keep them in "
                "memory",
            ) from error


def _in_memory(blocks: Iterator[np.ndarray], shape: tuple[int, ...]) -> Tensor:
    kept = np.empty(shape, np.float32)
    first = 0
    for block in blocks:
        kept[first : first + len(block)] = block
        first += len(block)
    return torch.from_numpy(kept)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[first : first + ROW_BLOCK] for first in range(0, len(rows), ROW_BLOCK))
