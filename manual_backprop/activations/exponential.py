"""An exponential below zero, a straight line above.

The slope below zero is often computed from the output, as α + y for elu. Where y is near -α this
sum cancels: below x = -37 it has no correct digit. Here the slope is computed from x, and keeps all
its digits.
"""

import numpy as np

from manual_backprop.arithmetic import Math, N
from manual_backprop.operation import FloatArray, Parameter, activation

# Klambauer et al., 2017: the fixed point of mean 0 and variance 1 under selu.
SCALE = 1.0507009873554804934193349852946
SCALE_ALPHA = 1.7580993408473768599402175208123


@activation(
    torch="torch.nn.functional.elu",
    jax="jax.nn.elu",
    parameters={"alpha": Parameter(1.0, (0.5, 1.0, 1.5))},
)
class Elu:
    """y = x if x > 0, else α (e^x - 1).   dy/dx = 1 if x > 0, else α e^x.

    e^x - 1 is `expm1`, which keeps its digits near zero. Its argument is `min(x, 0)`, so that the
    branch that is not taken does not overflow. Clevert, Unterthiner and Hochreiter, 2016.
    """

    @staticmethod
    def forward(x: FloatArray, alpha: float) -> FloatArray:
        """Return x above 0 and α (e^x - 1) below."""
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray, alpha: float) -> FloatArray:
        """Return dy above 0 and dy α e^x below."""
        return np.where(x > 0, dy, dy * (alpha * np.exp(np.minimum(x, 0.0))))

    @staticmethod
    def second(
        x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray, alpha: float
    ) -> FloatArray:
        """Return dy α e^x tx below 0 and 0 above: the slope α e^x is its own derivative."""
        bend = np.where(x > 0, 0.0, alpha * np.exp(np.minimum(x, 0.0)))
        return dy * bend * tx

    @staticmethod
    def definition(m: Math[N], x: N, alpha: float) -> N:
        """Return x if x > 0, else α (e^x - 1)."""
        return m.where(x, x, m.number(alpha) * m.expm1(x))


@activation(torch="torch.nn.functional.selu", jax="jax.nn.selu")
class Selu:
    """y = λ x if x > 0, else λ α (e^x - 1).   dy/dx = λ if x > 0, else λ α e^x.

    λ = 1.05070098735548… and α = 1.67326324235437… are the fixed point at which mean 0 and
    variance 1 go through a layer unchanged. λ α is one constant here, which saves two roundings.
    Klambauer, Unterthiner, Mayr and Hochreiter, 2017.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return λ x above 0 and λ α (e^x - 1) below."""
        return np.where(x > 0, SCALE * x, SCALE_ALPHA * np.expm1(np.minimum(x, 0.0)))

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return λ dy above 0 and λ α e^x dy below."""
        return np.where(x > 0, SCALE * dy, dy * (SCALE_ALPHA * np.exp(np.minimum(x, 0.0))))

    @staticmethod
    def second(x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray) -> FloatArray:
        """Return dy λ α e^x tx below 0 and 0 above: the slope λ α e^x is its own derivative."""
        bend = np.where(x > 0, 0.0, SCALE_ALPHA * np.exp(np.minimum(x, 0.0)))
        return dy * bend * tx

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return λ x if x > 0, else λ α (e^x - 1), the constants to all printed digits."""
        scale = m.number("1.0507009873554804934193349852946")
        alpha = m.number("1.6732632423543772848170429916717")
        return scale * m.where(x, x, alpha * m.expm1(x))


@activation(
    torch="torch.nn.functional.celu",
    jax="jax.nn.celu",
    # Powers of two: x/α is then exact. Its rounding would be |x/α| times larger in e^(x/α).
    parameters={"alpha": Parameter(1.0, (0.5, 1.0, 2.0), above=0)},
)
class Celu:
    """y = x if x > 0, else α (e^{x/α} - 1).   dy/dx = 1 if x > 0, else e^{x/α}.

    Elu rescaled so that both slopes at zero are 1 for every α: no kink. Barron, 2017.
    """

    @staticmethod
    def forward(x: FloatArray, alpha: float) -> FloatArray:
        """Return x above 0 and α (e^{x/α} - 1) below."""
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray, alpha: float) -> FloatArray:
        """Return dy above 0 and dy e^{x/α} below."""
        return np.where(x > 0, dy, dy * np.exp(np.minimum(x, 0.0) / alpha))

    @staticmethod
    def second(
        x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray, alpha: float
    ) -> FloatArray:
        """Return dy e^{x/α}/α tx below 0 and 0 above, from f' = e^{x/α}."""
        bend = np.where(x > 0, 0.0, np.exp(np.minimum(x, 0.0) / alpha) / alpha)
        return dy * bend * tx

    @staticmethod
    def definition(m: Math[N], x: N, alpha: float) -> N:
        """Return x if x > 0, else α (e^{x/α} - 1)."""
        return m.where(x, x, m.number(alpha) * m.expm1(x / m.number(alpha)))
