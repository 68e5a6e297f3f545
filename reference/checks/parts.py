"""Checks one part of a target: reads it, judges it on many problems, explains what is wrong.

A *unit* is code that looks like a gradient, a *subject* is the unit after it was read, and a *part*
is the result for it.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from reference.balls import LeftTheTape, TooManyNodes
from reference.checks.code import Path, Spec, Target, Unit, claim_name, is_gradient_name, path_name
from reference.checks.code.inventory import set_up_by
from reference.checks.code.raised import error_line
from reference.checks.comparing import Row, compared, identify, known_like, not_compared
from reference.checks.judging import (
    Chosen,
    Failure,
    ProblemCase,
    ReadingSubject,
    Subject,
    constants,
    fragile,
    search,
)
from reference.checks.kernels import Findings, kernel_findings
from reference.checks.kinds import answers, subject_of, wants_tensors
from reference.checks.kinds.functions import FunctionSubject
from reference.checks.results import CheckRequest, text
from reference.checks.running import ForwardFailed, NotFinite
from reference.checks.running.matching import OTHER_AXES
from reference.checks.showing import own_lines, shown
from reference.checks.tolerances import NEARLY
from reports.checked import CheckedTensor, Fault, Part, Worst

PROBLEMS = 20
MIN_PROBLEMS = 4
_NODES = 60_000  # without a given number of problems: beyond so many recorded operations, stop

SPECIAL = ("torch", "jax", "engine", "network", "general")


def check_unit(
    unit: Unit,
    target: Target,
    request: CheckRequest,
    shapes: Mapping[str, Spec],
    like: str | None,
    watch: Callable[[Subject], None] = lambda subject: None,
) -> Part | None:
    """Return the result for one unit; None if it only looked like a gradient.

    watch: a function that is called with the subject before it is judged.
    """
    began = time.monotonic()
    found = read(unit, target, request.seed, dict(shapes))
    if isinstance(found, Failure):
        if not unit.expected or _is_not_written(found):
            return None
        return _unchecked(unit, target, found, request, time.monotonic() - began)
    watch(found)
    counts = _PartCounts(found, unit)
    _judge(found, counts, request)
    found, counts = _under_other_settings(found, counts, unit, request)
    counts.kernel = _as_a_kernel(found, counts, request.seed)
    if counts.wrong and isinstance(found, ReadingSubject) and _nearly(counts):
        counts = _without_tiny_constants(found, unit, target, request) or counts
    part = _part(counts, unit, found, request, target, like)
    doubtful = part.verdict in ("wrong", "failed") and not shapes
    drawn = found.drawn_as() if doubtful else ""
    return msgspec.structs.replace(part, drawn=drawn, seconds=time.monotonic() - began)


def _under_other_settings(
    subject: Subject, counts: "_PartCounts", unit: Unit, request: CheckRequest
) -> tuple[Subject, "_PartCounts"]:
    """Judge what is right under other values of its settings; return what is wrong under one."""
    if counts.wrong or counts.raised or not counts.cases:
        return subject, counts
    few = msgspec.structs.replace(request, problems=MIN_PROBLEMS)
    for name, (default, *values) in subject.settings().items():
        for value in values:
            other = subject.with_setting(name, value)
            again = _PartCounts(other, unit)
            _judge(other, again, few)
            setting = f"{name.removeprefix('init.')}={{!r}}"
            if any(r.telling for rows in again.tensors.values() for r in rows) and again.wrong:
                again.remarks[
                    f"with {setting.format(value)}; right with {setting.format(default)}"
                ] += 1
                return other, again
            if again.raised and not again.cases:
                error = error_line(again.raised[0][1])
                counts.remarks[f"not checked with {setting.format(value)}: {error}"] += 1
    return subject, counts


def _as_a_kernel(found: Subject, counts: "_PartCounts", seed: int) -> Findings | None:
    """Ask a framework's own function in every way that programs do; None for anything else."""
    if not isinstance(found, FunctionSubject) or not counts.cases:
        return None
    try:
        return kernel_findings(found, seed)
    except Exception as error:
        return Findings(remarks=[f"it was not called in other ways: {error_line(error)}"])


def _nearly(counts: "_PartCounts") -> bool:
    """Whether each wrong tensor is off by less than a hundredth: one side may forget a small ε."""
    rows = (r for some in counts.tensors.values() for r in some)
    return all(r.distance() < NEARLY for r in rows if not r.right)


