"""Losses on real numbers: each is a function of the residual d = y - t."""

import math
from typing import cast

import numpy as np

from manual_backprop.activations.piecewise import zero_second
from manual_backprop.arithmetic import Backend, Math, N, Tensor
from manual_backprop.operation import COMPOSED, FloatArray, Parameter, loss

LOG_2 = math.log(2.0)


@loss(torch=COMPOSED, jax=COMPOSED, targets=("real",), elementwise=False, symmetric=True)
class SquaredError:
    """L = Σ_j (y_j - t_j)², one number for each row, as many articles define it.

    Every y_j is in one square, so ∂L/∂y_j = 2 (y_j - t_j), with the factor 2 and without 1/C.
    Legendre, 1805.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return the sum of squares of each row, shape (N,)."""
        d = y - t
        return cast(FloatArray, np.sum(d * d, axis=-1))

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = 2 (y - t) dL, shape (N, C)."""
        return 2.0 * (y - t) * dL[..., None]

    @staticmethod
    def second(y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray) -> FloatArray:
        """Return 2 ty dL: the slope 2 (y - t) rises by 2."""
        return 2.0 * ty * dL[..., None]

    @staticmethod
    def definition(m: Math[N], y: list[N], t: list[float]) -> N | float:
        """Return Σ (y_j - t_j)²."""
        return sum((y_j - t_j) * (y_j - t_j) for y_j, t_j in zip(y, t, strict=True))

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return Σ (y - t)² over the last axis."""
        return xp.sum(xp.square(y - t), axis=-1)


@loss(torch="torch.nn.functional.mse_loss", jax=COMPOSED, targets=("real",), elementwise=True)
class Mse:
    """L = (y - t)².   ∂L/∂y = 2 (y - t).   Legendre, 1805.

    The mean over all N·C elements is taken by the network's reduction.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return (y - t)²."""
        d = y - t
        return d * d

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = 2 (y - t) dL."""
        return 2.0 * (y - t) * dL

    @staticmethod
    def second(y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray) -> FloatArray:
        """Return 2 ty dL: the slope 2 (y - t) rises by 2."""
        return 2.0 * ty * dL

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return (y - t)²."""
        return (y - t) * (y - t)

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return (y - t)²."""
        return xp.square(y - t)


@loss(torch="torch.nn.functional.l1_loss", jax=COMPOSED, targets=("real",), elementwise=True)
class L1:
    """L = |y - t|.   ∂L/∂y = sign(y - t).   Boscovich, 1757.

    At y = t every slope from -1 to 1 is a subgradient; 0 is taken, as PyTorch does.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return |y - t|."""
        d = y - t
        return np.maximum(d, -d)

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = sign(y - t) dL."""
        return np.sign(y - t) * dL

    second = zero_second

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return |y - t|."""
        return m.abs(y - t)

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return |y - t|."""
        return xp.abs(y - t)


