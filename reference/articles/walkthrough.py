"""One problem walked forward and backward, step by step, with four sides' numbers beside it.

`walk(target)` makes one structure; the terminal's text, the page and a notebook's cell are all
made from it. Columns: manual (hand-written NumPy), torch, jax and certified.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np

from manual_backprop.articles import ARTICLES, article
from manual_backprop.articles.claim import Article, Evaluation
from manual_backprop.articles.system import NUMPY, Quantities, System
from manual_backprop.operation import InvalidInput
from reference.arithmetic.balls import Ball
from reference.articles.derivatives import ENGINES, engine
from reference.articles.expanded_sums import ExpandedArithmetic, Notes
from reference.articles.plain import plain
from reference.articles.problem_article import network_article, problem_article

COLUMNS = ("manual", "torch", "jax", "certified")
ENTRIES = 12
"""Entries of an array that are shown; a larger array is cut, and the text says so."""

Direction = Literal["forward", "backward"]


@dataclass(frozen=True)
class WalkthroughStep:
    """One line of a walk: what is computed, by which formula, from what, and everybody's numbers.

    `label` and `formula` are LaTeX. `values` holds each column's entries as text, row-major.
    `sums` holds an entry's arithmetic written out, or "" where that is too long.
    """

    direction: Direction
    name: str
    label: str
    formula: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    sums: tuple[str, ...]

    @property
    def indices(self) -> list[tuple[int, ...]]:
        """The places of the entries that are shown."""
        return [tuple(map(int, at)) for at in np.ndindex(self.shape)][:ENTRIES]


@dataclass(frozen=True)
class Walkthrough:
    """Both walks over one problem."""

    title: str
    inputs: Mapping[str, str]
    columns: tuple[str, ...]
    steps: tuple[WalkthroughStep, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the walk as plain text."""
        return walk_text(self)

    def html(self) -> str:
        """Return the walk as a page of its own."""
        return walk_page(self)

    def _repr_html_(self) -> str:
        return walk_html(self)


def walk(target: str) -> Walkthrough:
    """Walk an article ("004"), a problem of a report ("0:17") or a network ("2-3-1:tanh:mse")."""
    if target in ARTICLES:
        found = article(target)
    elif ":" in target and target.partition(":")[0].lstrip("-").isdigit():
        found = problem_article(target)
    elif "-" in target:
        found = network_article(target)
    else:
        raise InvalidInput(
            f"explain {target!r}: expected an article ({', '.join(ARTICLES)}), SEED:INDEX of a"
            " report, or a network such as 2-3-1:tanh:mse"
        )
    return walk_article(found)


def walk_article(found: Article) -> Walkthrough:
    """Walk the example of an article, or of a problem written as one."""
    if found.example is None or found.backward is None:
        raise InvalidInput(f"article {found.name}: it has no example or no backward to explain")
    system, inputs = found.system, found.example()
    with np.errstate(all="ignore"):
        manual, manual_gradient = _manual(found.backward, system, inputs)
        notes, gradient_notes = _notes(found.backward, system, inputs)
    others: dict[str, Evaluation] = {}
    skipped: dict[str, str] = {}
    for name in ENGINES:
        one = engine(name)
        reason = one.unavailable()
        if reason is None:
            others[name] = one.evaluate(system, inputs)
        else:
            skipped[name] = reason
    columns = tuple(name for name in COLUMNS if name == "manual" or name in others)
    steps = []
    for name in manual.computed():
        if found.forward_formulas and not formula_of(name, found.forward_formulas):
            continue  # a quantity that only the claims speak of
        values = {"manual": manual[name], **{who: q[name] for who, q in others.items()}}
        steps.append(
            _step("forward", name, system.spell(name), found.forward_formulas, values, notes)
        )
    for name in manual_gradient.computed():
        values = {"manual": manual_gradient[name]}
        values |= {who: q.d(system.loss, name) for who, q in others.items()}
        label = rf"\frac{{\partial {system.spell(system.loss)}}}{{\partial {system.spell(name)}}}"
        steps.append(
            _step("backward", name, label, found.backward_formulas, values, gradient_notes)
        )
    given = {
        name: _given(np.asarray(value)) if isinstance(value, np.ndarray | list) else str(value)
        for name, value in inputs.items()
    }
    title = f"Article {found.name}: {found.title}" if found.name in ARTICLES else found.title
    return Walkthrough(title, given, columns, tuple(steps), skipped)