def _without_tiny_constants(
    subject: ReadingSubject, unit: Unit, target: Target, request: CheckRequest
) -> "_PartCounts | None":
    """Judge again with every constant below 1e-4 taken for 0: log(p + 1e-7) for log p."""
    again = _PartCounts(subject, unit)
    with constants.tiny_ones_dropped(target) as dropped:
        if not dropped:
            return None
        _judge(subject, again, request)
    if again.wrong or not again.cases:
        return None
    again.remarks[
        f"its gradient is that without the tiny constant {', '.join(dropped)} in the forward, "
        "which prevents a division by zero"
    ] += 1
    return again


def _is_not_written(failure: Failure) -> bool:
    """Whether the code raises NotImplementedError, as the methods of a base class do."""
    named = f"{type(failure.raised).__name__} {failure.errors}"
    return "NotImplementedError" in named and not isinstance(failure.raised, TypeError | ValueError)


def read(unit: Unit, target: Target, seed: int, shapes: dict[str, Spec]) -> Subject | Failure:
    """Return how a unit is read: as NumPy code under one reading, or as code of another kind."""
    if unit.kind in SPECIAL or wants_tensors(unit, target):
        return subject_of(unit, target, seed, shapes)
    chosen = search(unit, target, seed, shapes)
    if isinstance(chosen, Chosen):
        return ReadingSubject(chosen)
    other = subject_of(unit, target, seed, shapes)  # written for torch tensors or jax arrays
    return chosen if isinstance(other, Failure) else other


# -- many problems -----------------------------------------------------------------------------


@dataclass
class _PartCounts:
    """The results of one part's problems together.

    A key (claim, leaf) is the path of a returned array and that of the input that it is the
    gradient of. `tensors` has the comparisons of all problems, `middle` those of intermediate
    values. `missing` are inputs of which no gradient came back, `unmatched` returned arrays that
    belong to no input.
    """

    subject: Subject
    unit: Unit
    cases: list[ProblemCase] = field(default_factory=list)
    raised: list[tuple[int, BaseException]] = field(default_factory=list)
    tensors: dict[tuple[Path, Path], list[Row]] = field(default_factory=dict)
    middle: dict[tuple[Path, Path], list[Row]] = field(default_factory=dict)
    missing: Counter[Path] = field(default_factory=Counter)
    unmatched: Counter[Path] = field(default_factory=Counter)
    faults: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)
    wrong: list[int] = field(default_factory=list)
    unfit: list[tuple[int, BaseException]] = field(default_factory=list)
    """Problems whose sizes its forward refused: a kernel longer than its input."""
    kernel: Findings | None = None

    def add(self, case: ProblemCase) -> None:
        """Count one problem."""
        found = case.assessment
        self.cases.append(case)
        for row in found.rows:
            self.tensors.setdefault((row.claim, row.leaf), []).append(row)
        for row in found.middle:
            self.middle.setdefault((row.claim, row.leaf), []).append(row)
        self.missing.update(found.missing)
        self.unmatched.update(found.unmatched)
        self.remarks.update(found.remarks)
        for kind, sentence in case.faults:
            self.faults.setdefault((kind, sentence), []).append(case.index)
        if not found.all_right:
            self.wrong.append(case.index)

    @property
    def problems(self) -> int:
        """How many were tried."""
        return len(self.cases) + len(self.raised)


def _judge(subject: Subject, counts: _PartCounts, request: CheckRequest) -> None:
    wanted = request.problems or PROBLEMS
    nodes = 0
    for index in range(wanted):
        try:
            case = subject.case(request.seed, index)
        except (LeftTheTape, TooManyNodes):
            continue
        except ForwardFailed as error:
            counts.unfit.append((index, error))
            continue
        except Exception as error:
            counts.raised.append((index, error))
            if len(counts.raised) >= 6 and not counts.cases:
                break
            continue
        counts.add(case)
        nodes += case.nodes
        if request.problems is None and nodes > _NODES and index + 1 >= MIN_PROBLEMS:
            break
    if not counts.cases:
        counts.raised += counts.unfit
    subject.settle(counts.cases)


# -- its result --------------------------------------------------------------------------


