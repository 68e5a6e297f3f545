"""The tensors of many answers laid side by side: by tape for operations, by size for sums."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Problem
from reference.arithmetic.columns import Extended, wide
from reference.arithmetic.tape import GIVEN_APART, Tape
from reference.blocks.columns import Columns
from reference.blocks.sums import DenseTensors, padded
from reference.blocks.tapes import activation_tape, loss_tape, pattern_of
from reference.oracles import Answer
from reference.oracles.certified import exact_divisor

Array = npt.NDArray[Any]


class Malformed(NamedTuple):
    """A tensor that an answer lacks, or has in another shape or dtype than the problem's."""

    answer: int
    tensor: str
    reason: str


@dataclass
class Parts:
    """The columns of one tape as they are collected, chunk by chunk."""

    width: int
    elementwise: bool
    dtype: np.dtype[Any]
    chunks: list[int] = field(default_factory=list)
    rows: list[Array] = field(default_factory=list)
    arrays: defaultdict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))

    def add(self, chunk: int, rows: Array, **arrays: Array) -> None:
        """Add the rows (or entries) of one tensor; arrays are (rows, …) or flat."""
        self.chunks.append(chunk)
        self.rows.append(rows)
        for name, array in arrays.items():
            self.arrays[name].append(array)

    def columns(self, tape: Tape, *inputs: str) -> Columns:
        """Return all columns of the tape; `inputs` name the arrays that go in."""
        rows = np.concatenate(self.rows)
        sizes = [len(r) for r in self.rows]
        given = [self.array(name) for name in inputs if self.arrays[name]]
        return Columns(
            tape, self.dtype, self.width, np.concatenate(given) if len(given) > 1 else given[0],
            np.repeat(np.array(self.chunks), sizes), rows, self.elementwise,
        )  # fmt: skip

    def array(self, name: str) -> Array:
        """Return one array of all columns, (K, M), in the wider type."""
        parts = self.arrays[name]
        if parts[0].ndim == 1:
            return np.concatenate(parts)[None].astype(wide(self.dtype))
        made = np.concatenate(parts).astype(wide(self.dtype))
        return np.ascontiguousarray(made.T)


class Gathered:
    """Every tensor of every answer to a block of problems."""

    order = 1

    def __init__(self, problems: Sequence[Problem], answers: Sequence[tuple[int, Answer]]) -> None:
        """Lay out answers; each stands beside the index of its problem."""
        self.problems, self.answers = problems, answers
        self.malformed: list[Malformed] = []
        self.chunks: list[tuple[int, int]] = []  # (answer, layer)
        self.dense: defaultdict[Any, list[DenseTensors]] = defaultdict(list)
        self.activation_parts: dict[tuple[Tape, Any], Parts] = {}
        self.loss_parts: dict[tuple[Tape, Any], Parts] = {}
        self.scales: list[Array] = []  # of every answer: ∂loss/∂(each sample's loss)
        self.divisors: list[float] = []
        plans: dict[int, LossPlan] = {}
        for number, (p, answer) in enumerate(answers):
            problem = problems[p]
            if p not in plans:
                plans[p] = LossPlan(problem, self.order)
            self.scales.append(plans[p].scale)
            self.divisors.append(plans[p].divisor)
            wrong = list(_malformed(number, plans[p].expected, problem.dtype, answer))
            if wrong:
                self.malformed += wrong
                continue
            self._layers(number, problem, answer)
            self._loss(number, problem, answer, plans[p])

    def activations(self) -> Iterator[tuple[Columns, Array, Array, Array]]:
        """Yield the columns of each activation with their a, da and dz."""
        for (tape, _), parts in self.activation_parts.items():
            a, da, dz = (parts.array(name) for name in ("a", "da", "dz"))
            yield parts.columns(tape, "z"), a, da, dz

    def losses(self) -> Iterator[tuple[Columns, Array, Array]]:
        """Yield the columns of each loss with their scale and da."""
        for (tape, _), parts in self.loss_parts.items():
            columns = parts.columns(tape, "y", "given")
            yield columns, parts.array("scale"), parts.array("da")

    def _chunk(self, number: int, layer: int) -> int:
        self.chunks.append((number, layer))
        return len(self.chunks) - 1

    def _layers(self, number: int, problem: Problem, answer: Answer) -> None:
        values, gradients = answer.values, answer.gradients
        a, da, dtype = problem.x, gradients["x"], problem.dtype
        for i, layer in enumerate(problem.network.layers):
            name = f"layers.{i}"
            z, dz = values[f"{name}.z"], gradients[f"{name}.z"]
            key = (dtype, *map(padded, (*a.shape, layer.width)))
            self.dense[key].append(
                DenseTensors(
                    number, i, a, problem.parameters[f"{name}.weight"],
                    problem.parameters[f"{name}.bias"] if layer.bias else None, z, dz,
                    gradients[f"{name}.weight"],
                    gradients[f"{name}.bias"] if layer.bias else None, da,
                )
            )  # fmt: skip
            a, da = values[f"{name}.a"], gradients[f"{name}.a"]
            operation = layer.operation
            width = layer.width if operation.rowwise else None
            tape = activation_tape(operation, layer.parameters, width)
            parts = self.activation_parts.get((tape, dtype))
            if parts is None:
                parts = Parts(width or 1, width is None, dtype)
                self.activation_parts[tape, dtype] = parts
            given = {"z": z, "a": a, "da": da, "dz": dz}
            if width is None:
                given = {key: array.ravel() for key, array in given.items()}
            parts.add(self._chunk(number, i), np.arange(len(given["z"])), **given)

    def _loss(self, number: int, problem: Problem, answer: Answer, plan: "LossPlan") -> None:
        last = f"layers.{len(problem.network.layers) - 1}.a"
        y, da = answer.values[last], answer.gradients[last]
        chunk = self._chunk(number, -1)
        if plan.elementwise:
            y, da = y.ravel(), da.ravel()
        for tape, rows, scale, given in plan.groups:
            parts = self.loss_parts.get((tape, problem.dtype))
            if parts is None:
                parts = Parts(
                    1 if plan.elementwise else y.shape[1], plan.elementwise, problem.dtype
                )
                self.loss_parts[tape, problem.dtype] = parts
            arrays = {"y": y[rows], "da": da[rows], "scale": scale}
            if given is not None:
                arrays["given"] = given
            parts.add(chunk, rows, **arrays)


