"""Mistakes in steps whose every output depends on a whole row of inputs: softmax and its like.

δz_j = Σ_i δa_i · ∂a_i/∂z_j        a matrix for each row, not a slope for each entry
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reference.balls import values
from reference.checks.comparing.losses import matching_targets
from reference.checks.explain.graph import A, Array, Edges, Edit, NumberGraph, Places
from reference.checks.explain.hypothesis import Hypothesis, Words
from reference.checks.explain.problem import NamedValue, ReadingProblem, once
from reference.checks.tolerances import SAME

_MAX_STEPS = 900
_MAX_ENTRIES, _MAX_WHOLE = 300, 40  # of an array, and of one that is a single row


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
        return _as_rows(x, self.across)


def _as_rows(x: A, across: str) -> A:
    """Return an array as (rows, n)."""
    if across == "all":
        return x.reshape(1, -1)
    moved = np.moveaxis(x, {"first": 0, "middle": 1}.get(across, -1), -1)
    return moved.reshape(-1, moved.shape[-1])


@once
def row_steps(problem: ReadingProblem) -> list[RowStep]:
    """Return the steps by rows that lead to a problem's named values."""
    return [s for n in problem.named.values() for s in _steps(problem, n)]


def _steps(problem: ReadingProblem, a: NamedValue) -> Iterator[RowStep]:
    inner = a.path not in problem.outcome.inputs and a.places.ndim and -1 not in a.flat
    if not inner or not 2 <= a.places.size <= _MAX_ENTRIES:
        return
    axes = ("last", *(("middle",) if a.places.ndim == 3 else ()), "first", "all")
    for across in axes if a.places.ndim > 1 else ("last",):
        rows = _as_rows(a.places, across)
        if rows.shape[1] < 2 or (across == "all" and a.places.size > _MAX_WHOLE):
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
    if not np.abs(full * (1 - np.eye(full.shape[1]))).max(initial=0.0) > SAME:
        return None  # entry by entry
    mine = set(behind.ravel().tolist())
    alike = (n.text for n in problem.named.values() if n.shape == a.shape and set(n.flat) == mine)
    text = next(alike, f"z({a.text})")
    return RowStep(("rows", *a.path, across, str(level)), a, rows, behind, text, full, across)


def _jacobian(graph: NumberGraph, row: list[int], behind: list[int]) -> Array:
    stop = set(behind)
    found = np.zeros((len(row), len(behind)))
    for i, start in enumerate(row):
        adjoints = graph.carried({start: 1.0}, stop.__contains__, min(behind))
        found[i] = [adjoints.get(b, 0.0) for b in behind]
    return found


def row_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for every step by rows that a − y is its gradient, of a loss nobody wrote."""
    if problem.objective.kind == "implicit":
        for step in row_steps(problem):
            yield _output_minus_target(step)


def _output_minus_target(step: RowStep) -> Hypothesis:
    """Return the hypothesis that δz = a − y, whatever the forward's softmax runs over."""

    def edit(other: ReadingProblem) -> Edit | None:
        mine = next((s for s in row_steps(other) if s.key == step.key), None)
        outcome, target = other.outcome, other.objective.target
        raw = outcome.others.get(target, outcome.inputs.get(target))
        if mine is None or raw is None:
            return None
        plain = values(raw) if np.asarray(raw).dtype == object else raw
        fitting = next(matching_targets(np.zeros(mine.a.shape), plain), None)
        if fitting is None:
            return None
        return _edit(other, mine, mine.rows(mine.a.value - np.asarray(fitting, dtype=float)))

    a = step.a.text
    over = "over the whole batch" if step.across == "all" else "over each row"
    words = Words(
        "output_minus_target",
        f"δ{step.text} = {a} − y is the gradient of a softmax of each sample with cross-entropy; "
        f"{a} is normalised {over} here, so its gradient is another.",
        f"δ{step.text} = {a} − y",
        f"δ{step.text} = {a} · Σy − y",
    )
    return Hypothesis(edit, words.of, 1.7, int(step.behind.max()))


def _edit(problem: ReadingProblem, step: RowStep, made: Array) -> Edit | None:
    """Return the sweep in which nothing passes a step, and what it is made of gets an array."""
    places = step.behind.ravel().tolist()
    if max(places) >= int(step.places.min()):
        return None
    added = (made / problem.scale).ravel().tolist()

    def hook(adjoints: list[float]) -> None:
        for place, x in zip(places, added, strict=True):
            adjoints[place] += x

    edges: dict[int, Edges] = {p: [] for p in step.places.ravel().tolist()}
    return Edit(edges) | Edit.at(places, hook)
