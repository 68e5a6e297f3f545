"""Which operator of an engine is wrong: its slope, its sum over several uses, or the order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reference.checks.assess import Row
from reference.checks.kinds._programs import Program
from reference.checks.subject import Case
from reference.diagnose import Diagnosis, Location
from reference.diagnosis.describe import Pair, describe

if TYPE_CHECKING:
    from reference.checks.kinds.engine import EngineSubject


Told = tuple[Program, str, Row]
"""A row with its program and its leaf."""


def diagnosis_of(subject: "EngineSubject", cases: Sequence[Case]) -> Diagnosis:
    """Return the operators that are wrong, each with a sentence."""
    rows: dict[str, list[Told]] = {}
    mixed: list[Told] = []
    for case in cases:
        for one in subject.told[case.index]:
            (mixed if one[0].use == "mixed" else rows.setdefault(one[0].text, [])).append(one)
    wrong = [p for p in subject.small if any(not r.right for _, _, r in rows.get(p.text, ()))]
    told: dict[str, str] = {}
    for use in ("once", "twice"):
        for program in wrong:
            # `a + (…)`: the operator in question is the first one
            if program.use == use and program.operators[0] not in told:
                told[program.operators[0]] = _sentence(program, rows[program.text])
    if not told and wrong:
        told["backward"] = _order(wrong, rows)
    if not told and any(not r.right for _, _, r in mixed):
        first = next(p for p, _, r in mixed if not r.right)
        told["backward"] = f"every operator is right by itself, but not together: in {first.text}"
    names = tuple(told)
    return Diagnosis(Location(names[0], names) if names else None, (), tuple(told.items()))


def _sentence(program: Program, rows: Sequence[Told]) -> str:
    name = program.operators[0]
    wrong = [r for _, _, r in rows if not r.right]
    if program.use == "twice":
        return _twice(program, wrong)
    if _exchanged(rows):
        return f"the gradients of its two operands are exchanged, in {program.text}"
    by_leaf: dict[str, list[Row]] = {}
    for _, leaf, r in rows:
        if not r.right:
            by_leaf.setdefault(leaf, []).append(r)
    parts = []
    for leaf, some in by_leaf.items():
        text = _slope(name, some) or describe([_pair(r) for r in some])
        parts.append(f"the gradient of {leaf} in {program.text} is wrong" + (f": {text}" if text else ""))
    return "; ".join(parts)


def _pair(r: Row) -> Pair:
    return Pair(np.atleast_1d(r.got), np.atleast_1d(r.truth.value))


def _twice(program: Program, wrong: Sequence[Row]) -> str:
    if not any(r.factor == 2 for r in wrong):
        return ("it overwrites: a value that is used twice keeps the gradient of one use only, "
                f"as a in {program.text} (= for +=)")  # fmt: skip
    return f"it is wrong where a value is used twice, as a in {program.text}"


def _exchanged(rows: Sequence[Told]) -> bool:
    """Whether a got b's gradient and b got a's."""
    pairs = list(zip(rows[::2], rows[1::2], strict=False))
    if len(rows) % 2 or any(a[1] == b[1] for a, b in pairs):
        return False
    return all(
        a.got.shape == b.truth.value.shape and a.truth.value.shape == b.got.shape
        and np.allclose(a.got, b.truth.value, rtol=1e-9) and np.allclose(b.got, a.truth.value, rtol=1e-9)
        for (_, _, a), (_, _, b) in pairs
    )  # fmt: skip


_OF_THE_INPUT = {"tanh", "sigmoid", "exp", "logistic", "sqrt"}


def _slope(name: str, rows: Sequence[Row]) -> str:
    """Say which formula it is, where an output's formula was given the input."""
    if name not in _OF_THE_INPUT or any(np.shape(r.got) for r in rows):
        return ""
    return _formula(name, rows)


def _formula(name: str, rows: Sequence[Row]) -> str:
    """Return the formula of the output that was given the input: y = tanh x has the slope 1 − y²."""
    def fits(slope: Any, inverse: Any) -> bool:
        with np.errstate(all="ignore"):
            return all(np.allclose(r.got, slope(inverse(r.truth.value)), rtol=1e-6) or
                       np.allclose(r.got, slope(-inverse(r.truth.value)), rtol=1e-6) for r in rows)  # fmt: skip

    tables: dict[str, tuple[Any, Any, str]] = {
        # x from the right slope: tanh' = 1 − tanh², so x = artanh √(1 − slope)
        "tanh": (lambda x: 1 - x * x, lambda s: np.arctanh(np.sqrt(np.maximum(1 - s, 0))), "1 − y²"),
        "exp": (lambda x: x, np.log, "y"),
        "sigmoid": (lambda x: x * (1 - x),
                    lambda s: np.log((1 + np.sqrt(np.maximum(1 - 4 * s, 0))) / (2 * s)
                                     - 1 + 1e-300), "y (1 − y)"),
    }  # fmt: skip
    if name in tables:
        slope, inverse, formula = tables[name]
        if name == "sigmoid":
            return _sigmoid_of_input(rows)
        if fits(slope, inverse):
            return f"{formula} is a formula of the output y, and it was given the input"
    return ""


def _sigmoid_of_input(rows: Sequence[Row]) -> str:
    for r in rows:
        p = (1 + np.sqrt(np.maximum(1 - 4 * r.truth.value, 0))) / 2
        x = np.log(p / (1 - p))
        if not any(np.allclose(r.got, z * (1 - z), rtol=1e-6) for z in (x, -x)):
            return ""
    return "y (1 − y) is a formula of the output y, and it was given the input"


def _order(wrong: Sequence[Program], rows: dict[str, list[Told]]) -> str:
    """Say what a backward does that goes through a graph in no topological order."""
    found = [r for p in wrong for _, _, r in rows[p.text] if not r.right]
    more = sum(bool(np.all(np.abs(r.got) > np.abs(r.truth.value))) for r in found)
    where = wrong[0].text
    if 2 * more >= len(found):
        return (f"a value in the middle that is used twice sends on its gradient more than once, as c "
                f"in {where}: every value has to be visited once, in reverse topological order")  # fmt: skip
    return (f"a value in the middle that is used twice sends on its gradient before all of its uses "
            f"have added theirs, as c in {where}: go in reverse topological order")  # fmt: skip
