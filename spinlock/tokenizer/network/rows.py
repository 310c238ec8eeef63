"""Normalised rows, as the model reads them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROW_BLOCK = 1024  # rows that go through a model at once where no gradient is needed


@dataclass(frozen=True)
class Rows:
    """Normalised rows x [n, D] and, where the dataset has them, initial fields [n, C, H, W]."""

    x: Tensor
    fields: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def split(self, size: int) -> "Iterator[Rows]":
        """Give blocks of at most `size` rows, in order; one empty block when there are none."""
        parts = self.x.split(size)
        fields = [None] * len(parts) if self.fields is None else self.fields.split(size)
        return (Rows(x, field) for x, field in zip(parts, fields, strict=True))

    def __getitem__(self, block: slice) -> "Rows":
        """Return a block of rows without copying them."""
        return Rows(self.x[block], None if self.fields is None else self.fields[block])

    def double(self) -> "Rows":
        """Return the rows in float64."""
        return Rows(self.x.double(), None if self.fields is None else self.fields.double())

    def take(self, index: Tensor) -> "Rows":
        """Return the rows at positions `index`."""
        fields = None if self.fields is None else self.fields.index_select(0, index)
        return Rows(self.x.index_select(0, index), fields)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, in order."""
    fields = [part.fields for part in parts if part.fields is not None]
    return Rows(torch.cat([part.x for part in parts]), torch.cat(fields) if fields else None)
