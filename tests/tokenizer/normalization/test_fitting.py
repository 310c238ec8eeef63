"""What cleaning drops and caps, and what the scales and centres of columns are."""

import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from spinlock.errors import SpinlockError
from spinlock.features.table import Column, TableHeader, TableWriter
from spinlock.settings import Experiment
from spinlock.settings.data import FeatureCleaning
from spinlock.stages import normalize
from spinlock.tokenizer.normalization.fitting import fit_statistics
from spinlock.tokenizer.normalization.statistics import LARGEST, FeatureStatistics, Reason

modest = settings(deadline=None, max_examples=60)
UNCAPPED = FeatureCleaning(outlier_method="none")
MAD_TO_DEVIATION = 1.4826

# a range that float32 holds in units of its smallest deviation
cells = st.floats(-1e17, 1e17).filter(lambda x: x == 0 or abs(x) > 1e-15)
messy_cells = cells | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0])
tables = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12), elements=messy_cells
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


def sample(seed: int = 0, n_rows: int = 200, n_columns: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns))


@modest
@given(tables, st.integers(1, 5))
def test_the_size_of_the_blocks_does_not_matter(values, block):
    try:
        whole = fit(values, block=64)
    except SpinlockError:
        return
    by_block = fit(values, block=block)
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(by_block.arrays()[name], array, rtol=1e-9, err_msg=name)


