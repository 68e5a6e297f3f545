"""Mistakes in what a cotangent is multiplied with: dW = δᵀ · x with another array for x.

In a product the slope by one factor is the other factor. Each edge of the tape that comes from a
product therefore knows its partner; a mistake gives the partner another value: the layer's own
output, the pre-activation, the weight itself, its transpose, nothing at all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.graph import Array, Edges, Edit, NumberGraph
from reference.checks.explain.hypothesis import CLAIMS, Hypothesis, Words, sentence
from reference.checks.explain.links import links, pieces
from reference.checks.explain.pairs import pairs_of
from reference.checks.explain.problem import NamedValue, ReadingProblem, once

_MAX_EDGES, _MAX_TERMS = 60_000, 400


@dataclass(frozen=True)
class OperandUse:
    """One edge: the child's place, which of its edges, the parent's and the partner's index."""

    child: int
    edge: int
    parent: int
    partner: int
    times: float = 1.0
    """The partner is this multiple of the named value: −W, Q/√d."""


Uses = dict[tuple[Path, Path], list[OperandUse]]
Index = dict[int, list[tuple[Path, int]]]


@once
def products(problem: ReadingProblem) -> Uses:
    """Return the edges that come from products, by (whose gradient, the other factor's) paths."""
    graph = problem.graph
    found: Uses = {}
    index: Index = {}
    for path, named in pieces(problem).items():
        for i, place in enumerate(named.flat):
            if place >= 0:
                index.setdefault(place, []).append((path, i))
    if sum(map(len, graph.edges)) <= _MAX_EDGES:
        for child, edges in enumerate(graph.edges):
            if 2 <= len(edges) <= _MAX_TERMS:
                _of_child(graph, index, child, found)
    return found


def _of_child(graph: NumberGraph, index: Index, child: int, found: Uses) -> None:
    edges = graph.edges[child]
    for k, (parent, _) in enumerate(edges):
        mine, _ = _resolved(graph, index, parent)
        if mine < 0:
            continue
        partner = _partner(graph, edges, k)
        other, times = _resolved(graph, index, partner) if partner >= 0 else (-1, 1.0)
        for a, j in index.get(other, []):
            for b, i in index[mine]:
                found.setdefault((b, a), []).append(OperandUse(child, k, i, j, times))


