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
from reference.checks.explain.graph import Array, Edges, Edit, Graph, Hook, Places
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed, sentence
from reference.checks.explain.problem import Named, Problem, close
from reference.checks.losses import matching_targets
from reference.checks.tolerances import SAME

_MAX_STEPS = 900


@dataclass(frozen=True)
class RowStep:
    """A step a = f(z) by rows: places of shape (rows, n) of both, and the true Jacobians."""

    key: tuple[str, ...]
    a: Named
    places: Places
    behind: Places
    text: str
    jacobian: Array
    """(rows, n of a, n of z)"""
    across: str
    """Which entries are a row: along the "last" axis, the "first", or "all" of them."""

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
    moved = np.moveaxis(x, 0, -1) if across == "first" else x
    return moved.reshape(-1, moved.shape[-1])


def row_steps(problem: Problem) -> list[RowStep]:
    """Return the steps by rows that lead to a problem's named values."""
    if "rows" not in problem.cache:
        problem.cache["rows"] = [s for n in problem.named.values() for s in _steps(problem, n)]
    found: list[RowStep] = problem.cache["rows"]
    return found


def _steps(problem: Problem, a: Named) -> Iterator[RowStep]:
    if a.path in problem.outcome.inputs or a.places.ndim < 1 or not 2 <= a.places.size <= 300:
        return
    if (a.places < 0).any():
        return
    for across in ("last", "first", "all") if a.places.ndim > 1 else ("last",):
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


def _fronts(graph: Graph, row: list[int]) -> list[list[int]]:
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
    problem: Problem, a: Named, rows: Places, behind: Places, across: str, level: int
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


def _jacobian(graph: Graph, row: list[int], behind: list[int]) -> Array:
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


@dataclass(frozen=True)
class RowForm:
    """A wrong δz by rows."""

    name: str
    formula: str
    said: str
    value: Value
    cost: float = 1.6


def _diagonal(d: Array, a: Array, z: Array, j: Array) -> Array:
    return np.asarray(d * np.diagonal(j, axis1=1, axis2=2))


def _skipped(d: Array, a: Array, z: Array, j: Array) -> Array:
    return d


def _full(d: Array, a: Array, z: Array, j: Array) -> Array:
    return np.asarray(np.einsum("ri,rij->rj", d, j))


def _transposed(d: Array, a: Array, z: Array, j: Array) -> Array:
    return np.asarray(np.einsum("ri,rji->rj", d, j))


