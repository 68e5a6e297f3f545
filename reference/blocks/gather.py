"""Collects the tensors of many answers: by tape for operations, by size for sums.

A *chunk* is one layer, or the loss, of one answer. Its number is the index into `Gathered.chunks`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Problem
from reference.arithmetic.evaluation import Extended, wide
from reference.arithmetic.tape import CONSTANT_TARGETS, Tape
from reference.blocks.columns import Columns
from reference.blocks.sums import DenseTensors, padded
from reference.blocks.tapes import activation_tape, loss_tape, pattern_of
from reference.oracles import Answer
from reference.oracles.certified import exact_divisor
from reference.problems import computed_in

Array = npt.NDArray[Any]


class Malformed(NamedTuple):
    """A tensor that is missing in an answer, or has the wrong shape or dtype."""

    answer: int
    tensor: str
    reason: str


@dataclass
class _Parts:
    """The tensors of the operations of one tape, as they are collected, chunk by chunk."""

    chunks: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    arrays: defaultdict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))

    def add(self, chunk: int, columns: int, **arrays: Array) -> None:
        """Add the arrays of one chunk, (columns, …) or flat."""
        self.chunks.append(chunk)
        self.sizes.append(columns)
        for name, array in arrays.items():
            self.arrays[name].append(array)


class _Collected:
    """The columns of one dtype and width, tape by tape."""

    def __init__(self, dtype: np.dtype[Any], width: int, elementwise: bool) -> None:
        self.dtype, self.width, self.elementwise = dtype, width, elementwise
        self.tapes: dict[Tape, _Parts] = {}

    def parts(self, tape: Tape) -> _Parts:
        """Return the tensors that are collected for one tape."""
        found = self.tapes.get(tape)
        if found is None:
            found = self.tapes[tape] = _Parts()
        return found

    @property
    def empty(self) -> bool:
        """Whether nothing was collected: all answers are malformed."""
        return not any(parts.chunks for parts in self.tapes.values())

    def array(self, name: str) -> Array:
        """Return one array of all columns, (K, M), in float64 at least."""
        given = [array for parts in self.tapes.values() for array in parts.arrays[name]]
        number = np.promote_types(given[0].dtype, np.float64)
        if self.elementwise or given[0].ndim == 1:
            return np.concatenate(given, axis=None)[None].astype(number)
        return np.ascontiguousarray(np.concatenate(given).T, number)

    def columns(self, variables: str, rest: str = "") -> Columns:
        """Return the columns; `variables` and `rest` name the arrays that are their inputs."""
        taken = self.array(variables)
        inputs = np.zeros((max(tape.inputs for tape in self.tapes), taken.shape[1]), taken.dtype)
        inputs[: self.width] = taken
        counts = [sum(parts.sizes) for parts in self.tapes.values()]
        start = 0
        for parts, count in zip(self.tapes.values(), counts, strict=True):
            if parts.arrays[rest]:
                more = np.concatenate(parts.arrays[rest]).T
                inputs[self.width : self.width + len(more), start : start + count] = more
            start += count
        sizes = np.array([n for parts in self.tapes.values() for n in parts.sizes])
        chunks = np.array([chunk for parts in self.tapes.values() for chunk in parts.chunks])
        rows = [row for parts in self.tapes.values() for row in parts.arrays["row"]]
        within = np.arange(start) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return Columns(
            list(self.tapes), np.repeat(np.arange(len(counts)), counts), self.dtype, self.width,
            inputs, np.repeat(chunks, sizes), np.concatenate(rows) if rows else within,
            self.elementwise,
        )  # fmt: skip


class Gathered:
    """Every tensor of every answer to a block of problems."""

    order = 1

    def __init__(self, problems: Sequence[Problem], answers: Sequence[tuple[int, Answer]]) -> None:
        """Collect answers, each given with the index of its problem."""
        self.malformed: list[Malformed] = []
        self.chunks: list[tuple[int, int]] = []  # (answer, layer)
        self.dense: defaultdict[Any, list[DenseTensors]] = defaultdict(list)
        self._activations: dict[Any, _Collected] = {}
        self._losses: dict[Any, _Collected] = {}
        self.divisors: list[float] = []  # of every answer
        plans: dict[int, AnswerLayout] = {}
        for number, (p, answer) in enumerate(answers):
            plan = plans.get(p)
            if plan is None:
                plan = plans[p] = self._plan(problems[p])
            self.divisors.append(plan.loss.divisor)
            tensors = plan.tensors(answer)
            if plan.fits(tensors):
                self._add(number, plan, tensors)
            else:
                self.malformed += plan.malformed(number, tensors)

    def activations(self, *names: str) -> Iterator[tuple[Columns, list[Array]]]:
        """Yield the columns of activations of one dtype and width, and some tensors there.

        Example: `activations("a", "da", "dz")` yields (columns, [a, da, dz]).
        """
        for found in _filled(self._activations):
            yield found.columns("z"), [found.array(name) for name in names]

    def losses(self, *names: str) -> Iterator[tuple[Columns, list[Array]]]:
        """Yield the columns of losses of one dtype and width, and some tensors there."""
        for found in _filled(self._losses):
            yield found.columns("y", "given"), [found.array(name) for name in names]

    def _plan(self, problem: Problem) -> "AnswerLayout":
        """Return where the tensors of answers to a problem are collected."""
        dtype, problem = problem.dtype, computed_in(problem)
        layers: list[_LayerSlots] = []
        d_in = problem.x.shape[1]
        for i, layer in enumerate(problem.network.layers):
            operation = layer.operation
            width = layer.width if operation.rowwise else None
            tape = activation_tape(operation, layer.parameters, width, self.order)
            size = (dtype, *map(padded, (problem.batch, d_in, layer.width)))
            parts = _collected(self._activations, dtype, width).parts(tape)
            columns = problem.batch if width else problem.batch * layer.width
            weight = problem.parameters[f"layers.{i}.weight"]
            bias = problem.parameters[f"layers.{i}.bias"] if layer.bias else None
            layers.append(_LayerSlots(self.dense[size], parts, columns, weight, bias))
            d_in = layer.width
        loss = LossPlan(problem, self.order)
        width = None if loss.elementwise else d_in
        kind = _collected(self._losses, dtype, width)
        expected = expected_tensors(problem, self.order)
        return AnswerLayout(
            problem,
            dtype,
            [(kind.parts(tape), at, scale, given) for tape, at, scale, given in loss.groups],
            layers,
            loss,
            expected,
            [shape for *_, shape in expected[1:]],
        )

    def _add(self, number: int, plan: "AnswerLayout", tensors: list[Any]) -> None:
        """Collect one answer's tensors, given in the order of `expected_tensors`."""
        chunks, of_parameters = self.chunks, iter(tensors[1 + 4 * len(plan.layers) :])
        a, da = plan.problem.x, tensors[-1]
        for i, (dense, parts, columns, weight, bias) in enumerate(plan.layers):
            below, dbelow = a, da
            z, dz, a, da = tensors[1 + 4 * i : 5 + 4 * i]
            dweight = next(of_parameters)
            dbias = None if bias is None else next(of_parameters)
            dense.append(
                DenseTensors(number, i, below, weight, bias, z, dz, dweight, dbias, dbelow)
            )
            parts.add(len(chunks), columns, z=z, a=a, da=da, dz=dz)
            chunks.append((number, i))
        self.add_loss(number, plan, y=a, da=da)

    def add_loss(self, number: int, plan: "AnswerLayout", **tensors: Array) -> None:
        """Collect the rows of a loss, or its entries if it is elementwise."""
        if plan.loss.elementwise:
            tensors = {name: tensor.ravel() for name, tensor in tensors.items()}
        for parts, rows, scale, given in plan.losses:
            of_rows = {name: tensor[rows] for name, tensor in tensors.items()}
            more = {} if given is None else {"given": given}
            parts.add(len(self.chunks), len(rows), row=rows, scale=scale, **of_rows, **more)
        self.chunks.append((number, -1))


