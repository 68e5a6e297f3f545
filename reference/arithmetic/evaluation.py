"""Evaluates tapes for many inputs at once, every number with a rigorous error bound.

A *column* is one evaluation of one tape, at its own inputs. A number is a midpoint and a radius in
one floating type: long double for problems in float64, float64 for all others. Elementwise columns
of float64 are first evaluated in float64 with the functions of `tabulated`, and only those that
this leaves undecided in long double. All nodes of all tapes that have one level (`tape.Table`) and
are one primitive are computed by one call on arrays. A decision that the precision leaves open
gives NaN; such columns are evaluated with arb.

The proof: sums carry their exact rounding error (`two_sum`), so that what is exact stays exact; a
product or a quotient is off by one unit at most, a library function by a stated number (`UNITS`,
measured by benchmarks/library_functions.py; of tables, `tabulated.UNITS`). Radii are
computed in the same type and rounded to nearest; what that loses is below `SLACK` for any tape of
fewer than 10^6 nodes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from reference.arithmetic import tabulated
from reference.arithmetic.split import two_sum
from reference.arithmetic.tape import CODE, OPCODES, Table, Tape

Extended = np.longdouble
EXTENDED = np.finfo(Extended).nmant >= 63
"""Whether long doubles are longer than doubles here; if not, arb certifies float64 problems."""

SLACK = 1 + 2.0**-20

UNITS = {
    np.dtype(np.float64): {"ERFC": 2048.0, "ERF": 32.0},
    np.dtype(Extended): {"ERFC": 4096.0, "ERF": 256.0},
}
"""How many units of rounding a library function may be off; others may be off `OTHER_UNITS`."""

OTHER_UNITS = 16.0

_NEAR = 2.0**-10
"""A column is near a decision (c > 0 in WHERE or PICK) if |c| is below this share of its largest
input. No change of an input by one ulp changes any other decision."""

AT_ONCE = 1 << 13
"""Numbers that a primitive is applied to at once, so that intermediate arrays stay in the cache."""

Array = np.ndarray


@dataclass(frozen=True)
class ColumnValues:
    """Values (outputs, M) and slopes (outputs, variables, M), each with its error bound.

    A column is `tied` (M,) where it is exactly at a kink: slope ± slope_radius is then the interval
    between the two one-sided slopes. It is `near` a decision where that is small beside the inputs.
    """

    value: Array
    value_radius: Array
    slope: Array
    slope_radius: Array
    tied: npt.NDArray[np.bool_]
    near: npt.NDArray[np.bool_]

    def astype(self, dtype: np.dtype) -> "ColumnValues":
        """Return the same numbers in a type that holds them."""
        value, value_radius, slope, slope_radius = (
            array.astype(dtype)
            for array in (self.value, self.value_radius, self.slope, self.slope_radius)
        )
        return ColumnValues(value, value_radius, slope, slope_radius, self.tied, self.near)


def wide(dtype: np.dtype) -> np.dtype:
    """Return the floating type in which problems of a dtype are certified."""
    return np.dtype(Extended) if dtype == np.float64 else np.dtype(np.float64)


class Job(NamedTuple):
    """Columns of tapes with equally many outputs and slopes.

    The first `counts[0]` columns are of `tapes[0]`, the next `counts[1]` of `tapes[1]`, and so on.
    `inputs` is (K, M); a tape that takes fewer than K inputs ignores the last rows.
    """

    tapes: Sequence[Tape]
    counts: npt.NDArray[np.intp]
    inputs: Array

    @staticmethod
    def of(tape: Tape, inputs: Array) -> "Job":
        """Return a job for the columns of one tape, `inputs` (K, M)."""
        return Job([tape], np.array([inputs.shape[1]]), inputs)


def evaluate(
    jobs: Sequence[Job], dtype: np.dtype, tables: bool = False, radii: bool = True
) -> list[ColumnValues]:
    """Evaluate all columns of all jobs at once, in the given floating type.

    `tables`: use the functions of `tabulated` (dtype float64, and only if `EXTENDED`). If `radii`
    is False no error bounds are computed: they are returned as zeros, and a column that is `near` a
    decision has the numbers of one of its branches.

    Example: `evaluate([Job.of(tape_of_tanh, x[None])], np.dtype(np.float64))[0].value` is (1, M).
    """
    if not jobs:
        return []
    with np.errstate(all="ignore"):
        return _Evaluation(jobs, _Primitives(dtype, tables), radii).columns()


class _Chunk(NamedTuple):
    """The columns of one tape in one job, and their places in the registers of `_Evaluation`."""

    table: Table
    inputs: Array
    nodes: int  # index of the tape's first node
    before: int  # how many columns of the same tape come before these
    column: int  # index of the first of these among all columns


class _Evaluation:
    """One evaluation. `mid` and `radius` are registers: the numbers of all nodes of all tapes.

    Node k of a tape with n columns has n adjacent numbers, from `start[k]` on. Nodes that are
    computed by one call are adjacent. Tapes that differ only in the order of their inputs
    (`Tape.renamed`) share their nodes.
    """

    def __init__(self, jobs: Sequence[Job], primitives: "_Primitives", radii: bool) -> None:
        self.jobs, self._primitives, self._radii = jobs, primitives, radii
        self.dtype = dtype = primitives.dtype
        tables, counts = self._chunked()
        nodes = np.array([len(table.code) for table in tables])
        first = np.cumsum(nodes) - nodes
        code = np.concatenate([table.code for table in tables])
        level = np.concatenate([table.level for table in tables])
        own = np.repeat(np.arange(len(tables)), nodes)
        self.operands = np.concatenate([table.operands for table in tables]) + first[own, None]
        self.sizes = np.where(level < 0, 0, counts[own])
        order = np.lexsort((code, level))
        self.start = np.empty(len(code), np.int64)
        self.start[order] = np.cumsum(self.sizes[order]) - self.sizes[order]
        self.mid = np.empty(int(self.sizes.sum()), dtype)
        self.radius = np.zeros(len(self.mid) if radii else 0, dtype)
        self.column = (np.cumsum(counts) - counts)[own]
        self.tied, self.near = (np.zeros(int(counts.sum()), bool) for _ in range(2))
        self.reach = np.zeros(len(self.near), dtype)
        self._leaves(tables, order[(level[order] == 0) & (code[order] == CODE["CONST"])])
        kinds = level * len(OPCODES) + code
        inner = order[level[order] > 0]
        for group in np.split(inner, np.flatnonzero(np.diff(kinds[inner])) + 1):
            if len(group):
                self._apply(OPCODES[code[group[0]]], group)

    def _chunked(self) -> tuple[list[Table], Array]:
        """Make the chunks of each job; return the distinct tables and how many columns each has."""
        tables: dict[int, Table] = {}
        counts: dict[int, int] = {}
        found: list[tuple[int, Table, Array, int]] = []
        for job in self.jobs:
            end = 0
            for tape, count in zip(job.tapes, job.counts.tolist(), strict=True):
                table, end = tape.table, end + count
                key = id(table.code)
                before = counts.get(key, 0)
                tables.setdefault(key, table)
                counts[key] = before + count
                found.append((key, table, job.inputs[:, end - count : end], before))
        sizes = [len(table.code) for table in tables.values()]
        node = dict(zip(tables, _before(sizes), strict=True))
        column = dict(zip(tables, _before(counts.values()), strict=True))
        chunks = [_Chunk(table, inputs, node[key], before, column[key] + before)
                  for key, table, inputs, before in found]  # fmt: skip
        rest = iter(chunks)
        self.chunks = [[next(rest) for _ in job.tapes] for job in self.jobs]
        return list(tables.values()), np.array(list(counts.values()))

    @cached_property
    def _places(self) -> Array:
        """As many numbers as there are registers; a slice of it counts from 0."""
        return np.arange(len(self.mid))

    def _leaves(self, tables: Sequence[Table], constants: Array) -> None:
        for chunk in (chunk for chunks in self.chunks for chunk in chunks):
            n = chunk.inputs.shape[1]
            for number, node in chunk.table.node_of_input.items():
                at = self.start[chunk.nodes + node] + chunk.before
                self.mid[at : at + n] = chunk.inputs[number]
            if chunk.table.decides:
                reach = _NEAR * np.abs(chunk.inputs).max(axis=0)
                self.reach[chunk.column : chunk.column + n] = reach
        if len(constants):
            sizes = self.sizes[constants]
            held = [table.constants_in(self.dtype) for table in tables]
            out = slice(begin := self.start[constants[0]], begin + int(sizes.sum()))
            for k, register in enumerate((self.mid, self.radius)[: 1 + self._radii]):
                register[out] = np.repeat(np.concatenate([pair[k] for pair in held]), sizes)

    def _apply(self, name: str, group: np.ndarray) -> None:
        sizes = self.sizes[group]
        ends = np.cumsum(sizes)
        total, begin = int(ends[-1]), self.start[group[0]]

        def spread(starts: Array) -> Array:
            found: Array = np.repeat(starts - ends + sizes, sizes) + self._places[:total]
            return found

        operands: list[Array | int] = []  # an index array, or where a slice begins
        for place in range(ARITY[name]):
            starts = self.start[self.operands[group, place]]
            operands.append(spread(starts) if len(group) > 1 else int(starts[0]))
        column: Array = np.zeros(0)
        if name in ("WHERE", "PICK"):
            column = spread(self.column[group])
        for first in range(0, total, AT_ONCE):
            last = min(first + AT_ONCE, total)
            given = []
            for at in operands:
                for register in (self.mid, self.radius)[: 1 + self._radii]:
                    if isinstance(at, int):
                        given.append(register[at + first : at + last])
                    else:
                        given.append(register.take(at[first:last], mode="clip"))
            out = slice(begin + first, begin + last)
            if len(column):
                self._near(given[0], column[first:last])
            if not self._radii:
                self.mid[out] = self._primitives.middles[name](*given)
            elif len(column):
                self.mid[out], self.radius[out] = self._chosen(name, given, column[first:last])
            else:
                self.mid[out], self.radius[out] = getattr(self._primitives, name)(*given)

    def _near(self, decided: Array, column: npt.NDArray[np.intp]) -> None:
        self.near[column[~(np.abs(decided) > self.reach[column])]] = True

    def _chosen(
        self, name: str, given: list[Array], column: npt.NDArray[np.intp]
    ) -> tuple[Array, Array]:
        mid, radius, tied = self._primitives.choose(name, *given)
        if tied is not None:
            self.tied[column[tied]] = True
        return mid, radius

    def columns(self) -> list[ColumnValues]:
        """Cut the outputs out of the registers."""
        found = []
        registers = (self.mid, self.radius)[: 1 + self._radii]
        for job, chunks in zip(self.jobs, self.chunks, strict=True):
            m = job.inputs.shape[1]
            outputs = len(job.tapes[0].values)
            nodes = np.array([chunk.table.outputs for chunk in chunks]).T
            starts = self.start[nodes + [c.nodes for c in chunks]] + [c.before for c in chunks]
            columns = np.array([chunk.column for chunk in chunks])
            if len(chunks) == 1:
                rows = [slice(at, at + m) for at in starts[:, 0].tolist()]
                cut = [np.stack([register[row] for row in rows]) for register in registers]
                of_column: Array | slice = slice(columns[0], columns[0] + m)
            else:
                before = np.cumsum(job.counts) - job.counts
                at = np.repeat(starts - before, job.counts, axis=1) + np.arange(m)
                cut = [register[at] for register in registers]
                of_column = np.repeat(columns - before, job.counts) + np.arange(m)
            mid = cut[0]
            radius = cut[1] * SLACK if self._radii else np.zeros_like(mid)
            shape = (outputs, -1, m)
            found.append(
                ColumnValues(
                    mid[:outputs],
                    radius[:outputs],
                    mid[outputs:].reshape(shape),
                    radius[outputs:].reshape(shape),
                    self.tied[of_column],
                    self.near[of_column],
                )
            )
        return found


def _before(sizes: Iterable[int]) -> list[int]:
    """Return for each of some sizes the sum of those before it."""
    return [0, *accumulate(sizes)][:-1]


_TWO = ("ADD", "SUB", "SHIFT", "MUL", "DIV", "MAX", "MIN")
ARITY = {name: 3 if name in ("WHERE", "PICK") else 2 if name in _TWO else 1 for name in OPCODES}


_LIBRARY: dict[str, Callable[..., Array]] = {
    **tabulated.LIBRARY, "ERF": special.erf, "ERFC": special.erfc,
}  # fmt: skip
_MIDDLES: Mapping[str, Callable[..., Array]] = {
    "ADD": np.add, **dict.fromkeys(("SUB", "SHIFT"), np.subtract), "MUL": np.multiply,
    "DIV": np.divide, "NEG": np.negative, "LOG": np.log, "SQRT": np.sqrt, "MAX": np.maximum,
    "MIN": np.minimum, "ABS": np.fabs,
    **dict.fromkeys(("WHERE", "PICK"), lambda c, a, b: np.asarray(np.where(c > 0, a, b))),
}  # fmt: skip


class _Primitives:
    """Each primitive on midpoints and radii; `u` is a unit of rounding, `tiny` an underflow."""

    def __init__(self, dtype: np.dtype, tables: bool = False) -> None:
        self.dtype, info = dtype, np.finfo(dtype)
        self.u = info.eps / 2 * SLACK
        self.tiny = info.tiny * 4
        units = {**dict.fromkeys(OPCODES, OTHER_UNITS), **UNITS[dtype]}
        self.functions = _LIBRARY
        if tables and EXTENDED:
            units |= tabulated.UNITS
            self.functions = {**_LIBRARY, **tabulated.FUNCTIONS}
        self.k = {name: units[name] * self.u for name in units}
        # NumPy's abs of long doubles takes three times as long as its fabs.
        self.abs = np.fabs if dtype == np.dtype(Extended) else np.abs
        if dtype == np.dtype(Extended) and EXTENDED:
            self.functions = {**self.functions, "ERF": _erf, "ERFC": _erfc}
        self.middles = {**_MIDDLES, **self.functions}

    def ADD(self, a: Array, ra: Array, b: Array, rb: Array) -> tuple[Array, Array]:
        y, lost = two_sum(a, b)
        return y, ra + rb + self.abs(lost)

    def SUB(self, a: Array, ra: Array, b: Array, rb: Array) -> tuple[Array, Array]:
        return self.ADD(a, ra, -b, rb)

    SHIFT = SUB

    def MUL(self, a: Array, ra: Array, b: Array, rb: Array) -> tuple[Array, Array]:
        y = a * b
        radius = (self.abs(a) + ra) * rb + self.abs(b) * ra + (self.u * self.abs(y) + self.tiny)
        # Nothing is lost where a factor is 0; a zero stays a zero, as a tie needs it.
        zero = np.flatnonzero(y == 0)
        if len(zero):
            exact = (a[zero] == 0) & (ra[zero] == 0) | (b[zero] == 0) & (rb[zero] == 0)
            radius[zero[exact]] = 0
        return y, radius

    def DIV(self, a: Array, ra: Array, b: Array, rb: Array) -> tuple[Array, Array]:
        y = a / b
        low = self.abs(b) - rb
        size = self.abs(y)
        radius = (ra + size * rb) / low + (self.u * size + self.tiny)
        radius[~(low > 0)] = np.inf
        return y, radius

    def NEG(self, a: Array, ra: Array) -> tuple[Array, Array]:
        return -a, ra

    def EXP(self, a: Array, ra: Array) -> tuple[Array, Array]:
        y, radius = self._own("EXP", a)
        radius += self._moved(ra, lambda: y, lambda far: np.exp(a[far] + ra[far]))
        radius[(a == 0) & (ra == 0)] = 0
        return y, radius

    def EXPM1(self, a: Array, ra: Array) -> tuple[Array, Array]:
        y, radius = self._own("EXPM1", a)
        radius += self._moved(
            ra, lambda: self.abs(y + 1) + 4 * self.u, lambda far: np.exp(a[far] + ra[far])
        )
        return y, radius

    def LOG(self, a: Array, ra: Array) -> tuple[Array, Array]:
        y = np.log(a)
        low = a - ra
        radius = ra / low + (self.k["LOG"] * self.abs(y) + self.tiny)
        radius[~(low > 0)] = np.inf
        return y, radius

    def LOG1P(self, a: Array, ra: Array) -> tuple[Array, Array]:
        y = self.functions["LOG1P"](a)
        low = (1 + a) * (1 - 2 * self.u) - ra
        radius = ra / low + (self.k["LOG1P"] * self.abs(y) + self.tiny)
        radius[~(low > 0)] = np.inf
        return y, radius

    def SQRT(self, a: Array, ra: Array) -> tuple[Array, Array]:
        y = np.sqrt(a)
        return y, ra / y + 2 * self.u * y

    def TANH(self, a: Array, ra: Array) -> tuple[Array, Array]:
        y, radius = self._own("TANH", a)
        # 1 - |tanh x| < 2 e^-2|x|, here and there
        radius += self._moved(ra, lambda: 1.0, lambda far: 4 * self._falling(a[far], ra[far]) ** 2)
        return y, radius

    def SECH2(self, a: Array, ra: Array) -> tuple[Array, Array]:
        """sech² x = 1/cosh² x, the slope of tanh."""
        y, radius = self._own("SECH2", a)
        # sech² x < 4 e^-2|x|
        radius += self._moved(
            2 * ra, lambda: y, lambda far: 4 * self._falling(a[far], ra[far]) ** 2
        )
        return y, radius

    def _own(self, name: str, a: Array) -> tuple[Array, Array]:
        """Return a library function's result, and its error if the input is exact."""
        y = self.functions[name](a)
        return y, self.k[name] * self.abs(y) + self.tiny

    def _moved(
        self, ra: Array, steep: Callable[[], Array | float], bound: Callable[[Array], Array]
    ) -> Array | float:
        """Return how far f(a) moves within a ± ra: steep (e^ra - 1), which is below ra + ra² to 1.

        Where ra > 1 it is `bound`.
        """
        if not ra.any():
            return 0.0
        moved: Array = steep() * ((ra + ra * ra) * SLACK)
        far = np.flatnonzero(~(ra <= 1))
        if len(far):
            moved[far] = np.fmin(bound(far) * SLACK + self.tiny, np.inf)
        return moved

    def _falling(self, a: Array, ra: Array) -> Array:
        """Return the largest e^-|x| within a ± ra."""
        falling: Array = np.exp(-np.maximum(self.abs(a) - ra, 0))
        return falling

    def ERF(self, a: Array, ra: Array) -> tuple[Array, Array]:
        y, own = self._own("ERF", a)
        return y, 1.2 * ra + own

    def ERFC(self, a: Array, ra: Array) -> tuple[Array, Array]:
        y, own = self._own("ERFC", a)
        near = np.maximum(self.abs(a) - ra, 0)
        steep = 1.2 * np.exp(-near * near) * (1 + 64 * self.u * (1 + near * near))
        return y, steep * ra + own

    def MAX(self, a: Array, ra: Array, b: Array, rb: Array) -> tuple[Array, Array]:
        sure, first = self.abs(a - b) > (ra + rb) * SLACK, a > b
        return np.maximum(a, b), np.where(sure, np.where(first, ra, rb), np.maximum(ra, rb))

    def MIN(self, a: Array, ra: Array, b: Array, rb: Array) -> tuple[Array, Array]:
        sure, first = self.abs(a - b) > (ra + rb) * SLACK, a < b
        return np.minimum(a, b), np.where(sure, np.where(first, ra, rb), np.maximum(ra, rb))

    def ABS(self, a: Array, ra: Array) -> tuple[Array, Array]:
        return self.abs(a), ra

    def choose(
        self, name: str, c: Array, rc: Array, a: Array, ra: Array, b: Array, rb: Array
    ) -> tuple[Array, Array, Array | None]:
        """Return midpoint and radius of WHERE or PICK, NaN where the decision is open.

        Also returned for PICK: where c is exactly 0, and the result is the interval from a to b.
        """
        first, second = c > rc * SLACK, c < -rc * SLACK
        zero = (c == 0) & (rc == 0)
        if name == "WHERE":
            second |= zero
        mid = np.where(first, a, np.where(second, b, np.nan))
        radius = np.where(first, ra, rb)
        if name == "WHERE" or not zero.any():
            return mid, radius, None
        half = self.abs(a - b) / 2
        mid = np.where(zero, a / 2 + b / 2, mid)
        radius = np.where(
            zero, half + np.maximum(ra, rb) + 4 * self.u * (self.abs(a) + self.abs(b)), radius
        )
        return mid, radius, zero & (half > ra + rb)


