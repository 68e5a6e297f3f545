"""`tangent` and `second` of layers that are linear, or linear in each of two arrays."""

from collections.abc import Callable

from manual_backprop.operation import FloatArray

Forward = Callable[..., FloatArray]
Backward = Callable[..., dict[str, FloatArray]]


def linear(forward: Forward) -> tuple[Forward, Backward]:
    """Return `tangent` and `second` of a layer y = A x, from its forward.

    ty = A tx, which is forward at the tangent. dx = Aᵀ dy does not depend on x: its product is 0.
    """

    def tangent(tx: FloatArray, **options: object) -> FloatArray:
        """Return A tx."""
        return forward(tx, **options)

    return tangent, no_second_order


def bilinear(forward: Forward, backward: Backward) -> tuple[Forward, Backward]:
    """Return `tangent` and `second` of a layer y = B(x, W) + b that is linear in x and in W.

    By the product rule ty = B(tx, W) + B(x, tW) + tb. dx is linear in W and does not depend on x;
    dW is linear in x and does not depend on W. So their directional derivatives are the results of
    backward at the tangents tx and tW. db is a sum of dy, so its product is 0.
    """

    def tangent(
        x: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tweight: FloatArray,
        tbias: FloatArray | None = None,
        **options: object,
    ) -> FloatArray:
        """Return B(tx, W) + B(x, tW) + tb."""
        return forward(tx, weight, tbias, **options) + forward(x, tweight, **options)

    def second(
        tx: FloatArray, dy: FloatArray, tweight: FloatArray, **options: object
    ) -> dict[str, FloatArray]:
        """Return the directional derivatives of dx and dW."""
        return backward(tx, dy, tweight, **options)

    return tangent, second


def no_second_order(**options: object) -> dict[str, FloatArray]:
    """Return {}: the cotangents of a linear layer do not depend on its arguments."""
    return {}
