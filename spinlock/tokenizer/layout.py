"""How columns stand in categories: padded, so that all categories go through one operation."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class CategoryLayout(nn.Module):
    """Gather columns [B, D] into padded categories [C, B, W] and scatter them back.

    Parameters
    ----------
    partition : sequence of int arrays
        Columns of each category; W is the size of the largest one.
    n_columns : int
        D, the number of columns of the table.
    """

    index: Tensor
    mask: Tensor
    position: Tensor

    def __init__(self, partition: Sequence[np.ndarray], n_columns: int):
        super().__init__()
        self.sizes = [len(members) for members in partition]
        self.width = max(self.sizes)
        self.n_columns = n_columns
        index = torch.zeros(len(partition), self.width, dtype=torch.long)
        mask = torch.zeros(len(partition), self.width)
        position = torch.zeros(n_columns, dtype=torch.long)
        for c, members in enumerate(partition):
            columns = torch.as_tensor(np.asarray(members), dtype=torch.long)
            index[c, : len(columns)] = columns
            mask[c, : len(columns)] = 1.0
            position[columns] = c * self.width + torch.arange(len(columns))
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("position", position, persistent=False)

    @property
    def n_categories(self) -> int:
        """C, the number of categories."""
        return len(self.sizes)

    def gather(self, x: Tensor) -> Tensor:
        """Return columns x [B, D] by category, [C, B, W], padding zero."""
        gathered = x.index_select(1, self.index.flatten()).unflatten(1, self.index.shape)
        return (gathered * self.mask).transpose(0, 1)

    def scatter(self, y: Tensor) -> Tensor:
        """Return padded categories y [C, B, W] as columns [B, D]."""
        flat = y.transpose(0, 1).flatten(1)
        return flat.index_select(1, self.position)


class CategoryLinear(nn.Module):
    """One linear map per category, evaluated as one batched matrix product.

    Maps [C, B, n_in] to [C, B, n_out]. Weights start at zero when `zero`, else as those of
    torch.nn.Linear.
    """

    def __init__(self, n_categories: int, n_in: int, n_out: int, *, zero: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_categories, n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_categories, 1, n_out))
        if not zero:
            bound = n_in**-0.5
            nn.init.uniform_(self.weight, -bound, bound)
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return x [C, B, n_in] @ weight + bias."""
        return torch.baddbmm(self.bias, x, self.weight)
