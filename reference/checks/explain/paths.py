"""stub."""
from collections.abc import Iterator
from reference.checks.explain.hypothesis import Hypothesis
from reference.checks.explain.problem import Problem
def path_hypotheses(problem: Problem) -> Iterator[Hypothesis]:
    yield from ()
