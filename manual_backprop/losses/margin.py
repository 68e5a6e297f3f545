"""Losses on the margin t y between a score y and a class t that is -1 or +1."""

import numpy as np

from manual_backprop.activations.piecewise import zero_second
from manual_backprop.arithmetic import Backend, Math, N, Tensor
from manual_backprop.operation import COMPOSED, FloatArray, loss


@loss(torch=COMPOSED, jax=COMPOSED, targets=("sign",), elementwise=True)
class Hinge:
    """L = max(0, 1 - t y) with t -1 or +1.   ∂L/∂y = -t if t y < 1, else 0.

    At t y = 1 every slope between 0 and -t is a subgradient; 0 is taken. Cortes and Vapnik, 1995.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return max(0, 1 - t y)."""
        return np.maximum(1.0 - t * y, 0.0)

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = -t dL inside the margin, 0 outside."""
        return np.where(t * y < 1.0, -t * dL, 0.0)

    second = zero_second

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return max(0, 1 - t y)."""
        return m.max(m.number(0), 1 - y * t)

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return 1 - t y clipped at 0."""
        return xp.clip(1.0 - t * y, 0.0, None)


@loss(torch=COMPOSED, jax=COMPOSED, targets=("sign",), elementwise=True)
class SquaredHinge:
    """L = h² with h = max(0, 1 - t y), t -1 or +1.   ∂L/∂y = 2 h · (-t).

    h is 0 where max has its kink, so the square has none. Lee and Mangasarian, 2001.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return max(0, 1 - t y)²."""
        h = np.maximum(1.0 - t * y, 0.0)
        return h * h

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = -2 t max(0, 1 - t y) dL."""
        return -2.0 * t * np.maximum(1.0 - t * y, 0.0) * dL

    @staticmethod
    def second(y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray) -> FloatArray:
        """Return 2 ty dL inside the margin, from the slope -2 t (1 - t y) and t² = 1; 0 outside."""
        return np.where(t * y < 1.0, 2.0 * ty * dL, 0.0)

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return max(0, 1 - t y)²."""
        h = m.max(m.number(0), 1 - y * t)
        return h * h

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return the square of 1 - t y clipped at 0."""
        return xp.square(xp.clip(1.0 - t * y, 0.0, None))
