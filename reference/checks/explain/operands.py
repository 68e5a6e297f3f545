"""Mistakes in what a cotangent is multiplied with: dW = δᵀ · x with another array for x.

In a product the slope by one factor is the other factor. Each edge of the tape that comes from a
product therefore knows its partner; a mistake gives the partner another value: the layer's own
output, the pre-activation, the weight itself, its transpose, nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.explain.graph import Array, Edges, Edit, NumberGraph
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed, sentence
from reference.checks.explain.pairs import pairs_of
from reference.checks.explain.paths import links, pieces
from reference.checks.explain.problem import NamedValue, ReadingProblem
from reference.checks.routine import Path

_MAX_EDGES = 60_000


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


def _partner(graph: NumberGraph, edges: Edges, k: int) -> int:
    """Return the place of the other factor of the k-th parent of a sum of products, or −1."""
    parent, slope = edges[k]
    half = len(edges) // 2
    mine = graph.values[parent]
    order = (
        ((k + half) % len(edges), *range(len(edges))) if len(edges) % 2 == 0 else range(len(edges))
    )
    for j in order:
        other, back = edges[j]
        if j != k and graph.values[other] == slope and back == mine:
            return other
    return -1


Index = dict[int, list[tuple[Path, int]]]


def _resolved(graph: NumberGraph, index: Index, place: int) -> tuple[int, float]:
    """Return the named number that a place is a plain multiple of, and the factor."""
    times = 1.0
    for _ in range(3):
        if place in index:
            return place, times
        edges = graph.edges[place]
        if len(edges) != 1 or abs(
            graph.values[place] - edges[0][1] * graph.values[edges[0][0]]
        ) > 1e-14 * abs(graph.values[place]):
            break
        times *= edges[0][1]
        place = edges[0][0]
    return -1, times


def products(problem: ReadingProblem) -> Uses:
    """Return the edges that come from products, by (whose gradient, the other factor's) paths."""
    if "products" in problem.cache:
        known: Uses = problem.cache["products"]
        return known
    graph = problem.graph
    found: Uses = {}
    index: Index = {}
    for path, named in pieces(problem).items():
        for i, place in enumerate(named.places.ravel().tolist()):
            if place >= 0:
                index.setdefault(place, []).append((path, i))
    if sum(map(len, graph.edges)) <= _MAX_EDGES:
        for child, edges in enumerate(graph.edges):
            if 2 <= len(edges) <= 400:
                _of_child(graph, index, child, found)
    problem.cache["products"] = found
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
        mine = edges.setdefault(
            use.child, list(before.get(use.child, problem.graph.edges[use.child]))
        )
        mine[use.edge] = (mine[use.edge][0], use.times * value(use))
    return Edit(edges)


@dataclass(frozen=True)
class _Swap:
    """What replaces the partner: its name, its words, its value."""

    name: str
    sentence: str
    text: str
    value: Callable[[ReadingProblem, NamedValue, NamedValue], Array | None]
    """(problem, whose gradient, the right partner) -> an array of the partner's shape."""
    cost: float = 1.6


def _transposed(problem: ReadingProblem, b: NamedValue, a: NamedValue) -> Array | None:
    square = a.value.ndim >= 2 and a.value.shape[-1] == a.value.shape[-2]
    return np.swapaxes(a.value, -1, -2) if square else None


def _flip(
    axes: Callable[[int], tuple[int, ...]], least: int
) -> Callable[[ReadingProblem, NamedValue, NamedValue], Array | None]:
    def made(problem: ReadingProblem, b: NamedValue, a: NamedValue) -> Array | None:
        return np.flip(a.value, axes(a.value.ndim)) if a.value.ndim >= least else None

    return made


def _updated(problem: ReadingProblem, b: NamedValue, a: NamedValue) -> Array | None:
    claim = next((c for c in problem.claims.values() if c.leaf == a.path[: len(c.leaf)]), None)
    rate = problem.outcome.rate
    if claim is None or claim.got.shape != a.value.shape:
        return None
    if rate is None:  # the step itself is the claim
        rate = 1.0 if claim.path[0] == "step" else None
    if rate is None:
        return None
    return np.asarray(a.value - rate * claim.got)


def _next_entry(
    axis: int, step: int
) -> Callable[[ReadingProblem, NamedValue, NamedValue], Array | None]:
    def made(problem: ReadingProblem, b: NamedValue, a: NamedValue) -> Array | None:
        ok = a.value.ndim > abs(axis) - (axis < 0) and a.value.shape[axis] > 2
        return np.roll(a.value, step, axis) if ok else None

    return made


_SWAPS = (
    _Swap(
        "shifted_columns",
        "{a} is used with its columns shifted by one on the way back to {b}: the wrong column "
        "(that of the bias) is removed",
        "{a}[:, j + 1]",
        _next_entry(-1, -1),
        2.0,
    ),
    _Swap(
        "shifted_columns",
        "{a} is used with its columns shifted by one on the way back to {b}: the wrong column "
        "(that of the bias) is removed",
        "{a}[:, j − 1]",
        _next_entry(-1, 1),
        2.0,
    ),
    _Swap(
        "shifted_rows",
        "{a} is used with its rows shifted by one on the way back to {b}: the wrong row (that of "
        "the bias) is removed",
        "{a}[j + 1]",
        _next_entry(-2, -1),
        2.0,
    ),
    _Swap(
        "shifted_rows",
        "{a} is used with its rows shifted by one on the way back to {b}: the wrong row (that of "
        "the bias) is removed",
        "{a}[j − 1]",
        _next_entry(-2, 1),
        2.0,
    ),
    _Swap(
        "factor_left_out",
        "the factor {a} is left out of {db}",
        "1",
        lambda p, b, a: np.ones(a.value.shape),
        1.7,
    ),
    _Swap(
        "operand_not_transposed",
        "{a} is not transposed on the way back to {b} (or is transposed where it must not be)",
        "{a}ᵀ",
        _transposed,
        1.3,
    ),
    _Swap(
        "kernel_not_flipped",
        "{a} is flipped (its order is reversed) on the way back to {b}: the gradient of a "
        "correlation is a convolution",
        "{a}[::-1]",
        _flip(lambda n: tuple(range(n)), 1),
        1.6,
    ),
    _Swap(
        "kernel_not_flipped",
        "{a} is flipped (rotated by 180°) on the way back to {b}: the gradient of a correlation "
        "is a convolution",
        "{a}[…, ::-1, ::-1]",
        _flip(lambda n: (n - 2, n - 1), 3),
        1.5,
    ),
    _Swap(
        "kernel_not_flipped",
        "{a} is flipped along its first axes on the way back to {b}: the gradient of a "
        "correlation is a convolution",
        "{a}[::-1, ::-1]",
        _flip(lambda n: (0, 1), 3),
        1.5,
    ),
    _Swap(
        "kernel_not_flipped",
        "{a} is flipped along its first axis on the way back to {b}: the gradient of a "
        "correlation is a convolution",
        "{a}[::-1]",
        _flip(lambda n: (0,), 2),
        1.5,
    ),
    _Swap(
        "weights_updated_first",
        "{a} is updated before it is used: the gradient of {b} uses the new {a}, after the step",
        "{a} − rate · d{a}",
        _updated,
        1.4,
    ),
    _Swap(
        "factor_squared",
        "{db} uses {a}² instead of {a}",
        "{a}²",
        lambda p, b, a: a.value**2,
        2.2,
    ),
    _Swap(
        "factor_complement",
        "{db} uses 1 − {a} instead of {a}",
        "(1 − {a})",
        lambda p, b, a: 1 - a.value,
        2.0,
    ),
    _Swap(
        "factor_inverted",
        "{db} uses 1/{a} instead of {a}",
        "1/{a}",
        lambda p, b, a: 1 / a.value,
        2.2,
    ),
    _Swap("wrong_sign", "the sign of {a} is wrong in {db}", "−{a}", lambda p, b, a: -a.value, 2.1),
)


def operand_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield a hypothesis for every product and everything else that may stand in it."""
    found = products(problem)
    known = pieces(problem)
    for a_path in dict.fromkeys(a for _, a in found):
        if sum(a == a_path for _, a in found) > 1:
            for swap in _SWAPS:
                yield _swapped(known[a_path], known[a_path], swap, everywhere=True)
    for b_path, a_path in found:
        b, a = known[b_path], known[a_path]
        for swap in _SWAPS:
            yield _swapped(b, a, swap)
        if a.value.size < 2 and a.value.ndim:
            continue
        for other in known.values():
            if other.path not in (a_path, b_path) and other.shape == a.shape:
                yield _swapped(b, a, _other_value(problem, b, a, other))


def _swapped(b: NamedValue, a: NamedValue, swap: _Swap, everywhere: bool = False) -> Hypothesis:
    """Return the hypothesis that something replaces a on the way back to b, or everywhere."""
    key = (b.path, a.path)

    def edit(other: ReadingProblem) -> Edit | None:
        known, uses = pieces(other), products(other).get(key)
        if everywhere:
            uses = [u for (_, x), us in products(other).items() if x == a.path for u in us]
        if not uses or b.path not in known or a.path not in known:
            return None
        with np.errstate(all="ignore"):
            value = swap.value(other, known[b.path], known[a.path])
        if value is None or not np.isfinite(value).all():
            return None
        flat = value.ravel().tolist()
        return replaced(other, uses, lambda use: float(flat[use.partner]))

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        parts = {"a": a.text, "b": "what it multiplies" if everywhere else b.text, "db": claims}
        text = swap.sentence.format(**parts)
        return Words(
            swap.name,
            f"{sentence(text)}.",
            f"{claims} of a forward with {swap.text.format(**parts)}",
            f"{claims} of a forward with {a.text}",
        )

    name = f"{swap.name} {swap.text}"
    where = ("everywhere",) if everywhere else b.path
    cost = swap.cost + 0.1 * everywhere
    return Hypothesis(
        ("operand", *where, "with", *a.path, name), edit, words, cost, int(b.places.max())
    )


def _other_value(problem: ReadingProblem, b: NamedValue, a: NamedValue, other: NamedValue) -> _Swap:
    """Return the swap that uses another named value of the same shape instead of a."""
    path = other.path

    def value(now: ReadingProblem, _: NamedValue, mine: NamedValue) -> Array | None:
        known = pieces(now).get(path)
        return known.value if known is not None and known.shape == mine.shape else None

    if other.text == a.text and path not in problem.outcome.inputs:
        text = (
            f"{a.text} is updated first: {{db}} uses the new {a.text}, after the step, instead "
            "of the old one"
        )
        return _Swap("weights_updated_first", text, f"the new {a.text}", value, 1.4)
    name, text, cost = (
        "wrong_operand",
        f"{{db}} uses {other.text} instead of {{a}}",
        2.0,
    )
    made_of_a = any(p.a.path == a.path and p.z.path == path for p in pairs_of(problem))
    if made_of_a:
        name, cost = "pre_activation_as_input", 1.5
        text = (
            f"{{db}} uses {other.text}, the pre-activation (before the activation function), "
            f"instead of {{a}}"
        )
    elif _comes_after(problem, b, other):
        name, cost = "own_output_as_input", 1.5
        text = (
            f"{{db}} uses {other.text}, the layer's own output (its own activation), instead of "
            f"the layer's input {{a}} (off by one)"
        )
    elif any(p.z.path == a.path and p.a.path == path for p in pairs_of(problem)):
        text = f"{{db}} uses {other.text}, the activation, instead of the pre-activation {{a}}"
    elif _is_made_of(problem, other, a):
        text = f"{{db}} uses {other.text} instead of {{a}}, from which it is computed"
    elif _is_made_of(problem, a, other):
        name, text = (
            "raw_value_as_factor",
            f"{{db}} uses the raw {other.text} instead of {{a}}, which is computed from it",
        )
    return _Swap(name, text, other.text, value, cost)


def _is_made_of(problem: ReadingProblem, one: NamedValue, other: NamedValue) -> bool:
    return any(x.v == other.path and x.u == one.path for x in links(problem))


def _comes_after(problem: ReadingProblem, b: NamedValue, other: NamedValue) -> bool:
    """Whether a value is made from b (possibly by others between)."""
    graph = problem.graph
    if other.path in problem.outcome.inputs or b.places.max() >= other.places.max():
        return False
    target, stack = set(b.places.ravel().tolist()), [int(other.places.max())]
    seen: set[int] = set()
    low = int(b.places[b.places >= 0].min()) if (b.places >= 0).any() else 0
    while stack:
        place = stack.pop()
        if place in target:
            return True
        for parent, _ in graph.edges[place]:
            if parent not in seen and parent >= low:
                seen.add(parent)
                stack.append(parent)
    return False
