"""The families that describe behaviour: INITIAL, SUMMARY and TEMPORAL of an operator."""

from dataclasses import dataclass

import numpy as np

from spinlock.features.frames import FRAME_NAMES, STATIC_NAMES, change_feature, frame_features

DYNAMIC_NAMES = (
    "growth",
    "late_trend",
    "memory_of_start",
    "field_correlation_1",
    "field_correlation_8",
    "recurrence",
    "rhythm_centroid",
    "rhythm_entropy",
    "channel_correlation",
    "channel_imbalance",
    "settling_time",
    "range_of_energy",
    "late_change",
)
TRAJECTORY_NAMES = tuple(
    [f"{name}/time_mean" for name in FRAME_NAMES]
    + [f"{name}/time_deviation" for name in FRAME_NAMES]
    + list(DYNAMIC_NAMES)
)
AGGREGATES = ("mean", "deviation", "minimum", "maximum", "median")
SPREADS = ("mean", "realization_deviation", "channel_deviation")

INITIAL_NAMES = tuple(f"{name}/{spread}" for spread in SPREADS for name in STATIC_NAMES)
TEMPORAL_NAMES = tuple(f"{name}/{spread}" for spread in SPREADS for name in FRAME_NAMES)
SUMMARY_NAMES = tuple(f"{name}/{kind}" for kind in AGGREGATES for name in TRAJECTORY_NAMES)
TINY = 1e-12
ROUNDING = 1e-6  # part of a value that float32 may round off, where it adds up a field
POWER_ROUNDING = 1e-12  # of the power of a field: what a transform in float32 makes of nothing


@dataclass(frozen=True)
class Behaviour:
    """Features of one operator.

    Attributes
    ----------
    initial : float32 array [42]
    summary : float32 array [275]
    per_trajectory : float32 array [M, 55]
    temporal : float32 array [T, 63]
    """

    initial: np.ndarray
    summary: np.ndarray
    per_trajectory: np.ndarray
    temporal: np.ndarray


