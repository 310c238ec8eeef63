import numpy as np
import pytest

from spinlock.tokenizer import target_metrics as metrics
from spinlock.tokenizer.categories.centroids import centroid_cosines


def test_quality_is_one_for_a_perfect_copy_and_zero_for_the_mean():
    x = np.random.default_rng(0).normal(size=(50, 4))
    mean = x.mean(axis=0)
    assert metrics.quality(x, x, mean) == 1.0
    assert metrics.quality(x, np.tile(mean, (50, 1)), mean) == pytest.approx(0.0)


def test_quality_pools_columns_by_their_variance():
    x = np.array([[1.0, 10.0], [-1.0, -10.0]])
    decoded = np.array([[0.0, 10.0], [0.0, -10.0]])
    assert metrics.quality(x, decoded, np.zeros(2)) == pytest.approx(1 - 2 / 202)


def test_quality_of_rows_that_do_not_vary_is_undefined():
    assert metrics.quality(np.zeros((5, 2)), np.zeros((5, 2)), np.zeros(2)) is None


def test_orthogonality_of_one_category_is_undefined():
    x = np.random.default_rng(0).normal(size=(20, 3))
    assert metrics.orthogonality(x, [np.arange(3)]) == {"mean": None, "maximum": None}


@pytest.mark.parametrize(
    "x", [np.ones((1, 4)), np.ones((9, 4)), np.eye(4)[:, [0, 1, 1, 1]] * 0 + 3]
)
def test_orthogonality_is_undefined_where_nothing_varies(x):
    partition = [np.array([0, 1]), np.array([2, 3])]
    assert metrics.orthogonality(x, partition) == {"mean": None, "maximum": None}


def test_a_category_of_which_nothing_varies_has_no_share_in_orthogonality():
    x = np.random.default_rng(0).normal(size=(20, 4))
    x[:, 3] = 1.0
    partition = [np.array([0, 1]), np.array([2]), np.array([3])]
    cosine = float(centroid_cosines(x, partition[:2])[0])
    assert metrics.orthogonality(x, partition) == {"mean": cosine, "maximum": cosine}


def test_the_diagonal_does_not_flatter_the_topographic_correlation():
    rng = np.random.default_rng(5)
    x, noise = rng.normal(size=(200, 60)), rng.normal(size=(200, 60))
    assert abs(metrics.topographic(x, noise)) < 0.1
    assert metrics.topographic(x, 2 * x) == pytest.approx(1.0)


def test_a_column_that_varies_by_very_little_has_a_quality():
    x = np.array([[1e-140], [-1e-140]])
    assert metrics.quality(x, x, np.zeros(1)) == 1.0


@pytest.mark.parametrize(("n_rows", "known"), [(2, False), (3, True)])
def test_the_correlation_of_distances_needs_three_rows_that_vary(n_rows, known):
    x = np.random.default_rng(9).normal(size=(n_rows, 2))
    assert (metrics.topographic(x, x) is not None) == known
    assert metrics.topographic(x, np.zeros((n_rows, 2))) is None
