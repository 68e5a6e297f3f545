"""Faults of the hand-written side and of our own calls of the frameworks, injected one by one.

A *hidden* fault of the hand-written side shows in few problems: a slope wrong in one region, a loss
wrong at one size, a layer wrong at some widths or in every 503rd call. A judge that compares what
it has seen before, or problems of one size, misses them. Each must be reported as its error.

With a fault in our *translation* a framework is asked for another function than we mean, and gives
another gradient. The harness has to find that out by itself, must report it as VALUE and must not
report the framework's gradient as wrong.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from itertools import count
from typing import Any, NamedTuple, NoReturn
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.arithmetic import Tensor
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from manual_backprop.operation import FloatArray, Operation
from reference.judge import judge_all, operation_at
from reference.oracles import Answer, Oracle, counterparts, crashed, jax_grad, load, torch_autograd
from reference.oracles.counterparts import Framework
from reference.problems import Drawn, Selection, draw
from reference.translation import settle_values
from reference.trials.mutants import REGISTRIES, Mutant, injected
from reports.records import TrialRow, Value

Backward = Callable[..., Any]
Change = Callable[[Backward], Backward]

EVERY = 503
"""Calls of a layer, of which the last is wrong: a prime, so that it falls on other problems."""

WIDE = 8
"""Outputs of a layer above which its bias gradient is zeroed."""

NAMED = ("DEVIATES(manual)", "CRASHED(manual)")


class HiddenFault(NamedTuple):
    """A fault in one backward, and how many problems of that operation meet it."""

    text: str
    operation: str
    change: Change
    problems: int

    @property
    def name(self) -> str:
        """The operation and the fault."""
        return f"{self.operation}: {self.text}"

    def injected(self) -> AbstractContextManager[object]:
        """Put it in the place of the right backward; a count of calls starts at zero each time."""
        group, registry = next((k, r) for k, r in REGISTRIES.items() if self.operation in r)
        wrong = self.change(registry[self.operation].backward)
        return injected(Mutant(group, self.operation, self.text, wrong))


def hidden_faults() -> Iterator[TrialRow]:
    """Inject each fault alone; one is killed where the hand-written side is named for it.

    Its problems are first judged without it: an accusation there is a false alarm.
    """
    for fault in FAULTS:
        before = verdicts(fault, min(fault.problems, 200))
        with fault.injected():
            after = verdicts(fault, fault.problems)
        killed = bool(after & {*NAMED}) and not before & {*NAMED}
        yield _row(f"hidden: {fault.name}", True, killed)


def _row(name: str, met: bool, killed: bool) -> TrialRow:
    columns: dict[str, Value] = {
        "injected": int(met), "killed": int(killed), "equivalent": int(not met),
    }  # fmt: skip
    return TrialRow(section="mutants", row=name, columns=columns)


def _drawn_with(operation: str, problems: int) -> list[Drawn]:
    """Return problems that have an operation."""
    selection = Selection(
        activations=(operation,) if operation in ACTIVATIONS else (),
        losses=(operation,) if operation in LOSSES else (),
    )
    return [draw(0, index) for index in selection.indices(problems)]


def verdicts(fault: HiddenFault, problems: int) -> set[str]:
    """Return the verdicts on the hand-written side, asked twice, the second time backward."""
    side = load(("manual",))["manual"]
    drawn = [one.problem for one in _drawn_with(fault.operation, problems)]
    with np.errstate(all="ignore"):
        answers = [_answer(side, problem) for problem in drawn]
        turned = [_answer(side, problem) for problem in reversed(drawn)]
    again = dict(enumerate(reversed(turned)))
    judgements = judge_all(drawn, {"manual": answers}, again={"manual": again})
    return {judgement.verdict for judgement in judgements}


def _answer(side: Oracle, problem: Problem) -> Answer:
    try:
        return side.answer(problem)
    except Exception as error:
        return crashed("manual", error)


# -- the hidden faults: each makes a wrong backward of the right one ------------------------------


def _of_slope(where: Callable[[FloatArray], npt.NDArray[np.bool_]], factor: float) -> Change:
    """Return a change that makes an activation's slope wrong by a factor in one region."""

    def change(right: Backward) -> Backward:
        return lambda x, y, dy, **named: (
            np.where(where(x), factor, 1).astype(x.dtype) * right(x, y, dy, **named)
        )

    return change


def _of_loss(where: Callable[[FloatArray], bool], factor: float) -> Change:
    """Return a change that makes a loss's gradient wrong by a factor for some predictions."""

    def change(right: Backward) -> Backward:
        return lambda y, t, dy, **named: (
            right(y, t, dy, **named) * y.dtype.type(factor if where(y) else 1)
        )

    return change


