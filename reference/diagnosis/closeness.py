"""Whether two arrays are one but for rounding, as a diagnosis needs it."""

import numpy as np

from reference.formats import Array
from reference.judge import REPRODUCES, SUMMANDS


def difference(a: Array, b: Array) -> float:
    """Return max |a − b| over the larger magnitude; infinity where shapes or infinities differ."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return np.inf
    if not a.size:
        return 0.0
    with np.errstate(all="ignore"):
        apart = np.abs(np.subtract(a, b, dtype=np.float64))
        scale = float(np.maximum(np.abs(a).max(), np.abs(b).max()))  # nan where either has one
    if not np.isfinite(scale):
        infinite = ~(np.isfinite(a) & np.isfinite(b))
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if not same[infinite].all():
            return np.inf
        return difference(a[~infinite], b[~infinite])
    largest = float(apart.max())
    return largest / scale if largest else 0.0


def same_to_rounding(a: Array, b: Array, among: float = 0.0) -> bool:
    """Say whether two arrays are one but for rounding, in the precision of the coarser.

    `among` is the size of the numbers that they were made from: a sum that cancels holds nothing
    but their rounding.
    """
    a, b = np.asarray(a), np.asarray(b)
    coarse = np.float32 if np.float32 in (a.dtype, b.dtype) else np.float64
    unit = REPRODUCES[np.dtype(coarse)]
    if difference(a, b) <= unit:
        return True
    if not among or a.shape != b.shape or not a.size:
        return False
    with np.errstate(all="ignore"):
        return float(np.abs(a - b).max()) <= unit * SUMMANDS * among
