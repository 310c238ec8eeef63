import numpy as np

from spinlock.analysis.figures.tokens import TokenPanel, token_figure


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


def test_operators_are_named_as_there_is_room_beside_the_title():
    ids = list(range(98_765, 98_770))
    shown = {}
    for width in (10, 48):
        panel = TokenPanel(
            "category_07 · coarse 12 · 12.3% of operators", ["f" * width], np.ones(1),
            np.ones(1), np.ones(1), ids,
        )  # fmt: skip
        axes = token_figure([panel]).axes[0]
        shown[width] = axes.get_title("right").count(",") + 1
    assert shown[10] == 5
    assert 1 <= shown[48] < 5
