"""Mistakes inside of an elementwise step: a term, a factor or an inner derivative of f′ is left out.

    a = f(z):   δz = δa · Σ over the paths from a to z of the products of slopes

The tape holds the inside of f: every number between z and a. One of the products may lack a
factor, one of the paths may be missing, the slope of an inner function may be taken as 1.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.explain.factors import ratio, spelled
from reference.checks.explain.finding import Case, Evidence, evidence
from reference.checks.explain.graph import Array, Edges, Edit, Graph, read
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.pairs import Pair, function_name, pairs_of
from reference.checks.explain.problem import Problem, close, close_entries

_MAX_INSIDE = 16
Result = tuple[Words, Evidence] | None


@dataclass(frozen=True)
class Branch:
    """Entries of a step that are computed in the same way (one side of a `where`)."""

    shape: tuple[tuple[int, ...], ...]
    """For each inner number, its parents by rank; −1 for what is not inside."""
    entries: tuple[int, ...]
    inside: tuple[tuple[int, ...], ...]
    """For each entry the places inside, a first, z last."""


def branches(problem: Problem, pair: Pair) -> list[Branch]:
    """Return a step's entries by the way in which they are computed."""
    key = ("branches", pair.key)
    if key not in problem.cache:
        found: dict[tuple[tuple[int, ...], ...], list[tuple[int, tuple[int, ...]]]] = {}
        places = zip(pair.a.places.ravel().tolist(), pair.z.places.ravel().tolist(), strict=True)
        for i, (a, z) in enumerate(places):
            inside = _inside(problem.graph, a, z)
            if inside is not None:
                found.setdefault(_shape(problem.graph, inside), []).append((i, inside))
        problem.cache[key] = [Branch(s, tuple(i for i, _ in v), tuple(p for _, p in v)) for s, v in found.items()]
    made: list[Branch] = problem.cache[key]
    return made


def _inside(graph: Graph, a: int, z: int) -> tuple[int, ...] | None:
    if a < 0 or a == z or not graph.edges[a]:
        return None
    seen, front = {a}, [-a]
    found = []
    while front:
        place = -heapq.heappop(front)
        found.append(place)
        if place == z:
            break
        if len(found) > _MAX_INSIDE:
            return None
        for parent, _ in graph.edges[place]:
            if parent >= z and parent not in seen:
                seen.add(parent)
                heapq.heappush(front, -parent)
    return tuple(found)


