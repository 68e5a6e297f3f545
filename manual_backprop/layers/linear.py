"""Second order of what is linear: by the rules of sums and products, for every such layer."""

from collections.abc import Callable

from manual_backprop.operation import FloatArray

Forward = Callable[..., FloatArray]
Backward = Callable[..., dict[str, FloatArray]]


def linear(forward: Forward) -> tuple[Forward, Backward]:
    """Return `tangent` and `second` of a layer y = A x, from its forward.

    y moves by A tx, which is forward at the tangent. dx = Aᵀ dy has no x in it and does not move.
    """

    def tangent(tx: FloatArray, **options: object) -> FloatArray:
        """Return A tx."""
        return forward(tx, **options)

    return tangent, does_not_move


def bilinear(forward: Forward, backward: Backward) -> tuple[Forward, Backward]:
    """Return `tangent` and `second` of a layer y = B(x, W) + b that is linear in x and in W.

    By the product rule each factor moves in turn: ty = B(tx, W) + B(x, tW) + tb. dx is linear in W
    and has no x in it, dW is linear in x and has no W: so both move by what backward gives at the
    tangents in the place of x and W. db is a sum of dy and does not move.
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
        """Return what dx and dW move by as W and x do."""
        return backward(tx, dy, tweight, **options)

    return tangent, second


def does_not_move(**options: object) -> dict[str, FloatArray]:
    """Return nothing: no cotangent of a linear layer depends on its arguments."""
    return {}
