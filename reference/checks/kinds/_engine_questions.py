"""What an engine of values is asked: its small programs, by names that two engines share."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from reference.checks.kinds._programs import ExpressionProgram
from reference.checks.kinds._questions import Question, plain

REUSE = "reuse"
"""What the gradients of programs count as in which a value is used twice."""

_METHOD = re.compile(r"(\w+|\([^()]*\))\.(\w+)\(\)")


class Runs(Protocol):
    """An engine that runs programs."""

    def value(self, program: ExpressionProgram, given: Mapping[str, Any]) -> Any:
        """Return the output's data."""

    def gradients(self, program: ExpressionProgram, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the leaves' gradients."""


def name_of(program: ExpressionProgram) -> str:
    """Return a program's text, the same for a.tanh() and tanh(a)."""
    before, text = "", program.text
    while before != text:
        before, text = text, _METHOD.sub(lambda m: f"{m[2]}({m[1].strip('()')})", text)
    return text


def of_program(engine: Runs, program: ExpressionProgram, given: Mapping[str, Any]) -> Question:
    """Run a program and its backward; return what went in and what came back."""
    with np.errstate(all="ignore"):
        value, got = engine.value(program, given), engine.gradients(program, given)
    alone = program.use == "once"
    return Question(
        plain({(n,): np.asarray(v, dtype=float) for n, v in given.items()}),
        (value,),
        (np.ones(np.shape(value)),),
        plain({(n,): g for n, g in got.items() if g is not None}),
        name=name_of(program),
        of=program.operators[0] if alone else REUSE,
        needs=() if alone else program.operators,
    )
