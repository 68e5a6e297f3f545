"""Runs in the submission's process: the check of its file, and plain runs for the judge.

Nothing that is decided here gives points. The check finds out how the file is read and names
mistakes; the runs carry the numbers that the judging process holds to the reference solution.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path as FilePath

import msgspec
import numpy as np

from manual_backprop.operation import InvalidInput
from reference.checks import session
from reference.checks.code import (
    NumericValue,
    Path,
    Target,
    is_gradient_name,
    is_numeric,
    leaves_of,
    source,
    units_of,
)
from reference.checks.judging import ReadingSubject, Subject
from reference.checks.kinds import Question, Questioned
from reference.checks.results import CheckRequest, Refused
from reference.checks.running import Library, RunOutcome, Unreadable, perform
from reference.checks.tolerances import MOVED
from reference.grading.correspondence import Value, repeated
from reference.grading.guard import Guard
from reference.grading.records import (
    Answered,
    Array,
    Attempt,
    Coarse,
    Confined,
    KindRun,
    NamedArray,
    ProblemRun,
    Scalar,
    SubmissionEvent,
    SubmissionRequest,
    Unrun,
)
from reference.workers import confinement

MAX_ENTRIES = 50_000
"""Numbers of one array that are sent; larger ones are of no use to a judge of small problems."""

Emit = Callable[[SubmissionEvent], None]


def serve(asked: SubmissionRequest, emit: Emit) -> None:
    """Check a submission and send its runs; whatever it does happens in this process alone."""
    warnings.simplefilter("ignore")
    for name, content in asked.files.items():
        path = FilePath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    library = Library()
    emit(Confined(confinement.taken.holds, confinement.taken.lacks))
    Guard(emit).watch()
    try:
        target = source.load(f"{asked.file}:{asked.only}" if asked.only else asked.file)
    except InvalidInput as error:
        emit(Refused(str(error)))
        return
    finally:
        _report_replaced(library, emit)
    if asked.shapes and "shapes" not in target.names:
        vars(target.module)["shapes"] = _shapes(asked.shapes, target)  # as its author could have
    request = CheckRequest(asked.file, None, asked.problems, asked.seed, (), asked.skip)

    def watch(index: int, subject: Subject) -> None:
        send_runs(index, subject, asked, emit)

    session.run(target, request, emit, library, watch)
    _report_replaced(library, emit)


def _shapes(shapes: Mapping[str, str], target: Target) -> dict[str, str]:
    """Return how arguments are drawn, also under the names that a submission gives them."""
    found = dict(shapes)
    for unit in units_of(target):
        for routine in (*unit.partners, unit.backward):
            names = routine.required
            if len(names) == len(shapes) and not set(names) & set(shapes):
                found |= zip(names, shapes.values(), strict=True)
    return found


def _report_replaced(library: Library, emit: Emit) -> None:
    """Report functions of NumPy or of the judge that the submission has replaced."""
    found = library.replaced()
    if found:
        judge = found[0].startswith(("reference.", "manual_backprop"))
        detail = f"puts something of its own in the place of {', '.join(found[:3])}"
        emit(Attempt("judge" if judge else "NumPy", detail))


def send_runs(unit: int, subject: Subject, asked: SubmissionRequest, emit: Emit) -> None:
    """Run a part on plain floats, on the public and the hidden problems; send what came of it."""
    problem = "it never ran"
    sent = 0
    for seed in (asked.public_seed, asked.seed):
        for index in range(asked.problems):
            try:
                if isinstance(subject, ReadingSubject):
                    outcome = perform(subject.reading, seed, index)
                    made = _run(unit, seed, index, subject, outcome)
                    others = (d for d in asked.dtypes if d != "float64")
                    coarse = tuple(_in_type(subject, made, dtype) for dtype in others)
                    emit(msgspec.structs.replace(made, coarse=coarse))
                elif isinstance(subject, Questioned):
                    emit(_asked(unit, seed, index, subject))
                else:
                    emit(Unrun(unit, f"{subject.sentence()}, which is not graded"))
                    return
                sent += 1
            except Unreadable as error:
                problem = str(error)
            except Exception as error:  # the check reports what it raises
                problem = f"it raised {type(error).__name__}"
    if not sent:
        emit(Unrun(unit, problem))


def _run(
    unit: int, seed: int, index: int, subject: ReadingSubject, outcome: RunOutcome
) -> ProblemRun:
    objective = subject.objective
    moved, up, down = _moved(subject, seed, index, outcome)
    loss = objective.loss.name if objective.loss is not None else ""
    return ProblemRun(
        unit, seed, index,
        Scalar(objective.kind, objective.output, loss, objective.target),
        {k: int(n) for k, n in outcome.sizes.items()},
        _named(outcome.inputs),
        _named(outcome.others),
        {k: float(v) for k, v in outcome.numbers.items()},
        _named(outcome.values), _named(outcome.outputs),
        tuple((_plain(v), _plain(c)) for v, c in outcome.cotangents),
        _named(outcome.claims), _named(_inner(subject, outcome)),
        outcome.paired, outcome.told_targets, outcome.adds_steps, outcome.rate,
        moved, up, down, _handed_on(outcome.made),
    )  # fmt: skip


def _asked(unit: int, seed: int, index: int, subject: Questioned) -> KindRun:
    rng = np.random.default_rng([seed, index, 11])
    answers = tuple(_answered(q, seed, index, subject, rng) for q in subject.questions(seed, index))
    return KindRun(unit, seed, index, subject.kind, answers)


def _answered(
    asked: Question, seed: int, index: int, subject: Questioned, rng: np.random.Generator
) -> Answered:
    way = {p: MOVED * rng.standard_normal(np.shape(v)) for p, v in asked.inputs.items()}
    there = [
        subject.solved(
            replace(asked, inputs={p: v + sign * way[p] for p, v in asked.inputs.items()}),
            seed, index, {},
        ).outputs
        for sign in (1.0, -1.0)
    ]  # fmt: skip
    up, down = (tuple(map(_plain, outputs)) for outputs in there)
    return Answered(
        _named(asked.inputs), _named(asked.others), tuple(map(_plain, asked.outputs)),
        tuple(map(_plain, asked.cotangents)), _named(asked.claims), asked.name,
        _named(way), up, down,
    )  # fmt: skip


def _in_type(subject: ReadingSubject, run: ProblemRun, dtype: str) -> Coarse:
    """Run the same numbers in another type; a run that raises has no gradients in it."""
    try:
        outcome = perform(subject.reading, run.seed, run.index, dtype=dtype)
    except Exception:
        return Coarse(dtype)
    named = ((p, np.asarray(v)) for p, v in outcome.claims.items() if is_numeric(v))
    return Coarse(dtype, tuple(NamedArray(p, v) for p, v in named if v.dtype.kind == "f"))


def _moved(
    subject: ReadingSubject, seed: int, index: int, outcome: RunOutcome
) -> tuple[tuple[NamedArray, ...], Array | None, Array | None]:
    """Run the forward a little before and behind the inputs, along a random direction."""
    if subject.objective.kind not in ("cotangents", "loss"):
        return (), None, None
    rng = np.random.default_rng([seed, index, 11])
    way = {p: MOVED * rng.standard_normal(np.shape(v)) for p, v in outcome.inputs.items()}
    found: list[NumericValue | None] = []
    for sign in (1.0, -1.0):
        given = {p: outcome.inputs[p] + sign * d for p, d in way.items()}
        there = perform(subject.reading, seed, index, given=given, far=True)
        if there.cotangents:
            found.append(there.cotangents[0][0])
        else:
            found.append({**there.values, **there.outputs}.get(subject.objective.output))
    up, down = found
    if up is None or down is None:
        return (), None, None
    return _named(way), _plain(up), _plain(down)


def _inner(subject: ReadingSubject, outcome: RunOutcome) -> dict[Path, Value]:
    """Return the backward's own gradients: variables as dZ1 and delta2, what it computes twice."""
    claimed = {p[-1] for p in outcome.claims}
    named = {
        p: v
        for p, v in outcome.middle.items()
        if len(p) == 1 and p[0] not in claimed and is_gradient_name(p[0])
    }
    return named | repeated(subject.reading.unit.backward, outcome.middle, outcome.instance)


def _handed_on(made: object) -> tuple[Array, ...]:
    """Return the arrays and numbers that a forward returned beside its output, in order."""
    if not isinstance(made, tuple | list) or len(made) < 2:
        return ()
    items = [v for _, v in leaves_of(tuple(made[1:])).items()]
    return tuple(_plain(v) for v in items if np.size(v) <= MAX_ENTRIES and _is_plain(v))


def _named(values: Mapping[Path, Value]) -> tuple[NamedArray, ...]:
    return tuple(
        NamedArray(tuple(map(str, path)), _plain(value))
        for path, value in values.items()
        if is_numeric(value) and np.size(value) <= MAX_ENTRIES and _is_plain(value)
    )


def _is_plain(value: Value) -> bool:
    return np.asarray(value).dtype.kind in "fiub"


def _plain(value: Value) -> Array:
    array = np.asarray(value)
    return np.array(array, dtype=float if array.dtype.kind == "f" else array.dtype)