_MATRIX = (
    "the derivative of a row is a matrix (the Jacobian, n × n), which also has entries off "
    "the diagonal"
)
FORMS = (
    RowForm(
        "softmax_diagonal_only",
        "{d} · {a}(1 − {a})",
        "{f} is taken as if it worked entry by entry: only the diagonal p (1 − p) of its "
        "Jacobian is used; " + _MATRIX,
        _diagonal,
    ),
    RowForm(
        "activation_skipped",
        "{d}",
        "the Jacobian of {f} is left out: its derivative is left out, {dz} takes {d} as it is",
        _skipped,
        1.2,
    ),
    RowForm(
        "sum_left_out",
        "{d} · {a}",
        "the sum over the row is left out: {a} · ({d} − Σ {d}·{a}) belongs there, " + _MATRIX,
        lambda d, a, z, j: d * a,
    ),
    RowForm(
        "softmax_slope_once_more",
        "({right}) · {a}(1 − {a})",
        "the slope p (1 − p) of {f} is applied once more: the gradient at its input has it "
        "already (softmax with cross-entropy gives p − y)",
        lambda d, a, z, j: _full(d, a, z, j) * a * (1 - a),
    ),
    RowForm(
        "softmax_slope_once_more",
        "({right}) · {a}",
        "{a} is multiplied in once more (the gradient at the input of {f} has it already)",
        lambda d, a, z, j: _full(d, a, z, j) * a,
        1.9,
    ),
    RowForm(
        "softmax_factor_left_out",
        "{d} · (1 − {a})",
        "the factor {a} of the slope is left out, and so are the entries off the diagonal: "
        + _MATRIX,
        lambda d, a, z, j: d * (1 - a),
    ),
    RowForm(
        "sum_left_out",
        "{d} − exp({a})",
        "{f} = log-softmax: exp({a}) has to be multiplied by the sum of {d} over the row, Σ {d}",
        lambda d, a, z, j: d - np.exp(a),
    ),
    RowForm(
        "sum_left_out",
        "{d} − {a}",
        "{a} has to be multiplied by the sum of {d} over the row, Σ {d}",
        lambda d, a, z, j: d - a,
        1.8,
    ),
    RowForm(
        "sum_left_out",
        "{d} · (1 − exp({a}))",
        "{f} = log-softmax: only the diagonal is used; exp({a}) has to be multiplied by the sum "
        "over the row, Σ {d}",
        lambda d, a, z, j: d * (1 - np.exp(a)),
    ),
    RowForm(
        "mean_in_place_of_sum",
        "{a} · ({d} − mean({d}·{a}))",
        "a mean stands where the sum over the row belongs: Σ {d}·{a}",
        lambda d, a, z, j: a * (d - (d * a).mean(axis=1, keepdims=True)),
    ),
    RowForm(
        "wrong_sum",
        "{a} · ({d} − Σ {d})",
        "the sum over the row is of {d} alone, where Σ {d}·{a} belongs",
        lambda d, a, z, j: a * (d - d.sum(axis=1, keepdims=True)),
    ),
    RowForm(
        "wrong_axis",
        "{a} · ({d} − Σ over the other axis)",
        "the sum is taken over the wrong axis: over the other rows, where the sum over its own "
        "row belongs",
        lambda d, a, z, j: a * (d - (d * a).sum(axis=0, keepdims=True)),
    ),
    RowForm(
        "wrong_axis",
        "{a} · ({d} − Σ over everything)",
        "the sum is taken over everything (axis= is missing), where the sum over its own row "
        "belongs",
        lambda d, a, z, j: a * (d - (d * a).sum()),
    ),
    RowForm(
        "factor_left_out",
        "{d} − Σ {d}·{a}",
        "the factor {a} is left out in front of ({d} − Σ {d}·{a})",
        lambda d, a, z, j: d - (d * a).sum(axis=1, keepdims=True),
    ),
    RowForm(
        "wrong_sign",
        "{a} · ({d} + Σ {d}·{a})",
        "the sign of the sum over the row is wrong: {a} · ({d} − Σ {d}·{a})",
        lambda d, a, z, j: a * (d + (d * a).sum(axis=1, keepdims=True)),
    ),
    RowForm(
        "jacobian_transposed",
        "Jᵀ in place of J",
        "the Jacobian of {f} is transposed",
        _transposed,
        1.9,
    ),
    RowForm(
        "diagonal_of_the_input",
        "{d} · {z}(1 − {z})",
        "the slope is made of the input {z}, and is a vector where the Jacobian is a matrix (off "
        "the diagonal it has entries, too)",
        lambda d, a, z, j: d * z * (1 - z),
        1.9,
    ),
    RowForm(
        "path_left_out",
        "{d} · diagonal, nothing else",
        "nothing flows back through {f}",
        lambda d, a, z, j: 0 * d,
        2.8,
    ),
)


_ANY = (_diagonal, _skipped)


def row_hypotheses(problem: Problem) -> Iterator[Hypothesis]:
    """Yield a hypothesis for every step by rows and every wrong Jacobian."""
    for step in row_steps(problem):
        for form in FORMS if step.softmax else (f for f in FORMS if f.value in _ANY):
            yield _hypothesis(problem, step, form)
        if problem.objective.kind == "implicit":
            yield _output_minus_target(problem, step)


def _output_minus_target(problem: Problem, step: RowStep) -> Hypothesis:
    """Return the hypothesis that δz = a − y, whatever the forward's softmax runs over."""

    def edit(other: Problem) -> Edit | None:
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


def _hypothesis(problem: Problem, step: RowStep, form: RowForm) -> Hypothesis:
    def edit(other: Problem) -> Edit | None:
        mine = next((s for s in row_steps(other) if s.key == step.key), None)
        return None if mine is None else _edit(other, mine, form.value)

    cost = form.cost + (0.0 if step.softmax else 0.3) + 0.05 * int(step.key[-1])
    return Hypothesis(
        (*step.key, form.name + form.formula),
        edit,
        lambda match: _words(step, form, match),
        cost,
        int(step.behind.max()),
    )


def _edit(problem: Problem, step: RowStep, value: Value) -> Edit | None:
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


def _words(step: RowStep, form: RowForm, match: Match) -> Words:
    a = step.a.text
    kind = step.softmax or "a function of whole rows"
    right = f"{a} · (δ{a} − Σ δ{a}·{a})" if kind == "softmax" else f"δ{a} · ∂{a}/∂{step.text}"
    if kind == "log-softmax":
        right = f"δ{a} − exp({a}) · Σ δ{a}"
    parts = {
        "a": a,
        "d": f"δ{a}",
        "dz": f"δ{step.text}",
        "z": step.text,
        "f": f"{a} = {kind}",
        "right": right,
    }
    said = form.said.format(**parts)
    claims = listed([c.text for c in match.claims])
    where = f" (in {claims} alone)" if match.alone else ""
    return Words(
        form.name,
        f"{sentence(said)}{where}.",
        f"δ{step.text} = {form.formula.format(**parts)}",
        f"δ{step.text} = {right}",
    )


def same(one: Array, other: Array) -> bool:
    """Whether two arrays say the same."""
    return close(one, other)