Backward = Callable[[Any, Quantities, Quantities], None]


def _manual(
    backward: Backward, system: System, inputs: Mapping[str, Any]
) -> tuple[Quantities, Quantities]:
    q = system.run(inputs)
    gradient = Quantities({})
    backward(NUMPY, q, gradient)
    return q, gradient


def _notes(backward: Backward, system: System, inputs: Mapping[str, Any]) -> tuple[Notes, Notes]:
    """Run both walks over written numbers; a backward step also reads what forward left."""
    m = ExpandedArithmetic()
    q = Notes(inputs)
    system.forward(m, q)
    gradient = _Joined(q, system.loss)
    backward(m, q, gradient)
    return q, gradient


class _Joined(Notes):
    """Notes of a backward walk: sources are gradients and the quantities of the forward walk."""

    def __init__(self, forward: Notes, loss: str) -> None:
        object.__setattr__(self, "_forward", forward)
        object.__setattr__(self, "_loss", loss)
        super().__init__({})
        forward.taken()

    def taken(self) -> list[str]:
        """Return what was read on both sides since the last call."""
        gradients = [f"∂{self._loss}/∂{name}" for name in super().taken()]
        return [*gradients, *self._forward.taken()]


def _step(
    direction: Direction,
    name: str,
    label: str,
    formulas: Mapping[str, str],
    values: Mapping[str, Any],
    notes: Notes,
) -> WalkthroughStep:
    shape = np.shape(values["manual"])
    return WalkthroughStep(
        direction,
        name,
        label,
        formula_of(name, formulas),
        shape,
        notes.sources[name],
        {
            who: tuple(_entry(entry) for entry in np.asarray(value).reshape(-1)[:ENTRIES])
            for who, value in values.items()
        },
        tuple(notes.sums[name][:ENTRIES]),
    )


def formula_of(name: str, formulas: Mapping[str, str]) -> str:
    """Return a step's formula; "z<l>" stands for every layer, with <l>, <l-1> and <l+1> inside."""
    if name in formulas:
        return formulas[name]
    kind, layer = name.rstrip("0123456789"), name[len(name.rstrip("0123456789")) :]
    general = formulas.get(f"{kind}<l>", "")
    if not general or not layer:
        return general
    at = int(layer)
    for text, value in (("<l>", at), ("<l-1>", at - 1), ("<l+1>", at + 1)):
        general = general.replace(text, str(value))
    return general


def _entry(value: Any) -> str:
    """Return a float with the digits that its dtype holds, or a ball with 20 digits."""
    return str(value) if isinstance(value, np.floating) else _ball(value)


def _ball(value: Ball) -> str:
    nearest = float(value.mid())
    if value == nearest:
        return repr(nearest)
    wide = value.rad() > (1 + abs(value.mid())) * 1e-15
    return cast(str, value.str(20, radius=wide))


def _given(array: Any) -> str:
    if array.size > ENTRIES:
        return f"{' × '.join(map(str, array.shape))} numbers"
    return " ".join(str(array.tolist()).split())


