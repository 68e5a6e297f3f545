"""Element by element: gates, masks, slopes that are learned."""

import numpy as np

from manual_backprop.activations.gated import Silu
from manual_backprop.activations.sigmoid import logistic
from manual_backprop.arithmetic import Backend, BoolArray, Function, Math, N, RandomSource, Tensor
from manual_backprop.layers.linear import no_second_order
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer


@layer(structure="elementwise", takes="any", torch=COMPOSED, jax=COMPOSED)
class Dropout:
    """y = x/(1 - p) where the mask is true, else 0, with the mask given.

    The mask is drawn once and belongs to the forward pass: backward uses the same one,

        dx = dy/(1 - p) where the mask is true, else 0

    Divided by 1 - p, y has the mean of x, and evaluation needs no layer at all.
    Srivastava et al., 2014.
    """

    @staticmethod
    def forward(x: FloatArray, mask: BoolArray, *, p: float = 0.5) -> FloatArray:
        """Return y; mask is an array of booleans of the shape of x, 0 <= p < 1."""
        return np.where(mask, x / (1.0 - p), x.dtype.type(0))

    @staticmethod
    def backward(mask: BoolArray, dy: FloatArray, *, p: float = 0.5) -> dict[str, FloatArray]:
        """Return the cotangent of x."""
        return {"x": np.where(mask, dy / (1.0 - p), dy.dtype.type(0))}

    @staticmethod
    def tangent(tx: FloatArray, mask: BoolArray, *, p: float = 0.5) -> FloatArray:
        """Return tx/(1 - p) where the mask is true, else 0."""
        return Dropout.forward(tx, mask, p=p)

    second = no_second_order

    @staticmethod
    def definition(m: Math[N], x: N, mask: N, *, p: N) -> N:
        """Return x/(1 - p) times 1 or 0."""
        return x * mask / (1 - p)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a mask that drops a quarter to a half."""
        shape = shape or (2 + draw.below(3), 1 + draw.below(4))
        mask = draw.normal(*shape) > draw.choice((-0.6, 0.0))
        return Sample({"x": shape}, {"mask": mask}, {"p": draw.choice((0.5, 0.25, 0.0))})

    @staticmethod
    def composition(xp: Backend, x: Tensor, mask: Tensor, *, p: float) -> Tensor:
        """Return x/(1 - p) where the mask is true."""
        return xp.where(mask, x / (1.0 - p), 0.0 * x)


@layer(
    structure="elementwise", trainable=("weight",), torch="torch.nn.functional.prelu", jax=COMPOSED
)
class Prelu:
    """y = x if x > 0, else a_j x, with a slope a_j for each feature, or one for all.

    ∂y/∂x is 1 above 0 and a_j below; ∂y/∂a_j is x below 0, and 0 above:

        dx = dy if x > 0, else a_j dy                     `(…, D)`
        da_j = Σ dy x over all rows where x is below 0    `(D,)`

    At 0 every slope between a_j and 1 is a subgradient; a_j is taken, as in PyTorch.
    He et al., 2015b.
    """

    @staticmethod
    def forward(x: FloatArray, weight: FloatArray) -> FloatArray:
        """Return y; the weight has a number for each of the last axis of x, or one."""
        return np.where(x > 0, x, weight * x)

    @staticmethod
    def backward(x: FloatArray, weight: FloatArray, dy: FloatArray) -> dict[str, FloatArray]:
        """Return the cotangents of x and the slopes."""
        below = np.where(x > 0, x.dtype.type(0), dy * x)
        return {"x": np.where(x > 0, dy, weight * dy), "weight": over_repeated(below, weight)}

    @staticmethod
    def tangent(
        x: FloatArray, weight: FloatArray, tx: FloatArray, tweight: FloatArray
    ) -> FloatArray:
        """Return tx above 0, and a tx + ta x below."""
        return np.where(x > 0, tx, weight * tx + tweight * x)

    @staticmethod
    def second(
        x: FloatArray, weight: FloatArray, tx: FloatArray, tweight: FloatArray, dy: FloatArray
    ) -> dict[str, FloatArray]:
        """Return ta dy for x and Σ dy tx for the slopes, both below 0: there y = a x alone."""
        zero = x.dtype.type(0)
        below = np.where(x > 0, zero, dy * tx)
        return {"x": np.where(x > 0, zero, tweight * dy), "weight": over_repeated(below, weight)}

    @staticmethod
    def definition(m: Math[N], x: N, weight: N) -> N:
        """Return x above 0 and a x below."""
        return m.where(x, x, weight * x)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a slope for each feature, or one for all."""
        shape = shape or (2 + draw.below(4), 1 + draw.below(6))
        return Sample({"x": shape, "weight": (draw.choice((1, shape[-1])),)})

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return x with zeros in it."""
        return np.where(np.abs(x) < 0.5, 0.0, x)

    @staticmethod
    def with_torch(f: Function, x: Tensor, weight: Tensor) -> Tensor:
        """Call torch's function, whose features are axis 1."""
        return f(x.reshape(-1, x.shape[-1]), weight).reshape(x.shape)

    @staticmethod
    def composition(xp: Backend, x: Tensor, weight: Tensor) -> Tensor:
        """Return the two pieces, chosen by where."""
        return xp.where(x > 0, x, weight * x)


