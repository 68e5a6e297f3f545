"""One problem, ready to be explained: its tape, its named values, its claims with their truths."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np

from reference.balls import is_tracked, values
from reference.checks.code import NumericValue, Path, is_numeric, vocabulary
from reference.checks.comparing import Objective, assess, nice_factors
from reference.checks.comparing.objective import scalar_of
from reference.checks.explain.graph import Array, Edit, Mask, NumberGraph, Places, read
from reference.checks.running import RunOutcome, matched
from reference.checks.tolerances import EXPLAINED, UNDERFLOW


@dataclass(frozen=True)
class NamedValue:
    """A named array of the forward: where it stands on the tape, and its numbers."""

    path: Path
    places: Places
    value: Array
    text: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.places.shape

    @property
    def flat(self) -> list[int]:
        """The place of each entry, −1 for a constant."""
        found: list[int] = self.places.ravel().tolist()
        return found

    @property
    def known(self) -> list[int]:
        """The places of the entries that are on the tape."""
        return [p for p in self.flat if p >= 0]

    @property
    def top(self) -> int:
        """The last of its places."""
        return int(self.places.max())

    @property
    def head(self) -> str:
        """What the list is called that it is a part of: h, of h[1]."""
        return self.text.split("[")[0]


Named = dict[Path, NamedValue]
_MAX_HIDDEN, _MAX_SUMS = 8, 4  # values without a name: more of them are not tried


@dataclass(frozen=True)
class ClaimedArray:
    """What came back (or what the backward named on its way), and what it should be."""

    path: Path
    leaf: Path
    text: str
    """What it is called: dW1."""
    of: str
    """What it is the gradient of: W1."""
    got: Array
    truth: Array
    places: Places
    right: bool
    inner: bool = False
    """A local variable of the backward, not what it returns."""


@dataclass
class ReadingProblem:
    """One run of a reading under an objective, as floats."""

    outcome: RunOutcome
    objective: Objective
    scale: float
    graph: NumberGraph
    claims: dict[Path, ClaimedArray]
    named: dict[Path, NamedValue]
    factors: dict[str, float]
    """Sizes and numbers that a factor may be made of: N, keep_prob …"""
    free: tuple[float, ...] = ()
    """The factors that a loss which nobody wrote may have, where no right claim tells."""
    cache: dict[Callable[..., object], Any] = field(default_factory=dict)

    @property
    def wrong(self) -> list[ClaimedArray]:
        """The claims that are wrong."""
        return [c for c in self.claims.values() if not c.right and not c.inner]

    @cached_property
    def true(self) -> list[float]:
        """The cotangent of every place, from a sweep without a mistake."""
        return self.graph.sweep()

    def cotangent(self, array: NamedValue) -> Array:
        """Return the true cotangent of a named value, on the claims' scale."""
        return self.scale * read(self.true, array.places)

    def predicted(self, edit: Edit) -> dict[Path, Array]:
        """Return what every claim would be if the sweep were made with an edit."""
        adjoints = self.graph.sweep(edit)
        return {k: self.scale * read(adjoints, c.places) for k, c in self.claims.items()}


Found = TypeVar("Found")


def once(find: Callable[[ReadingProblem], Found]) -> Callable[[ReadingProblem], Found]:
    """Return a function of a problem that is asked once, and remembers what it found."""

    @wraps(find)
    def remembered(problem: ReadingProblem) -> Found:
        if find not in problem.cache:
            problem.cache[find] = find(problem)
        found: Found = problem.cache[find]
        return found

    return remembered


def rescaled(problem: ReadingProblem, times: float) -> ReadingProblem:
    """Return a problem whose loss is a multiple: a mean in place of a sum."""
    claims = {}
    for path, claim in problem.claims.items():
        truth = times * claim.truth
        right = claim.right if claim.inner else close(claim.got, truth)
        claims[path] = replace(claim, truth=truth, right=right)
    return replace(problem, scale=times * problem.scale, claims=claims, free=())


def close(got: Array, other: Array) -> bool:
    """Whether two arrays say the same, entry by entry."""
    return got.shape == other.shape and bool(close_entries(got, other).all())


def close_entries(got: Array, other: Array) -> Mask:
    """Return where two arrays say the same."""
    size = max(_largest(got), _largest(other))
    with np.errstate(invalid="ignore"):
        near = np.abs(got - other) <= EXPLAINED * (np.abs(other) + 1e-3 * size) + UNDERFLOW
    return np.asarray(near)


