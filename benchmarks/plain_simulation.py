"""Operators and their features as they are usually programmed: the reference of `simulation`.

Convolutions by torch with circular padding, layer by layer; features by one frame at a time,
each from its definition. Draws are the package's own, so both simulate the same operators.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spinlock.features.frames import FRAME_NAMES, LARGEST_SHAPE_MOMENT, STATIC_NAMES
from spinlock.operators.convolution import PeriodicConvolution
from spinlock.operators.design import DesignSpace, OperatorSpec, operator_specs
from spinlock.operators.initial_conditions import initial_fields
from spinlock.operators.randomness import operator_generator
from spinlock.operators.simulation import SimulationPlan, draw_weights

TINY = 1e-12
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": lambda u: functional.gelu(u, approximate="tanh"),
    "sin": torch.sin,
}


def plain_records(
    space: DesignSpace, plan: SimulationPlan, first: int, count: int
) -> list[dict[str, np.ndarray]]:
    """Simulate operators first..first+count and describe them, without the dynamic features."""
    described = []
    for spec in operator_specs(space, plan.seed, first, count):
        initial, states = plain_trajectories(spec, plan)
        described.append(plain_features(initial, states))
    return described


@torch.no_grad()
def plain_trajectories(spec: OperatorSpec, plan: SimulationPlan) -> tuple[np.ndarray, np.ndarray]:
    """Return initial states [M, C, G, G] and states [M, T, C, G, G], NaN after a divergence."""
    generator = operator_generator(plan.seed, spec.index)
    initial = initial_fields(
        spec.initial_kind,
        (plan.realizations, plan.channels, plan.grid),
        spec.initial_scale,
        spec.initial_amplitude,
        generator,
    )
    weights = draw_weights(spec, plan.channels, plan.grid, generator)
    layers = [kernel_and_bias(layer, spec, n_in) for layer, n_in in _inputs(spec, plan, weights)]
    forcing = torch.from_numpy(weights.forcing)
    u = torch.from_numpy(initial)
    states = np.full((plan.steps, *initial.shape), np.nan, np.float32)
    for t in range(plan.steps):
        u = _step(spec, layers, forcing, u, generator)
        if not u.abs().max() <= plan.divergence_bound:
            break
        states[t] = u.numpy()
    return initial, states.swapaxes(0, 1)


def kernel_and_bias(
    convolution: PeriodicConvolution, spec: OperatorSpec, n_in: int
) -> tuple[Tensor, Tensor]:
    """Return the kernel [n_out, n_in, k, k] and bias [n_out], read from impulse responses."""
    size, centre = spec.kernel_size, spec.kernel_size // 2
    impulses = np.zeros((n_in + 1, n_in, 2 * size, 2 * size), np.float32)
    impulses[np.arange(n_in), np.arange(n_in), size, size] = 1
    responses = convolution(impulses)
    bias = responses[-1, :, 0, 0]
    around = slice(size - centre, size + centre + 1)
    kernel = responses[:-1, :, around, around][..., ::-1, ::-1] - bias[:, None, None]
    return torch.from_numpy(kernel.swapaxes(0, 1).copy()), torch.from_numpy(bias.copy())


def _inputs(spec: OperatorSpec, plan: SimulationPlan, weights):  # type: ignore[no-untyped-def]
    """Give each layer with its number of input channels."""
    return zip(weights.layers, [plan.channels, *[spec.width] * spec.depth], strict=True)


def _step(
    spec: OperatorSpec,
    layers: list[tuple[Tensor, Tensor]],
    forcing: Tensor,
    u: Tensor,
    generator: np.random.Generator,
) -> Tensor:
    hidden = u
    for kernel, bias in layers[:-1]:
        hidden = _convolved(hidden, kernel, bias)
        if spec.normalization:
            mean = hidden.mean(dim=(-2, -1), keepdim=True)
            variance = hidden.var(dim=(-2, -1), keepdim=True, correction=0)
            hidden = (hidden - mean) / torch.sqrt(variance + 1e-5)
        hidden = ACTIVATIONS[spec.activation](hidden)
        if spec.dropout:
            kept = generator.random(hidden.shape[:2], dtype=np.float32) >= spec.dropout
            hidden = hidden * torch.from_numpy(kept / np.float32(1 - spec.dropout))[..., None, None]
    proposed = _convolved(hidden, *layers[-1])
    after = {
        "residual": u + spec.step_size * proposed,
        "convex": u + spec.mixing_rate * (proposed - u),
    }.get(spec.policy, proposed)
    after = (1 - spec.damping) * after + forcing
    if spec.noise_scale:
        noise = generator.standard_normal(tuple(u.shape), dtype=np.float32)
        after = after + spec.noise_scale * torch.from_numpy(noise)
    if spec.saturation:
        after = torch.tanh(after * spec.saturation) / spec.saturation
    return after


def _convolved(u: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    reach = kernel.shape[-1] // 2
    return functional.conv2d(functional.pad(u, [reach] * 4, mode="circular"), kernel, bias)


def plain_features(initial: np.ndarray, states: np.ndarray) -> dict[str, np.ndarray]:
    """Return INITIAL, TEMPORAL and the SUMMARY of frame features, frame by frame."""
    m, steps, channels = states.shape[:3]
    frames = np.full((m, steps, channels, len(FRAME_NAMES)), np.nan)
    for i in range(m):
        for t in range(steps):
            for c in range(channels):
                before = states[i, t - 1, c] if t else initial[i, c]
                features = plain_frame(states[i, t, c])
                features["change"] = np.arcsinh(np.sqrt(np.mean((states[i, t, c] - before) ** 2)))
                frames[i, t, c] = [features[name] for name in FRAME_NAMES]
    start = np.array(
        [
            [[plain_frame(field)[name] for name in STATIC_NAMES] for field in fields]
            for fields in initial
        ]
    )
    pooled = frames.mean(axis=2)
    trajectory = np.concatenate([pooled.mean(axis=1), pooled.std(axis=1)], axis=1)
    aggregates = (np.mean, np.std, np.min, np.max, np.median)
    return {
        "initial": _spread(start[:, None])[0],
        "temporal": _spread(frames),
        "summary": np.concatenate([aggregate(trajectory, axis=0) for aggregate in aggregates]),
    }


def _spread(frames: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [
            frames.mean(axis=(0, 2)),
            frames.mean(axis=2).std(axis=0),
            frames.mean(axis=0).std(axis=1),
        ],
        axis=-1,
    )


def plain_frame(u: np.ndarray) -> dict[str, float]:
    """Return the features of one frame [G, G] but `change`, each from its definition."""
    if not np.isfinite(u).all():
        return dict.fromkeys(FRAME_NAMES, np.nan)
    u = u.astype(np.float64)
    centred = u - u.mean()
    variance = np.mean(centred**2)
    dx, dy = np.roll(u, -1, axis=1) - u, np.roll(u, -1, axis=0) - u
    laplacian = sum(np.roll(u, shift, axis) for shift in (-1, 1) for axis in (0, 1)) - 4 * u
    along_x, along_y = np.mean(dx**2), np.mean(dy**2)
    positive = centred > 0
    kurtosis = (np.mean(centred**4) - 3 * variance**2) / (variance**2 + TINY)
    return {
        "mean": np.arcsinh(u.mean()),
        "deviation": np.arcsinh(np.sqrt(variance)),
        "skewness": np.arcsinh(np.mean(centred**3) / (variance**1.5 + TINY)),
        "kurtosis": np.arcsinh(min(kurtosis, LARGEST_SHAPE_MOMENT)),
        "minimum": np.arcsinh(u.min()),
        "maximum": np.arcsinh(u.max()),
        "mean_magnitude": np.arcsinh(np.abs(u).mean()),
        "gradient": np.arcsinh(np.sqrt(along_x + along_y)),
        "curvature": np.arcsinh(np.sqrt(np.mean(laplacian**2))),
        "anisotropy": (along_x - along_y) / (along_x + along_y + TINY),
        "sign_changes": np.mean(positive != np.roll(positive, 1, axis=1)),
        "neighbour_correlation": _neighbour_correlation(centred),
        **_spectral_features(u),
    }


def _neighbour_correlation(centred: np.ndarray) -> float:
    products = [np.mean(centred * np.roll(centred, 1, axis)) for axis in (0, 1)]
    return float(np.mean(products) / (np.mean(centred**2) + TINY))


def _spectral_features(u: np.ndarray) -> dict[str, float]:
    """Return features of the power summed over rings of wavenumbers; the last holds the corners."""
    grid = u.shape[-1]
    power, counts = np.zeros(grid // 2), np.zeros(grid // 2)
    wavenumbers = np.fft.fftfreq(grid, 1 / grid)
    ring = np.rint(np.hypot(wavenumbers[:, None], wavenumbers)).astype(int)
    spectrum = np.abs(np.fft.fft2(u)) ** 2
    for k in range(1, grid // 2 + 1):
        inside = ring >= k if k == grid // 2 else ring == k
        power[k - 1], counts[k - 1] = spectrum[inside].sum(), inside.sum()
    k = np.arange(1, len(power) + 1)
    share = power / (power.sum() + TINY)
    centroid = (share * k).sum()
    low, middle, high = (part.sum() for part in np.array_split(share, 3))
    return {
        "spectral_centroid": centroid,
        "spectral_width": np.sqrt((share * (k - centroid) ** 2).sum()),
        "spectral_entropy": -(share * np.log(share + TINY)).sum() / np.log(len(k)),
        "spectral_slope": np.polyfit(np.log(k), np.log(power / counts + TINY), 1)[0],
        "low_band": low,
        "middle_band": middle,
        "high_band": high,
        "dominant_wavenumber": k[share.argmax()],
    }
