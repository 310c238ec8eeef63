"""A headless Chromium, driven over the DevTools protocol."""

import asyncio
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from tornado.websocket import WebSocketClientConnection, websocket_connect

from spinlock.analysis.evidence import Evidence
from spinlock.analysis.figures.catalog import EXHIBITS
from spinlock.analysis.figures.style import render
from spinlock.analysis.report.contents import page_data
from spinlock.analysis.report.page import Page, Shown, embedded, render_page
from spinlock.analysis.report.wording import describe

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LARGEST_MESSAGE = 64 * 2**20
SECONDS = 60


class Tab:
    """One page: what it asked for, what it complained about, and what can be done to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: WebSocketClientConnection):
        self._loop, self._socket, self._number = loop, socket, 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._loop.run_until_complete(
            asyncio.wait_for(self._call(method, parameters), SECONDS)
        )

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        await self._socket.write_message(json.dumps(message))
        while True:
            answer = json.loads(await self._socket.read_message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.complaints.append(json.dumps(about["entry"]))
        elif event.get("method") == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.complaints.append(json.dumps(about["args"]))

    def evaluate(self, expression: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str, trying: Callable[[], None] = lambda: None) -> None:
        end = time.monotonic() + SECONDS
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never came true: {condition}"
            trying()
            time.sleep(0.03)

    def open(self, page: Path, width: int = 1200, height: int = 900) -> None:
        self.resize(width, height)
        self.call("Page.navigate", url=page.as_uri())
        self.wait_for("document.documentElement?.dataset.ready")

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def point_at(self, place: str) -> None:
        """Move the mouse over the [x, y] of `place`, where there is such a place yet."""
        x, y = self.evaluate(place)
        # a map that was not drawn yet has no place for its points: NaN, which JSON lacks
        if x is not None and y is not None:
            for offset in (1, 0):
                self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + offset, y=y)

    def type_into(self, selector: str, text: str) -> None:
        self.evaluate(
            f"{{ const field = document.querySelector({json.dumps(selector)});"
            f" field.value = {json.dumps(text)}; field.dispatchEvent(new Event('input')); }}"
        )


def draw(evidence: Evidence) -> dict[str, Shown]:
    """Return what the page shows of every exhibit; to be quick, two are drawn."""
    shown = {}
    for exhibit in EXHIBITS:
        texts = (exhibit.name, exhibit.title, exhibit.question)
        drawn = exhibit.draw(evidence) if exhibit.name in ("composition", "training") else "brevity"
        if isinstance(drawn, Figure):
            shown[exhibit.name] = embedded(*texts, render(drawn, "png"))
        else:
            shown[exhibit.name] = Shown(*texts, reason=drawn)
    return shown


@pytest.fixture(scope="session")
def described(evidence: Evidence) -> Page:
    return describe(evidence, np.repeat([0, 1, 2], [50, 25, 15]), draw(evidence))


@pytest.fixture(scope="session")
def html(evidence: Evidence, described: Page) -> str:
    return render_page(described, page_data(evidence))


@pytest.fixture(scope="session")
def tiny_html(tiny_evidence: Evidence) -> str:
    page = describe(tiny_evidence, np.array([0, 0, 1, 2]), draw(tiny_evidence))
    return render_page(page, page_data(tiny_evidence))


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a function that writes a page to a file of its own."""

    def save(text: str) -> Path:
        path = tmp_path_factory.mktemp("page") / "report.html"
        path.write_text(text, encoding="utf-8")
        return path

    return save


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = next((path for name in NAMES if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser to look at the report with: none of {', '.join(NAMES)}")
    home = tmp_path_factory.mktemp("browser")
    command = [
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--remote-debugging-port=0",
        f"--user-data-dir={home}", "about:blank",
    ]  # fmt: skip
    loop = asyncio.new_event_loop()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        try:
            port = _port(browser)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [one for one in json.load(answer) if one["type"] == "page"]
            url = pages[0]["webSocketDebuggerUrl"]
            socket = loop.run_until_complete(_connected(url))
            yield Tab(loop, socket)
            socket.close()
        finally:
            browser.terminate()
            browser.communicate(timeout=SECONDS)
            loop.close()


async def _connected(url: str) -> WebSocketClientConnection:
    return await asyncio.wait_for(websocket_connect(url, max_message_size=LARGEST_MESSAGE), SECONDS)


def _port(browser: subprocess.Popen[str]) -> str:
    assert browser.stderr is not None
    for line in browser.stderr:
        found = re.search(r"listening on ws://127\.0\.0\.1:(\d+)/", line)
        if found:
            return found[1]
    pytest.fail("the browser did not start")
