import numpy as np
import pytest

from spinlock.analysis.figures.categories import silhouette_figure
from spinlock.analysis.figures.reconstruction import feature_quality_figure
from spinlock.analysis.figures.style import (
    PALETTE,
    columns_that_fit,
    label,
    marker_of,
    new_figure,
    number,
    render,
    styled,
)


@styled
def draw(title: str):
    figure = new_figure(2.0, 3.0)
    figure.subplots().set_title(label(title))
    return figure


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_rendering_is_the_same_each_time(kind):
    assert render(draw("a"), kind) == render(draw("a"), kind)


def test_rendering_ignores_the_users_settings(monkeypatch):
    import matplotlib

    plain = render(draw("a"), "svg")
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    assert render(draw("a"), "svg") == plain
    assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize(
    "name", ["a$b", r"$\frac{", r"\$x$", "line\nbreak\x00", "特徴", "x" * 900, ""]
)
def test_any_name_can_be_drawn(name):
    assert render(draw(name), "svg").startswith(b"<?xml")


def test_long_names_keep_both_ends():
    text = label("first" + "-" * 90 + "last", 20)
    assert len(text) == 20
    assert text.startswith("first")
    assert text.endswith("last")


def test_numbers_have_a_true_minus():
    assert number(-0.012345) == "−0.0123"


def test_kinds_are_told_apart_without_their_colours():
    assert len({marker_of(i) for i in range(len(PALETTE))}) == len(PALETTE)


@pytest.mark.parametrize("quality", [0.2, 0.895, 1.0])
def test_the_name_of_a_target_lies_on_nothing_that_is_drawn(quality):
    figures = [
        feature_quality_figure(np.full(9, quality), ["f" * 60] * 9, ["f"] * 9, 0.9, "test"),
        silhouette_figure(np.arange(2, 9), np.ones(7), np.full(7, quality), 5, 0.9),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        (name,) = [text for axes in figure.axes for text in axes.texts]
        place = name.get_window_extent()
        others = [axes.get_window_extent() for axes in figure.axes]
        others += [tick.get_window_extent() for axes in figure.axes
                   for tick in axes.get_yticklabels()]  # fmt: skip
        assert not [other for other in others if other.overlaps(place)]
        assert place.x1 <= figure.bbox.x1


def test_a_legend_is_no_wider_than_a_page():
    assert columns_that_fit(["00", "01"]) == 2
    assert columns_that_fit([f"{i:02d}" for i in range(40)]) == 9
    assert columns_that_fit(["my category named 00"] * 12) == 4
    assert columns_that_fit(["x" * 400] * 5) == 2, "names are cut"
