"""index.html: one page that opens anywhere, made from the records and from nothing else."""

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.charts import charts, histograms
from reports.diagram import describe, describe_graph, diagram, graph_diagram
from reports.formula import math as set_math
from reports.formula import prose, visible
from reports.matrix import graph_matrix, matrix
from reports.records import (
    Accuracy,
    Bench,
    Cell,
    ClaimRecord,
    Convention,
    Coverage,
    Finding,
    Limit,
    Nested,
    Record,
    TrialRow,
    Value,
    encode,
    grouped,
    of_type,
)
from reports.summary import (
    Summary,
    beyond_text,
    by_weight,
    error_text,
    heaviest,
    kind_of,
    label,
    meaning,
    sides,
)
from reports.text import one_line

# Whatever the records hold, a page stays small: long texts and tables are cut, with a note.
MAX_TEXT = 4_000
MAX_LIST = 400
MAX_KEY = 120
# Bytes of records that each part may show; HTML is two to four times as long, the page under 2 MB.
MAX_SIDES = 8
MAX_BENCHED = 16
BUDGETS: Mapping[type[Record], int] = {
    Cell: 3_000_000,
    Finding: 160_000,
    Convention: 150_000,
    Accuracy: 900_000,
    TrialRow: 60_000,
    ClaimRecord: 120_000,
    Coverage: 20_000,
    Limit: 30_000,
    Bench: 60_000,
}
R = TypeVar("R", bound=Record)


def render_html(summary: Summary) -> str:
    """Return the whole page; the texts of the run are clipped, so that the head stays a head."""
    others = (record for record in summary.records if record is not summary.run)
    shown = Summary([clipped(summary.run), *others])
    return render_page("index.html", summary=shown, **_sections(summary))


def render_page(
    template: str,
    *,
    styles: Sequence[str] = ("page.css",),
    scripts: Sequence[str] = ("page.js",),
    **values: object,
) -> str:
    """Return a page of the same look; it may add a style and a script of its own."""
    environment = _environment()
    loader = environment.loader
    assert loader is not None
    style, script = (
        "".join(loader.get_source(environment, name)[0] for name in names)
        for names in (styles, scripts)
    )
    # The policy admits this style and this script by their digest and nothing else at all: what a
    # record might smuggle in would not run, and nothing can be fetched.
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(template).render(
        style=Markup(style), script=Markup(script), policy=policy, **values
    )


def render_fragment(template: str, **values: object) -> str:
    """Return a part of a page alone, for a notebook's cell."""
    return _environment().get_template(template).render(**values)


def _sections(summary: Summary) -> dict[str, Any]:
    left_out: dict[str, int] = {}

    def take(kind: type[R], records: Iterable[R] | None = None) -> list[R]:
        records = of_type(summary.records, kind) if records is None else records
        kept, left_out[kind.__name__] = fit(records, BUDGETS[kind])
        return kept

    cells, accuracy = take(Cell), take(Accuracy)
    ledger = sorted(of_type(summary.records, Convention), key=_calm)
    return {
        "matrix": matrix(summary.run, cells),
        "graphs": graph_matrix(summary.run, cells),
        "histograms": histograms(cells),
        "findings": take(Finding, summary.findings),
        "accuracy": accuracy_table(accuracy),
        "charts": charts(accuracy),
        "conventions": (conventions := take(Convention, ledger)),
        "ledger_sides": sides(*(row.answers for row in conventions))[:MAX_SIDES],
        "trials": grouped(take(TrialRow), lambda row: row.section),
        "articles": grouped(take(ClaimRecord), lambda claim: claim.article),
        "coverage": grouped(take(Coverage), lambda row: row.what),
        "limits": take(Limit),
        "benches": bench_tables(take(Bench)),
        "left_out": left_out,
    }


@dataclass(frozen=True)
class AccuracyRow:
    """One operation, quantity and dtype with every implementation beside one another."""

    operation: str
    kind: str
    quantity: str
    dtype: str
    by: Mapping[str, Accuracy]

    @property
    def best(self) -> float:
        """The smallest of the worst errors."""
        return min((_ulp(row.worst_ulp) for row in self.by.values()), default=math.inf)


@dataclass(frozen=True)
class AccuracyTable:
    """The rows, the implementations that have a column, and how often each is the most accurate."""

    rows: Sequence[AccuracyRow]
    implementations: Sequence[str]
    best: Mapping[str, int]


def accuracy_table(records: Sequence[Accuracy]) -> AccuracyTable:
    """Put the implementations of one operation into one row."""
    groups: dict[tuple[str, str, str, str], dict[str, Accuracy]] = {}
    for row in records:
        key = (row.operation, row.kind, row.quantity, row.dtype)
        groups.setdefault(key, {})[row.implementation] = row
    rows = [AccuracyRow(*key, by=by) for key, by in groups.items()]
    names = sides({row.implementation: None for row in records})[:MAX_SIDES]
    best = {
        name: sum(name in r.by and _ulp(r.by[name].worst_ulp) <= r.best for r in rows)
        for name in names
    }
    return AccuracyTable(rows, names, best)


