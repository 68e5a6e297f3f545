"""Sums of products, of many layers at once: z = a W + b, dW = aᵀ dz, db = 1ᵀ dz, da = dz Wᵀ.

Layers of similar sizes are in one stack, padded with zeros, which change neither a sum nor its
error. A sum of n terms, computed in the wider type in any order, has an error of at most (n + 2)
units of that type times Σ|terms|.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from flint import arb

from reference.arithmetic.balls import Ball, precision
from reference.arithmetic.evaluation import wide
from reference.arithmetic.split import split_product, two_sum, within_range
from reference.rounding import RoundingUnit

Array = npt.NDArray[Any]

_SMALLEST = 8
_LONGEST = 1 << 12  # in a sum of so many terms all roundings are below 2^-40 of what is allowed
_EXACT_BITS = 4400  # holds any sum of products of float64 numbers without rounding


class DenseTensors(NamedTuple):
    """One dense layer of one answer: z = a weight + bias, and the cotangents of all of them.

    `chunk` is the number of the answer, `layer` that of the layer. `bias` and `dbias` are None if
    the layer has no bias. At second order the tensors are tangents and products, and `still` has
    the values of a, weight and dz.
    """

    chunk: int
    layer: int
    a: Array
    weight: Array
    bias: Array | None
    z: Array
    dz: Array
    dweight: Array
    dbias: Array | None
    da: Array
    still: tuple[Array, ...] = ()


def padded(n: int) -> int:
    """Return the size in a stack: a power of two."""
    return max(_SMALLEST, 1 << (n - 1).bit_length())


@dataclass
class SumCheck:
    """One kind of sum of a stack of M layers: left @ right + plus, (M, rows, columns).

    `given` are the answers' numbers. `inside` is False in the padding. `terms` says how many
    roundings each layer's sums may have, `_units` how many units the sum in the wider type is off.
    """

    kind: str
    dtype: np.dtype[Any]
    layers: list[DenseTensors]
    left: Array
    right: Array
    plus: Array | None
    given: Array
    inside: npt.NDArray[np.bool_]
    terms: Array
    _units: int

    @cached_property
    def full(self) -> bool:
        """Whether nothing is padding."""
        return bool(self.inside.all())

    @cached_property
    def magnitude(self) -> Array:
        """Σ|terms| of each sum, rounded up."""
        with np.errstate(all="ignore"):
            made: Array = np.abs(self.left) @ np.abs(self.right)
            if self.plus is not None:
                made += np.abs(self.plus)[:, None, :]
            made *= 1 + (self._units + 2) * float(np.finfo(np.float64).eps)
            made += self._units * float(np.finfo(np.float64).smallest_subnormal)
            return made

    @cached_property
    def radius(self) -> Array:
        """The error bound of `error`."""
        info = np.finfo(wide(self.dtype))
        with np.errstate(all="ignore"):
            return (self._units + 4) * (float(info.eps) * self.magnitude + float(info.tiny))

    @cached_property
    def judged(self) -> npt.NDArray[np.bool_]:
        """Where a sum can be judged: all its terms are finite."""
        return self.inside & np.isfinite(self.magnitude)

    @cached_property
    def truth(self) -> Array:
        """The sum in the wider type."""
        number = wide(self.dtype)
        with np.errstate(all="ignore"):
            truth: Array = self.left.astype(number) @ self.right.astype(number)
            return truth if self.plus is None else truth + self.plus[:, None, :]

    @cached_property
    def error(self) -> Array:
        """The distance from the sum in the wider type, infinite for NaN."""
        with np.errstate(all="ignore"):
            error: Array = np.abs((self.truth - self.given).astype(np.float64))
        error[np.isnan(error)] = np.inf
        return error

    def suspects(self, unit: RoundingUnit) -> npt.NDArray[np.intp]:
        """Return the layers that quick tests do not show to be right; they may still be."""
        open_, check = np.arange(len(self.layers)), self
        if wide(self.dtype) != np.float64:
            for shows_right in (SumCheck._right_by_halves, SumCheck._right_by_split_products):
                which = np.flatnonzero(~shows_right(check, unit))
                if not len(which):
                    return which
                open_, check = open_[which], check.take(which)
        if unit.low:
            with np.errstate(all="ignore"):
                sure = check.error + check.radius <= check.allowed(unit)
            return open_[~(sure | ~check.inside).all(axis=(1, 2))]
        eps = float(np.finfo(wide(self.dtype)).eps)
        share = (check.terms * unit.u - (self._units + 4) * eps) * (1 - 2.0**-40)
        with np.errstate(all="ignore"):
            sure = check.error <= share[:, None, None] * check.magnitude
        sure |= ~check.inside
        return open_[~sure.all(axis=(1, 2))]

    def _right_by_halves(self, unit: RoundingUnit) -> npt.NDArray[np.bool_]:
        """Return in which layers products in float64 show that every sum is right.

        A sum is computed in two halves. So a term is rounded at most n/2 + 1 times, and once more
        with the bias, while `terms` roundings are allowed. Underflow changes the sum by n/2 times
        half the smallest number, which is also allowed.
        """
        n = self.left.shape[2]
        rounded = (n + 1) // 2 + 1 + (self.plus is not None)
        share = (self.terms - rounded * (1 + 2.0**-40)) * unit.u * (1 - 2.0**-40)
        sure = np.zeros(len(self.layers), bool)
        if n > _LONGEST or not (share > 0).any():
            return sure
        with np.errstate(all="ignore"):
            total = self.left[..., : n // 2] @ self.right[:, : n // 2]
            total += self.left[..., n // 2 :] @ self.right[:, n // 2 :]
            magnitude = np.abs(self.left) @ np.abs(self.right)
            if self.plus is not None:
                total += self.plus[:, None]
                magnitude += np.abs(self.plus)[:, None]
            total -= self.given
            magnitude *= share[:, None, None]
            found = np.abs(total, out=total) <= magnitude
        if not self.full:
            found |= ~self.inside
        return np.asarray(found.all(axis=(1, 2)))

    def _right_by_split_products(self, unit: RoundingUnit) -> npt.NDArray[np.bool_]:
        """Return in which layers five products in float64 show that every sum is right."""
        sure = within_range(self.left, self.right) & np.isfinite(self.given).all(axis=(1, 2))
        if self.plus is not None:
            sure &= np.isfinite(self.plus).all(axis=1)
        which = np.flatnonzero(sure)
        check = self if len(which) == len(sure) else self.take(which)
        with np.errstate(all="ignore"):
            found = split_product(check.left, check.right)
            total, rest = found.high, found.low
            if check.plus is not None:
                total, lost = two_sum(found.high, check.plus[:, None, :])
                rest = rest + lost
            # No term underflows, so a sum whose magnitude is 0 has no error.
            there = check.magnitude > self._units * float(np.finfo(np.float64).smallest_subnormal)
            error = np.abs((total - check.given) + rest) * (1 + 2.0**-40) + found.radius * there
            allowed = (check.terms * unit.u * (1 - 2.0**-39))[:, None, None] * check.magnitude
            sure[which] = ((error <= allowed) | ~check.inside).all(axis=(1, 2))
        return sure

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each sum may be off."""
        with np.errstate(all="ignore"):
            allowed = unit.sum_rounding(self.terms[:, None, None], self.magnitude)
            if unit.model.flush:
                allowed = allowed + self._flushed(unit.tiny)
            if unit.low:
                allowed = (
                    allowed
                    + unit.input_rounding(self.magnitude)
                    + unit.result_rounding(np.abs(self.truth))
                )
            return np.asarray(unit.allow_overflow(allowed, self.magnitude))

    def _flushed(self, tiny: float) -> Array:
        """Return what a sum loses if factors below the normal range are replaced by zero."""
        left, right = np.abs(self.left), np.abs(self.right)
        small_left, small_right = (np.where(v < tiny, v, 0) for v in (left, right))
        lost: Array = small_left @ right + left @ small_right
        if self.plus is not None:
            plus = np.abs(self.plus)
            lost = lost + np.where(plus < tiny, plus, 0)[:, None, :]
        return lost

    def take(self, which: npt.NDArray[np.intp]) -> "SumCheck":
        """Return the check of some layers."""
        return replace(
            self, layers=[self.layers[m] for m in which.tolist()], left=self.left[which],
            right=self.right[which], plus=None if self.plus is None else self.plus[which],
            given=self.given[which], inside=self.inside[which], terms=self.terms[which],
        )  # fmt: skip

    def levels(self, at: tuple[Array, ...], bounds: Array) -> tuple[Array, Array]:
        """Return the errors of some numbers, and the first model that allows each.

        `bounds` is (models, numbers). An error that no model allows has the number of models.
        """
        error = self.error[at]
        with np.errstate(all="ignore"):
            doubt = 2 * self.radius[at] + 2.0**-30 * bounds.max(axis=0)
            open_ = (np.abs(error - bounds) <= doubt).any(axis=0) & np.isfinite(error)
        for entry in np.flatnonzero(open_).tolist():
            m, i, j = (int(axis[entry]) for axis in at)
            error[entry] = self.exact_error((m, i, j))
        holds = np.vstack([error <= bounds, np.ones(len(error), bool)])
        return error, holds.argmax(axis=0)

    def exact_error(self, entry: tuple[int, int, int]) -> float:
        """Return the distance of one number from its sum, both without rounding."""
        given = float(self.given[entry])
        if not np.isfinite(given):
            return np.inf
        with precision(_EXACT_BITS):
            return float(abs(arb(given) - self.exact(entry)))

    def exact(self, entry: tuple[int, int, int]) -> Ball:
        """Return one sum without rounding."""
        m, i, j = entry
        with precision(_EXACT_BITS):
            terms = [
                arb(float(p)) * arb(float(q))
                for p, q in zip(self.left[m, i], self.right[m, :, j], strict=True)
            ]
            start = arb(0) if self.plus is None else arb(float(self.plus[m, j]))
            return sum(terms, start)


