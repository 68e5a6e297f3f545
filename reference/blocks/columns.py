"""Columns: one operation at one number or row, of many answers, beside its certified value.

An activation has two checks: its value at z, and its cotangent at da and z. A loss has its slope
at the prediction; its values are summed (`losses.py`). What is asked is always: how far is the
answer from the truth at the answer's own inputs, and how far may it be.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from flint import arb

from reference.arithmetic.columns import AT_ONCE, EXTENDED, ColumnValues, Job, evaluate, wide
from reference.arithmetic.tape import Tape
from reference.formats import format_of, inside
from reference.rounding import RoundingUnit

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_MANY = 1 << 14  # columns: of more a 16th says whether enough are alike to sort them


@dataclass
class Columns:
    """M columns of tapes of one kind: `inputs` (K, M), the first `width` of them the variables.

    `tape` says by which of `tapes` a column is evaluated, those of one tape side by side; `chunk`
    of which answer's tensor it is, `row` which row (or entry) in it.
    """

    tapes: Sequence[Tape]
    tape: npt.NDArray[np.intp]
    dtype: np.dtype[Any]
    width: int
    inputs: Array
    chunk: npt.NDArray[np.intp]
    row: npt.NDArray[np.intp]
    elementwise: bool
    found: ColumnValues | None = None
    certified: Mask = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        if len(self.certified) != self.inputs.shape[1]:
            self.certified = np.zeros(self.inputs.shape[1], bool)

    def widened(self, tensors: Sequence[Array]) -> list[Array]:
        """Return tensors in the wider type."""
        return [tensor.astype(wide(self.dtype), copy=False) for tensor in tensors]

    @cached_property
    def finite(self) -> Mask:
        """Where a column's inputs are numbers; the others cannot be judged."""
        return np.asarray(np.isfinite(self.inputs).all(axis=0))

    @cached_property
    def sizes(self) -> Array:
        """The magnitude of what goes in, (1, M): of a row the largest."""
        sizes: Array = np.abs(self.inputs[: self.width]).max(axis=0, keepdims=True)
        return sizes

    def job(self, columns: npt.NDArray[np.intp] | slice) -> Job:
        """Return some columns, in their order, for evaluation."""
        counts = np.bincount(self.tape[columns], minlength=len(self.tapes))
        used = np.flatnonzero(counts)
        return Job([self.tapes[k] for k in used.tolist()], counts[used], self.inputs[:, columns])

    def prove(self, columns: npt.NDArray[np.intp]) -> None:
        """Give some columns the values that arb proves; they are decided from then on."""
        nothing = arb(format_of(self.dtype).smallest) / 2**30
        found, number = self.found, wide(self.dtype)
        assert found is not None
        first, same = distinct(self.inputs[:, columns], self.tape[columns])
        for here, m in enumerate(columns[first].tolist()):
            tape = self.tapes[int(self.tape[m])]
            made = tape.prove([arb(float(v)) for v in self.inputs[: tape.inputs, m]], nothing)
            all_of_it = columns[same == here]
            for k, ball in enumerate(made.values):
                middle, radius = as_numbers(ball, number)
                found.value[k, all_of_it], found.value_radius[k, all_of_it] = middle, radius
            for k, row in enumerate(made.slopes):
                for j, ball in enumerate(row):
                    middle, radius = as_numbers(ball, number)
                    found.slope[k, j, all_of_it] = middle
                    found.slope_radius[k, j, all_of_it] = radius
            found.tied[all_of_it] = made.tied
        self.certified[columns] = True

    def take(self, columns: npt.NDArray[np.intp] | slice) -> "Columns":
        """Return some of the columns, in their order."""
        return Columns(
            self.tapes, self.tape[columns], self.dtype, self.width, self.inputs[:, columns],
            self.chunk[columns], self.row[columns], self.elementwise,
            None if self.found is None else _taken(self.found, columns), self.certified[columns],
        )  # fmt: skip

    def put(self, where: npt.NDArray[np.intp], other: "Columns") -> None:
        """Give some columns what was found of others."""
        mine, theirs = self.found, other.found
        assert mine is not None and theirs is not None
        for name in ColumnValues.__dataclass_fields__:
            getattr(mine, name)[..., where] = getattr(theirs, name)

    def flushed(self, tiny: float) -> "Columns":
        """Return the same columns with every input below `tiny` at zero."""
        return self.at(np.where(np.abs(self.inputs) < tiny, 0, self.inputs))

    def nudged(self, k: int, sign: int, dtype: np.dtype[Any]) -> "Columns":
        """Return the same columns with a variable one ulp away from zero, or back (sign -1)."""
        inputs = self.inputs.copy()
        with np.errstate(all="ignore"):
            one = inputs[k].astype(dtype)
            away = np.copysign(np.inf, sign * inputs[k]).astype(dtype)
            inputs[k] = np.nextafter(one, away)
        return self.at(inputs)

    def at(self, inputs: Array) -> "Columns":
        """Return the same columns at other inputs, not evaluated yet."""
        inputs = inputs.astype(self.inputs.dtype)
        return replace(self, inputs=inputs, found=None, certified=np.zeros(0, bool))


