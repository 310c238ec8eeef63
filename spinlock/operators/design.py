"""The design of a dataset: which operator each of its points describes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spinlock.operators.design_points import DIMENSIONS, design_points

ACTIVATIONS = ("tanh", "relu", "gelu", "sin")
KERNELS = (3, 5)
UNBOUNDED_SHARE = 0.15  # of the operators whose state nothing saturates
MIN_WIDTH = 4

ARCHITECTURE_NAMES = (
    "depth",
    "width",
    "kernel_size",
    "activation_relu",
    "activation_gelu",
    "activation_sin",
    "normalization",
    "gain",
    "bias_scale",
    "dropout",
    "noise_scale",
    "policy_residual",
    "policy_convex",
    "step_size",
    "mixing_rate",
    "kernel_decay",
    "anisotropy",
    "channel_coupling",
    "damping",
    "forcing",
    "saturation",
)


@dataclass(frozen=True)
class DesignSpace:
    """What operators may be made of.

    Attributes
    ----------
    max_depth, max_width : int
        Hidden layers, hidden channels.
    policies, initial_conditions : tuple of str
    """

    max_depth: int
    max_width: int
    policies: tuple[str, ...]
    initial_conditions: tuple[str, ...]


@dataclass(frozen=True)
class OperatorSpec:
    """One operator and the kind of state it starts from.

    Attributes
    ----------
    gain : float
        Of the weights, in units of the variance-preserving one.
    step_size : float
        Of the residual policy, else 0.
    mixing_rate : float
        Of the convex policy, else 0.
    kernel_decay : float
        Fall of the weights per grid point away from the centre of a kernel.
    anisotropy : float
        Part of the weights that is odd along the first axis, and so transports.
    channel_coupling : float
        Weight between channels relative to the one within a channel, at input and output.
    saturation : float
        Inverse of the amplitude at which a state saturates softly; 0 when nothing does.
    initial_scale : float
        Length of the initial structures, as a part of the grid.
    """

    index: int
    depth: int
    width: int
    kernel_size: int
    activation: str
    normalization: bool
    gain: float
    bias_scale: float
    dropout: float
    noise_scale: float
    policy: str
    step_size: float
    mixing_rate: float
    kernel_decay: float
    anisotropy: float
    channel_coupling: float
    damping: float
    forcing: float
    saturation: float
    initial_kind: str
    initial_scale: float
    initial_amplitude: float

    def architecture(self) -> np.ndarray:
        """Return the ARCHITECTURE features, float32 [21], in the order of ARCHITECTURE_NAMES."""
        indicators = {
            "activation_relu": self.activation == "relu",
            "activation_gelu": self.activation == "gelu",
            "activation_sin": self.activation == "sin",
            "policy_residual": self.policy == "residual",
            "policy_convex": self.policy == "convex",
        }
        values = [
            indicators[name] if name in indicators else getattr(self, name)
            for name in ARCHITECTURE_NAMES
        ]
        return np.array(values, np.float32)


def operator_specs(space: DesignSpace, seed: int, first: int, count: int) -> Iterator[OperatorSpec]:
    """Give operators first..first+count of the design."""
    for offset, point in enumerate(design_points(seed, first, count)):
        yield _spec(space, first + offset, dict(zip(DIMENSIONS, point, strict=True)))


def _spec(space: DesignSpace, index: int, u: dict[str, float]) -> OperatorSpec:
    policy = _choice(space.policies, u["policy"])
    unbounded = u["saturation"] < UNBOUNDED_SHARE
    bound = 10 ** _between((u["saturation"] - UNBOUNDED_SHARE) / (1 - UNBOUNDED_SHARE), 0.2, 1.0)
    return OperatorSpec(
        index=index,
        depth=_whole(u["depth"], 1, space.max_depth),
        width=_whole(u["width"], MIN_WIDTH, space.max_width),
        kernel_size=_choice(KERNELS, u["kernel_size"]),
        activation=_choice(ACTIVATIONS, u["activation"]),
        normalization=u["normalization"] >= 0.5,
        gain=_between(u["gain"], 0.6, 1.8),
        bias_scale=_between(u["bias_scale"], 0.0, 0.5),
        dropout=max(0.0, _between(u["dropout"], -0.1, 0.2)),
        noise_scale=0.0 if u["noise_scale"] < 0.25 else 10 ** _between(u["noise_scale"], -3.0, -1),
        policy=policy,
        step_size=_between(u["step_size"], 0.02, 0.4) if policy == "residual" else 0.0,
        mixing_rate=_between(u["mixing_rate"], 0.05, 0.95) if policy == "convex" else 0.0,
        kernel_decay=_between(u["kernel_decay"], 0.0, 1.5),
        anisotropy=_between(u["anisotropy"], 0.0, 1.0),
        channel_coupling=_between(u["channel_coupling"], 0.0, 1.0),
        damping=_between(u["damping"], 0.0, 0.15),
        forcing=max(0.0, _between(u["forcing"], -0.2, 0.4)),
        saturation=0.0 if unbounded else 1 / bound,
        initial_kind=_choice(space.initial_conditions, u["initial_kind"]),
        initial_scale=_between(u["initial_scale"], 0.05, 0.4),
        initial_amplitude=10 ** _between(u["initial_amplitude"], -0.5, 0.5),
    )


def _between(u: float, low: float, high: float) -> float:
    return float(low + (high - low) * u)


def _whole(u: float, low: int, high: int) -> int:
    return min(high, low + int(u * (high - low + 1)))


def _choice(options: tuple, u: float):  # type: ignore[no-untyped-def,type-arg]
    return options[min(len(options) - 1, int(u * len(options)))]
