"""Reads the reference solution: which function of it is asked for, and how it is judged with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from manual_backprop.operation import InvalidInput
from reference.checks.code import Spec, Target, Unit, claim_name, raised_text, source, units_of
from reference.checks.comparing import Row, identify
from reference.checks.judging import Chosen, Failure, ReadingSubject
from reference.checks.kinds import Questioned
from reference.checks.parts import read
from reference.grading.correspondence import Correspondence
from reference.grading.kinds import KindSolution, leaf_name
from reference.grading.records import Described, Reference


@dataclass
class Solution:
    """The reference solution's reading of one function, and the correspondence found last."""

    chosen: Chosen
    known: list[Correspondence] = field(default_factory=list)


_targets: dict[str, Target] = {}
_solutions: dict[tuple[str, str, int], Solution | KindSolution] = {}


def loaded(file: str) -> Target:
    """Return the reference solution's file, loaded once."""
    if file not in _targets:
        _targets[file] = source.load(file)
    return _targets[file]


def solution_of(reference: Reference, target: Target) -> Solution | KindSolution:
    """Return the function that is asked for; raises InvalidInput where it is none to judge with."""
    key = (reference.file, reference.unit, reference.seed)
    if key not in _solutions:
        unit = next((u for u in units_of(target) if u.name == reference.unit), None)
        if unit is None:
            have = ", ".join(u.name for u in units_of(target))
            raise InvalidInput(
                f"function={reference.unit!r} is not in the reference; it has {have}"
            )
        _solutions[key] = _read(unit, target, reference.seed)
    return _solutions[key]


def _read(unit: Unit, target: Target, seed: int) -> Solution | KindSolution:
    found = read(unit, target, seed, {})
    match found:
        case ReadingSubject():
            return Solution(_fit(found.chosen, unit))
        case Questioned():
            return KindSolution(_right(found, unit, seed))
        case Failure():
            raise InvalidInput(
                f"function={unit.name!r} of the reference cannot be read: {found.reason}"
            )
    raise InvalidInput(
        f"function={unit.name!r} of the reference is {found.sentence()}, which is not graded; "
        "expected functions or classes on arrays, on tensors, an engine or a general form"
    )


def _right(found: Questioned, unit: Unit, seed: int) -> Questioned:
    """Return a subject that is not NumPy functions, if its gradients are right."""
    try:
        rows = found.case(seed, 0).assessment.rows
        found.questions(seed, 0)
    except Exception as error:
        raise InvalidInput(
            f"function={unit.name!r} of the reference: {raised_text(error)}"
        ) from None
    _refuse_wrong(rows, unit)
    return found


def _refuse_wrong(rows: Sequence[Row], unit: Unit) -> None:
    if not rows or not all(r.right for r in rows):
        wrong = ", ".join(claim_name(r.claim, r.leaf) for r in rows if not r.right)
        raise InvalidInput(f"function={unit.name!r} of the reference is wrong itself: {wrong}")


def _fit(found: Chosen, unit: Unit) -> Chosen:
    if found.differences:
        raise InvalidInput(
            f"function={unit.name!r} of the reference: its forward cannot run on certified "
            f"numbers ({found.why})"
        )
    _refuse_wrong(found.first.rows, unit)
    return found


def described(unit: Unit, target: Target, reference: Reference) -> Described:
    """Return what a function of the solution has: gradients, or why it is none to judge with."""
    try:
        solution = _read(unit, target, reference.seed)
    except InvalidInput as error:
        return Described(unit.name, (), "", str(error))
    if isinstance(solution, KindSolution):
        gradients = solution.gradients(reference.seed)
        shapes = _words(solution.subject.layout)
        return Described(unit.name, gradients, "", "right", shapes, solution.subject.kind)
    chosen = solution.chosen
    operation, _ = identify(chosen.reading, reference.seed, None)
    gradients = tuple(leaf_name(r.leaf) for r in chosen.first.rows)
    return Described(unit.name, gradients, operation, "right", _words(chosen.reading.layout))


def _words(layout: Mapping[str, Spec]) -> dict[str, str]:
    """Return how arguments are drawn, as a file may say it; none where it cannot of one."""
    shapes = {n: _word(s) for n, s in layout.items()}
    return shapes if all(shapes.values()) else {}


def _word(spec: Spec) -> str:
    """Return how an array is drawn, as a file may say it itself; "" where it cannot."""
    if not spec.dims or spec.kind not in ("normal", "label"):
        return ""
    high = [f"int({spec.high})"] if spec.kind == "label" else []
    return " ".join([*spec.dims, *high])