class Stacks:
    """Layers of similar sizes, padded to one size; masks say where a tensor's numbers are."""

    def __init__(self, layers: list[DenseTensors]) -> None:
        self.layers = layers
        sizes = np.array([(*t.a.shape, t.z.shape[1]) for t in layers])
        of_n, of_in, of_out = within = [
            np.arange(padded(int(axis.max())))[None] < axis[:, None] for axis in sizes.T
        ]  # (M, n), (M, d_in), (M, d_out)
        self.sizes, self.padded = sizes.T, [mask.shape[1] for mask in within]
        self.of_n = of_n
        self.of_x = of_n[:, :, None] & of_in[:, None]
        self.of_z = of_n[:, :, None] & of_out[:, None]
        self.of_weight = of_in[:, :, None] & of_out[:, None]
        self.of_bias = of_out & np.array([t.bias is not None for t in layers])[:, None]

    def tensors(self) -> Iterator[Array]:
        """Yield the stacks of a, da, z, dz, weight, dweight, bias and dbias."""
        for names, within in (
            (("a", "da"), self.of_x), (("z", "dz"), self.of_z),
            (("weight", "dweight"), self.of_weight), (("bias", "dbias"), self.of_bias),
        ):  # fmt: skip
            for name in names:
                yield stacked([getattr(t, name) for t in self.layers], within)


