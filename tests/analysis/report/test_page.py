"""The page as text; `test_browser` looks at it with a browser."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from spinlock.analysis.figures.catalog import EXHIBITS
from spinlock.analysis.report import page as page_module
from spinlock.analysis.report.page import Shown, embedded

LOADING = ("src", "href", "srcset", "data", "poster", "action")


class Tags(HTMLParser):
    """The tags of a page, and the text of what is no script."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


@pytest.fixture(scope="module", params=["html", "tiny_html"])
def text(request):
    return request.getfixturevalue(request.param)


def test_nothing_is_loaded_from_anywhere(text):
    for tag, attributes in Tags(text).tags:
        for name in LOADING:
            assert attributes.get(name, "data:").startswith(("data:", "#")), (tag, attributes)


def test_names_from_files_are_text_and_never_markup(text):
    tags = Tags(text).tags
    assert not [tag for tag, attributes in tags if "onerror" in attributes]
    # library, data, maps and the page's own script, whatever the names try to close or open
    assert len([tag for tag, _ in tags if tag == "script"]) == 4


def test_identifiers_are_unique_and_links_within_the_page_lead_somewhere(text):
    tags = Tags(text).tags
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    links = [a["href"] for tag, a in tags if tag == "a"]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(names)


def test_a_figure_that_was_left_out_gives_its_reason(html):
    assert html.count("Left out: brevity.") == html.count("<figure") - 2


def test_a_picture_is_told_by_the_first_sentence_of_its_caption(html):
    told = [attributes["alt"] for tag, attributes in Tags(html).tags if tag == "img"]
    assert told == [
        "How many features of each family a category holds, and up to three that correlate best "
        "with the rest of it and do not repeat each other.",
        "Every loss term, epoch by epoch; the dotted line is the model that was kept.",
    ]


def test_every_picture_is_told_in_a_sentence():
    for exhibit in EXHIBITS:
        told = Shown(exhibit.name, exhibit.title, exhibit.question).in_words
        assert exhibit.question.startswith(told)
        assert told[-1] in ".?"
        assert 30 < len(told) < 300


def test_a_page_repeats_byte_by_byte(evidence, described, html):
    from spinlock.analysis.report.contents import page_data
    from spinlock.analysis.report.page import render_page

    assert render_page(described, page_data(evidence)) == html


def test_a_picture_keeps_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 255, (12, 20, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    shown = embedded("name", "title", "question", buffer.getvalue())
    with Image.open(io.BytesIO(base64.b64decode(shown.image))) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels)
    assert (shown.width, shown.height) == (20, 12)


def test_a_picture_that_takes_much_room_is_shown_nearly(monkeypatch):
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 255, (20, 30, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    pixels += rng.integers(0, 3, pixels.shape, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    exact = embedded("name", "title", "question", buffer.getvalue())
    monkeypatch.setattr(page_module, "EXACT_BYTES", 100)
    nearly = embedded("name", "title", "question", buffer.getvalue())
    assert len(nearly.image) < len(exact.image) / 2
    assert (nearly.width, nearly.height) == (240, 160)
