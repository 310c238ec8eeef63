"""The encoders of initial fields: convolutions on them, alone or joined with the columns."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spinlock.errors import SpinlockError
from spinlock.settings.families import smallest_grid
from spinlock.tokenizer.network.encoders import (
    ACTIVATIONS,
    FamilyColumns,
    FamilyEncoder,
    perceptron,
    register,
)
from spinlock.tokenizer.network.layout import CategoryLayout, CategoryLinear, Dropout


class FieldReader(nn.Module):
    """Convolutions on periodic initial fields [B, C, H, W], shared by the categories."""

    def __init__(self, field_channels: int, params: Mapping[str, Any]):
        super().__init__()
        blocks: list[nn.Module] = []
        n_in = field_channels
        for n_out in params["channels"]:
            blocks += [
                nn.Conv2d(
                    n_in,
                    n_out,
                    params["kernel_size"],
                    padding="same",
                    padding_mode="circular",
                ),
                ACTIVATIONS[params["activation"]](),
                nn.AvgPool2d(2, ceil_mode=True),
            ]
            n_in = n_out
        self.network = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.output_dim = n_in * 4
        self.smallest_grid = smallest_grid(len(params["channels"]), params["kernel_size"])

    def forward(self, fields: Tensor) -> Tensor:
        """Return one vector per row [B, output_dim]."""
        self.require_room(*fields.shape[-2:])
        return self.network(fields)

    def require_room(self, height: int, width: int) -> None:
        """Check that the convolutions can run on fields of this size.

        Raises
        ------
        SpinlockError
            When they are too small.
        """
        if min(height, width) < self.smallest_grid:
            raise SpinlockError(
                f"initial fields of {height} × {width} points are too small for the convolutions "
                f"of this model: they take {self.smallest_grid} or more along each axis",
                remedy="give fields as large as those that the model is trained with; "
                "to train with these, lower kernel_size or leave convolutions out",
            )


@register
class InitialCNNEncoder(FamilyEncoder):
    """Reads the initial fields only; the family's columns remain what is reconstructed.

    Parameters of the settings: channels, kernel_size, output_dim, dropout, activation.
    """

    def __init__(self, columns: FamilyColumns, params: Mapping[str, Any]):
        super().__init__()
        self.n_categories = len(columns.partition)
        self.output_dim = params["output_dim"]
        self.reader = _field_reader(columns, params, type(self).__name__)
        self.head = CategoryLinear(self.n_categories, self.reader.output_dim, self.output_dim)
        self.dropout = Dropout(params["dropout"])

    def forward(self, x: Tensor, fields: Tensor | None) -> Tensor:  # noqa: ARG002
        """Encode a batch."""
        read = self.dropout(self.reader(_required(fields)))
        return self.head(read.expand(self.n_categories, -1, -1))


@register
class InitialHybridEncoder(FamilyEncoder):
    """Reads the initial fields and the family's columns of the category.

    Parameters of the settings: those of InitialCNNEncoder, hidden_dims and batch_norm.
    """

    def __init__(self, columns: FamilyColumns, params: Mapping[str, Any]):
        super().__init__()
        self.layout = CategoryLayout(columns.partition, columns.n_columns)
        self.output_dim = params["output_dim"]
        self.reader = _field_reader(columns, params, type(self).__name__)
        widths = [
            self.layout.width + self.reader.output_dim,
            *params["hidden_dims"],
            self.output_dim,
        ]
        self.network = perceptron(self.layout.n_categories, widths, params)

    def forward(self, x: Tensor, fields: Tensor | None) -> Tensor:
        """Encode a batch."""
        read = self.reader(_required(fields)).expand(self.layout.n_categories, -1, -1)
        return self.network(torch.cat([self.layout.gather(x), read], dim=-1))


def _field_reader(columns: FamilyColumns, params: Mapping[str, Any], name: str) -> FieldReader:
    if columns.field_channels is None:
        raise SpinlockError(
            f"{name} reads initial fields, and the dataset has none at /inputs/fields",
            remedy="use MLPEncoder for this family",
        )
    return FieldReader(columns.field_channels, params)


def _required(fields: Tensor | None) -> Tensor:
    if fields is None:
        raise SpinlockError(
            "this model reads initial fields, and none were given",
            remedy="give `fields` [n, C, H, W], or encode a dataset that has /inputs/fields",
        )
    return fields
