"""The report as one HTML page: figures, maps and tables, with all that they need inside."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from spinlock.analysis.report.interactive import (
    CODE_COLUMNS,
    OPERATOR_COLUMNS,
    library,
    map_document,
)

EXACT_BYTES = 150_000  # a picture may take to be shown without any loss
NEARLY = 85  # WebP quality of larger pictures
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Target:
    """A metric that the seed sets a target for."""

    name: str
    value: str
    goal: str
    met: bool


@dataclass(frozen=True)
class Shown:
    """A figure on the page, or why it is not there.

    Attributes
    ----------
    name, title, question : str
    image : str
        WebP as base64; empty where the figure was left out.
    width, height : int
        Pixels.
    reason : str
        Why the figure was left out.
    """

    name: str
    title: str
    question: str
    image: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""

    @property
    def in_words(self) -> str:
        """What stands for the picture where none is seen: the caption's first sentence."""
        return re.split(r"(?<=[.?])\s", self.question, maxsplit=1)[0]


@dataclass(frozen=True)
class Section:
    """Figures that belong together."""

    name: str
    figures: Sequence[Shown]


@dataclass(frozen=True)
class Probe:
    """How well a label is predicted.

    Attributes
    ----------
    summary : str
        Which label, how it was measured, and what chance gives.
    predictors : sequence of str
    accuracies : sequence of (predicted from, accuracy by each predictor)
    """

    summary: str
    predictors: Sequence[str]
    accuracies: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Page:
    """What the page says; every text is escaped when it is rendered.

    Attributes
    ----------
    experiment, lead : str
    targets : sequence of Target
    remarks : str
        Which rows the targets were measured on, and what they hide.
    probe : Probe or None
    sections : sequence of Section
    cleaning, provenance : sequences of (name, value)
    dropped : sequence of (feature, reason)
    altered : sequence of (feature, imputed, capped)
    """

    experiment: str
    lead: str
    targets: Sequence[Target]
    remarks: str
    probe: Probe | None
    sections: Sequence[Section]
    cleaning: Sequence[tuple[str, str]]
    provenance: Sequence[tuple[str, str]]
    dropped: Sequence[tuple[str, str]]
    altered: Sequence[tuple[str, int, int]]


def render_page(page: Page, data: dict[str, Any]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    page : Page
    data : dict
        What `page_data` gave, for the page's script.
    """
    environment = Environment(
        loader=PackageLoader("spinlock.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    # BokehJS reads definitions before references, so keys stay in their order
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template("page.html.j2").render(
        page=page,
        data=data,
        maps={
            "operator-map": map_document("operator-map", OPERATOR_COLUMNS),
            "code-map": map_document("code-map", CODE_COLUMNS),
        },
        css=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        library=library(),
    )


def embedded(name: str, title: str, question: str, png: bytes) -> Shown:
    """Return a figure for the page: the PNG's pixels, or nearly, where these take much room."""
    with Image.open(io.BytesIO(png)) as image:
        picture = _webp(image, lossless=True)
        if len(picture) > EXACT_BYTES:
            picture = min(picture, _webp(image, quality=NEARLY), key=len)
        text = base64.b64encode(picture).decode("ascii")
        return Shown(name, title, question, text, image.width, image.height)


def _webp(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", **options)
    return buffer.getvalue()
