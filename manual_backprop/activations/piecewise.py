"""Straight lines and their kinks.

A kink's slope is a choice; ours is PyTorch's: the slope of the side on which the comparison in
`backward` puts the kink itself. The definitions say nothing about it: there both slopes count.
"""

import numpy as np

from manual_backprop.arithmetic import Backend, Math, N, Tensor
from manual_backprop.operation import COMPOSED, FloatArray, Parameter, activation


def zero_second(
    x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray, **_: object
) -> FloatArray:
    """Return 0, the second derivative of a piecewise linear function (at a kink there is none)."""
    return np.zeros_like(x)


@activation(torch="torch.positive", jax="jax.nn.identity")
class Identity:
    """y = x.   dy/dx = 1.

    The activation of a linear layer. Returned as it is, without a copy.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x."""
        return x

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy."""
        return dy

    second = zero_second

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return x."""
        return x


@activation(torch="torch.nn.functional.relu", jax="jax.nn.relu")
class Relu:
    """y = max(x, 0).   dy/dx = 1 if x > 0, else 0.

    The mask is multiplied in, an order of magnitude faster than choosing by `where`.
    Nair and Hinton, 2010.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return max(x, 0)."""
        return np.maximum(x, 0.0)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy where y > 0, which is where x > 0; the fast step need not keep x for it."""
        return dy * (y > 0)

    second = zero_second

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return max(x, 0)."""
        return m.max(x, m.number(0))


@activation(
    torch="torch.nn.functional.leaky_relu",
    jax="jax.nn.leaky_relu",
    # 1/128 for the usual 0.01, which float32 and float64 round to different numbers.
    parameters={"negative_slope": Parameter(0.01, (0.0078125, 0.125, 0.25))},
)
class LeakyRelu:
    """y = x if x > 0, else s x, s the negative slope.   dy/dx = 1 if x > 0, else s.

    The slope below zero keeps a unit that never fires from standing still.
    Maas, Hannun and Ng, 2013.
    """

    @staticmethod
    def forward(x: FloatArray, negative_slope: float) -> FloatArray:
        """Return x above 0 and s x below."""
        return np.where(x > 0, x, x * negative_slope)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray, negative_slope: float) -> FloatArray:
        """Return dy above 0 and s dy below."""
        return np.where(x > 0, dy, dy * negative_slope)

    second = zero_second

    @staticmethod
    def definition(m: Math[N], x: N, negative_slope: float) -> N:
        """Return x if x > 0, else s x."""
        return m.where(x, x, m.number(negative_slope) * x)


@activation(torch="torch.nn.functional.relu6", jax="jax.nn.relu6")
class Relu6:
    """y = min(max(x, 0), 6).   dy/dx = 1 if 0 < x < 6, else 0.

    Bounded, so that few fixed-point bits hold it. Krizhevsky, 2010; Howard et al., 2017.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x held between 0 and 6."""
        return np.minimum(np.maximum(x, 0.0), 6.0)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy where 0 < x < 6."""
        return dy * ((x > 0) & (x < 6))

    second = zero_second

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return min(max(x, 0), 6)."""
        return m.min(m.max(x, m.number(0)), m.number(6))


@activation(torch="torch.nn.functional.hardtanh", jax="jax.nn.hard_tanh")
class Hardtanh:
    """y = min(max(x, -1), 1).   dy/dx = 1 if -1 < x < 1, else 0.

    The three straight lines nearest to tanh. Collobert, 2004.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x held between -1 and 1."""
        return np.minimum(np.maximum(x, -1.0), 1.0)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy where -1 < x < 1."""
        return dy * ((x > -1) & (x < 1))

    second = zero_second

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return min(max(x, -1), 1)."""
        return m.min(m.max(x, m.number(-1)), m.number(1))


@activation(torch="torch.nn.functional.hardsigmoid", jax="jax.nn.hard_sigmoid", range="unit")
class HardSigmoid:
    """y = min(max(x + 3, 0), 6) / 6.   dy/dx = 1/6 if -3 < x < 3, else 0.

    Three straight lines in place of the sigmoid, with the slope 1/6 instead of 1/4, so that the
    corners are at ±3. Courbariaux, Bengio and David, 2015; this form Howard et al., 2019.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return (x + 3) / 6 held between 0 and 1."""
        y: FloatArray = np.minimum(np.maximum(x + 3.0, 0.0), 6.0) / 6.0
        return y

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy / 6 where -3 < x < 3."""
        return dy * ((x > -3) & (x < 3)) / 6.0

    second = zero_second

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return min(max(x + 3, 0), 6) / 6."""
        return m.min(m.max(x + 3, m.number(0)), m.number(6)) / 6