def _partner(graph: NumberGraph, edges: Edges, k: int) -> int:
    """Return the place of the other factor of the k-th parent of a sum of products, or −1."""
    parent, slope = edges[k]
    count = len(edges)
    first: list[int] = [] if count % 2 else [(k + count // 2) % count]
    order: list[int] = [*first, *range(count)]
    for j in order:
        other, back = edges[j]
        if j != k and graph.values[other] == slope and back == graph.values[parent]:
            return other
    return -1


def _resolved(graph: NumberGraph, index: Index, place: int) -> tuple[int, float]:
    """Return the named number that a place is a plain multiple of, and the factor."""
    times = 1.0
    for _ in range(3):
        if place in index:
            return place, times
        edges, value = graph.edges[place], graph.values[place]
        if len(edges) != 1:
            break
        ((parent, slope),) = edges
        if abs(value - slope * graph.values[parent]) > 1e-14 * abs(value):
            break
        place, times = parent, times * slope
    return -1, times


def replaced(
    problem: ReadingProblem,
    uses: Sequence[OperandUse],
    value: Callable[[OperandUse], float],
    so_far: Edit | None = None,
) -> Edit:
    """Return the sweep in which the partners of some products have other values."""
    edges: dict[int, Edges] = {}
    before = so_far.edges if so_far is not None else {}
    for use in uses:
        now = before.get(use.child, problem.graph.edges[use.child])
        mine = edges.setdefault(use.child, list(now))
        mine[use.edge] = (mine[use.edge][0], use.times * value(use))
    return Edit(edges)


def entry_of(array: Array) -> Callable[[OperandUse], float]:
    """Return what gives the partner of a use the entry of an array at its place."""
    flat = array.ravel().tolist()
    return lambda use: float(flat[use.partner])


# -- what may stand in a product ---------------------------------------------------------------


@dataclass(frozen=True)
class _Swap:
    """What replaces the partner: its name, its words, its value."""

    name: str
    sentence: str
    text: str
    value: Callable[[ReadingProblem, NamedValue], Array | None]
    """(problem, the right partner) -> an array of the partner's shape."""
    cost: float


def _flip(name: str, text: str, axes: Callable[[int], tuple[int, ...]], least: int) -> _Swap:
    def made(_: ReadingProblem, a: NamedValue) -> Array | None:
        return np.flip(a.value, axes(a.value.ndim)) if a.value.ndim >= least else None

    words = (
        f"{{a}} is flipped {name} on the way back to {{b}}: the gradient of a correlation is a "
        "convolution"
    )
    return _Swap("kernel_not_flipped", words, f"{{a}}[{text}]", made, 1.6 if least == 1 else 1.5)


def _shift(what: str, text: str, axis: int, step: int) -> _Swap:
    def made(_: ReadingProblem, a: NamedValue) -> Array | None:
        long = a.value.ndim >= -axis and a.value.shape[axis] > 2
        return np.roll(a.value, step, axis) if long else None

    words = (
        f"{{a}} is used with its {what}s shifted by one on the way back to {{b}}: the wrong {what} "
        "(that of the bias) is removed"
    )
    return _Swap(f"shifted_{what}s", words, f"{{a}}[{text}]", made, 2.0)


def _transposed(_: ReadingProblem, a: NamedValue) -> Array | None:
    square = a.value.ndim >= 2 and a.value.shape[-1] == a.value.shape[-2]
    return np.swapaxes(a.value, -1, -2) if square else None


def _updated(problem: ReadingProblem, a: NamedValue) -> Array | None:
    claim = next((c for c in problem.claims.values() if c.leaf == a.path[: len(c.leaf)]), None)
    if claim is None or claim.got.shape != a.value.shape:
        return None
    of_step = 1.0 if claim.path[0] == "step" else None  # the step itself is the claim
    rate = problem.outcome.rate if problem.outcome.rate is not None else of_step
    return None if rate is None else np.asarray(a.value - rate * claim.got)


_SWAPS = (
    _shift("column", ":, j + 1", -1, -1),
    _shift("column", ":, j − 1", -1, 1),
    _shift("row", "j + 1", -2, -1),
    _shift("row", "j − 1", -2, 1),
    _Swap("factor_left_out", "the factor {a} is left out of {db}", "1",
          lambda _, a: np.ones(a.shape), 1.7),
    _Swap("operand_not_transposed", "{a} is not transposed on the way back to {b} (or is "
          "transposed where it must not be)", "{a}ᵀ", _transposed, 1.3),
    _flip("(its order is reversed)", "::-1", lambda n: tuple(range(n)), 1),
    _flip("(rotated by 180°)", "…, ::-1, ::-1", lambda n: (n - 2, n - 1), 3),
    _flip("along its first axes", "::-1, ::-1", lambda n: (0, 1), 3),
    _flip("along its first axis", "::-1", lambda n: (0,), 2),
    _Swap("weights_updated_first", "{a} is updated before it is used: the gradient of {b} uses "
          "the new {a}, after the step", "{a} − rate · d{a}", _updated, 1.4),
    _Swap("factor_squared", "{db} uses {a}² instead of {a}", "{a}²",
          lambda _, a: a.value**2, 2.2),
    _Swap("factor_complement", "{db} uses 1 − {a} instead of {a}", "(1 − {a})",
          lambda _, a: 1 - a.value, 2.0),
    _Swap("factor_inverted", "{db} uses 1/{a} instead of {a}", "1/{a}",
          lambda _, a: 1 / a.value, 2.2),
    _Swap("wrong_sign", "the sign of {a} is wrong in {db}", "−{a}", lambda _, a: -a.value, 2.1),
)  # fmt: skip


def operand_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield a hypothesis for every product and everything else that may stand in it."""
    found = products(problem)
    known = pieces(problem)
    for a_path in dict.fromkeys(a for _, a in found):
        if sum(a == a_path for _, a in found) > 1:
            for swap in _SWAPS:
                yield _swapped(None, known[a_path], swap)
    for b_path, a_path in found:
        b, a = known[b_path], known[a_path]
        for swap in _SWAPS:
            yield _swapped(b, a, swap)
        if a.value.size < 2 and a.value.ndim:
            continue
        for other in known.values():
            if other.path not in (a_path, b_path) and other.shape == a.shape:
                yield _swapped(b, a, _other_value(problem, b, a, other))


def _swapped(b: NamedValue | None, a: NamedValue, swap: _Swap) -> Hypothesis:
    """Return the hypothesis that something replaces a on the way back to b; None: everywhere."""

    def edit(other: ReadingProblem) -> Edit | None:
        found, mine = products(other), pieces(other).get(a.path)
        if b is None:
            uses = [
                use for (_, partner), some in found.items() if partner == a.path for use in some
            ]
        else:
            uses = found.get((b.path, a.path), [])
        if not uses or mine is None:
            return None
        with np.errstate(all="ignore"):
            value = swap.value(other, mine)
        if value is None or not np.isfinite(value).all():
            return None
        return replaced(other, uses, entry_of(value))

    parts = {"a": a.text, "b": b.text if b else "what it multiplies", "db": CLAIMS}
    words = Words(
        swap.name,
        f"{sentence(swap.sentence.format(**parts))}.",
        f"{CLAIMS} of a forward with {swap.text.format(**parts)}",
        f"{CLAIMS} of a forward with {a.text}",
    )
    return Hypothesis(edit, words.of, swap.cost + 0.1 * (b is None), (b or a).top)


def _other_value(problem: ReadingProblem, b: NamedValue, a: NamedValue, other: NamedValue) -> _Swap:
    """Return the swap that uses another named value of the same shape instead of a."""

    def value(now: ReadingProblem, mine: NamedValue) -> Array | None:
        known = pieces(now).get(other.path)
        return known.value if known is not None and known.shape == mine.shape else None

    name, text, cost = "wrong_operand", f"{{db}} uses {other.text} instead of {{a}}", 2.0
    pairs = {(p.z.path, p.a.path) for p in pairs_of(problem)}
    if other.text == a.text and other.path not in problem.outcome.inputs:
        name, cost = "weights_updated_first", 1.4
        text = (
            f"{a.text} is updated first: {{db}} uses the new {a.text}, after the step, instead of "
            "the old one"
        )
        return _Swap(name, text, f"the new {a.text}", value, cost)
    if (other.path, a.path) in pairs:
        name, cost = "pre_activation_as_input", 1.5
        text = (
            f"{{db}} uses {other.text}, the pre-activation (before the activation function), "
            "instead of {a}"
        )
    elif _comes_after(problem, b, other):
        name, cost = "own_output_as_input", 1.5
        text = (
            f"{{db}} uses {other.text}, the layer's own output (its own activation), instead of "
            "the layer's input {a} (off by one)"
        )
    elif (a.path, other.path) in pairs:
        text = f"{{db}} uses {other.text}, the activation, instead of the pre-activation {{a}}"
    elif _is_made_of(problem, other, a):
        text += ", from which it is computed"
    elif _is_made_of(problem, a, other):
        name = "raw_value_as_factor"
        text = f"{{db}} uses the raw {other.text} instead of {{a}}, which is computed from it"
    return _Swap(name, text, other.text, value, cost)


def _is_made_of(problem: ReadingProblem, one: NamedValue, other: NamedValue) -> bool:
    return any(x.v == other.path and x.u == one.path for x in links(problem))


def _comes_after(problem: ReadingProblem, b: NamedValue, other: NamedValue) -> bool:
    """Whether a value is made from b (possibly by others between)."""
    if other.path in problem.outcome.inputs or not -1 < b.top < other.top:
        return False
    target = set(b.known)
    return any(p in target for p in problem.graph.behind(other.top, min(target)))