def _filled(groups: dict[Any, _Collected]) -> list[_Collected]:
    return [found for found in groups.values() if not found.empty]


def _collected(
    groups: dict[Any, _Collected], dtype: np.dtype[Any], width: int | None
) -> _Collected:
    if (dtype, width) not in groups:
        groups[dtype, width] = _Collected(dtype, width or 1, width is None)
    return groups[dtype, width]


class _LayerSlots(NamedTuple):
    """Where one layer's tensors are collected, how many columns it has, and its parameters."""

    dense: list[DenseTensors]
    parts: _Parts
    columns: int
    weight: Any
    bias: Any


class AnswerLayout(NamedTuple):
    """Where the tensors of a problem's answers are collected, and their names and shapes."""

    problem: Problem
    dtype: np.dtype[Any]
    losses: list[tuple[_Parts, Array, Array, Array | None]]
    layers: list[_LayerSlots]
    loss: "LossPlan"
    expected: list[tuple[str, str, tuple[int, ...]]]
    shapes: list[tuple[int, ...]]  # of what is expected after the loss

    def tensors(self, answer: Answer) -> list[Any]:
        """Return the tensors of an answer in the expected order, None for a missing one."""
        kinds = {
            "forward": answer.values, "gradient": answer.gradients,
            "tangent": answer.tangents, "product": answer.products,
        }  # fmt: skip
        return [answer.loss, *(kinds[kind].get(name) for kind, name, _ in self.expected[1:])]

    def fits(self, tensors: list[Any]) -> bool:
        """Return whether every tensor is an array of the shape and dtype that is expected."""
        loss, *arrays = tensors
        return (
            set(map(type, arrays)) == {np.ndarray}
            and [array.shape for array in arrays] == self.shapes
            and {array.dtype for array in arrays} == {self.dtype}
            and not mismatch(loss, self.dtype, self.expected[0][2])
        )

    def malformed(self, number: int, tensors: list[Any]) -> Iterator[Malformed]:
        """Yield the tensors of an answer that are missing or have a wrong shape or dtype."""
        for (kind, name, shape), value in zip(self.expected, tensors, strict=True):
            if reason := mismatch(value, self.dtype, shape):
                named = name if kind in ("loss", "gradient") else f"{kind} {name}"
                yield Malformed(number, named, reason)


