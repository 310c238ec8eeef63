"""Section `families`: which feature families are read, and by which encoder."""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from spinlock.errors import SpinlockError
from spinlock.settings.section import Section, setting

Activation = Literal["relu", "gelu", "silu", "tanh"]
Width = Annotated[int, Field(ge=1)]


class IdentityParams(Section):
    """IdentityEncoder has no parameters: the linear path of the category alone."""


class MLPParams(Section):
    """A multilayer perceptron per category."""

    hidden_dims: list[Width] = setting([256, 128], "widths of the hidden layers")
    output_dim: Width = setting(64, "width of what the network gives")
    dropout: float = setting(0.1, "fraction of hidden units left out in training", ge=0, lt=1)
    activation: Activation = setting("relu", "relu, gelu, silu or tanh")
    batch_norm: bool = setting(True, "normalise hidden units over the batch")


class TemporalCNNParams(Section):
    """Convolutions over time, on the curves that a category's coefficients describe."""

    channels: list[Width] = setting([16, 16], "channels of the convolutions", min_length=1)
    kernel_size: int = setting(5, "steps that a convolution sees", ge=1)
    output_dim: Width = setting(64, "width of what the network gives")
    dropout: float = setting(0.1, "fraction of hidden units left out in training", ge=0, lt=1)
    activation: Activation = setting("gelu", "relu, gelu, silu or tanh")
    coefficients: int = setting(
        16,
        "leading DCT coefficients kept per channel of the series",
        ge=1,
    )


class InitialCNNParams(Section):
    """Convolutions on the initial fields."""

    channels: list[Width] = setting([16, 32], "channels of the convolutions", min_length=1)
    kernel_size: int = setting(3, "grid points that a convolution sees (odd)", ge=1)
    output_dim: Width = setting(64, "width of what the network gives")
    dropout: float = setting(0.1, "fraction of hidden units left out in training", ge=0, lt=1)
    activation: Activation = setting("gelu", "relu, gelu, silu or tanh")

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the grid keeps its size")
        return value

    @property
    def smallest_grid(self) -> int:
        """Points that fields must have along each axis."""
        return smallest_grid(len(self.channels), self.kernel_size)


class InitialHybridParams(InitialCNNParams):
    """Convolutions on the initial fields, joined with the family's columns."""

    hidden_dims: list[Width] = setting([128], "widths of the hidden layers")
    batch_norm: bool = setting(True, "normalise hidden units over the batch")


ENCODER_PARAMS: dict[str, type[Section]] = {
    "IdentityEncoder": IdentityParams,
    "MLPEncoder": MLPParams,
    "TemporalCNNEncoder": TemporalCNNParams,
    "InitialCNNEncoder": InitialCNNParams,
    "InitialHybridEncoder": InitialHybridParams,
}


FIELD_ENCODERS = ("InitialCNNEncoder", "InitialHybridEncoder")
SERIES_ENCODERS = ("TemporalCNNEncoder",)


def reads_fields(encoders: Iterable[str]) -> bool:
    """Whether one of the encoders reads initial fields."""
    return any(encoder in FIELD_ENCODERS for encoder in encoders)


class Family(Section):
    """One feature family of the dataset."""

    encoder: str = setting(
        "MLPEncoder",
        "one of the registry: " + ", ".join(ENCODER_PARAMS),
    )
    encoder_params: Any = setting(
        None,
        "parameters of the encoder",
        validate_default=True,
    )

    @field_validator("encoder")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ENCODER_PARAMS:
            raise ValueError(f"unknown encoder; known: {', '.join(ENCODER_PARAMS)}")
        return value

    @field_validator("encoder_params", mode="before")
    @classmethod
    def _typed(cls, value: Any, info: ValidationInfo) -> Any:
        params = ENCODER_PARAMS.get(info.data.get("encoder", ""))
        if params is None or isinstance(value, params):
            return value
        return params.model_validate({} if value is None else value)


def smallest_grid(n_convolutions: int, kernel_size: int) -> int:
    """Return the points along each axis that convolutions on periodic fields take at least.

    Each is followed by a halving of the grid; the last one may wrap around once.
    """
    return max((kernel_size // 2 - 1) * 2 ** (n_convolutions - 1) + 1, 1)


def require_readable(
    families: Mapping[str, Family], series: Collection[str], grid: tuple[int, int] | None
) -> None:
    """Check that a dataset holds what the encoders of the families read.

    Parameters
    ----------
    families : dict
        Name → Family.
    series : collection of str
        Families of series.
    grid : (int, int), optional
        Points of the initial fields along their axes; None where there are no fields.

    Raises
    ------
    SpinlockError
        When one reads series, or fields, that are not there, or fields that are too small.
    """
    for name, family in families.items():
        if family.encoder in SERIES_ENCODERS and name not in series:
            raise SpinlockError(
                f"families.{name}: {family.encoder} reads series, and this family holds none",
                remedy=f"use MLPEncoder for the family {name}",
            )
        if family.encoder not in FIELD_ENCODERS:
            continue
        if grid is None:
            raise SpinlockError(
                f"families.{name}: {family.encoder} reads initial fields, and the dataset has "
                "none at /inputs/fields",
                remedy=f"use MLPEncoder for the family {name}",
            )
        least = family.encoder_params.smallest_grid
        if min(grid) < least:
            raise SpinlockError(
                f"families.{name}: the convolutions of {family.encoder} take fields of {least} or "
                f"more points along each axis, and the initial fields have {grid[0]} × {grid[1]}",
                remedy="lower kernel_size, or leave convolutions out of channels",
            )
