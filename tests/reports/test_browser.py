"""The page as a reader meets it: Debian's Chromium, from a file, with the network off.

Run with `pytest -m browser`; AXE_CORE names axe-core's axe.min.js (npm install axe-core).
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from examplecheck import EVERY, example_checks
from examplereport import example_records, million_records
from hostilerecords import HOSTILE, hostile_records
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from reports.check_page import write_checks
from reports.folder import diff_folders, write_diff, write_report
from reports.records import Finding, Record

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()
WIDTHS = (1440, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert Path(CHROMIUM).exists(), "these tests need Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    records = example_records()
    write_report(root / "report", records)
    write_report(root / "later", [r for r in records if not _is_gelu(r)])
    write_diff(root / "diff", diff_folders(root / "later", root / "report"))
    write_report(root / "empty", records[:1])
    for name, one in EVERY.items():
        write_checks(root / "check" / name, [one])
    write_checks(root / "checks", example_checks())
    return root


def _is_gelu(record: Record) -> bool:
    return isinstance(record, Finding) and record.operation == "gelu_tanh"


PAGES = (
    "report/index.html", "empty/index.html", "diff/diff.html", "check/mixed/index.html",
    "check/right/index.html", "checks/index.html", "checks/check_2_wrong.html",
)  # fmt: skip


ANSWERED = """() => {
  const detail = document.getElementById("detail");
  const square = document.querySelector("button.square");
  if (!detail || !square) return null;
  square.click();
  return detail.open ? performance.now() : null;
}"""


class Visit:
    """A page that was opened, and everything that went wrong in it."""

    def __init__(
        self,
        browser: Browser,
        path: Path,
        width: int = 1440,
        scheme: str = "light",
        wait_until: Literal["commit", "load"] = "load",
    ):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            offline=True,
        )
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda r: r.url.startswith(("file:", "data:")) or
                     self.errors.append(f"asked for {r.url}"))  # fmt: skip
        self.page.goto(path.as_uri(), wait_until=wait_until)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.errors == []


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    with Visit(browser, folder / "report" / "index.html") as page:
        yield page


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_it_opens_without_error_and_never_scrolls_sideways(
    browser: Browser, folder: Path, name: str, width: int
) -> None:
    start = time.perf_counter()
    with Visit(browser, folder / name, width) as page:
        page.wait_for_function("document.readyState === 'complete'")
        print(f"\n{name} at {width}: interactive in {time.perf_counter() - start:.2f} s")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("h1").is_visible()


def test_every_section_can_be_reached_from_the_rail(page: Page) -> None:
    links = page.locator(".rail a")
    for i in range(links.count()):
        target = links.nth(i).get_attribute("href") or ""
        assert page.locator(target).count() == 1
        links.nth(i).click()
        assert page.locator(target).is_visible()
        assert arrived(page, target), f"{target} is not at the top of the window"


def arrived(page: Page, target: str) -> bool:
    """Whether a jump reached its target, or the end of the page."""
    top = page.locator(target).evaluate("e => e.getBoundingClientRect().top")
    left = page.evaluate("document.body.scrollHeight - innerHeight - scrollY")
    return abs(top) < 40 or (left < 2 and top > 0)


@pytest.mark.parametrize("target", ["#conventions", "#finding-4"])
def test_an_address_opens_there(browser: Browser, folder: Path, target: str) -> None:
    with Visit(browser, folder / "report" / "index.html") as page:
        page.goto("about:blank")
        page.goto((folder / "report" / "index.html").as_uri() + target)
        page.wait_for_timeout(300)
        assert arrived(page, target)


def test_a_square_opens_its_worst_problem(page: Page) -> None:
    square = page.locator("button.square[data-at='8,0']")
    sentence = square.get_attribute("aria-label") or ""
    assert sentence.startswith("gelu_tanh, squared_error:")
    square.click()
    dialog = page.locator("#detail")
    assert dialog.is_visible()
    text = dialog.inner_text()
    assert "gelu_tanh with squared_error" in text and "manual-backprop show 0:" in text
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.dataset.at") == "8,0", "the focus comes back"


def test_a_square_answers_within_a_second(browser: Browser, tmp_path: Path) -> None:
    """Measured from the start of the navigation, in the page of a million problems."""
    write_report(tmp_path / "million", million_records())
    path = tmp_path / "million" / "index.html"
    seconds = []
    for _ in range(3):
        with Visit(browser, path, wait_until="commit") as page:
            answered = page.wait_for_function(ANSWERED, polling=20).json_value()
            seconds.append(answered / 1000)
            page.wait_for_load_state("load")
    print(f"\npage of a million: a square answers after {min(seconds):.2f} s")
    assert min(seconds) < 1


def test_the_switches_draw_the_matrix_again_and_agree_with_the_page(page: Page) -> None:
    squares = page.locator("#squares .square")
    drawn = squares.all_inner_texts()
    levels = squares.evaluate_all("all => all.map(s => [s.dataset.level, s.dataset.mark])")
    page.select_option("#by-regime", label="kink_aimed")
    page.select_option("#by-dtype", label="float64")
    assert squares.all_inner_texts() != drawn
    page.select_option("#by-regime", "-1")
    page.select_option("#by-dtype", "-1")
    assert squares.all_inner_texts() == drawn, "the script and the renderer count alike"
    again = squares.evaluate_all("all => all.map(s => [s.dataset.level, s.dataset.mark])")
    assert again == levels


def test_the_matrix_by_keyboard(page: Page) -> None:
    page.locator("button.square").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.at") == "1,1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.at") == "0,1"
    page.keyboard.press("Enter")
    assert page.locator("#detail").is_visible()
    assert page.locator("button.square[tabindex='0']").count() == 1


def test_the_tab_key_starts_with_the_skip_link(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"


def test_filters(page: Page) -> None:
    rows = page.locator("#ledger tbody tr")
    tools = page.locator("[data-filter=ledger]")
    tools.locator("input[type=search]").fill("relu6 float64")
    shown = rows.filter(visible=True)
    assert shown.count() == 2 and f"2 of {rows.count()} rows" in tools.inner_text()
    tools.locator("[data-only=differ]").check()
    assert shown.count() == 1
    tools.locator("input[type=search]").fill("")
    tools.locator("[data-only=differ]").uncheck()
    tools.locator("[data-only=bad]").check()
    assert shown.count() == 4 and "nan" in shown.first.inner_text()


@pytest.mark.parametrize("name", EVERY)
def test_a_check_says_on_its_page_what_it_said_on_the_terminal(
    browser: Browser, folder: Path, name: str
) -> None:
    with Visit(browser, folder / "check" / name / "index.html") as page:
        assert page.locator("h1").inner_text() == EVERY[name].headline
        badge = {0: "✓", 1: "✕"}.get(EVERY[name].exit_code, "?")
        assert page.locator(".state").inner_text() == badge
        assert page.locator("section.part").count() == len(EVERY[name].parts)


def test_a_list_of_checks_leads_to_each_page_and_back(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "checks" / "index.html") as page:
        page.locator("tbody a").nth(1).click()
        page.wait_for_url("**/check_2_wrong.html")
        assert page.locator("math").count() >= 3
        assert page.locator(".line.marked").first.is_visible()
        page.get_by_text("All files").click()
        page.wait_for_url("**/index.html")


def test_findings_by_verdict_and_all_open(page: Page) -> None:
    cards = page.locator(".finding").filter(visible=True)
    everything = cards.count()
    page.get_by_role("button", name="Deviates", exact=True).click()
    assert 0 < cards.count() < everything
    page.get_by_role("button", name="All", exact=True).click()
    page.locator("#find").fill("gelu_tanh overflows")
    assert cards.count() == 1 and "DEVIATES(jax)" in cards.first.inner_text()
    page.locator("#find").fill("")
    page.get_by_role("button", name="Open all").click()
    assert page.locator(".finding details[open]").count() == everything
    page.get_by_role("button", name="Close all").click()
    assert page.locator(".finding details[open]").count() == 0


def test_the_copy_button_copies(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "report" / "index.html") as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.locator("#environment .copy").nth(1).click()
        page.get_by_text("Copied").first.wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == (
            "manual-backprop report --problems 20000 --seed 0 --dtype both"
        )


def test_the_theme_switch(page: Page) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = ground()
    button = page.locator("#theme")
    button.click()
    assert ground() == light and "light" in button.inner_text()
    button.click()
    assert ground() != light and "dark" in button.inner_text()
    page.reload()
    assert ground() != light, "the choice is kept"
    button.click()
    assert ground() == light


def test_curves_are_shown_one_operation_at_a_time(page: Page) -> None:
    figures = page.locator(".curves figure").filter(visible=True)
    assert figures.count() == 2
    page.select_option("#curve", label="tanh")
    assert "tanh" in figures.first.inner_text()
    page.select_option("#curve", "")
    assert figures.count() == 48


def test_a_finding_has_an_address(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "report" / "index.html") as page:
        page.goto((folder / "report" / "index.html").as_uri() + "#finding-2")
        page.reload()
        assert page.locator("#finding-2 details").get_attribute("open") is not None


def test_nothing_hostile_runs(browser: Browser, tmp_path: Path) -> None:
    for i, text in enumerate(HOSTILE):
        write_report(tmp_path / str(i), hostile_records(text))
        visit = Visit(browser, tmp_path / str(i) / "index.html")
        visit.page.on("dialog", lambda d: visit.errors.append(d.message))  # noqa: B023
        with visit as page:
            if page.locator("button.square").count():
                page.locator("button.square").first.click()
                assert page.locator("#detail").is_visible()
            page.wait_for_timeout(50)


def test_the_policy_stops_a_script_that_got_in(
    browser: Browser, folder: Path, tmp_path: Path
) -> None:
    text = (folder / "report" / "index.html").read_text()
    bad = text.replace("</main>", "<script>window.ran = 1</script></main>", 1)
    (tmp_path / "bad.html").write_text(bad)
    visit = Visit(browser, tmp_path / "bad.html")
    assert visit.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in error for error in visit.errors)
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_violation(
    browser: Browser, folder: Path, name: str, width: int, scheme: str
) -> None:
    axe = os.environ.get("AXE_CORE", "")
    assert Path(axe).is_file(), "AXE_CORE must name axe-core's axe.min.js (npm install axe-core)"
    with Visit(browser, folder / name, width, scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        # evaluate() is not bound by the page's policy, as a script element would be.
        page.evaluate(Path(axe).read_text() + "\n;undefined")
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            f"{v['id']}: {v['help']}: {[n['html'][:160] for n in v['nodes'][:3]]}"
            for v in found["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_that_axe_can_find_something(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<!doctype html><html><body><button></button></body></html>")
    with Visit(browser, tmp_path / "bad.html") as page:
        page.evaluate(Path(os.environ["AXE_CORE"]).read_text() + "\n;undefined")
        found = page.evaluate("axe.run()")
        assert any(v["impact"] in ("serious", "critical") for v in found["violations"])


def test_on_paper_nothing_is_hidden(page: Page) -> None:
    page.emulate_media(media="print")
    assert not page.locator(".rail").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".finding details:not([open])").count() == 0
    script = "all => all.map(e => getComputedStyle(e).overflow)"
    overflows = page.locator(".scroll").evaluate_all(script)
    assert set(overflows) == {"visible"}