class LossPlan:
    """How the loss of a problem is evaluated.

    `groups` has tuples (tape, rows, scale, other inputs): the rows of the batch, or the entries for
    an elementwise loss, that are evaluated by one tape. `scale` is weight / divisor.
    """

    def __init__(self, problem: Problem, order: int = 1) -> None:
        network, n = problem.network, problem.batch
        operation = network.loss_operation
        self.elementwise = operation.elementwise
        divisor = 1 if network.reduction == "none" else exact_divisor(problem)
        with np.errstate(all="ignore"):
            whole = np.asarray(1.0 if problem.weights is None else problem.weights, Extended)
            over = Extended(divisor.denominator) / Extended(divisor.numerator)
            scale = np.broadcast_to(whole * over, (n,)).astype(wide(problem.dtype))
        self.divisor, self.scale, self.order = float(divisor), scale, order
        self.groups: list[tuple[Tape, Array, Array, Array | None]] = []
        (self._by_entries if operation.elementwise else self._by_rows)(problem)

    def _by_entries(self, problem: Problem) -> None:
        operation, options = problem.network.loss_operation, problem.network.loss_parameters
        width = problem.network.widths[-1]
        t = problem.targets.ravel()
        scale = np.repeat(self.scale, width)
        arrays = {k: np.broadcast_to(v, problem.targets.shape).ravel()
                  for k, v in problem.arrays.items()}  # fmt: skip
        # At |y - t| = δ a slope has a kink, and y - t is rounded. So t must be an input there.
        bends = self.order == 2 and "real" in operation.targets
        constant = [(value, t == value) for value in CONSTANT_TARGETS if not bends]
        constant = [(value, alike) for value, alike in constant if alike.any()]
        kinds = [(value, np.flatnonzero(alike)) for value, alike in constant]
        rest = ~np.logical_or.reduce([alike for _, alike in constant]) if constant else None
        free_entries = np.arange(len(t)) if rest is None else np.flatnonzero(rest)
        for value, entries in [(None, free_entries), *kinds]:
            if not len(entries):
                continue
            tape = loss_tape(operation, options, None, (value,), tuple(arrays), self.order)
            free = [t] if value is None else []
            given = [array[entries] for array in (*free, *arrays.values())]
            together = np.stack(given, axis=1) if given else None
            self.groups.append((tape, entries, scale[entries], together))

    def _by_rows(self, problem: Problem) -> None:
        operation, options = problem.network.loss_operation, problem.network.loss_parameters
        width, t = problem.network.widths[-1], problem.targets
        labels = t.ndim == 1
        arrays = {k: np.broadcast_to(v, (problem.batch, width)) for k, v in problem.arrays.items()}
        keys: dict[Any, list[int]] = defaultdict(list)
        for n, row in enumerate(t.tolist()):
            keys[row if labels else pattern_of(row)].append(n)
        for key, rows in keys.items():
            tape = loss_tape(operation, options, width, key, tuple(arrays), self.order)
            at = np.array(rows)
            given = [array[at] for array in arrays.values()]
            if not labels:
                free = [j for j, value in enumerate(key) if value is None]
                given.insert(0, t[at][:, free])
            together = np.concatenate(given, axis=1) if given else None
            if together is not None and not together.shape[1]:
                together = None
            self.groups.append((tape, at, self.scale[at], together))


def mismatch(value: object, dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    """Return what is wrong with a tensor of an answer: "" if it is the array that is expected."""
    if not isinstance(value, np.ndarray | np.generic):
        found = "nothing" if value is None else f"a {type(value).__name__}"
    elif value.shape == shape and value.dtype == dtype:
        return ""
    else:
        found = f"{value.dtype} {value.shape}"
    return f"{found}, expected {dtype} {shape}"


def expected_tensors(problem: Problem, order: int = 1) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return (kind, name, shape) of every tensor of a complete answer, the loss first.

    At order 2 the tangents of the values and the products of the cotangents follow, in that order.
    """
    if order == 2:
        still = expected_tensors(problem)
        moves = {"forward": "tangent", "gradient": "product"}
        return still + [(moves[kind], name, shape) for kind, name, shape in still[1:]]
    network, n = problem.network, problem.batch
    each = (n, network.widths[-1]) if network.loss_operation.elementwise else (n,)
    found: list[tuple[str, str, tuple[int, ...]]] = [
        ("loss", "loss", each if network.reduction == "none" else ())
    ]
    for i, layer in enumerate(network.layers):
        z, a, shape = f"layers.{i}.z", f"layers.{i}.a", (n, layer.width)
        found += (("forward", z, shape), ("gradient", z, shape))
        found += (("forward", a, shape), ("gradient", a, shape))
    found += [("gradient", name, shape) for name, shape in network.parameter_shapes().items()]
    return [*found, ("gradient", "x", problem.x.shape)]
