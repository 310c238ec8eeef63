"""The networks that read a family's columns within each category: a registry by name.

Every encoder maps the normalised columns of a batch to one vector per category that holds
columns of the family. All categories go through one batched operation.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.fft import idct
from torch import Tensor, nn

from spinlock.errors import SpinlockError
from spinlock.tokenizer.layout import CategoryLayout, CategoryLinear, Dropout
from spinlock.tokenizer.processes import (
    differentiable_sum,
    process_count,
    sum_over_processes,
)

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
POOLED = 8  # positions that a convolutional encoder keeps along each axis


@dataclass(frozen=True)
class FamilyColumns:
    """A family's columns as they stand in the categories.

    Attributes
    ----------
    partition : list of int arrays
        Columns of the table, for each category that holds some of the family.
    n_columns : int
        D, the number of columns of the table.
    channel, coefficient : int arrays [D], optional
        For a family of series: which channel and DCT coefficient a column is.
    steps : int, optional
        T, for a family of series.
    field_channels : int, optional
        C, for encoders that read initial fields [B, C, H, W].
    """

    partition: list[np.ndarray]
    n_columns: int
    channel: np.ndarray | None = None
    coefficient: np.ndarray | None = None
    steps: int | None = None
    field_channels: int | None = None


class FamilyEncoder(nn.Module):
    """Base of the encoders: columns x [B, D] and fields → [C_f, B, output_dim]."""

    output_dim: int
    reads_fields = False

    @abstractmethod
    def forward(self, x: Tensor, fields: Tensor | None) -> Tensor:
        """Encode a batch."""


REGISTRY: dict[str, Callable[[FamilyColumns, Mapping[str, Any]], FamilyEncoder]] = {}


def register(encoder: type[FamilyEncoder]) -> type[FamilyEncoder]:
    """Make an encoder available to the settings under its class name."""
    REGISTRY[encoder.__name__] = encoder
    return encoder


def build_encoder(name: str, columns: FamilyColumns, params: Mapping[str, Any]) -> FamilyEncoder:
    """Return the encoder that the settings name.

    Raises
    ------
    SpinlockError
        When the name is not in the registry.
    """
    if name not in REGISTRY:
        raise SpinlockError(
            f"unknown encoder {name!r}", remedy=f"choose one of {', '.join(sorted(REGISTRY))}"
        )
    return REGISTRY[name](columns, params)


class CategoryNorm(nn.Module):
    """Batch normalisation of [C, B, H], each category and unit by itself.

    In several processes the batch is that of all of them.
    """

    def __init__(self, n_categories: int, width: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(n_categories * width)
        self.shape = n_categories, 1, width

    def forward(self, h: Tensor) -> Tensor:
        """Normalise over the batch, in training; by the averages afterwards."""
        if not self.training:
            scale, shift = self.by_averages()
            return torch.addcmul(shift, h, scale)
        flat = h.transpose(0, 1).flatten(1)
        flat = self._together(flat) if process_count() > 1 else self.norm(flat)
        # laid out as h was: what follows is quicker by more than this copy takes
        return flat.unflatten(1, (h.shape[0], h.shape[2])).transpose(0, 1).contiguous()

    def by_averages(self) -> tuple[Tensor, Tensor]:
        """Return what h is multiplied by and what is added after training, both [C, 1, H]."""
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        return scale.view(self.shape), shift.view(self.shape)

    def _together(self, flat: Tensor) -> Tensor:
        """Normalise [b, C · H] by the moments of all processes' rows, and keep their averages."""
        norm = self.norm
        n_rows = float(sum_over_processes(torch.tensor(float(len(flat)))))
        mean = differentiable_sum(flat.sum(dim=0)) / n_rows
        centred = flat - mean
        variance = differentiable_sum(centred.square().sum(dim=0)) / n_rows
        with torch.no_grad():
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * n_rows / max(n_rows - 1, 1), norm.momentum)
        return centred * (variance + norm.eps).rsqrt() * norm.weight + norm.bias


def perceptron(
    n_categories: int, widths: Sequence[int], params: Mapping[str, Any]
) -> nn.Sequential:
    """Return one multilayer perceptron per category over `widths`, as batched layers."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths[:-1]):
        layers.append(CategoryLinear(n_categories, n_in, n_out))
        if params.get("batch_norm"):
            layers.append(CategoryNorm(n_categories, n_out))
        layers.append(ACTIVATIONS[params.get("activation", "relu")]())
        layers.append(Dropout(params.get("dropout", 0.0), of_categories=True))
    layers.append(CategoryLinear(n_categories, widths[-2], widths[-1]))
    return nn.Sequential(*layers)


@register
class IdentityEncoder(FamilyEncoder):
    """The columns themselves: nothing beyond the linear path of the category."""

    def __init__(self, columns: FamilyColumns, params: Mapping[str, Any]):  # noqa: ARG002
        super().__init__()
        self.layout = CategoryLayout(columns.partition, columns.n_columns)
        self.output_dim = self.layout.width

    def forward(self, x: Tensor, fields: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return the family's columns of each category [C_f, B, W]."""
        return self.layout.gather(x)


@register
class MLPEncoder(FamilyEncoder):
    """A multilayer perceptron per category.

    Parameters of the settings: hidden_dims, output_dim, dropout, activation, batch_norm.
    """

    def __init__(self, columns: FamilyColumns, params: Mapping[str, Any]):
        super().__init__()
        self.layout = CategoryLayout(columns.partition, columns.n_columns)
        self.output_dim = params["output_dim"]
        widths = [self.layout.width, *params["hidden_dims"], self.output_dim]
        self.network = perceptron(self.layout.n_categories, widths, params)

    def forward(self, x: Tensor, fields: Tensor | None) -> Tensor:  # noqa: ARG002
        """Encode a batch."""
        return self.network(self.layout.gather(x))


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
        return self.head(pooled.transpose(0, 1).reshape(n_categories, n_rows, -1))


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
        # the last convolution, after all halvings but its own, may wrap around once
        halvings = 2 ** (len(params["channels"]) - 1)
        self.smallest_grid = max((params["kernel_size"] // 2 - 1) * halvings + 1, 1)

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

    reads_fields = True

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

    reads_fields = True

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