@activation(torch="torch.nn.functional.hardswish", jax="jax.nn.hard_swish")
class HardSwish:
    """y = x min(max(x + 3, 0), 6) / 6.   dy/dx = 0 if x < -3, else (2x + 3)/6 if x < 3, else 1.

    Silu with the hard sigmoid for its gate. The middle slope is (2x + 3)/6 = (x + 3/2)/3: the sum
    is exact near its zero at -3/2, where x/3 + 1/2 would cancel. The gate is divided before it
    multiplies x, which would overflow at 6 x. Howard et al., 2019.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x times the hard sigmoid of x."""
        y: FloatArray = x * (np.minimum(np.maximum(x + 3.0, 0.0), 6.0) / 6.0)
        return y

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return 0, dy (x + 3/2)/3 or dy."""
        held = np.minimum(np.maximum(x, -3.0), 3.0)  # dy x may overflow, and ∞ · 0 is not 0
        inner = dy * ((held + 1.5) / 3.0) * (x > -3)
        return np.where(x < 3, inner, dy)

    @staticmethod
    def second(x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray) -> FloatArray:
        """Return dy tx/3 where -3 < x < 3, from f' = (2x + 3)/6 there; 0 on the straight lines."""
        return dy * tx * ((x > -3) & (x < 3)) / 3.0

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return x min(max(x + 3, 0), 6) / 6."""
        return x * m.min(m.max(x + 3, m.number(0)), m.number(6)) / 6


@activation(
    torch="torch.nn.functional.softshrink",
    jax=COMPOSED,
    parameters={"lambd": Parameter(0.5, (0.25, 0.5, 1.5), at_least=0)},
)
class Softshrink:
    """y = x - λ if x > λ, else x + λ if x < -λ, else 0.   dy/dx = 1 if |x| > λ, else 0.

    Written y = x - min(max(x, -λ), λ), x less x held between -λ and λ: the proximal step of λ|x|.
    With `lambd=0` it is the identity, whose slope is 1 at 0 too. Donoho and Johnstone, 1994.
    """

    @staticmethod
    def forward(x: FloatArray, lambd: float) -> FloatArray:
        """Return x drawn to zero by λ."""
        return x - np.minimum(np.maximum(x, -lambd), lambd)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray, lambd: float) -> FloatArray:
        """Return dy outside [-λ, λ]."""
        return dy * ((x > lambd) | (x < -lambd)) if lambd else dy

    second = zero_second

    @staticmethod
    def definition(m: Math[N], x: N, lambd: float) -> N:
        """Return x - λ, x + λ or 0."""
        threshold = m.number(lambd)
        return m.max(x - threshold, m.number(0)) + m.min(x + threshold, m.number(0))

    @staticmethod
    def composition(xp: Backend, x: Tensor, lambd: float) -> Tensor:
        """Return the three pieces by `where`."""
        inside = xp.where(x < -lambd, x + lambd, xp.zeros_like(x))
        return xp.where(x > lambd, x - lambd, inside)


@activation(
    torch="torch.nn.functional.hardshrink",
    jax=COMPOSED,
    parameters={"lambd": Parameter(0.5, (0.25, 0.5, 1.5), at_least=0)},
)
class Hardshrink:
    """y = x if |x| > λ, else 0.   dy/dx = 1 if |x| > λ, else 0.

    At ±λ there is a jump, not a kink, so there is no slope; all implementations return 0. With
    `lambd=0` it is the identity, whose slope is 1 at 0 too. Donoho and Johnstone, 1994.
    """

    @staticmethod
    def forward(x: FloatArray, lambd: float) -> FloatArray:
        """Return x outside [-λ, λ]."""
        return x * ((x > lambd) | (x < -lambd))

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray, lambd: float) -> FloatArray:
        """Return dy outside [-λ, λ]."""
        return dy * ((x > lambd) | (x < -lambd)) if lambd else dy

    second = zero_second

    @staticmethod
    def definition(m: Math[N], x: N, lambd: float) -> N:
        """Return x if |x| > λ, else 0."""
        return m.where(m.abs(x) - m.number(lambd), x, m.number(0))

    @staticmethod
    def composition(xp: Backend, x: Tensor, lambd: float) -> Tensor:
        """Return the two pieces by `where`."""
        return xp.where((x > lambd) | (x < -lambd), x, xp.zeros_like(x))
