"""Values that meet: sums and products of two values of one shape (or that broadcast to one)."""

import numpy as np

from manual_backprop.arithmetic import Backend, Math, N, RandomSource, Tensor
from manual_backprop.layers.linear import no_second_order
from manual_backprop.operation import COMPOSED, FloatArray, Sample, layer


@layer(structure="contraction", takes="any", torch=COMPOSED, jax=COMPOSED)
class Add:
    """y = a + b: the residual sum.

    ∂y/∂a = ∂y/∂b = 1, so da = dy and db = dy: at a sum the cotangent is copied, as at a fan-out
    cotangents are summed. He, Zhang, Ren and Sun, 2015.
    """

    @staticmethod
    def forward(a: FloatArray, b: FloatArray) -> FloatArray:
        """Return a + b."""
        return np.asarray(a + b)

    @staticmethod
    def backward(dy: FloatArray) -> dict[str, FloatArray]:
        """Return the cotangents of a and b."""
        return {"a": dy, "b": dy}

    @staticmethod
    def tangent(ta: FloatArray, tb: FloatArray) -> FloatArray:
        """Return ta + tb."""
        return np.asarray(ta + tb)

    second = no_second_order

    @staticmethod
    def definition(m: Math[N], a: N, b: N) -> N:
        """Return a + b of two numbers."""
        return a + b

    @staticmethod
    def composition(xp: Backend, a: Tensor, b: Tensor) -> Tensor:
        """Return the same by the framework's own sum."""
        return a + b

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return two arrays of one shape."""
        shape = shape or (2 + draw.below(3), 1 + draw.below(4))
        return Sample({"a": shape, "b": shape})


@layer(structure="contraction", takes="any", torch=COMPOSED, jax=COMPOSED)
class Multiply:
    """y = a b, entry by entry: a gate.

    ∂y/∂a = b and ∂y/∂b = a, so da = dy b and db = dy a.
    """

    @staticmethod
    def forward(a: FloatArray, b: FloatArray) -> FloatArray:
        """Return a b."""
        return np.asarray(a * b)

    @staticmethod
    def backward(a: FloatArray, b: FloatArray, dy: FloatArray) -> dict[str, FloatArray]:
        """Return the cotangents of a and b."""
        return {"a": dy * b, "b": dy * a}

    @staticmethod
    def tangent(a: FloatArray, b: FloatArray, ta: FloatArray, tb: FloatArray) -> FloatArray:
        """Return ta b + a tb."""
        return np.asarray(ta * b + a * tb)

    @staticmethod
    def second(ta: FloatArray, tb: FloatArray, dy: FloatArray) -> dict[str, FloatArray]:
        """Return dy tb and dy ta, because da = dy b and db = dy a."""
        return {"a": dy * tb, "b": dy * ta}

    @staticmethod
    def definition(m: Math[N], a: N, b: N) -> N:
        """Return a b of two numbers."""
        return a * b

    @staticmethod
    def composition(xp: Backend, a: Tensor, b: Tensor) -> Tensor:
        """Return the same by the framework's own product."""
        return a * b

    sample = Add.sample
