import itertools

import numpy as np
import pytest
from scipy.stats import entropy

from spinlock.analysis.figures.codebooks import code_frequency_figure, codebook_use_figure
from spinlock.analysis.figures.style import render

LEVELS = ["coarse", "fine"]
COUNTS = [
    [np.array([5, 5, 5, 5]), np.array([20, 0])],
    [np.array([10, 10, 0, 0]), np.array([0, 0])],
]


def test_use_and_perplexity_are_written_in_the_cells():
    figure = codebook_use_figure(COUNTS, ["a", "b"], LEVELS)
    used, perplexity = ([text.get_text() for text in axes.texts] for axes in figure.axes[:2])
    assert used == ["4/4", "1/2", "2/4", "0/2"]
    assert perplexity == ["4.0", "1.0", "2.0", "1.0"]
    assert "utilization 0.50" in figure.axes[0].get_title("left")


def test_cells_are_coloured_by_the_share_of_the_book_that_they_tell():
    counts = np.array([9, 1, 0, 0])
    figure = codebook_use_figure([[counts]], ["a"], ["coarse"])
    used, perplexity = (axes.images[0].get_array().item() for axes in figure.axes[:2])
    assert used == 0.5
    assert perplexity == pytest.approx(np.exp(entropy(counts)) / 4)


def test_books_of_one_code_are_shown_but_not_in_the_mean():
    counts = [[np.array([5, 0]), np.array([5])]]
    title = codebook_use_figure(counts, ["a"], LEVELS).axes[0].get_title("left")
    assert "utilization 0.50" in title
    of_one = codebook_use_figure([[np.array([5]), np.array([5])]], ["a"], LEVELS)
    assert of_one.axes[0].get_title("left") == "codes used"


def test_the_scale_of_a_single_category_is_named_in_full():
    figure = codebook_use_figure([COUNTS[0]], ["a"], LEVELS)
    figure.draw_without_rendering()
    name = figure.axes[-1].yaxis.label.get_window_extent()
    assert figure.bbox.y0 <= name.y0
    assert name.y1 <= figure.bbox.y1


@pytest.mark.parametrize("n_codes", [2, 4, 6, 8, 64, 1000, 65536])
def test_ranks_can_be_read(n_codes):
    counts = [[np.arange(n_codes, 0, -1)] * 3]
    figure = code_frequency_figure(counts, ["coarse", "medium", "fine"])
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    names = [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)]
    places = [name.get_window_extent() for name in names if name.get_text()]
    places = sorted((place for place in places if place.width), key=lambda place: place.x0)
    assert len(places) >= 2
    assert all(name.get_text().isdigit() for name in axis.get_ticklabels())
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(places))


def test_frequencies_are_sorted_and_sum_to_one():
    figure = code_frequency_figure(COUNTS, LEVELS)
    first = figure.axes[0].lines[0].get_ydata()
    assert first.sum() == 1
    assert (np.diff(first) <= 0).all()
    assert render(figure, "svg")


def test_many_levels_have_rows_of_panels_and_cells_without_text():
    counts, levels = (
        [[np.arange(1, 9)] * 8, [np.arange(1, 5)] * 8],
        [f"level_{i}" for i in range(8)],
    )
    figure = codebook_use_figure(counts, ["a", "b"], levels)
    assert not figure.axes[0].texts
    assert figure.axes[0].get_xlabel() == "level"
    panels = code_frequency_figure(counts, levels).axes
    assert len(panels) == 8
    assert {round(axes.get_subplotspec().rowspan.start) for axes in panels} == {0, 1}


def test_levels_whose_books_have_one_code_say_so():
    counts = [[np.array([3, 5]), np.array([8])], [np.array([1, 7]), np.array([8])]]
    _, empty = code_frequency_figure(counts, ["coarse", "fine"]).axes
    assert [text.get_text() for text in empty.texts] == ["books of one code"]
    assert not empty.lines
