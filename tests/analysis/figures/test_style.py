import pytest

from spinlock.analysis.figures.style import label, new_figure, number, render, styled


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
