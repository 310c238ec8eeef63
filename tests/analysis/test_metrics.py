import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.manifold import trustworthiness

from spinlock.analysis import metrics
from spinlock.tokenizer import target_metrics

SEEDS = st.integers(0, 2**32 - 1)


def test_the_worst_feature_is_named_and_a_constant_one_is_counted_apart():
    x = np.random.default_rng(1).normal(size=(40, 3))
    x[:, 2] = 0.0
    decoded = x.copy()
    decoded[:, 1] += np.random.default_rng(2).normal(size=40)
    found = metrics.quality_by_feature(x, decoded, np.zeros(3), ["a", "b", "c"])
    assert found["worst"][0]["feature"] == "b"
    assert found["minimum"] == found["worst"][0]["quality"] < 1
    assert found["undefined"] == 1
    json.dumps(found, allow_nan=False)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_use_and_perplexity_of_books_follow_from_their_histograms(seed):
    rng = np.random.default_rng(seed)
    sizes = np.array([[7, 3], [5, 2]])
    tokens = np.stack(
        [[rng.integers(0, size, 60) for size in row] for row in sizes], axis=0
    ).transpose(2, 0, 1)
    counts = target_metrics.code_counts(tokens, sizes)
    used = [len(np.unique(tokens[:, c, v])) / sizes[c, v] for c in range(2) for v in range(2)]
    assert target_metrics.utilization(counts) == pytest.approx(np.mean(used))
    table = metrics.book_table(counts, ["one", "two"], ["coarse", "fine"])
    expected = 2 ** entropy(np.bincount(tokens[:, 1, 0]), base=2)
    assert table["two"]["coarse"]["perplexity"] == pytest.approx(expected)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_reachable_utilization_is_what_uniform_draws_reach_on_average(seed):
    rng = np.random.default_rng(seed)
    draws = [len(np.unique(rng.integers(0, 64, 100))) / 64 for _ in range(400)]
    assert metrics.reachable_utilization(np.array([[64]]), 100) == pytest.approx(
        np.mean(draws), abs=0.02
    )


def test_code_dependence_is_one_for_copies_and_about_zero_for_independent_codes():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(300, 1, 2))
    copies = metrics.code_dependence(np.concatenate([z, 3 * z], axis=1))
    assert copies["mean"] == pytest.approx(1.0)
    apart = metrics.code_dependence(rng.normal(size=(300, 4, 2)))
    assert abs(apart["mean"]) < 0.02


def test_code_dependence_matches_its_definition_term_by_term():
    rng = np.random.default_rng(4)
    z = rng.normal(size=(9, 2, 2))
    z[:, 1] += z[:, 0]

    def centred(points):
        n = len(points)
        a = np.array([[np.linalg.norm(p - q) for q in points] for p in points])
        u = np.zeros_like(a)
        for i in range(n):
            for j in range(n):
                if i != j:
                    u[i, j] = (
                        a[i, j] - a[i].sum() / (n - 2) - a[:, j].sum() / (n - 2)
                        + a.sum() / ((n - 1) * (n - 2))
                    )  # fmt: skip
        return u

    one, two = centred(z[:, 0]), centred(z[:, 1])
    expected = (one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum())
    assert metrics.code_dependence(z)["mean"] == pytest.approx(expected)


@pytest.mark.parametrize("bits", [0.5, 3, 40])
def test_the_gaussian_reference_of_equal_variances_is_known_in_closed_form(bits):
    found = metrics.gaussian_reference(np.ones(5), bits)
    assert found == pytest.approx(1 - 2 ** (-2 * bits / 5), rel=1e-6)


def test_the_gaussian_reference_ignores_directions_without_variance():
    flat = np.array([1.0, 1.0, 0.0])
    assert metrics.gaussian_reference(flat, 4) == pytest.approx(1 - 2**-4)
    assert metrics.gaussian_reference(np.zeros(2), 4) is None


def test_quality_of_a_group_is_that_of_its_columns_alone():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(50, 5))
    decoded, mean = x.copy(), np.zeros(5)
    decoded[:, 3:] += rng.normal(size=(50, 2))
    groups = {"exact": np.array([0, 2]), "noisy": np.array([3, 4])}
    found = metrics.quality_by_group(x, decoded, mean, groups)
    assert found["exact"] == 1.0
    assert found["noisy"] == pytest.approx(
        target_metrics.quality(x[:, 3:], decoded[:, 3:], mean[3:])
    )


def test_quality_by_feature_is_one_less_the_share_of_the_error_of_each_column():
    rng = np.random.default_rng(7)
    x = 3 * rng.normal(size=(60, 14)) + 1
    noise = rng.normal(size=x.shape) * np.linspace(0.1, 2, 14)
    mean, names = x.mean(axis=0), [f"f{i}" for i in range(14)]
    found = metrics.quality_by_feature(x, x + noise, mean, names)
    each = 1 - (noise**2).sum(axis=0) / ((x - mean) ** 2).sum(axis=0)
    assert found["median"] == pytest.approx(np.median(each))
    assert found["percentile_10"] == pytest.approx(np.quantile(each, 0.1))
    assert [one["quality"] for one in found["worst"]] == pytest.approx(sorted(each)[:10])
    weight = ((x - mean) ** 2).sum(axis=0)
    most = {"feature": f"f{weight.argmax()}", "share": pytest.approx(weight.max() / weight.sum())}
    assert found["heaviest"] == most
    nothing = metrics.quality_by_feature(np.zeros((4, 2)), np.ones((4, 2)), np.zeros(2), ["a", "b"])
    assert nothing["median"] is nothing["percentile_10"] is nothing["minimum"] is None
    assert nothing["heaviest"] is None
    assert nothing["undefined"] == 2


