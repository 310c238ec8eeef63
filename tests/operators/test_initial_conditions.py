"""Initial states: four kinds of fields, all centred and of the deviation that is asked for."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.operators.initial_conditions import KINDS, MODES, initial_fields
from spinlock.settings.dataset import InitialCondition

SEEDS = st.integers(0, 2**32 - 1)


def draw(kind: str, seed: int = 0, shape=(2, 3, 16), scale: float = 0.2, amplitude: float = 1.5):
    return initial_fields(kind, shape, scale, amplitude, np.random.default_rng(seed))


def spectrum(fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return wavenumbers, and each one's share of the power, pooled over fields."""
    grid = fields.shape[-1]
    k = np.fft.fftfreq(grid, 1 / grid)
    radius = np.hypot(k[:, None], k[None, :])
    power = (np.abs(np.fft.fft2(fields.astype(np.float64))) ** 2).reshape(-1, grid, grid)
    power /= power.sum(axis=(1, 2), keepdims=True)
    return radius, power.mean(axis=0)


def test_the_kinds_are_those_of_the_settings():
    assert set(KINDS) == set(get_args(InitialCondition))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(
    SEEDS,
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([8, 9, 16]),
    st.floats(0.05, 0.4),
    st.floats(0.3, 3.2),
)
def test_every_field_is_centred_and_has_the_wanted_deviation(
    kind, seed, realizations, channels, grid, scale, amplitude
):
    fields = draw(kind, seed, (realizations, channels, grid), scale, amplitude)
    assert fields.shape == (realizations, channels, grid, grid)
    assert fields.dtype == np.float32
    np.testing.assert_allclose(fields.mean(axis=(-2, -1)), 0, atol=1e-5)
    np.testing.assert_allclose(fields.std(axis=(-2, -1)), amplitude, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_decided_by_their_generator(kind):
    np.testing.assert_array_equal(draw(kind, 1), draw(kind, 1))
    assert (draw(kind, 1) != draw(kind, 2)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_realizations_and_channels_differ(kind):
    fields = draw(kind).reshape(6, -1)
    for i in range(6):
        for j in range(i):
            assert np.abs(fields[i] - fields[j]).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_scale_makes_larger_structures(kind):
    centroids = []
    for scale in (0.08, 0.16, 0.32):
        radius, power = spectrum(draw(kind, 0, (20, 3, 32), scale))
        centroids.append((radius * power).sum())
    assert centroids[0] > 1.3 * centroids[1] > 1.3**2 * centroids[2]


def test_band_noise_stays_in_its_band():
    radius, power = spectrum(draw("band_noise", 0, (20, 3, 64), scale=0.1))
    assert power[(radius > 10 / 2) & (radius < 10 * 2)].sum() > 0.999
    assert power[(radius > 10 / 2**0.5) & (radius < 10 * 2**0.5)].sum() > 0.9


def test_a_gaussian_field_falls_with_the_wavenumber_as_its_formula_says():
    scale = 0.2
    radius, power = spectrum(draw("gaussian_field", 0, (300, 3, 16), scale))
    k = radius[0, 1:8]
    found = power[0, 1:8] / power[0, 1]
    expected = ((1 + (k * scale) ** 2) / (1 + scale**2)) ** -3
    np.testing.assert_allclose(found, expected, rtol=0.3)


def test_sinusoids_are_few_waves_that_fit_the_grid():
    for field in draw("sinusoids", 0, (10, 3, 32), scale=0.1).reshape(-1, 32, 32):
        radius, power = spectrum(field)
        lines = power > 1e-10
        assert lines.sum() <= 2 * MODES
        assert radius[lines].max() <= 10 * np.sqrt(2) + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_no_direction_is_preferred(kind):
    _, power = spectrum(draw(kind, 0, (200, 3, 32), scale=0.1))
    k = np.fft.fftfreq(32, 1 / 32)
    along, across = np.abs(k[:, None]), np.abs(k[None, :])
    assert abs((power * np.sign(k[:, None] * k[None, :])).sum()) < 0.1  # of the diagonals
    assert abs((power * np.sign(along - across)).sum()) < 0.1  # of the axes


@pytest.mark.parametrize("kind", ["gaussian_field", "band_noise"])
@pytest.mark.parametrize("grid", [8, 9])
def test_waves_of_one_length_have_one_power_whatever_their_direction(kind, grid):
    """Not half of it along the first axis: the transform of a half spectrum drops parts there."""
    _, power = spectrum(draw(kind, 0, (1500, 2, grid), scale=0.3))
    k = np.arange(1, grid // 2 + 1)
    np.testing.assert_allclose(power[k, 0], power[0, k], rtol=0.15)


def test_blobs_are_anywhere_on_the_grid():
    fields = draw("blobs", 0, (300, 1, 32), scale=0.1).reshape(300, -1)
    row, column = np.unravel_index(np.abs(fields).argmax(axis=1), (32, 32))
    assert (row == column).mean() < 0.2
    for place in (row, column):
        assert np.bincount(place // 8, minlength=4).min() > 300 / 8


def test_blobs_leave_most_of_the_grid_flat():
    fields = draw("blobs", 0, (50, 1, 32), scale=0.1, amplitude=1.0)
    near_the_median = np.abs(fields - np.median(fields, axis=(-2, -1), keepdims=True)) < 0.1
    assert near_the_median.mean() > 0.5
    assert np.median(np.abs(fields).max(axis=(-2, -1))) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_fields_have_no_seam_at_the_edge_of_the_grid(kind):
    fields = draw(kind, 0, (40, 3, 32), scale=0.3)
    inside = np.abs(np.diff(fields, axis=-1)).mean()
    seam = np.abs(fields[..., 0] - fields[..., -1]).mean()
    assert seam < 1.2 * inside
