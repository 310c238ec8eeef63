import numpy as np

from spinlock.analysis.figures.nearest import TokenPanel, token_figure


def test_a_panel_names_features_values_and_operators():
    panel = TokenPanel(
        "energy · coarse 3", ["mean", "drift"], np.array([2.0, -1.0]),
        np.array([5.0, -0.25]), np.array([1.0, 0.5]), [11, 7],
    )  # fmt: skip
    figure = token_figure([panel] * 3)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert len(drawn) == 3
    assert [text.get_text() for text in drawn[0].get_yticklabels()] == ["mean", "drift"]
    assert [bar.get_width() for bar in drawn[0].patches] == [2, -1]
    assert drawn[0].texts[1].get_text().strip() == "−0.25 (usual 0.5)"
    assert "11, 7" in drawn[0].get_title("right")