@layer(structure="rows", takes="nothing", torch="torch.nn.functional.glu", jax="jax.nn.glu")
class Glu:
    """y = a σ(b), where a and b are the first and the second half of the features of x.

    A product of which one factor is a gate between 0 and 1. With s = σ(b) and s' = σ(b) σ(-b)

        da = dy s,    db = dy a s'    `(…, D/2)`

    and dx is the two, one after the other. σ(-b) is computed as e^-b/(1 + e^-b) and not as 1 - s,
    which has no digits left from b = 37 on. Dauphin et al., 2016.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return a σ(b), half as many features as x has."""
        a, b = np.split(x, 2, axis=-1)
        return a * _gates(b)[0]

    @staticmethod
    def backward(x: FloatArray, dy: FloatArray) -> dict[str, FloatArray]:
        """Return the cotangent of x."""
        a, b = np.split(x, 2, axis=-1)
        open_, closed = _gates(b)
        return {"x": np.concatenate([dy * open_, dy * a * (open_ * closed)], axis=-1)}

    @staticmethod
    def tangent(x: FloatArray, tx: FloatArray) -> FloatArray:
        """Return ta s + a s' tb."""
        (a, b), (ta, tb) = np.split(x, 2, axis=-1), np.split(tx, 2, axis=-1)
        open_, closed = _gates(b)
        return ta * open_ + a * (open_ * closed) * tb

    @staticmethod
    def second(x: FloatArray, tx: FloatArray, dy: FloatArray) -> dict[str, FloatArray]:
        """Return dy s' tb for a and dy (ta s' + a s'' tb) for b, with s'' = -s' tanh(b/2)."""
        (a, b), (ta, tb) = np.split(x, 2, axis=-1), np.split(tx, 2, axis=-1)
        open_, closed = _gates(b)
        slope = open_ * closed
        bend = ta * slope - a * (slope * np.tanh(0.5 * b)) * tb
        return {"x": np.concatenate([dy * slope * tb, dy * bend], axis=-1)}

    @staticmethod
    def definition(m: Math[N], x: list[N]) -> list[N]:
        """Return a/(1 + e^-b) of one pair."""
        return [x[0] * logistic(m, x[1])]

    @staticmethod
    def rows(x: FloatArray) -> Rows:
        """Return the pairs: a feature of the first half and its gate."""
        a, b = np.split(np.arange(x.size).reshape(x.shape), 2, axis=-1)
        return Rows({"x": np.stack([a.ravel(), b.ravel()], axis=1)}, np.arange(a.size)[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 pairs of features."""
        return Sample({"x": shape or (2 + draw.below(3), 2 * (1 + draw.below(4)))})


@layer(structure="elementwise", torch="torch.nn.functional.silu", jax="jax.nn.silu")
class SwiGlu:
    """y = x g σ(g): a value x, and a gate g that goes through SiLU.

    A product of two, so each gets dy times the other, the gate through the slope of SiLU:

        dx = dy g σ(g),    dg = dy x σ(g) (1 + g σ(-g))

    The bracket is 0 near g = -1.278; SiLU's own backward keeps its digits there. Shazeer, 2020.
    """

    @staticmethod
    def forward(x: FloatArray, gate: FloatArray) -> FloatArray:
        """Return x g σ(g); x and the gate have one shape."""
        return x * Silu.forward(gate)

    @staticmethod
    def backward(x: FloatArray, gate: FloatArray, dy: FloatArray) -> dict[str, FloatArray]:
        """Return the cotangents of x and the gate."""
        silu = Silu.forward(gate)
        return {"x": dy * silu, "gate": Silu.backward(gate, silu, dy * x)}

    @staticmethod
    def tangent(x: FloatArray, gate: FloatArray, tx: FloatArray, tgate: FloatArray) -> FloatArray:
        """Return tx s + x s' tg, with s = g σ(g)."""
        silu = Silu.forward(gate)
        # x tg first: s' alone may underflow before a large x makes up for it.
        return tx * silu + Silu.backward(gate, silu, x * tgate)

    @staticmethod
    def second(
        x: FloatArray, gate: FloatArray, tx: FloatArray, tgate: FloatArray, dy: FloatArray
    ) -> dict[str, FloatArray]:
        """Return dy s' tg for x, and dy (tx s' + x s'' tg) for the gate."""
        silu = Silu.forward(gate)
        bend = Silu.second(gate, silu, dy * x, tgate)
        return {
            "x": Silu.backward(gate, silu, dy * tgate),
            "gate": Silu.backward(gate, silu, dy * tx) + bend,
        }

    @staticmethod
    def definition(m: Math[N], x: N, gate: N) -> N:
        """Return x g/(1 + e^-g)."""
        return x * (gate * logistic(m, gate))

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a value and a gate of one shape."""
        shape = shape or (2 + draw.below(3), 1 + draw.below(4))
        return Sample({"x": shape, "gate": shape})

    @staticmethod
    def with_torch(f: Function, x: Tensor, gate: Tensor) -> Tensor:
        """Return the value times torch's SiLU of the gate."""
        return x * f(gate)

    with_jax = with_torch


def over_repeated(dy: FloatArray, array: FloatArray) -> FloatArray:
    """Return dy summed over the axes along which an array was repeated to have dy's shape."""
    more = dy.ndim - array.ndim
    repeated = [k for k in range(more, dy.ndim) if array.shape[k - more] != dy.shape[k]]
    total: FloatArray = dy.sum(axis=(*range(more), *repeated), keepdims=True)
    return total.reshape(array.shape)


def composed_sigmoid(xp: Backend, x: Tensor) -> Tensor:
    """Return σ(x) as e^-log(1 + e^-x), which does not overflow, by a framework's primitives."""
    return xp.exp(-xp.logaddexp(xp.zeros_like(x), -x))


def _gates(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return σ(x) and σ(-x), each with all its digits."""
    e = np.exp(-np.abs(x))
    large, small = 1.0 / (1.0 + e), e / (1.0 + e)
    return np.where(x > 0, large, small), np.where(x > 0, small, large)
