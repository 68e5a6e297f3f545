"""The reduced loss of each answer, at the answer's own prediction: Σ w L / divisor, or each w L."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from reference.arithmetic.columns import wide
from reference.blocks.columns import Columns
from reference.formats import Array, inside
from reference.rounding import RoundingUnit


@dataclass
class LossTerms:
    """The certified terms of some answers' losses, sorted by answer and place, each with scale."""

    answer: Array
    place: Array
    scale: Array
    value: Array
    radius: Array
    sizes: Array
    moved: Array  # how far one ulp of each prediction moves the value

    @staticmethod
    def of(jobs: Sequence[tuple[Columns, Array]], answer_of: Array) -> "LossTerms":
        """Collect the terms from the columns of all tapes; `answer_of` a chunk is its answer."""
        parts: list[list[Array]] = [[] for _ in LossTerms.__dataclass_fields__]
        for columns, scale in jobs:
            found = columns.found
            assert found is not None
            sizes = np.abs(columns.inputs).max(axis=0)
            value = np.where(columns.finite, found.value[0], np.nan)
            for part, array in zip(
                parts,
                (answer_of[columns.chunk], columns.row, scale[0], value,
                 found.value_radius[0], sizes, _moved(columns)),
                strict=True,
            ):  # fmt: skip
                part.append(array)
        answer, place, *rest = map(np.concatenate, parts)
        order = np.lexsort((place, answer))
        return LossTerms(answer[order], place[order], *(array[order] for array in rest))


def _moved(columns: Columns) -> Array:
    assert columns.found is not None
    y = np.abs(columns.inputs[: columns.width]).astype(inside(columns.dtype))
    with np.errstate(all="ignore"):
        moved = np.abs(columns.found.slope[0]) * np.spacing(y).astype(columns.inputs.dtype)
    return np.asarray(np.nan_to_num(moved, nan=0.0, posinf=0.0).sum(axis=0))


@dataclass
class LossCheck:
    """The losses of one dtype beside what they should be; flat over answers and their entries."""

    dtype: np.dtype
    answer: Array
    place: Array
    given: Array
    truth: Array
    radius: Array
    judged: npt.NDArray[np.bool_]
    terms: LossTerms
    starts: Array | None
    extra: Array
    divisor: Array

    @cached_property
    def error(self) -> Array:
        """The distance from the truth, infinite where there is none."""
        with np.errstate(all="ignore"):
            error = np.abs(self.given - self.truth)
            same = np.isinf(self.given) & (self.given == self.truth)
        return np.where(same, 0, np.where(np.isnan(error), np.inf, error))

    def outside(self, unit: RoundingUnit) -> Array:
        """Return where a loss is not within what is allowed."""
        with np.errstate(all="ignore"):
            return np.asarray(self.judged & ~(self.error + self.radius <= self.allowed(unit)))

    @property
    def size(self) -> Array:
        """What a share of is kept: the magnitude of the terms of each loss."""
        return self._summed(self.terms.value)

    @property
    def moved(self) -> Array:
        """How far one ulp of each prediction moves each loss: t (log t - y) may cancel."""
        return self._summed(self.terms.moved)

    def _summed(self, parts: Array) -> Array:
        with np.errstate(all="ignore"):
            parts = np.abs(self.terms.scale * parts)
        return parts if self.starts is None else np.add.reduceat(parts, self.starts)

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each loss may be off."""
        t = self.terms
        with np.errstate(all="ignore"):
            size, scale = np.abs(t.value), np.abs(t.scale)
            magnitude = scale * size
            # The scale is w/divisor: a division, and for class weights a sum; then products.
            each = scale * unit.value(size, t.sizes) + unit.total(self.extra, magnitude)
            # An end each: of the loss, of its product with the weight, of what it is divided by.
            each = each + scale * unit.end(size, 3.0) + unit.inputs(magnitude)
            each = unit.bounded(each, size)  # a loss may overflow before its weight makes it small
            if self.starts is None:
                return np.asarray(unit.bounded(each + unit.end(magnitude), magnitude))
            summed, whole = (np.add.reduceat(v, self.starts) for v in (each, magnitude))
            count = np.diff([*self.starts, len(t.answer)]) + 1
            # The sum is taken before the division, so it is the undivided sum that may overflow.
            undivided = whole * np.maximum(1.0, self.divisor)
            ends = unit.end(undivided) / np.maximum(1.0, self.divisor) + unit.end(whole)
            return np.asarray(unit.bounded(summed + unit.total(count, whole) + ends, undivided))


def loss_checks(
    dtype: np.dtype,
    terms: LossTerms,
    batches: Array,
    reduced: npt.NDArray[np.bool_],
    divisors: Array,
    losses: Sequence[object],
) -> list[LossCheck]:
    """Return the checks: of losses that are sums, and of those that stay apart."""
    made = []
    unit = np.finfo(wide(dtype)).eps
    for whole in (True, False):
        chosen = reduced[terms.answer] == whole
        if not chosen.any():
            continue
        t = LossTerms(*(getattr(terms, name)[chosen] for name in LossTerms.__dataclass_fields__))
        extra = batches[t.answer] + 4
        with np.errstate(all="ignore"):
            parts, errors = (
                t.scale * t.value,
                np.abs(t.scale) * (t.radius + 8 * unit * np.abs(t.value)),
            )
        if whole:
            answer, starts = np.unique(t.answer, return_index=True)
            with np.errstate(all="ignore"):
                truth = np.add.reduceat(parts, starts)
                count = np.diff([*starts, len(t.answer)])
                radius = np.add.reduceat(errors, starts)
                radius = radius + count * unit * np.add.reduceat(np.abs(parts), starts)
            place = np.zeros(len(answer), np.int64)
            given = np.array([losses[k] for k in answer.tolist()], truth.dtype)
        else:
            answer, starts, place, truth, radius = t.answer, None, t.place, parts, errors
            given = np.concatenate([np.ravel(losses[k]) for k in np.unique(answer).tolist()])
        judged = np.isfinite(truth) & np.isfinite(radius)
        made.append(
            LossCheck(dtype, answer, place, given.astype(truth.dtype), truth, radius, judged, t,
                      starts, extra, divisors[answer])
        )  # fmt: skip
    return made
