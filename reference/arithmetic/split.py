"""Products of stacks of float64 matrices with nearly twice the digits, by float64 products alone.

Each factor is split, A = A_h + A_l: A_h has the leading bits of each number, counted from its row's
largest number. They are so few that the sums in A_h B_h are exact, in any order. The rest,
A_h B_l + A_l B, is 2^-β of the whole, and its rounding error is small accordingly. (Ozaki, Ogita,
Oishi, Rump: Error-free transformations of matrix multiplication, Numerical Algorithms 59, 2012;
here with two parts.)
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = np.ndarray

_EPS = float(np.finfo(np.float64).eps)
_RANGE = 2.0**900
"""If |a b| lies between 1/this and this, no product and no part of one overflows or underflows."""


class SplitProduct(NamedTuple):
    """L R = high + low to within `radius`, all (M, rows, columns); `high` is exact."""

    high: Array
    low: Array
    radius: Array


def within_range(left: Array, right: Array) -> npt.NDArray[np.bool_]:
    """Return which products of a stack are finite and free of underflow, (M,)."""
    (low, high), (other_low, other_high) = _sizes(left), _sizes(right)
    with np.errstate(all="ignore"):
        return np.asarray((low * other_low >= 1 / _RANGE) & (high * other_high <= _RANGE))


def _sizes(factor: Array) -> tuple[Array, Array]:
    """Return bounds below and above 1 of the magnitudes in each matrix, without zeros."""
    size = np.abs(factor)
    high = size.max(axis=(1, 2))
    low = np.where(size == 0, 1.0, size).min(axis=(1, 2))
    return np.minimum(low, 1.0), np.where(np.isnan(high), np.inf, np.maximum(high, 1.0))


def split_product(left: Array, right: Array) -> SplitProduct:
    """Return the products of two stacks, (M, rows, n) and (M, n, columns), all within range."""
    n = left.shape[2]
    kept = (53 - (n - 1).bit_length()) // 2
    left_high, left_low, left_unit = _split(left, kept, axis=2)
    right_high, right_low, right_unit = _split(right, kept, axis=1)
    low = left_high @ right_low
    low += left_low @ right
    bound = np.abs(left_high).sum(axis=2, keepdims=True) * right_unit
    bound = bound + left_unit * np.abs(right).sum(axis=1, keepdims=True)
    return SplitProduct(left_high @ right_high, low, (n + 4) * _EPS * bound)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a + b and its exact rounding error (Knuth, TAOCP 2, 4.2.2, theorem B)."""
    total: Array = a + b
    of_a = total - b
    return total, (a - of_a) + (b - (total - of_a))


def _split(factor: Array, kept: int, axis: int) -> tuple[Array, Array, Array]:
    """Return the leading `kept` bits of each row or column, the rest, and the unit of that bit."""
    largest = np.abs(factor).max(axis=axis, keepdims=True)
    unit = np.ldexp((largest > 0).astype(np.float64), np.frexp(largest)[1] - kept)
    shift = 1.5 * 2.0**52 * unit
    high = factor + shift
    high -= shift
    return high, factor - high, unit
