"""The parts of a page about a wrong gradient: code lines, smallest problem, numbers, script."""

import inspect
import textwrap
from collections.abc import Sequence

from reference.checks.code import Routine, Target
from reference.checks.comparing import Assessment, Row
from reference.checks.judging import ProblemCase, Subject
from reference.checks.showing.script import script_of
from reference.checks.showing.smallest import numbers_of, smallest
from reports.checked import Numbers

_MAX_ENTRIES = 512  # of one gradient in the picture
_MAX_TENSORS = 6


def shown(
    subject: Subject, target: Target, cases: Sequence[ProblemCase], seed: int
) -> dict[str, object]:
    """Return the fields of a wrong part that a page shows: smallest, numbers, picture, script.

    cases: the problems in which something is wrong.
    """
    found: dict[str, object] = {"picture": _numbers(_furthest(cases))}
    wrong = {(r.claim, r.leaf) for c in cases for r in c.assessment.rows if not r.right}
    small = smallest(subject, seed, cases[0].index, wrong)
    if small is None:
        fewest = min(cases, key=lambda c: sum(r.got.size for r in c.assessment.rows))
        return found | {"numbers": _numbers(fewest)}
    sentence, script = script_of(small, target)
    numbers = numbers_of(small.rows, small.scale)
    return found | {"smallest": sentence, "numbers": numbers, "script": script}


def _numbers(case: ProblemCase) -> tuple[Numbers, ...]:
    return numbers_of(_off(case.assessment), case.assessment.scale)


def _furthest(cases: Sequence[ProblemCase]) -> ProblemCase:
    off = [[r.distance(c.assessment.scale) for r in _off(c.assessment)] for c in cases]
    return max(zip(cases, off, strict=True), key=lambda c: max(c[1], default=0.0))[0]


def _off(assessment: Assessment) -> list[Row]:
    rows = [r for r in assessment.rows if not r.right and r.got.shape == r.truth.value.shape]
    return [r for r in rows if 0 < r.got.size <= _MAX_ENTRIES][:_MAX_TENSORS]


def own_lines(routine: Routine, target: Target) -> tuple[int, str]:
    """Return the first line's number and the lines of a function as they stand in the file."""
    node, code = routine.node, getattr(inspect.unwrap(routine.function), "__code__", None)
    if (
        node is not None
        and code is not None
        and target.lines
        and (code.co_filename == getattr(target.module, "__file__", None))
    ):
        lines = target.lines[node.lineno - 1 : node.end_lineno]
        return node.lineno, textwrap.dedent("\n".join(lines))
    try:
        found, first = inspect.getsourcelines(routine.function)
        return first, textwrap.dedent("".join(found)).rstrip()
    except (OSError, TypeError):
        return (node.lineno if node is not None else 0), routine.text()
