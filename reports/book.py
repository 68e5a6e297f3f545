"""The derivation book: chapters in, one page out that opens anywhere.

A chapter is plain data. Its formulas are trees that were checked while the book was built; what a
reader sees is set from those same trees.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports.charts import steps_between
from reports.formula import visible
from reports.html import render_page
from reports.notation import Node, mathml
from reports.records import Convention, grouped

WIDTH, HEIGHT, MARGIN = 440, 250, 14
LEFT, FOOT = 34, 22


@dataclass(frozen=True)
class Set:
    """A formula as it is shown: its tree, its text, and what its check came to."""

    node: Node
    text: str
    kind: str  # "statement", "definition", "condition", "term"
    samples: int = 0
    digits: int = 0

    @property
    def note(self) -> str:
        """What was checked, in words."""
        if self.kind == "statement":
            return f"checked at {self.samples} points to {self.digits} digits"
        return {
            "definition": "a definition that checked formulas use",
            "condition": "a condition",
        }.get(self.kind, "")


@dataclass(frozen=True)
class Paragraph:
    """Prose with formulas in it, or a formula set apart."""

    display: bool
    pieces: tuple[str | Set, ...]


@dataclass(frozen=True)
class DerivationStep:
    """One step of a derivation: the rule, and what it gives."""

    rule: str
    formula: Set


@dataclass(frozen=True)
class Curve:
    """A function as pieces of points, broken where it has a kink."""

    name: str
    pieces: tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True)
class Plot:
    """f and f′ with the kinks marked; `note` says what was held fixed."""

    across: str
    curves: tuple[Curve, ...]
    kinks: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True)
class BookAccuracy:
    """The worst error of each implementation in one quantity and dtype, and where it was."""

    quantity: str
    dtype: str
    worst: Mapping[str, tuple[float, str]]
    points: int


@dataclass(frozen=True)
class KinkRow:
    """What each implementation answers on a kink, and the certified slopes on both sides."""

    where: str
    left: str
    right: str
    slopes: Mapping[str, str]
    inside: Mapping[str, bool]


@dataclass(frozen=True)
class MistakeRow:
    """A mistake of the catalogue: its sentence, the wrong line as code, and what it changes."""

    name: str
    sentence: str
    code: str
    change: float | None = None


@dataclass(frozen=True)
class Chapter:
    """One operation."""

    name: str
    kind: str
    signature: str
    paragraphs: tuple[Paragraph, ...]
    counterparts: Mapping[str, str]
    parameters: Mapping[str, str]
    code: str
    definition: str = ""
    samples: tuple[str, ...] = ()
    numbers: int = 0
    """How many numbers of the code were judged in place of formulas, which stand as written."""
    steps: tuple[DerivationStep, ...] = ()
    plot: Plot | None = None
    accuracy: tuple[BookAccuracy, ...] = ()
    unit: str = ""
    kinks: tuple[KinkRow, ...] = ()
    conventions: tuple[Convention, ...] = ()
    mistakes: tuple[MistakeRow, ...] = ()

    @property
    def anchor(self) -> str:
        """The chapter's address on the page."""
        return f"{self.kind}-{self.name}"

    @property
    def title(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")

    @property
    def statements(self) -> list[Set]:
        """The formulas that were checked."""
        found = [p for para in self.paragraphs for p in para.pieces if isinstance(p, Set)]
        return [s for s in found if s.kind == "statement"]

    @property
    def words(self) -> str:
        """What the search looks at."""
        prose = " ".join(
            p.text if isinstance(p, Set) else p for para in self.paragraphs for p in para.pieces
        )
        mistakes = " ".join(f"{m.name} {m.sentence}" for m in self.mistakes)
        called = " ".join(self.counterparts.values())
        return " ".join(f"{self.title} {self.kind} {prose} {called} {mistakes}".split())


@dataclass(frozen=True)
class Book:
    """All chapters, the mistakes that any operation of a kind invites, and what it ran on."""

    chapters: tuple[Chapter, ...]
    general: Mapping[str, tuple[MistakeRow, ...]]
    versions: Mapping[str, str]


def render_book(book: Book) -> str:
    """Return the whole book as one page."""
    return render_page(
        "book.html",
        styles=("page.css", "book.css"),
        scripts=("page.js", "book.js"),
        book=book,
        kinds=grouped(book.chapters, lambda chapter: chapter.kind),
        set_formula=set_formula,
        prose=prose,
        drawing=drawing,
        formulas=sum(len(c.statements) + len(c.steps) for c in book.chapters),
        numbers=sum(c.numbers for c in book.chapters),
        share=_share,
    )


def prose(text: str) -> Markup:
    """Return prose: `code` as code, and wide space, which parts two formulas, kept wide."""
    parts = []
    for k, part in enumerate(visible(text).split("`")):
        if k % 2:
            parts.append(Markup("<code>{}</code>").format(part))
        else:
            wide = re.sub(r"[ ]{2,}", "\u2003", part)
            parts.append(Markup("{}").format(wide))
    return Markup("").join(parts)


def set_formula(formula: Set, display: bool = False) -> Markup:
    """Return a formula as MathML with its source for those who cannot see it."""
    title = Markup(' title="{}"').format(visible(formula.note)) if formula.note else Markup("")
    label = Markup(' aria-label="{}"').format(visible(formula.text)) if formula.text else Markup("")
    tick = Markup('<span class="tick" aria-hidden="true">✓</span>')
    return Markup('<span class="f {}"{}{} role="math">{}{}</span>').format(
        formula.kind,
        title,
        label,
        mathml(formula.node, display),
        tick if formula.kind == "statement" else "",
    )


@dataclass(frozen=True)
class Drawing:
    """A plot as coordinates."""

    paths: tuple[tuple[str, str], ...]
    dots: tuple[tuple[str, float, float, bool], ...]
    kinks: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_zero: float | None
    y_zero: float | None
    width: int = WIDTH
    height: int = HEIGHT


def drawing(plot: Plot) -> Drawing:
    """Lay a plot out: one scale for f and f′, so that a slope of 1 is as high as a value of 1."""
    points = [p for curve in plot.curves for piece in curve.pieces for p in piece]
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    heights = sorted(y for _, y in points if math.isfinite(y))
    bottom, top = _range(heights)

    def across(x: float) -> float:
        return round(LEFT + (WIDTH - LEFT - MARGIN) * (x - low) / (high - low), 1)

    def up(y: float) -> float:
        y = min(max(y, bottom - 2 * (top - bottom)), top + 2 * (top - bottom))
        return round(MARGIN + (HEIGHT - MARGIN - FOOT) * (top - y) / (top - bottom), 1)

    paths = []
    for curve in plot.curves:
        parts = []
        for piece in curve.pieces:
            drawn = [f"{across(x)} {up(y)}" for x, y in piece if math.isfinite(y)]
            if len(drawn) > 1:
                parts.append("M" + "L".join(drawn))
        paths.append((curve.name, "".join(parts)))
    dots = [
        (curve.name, across(x), up(y), full)
        for curve in plot.curves
        for piece, following in zip(curve.pieces, curve.pieces[1:], strict=False)
        for (x, y), full in ((piece[-1], True), (following[0], True))
        if abs(piece[-1][1] - following[0][1]) > 1e-6 * (top - bottom) and bottom <= y <= top
    ]
    return Drawing(
        paths=tuple(paths),
        dots=tuple(dots),
        kinks=tuple((across(k), _number(k)) for k in plot.kinks),
        x_ticks=tuple((across(v), _number(v)) for v in steps_between(low, high, 8)),
        y_ticks=tuple((up(v), _number(v)) for v in steps_between(bottom, top, 8)),
        x_zero=across(0.0) if low <= 0 <= high else None,
        y_zero=up(0.0) if bottom <= 0 <= top else None,
    )


def _range(heights: Sequence[float]) -> tuple[float, float]:
    """Return what is shown of the values: all, less a pole's highest twentieth."""
    if not heights:
        return -1.0, 1.0
    low, high = heights[0], heights[-1]
    inner_low, inner_high = heights[len(heights) // 20], heights[-1 - len(heights) // 20]
    span = inner_high - inner_low
    low, high = max(low, inner_low - 0.6 * span), min(high, inner_high + 0.6 * span)
    pad = 0.06 * (high - low) or 1.0
    return low - pad, high + pad


def _share(value: float) -> str:
    return f"{100 * value:.3g}%" if value < 10 else f"{value:.3g} times"


def _number(value: float) -> str:
    text = f"{value:.4g}" if math.isfinite(value) else "∞" if value > 0 else "−∞"
    return ("0" if text in ("-0", "0") else text).replace("-", "−")
