"""Negative log-likelihoods of a count and of a real number, constants left out as PyTorch does."""

import math

import numpy as np

from manual_backprop.arithmetic import Backend, Math, N, Tensor
from manual_backprop.operation import COMPOSED, FloatArray, Parameter, counterpart, loss


@loss(
    torch=counterpart("torch.nn.functional.poisson_nll_loss", log_input=True, full=False),
    jax=COMPOSED,
    targets=("count",),
    elementwise=True,
)
class PoissonNll:
    """L = e^y - t y: -log of the Poisson density with rate e^y, without log t!.

    ∂L/∂y = e^y - t, the rate minus the count. For a count of 1 and y near 0 the difference is about
    y, and below 1e-16 e^y keeps no digit of y. There the code uses ∂L/∂y = expm1(y) + (1 - t); its
    second term is exact. Nelder and Wedderburn, 1972.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return e^y - t y."""
        return np.exp(y) - t * y

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = (e^y - t) dL."""
        near = np.abs(y) < 0.5
        return np.where(near, np.expm1(y) + (1.0 - t), np.exp(y) - t) * dL

    @staticmethod
    def second(y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray) -> FloatArray:
        """Return e^y ty dL: in the slope e^y - t only the rate depends on y.

        Computed as e^{y/2} (ty dL) e^{y/2}: a tangent of 0 stays 0 where e^y leaves the range.
        """
        largest = math.floor(math.log(np.finfo(y.dtype).max))
        root = np.exp(np.minimum(0.5 * y, largest))
        found: FloatArray = root * (dL * ty) * root
        return found

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return e^y - t y."""
        return m.exp(y) - y * t

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return e^y - t y."""
        return xp.exp(y) - t * y


@loss(
    torch=counterpart("torch.nn.functional.gaussian_nll_loss", full=False),
    jax=COMPOSED,
    targets=("real",),
    elementwise=True,
    parameters={"eps": Parameter(1e-6, (2.0**-20, 2.0**-4), at_least=0)},
    arrays={"var": "entries"},
)
class GaussianNll:
    """L = (log v + (y - t)²/v)/2 with v = max(var, eps), without log(2π)/2.

    v is given, not predicted here, so ∂L/∂y = (y - t)/v alone. With d = y - t the value is
    L = (log v)/2 + (d/2) (d/v): d² may overflow or vanish where d²/v does not, and d²/v may
    overflow where L does not. Nix and Weigend, 1994.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray, var: FloatArray, eps: float) -> FloatArray:
        """Return (log v + d²/v)/2."""
        d, v = y - t, np.maximum(var, eps)
        return 0.5 * np.log(v) + 0.5 * d * (d / v)

    @staticmethod
    def backward(
        y: FloatArray, t: FloatArray, dL: FloatArray, var: FloatArray, eps: float
    ) -> FloatArray:
        """Return dy = (y - t)/v dL."""
        return (y - t) / np.maximum(var, eps) * dL

    @staticmethod
    def second(
        y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray, var: FloatArray, eps: float
    ) -> FloatArray:
        """Return ty dL/v, from the slope (y - t)/v."""
        return ty / np.maximum(var, eps) * dL

    @staticmethod
    def definition(m: Math[N], y: N, t: float, var: float, eps: float) -> N:
        """Return (log v + (y - t)²/v)/2."""
        v = m.max(m.number(var), m.number(eps))
        return (m.log(v) + (y - t) * (y - t) / v) / 2

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor, var: Tensor, eps: float) -> Tensor:
        """Return (log v + d²/v)/2."""
        v = xp.maximum(var, eps)
        return 0.5 * (xp.log(v) + xp.square(y - t) / v)
