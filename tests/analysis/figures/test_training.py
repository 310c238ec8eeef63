import numpy as np

from spinlock.analysis.figures.style import render
from spinlock.analysis.figures.training import training_figure

LEVELS = ["coarse", "fine"]


def test_every_term_has_a_panel(evidence):
    figure = training_figure(evidence.tokenizer.history, evidence.levels)
    titles = {axes.get_title("left") for axes in figure.axes if axes.has_data()}
    assert titles == {
        "loss", "reconstruction", "quantisation", "validation R²", "utilization", "learning rate"
    }  # fmt: skip


def test_the_kept_epoch_is_marked():
    losses = [3.0, 1.0, 2.0]
    history = [{"epoch": i, "val_loss": loss, "train_loss": 1.0} for i, loss in enumerate(losses)]
    figure = training_figure(history, LEVELS)
    assert figure.axes[0].lines[-1].get_xdata() == [1, 1]


def test_a_training_without_validation_is_drawn():
    history = [{"epoch": 1, "train_loss": 1.0, "learning_rate": 0.1}]
    assert render(training_figure(history, LEVELS), "svg")


def test_utilization_is_the_mean_over_categories_at_each_level():
    history = [{"epoch": 1, "train_loss": 1.0, "utilization": [[0.2, 0.5], [0.4, 1.0], [0.6, 0.9]]}]
    figure = training_figure(history, LEVELS)
    axes = next(axes for axes in figure.axes if axes.get_title("left") == "utilization")
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(drawn["coarse"], [0.4])
    np.testing.assert_allclose(drawn["fine"], [0.8])


def test_a_training_of_one_epoch_shows_its_points():
    history = [{"epoch": 1, "train_loss": 1.0, "utilization": [[0.2, 0.5]]}]
    for axes in training_figure(history, LEVELS).axes:
        drawn = [line for line in axes.lines if line.get_linestyle() == "-"]
        assert all(line.get_marker() == "o" for line in drawn)
