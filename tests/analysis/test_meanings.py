import numpy as np
import pytest

from spinlock.analysis.meanings import code_meanings, typical_features


def test_a_code_means_what_its_operators_have_in_common():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    codes = rng.integers(0, 3, 300)
    of_code_3 = rng.choice(300, 20, replace=False)
    codes[of_code_3] = 3
    x[of_code_3, 4] += 8  # the feature that code 3 stands for
    typical = of_code_3[5]
    x[typical, [2, 4]] = x[of_code_3][:, [2, 4]].mean(axis=0)
    members = np.array([2, 4])
    meanings = code_meanings(x, codes, members)
    assert [one.count for one in meanings] == sorted((one.count for one in meanings), reverse=True)
    rare = next(one for one in meanings if one.code == 3)
    assert rare.count == 20
    assert rare.features.tolist() == [4, 2]
    assert rare.deviation[0] > 2
    assert set(rare.operators) <= set(of_code_3)
    assert typical in rare.operators
    assert len(code_meanings(x, codes, members, n_codes=2)) == 2


def test_features_deviate_in_deviations_of_their_own_to_either_side():
    x = np.zeros((40, 3))
    x[:, 0] = np.arange(40) % 2
    x[:, 1] = 1e3 * (np.arange(40) % 3)  # more in units, less in deviations
    x[30:, 0] -= 5
    rare = code_meanings(x, np.arange(40) // 30, np.array([0, 1]))[1]
    shift = x[30:].mean(axis=0) - x.mean(axis=0)
    assert rare.features.tolist() == [0, 1]
    np.testing.assert_allclose(rare.deviation, shift[:2] / x.std(axis=0)[:2])
    assert rare.deviation[0] < -1
    assert rare.strength == pytest.approx(np.sqrt(np.mean(rare.deviation**2)))


def test_a_constant_feature_deviates_nowhere():
    x = np.zeros((10, 1), np.float32)
    (only,) = code_meanings(x, np.zeros(10, int), np.array([0]))
    assert only.deviation.tolist() == [0.0]
    assert only.strength == 0.0


def test_typical_features_correlate_with_their_category():
    correlation = np.eye(4)
    correlation[0, 1] = correlation[1, 0] = 0.9
    correlation[1, 2] = correlation[2, 1] = -0.8
    first, second = typical_features(correlation, [np.array([0, 1, 2]), np.array([3])])
    assert first[0] == 1
    assert second.tolist() == [3]


def test_typical_features_do_not_repeat_each_other():
    correlation = np.full((4, 4), 0.5)
    np.fill_diagonal(correlation, 1.0)
    correlation[0, 1] = correlation[1, 0] = -0.95
    (typical,) = typical_features(correlation, [np.arange(4)])
    assert len(typical) == 3
    assert not {0, 1} <= set(typical.tolist())
