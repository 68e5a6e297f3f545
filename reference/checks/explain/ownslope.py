"""Reads a wrong slope off a claim that is an elementwise step's own δz = δa · f′(z)."""

from collections.abc import Callable, Sequence

import numpy as np

from reference.checks.explain.finding import ClaimCase, spelled
from reference.checks.explain.graph import Array, Mask
from reference.checks.explain.hypothesis import Words
from reference.checks.explain.inner import Branch, branches
from reference.checks.explain.pairs import ElementwiseStep, pairs_of
from reference.checks.explain.problem import close
from reference.checks.tolerances import DIGITS


def own_slope(cases: Sequence[ClaimCase]) -> Words | None:
    """Read the slope off a claim that is a step's δz: constant, a multiple, the value itself."""
    pair = step_of(cases[0])
    if pair is None:
        return None
    tried = (one(cases, pair) for one in (_constants, _values, _multiples, _additions, _terms))
    return next((words for words in tried if words is not None), None)


def own_slope_in_part(cases: Sequence[ClaimCase]) -> Words | None:
    """Read the slope off where it is wrong on one side only: below 0, above 0."""
    pair = step_of(cases[0])
    if pair is None or pair.function == "relu":
        return None
    return None if all(c.wrong.all() for c in cases) else own_slope(cases)


def step_of(case: ClaimCase) -> ElementwiseStep | None:
    """Return the elementwise step whose δz a claim is: all of its gradient comes through it."""
    problem = case.problem
    for pair in pairs_of(problem):
        if not np.array_equal(pair.z.places, case.claim.places):
            continue
        with np.errstate(invalid="ignore"):
            whole = problem.cotangent(pair.a) * pair.slope
        if close(np.where(pair.slope == 0, 0.0, whole), case.claim.truth):
            return pair
    return None


# -- one number in place of a slope ------------------------------------------------------------

Column = Callable[[Array, Array, Array, Array], Array]
"""(g, f′(z), z, a) of the entries that are wrong, δz = δa · g -> what may be one number."""


def _where(value: Array, wrong: Mask, z: str) -> str:
    if wrong.all():
        return ""
    inside, outside = value[wrong], value[~wrong]
    if inside.max() <= outside.min():
        return f"for {z} < 0 " if inside.max() <= 0 <= outside.min() else "below a bound "
    if inside.min() >= outside.max():
        return f"for {z} > 0 " if outside.max() <= 0 <= inside.min() else "above a bound "
    return "in some entries "


def _fitted(
    cases: Sequence[ClaimCase], pair: ElementwiseStep, column: Column
) -> tuple[list[float], str] | None:
    """Return the number that a quantity is in each problem, and in which entries of it.

    None where it is not one number.
    """
    values, wheres, many = [], [], 0
    for case in cases:
        mine = step_of(case)
        wrong = case.wrong
        d = case.problem.cotangent(mine.a)[wrong] if mine is not None else None
        if mine is None or d is None or not d.size or not np.isfinite(d).all() or not d.all():
            return None
        z = mine.z.value
        with np.errstate(all="ignore"):
            g = case.claim.got[wrong] / d
            line = column(g, mine.slope[wrong], z[wrong], mine.a.value[wrong])
        if not np.isfinite(line).all() or not close(line, np.full(line.shape, line.flat[0])):
            return None
        values.append(float(line.flat[0]))
        wheres.append(_where(z, wrong, pair.argument))
        many += d.size > 1
    where = next((w for w in wheres if w), "")
    return (values, where) if many or len(cases) > 2 else None


def _spelt(
    cases: Sequence[ClaimCase], pair: ElementwiseStep, column: Column
) -> tuple[str, str] | None:
    """Return how the number is written, and in which entries; None where it is not one."""
    found = _fitted(cases, pair, column)
    text = spelled([c.problem for c in cases], found[0]) if found is not None else None
    return (text, found[1]) if found is not None and text is not None else None


