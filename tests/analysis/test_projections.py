import numpy as np
import pytest
from scipy.spatial.distance import pdist

from spinlock.analysis.projections import FEWEST_POINTS, METHODS, principal_components, project


@pytest.fixture
def islands():
    rng = np.random.default_rng(0)
    centres = np.repeat(10 * np.eye(3, 20), 20, axis=0)
    return centres + rng.normal(size=(60, 20))


def separation(at: np.ndarray) -> float:
    """Distance between the islands in units of their width."""
    groups = at.reshape(3, 20, 2)
    centres = groups.mean(axis=1)
    between = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)].min()
    return between / groups.std(axis=1).max()


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_maps_keep_islands_apart_and_come_out_the_same_each_time(islands, method):
    first = project(islands, method, seed=1)
    assert first.shape == (60, 2)
    assert separation(first) > 3
    np.testing.assert_array_equal(first, project(islands, method, seed=1))
    fewest = project(islands[:FEWEST_POINTS], method, seed=1)
    assert np.isfinite(fewest).all()


@pytest.mark.parametrize("method", METHODS)
def test_equal_points_have_one_place(method):
    assert project(np.full((8, 3), 0.1), method, seed=0).tolist() == [[0, 0]] * 8


def test_principal_components_keep_distances(islands):
    components = principal_components(islands, 50)
    np.testing.assert_allclose(pdist(components), pdist(islands))


def test_principal_components_are_centred_and_have_the_sign_of_their_largest_entry():
    x = np.random.default_rng(0).normal(size=(30, 5)) + 7
    for one in (x, -x):
        scores = principal_components(one, 3)
        np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-9)
        assert (scores[np.abs(scores).argmax(axis=0), np.arange(3)] > 0).all()


def test_principal_components_are_at_least_two():
    line = np.arange(5.0)[:, None]
    assert principal_components(line, 50).shape == (5, 2)
