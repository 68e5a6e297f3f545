"""Mistakes in steps whose every output depends on a whole row of inputs: softmax and its like.

δz_j = Σ_i δa_i · ∂a_i/∂z_j        a matrix for each row, not a slope for each entry
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference.balls import values
from reference.checks.explain.graph import Array, Edges, Edit, Hook, NumberGraph, Places
from reference.checks.explain.hypothesis import Hypothesis, Match, Words
from reference.checks.explain.problem import NamedValue, ReadingProblem
from reference.checks.losses import matching_targets
from reference.checks.tolerances import SAME

_MAX_STEPS = 900


@dataclass(frozen=True)
class RowStep:
    """A step a = f(z) by rows: places of shape (rows, n) of both, and the true Jacobians."""

    key: tuple[str, ...]
    a: NamedValue
    places: Places
    behind: Places
    text: str
    jacobian: Array
    """(rows, n of a, n of z)"""
    across: str
    """Which entries are a row: along the "last" axis, the "first", the "middle", or "all"."""

    @property
    def softmax(self) -> str:
        """Whether it is a softmax or its logarithm, by its values."""
        value = self.rows(self.a.value)
        if (value > 0).all() and np.allclose(value.sum(axis=1), 1, rtol=SAME):
            return "softmax"
        return "log-softmax" if np.allclose(np.exp(value).sum(axis=1), 1, rtol=SAME) else ""

    def rows(self, x: Array) -> Array:
        """Return an array of a's shape as (rows, n)."""
        return np.asarray(_as_rows(x, self.across))


def _as_rows(x: Any, across: str) -> Any:
    """Return an array as (rows, n)."""
    if across == "all":
        return x.reshape(1, -1)
    moved = np.moveaxis(x, {"first": 0, "middle": 1}.get(across, -1), -1)
    return moved.reshape(-1, moved.shape[-1])


def row_steps(problem: ReadingProblem) -> list[RowStep]:
    """Return the steps by rows that lead to a problem's named values."""
    if "rows" not in problem.cache:
        problem.cache["rows"] = [s for n in problem.named.values() for s in _steps(problem, n)]
    found: list[RowStep] = problem.cache["rows"]
    return found


def _steps(problem: ReadingProblem, a: NamedValue) -> Iterator[RowStep]:
    if a.path in problem.outcome.inputs or a.places.ndim < 1 or not 2 <= a.places.size <= 300:
        return
    if (a.places < 0).any():
        return
    axes = ("last", *(("middle",) if a.places.ndim == 3 else ()), "first", "all")
    for across in axes if a.places.ndim > 1 else ("last",):
        rows = _as_rows(a.places, across)
        if rows.shape[1] < 2 or (across == "all" and a.places.size > 40):
            continue
        fronts = [_fronts(problem.graph, r.tolist()) for r in rows]
        deep = min(map(len, fronts))
        for level in sorted({0, 1, deep - 1} & set(range(deep))):
            behind = np.array([f[len(f) - 1 - level] for f in fronts], dtype=np.int64)
            step = _step(problem, a, rows, behind, across, level)
            if step is not None:
                yield step
        if any(fronts):
            break


def _fronts(graph: NumberGraph, row: list[int]) -> list[list[int]]:
    """Return the sets of n places that every path back from a row leads through."""
    front = [-p for p in row]
    heapq.heapify(front)
    inside, before = set(row), set(row)
    found: list[list[int]] = []
    for _ in range(_MAX_STEPS):
        if not front:
            break
        place = -heapq.heappop(front)
        if not graph.edges[place]:
            break
        inside.discard(place)
        for parent, _ in graph.edges[place]:
            if parent not in inside:
                inside.add(parent)
                heapq.heappush(front, -parent)
        if len(inside) > 3 * len(row) + 8:
            break
        if len(inside) == len(row) and not inside & before:
            found.append(sorted(inside))
            before = set(inside)
            if all(len(graph.edges[p]) >= 3 for p in inside):
                break  # what comes before is a product, no function of this row
    return found


