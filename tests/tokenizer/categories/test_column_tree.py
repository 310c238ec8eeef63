"""The tree of columns: correlations of values or ranks, Ward's merges, small clusters joined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from spinlock.tokenizer.categories.column_tree import correlation_matrix, cut_tree, merge_tree

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def test_a_cluster_that_is_too_small_joins_the_one_it_resembles():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(300, 2)), 4, axis=1) + 0.3 * rng.normal(size=(300, 8))
    first, second = [0, 1, 2, 3], [4, 5, 6, 7]
    for like, expected in ((0, [[*first, 8], second]), (4, [first, [*second, 8]])):
        lone = x[:, like : like + 1] + 2 * rng.normal(size=(300, 1))
        correlation = correlation_matrix(np.hstack([x, lone]))
        tree = merge_tree(correlation)
        apart = cut_tree(tree, correlation, 3, 1)
        assert [one.tolist() for one in apart] == [first, second, [8]]
        assert [one.tolist() for one in cut_tree(tree, correlation, 3, 2)] == expected


def test_columns_merge_by_the_criterion_of_ward():
    correlation = np.array([[1, -0.9, 0.5], [-0.9, 1, 0.3], [0.5, 0.3, 1]])
    (first, second) = merge_tree(correlation)
    assert sorted(first[:2]) == [0, 1]
    assert first[2] == pytest.approx(0.1)
    assert second[2] == pytest.approx(np.sqrt((2 * 0.5**2 + 2 * 0.7**2 - 0.1**2) / 3))


@modest
@given(seeds)
def test_correlation_is_that_of_the_values_or_of_their_ranks(seed):
    x = np.random.default_rng(seed).integers(0, 6, size=(30, 4)).astype(float)
    x[:2] = [[-9] * 4, [9] * 4]  # no constant column
    np.testing.assert_allclose(correlation_matrix(x, "pearson"), np.corrcoef(x.T), atol=1e-12)
    np.testing.assert_allclose(
        correlation_matrix(x, "spearman"), spearmanr(x).statistic, atol=1e-12
    )


def test_a_constant_column_correlates_with_nothing_but_itself():
    x = np.random.default_rng(0).normal(size=(30, 3))
    x[:, 1] = 4.0
    correlation = correlation_matrix(x)
    assert correlation[1].tolist() == [0, 1, 0]
