"""Stochastic neural operators and their trajectories.

One operator is simulated at a time, its realizations as the batch: its bits then cannot
depend on its neighbours, and a step is a handful of convolutions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from spinlock.operators.convolution import PeriodicConvolution
from spinlock.operators.design import OperatorSpec
from spinlock.operators.initial_conditions import initial_fields
from spinlock.operators.randomness import operator_generator

Field = np.ndarray


def relu(u: Field) -> Field:
    """Return max(u, 0)."""
    return np.maximum(u, 0)


def gelu(u: Field) -> Field:
    """Return the Gaussian error linear unit in its tanh form (Hendrycks & Gimpel 2016)."""
    inner = np.float32(0.79788456) * (u + np.float32(0.044715) * u * u * u)
    return np.float32(0.5) * u * (1 + np.tanh(inner))


ACTIVATIONS: dict[str, Callable[[Field], Field]] = {
    "tanh": np.tanh,
    "relu": relu,
    "gelu": gelu,
    "sin": np.sin,
}
VARIANCE_GAIN = {"tanh": 1.4, "relu": 1.4, "gelu": 1.5, "sin": 1.3}


@dataclass(frozen=True)
class SimulationPlan:
    """What is simulated of every operator.

    Attributes
    ----------
    seed : int
    grid, channels, steps, realizations : int
    divergence_bound : float
        Largest |state| of an operator that counts as bounded.
    """

    seed: int
    grid: int
    channels: int
    steps: int
    realizations: int
    divergence_bound: float


@dataclass(frozen=True)
class Weights:
    """Convolutions of an operator, first to last layer, and its forcing [1, C, G, G]."""

    layers: list[PeriodicConvolution]
    forcing: Field


@dataclass(frozen=True)
class Trajectories:
    """What a simulation gives.

    Attributes
    ----------
    initial : float32 array [M, C, G, G]
    states : float32 array [M, T, C, G, G]
        NaN from the step on at which the operator diverged.
    diverged : bool
    """

    initial: np.ndarray
    states: np.ndarray
    diverged: bool


def simulate(spec: OperatorSpec, plan: SimulationPlan) -> Trajectories:
    """Run an operator from random initial states.

    Returns
    -------
    Trajectories
        State t is the one after t + 1 steps.
    """
    generator = operator_generator(plan.seed, spec.index)
    initial = initial_fields(
        spec.initial_kind,
        (plan.realizations, plan.channels, plan.grid),
        spec.initial_scale,
        spec.initial_amplitude,
        generator,
    )
    weights = draw_weights(spec, plan.channels, plan.grid, generator)
    u = initial
    states = np.full((len(u), plan.steps, *u.shape[1:]), np.nan, np.float32)
    diverged = False
    with np.errstate(over="ignore", invalid="ignore"):  # divergence is an outcome, not a fault
        for t in range(plan.steps):
            u = _step(spec, weights, u, generator)
            if not np.abs(u).max() <= plan.divergence_bound:  # also when it is not a number
                diverged = True
                break
            states[:, t] = u
    return Trajectories(initial, states, diverged)


def draw_weights(
    spec: OperatorSpec, channels: int, grid: int, generator: np.random.Generator
) -> Weights:
    """Draw the random convolutions of an operator and its forcing pattern."""
    widths = [channels, *[spec.width] * spec.depth, channels]
    layers = []
    for layer, (n_in, n_out) in enumerate(pairwise(widths)):
        kernel = generator.standard_normal((n_out, n_in, spec.kernel_size, spec.kernel_size))
        kernel *= _envelope(spec)
        mirrored = kernel[..., ::-1, :]
        odd, even = (kernel - mirrored) / 2, (kernel + mirrored) / 2
        kernel = spec.anisotropy * odd + (1 - spec.anisotropy) * even + 0.3 * kernel
        if layer in (0, len(widths) - 2):
            own = (np.arange(n_out)[:, None] - np.arange(n_in)[None, :]) % channels == 0
            kernel = kernel * np.where(own, 1.0, spec.channel_coupling)[..., None, None]
        norm = np.sqrt((kernel**2).sum(axis=(1, 2, 3), keepdims=True))
        kernel *= spec.gain * VARIANCE_GAIN[spec.activation] / np.maximum(norm, 1e-12)
        bias = spec.bias_scale * generator.standard_normal(n_out)
        layers.append(PeriodicConvolution(kernel, bias))
    pattern = initial_fields("gaussian_field", (1, channels, grid), 0.2, 1.0, generator)
    return Weights(layers, np.float32(spec.forcing) * pattern)


def apply_operator(
    spec: OperatorSpec, weights: Weights, u: Field, generator: np.random.Generator
) -> Field:
    """Return the operator's output [M, C, G, G] for states u of the same shape."""
    activation = ACTIVATIONS[spec.activation]
    for convolve in weights.layers[:-1]:
        u = convolve(u)
        if spec.normalization:
            u = _normalised(u)
        u = activation(u)
        if spec.dropout:
            kept = generator.random(u.shape[:2], dtype=np.float32) >= spec.dropout
            u *= (kept / np.float32(1 - spec.dropout))[:, :, None, None]
    return weights.layers[-1](u)


def _step(spec: OperatorSpec, weights: Weights, u: Field, generator: np.random.Generator) -> Field:
    proposed = apply_operator(spec, weights, u, generator)
    if spec.policy == "residual":
        after = u + np.float32(spec.step_size) * proposed
    elif spec.policy == "convex":
        after = u + np.float32(spec.mixing_rate) * (proposed - u)
    else:
        after = proposed
    after = np.float32(1 - spec.damping) * after + weights.forcing
    if spec.noise_scale:
        noise = generator.standard_normal(u.shape, dtype=np.float32)
        after += np.float32(spec.noise_scale) * noise
    if spec.saturation:
        after = np.tanh(after * np.float32(spec.saturation)) / np.float32(spec.saturation)
    return after


def _normalised(u: Field) -> Field:
    """Return fields with zero mean and unit variance over the grid."""
    centred = u - u.mean(axis=(-2, -1), keepdims=True)
    variance = np.einsum("mcyx,mcyx->mc", centred, centred) / (u.shape[-1] * u.shape[-2])
    return centred / np.sqrt(variance + np.float32(1e-5))[:, :, None, None]


def _envelope(spec: OperatorSpec) -> np.ndarray:
    offset = np.arange(spec.kernel_size) - spec.kernel_size // 2
    return np.exp(-spec.kernel_decay * np.hypot(offset[:, None], offset[None, :]))
