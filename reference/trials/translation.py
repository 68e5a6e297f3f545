"""Faults injected into our own calls of the frameworks: each must be reported as VALUE.

A framework that is asked for another function than we mean gives another gradient. The harness has
to find that out by itself and must not report the framework's gradient as wrong.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import NamedTuple

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.arithmetic import Tensor
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from manual_backprop.operation import Operation
from reference.judge import judge_all, operation_at
from reference.oracles import counterparts, jax_grad, load, torch_autograd
from reference.oracles.counterparts import Framework, Resolved
from reference.problems import Selection, draw
from reference.translation import settle_translation
from reports.records import TrialRow


class TranslationFault(NamedTuple):
    """A fault in what we ask a framework of an operation; problems with `met_by` meet it."""

    framework: Framework
    text: str
    operation: str
    met_by: str
    injected: Callable[[], AbstractContextManager[None]]

    @property
    def name(self) -> str:
        """The framework and the fault."""
        return f"{self.framework}: {self.text} ({self.operation})"


def faults(framework: Framework) -> Iterator[TranslationFault]:
    """Yield the faults: parameters not passed on, a wrong divisor, a bias added twice."""
    for operation in (*ACTIVATIONS.values(), *LOSSES.values()):
        for parameter in operation.parameters:
            if parameter != "ignore_index":  # without it a framework raises: CRASHED
                wrong = _call_of(operation, framework, _at_default(parameter, operation))
                text, name = f"{parameter} not passed on", operation.name
                yield TranslationFault(framework, text, name, name, wrong)
    bias = _call_of(LAYERS["dense"], framework, _bias_twice)
    yield TranslationFault(framework, "the bias added twice", "dense", "identity", bias)
    divisor = {"torch": _torch_sums, "jax": _jax_divides_twice}[framework]
    yield TranslationFault(framework, "a wrong divisor of the mean", "mse", "mse", divisor)


def translation_faults(
    injected: Sequence[TranslationFault], problems: int = 96
) -> Iterator[TrialRow]:
    """Inject faults of one framework together, so that JAX's program is compiled once for all.

    One is killed where it is reported as VALUE, and nowhere as the framework's wrong gradient.
    """
    before = named(injected, problems)
    with ExitStack() as stack:
        for fault in injected:
            stack.enter_context(fault.injected())
        after = named(injected, problems)
    for fault, was, is_now in zip(injected, before, after, strict=True):
        reported, accused = (is_now[kind] - was[kind] for kind in ("VALUE", "DEVIATES"))
        met = reported > 0 or accused > 0  # else it changes nothing: an epsilon never met
        columns: dict[str, float | int | str | None] = {
            "injected": int(met),
            "killed": int(reported > 0 >= accused),
            "equivalent": int(not met),
        }
        yield TrialRow(section="mutants", row=f"translation: {fault.name}", columns=columns)


def named(injected: Sequence[TranslationFault], problems: int) -> list[Counter[str]]:
    """Count for each fault the problems in which the framework is named for the operation."""
    oracles = load(("manual", injected[0].framework))
    counts: list[Counter[str]] = []
    for fault in injected:
        selection = Selection(
            activations=(fault.met_by,) if fault.met_by in ACTIVATIONS else (),
            losses=(fault.met_by,) if fault.met_by in LOSSES else (),
        )
        drawn = [draw(0, index) for index in selection.indices(problems)]
        asked = [one.problem for one in drawn]
        with np.errstate(all="ignore"):
            answers = {name: oracle.answers(asked) for name, oracle in oracles.items()}
        judgements = settle_translation(drawn, judge_all(asked, answers), oracles)
        counts.append(
            Counter(
                judgement.kind
                for problem, judgement in zip(asked, judgements, strict=True)
                if fault.framework in judgement.who
                and judgement.leading is not None
                and operation_at(problem, judgement.leading.tensor) == fault.operation
            )
        )
    return counts


# -- the faults ------------------------------------------------------------------------------------


def _call_of(
    operation: Operation, framework: Framework, fault: Callable[[Resolved], Resolved]
) -> Callable[[], AbstractContextManager[None]]:
    """Return what replaces the framework's function of an operation by a faulty call of it."""

    @contextmanager
    def injected() -> Iterator[None]:
        right = counterparts.resolve(operation, framework)
        key = (framework, id(operation))
        counterparts._resolved[key] = operation, fault(right)
        try:
            yield
        finally:
            counterparts._resolved[key] = operation, right

    return injected


def _at_default(parameter: str, operation: Operation) -> Callable[[Resolved], Resolved]:
    def fault(right: Resolved) -> Resolved:
        @wraps(right)  # torch's own reductions are found by its signature and its identity
        def wrong(*given: object, **named: object) -> object:
            return right(*given, **{**named, parameter: operation.defaults()[parameter]})

        return wrong

    return fault


def _bias_twice(right: Resolved) -> Resolved:
    def wrong(a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        z: Tensor = right(a, weight, bias)
        return z if bias is None else z + bias

    return wrong


@contextmanager
def _torch_sums() -> Iterator[None]:
    right = torch_autograd._own_reduction

    def wrong(problem: Problem, function: Resolved) -> str | None:
        return "sum" if problem.network.loss == "mse" else right(problem, function)

    torch_autograd._own_reduction = wrong
    try:
        yield
    finally:
        torch_autograd._own_reduction = right


@contextmanager
def _jax_divides_twice() -> Iterator[None]:
    right = jax_grad.divisor

    def wrong(problem: Problem) -> np.floating:
        return right(problem) * problem.dtype.type(2 if problem.network.loss == "mse" else 1)

    jax_grad.divisor = wrong
    try:
        yield
    finally:
        jax_grad.divisor = right
