"""The smallest failing problem of a kind with a way of its own, and a script that shows it.

A kind says which smaller versions of itself there are and how its code is called; what is common
to all is here: trying them, the sentence, the numbers, the script that is run before it is given.
"""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from reference.checks.assessment import Row
from reference.checks.names import claim_name
from reference.checks.routine import Path
from reference.checks.script import right_text, shows
from reference.checks.script_text import HEAD, SHOW, function_text, lines_of
from reference.checks.smallest import Key, numbers_of, sentence_of, visible
from reference.checks.source import Target
from reference.checks.spelling import NoShortSpelling, given_text
from reference.checks.subject import ProblemCase, Subject

_MAX_SECONDS = 2.0  # a JAX function is compiled again for every shape
_DRAWS = 3  # problems of each size
_MAX_FAILURES = 6  # sizes that the target refuses, one after another


@dataclass(frozen=True)
class Demonstration:
    """How a kind's code is called: what goes in, and the lines of a function that calls it.

    given: numbers and arrays by name. run: the lines; the last one returns the gradients by
    name. imports: the modules they need beside NumPy. names: of the target's module, that the
    lines need.
    """

    given: dict[str, Any]
    run: list[str]
    imports: tuple[str, ...] = ()
    names: tuple[str, ...] = field(default=())


@runtime_checkable
class Shrinkable(Protocol):
    """A subject that can be asked about smaller problems."""

    def smaller(self, wrong: Collection[Key]) -> Iterator[Subject]:
        """Yield the subject with small sizes and numbers that are easily read, smallest first."""

    def demonstration(self, index: int, leaves: list[tuple[str, Path]]) -> Demonstration:
        """Return how the last problem of this number is run.

        leaves: the names under which the lines return gradients, with what they are of.
        """


@dataclass
class SmallCase:
    """A failing problem of a kind, with what it needs to be shown."""

    subject: Subject
    case: ProblemCase
    rows: list[Row]
    scale: float

    def fields(self, target: Target) -> dict[str, object]:
        """Return the fields of a part: its sentence, its numbers, its script."""
        assert isinstance(self.subject, Shrinkable)
        leaves = [(claim_name(r.claim, r.leaf), r.leaf) for r in self.rows]
        shown = self.subject.demonstration(self.case.index, leaves)
        return {
            "smallest": sentence_of("", shown.given),
            "numbers": numbers_of(self.rows, self.scale),
            "script": self._script(shown, target),
        }

    def _script(self, shown: Demonstration, target: Target) -> str:
        """Return the script, "" where there is none that runs and shows it."""
        try:
            if not shown.run or not all(hasattr(target.module, n) for n in shown.names):
                return ""
            given = given_text(shown.given)
            load = lines_of(target, target.module)
        except NoShortSpelling:
            return ""
        run = function_text("run", "Return the gradients of your code.", shown.run)
        right = right_text(self.rows, self.scale)
        modules = ["copy", "sys", *shown.imports]
        modules += ["importlib.util"] * ("importlib.util" in load)
        head = HEAD.format(
            name=self.subject.name,
            needs=", ".join(["NumPy", *shown.imports]),
            judge=self.subject.judged_by(),
            imports="\nimport ".join(sorted(modules)),
            load=load,
            given=given,
        )
        text = f"{head}{run}\nright = {{\n{right}\n}}\nyours = run()\ndifferences = {{}}\n{SHOW}"
        return text if shows(text, self.rows, self.scale) else ""


def smallest_case(subject: Shrinkable, seed: int, wrong: Collection[Key]) -> SmallCase | None:
    """Return the smallest failing problem of a subject; None where the small ones are right."""
    until, failures = time.process_time() + _MAX_SECONDS, 0
    for one in subject.smaller(wrong):
        for index in range(_DRAWS):
            if failures >= _MAX_FAILURES or time.process_time() > until:
                return None
            try:
                case = one.case(seed, index)
            except Exception:  # the target refuses these sizes
                failures += 1
                break
            off = [r for r in case.assessment.rows if not r.right]
            scale = case.assessment.scale
            rows = [r for r in off if r.got.shape == r.truth.value.shape and visible(r, scale)]
            if rows and all((r.claim, r.leaf) in wrong for r in off):
                return SmallCase(one, case, rows, scale)
    return None
