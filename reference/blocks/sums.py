"""Sums of products, of many layers at once: z = a W + b, dW = aᵀ dz, db = 1ᵀ dz, da = dz Wᵀ.

Layers of about one size lie in one stack, padded with zeros: a zero adds nothing, neither to a sum
nor to its error. A sum of n terms computed in the wider type is off by at most (n + 2) units of
that type times Σ|terms|, in whatever order it is added up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from flint import arb

from reference.arithmetic.balls import Ball, precision
from reference.arithmetic.columns import wide
from reference.rounding import RoundingUnit

Array = npt.NDArray[Any]

_SMALLEST = 8
_EXACT_BITS = 4400  # holds any sum of products of float64 numbers without rounding


class DenseTensors(NamedTuple):
    """One dense layer of one answer: what went in, what came out, and the cotangents of both.

    `chunk` is the answer, `layer` its number. The bias and its cotangent are None if it has none.
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


def padded(n: int) -> int:
    """Return the size in a stack: a power of two."""
    return max(_SMALLEST, 1 << (n - 1).bit_length())


@dataclass
class SumCheck:
    """One kind of sum of a stack of layers: `given` beside `truth`, (M, rows, columns) each."""

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
    def truth(self) -> Array:
        """The sums, in the wider type."""
        with np.errstate(all="ignore"):
            made: Array = self.left @ self.right
            return made if self.plus is None else made + self.plus[:, None, :]

    @cached_property
    def magnitude(self) -> Array:
        """Σ|terms| of each sum, rounded up; doubles do, and are ten times faster."""
        with np.errstate(all="ignore"):
            left, right = (np.abs(v).astype(np.float64) for v in (self.left, self.right))
            made: Array = left @ right
            if self.plus is not None:
                made = made + np.abs(self.plus).astype(np.float64)[:, None, :]
            tiny = float(np.finfo(np.float64).smallest_subnormal)
            up = 1 + (self._units + 2) * float(np.finfo(np.float64).eps)
            return np.where(made == 0, 0, made * up + self._units * tiny)

    @cached_property
    def radius(self) -> Array:
        """The error of the sums as computed here."""
        info = np.finfo(self.truth.dtype)
        with np.errstate(all="ignore"):
            return np.asarray((self._units + 2) * (info.eps * self.magnitude + info.tiny))

    @cached_property
    def judged(self) -> npt.NDArray[np.bool_]:
        """Where something can be said: every term is a number."""
        return self.inside & np.isfinite(self.magnitude)

    @cached_property
    def error(self) -> Array:
        """The distance from the truth, infinite where there is none."""
        with np.errstate(all="ignore"):
            error = np.abs(self.given - self.truth)
        return np.where(np.isnan(error), np.inf, error)

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each sum may be off."""
        with np.errstate(all="ignore"):
            allowed = unit.total(self.terms[:, None, None], self.magnitude)
            if unit.model.flush:
                allowed = allowed + self._flushed(unit.tiny)
            return np.asarray(unit.bounded(allowed, self.magnitude))

    def _flushed(self, tiny: float) -> Array:
        """Return what is lost where factors below the normal range are taken for zero."""
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
        """Return how far some numbers are off, and the first of their bounds that holds each.

        `bounds` is (models, numbers); what none holds has the number of the models.
        """
        error = self.error[at].astype(np.float64)
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


def sum_checks(dtype: np.dtype[Any], layers: list[DenseTensors]) -> Iterator[SumCheck]:
    """Yield the checks of z, the weights, the biases and of what went in, of layers of one size."""
    number = wide(dtype)
    n, d_in, d_out = (
        padded(max(size))
        for size in zip(*((*t.a.shape, t.z.shape[1]) for t in layers), strict=True)
    )
    m = len(layers)
    a, da = (np.zeros((m, n, d_in), number) for _ in range(2))
    z, dz = (np.zeros((m, n, d_out), number) for _ in range(2))
    weight, dweight = (np.zeros((m, d_in, d_out), number) for _ in range(2))
    bias, dbias = np.zeros((m, d_out), number), np.zeros((m, 1, d_out), number)
    sizes = np.empty((3, m), np.int64)
    with_bias = np.zeros(m, bool)
    for k, t in enumerate(layers):
        rows, width = t.a.shape
        out = t.z.shape[1]
        sizes[:, k] = rows, width, out
        a[k, :rows, :width], da[k, :rows, :width] = t.a, t.da
        z[k, :rows, :out], dz[k, :rows, :out] = t.z, t.dz
        weight[k, :width, :out], dweight[k, :width, :out] = t.weight, t.dweight
        if t.bias is not None:
            with_bias[k] = True
            bias[k, :out], dbias[k, 0, :out] = t.bias, t.dbias
    rows, width, out = sizes
    of_n, of_in, of_out = (
        np.arange(p)[None] < size[:, None] for p, size in ((n, rows), (d_in, width), (d_out, out))
    )
    common = dtype, layers
    yield SumCheck(
        "z", *common, a, weight, bias, z, of_n[:, :, None] & of_out[:, None], width + 1, d_in + 1
    )
    back, ones = a.transpose(0, 2, 1), of_n[:, None, :].astype(number)
    inside = of_in[:, :, None] & of_out[:, None]
    yield SumCheck("weight", *common, back, dz, None, dweight, inside, rows + 1, n)
    inside = (of_out & with_bias[:, None])[:, None]
    yield SumCheck("bias", *common, ones, dz, None, dbias, inside, rows, n)
    across = weight.transpose(0, 2, 1)
    inside = of_n[:, :, None] & of_in[:, None]
    yield SumCheck("a", *common, dz, across, None, da, inside, out, d_out)