def sum_checks(dtype: np.dtype[Any], layers: list[DenseTensors]) -> Iterator[SumCheck]:
    """Yield the checks of z, the weights, the biases and of what went in, of layers of one size."""
    at, common = Stacks(layers), (dtype, layers)
    a, da, z, dz, weight, dweight, bias, dbias = at.tensors()
    (rows, width, out), (n, d_in, d_out) = at.sizes, at.padded
    yield SumCheck("z", *common, a, weight, bias, z, at.of_z, width + 1, d_in + 1)
    back, across = a.transpose(0, 2, 1), weight.transpose(0, 2, 1)
    yield SumCheck("weight", *common, back, dz, None, dweight, at.of_weight, rows + 1, n)
    ones = at.of_n[:, None, :].astype(np.float64)
    yield SumCheck("bias", *common, ones, dz, None, dbias[:, None], at.of_bias[:, None], rows, n)
    yield SumCheck("a", *common, dz, across, None, da, at.of_x, out, d_out)


def stacked(tensors: Sequence[Any], within: npt.NDArray[np.bool_]) -> Array:
    """Return a stack of tensors, padded with zeros; `within` is the mask of their numbers.

    A tensor that is None gives only zeros.
    """
    there = [tensor for tensor in tensors if tensor is not None]
    if len(there) == len(tensors) and within.all():
        return np.concatenate(there, axis=None, dtype=np.float64).reshape(within.shape)
    stack = np.zeros(within.shape)
    if there:
        stack[within] = np.concatenate(there, axis=None)
    return stack
