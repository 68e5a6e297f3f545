"""Compares the runs of a submission with the reference solution, without the submission's code.

This runs in a process without the submission. The reference solution's forward runs on the
submission's own numbers, in ball arithmetic; what the submission returned is compared with that
gradient by the rules of `check` (`checks.comparing`). So a submission cannot reach what gives
points: it sends numbers, and they are right or not.

A gradient that is wrong only since an inner one before it is wrong is right *given* that one:

    claim = truth + (∂v/∂leaf)ᵀ (claim of v − truth of v)

which is exact, since the gradient is linear in the cotangent of v, on whatever other paths the
leaf reaches the loss.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from manual_backprop.operation import InvalidInput
from reference.balls import Session, gradient
from reference.checks.code import Path, claim_name, path_name, units_of
from reference.checks.comparing import (
    LOSSES,
    Assessment,
    Objective,
    Row,
    Truth,
    assess,
    close,
    truths,
)
from reference.checks.running import RunOutcome, matched, perform
from reference.checks.tolerances import DIGITS
from reference.grading.correspondence import (
    Correspondence,
    Placement,
    Value,
    found_in,
    handed_on,
    lost_in_types,
    proposals,
)
from reference.grading.kinds import KindSolution, hold_kind, is_slope, leaf_name
from reference.grading.records import (
    AnyRun,
    Array,
    ComparedGradient,
    Judged,
    JudgeEvent,
    KindRun,
    NamedArray,
    ProblemRun,
    Reference,
    SolutionFailed,
)
from reference.grading.solution import Solution, described, loaded, solution_of

Emit = Callable[[JudgeEvent], None]


def serve(reference: Reference, emit: Emit) -> None:
    """Describe the functions of the reference solution, or hold runs to one of them."""
    try:
        target = loaded(reference.file)
        if not reference.unit:
            for unit in units_of(target):
                emit(described(unit, target, reference))
            return
        solution = solution_of(reference, target)
    except InvalidInput as error:
        emit(SolutionFailed(str(error)))
        return
    for run in reference.runs:
        emit(_held_to(solution, run, reference))


def _held_to(solution: Solution | KindSolution, run: AnyRun, reference: Reference) -> Judged:
    match solution, run:
        case KindSolution(), KindRun():
            return hold_kind(run, solution, reference)
        case Solution(), ProblemRun():
            return hold(run, solution, reference)
    return Judged(run.seed != reference.seed, False, False)  # of another kind


# -- one run -----------------------------------------------------------------------------------


def hold(run: ProblemRun, solution: Solution, reference: Reference) -> Judged:
    """Return what of one run is right; where no forward agrees, by the names alone."""
    public = run.seed != reference.seed
    with Session() as session:
        for by_name in (False, True):
            tries = _tries(run, solution, session, reference, by_name)
            for correspondence, outcome in tries:
                assessed = _assessed(run, correspondence, outcome, by_name)
                if assessed is None:
                    continue
                held = tuple(_held(assessed, run, correspondence, reference))
                scale = assessed.found.spellings
                if by_name:
                    return Judged(public, True, False, own_slope(run), held, scale=scale)
                if correspondence not in solution.known:
                    solution.known.insert(0, correspondence)
                lost = handed_on(run.cached, outcome.made) if reference.same_cache else ""
                return Judged(public, True, True, False, held, lost, scale)
    return Judged(public, False, False)


def own_slope(run: ProblemRun) -> bool:
    """Whether what was claimed is the slope of the submission's own forward, by differences."""
    if run.up is None or run.down is None or not run.moved or run.up.shape != run.down.shape:
        return False
    weight: Value = run.cotangents[0][1] if run.cotangents else np.ones(run.up.shape)
    if np.shape(weight) != run.up.shape:
        return False
    change = float(np.sum(weight * np.subtract(run.up, run.down))) / 2
    claims, inputs = _by_path(run.claims), _by_path(run.inputs)
    pairs, _, _ = matched(claims, inputs, {}, _by_path(run.others))
    ways = _by_path(run.moved)
    return is_slope([(claims[c], ways[p]) for c, p in pairs], len(inputs), change)


