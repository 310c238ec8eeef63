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


def test_frequencies_are_sorted_and_sum_to_one():
    figure = code_frequency_figure(COUNTS, LEVELS)
    first = figure.axes[0].lines[0].get_ydata()
    assert first.sum() == 1
    assert (np.diff(first) <= 0).all()
    assert render(figure, "svg")