@dataclass(frozen=True)
class BenchTable:
    """Times of one section: a row for each shape, a column for each implementation."""

    title: str
    implementations: Sequence[str]
    rows: Sequence[tuple[str, Mapping[str, Bench]]]
    origins: Sequence[str]

    def best(self, by: Mapping[str, Bench]) -> float:
        """Return the shortest time of a row; the floor alone is no implementation of a step."""
        return min(
            (b.seconds for name, b in by.items() if name != "floor" and b.seconds > 0),
            default=math.nan,
        )


def bench_tables(records: Sequence[Bench]) -> list[BenchTable]:
    """Put the implementations of one shape into one row, the floor first."""
    tables = []
    for title, rows in grouped(records, lambda row: row.section).items():
        shapes: dict[str, dict[str, Bench]] = {}
        for row in rows:
            where = f"{row.shape}, batch {row.batch:,}, {row.dtype}"
            shapes.setdefault(where, {})[row.implementation] = row
        names = sorted(dict.fromkeys(row.implementation for row in rows), key="floor".__ne__)
        origins = list(dict.fromkeys(row.origin for row in rows if row.origin))[:MAX_SIDES]
        tables.append(BenchTable(title, names[:MAX_BENCHED], list(shapes.items()), origins))
    return tables


def fit(records: Iterable[R], budget: int) -> tuple[list[R], int]:
    """Return the first records whose JSON fits into `budget` bytes, and how many are left out."""
    kept: list[R] = []
    left_out, used = 0, 0
    for record in records:
        if used > budget:  # not even clipped: a file of a million findings takes no time here
            left_out += 1
            continue
        size = len(encode(record))
        if size > MAX_TEXT:
            record = clipped(record)
            size = len(encode(record))
        used += size
        if used > budget and kept:
            left_out += 1
        else:
            kept.append(record)
    return kept, left_out


def clipped(record: R) -> R:
    """Return the record with every long text, list and mapping cut short."""
    plain = msgspec.to_builtins(record)
    found: R = msgspec.convert(_clip(plain), type(record), strict=False)
    return found


def _clip(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + " … (clipped)"
    if isinstance(value, dict):
        items = list(value.items())[:MAX_LIST]
        return {key[:MAX_KEY]: _clip(inner) for key, inner in items}
    if isinstance(value, list | tuple):
        return [_clip(inner) for inner in value[:MAX_LIST]]
    return value


def differ(row: Convention) -> bool:
    """Whether the implementations answer differently; "0" and "0.0" are the same answer."""
    return len({_number(answer) for answer in row.answers.values()}) > 1


def _calm(row: Convention) -> bool:
    """Whether nobody differs and nobody is inadmissible: such rows come last."""
    return not differ(row) and all(row.admissible.values())


def _number(text: str) -> str:
    try:
        return repr(float(text) + 0.0)
    except ValueError:
        return text


def _ulp(worst: float) -> float:
    return worst if math.isfinite(worst) else math.inf


def _ulp_text(value: float) -> str:
    if not math.isfinite(value):
        return "non-finite"
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}" if value < 1e5 else f"{value:.1e}"


def _share(value: float) -> str:
    return f"{100 * value:.3g}%" if math.isfinite(value) else str(value)


def _value_text(value: Value) -> str:
    """Return a cell of a trial's table; a float from 0 to 1 is a share."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    return _share(value) if 0 <= value <= 1 else f"{value:,.4g}"


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def _nested(value: Nested, depth: int = 0) -> str:
    """Return nested lists as people write them: a row a line."""
    if not any(isinstance(inner, list) for inner in value):
        return f"[{', '.join(map(str, value))}]"
    rows = [_nested(v, depth + 1) if isinstance(v, list) else v for v in value]  # type: ignore[arg-type]
    return "[" + (",\n" + " " * (depth + 1)).join(rows) + "]"


def _visible(value: object) -> object:
    """Make what a template prints visible; what is marked up already was made so before."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        beyond=beyond_text,
        error=error_text,
        ulp=_ulp_text,
        cell=_value_text,
        seconds=_seconds,
        nested=_nested,
        label=label,
        line=lambda text: one_line(text, 40),
        meaning=meaning,
        share=_share,
        math=set_math,
        prose=prose,
        kind=kind_of,
        heaviest=heaviest,
        ranked=by_weight,
        count=lambda n: f"{n:,}",
    )
    environment.globals.update(
        diagram=diagram,
        describe=describe,
        graph_diagram=graph_diagram,
        describe_graph=describe_graph,
        sides=sides,
        differ=differ,
        is_finite=math.isfinite,
    )
    return environment