def _by_path(named: tuple[NamedArray, ...]) -> dict[Path, Value]:
    return {n.path: n.value if n.value.shape else n.value[()] for n in named}


def _tries(
    run: ProblemRun, solution: Solution, session: Session, reference: Reference, by_name: bool
) -> Iterator[tuple[Correspondence, RunOutcome]]:
    """Yield the reference solution's outcomes on the submission's numbers that agree with it.

    by_name: where the names alone agree, and what the forwards compute does not.
    """
    reading = solution.chosen.reading
    theirs, others = _by_path(run.inputs), _by_path(run.others)
    numbers = {(k,): v for k, v in run.numbers.items() if k in reading.layout}
    drawn = perform(reading, run.seed, run.index)
    like = {k: v for k, v in drawn.others.items() if isinstance(v, np.ndarray)}
    fresh = proposals(theirs, others, drawn.inputs, like, reference.same_layout)
    wanted = _judged_output(run)
    for correspondence in (*solution.known, *(c for c in fresh if c not in solution.known)):
        if by_name and not correspondence.by_name:
            continue
        try:
            given = correspondence.given(theirs, others, like) | numbers
            plain = perform(reading, run.seed, run.index, given=given)
        except Exception:
            continue
        known = {**plain.values, **plain.outputs}
        if not by_name and wanted is not None and found_in(wanted, known) is None:
            continue
        try:
            yield correspondence, perform(reading, run.seed, run.index, session, given=given)
        except Exception:
            continue


def _judged_output(run: ProblemRun) -> Array | None:
    """Return what the submission's gradient is the gradient of: an output, a loss."""
    if run.cotangents:
        return run.cotangents[0][0]
    named = {n.path: n.value for n in (*run.values, *run.outputs)}
    return named.get(run.scalar.output)


@dataclass(frozen=True)
class _Assessed:
    found: Assessment
    outcome: RunOutcome
    ours: RunOutcome


def _assessed(
    run: ProblemRun, correspondence: Correspondence, ours: RunOutcome, by_name: bool
) -> _Assessed | None:
    """Hold the submission's claims to the reference solution's forward; None without a value."""
    theirs = _as_theirs(run, correspondence, ours, by_name)
    if theirs is None:
        return None
    scalar = run.scalar
    loss = next((one for one in LOSSES if one.name == scalar.loss), None)
    objective = Objective(scalar.kind, scalar.output, loss, scalar.target)  # type: ignore[arg-type]
    found = assess(objective, theirs)
    return None if found is None else _Assessed(found, theirs, ours)


def _as_theirs(
    run: ProblemRun, correspondence: Correspondence, ours: RunOutcome, by_name: bool
) -> RunOutcome | None:
    """Return the reference solution's tracked numbers under the submission's names and shapes."""
    known = {**ours.values, **ours.outputs}
    outcome = RunOutcome(dict(run.sizes), adds_steps=run.adds_steps)
    shapes = {n.path: n.value.shape for n in run.inputs}
    for place in correspondence.places:
        outcome.inputs[place.theirs] = _returned(place, ours, shapes[place.theirs])
    outcome.others = _by_path(run.others)
    outcome.numbers, outcome.rate = dict(run.numbers), run.rate
    outcome.paired, outcome.told_targets = run.paired, run.told_targets
    for named, kept in ((run.values, outcome.values), (run.outputs, outcome.outputs)):
        for n in named:
            same = found_in(n.value, known)
            if same is not None:
                kept[n.path] = same if n.value.shape else same[()]
    for output, cotangent in run.cotangents:
        own: Value | None = found_in(output, known)
        if own is None and by_name:
            own = next((v for v in ours.outputs.values() if np.shape(v) == output.shape), None)
        if own is None:
            return None
        outcome.cotangents.append((own, cotangent))
    if not run.cotangents and run.scalar.output not in {**outcome.values, **outcome.outputs}:
        own = next((v for v in ours.outputs.values() if not np.shape(v)), None)
        if not by_name or own is None or run.scalar.kind != "loss":
            return None
        outcome.outputs[run.scalar.output] = own
    outcome.claims = _by_path(run.claims)
    return outcome


