import numpy as np
import pytest
from matplotlib.colors import to_rgba

from spinlock.analysis.figures.reconstruction import (
    distance_figure,
    feature_quality_figure,
    rate_distortion_figure,
)
from spinlock.analysis.figures.style import color_of, render


def test_the_worst_features_are_named():
    quality = np.array([0.9, -3.0, 0.5, np.nan, 0.7])
    names = [f"summary/f{i}" for i in range(5)]
    figure = feature_quality_figure(quality, names, ["summary"] * 5, 0.9, "validation")
    named = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert named[:3] == ["summary/f1", "summary/f2", "summary/f4"]
    assert "median 0.600" in figure.axes[0].get_title("left")
    assert figure.axes[0].get_ylabel() == "R² on validation rows"


def test_features_have_the_colours_of_their_families_in_both_panels():
    quality, families = np.array([0.9, 0.1, 0.5]), ["a", "b", "a"]
    figure = feature_quality_figure(quality, ["f0", "f1", "f2"], families, 0.9, "test")
    worst_first = [to_rgba(color_of(kind)) for kind in (1, 0, 0)]
    dots, bars = figure.axes[0].collections, figure.axes[1].patches
    color_at = {x: tuple(d.get_facecolors()[0]) for d in dots for x in d.get_offsets()[:, 0]}
    assert [color_at[rank] for rank in range(3)] == worst_first
    assert [bar.get_facecolor() for bar in bars] == worst_first
    assert [entry.get_marker() for entry in figure.axes[0].get_legend().legend_handles] == ["o"] * 2


def test_families_beyond_the_colours_have_marks_of_their_own_outside_the_points():
    families = [f"family {i}" for i in range(16)]
    figure = feature_quality_figure(np.linspace(0, 1, 16), families, families, 0.9, "test")
    assert figure.axes[0].get_legend() is None
    (legend,) = figure.legends
    marks = [(mark.get_color(), mark.get_marker()) for mark in legend.legend_handles]
    assert len(set(marks)) == 16


def test_a_hopeless_feature_hides_no_other():
    quality = np.array([-300.0, 0.5, 0.9, np.nan])
    figure = feature_quality_figure(quality, list("abcd"), ["f"] * 4, 0.9, "test")
    right = figure.axes[1]
    assert [bar.get_width() for bar in right.patches] == [-1.0, 0.5, 0.9]
    assert [text.get_text() for text in right.texts] == ["−300"]
    assert right.get_xlim()[0] >= -1.1
    nothing = feature_quality_figure(np.full(2, np.nan), list("ab"), ["f"] * 2, 0.9, "test")
    assert render(nothing, "svg")


def test_names_of_levels_at_one_rate_are_written_once():
    bits, quality = np.array([3.0, 3.0, 9.0]), np.array([-0.5, 0.1, 0.9])
    figure = rate_distortion_figure(bits, quality, list("abc"), {}, None, 0.9, "test")
    assert [text.get_text() for text in figure.axes[0].texts] == [" a, b", " c"]
    assert figure.axes[0].get_ylim()[0] < -0.5


def test_few_features_are_ranked_in_whole_numbers():
    figure = feature_quality_figure(np.array([0.5, 0.6, 0.7]), list("abc"), ["f"] * 3, 0.9, "test")
    ticks = figure.axes[0].get_xticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_our_levels_stand_beside_the_baselines():
    others = {"PQ": (np.array([20.0, 10.0]), np.array([0.5, 0.4])),
              "reference": (np.array([20.0]), np.array([0.9]))}  # fmt: skip
    figure = rate_distortion_figure(
        np.array([8.0, 16.0]), np.array([0.4, 0.6]), ["coarse", "fine"], others, "reference", 0.9,
        "test",
    )  # fmt: skip
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["PQ"].get_xdata().tolist() == [10, 20]
    assert lines["reference"].get_linestyle() == "--"
    assert lines["spinlock, by level"].get_ydata().tolist() == [0.4, 0.6]
    assert figure.axes[0].get_ylabel() == "R² on test rows"


def test_our_levels_can_stand_alone():
    figure = rate_distortion_figure(
        np.array([8.0]), np.array([-0.2]), ["one"], {}, None, 0.9, "test"
    )
    assert render(figure, "svg")


def test_distances_report_their_correlation():
    rows, codes = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    assert "correlation 0.800 over 4 pairs" in distance_figure(rows, codes).axes[0].get_title(
        "left"
    )


def test_few_pairs_have_a_scale_that_can_be_read():
    figure = distance_figure(np.arange(6.0), np.arange(6.0) ** 2)
    figure.draw_without_rendering()
    scale = figure.axes[1]
    assert scale.get_ylim() == pytest.approx((1, 10))
    assert not [name.get_text() for name in scale.get_yticklabels(minor=True) if name.get_text()]
