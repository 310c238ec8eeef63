import pytest
from matplotlib.figure import Figure

from spinlock.analysis.figures.catalog import EXHIBITS
from spinlock.analysis.figures.style import render


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_every_exhibit_is_drawn(exhibit, evidence):
    drawn = exhibit.draw(evidence)
    assert isinstance(drawn, Figure), drawn
    assert render(drawn, "svg") == render(exhibit.draw(evidence), "svg")


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_every_exhibit_is_drawn_or_gives_its_reason_on_tiny_data(exhibit, tiny_evidence):
    drawn = exhibit.draw(tiny_evidence)
    if isinstance(drawn, Figure):
        assert render(drawn, "png")
    else:
        assert len(drawn) > 10


def test_names_are_unique():
    assert len({exhibit.name for exhibit in EXHIBITS}) == len(EXHIBITS)