def _constants(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Words | None:
    mine = _spelt(cases, pair, lambda g, s, z, a: g)
    if mine is None:
        return None
    (yours, where), z = mine, pair.argument
    true = _fitted(cases, pair, lambda g, s, z, a: s)
    text, extra = f"{pair.a.text}′({z})", ""
    if true is not None:
        first = f"{true[0][0]:.6g}"
        text = (
            spelled([c.problem for c in cases], true[0]) or f"{first} (it differs by the problem)"
        )
        extra = f" (here {first}), a constant of the forward, a scale,"
    return Words(
        "wrong_constant_slope",
        f"The slope {where}is {yours}; the forward's is {text}{extra} which is ignored.",
        f"f′({z}) = {yours}",
        f"f′({z}) = {text}",
    )


def _values(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Words | None:
    a, z = pair.a.text, pair.argument
    columns: tuple[tuple[str, Column], ...] = (
        (f"the value itself, {a},", lambda g, s, z, a: g - a),
        ("the input itself", lambda g, s, z, a: g - z),
    )
    for text, column in columns:
        found = _fitted(cases, pair, column)
        if found is not None and all(abs(v) < 1e-10 for v in found[0]):
            more = _spelt(cases, pair, lambda g, s, z, a: s - g)
            lacks = f": the constant {more[0]} is missing" if more else ""
            return Words(
                "value_in_place_of_slope",
                f"The slope {found[1]}is {text} instead of the derivative{lacks}.",
                f"f′({z}) = {a}",
                f"f′({z}) = {a} + {more[0]}" if more else f"f′({z})",
            )
    return None


def _multiples(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Words | None:
    found, slope = _spelt(cases, pair, lambda g, s, z, a: g / s), f"f′({pair.argument})"
    if found is None:
        return None
    text, where = found
    sentence = (
        f"The slope {where}has the constant factor {text} too many (it is {text} times the right "
        "one)."
    )
    return Words("constant_factor", sentence, f"{slope} = {text} · right", slope)


def _additions(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Words | None:
    found, slope = _spelt(cases, pair, lambda g, s, z, a: g - s), f"f′({pair.argument})"
    if found is None:
        return None
    text, where = found
    missing = f"(or {text.lstrip('−')} is missing)"
    sentence = f"The constant {text} is too much in the slope {where}{missing}."
    return Words("constant_added", sentence, f"{slope} + {text}", slope)


# -- one number in front of a term -------------------------------------------------------------


def _terms(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Words | None:
    """Fit the constants in front of the terms of f′: one of them may be wrong."""
    rows = []
    for case in cases:
        mine = step_of(case)
        found = branches(case.problem)[mine.key] if mine is not None else []
        if mine is None or len(found) != 1 or len(found[0].entries) < 4:
            return None
        rows.append((case, mine, found[0]))
    for r, parents in enumerate(rows[0][2].shape):
        if sum(p >= 0 for p in parents) < 2:
            continue
        fits = [f for row in rows if (f := _fit(*row, r)) is not None]
        if len(fits) < len(rows) or any(not close(f, fits[0]) for f in fits):
            continue
        wrong = np.flatnonzero(np.abs(fits[0] - 1) > DIGITS)
        if len(wrong) != 1 or abs(fits[0][wrong[0]]) <= DIGITS:
            continue  # an inner derivative, or a term, that is left out
        k, z = wrong[0], pair.argument
        numbers = [float(f[k]) for f in fits]
        text = spelled([c.problem for c in cases], numbers) or f"{numbers[0]:.7g}"
        return Words(
            "wrong_constant",
            f"A constant in a term of the slope of {pair.a.text} = f({z}) is wrong: the term is "
            f"{text} times as large as it should be (twice: a factor 2 too large).",
            f"f′({z}) with the term times {text}",
            f"f′({z})",
        )
    return None


def _fit(case: ClaimCase, pair: ElementwiseStep, branch: Branch, r: int) -> Array | None:
    """Return the constant in front of each term of the r-th inner number; None for no fit."""
    entries = list(branch.entries)
    d = case.problem.cotangent(pair.a).ravel()[entries]
    terms = [k for k, p in enumerate(branch.shape[r]) if p >= 0]
    matrix = np.array([[_through(case, inside, r, k) for k in terms] for inside in branch.inside])
    g = case.claim.got.ravel()[entries] / d
    base = pair.slope.ravel()[entries] - matrix.sum(axis=1)
    solved, *_ = np.linalg.lstsq(matrix, g - base, rcond=None)
    return solved if close(matrix @ solved + base, g) else None


def _through(case: ClaimCase, inside: tuple[int, ...], r: int, k: int) -> float:
    """Return what the k-th edge of the r-th inner number carries of ∂a/∂z."""
    graph = case.problem.graph
    parent, slope = graph.edges[inside[r]][k]
    return graph.slope(inside[0], inside[r]) * slope * graph.slope(parent, inside[-1])
