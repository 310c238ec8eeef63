"""Behaviour of an operator, against one trajectory at a time in double precision."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.features.behaviour import (
    AGGREGATES,
    DYNAMIC_NAMES,
    INITIAL_NAMES,
    SPREADS,
    SUMMARY_NAMES,
    TEMPORAL_NAMES,
    TRAJECTORY_NAMES,
    describe_behaviour,
)
from spinlock.features.frames import FRAME_NAMES, STATIC_NAMES, change_feature, frame_features
from spinlock.operators.initial_conditions import KINDS, initial_fields

SEEDS = st.integers(0, 2**32 - 1)


def wandering(seed: int, realizations: int = 3, steps: int = 20, channels: int = 3, grid: int = 8):
    """Return initial fields and states of a damped random walk with memory of its start."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(realizations, channels, grid, grid))
    initial, states = u, []
    for _ in range(steps):
        u = 0.9 * u + 0.3 * rng.normal(size=u.shape) + 0.2 * np.roll(u, 1, axis=-1)
        states.append(u)
    return initial.astype(np.float32), np.stack(states, axis=1).astype(np.float32)


def settling(seed: int, realizations: int = 3, steps: int = 20, channels: int = 3, grid: int = 8):
    """Return initial fields and states of a random walk whose steps shrink to a hundredth."""
    rng = np.random.default_rng(seed)
    initial = rng.normal(size=(realizations, channels, grid, grid))
    sizes = 0.8 ** np.arange(steps)[:, None, None, None]
    walk = np.cumsum(sizes * rng.normal(size=(realizations, steps, channels, grid, grid)), axis=1)
    return initial.astype(np.float32), (initial[:, None] + walk).astype(np.float32)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(np.corrcoef(a, b)[0, 1])


