"""The direction v/‖v‖ and the length of each row, and their tangents.

Each row is divided by a power of two before it is squared, so that neither huge nor tiny numbers
leave the range.
"""

import numpy as np

from manual_backprop.layers.standardised import LOWEST, scaled
from manual_backprop.operation import FloatArray


def directions(v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return v/‖v‖ and ‖v‖ of each row; of a row of zeros, zeros and 1."""
    p, exponent = scaled(v, (-1,), least=LOWEST)
    length = np.sqrt((p * p).sum(axis=-1, keepdims=True))
    zero = length == 0
    length = np.where(zero, v.dtype.type(1), length)
    return p / length, np.ldexp(length, np.where(zero, 0, exponent))


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
