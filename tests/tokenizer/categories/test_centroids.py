"""Centroids of categories: what they are the mean of, and what their cosines leave out."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.tokenizer.categories.centroids import (
    category_centroids,
    centroid_cosines,
    mean_abs_cosine,
)

modest = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)
PARTITION = [np.arange(3), np.arange(3, 7)]


def columns_of_two_causes(seed: int) -> np.ndarray:
    """Return columns [40, 7] that follow one of two causes each, signs at random."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(40, 2))[:, np.repeat([0, 1], [3, 4])]
    return causes * rng.choice([-1.0, 1.0], size=7) + 0.3 * rng.normal(size=(40, 7))


@modest
@given(seeds, st.sampled_from([3, 5, 40]))
def test_centroids_are_the_mean_of_unit_columns_turned_along_the_first_component(seed, n_rows):
    x = columns_of_two_causes(seed)[:n_rows]
    centroids = category_centroids(x, PARTITION)
    for centroid, members in zip(centroids, PARTITION, strict=True):
        z = x[:, members] - x[:, members].mean(0)
        z /= np.linalg.norm(z, axis=0)
        first = np.linalg.svd(z)[0][:, 0]
        turned = np.mean([column * np.sign(column @ first) for column in z.T], axis=0)
        turned /= np.linalg.norm(turned)
        assert abs(turned @ centroid) == pytest.approx(1)
        assert np.linalg.norm(centroid) == pytest.approx(1)


@modest
@given(seeds, st.integers(0, 6))
def test_cosines_do_not_depend_on_scale_offset_or_sign_of_a_column(seed, column):
    x = columns_of_two_causes(seed)
    before = centroid_cosines(x, PARTITION)
    x[:, column] = -7 * x[:, column] + 5
    np.testing.assert_allclose(centroid_cosines(x, PARTITION), before, atol=1e-9)


def test_cosines_stand_for_all_pairs_of_categories():
    x = np.random.default_rng(0).normal(size=(50, 6))
    partition = np.split(np.arange(6), 3)
    centroids = category_centroids(x, partition)
    expected = [abs(a @ b) for a, b in combinations(centroids, 2)]
    np.testing.assert_allclose(centroid_cosines(x, partition), expected)
    assert mean_abs_cosine(x, partition) == pytest.approx(np.mean(expected))
    assert mean_abs_cosine(x, [np.arange(6)]) == 0