def _of_wide(right: Backward) -> Backward:
    def wrong(*given: object, **named: object) -> dict[str, FloatArray]:
        made: dict[str, FloatArray] = right(*given, **named)
        if made.get("bias") is not None and made["bias"].shape[-1] > WIDE:
            made["bias"] = made["bias"] * 0
        return made

    return wrong


def _now_and_then(right: Backward) -> Backward:
    calls = count(1)

    def wrong(*given: object, **named: object) -> dict[str, FloatArray]:
        made: dict[str, FloatArray] = right(*given, **named)
        if next(calls) % EVERY == 0:
            made["weight"] = made["weight"] * 2
        return made

    return wrong


def _crash(right: Backward) -> Backward:
    def wrong(*given: object, **named: object) -> NoReturn:
        raise RuntimeError("injected")

    return wrong


def _whole_in_six(y: FloatArray) -> bool:
    return len(y) == 6 and y.dtype == np.float32 and bool(((y == 0) | (y == 1)).any())


FAULTS = (
    HiddenFault(
        "zeroed for 3 samples at a probability of 0", "categorical_cross_entropy",
        _of_loss(lambda y: len(y) == 3 and bool((y == 0).any()), 0.0), 1500,
    ),
    HiddenFault(
        "doubled for 6 samples at a probability of 0 or 1", "binary_cross_entropy",
        _of_loss(_whole_in_six, 2.0), 1500,
    ),
    HiddenFault("the wrong sign above 40", "sigmoid", _of_slope(lambda x: x > 40, -1.0), 600),
    HiddenFault("times −50 beyond 1e8", "softsign", _of_slope(lambda x: abs(x) > 1e8, -50.0), 600),
    HiddenFault("times 1.001 below −20", "celu", _of_slope(lambda x: x < -20, 1.001), 600),
    HiddenFault("times 50 below 1e-9", "tanhshrink", _of_slope(lambda x: abs(x) < 1e-9, 50.0), 600),
    HiddenFault(f"no bias gradient above {WIDE} outputs", "dense", _of_wide, 512),
    HiddenFault(f"doubled in every {EVERY}rd call", "dense", _now_and_then, 1024),
    HiddenFault("a crash", "dense", _crash, 4),
)  # fmt: skip


class TranslationFault(NamedTuple):
    """A fault in what we ask a framework of an operation; problems with `met_by` meet it."""

    framework: Framework
    text: str
    operation: str
    met_by: str
    injected: Callable[[], AbstractContextManager[object]]

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
        yield _row(f"translation: {fault.name}", met, reported > 0 >= accused)


def named(injected: Sequence[TranslationFault], problems: int) -> list[Counter[str]]:
    """Count for each fault the problems in which the framework is named for the operation."""
    oracles = load(("manual", injected[0].framework))
    counts: list[Counter[str]] = []
    for fault in injected:
        drawn = _drawn_with(fault.met_by, problems)
        asked = [one.problem for one in drawn]
        with np.errstate(all="ignore"):
            answers = {name: oracle.answers(asked) for name, oracle in oracles.items()}
        judgements = settle_values(drawn, judge_all(asked, answers), oracles)
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


# -- the faults of translation ---------------------------------------------------------------------


def _call_of(
    operation: Operation, framework: Framework, fault: Change
) -> Callable[[], AbstractContextManager[object]]:
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


def _at_default(parameter: str, operation: Operation) -> Change:
    def fault(right: Backward) -> Backward:
        @wraps(right)  # torch's own reductions are found by its signature and its identity
        def wrong(*given: object, **named: object) -> object:
            return right(*given, **{**named, parameter: operation.defaults()[parameter]})

        return wrong

    return fault


def _bias_twice(right: Backward) -> Backward:
    def wrong(a: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        z: Tensor = right(a, weight, bias)
        return z if bias is None else z + bias

    return wrong


def _torch_sums() -> AbstractContextManager[object]:
    right = torch_autograd._own_reduction

    def wrong(problem: Problem, function: Backward) -> str | None:
        return "sum" if problem.network.loss == "mse" else right(problem, function)

    return patch.object(torch_autograd, "_own_reduction", wrong)


def _jax_divides_twice() -> AbstractContextManager[object]:
    right = jax_grad.divisor

    def wrong(problem: Problem) -> object:
        return right(problem) * problem.dtype.type(2 if problem.network.loss == "mse" else 1)

    return patch.object(jax_grad, "divisor", wrong)
