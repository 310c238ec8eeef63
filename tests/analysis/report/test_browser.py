"""The page in a headless Chromium: it works, offline, wide and narrow, and nothing escapes."""

import json
import re
from functools import partial

import numpy as np
import pytest

HOSTILE = "<img src=x onerror"
# where on the screen the first operator is drawn, once it is
FIRST_POINT = """(() => {
  const box = document.querySelector("#operator-map");
  box.scrollIntoView({block: "center", behavior: "instant"});
  const view = [...Bokeh.index].find((one) => box.contains(one.el));
  const source = view.model.document.get_model_by_name("operator-map");
  const frame = view.frame, area = view.el.getBoundingClientRect();
  return [
    area.left + frame.x_scale.compute(source.data.x[0]),
    area.top + frame.y_scale.compute(source.data.y[0]),
  ];
})()"""
# the text of tooltips, wherever Bokeh keeps them
TOOLTIPS = """(() => {
  const texts = [];
  const walk = (node) => {
    if (node.classList?.contains("bk-tooltip-content")) texts.push(node.textContent);
    if (node.shadowRoot) walk(node.shadowRoot);
    node.childNodes.forEach(walk);
  };
  walk(document);
  return texts.join(" ");
})()"""


def shown_operator(tab):
    return tab.evaluate("document.querySelector('#operator-details').textContent")


def rows_of(tab, table):
    rows = f"[...document.querySelectorAll('#{table} tbody tr')]"
    return tab.evaluate(f"{rows}.map((row) => row.cells[0].textContent)")


@pytest.fixture
def report(tab, saved, html):
    page = saved(html)
    tab.requests.clear()
    tab.complaints.clear()
    tab.open(page)
    yield tab
    assert tab.complaints == []
    outside = [url for url in tab.requests if not url.startswith(("data:", "blob:"))]
    assert outside == [page.as_uri()]
    assert tab.evaluate("window.broken === undefined")


def test_a_page_of_hostile_names_opens_without_complaint(report):
    named = report.evaluate("document.querySelector('h1').textContent")
    assert HOSTILE in named
    assert report.evaluate("document.querySelectorAll('img:not([src^=data])').length") == 0
    assert any(HOSTILE in name for name in rows_of(report, "feature-results"))


def test_pictures_are_decoded(report):
    assert report.evaluate(
        "[...document.images].every((one) => one.decode && one.naturalWidth > 300)"
    )
    assert report.evaluate("document.images.length") == 2


def test_search_finds_features_by_all_words(report):
    report.type_into("#feature-search", "FEATURE_1")
    assert rows_of(report, "feature-results") == ["feature_1"]
    report.type_into("#feature-search", "initial feature_")
    assert rows_of(report, "feature-results") == [f"feature_{i}" for i in (0, 2, 4, 6, 8)]
    assert "5 of 12 features" in report.evaluate(
        "document.querySelector('#feature-count').textContent"
    )
    report.type_into("#feature-search", "no such feature")
    assert rows_of(report, "feature-results") == []


def test_every_minus_of_a_number_is_a_true_one(report, evidence):
    told = ""
    for operator in evidence.sample.ids[:40]:
        report.type_into("#operator-search", str(operator))
        report.wait_for(
            f"document.querySelector('#operator-details').textContent.includes('{operator} (')"
        )
        told += shown_operator(report)
    assert re.search(r"≈ −\d\.\d+e−\d", told)
    assert not re.search(r"e-\d", told)


def test_pointing_at_an_operator_shows_its_tokens_and_features(report, evidence):
    assert "unusual" not in report.evaluate(TOOLTIPS)
    pointing = partial(report.point_at, FIRST_POINT)  # again: a page being laid out moves it
    report.wait_for(f"{TOOLTIPS}.includes('unusual')", trying=pointing)
    text = report.evaluate(TOOLTIPS)
    assert "·".join(map(str, evidence.sample.tokens[0, 0])) in text
    assert "feature_" in text


