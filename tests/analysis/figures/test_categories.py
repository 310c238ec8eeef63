import itertools

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from spinlock.analysis.figures.categories import (
    composition_figure,
    correlation_figure,
    cosine_figure,
    silhouette_figure,
)
from spinlock.analysis.figures.style import render
from spinlock.tokenizer.categories.column_tree import correlation_matrix, merge_tree


@pytest.fixture
def blocks():
    """Three blocks of correlated columns, shuffled; the categories are the blocks."""
    rng = np.random.default_rng(0)
    block = rng.permutation(np.repeat(np.arange(3), 5))
    x = rng.normal(size=(200, 3))[:, block] + 0.3 * rng.normal(size=(200, 15))
    correlation = correlation_matrix(x)
    return correlation, {f"c{b}": np.flatnonzero(block == b) for b in range(3)}


def outlines(figure):
    axes = figure.axes[-2]
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_silhouette_marks_the_choice():
    number = np.arange(2, 9)
    figure = silhouette_figure(number, 0.1 * number, 1 / number, 5, 0.15)
    assert "5 categories" in figure.axes[0].get_title("left")
    ring = figure.axes[0].lines[-1]
    assert ring.get_xdata().tolist() == [5]


def test_a_single_category_is_one():
    figure = silhouette_figure(np.array([1, 2]), np.array([0.0, 0.5]), np.zeros(2), 1, 0.15)
    assert figure.axes[0].get_title("left") == "1 category"


def test_few_features_are_counted_in_whole_numbers():
    correlation = correlation_matrix(np.random.default_rng(0).normal(size=(50, 3)))
    figure = correlation_figure(correlation, {"all": np.arange(3)}, merge_tree(correlation))
    ticks = figure.axes[1].get_xticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_categories_of_the_tree_are_outlined_once_each(blocks):
    correlation, categories = blocks
    figure = correlation_figure(correlation, categories, merge_tree(correlation))
    assert len(figure.axes) == 3  # tree, matrix, colour bar
    assert sorted(patch.get_width() for patch in outlines(figure)) == [5, 5, 5]
    shown = figure.axes[1].images[0].get_array()
    inside = np.abs(shown[:5, :5]).mean()
    assert inside > 0.8


def test_a_mapping_that_ignores_the_tree_is_drawn_without_it(blocks):
    correlation, _ = blocks
    mixed = {"a": np.arange(0, 15, 2), "b": np.arange(1, 15, 2)}
    figure = correlation_figure(correlation, mixed, merge_tree(correlation))
    assert len(figure.axes) == 2
    assert sorted(patch.get_width() for patch in outlines(figure)) == [7, 8]


def test_a_deep_tree_is_no_problem():
    n_columns = 3000
    tree = np.array(
        [[0 if i == 0 else n_columns + i - 1, i + 1, i + 1.0, i + 2] for i in range(n_columns - 1)]
    )
    order = correlation_figure(np.eye(n_columns), {"all": np.arange(n_columns)}, tree)
    assert order.axes


def test_bars_count_the_features_of_each_family():
    families = ["a", "a", "b", "a", "b"]
    categories = {"x": np.array([0, 1, 2]), "y": np.array([3, 4])}
    figure = composition_figure(families, categories, [["f0"], ["f3", "f4"]])
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [2, 1, 1, 1]


@pytest.mark.parametrize("n_categories", [1, 2, 30])
def test_cosines_of_any_number_of_categories(n_categories):
    cosines = np.full((n_categories, n_categories), 0.2)
    np.fill_diagonal(cosines, 1)
    figure = cosine_figure(cosines, [f"category_{i}" for i in range(n_categories)], 0.25)
    assert render(figure, "png")
    if n_categories > 1:
        title = figure.axes[0].get_title("left")
        assert title == "mean 0.200 (target < 0.25), maximum 0.20"


def test_categories_without_a_cosine_are_blank_and_do_not_count():
    cosines = np.array([[1.0, 0.2, np.nan], [0.2, 1.0, np.nan], [np.nan] * 3])
    axes = cosine_figure(cosines, ["a", "b", "c"], 0.25).axes[0]
    assert axes.get_title("left") == "mean 0.200 (target < 0.25), maximum 0.20"
    assert [text.get_text() for text in axes.texts] == [".20", ".20"]


@pytest.mark.parametrize("n_categories", [28, 45, 100])
def test_names_of_many_categories_do_not_touch(n_categories):
    cosines = np.full((n_categories, n_categories), 0.2)
    figure = cosine_figure(cosines, [f"category_{i:02d}" for i in range(n_categories)], 0.25)
    figure.draw_without_rendering()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        places = [name.get_window_extent() for name in axis.get_ticklabels()]
        assert not [1 for one, other in itertools.pairwise(places) if one.overlaps(other)]
