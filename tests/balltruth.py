"""The gradient of any function of BallArrays by difference quotients of 49 digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flint
import numpy as np

from reference.balls import BallArray, Number, Session, gradient, lift, radii, values

STEP = flint.arb(2) ** -66  # h² = 2e-40; 230 bits less 66 leave 49 digits

Function = Callable[..., Any]


def shifted(x: Any, at: tuple[int, ...], by: Any) -> Any:
    """The same constants, one of them moved."""
    result = np.array(x, dtype=object)
    result[at] = Number(result[at].value + by, None, ())
    return result.view(BallArray)


def quotient(function: Function, arrays: list[Any], which: int, cotangent: Any) -> Any:
    """Central differences of Σ cotangent · function at each entry of one array."""
    slopes = np.empty(np.shape(arrays[which]))
    for at in np.ndindex(*slopes.shape):
        sides = []
        for sign in (1, -1):
            moved = [lift(a) for a in arrays]
            moved[which] = shifted(moved[which], at, sign * STEP)
            sides.append(np.asarray(function(*moved), dtype=object) * cotangent)
        difference = np.sum((sides[0] - sides[1]).view(BallArray))
        slopes[at] = values(difference / Number(2 * STEP, None, ()))
    return slopes


def check(function: Function, *arrays: Any, seed: int = 0, exact: bool = False) -> None:
    """Value and gradient of one function at floats."""
    plain = np.asarray(function(*[np.asarray(a, dtype=float) for a in arrays]))
    cotangent = np.random.default_rng(seed).normal(size=plain.shape)
    with Session(230) as session:
        leaves = [lift(a) for a in arrays]
        out = function(*leaves)
        found = gradient([out], [cotangent], leaves)
        with session.paused():
            expected = [quotient(function, list(arrays), i, cotangent) for i in range(len(arrays))]
    assert np.shape(out) == plain.shape
    np.testing.assert_allclose(values(out), plain, rtol=1e-12, atol=1e-13)
    assert np.all(radii(out) < 1e-40)
    for derivative, slopes in zip(found, expected, strict=True):
        assert np.all(derivative.radius < 1e-40)
        assert np.all(derivative.scale >= np.abs(derivative.midpoint) * (1 - 1e-12))
        np.testing.assert_allclose(derivative.midpoint, slopes, rtol=1e-14, atol=1e-30)
