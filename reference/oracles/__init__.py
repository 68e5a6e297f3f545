"""Oracles: independent ways to compute a gradient. One module is one oracle.

An oracle that is not installed is skipped, and the report gives the reason.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from manual_backprop.graph import GraphProblem
from manual_backprop.network import Problem
from manual_backprop.operation import FloatArray, InvalidInput
from reference.formats import format_of
from reference.problems import AnyProblem

Status = Literal["ok", "skipped", "unsupported", "crashed"]
"""skipped: it is not installed, or was not asked. unsupported: it cannot compute it."""

MAX_REASON = 1000
"""The largest number of characters of an oracle's error message; longer ones are cut."""


@dataclass(frozen=True)
class Answer:
    """The answer of one oracle to one problem: the loss, every step's value and every cotangent.

    `gradients` has every parameter, every intermediate step and "x"; see `network.backward`.
    `values` has the forward value of every step, by the same names. An answer without them (or
    without the cotangents of the steps) is judged as a whole, not step by step. At second order,
    `tangents` has the derivative of each value along the direction, `products` of each cotangent.
    """

    oracle: str
    loss: FloatArray | None = None
    gradients: Mapping[str, FloatArray] = field(default_factory=dict)
    status: Status = "ok"
    reason: str = ""
    values: Mapping[str, FloatArray] = field(default_factory=dict)
    tangents: Mapping[str, FloatArray] = field(default_factory=dict)
    products: Mapping[str, FloatArray] = field(default_factory=dict)


class Oracle(Protocol):
    """An independent way to compute the gradient of a problem."""

    name: str

    def unavailable(self) -> str | None:
        """Return why the oracle cannot answer here, or None when it can."""
        return None

    def answer(self, problem: AnyProblem) -> Answer:
        """Answer one problem; raises what the underlying framework raises."""

    def answers(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        """Answer a block of problems, in order."""
        return [self.answer(problem) for problem in problems]


def takes_graphs(oracle: Oracle) -> bool:
    """Say whether an oracle answers graphs: it then has the attribute `graphs = True`."""
    return bool(getattr(oracle, "graphs", False))


def stepwise(oracle: Oracle, problems: Sequence[AnyProblem]) -> list[Answer]:
    """Ask an oracle that compiles graphs again, every operation compiled by itself.

    Returns nothing where the oracle has no such way to answer, or fails.
    """
    ask = getattr(oracle, "stepwise", None)
    if ask is None:
        return []
    try:
        found: list[Answer] = ask(problems)
    except Exception:  # the first answer stands
        return []
    return found


def innermost(oracle: Oracle) -> Oracle:
    """Return the oracle that a wrapper has as its `inner`, or the oracle itself."""
    inner: Oracle = getattr(oracle, "inner", oracle)
    return inner


def by_kind(
    problems: Sequence[AnyProblem],
    chains: Callable[[list[Problem]], list[Answer]],
    graphs: Callable[[list[GraphProblem]], list[Answer]],
) -> list[Answer]:
    """Return the answers in order; `chains` and `graphs` each answer one kind of problem."""
    some = chains([p for p in problems if isinstance(p, Problem)])
    others = graphs([p for p in problems if isinstance(p, GraphProblem)])
    first, second = iter(some), iter(others)
    return [next(first if isinstance(p, Problem) else second) for p in problems]


# name of the oracle -> (module in this package, class in it); a module is imported when asked for.
_MODULES = {
    "manual": ("manual", "Manual"),
    "torch": ("torch_autograd", "TorchAutograd"),
    "jax": ("jax_grad", "JaxGrad"),
    "complex_step": ("complex_step", "ComplexStep"),
}
ORACLES: tuple[str, ...] = tuple(_MODULES)
SECOND_ORDER = (
    "manual", "torch_reverse", "torch_forward", "torch_nested", "jax_forward", "jax_reverse",
)  # fmt: skip
"""The oracles at second order: each way of a framework is a separate oracle."""

_MODULES |= {
    "torch_reverse": ("torch_second", "TorchReverse"),
    "torch_forward": ("torch_second", "TorchForward"),
    "torch_nested": ("torch_second", "TorchNested"),
    "jax_forward": ("jax_second", "JaxForward"),
    "jax_reverse": ("jax_second", "JaxReverse"),
}


def load(names: Iterable[str] = ORACLES) -> dict[str, Oracle]:
    """Return the named oracles; a framework is imported when its oracle is first asked.

    "package.module:Class" names an oracle of the user.
    """
    return {name: _load(name) for name in names}


def _load(name: str) -> Oracle:
    if name in _MODULES:
        module, cls = _MODULES[name]
        ours: Oracle = getattr(importlib.import_module(f"{__name__}.{module}"), cls)()
        return ours
    module, separator, cls = name.partition(":")
    if not separator:
        known = ", ".join(_MODULES)
        raise InvalidInput(f"oracle={name!r} is unknown; expected MODULE:CLASS or one of: {known}")
    try:
        theirs = getattr(importlib.import_module(module), cls)()
    except Exception as error:  # their module, and their class, may fail in any way
        raise InvalidInput(f"oracle={name!r} cannot be loaded: {readable(error)}") from None
    for member in ("unavailable", "answer", "answers"):
        if not callable(getattr(theirs, member, None)):
            raise InvalidInput(f"oracle={name!r}: it has no method {member}(), expected an Oracle")
    from reference.oracles.external import ExternalOracle

    return ExternalOracle(theirs, name)


def skipped(oracle: str, reason: str) -> Answer:
    """Return the answer of an oracle that could not be asked."""
    return Answer(oracle, status="skipped", reason=reason)


def unsupported(oracle: str, reason: str) -> Answer:
    """Return the answer of an oracle that has no such derivative."""
    return Answer(oracle, status="unsupported", reason=readable(reason))


_LACKS = ("not implemented for", "is not supported")
# torch's binary_cross_entropy refuses NaN, for example inf - inf after an overflow.
_REFUSES = ("all elements of input should be between 0 and 1",)


@contextmanager
def unless_lacking(oracle: str, problem: AnyProblem) -> Iterator[list[Answer]]:
    """Catch the error of a framework that lacks an operation in a low dtype, or refuses a NaN.

    An answer "unsupported" is then appended to the list that this context gives.
    """
    answers: list[Answer] = []
    try:
        yield answers
    except (RuntimeError, ValueError) as error:
        if not (
            format_of(problem.dtype).low
            and any(text in str(error) for text in (*_LACKS, *_REFUSES))
        ):
            raise
        answers.append(unsupported(oracle, f"{problem.dtype}: {str(error).splitlines()[0]}"))


def crashed(oracle: str, error: BaseException) -> Answer:
    """Return the answer of an oracle that failed while answering."""
    return Answer(oracle, status="crashed", reason=readable(error))


def readable(reason: object) -> str:
    """Return an oracle's error or reason as text that can be written to any file."""
    try:
        text = (
            f"{type(reason).__name__}: {reason}"
            if isinstance(reason, BaseException)
            else str(reason)
        )
    except Exception:  # an error that cannot say what it is
        text = type(reason).__name__
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]} …"