def _largest(x: Array) -> float:
    finite = x[np.isfinite(x)] if x.size else x
    return float(np.max(np.abs(finite), initial=0.0))


def problem_of(outcome: RunOutcome, objective: Objective) -> ReadingProblem | None:
    """Return a problem of a run on the tape (its session alive), or None where it has no value."""
    found = scalar_of(objective, outcome)
    judged = assess(objective, outcome) if found is not None else None
    if found is None or judged is None:
        return None
    arrays = _forward_values(outcome)
    graph = NumberGraph(*found, _of_forward(found[0], arrays, outcome))
    named = _named(arrays, graph)
    named |= _hidden(graph, named, _end(objective, outcome, graph))
    claims: dict[Path, ClaimedArray] = {}
    for row in judged.rows:
        truth = judged.scale * row.truth.value
        if row.jacobian or row.got.shape != truth.shape:
            continue
        texts = claim_text(row.claim, row.leaf), text_of(row.leaf)
        places, right = graph.places(outcome.inputs[row.leaf]), row.right or close(row.got, truth)
        claims[row.claim] = ClaimedArray(row.claim, row.leaf, *texts, row.got, truth, places, right)
    unknown = objective.kind == "implicit" and not any(c.right for c in claims.values())
    free = tuple({f for f in nice_factors(outcome).values() if f > 0}) if unknown else ()
    made = ReadingProblem(
        outcome, objective, judged.scale, graph, claims, named, _numbers(outcome), free
    )
    _add_inner(made, arrays)
    return made


def _forward_values(outcome: RunOutcome) -> dict[Path, NumericValue]:
    """Return the forward's named values, inputs first, each array once."""
    found: dict[Path, NumericValue] = {}
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    kept = {("self", *p): v for p, v in outcome.kept.items()}
    own = {**outcome.inputs, **outcome.values}
    own |= {p: v for p, v in kept.items() if p not in outcome.inputs}
    for path, value in own.items():
        of_backward = path not in outcome.inputs and vocabulary.is_gradient_name(path[-1])
        if (of_backward and not outcome.paired) or not is_numeric(value) or not is_tracked(value):
            continue
        flat = value.flat if isinstance(value, np.ndarray) else [value]
        key = tuple(getattr(x, "order", 0) for x in flat), np.shape(value)
        if key not in seen:
            seen.add(key)
            found[path] = value
    return found


def _of_forward(
    outputs: list[NumericValue], arrays: dict[Path, NumericValue], outcome: RunOutcome
) -> list[NumericValue]:
    """Return the arrays that lead to the outputs: not what a backward made of them."""
    inside = NumberGraph(outputs, [np.ones(np.shape(o)) for o in outputs], [])
    for path in [p for p, v in arrays.items() if p not in outcome.inputs]:
        if not (inside.places(arrays[path]) >= 0).any():
            arrays.pop(path)
    return list(arrays.values())


def _named(arrays: Mapping[Path, NumericValue], graph: NumberGraph) -> dict[Path, NamedValue]:
    found = {}
    for path, value in arrays.items():
        places, plain = graph.places(value), np.asarray(values(value), dtype=float)
        if (places >= 0).any():
            found[path] = NamedValue(path, places, plain, text_of(path))
    return found


def _end(objective: Objective, outcome: RunOutcome, graph: NumberGraph) -> int:
    """Return where the forward ends on the tape: a loss that nobody wrote is not explained."""
    if objective.kind != "implicit":
        return graph.size
    made, output = outcome.values, objective.output
    outputs = [v for p, v in made.items() if p[: len(output)] == output]
    outputs = outputs or [v for p, v in made.items() if p[0] == output[0]]
    return max((int(graph.places(v).max(initial=-1)) for v in outputs), default=graph.size) + 1


def _unnamed(graph: NumberGraph, kind: str, text: str, runs: list[list[int]]) -> Named:
    """Return rows of numbers that have no name in the code as values."""
    found: Named = {}
    for run in runs:
        path, places = (kind, str(len(found))), np.array(run, dtype=np.int64)
        found[path] = NamedValue(path, places, graph.read(places), text.format(len(found)))
    return found