_FAR = 2.0
_TERMS = 40  # the series' last term at _FAR is below 2^-64 of the first
_STEPS = 60  # and so is what the continued fraction still changes there
_SERIES = np.cumprod([Extended(1), *(Extended(2) / (2 * k + 1) for k in range(1, _TERMS))])


def _erf(x: Array) -> Array:
    """Return erf x: below 2 by erf x = 2x e^-x²/√π Σ (2x²)^k/(1·3·…·(2k + 1)), no cancellation."""
    far = np.flatnonzero(~(np.abs(x) < _FAR))
    square = x * x
    found: Array = np.full_like(x, _SERIES[-1])
    for term in _SERIES[-2::-1]:
        found *= square
        found += term
    found *= x * np.exp(-square) * (2 / np.sqrt(_pi()))
    found[far] = np.sign(x[far]) * (1 - _tail(np.abs(x[far])))
    return found


def _erfc(x: Array) -> Array:
    far = np.flatnonzero(~(x < _FAR))
    found = 1 - _erf(x)
    found[far] = _tail(x[far])
    return found


def _tail(x: Array) -> Array:
    """Return erfc x beyond 2 by Laplace's continued fraction, x + (1/2)/(x + (2/2)/(x + …))."""
    fraction = x
    for k in range(_STEPS, 0, -1):
        fraction = x + (k / 2) / fraction
    found: Array = np.exp(-x * x) / (fraction * np.sqrt(_pi()))
    return found


def _pi() -> np.longdouble:
    return Extended("3.14159265358979323846264338327950288")
