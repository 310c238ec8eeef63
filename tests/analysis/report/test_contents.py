import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from spinlock.analysis.report import contents
from spinlock.analysis.report.contents import page_data
from spinlock.features.split import SPLIT_NAMES
from spinlock.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def data(evidence):
    return page_data(evidence)


def unpacked(text, kind, shape):
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


def test_the_data_are_plain_values_without_nan(data, tiny_evidence):
    json.dumps(data, allow_nan=False)
    json.dumps(page_data(tiny_evidence), allow_nan=False)


def test_every_feature_has_its_category_and_its_usual_value_in_units(data, evidence):
    statistics, kept = evidence.tokenizer.statistics, evidence.tokenizer.kept
    for i, feature in enumerate(data["features"]):
        assert i in evidence.categories[data["categories"][feature["category"]]["name"]]
        assert feature["name"] == evidence.short_names[i]
        assert feature["center"] == pytest.approx(statistics.center[kept[i]], rel=1e-5)
        assert feature["scale"] == pytest.approx(statistics.scale[kept[i]], rel=1e-5)
        quality = evidence.reconstruction.by_feature[:, i]
        assert feature["quality"] == pytest.approx(quality, abs=1e-4)


def test_features_whose_values_go_on_as_logarithms_bring_what_undoes_them(data, evidence):
    assert not any(feature["log_beyond"] for feature in data["features"])
    tokenizer = evidence.tokenizer
    known = tokenizer.statistics
    low, high = known.center - 0.6 * known.scale, known.center + known.scale
    bounds = {"lower": -1e9, "upper": 1e9}
    ends = {name: known.center + far * known.scale for name, far in bounds.items()}
    statistics = replace(known, log_below=low, log_above=high, **ends)
    changed = Tokenizer(replace(tokenizer._checkpoint, statistics=statistics))
    features = page_data(replace(evidence, tokenizer=changed))["features"]
    for deviation in (-3.0, -0.5, 0.5, 2.0):
        within, excess = [], []
        for low, high, unit in (feature["log_beyond"] for feature in features):
            within.append(np.clip(deviation, low, high))
            beyond = deviation - within[-1]
            excess.append(np.sign(beyond) * unit * np.expm1(abs(beyond) / unit))
        center, scale = ([one[key] for one in features] for key in ("center", "scale"))
        shown = center + (np.array(within) + excess) * scale
        columns = np.arange(len(features))
        expected = statistics.in_units(np.full(len(features), deviation), columns)
        np.testing.assert_allclose(shown, expected, rtol=1e-3, atol=1e-4 * min(scale))


def test_operators_keep_their_tokens_and_nearly_their_features(data, evidence):
    sample, operators = evidence.sample, data["operators"]
    tokens = unpacked(operators["tokens"], "<u2", sample.tokens.shape)
    step = np.array(operators["z_step"])
    z = unpacked(operators["z"], np.int8, sample.x.shape) * step
    assert operators["ids"] == sample.ids.tolist()
    assert np.array_equal(tokens, sample.tokens)
    assert (np.abs(z - sample.x) <= 0.501 * step).all(), "however far a value is"
    assert (step <= np.abs(sample.x).max(axis=0) / 126).all()


def test_labels_are_kinds_and_where_they_apply(data, evidence):
    for name, values in evidence.sample.labels.items():
        label = data["operators"]["labels"][name]
        assert [label["kinds"][i] for i in label["index"]] == values.tolist()


def test_operators_are_thinned_evenly_where_the_page_has_no_room(monkeypatch, evidence):
    monkeypatch.setattr(contents, "OPERATOR_BYTES", 3000)
    operators = page_data(evidence)["operators"]
    assert operators["of"] == len(evidence.sample)
    assert 1 < len(operators["ids"]) < len(evidence.sample) / 2
    assert operators["ids"][0] == evidence.sample.ids[0]
    assert operators["ids"][-1] == evidence.sample.ids[-1]
    assert len(operators["maps"]["t-SNE"][0]) == len(operators["ids"])


def test_thinned_operators_keep_their_own_tokens_and_side(monkeypatch, evidence):
    monkeypatch.setattr(contents, "OPERATOR_BYTES", 3000)
    sample, operators = evidence.sample, page_data(evidence)["operators"]
    rows = np.searchsorted(sample.ids, operators["ids"])
    tokens = unpacked(operators["tokens"], "<u2", (len(rows), *sample.tokens.shape[1:]))
    np.testing.assert_array_equal(tokens, sample.tokens[rows])
    assert operators["split"] == [SPLIT_NAMES[side] for side in sample.split[rows]]
    at = evidence.operator_maps["t-SNE"][rows].T
    np.testing.assert_allclose(operators["maps"]["t-SNE"], at, atol=1e-3)


def test_the_operators_that_explain_a_token_have_it_and_are_named_by_their_row(data, evidence):
    sample = evidence.sample
    for c, category in enumerate(data["categories"]):
        for token in category["tokens"]:
            rows = np.flatnonzero(np.isin(sample.ids, token["operators"]))
            assert len(rows) == len(token["operators"])
            assert (sample.tokens[rows, c, 0] == token["code"]).all()


def test_tokens_are_told_by_how_far_their_operators_are_from_all(data, evidence):
    x, tokens = evidence.sample.x, evidence.sample.tokens
    for c, category in enumerate(data["categories"]):
        for token in category["tokens"]:
            own = x[tokens[:, c, 0] == token["code"]]
            away = ((own.mean(axis=0) - x.mean(axis=0)) / x.std(axis=0))[token["features"]]
            np.testing.assert_allclose(token["deviation"], away, atol=0.01)


def test_categories_have_their_members_and_the_sizes_of_their_books(data, evidence):
    sizes = evidence.tokenizer.codebook_sizes
    for c, (name, members) in enumerate(evidence.categories.items()):
        shown = data["categories"][c]
        assert (shown["name"], shown["members"]) == (name, members.tolist())
        assert shown["sizes"] == sizes[c].tolist()


def test_codes_are_those_of_the_maps(data, evidence):
    shown, codes = data["codes"], evidence.code_maps
    for name in ("category", "level", "code", "count", "features"):
        np.testing.assert_array_equal(shown[name], getattr(codes, name))
    np.testing.assert_allclose(shown["change"], codes.change, atol=0.01)
    np.testing.assert_allclose(shown["maps"]["t-SNE"], codes.maps["t-SNE"].T, atol=1e-3)


def test_frequent_tokens_are_explained_by_features_of_their_category(data, evidence):
    for category, c in zip(data["categories"], range(len(evidence.categories)), strict=True):
        shares = [token["share"] for token in category["tokens"]]
        counts = np.bincount(evidence.sample.tokens[:, c, 0])
        assert shares == sorted(shares, reverse=True)
        assert shares[0] == counts.max() / len(evidence.sample)
        assert all(
            set(token["features"]) <= set(category["members"]) for token in category["tokens"]
        )