def test_an_operator_is_found_by_its_id(report, evidence):
    report.type_into("#operator-search", str(evidence.sample.ids[7]))
    report.wait_for("document.querySelector('#operator-details').textContent")
    shown = shown_operator(report)
    assert "Operator 70 (validation)" in shown
    assert "·".join(map(str, evidence.sample.tokens[7, 1])) in shown
    report.type_into("#operator-search", "12345")
    report.wait_for("document.querySelector('#operator-details').textContent.includes('not on')")


def test_the_explorer_shows_the_features_and_tokens_of_a_category(report, evidence):
    report.evaluate(
        "{ const choice = document.querySelector('#category-choice'); choice.value = '2';"
        " choice.dispatchEvent(new Event('change')); }"
    )
    members = list(evidence.categories.values())[2]
    assert rows_of(report, "category-features") == [evidence.short_names[i] for i in members]
    assert rows_of(report, "category-tokens")[0].startswith("coarse ")


def test_a_single_feature_is_one(tab, saved, tiny_html):
    tab.open(saved(tiny_html))
    summary = tab.evaluate("document.querySelector('#category-summary').textContent")
    assert summary.startswith("1 feature;")


def test_the_map_takes_every_colour_that_is_offered(report):
    kinds = report.evaluate(
        "[...document.querySelector('#operator-color').options].map((one) => one.value)"
    )
    assert len(kinds) == 2 + 3 + 12
    for kind in kinds:
        report.evaluate(
            f"{{ const choice = document.querySelector('#operator-color');"
            f" choice.value = {json.dumps(kind)}; choice.dispatchEvent(new Event('change')); }}"
        )
        assert report.evaluate("document.querySelector('#operator-legend').textContent").strip()


def test_kinds_are_told_apart_without_their_colours(report):
    report.evaluate(
        "{ const choice = document.querySelector('#operator-color'); choice.value = 'split:';"
        " choice.dispatchEvent(new Event('change')); }"
    )
    markers = report.evaluate(
        "[...new Set(Bokeh.documents.map((one) => one.get_model_by_name('operator-map'))"
        ".find((one) => one).data.marker)]"
    )
    assert len(markers) == 3
    symbols = report.evaluate(
        "[...document.querySelectorAll('#operator-legend i')].map((one) => one.textContent)"
    )
    assert len(set(symbols)) == 3


def test_a_single_kind_is_no_other(report, evidence):
    assert len(np.unique(evidence.sample.tokens[:, 0, 0])) == 8
    report.evaluate(
        "{ const choice = document.querySelector('#operator-color'); choice.value = 'token:0';"
        " choice.dispatchEvent(new Event('change')); }"
    )
    names = report.evaluate(
        "[...document.querySelectorAll('#operator-legend > span')]"
        ".map((one) => one.lastChild.textContent)"
    )
    assert sorted(names) == list("01234567")


def test_buttons_lead_from_a_feature_to_its_category_and_its_map(report, evidence):
    report.type_into("#feature-search", "feature_8")
    report.evaluate(
        "document.querySelectorAll('#feature-results button').forEach((one) => one.click())"
    )
    assert report.evaluate("document.querySelector('#category-choice').value") == "2"
    assert "feature_8" in rows_of(report, "category-features")
    legend = report.evaluate("document.querySelector('#operator-legend').textContent")
    assert legend.startswith("feature_8")


@pytest.mark.parametrize("width", [320, 390, 800])
def test_a_narrow_screen_scrolls_in_one_direction(report, width):
    report.resize(width, 800)
    report.wait_for(f"innerWidth === {width}")
    report.wait_for("document.documentElement.scrollWidth <= innerWidth")
    report.type_into("#feature-search", "feature_1")
    assert rows_of(report, "feature-results") == ["feature_1"]


def test_a_page_of_four_operators_works_without_maps(tab, saved, tiny_html):
    tab.complaints.clear()
    tab.open(saved(tiny_html))
    assert "too few operators" in tab.evaluate(
        "document.querySelector('#operator-note').textContent"
    )
    tab.type_into("#operator-search", "10")
    assert len(rows_of(tab, "feature-results")) == 1
    assert tab.complaints == []
