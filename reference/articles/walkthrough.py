"""One problem walked forward and backward, step by step, with four sides' numbers beside it.

`walk(target)` makes one structure; the terminal's text, the page and a notebook's cell are all
made from it. Columns: manual (hand-written NumPy), torch, jax and certified.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from manual_backprop.articles import ARTICLES, article
from manual_backprop.articles.claim import Article, Evaluation
from manual_backprop.articles.system import NUMPY, Quantities, SlopeArithmetic, System
from manual_backprop.operation import ByName, InvalidInput
from reference.arithmetic.balls import Ball
from reference.articles.derivatives import ENGINES, engine
from reference.articles.expanded_sums import ExpandedArithmetic, Notes
from reference.articles.plain import plain
from reference.articles.problem_article import network_article, problem_article
from reports.html import render_fragment, render_page

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
    def headline(self) -> str:
        """What is computed, and how, in LaTeX."""
        if self.direction == "forward":
            return self.formula or self.label
        return f"{self.label} = {self.formula}" if self.formula else self.label

    @property
    def origin(self) -> str:
        """The shape, and what the step is made from."""
        shape = " × ".join(map(str, self.shape)) or "scalar"
        return f"shape {shape}, from {', '.join(self.sources) or 'inputs'}"

    @property
    def more(self) -> int:
        """How many entries are not shown."""
        return max(0, math.prod(self.shape) - ENTRIES)

    def rows(self, columns: Sequence[str]) -> list[tuple[str, list[str], str]]:
        """Return, for each entry that is shown, its place, its numbers and its written-out sum."""
        places = [str(list(map(int, at))) if at else "" for at in np.ndindex(self.shape)]
        return [
            (at, [self.values[who][i] for who in columns], sum_ if "=" in sum_ else "")
            for i, (at, sum_) in enumerate(zip(places[:ENTRIES], self.sums, strict=True))
        ]


@dataclass(frozen=True)
class Walkthrough:
    """Both walks over one problem."""

    title: str
    inputs: Mapping[str, str]
    columns: tuple[str, ...]
    steps: tuple[WalkthroughStep, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """Return the walk as a page of its own."""
        return render_page("walk.html", styles=("page.css", "walk.css"), walk=self)

    def _repr_html_(self) -> str:
        return render_fragment("walk_body.html", walk=self)

    def text(self) -> str:
        """Return the walk as plain text: a block for each step, a line for each entry."""
        lines = [self.title, ""]
        lines += [f"  {name} = {value}" for name, value in self.inputs.items()]
        lines += [f"  {name}: skipped, {reason}" for name, reason in self.skipped.items()]
        direction = ""
        for step in self.steps:
            if step.direction != direction:
                direction = step.direction
                lines += ["", direction.upper()]
            lines += ["", f"  {plain(step.headline)}", f"    {step.origin}"]
            rows = [["", *self.columns, ""]]
            rows += [[at, *numbers, sum_] for at, numbers, sum_ in step.rows(self.columns)]
            widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
            for *cells, sum_ in rows:
                numbers = (c.rjust(w) for c, w in zip(cells, widths, strict=True))
                lines.append(f"    {'  '.join(numbers)}   {sum_}".rstrip())
            if step.more:
                lines.append(f"    … {step.more} more entries")
        return "\n".join(lines)


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


Backward = Callable[[SlopeArithmetic, Quantities, Quantities], None]


def _manual(backward: Backward, system: System, inputs: ByName) -> tuple[Quantities, Quantities]:
    q = system.run(inputs)
    gradient = Quantities({})
    backward(NUMPY, q, gradient)
    return q, gradient


def _notes(backward: Backward, system: System, inputs: ByName) -> tuple[Notes, Notes]:
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
    values: ByName,
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


def _entry(value: np.floating | Ball) -> str:
    """Return a float with the digits that its dtype holds, or a ball with 20 digits."""
    return str(value) if isinstance(value, np.floating) else _ball(value)


def _ball(value: Ball) -> str:
    nearest = float(value.mid())
    if value == nearest:
        return repr(nearest)
    wide = value.rad() > (1 + abs(value.mid())) * 1e-15
    return value.str(20, radius=wide)


def _given(array: np.ndarray) -> str:
    if array.size > ENTRIES:
        return f"{' × '.join(map(str, array.shape))} numbers"
    return " ".join(str(array.tolist()).split())
