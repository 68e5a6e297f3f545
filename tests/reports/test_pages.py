"""The pages: what a reader must find, whatever the records hold; nothing hostile gets through."""

import re
import time
from collections import Counter
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from examplereport import example_records, million_records
from hostilerecords import HOSTILE, hostile_records

from reports.charts import charts
from reports.diagram import diagram
from reports.formula import math, prose
from reports.html import BUDGETS, render_html
from reports.records import (
    Accuracy,
    AnyRecord,
    Case,
    Cell,
    Finding,
    LayerShape,
    NetworkShape,
    OracleStatus,
    Record,
    Run,
    of_type,
)
from reports.summary import KINDS, Summary, summary_json
from reports.text import render_badge, render_markdown, render_text

LARGEST_PAGE = 2_000_000
RENDERERS = (render_html, render_markdown, render_badge, render_text, summary_json)
KINDS_OF_RECORD: tuple[Any, ...] = AnyRecord.__args__
EXAMPLE = example_records(400, findings=9)
VOID = {"meta", "link", "br", "input", "path", "circle", "rect"}


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order, and what is asked below."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0
        self.handlers: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.note(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(f"{tag} {name}={value}")
            if name in ("href", "src", "action", "data", "xlink:href"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def says(self, words: str) -> bool:
        return words in " ".join("".join(self.text).split())


def page_of(records: Iterable[Record]) -> Page:
    text = render_html(Summary(list(records)))
    assert len(text.encode()) <= LARGEST_PAGE
    page = Page(text)
    assert page.scripts == 2 and page.handlers == []
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith(("#", "data:,")) for link in page.links), "nothing is fetched"
    return page


def run(**fields: Any) -> Run:
    known: dict[str, Any] = {
        "command": "manual-backprop report", "seed": 0, "problems": 10,
        "oracles": (OracleStatus(name="manual"), OracleStatus(name="torch", version="2.13.0")),
        "verdicts": {"AGREE": 10},
    }  # fmt: skip
    return Run(**{**known, **fields})


def test_the_page_has_every_section_and_says_what_matters() -> None:
    page = page_of(example_records())
    sections = "summary matrix accuracy findings conventions trial articles coverage limits cost"
    assert set(sections.split()) | {"environment"} <= set(page.ids)
    for words in (
        "The hand-written gradient is right in all 20,000 problems.",
        "PyTorch deviates in",
        "PyTorch 2.13.0, JAX 0.10.2 and the certified gradient (python-flint 0.9.0)",
        "DEVIATES(torch)",
        "PyTorch flushes the gradient to zero",
        "30 digits certified",
        "manual-backprop report --problems 20000 --seed 0 --dtype both",
        "in 100,000 correct networks",
        "204 of 204",
        "384 of 384 pairs",
        "openblas 0.3.30",
    ):
        assert page.says(words), words


def test_sections_without_records_say_so() -> None:
    page = page_of([run(oracles=(), verdicts={}, problems=0)])
    for words in ("Nothing has been checked", "No problems were drawn", "measured no operations",
                  "did not sweep", "was not validated", "no articles", "Nothing was drawn",
                  "were not recorded", "measured no times"):  # fmt: skip
        assert page.says(words), words


@pytest.mark.parametrize(
    ("fields", "state", "words"),
    [
        ({}, "right", "right in all 10 problems."),
        ({"problems": 1, "verdicts": {"AGREE": 1}}, "right", "right in all 1 problem."),
        ({"verdicts": {"AGREE": 7, "DEVIATES(manual)": 3}}, "wrong", "wrong in 3 of 10"),
        ({"verdicts": {"AGREE": 9, "DEVIATES(manual,torch)": 1}}, "wrong", "wrong in 1 of 10"),
        ({"verdicts": {"AGREE": 9, "DEVIATES(jax)": 1}}, "right", "JAX deviates in 1."),
        (
            {"verdicts": {"AGREE": 8, "DEVIATES(my.module:Mine, jax)": 2}}, "right",
            "JAX deviates in 2 and my.module:Mine deviates in 2.",
        ),
        ({"verdicts": {"AGREE": 9, "VALUE(m:Mine)": 1}}, "open", "m:Mine computes another value"),
        (
            {"verdicts": {"AGREE": 8, "CRASHED(jax)": 2}}, "open",
            "there are also 2 in which JAX crashed",
        ),
        (
            {"verdicts": {"AGREE": 6, "CRASHED(jax)": 2, "CRASHED(jax, torch)": 2}}, "open",
            "2 in which PyTorch crashed and 4 in which JAX crashed",
        ),
        ({"verdicts": {"CRASHED(torch)": 9}}, "open", "(9 in which PyTorch crashed)"),
        (
            {"verdicts": {"DEVIATES(manual)": 8, "CRASHED(jax)": 2}}, "wrong",
            "There is no verdict on 2 in which JAX crashed.",
        ),
        (
            {"verdicts": {"AGREE": 8, "CRASHED(manual)": 2}}, "wrong",
            "2 in which the hand-written gradient crashed",
        ),
        (
            {"verdicts": {"AGREE": 7, "VALUE(torch)": 2, "DEVIATES(torch)": 1}}, "open",
            "function incorrectly or it is wrong. PyTorch deviates in 1.",
        ),
        (
            {"unsound": ("0:7 jax x",), "unsound_problems": 1234, "audited": 5678}, "open",
            "The judge is wrong in 1,234 of 5,678",
        ),
        ({"unfinished": 4, "verdicts": {"AGREE": 6}}, "open", "stopped with 4 of 10 to do"),
        ({"verdicts": {"SKIPPED": 10}}, "open", "Nothing has been checked"),
        ({"oracles": (OracleStatus(name="manual"),)}, "open", "Nothing has been checked"),
        ({"oracles": (OracleStatus(name="complex_step"),)}, "open", "Nothing has been checked"),
        (
            {"oracles": (OracleStatus(name="torch"),
                         OracleStatus(name="jax", status="skipped", reason="not installed"))},
            "right", "JAX was skipped (not installed).",
        ),
    ],
)  # fmt: skip
def test_the_headline_says_how_it_stands(fields: dict[str, Any], state: str, words: str) -> None:
    summary = Summary([run(**fields)])
    assert words in summary.headline and summary.state == state
    assert summary.exit_code == (state == "wrong")
    for render in (render_html, render_text, render_markdown, summary_json):
        assert words.partition("(")[0].strip() in render(summary).replace("\\", "")


def test_the_page_counts_all_problems_in_which_the_judge_is_wrong() -> None:
    summary = Summary([run(unsound=("0:7 jax x",), unsound_problems=1234, audited=5678)])
    assert "1,234 outside, which are errors of the judge" in render_html(summary)


@pytest.mark.parametrize(
    ("fields", "code", "strict"),
    [
        ({}, 0, 0),
        ({"verdicts": {"AGREE": 8, "DEVIATES(torch)": 2}}, 0, 0),
        ({"verdicts": {"AGREE": 8, "CRASHED(torch)": 2}}, 0, 1),
        ({"verdicts": {"AGREE": 8, "VALUE(torch)": 2}}, 0, 1),
        ({"verdicts": {"AGREE": 8, "CRASHED(manual)": 2}}, 1, 1),
        ({"verdicts": {"AGREE": 8, "DEVIATES(manual)": 2}}, 1, 1),
        ({"oracles": (OracleStatus(name="torch", status="crashed"),)}, 0, 1),
        ({"oracles": (OracleStatus(name="torch", status="skipped"),)}, 0, 0),
    ],
)
def test_a_crash_is_an_error_to_the_strict(fields: dict[str, Any], code: int, strict: int) -> None:
    summary = Summary([run(**fields)])
    assert (summary.exit_code, summary.strict_exit_code) == (code, strict)


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_every_text_is_shown_and_not_run(text: str) -> None:
    records = hostile_records(text)
    summary = Summary(records)
    page = page_of(records)
    assert "alert(" not in "".join(page.links)
    for render in (render_markdown, render_text, render_html):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", render(summary))
    markdown = re.sub(r"(?ms)^(```+)sh$.*?^\1$|(?<!\\)`[^`\n]*`", "", render_markdown(summary))
    assert "<" not in markdown and "](" not in markdown.replace("\\](", "")
    badge = render_badge(summary)
    ElementTree.fromstring(badge)
    msgspec.json.decode(summary_json(summary))


@pytest.mark.parametrize("kind", KINDS_OF_RECORD, ids=lambda kind: kind.__name__)
def test_ten_megabytes_in_every_text_of_a_record(kind: Any) -> None:
    long = "<b>é" * 2_500_000
    records = [r for r in EXAMPLE if not isinstance(r, Cell | Accuracy)]
    victim = next(r for r in EXAMPLE if isinstance(r, kind))
    fields = {
        name: long for name in kind.__struct_fields__
        if isinstance(getattr(victim, name), str) and name != "quantity"
    }  # fmt: skip
    swollen = msgspec.structs.replace(victim, **fields)
    kept = [r for r in records if not (kind is Run and isinstance(r, Run))]
    summary = Summary([*kept, swollen])
    for render in RENDERERS:
        limit = LARGEST_PAGE if render is not summary_json else 40_000_000
        assert len(render(summary).encode()) <= limit


def test_a_million_problems_fit() -> None:
    records = million_records()
    counts = Counter(type(record) for record in records)
    assert not [kind for kind in BUDGETS if not counts[kind]], "a section is empty"
    start = time.perf_counter()
    text = render_html(Summary(records))
    seconds = time.perf_counter() - start
    print(f"\npage of 1,000,000 problems: {len(text.encode()):,} bytes in {seconds:.2f} s")
    assert len(text.encode()) <= LARGEST_PAGE
    assert "more findings are left out here" in " ".join(text.split())
    Page(text)


@pytest.mark.parametrize("names", ["activation", "loss", "dtype", "regime", "worst_at"])
def test_cells_without_number_fit(names: str) -> None:
    first = next(iter(of_type(EXAMPLE, Cell)))
    cells = [msgspec.structs.replace(first, **{names: f"name {i}" * 3}) for i in range(30_000)]
    page_of([run(), *cells])


def test_a_network_without_end_is_drawn_in_part() -> None:
    layers = tuple(LayerShape(width=10**9, activation="relu") for _ in range(5_000))
    case = Case(at="0:0", batch=2, dtype="float64", first_diverging_step="layers.4999.z",
                network=NetworkShape(input_width=10**9, layers=layers, loss="mse"))  # fmt: skip
    drawn = diagram(case)
    assert len(drawn.columns) < 15 and drawn.columns[-2].wrong
    page_of([run(), Finding(operation="relu", verdict="DEVIATES(jax)", count=1, example=case)])


@pytest.mark.parametrize(
    ("step", "columns", "bundles"),
    [("layers.0.z", [1], []), ("layers.1.a", [2], []), ("layers.1.weight", [], [1]),
     ("x", [0], []), ("loss", [3], []), (None, [], []), ("layers.99999999999.z", [], [])],
)  # fmt: skip
def test_the_first_wrong_step_is_marked(
    step: str | None, columns: list[int], bundles: list[int]
) -> None:
    layers = tuple(LayerShape(width=3, activation="tanh") for _ in range(2))
    network = NetworkShape(input_width=2, layers=layers, loss="mse")
    drawn = diagram(Case(at="0:0", network=network, batch=2, dtype="", first_diverging_step=step))
    assert [i for i, c in enumerate(drawn.columns) if c.wrong] == columns
    assert [i for i, b in enumerate(drawn.bundles) if b.wrong] == bundles


@pytest.mark.parametrize(
    "inputs",
    [
        (0.0, 0.0),
        (-1e308, 1e308),
        (float("nan"), 1.0),
        (float("inf"), float("-inf")),
        (5e-324, 0.0),
    ],
)
@pytest.mark.parametrize("errors", [(0.0, 0.0), (float("nan"), 1e300), (float("inf"), 5e-324)])
def test_curves_of_odd_numbers_are_finite(
    inputs: tuple[float, ...], errors: tuple[float, ...]
) -> None:
    row = Accuracy(operation="f", kind="", quantity="value", dtype="", implementation="manual",
                   worst_ulp=errors[0], inputs=inputs, errors=errors, curve=inputs)  # fmt: skip
    for chart in charts([row]):
        numbers = re.findall(
            r"[-\w.]+", "".join(line.path for line in chart.lines) + chart.function
        )
        assert all(re.fullmatch(r"[ML]?-?\d+([ML]-?\d+)*", number) for number in numbers), numbers
    page_of([run(), row])


def test_a_peak_is_not_lost_in_a_curve() -> None:
    inputs = tuple(float(i) for i in range(10_000))
    errors = tuple(1e6 if i == 7_777 else 0.5 for i in range(10_000))
    row = Accuracy(operation="f", kind="", quantity="value", dtype="", implementation="manual",
                   worst_ulp=1e6, inputs=inputs, errors=errors)  # fmt: skip
    (chart,) = charts([row])
    ys = [int(y) for y in re.findall(r" (\d+)", chart.lines[0].path)]
    assert min(ys) < 20 < max(ys) - 80


def test_formulas_are_mathematics_and_never_markup() -> None:
    assert math(r"\frac{1}{2}").startswith("<math")
    assert "<mfrac>" in math(r"\frac{1}{2}")
    for text in HOSTILE:
        sentence = str(math(text))
        assert "<script" not in sentence and "javascript:" not in sentence.split("<code>")[0]
        root = ElementTree.fromstring(f"<r>{sentence}</r>".replace("\0", ""))
        assert not any(name.startswith("on") for e in root.iter() for name in e.attrib)
    assert str(math("{" * 3_000)).startswith("<code>")
    assert str(prose(r"a < \(x\) & \(y")).startswith("a &lt; <math")


def test_every_verdict_has_a_shape_of_its_own() -> None:
    marks = [kind.mark for kind in KINDS.values()]
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize("verdict", ["DEVIATES(manual)", "DEVIATES(manual,torch)"])
def test_where_ours_is_wrong_the_badge_has_its_own_colour(verdict: str) -> None:
    def page(verdicts: dict[str, int]) -> str:
        records = example_records(10)
        run, *rest = records
        edited = [msgspec.structs.replace(run, verdicts=verdicts), *rest]
        return render_html(Summary(edited))

    assert "badge deviates manual" in page({"AGREE": 9, verdict: 1})
    assert "badge deviates manual" not in page({"AGREE": 9, "DEVIATES(torch)": 1})


@pytest.mark.parametrize(
    ("verdicts", "text", "level"),
    [
        ({"AGREE": 8, "PRECISION(jax)": 2}, "", 0),
        ({"AGREE": 999, "DEVIATES(torch)": 1}, "P &lt;1", 1),
        ({"AGREE": 6, "DEVIATES(torch)": 3, "CRASHED(jax)": 1}, "PJ 40", 3),
        ({"DEVIATES(torch)": 3}, "P 100", 4),
        ({"AGREE": 9, "VALUE(torch)": 1}, "P 10", 2),
        ({"AGREE": 9, "DEVIATES(manual, torch)": 1}, "HP 10", 6),
    ],
)
def test_a_square_says_who_is_outside_and_how_often(
    verdicts: dict[str, int], text: str, level: int
) -> None:
    cell = Cell(activation="a", loss="l", dtype="float32", regime="r", n=sum(verdicts.values()),
                verdicts=verdicts)  # fmt: skip
    squares = render_html(Summary([run(), cell])).split('<div class="legend">')[0]
    assert f'data-level="{level}"' in squares and f">{text}</button>" in squares


def test_the_same_records_give_the_same_page() -> None:
    assert render_html(Summary(EXAMPLE)) == render_html(Summary(EXAMPLE))
