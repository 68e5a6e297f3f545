"""Says in words how wrong gradients differ from the right ones, for kinds without a catalogue."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from reference.checks.explain import Explanation
from reference.checks.names import path_name
from reference.checks.routine import Path
from reference.checks.subject import ProblemCase, Subject
from reference.diagnose import Diagnosis, Location
from reference.diagnosis.describe import ArrayPair, describe
from reports.checked import NamedMistake


class Explained(Subject):
    """A subject that says what is wrong in the words of the report."""

    def diagnosis(self, cases: Sequence[ProblemCase]) -> Diagnosis:
        """Say what is wrong of the cases."""
        raise NotImplementedError

    def explanation(self, cases: Sequence[ProblemCase], seed: int) -> Explanation:
        """Return the first wrong gradient, the named mistakes, and sentences for the others."""
        found = self.diagnosis(cases)
        mistakes = tuple(
            NamedMistake(
                m.name, m.sentence, m.wrong, m.right, n.places, n.explained, n.of, n.remaining
            )
            for n in found.named
            for m in [n.mistake]
        )
        first = found.location.tensor if found.location is not None else ""
        return Explanation(first, mistakes, tuple(found.described))


Known = Callable[[ProblemCase], Mapping[str, Any]]


def by_name(leaves: Mapping[Path, object]) -> dict[str, Any]:
    """Return arrays by the names that people know them by."""
    return {path_name(p): a for p, a in leaves.items()}


def described(
    cases: Sequence[ProblemCase], known: Known, mistakes: Mapping[Path, str] = MappingProxyType({})
) -> Diagnosis:
    """Return which gradients are wrong, each with what its problems have in common.

    known: arrays that may have slipped in, of one problem: its inputs, its steps. mistakes: what
    is known of a gradient already.
    """
    pairs: dict[Path, list[ArrayPair]] = {}
    for case in cases:
        if case.assessment.all_right:
            continue
        scale = case.assessment.scale
        beside = {
            k: np.asarray(v)
            for k, v in known(case).items()
            if isinstance(v, np.ndarray) and v.dtype.kind == "f"
        }
        rows = case.assessment.rows
        right = {f"the gradient of {path_name(r.leaf)}": r.truth.value for r in rows}
        for r in case.assessment.rows:
            if r.right:
                continue
            own = f"the gradient of {path_name(r.leaf)}"
            others = {k: v for k, v in right.items() if k != own}
            pairs.setdefault(r.leaf, []).append(
                ArrayPair(r.got, scale * r.truth.value, beside | others, sizes_of(beside))
            )
    texts = tuple((path_name(p), mistakes.get(p) or describe(found)) for p, found in pairs.items())
    wrong = tuple(path_name(leaf) for leaf in pairs)
    location = Location(wrong[0], wrong) if wrong else None
    return Diagnosis(location, (), tuple((n, t) for n, t in texts if t))


def sizes_of(arrays: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes that a factor may stem from: N of the first array, each axis by name."""
    found: dict[str, int] = {}
    for name, array in arrays.items():
        for axis, size in enumerate(array.shape):
            found.setdefault(f"size {axis} of {name}", int(size))
    first = next((a for a in arrays.values() if a.ndim), None)
    return ({"N": int(first.shape[0])} if first is not None else {}) | found