def test_train_rows_get_zero_mean_and_unit_deviation():
    values = sample() * [1e-6, 1, 1e3, 1e8, 5, 7] + [0, 100, 3, 0, -4, 2]
    normalised = fit(values).apply(values).astype(np.float64)
    np.testing.assert_allclose(normalised.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(normalised.std(0), 1, rtol=1e-6)


def test_the_mad_method_takes_median_and_median_deviation():
    values = np.random.default_rng(0).standard_t(2, size=(301, 4)) * 7 + 3
    statistics = fit(values, method="mad")
    normalised = statistics.apply(values)
    np.testing.assert_allclose(np.median(normalised, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(
        MAD_TO_DEVIATION * np.median(np.abs(normalised), axis=0), 1, rtol=1e-5
    )
    np.testing.assert_allclose(
        statistics.normalized_mean, normalised.astype(np.float64).mean(0), atol=1e-6
    )


@pytest.mark.parametrize("method", ["standard", "mad"])
def test_a_column_that_is_mostly_one_value_still_has_a_scale(method):
    values = sample()
    values[:, 2] = 0.0
    values[:20, 2] = np.arange(20)
    statistics = fit(values, FeatureCleaning(), method)
    assert 2 in statistics.kept
    assert np.isfinite(statistics.apply(values)).all()
    assert statistics.apply(values)[:, 2].std() > 0.1


def test_columns_that_are_mostly_missing_are_dropped():
    values = sample()
    values[:101, 0] = np.nan
    values[:100, 1] = np.inf  # exactly half: may stay
    values[:, 2] = np.nan
    statistics = fit(values)
    assert statistics.reason[:3].tolist() == [Reason.MISSING, Reason.KEPT, Reason.MISSING]
    restored = statistics.invert(statistics.apply(values))
    np.testing.assert_allclose(restored[:, 0], np.median(values[101:, 0]))


@pytest.mark.parametrize("magnitude", [1e-12, 1.0, 1e9, 1e17])
def test_columns_that_are_constant_up_to_rounding_are_dropped(magnitude):
    values = sample()
    noise = np.random.default_rng(1).normal(size=len(values))
    values[:, 1] = magnitude
    values[:, 4] = magnitude * (1 + 1e-15 * noise)
    values[:, 5] = magnitude * (1 + 1e-3 * noise)
    statistics = fit(values)
    assert statistics.kept.tolist() == [0, 2, 3, 5]
    assert (statistics.reason[[1, 4]] == Reason.CONSTANT).all()
    restored = statistics.invert(statistics.apply(values))
    np.testing.assert_allclose(restored[:, [1, 4]], magnitude, rtol=1e-12)


@pytest.mark.parametrize(
    ("n_values", "reason"), [(16, Reason.CONSTANT), (17, Reason.NEARLY_CONSTANT)]
)
def test_many_values_that_hardly_differ_are_no_constant(n_values, reason):
    values = sample()
    values[:, 1] = 1 + 1e-10 * (np.arange(len(values)) % n_values)
    assert fit(values).reason[1] == reason


@pytest.mark.parametrize(("tolerance", "reason"), [(1e-12, "CONSTANT"), (0.0, "KEPT")])
def test_a_value_beyond_the_caps_by_its_last_digit_makes_no_tail(tolerance, reason):
    column = np.ones((100, 1))
    column[0] -= 2.0**-52  # as a logarithm it is the cap again
    cleaning = FeatureCleaning(outliers="log", variance_tolerance=tolerance)
    statistics = fit(np.hstack([sample(n_rows=100), column]), cleaning)
    assert Reason(statistics.reason[-1]).name == reason
    assert np.isfinite(statistics.apply(np.hstack([sample(n_rows=5), column[:5]]))).all()


def test_columns_of_zeros_are_constant():
    values = sample()
    values[:, 0] = 0.0
    assert fit(values).reason[0] == Reason.CONSTANT


@pytest.mark.parametrize("block", [1, 2, 64])
def test_repeats_are_dropped_and_restored(block):
    values = sample(n_columns=14)
    values[:, 9] = values[:, 0]
    values[:, 5] = -3 * values[:, 2] + 1e4
    values[:, 13] = 1e-9 * values[:, 2]
    values[:, 11] = values[:, 1] + 0.05 * values[:, 3]  # alike, but no repeat
    statistics = fit(values, block=block)
    assert np.flatnonzero(statistics.reason == Reason.DUPLICATE).tolist() == [5, 9, 13]
    assert statistics.twin[[5, 9, 13]].tolist() == [2, 0, 2]
    restored = statistics.invert(statistics.apply(values))
    deviation = values.std(0)
    assert (np.abs(restored - values) <= 1e-5 * deviation).all()


def test_a_repeat_in_units_too_far_apart_for_a_slope_is_kept():
    x = sample(n_columns=2)
    values = np.column_stack([x[:, 0] * 1e-200, x[:, 0] * 1e200, x[:, 1], 2 * x[:, 1]])
    statistics = fit(values)
    assert statistics.kept.tolist() == [0, 1, 2]
    assert np.isfinite(statistics.slope).all()


@pytest.mark.parametrize("magnitude", [1e13, 1e15, 1e17, 1e30])
@pytest.mark.parametrize("method", ["standard", "mad"])
def test_very_large_values_are_normalised_without_overflow(magnitude, method):
    values = sample()
    values[:, 1] *= magnitude
    values[:, 2] = values[:, 2].astype(np.float32) * np.float32(magnitude)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        statistics = fit(values.astype(np.float32), FeatureCleaning(), method)
        normalised = statistics.apply(values)
        restored = statistics.invert(normalised)
    reference = fit(values / [1, magnitude, magnitude, 1, 1, 1], FeatureCleaning(), method)
    np.testing.assert_allclose(statistics.scale[1:3] / magnitude, reference.scale[1:3], rtol=1e-5)
    inside = (values >= statistics.lower) & (values <= statistics.upper)
    np.testing.assert_allclose(restored[inside], values[inside], rtol=1e-4)


def test_mad_caps_lie_at_so_many_robust_deviations_from_the_median():
    values = sample()
    values[0] = 1e6
    statistics = fit(values, FeatureCleaning(outlier_bound=3.0))
    median = np.median(values, axis=0)
    deviation = MAD_TO_DEVIATION * np.median(np.abs(values - median), axis=0)
    np.testing.assert_allclose(statistics.upper, median + 3 * deviation)
    np.testing.assert_allclose(statistics.lower, median - 3 * deviation)
    restored = statistics.invert(statistics.apply(values))
    np.testing.assert_allclose(restored[0], statistics.upper, rtol=1e-5)


@pytest.mark.parametrize("bound", [3.0, 5.0])
def test_rare_values_are_no_outliers(bound):
    values = np.zeros((1000, 5))
    values[:10, 0] = 1  # a class of one row in a hundred
    values[:20, 1] = np.repeat([1, 2, 3], [13, 5, 2])  # low counts
    values[:4, 2] = -4
    values[:, 3] = 7
    values[:30, 3] = 7 + np.random.default_rng(0).exponential(size=30).clip(0, 1.9)
    values[:400, 4] = np.repeat([1, 100], [250, 150])
    statistics = fit(values, FeatureCleaning(outlier_bound=bound))
    assert not statistics.capped.any()
    np.testing.assert_allclose(
        statistics.invert(statistics.apply(values)), values, rtol=1e-5, atol=1e-5
    )


def test_outliers_of_a_column_that_mostly_has_one_value_are_capped_near_its_others():
    values = np.zeros((1000, 4))
    values[:400] = np.random.default_rng(0).uniform(1, 16, size=(400, 4))
    values[500:505, 0] = 1e15
    values[500:505, 1] = -1e6
    values[400:, 2], values[:400, 2], values[:3, 2] = 3.0, 3.0, 1e6  # too few for a rule
    statistics = fit(values, FeatureCleaning(outlier_bound=5.0))
    assert statistics.capped.tolist() == [5, 5, 3, 0]
    assert 5 * 10 < statistics.upper[0] < 5 * 16
    assert -5 * 16 < statistics.lower[1] < -5 * 10
    assert statistics.upper[2] == pytest.approx(3 + 5 * values[:, 2].std())


@pytest.mark.parametrize(("n_others", "rule"), [(5, 4), (8, 6)])
def test_what_is_usual_of_rare_values_is_what_three_quarters_of_them_do_not_exceed(n_others, rule):
    values = np.zeros((40, 1))
    values[:n_others, 0] = np.arange(1, n_others + 1)
    assert fit(values, FeatureCleaning(outlier_bound=2.0)).upper[0] == 2 * rule


@pytest.mark.parametrize(
    ("column", "deviation"),
    [
        ([0] * 10 + [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5], 3),  # half of the rows are others
        ([0] * 9 + [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5], 3),
        (range(-10, 11), 5),  # one row alone is the median
    ],
)
def test_of_rows_that_are_the_median_one_counts_in_the_median_deviation(column, deviation):
    values = np.array(column, float)[:, None]
    statistics = fit(values, FeatureCleaning(outlier_bound=2.0))
    assert statistics.upper[0] == pytest.approx(2 * MAD_TO_DEVIATION * deviation)


def test_as_much_as_may_be_missing_is_not_too_much():
    values = np.random.default_rng(0).normal(size=(10, 2))
    values[:7, 0] = np.nan
    values[:8, 1] = np.nan
    reason = fit(values, FeatureCleaning(max_missing_fraction=0.7)).reason
    assert reason.tolist() == [Reason.KEPT, Reason.MISSING]


@pytest.mark.parametrize("missing", [0.2, 0.4, 0.49, 0.5, 0.6])
@pytest.mark.parametrize(
    ("outlier_method", "gap"),
    [("mad", np.nan), ("mad", 0.0), ("percentile", np.nan)],  # 0: the median
)
def test_gaps_and_ties_make_no_other_value_an_outlier(missing, outlier_method, gap):
    whole = np.random.default_rng(0).normal(size=(2000, 1))
    values = whole.copy()
    values[: int(missing * 2000)] = gap
    bound = 5.0 if outlier_method == "mad" else 2.0
    cleaning = FeatureCleaning(
        outlier_method=outlier_method, outlier_bound=bound, max_missing_fraction=0.7
    )
    expected, fitted = fit(whole, cleaning), fit(values, cleaning)
    for name in ("lower", "upper"):
        found, wanted = getattr(fitted, name), getattr(expected, name)
        np.testing.assert_allclose(found, wanted, rtol=0.25)
    scales = [fit(one, cleaning, method="mad").scale[0] for one in (whole, values)]
    assert scales[1] == pytest.approx(scales[0], rel=0.25)


def test_percentile_caps_cut_that_share_at_either_end():
    values = sample(n_rows=1001)
    statistics = fit(values, FeatureCleaning(outlier_method="percentile", outlier_bound=10.0))
    assert statistics.summary()["capped_cells"] == 6 * 200


def test_percentile_caps_never_make_a_column_constant():
    values = sample()
    values[:, 0] = 0.0
    values[:3, 0] = [1.0, 2.0, 3.0]
    statistics = fit(values, FeatureCleaning(outlier_method="percentile", outlier_bound=20.0))
    assert 0 in statistics.kept
    assert statistics.apply(values)[:3, 0].max() > 1


def test_caps_at_the_median_never_make_a_column_constant():
    values = sample() + 1000
    statistics = fit(values, FeatureCleaning(outlier_method="mad", outlier_bound=1e-18))
    assert (statistics.scale > 0).all()
    np.testing.assert_allclose(statistics.lower, values.min(axis=0))
    np.testing.assert_allclose(statistics.upper, values.max(axis=0))


def test_the_columns_of_a_group_share_the_root_of_their_summed_variances():
    values = sample() * [1, 2, 3, 1, 1, 1]
    values[:, 4] = 5.0  # dropped: no part of the scale
    statistics = fit(values, scale_groups=[np.array([0, 1, 2, 4])])
    np.testing.assert_allclose(
        statistics.scale[[0, 1, 2]], np.sqrt(values[:, :3].var(0).sum()), rtol=1e-9
    )
    np.testing.assert_allclose(statistics.scale[3], values[:, 3].std())
    variance = statistics.apply(values).var(0)
    assert variance[:3].sum() == pytest.approx(1, rel=1e-5)


def test_without_a_column_that_can_be_kept_the_error_counts_the_reasons():
    values = np.ones((20, 3))
    values[:, 2] = np.nan
    with pytest.raises(SpinlockError, match="no feature column is left") as caught:
        fit(values)
    assert "'constant': 2" in caught.value.problem
    assert "'missing': 1" in caught.value.problem


@pytest.fixture
def fitted_file(tmp_path: Path) -> Callable[[np.ndarray, np.ndarray], bytes]:
    """Give a function that runs the stage on values [n, D] and returns the bytes it wrote."""
    experiment = Experiment(dataset_path="none.h5", families={"summary": {}})
    header = TableHeader([Column("summary", f"s{i}") for i in range(6)], "digest")

    def run(values: np.ndarray, split: np.ndarray) -> bytes:
        subset, output = tmp_path / "subset.h5", tmp_path / "statistics.npz"
        with h5py.File(subset, "w") as file:
            writer = TableWriter(file, header, np.arange(len(values)), split, np.dtype(np.float64))
            writer.write(0, values)
        normalize.run(experiment, subset, output)
        with np.load(output) as arrays:
            return b"".join(arrays[name].tobytes() for name in sorted(arrays))

    return run


def test_validation_and_test_rows_never_influence_the_fit(fitted_file):
    values = sample()
    split = np.random.default_rng(0).integers(0, 3, size=len(values)).astype(np.int8)
    others, changed = split > 0, values.copy()
    changed[others] = np.random.default_rng(1).choice([np.nan, np.inf, 1e17, 0.0], (200, 6))[others]
    assert fitted_file(changed, split) == fitted_file(values, split)
    changed[~others] *= 2
    assert fitted_file(changed, split) != fitted_file(values, split)


def test_rules_that_differ_give_statistics_that_differ():
    values = np.random.default_rng(0).standard_cauchy(size=(200, 3))
    centers = {
        tuple(fit(values, FeatureCleaning(**change), method).scale)
        for change, method in (
            ({}, "standard"),
            ({"outlier_bound": 2.0}, "standard"),
            ({"outlier_method": "none"}, "standard"),
            ({}, "mad"),
        )
    }
    assert len(centers) == 4


@pytest.mark.parametrize("method", ["none", "mad"])
def test_columns_of_a_group_are_capped_as_they_would_be_alone(method):
    values = np.random.default_rng(0).normal(size=(300, 4)) * [1, 1, 0.1, 0.001]
    cleaning = FeatureCleaning(outlier_method=method)
    alone, grouped = fit(values, cleaning), fit(values, cleaning, scale_groups=[np.arange(4)])
    if method == "none":
        assert np.isinf(grouped.normalized_caps).all()
        far = LARGEST * grouped.scale
        np.testing.assert_allclose(grouped.upper - grouped.center, far)
        np.testing.assert_allclose(grouped.center - grouped.lower, far)
    else:
        np.testing.assert_array_equal(grouped.upper, alone.upper)
        np.testing.assert_array_equal(grouped.lower, alone.lower)


@pytest.mark.parametrize(("n_rows", "told"), [(2, False), (3, False), (4, True)])
def test_few_rows_do_not_tell_which_columns_repeat_others(n_rows, told):
    values = np.random.default_rng(0).normal(size=(n_rows, 40))
    values[:, 7] = 1 - 2 * values[:, 3]
    assert (7 not in fit(values, UNCAPPED).kept) is told
    assert len(fit(values, UNCAPPED).kept) == 40 - told


@pytest.mark.parametrize("n_rows", [60, 80, 97, 200])
@pytest.mark.parametrize("constant", [6e23, 5.97e24, 1.989e30, -9.97e36])
def test_large_constants_are_dropped_with_caps_in_order(constant, n_rows):
    values = np.random.default_rng(0).normal(size=(n_rows, 3))
    values[:, 1] = constant
    statistics = fit(values)
    statistics.require_consistent()
    assert statistics.kept.tolist() == [0, 2]
    assert statistics.capped[1] == 0


@pytest.mark.parametrize("constant", [1.0, 5.97e24, 1.989e30, 9.97e36, -3e200])
@pytest.mark.parametrize("method", ["mad", "none"])
def test_a_large_constant_in_a_group_is_dropped_and_leaves_the_others_as_they_are(constant, method):
    values, cleaning = sample(), FeatureCleaning(outlier_method=method)
    values[:, 1] = constant
    statistics = fit(values, cleaning, scale_groups=[np.arange(3)])
    statistics.require_consistent()
    assert statistics.kept.tolist() == [0, 2, 3, 4, 5]
    without = fit(values[:, [0, 2]], cleaning, scale_groups=[np.arange(2)])
    np.testing.assert_array_equal(statistics.upper[[0, 2]], without.upper)
    np.testing.assert_array_equal(statistics.scale[[0, 2]], without.scale)


@pytest.mark.parametrize("magnitude", [1e290, 1e299, 1e300, 1e306])
def test_groups_of_the_largest_numbers_stay_consistent(magnitude):
    values = sample() * magnitude
    fit(values, scale_groups=[np.arange(values.shape[1])]).require_consistent()


def test_a_group_of_which_no_column_is_kept_has_no_scale_of_its_own():
    values = sample()
    values[:, [1, 2]] = [3.0, np.nan]
    statistics = fit(values, scale_groups=[np.array([1, 2])])
    assert statistics.kept.tolist() == [0, 3, 4, 5]
    assert statistics.scale[[1, 2]].tolist() == [1, 1]


def test_a_tolerance_of_zero_drops_columns_that_are_constant_to_the_bit():
    values = sample()
    values[:, 2] = 3.0
    assert fit(values, FeatureCleaning(variance_tolerance=0.0)).kept.tolist() == [0, 1, 3, 4, 5]


def test_caps_count_what_lies_beyond_them_at_either_end():
    values = np.arange(201.0)[:, None] - 100
    values[[0, 1, 200]] = [[-1e4], [-1e4], [1e4]]
    statistics = fit(values, FeatureCleaning(outlier_bound=3.0))
    assert statistics.capped.tolist() == [3]
    assert statistics.summary()["capped_cells"] == 3
    capped = np.clip(values, statistics.lower, statistics.upper)
    assert statistics.mean[0] == pytest.approx(capped.mean())


@pytest.mark.parametrize("outliers", ["cap", "log"])
@pytest.mark.parametrize("outlier_method", ["mad", "percentile", "none"])
@pytest.mark.parametrize("method", ["standard", "mad"])
def test_sums_of_the_largest_floats_do_not_overflow(outlier_method, method, outliers):
    values = sample()
    values[:, 1] *= 1e299 / np.abs(values[:, 1]).max()  # still told as they are
    values[:, 2] = np.random.default_rng(1).uniform(-1, 1, len(values)) * 1.7e308  # capped
    cleaning = FeatureCleaning(outlier_method=outlier_method, outliers=outliers)
    statistics = fit(values, cleaning, method)
    normalised = statistics.apply(values)
    assert np.isfinite(normalised).all()
    assert statistics.capped[2] == (np.abs(values[:, 2]) > statistics.upper[2]).sum()
    beyond = statistics.altered_cells(values)[1]
    assert np.count_nonzero(beyond, axis=0).tolist() == statistics.capped.tolist()
    inside = (values[:, 1] >= statistics.lower[1]) & (values[:, 1] <= statistics.upper[1])
    restored = statistics.invert(normalised)[:, 1]
    np.testing.assert_allclose(restored[inside], values[inside, 1], rtol=1e-4)


@pytest.mark.parametrize("odd", [0, 5000])
def test_a_single_row_in_any_place_makes_two_columns_differ(odd):
    x = np.random.default_rng(0).normal(size=5001)
    other = x.copy()
    other[odd] += 3.0  # too little to move the mean that the others are measured from
    fitted = fit(np.stack([x, other], axis=1))
    assert fitted.reason.tolist() == [Reason.KEPT, Reason.KEPT]
    same = np.arange(len(x)) != odd
    assert fit(np.stack([x, other], axis=1)[same]).reason.tolist() == [
        Reason.KEPT,
        Reason.DUPLICATE,
    ]


@pytest.mark.parametrize("method", ["standard", "mad"])
def test_very_small_values_are_normalised_without_underflow(method):
    values = np.random.default_rng(0).normal(size=(50, 3))
    small = fit(values * 1e-200, method=method)
    np.testing.assert_allclose(small.scale, fit(values, method=method).scale * 1e-200)


def test_far_from_zero_too_the_median_deviation_is_the_scale():
    values = 1000 + np.random.default_rng(0).normal(size=(201, 2))
    values[0] += 500  # which would be most of the standard deviation
    fitted = fit(values, method="mad")
    deviation = np.median(np.abs(values - np.median(values, axis=0)), axis=0)
    np.testing.assert_allclose(fitted.scale, MAD_TO_DEVIATION * deviation, rtol=1e-3)


def test_a_threshold_of_one_drops_no_repeat():
    x = sample(n_columns=10)
    repeated = np.hstack([x, x, 2 * x + 1, -x])
    fitted = fit(repeated, UNCAPPED.model_copy(update={"deduplicate_threshold": 1.0}))
    assert len(fitted.kept) == 40


def test_what_nearly_repeats_a_column_of_long_tails_is_told_in_its_own_units():
    x = np.random.default_rng(0).standard_t(2.0, size=5000)
    values = np.column_stack([x, 10 * np.arcsinh(x / 10)])
    fitted = fit(values, FeatureCleaning(outliers="log", deduplicate_threshold=0.999))
    assert fitted.kept.tolist() == [0]
    told = fitted.invert(fitted.apply(values))[:, 1]
    slope, intercept = np.polyfit(*values.T, 1)
    np.testing.assert_allclose(told, slope * x + intercept, atol=1e-3 * np.abs(x).max())