def _part(
    counts: _PartCounts,
    unit: Unit,
    subject: Subject,
    request: CheckRequest,
    target: Target,
    like: str | None,
) -> Part:
    right = len(counts.cases) - len(counts.wrong)
    faults = _faults(counts, request)
    tensors = tuple(_tensor(k, rows) for k, rows in counts.tensors.items())
    fatal = any(f.fatal for f in faults)
    verdict = "wrong" if counts.wrong else "failed" if fatal or not right else "right"
    line, source = own_lines(unit.backward, target)
    part = Part(
        unit.name,
        verdict,  # type: ignore[arg-type]
        subject.sentence(),
        subject.judged_by(),
        counts.problems,
        right,
        len(counts.wrong),
        tensors,
        tuple(path_name(p) for p, n in counts.missing.items() if n == len(counts.cases)),
        faults=faults,
        remarks=_remarks(counts, subject),
        fragile=tuple(counts.kernel.lossy) if counts.kernel is not None else (),
        line=line,
        source=source,
    )
    part = _about_the_forward(part, subject, request, like)
    unplaced = {p for c in counts.cases for p in c.assessment.unplaced}
    open_ones = list(subject.uncompared)
    if unplaced:
        names = ", ".join(sorted(path_name(p) or "what it returns" for p in unplaced))
        open_ones.append(f"no input was found to which these belong: {names}")
    if verdict == "right" and open_ones:
        part = msgspec.structs.replace(
            part,
            verdict="unchecked",
            wrapper=text.wrapper(unit) if unplaced else "",
            why="; ".join([*open_ones, "all other gradients are right"]),
        )
    if counts.wrong:
        part = _explained(part, counts, subject, request, target)
    return part


def _about_the_forward(
    part: Part, subject: Subject, request: CheckRequest, like: str | None
) -> Part:
    """Find which operation the forward is, and where it breaks."""
    if isinstance(subject, FunctionSubject) and like is not None:
        _, remarks = compared(subject.matrices(), known_like(like), like, "its forward")
        return msgspec.structs.replace(part, remarks=(*part.remarks, *remarks))
    if not isinstance(subject, ReadingSubject) or subject.chosen.differences:
        return msgspec.structs.replace(part, remarks=(*part.remarks, *not_compared(like)))
    operation, remarks = identify(subject.reading, request.seed, like)
    if request.frameworks:
        asked = operation, request.frameworks, request.seed
        remarks = [*remarks, *answers(subject.reading, subject.objective, *asked)]
    plain = part.ok and not part.remarks
    broken = fragile.probe(subject.reading, subject.objective, request.seed) if plain else []
    return msgspec.structs.replace(
        part, operation=operation, remarks=(*part.remarks, *remarks), fragile=tuple(broken)
    )


def _tensor(key: tuple[Path, Path], rows: list[Row]) -> CheckedTensor:
    claim, leaf = key
    off = [r.distance((r.right and r.factor) or 1.0) for r in rows]
    note = ""
    if rows and rows[0].same == OTHER_AXES:
        note = f"came back as {rows[0].got.shape}"
    return CheckedTensor(
        claim_name(claim, leaf),
        path_name(leaf),
        sum(r.right for r in rows),
        len(rows),
        max(off, default=0.0),
        note,
    )


def _faults(counts: _PartCounts, request: CheckRequest) -> tuple[Fault, ...]:
    fatal = ("mutated", "dtype", "value", "stale")
    found = [
        Fault(kind, sentence, f"{request.seed}:{at[0]}", len(at), kind in fatal)
        for (kind, sentence), at in counts.faults.items()
    ]
    raised: dict[str, list[int]] = {}
    for index, error in counts.raised:
        raised.setdefault(error_line(error), []).append(index)
    found += [
        Fault("raised", sentence, f"{request.seed}:{at[0]}", len(at))
        for sentence, at in raised.items()
    ]
    lost = [index for index, error in counts.unfit if isinstance(error, NotFinite)]
    if counts.kernel is not None:
        at = f"{request.seed}:0"
        found += [Fault(way, sentence, at, 1, True) for way, sentence in counts.kernel.failing]
    if lost and counts.cases:
        tried = counts.problems + len(counts.unfit)
        sentence = f"it gives nan in {len(lost)} of {tried} problems, which were not judged"
        found.append(Fault("forward", sentence, f"{request.seed}:{lost[0]}", 1, fatal=False))
    return tuple(found)


def _remarks(counts: _PartCounts, subject: Subject) -> tuple[str, ...]:
    found = list(counts.remarks)
    for (claim, leaf), rows in counts.middle.items():
        wrong = [r for r in rows if not r.right]
        if wrong and not counts.wrong:
            factor = wrong[0].factor
            how = f"{factor:.6g} times" if factor is not None else "not"
            where = ", so your code probably has a factor such as 1/N in another place"
            found.append(
                f"{path_name(claim)} is {how} the gradient with respect to {path_name(leaf)}; the "
                f"gradients of the weights are right{where if factor is not None else ''}"
            )
    names = [
        path_name(p)
        for p, n in counts.unmatched.items()
        if n == len(counts.cases) and any(map(is_gradient_name, p))
    ]
    if names:
        found.append(f"not compared with anything: {', '.join(names[:6])}")
    found += subject.remarks()
    found += counts.kernel.sentences(not counts.wrong) if counts.kernel is not None else []
    return tuple(dict.fromkeys(found))


