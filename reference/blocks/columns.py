"""Activations and losses in the answers to a block, compared with their certified values.

A *column* is one evaluation of one operation: the inputs of a scalar operation at one number, or of
a row operation at one row. tanh on a (2, 3) array is six columns of one input; softmax on it is two
columns of three inputs. A block has millions of columns; they are evaluated together
(`arithmetic/evaluation.py`). If a verdict is still open, arb evaluates the column again.

An activation has two checks: its value at z, and its cotangent dz at z and da. A loss has one, its
slope at the prediction; its values are summed (`losses.py`). Each check has two questions: how far
is the number from the truth at the answer's own inputs, and how far may it be?
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from flint import arb

from reference.arithmetic.evaluation import AT_ONCE, EXTENDED, ColumnValues, Job, evaluate, wide
from reference.arithmetic.tape import Tape
from reference.formats import format_of, inside
from reference.rounding import RoundingUnit

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_ROUNDING = 2.0**-30
"""A share that is more than the few roundings (2⁻⁵³ each) lose with which a comparison is made."""

_TOGETHER = 2 * AT_ONCE
"""Columns that are evaluated in float64 together: an evaluation takes 0.1 ms to set up, and the
numbers of more columns do not stay in the cache."""

_MANY = 1 << 14  # of more columns, a sample of 1/16 shows whether it pays to find equal ones


@dataclass
class Columns:
    """M columns of operations with equally many variables, and where they came from.

    | field | meaning | tanh on one answer's (2, 3) array z |
    |---|---|---|
    | `tapes` | the traced operations | `[tape of tanh]` |
    | `tape` (M,) | index into `tapes`; equal ones are adjacent | `[0, 0, 0, 0, 0, 0]` |
    | `dtype` | the problem's dtype | float32 |
    | `width` | number of variables (inputs that have a slope) | 1 |
    | `inputs` (K, M) | first the variables, then other inputs such as targets | `z.reshape(1, 6)` |
    | `chunk` (M,) | number of the tensor in the block (`Gathered.chunks`) | `[0, 0, 0, 0, 0, 0]` |
    | `row` (M,) | which row of the tensor, or which entry if `elementwise` | `[0, 1, 2, 3, 4, 5]` |
    | `elementwise` | whether the operation is one of single numbers | True |
    | `found` | the certified values and slopes, after `evaluate_columns` | None |
    | `found.tied` (M,) | whether z is exactly at a kink (relu at 0) | all False: tanh has no kink |
    | `found.near` (M,) | whether z is near a kink: a few ulps may cross it | all False |
    | `by_arb` (M,) | whether `found` is that of arb there | all False |
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
    by_arb: Mask = field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        if len(self.by_arb) != self.inputs.shape[1]:
            self.by_arb = np.zeros(self.inputs.shape[1], bool)

    def widened(self, tensors: Sequence[Array]) -> list[Array]:
        """Return tensors in the wider type."""
        return [tensor.astype(wide(self.dtype), copy=False) for tensor in tensors]

    @cached_property
    def finite(self) -> Mask:
        """Where all inputs of a column are finite, (M,); other columns cannot be judged."""
        return np.asarray(np.isfinite(self.inputs).all(axis=0))

    @cached_property
    def sizes(self) -> Array:
        """The largest magnitude of each column's variables, (1, M)."""
        sizes: Array = np.abs(self.inputs[: self.width]).max(axis=0, keepdims=True)
        return sizes

    def job(self, columns: npt.NDArray[np.intp] | slice) -> Job:
        """Return some columns, in their order, as a job for `evaluate`."""
        counts = np.bincount(self.tape[columns], minlength=len(self.tapes))
        used = np.flatnonzero(counts)
        return Job([self.tapes[k] for k in used.tolist()], counts[used], self.inputs[:, columns])

    def evaluate_with_arb(self, columns: npt.NDArray[np.intp]) -> None:
        """Replace the values and slopes of some columns by those that arb certifies."""
        negligible = arb(format_of(self.dtype).smallest) / 2**30
        found, number = self.found, wide(self.dtype)
        assert found is not None
        first, same = distinct(self.inputs[:, columns], self.tape[columns])
        for here, m in enumerate(columns[first].tolist()):
            tape = self.tapes[int(self.tape[m])]
            made = tape.evaluate_with_arb(
                [arb(float(v)) for v in self.inputs[: tape.inputs, m]], negligible
            )
            alike = columns[same == here]
            for k, ball in enumerate(made.values):
                middle, radius = as_numbers(ball, number)
                found.value[k, alike], found.value_radius[k, alike] = middle, radius
            for k, row in enumerate(made.slopes):
                for j, ball in enumerate(row):
                    middle, radius = as_numbers(ball, number)
                    found.slope[k, j, alike] = middle
                    found.slope_radius[k, j, alike] = radius
            found.tied[alike] = made.tied
        self.by_arb[columns] = True

    def take(self, columns: npt.NDArray[np.intp] | slice) -> "Columns":
        """Return some of the columns, in their order."""
        return Columns(
            self.tapes, self.tape[columns], self.dtype, self.width, self.inputs[:, columns],
            self.chunk[columns], self.row[columns], self.elementwise,
            None if self.found is None else _taken(self.found, columns), self.by_arb[columns],
        )  # fmt: skip

    def put(self, where: npt.NDArray[np.intp], other: "Columns") -> None:
        """Copy the values found for other columns into some of these."""
        mine, theirs = self.found, other.found
        assert mine is not None and theirs is not None
        for name in ColumnValues.__dataclass_fields__:
            getattr(mine, name)[..., where] = getattr(theirs, name)

    def flushed(self, tiny: float) -> "Columns":
        """Return the same columns, not evaluated, with every input below `tiny` replaced by 0."""
        return self.at(np.where(np.abs(self.inputs) < tiny, 0, self.inputs))

    def nudged(self, k: int, sign: int, dtype: np.dtype[Any]) -> "Columns":
        """Return the same columns, not evaluated, with input k moved by one ulp of `dtype`.

        It moves away from zero, or towards zero if `sign` is -1.
        """
        inputs = self.inputs.copy()
        with np.errstate(all="ignore"):
            one = inputs[k].astype(dtype)
            away = np.copysign(np.inf, sign * inputs[k]).astype(dtype)
            inputs[k] = np.nextafter(one, away)
        return self.at(inputs)

    def at(self, inputs: Array) -> "Columns":
        """Return the same columns at other inputs, not evaluated yet."""
        inputs = inputs.astype(self.inputs.dtype)
        return replace(self, inputs=inputs, found=None, by_arb=np.zeros(0, bool))