class LossPlan:
    """How the loss of a problem is evaluated: which rows by which tape, and with what scale."""

    def __init__(self, problem: Problem, order: int = 1) -> None:
        network, n = problem.network, problem.batch
        operation = network.loss_operation
        self.order = order
        self.elementwise = operation.elementwise
        divisor = 1 if network.reduction == "none" else exact_divisor(problem)
        with np.errstate(all="ignore"):
            whole = np.asarray(1.0 if problem.weights is None else problem.weights, Extended)
            over = Extended(divisor.denominator) / Extended(divisor.numerator)
            scale = np.broadcast_to(whole * over, (n,)).astype(wide(problem.dtype))
        self.divisor, self.scale = float(divisor), scale
        self.expected = list(expected_tensors(problem, order))
        self.groups: list[tuple[Tape, Array, Array, Array | None]] = []
        (self._by_entries if operation.elementwise else self._by_rows)(problem)

    def _by_entries(self, problem: Problem) -> None:
        operation, options = problem.network.loss_operation, problem.network.loss_parameters
        width = problem.network.widths[-1]
        t = problem.targets.ravel()
        scale = np.repeat(self.scale, width)
        arrays = {k: np.broadcast_to(v, problem.targets.shape).ravel()
                  for k, v in problem.arrays.items()}  # fmt: skip
        apart = np.isin(t, GIVEN_APART)
        kinds: list[tuple[float | None, Array]] = [(None, np.flatnonzero(~apart))]
        if apart.any():
            kinds += [(value, np.flatnonzero(t == value)) for value in GIVEN_APART]
        for value, entries in kinds:
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


def _malformed(
    number: int,
    expected: Sequence[tuple[str, str, tuple[int, ...]]],
    dtype: np.dtype[Any],
    answer: Answer,
) -> Iterator[Malformed]:
    """Yield what an answer lacks or has in another shape or dtype."""
    kinds: dict[str, Mapping[str, Any]] = {
        "loss": {}, "gradient": answer.gradients, "forward": answer.values,
        "tangent": answer.tangents, "product": answer.products,
    }  # fmt: skip
    for kind, name, shape in expected:
        given = kinds[kind]
        value = answer.loss if kind == "loss" else given.get(name)
        if value is None or value.shape != shape or value.dtype != dtype:
            said = "nothing" if value is None else f"{value.dtype} {value.shape}"
            reason = f"{said}, expected {dtype} {shape}"
            yield Malformed(
                number, name if kind in ("loss", "gradient") else f"{kind} {name}", reason
            )


def expected_tensors(
    problem: Problem, order: int = 1
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield every tensor of a whole answer: what it is, its name, its shape."""
    if order == 2:
        for kind, name, shape in list(expected_tensors(problem)):
            yield kind, name, shape
            moves = {"forward": "tangent", "gradient": "product"}.get(kind)
            if moves:
                yield moves, name, shape
        return
    network, n = problem.network, problem.batch
    each = (n, network.widths[-1]) if network.loss_operation.elementwise else (n,)
    yield "loss", "loss", each if network.reduction == "none" else ()
    for i, width in enumerate(network.widths[1:]):
        for step in "za":
            yield "forward", f"layers.{i}.{step}", (n, width)
            yield "gradient", f"layers.{i}.{step}", (n, width)
    for name, shape in network.parameter_shapes().items():
        yield "gradient", name, shape
    yield "gradient", "x", problem.x.shape