def certify_columns(jobs: Sequence[Columns], radii: bool = True) -> None:
    """Evaluate all columns at once, those of one dtype together.

    Without `radii` only columns that are near a decision have them.
    """
    for dtype in dict.fromkeys(job.dtype for job in jobs):
        those = [job for job in jobs if job.dtype == dtype and len(job.tape)]
        kinds = [distinct(job.inputs, job.tape) for job in those]
        found = evaluate(
            [job.job(first) for job, (first, _) in zip(those, kinds, strict=True)],
            wide(dtype),
            radii=radii,
        )
        for job, column, (_, same) in zip(those, found, kinds, strict=True):
            job.found = column if len(column.tied) == len(same) else _taken(column, same)
            if dtype == np.float64 and not EXTENDED:
                job.prove(np.flatnonzero(job.finite))
    if not radii:
        near = [(job, np.flatnonzero(job.found.near)) for job in jobs if job.found is not None]
        near = [(job, which) for job, which in near if len(which)]
        again = [job.take(which) for job, which in near]
        certify_columns(again)
        for (job, which), there in zip(near, again, strict=True):
            job.put(which, there)


def _taken(column: ColumnValues, which: npt.NDArray[np.intp] | slice) -> ColumnValues:
    return ColumnValues(
        column.value[:, which], column.value_radius[:, which],
        column.slope[..., which], column.slope_radius[..., which],
        column.tied[which], column.near[which],
    )  # fmt: skip


