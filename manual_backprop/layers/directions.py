"""The direction v/‖v‖ and the length of each row, with how they move as v does.

Each row is divided by its largest number before it is squared, so that neither huge nor tiny
numbers leave the range.
"""

import numpy as np

from manual_backprop.operation import FloatArray


def directions(v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return v/‖v‖ and ‖v‖ of each row; of a row of zeros, zeros and 1."""
    top = np.abs(v).max(axis=-1, keepdims=True)
    top = np.where((top > 0) & (top < np.inf), top, v.dtype.type(1))
    scaled = v / top
    length = np.sqrt((scaled * scaled).sum(axis=-1, keepdims=True))
    length = np.where(length == 0, v.dtype.type(1), length)
    return scaled / length, top * length


def moved_directions(
    v: FloatArray, tv: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return u, ‖v‖ and their directional derivatives along tv.

    For a row of zeros, u and its derivative are 0.
    """
    u, norm = directions(v)
    tnorm = (u * tv).sum(axis=-1, keepdims=True)
    tu = np.where(u.any(axis=-1, keepdims=True), (tv - u * tnorm) / norm, v.dtype.type(0))
    return u, norm, tu, tnorm
