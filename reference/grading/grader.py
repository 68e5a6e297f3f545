"""Grades a class: each submission by itself, compared with the reference solution."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import msgspec

from manual_backprop.operation import InvalidInput
from reference.checks.code import stem_of
from reference.grading.assignment import Assignment, Function
from reference.grading.marking import FunctionEvidence, copied, marks_of
from reference.grading.records import (
    AnyRun,
    Described,
    Judged,
    JudgeEvent,
    Reference,
    SolutionFailed,
)
from reference.grading.screening import Screened, screen_text
from reference.grading.submission_process import SubmissionResult, run_apart
from reference.grading.submissions import GradeStore, Submission
from reference.listing import derivation
from reference.workers import Died, Finished, Hung, Limits, Pool, Raised, Worker
from reports.checked import Part
from reports.graded import Class, Graded, Item, Notice

JUDGE_SECONDS = 60.0
"""Processor time for the runs of one function: small, unless a submission made them large."""

KINDS = {
    "numpy": "for arrays of NumPy",
    "torch": "for tensors of PyTorch",
    "jax": "for arrays of JAX",
    "engine": "as an engine of values",
    "general": "in the general form",
}
"""The ways to write a gradient that are judged differently, as a student reads them."""

Progress = Callable[[str], None]


class Judge:
    """Holds runs to the reference solution, in a process that never loads a submission."""

    def __init__(
        self, assignment: Assignment, known: Mapping[str, Described] = MappingProxyType({})
    ) -> None:
        """Begin nothing yet.

        known: the reference solution's functions by name; `describe` finds them out.
        """
        self._assignment, self.known = assignment, dict(known)
        self._worker = Worker("reference.grading.comparing:serve")

    def describe(self) -> list[Described]:
        """Return the functions of the reference solution; raises InvalidInput where it fails."""
        found = [e for e in self._ask("", ()) if isinstance(e, Described)]
        self.known = {d.unit: d for d in found}
        return found

    def function(self, name: str) -> Described:
        """Return a function of the reference solution; of NumPy, where nobody asked it."""
        return self.known.get(name) or Described(name, (), "", "")

    def hold(self, function: str, runs: Sequence[AnyRun]) -> list[Judged]:
        """Return every run compared with one function; none where they crash the judge."""
        return [e for e in self._ask(function, tuple(runs)) if isinstance(e, Judged)]

    def _ask(self, function: str, runs: tuple[AnyRun, ...]) -> Iterator[JudgeEvent]:
        one = self._assignment
        reference = Reference(
            one.reference, function, one.problems.hidden_seed, runs,
            one.dialect.layout == "reference", one.dialect.mean == "reference",
            one.dialect.cached == "reference",
        )  # fmt: skip
        limits = Limits(JUDGE_SECONDS, 3 * JUDGE_SECONDS)
        for event in self._worker.run(reference, JudgeEvent, limits=lambda last: limits):  # type: ignore[arg-type]
            match event:
                case Hung() | Died() | Raised() if not runs:
                    raise InvalidInput(f"reference = {one.reference!r}: it {_how(event)}")
                case Hung() | Died() | Raised() | Finished():
                    return
                case SolutionFailed(text=text):
                    raise InvalidInput(text)
                case _:
                    yield event

    def close(self) -> None:
        """End its process."""
        self._worker.close()


def _how(event: Hung | Died | Raised) -> str:
    return f"raised {event.kind}: {event.message}" if isinstance(event, Raised) else event.reason


def grade(
    assignment: Assignment,
    submissions: Sequence[Submission],
    workers: int = 2,
    folder: Path | None = None,
    progress: Progress = lambda student: None,
) -> Class:
    """Grade submissions; return the class, in their order, the same for the same seeds.

    assignment, submissions: see `read_assignment`, `find_submissions`.
    workers: how many are graded side by side.
    folder: keeps what is graded, so that an interrupted run can be resumed.
    progress: gets the name of each student when it is graded.

    Raises InvalidInput where the reference solution does not fit the assignment.
    """
    first = Judge(assignment)
    try:
        _refuse_unfit(assignment, first.describe())
    finally:
        first.close()
    store = GradeStore(folder, _fingerprint(assignment))
    pool = Pool(workers, lambda: Judge(assignment, first.known))
    try:
        waiting: list[Future[Graded]] = [
            pool.submit(lambda judge, one=one: _graded(one, assignment, judge, store, progress))  # type: ignore[misc]
            for one in submissions
        ]
        graded = tuple(future.result() for future in waiting)
    except BaseException:
        pool.stop()
        raise
    pool.finish()
    return Class(
        assignment.title, assignment.feedback, assignment.problems.hidden_seed,
        assignment.possible, graded,
    )  # fmt: skip


def _refuse_unfit(assignment: Assignment, described: Sequence[Described]) -> None:
    known = {d.unit: d for d in described}
    for function in assignment.function:
        one = known.get(function.name)
        if one is None:
            raise InvalidInput(
                f"function.name = {function.name!r}: the reference solution has {', '.join(known)}"
            )
        if one.verdict != "right":
            raise InvalidInput(one.verdict)
        if one.kind != "numpy" and (
            len(assignment.problems.dtypes) > 1 or assignment.dialect.cached == "reference"
        ):
            raise InvalidInput(
                f"function.name = {function.name!r} is written {KINDS[one.kind]}: expected "
                'problems.dtypes = ["float64"] and dialect.cached = "any"'
            )
        unknown = [g for g in function.gradients if g not in one.gradients]
        if unknown:
            raise InvalidInput(
                f"gradients of {function.name!r}: {unknown[0]!r}: the reference solution gives "
                f"gradients of {', '.join(one.gradients)}"
            )


def _fingerprint(assignment: Assignment) -> bytes:
    """Return what a result depends on, beside the submission: the assignment and ourselves."""
    digest = hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(assignment, reference="")))
    digest.update(Path(assignment.reference).read_bytes())
    for package in ("grading", "checks", "balls"):
        for file in sorted((Path(__file__).parents[1] / package).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.digest()


# -- one submission ----------------------------------------------------------------------------


def _graded(
    one: Submission, assignment: Assignment, judge: Judge, store: GradeStore, progress: Progress
) -> Graded:
    key = store.key(one)
    known = store.read(key)
    if known is None:
        known = store.write(key, grade_one(one, assignment, judge))
    progress(one.student)
    return known


def grade_one(one: Submission, assignment: Assignment, judge: Judge) -> Graded:
    """Return one submission, graded."""
    if one.refused:
        return _nothing(one, assignment, one.refused)
    try:
        screened, notices = screen_text(one.file, one.files[one.file])
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError) as error:
        return _nothing(one, assignment, f"it is not Python: {type(error).__name__}: {error}")
    ran = run_apart(one, assignment)
    noted = [*notices, *(Notice("attempt", a.detail, grave=True) for a in ran.attempts)]
    items = _items(one, assignment, ran, screened, judge)
    if ran.attempts:
        items = tuple(_taken_back(item, ran) for item in items)
    return Graded(one.student, one.file, items, ran.ended, ran.refused, tuple(noted), ran.lacks)


def _nothing(one: Submission, assignment: Assignment, why: str) -> Graded:
    found = FunctionEvidence(attempted=True, why=why)
    items = tuple(_item(f, "", found, assignment) for f in assignment.function)
    return Graded(one.student, one.file, items, refused=why)


def _taken_back(item: Item, ran: SubmissionResult) -> Item:
    """Take the points of a submission that tried to reach what it must not: a teacher decides."""
    why = ran.attempts[0].detail
    marks = tuple(
        msgspec.structs.replace(m, earned=0.0, state="refused", text=f"the submission {why}")
        for m in item.marks
    )
    return msgspec.structs.replace(item, marks=marks)


@dataclass(frozen=True)
class _Matched:
    """The part of a submission that is one of the functions asked for."""

    unit: int
    part: Part | None
    judged: tuple[Judged, ...]
    kind: str

    @property
    def fits(self) -> bool:
        """Whether its forward computes what the reference solution does."""
        return any(j.forward_right for j in self.judged)


def _items(
    one: Submission, assignment: Assignment, ran: SubmissionResult, screened: Screened, judge: Judge
) -> tuple[Item, ...]:
    taken: dict[str, _Matched] = {}
    for function in assignment.function:
        found = _best(function, ran, judge, {f.unit for f in taken.values()})
        if found is None or not found.fits:
            found = _read_again(function, found, one, assignment, ran, judge) or found
        if found is not None:
            taken[function.name] = found
    return tuple(
        _item(
            f,
            *_evidence(f, taken.get(f.name), ran, screened, judge.function(f.name).kind),
            assignment,
        )
        for f in assignment.function
    )


def _best(
    function: Function, ran: SubmissionResult, judge: Judge, taken: set[int]
) -> _Matched | None:
    """Return the part of a submission that is this function.

    The part whose forward computes what the reference solution does; where none does, the one
    that has the function's name.
    """
    units = [u for u in ran.runs if u not in taken]
    units.sort(key=lambda u: not _is_called(function, ran.parts.get(u)))
    by_name: _Matched | None = None
    for unit in units:
        runs, part = ran.runs[unit], ran.parts.get(unit)
        named = _is_called(function, part)
        if not named and not any(j.forward_right for j in judge.hold(function.name, runs[:1])):
            continue
        found = _Matched(unit, part, tuple(judge.hold(function.name, runs)), runs[0].kind)
        if found.fits:
            return found
        by_name = by_name or (found if named else None)
    return by_name


def _read_again(
    function: Function,
    found: _Matched | None,
    one: Submission,
    assignment: Assignment,
    ran: SubmissionResult,
    judge: Judge,
) -> _Matched | None:
    """Run a part again with the reference solution's shapes: a wrong gradient may hide them."""
    part = found.part if found is not None else None
    part = part or next((p for p in ran.parts.values() if _is_called(function, p)), None)
    shapes = judge.function(function.name).shapes
    if part is None or not shapes or part.verdict == "failed":
        return None
    again = run_apart(one, assignment, part.name.partition(".")[0], shapes)
    second = _best(function, again, judge, set())
    if second is None or not second.fits:
        return None
    unit = next((u for u, p in ran.parts.items() if p is part), -1)
    return replace(second, unit=unit)