def evaluate_columns(jobs: Sequence[Columns], radii: bool = True) -> None:
    """Evaluate all columns, those of one dtype together; the results are in their `found`.

    arb is used only for float64 on a machine whose long doubles are no longer than doubles. If
    `radii` is False, error bounds are computed only for columns that are near a decision.
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
                job.evaluate_with_arb(np.flatnonzero(job.finite))
    if not radii:
        near = [(job, np.flatnonzero(job.found.near)) for job in jobs if job.found is not None]
        near = [(job, which) for job, which in near if len(which)]
        again = [job.take(which) for job, which in near]
        evaluate_columns(again)
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
    """Numbers of answers and their certified values: `given`, `truth` and `radius` (outputs, M).

    `radius` is the error bound of `truth`. Where a column is `tied` (its inputs are exactly at a
    kink), every number in truth ± radius is right: `radius` is half the distance between the two
    one-sided results, plus the error bound. `error` is the distance from the truth, or from this
    interval. `judged` is False where no truth is known.
    """

    columns: Columns
    given: Array
    truth: Array
    radius: Array
    judged: Mask

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "Check":
        """Return the check of the columns `which`; `columns` are these, evaluated."""
        raise NotImplementedError

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each number may be off."""
        raise NotImplementedError

    @property
    def magnitude_to_keep(self) -> Array:
        """The hand-written side's error must stay below `judge.MAX_LOST_SHARE` times this."""
        return np.abs(self.truth)

    def settled(self, unit: RoundingUnit) -> "Check":
        """Return the check with every column decided: arb certifies those in doubt.

        A column is in doubt if its error bound allows both verdicts. So every verdict is one that
        arb would give, and does not depend on what else is in the block.
        """
        with np.errstate(all="ignore"):
            allowed = self.allowed(unit)
            # The true value may be `radius` away. This changes the error by at most `radius`, and
            # what is allowed by less. At a kink the error is already without the radius.
            doubt = np.where(self.tied, 0, 2 * self.radius) + _ROUNDING * allowed
            sure = (np.abs(self.error - allowed) > doubt) & np.isfinite(self.radius)
            sure |= ~self.judged & ~np.isnan(self.truth)
        known = sure.all(axis=0) | self.columns.by_arb | ~self.provable
        if known.all():
            return self
        self.columns.evaluate_with_arb(np.flatnonzero(~known))
        return self.of(self.columns, np.arange(len(known)))

    def outside(self, unit: RoundingUnit) -> Mask:
        """Return where a settled check is not within what is allowed."""
        with np.errstate(all="ignore"):
            return np.asarray(self.judged & ~(self.error <= self.allowed(unit)))

    @property
    def perturbed_inputs(self) -> int:
        """n: each of the first n inputs may be rounded once more before the operation."""
        return self.columns.width

    def moved_by_slope(self, dtype: np.dtype[Any]) -> Array:
        """Return how far one ulp of each input moves each number, NaN where a slope cannot say."""
        return np.full(self.truth.shape, np.nan, self.truth.dtype)

    @property
    def provable(self) -> Mask:
        """Where arb can give a bound: all inputs are finite."""
        return self.columns.finite

    @cached_property
    def tied(self) -> Mask:
        """Where the inputs are exactly at a kink, so several slopes are right, (M,)."""
        assert self.columns.found is not None
        return self.columns.found.tied

    @cached_property
    def error(self) -> Array:
        """The distance from the truth, infinite where the answer is NaN."""
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
        allowed = unit.value(size, self.columns.sizes) + unit.result_rounding(size)
        return np.asarray(unit.allow_overflow(allowed, size))

    def moved_by_slope(self, dtype: np.dtype[Any]) -> Array:
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
        """Return the check of the columns `which`; `columns` are these, evaluated."""
        return ValueCheck(columns, self.given[:, which])