@dataclass
class Check:
    """Numbers that answers give beside what they should be, (outputs, M) each.

    `error` is the distance from the truth (or from all that a tie admits), `radius` the error of
    the truth itself; `judged` is False where no truth is known. `hull` is half the width of what
    a tie admits, `low` its lower end, in units of the slope.
    """

    columns: Columns
    given: Array
    truth: Array
    radius: Array
    judged: Mask

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "Check":
        """Return the check of some columns; `columns` are these, evaluated."""
        raise NotImplementedError

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each number may be off."""
        raise NotImplementedError

    @property
    def size(self) -> Array:
        """What a share of is kept: the magnitude of each number."""
        return np.abs(self.truth)

    def settled(self, unit: RoundingUnit) -> "Check":
        """Return the check with every column decided: arb proves what the arrays leave open.

        So a verdict is that of arb, and does not depend on what else is in the block.
        """
        with np.errstate(all="ignore"):
            allowed = self.allowed(unit)
            doubt = np.where(self.tied, 0, 2 * self.radius) + 2.0**-30 * allowed
            sure = (np.abs(self.error - allowed) > doubt) & np.isfinite(self.radius)
            sure |= ~self.judged & ~np.isnan(self.truth)
        known = sure.all(axis=0) | self.columns.certified | ~self.askable
        if known.all():
            return self
        self.columns.prove(np.flatnonzero(~known))
        return self.of(self.columns, np.arange(len(known)))

    def outside(self, unit: RoundingUnit) -> Mask:
        """Return where a settled check is not within what is allowed."""
        with np.errstate(all="ignore"):
            return np.asarray(self.judged & ~(self.error <= self.allowed(unit)))

    @property
    def rounded(self) -> int:
        """How many of the inputs an ulp may be lost of: the first so many."""
        return self.columns.width

    def by_slope(self, dtype: np.dtype[Any]) -> Array:
        """Return how far one ulp of each input moves each number, NaN where a slope cannot say."""
        return np.full(self.truth.shape, np.nan, self.truth.dtype)

    @property
    def askable(self) -> Mask:
        """Where a proof may say more: the inputs are numbers."""
        return self.columns.finite

    @cached_property
    def tied(self) -> Mask:
        """Where everything between two slopes is admissible, (M,)."""
        assert self.columns.found is not None
        return self.columns.found.tied

    @cached_property
    def error(self) -> Array:
        """The distance from the truth, infinite where there is none."""
        with np.errstate(all="ignore"):
            error = np.abs(self.given - self.truth)
            same = np.isinf(self.given) & (self.given == self.truth)
            error = np.where(same, 0, np.where(np.isnan(error), np.inf, error))
            return np.where(self.tied, np.maximum(error - self.radius, 0), error)


class ValueCheck(Check):
    """The value of an activation at the answer's own z."""

    def __init__(self, columns: Columns, given: Array) -> None:
        found = columns.found
        assert found is not None
        judged = columns.finite & ~np.isnan(found.value)
        super().__init__(columns, given, found.value, found.value_radius, judged)

    @cached_property
    def tied(self) -> Mask:
        """Nowhere: a value is one number."""
        return np.zeros(self.truth.shape[1], bool)

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each value may be off."""
        size = np.abs(self.truth)
        allowed = unit.value(size, self.columns.sizes) + unit.end(size)
        return np.asarray(unit.bounded(allowed, size))

    def by_slope(self, dtype: np.dtype[Any]) -> Array:
        """Return how far one ulp of each input moves each value, NaN where it may jump."""
        columns = self.columns
        assert columns.found is not None
        with np.errstate(all="ignore"):
            ulps = np.spacing(np.abs(columns.inputs[: columns.width]).astype(dtype))
            ulps = ulps.astype(columns.inputs.dtype)
            each = np.nan_to_num(np.abs(columns.found.slope) * ulps, nan=0.0, posinf=0.0)
        moved: Array = np.where(columns.found.near, np.nan, each.sum(axis=1))
        return moved

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "ValueCheck":
        """Return the check of some columns; `columns` are these, evaluated."""
        return ValueCheck(columns, self.given[:, which])


class SlopeCheck(Check):
    """The cotangent of an activation's input at the answer's own da and z; of a loss, at scale."""

    def __init__(
        self,
        columns: Columns,
        given: Array,
        da: Array,
        da_radius: Any = 0.0,
        terms: Array | None = None,
    ) -> None:
        found = columns.found
        assert found is not None
        self.columns, self.da, self.da_radius, self.terms = columns, da, da_radius, terms
        self.slope, slope_radius = self.slopes(found)
        unit = np.finfo(wide(columns.dtype)).eps
        with np.errstate(all="ignore"):
            size, slope = np.abs(da)[:, None], np.abs(self.slope)
            # 0 · ∞ is left out: where no cotangent comes in, none goes out.
            terms_ = np.where(da[:, None] == 0, 0, da[:, None] * self.slope)
            truth = terms_.sum(axis=0)
            self.magnitude = np.abs(terms_).sum(axis=0)
            own = size * slope_radius + np.abs(np.atleast_2d(da_radius))[:, None] * slope
            radius = np.where(size == 0, 0, own).sum(axis=0)
            radius = radius + (len(da) + 1) * unit * self.magnitude
        judged = columns.finite & np.isfinite(da).all(axis=0) & ~np.isnan(truth)
        judged &= np.isfinite(self.magnitude)
        super().__init__(columns, given, truth, radius, judged)

    def slopes(self, found: ColumnValues) -> tuple[Array, Array]:
        """Return the slopes that the cotangents are multiplied by, and their radii."""
        return found.slope, found.slope_radius

    @property
    def count(self) -> int:
        """How many roundings the sum of an operation without `terms` may have."""
        return 1 if self.columns.elementwise else self.columns.width + 2

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each cotangent may be off."""
        columns = self.columns
        activation = columns.elementwise and self.terms is None
        across = columns.sizes if activation else 0.0
        with np.errstate(all="ignore"):
            slopes = np.abs(self.slope)
            each = unit.bounded(unit.slope(slopes, across), slopes)
            sizes = np.abs(self.da)[:, None]
            allowed = np.where(sizes == 0, 0, sizes * each).sum(axis=0)
            terms: Any = self.count if self.terms is None else self.terms
            allowed = allowed + unit.total(terms, self.magnitude) + unit.k * unit.floor
            reach = np.abs(self.truth) + np.where(self.tied, self.radius, 0)
            allowed = allowed + unit.inputs(self.magnitude) + unit.end(reach)
            if self.terms is not None:  # the scale ends twice: the weight over the divisor
                allowed = allowed + (slopes * unit.end(sizes, 2.0)).sum(axis=0)
            return np.asarray(unit.bounded(allowed, self.magnitude))

    @property
    def size(self) -> Array:
        """What a share of is kept: all of it where an activation takes rows, whose terms cancel."""
        whole = self.columns.elementwise or self.terms is not None
        return self.magnitude if whole else np.full_like(self.magnitude, np.inf)

    @property
    def rounded(self) -> int:
        """Of a loss all inputs: a soft label is as rounded as the prediction that it cancels."""
        return self.columns.width if self.terms is None else len(self.columns.inputs)

    @property
    def askable(self) -> Mask:
        """Where a proof may say more: the inputs are numbers, and a cotangent comes in."""
        cotangent = np.isfinite(self.da).all(axis=0) & (self.da != 0).any(axis=0)
        return np.asarray(self.columns.finite & cotangent)

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "SlopeCheck":
        """Return the check of some columns; `columns` are these, evaluated."""
        radius = self.da_radius if np.ndim(self.da_radius) == 0 else self.da_radius[:, which]
        terms = None if self.terms is None else self.terms[which]
        return SlopeCheck(columns, self.given[:, which], self.da[:, which], radius, terms)


