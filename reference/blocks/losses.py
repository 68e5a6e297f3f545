"""Compares each answer's loss with the certified one at the answer's own prediction.

The loss is Σ w L / divisor, with weights w; without a reduction it is each w L.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from reference.arithmetic.evaluation import wide
from reference.blocks.columns import Columns
from reference.formats import Array, inside
from reference.rounding import RoundingUnit


@dataclass
class LossTerms:
    """The terms of some answers' losses, scale · value, sorted by answer and place; (terms,) each.

    A term is of one sample, or of one entry for elementwise losses.
    """

    answer: Array  # index of the answer
    place: Array  # index of the sample or entry
    scale: Array  # weight / divisor
    value: Array  # certified loss
    radius: Array  # its error bound
    sizes: Array  # largest magnitude of its inputs
    moved: Array  # how far the value moves when each prediction moves by one ulp

    @staticmethod
    def of(jobs: Sequence[tuple[Columns, Array]], answer_of: Array) -> "LossTerms":
        """Collect the terms from pairs (columns, scale); `answer_of[chunk]` is the answer."""
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
    """The losses of one dtype beside their certified values; (losses,) each, but (terms,) `extra`.

    Either every loss is a sum of terms (one for each answer), or every loss is one term
    (reduction "none").
    """

    dtype: np.dtype
    answer: Array  # index of the answer
    place: Array  # index of the entry in the answer's loss, 0 for a sum
    given: Array
    truth: Array
    radius: Array  # error bound of the truth
    judged: npt.NDArray[np.bool_]  # False where no truth is known
    terms: LossTerms
    starts: Array | None  # where the terms of each sum begin, None if a loss is one term
    extra: Array  # how many roundings the scale and the product of each term may have
    divisor: Array

    @cached_property
    def error(self) -> Array:
        """The distance from the truth, infinite where the answer is NaN."""
        with np.errstate(all="ignore"):
            error = np.abs(self.given - self.truth)
            same = np.isinf(self.given) & (self.given == self.truth)
        return np.where(same, 0, np.where(np.isnan(error), np.inf, error))

    def outside(self, unit: RoundingUnit) -> Array:
        """Return where a loss is not within what is allowed."""
        with np.errstate(all="ignore"):
            return np.asarray(self.judged & ~(self.error + self.radius <= self.allowed(unit)))

    @property
    def magnitude_to_keep(self) -> Array:
        """Σ|terms|: the hand-written side's error must stay below a share of it."""
        return self._summed(self.terms.value)

    @property
    def moved(self) -> Array:
        """How far each loss moves with an ulp of each prediction: t (log t - y) may cancel."""
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
            each = scale * unit.value(size, t.sizes) + unit.sum_rounding(self.extra, magnitude)
            # Three results are rounded: the loss, its product with the weight, and the divisor.
            each = each + scale * unit.result_rounding(size, 3.0) + unit.input_rounding(magnitude)
            each = unit.allow_overflow(
                each, size
            )  # a loss may overflow before its weight makes it small
            if self.starts is None:
                return np.asarray(
                    unit.allow_overflow(each + unit.result_rounding(magnitude), magnitude)
                )
            summed, whole = (np.add.reduceat(v, self.starts) for v in (each, magnitude))
            count = np.diff([*self.starts, len(t.answer)]) + 1
            # The sum is divided last, so the undivided sum may overflow.
            divisor = np.maximum(1.0, self.divisor)
            undivided = whole * divisor
            ends = unit.result_rounding(undivided) / divisor + unit.result_rounding(whole)
            allowed = summed + unit.sum_rounding(count, whole) + ends
            return np.asarray(unit.allow_overflow(allowed, undivided))


def loss_checks(
    dtype: np.dtype,
    terms: LossTerms,
    batches: Array,
    reduced: npt.NDArray[np.bool_],
    divisors: Array,
    losses: Sequence[object],
) -> list[LossCheck]:
    """Return at most two checks: of the losses that are sums, and of those that are single terms.

    batches, reduced, divisors, losses: for each answer the batch size, whether its loss is a sum,
    its divisor, and its loss.
    """
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