class SlopeCheck(Check):
    """The cotangent dz = da · f'(z) of an activation, at the answer's own da and z.

    For a loss: the cotangent of the prediction. Then `da` is the scale of each loss (weight over
    divisor), `da_radius` its error bound, and `roundings` how often the result may be rounded.
    """

    def __init__(
        self,
        columns: Columns,
        given: Array,
        da: Array,
        da_radius: Any = 0.0,
        roundings: Array | None = None,
    ) -> None:
        found = columns.found
        assert found is not None
        self.columns, self.da, self.da_radius = columns, da, da_radius
        self.roundings = roundings
        self.slope, slope_radius = self.slopes(found)
        unit = np.finfo(wide(columns.dtype)).eps
        with np.errstate(all="ignore"):
            size, slope = np.abs(da)[:, None], np.abs(self.slope)
            # 0 · ∞ counts as 0: if no cotangent comes in, none goes out.
            terms = np.where(da[:, None] == 0, 0, da[:, None] * self.slope)
            truth = terms.sum(axis=0)
            self.magnitude = np.abs(terms).sum(axis=0)
            own = size * slope_radius + np.abs(np.atleast_2d(da_radius))[:, None] * slope
            radius = np.where(size == 0, 0, own).sum(axis=0)
            radius = radius + (len(da) + 1) * unit * self.magnitude
        judged = columns.finite & np.isfinite(da).all(axis=0) & ~np.isnan(truth)
        judged &= np.isfinite(self.magnitude)
        super().__init__(columns, given, truth, radius, judged)

    def slopes(self, found: ColumnValues) -> tuple[Array, Array]:
        """Return the slopes that the cotangents are multiplied by, and their error bounds."""
        return found.slope, found.slope_radius

    @property
    def default_roundings(self) -> int:
        """How often the result may be rounded, if `roundings` is None.

        1 for the product of an elementwise operation, n + 2 for a sum over a row of n.
        """
        return 1 if self.columns.elementwise else self.columns.width + 2

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each cotangent may be off."""
        columns = self.columns
        activation = columns.elementwise and self.roundings is None
        across = columns.sizes if activation else 0.0
        with np.errstate(all="ignore"):
            slopes = np.abs(self.slope)
            each = unit.allow_overflow(unit.slope(slopes, across), slopes)
            sizes = np.abs(self.da)[:, None]
            allowed = np.where(sizes == 0, 0, sizes * each).sum(axis=0)
            roundings: Any = self.default_roundings if self.roundings is None else self.roundings
            allowed = allowed + unit.sum_rounding(roundings, self.magnitude) + unit.k * unit.floor
            reach = np.abs(self.truth) + np.where(self.tied, self.radius, 0)
            allowed = allowed + unit.input_rounding(self.magnitude) + unit.result_rounding(reach)
            if self.roundings is not None:
                # The scale is rounded twice: the weight, and its quotient by the divisor.
                allowed = allowed + (slopes * unit.result_rounding(sizes, 2.0)).sum(axis=0)
            return np.asarray(unit.allow_overflow(allowed, self.magnitude))

    @property
    def magnitude_to_keep(self) -> Array:
        """Σ|terms|; infinite for an activation over rows, whose terms may cancel."""
        bounded = self.columns.elementwise or self.roundings is not None
        return self.magnitude if bounded else np.full_like(self.magnitude, np.inf)

    @property
    def perturbed_inputs(self) -> int:
        """For a loss all inputs: a soft label may be rounded, and cancels with the prediction."""
        return self.columns.width if self.roundings is None else len(self.columns.inputs)

    @property
    def provable(self) -> Mask:
        """Where arb can give a bound: all inputs are finite, and da is finite and not 0."""
        cotangent = np.isfinite(self.da).all(axis=0) & (self.da != 0).any(axis=0)
        return np.asarray(self.columns.finite & cotangent)

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "SlopeCheck":
        """Return the check of the columns `which`; `columns` are these, evaluated."""
        radius = self.da_radius if np.ndim(self.da_radius) == 0 else self.da_radius[:, which]
        roundings = None if self.roundings is None else self.roundings[which]
        return SlopeCheck(columns, self.given[:, which], self.da[:, which], radius, roundings)


def surely_right(columns: Columns, unit: RoundingUnit, a: Array, da: Array, dz: Array) -> Mask:
    """Return where the value a and the cotangent dz of an elementwise operation are surely right.

    This is a quick test without the details of `Check`: both errors, with their bounds, must be
    below k ulps, which every model allows (`unit.k`: 8 in *strict*; dz has one more for the product
    with da). The other columns may still be right.

    Example: tanh in float32, z = 1, a = 0.7615942. The error 4e-8 is below 8 ulps, 3.6e-7.
    """
    found = columns.found
    assert found is not None
    # The share by which `product` below, rounded to the wider type, may be off: half an ulp.
    lost = float(np.finfo(found.value.dtype).eps) * (0.5 + _ROUNDING)
    right = ~found.tied & columns.finite
    with np.errstate(all="ignore"):
        for first in range(0, len(right), AT_ONCE):
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
                # Beside k ulps, k times `floor` (the smallest number) is allowed. Four of the
                # numbers above may underflow in float64, each by half of it: 2 less.
                size += (unit.k - 2) * unit.floor
                # False where a number leaves the range: error and size are both infinite there.
                right[some] &= error * (1 + _ROUNDING) < size
    return np.asarray(right)


def undecided_in_float64(
    columns: Columns, unit: RoundingUnit, a: Array, da: Array, dz: Array
) -> npt.NDArray[np.intp]:
    """Return the columns of a float64 problem that need more digits than float64 to be judged.

    The columns are evaluated in float64, with tables for exp and tanh. Most answers are shown to be
    right by this alone (`surely_right`); the others are returned.
    """
    found = [np.empty(0, np.intp)]
    for first in range(0, len(columns.tape), _TOGETHER):
        some = slice(first, first + _TOGETHER)
        part = columns.take(some)
        (part.found,) = evaluate([part.job(slice(None))], columns.dtype, tables=True)
        right = surely_right(part, unit, a[:, some], da[:, some], dz[:, some])
        found.append(first + np.flatnonzero(~right))
    return np.concatenate(found)


def losses_in_float64(
    columns: Columns, unit: RoundingUnit, scale: Array, da: Array
) -> npt.NDArray[np.intp]:
    """Evaluate elementwise losses of a float64 problem in float64; the results are in `found`.

    Return the columns that need more digits: their slope, times `scale`, is not shown to be the
    cotangent `da`, or their value may be off by more than *strict* allows.
    """
    (found,) = evaluate([columns.job(slice(None))], columns.dtype, tables=True)
    columns.found = found.astype(wide(columns.dtype))
    return np.flatnonzero(~surely_right(columns, unit, columns.found.value, scale, da))


def conditioning(checks: Sequence[Check], joined: bool = False) -> list[Array]:
    """Return how far each truth moves when each of its inputs moves by one ulp, added up.

    So much may differ where a compiler joins operations and rounds their inputs otherwise. The ulp
    is one of the type that an operation computes in, or of the problem's dtype if `joined`. A value
    moves by slope · ulp where no decision is near; the others are evaluated again, an ulp away.
    """
    dtypes = [c.columns.dtype if joined else inside(c.columns.dtype) for c in checks]
    moved = [check.moved_by_slope(dtype) for check, dtype in zip(checks, dtypes, strict=True)]
    near = [_Nudged(check, np.flatnonzero(np.isnan(m).any(axis=0)), dtype)
            for check, m, dtype in zip(checks, moved, dtypes, strict=True)]  # fmt: skip
    evaluate_columns([columns for one in near for _, columns in one.moves], radii=False)
    for total, one in zip(moved, near, strict=True):
        total[:, one.which] = one.moved()
    return moved


class _Nudged:
    """Some columns of a check, evaluated again with each input in turn moved by one ulp.

    Each input moves away from zero, which is the larger ulp; near a decision also towards zero.
    """

    def __init__(self, check: Check, which: npt.NDArray[np.intp], dtype: np.dtype[Any]) -> None:
        self.which = which
        self.check = check.of(check.columns.take(which), which)
        columns = self.check.columns
        assert columns.found is not None
        inputs = np.array([tape.inputs for tape in columns.tapes])[columns.tape]
        self.moves = []
        unknown = replace(columns, found=None)  # `take` would copy what `nudged` drops
        for k in range(check.perturbed_inputs if len(which) else 0):
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
        """Return how far the truth moved; at a kink, to the farthest slope that is right there."""
        check, there = self.check, self.check.of(columns, some)
        reach = np.where(there.tied, there.radius, 0)
        admitted = np.where(check.tied, check.radius, 0)[:, some]
        with np.errstate(all="ignore"):
            moved: Array = np.abs(there.truth - check.truth[:, some]) + reach - admitted
            return np.maximum(moved, 0)


def distinct(
    inputs: Array, tape: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first column of each group of equal ones, and the number of each one's group.

    Sides often agree, so many columns are equal. Example: for columns a, b, a the first are [0, 1]
    and the groups [0, 1, 0].
    """
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
