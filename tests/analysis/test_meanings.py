import numpy as np

from spinlock.analysis.meanings import code_meanings, typical_features


def test_a_code_means_what_its_operators_have_in_common():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32)
    codes = rng.integers(0, 3, 300)
    codes[:20] = 3
    x[:20, 4] += 8  # the feature that code 3 stands for
    x[5, [2, 4]] = x[:20][:, [2, 4]].mean(axis=0)
    members = np.array([2, 4])
    meanings = code_meanings(x, codes, members)
    assert [one.count for one in meanings] == sorted((one.count for one in meanings), reverse=True)
    rare = next(one for one in meanings if one.code == 3)
    assert rare.count == 20
    assert rare.features.tolist() == [4, 2]
    assert rare.deviation[0] > 2
    assert set(rare.operators) <= set(range(20))
    assert 5 in rare.operators
    assert len(code_meanings(x, codes, members, n_codes=2)) == 2


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
