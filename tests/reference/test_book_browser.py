"""The derivation book in Debian's Chromium: search, widths, both themes, the network off.

Run with `pytest -m browser`; AXE_CORE names axe-core's axe.min.js (npm install axe-core).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from reference.book.chapters import build, operations
from reports.book import render_book
from reports.folder import write_book

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert Path(CHROMIUM).exists(), "these tests need Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of every layer in it and every third activation and loss: each shape of chapter."""
    layers = [operation for operation in operations() if operation.name in LAYERS]
    chosen = [*layers, *list(ACTIVATIONS.values())[::3], *list(LOSSES.values())[::3]]
    book = build(chosen, implementations=("manual",))
    return write_book(tmp_path_factory.mktemp("book"), render_book(book))


def opened(browser: Browser, path: Path, width: int, scheme: str) -> tuple[Page, list[str]]:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        offline=True,
    )
    page, wrong = context.new_page(), []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    return page, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_it_opens_without_an_error_and_nothing_sticks_out(
    browser: Browser, path: Path, width: int, scheme: str
) -> None:
    page, wrong = opened(browser, path, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong == []
    page.context.close()


def test_the_search_narrows_the_index_and_enter_goes_there(browser: Browser, path: Path) -> None:
    page, wrong = opened(browser, path, 1440, "light")
    every = page.locator("#results li:visible").count()
    page.keyboard.press("/")
    page.keyboard.type("overflow")
    some = page.locator("#results li:visible").count()
    assert 0 < some < every
    assert f"{some} of {every}" in page.inner_text("#found")
    page.keyboard.press("Enter")
    assert "#" in page.url
    page.fill("#find", "no such word")
    assert page.locator("#results li:visible").count() == 0
    assert wrong == []
    page.context.close()


def test_axe_finds_no_serious_violation(browser: Browser, path: Path) -> None:
    source = os.environ.get("AXE_CORE", "")
    assert Path(source).is_file(), "AXE_CORE must name axe-core's axe.min.js"
    for scheme in ("light", "dark"):
        page, _ = opened(browser, path, 1440, scheme)
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        page.evaluate(Path(source).read_text())
        found = page.evaluate("axe.run().then((r) => r.violations)")
        serious = [v for v in found if v["impact"] in ("serious", "critical")]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in serious] == []
        page.context.close()
