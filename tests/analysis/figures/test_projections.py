import numpy as np
import pytest

from spinlock.analysis.figures.projections import (
    MOST_KINDS,
    code_map_figure,
    frequent_kinds,
    label_map_figure,
    value_map_figure,
)
from spinlock.analysis.figures.style import render

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
