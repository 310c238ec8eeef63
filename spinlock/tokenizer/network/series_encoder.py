"""The encoder of series: convolutions over time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.fft import idct
from torch import Tensor, nn

from spinlock.errors import SpinlockError
from spinlock.tokenizer.network.encoders import ACTIVATIONS, FamilyColumns, FamilyEncoder, register
from spinlock.tokenizer.network.layout import CategoryLayout, CategoryLinear, Dropout

POOLED = 8  # positions that are kept along time


@register
class TemporalCNNEncoder(FamilyEncoder):
    """Convolutions over time on the curves that a category's own coefficients describe.

    Parameters of the settings: channels, kernel_size, output_dim, dropout, activation.
    """

    curves: Tensor

    def __init__(self, columns: FamilyColumns, params: Mapping[str, Any]):
        super().__init__()
        if columns.channel is None or columns.coefficient is None or columns.steps is None:
            raise SpinlockError(
                "TemporalCNNEncoder reads series, and this family holds none",
                remedy="use it for `temporal`, or MLPEncoder for this family",
            )
        self.layout = CategoryLayout(columns.partition, columns.n_columns)
        n_categories, self.output_dim = self.layout.n_categories, params["output_dim"]
        present = [np.unique(columns.channel[members]) for members in columns.partition]
        self.width = max(len(channels) for channels in present)
        self.register_buffer("curves", self._inverse_transform(columns, present), persistent=False)
        self.steps = columns.steps
        blocks: list[nn.Module] = []
        n_in = self.width
        for n_out in params["channels"]:
            blocks += [
                nn.Conv1d(
                    n_categories * n_in,
                    n_categories * n_out,
                    params["kernel_size"],
                    padding="same",
                    groups=n_categories,
                ),
                ACTIVATIONS[params["activation"]](),
                Dropout(params["dropout"]),
            ]
            n_in = n_out
        pooled = min(POOLED, self.steps)
        self.network = nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(pooled))
        self.head = CategoryLinear(n_categories, n_in * pooled, self.output_dim)

    def _inverse_transform(self, columns: FamilyColumns, present: list[np.ndarray]) -> Tensor:
        """Return the linear map [C, W, channels · T] from a category's columns to its curves."""
        steps, channel, coefficient = columns.steps, columns.channel, columns.coefficient
        basis = idct(np.eye(steps), type=2, norm="ortho", axis=1)
        transform = np.zeros((len(present), self.layout.width, self.width, steps), np.float32)
        for c, members in enumerate(columns.partition):
            for j, column in enumerate(members):
                row = np.searchsorted(present[c], channel[column])
                transform[c, j, row] = basis[coefficient[column]]
        return torch.from_numpy(transform).flatten(2)

    def forward(self, x: Tensor, fields: Tensor | None) -> Tensor:  # noqa: ARG002
        """Encode a batch."""
        curves = torch.bmm(self.layout.gather(x), self.curves)
        n_categories, n_rows, _ = curves.shape
        series = curves.unflatten(2, (self.width, self.steps)).transpose(0, 1).flatten(1, 2)
        pooled = self.network(series).unflatten(1, (n_categories, -1)).flatten(2)
        return self.head(pooled.transpose(0, 1).reshape(n_categories, n_rows, pooled.shape[2]))