def dynamics_slowly(initial: np.ndarray, states: np.ndarray) -> dict[str, float]:
    """Return how one trajectory [T, C, G, G] unfolds, from the definitions."""
    initial, states = initial.astype(np.float64), states.astype(np.float64)
    steps, n_channels = states.shape[:2]
    before = np.concatenate([initial[None], states[:-1]])
    deviation = np.arcsinh(states.std(axis=(2, 3))).mean(axis=1)
    energy = np.log(np.sinh(deviation))
    change = np.arcsinh(np.sqrt(((states - before) ** 2).mean(axis=(2, 3)))).mean(axis=1)
    half = steps // 2
    power = np.abs(np.fft.fft(energy - energy.mean())[1 : steps // 2 + 1]) ** 2
    share = power / power.sum()
    pairs = [
        abs(correlation(states[t, c], states[t, d]))
        for t in range(half, steps, 4)
        for c in range(n_channels)
        for d in range(c)
    ]
    ends = states[-1].std(axis=(1, 2))
    return {
        "growth": energy[-1] - math.log(initial.std(axis=(1, 2)).mean()),
        "late_trend": float(np.polyfit(np.linspace(-1, 1, steps - half), energy[half:], 1)[0]),
        "memory_of_start": correlation(initial, states[-1]),
        "field_correlation_1": np.mean(
            [correlation(states[t], states[t - 1]) for t in range(1, steps)]
        ),
        "field_correlation_8": np.mean(
            [correlation(states[t], states[t - 8]) for t in range(8, steps)]
        ),
        "recurrence": max(correlation(states[t], states[-1]) for t in range(steps - 8)),
        "rhythm_centroid": float((share * np.linspace(0, 1, len(share))).sum()),
        "rhythm_entropy": float(-(share * np.log(share)).sum() / np.log(len(share))),
        "channel_correlation": float(np.mean(pairs)),
        "channel_imbalance": ends.std() / ends.mean(),
        "settling_time": float(np.mean(change > 0.1 * change.max())),
        "range_of_energy": energy.max() - energy.min(),
        "late_change": math.log(math.sinh(change[half:].mean())),
    }


def all_frames(initial: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return the frame features [M, T, C, 21] that every family is made of."""
    change = change_feature(states, initial)[..., None]
    return np.concatenate([frame_features(states), change], axis=-1).astype(np.float64)


@pytest.mark.parametrize(
    ("names", "count"),
    [(INITIAL_NAMES, 42), (SUMMARY_NAMES, 275), (TEMPORAL_NAMES, 63), (TRAJECTORY_NAMES, 55)],
)
def test_families_have_the_widths_of_the_layout_and_names_of_their_own(names, count):
    assert len(names) == len(set(names)) == count


def test_every_family_has_as_many_values_as_names():
    initial, states = wandering(0, realizations=4, steps=16)
    behaviour = describe_behaviour(initial, states)
    assert behaviour.initial.shape == (len(INITIAL_NAMES),)
    assert behaviour.summary.shape == (len(SUMMARY_NAMES),)
    assert behaviour.per_trajectory.shape == (4, len(TRAJECTORY_NAMES))
    assert behaviour.temporal.shape == (16, len(TEMPORAL_NAMES))
    for family in vars(behaviour).values():
        assert family.dtype == np.float32
        assert np.isfinite(family).all()


@pytest.mark.parametrize("walk", [wandering, settling])
@settings(deadline=None, max_examples=15)
@given(SEEDS, st.integers(16, 25), st.integers(2, 4))
def test_dynamics_are_those_of_the_definitions(walk, seed, steps, channels):
    initial, states = walk(seed, 2, steps, channels)
    found = describe_behaviour(initial, states).per_trajectory
    for m in range(2):
        values = dict(zip(TRAJECTORY_NAMES, found[m], strict=True))
        for name, expected in dynamics_slowly(initial[m], states[m]).items():
            np.testing.assert_allclose(values[name], expected, atol=3e-4, err_msg=name)


def test_settling_takes_the_steps_that_change_more_than_a_tenth_of_the_largest():
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (16, 8, 8))
    sizes = np.repeat([1.0, 0.2, 0.05], [4, 6, 6])[:, None, None]
    states = np.cumsum(sizes * signs, axis=0)[None, :, None].astype(np.float32)
    found = describe_behaviour(np.zeros((1, 1, 8, 8), np.float32), states).per_trajectory
    assert found[0, TRAJECTORY_NAMES.index("settling_time")] == pytest.approx(10 / 16)


def test_dynamics_are_all_checked():
    assert set(dynamics_slowly(*(array[0] for array in wandering(0)))) == set(DYNAMIC_NAMES)


def test_a_trajectory_has_the_time_mean_and_deviation_of_its_frames():
    initial, states = wandering(1)
    pooled = all_frames(initial, states).mean(axis=2)
    found = describe_behaviour(initial, states).per_trajectory
    for column, name in enumerate(FRAME_NAMES):
        mean, deviation = (
            found[:, TRAJECTORY_NAMES.index(f"{name}/{kind}")]
            for kind in ("time_mean", "time_deviation")
        )
        np.testing.assert_allclose(mean, pooled[..., column].mean(axis=1), atol=1e-5)
        np.testing.assert_allclose(deviation, pooled[..., column].std(axis=1), atol=1e-5)


def test_the_summary_aggregates_trajectories():
    initial, states = wandering(2, realizations=4)
    behaviour = describe_behaviour(initial, states)
    per_trajectory = behaviour.per_trajectory.astype(np.float64)
    aggregate = {
        "mean": np.mean,
        "deviation": np.std,
        "minimum": np.min,
        "maximum": np.max,
        "median": np.median,
    }
    assert tuple(aggregate) == AGGREGATES
    for value, name in zip(behaviour.summary, SUMMARY_NAMES, strict=True):
        feature, kind = name.rsplit("/", 1)
        expected = aggregate[kind](per_trajectory[:, TRAJECTORY_NAMES.index(feature)])
        np.testing.assert_allclose(value, expected, atol=1e-4, err_msg=name)


def spread_slowly(frames: np.ndarray, kind: str) -> np.ndarray:
    """Return a spread over realizations and channels of one feature [M, C]."""
    return {
        "mean": frames.mean(),
        "realization_deviation": frames.mean(axis=1).std(),
        "channel_deviation": frames.mean(axis=0).std(),
    }[kind]


def test_initial_and_temporal_spread_over_realizations_and_channels():
    initial, states = wandering(3)
    behaviour = describe_behaviour(initial, states)
    frames = all_frames(initial, states)
    for value, name in zip(behaviour.temporal[5], TEMPORAL_NAMES, strict=True):
        feature, kind = name.split("/")
        expected = spread_slowly(frames[:, 5, :, FRAME_NAMES.index(feature)], kind)
        np.testing.assert_allclose(value, expected, atol=1e-5, err_msg=name)
    static = frame_features(initial, rounding=1e-12).astype(np.float64)
    for value, name in zip(behaviour.initial, INITIAL_NAMES, strict=True):
        feature, kind = name.split("/")
        expected = spread_slowly(static[..., STATIC_NAMES.index(feature)], kind)
        np.testing.assert_allclose(value, expected, atol=1e-5, err_msg=name)
    assert {name.split("/")[1] for name in TEMPORAL_NAMES} == set(SPREADS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("amplitude", [0.3, 3.2])
@pytest.mark.parametrize("grid", [9, 32])
def test_what_all_initial_fields_share_is_no_noise_of_rounding(kind, amplitude, grid):
    """Cleaning scales what varies, however little: rounding would count as much as a feature."""
    generator = np.random.default_rng(0)
    _, states = wandering(0, grid=grid, steps=8)
    shared = {f"mean/{spread}" for spread in SPREADS}
    shared |= {f"deviation/{spread}" for spread in SPREADS[1:]}
    for _ in range(5):
        initial = initial_fields(kind, (3, 3, grid), 0.2, amplitude, generator)
        found = describe_behaviour(initial, states).initial
        values = dict(zip(INITIAL_NAMES, found, strict=True))
        assert {name for name, value in values.items() if value == 0} == shared
        assert np.sinh(values["deviation/mean"]) == pytest.approx(amplitude, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("amplitude", [0.3, 3.2])
def test_where_a_field_has_no_power_its_slope_is_no_noise_of_rounding(kind, amplitude):
    place = INITIAL_NAMES.index("spectral_slope/mean")
    _, states = wandering(0, grid=32, steps=8)
    initial = initial_fields(kind, (3, 3, 32), 0.2, amplitude, np.random.default_rng(0))
    slope = describe_behaviour(initial, states).initial[place]
    for same in (8 * initial, np.roll(initial, 5, axis=-1), initial.swapaxes(-1, -2)):
        assert describe_behaviour(same, states).initial[place] == pytest.approx(slope, abs=1e-2)


@settings(deadline=None, max_examples=15)
@given(SEEDS, st.permutations(range(4)))
def test_the_order_of_realizations_does_not_count(seed, order):
    initial, states = wandering(seed, realizations=4)
    one = describe_behaviour(initial, states)
    other = describe_behaviour(initial[list(order)], states[list(order)])
    np.testing.assert_allclose(other.summary, one.summary, atol=1e-4)
    np.testing.assert_allclose(other.temporal, one.temporal, atol=1e-4)
    np.testing.assert_allclose(other.per_trajectory, one.per_trajectory[list(order)], atol=1e-5)


@pytest.mark.parametrize("first_bad", [0, 1, 7, 19])
def test_a_divergence_is_missing_from_its_step_on_and_in_all_that_it_reaches(first_bad):
    initial, states = wandering(4)
    states[:, first_bad:] = np.nan
    behaviour = describe_behaviour(initial, states)
    assert np.isfinite(behaviour.initial).all()
    assert np.isfinite(behaviour.temporal[:first_bad]).all()
    assert np.isnan(behaviour.temporal[first_bad:]).all()
    missing = np.isnan(behaviour.per_trajectory).all(axis=0)
    spared = {name for name, gone in zip(TRAJECTORY_NAMES, missing, strict=True) if not gone}
    # correlations of channels are sampled at every fourth step, the last of them at 18
    assert spared == ({"channel_correlation"} if first_bad == 19 else set())
    assert np.isnan(behaviour.summary).sum() == 5 * (len(TRAJECTORY_NAMES) - len(spared))


def test_a_divergence_of_one_realization_leaves_the_others_their_own_features():
    initial, states = wandering(5)
    states[1, 10:] = np.nan
    behaviour = describe_behaviour(initial, states)
    assert np.isnan(behaviour.per_trajectory).all(axis=1).tolist() == [False, True, False]
    assert np.isfinite(behaviour.per_trajectory[[0, 2]]).all()
    assert np.isnan(behaviour.summary).all()


@pytest.mark.parametrize("steps", [8, 9, 64])
def test_the_shortest_trajectories_have_all_features(steps):
    initial, states = wandering(6, steps=steps)
    assert np.isfinite(describe_behaviour(initial, states).summary).all()


def test_channels_that_are_constant_at_the_end_are_not_unlike():
    initial, states = wandering(8, grid=32)
    states[:, -1] = np.float32([9.40535545, 9.40535545, -9.40535355])[:, None, None]
    assert (states[:, -1].std(axis=(-2, -1)) > 0).any()  # float32 rounds the mean
    found = describe_behaviour(initial, states).per_trajectory
    assert (found[:, TRAJECTORY_NAMES.index("channel_imbalance")] == 0).all()


def test_one_channel_and_a_state_at_rest_have_all_features():
    initial, states = wandering(7, channels=1)
    behaviour = describe_behaviour(initial, states)
    values = dict(zip(TRAJECTORY_NAMES, behaviour.per_trajectory[0], strict=True))
    assert values["channel_correlation"] == 0
    assert np.isfinite(behaviour.summary).all()
    resting = describe_behaviour(np.zeros_like(initial), np.zeros_like(states))
    for family in vars(resting).values():
        assert np.isfinite(family).all()
