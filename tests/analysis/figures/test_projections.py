import numpy as np
import pytest
from matplotlib.colors import to_rgba

from spinlock.analysis.figures.projections import (
    MOST_KINDS,
    code_map_figure,
    frequent_kinds,
    label_map_figure,
    value_map_figure,
)
from spinlock.analysis.figures.style import color_of, render

AT = np.random.default_rng(0).normal(size=(40, 2))
MAPS = [{"UMAP": AT}, {"UMAP": AT, "t-SNE": -AT}]


@pytest.mark.parametrize("maps", MAPS)
def test_every_code_is_drawn(maps):
    category, level = np.arange(40) % 9, np.arange(40) % 4
    figure = code_map_figure(maps, category, level, [f"category_{i:02d}" for i in range(9)])
    for axes in figure.axes:
        assert sum(len(points.get_offsets()) for points in axes.collections) == 40
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["00", "01"]


@pytest.mark.parametrize("maps", MAPS)
def test_every_operator_is_drawn_whatever_its_label(maps):
    labels = {"few": np.arange(40) % 2, "many": np.array([f"k{i % 20}" for i in range(40)])}
    figure = label_map_figure(maps, labels)
    drawn = [sum(len(p.get_offsets()) for p in axes.collections) for axes in figure.axes]
    assert [count for count in drawn if count] == [40] * (2 * len(maps))


def colours_of(axes) -> np.ndarray:
    """Return the colour of each operator or code, at its place in `AT`."""
    colours = np.full((len(AT), 4), np.nan)
    for points in axes.collections:
        places = points.get_offsets()
        rows = [int(np.flatnonzero((place == AT).all(axis=1)).item()) for place in places]
        colours[rows] = points.get_facecolors()
    return colours


def wanted(kinds: np.ndarray, alpha: float) -> np.ndarray:
    return np.array([to_rgba(color_of(int(kind)), alpha) for kind in kinds])


def test_codes_have_the_colours_of_their_categories():
    category = np.arange(40) ** 2 % 7
    figure = code_map_figure(MAPS[0], category, np.zeros(40, int), [f"c{i:02d}" for i in range(7)])
    np.testing.assert_allclose(colours_of(figure.axes[0]), wanted(category, 0.7))


def test_operators_have_the_colours_of_their_labels():
    kinds = np.arange(40) ** 2 % 7 % 3
    figure = label_map_figure(MAPS[0], {"kind": np.array(["a", "b", "c"])[kinds]})
    np.testing.assert_allclose(colours_of(figure.axes[0]), wanted(kinds, 0.75))


def test_operators_have_the_markers_of_their_labels():
    figure = label_map_figure(MAPS[0], {"kind": np.arange(40) % 7})
    shapes = [points.get_paths()[0].vertices for points in figure.axes[0].collections]
    assert len({shape.tobytes() for shape in shapes if len(shape)}) == 7


@pytest.mark.parametrize(("n_kinds", "last"), [(7, "6"), (8, "7"), (9, "other")])
def test_a_single_kind_is_no_other(n_kinds, last):
    figure = label_map_figure(MAPS[0], {"kind": np.arange(40) % n_kinds})
    assert figure.axes[-1].get_legend().get_texts()[-1].get_text() == last


def test_operators_have_the_colours_of_their_values():
    figure = value_map_figure(MAPS[0], np.arange(40.0), "name")
    (points,) = figure.axes[0].collections
    np.testing.assert_array_equal(points.get_offsets(), AT)
    np.testing.assert_array_equal(points.get_array(), np.arange(40))


def test_values_with_gaps_are_drawn():
    values = np.arange(40.0)
    values[3] = np.nan
    assert render(value_map_figure(MAPS[1], values, "a $ name"), "png")


def test_rare_kinds_are_others():
    values = np.array(["b"] * 5 + ["a"] * 3 + [f"x{i}" for i in range(20)])
    kinds, index = frequent_kinds(values)
    assert kinds[:2] == ["a", "b"]
    assert len(kinds) == MOST_KINDS
    assert (index[:5] == 1).all()
    assert index[-1] == -1
