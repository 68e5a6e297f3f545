"""The tape of one step of a graph: a row's values and slopes, and to which entries they belong.

A step consists of rows, each a small function of some entries of its arrays (`operation.Rows`). The
function is traced once for each operation, options and sizes of a row. Slopes that are always zero
are left out. One row of one answer is one column of the tape.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

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
    """The tape of a row. Its outputs are J values, then S slopes ∂(value of[s])/∂(input by[s]).

    Example: y = [a b, a] has J = 2 and the slopes [b, a, 1], with of = [0, 0, 1], by = [0, 1, 0].

    At order 2 the values are [y, ty], and the tangents of the variables are the inputs `tangents`.
    The slopes of ty by these inputs are the first derivatives of y, those by the variables the
    second derivatives along the tangents.
    """

    tape: Tape
    values: int
    of: npt.NDArray[np.intp]
    by: npt.NDArray[np.intp]
    tangents: range = range(0)

    @cached_property
    def adds_up_products(self) -> bool:
        """Whether it computes only sums and products, such as x W z."""
        names = {OPCODES[code] for code in self.tape.code}
        return names <= {"INPUT", "CONST", "ADD", "SUB", "MUL", "NEG"}


@dataclass(frozen=True)
class Scatter:
    """Adds up the terms of all rows that belong to one entry of an argument.

    There are R·S terms, one for each slope of each row; those of `entries[k]` are adjacent in
    `which`, from `starts[k]` on.
    """

    argument: str
    which: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    entries: npt.NDArray[np.intp]

    def sums(self, terms: Array, size: int) -> Array:
        """Return the sums, (B, size), from terms (B, R·S)."""
        total: Array = np.zeros((len(terms), size), terms.dtype)
        total[:, self.entries] = np.add.reduceat(terms[:, self.which], self.starts, axis=1)
        return total


@dataclass(frozen=True)
class StepPlan:
    """How one step is certified: its R rows, their tape, and where cotangents are added up."""

    step: Step
    structure: str
    row: RowTape
    arguments: tuple[str, ...]
    index: npt.NDArray[np.intp]  # (R, K), −1 for a zero
    owner: npt.NDArray[np.intp]  # (K,): the number of the argument that an input belongs to
    numbers: Array  # (R, …): other inputs of the tape, after those of the arguments
    output: npt.NDArray[np.intp]  # (R, J)
    floats: frozenset[str]

    @cached_property
    def scatters(self) -> list[Scatter]:
        """One for each argument that has a gradient."""
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
        """The number of rows, R."""
        return len(self.index)


_tapes: dict[object, tuple[Operation, RowTape]] = {}
_plans: OrderedDict[object, StepPlan] = OrderedDict()


def plan_of(
    step: Step, arrays: Mapping[str, Array], shape: tuple[int, ...], order: int = 1
) -> StepPlan:
    """Return the plan of a step, which is kept.

    It depends on the shapes of the float arrays, and on the numbers of the integer arrays.

    At order 2 each array of floats is followed by its tangent, as an array of twice the size.
    """
    key = (
        order, id(step.description), step.name, tuple(step.inputs.items()), repr(step.options),
        shape,
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
    operation = step.description
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
        with_tangents = tuple(n for n in names if n in floats)
        index += [np.where(flat[n] < 0, -1, flat[n] + arrays[n].size) for n in with_tangents]
        names += with_tangents
        output = np.concatenate([output, output + prod(shape)], axis=1)
    return StepPlan(
        step, structure, row_tape(step, sizes, besides, floats, order), names,
        np.concatenate(index, axis=1).astype(np.intp),
        np.repeat(np.arange(len(names)), [i.shape[1] for i in index]),
        np.concatenate([np.empty((len(rows.output), 0)), *numbers], axis=1),
        output, floats,
    )  # fmt: skip


def rows_of(step: Step, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Rows:
    """Return the rows of a step; for an elementwise operation each entry of the value is a row."""
    operation = step.description
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
    operation = step.description
    key = (order, id(operation), repr(step.options), *sizes.items(), *besides.items(), floats)
    if key not in _tapes:
        _tapes[key] = operation, _traced(step, sizes, besides, floats, order)
    return _tapes[key][1]


class _Symbols(NamedTuple):
    """The inputs of a row's tape: those of its arguments, then tangents, then other numbers."""

    tracer: Tracer
    arguments: dict[str, object]  # by name, nested lists of traced numbers
    numbers: dict[str, object]
    variables: list[int]  # the inputs that have a slope
    tangents: range  # at order 2 the inputs that are the tangents of the variables


def _symbols(sizes: Sizes, besides: Sizes, floats: frozenset[str], order: int) -> _Symbols:
    count = sum(map(prod, sizes.values()))
    tangents = range(count, count + (order == 2) * sum(prod(sizes[name]) for name in floats))
    m = Tracer(tangents.stop + sum(map(prod, besides.values())))
    inputs = iter(m.inputs[:count])
    arguments: dict[str, object] = {}
    variables: list[int] = []
    start = 0
    for name, size in sizes.items():
        arguments[name] = _nested(inputs, size)
        variables += range(start, start + prod(size)) if name in floats else ()
        start += prod(size)
    m.direction = {m.inputs[i].node: m.inputs[t].node
                   for i, t in zip(variables, tangents, strict=False)}  # fmt: skip
    inputs = iter(m.inputs[tangents.stop :])
    numbers = {name: _nested(inputs, size) for name, size in besides.items()}
    return _Symbols(m, arguments, numbers, variables, tangents)


def _traced(
    step: Step, sizes: Sizes, besides: Sizes, floats: frozenset[str], order: int
) -> RowTape:
    symbols = _symbols(sizes, besides, floats, order)
    m, variables = symbols.tracer, symbols.variables
    values = _values(step, symbols)
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
        # ∂²y/∂x_i∂x_k is symmetric: the tangent of a slope is the tangent's slope by its input.
        along = [m.derivative(slope, ALONG) for slope in slopes]
        place = dict(zip(variables, symbols.tangents, strict=True))
        first = [place[i] for i in by]
        of += [j + len(values) for j in (*of, *of)]
        by += [*first, *by]
        values += [m.derivative(value, ALONG) for value in values]
        slopes += [*slopes, *along]
    kept = [k for k, slope in enumerate(slopes) if m.constants.get(slope) != 0]
    outputs = [*values, *(slopes[k] for k in kept)]
    tape = Tape(m, outputs, [[] for _ in outputs])
    which = np.array(of, np.intp)[kept], np.array(by, np.intp)[kept]
    return RowTape(tape, len(values), *which, symbols.tangents)


def _values(step: Step, symbols: _Symbols) -> list[int]:
    """Return the nodes of the values of a row."""
    m, operation, given = symbols.tracer, step.description, symbols.arguments
    defaults = operation.options if isinstance(operation, LayerOperation) else {}
    options = {
        name: m.number(value) if isinstance(value, float) else value
        for name, value in {**defaults, **step.options}.items()
    }
    if isinstance(operation, LayerOperation):
        ordered = [given.get(n) for n in operation.arguments]
        made = operation.definition(m, *ordered, **symbols.numbers, **options)
    else:
        made = operation.definition(m, given["x"], **options)
    return [m.node(y) for y in (made if isinstance(made, list) else [made])]


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