def _shape(graph: Graph, inside: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    rank = {p: r for r, p in enumerate(inside)}
    return tuple(tuple(rank.get(parent, -1) for parent, _ in graph.edges[p]) for p in inside[:-1])


def inner_hypotheses(problem: Problem) -> Iterator[Hypothesis]:
    """Yield hypotheses for the inside of every elementwise step that has one."""
    for pair in pairs_of(problem):
        for branch in branches(problem, pair):
            for r, parents in enumerate(branch.shape):
                if r and len(branch.shape) > 1:
                    yield _hypothesis(problem, pair, branch, r, -1, "inner")
                for k, parent in enumerate(parents):
                    if parent < 0:
                        continue
                    several = sum(p >= 0 for p in parents) > 1
                    if several:
                        yield _hypothesis(problem, pair, branch, r, k, "term")
                        yield _hypothesis(problem, pair, branch, r, k, "sign")
                        yield _hypothesis(problem, pair, branch, r, k, "twice")
                    yield _hypothesis(problem, pair, branch, r, k, "one")
                    if len(branch.shape) <= 10:
                        yield from _by_values(problem, pair, branch, r, k)


def _by_values(problem: Problem, pair: Pair, branch: Branch, r: int, k: int) -> Iterator[Hypothesis]:
    for u in range(len(branch.shape) + 1):
        yield _hypothesis(problem, pair, branch, r, k, f"/{u}")
        yield _hypothesis(problem, pair, branch, r, k, f"*{u}")


def _changed(graph: Graph, inside: tuple[int, ...], r: int, k: int, how: str) -> dict[int, Edges]:
    place = inside[r]
    edges = list(graph.edges[place])
    if how == "inner":
        return {place: [(inside[-1], 1.0)]}
    parent, slope = edges[k]
    match how[0]:
        case "t":
            slope = 0.0 if how == "term" else 2 * slope
        case "s":
            slope = -slope
        case "o":
            slope = 1.0
        case "/":
            u = graph.values[inside[int(how[1:])]]
            slope = slope / u if u else slope
        case "*":
            slope = slope * graph.values[inside[int(how[1:])]]
    edges[k] = (parent, slope)
    return {place: edges}


def _hypothesis(problem: Problem, pair: Pair, branch: Branch, r: int, k: int, how: str) -> Hypothesis:
    key, shape = pair.key, branch.shape

    def edit(other: Problem) -> Edit | None:
        mine = next((p for p in pairs_of(other) if p.key == key), None)
        same = next((b for b in branches(other, mine) if b.shape == shape), None) if mine else None
        if same is None:
            return None
        edges: dict[int, Edges] = {}
        for inside in same.inside:
            edges |= _changed(other.graph, inside, r, k, how)
        return Edit(edges)

    inside = np.array([problem.graph.values[p[r]] for p in branch.inside])
    parent = np.array([problem.graph.values[p[branch.shape[r][k]]] for p in branch.inside]) if k >= 0 else inside
    slopes = np.array([problem.graph.edges[p[r]][k][1] for p in branch.inside]) if k >= 0 else inside
    others = np.array([problem.graph.values[p[int(how[1:])]] for p in branch.inside]) if how[0] in "/*" else inside
    z = np.array([pair.z.value.flat[i] for i in branch.entries])
    facts = _Facts(pair, how, _value_name(z, inside, pair), _value_name(z, parent, pair), slopes, _value_name(z, others, pair),
                   _mask_name(problem, pair, branch, slopes))  # fmt: skip
    cost = {"inner": 1.7, "term": 1.8, "one": 1.85, "sign": 2.3, "twice": 2.3}.get(how, 2.4) + 0.01 * r
    if facts.mask:
        cost = 0.9
    return Hypothesis((*key, "inside", str(r), str(k), how, str(len(shape))), edit,
                      lambda match: _words(facts, match), cost, int(pair.z.places.max()))  # fmt: skip


@dataclass(frozen=True)
class _Facts:
    pair: Pair
    how: str
    inside: str
    parent: str
    slopes: Array
    other: str
    mask: str


def _mask_name(problem: Problem, pair: Pair, branch: Branch, slopes: Array) -> str:
    """Return the name of the given array whose entries these slopes are: a mask."""
    for path, value in {**problem.outcome.others, **problem.outcome.values}.items():
        if path[0] == "before" or np.shape(value) != pair.a.shape or not pair.a.shape:
            continue
        try:
            flat = np.asarray(value, dtype=float).ravel()
        except (TypeError, ValueError):
            continue
        if np.allclose([flat[i] for i in branch.entries], slopes, rtol=1e-12):
            return path[-1]
    return ""


def _value_name(z: Array, u: Array, pair: Pair) -> str:
    text = "z" if pair.unnamed else pair.z.text
    if np.array_equal(z, u):
        return text
    name = function_name(z, u)
    if name:
        return f"{name}({text})"
    with np.errstate(all="ignore"):
        if np.allclose(1 + np.exp(-z), u, rtol=1e-12):
            return f"1 + exp(−{text})"
        if np.allclose(np.log1p(np.exp(z)), u, rtol=1e-12):
            return f"softplus({text})"
        if np.allclose(np.exp(-z), u, rtol=1e-12):
            return f"exp(−{text})"
    return "u"


def _words(facts: _Facts, match: Match) -> Words:
    pair, how = facts.pair, facts.how
    z = "z" if pair.unnamed else pair.z.text
    f = f"{pair.a.text} = f({z})"
    claims = listed([c.text for c in match.claims])
    right = f"δ{z} = δ{pair.a.text} · f′({z})"
    constant = facts.slopes.size and np.allclose(facts.slopes, facts.slopes.flat[0], rtol=1e-12)
    c = f"{float(facts.slopes.flat[0]):.6g}" if constant else ""
    if facts.mask and how == "one":
        return Words("mask_ignored", f"The mask {facts.mask} of {f} is ignored on the way back: dropped units still get a gradient "
                     f"(the factor {facts.mask} is left out).", f"δ{z} = δ{pair.a.text} · … without {facts.mask}", right)  # fmt: skip
    if how == "inner":
        return Words("inner_derivative_left_out", f"An inner derivative is left out in the slope of {f}: the derivative of the argument of an "
                     f"inner function (of {facts.inside}, by the chain rule) is taken as 1.",
                     f"δ{z} = δ{pair.a.text} · (… · 1)", right)  # fmt: skip
    if how == "term":
        return Words("term_left_out", f"A term is missing in the slope of {f}: the path through {facts.parent} (a term of the product or "
                     f"sum rule) is left out.", f"{claims} without this term", right)  # fmt: skip
    if how == "one":
        what = f"the constant factor {c}" if c else "a factor (an inner derivative)"
        return Words("factor_left_out", f"In the slope of {f} {what} is left out, at {facts.parent}.",
                     f"{claims} without {c or 'the factor'}", right)  # fmt: skip
    if how in ("sign", "twice"):
        what = "has the wrong sign" if how == "sign" else "is twice as large as it should be (a constant factor 2 too many)"
        return Words("wrong_sign" if how == "sign" else "constant_factor", f"In the slope of {f} the term through {facts.parent} {what}.",
                     f"{claims}: {'−' if how == 'sign' else '2 ·'} the term", right)  # fmt: skip
    other = facts.other
    missing = f"1/({other})" if how[0] == "*" else other
    if other.startswith("1 + exp(−") and how[0] == "*":
        missing = f"sigmoid({z})"
    return Words("factor_left_out", f"In the slope of {f} the factor {missing} is left out of the term through {facts.parent}.",
                 f"{claims} without the factor {missing}", right)  # fmt: skip


# -- where the claim is the step's own: its slope can be read off ----------------------------------


def own_slope(cases: Sequence[Case]) -> Result:
    """Read the slope off a claim that is a step's δz: constant, a multiple, the value itself."""
    pair = _step_of(cases[0])
    if pair is None:
        return None
    for one in (_constants, _values, _multiples, _additions, _terms):
        result = one(cases, pair)
        if result is not None and result[1].enough:
            return result
    return None


def own_slope_in_part(cases: Sequence[Case]) -> Result:
    """Read the slope off where it is wrong on one side only: below 0, above 0."""
    pair = _step_of(cases[0])
    if pair is None or pair.function == "relu" or all((~close_entries(c.claim.got, c.base)).all() for c in cases):
        return None
    return own_slope(cases)


def is_own_step(case: Case) -> bool:
    """Whether a claim is the δz of an elementwise step."""
    return _step_of(case) is not None


def _step_of(case: Case) -> Pair | None:
    return next((p for p in pairs_of(case.problem) if np.array_equal(p.z.places, case.claim.places)), None)


def _wrong(case: Case, pair: Pair) -> tuple[Array, Array, Array, Array, Array] | None:
    """Return (g, slope, z, a, where wrong) of the entries that are wrong: δz = δa · g."""
    mine = _step_of(case)
    if mine is None:
        return None
    d = case.problem.scale * read(case.problem.true, mine.a.places)
    wrong = ~close_entries(case.claim.got, case.base)
    if not wrong.any() or not np.isfinite(d[wrong]).all() or (d[wrong] == 0).any():
        return None
    return (case.claim.got[wrong] / d[wrong], mine.slope[wrong], mine.z.value[wrong], mine.a.value[wrong], wrong)


def _where(case: Case, wrong: Array, z: str) -> str:
    mine = _step_of(case)
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


def _fitted(cases: Sequence[Case], pair: Pair, column: Column) -> tuple[list[float], list[str]] | None:
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


def _constants(cases: Sequence[Case], pair: Pair) -> Result:
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
    said = right or f"{pair.a.text}′({z})"
    if right is None and true is not None:
        said = f"{true[0][0]:.6g} (it differs by the problem)"
    extra = f" (here {true[0][0]:.6g}), a constant of the forward, a scale," if true else ""
    return Words("wrong_constant_slope", f"The slope {where}is {yours}; the forward's is {said}{extra} which is ignored.",
                 f"f′({z}) = {yours}", f"f′({z}) = {said}"), Evidence(len(cases), len(cases), 0.0)  # fmt: skip


def _values(cases: Sequence[Case], pair: Pair) -> Result:
    a, z = pair.a.text, "z" if pair.unnamed else pair.z.text
    for text, column in ((f"the value itself, {a},", lambda g, s, z, a: g - a), ("the input itself", lambda g, s, z, a: g - z)):
        found = _fitted(cases, pair, column)
        if found is not None and all(abs(v) < 1e-10 for v in found[0]):
            more = _fitted(cases, pair, lambda g, s, z, a: s - g)
            text2 = spelled([c.problem for c in cases], more[0]) if more else None
            lacks = f": the constant {text2} is missing" if text2 else ""
            where = next((w for w in found[1] if w), "")
            return Words("value_in_place_of_slope", f"The slope {where}is {text} where the derivative belongs{lacks}.",
                         f"f′({z}) = {a}", f"f′({z}) = {a} + {text2}" if text2 else f"f′({z})"), Evidence(
                             len(cases), len(cases), 0.0)  # fmt: skip
    return None


def _multiples(cases: Sequence[Case], pair: Pair) -> Result:
    found = _fitted(cases, pair, lambda g, s, z, a: g / s)
    if found is None:
        return None
    text = spelled([c.problem for c in cases], found[0])
    if text is None:
        return None
    z, where = "z" if pair.unnamed else pair.z.text, next((w for w in found[1] if w), "")
    return Words("constant_factor", f"The slope {where}has the constant factor {text} too many (it is {text} times the right one).",
                 f"f′({z}) = {text} · right", f"f′({z})"), Evidence(len(cases), len(cases), 0.0)  # fmt: skip


def _additions(cases: Sequence[Case], pair: Pair) -> Result:
    found = _fitted(cases, pair, lambda g, s, z, a: g - s)
    if found is None:
        return None
    text = spelled([c.problem for c in cases], found[0])
    if text is None:
        return None
    z, where = "z" if pair.unnamed else pair.z.text, next((w for w in found[1] if w), "")
    return Words("constant_added", f"The constant {text} is too much in the slope {where}(or {text.lstrip('−')} is missing).",
                 f"f′({z}) + {text}", f"f′({z})"), Evidence(len(cases), len(cases), 0.0)  # fmt: skip


def _terms(cases: Sequence[Case], pair: Pair) -> Result:
    """Fit the constants in front of the terms of f′: one of them may be wrong."""
    rows = []
    for case in cases:
        mine = _step_of(case)
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
        k = int(np.argmax(np.abs(np.array(plain[0]) - 1)))
        z = "z" if pair.unnamed else pair.z.text
        text = spelled([c.problem for c in cases], [f[k] for f in plain]) or f"{plain[0][k]:.7g}"
        return Words("wrong_constant", f"A constant in a term of the slope of {pair.a.text} = f({z}) is wrong: the term is {text} times as large "
                     "as it should be (twice: a factor 2 too large).", f"f′({z}) with the term times {text}", f"f′({z})"), Evidence(
                         len(cases), len(cases), 0.0)  # fmt: skip
    return None


def _fit(case: Case, pair: Pair, branch: Branch, r: int) -> list[float] | None:
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


def _through(graph: Graph, inside: tuple[int, ...], r: int, k: int | None) -> float:
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


def _down(graph: Graph, inside: tuple[int, ...], start: int) -> float:
    adjoints = dict.fromkeys(inside, 0.0)
    adjoints[start] = 1.0
    for place in inside[:-1]:
        for parent, slope in graph.edges[place]:
            if parent in adjoints:
                adjoints[parent] += slope * adjoints[place]
    return adjoints[inside[-1]]


__all__ = ["evidence", "inner_hypotheses", "own_slope", "ratio"]
