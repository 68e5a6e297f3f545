"""Which operator of an engine is wrong: its slope, its sum over several uses, or the order."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from reference.checks.code import NumericValue
from reference.checks.comparing import Row
from reference.checks.explain import Explanation
from reference.checks.kinds._programs import ExpressionProgram
from reference.checks.tolerances import DIGITS
from reference.diagnosis.describe import ArrayPair, describe
from reports.records import grouped


class ProgramGradient(NamedTuple):
    """One gradient of one program."""

    program: ExpressionProgram
    leaf: str
    row: Row
    given: Mapping[str, NumericValue]
    """The values of the program's leaves."""


def explained(small: Sequence[ExpressionProgram], found: Sequence[ProgramGradient]) -> Explanation:
    """Return the operators that are wrong, each with a sentence.

    small: the programs of one operator each, the simplest ones first.
    """
    results = grouped(found, lambda one: one.program.text)
    wrong = [p for p in small if any(not t.row.right for t in results.get(p.text, ()))]
    sentences: dict[str, str] = {}
    for use in ("once", "twice"):
        for program in wrong:
            # In `tanh(a) + a` the operator in question is the first one, if the other is right.
            first, *others = program.operators
            if program.use == use and first not in sentences and not sentences.keys() & set(others):
                sentences[program.operators[0]] = _sentence(program, results[program.text])
    if not sentences and wrong:
        sentences["backward"] = _order(wrong, results)
    if not sentences:
        mixed = next((t.program for t in found if not t.row.right), None)
        if mixed is not None:
            sentences["backward"] = (
                f"each operator is right by itself, but not together: {mixed.text}"
            )
    return Explanation(next(iter(sentences), ""), (), tuple(sentences.items()))


def _sentence(program: ExpressionProgram, results: Sequence[ProgramGradient]) -> str:
    if program.use == "twice":
        return _twice(program, results)
    if _exchanged(results):
        return f"the gradients of its two operands are exchanged, in {program.text}"
    wrong = (one for one in results if not one.row.right)
    parts = []
    for leaf, some in grouped(wrong, lambda one: one.leaf).items():
        text = _of_the_input(program, some) or describe([_pair(t) for t in some])
        how = f": {text}" if text else ""
        parts.append(f"the gradient of {leaf} in {program.text} is wrong{how}")
    return "; ".join(parts)


def _pair(result: ProgramGradient) -> ArrayPair:
    known = {f"the value of {k}": np.atleast_1d(v) for k, v in result.given.items()}
    return ArrayPair(np.atleast_1d(result.row.got), np.atleast_1d(result.row.truth.value), known)


def _twice(program: ExpressionProgram, results: Sequence[ProgramGradient]) -> str:
    if any(t.row.factor == 2 for t in results if not t.row.right):
        return f"it is wrong where a value is used twice, as a in {program.text}"
    return (
        "it overwrites: a value that is used twice keeps the gradient of one use only, as a in "
        f"{program.text} (= for +=)"
    )


def _exchanged(results: Sequence[ProgramGradient]) -> bool:
    """Whether a got b's gradient and b got a's."""
    pairs = list(zip(results[::2], results[1::2], strict=False))
    if len(results) % 2 or any(a.leaf == b.leaf for a, b in pairs):
        return False
    return all(_same(a.row, b.row) and _same(b.row, a.row) for a, b in pairs)


def _same(one: Row, other: Row) -> bool:
    """Whether one row's claim is the other's truth."""
    right = other.truth.value
    return one.got.shape == right.shape and bool(np.allclose(one.got, right, rtol=DIGITS))


_OUTPUT_FORMULAS: dict[str, tuple[str, Callable[[NumericValue], NumericValue]]] = {
    "tanh": ("1 − y²", lambda y: 1 - y * y),
    "sigmoid": ("y (1 − y)", lambda y: y * (1 - y)),
    "logistic": ("y (1 − y)", lambda y: y * (1 - y)),
    "exp": ("y", lambda y: y),
    "sqrt": ("1 / (2 y)", lambda y: 1 / (2 * y)),
}


def _of_the_input(program: ExpressionProgram, results: Sequence[ProgramGradient]) -> str:
    """Say so where a slope that is a formula of the output was given the input."""
    name = program.operators[0]
    if name not in _OUTPUT_FORMULAS:
        return ""
    formula, slope = _OUTPUT_FORMULAS[name]
    if not all(np.allclose(t.row.got, slope(t.given[t.leaf]), rtol=DIGITS) for t in results):
        return ""
    return f"{formula} is a formula of the output y, and it was given the input"


def _order(
    wrong: Sequence[ExpressionProgram], results: Mapping[str, Sequence[ProgramGradient]]
) -> str:
    """Say what a backward does that goes through a graph in no topological order."""
    rows = [t.row for p in wrong for t in results[p.text] if not t.row.right]
    more = sum(bool(np.all(np.abs(r.got) > np.abs(r.truth.value))) for r in rows)
    value = f"a value in the middle that is used twice, as c in {wrong[0].text},"
    if 2 * more >= len(rows):
        return (
            f"{value} sends on its gradient more than once: every value has to be visited once, in "
            "reverse topological order"
        )
    return (
        f"{value} sends on its gradient before all of its uses have added theirs: go in reverse "
        "topological order"
    )