def walk_text(shown: Walkthrough) -> str:
    """Return the walk as text: a block for each step, a line for each entry."""
    lines = [shown.title, ""]
    lines += [f"  {name} = {value}" for name, value in shown.inputs.items()]
    lines += [f"  {name}: skipped, {reason}" for name, reason in shown.skipped.items()]
    direction = ""
    for step in shown.steps:
        if step.direction != direction:
            direction = step.direction
            lines += ["", direction.upper()]
        lines += ["", f"  {_headline(step)}"]
        lines.append(f"    shape {_shape(step.shape)}, from {', '.join(step.sources) or 'inputs'}")
        rows = [["", *shown.columns], *_rows(shown, step)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row, sum_ in zip(rows, ["", *step.sums], strict=True):
            cells = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append(f"    {cells}{f'   {sum_}' if '=' in sum_ else ''}".rstrip())
        if int(np.prod(step.shape)) > ENTRIES:
            lines.append(f"    … {int(np.prod(step.shape)) - ENTRIES} more entries")
    return "\n".join(lines)


def _headline(step: WalkthroughStep) -> str:
    label, formula = plain(step.label), plain(step.formula)
    if step.direction == "forward":
        return formula or label
    return f"{label} = {formula}" if formula else label


def _rows(shown: Walkthrough, step: WalkthroughStep) -> list[list[str]]:
    return [
        [str(list(at)) if at else "", *(step.values[who][i] for who in shown.columns)]
        for i, at in enumerate(step.indices)
    ]


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def walk_html(shown: Walkthrough) -> str:
    """Return the walk as a fragment, for a notebook's cell or inside a page."""
    from reports.formula import math

    parts = [f"<div class='walk'><h2>{html.escape(shown.title)}</h2>", "<dl>"]
    for name, value in shown.inputs.items():
        parts.append(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>")
    parts.append("</dl>")
    for name, reason in shown.skipped.items():
        parts.append(f"<p>{html.escape(name)}: skipped, {html.escape(reason)}</p>")
    direction = ""
    for step in shown.steps:
        if step.direction != direction:
            direction = step.direction
            parts.append(f"<h3>{direction.capitalize()}</h3>")
        headline = step.formula or step.label
        if step.direction == "backward" and step.formula:
            headline = f"{step.label} = {step.formula}"
        source = html.escape(", ".join(step.sources) or "inputs")
        parts.append(
            f"<section><p>{math(headline)}</p><p>shape {_shape(step.shape)}, from {source}</p>"
        )
        heads = "".join(f"<th scope='col'>{column}</th>" for column in ("", *shown.columns))
        parts.append(f"<table><tr>{heads}<th scope='col'>written out</th></tr>")
        for row, sum_ in zip(_rows(shown, step), step.sums, strict=True):
            first, *rest = (html.escape(cell) for cell in row)
            cells = "".join(f"<td>{cell}</td>" for cell in rest)
            out = html.escape(sum_) if "=" in sum_ else ""
            parts.append(f"<tr><th scope='row'>{first}</th>{cells}<td>{out}</td></tr>")
        parts.append("</table>")
        if int(np.prod(step.shape)) > ENTRIES:
            parts.append(f"<p>{int(np.prod(step.shape)) - ENTRIES} more entries</p>")
        parts.append("</section>")
    parts.append("</div>")
    return "".join(parts)


_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem }
section { border-top: 1px solid #8884; padding: .5rem 0; overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .15rem .8rem .15rem 0; text-align: right; font-weight: normal }
th { white-space: nowrap }
tr:first-child th { font-weight: 600; font-size: .85em }
td:last-child, tr:first-child th:last-child { text-align: left }
td:last-child { opacity: .75; font-size: .9em; min-width: 16rem }
section > p { margin: .3rem 0 } section > p + p { opacity: .7; font-size: .85em }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem } dd { margin: 0 }
"""


def walk_page(shown: Walkthrough) -> str:
    """Return the walk as a page that needs no other file."""
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        "<meta name='generator' content='manual-backprop'>"
        f"<title>{html.escape(shown.title)}</title><style>{_STYLE}</style>"
        f"<main>{walk_html(shown)}</main></html>"
    )