def _step(
    problem: ReadingProblem, a: NamedValue, rows: Places, behind: Places, across: str, level: int
) -> RowStep | None:
    graph = problem.graph
    full = np.stack(
        [_jacobian(graph, r.tolist(), b.tolist()) for r, b in zip(rows, behind, strict=True)]
    )
    off = full.copy()
    for i in range(off.shape[1]):
        off[:, i, i] = 0
    if not np.abs(off).max(initial=0.0) > SAME:
        return None  # entry by entry
    name = next(
        (
            n.text
            for n in problem.named.values()
            if n.shape == a.shape and set(n.places.ravel().tolist()) == set(behind.ravel().tolist())
        ),
        "",
    )
    text = name or f"z({a.text})"
    return RowStep(("rows", *a.path, across, str(level)), a, rows, behind, text, full, across)


def _jacobian(graph: NumberGraph, row: list[int], behind: list[int]) -> Array:
    stop, low = set(behind), min(behind)
    found = np.zeros((len(row), len(behind)))
    for i, start in enumerate(row):
        adjoints = {start: 1.0}
        front = [-start]
        while front:
            place = -heapq.heappop(front)
            if place in stop or place < low:
                continue
            for parent, slope in graph.edges[place]:
                if parent not in adjoints:
                    adjoints[parent] = 0.0
                    heapq.heappush(front, -parent)
                adjoints[parent] += slope * adjoints[place]
        found[i] = [adjoints.get(b, 0.0) for b in behind]
    return found


Value = Callable[[Array, Array, Array, Array], Array]
"""(δa, a, z, Jacobian) by rows -> δz by rows"""


def row_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for every step by rows that a − y is its gradient, of a loss nobody wrote."""
    if problem.objective.kind == "implicit":
        for step in row_steps(problem):
            yield _output_minus_target(problem, step)


def _output_minus_target(problem: ReadingProblem, step: RowStep) -> Hypothesis:
    """Return the hypothesis that δz = a − y, whatever the forward's softmax runs over."""

    def edit(other: ReadingProblem) -> Edit | None:
        mine = next((s for s in row_steps(other) if s.key == step.key), None)
        outcome, objective = other.outcome, other.objective
        raw = outcome.others.get(objective.target, outcome.inputs.get(objective.target))
        if mine is None or raw is None:
            return None
        fits = list(
            matching_targets(
                np.zeros(mine.a.shape), values(raw) if np.asarray(raw).dtype == object else raw
            )
        )
        if not fits:
            return None
        target = mine.rows(np.asarray(fits[0], dtype=float))
        return _edit(other, mine, lambda d, a, z, j: a - target)

    def words(match: Match) -> Words:
        a = step.a.text
        over = "over the whole batch" if step.across == "all" else "over each row"
        return Words(
            "output_minus_target",
            f"δ{step.text} = {a} − y is the gradient of a softmax of each sample with "
            "cross-entropy; "
            f"{a} is normalised {over} here, so its gradient is another.",
            f"δ{step.text} = {a} − y",
            f"δ{step.text} = {a} · Σy − y",
        )

    return Hypothesis((*step.key, "output minus target"), edit, words, 1.7, int(step.behind.max()))


def _edit(problem: ReadingProblem, step: RowStep, value: Value) -> Edit | None:
    top, low = int(step.behind.max()), int(step.places.min())
    if top >= low:
        return None
    edges: dict[int, Edges] = {p: [] for p in step.places.ravel().tolist()}
    a = step.rows(step.a.value)
    z = np.array([problem.graph.values[p] for p in step.behind.ravel()]).reshape(step.behind.shape)
    scale = problem.scale

    def hook(adjoints: list[float]) -> None:
        d = np.array([adjoints[p] for p in step.places.ravel().tolist()]).reshape(step.places.shape)
        with np.errstate(all="ignore"):
            made = value(d * scale, a, z, step.jacobian) / scale
        for place, x in zip(step.behind.ravel().tolist(), made.ravel().tolist(), strict=True):
            adjoints[place] += x

    hooks: dict[int, list[Hook]] = {top: [hook]}
    return Edit(edges, hooks)
