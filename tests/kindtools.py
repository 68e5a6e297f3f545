"""Checks a source of one of the kinds that have a way of their own, in this process."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from reference.checks.code import load, units_of
from reference.checks.explain import Explanation
from reference.checks.judging import Failure, ProblemCase, Subject
from reference.checks.kinds import subject_of

_numbers = itertools.count()


@dataclass
class Checked:
    """What was found of one unit."""

    name: str
    kind: str
    subject: Subject | Failure
    cases: list[ProblemCase] = field(default_factory=list)
    explained: Explanation = field(default_factory=Explanation)

    @property
    def right(self) -> bool:
        """Whether every gradient of every problem is right."""
        return bool(self.cases) and all(c.assessment.all_right for c in self.cases)

    @property
    def wrong_leaves(self) -> set[str]:
        """What the wrong gradients are of."""
        rows = [r for c in self.cases for r in c.assessment.rows]
        return {".".join(r.leaf) for r in rows if not r.right}

    @property
    def text(self) -> str:
        """The names of the mistakes and the other sentences."""
        mistakes = [m.name for m in self.explained.named]
        return "; ".join([*mistakes, *(f"{a}: {b}" for a, b in self.explained.described)])


def checked(folder: Path, source: str, problems: int = 4, seed: int = 0) -> list[Checked]:
    """Return what was found of every unit of a source that is not NumPy functions.

    Pairs and methods are asked as code on tensors.
    """
    path = folder / f"kind{next(_numbers)}.py"
    path.write_text(source)
    target = load(str(path))
    found = []
    for unit in units_of(target):
        one = Checked(unit.name, unit.kind, subject_of(unit, target, seed, {}))
        if not isinstance(one.subject, Failure):
            one.cases = [one.subject.case(seed, i) for i in range(problems)]
            one.explained = one.subject.explanation(one.cases, seed)
        found.append(one)
    return found


def only(folder: Path, source: str, problems: int = 4) -> Checked:
    """Return what was found of a source with one unit."""
    (found,) = checked(folder, source, problems)
    assert not isinstance(found.subject, Failure), found.subject
    return found
