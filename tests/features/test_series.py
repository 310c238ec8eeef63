"""Series as cosine coefficients: an orthonormal transform, and gaps that are bridged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.features.series import (
    bridge_gaps,
    coefficient_names,
    describe_series,
    kept_variance,
    restore_series,
)

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 4))
SEEDS = st.integers(0, 2**32 - 1)


def curves(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@settings(deadline=None)
@given(SHAPES, SEEDS)
def test_all_coefficients_give_the_curve_back(shape, seed):
    series = curves(shape, seed)
    steps = shape[1]
    restored = restore_series(describe_series(series, steps), steps, steps)
    np.testing.assert_allclose(restored, series, atol=1e-12)


@settings(deadline=None)
@given(SHAPES, SEEDS, st.floats(0, 1))
def test_an_error_of_coefficients_is_the_error_of_the_curve(shape, seed, part):
    series = curves(shape, seed)
    steps = shape[1]
    kept = max(1, round(part * steps))
    description = describe_series(series, kept)
    error = series - restore_series(description, steps, kept)
    lost = (series**2).sum() - (description**2).sum()
    np.testing.assert_allclose((error**2).sum(), lost, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(SHAPES, SEEDS, SEEDS)
def test_distances_are_kept(shape, seed, other):
    a, b = curves(shape, seed), curves(shape, other)
    steps = shape[1]
    between = np.linalg.norm(describe_series(a, steps) - describe_series(b, steps))
    np.testing.assert_allclose(between, np.linalg.norm(a - b), rtol=1e-9, atol=1e-12)


def test_coefficients_are_those_of_the_definition():
    series = curves((2, 12, 3), 0)
    t = np.arange(12)
    for k in range(5):
        wave = np.cos(np.pi * k * (2 * t + 1) / 24) * np.sqrt((1 if k == 0 else 2) / 12)
        expected = np.einsum("ntc,t->nc", series, wave)
        np.testing.assert_allclose(describe_series(series, 5)[:, k::5], expected, atol=1e-12)


def test_columns_are_named_channel_by_channel():
    series = np.zeros((1, 8, 2))
    series[0, :, 1] = 1
    names = coefficient_names(["u", "v"], 3)
    assert names == ["u/dct_00", "u/dct_01", "u/dct_02", "v/dct_00", "v/dct_01", "v/dct_02"]
    filled = np.flatnonzero(np.abs(describe_series(series, 3)[0]) > 1e-12)
    assert [names[i] for i in filled] == ["v/dct_00"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_numbers_stays(dtype):
    series = curves((3, 8, 2), 0).astype(dtype)
    series[0, 3, 0] = np.nan
    description = describe_series(series, 4)
    assert description.dtype == dtype
    assert restore_series(description, 8, 4).dtype == dtype


def bridged_slowly(series: np.ndarray) -> np.ndarray:
    """Walk along each channel: the last finite value, at the start the first that comes."""
    filled = series.copy()
    for n in range(series.shape[0]):
        for c in range(series.shape[2]):
            finite = [x for x in series[n, :, c] if np.isfinite(x)]
            last = finite[0] if finite else np.nan
            for t in range(series.shape[1]):
                last = series[n, t, c] if np.isfinite(series[n, t, c]) else last
                filled[n, t, c] = last
    return filled


GAPS = [np.nan, np.inf, -np.inf]


@settings(deadline=None)
@given(SHAPES, SEEDS, st.floats(0, 1))
def test_gaps_are_bridged_by_the_value_before_else_the_next(shape, seed, part):
    rng = np.random.default_rng(seed)
    series = rng.normal(size=shape)
    missing = rng.random(shape) < part
    series[missing] = rng.choice(GAPS, missing.sum())
    np.testing.assert_array_equal(bridge_gaps(series), bridged_slowly(series))


def test_a_channel_without_values_is_missing_and_spoils_no_other():
    series = curves((2, 8, 2), 0)
    clean = describe_series(series, 4)
    series[1, :, 0] = np.nan
    described = describe_series(series, 4)
    assert np.isnan(described[1, :4]).all()
    np.testing.assert_array_equal(described[0], clean[0])
    np.testing.assert_array_equal(described[1, 4:], clean[1, 4:])


def test_the_given_series_is_not_changed():
    series = curves((2, 8, 2), 0)
    series[0, 3, 0] = np.nan
    before = series.copy()
    describe_series(series, 4)
    np.testing.assert_array_equal(series, before)


def test_half_precision_is_described_in_single():
    series = np.full((2, 64, 1), 20000, np.float16)
    described = describe_series(series, 3)
    assert described.dtype == np.float32
    np.testing.assert_allclose(described[:, 0], 20000 * 8)


def test_coefficients_beyond_the_type_are_infinite():
    assert np.isposinf(describe_series(np.full((1, 16, 1), 3e38, np.float32), 1)).all()


def test_lists_and_whole_numbers_are_read():
    series = np.arange(24).reshape(2, 6, 2)
    described = describe_series(series.tolist(), 6)
    np.testing.assert_allclose(restore_series(described.tolist(), 6, 6), series, atol=1e-12)
    whole = np.round(described).astype(int)
    np.testing.assert_array_equal(
        restore_series(whole, 6, 6), restore_series(whole.astype(float), 6, 6)
    )


@pytest.mark.parametrize("coefficients", [0, -1, 9])
def test_a_number_of_coefficients_that_there_cannot_be_is_an_error(coefficients):
    with pytest.raises(SpinlockError, match=f"{coefficients} coefficients of 8 steps"):
        describe_series(curves((2, 8, 2), 0), coefficients)
    with pytest.raises(SpinlockError, match=f"{coefficients} coefficients of 8 steps"):
        restore_series(np.zeros((2, 18)), 8, coefficients)


def test_columns_that_are_no_whole_channels_are_an_error():
    with pytest.raises(SpinlockError, match="7 columns are no whole number of channels of 3"):
        restore_series(np.zeros((2, 7)), 8, 3)


@pytest.mark.parametrize("wrong", [np.zeros(8), [["a"]], np.zeros((2, 8, 2), complex)])
def test_what_is_no_series_is_an_error_that_says_what_it_is(wrong):
    for use in (lambda: describe_series(wrong, 1), lambda: restore_series(wrong, 8, 1)):
        with pytest.raises(SpinlockError, match=str(np.asarray(wrong).dtype)):
            use()


def test_no_rows_give_no_curves():
    described = describe_series(np.empty((0, 8, 2)), 3)
    assert restore_series(described, 8, 3).shape == (0, 8, 2)


@pytest.mark.parametrize("coefficients", [1, 4, 12])
def test_the_variance_that_coefficients_keep_is_that_of_the_curves_they_restore(coefficients):
    series = np.random.default_rng(0).normal(size=(200, 12, 3)).cumsum(axis=1)
    series[3, 2, 1] = np.nan
    series[:, :, 2] = 4.0
    share = kept_variance(series, coefficients)
    filled = bridge_gaps(series)
    restored = restore_series(describe_series(filled, coefficients), 12, coefficients)
    lost = (filled - restored).var(axis=0).sum(axis=0) / filled.var(axis=0).sum(axis=0).clip(1e-9)
    np.testing.assert_allclose(share[:2], 1 - lost[:2], rtol=1e-9)
    assert np.isnan(share[2])


def test_series_without_a_finite_row_keep_nothing_that_is_known():
    assert np.isnan(kept_variance(np.full((4, 6, 2), np.nan), 3)).all()
