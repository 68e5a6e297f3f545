"""What the ways of asking have in common: problems, what should come back, and the dtypes."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from reference.checks.code import Path, path_name, raised_text
from reference.checks.kernels._findings import (
    FLOAT32,
    FLOAT64,
    FORWARD,
    ROUNDED,
    Array,
    Bounds,
    Findings,
    Model,
    OperationSize,
    ReturnedArray,
    furthest,
    in_dtype,
    is_steady,
    wrong_texts,
)
from reference.checks.kernels._problem import Cotangents, KernelProblem, drawn_problem, sizes_to_try
from reference.checks.kinds._frames import filled
from reference.checks.kinds.functions import FunctionSubject
from reference.checks.running import announce
from reference.checks.tolerances import COARSE, DIGITS

_DRAWN = 8  # problems that are drawn until one has no decision on an edge
_LOW = 2  # problems in each dtype

Way = tuple[str, Callable[[], list[str] | None]]
"""A name, and what returns what is wrong; None: it does not apply."""


@dataclass
class KernelAnswer:
    """What came back of one call."""

    outputs: Sequence[Array | None]
    gradients: Mapping[Path, Array | None]
    returned: dict[str, Any] = field(default_factory=dict)
    """What the backward itself returned for each argument, before its framework changes it."""
    changed: list[str] = field(default_factory=list)
    """What was written into."""
    aliases: list[tuple[str, str]] = field(default_factory=list)
    """(argument whose gradient it is, argument whose memory it shares)."""


Leaves = TypeVar("Leaves", contravariant=True)
Weights = TypeVar("Weights", contravariant=True)


class TracedGraph(Protocol[Leaves, Weights]):
    """A gradient of the reference as a list of operations, in its framework."""

    def shifted(
        self, shifts: Mapping[Any, Array], leaves: Leaves, dout: Weights
    ) -> tuple[Array, ...]:
        """Return outputs, then gradients in the order of the leaves, in float64.

        shifts: what is added to the results of some operations.
        """

    def sizes(self, leaves: Leaves, dout: Weights) -> Mapping[Any, OperationSize]:
        """Return how large the results of all operations that round are."""

    def bounds(self, sizes: Mapping[Any, OperationSize], leaves: Leaves, dout: Weights) -> Bounds:
        """Return how far rounding may move each output and gradient, by model."""


@dataclass(frozen=True)
class TracedReference(Generic[Leaves, Weights]):
    """The gradient of the reference, traced for the shapes of one problem.

    running: the context that it is run in. arrays: from a problem and cotangents to the
    framework's leaves and cotangents in float64.
    """

    graph: TracedGraph[Leaves, Weights]
    running: Callable[[], AbstractContextManager[None]]
    arrays: Callable[[KernelProblem, Cotangents], tuple[Leaves, Weights]]

    def values(self, problem: KernelProblem, cotangents: Cotangents) -> tuple[Array, ...]:
        """Return outputs, then gradients in the order of the leaves, in float64."""
        with self.running():
            return self.graph.shifted({}, *self.arrays(problem, cotangents))

    def steady_bounds(
        self, problem: KernelProblem, cotangents: Cotangents, seed: int
    ) -> Bounds | None:
        """Return how far rounding may move each of these, by model.

        None where a decision stands on an edge: then there are two right answers.
        """
        with self.running():
            given = self.arrays(problem, cotangents)
            announce(seed, problem.index, tape=True)
            sizes = self.graph.sizes(*given)
            bounds = self.graph.bounds(sizes, *given)
            announce(seed, problem.index)
            steady = is_steady(lambda s: self.graph.shifted(s, *given), sizes, bounds, seed)
            return bounds if steady else None


class Kernel(Protocol):
    """A function with a gradient by hand, in its framework."""

    def ask(self, problem: KernelProblem, cotangents: Cotangents, dtype: str) -> KernelAnswer:
        """Call it in a dtype and pull its cotangents back."""

    def cotangents(self, problem: KernelProblem, dtype: str) -> Cotangents:
        """Return random weights of the outputs of a problem."""

    def traced(self, problem: KernelProblem, cotangents: Cotangents) -> TracedReference[Any, Any]:
        """Trace the reference for the shapes of a problem."""


class KernelTruth(NamedTuple):
    """What should come back: outputs, then a gradient of each leaf, and how far each may be off."""

    values: tuple[Array, ...]
    bounds: tuple[Array, ...]


class KernelQuestion(NamedTuple):
    """A problem in which rounding changes no decision."""

    problem: KernelProblem
    cotangents: Cotangents
    traced: TracedReference[Any, Any]
    bounds: Bounds

    def truth(self, model: Model) -> KernelTruth:
        """Return what should come back, its inputs rounded to the model's dtype."""
        problem = self.problem.in_dtype(model.dtype)
        weights = in_dtypes(self.cotangents, model.dtype)
        return KernelTruth(self.traced.values(problem, weights), self.bounds[model])


