"""The local variable of a backward that is wrong first: what is returned follows from its value.

A variable dz is taken for the cotangent of z. Where a right sweep that goes on with the value of dz
gives dx, dW and db as they came back, in every problem, these are wrong because dz is. Its name
need not say what it is the gradient of: each value of its shape is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from reference.balls import values
from reference.checks.code import Path, is_numeric
from reference.checks.explain.finding import ENOUGH, ClaimCase
from reference.checks.explain.graph import Array, Edit, read
from reference.checks.explain.problem import (
    ClaimedArray,
    ReadingProblem,
    close,
    is_multiple,
    once,
    text_of,
)

_MAX_TRIED = 60  # pairs of a variable and a value


def wrong_variable(
    problems: Sequence[ReadingProblem], bases: Sequence[Edit], left: Sequence[ClaimedArray]
) -> tuple[list[ClaimCase], frozenset[Path]]:
    """Return the variable from which wrong claims follow, in each problem, and those claims.

    bases: for each problem the sweep with the mistakes that are known. left: the wrong claims that
    these do not explain. Of several variables it is the one nearest to the loss; [] where there is
    none. A problem may lack it: where all z > 0, relu(z) and z are one array.
    """
    for variable in _candidates(problems[0]) if left else ():
        follow, cases = {c.path for c in left}, []
        for problem, base in zip(problems, bases, strict=True):
            mine = _again(problem, variable)
            if mine is None:
                continue
            adjoints = problem.graph.sweep(base)
            cases.append(ClaimCase(problem, mine, problem.scale * read(adjoints, mine.places)))
            made = problem.predicted(base | _given(problem, mine))
            follow = {p for p in follow if p in made and close(problem.claims[p].got, made[p])}
            if not follow:
                break
        if follow and len(cases) >= min(ENOUGH, len(problems)):
            return cases, frozenset(follow)
    return [], frozenset()


def as_made(problem: ReadingProblem, base: Edit) -> list[ClaimedArray]:
    """Return the variables of any name that are what the known mistakes make of a cotangent."""
    adjoints = problem.graph.sweep(base)
    return [c for c in _unnamed(problem) if close(c.got, problem.scale * read(adjoints, c.places))]


def _candidates(problem: ReadingProblem) -> list[ClaimedArray]:
    """Return the variables that are wrong, the latest in the forward first, named ones first."""
    named = [c for c in problem.claims.values() if c.inner and not c.right]
    found = [*named, *[c for c in _unnamed(problem) if not c.right][:_MAX_TRIED]]
    return sorted(found, key=lambda c: -int(c.places.max(initial=0)))


def _again(problem: ReadingProblem, variable: ClaimedArray) -> ClaimedArray | None:
    """Return the same variable, taken for the gradient of the same value, in another problem."""
    unnamed = (c for c in _unnamed(problem) if not c.right)
    found = (c for c in (*problem.claims.values(), *unnamed) if c.inner)
    wanted = variable.path, variable.leaf
    return next((c for c in found if (c.path, c.leaf) == wanted), None)


def _given(problem: ReadingProblem, variable: ClaimedArray) -> Edit:
    """Return the sweep that goes on with the value of a variable."""
    places = variable.places.ravel().tolist()
    given = (variable.got / problem.scale).ravel().tolist()

    def hook(adjoints: list[float]) -> None:
        for place, value in zip(places, given, strict=True):
            adjoints[place] = value

    return Edit.at(places, hook)


@once
def _unnamed(problem: ReadingProblem) -> list[ClaimedArray]:
    """Return the variables of a backward whose names do not say which value they belong to.

    Left out are copies of what the forward made or what came in, and right gradients of some value.
    A constant multiple of one is marked as right.
    """
    outcome = problem.outcome
    taken = {id(v) for v in outcome.claims.values()}
    known: list[Array] = [n.value for n in problem.named.values()]
    known += [np.asarray(values(c), dtype=float) for _, c in outcome.cotangents]
    returned = {c.leaf for c in problem.claims.values() if not c.inner}
    found: list[ClaimedArray] = []
    for path, value in outcome.middle.items():
        if path in problem.claims or id(value) in taken or not is_numeric(value):
            continue
        got = np.asarray(values(value), dtype=float)
        if got.size > 1 and not any(np.array_equal(got, array) for array in known):
            found += _of_values(problem, path, got, returned)
    return found


def _of_values(
    problem: ReadingProblem, path: Path, got: Array, returned: set[Path]
) -> Iterator[ClaimedArray]:
    fits = [n for n in problem.named.values() if n.shape == got.shape and -1 not in n.flat]
    truths = [problem.cotangent(n) for n in fits]
    if any(close(got, truth) for truth in truths):
        return
    right = any(is_multiple(got, truth) for truth in truths)
    for n, truth in zip(fits, truths, strict=True):
        if n.path not in returned:
            texts = text_of(path), n.text
            yield ClaimedArray(path, n.path, *texts, got, truth, n.places, right, inner=True)
