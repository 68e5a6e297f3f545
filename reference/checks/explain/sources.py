"""All hypotheses, and how one that does not suit a forward is passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reference.checks.explain import (
    catalogued,
    cotangents,
    inner,
    operands,
    ownvalues,
    paths,
    rowwise,
    uses,
    windows,
)
from reference.checks.explain.graph import Edit
from reference.checks.explain.hypothesis import Hypothesis
from reference.checks.explain.problem import ReadingProblem

SOURCES: tuple[Callable[[ReadingProblem], Iterator[Hypothesis]], ...] = (
    catalogued.catalogue_hypotheses,
    paths.step_hypotheses,
    paths.path_hypotheses,
    rowwise.row_hypotheses,
    paths.before_hypotheses,
    ownvalues.own_value_hypotheses,
    operands.operand_hypotheses,
    cotangents.turned_hypotheses,
    uses.use_hypotheses,
    cotangents.order_hypotheses,
    windows.window_hypotheses,
    inner.inner_hypotheses,
    cotangents.scaled_hypotheses,
)


def all_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield every mistake that may be in a problem's sweep."""
    for source in SOURCES:
        try:
            yield from source(problem)
        except UNEXPECTED:
            continue


UNEXPECTED: tuple[type[Exception], ...] = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a forward that nobody thought of may raise in a hypothesis: that one is passed over."""


def edit_of(hypothesis: Hypothesis, problem: ReadingProblem) -> Edit | None:
    """Return a hypothesis' sweep in a problem, None where it does not apply."""
    try:
        return hypothesis.edit(problem)
    except UNEXPECTED:
        return None
