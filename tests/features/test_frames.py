"""Features of frames, against one frame at a time in double precision, from the definitions."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.features.frames import FRAME_NAMES, STATIC_NAMES, change_feature, frame_features

GRIDS = [8, 9, 12, 16]
SEEDS = st.integers(0, 2**32 - 1)
WEAK = 1e-12  # of the square of the variance: frames much weaker than 1e-3 have no shape
LOOSE = {"spectral_slope": 2e-3, "kurtosis": 1e-3, "skewness": 1e-3}


def noisy_frame(grid: int, seed: int, scale: float = 1.0, offset: float = 0.3) -> np.ndarray:
    """Return a wave with noise: no wavenumber is empty, so that logarithms are well conditioned."""
    rng = np.random.default_rng(seed)
    x = np.arange(grid) / grid
    k, phase = rng.integers(0, 4, 2), rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * (k[0] * x[:, None] + k[1] * x[None, :]) + phase)
    noise = rng.normal(size=(grid, grid)) ** rng.choice([1, 3])
    return (scale * (wave + 0.3 * noise + offset)).astype(np.float32)


def described_slowly(frame: np.ndarray) -> dict[str, float]:
    """Return the features of one periodic frame by plain sums."""
    u = frame.astype(np.float64)
    grid = len(u)
    points = list(product(range(grid), range(grid)))
    mean = sum(u[p] for p in points) / grid**2
    m2, m3, m4 = (sum((u[p] - mean) ** k for p in points) / grid**2 for k in (2, 3, 4))
    dx = [u[y, (x + 1) % grid] - u[y, x] for y, x in points]
    dy = [u[(y + 1) % grid, x] - u[y, x] for y, x in points]
    laplacian = [
        u[y, (x + 1) % grid] + u[y, x - 1] + u[(y + 1) % grid, x] + u[y - 1, x] - 4 * u[y, x]
        for y, x in points
    ]
    along_x = sum(d * d for d in dx) / grid**2
    along_y = sum(d * d for d in dy) / grid**2
    neighbours = [
        (u[p] - mean) * (u[p[0], (p[1] + 1) % grid] + u[(p[0] + 1) % grid, p[1]] - 2 * mean) / 2
        for p in points
    ]
    changes = [(u[y, x] > mean) != (u[y, x - 1] > mean) for y, x in points]
    return {
        "mean": math.asinh(mean),
        "deviation": math.asinh(math.sqrt(m2)),
        "skewness": math.asinh(m3 / (m2**1.5 + WEAK)),
        "kurtosis": math.asinh(min((m4 - 3 * m2**2) / (m2**2 + WEAK), 50)),
        "minimum": math.asinh(u.min()),
        "maximum": math.asinh(u.max()),
        "mean_magnitude": math.asinh(sum(abs(u[p]) for p in points) / grid**2),
        "gradient": math.asinh(math.sqrt(along_x + along_y)),
        "curvature": math.asinh(math.sqrt(sum(c * c for c in laplacian) / grid**2)),
        "anisotropy": (along_x - along_y) / (along_x + along_y),
        "neighbour_correlation": sum(neighbours) / grid**2 / m2,
        "sign_changes": sum(changes) / grid**2,
    } | spectrum_slowly(u)


def spectrum_slowly(u: np.ndarray) -> dict[str, float]:
    """Return the features of the power of whole wavenumbers 1, 2, … G // 2 and all beyond."""
    grid = len(u)
    wave = np.exp(-2j * np.pi * np.outer(np.arange(grid), np.arange(grid)) / grid)
    power = np.abs(wave @ u @ wave.T) ** 2
    n_bins = grid // 2
    by_wavenumber, modes = [0.0] * n_bins, [0] * n_bins
    for i, j in product(range(grid), range(grid)):
        ky, kx = min(i, grid - i), min(j, grid - j)
        k = min(round(math.hypot(kx, ky)), n_bins)
        if k > 0:
            by_wavenumber[k - 1] += power[i, j]
            modes[k - 1] += 1
    share = [p / sum(by_wavenumber) for p in by_wavenumber]
    k = range(1, n_bins + 1)
    centroid = sum(s * one for s, one in zip(share, k, strict=True))
    log_k = np.log(k)
    log_power = np.log([p / n for p, n in zip(by_wavenumber, modes, strict=True)])
    third = [n_bins // 3 + (i < n_bins % 3) for i in range(3)]
    return {
        "spectral_centroid": centroid,
        "spectral_width": math.sqrt(
            sum(s * (one - centroid) ** 2 for s, one in zip(share, k, strict=True))
        ),
        "spectral_entropy": -sum(s * math.log(s) for s in share) / math.log(n_bins),
        "spectral_slope": float(np.polyfit(log_k, log_power, 1)[0]),
        "low_band": sum(share[: third[0]]),
        "middle_band": sum(share[third[0] : third[0] + third[1]]),
        "high_band": sum(share[third[0] + third[1] :]),
        "dominant_wavenumber": int(np.argmax(share)) + 1,
    }


def named(frame: np.ndarray) -> dict[str, float]:
    return dict(zip(FRAME_NAMES, frame_features(frame), strict=False))


def close(a: dict[str, float], b: dict[str, float]) -> None:
    for name, value in a.items():
        np.testing.assert_allclose(value, b[name], rtol=0, atol=LOOSE.get(name, 2e-4), err_msg=name)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(GRIDS), SEEDS, st.sampled_from([0.01, 1.0, 30.0]))