def _is_called(function: Function, part: Part | None) -> bool:
    if part is None:
        return False
    names = (function.name, *function.names)
    short = {part.name, part.name.rpartition(".")[2], part.name.partition(".")[0]}
    return bool(short & set(names)) or (
        bool(stem_of(part.name)) and stem_of(part.name) == stem_of(function.name)
    )


def _evidence(
    function: Function, best: _Matched | None, ran: SubmissionResult, screened: Screened, kind: str
) -> tuple[str, FunctionEvidence]:
    names = (function.name, *function.names)
    attempted = screened.attempted(names)
    if best is None:
        unit, part = next(
            ((u, p) for u, p in ran.parts.items() if _is_called(function, p)), (-1, None)
        )
        why = ran.refused or (_why(part) if part is not None else "") or ran.unrun.get(unit, "")
        if attempted and not why:
            why = ran.ended or "it was not read as a gradient"
        notices = tuple(screened.of(part.name if part else function.name, kind))
        return part.name if part else "", FunctionEvidence((), part, notices, attempted, why)
    part, judged = best.part, best.judged
    name = part.name if part is not None else function.name
    answers = copied(judged)
    found = (*screened.of(name, kind), *([answers] if answers is not None else []))
    attempted = True if attempted is None else attempted
    why = "" if best.kind == kind else _of_another_kind(best.kind, kind)
    return name, FunctionEvidence(judged, part, found, attempted, why)


def _of_another_kind(theirs: str, ours: str) -> str:
    return (
        f"it is written {KINDS[theirs]}, the reference solution {KINDS[ours]}; with a reference "
        "solution written the same way it can be graded"
    )


def _why(part: Part) -> str:
    return part.why or next((f"it {f.kind}: {f.text}" for f in part.faults if f.fatal), "")


def _item(function: Function, unit: str, found: FunctionEvidence, assignment: Assignment) -> Item:
    found = replace(found, own_counts=assignment.dialect.forward == "any")
    marks = marks_of(function, found, assignment.problems.count)
    part = found.part
    if part is not None:  # what differs from run to run, or names a folder that is gone
        part = msgspec.structs.replace(part, seconds=0.0, script="", wrapper="")
    known = [part.operation] if part is not None and part.operation else []
    chapters = tuple((c, derivation(c)) for c in dict.fromkeys([*function.chapters, *known]))
    return Item(function.name, function.heading, marks, unit, part, found.notices, chapters)
