"""A weight is multiplied by itself, or by what its own layer or step makes of it: off by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from reference.checks.explain.graph import Edges, Edit, NumberGraph
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.operands import OperandUse, Uses, products, replaced
from reference.checks.explain.paths import pieces
from reference.checks.explain.problem import NamedValue, ReadingProblem
from reference.checks.explain.steps import families
from reference.checks.routine import Path


def own_value_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield: the weight itself, the layer's own output, the step before or after in its place."""
    found = products(problem)
    yield from _own_weight(problem, found)
    yield from _own_outputs(problem)
    yield from _in_families(problem, found)


def _own_weight(problem: ReadingProblem, found: Uses) -> Iterator[Hypothesis]:
    for b_path in dict.fromkeys(b for b, _ in found):
        yield _times_itself(problem, b_path)


def _times_itself(problem: ReadingProblem, b_path: Path) -> Hypothesis:
    b = pieces(problem)[b_path]

    def edit(other: ReadingProblem) -> Edit | None:
        known = pieces(other).get(b_path)
        uses = [u for (p, _), us in products(other).items() if p == b_path for u in us]
        if known is None or not uses:
            return None
        flat = known.value.ravel().tolist()
        return replaced(other, uses, lambda use: float(flat[use.parent]))

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        return Words(
            "weight_times_weight",
            f"{claims} is multiplied by {b.text} itself instead of the layer's input: "
            f"a weight does not appear in its own gradient.",
            f"{claims} = δ · {b.text}",
            f"{claims} = δ · input",
        )

    return Hypothesis(("itself", *b_path), edit, words, 1.5, int(b.places.max()))


# -- the step's own output, wherever the weight is used ---------------------------------------


def _own_outputs(problem: ReadingProblem) -> Iterator[Hypothesis]:
    for path, named in problem.named.items():
        if path in problem.outcome.inputs and named.value.ndim == 2:
            yield _own_output(problem, path)


def _own_output(problem: ReadingProblem, b_path: Path) -> Hypothesis:
    """Return dW = Σ δ[t] · h[t], h[t] the step's own result, wherever W is used."""
    b = problem.named[b_path]

    def edit(other: ReadingProblem) -> Edit | None:
        known = other.named.get(b_path)
        return _own_output_edit(other, known) if known is not None else None

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        return Words(
            "own_output_as_input",
            f"{claims} uses the own output of each step (h[t], its own activation or state) "
            f"instead of what {b.text} was multiplied with (h[t−1], the layer's input): off by "
            "one.",
            f"{claims} = Σ δ[t] · h[t]",
            f"{claims} = Σ δ[t] · h[t−1]",
        )

    return Hypothesis(("own output", *b_path), edit, words, 1.6, int(b.places.max()))


@dataclass(frozen=True)
class _Entry:
    """One use of W[row, column]: the sum, which of its edges, and where its result stands."""

    child: int
    edge: int
    row: int
    column: int
    result: NamedValue
    place: tuple[int, ...]


def _entries(problem: ReadingProblem, b: NamedValue) -> list[_Entry] | None:
    graph, known = problem.graph, pieces(problem)
    flat = {p: i for i, p in enumerate(b.places.ravel().tolist()) if p >= 0}
    where: dict[int, tuple[Path, int]] = {}
    for path, named in known.items():
        if path not in problem.outcome.inputs:
            where |= {p: (path, i) for i, p in enumerate(named.places.ravel().tolist()) if p >= 0}
    found = []
    for child in dict.fromkeys(c for p in flat for c in graph.uses[p]):
        reached = _reached(graph, where, child)
        if reached is None or len(graph.edges[child]) < 2:
            return None
        result = known[reached[0]]
        place = tuple(int(i) for i in np.unravel_index(reached[1], result.shape))
        for k, (parent, _) in enumerate(graph.edges[child]):
            if parent in flat:
                row, column = divmod(flat[parent], b.shape[1])
                found.append(_Entry(child, k, row, column, result, place))
    return found


