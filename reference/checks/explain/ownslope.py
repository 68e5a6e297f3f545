"""Reads a wrong slope off a claim that is an elementwise step's own δz = δa · f′(z)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reference.checks.explain.factors import spelled
from reference.checks.explain.finding import ClaimCase, Support
from reference.checks.explain.graph import Array, Mask, NumberGraph, read
from reference.checks.explain.hypothesis import Words
from reference.checks.explain.inner import Branch, branches
from reference.checks.explain.pairs import ElementwiseStep, pairs_of
from reference.checks.explain.problem import close, close_entries
from reference.checks.tolerances import DIGITS

Result = tuple[Words, Support] | None


def own_slope(cases: Sequence[ClaimCase]) -> Result:
    """Read the slope off a claim that is a step's δz: constant, a multiple, the value itself."""
    pair = step_of(cases[0])
    if pair is None:
        return None
    for one in (_constants, _values, _multiples, _additions, _terms):
        result = one(cases, pair)
        if result is not None and result[1].enough:
            return result
    return None


def own_slope_in_part(cases: Sequence[ClaimCase]) -> Result:
    """Read the slope off where it is wrong on one side only: below 0, above 0."""
    pair = step_of(cases[0])
    if (
        pair is None
        or pair.function == "relu"
        or all((~close_entries(c.claim.got, c.base)).all() for c in cases)
    ):
        return None
    return own_slope(cases)


def is_own_step(case: ClaimCase) -> bool:
    """Whether a claim is the δz of an elementwise step."""
    return step_of(case) is not None


def step_of(case: ClaimCase) -> ElementwiseStep | None:
    """Return the elementwise step whose δz a claim is: all of its gradient comes through it."""
    problem = case.problem
    for pair in pairs_of(problem):
        if not np.array_equal(pair.z.places, case.claim.places):
            continue
        with np.errstate(invalid="ignore"):
            whole = problem.scale * read(problem.true, pair.a.places) * pair.slope
        if close(np.where(pair.slope == 0, 0.0, whole), case.claim.truth):
            return pair
    return None


def _wrong(
    case: ClaimCase, pair: ElementwiseStep
) -> tuple[Array, Array, Array, Array, Mask] | None:
    """Return (g, slope, z, a, where wrong) of the entries that are wrong: δz = δa · g."""
    mine = step_of(case)
    if mine is None:
        return None
    d = case.problem.scale * read(case.problem.true, mine.a.places)
    wrong = ~close_entries(case.claim.got, case.base)
    if not wrong.any() or not np.isfinite(d[wrong]).all() or (d[wrong] == 0).any():
        return None
    return (
        case.claim.got[wrong] / d[wrong],
        mine.slope[wrong],
        mine.z.value[wrong],
        mine.a.value[wrong],
        wrong,
    )


def _where(case: ClaimCase, wrong: Mask, z: str) -> str:
    mine = step_of(case)
    assert mine is not None
    value = mine.z.value
    if wrong.all():
        return ""
    inside, outside = value[wrong], value[~wrong]
    if inside.max() <= outside.min():
        return f"for {z} < 0 " if inside.max() <= 0 <= outside.min() else "below a bound "
    if inside.min() >= outside.max():
        return f"for {z} > 0 " if outside.max() <= 0 <= inside.min() else "above a bound "
    return "in some entries "


Column = Callable[[Array, Array, Array, Array], Array]


def _fitted(
    cases: Sequence[ClaimCase], pair: ElementwiseStep, column: Column
) -> tuple[list[float], list[str]] | None:
    """Return the constant that a quantity is in each problem, or None where it is none."""
    values, wheres = [], []
    z = "z" if pair.unnamed else pair.z.text
    for case in cases:
        found = _wrong(case, pair)
        if found is None:
            return None
        *facts, wrong = found
        with np.errstate(all="ignore"):
            line = column(*facts)
        if not np.isfinite(line).all() or not close(line, np.full(line.shape, line.flat[0])):
            return None
        values.append(float(line.flat[0]))
        wheres.append(_where(case, wrong, z))
    many = sum((~close_entries(c.claim.got, c.base)).sum() > 1 for c in cases)
    return (values, wheres) if many or len(cases) > 2 else None


