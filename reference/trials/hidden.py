"""Faults in the hand-written side that show in few problems: each must be reported as its error.

A slope wrong in one region, a loss wrong at one size, a layer wrong at some widths or in every
503rd call. A judge that compares what it has seen before, or problems of one size, misses them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from manual_backprop.operation import FloatArray, Registry
from reference.judge import judge_all
from reference.oracles import Answer, Oracle, load
from reference.problems import Selection, draw
from reference.trials.mutants import Mutant, injected
from reports.records import TrialRow

Backward = Callable[..., Any]

EVERY = 503
"""Calls of a layer, of which the last is wrong: a prime, so that it falls on other problems."""

WIDE = 8
"""Outputs of a layer above which its bias gradient is zeroed."""

NAMED = ("DEVIATES(manual)", "CRASHED(manual)")


class HiddenFault(NamedTuple):
    """A fault in one backward, and how many problems of that operation meet it."""

    text: str
    operation: str
    change: Backward
    problems: int

    @property
    def name(self) -> str:
        """The operation and the fault."""
        return f"{self.operation}: {self.text}"

    @property
    def selection(self) -> Selection:
        """The problems that have the operation."""
        name = (self.operation,)
        return Selection(
            activations=name if self.operation in ACTIVATIONS else (),
            losses=name if self.operation in LOSSES else (),
        )

    def injected(self) -> AbstractContextManager[None]:
        """Put it in the place of the right backward."""
        kinds: dict[str, Registry[Any]] = {
            "activation": ACTIVATIONS, "loss": LOSSES, "layer": LAYERS,
        }  # fmt: skip
        group, registry = next((k, r) for k, r in kinds.items() if self.operation in r)
        wrong = partial(self.change, registry[self.operation].backward)
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
        columns: dict[str, float | int | str | None] = {
            "injected": 1, "killed": int(killed), "equivalent": 0,
        }  # fmt: skip
        yield TrialRow(section="mutants", row=f"hidden: {fault.name}", columns=columns)


def verdicts(fault: HiddenFault, problems: int) -> set[str]:
    """Return the verdicts on the hand-written side, asked twice, the second time backward."""
    side = load(("manual",))["manual"]
    drawn = [draw(0, index).problem for index in fault.selection.indices(problems)]
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
        return Answer("manual", status="crashed", reason=f"{type(error).__name__}: {error}")


# -- the faults ------------------------------------------------------------------------------------


# Each gets the right backward first, then what that is called with.


def _of_slope(where: Callable[[FloatArray], npt.ArrayLike], factor: float) -> Backward:
    """Return an activation's slope wrong by a factor in one region."""

    def wrong(right: Backward, x: FloatArray, y: FloatArray, dy: FloatArray, **named: float) -> Any:
        return np.where(where(x), factor, 1).astype(x.dtype) * right(x, y, dy, **named)

    return wrong


def _of_loss(where: Callable[[FloatArray], npt.ArrayLike], factor: float) -> Backward:
    """Return a loss's gradient wrong by a factor for some predictions."""

    def wrong(
        right: Backward, y: FloatArray, t: np.ndarray, dy: FloatArray, **named: object
    ) -> Any:
        made = right(y, t, dy, **named)
        return made * made.dtype.type(factor) if where(y) else made

    return wrong


def _wide(right: Backward, *given: object, **named: object) -> Any:
    made = right(*given, **named)
    if made.get("bias") is not None and made["bias"].shape[-1] > WIDE:
        made["bias"] = made["bias"] * 0
    return made


def _of_state() -> Backward:
    calls = count(1)

    def wrong(right: Backward, *given: object, **named: object) -> Any:
        made = right(*given, **named)
        if next(calls) % EVERY == 0:
            made["weight"] = made["weight"] * 2
        return made

    return wrong


def _crash(right: Backward, *given: object, **named: object) -> NoReturn:
    raise RuntimeError("injected")


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
    HiddenFault(f"no bias gradient above {WIDE} outputs", "dense", _wide, 512),
    HiddenFault(f"doubled in every {EVERY}rd call", "dense", _of_state(), 1024),
    HiddenFault("a crash", "dense", _crash, 4),
)  # fmt: skip