def _hidden(graph: NumberGraph, named: Mapping[Path, NamedValue], end: int) -> Named:
    """Return what a forward computes without a name and goes into a sum of products.

    Numbers that NumPy made in one call stand side by side on the tape.
    """
    taken = {p for n in named.values() for p in n.flat}
    runs: list[list[int]] = [[]]
    for place, edges in enumerate(graph.edges[:end]):
        run = runs[-1]
        joins = run and len(edges) == len(graph.edges[run[-1]])
        if joins and all(p < run[0] for p, _ in edges):
            run.append(place)
        else:
            runs.append([place])
    several = [r for r in runs if len(r) > 1 and graph.edges[r[0]] and not taken & set(r)]
    feeding = [r for r in several if _feeds_a_product(graph, r)]
    found = _unnamed(graph, "hidden", "hidden[{}]", feeding if len(feeding) <= _MAX_HIDDEN else [])
    return found | (_terms(graph, taken) if end == graph.size else {})


def _terms(graph: NumberGraph, taken: set[int]) -> Named:
    """Return what is summed up into one number without a name of its own: the loss's terms."""
    found = []
    for edges in graph.edges:
        places = [p for p, _ in edges]
        a_sum = len(places) >= 2 and len({s for _, s in edges}) == 1
        if a_sum and len(set(places)) == len(places) and not taken & set(places):
            if all(graph.edges[p] for p in places):
                found.append(places)
    return _unnamed(graph, "terms", "the sum's terms", found if len(found) < _MAX_SUMS else [])


def _feeds_a_product(graph: NumberGraph, run: list[int]) -> bool:
    """Whether each number of a run is used in sums of several products, and is not made by one."""
    few = all(len(graph.edges[p]) <= 2 for p in run)
    return few and all(any(len(graph.edges[c]) >= 3 for c in graph.uses[p]) for p in run)


def _numbers(outcome: RunOutcome) -> dict[str, float]:
    found: dict[str, float] = {}
    given = {**outcome.others, **outcome.inputs, **outcome.values, **outcome.kept}
    for path, value in given.items():
        plain = values(value) if is_numeric(value) else None
        if plain is not None and np.size(plain) == 1:
            number = float(np.ravel(plain)[0])
            if number not in (0.0, 1.0, -1.0) and np.isfinite(number):
                found.setdefault(text_of(path), number)
    if outcome.rate:
        found.setdefault("the rate", outcome.rate)
    return found


def _add_inner(problem: ReadingProblem, arrays: Mapping[Path, NumericValue]) -> None:
    """Add the backward's own variables that are named after values of the forward."""
    outcome = problem.outcome
    taken = {id(v) for v in outcome.claims.values()}
    for path, value in outcome.middle.items():
        if path in problem.claims or id(value) in taken:
            continue
        if not any(map(vocabulary.gradient_of, path)):
            continue
        _, pairs, _ = matched({path: value}, {}, arrays)
        for _, leaf in pairs:
            if leaf not in problem.named or leaf in {c.leaf for c in problem.claims.values()}:
                continue
            named = problem.named[leaf]
            got = np.asarray(values(value), dtype=float)
            if got.shape != named.shape or (named.places < 0).any():
                continue
            truth = problem.cotangent(named)
            texts, right = (text_of(path), named.text), is_multiple(got, truth)
            problem.claims[path] = ClaimedArray(
                path, leaf, *texts, got, truth, named.places, right, inner=True
            )


def is_multiple(got: Array, truth: Array) -> bool:
    """Whether a variable is its cotangent, or a constant multiple of it (1/N comes later)."""
    return close(got, truth) or ratio(got, truth) is not None


def ratio(got: Array, base: Array) -> float | None:
    """Return the c with got = c · base in every entry, or None."""
    norm = float(np.sum(base * base))
    finite = np.isfinite(got).all() and np.isfinite(base).all()
    if not norm or not finite or got.shape != base.shape:
        return None
    c = float(np.sum(got * base)) / norm
    return c if c and close(got, c * base) else None


def text_of(path: Path) -> str:
    """Return a path as people write it: ("self", "W", "0") -> W[0]."""
    named = [p for p in path if p]
    parts = [p for p in named if p not in ("self", "step")] or named
    end = len(parts)
    while end and parts[end - 1].lstrip("-").isdigit():
        end -= 1
    if not end:
        return "output" + "".join(f"[{p}]" for p in parts)
    return parts[end - 1] + "".join(f"[{p}]" for p in parts[end:])


def claim_text(claim: Path, leaf: Path) -> str:
    """Return what a claim is called: by its own name, or d and the name of what it is of."""
    if claim[0] == "step":
        return f"the step of {text_of(leaf)}"
    text, of = text_of(claim), text_of(leaf)
    own = claim == (of,) or vocabulary.says_gradient(text.split("[")[0])
    return text if own else f"d{of}"
