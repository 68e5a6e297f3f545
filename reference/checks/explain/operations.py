"""Mistakes in one operation inside an expression: its slope, one of its terms, its denominator.

For functions that work entry by entry, f(x) = tanh(x) / (1 + x²): every operation of the formula
is a step of the sweep, though none has a name in the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from reference.checks.explain.graph import Edges, Edit, NumberGraph
from reference.checks.explain.hypothesis import CLAIMS, Hypothesis, Words
from reference.checks.explain.problem import ReadingProblem, once
from reference.checks.routine import Path
from reference.checks.tolerances import DIGITS, SAME

Runs = list[list[int]]
Slopes = Callable[[NumberGraph, int], Edges]
_MAX_RUNS = 40
_MAX_NODES = 4_000


def operation_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield the mistakes of every operation, where the forward works entry by entry."""
    for number, run in enumerate(_runs(problem)):
        edges = problem.graph.edges[run[0]]
        for name, text, slopes in _mistakes(problem.graph, run):
            yield _hypothesis(number, len(edges), name, text, slopes, run[0])
        if len(edges) == 1 and problem.graph.edges[edges[0][0]]:
            for claim in problem.claims.values():
                if not claim.inner:
                    yield _straight(number, claim.path, claim.of, run[0])


@once
def _runs(problem: ReadingProblem) -> Runs:
    """Return the operations: the numbers that NumPy made in one call, side by side on the tape."""
    graph = problem.graph
    sizes = {c.places.size for c in problem.claims.values() if not c.inner}
    size = sizes.pop() if len(sizes) == 1 else 0
    if size < 2 or graph.size > _MAX_NODES or graph.size % size or graph.size // size > _MAX_RUNS:
        return []
    blocks = [list(range(at, at + size)) for at in range(0, graph.size, size)]
    alike = all(_alike(graph, b) for b in blocks)
    return [b for b in blocks if graph.edges[b[0]]] if alike else []


def _alike(graph: NumberGraph, block: Sequence[int]) -> bool:
    """Whether a block is one call: each number made from the numbers of its own place."""
    shifts = [[p - place for p, _ in graph.edges[place]] for place in block]
    return all(s == shifts[0] for s in shifts)


def _mistakes(graph: NumberGraph, run: Sequence[int]) -> Iterator[tuple[str, str, Slopes]]:
    edges = [graph.edges[p] for p in run]
    if len(edges[0]) == 1:
        slopes = np.array([e[0][1] for e in edges])
        if np.ptp(slopes) > SAME * np.max(np.abs(slopes)):
            what = _function(graph, run, slopes)
            yield (
                "inner_slope_left_out",
                f"the slope of {what} is left out: the chain rule multiplies by it",
                lambda g, p: [(q, 1.0) for q, _ in g.edges[p]],
            )
            yield (
                "inner_slope_sign",
                f"the slope of {what} has the wrong sign",
                lambda g, p: [(q, -s) for q, s in g.edges[p]],
            )
        return
    if len(edges[0]) != 2:
        return
    for kept in (0, 1):
        which = "second" if kept == 0 else "first"
        yield (
            "term_left_out",
            f"the term of the {which} operand is left out: both depend on it",
            partial(_one_edge, kept),
        )
        yield (
            "term_sign",
            f"the term of the {which} operand has the wrong sign (+ instead of −, or the reverse)",
            partial(_one_turned, kept),
        )
    if all(_is_ratio(graph, p) for p in run):
        yield (
            "denominator_square_left_out",
            "the denominator is not squared: (u/v)′ = (u′v − uv′)/v²",
            lambda g, p: [(q, s * g.values[g.edges[p][1][0]]) for q, s in g.edges[p]],
        )


def _one_edge(kept: int, graph: NumberGraph, place: int) -> Edges:
    return [graph.edges[place][kept]]


def _one_turned(kept: int, graph: NumberGraph, place: int) -> Edges:
    return [(q, s if i == kept else -s) for i, (q, s) in enumerate(graph.edges[place])]


def _is_ratio(graph: NumberGraph, place: int) -> bool:
    (above, slope), (below, _) = graph.edges[place]
    u, v = graph.values[above], graph.values[below]
    return (
        bool(v)
        and abs(slope * v - 1) < DIGITS
        and abs(graph.values[place] * v - u) <= DIGITS * abs(u)
    )


_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "exp": lambda z, a: a,
    "log": lambda z, a: 1 / z,
    "tanh": lambda z, a: 1 - a * a,
    "√": lambda z, a: 0.5 / a,
    "a square": lambda z, a: 2 * z,
    "sin": lambda z, a: np.cos(z),
    "cos": lambda z, a: -np.sin(z),
    "arctan": lambda z, a: 1 / (1 + z * z),
    "sinh": lambda z, a: np.cosh(z),
    "cosh": lambda z, a: np.sinh(z),
}


def _function(graph: NumberGraph, run: Sequence[int], slopes: np.ndarray) -> str:
    """Return the function whose slope this is, as far as it is known."""
    z = np.array([graph.values[graph.edges[p][0][0]] for p in run])
    a = np.array([graph.values[p] for p in run])
    with np.errstate(all="ignore"):
        for name, slope in _FUNCTIONS.items():
            if np.allclose(slope(z, a), slopes, rtol=DIGITS, atol=SAME):
                return name
    return "one operation inside"


def _straight(number: int, path: Path, of: str, depth: int) -> Hypothesis:
    """The inner derivative is left out: what comes back goes to the input as it is."""

    def edit(problem: ReadingProblem) -> Edit | None:
        runs, claim = _runs(problem), problem.claims.get(path)
        if number >= len(runs) or claim is None:
            return None
        leaves = claim.places.ravel().tolist()
        slopes = [problem.graph.edges[p][0][1] for p in runs[number]]
        return Edit({p: [(q, s)] for p, q, s in zip(runs[number], leaves, slopes, strict=True)})

    words = Words(
        "inner_derivative_left_out",
        f"Inside {CLAIMS}, an inner derivative is left out: f(u)′ = f′(u) · u′, and u′ with "
        f"respect to {of} is missing.",
        "f′(u)",
        "f′(u) · u′",
    )
    return Hypothesis(edit, words.of, 3.1, depth)


def _hypothesis(
    number: int, arity: int, name: str, text: str, slopes: Slopes, depth: int
) -> Hypothesis:
    def edit(problem: ReadingProblem) -> Edit | None:
        runs = _runs(problem)
        if number >= len(runs) or len(problem.graph.edges[runs[number][0]]) != arity:
            return None
        return Edit({p: slopes(problem.graph, p) for p in runs[number]})

    words = Words(name, f"Inside {CLAIMS}, {text}.", f"{CLAIMS} without it", f"{CLAIMS} with it")
    return Hypothesis(edit, words.of, 3.0, depth)
