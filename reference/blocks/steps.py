"""The tape of one step of a graph: a row's values and slopes, and where they belong.

A step falls into rows, each a small function of some entries of its arrays (`Rows`). The function
is traced once for each operation, options and sizes of a row; its slopes are kept where they are
not zero by structure. One row of one answer is one column of the tape.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from manual_backprop.graph import Step
from manual_backprop.operation import (
    Activation,
    InvalidInput,
    LayerOperation,
    Operation,
    Rows,
    is_float,
)
from reference.arithmetic.tape import ALONG, OPCODES, Tape, TracedNumber, Tracer
from reference.formats import Array

Sizes = Mapping[str, tuple[int, ...]]

_KEPT = 4096  # index plans of steps; a plan is some kilobytes


@dataclass(frozen=True)
class RowTape:
    """The tape of a row: J values, then the S slopes ∂(value `of`)/∂(input `by`).

    At order 2 the tangents follow the values, and those of the variables are inputs, too, from
    `tangents` on: a tangent's slopes by these are the first ones, by the variables the second.
    """

    tape: Tape
    values: int
    of: npt.NDArray[np.intp]
    by: npt.NDArray[np.intp]
    tangents: range = range(0)

    @cached_property
    def adds_up_products(self) -> bool:
        """Whether nothing but sums and products is computed: x W z, any two of them first."""
        names = {OPCODES[code] for code in self.tape.code}
        return names <= {"INPUT", "CONST", "ADD", "SUB", "MUL", "NEG"}


@dataclass(frozen=True)
class Scatter:
    """Adds what belongs to one entry: slopes `which` (of R·S, sorted by entry), cut at `starts`."""

    argument: str
    which: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    entries: npt.NDArray[np.intp]

    def sums(self, terms: Array, size: int) -> Array:
        """Return (B, size) from terms (B, R·S)."""
        total: Array = np.zeros((len(terms), size), terms.dtype)
        total[:, self.entries] = np.add.reduceat(terms[:, self.which], self.starts, axis=1)
        return total


@dataclass(frozen=True)
class StepPlan:
    """How one step is certified: its rows, its tape, and where slopes are added up."""

    step: Step
    structure: str
    row: RowTape
    arguments: tuple[str, ...]
    index: npt.NDArray[np.intp]  # (R, K), −1 for a zero
    owner: npt.NDArray[np.intp]  # (K,): which argument an input is of
    numbers: Array  # (R, …): what the tape takes besides, after the inputs
    output: npt.NDArray[np.intp]  # (R, J)
    floats: frozenset[str]

    @cached_property
    def scatters(self) -> list[Scatter]:
        """One for each argument that a slope is taken by."""
        found = []
        entries = self.index[:, self.row.by]  # (R, S)
        for k, argument in enumerate(self.arguments):
            mine = (self.owner[self.row.by] == k)[None] & (entries >= 0)
            if argument not in self.floats or not mine.any():
                continue
            which = np.flatnonzero(mine.ravel())
            which = which[np.argsort(entries.ravel()[which], kind="stable")]
            own, starts = np.unique(entries.ravel()[which], return_index=True)
            found.append(Scatter(argument, which, starts, own))
        return found

    @property
    def rows(self) -> int:
        """R."""
        return len(self.index)


_tapes: dict[object, tuple[Operation, RowTape]] = {}
_plans: OrderedDict[object, StepPlan] = OrderedDict()


def plan_of(
    step: Step, arrays: Mapping[str, Array], shape: tuple[int, ...], order: int = 1
) -> StepPlan:
    """Return the plan of a step for its arrays; those of integers also by their numbers.

    At order 2 every array of floats has its tangent behind it, as twice as many numbers.
    """
    key = (
        order, id(step.record), step.name, tuple(step.inputs.items()), repr(step.options), shape,
        tuple((n, a.shape, a.dtype.kind, b"" if is_float(a) else a.tobytes())
              for n, a in arrays.items()),
    )  # fmt: skip
    if key in _plans:
        _plans.move_to_end(key)
        return _plans[key]
    plan = _plans[key] = _plan(step, arrays, shape, order)
    if len(_plans) > _KEPT:
        _plans.popitem(last=False)
    return plan


def _plan(step: Step, arrays: Mapping[str, Array], shape: tuple[int, ...], order: int) -> StepPlan:
    operation = step.record
    rows = rows_of(step, arrays, shape)
    flat = {n: np.asarray(i).reshape(len(i), -1) for n, i in rows.inputs.items()}
    names = tuple(flat)
    output = np.asarray(rows.output).reshape(len(rows.output), -1).astype(np.intp)
    sizes = {n: np.asarray(i).shape[1:] for n, i in rows.inputs.items()}
    numbers = [np.asarray(a, float).reshape(len(a), -1) for a in rows.numbers.values()]
    besides = {n: np.asarray(a).shape[1:] for n, a in rows.numbers.items()}
    floats = frozenset(n for n in names if is_float(arrays[n]))
    structure = operation.structure if isinstance(operation, LayerOperation) else "elementwise"
    if isinstance(operation, Activation) and operation.rowwise:
        structure = "rows"
    index = [flat[n] for n in names]
    if order == 2:
        moving = tuple(n for n in names if n in floats)
        index += [np.where(flat[n] < 0, -1, flat[n] + arrays[n].size) for n in moving]
        names += moving
        output = np.concatenate([output, output + prod(shape)], axis=1)
    return StepPlan(
        step, structure, row_tape(step, sizes, besides, floats, order), names,
        np.concatenate(index, axis=1).astype(np.intp),
        np.repeat(np.arange(len(names)), [i.shape[1] for i in index]),
        np.concatenate([np.empty((len(rows.output), 0)), *numbers], axis=1),
        output, floats,
    )  # fmt: skip


def rows_of(step: Step, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Rows:
    """Return the rows of a step; of what is elementwise each entry of the value is one."""
    operation = step.record
    size = prod(shape)
    if isinstance(operation, LayerOperation) and operation.rows is not None:
        given = [arrays.get(argument) for argument in operation.arguments]
        return operation.rows(*given, **{**operation.options, **step.options})
    if isinstance(operation, Activation) and operation.rowwise:
        index = np.arange(size).reshape(-1, shape[-1])
        return Rows({"x": index}, index)
    if isinstance(operation, Activation | LayerOperation):
        places = {
            name: np.broadcast_to(np.arange(a.size).reshape(a.shape), shape).reshape(-1)
            for name, a in arrays.items()
        }
        return Rows(places, np.arange(size)[:, None])
    raise InvalidInput(
        f"{step.name}: a loss cannot be a step of a graph that is judged step by step"
    )


def row_tape(
    step: Step, sizes: Sizes, besides: Sizes, floats: frozenset[str], order: int = 1
) -> RowTape:
    """Return the tape of a row, from the shapes of its arguments and numbers in one row."""
    operation = step.record
    key = (order, id(operation), repr(step.options), *sizes.items(), *besides.items(), floats)
    if key not in _tapes:
        _tapes[key] = operation, _traced(step, sizes, besides, floats, order)
    return _tapes[key][1]


def _traced(
    step: Step, sizes: Sizes, besides: Sizes, floats: frozenset[str], order: int
) -> RowTape:
    operation = step.record
    count = sum(map(prod, sizes.values()))
    tangents = range(count, count + (order == 2) * sum(prod(sizes[name]) for name in floats))
    m = Tracer(tangents.stop + sum(map(prod, besides.values())))
    symbols = iter(m.inputs[:count])
    given: dict[str, object] = {}
    variables: list[int] = []
    start = 0
    for name, size in sizes.items():
        given[name] = _nested(symbols, size)
        variables += range(start, start + prod(size)) if name in floats else ()
        start += prod(size)
    m.direction = {m.inputs[i].node: m.inputs[t].node
                   for i, t in zip(variables, tangents, strict=False)}  # fmt: skip
    symbols = iter(m.inputs[tangents.stop :])
    numbers = {name: _nested(symbols, size) for name, size in besides.items()}
    defaults = operation.options if isinstance(operation, LayerOperation) else {}
    options = {
        name: m.number(value) if isinstance(value, float) else value
        for name, value in {**defaults, **step.options}.items()
    }
    if isinstance(operation, LayerOperation):
        ordered = [given.get(n) for n in operation.arguments]
        made = operation.definition(m, *ordered, **numbers, **options)
    else:
        made = operation.definition(m, given["x"], **options)
    values = [m.node(y) for y in (made if isinstance(made, list) else [made])]
    of, by, slopes = [], [], []
    for j, value in enumerate(values):
        reached = _reached(m, value)
        for i in variables:
            if m.inputs[i].node not in reached:
                continue
            slope = m.derivative(value, i)
            if m.constants.get(slope) != 0:
                of.append(j)
                by.append(i)
                slopes.append(slope)
    if order == 2:
        # How a slope moves is, as ∂²y/∂x_i∂x_k is symmetric, the tangent's slope by its input.
        moved = [m.derivative(slope, ALONG) for slope in slopes]
        place = dict(zip(variables, tangents, strict=True))
        first = [place[i] for i in by]
        of += [j + len(values) for j in (*of, *of)]
        by += [*first, *by]
        values += [m.derivative(value, ALONG) for value in values]
        slopes += [*slopes, *moved]
    kept = [k for k, slope in enumerate(slopes) if m.constants.get(slope) != 0]
    outputs = [*values, *(slopes[k] for k in kept)]
    tape = Tape(m, outputs, [[] for _ in outputs])
    which = np.array(of, np.intp)[kept], np.array(by, np.intp)[kept]
    return RowTape(tape, len(values), *which, tangents)


def _nested(symbols: Iterator[TracedNumber], size: Sequence[int]) -> object:
    if not size:
        return next(symbols)
    return [_nested(symbols, size[1:]) for _ in range(size[0])]


def _reached(m: Tracer, node: int) -> set[int]:
    seen, waiting = {node}, [node]
    while waiting:
        for operand in m.operands[waiting.pop()]:
            if operand not in seen:
                seen.add(operand)
                waiting.append(operand)
    return seen
