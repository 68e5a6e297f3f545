"""Hypotheses: dW was computed with the wrong factor: W itself, or the output for the input."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.graph import Edges, Edit
from reference.checks.explain.hypothesis import CLAIMS, Hypothesis, Words
from reference.checks.explain.links import at_piece, families, head_of, pieces, result_of
from reference.checks.explain.operands import entry_of, products, replaced
from reference.checks.explain.problem import NamedValue, ReadingProblem


def own_value_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield: the weight itself, the layer's own output, the step before or after in its place."""
    found, known = products(problem), pieces(problem)
    for b_path in dict.fromkeys(b for b, _ in found):
        yield _times_itself(known[b_path])
    for path, named in problem.named.items():
        if path in problem.outcome.inputs and named.value.ndim == 2:
            yield _own_output(named)
    for key, members in families(problem).items():
        for b_path in dict.fromkeys(b for b, a in found if a in members and b not in members):
            for step in (1, -1, None):
                yield _of_members(problem, known[b_path], key, step)


def _times_itself(b: NamedValue) -> Hypothesis:
    def change(problem: ReadingProblem, mine: NamedValue) -> Edit | None:
        uses = [u for (p, _), us in products(problem).items() if p == b.path for u in us]
        flat = mine.value.ravel().tolist()
        return replaced(problem, uses, lambda use: float(flat[use.parent])) if uses else None

    words = Words(
        "weight_times_weight",
        f"{CLAIMS} is multiplied by {b.text} itself instead of the layer's input: a weight does "
        "not appear in its own gradient.",
        f"{CLAIMS} = δ · {b.text}",
        f"{CLAIMS} = δ · input",
    )
    return Hypothesis(at_piece(b.path, change), words.of, 1.5, b.top)


# -- the step's own output, wherever the weight is used ---------------------------------------


def _own_output(b: NamedValue) -> Hypothesis:
    """Return dW = Σ δ[t] · h[t], h[t] the step's own result, wherever W is used."""

    def edit(other: ReadingProblem) -> Edit | None:
        known = other.named.get(b.path)
        return _own_output_edit(other, known) if known is not None else None

    words = Words(
        "own_output_as_input",
        f"{CLAIMS} uses the own output of each step (h[t], its own activation or state) instead "
        f"of what {b.text} was multiplied with (h[t−1], the layer's input): off by one.",
        f"{CLAIMS} = Σ δ[t] · h[t]",
        f"{CLAIMS} = Σ δ[t] · h[t−1]",
    )
    return Hypothesis(edit, words.of, 1.6, b.top)


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
    flat = {p: i for i, p in enumerate(b.flat) if p >= 0}
    found = []
    for child in dict.fromkeys(c for p in flat for c in graph.uses[p]):
        reached = result_of(problem, child)
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


# -- all steps of a list at once ---------------------------------------------------------------


def _of_members(problem: ReadingProblem, b: NamedValue, key: Path, step: int | None) -> Hypothesis:
    """Return the hypothesis that all members of a list are the next ones; None: left out."""

    def edit(other: ReadingProblem) -> Edit | None:
        members, known = families(other).get(key, []), pieces(other)
        edits = Edit()
        for i, member in enumerate(members):
            uses = products(other).get((b.path, member))
            if not uses:
                continue
            value = np.ones(known[member].shape)
            if step is not None:
                near = known[members[i + step]] if 0 <= i + step < len(members) else None
                if near is None or near.shape != known[member].shape:
                    return None
                value = near.value
            edits |= replaced(other, uses, entry_of(value), edits)
        return edits or None

    words = _words_of_members(head_of(problem, key), b.text, step)
    return Hypothesis(edit, words.of, 1.7 if step is None else 1.3, b.top)


def _words_of_members(head: str, b: str, step: int | None) -> Words:
    if step is None:
        return Words(
            "factor_left_out",
            f"The factor {head}[t] is left out of {CLAIMS}.",
            f"{CLAIMS} = Σ δ[t]",
            f"{CLAIMS} = Σ δ[t] · {head}[t]",
        )
    if step > 0:
        return Words(
            "own_output_as_input",
            f"{CLAIMS} uses {head}[t], the step's own output (its own state), instead of "
            f"{head}[t−1], what {b} was multiplied with (off by one: the previous step, the "
            "layer's input).",
            f"{CLAIMS} = δ[t] · {head}[t]",
            f"{CLAIMS} = δ[t] · {head}[t−1]",
        )
    return Words(
        "input_one_step_early",
        f"{CLAIMS} uses {head}[t−1], one step too early, instead of {head}[t] (off by one).",
        f"{CLAIMS} = δ[t] · {head}[t−1]",
        f"{CLAIMS} = δ[t] · {head}[t]",
    )
