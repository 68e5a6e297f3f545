"""Collects the tensors of many answers: by tape for operations, by size for sums.

A *chunk* is one layer, or the loss, of one answer. Its number is the index into `Gathered.chunks`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter
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


_Part = tuple[Any, ...]
"""Some tensors of one chunk: its number, how many columns it has, then the arrays."""


class _Collected:
    """The columns of one dtype and width, tape by tape; `names` are those of the arrays."""

    def __init__(
        self, dtype: np.dtype[Any], width: int, elementwise: bool, names: Sequence[str]
    ) -> None:
        self.dtype, self.width, self.elementwise = dtype, width, elementwise
        self.tapes: defaultdict[Tape, list[_Part]] = defaultdict(list)
        self._place = {name: k for k, name in enumerate(("chunk", "size", *names))}

    @property
    def empty(self) -> bool:
        """Whether nothing was collected: all answers are malformed."""
        return not any(self.tapes.values())

    def _all(self, name: str) -> list[Any]:
        """Return one array (or the number, or the size) of every chunk, tape by tape."""
        k = self._place[name]
        return [part[k] for parts in self.tapes.values() for part in parts]

    def array(self, name: str) -> Array:
        """Return one array of all columns, (K, M), in float64 at least."""
        given = self._all(name)
        number = np.promote_types(given[0].dtype, np.float64)
        if self.elementwise or given[0].ndim == 1:
            return np.concatenate(given, axis=None, dtype=number)[None]
        return np.ascontiguousarray(np.concatenate(given).T, number)

    def columns(self, variables: str, rest: str = "", row: str = "") -> Columns:
        """Return the columns.

        `variables` and `rest` name the arrays that are their inputs, `row` the numbers of their
        rows; without it they are counted from 0 in each chunk.
        """
        taken = self.array(variables)
        inputs = np.zeros((max(tape.inputs for tape in self.tapes), taken.shape[1]), taken.dtype)
        inputs[: self.width] = taken
        counts = [sum(part[1] for part in parts) for parts in self.tapes.values()]
        start = 0
        for parts, count in zip(self.tapes.values(), counts, strict=True):
            if rest and (more := [part[self._place[rest]] for part in parts])[0] is not None:
                of_tape = np.concatenate(more).T
                inputs[self.width : self.width + len(of_tape), start : start + count] = of_tape
            start += count
        sizes, chunks = np.array(self._all("size")), np.array(self._all("chunk"))
        if row:
            rows = np.concatenate(self._all(row))
        else:
            rows = np.arange(start) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return Columns(
            list(self.tapes), np.repeat(np.arange(len(counts)), counts), self.dtype, self.width,
            inputs, np.repeat(chunks, sizes), rows, self.elementwise,
        )  # fmt: skip


class Gathered:
    """Every tensor of every answer to a block of problems.

    `of_activations` and `of_losses` are the names of the tensors that are collected of each.
    """

    order = 1
    of_activations: tuple[str, ...] = ("z", "a", "da", "dz")
    of_losses: tuple[str, ...] = ("y", "da")

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
            yield found.columns("y", "given", "row"), [found.array(name) for name in names]

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
            kind = _collected(self._activations, dtype, width, self.of_activations)
            columns = problem.batch if width else problem.batch * layer.width
            weight = problem.parameters[f"layers.{i}.weight"]
            bias = problem.parameters[f"layers.{i}.bias"] if layer.bias else None
            layers.append(_LayerSlots(self.dense[size], kind.tapes[tape], columns, weight, bias))
            d_in = layer.width
        loss = LossPlan(problem, self.order)
        width = None if loss.elementwise else d_in
        names = ("row", "scale", "given", *self.of_losses)
        kind = _collected(self._losses, dtype, width, names)
        losses = [(kind.tapes[tape], at, scale, given) for tape, at, scale, given in loss.groups]
        return AnswerLayout(problem, dtype, losses, layers, loss, self.order)

    def _add(self, number: int, plan: "AnswerLayout", tensors: list[Any]) -> None:
        """Collect one answer's tensors, given in the order of `expected_tensors`."""
        chunks, count = self.chunks, 2 * len(plan.layers)
        values, gradients = tensors[1 : count + 1], tensors[count + 1 :]
        of_parameters = iter(gradients[count:])
        a, da = plan.problem.x, gradients[-1]
        for i, (dense, parts, columns, weight, bias) in enumerate(plan.layers):
            below, dbelow = a, da
            z, a = values[2 * i : 2 * i + 2]
            dz, da = gradients[2 * i : 2 * i + 2]
            dweight = next(of_parameters)
            dbias = None if bias is None else next(of_parameters)
            dense.append(
                DenseTensors(number, i, below, weight, bias, z, dz, dweight, dbias, dbelow)
            )
            parts.append((len(chunks), columns, z, a, da, dz))
            chunks.append((number, i))
        self.add_loss(number, plan, a, da)

    def add_loss(self, number: int, plan: "AnswerLayout", *tensors: Array) -> None:
        """Collect the rows of a loss, or its entries if it is elementwise."""
        if plan.loss.elementwise:
            tensors = tuple(tensor.ravel() for tensor in tensors)
        chunk = len(self.chunks)
        for parts, rows, scale, given in plan.losses:
            of_rows = [tensor[rows] for tensor in tensors]
            parts.append((chunk, len(rows), rows, scale, given, *of_rows))
        self.chunks.append((number, -1))