@loss(
    torch="torch.nn.functional.smooth_l1_loss",
    jax=COMPOSED,
    targets=("real",),
    elementwise=True,
    parameters={"beta": Parameter(1.0, (0.5, 1.0, 2.0), above=0)},
)
class SmoothL1:
    """L = d²/(2β) if |d| < β else |d| - β/2, with d = y - t and β > 0.

    The slope d/β grows until it is ±1 at |d| = β and stays there, so with r = min(|d|, β)

        L = (r/β)(|d| - r/2)        ∂L/∂y = max(-β, min(d, β))/β

    are both pieces at once: there is no kink, and no square of a large d that could overflow.
    Girshick, 2015.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray, beta: float) -> FloatArray:
        """Return (r/β)(|d| - r/2)."""
        d = y - t
        distance = np.maximum(d, -d)
        r = np.minimum(distance, beta)
        return (r / beta) * (distance - 0.5 * r)

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray, beta: float) -> FloatArray:
        """Return dy = max(-β, min(d, β))/β dL."""
        return np.maximum(np.minimum(y - t, beta), -beta) / beta * dL

    @staticmethod
    def second(
        y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray, beta: float
    ) -> FloatArray:
        """Return ty dL/β where |y - t| < β, from the slope d/β; 0 where it stays at ±1."""
        return np.where(np.abs(y - t) < beta, ty / beta * dL, 0.0)

    @staticmethod
    def definition(m: Math[N], y: N, t: float, beta: float) -> N:
        """Return the quadratic piece inside β and the linear piece outside."""
        d = y - t
        distance = m.abs(d)
        return m.where(beta - distance, d * d / (m.number(beta) * 2), distance - m.number(beta) / 2)

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor, beta: float) -> Tensor:
        """Return the two pieces, chosen by where."""
        d = y - t
        return xp.where(xp.abs(d) < beta, 0.5 * d * d / beta, xp.abs(d) - 0.5 * beta)


@loss(
    torch="torch.nn.functional.huber_loss",
    jax=COMPOSED,
    targets=("real",),
    elementwise=True,
    parameters={"delta": Parameter(1.0, (0.5, 1.0, 2.0), above=0)},
)
class Huber:
    """L = d²/2 if |d| <= δ else δ(|d| - δ/2), with d = y - t.

    The slope is d until it reaches ±δ and stays there, so with r = min(|d|, δ)

        L = r(|d| - r/2)        ∂L/∂y = max(-δ, min(d, δ))

    are both pieces at once. Huber, 1964.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray, delta: float) -> FloatArray:
        """Return r(|d| - r/2)."""
        d = y - t
        distance = np.maximum(d, -d)
        r = np.minimum(distance, delta)
        return r * (distance - 0.5 * r)

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray, delta: float) -> FloatArray:
        """Return dy = max(-δ, min(d, δ)) dL."""
        return np.maximum(np.minimum(y - t, delta), -delta) * dL

    @staticmethod
    def second(
        y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray, delta: float
    ) -> FloatArray:
        """Return ty dL where |y - t| < δ, from the slope d; 0 where it stays at ±δ."""
        return np.where(np.abs(y - t) < delta, ty * dL, 0.0)

    @staticmethod
    def definition(m: Math[N], y: N, t: float, delta: float) -> N:
        """Return the quadratic piece inside δ and the linear piece outside."""
        d = y - t
        distance = m.abs(d)
        return m.where(delta - distance, d * d / 2, (distance - m.number(delta) / 2) * delta)

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor, delta: float) -> Tensor:
        """Return the two pieces, chosen by where."""
        d = y - t
        return xp.where(xp.abs(d) <= delta, 0.5 * d * d, delta * (xp.abs(d) - 0.5 * delta))


@loss(torch=COMPOSED, jax=COMPOSED, targets=("real",), elementwise=True)
class LogCosh:
    """L = log cosh d with d = y - t.   ∂L/∂y = sinh d / cosh d = tanh d.

    cosh itself overflows at d = 711, so the usual form is |d| + log(1 + e^(-2|d|)) - log 2. Near
    0 that is a difference of two numbers near log 2 whose value is d²/2: at d = 1e-8 no digit
    is left. From cosh d = 1 + 2 sinh²(d/2),

        L = log1p(2 sinh²(d/2))

    which adds nothing of opposite sign; it is used for |d| < 3 and the usual form beyond.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return log cosh(y - t)."""
        d = y - t
        distance = np.maximum(d, -d)
        s = np.sinh(0.5 * np.minimum(distance, 3.0))
        far = distance + (np.log1p(np.exp(-2.0 * np.maximum(distance, 3.0))) - LOG_2)
        return np.where(distance < 3.0, np.log1p(2.0 * s * s), far)

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = tanh(y - t) dL."""
        return np.tanh(y - t) * dL

    @staticmethod
    def second(y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray) -> FloatArray:
        """Return ty dL/cosh² d, from the slope tanh d; two divisions, as cosh² may overflow."""
        largest = math.floor(math.log(np.finfo(y.dtype).max))
        c = np.cosh(np.minimum(np.abs(y - t), largest))
        return (1.0 / c / c) * dL * ty

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return log((e^d + e^-d)/2), written as log(1 + (e^d - 1)²/(2 e^d)) near 0."""
        d = y - t
        log_2 = m.log(m.number(2))
        near = m.expm1(d)
        far = m.where(d, d + m.log1p(m.exp(d * -2)) - log_2, m.log1p(m.exp(d * 2)) - d - log_2)
        return m.where(1 - d * d, m.log1p(near * near / (m.exp(d) * 2)), far)

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return log cosh(y - t) in two pieces, each differentiated where it is used."""
        d = y - t
        near = xp.abs(d) < 3.0
        s = xp.sinh(0.5 * xp.where(near, d, 0.0 * d))
        distance = xp.where(near, 0.0 * d + 3.0, xp.abs(d))
        far = distance + (xp.log1p(xp.exp(-2.0 * distance)) - LOG_2)
        return xp.where(near, xp.log1p(2.0 * s * s), far)