class Ways:
    """Asks a kernel in every way, the plain ones first."""

    advice = ""
    """What is added where a second derivative is wrong."""
    stride = 1
    """How far apart the indices are of problems that are asked in low dtypes."""

    def __init__(self, subject: FunctionSubject, seed: int, kernel: Kernel) -> None:
        self.subject, self.seed, self._kernel = subject, seed, kernel
        # Code that computes in float32 itself is asked in it.
        self.model = Model(FLOAT32 if subject.coarse else FLOAT64)
        self.digits = COARSE if subject.coarse else DIGITS
        self.found = Findings()
        self._steadily: dict[int, KernelQuestion] = {}
        self.asked: KernelQuestion | None = None
        self.right = False
        try:
            self.asked = self.steady(0)
        except Exception as error:
            self.found.remarks.append(f"its rounding was not judged: {raised_text(error)}")
            self.problem = drawn_problem(subject, seed, 0).in_dtype(self.model.dtype)
            self.cotangents = kernel.cotangents(self.problem, self.model.dtype)
            self.truth = self.formula = self.own(self.cotangents)
        else:
            self.problem = self.asked.problem.in_dtype(self.model.dtype)
            self.cotangents = in_dtypes(self.asked.cotangents, self.model.dtype)
            self.truth = self.formula = self.asked.truth(self.model)
            try:
                self._plain()
            except Exception as error:
                self.found.add("a normal call", [f"raises {raised_text(error)}"])
        self.sizes = tuple(np.full(v.shape, _largest(v) * self.digits) for v in self.truth.values)

    def _plain(self) -> None:
        """Call it normally; a wrong formula is reported by its own judge, lost digits are here."""
        named = self.named(self.ask(self.problem, self.cotangents), self.truth)
        self.right = not wrong_texts(named, self.model)
        outputs = wrong_texts([n for n in named if not n.name.startswith("d")], self.model)
        self.found.add(FORWARD, outputs)
        if not self.right:
            self.truth = self.own(self.cotangents)
            if not outputs and self.subject.case(self.seed, 0).assessment.all_right:
                self.found.add(self.model.dtype, wrong_texts(named, self.model))

    def findings(self) -> Findings:
        """Return what all ways find; where the plain one is wrong, it is the others' reference."""
        for way, run in self.ways():
            announce(self.seed, self.problem.index)
            try:
                wrong = run()
            except Exception as error:
                wrong = [f"raises {raised_text(error)}"]
            if wrong is not None:
                self.found.add(way, wrong)
        if self.right:
            for dtype in ROUNDED:
                self._in_dtype(dtype)
        return self.found

    def ways(self) -> Iterator[Way]:
        """Yield the ways of a framework."""
        raise NotImplementedError

    def _with_zeros(self) -> list[str]:
        given = each(lambda c: c * (np.arange(c.size).reshape(c.shape) % 3 == 0), self.cotangents)
        return self.wrong(self.ask(self.problem, given), self.at(given))

    def _second(self) -> list[str] | None:
        """Differentiate the gradient once more: it must be refused, or right."""
        if self.asked is None or not self.right or self.model.dtype != FLOAT64:
            return None
        mine = self.derivative(own=True)
        true = None if mine is None else self.derivative(own=False)
        if mine is None or true is None:
            return [] if mine is None else None
        for path, got, right in zip(self.problem.leaves, mine, true, strict=True):
            bound = np.full(right.shape, DIGITS * (1 + _largest(right)))
            if furthest(ReturnedArray(path_name(path), got, right, bound), self.model).times > 1:
                return [
                    "double backward gives a wrong second derivative with respect to "
                    f"{path_name(path)} and raises no error{self.advice}"
                ]
        return []

    def derivative(self, own: bool) -> list[Array] | None:
        """Return the derivative of Σ v·g by the inputs, v random; None where it is refused.

        own: of the gradient by hand; else of that of the reference.
        """
        raise NotImplementedError

    def other_problems(self) -> Iterator[Way]:
        """Yield problems of other sizes, and with an empty row in each mask."""
        for way, sizes in sizes_to_try(self.subject):
            yield way, functools.partial(self._sized, sizes)
        for name, spec in self.subject.layout.items():
            if spec.kind == "mask" and len(spec.dims) > 1:
                yield f"an empty row of {name}", functools.partial(self._emptied, name)

    # -- problems and what should come back --------------------------------------------------

    def ask(self, problem: KernelProblem, cotangents: Cotangents) -> KernelAnswer:
        """Ask plainly, in the dtype of the ways."""
        return self._kernel.ask(problem, cotangents, self.model.dtype)

    def steady(self, index: int) -> KernelQuestion:
        """Return the first problem, from an index on, in which rounding changes no decision."""
        for at in range(index, index + _DRAWN * self.stride, self.stride):
            if at in self._steadily:
                return self._steadily[at]
            problem = drawn_problem(self.subject, self.seed, at)
            cotangents = self._kernel.cotangents(problem, self.model.dtype)
            traced = self._kernel.traced(problem, cotangents)
            bounds = traced.steady_bounds(problem, cotangents, self.seed)
            if bounds is not None:
                self._steadily[at] = KernelQuestion(problem, cotangents, traced, bounds)
                return self._steadily[at]
        raise ArithmeticError(f"in each of {_DRAWN} problems a decision stands on an edge")

    def own(self, cotangents: Cotangents) -> KernelTruth:
        """Return what the kernel answers when it is asked plainly, as the truth of other ways."""
        answer = self.ask(self.problem, cotangents)
        values = [v for v in answer.outputs if v is not None]
        values += filled(answer.gradients, self.problem.leaves).values()
        return KernelTruth(tuple(values), tuple(0 * v for v in values))

    def at(self, cotangents: Cotangents) -> KernelTruth:
        """Return what should come back for other cotangents."""
        if self.asked is None or not self.right:
            return self.own(cotangents)
        return KernelTruth(self.asked.traced.values(self.problem, cotangents), self.sizes)

    def named(self, answer: KernelAnswer, truth: KernelTruth) -> list[ReturnedArray]:
        """Return what came back beside what should."""
        outputs = [o for o in answer.outputs if o is not None]
        names = [f"output {k}" if len(outputs) > 1 else "the output" for k in range(len(outputs))]
        named = [ReturnedArray(*one) for one in zip(names, outputs, *truth, strict=False)]
        for k, path in enumerate(self.problem.leaves, len(outputs)):
            if path in answer.gradients:
                got = answer.gradients[path]
                named.append(
                    ReturnedArray(f"d{path_name(path)}", got, truth.values[k], truth.bounds[k])
                )
        return named

    def wrong(
        self, answer: KernelAnswer, truth: KernelTruth, model: Model | None = None
    ) -> list[str]:
        """Return a sentence for each array that is not what it should be."""
        return wrong_texts(self.named(answer, truth), model or self.model)

    # -- other problems ----------------------------------------------------------------------

    def _sized(self, sizes: dict[str, int]) -> list[str] | None:
        before = self.subject.sizes
        self.subject.sizes = before | sizes
        try:
            return self._of(drawn_problem(self.subject, self.seed, 0))
        finally:
            self.subject.sizes = before

    def _emptied(self, name: str) -> list[str] | None:
        def empty(drawn: dict[str, object]) -> None:
            drawn[name] = mask = np.array(drawn[name])
            mask[..., 0, :] = 0
            mask[..., 1:, 0] = 1

        return self._of(drawn_problem(self.subject, self.seed, 0, empty))

    def _of(self, problem: KernelProblem) -> list[str] | None:
        """Ask about another problem; None where the reference does not run on it."""
        problem = problem.in_dtype(self.model.dtype)
        frame = self.subject.frame
        reference = self.subject.function(self.subject.written.primal, dict(problem.drawn))
        try:
            with frame.running(self.seed):
                pulled = frame.pullback(reference, problem.leaves)
                weights = problem.cotangents(pulled.outputs, self.seed)
                cotangents = in_dtypes(weights, self.model.dtype)
                true = pulled.pull(cotangents)
        except Exception:
            return None
        values = [o for o in pulled.outputs if o is not None]
        values += filled(true, problem.leaves).values()
        scale = max(map(_largest, problem.leaves.values()), default=1.0)
        bounds = tuple(np.full(v.shape, self.digits * max(scale, _largest(v))) for v in values)
        return self.wrong(self.ask(problem, cotangents), KernelTruth(tuple(values), bounds))

    # -- dtypes ------------------------------------------------------------------------------

    def _in_dtype(self, dtype: str) -> None:
        """Hold the gradient in a dtype to what rounding allows in it."""
        wrong: list[str] = []
        lossy: list[str] = []
        index = 0
        for _ in range(_LOW):
            try:
                asked = self.steady(index)
            except ArithmeticError:
                break
            index = asked.problem.index + self.stride
            problem = asked.problem.in_dtype(dtype)
            try:
                answer = self._kernel.ask(problem, in_dtypes(asked.cotangents, dtype), dtype)
            except Exception as error:
                self.found.remarks.append(f"it does not run in {dtype}: {raised_text(error)}")
                return
            found = self.wrong(answer, asked.truth(Model(dtype)), Model(dtype))
            accumulated = Model(dtype, accumulated=True)
            if found and accumulated in asked.bounds:
                if not self.wrong(answer, asked.truth(accumulated), accumulated):
                    lossy, found = lossy + found, []
            wrong += found + self.narrowed(answer, dtype)
        self.found.add(dtype, list(dict.fromkeys(wrong))[:2])
        if lossy and not wrong:
            self.found.lossy.append(
                f"{dtype}: {lossy[0]}; sums accumulated in {dtype} may lose that much"
            )

    def narrowed(self, answer: KernelAnswer, dtype: str) -> list[str]:
        """Return what comes back in a dtype of fewer digits than its input."""
        return []


def each(change: Callable[[Array], Array], arrays: Cotangents) -> list[Array | None]:
    """Return arrays, each changed; None where there is none."""
    return [None if a is None else change(a) for a in arrays]


def in_dtypes(arrays: Cotangents, dtype: str) -> list[Array | None]:
    """Return arrays, each in the numbers that a dtype holds."""
    return each(lambda a: in_dtype(a, dtype), arrays)


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))