@pytest.mark.parametrize(
    ("scales", "dominant"),
    [
        ([1, 1, 1.3], None),
        ([3, 4, 5], None),
        ([1, 1, 1.5], "c"),
        ([1, 9], None),
        ([0, 0, 9], None),
        ([9], None),
    ],
)
def test_a_feature_is_dominant_that_has_more_than_half_of_the_variance_of_several(scales, dominant):
    x = np.tile([[1.0], [-1.0]], (3, 1)) * scales
    names = list("abc")[: len(scales)]
    found = metrics.dominant_feature(metrics.quality_by_feature(x, x, np.zeros(len(scales)), names))
    assert (found and found["feature"]) == dominant
    assert metrics.dominant_feature({}) is None


@pytest.mark.parametrize(
    ("capped", "whole", "hidden"),
    [
        (0.9, 0.5, (0.9, 0.5)),
        (0.9, 0.86, None),
        (0.9, 0.95, None),
        (None, 0.5, None),
        (0.9, None, None),
    ],
)
def test_caps_hide_what_the_worst_tenth_of_the_features_lose_by_them(capped, whole, hidden):
    names = ("quality_by_feature", "quality_before_caps")
    measured = dict(zip(names, ({"percentile_10": r2} for r2 in (capped, whole)), strict=True))
    assert metrics.hidden_by_caps(measured) == hidden


def test_codes_that_are_taken_once_are_used_and_those_never_taken_are_not():
    counts = [[np.array([5, 1, 0, 0])], [np.array([4, 4])]]
    assert target_metrics.utilization(counts) == pytest.approx((0.5 + 1) / 2)
    of_one_code = [[np.array([8])], [np.array([0])]]
    assert target_metrics.utilization(counts + of_one_code) == target_metrics.utilization(counts)
    assert target_metrics.utilization(of_one_code) is None
    assert metrics.reachable_utilization(np.array([[2], [1]]), 1) == 0.5
    assert metrics.reachable_utilization(np.array([[1], [1]]), 1) is None
    table = metrics.book_table(counts, ["a", "b"], ["coarse"])
    assert table["a"]["coarse"]["used"] == 0.5
    assert table["a"]["coarse"]["perplexity"] == pytest.approx(2 ** entropy([5, 1], base=2))
    assert metrics.entropy_bits(np.array([0, 1])) == 0
    assert metrics.entropy_bits(np.zeros(3, int)) == 0


def test_a_table_of_books_has_a_name_for_each():
    counts = [[np.array([1, 1])], [np.array([1, 1])]]
    for names in ((["a"], ["coarse"]), (["a", "b"], ["coarse", "fine"])):
        with pytest.raises(ValueError, match="zip"):
            metrics.book_table(counts, *names)


@pytest.mark.parametrize(("shape", "known"), [((3, 2), False), ((4, 2), True), ((9, 1), False)])
def test_the_dependence_of_codes_needs_four_rows_and_two_categories(shape, known):
    found = metrics.code_dependence(np.random.default_rng(8).normal(size=(*shape, 2)))
    assert {found["mean"] is not None, found["maximum"] is not None} == {known}


@pytest.mark.parametrize(("n_rows", "known"), [(5, False), (20, False), (21, True), (30, True)])
def test_the_trust_in_neighbours_needs_more_than_twice_as_many_rows(n_rows, known):
    x = np.random.default_rng(10).normal(size=(n_rows, 3))
    found = metrics.neighbourhood_trust(x, x)
    assert found == (1.0 if known else None)
    if known:
        noise = np.random.default_rng(11).normal(size=(n_rows, 3))
        expected = trustworthiness(x, noise, n_neighbors=10)
        assert metrics.neighbourhood_trust(x, noise) == expected < 1


@pytest.mark.parametrize("bits", [0.5, 2, 9])
def test_the_gaussian_reference_fills_only_directions_above_the_water(bits):
    variances = np.array([8.0, 2.0, 0.5, 0.01])
    found = metrics.gaussian_reference(np.diag(variances), bits)
    # of all splits of the bits, the best: by steps to whichever direction gains most
    left = variances.copy()
    steps = 20_000
    for _ in range(steps):
        most = left.argmax()
        left[most] *= 2 ** (-2 * bits / steps)
    assert found == pytest.approx(1 - left.sum() / variances.sum(), abs=1e-3)


def test_the_gaussian_reference_of_one_direction_halves_its_error_with_every_half_bit():
    assert metrics.gaussian_reference(np.eye(1), 20) == pytest.approx(1 - 2.0**-40, abs=1e-15)


def test_a_feature_that_does_not_vary_in_these_rows_has_no_quality_wherever_it_stays():
    x = np.column_stack([np.full(6, -0.1), np.arange(6.0) / 10])
    decoded = x + np.array([0.5, 0.0])
    found = metrics.quality_by_feature(x, decoded, np.zeros(2), ["still", "moving"])
    assert (found["undefined"], found["minimum"]) == (1, 1.0)
    assert [one["feature"] for one in found["worst"]] == ["moving"]


def test_neighbours_of_rows_that_are_all_the_same_are_undefined():
    x = np.random.default_rng(0).normal(size=(40, 3))
    assert metrics.neighbourhood_trust(x, np.tile([1.0, 2.0], (40, 1))) is None
    assert metrics.neighbourhood_trust(np.tile([1.0, 2.0, 3.0], (40, 1)), x) is None