# -- what is wrong with it ---------------------------------------------------------------------


def _explained(
    part: Part, counts: _PartCounts, subject: Subject, request: CheckRequest, target: Target
) -> Part:
    wrong = [c for c in counts.cases if c.index in counts.wrong]
    found = subject.explanation(counts.cases, request.seed)
    return msgspec.structs.replace(
        part,
        worst=_worst(wrong, request),
        first_wrong=found.first,
        mistakes=found.named,
        described=found.described,
        **shown(subject, target, wrong, request.seed),
    )


def _worst(cases: list[ProblemCase], request: CheckRequest) -> Worst | None:
    best: tuple[float, Worst] | None = None
    for case in cases:
        for row in case.assessment.rows:
            if row.right or row.got.shape != row.truth.value.shape or not row.got.size:
                continue
            scale = case.assessment.scale
            off = row.off(scale)
            entry = tuple(int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))
            given, truth = float(row.got[entry]), float(row.truth.value[entry]) * scale
            size = float(off[entry]) / (float(np.max(np.abs(row.truth.value), initial=0.0)) or 1.0)
            radius = float(row.truth.radius[entry]) if row.truth.radius.shape else 0.0
            problem, name = f"{request.seed}:{case.index}", claim_name(row.claim, row.leaf)
            one = Worst(problem, name, entry, given, truth, radius)
            if best is None or size > best[0]:
                best = (size, one)
    return best[1] if best is not None else None


def _unchecked(
    unit: Unit, target: Target, failure: Failure, request: CheckRequest, seconds: float
) -> Part:
    why = failure.reason
    line, source = own_lines(unit.backward, target)
    ran = failure.reading is not None and failure.reading.forward is not None
    framework = unit.kind in ("torch", "jax")
    always = (ran or framework) and not failure.returned and len(failure.raised_texts) == 1
    needed = set_up_by(unit)
    if always and not needed and failure.raised is not None:
        fault = Fault("raised", error_line(failure.raised), f"{request.seed}:0")
        return Part(
            unit.name,
            "failed",
            "" if framework else unit.derivative_of(unit.partners[0]),
            faults=(fault,),
            source=unit.backward.text(),
            seconds=seconds,
        )
    broken = next((e for e in failure.errors if _is_broken(e)), None)
    if broken is not None and not ran:
        why = f"its forward raised {broken}"
    elif failure.raised is not None and failure.reading is not None:
        raised = error_line(failure.raised)
        why = f"its backward raised {raised} under every reading that was tried"
    elif framework and failure.raised is not None:
        why = (
            f"its backward raised {error_line(failure.raised)}, and other errors with other "
            'shapes; a line like shapes = {"x": "N D"} in your file says which shapes it takes'
        )
    elif failure.errors:
        why = f"{failure.reason}; the last of {failure.tried} tries raised {failure.errors[-1]}"
    if needed:
        why += f"; first, it may need {', '.join(f'{n}()' for n in needed[:3])}"
    return Part(
        unit.name,
        "unchecked",
        why=why,
        wrapper="" if framework else text.wrapper(unit),
        seconds=seconds,
        line=line,
        source=source,
    )


def _is_broken(error: str) -> bool:
    """Whether an error means that the code cannot run with any arguments."""
    return error.startswith("NameError") or "is not installed" in error


def accept_mean_taken_in_layers(parts: Mapping[int, Part]) -> dict[int, Part]:
    """Return the parts, with verdicts that depend on other parts changed.

    A gradient of a mean loss without its 1/N is right where the layers of the same file take the
    mean themselves.
    """
    takes_mean = any(
        "the mean is taken in the layer" in r for p in parts.values() for r in p.remarks
    )
    if not takes_mean:
        return {}
    changed = {}
    for index, part in parts.items():
        too_often = part.mistakes and all(
            m.name == "mean_left_out" or (m.name == "constant_factor" and "too many" in m.sentence)
            for m in part.mistakes
        )
        if part.verdict == "wrong" and too_often and not part.described:
            changed[index] = msgspec.structs.replace(
                part,
                verdict="right",
                right=part.problems,
                wrong=0,
                mistakes=(),
                described=(),
                worst=None,
                remarks=(
                    *part.remarks,
                    "it lacks the 1/N of its mean, which the layers of this file put in themselves",
                ),
            )
    return changed
