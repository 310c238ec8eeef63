"""The compiled convolution, against scipy and plain shifts around the torus."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

from spinlock.operators import convolution
from spinlock.operators.convolution import PeriodicConvolution, wrap

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.sampled_from([3, 5])


def shifted_sums(kernel: np.ndarray, bias: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return Σ kernel[o, i, dy, dx] · u[i, y + dy − h, x + dx − h] + bias[o]."""
    half = kernel.shape[-1] // 2
    out = np.zeros((len(u), len(kernel), *u.shape[2:])) + bias[:, None, None]
    for dy in range(kernel.shape[-1]):
        for dx in range(kernel.shape[-1]):
            moved = np.roll(u.astype(np.float64), (half - dy, half - dx), axis=(-2, -1))
            out += np.einsum("oi,miyx->moyx", kernel[..., dy, dx], moved)
    return out


@settings(deadline=None, max_examples=60)
@given(
    SEEDS,
    SIZES,
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(5, 12),
    st.integers(5, 12),
)
def test_it_is_the_sum_of_shifted_fields(seed, size, n_rows, n_in, n_out, height, width):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(n_out, n_in, size, size))
    bias = rng.normal(size=n_out)
    u = rng.normal(size=(n_rows, n_in, height, width)).astype(np.float32)
    found = PeriodicConvolution(kernel, bias)(u)
    assert found.shape == (n_rows, n_out, height, width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, shifted_sums(kernel, bias, u), atol=1e-4)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("n_out", [1, 2, 3])
def test_it_is_what_scipy_calls_correlation_with_wrapped_edges(rng, size, n_out):
    kernel = rng.normal(size=(n_out, 2, size, size))
    u = rng.normal(size=(1, 2, 9, 9)).astype(np.float32)
    found = PeriodicConvolution(kernel, np.zeros(n_out))(u)[0]
    for o in range(n_out):
        expected = sum(
            correlate2d(u[0, i], kernel[o, i], mode="same", boundary="wrap") for i in range(2)
        )
        np.testing.assert_allclose(found[o], expected, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(SEEDS, SIZES, st.integers(-20, 20), st.integers(-20, 20))
def test_a_shift_of_the_input_shifts_the_output_bit_by_bit(seed, size, down, right):
    rng = np.random.default_rng(seed)
    convolve = PeriodicConvolution(rng.normal(size=(3, 2, size, size)), rng.normal(size=3))
    u = rng.normal(size=(2, 2, 8, 8)).astype(np.float32)
    moved = np.roll(u, (down, right), axis=(-2, -1))
    np.testing.assert_array_equal(
        convolve(moved), np.roll(convolve(u), (down, right), axis=(-2, -1))
    )


@pytest.mark.parametrize("size", [3, 5])
def test_rows_and_output_channels_do_not_see_one_another(rng, size):
    kernel, bias = rng.normal(size=(5, 3, size, size)), rng.normal(size=5)
    u = rng.normal(size=(4, 3, 8, 8)).astype(np.float32)
    together = PeriodicConvolution(kernel, bias)(u)
    np.testing.assert_array_equal(PeriodicConvolution(kernel, bias)(u[2:3]), together[2:3])
    for o in range(5):
        alone = PeriodicConvolution(kernel[o : o + 1], bias[o : o + 1])(u)
        np.testing.assert_array_equal(alone[:, 0], together[:, o])


@pytest.mark.parametrize("size", [3, 5])
def test_a_missing_value_reaches_its_neighbourhood_and_no_further(rng, size):
    u = np.zeros((1, 1, 9, 9), np.float32)
    u[0, 0, 0, 4] = np.nan
    found = PeriodicConvolution(rng.normal(size=(1, 1, size, size)), np.zeros(1))(u)
    reached = np.zeros((9, 9), bool)
    half = size // 2
    for dy in range(-half, half + 1):
        reached[dy % 9, 2:7] = True
    # the compiled loop has five taps per row, of which a narrow kernel leaves two at zero
    np.testing.assert_array_equal(np.isnan(found[0, 0]), reached)


def test_the_input_is_not_changed(rng):
    u = rng.normal(size=(2, 2, 8, 8)).astype(np.float32)
    before = u.copy()
    PeriodicConvolution(rng.normal(size=(3, 2, 3, 3)), np.zeros(3))(u)
    np.testing.assert_array_equal(u, before)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(0, 3), st.integers(1, 3), st.integers(3, 8), st.integers(3, 8))
def test_wrapping_is_that_of_numpy(seed, lines, columns, height, width):
    u = np.random.default_rng(seed).normal(size=(2, 3, height, width)).astype(np.float32)
    expected = np.pad(u, ((0, 0), (0, 0), (lines, lines), (columns, columns)), mode="wrap")
    np.testing.assert_array_equal(wrap(u, lines, columns), expected)


@pytest.mark.parametrize("size", [3, 5])
def test_compiled_and_interpreted_it_is_the_same(rng, monkeypatch, size):
    convolve = PeriodicConvolution(rng.normal(size=(3, 2, size, size)), rng.normal(size=3))
    u = rng.normal(size=(2, 2, 6, 7)).astype(np.float32)
    compiled = convolve(u)
    monkeypatch.setattr(convolution, "_convolve", convolution._convolve.py_func)
    np.testing.assert_allclose(convolve(u), compiled, rtol=1e-5, atol=1e-5)


def doubled(values: np.ndarray) -> None:
    values *= 2


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(monkeypatch):
    njit = numba.njit

    def nowhere(cache: bool = False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", nowhere)
    values = np.ones(3)
    convolution._compiled(doubled)(values)
    assert values.tolist() == [2, 2, 2]