def describe_behaviour(initial: np.ndarray, states: np.ndarray) -> Behaviour:
    """Return the features of an operator's trajectories.

    Parameters
    ----------
    initial : float32 array [M, C, G, G]
    states : float32 array [M, T, C, G, G]
        NaN after a divergence, and so are the features that it reaches.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        change = change_feature(states, initial)
        frames = np.concatenate([frame_features(states), change[..., None]], axis=-1)
        trajectory = _trajectory_features(frames, initial, states)
        return Behaviour(
            initial=_initial_features(initial),
            summary=_aggregate(trajectory),
            per_trajectory=trajectory.astype(np.float32),
            temporal=_spread(frames),
        )


def _initial_features(initial: np.ndarray) -> np.ndarray:
    """Return mean and spreads [42] of the features of initial fields [M, C, G, G].

    Initial fields are made with one mean and one deviation. What float32 rounds off there is zero:
    as a number it would be scaled like any feature, and differ from one processor to the next.
    """
    frames = frame_features(initial, POWER_ROUNDING)[..., : len(STATIC_NAMES)]
    mean = frames[..., FRAME_NAMES.index("mean")]
    mean[np.abs(mean) <= ROUNDING * np.abs(frames[..., FRAME_NAMES.index("deviation")])] = 0
    features = _spread(frames[:, None])[0]
    middle, spreads = features[: len(STATIC_NAMES)], features[len(STATIC_NAMES) :].reshape(2, -1)
    spreads[spreads <= ROUNDING * np.abs(middle)] = 0
    return features


def _spread(frames: np.ndarray) -> np.ndarray:
    """Return mean and spreads [T, 3 F] of frame features [M, T, C, F]."""
    mean = frames.mean(axis=(0, 2))
    over_realizations = frames.mean(axis=2).std(axis=0)
    over_channels = frames.mean(axis=0).std(axis=1)
    return np.concatenate([mean, over_realizations, over_channels], axis=-1).astype(np.float32)


def _aggregate(trajectory: np.ndarray) -> np.ndarray:
    """Return the aggregates over realizations [5 · 55] of trajectory features [M, 55]."""
    parts = [
        trajectory.mean(axis=0),
        trajectory.std(axis=0),
        trajectory.min(axis=0),
        trajectory.max(axis=0),
        np.median(trajectory, axis=0),
    ]
    return np.concatenate(parts).astype(np.float32)


def _trajectory_features(frames: np.ndarray, initial: np.ndarray, states: np.ndarray) -> np.ndarray:
    pooled = frames.mean(axis=2, dtype=np.float64)  # [M, T, F]
    dynamic = _dynamics(pooled, initial, states)
    columns = [dynamic[name] for name in DYNAMIC_NAMES]
    return np.concatenate(
        [pooled.mean(axis=1), pooled.std(axis=1), np.stack(columns, axis=1)], axis=1
    )


def _dynamics(pooled: np.ndarray, initial: np.ndarray, states: np.ndarray) -> dict[str, np.ndarray]:
    """Return the features [M] of how a trajectory unfolds."""
    steps = states.shape[1]
    energy = np.log(np.maximum(np.sinh(pooled[..., FRAME_NAMES.index("deviation")]), 1e-6))
    change = pooled[..., FRAME_NAMES.index("change")]
    half = steps // 2
    time = np.linspace(-1, 1, steps - half)
    late = energy[:, half:] - energy[:, half:].mean(axis=1, keepdims=True)
    unit = _unit(states)  # [M, T, C · G · G]
    start = np.log(np.maximum(initial.std(axis=(-2, -1)).mean(axis=1), 1e-6))
    rhythm = _rhythm(energy)
    largest = change.max(axis=1, keepdims=True)
    final = unit[:, -1]
    earlier = np.einsum("mtn,mn->mt", unit[:, : max(1, steps - 8)], final)
    return {
        "growth": energy[:, -1] - start,
        "late_trend": (late * time).sum(axis=1) / (time @ time),
        "memory_of_start": np.einsum("mn,mn->m", _unit(initial[:, None])[:, 0], final),
        "field_correlation_1": _lagged(unit, 1),
        "field_correlation_8": _lagged(unit, min(8, steps - 1)),
        "recurrence": earlier.max(axis=1),
        "rhythm_centroid": rhythm[0],
        "rhythm_entropy": rhythm[1],
        "channel_correlation": _channel_correlation(states),
        "channel_imbalance": _channel_imbalance(states),
        "settling_time": (change > 0.1 * largest).mean(axis=1) + 0 * largest[:, 0],
        "range_of_energy": energy.max(axis=1) - energy.min(axis=1),
        "late_change": np.log(np.maximum(np.sinh(change[:, half:].mean(axis=1)), 1e-6)),
    }


def _unit(states: np.ndarray) -> np.ndarray:
    """Return states [M, T, C · G · G], centred and of unit norm."""
    flat = states.reshape(*states.shape[:2], -1)
    centred = flat - flat.mean(axis=-1, keepdims=True)
    norm = np.sqrt(np.einsum("mtn,mtn->mt", centred, centred))
    return centred / (norm + TINY)[..., None]


def _lagged(unit: np.ndarray, lag: int) -> np.ndarray:
    return np.einsum("mtn,mtn->mt", unit[:, lag:], unit[:, :-lag]).mean(axis=1)


def _rhythm(energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centroid and entropy of the temporal spectrum of a series [M, T]."""
    power = np.abs(np.fft.rfft(energy - energy.mean(axis=1, keepdims=True), axis=1))[:, 1:] ** 2
    share = power / (power.sum(axis=1, keepdims=True) + TINY)
    frequency = np.linspace(0, 1, share.shape[1])
    entropy = -(share * np.log(share + TINY)).sum(axis=1) / np.log(share.shape[1])
    return share @ frequency, entropy


def _channel_correlation(states: np.ndarray) -> np.ndarray:
    """Return the mean |correlation| of channel pairs over the second half of the steps."""
    late = states[:, states.shape[1] // 2 :: 4]
    flat = late.reshape(*late.shape[:3], -1)
    centred = flat - flat.mean(axis=-1, keepdims=True)
    norm = np.sqrt(np.einsum("mtcn,mtcn->mtc", centred, centred))
    unit = centred / (norm + TINY)[..., None]
    gram = np.abs(np.einsum("mtcn,mtdn->mtcd", unit, unit))
    n_channels = gram.shape[-1]
    if n_channels == 1:
        return np.zeros(len(states))
    off_diagonal = gram.sum(axis=(-2, -1)) - np.einsum("mtcc->mt", gram)
    return off_diagonal.mean(axis=1) / (n_channels * (n_channels - 1))


def _channel_imbalance(states: np.ndarray) -> np.ndarray:
    """Return how much the channels differ in deviation at the end, relative to their mean."""
    final = states[:, -1]
    deviation = final.std(axis=(-2, -1))
    flat = deviation <= ROUNDING * np.abs(final).max(axis=(-2, -1))
    deviation[flat] = 0  # of a constant, whose mean is rounded
    return deviation.std(axis=1) / (deviation.mean(axis=1) + TINY)
