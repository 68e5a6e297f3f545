"""Mistakes by a factor: the cotangent of a value is multiplied by another value, or is not.

δv · u, δv / u      u: a value of v's shape, or one that v goes into directly (√(v + ε), …)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reference.checks.explain.graph import Array, Edit, Hook
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.paths import pieces
from reference.checks.explain.problem import NamedValue, ReadingProblem

_MAX_UP = 5


def scaled_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield a hypothesis for every named value and every factor of its shape."""
    known = pieces(problem)
    inner = [n for p, n in known.items() if p not in problem.outcome.inputs and n.places.size > 1]
    for v in inner[:16]:
        for up in range(1, len(_chain_up(problem, v)) + 1):
            for power in (1, -1, 2, -2):
                yield _by_chain(v, up, power)
        for other in known.values():
            if other.shape == v.shape or (v.shape[-1:] == other.shape and len(other.shape) == 1):
                for power in (1, -1):
                    yield _by_value(v, other, power)


def _chain_up(problem: ReadingProblem, v: NamedValue) -> list[Array]:
    """Return the values that v goes into directly, in turn: v + ε, √(v + ε), its inverse."""
    graph = problem.graph
    places = v.places.ravel().tolist()
    found: list[Array] = []
    for _ in range(_MAX_UP):
        if any(p < 0 for p in places):
            break
        following = [sorted({c for c in graph.uses[p] if len(graph.edges[c]) == 1}) for p in places]
        if any(len(f) != 1 for f in following):
            break
        places = [f[0] for f in following]
        found.append(np.array([graph.values[p] for p in places]).reshape(v.shape))
    return found


def _scaled(problem: ReadingProblem, v: NamedValue, factor: Array) -> Edit | None:
    try:
        flat = np.broadcast_to(factor, v.shape).ravel().tolist()
    except ValueError:
        return None
    places = v.places.ravel().tolist()
    if any(p < 0 for p in places) or not np.isfinite(flat).all():
        return None

    def hook(adjoints: list[float]) -> None:
        for place, x in zip(places, flat, strict=True):
            adjoints[place] *= x

    hooks: dict[int, list[Hook]] = {max(places): [hook]}
    return Edit(hooks=hooks)


def _by_chain(v: NamedValue, up: int, power: int) -> Hypothesis:
    path = v.path

    def edit(problem: ReadingProblem) -> Edit | None:
        mine = pieces(problem).get(path)
        chain = _chain_up(problem, mine) if mine is not None else []
        if mine is None or len(chain) < up:
            return None
        with np.errstate(all="ignore"):
            return _scaled(problem, mine, chain[up - 1] ** float(power))

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        what = f"f({v.text})"
        side = "too small" if power > 0 else "too large"
        return Words(
            "wrong_power",
            f"An exponent is wrong in δ{v.text}, the derivative by {v.text}: the power of "
            f"({v.text} + …) is {side} by "
            f"{abs(power)}, so {claims} lacks a factor or has one too many (a term's power: "
            "x^(n−1), 1.5 = 3/2 for a variance).",
            f"δ{v.text} · {what}^{power}",
            f"δ{v.text}",
        )

    return Hypothesis(
        ("chain", *path, str(up), str(power)),
        edit,
        words,
        2.2 + 0.05 * up + 0.3 * (abs(power) > 1),
        int(v.places.max()),
    )


def _by_value(v: NamedValue, other: NamedValue, power: int) -> Hypothesis:
    path, source = v.path, other.path

    def edit(problem: ReadingProblem) -> Edit | None:
        known = pieces(problem)
        if path not in known or source not in known:
            return None
        with np.errstate(all="ignore"):
            return _scaled(problem, known[path], known[source].value ** float(power))

    def words(match: Match) -> Words:
        kind = "too many" if power > 0 else "left out"
        name = "factor_too_many" if power > 0 else "factor_left_out"
        return Words(
            name,
            f"In the gradient of {v.text} the factor {other.text} is {kind}.",
            f"δ{v.text} {'·' if power > 0 else '/'} {other.text}",
            f"δ{v.text}",
        )

    return Hypothesis(
        ("value", *path, "by", *source, str(power)), edit, words, 2.3, int(v.places.max())
    )