def _returned(place: Placement, ours: RunOutcome, shape: tuple[int, ...]) -> Value:
    value = ours.inputs[place.ours]
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
    back = place.way.back(array, shape)
    return back if shape else np.asarray(back, dtype=object)[()]


# -- each gradient, and what it follows from ---------------------------------------------------


def _held(
    assessed: _Assessed, run: ProblemRun, correspondence: Correspondence, reference: Reference
) -> Iterator[ComparedGradient]:
    ours = {p.theirs: p.ours for p in correspondence.places}
    found = assessed.found
    wrong_inner = list(_wrong_inner(assessed, run))
    for row in found.rows:
        right = row.right
        if reference.mean_in_loss and row.factor is not None:
            right = right and abs(row.factor - found.scale) <= abs(found.scale) * DIGITS
        dtype = lost_in_types(run, row.claim) if right else ""
        leaf = assessed.outcome.inputs[row.leaf]
        cause = "" if right else _cause(row, wrong_inner, found.scale, leaf)
        yield ComparedGradient(
            leaf_name(ours.get(row.leaf, row.leaf)), claim_name(row.claim, row.leaf),
            right and not dtype, cause, dtype,
        )  # fmt: skip


@dataclass(frozen=True)
class _Inner:
    """A wrong gradient of one of the forward's own values."""

    name: str
    value: Value
    off: Value
    """What was claimed, less the truth."""


def _wrong_inner(assessed: _Assessed, run: ProblemRun) -> Iterator[_Inner]:
    """Yield the wrong gradients of the forward's own values, that no other one makes wrong."""
    outcome, scale = assessed.outcome, assessed.found.scale
    claims = _by_path(run.inner)
    final = [np.asarray(n.value) for n in run.claims]
    claims = {p: v for p, v in claims.items() if not any(np.array_equal(v, f) for f in final)}
    leaves = {*outcome.inputs, *assessed.ours.inputs}
    known = {**assessed.ours.values, **outcome.values}
    known = {p: v for p, v in known.items() if p not in leaves}
    _, pairs, left = matched(claims, {}, known)
    pairs += [(r.claim, r.leaf) for r in assessed.found.middle if r.leaf in known]
    for claim in left:  # named after nothing that the forward names: it may be any of its shape
        shape = np.shape(claims[claim])
        pairs += [(claim, p) for p, v in known.items() if shape and np.shape(v) == shape]
    tracked = {leaf: known[leaf] for _, leaf in pairs}
    found = truths(assessed.found.objective, outcome, tracked) or {}
    got_of = {**outcome.claims, **claims}
    fits = {c for c, leaf in pairs if leaf in found and _agrees(got_of[c], found[leaf], scale)}
    pairs = [(c, leaf) for c, leaf in pairs if c not in fits]  # right for one, it is of that one
    rows: list[tuple[_Inner, Row]] = []
    for claim, leaf in pairs:
        got = np.asarray(got_of[claim], dtype=float)
        truth = found.get(leaf)
        if truth is None or got.shape != truth.value.shape:
            continue
        row = Row(claim, leaf, got, truth, None, False, 1.0)
        rows.append((_Inner(path_name(claim), tracked[leaf], got - scale * truth.value), row))
    inner = [one for one, _ in rows]
    for one, row in rows:
        if not _cause(row, [o for o in inner if o.name != one.name], scale, one.value):
            yield one


def _agrees(got: Value, truth: Truth, scale: float) -> bool:
    value = np.asarray(got, dtype=float)
    return value.shape == truth.value.shape and bool(close(value, truth, scale).all())


def _cause(row: Row, inner: list[_Inner], scale: float, leaf: Value) -> str:
    """Return the inner gradient whose mistake alone makes this one wrong, "" where none does."""
    return next((one.name for one in inner if _follows(row, one, scale, leaf)), "")


def _follows(row: Row, inner: _Inner, scale: float, leaf: Value) -> bool:
    moved = gradient([inner.value], [inner.off], [leaf])[0]
    if row.got.shape != row.truth.value.shape or not np.any(moved.midpoint):
        return False
    expected = Truth(
        scale * row.truth.value + moved.midpoint,
        abs(scale) * row.truth.radius + moved.radius,
        abs(scale) * row.truth.scale + moved.scale,
    )
    return bool(close(row.got, expected).all())
