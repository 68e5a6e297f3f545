"""Mistakes in the cotangent of one value: transposed, in another order, times another value.

δv · u, δv / u      u: a value of v's shape, or one that v goes into directly (√(v + ε), …)
"""

import itertools
from collections.abc import Iterator

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.graph import Array, Edit, Places
from reference.checks.explain.hypothesis import CLAIMS, WHERE_ALONE, Hypothesis, Words
from reference.checks.explain.links import at_piece, pieces
from reference.checks.explain.operands import products
from reference.checks.explain.problem import NamedValue, ReadingProblem

_MAX_UP, _MAX_VALUES = 5, 16


def orders(ndim: int) -> list[tuple[int, ...]]:
    """Return the orders of some axes that are not their own."""
    return list(itertools.permutations(range(ndim)))[1:]


def _taken_from(places: Places, others: Places) -> Edit:
    """Return the sweep in which entries have the cotangents of others: of the same, moved."""
    to, of = places.ravel().tolist(), others.ravel().tolist()

    def hook(adjoints: list[float]) -> None:
        for place, value in zip(to, [adjoints[p] for p in of], strict=True):
            adjoints[place] = value

    return Edit.at(to, hook)


# -- transposed --------------------------------------------------------------------------------


def turned_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield a hypothesis for every square value, named or between a weight and its result."""
    inputs, known = problem.outcome.inputs, pieces(problem)
    for path, named in known.items():
        square = len(named.shape) >= 2 and named.shape[-1] == named.shape[-2] > 1
        if square and path not in inputs:
            yield _turned(path, named.text, named.top)
    for path in dict.fromkeys(b for b, _ in products(problem)):
        if path in inputs:
            text = f"the product with {known[path].text}"
            yield _turned((*path, "children"), text, known[path].top)


def _turned(path: Path, text: str, depth: int) -> Hypothesis:
    def edit(problem: ReadingProblem) -> Edit | None:
        places = _grid_places(problem, path)
        return None if places is None else _taken_from(places, np.swapaxes(places, -1, -2))

    words = Words(
        "transposed",
        f"The gradient of {text} is transposed{WHERE_ALONE} (one transpose is missing or too "
        "many).",
        f"{CLAIMS} from δ",
        f"{CLAIMS} from δᵀ, transposed",
        f" before it goes on to {CLAIMS}",
    )
    return Hypothesis(edit, words.of, 1.4, depth)


def _grid_places(problem: ReadingProblem, path: Path) -> Places | None:
    if path[-1] != "children":
        named = pieces(problem).get(path)
        whole = named is not None and named.shape[-1:] == named.shape[-2:-1]
        return named.places if named is not None and whole and -1 not in named.flat else None
    found = {u.child for (b, _), uses in products(problem).items() if b == path[:-1] for u in uses}
    n = round(len(found) ** 0.5)
    if n < 2 or n * n != len(found):
        return None
    return np.array(sorted(found), dtype=np.int64).reshape(n, n)


# -- in another order --------------------------------------------------------------------------


def order_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for every value of three axes or four: its gradient, reshaped without a transpose."""
    for path, named in pieces(problem).items():
        if len(named.shape) in (3, 4) and path not in problem.outcome.inputs:
            yield from (_reordered(named, axes) for axes in orders(len(named.shape)))


def _reordered(named: NamedValue, axes: tuple[int, ...]) -> Hypothesis:
    def change(problem: ReadingProblem, mine: NamedValue) -> Edit | None:
        if -1 in mine.flat:
            return None
        read_as = mine.places.reshape([mine.shape[a] for a in axes])
        return _taken_from(mine.places, np.transpose(read_as, np.argsort(axes)))

    order = ", ".join(map(str, axes))
    words = Words(
        "reshaped_in_another_order",
        f"The gradient of {named.text} is reshaped as if its axes stood in the order ({order}): "
        "its entries are mixed up between samples or channels; a transpose has to move the axes "
        "before the reshape.",
        f"δ{named.text}.reshape(…)",
        f"δ{named.text}.transpose({order}).reshape(…)",
    )
    return Hypothesis(at_piece(named.path, change), words.of, 1.9, named.top)


# -- times another value -----------------------------------------------------------------------


def scaled_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield a hypothesis for every named value and every factor of its shape."""
    known = pieces(problem)
    inner = [n for p, n in known.items() if p not in problem.outcome.inputs and n.places.size > 1]
    for v in inner[:_MAX_VALUES]:
        for up in range(len(_chain_up(problem, v))):
            yield from (_by_chain(v, up, power) for power in (1, -1, 2, -2))
        for other in known.values():
            if other.shape in (v.shape, v.shape[-1:]):
                yield from (_by_value(v, other, power) for power in (1, -1))


def _chain_up(problem: ReadingProblem, v: NamedValue) -> list[Array]:
    """Return the values that v goes into directly, in turn: v + ε, √(v + ε), its inverse."""
    graph, places = problem.graph, v.flat
    found: list[Array] = []
    while len(found) < _MAX_UP and -1 not in places:
        following = [{c for c in graph.uses[p] if len(graph.edges[c]) == 1} for p in places]
        if any(len(f) != 1 for f in following):
            break
        places = [f.pop() for f in following]
        found.append(np.array([graph.values[p] for p in places]).reshape(v.shape))
    return found


def _scaled(v: NamedValue, factor: Array, power: int) -> Edit | None:
    with np.errstate(all="ignore"):
        flat = np.broadcast_to(factor ** float(power), v.shape).ravel()
    places = v.flat
    if -1 in places or not np.isfinite(flat).all():
        return None

    def hook(adjoints: list[float]) -> None:
        for place, x in zip(places, flat.tolist(), strict=True):
            adjoints[place] *= x

    return Edit.at(places, hook)


def _by_chain(v: NamedValue, up: int, power: int) -> Hypothesis:
    def change(problem: ReadingProblem, mine: NamedValue) -> Edit | None:
        chain = _chain_up(problem, mine)
        return _scaled(mine, chain[up], power) if up < len(chain) else None

    side = "too small" if power > 0 else "too large"
    words = Words(
        "wrong_power",
        f"An exponent is wrong in δ{v.text}, the derivative by {v.text}: the power of "
        f"({v.text} + …) is {side} by {abs(power)}, so {CLAIMS} lacks a factor or has one too "
        "many (a term's power: x^(n−1), 1.5 = 3/2 for a variance).",
        f"δ{v.text} · f({v.text})^{power}",
        f"δ{v.text}",
    )
    cost = 2.25 + 0.05 * up + 0.3 * (abs(power) > 1)
    return Hypothesis(at_piece(v.path, change), words.of, cost, v.top)


def _by_value(v: NamedValue, other: NamedValue, power: int) -> Hypothesis:
    def change(problem: ReadingProblem, mine: NamedValue) -> Edit | None:
        source = pieces(problem).get(other.path)
        if source is None or source.shape not in (mine.shape, mine.shape[-1:]):
            return None
        return _scaled(mine, source.value, power)

    much = power > 0
    words = Words(
        "factor_too_many" if much else "factor_left_out",
        f"In the gradient of {v.text} the factor {other.text} is "
        f"{'too many' if much else 'left out'}.",
        f"δ{v.text} {'·' if much else '/'} {other.text}",
        f"δ{v.text}",
    )
    return Hypothesis(at_piece(v.path, change), words.of, 2.3, v.top)
