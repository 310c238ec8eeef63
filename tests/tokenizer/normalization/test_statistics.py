"""What is normalised is finite and told as it was cleaned, and nothing kept is lost."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from spinlock.errors import SpinlockError
from spinlock.settings.data import FeatureCleaning
from spinlock.tokenizer.normalization.fitting import fit_statistics
from spinlock.tokenizer.normalization.statistics import LARGEST, FeatureStatistics, Reason
from spinlock.tokenizer.normalization.tails import compressed, log_units

modest = settings(deadline=None, max_examples=60)
UNCAPPED = FeatureCleaning(outlier_method="none")

# a range that float32 holds in units of its smallest deviation
cells = st.floats(-1e17, 1e17).filter(lambda x: x == 0 or abs(x) > 1e-15)
messy_cells = cells | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0])
tables = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12), elements=messy_cells
)
all_rules = st.tuples(
    st.builds(
        FeatureCleaning,
        outlier_method=st.sampled_from(["mad", "percentile", "none"]),
        outlier_bound=st.floats(1, 40),
        outliers=st.sampled_from(["cap", "log"]),
    ),
    st.sampled_from(["standard", "mad"]),
)


def fit(
    values: np.ndarray,
    cleaning: FeatureCleaning = UNCAPPED,
    method: str = "standard",
    **options,
) -> FeatureStatistics:
    return fit_statistics(
        lambda chosen, rows: values[rows, chosen], *values.shape, cleaning, method, **options
    )


def fit_or_none(values: np.ndarray, rules: tuple[FeatureCleaning, str]) -> FeatureStatistics | None:
    """Fit, or return None where no column is left."""
    try:
        return fit(values, *rules)
    except SpinlockError:
        return None


def sample(seed: int = 0, n_rows: int = 200, n_columns: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns))


@modest
@given(tables, all_rules)
def test_inverting_gives_back_every_kept_cell_that_was_not_capped(values, rules):
    statistics = fit_or_none(values, rules)
    if statistics is None:
        return
    restored = statistics.invert(statistics.apply(values))
    for column in statistics.kept:
        x = values[:, column]
        lower, upper = statistics.lower[column], statistics.upper[column]
        inside = np.isfinite(x) & (x >= lower) & (x <= upper)
        x = x[inside]
        low, high = statistics.log_below[[column]], statistics.log_above[[column]]
        slope = 1 + np.abs(x - x.clip(low, high)) / log_units(low, high)  # of a tail
        # of float32, of its smallest number, of float64
        rounding = 1.2e-7 * np.abs(compressed(x, low, high) - statistics.center[column])
        rounding = slope * (rounding + 1e-44 * statistics.scale[column]) + 1e-12 * np.abs(x)
        assert (np.abs(restored[inside, column] - x) <= rounding).all()


@modest
@given(tables, all_rules)
def test_normalised_cells_are_finite_whatever_the_rows(values, rules):
    statistics = fit_or_none(values[: max(2, len(values) // 2)], rules)
    if statistics is None or rules[0].outlier_method == "none":
        return
    normalised = statistics.apply(values)
    assert normalised.dtype == np.float32
    assert np.isfinite(normalised).all()
    assert np.isfinite(statistics.invert(normalised)).all()


@modest
@given(tables, all_rules)
def test_fitting_and_applying_leave_their_input_alone(values, rules):
    before = values.copy()
    statistics = fit_or_none(values, rules)
    if statistics is not None:
        statistics.apply(values)
    np.testing.assert_array_equal(values, before)


def test_missing_and_infinite_cells_get_the_median_of_the_train_rows():
    values = sample()
    values[::5, 1] = np.nan
    values[1::7, 1] = np.inf
    values[2::9, 3] = -np.inf
    statistics = fit(values)
    normalised = statistics.apply(values)
    restored = statistics.invert(normalised)
    for column in (1, 3):
        absent = ~np.isfinite(values[:, column])
        expected = np.median(values[~absent, column])
        np.testing.assert_allclose(restored[absent, column], expected, rtol=1e-5)
    assert statistics.summary()["imputed_cells"] == (~np.isfinite(values)).sum()


def test_a_chain_of_repeats_is_restored_from_the_column_that_is_kept():
    values = sample(n_columns=1)
    values = np.hstack([values, 2 * values, 4 * values - 1, 1e13 * values])
    statistics = fit(values)
    assert statistics.kept.tolist() == [0]
    assert statistics.twin.tolist() == [-1, 0, 0, 0]
    restored = statistics.invert(statistics.apply(values))
    np.testing.assert_allclose(restored, values, rtol=1e-5, atol=1e-6)


@modest
@given(tables, all_rules)
def test_every_column_has_one_reason_and_the_summary_counts_them(values, rules):
    statistics = fit_or_none(values, rules)
    if statistics is None:
        return
    statistics.require_consistent()
    summary = statistics.summary()
    reasons = [summary[name] for name in ("kept", "missing", "constant", "duplicate")]
    assert sum(reasons) == values.shape[1]
    assert summary["kept"] == len(statistics.kept)
    assert (statistics.reason[statistics.kept] == Reason.KEPT).all()


def test_the_codes_of_reasons_stay_what_files_hold():
    named = {one.label: int(one) for one in Reason}
    assert named == {"kept": 0, "missing": 1, "constant": 2, "duplicate": 3, "nearly_constant": 4}


def test_statistics_survive_being_arrays(tmp_path):
    statistics = fit(sample())
    path = tmp_path / "statistics.npz"
    np.savez(path, **statistics.arrays())
    with np.load(path, allow_pickle=False) as stored:
        again = FeatureStatistics.from_arrays(dict(stored))
    values = sample(seed=1)
    np.testing.assert_array_equal(again.apply(values), statistics.apply(values))


def test_nothing_can_be_written_to_statistics():
    for name, array in fit(sample()).arrays().items():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert not array.flags.writeable, name


def test_a_row_is_normalised_alike_in_any_company():
    statistics, values = fit(sample()), sample(seed=1)
    np.testing.assert_array_equal(statistics.apply(values)[7:8], statistics.apply(values[7:8]))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scale": np.array(["1"] * 6)}, "scale is no list of numbers"),
        ({"center": np.zeros((6, 1))}, "center is no list of numbers"),
        ({"upper": np.zeros(5)}, "upper describes 5 columns of 6"),
        ({"kept": np.array([0, 1])}, "kept and reason differ"),
        ({"kept": np.array([], int), "reason": np.full(6, Reason.MISSING)}, "no column is kept"),
        ({"kept": np.arange(6.0)}, "kept is no list of numbers"),
        ({"twin": np.full(6, -1.0)}, "twin is no list of numbers"),
        ({"scale": np.array([1, 1, 1, 1, 1, np.nan])}, "scale holds what is not a number"),
        ({"center": np.full(6, np.nan)}, "center holds what is not a number"),
        ({"impute": np.full(6, np.inf)}, "impute holds what is not a number"),
        ({"slope": np.full(6, np.nan)}, "slope holds what is not a number"),
        ({"scale": np.array([1, 1, 1, 1, 1, 0.0])}, "a scale is not above zero"),
        ({"lower": np.full(6, np.nan)}, "a lower cap is not below the upper one"),
        ({"lower": np.full(6, 1e301)}, "a lower cap is not below the upper one"),
    ],
)
def test_arrays_that_do_not_describe_the_same_columns_are_refused(changes, problem):
    statistics = fit(sample())
    statistics.require_consistent()
    statistics.require_consistent(6)
    with pytest.raises(ValueError, match="describes 6 columns of 7"):
        statistics.require_consistent(7)
    with pytest.raises(ValueError, match=problem):
        replace(statistics, **changes).require_consistent()


@pytest.mark.parametrize("twin", [-1, 5, 10**6])  # of the last column, which repeats the first
def test_a_twin_that_is_not_kept_is_refused(twin):
    values = sample()
    values[:, 5] = 2 * values[:, 0]
    statistics = fit(values)
    statistics.require_consistent()
    twins = np.where(statistics.reason == Reason.DUPLICATE, twin, -1)
    with pytest.raises(ValueError, match="the twin of a duplicate is no column that is kept"):
        replace(statistics, twin=twins).require_consistent()


def test_knees_that_are_none_are_refused():
    statistics = fit(sample())
    for knees in ((1.0, -1.0), (-np.inf, 1.0), (np.nan, 1.0)):
        below, above = (np.full(6, knee) for knee in knees)
        with pytest.raises(ValueError, match="logarithms do not begin below and above"):
            replace(statistics, log_below=below, log_above=above).require_consistent()


def test_rows_with_imputed_and_with_capped_cells_are_told_apart():
    values = sample()
    statistics = fit(values, FeatureCleaning(outlier_bound=3.0))
    rows = np.zeros((5, 6))
    rows[1, 0], rows[2, 1], rows[3, 2], rows[4] = np.nan, 1e6, -1e6, [np.inf, 1e6, 0, 0, 0, 0]
    expected = [[False, False], [True, False], [False, True], [False, True], [True, True]]
    altered = np.stack(statistics.altered_cells(rows)) != 0
    assert altered.any(axis=2).T.tolist() == expected
    assert altered[:, 4].tolist() == [[True] + [False] * 5, [False, True] + [False] * 4]


def test_a_cell_at_its_bound_is_not_capped():
    statistics = fit(sample(), FeatureCleaning(outlier_bound=3.0))
    for bound, beyond in ((statistics.lower, -1), (statistics.upper, 1)):
        rows = np.stack([bound, bound + beyond])
        _, excess = statistics.altered_cells(rows)
        assert excess[0].tolist() == [0] * 6
        np.testing.assert_allclose(excess[1], beyond / statistics.scale, rtol=1e-6)


def test_cells_and_what_they_are_beyond_their_caps_are_the_values_before():
    values = sample() ** 3
    statistics = fit(values, FeatureCleaning(outlier_bound=2.0))
    _, excess = statistics.altered_cells(values)
    assert 0 < np.count_nonzero(excess) < excess.size
    whole = statistics.apply(values).astype(np.float64) + excess
    np.testing.assert_allclose(whole, (values - statistics.center) / statistics.scale, atol=1e-5)


def tailed_sample() -> np.ndarray:
    """Return rows of which some in a hundred are up to six decades farther out than the others."""
    values = sample(n_rows=400)
    signs = np.where(np.arange(20) % 2, 1, -1)[:, None]
    values[::20] = signs * np.logspace(1, 6, 20)[:, None]
    return values


def test_in_tails_values_go_on_as_logarithms_and_come_back():
    values = tailed_sample()
    statistics = fit(values, FeatureCleaning(outlier_bound=5.0, outliers="log"))
    low, high = statistics.log_below, statistics.log_above
    usual = fit(values, FeatureCleaning(outlier_bound=5.0))
    np.testing.assert_array_equal([low, high], [usual.lower, usual.upper])
    np.testing.assert_allclose(statistics.invert(statistics.apply(values)), values, rtol=1e-4)
    unit = (high - low) / 10
    excess = np.logspace(0, 5, 6)[:, None] * np.ones(6)
    for knee, sign in ((high, 1), (low, -1)):
        normalised = statistics.apply(knee + sign * excess)
        place = knee + sign * unit * np.log1p(excess / unit)
        np.testing.assert_allclose(
            normalised, (place - statistics.center) / statistics.scale, rtol=1e-5, atol=1e-5
        )
        # at the knee they go on with the same slope
        near = knee + np.array([[-1e-3], [1e-3]]) * sign * unit
        slope = np.diff(statistics.apply(near).astype(np.float64), axis=0)[0] * statistics.scale
        np.testing.assert_allclose(slope, 2e-3 * sign * unit, rtol=2e-2)
    assert statistics.capped.sum() == 0
    assert not statistics.altered_cells(values)[1].any()


def test_tails_end_at_three_times_what_three_quarters_of_their_values_are_within():
    values = tailed_sample()
    statistics = fit(values, FeatureCleaning(outlier_bound=5.0, outliers="log"))
    low, high = statistics.log_below, statistics.log_above
    usual = compressed(values, low, high)
    ends = compressed(np.stack([statistics.lower, statistics.upper]), low, high)
    for x, lowest, highest, lower, upper in zip(usual.T, *ends, low, high, strict=True):
        distance = np.maximum(lower - x, x - upper)
        reach = 3 * np.quantile(distance[distance > 0], 0.75)
        np.testing.assert_allclose([lowest, highest], [lower - reach, upper + reach])


@pytest.mark.parametrize(("n_far", "tailed"), [(1, False), (2, True)])
def test_one_in_a_hundred_values_beyond_the_caps_are_a_tail(n_far, tailed):
    values = sample(n_columns=1).clip(-2, 2)
    values[:n_far] = 1e3
    statistics = fit(values, FeatureCleaning(outlier_bound=5.0, outliers="log"))
    assert np.isfinite(statistics.log_above).tolist() == [tailed]


def test_columns_of_fewer_far_values_than_a_tail_has_are_capped():
    values = sample(n_rows=400)
    values[:3] = 1e6  # fewer than one in a hundred
    capped, logarithms = (fit(values, FeatureCleaning(outliers=rule)) for rule in ("cap", "log"))
    for name, array in logarithms.arrays().items():
        np.testing.assert_array_equal(array, capped.arrays()[name], err_msg=name)


@pytest.mark.parametrize("corrupt", [1e36, 1e300, -1.7e308])
def test_a_corrupt_value_does_not_make_the_variance_of_a_tail(corrupt):
    values = tailed_sample()
    before = fit(values, FeatureCleaning(outliers="log"))
    values[1, 0] = corrupt
    after = fit(values, FeatureCleaning(outliers="log"))
    assert after.scale[0] == pytest.approx(before.scale[0], rel=0.3)
    assert after.capped.tolist() == [1, 0, 0, 0, 0, 0]
    normalised = after.apply(values)
    assert np.abs(normalised).max() < 60
    restored = after.invert(np.full((1, 6), np.sign(corrupt) * 1e3))
    assert (np.abs(restored) <= np.maximum(-after.lower, after.upper)).all()
    caps = after.normalized_caps[:, 0]
    assert normalised[1, 0] == pytest.approx(caps[int(corrupt > 0)], rel=1e-6)
    _, excess = after.altered_cells(values)
    assert np.count_nonzero(excess) == 1


def test_tails_over_more_decades_than_float32_holds_stay_finite():
    rng = np.random.default_rng(0)
    values = np.exp(np.clip([[5, 20, 40, 150]] * rng.normal(size=(800, 4)), -690, 690))
    for method in ("standard", "mad"):
        for rule in (
            FeatureCleaning(outliers="log"),
            FeatureCleaning(outliers="log", outlier_method="percentile", outlier_bound=5.0),
        ):
            statistics = fit(values, rule, method)
            normalised = statistics.apply(values)
            assert np.abs(normalised).max() <= 1.001 * LARGEST
            assert np.isfinite(statistics.invert(normalised)).all()


def test_coefficients_of_a_series_with_tails_come_back():
    values = tailed_sample()
    cleaning = FeatureCleaning(outliers="log")
    statistics = fit(values, cleaning, scale_groups=[np.arange(3), np.arange(3, 6)])
    assert len(np.unique(statistics.scale)) == 2
    np.testing.assert_allclose(statistics.invert(statistics.apply(values)), values, rtol=1e-4)


def test_within_the_caps_values_are_what_they_are_with_either_rule_for_outliers():
    values = sample()
    capped, logarithms = (
        fit(values, FeatureCleaning(outlier_bound=9.0, outliers=rule)) for rule in ("cap", "log")
    )
    np.testing.assert_array_equal(logarithms.apply(values), capped.apply(values))
    np.testing.assert_array_equal(logarithms.lower, capped.lower)


def test_repeats_of_columns_of_many_decades_are_restored():
    x = np.exp(4 * np.random.default_rng(0).normal(size=200))
    values = np.stack([x, 3 - 2 * x], axis=1)
    statistics = fit(values, FeatureCleaning(outliers="log"))
    assert statistics.reason.tolist() == [Reason.KEPT, Reason.DUPLICATE]
    restored = statistics.invert(statistics.apply(values))
    np.testing.assert_allclose(restored, values, rtol=1e-4, atol=1e-5)


def test_what_is_beyond_a_cap_has_a_largest_value():
    statistics = fit(sample(), FeatureCleaning())
    _, excess = statistics.altered_cells(np.array([[1e308] * 6, [-1e308] * 6]))
    assert excess.tolist() == [[LARGEST] * 6, [-LARGEST] * 6]


def test_normalized_caps_are_what_the_farthest_cells_become():
    values = np.random.default_rng(0).normal(size=(300, 3)) * [1.0, 100.0, 1e-3] + [0.0, 50.0, 2.0]
    statistics = fit(values, FeatureCleaning())
    far = statistics.apply(np.array([[-1e8] * 3, [1e8] * 3]))
    np.testing.assert_allclose(statistics.normalized_caps, far, rtol=1e-6)
    uncapped = fit(values, FeatureCleaning(outlier_method="none"))
    assert uncapped.normalized_caps.tolist() == [[-np.inf] * 3, [np.inf] * 3]


def test_without_caps_values_end_where_float32_can_still_sum_their_squares():
    values = sample()
    statistics = fit(values)
    normalised = statistics.apply(np.full((1, 6), 1e300) * [1, -1, 1, -1, 1, -1])
    np.testing.assert_allclose(normalised, 1e9 * np.array([[1, -1, 1, -1, 1, -1]]), rtol=1e-6)
    assert statistics.capped.sum() == 0
