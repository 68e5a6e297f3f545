"""A graph that a compiled program gets slightly wrong is asked again, operation by operation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reference.campaign import judge_one
from reference.judge import judge_all
from reference.oracles import Answer, load
from reference.oracles.manual import Manual
from reference.problems import GRAPHS, AnyProblem, draw_any
from reference.recomputation import settle_recomputation

RECOMPUTED_BY_XLA = (8, GRAPHS + 1029)  # the cotangent of group_norm's output, inside a pooling


def test_a_cotangent_that_xla_computes_twice_is_no_deviation() -> None:
    one = draw_any(*RECOMPUTED_BY_XLA)
    answers = {name: oracle.answers([one.problem]) for name, oracle in load(("jax",)).items()}
    (compiled,) = judge_all([one.problem], answers)
    assert compiled.verdict == "DEVIATES(jax)"  # when this fails, JAX has changed: remove the case
    answers, judgement = judge_one(one, ("manual", "torch", "jax"))
    assert judgement.kind == "AGREE" and answers["jax"].status == "ok"


class Stub:
    """The hand-written side, wrong in one number, and what it says when asked step by step."""

    name = "jax"
    graphs = True

    def __init__(self, off: float | str, again: Callable[[Answer], Answer]) -> None:
        self.off, self.again = off, again

    def answers(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        return [self._wrong(right) for right in self._right(problems)]

    def stepwise(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        return [self.again(right) for right in self._right(problems)]

    def _right(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        return [replace(answer, oracle=self.name) for answer in Manual().answers(problems)]

    def _wrong(self, right: Answer) -> Answer:
        if self.off == "values":
            last = list(right.values)[-1]
            values = {**right.values, last: right.values[last] * (1 + 1e-13)}
            return replace(right, values=values)
        moved = {"x": right.gradients["x"] * (1 + float(self.off))}
        return replace(right, gradients={**right.gradients, **moved})


def _raises(_: Answer) -> Answer:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("off", "again", "settled"),
    [
        (1e-14, lambda right: right, True),
        (0.5, lambda right: right, False),  # no rounding is so large
        ("values", lambda right: right, False),  # a value is not computed twice
        (1e-14, lambda right: Stub(1e-14, _raises)._wrong(right), False),
        (1e-14, lambda right: replace(right, status="crashed"), False),
        (1e-14, _raises, False),
    ],
)
def test_only_a_slight_deviation_that_is_right_step_by_step_is_settled(
    off: float | str, again: Any, settled: bool
) -> None:
    one = draw_any(3, GRAPHS + 10)
    oracle: Any = Stub(off, again)
    answers = {"manual": Manual().answers([one.problem]), "jax": oracle.answers([one.problem])}
    judgements = judge_all([one.problem], answers)
    assert judgements[0].verdict == "DEVIATES(jax)"
    first = answers["jax"][0]
    (found,) = settle_recomputation([one], judgements, answers, {"jax": oracle})
    assert (found.kind == "AGREE") == settled
    assert (answers["jax"][0] is not first) == settled
    np.testing.assert_equal(answers["manual"][0].status, "ok")