def _constants(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Result:
    mine = _fitted(cases, pair, lambda g, s, z, a: g)
    if mine is None:
        return None
    true = _fitted(cases, pair, lambda g, s, z, a: s)
    problems = [c.problem for c in cases]
    z, where = "z" if pair.unnamed else pair.z.text, next((w for w in mine[1] if w), "")
    yours = spelled(problems, mine[0])
    if yours is None:
        return None
    right = spelled(problems, true[0]) if true else None
    text = right or f"{pair.a.text}′({z})"
    if right is None and true is not None:
        text = f"{true[0][0]:.6g} (it differs by the problem)"
    extra = f" (here {true[0][0]:.6g}), a constant of the forward, a scale," if true else ""
    return Words(
        "wrong_constant_slope",
        f"The slope {where}is {yours}; the forward's is {text}{extra} which is ignored.",
        f"f′({z}) = {yours}",
        f"f′({z}) = {text}",
    ), Support(len(cases), len(cases), 0.0)


def _values(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Result:
    a, z = pair.a.text, "z" if pair.unnamed else pair.z.text
    for text, column in (
        (f"the value itself, {a},", lambda g, s, z, a: g - a),
        ("the input itself", lambda g, s, z, a: g - z),
    ):
        found = _fitted(cases, pair, column)
        if found is not None and all(abs(v) < 1e-10 for v in found[0]):
            more = _fitted(cases, pair, lambda g, s, z, a: s - g)
            text2 = spelled([c.problem for c in cases], more[0]) if more else None
            lacks = f": the constant {text2} is missing" if text2 else ""
            where = next((w for w in found[1] if w), "")
            return Words(
                "value_in_place_of_slope",
                f"The slope {where}is {text} instead of the derivative{lacks}.",
                f"f′({z}) = {a}",
                f"f′({z}) = {a} + {text2}" if text2 else f"f′({z})",
            ), Support(len(cases), len(cases), 0.0)
    return None


def _multiples(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Result:
    found = _fitted(cases, pair, lambda g, s, z, a: g / s)
    if found is None:
        return None
    text = spelled([c.problem for c in cases], found[0])
    if text is None:
        return None
    z, where = "z" if pair.unnamed else pair.z.text, next((w for w in found[1] if w), "")
    return Words(
        "constant_factor",
        f"The slope {where}has the constant factor {text} too many (it is {text} times the right "
        "one).",
        f"f′({z}) = {text} · right",
        f"f′({z})",
    ), Support(len(cases), len(cases), 0.0)


def _additions(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Result:
    found = _fitted(cases, pair, lambda g, s, z, a: g - s)
    if found is None:
        return None
    text = spelled([c.problem for c in cases], found[0])
    if text is None:
        return None
    z, where = "z" if pair.unnamed else pair.z.text, next((w for w in found[1] if w), "")
    return Words(
        "constant_added",
        f"The constant {text} is too much in the slope {where}(or {text.lstrip('−')} is missing).",
        f"f′({z}) + {text}",
        f"f′({z})",
    ), Support(len(cases), len(cases), 0.0)


def _terms(cases: Sequence[ClaimCase], pair: ElementwiseStep) -> Result:
    """Fit the constants in front of the terms of f′: one of them may be wrong."""
    rows = []
    for case in cases:
        mine = step_of(case)
        found = branches(case.problem, mine) if mine is not None else []
        if mine is None or len(found) != 1 or len(found[0].entries) < 4:
            return None
        rows.append((case, mine, found[0]))
    shape = rows[0][2].shape
    for r in range(len(shape)):
        if sum(p >= 0 for p in shape[r]) < 2:
            continue
        fits = [_fit(case, mine, branch, r) for case, mine, branch in rows]
        if any(f is None for f in fits):
            continue
        plain = [f for f in fits if f is not None]
        if any(not close(np.array(f), np.array(plain[0])) for f in plain):
            continue
        wrong = np.flatnonzero(np.abs(np.array(plain[0]) - 1) > DIGITS)
        if len(wrong) != 1 or abs(plain[0][wrong[0]]) <= DIGITS:
            continue  # an inner derivative, or a term, that is left out
        k = int(wrong[0])
        z = "z" if pair.unnamed else pair.z.text
        text = spelled([c.problem for c in cases], [f[k] for f in plain]) or f"{plain[0][k]:.7g}"
        return Words(
            "wrong_constant",
            f"A constant in a term of the slope of {pair.a.text} = f({z}) is wrong: the term is "
            f"{text} times as large "
            "as it should be (twice: a factor 2 too large).",
            f"f′({z}) with the term times {text}",
            f"f′({z})",
        ), Support(len(cases), len(cases), 0.0)
    return None


def _fit(case: ClaimCase, pair: ElementwiseStep, branch: Branch, r: int) -> list[float] | None:
    graph = case.problem.graph
    d = case.problem.scale * read(case.problem.true, pair.a.places).ravel()
    terms = [k for k, p in enumerate(branch.shape[r]) if p >= 0]
    entries = list(branch.entries)
    rest = np.array([_through(graph, inside, r, None) for inside in branch.inside])
    columns = [np.array([_through(graph, inside, r, k) for inside in branch.inside]) for k in terms]
    g = case.claim.got.ravel()[entries] / d[entries]
    base = np.array([pair.slope.flat[i] for i in entries]) - sum(columns) - rest * 0
    matrix = np.stack(columns, axis=1)
    solved, *_ = np.linalg.lstsq(matrix, g - base, rcond=None)
    return [float(c) for c in solved] if close(matrix @ solved + base, g) else None


def _through(graph: NumberGraph, inside: tuple[int, ...], r: int, k: int | None) -> float:
    """Return what the k-th edge of the r-th inner number carries of ∂a/∂z."""
    adjoints = dict.fromkeys(inside, 0.0)
    adjoints[inside[0]] = 1.0
    for rank, place in enumerate(inside[:-1]):
        for j, (parent, slope) in enumerate(graph.edges[place]):
            if parent not in adjoints:
                continue
            if rank == r and k is not None and j == k:
                return slope * adjoints[place] * _down(graph, inside, parent)
            adjoints[parent] += slope * adjoints[place]
    return 0.0


def _down(graph: NumberGraph, inside: tuple[int, ...], start: int) -> float:
    adjoints = dict.fromkeys(inside, 0.0)
    adjoints[start] = 1.0
    for place in inside[:-1]:
        for parent, slope in graph.edges[place]:
            if parent in adjoints:
                adjoints[parent] += slope * adjoints[place]
    return adjoints[inside[-1]]