def _filled(groups: dict[Any, _Collected]) -> list[_Collected]:
    return [found for found in groups.values() if not found.empty]


def _collected(
    groups: dict[Any, _Collected], dtype: np.dtype[Any], width: int | None, names: Sequence[str]
) -> _Collected:
    if (dtype, width) not in groups:
        groups[dtype, width] = _Collected(dtype, width or 1, width is None, names)
    return groups[dtype, width]


class _LayerSlots(NamedTuple):
    """Where one layer's tensors are collected, how many columns it has, and its parameters."""

    dense: list[DenseTensors]
    parts: list[_Part]
    columns: int
    weight: Any
    bias: Any


class AnswerLayout:
    """Where the tensors of a problem's answers are collected, and their names and shapes."""

    def __init__(
        self,
        problem: Problem,
        dtype: np.dtype[Any],
        losses: list[tuple[list[_Part], Array, Array, Array | None]],
        layers: list[_LayerSlots],
        loss: "LossPlan",
        order: int,
    ) -> None:
        self.problem, self.dtype, self.losses = problem, dtype, losses
        self.layers, self.loss = layers, loss
        self.expected = expected_tensors(problem, order)
        self._shapes = [shape for *_, shape in self.expected[1:]]
        names = [name for _, name, _ in self.expected[1:]]
        values = 2 * len(layers)
        gradients = len(names) // order - values
        self._parts = [("values", itemgetter(*names[:values])),
                       ("gradients", itemgetter(*names[values : values + gradients]))]  # fmt: skip
        if order == 2:
            self._parts += [("tangents", self._parts[0][1]), ("products", self._parts[1][1])]

    def tensors(self, answer: Answer) -> list[Any]:
        """Return the tensors of an answer in the expected order, None for a missing one."""
        found = [answer.loss]
        try:
            for kind, get in self._parts:
                found += get(getattr(answer, kind))
        except KeyError:
            kinds = {"forward": answer.values, "gradient": answer.gradients,
                     "tangent": answer.tangents, "product": answer.products}  # fmt: skip
            return [answer.loss, *(kinds[kind].get(name) for kind, name, _ in self.expected[1:])]
        return found

    def fits(self, tensors: list[Any]) -> bool:
        """Return whether every tensor is an array of the shape and dtype that is expected."""
        loss, *arrays = tensors
        return (
            set(map(type, arrays)) == {np.ndarray}
            and list(map(_shape_of, arrays)) == self._shapes
            and set(map(_dtype_of, arrays)) == {self.dtype}
            and not mismatch(loss, self.dtype, self.expected[0][2])
        )

    def malformed(self, number: int, tensors: list[Any]) -> Iterator[Malformed]:
        """Yield the tensors of an answer that are missing or have a wrong shape or dtype."""
        for (kind, name, shape), value in zip(self.expected, tensors, strict=True):
            if reason := mismatch(value, self.dtype, shape):
                named = name if kind in ("loss", "gradient") else f"{kind} {name}"
                yield Malformed(number, named, reason)


_shape_of, _dtype_of = attrgetter("shape"), attrgetter("dtype")


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
            over = Extended(divisor.denominator) / Extended(divisor.numerator)
            scale = np.full(n, over) if problem.weights is None else problem.weights * over
            scale = scale.astype(wide(problem.dtype))
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

    First the values of the steps, then the cotangents. At order 2 the tangents of the values and
    the products of the cotangents follow, in that order.
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
    of_steps = [(f"layers.{i}.{part}", (n, layer.width))
                for i, layer in enumerate(network.layers) for part in "za"]  # fmt: skip
    found += [("forward", name, shape) for name, shape in of_steps]
    found += [("gradient", name, shape) for name, shape in of_steps]
    found += [("gradient", name, shape) for name, shape in network.parameter_shapes().items()]
    return [*found, ("gradient", "x", problem.x.shape)]