def _own_output_edit(problem: ReadingProblem, b: NamedValue) -> Edit | None:
    """Put the step's own result in the place of what W was multiplied with: W @ h or h @ W."""
    entries = _entries(problem, b)
    if not entries or any(not e.place for e in entries):
        return None
    for axis in (-1, 0):
        for by_row in (True, False):
            if all(e.place[axis] == (e.row if by_row else e.column) for e in entries):
                return _with_own(problem, entries, axis, by_row)
    return None


def _with_own(
    problem: ReadingProblem, entries: list[_Entry], axis: int, by_row: bool
) -> Edit | None:
    edges: dict[int, Edges] = {}
    for e in entries:
        j = e.column if by_row else e.row
        if j >= e.result.shape[axis]:
            return None
        index = list(e.place)
        index[axis] = j
        mine = edges.setdefault(e.child, list(problem.graph.edges[e.child]))
        mine[e.edge] = (mine[e.edge][0], float(e.result.value[tuple(index)]))
    return Edit(edges)


def _reached(
    graph: NumberGraph, where: dict[int, tuple[Path, int]], place: int
) -> tuple[Path, int] | None:
    """Return the last named value on the only way up from a place."""
    found = None
    for _ in range(40):
        if place in where:
            found = where[place]
        following = graph.uses[place]
        if len(following) != 1 or (found is not None and len(graph.edges[following[0]]) > 1):
            break
        place = following[0]
    return found


def _in_families(problem: ReadingProblem, found: Uses) -> Iterator[Hypothesis]:
    """Yield h[t] in place of h[t−1] and the reverse, in all steps at once."""
    groups = families(problem)
    for key, members in groups.items():
        for b_path in dict.fromkeys(b for b, a in found if a in members and b not in members):
            for step in (1, -1):
                yield _next_member(problem, b_path, key, step)
            yield _no_member(problem, b_path, key)


def _next_member(problem: ReadingProblem, b_path: Path, key: Path, step: int) -> Hypothesis:
    b = pieces(problem)[b_path]
    head = pieces(problem)[families(problem)[key][0]].text.split("[")[0]

    def edit(other: ReadingProblem) -> Edit | None:
        members = families(other).get(key, [])
        known, edits = pieces(other), Edit()
        for i, member in enumerate(members):
            uses = products(other).get((b_path, member))
            if not uses:
                continue
            if (
                not 0 <= i + step < len(members)
                or known[members[i + step]].shape != known[member].shape
            ):
                return None
            flat = known[members[i + step]].value.ravel().tolist()
            edits = edits | replaced(other, uses, _entry_of(flat), edits)
        return edits or None

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        if step > 0:
            return Words(
                "own_output_as_input",
                f"{claims} uses {head}[t], the step's own output (its own state), instead of "
                f"{head}[t−1], what {b.text} was multiplied with (off by one: the previous step, "
                "the layer's input).",
                f"{claims} = δ[t] · {head}[t]",
                f"{claims} = δ[t] · {head}[t−1]",
            )
        return Words(
            "input_one_step_early",
            f"{claims} uses {head}[t−1], one step too early, instead of {head}[t] (off by one).",
            f"{claims} = δ[t] · {head}[t−1]",
            f"{claims} = δ[t] · {head}[t]",
        )

    return Hypothesis(
        ("family", *b_path, "with", *key, str(step)), edit, words, 1.3, int(b.places.max())
    )


def _entry_of(flat: list[float]) -> Callable[[OperandUse], float]:
    return lambda use: float(flat[use.partner])


def _no_member(problem: ReadingProblem, b_path: Path, key: Path) -> Hypothesis:
    b = pieces(problem)[b_path]
    head = pieces(problem)[families(problem)[key][0]].text.split("[")[0]

    def edit(other: ReadingProblem) -> Edit | None:
        edits = Edit()
        for member in families(other).get(key, []):
            uses = products(other).get((b_path, member))
            if uses:
                edits = edits | replaced(other, uses, lambda use: 1.0, edits)
        return edits or None

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        return Words(
            "factor_left_out",
            f"The factor {head}[t] is left out of {claims}.",
            f"{claims} = Σ δ[t]",
            f"{claims} = Σ δ[t] · {head}[t]",
        )

    return Hypothesis(
        ("family left out", *b_path, "with", *key), edit, words, 1.7, int(b.places.max())
    )
