"""A label is predicted where the features hold it, and only there."""

import numpy as np

from spinlock.analysis.probe import probe


def test_a_probe_beats_chance_where_the_label_is_in_the_features():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 300)
    informed = rng.normal(size=(300, 4)) + 4 * labels[:, None]
    blind = rng.normal(size=(300, 4))
    rows = np.arange(300)
    found = probe({"informed": informed, "blind": blind}, labels, rows[:200], rows[200:])
    assert 0.2 < found["majority"] < 0.5
    for predictor in ("logistic", "nearest"):
        assert found[predictor]["informed"] > 0.95
        assert found[predictor]["blind"] < 0.6


def test_the_nearest_row_knows_what_no_line_can_tell():
    rng = np.random.default_rng(7)
    x = rng.uniform(-1, 1, size=(600, 2))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    found = probe({"x": x}, labels, np.arange(500), np.arange(500, 600))
    assert found["nearest"]["x"] > 0.9
    assert found["logistic"]["x"] < 0.7


def test_one_label_leaves_nothing_to_predict():
    labels = np.array(["a", "a", "a", "b"])
    found = probe({"x": np.arange(4.0)[:, None]}, labels, np.arange(3), np.arange(2, 4))
    assert found == {"majority": 0.5}


def test_chance_is_to_say_the_commonest_train_label():
    labels = np.array(list("aaaabb" + "bbbba"))
    found = probe({"x": np.arange(11.0)[:, None]}, labels, np.arange(6), np.arange(6, 11))
    assert found["majority"] == 0.2


def test_a_line_is_fitted_to_standardised_features():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    small = 1e-3 * (labels - 0.5) + 1e-4 * rng.normal(size=200)
    x = np.column_stack([small, 1e3 * rng.normal(size=200)])
    found = probe({"x": x}, labels, np.arange(150), np.arange(150, 200))
    assert found["logistic"]["x"] > 0.9


def test_one_neighbour_decides():
    x = np.array([[0.0], [1.0], [1.1], [5.0], [5.1], [5.2], [0.1]])
    labels = np.array([0, 1, 1, 0, 1, 1, 0])
    assert probe({"x": x}, labels, np.arange(6), np.array([6]))["nearest"]["x"] == 1


def test_labels_that_hardly_two_rows_share_are_not_to_be_learned():
    labels = np.arange(40) % 21
    for n_train, learned in ((40, False), (42, True)):
        known = np.append(labels, [19, 20])[:n_train]
        x = np.arange(float(n_train))[:, None]
        found = probe({"x": x}, known, np.arange(n_train), np.arange(n_train))
        assert ("nearest" in found) is learned
