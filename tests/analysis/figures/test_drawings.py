"""Figures show what was measured, at the bits, of the levels and in the units that they say."""

from dataclasses import replace

import numpy as np
import pytest

from spinlock.analysis.figures import drawings
from spinlock.analysis.figures.style import label
from spinlock.analysis.meanings import code_meanings, typical_features


@pytest.fixture(scope="module")
def strongest(evidence):
    """Category → position, and the meaning of the coarse token that is furthest from the usual."""
    sample, found = evidence.sample, {}
    for c, (name, members) in enumerate(evidence.categories.items()):
        meanings = code_meanings(sample.x, sample.tokens[:, c, 0], members)
        shared = [one for one in meanings if one.count >= drawings.LEAST_OPERATORS]
        found[name] = c, max(shared, key=lambda one: one.strength)
    return found


def test_our_levels_stand_at_the_bits_of_all_levels_up_to_them(evidence):
    figure = drawings.draw_rate_distortion(evidence)
    (line,) = (one for one in figure.axes[0].lines if one.get_label() == "spinlock, by level")
    assert line.get_xdata().tolist() == [10, 15, 19]
    np.testing.assert_array_equal(
        line.get_ydata(), list(evidence.metrics["quality_by_level"].values())
    )


def test_the_quality_of_features_is_that_of_all_levels(evidence):
    left, right = drawings.draw_feature_quality(evidence).axes
    bars = [bar.get_width() for bar in right.patches]
    whole = np.sort(evidence.reconstruction.by_feature[-1])
    np.testing.assert_allclose(bars, np.maximum(whole[: len(bars)], -1))
    assert [text.get_text() for text in left.texts] == ["target\n0.9"]


def test_the_number_of_categories_that_was_chosen_is_marked(evidence):
    title = drawings.draw_silhouette(evidence).axes[0].get_title("left")
    assert "3 categories" in title


def test_categories_are_told_by_the_names_of_their_typical_features(evidence):
    members = list(evidence.categories.values())
    typical = typical_features(evidence.clustering.correlation, members)
    texts = drawings.draw_composition(evidence).axes[0].texts
    for text, columns in zip(texts, typical, strict=True):
        assert text.get_text().split(", ")[0] == label(evidence.short_names[columns[0]], 44)


def test_operators_are_coloured_by_a_feature_in_units(evidence):
    chosen = replace(evidence, color_by=5)
    figure = drawings.draw_value_map(chosen)
    units = evidence.tokenizer.denormalize(evidence.sample.x)[:, evidence.tokenizer.kept[5]]
    np.testing.assert_allclose(figure.axes[0].collections[0].get_array(), units, rtol=1e-4)
    assert figure.axes[-1].get_ylabel() == evidence.names[5]


def test_the_tokens_that_are_shown_are_the_furthest_from_the_usual(evidence, strongest):
    panels = drawings.telling_tokens(evidence)
    ranked = sorted(strongest.items(), key=lambda item: -item[1][1].strength)
    wanted = [f"{name} · coarse {meaning.code} ·" for name, (_, meaning) in ranked]
    for panel, start in zip(panels, wanted, strict=True):
        assert panel.title.startswith(start)


def test_tokens_are_told_in_units_by_the_operators_that_have_them(evidence, strongest):
    sample, tokenizer = evidence.sample, evidence.tokenizer
    units = tokenizer.denormalize(sample.x)
    panels = {panel.title.split(" · ")[0]: panel for panel in drawings.telling_tokens(evidence)}
    for name, (c, meaning) in strongest.items():
        panel, columns = panels[name], tokenizer.kept[meaning.features]
        own = sample.tokens[:, c, 0] == meaning.code
        np.testing.assert_allclose(panel.values, units[own][:, columns].mean(axis=0), rtol=1e-3)
        np.testing.assert_allclose(panel.usual, units[:, columns].mean(axis=0), rtol=1e-3)
        assert set(panel.operators) <= set(sample.ids[own])


def test_a_model_without_training_has_no_curves(evidence, monkeypatch):
    start = evidence.tokenizer.history[:1]
    monkeypatch.setattr(type(evidence.tokenizer), "history", property(lambda tokenizer: start))
    assert "no epoch was trained" in drawings.draw_training(evidence)


def test_labels_of_one_name_are_told_by_their_paths(evidence):
    kinds = np.arange(len(evidence.sample)) % 3
    for paths, names in (
        (["meta/a/kind", "meta/b/size"], ["kind", "size"]),
        (["meta/a/kind", "meta/b/kind"], ["meta/a/kind", "meta/b/kind"]),
    ):
        sample = replace(evidence.sample, labels=dict.fromkeys(paths, kinds))
        assert list(drawings.telling_labels(replace(evidence, sample=sample))) == names


def test_cosines_of_rows_that_do_not_vary_are_left_out(evidence):
    nothing = np.full_like(evidence.reconstruction.cosines, np.nan)
    still = replace(evidence, reconstruction=replace(evidence.reconstruction, cosines=nothing))
    assert "nothing varies" in drawings.draw_cosine(still)