def test_features_are_those_of_the_definitions(grid, seed, scale):
    frame = noisy_frame(grid, seed, scale)
    close(described_slowly(frame), named(frame))


def test_every_name_but_the_change_has_one_column():
    assert len(set(FRAME_NAMES)) == len(FRAME_NAMES) == 21
    assert FRAME_NAMES[-1] == "change"
    assert set(STATIC_NAMES) <= set(FRAME_NAMES)
    assert frame_features(noisy_frame(8, 0)).shape == (20,)


@pytest.mark.parametrize("shape", [(1,), (3, 2), (2, 3, 2)])
def test_frames_do_not_see_their_neighbours(shape):
    frames = np.stack([noisy_frame(8, i) for i in range(math.prod(shape))])
    together = frame_features(frames.reshape(*shape, 8, 8))
    alone = np.stack([frame_features(frame) for frame in frames]).reshape(*shape, 20)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(GRIDS), SEEDS, st.integers(-9, 9), st.integers(-9, 9))
def test_a_shift_around_the_torus_changes_nothing(grid, seed, down, right):
    frame = noisy_frame(grid, seed)
    shifted = np.roll(frame, (down, right), axis=(0, 1))
    close(named(frame), named(shifted))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(GRIDS), SEEDS)
def test_turning_the_axes_turns_only_what_has_a_direction(grid, seed):
    frame = noisy_frame(grid, seed)
    straight, turned = named(frame), named(frame.T)
    turned["anisotropy"] *= -1
    for directed in (straight, turned):
        del directed["sign_changes"]
    close(straight, turned)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(GRIDS), SEEDS)
def test_the_opposite_sign_turns_only_what_has_a_sign(grid, seed):
    frame = noisy_frame(grid, seed)
    plain, opposite = named(frame), named(-frame)
    opposite |= {
        "mean": -opposite["mean"],
        "skewness": -opposite["skewness"],
        "minimum": -opposite["maximum"],
        "maximum": -opposite["minimum"],
    }
    close(plain, opposite)


def test_a_plane_wave_stands_at_its_wavenumber():
    x = np.arange(32) / 32
    frame = np.broadcast_to(np.sin(2 * np.pi * 5 * x), (32, 32)).astype(np.float32)
    features = named(frame)
    assert features["dominant_wavenumber"] == 5
    np.testing.assert_allclose(features["spectral_centroid"], 5, atol=1e-3)
    np.testing.assert_allclose(features["spectral_width"], 0, atol=0.02)
    np.testing.assert_allclose(features["anisotropy"], 1, atol=1e-4)
    np.testing.assert_allclose(
        features["neighbour_correlation"], (1 + np.cos(2 * np.pi * 5 / 32)) / 2, atol=1e-4
    )


@pytest.mark.parametrize("value", [0.0, 0.1, -1e3])
def test_a_flat_frame_has_no_structure_and_no_gaps(value):
    features = named(np.full((16, 16), value, np.float32))
    assert np.isfinite(list(features.values())).all()
    for name in ("skewness", "gradient", "curvature", "anisotropy", "sign_changes"):
        assert abs(features[name]) < 1e-3, name
    np.testing.assert_allclose(features["mean"], np.arcsinh(value), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1e-3, 3e-3, 1.0])
def test_no_weak_frame_has_a_kurtosis_that_no_frame_can_have(scale):
    """Two values, each as often, have the lowest there is: −2."""
    signs = np.where(np.indices((8, 8)).sum(axis=0) % 2, 1, -1)
    found = np.sinh(named((scale * signs).astype(np.float32))["kurtosis"])
    assert -2.001 < found <= 0
    assert bool(found < -1.9) is (scale > 2e-3)


def test_tails_beyond_the_largest_kurtosis_are_not_told_apart():
    spike = np.zeros((32, 32), np.float32)
    spike[3, 3] = 1  # of kurtosis 1020
    np.testing.assert_allclose(named(spike)["kurtosis"], np.arcsinh(50), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_of_a_frame_that_is_not_finite_are_missing_and_no_others(bad):
    frames = np.stack([noisy_frame(8, 0), noisy_frame(8, 1)])
    clean = frame_features(frames)
    frames[0, 3, 5] = bad
    features = frame_features(frames)
    assert np.isnan(features[0]).all()
    np.testing.assert_array_equal(features[1], clean[1])


@settings(deadline=None, max_examples=20)
@given(SEEDS)
def test_change_is_the_rms_difference_from_the_state_before(seed):
    rng = np.random.default_rng(seed)
    initial = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    states = rng.normal(size=(2, 5, 3, 8, 8)).astype(np.float32)
    change = change_feature(states, initial)
    assert change.shape == (2, 5, 3)
    for m, t, c in product(range(2), range(5), range(3)):
        before = states[m, t - 1, c] if t else initial[m, c]
        difference = states[m, t, c].astype(np.float64) - before
        expected = math.asinh(math.sqrt((difference**2).mean()))
        np.testing.assert_allclose(change[m, t, c], expected, rtol=1e-5)


def test_change_is_missing_where_a_state_or_the_one_before_is():
    initial = np.zeros((1, 1, 8, 8), np.float32)
    states = np.zeros((1, 6, 1, 8, 8), np.float32)
    states[0, 3] = np.nan
    assert np.isnan(change_feature(states, initial))[0, :, 0].tolist() == [
        *[False] * 3,
        *[True] * 2,
        False,
    ]