def inside_at_a_glance(
    columns: Columns, unit: RoundingUnit, a: Array, da: Array, dz: Array
) -> Mask:
    """Return where the value and the cotangent of an elementwise operation are surely inside.

    Distances are taken in the type that was evaluated in, and compared in float64 with the least
    that any model allows: k ulps of a value, and of a slope with the rounding of the product.
    """
    found = columns.found
    assert found is not None
    lost = float(np.finfo(found.value.dtype).eps) * (0.5 + 2.0**-30)  # of the product
    inside = ~found.tied & columns.finite
    with np.errstate(all="ignore"):
        for first in range(0, len(inside), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            through = da[0, some]
            product = through * found.slope[0, 0, some]
            doubt = np.abs(through) * found.slope_radius[0, 0, some]
            for given, truth, radius, rounded, ulps in (
                (a[0, some], found.value[0, some], found.value_radius[0, some], 0.0, unit.k),
                (dz[0, some], product, doubt, lost, unit.k + 1),
            ):
                size = np.abs(truth.astype(float, copy=False))
                error = np.abs((given - truth).astype(float, copy=False))
                error += radius.astype(float, copy=False)
                if rounded:
                    error += rounded * size
                size *= ulps * unit.u
                size += (unit.k - 2) * unit.floor  # four numbers lose half of one in float64
                # Nothing is inside that leaves the range: ∞ is not below ∞.
                inside[some] &= error * (1 + 2.0**-30) < size
    return np.asarray(inside)


def open_by_tables(
    columns: Columns, unit: RoundingUnit, a: Array, da: Array, dz: Array
) -> npt.NDArray[np.intp]:
    """Return which columns float64, with its tables, leaves open at a glance."""
    found = [np.empty(0, np.intp)]
    for first in range(0, len(columns.tape), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        part = columns.take(some)
        (part.found,) = evaluate([part.job(slice(None))], columns.dtype, tables=True)
        inside = inside_at_a_glance(part, unit, a[:, some], da[:, some], dz[:, some])
        found.append(first + np.flatnonzero(~inside))
    return np.concatenate(found)


def conditioning(checks: Sequence[Check], joined: bool = False) -> list[Array]:
    """Return how far one ulp of each input moves each truth, added up: a compiler may fuse.

    The ulp is one of the type that an operation computes in; `joined`: of the problem's dtype.
    A value moves by its slope where no decision is near; the rest is evaluated an ulp away.
    """
    dtypes = [c.columns.dtype if joined else inside(c.columns.dtype) for c in checks]
    moved = [check.by_slope(dtype) for check, dtype in zip(checks, dtypes, strict=True)]
    near = [_Nudged(check, np.flatnonzero(np.isnan(m).any(axis=0)), dtype)
            for check, m, dtype in zip(checks, moved, dtypes, strict=True)]  # fmt: skip
    certify_columns([columns for one in near for _, columns in one.moves], radii=False)
    for total, one in zip(moved, near, strict=True):
        total[:, one.which] = one.moved()
    return moved


class _Nudged:
    """Some columns of a check, each input in turn one ulp away, and near a decision back, too.

    Where nothing is decided the larger ulp is enough: away from zero.
    """

    def __init__(self, check: Check, which: npt.NDArray[np.intp], dtype: np.dtype[Any]) -> None:
        self.which = which
        self.check = check.of(check.columns.take(which), which)
        columns = self.check.columns
        assert columns.found is not None
        inputs = np.array([tape.inputs for tape in columns.tapes])[columns.tape]
        self.moves = []
        unknown = replace(columns, found=None)  # `take` would copy what `nudged` drops
        for k in range(check.rounded if len(which) else 0):
            for sign, there in ((1, inputs > k), (-1, (inputs > k) & columns.found.near)):
                some = np.flatnonzero(there)
                self.moves.append((some, unknown.take(some).nudged(k, sign, dtype)))

    def moved(self) -> Array:
        total: Array = np.zeros(self.check.truth.shape, self.check.truth.dtype)
        for away, back in zip(self.moves[::2], self.moves[1::2], strict=True):
            far = np.zeros_like(total)
            for some, columns in (away, back):
                if len(some):
                    far[:, some] = np.fmax(far[:, some], self._distance(some, columns))
            total += np.nan_to_num(far, nan=0.0, posinf=0.0)
        return total

    def _distance(self, some: npt.NDArray[np.intp], columns: Columns) -> Array:
        """Return how far the truth is there; of a kink within reach all that it admits is."""
        check, there = self.check, self.check.of(columns, some)
        reach = np.where(there.tied, there.radius, 0)
        admitted = np.where(check.tied, check.radius, 0)[:, some]
        with np.errstate(all="ignore"):
            moved: Array = np.abs(there.truth - check.truth[:, some]) + reach - admitted
            return np.maximum(moved, 0)


def distinct(
    inputs: Array, tape: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first of each kind of column, and of which kind each is: sides often agree."""
    bits = np.ascontiguousarray(inputs, np.float64).view(np.uint64)
    mixed = _mixed(bits, tape)
    every = np.arange(len(tape))
    if len(every) > _MANY:
        sample = np.sort(mixed[mixed >> np.uint64(60) == 0])
        if 4 * np.count_nonzero(sample[1:] == sample[:-1]) < len(sample):
            return every, every
    order = np.argsort(mixed)
    new = np.diff(mixed[order], prepend=~mixed[order[:1]]) != 0
    if new.all():
        return every, every
    first = np.minimum.reduceat(order, np.flatnonzero(new))
    same = np.empty_like(order)
    same[order] = first[np.cumsum(new) - 1]
    if not ((bits[:, same] == bits).all() and (tape[same] == tape).all()):
        return every, every
    firsts = np.zeros(len(tape), bool)
    firsts[first] = True
    return np.flatnonzero(firsts), (np.cumsum(firsts) - 1)[same]


def _mixed(bits: npt.NDArray[np.uint64], tape: npt.NDArray[np.intp]) -> npt.NDArray[np.uint64]:
    """Return a hash of each column."""
    mixed = tape.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    for row in bits:
        mixed = (mixed ^ row) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def as_numbers(ball: Any, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return a ball's midpoint and radius in a floating type; NaN where it is not finite."""
    if not ball.is_finite():
        return dtype.type(np.nan), dtype.type(np.inf)
    high = float(ball.mid())
    low = float(ball.mid() - high) if np.isfinite(high) else 0.0
    middle = dtype.type(np.longdouble(high) + np.longdouble(low))
    return middle, dtype.type(float(ball.rad()) * 1.001 + 0.0)
