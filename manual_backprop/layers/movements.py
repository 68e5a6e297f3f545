"""Numbers that are moved, in arrays of any shape.

What is moved gives its cotangent back along the same way: if y_i = x_{s(i)}, then
∂L/∂x_j = Σ dy_i over all i with s(i) = j.
"""

import numpy as np

from manual_backprop.arithmetic import Backend, IntArray, Math, N, RandomSource, Tensor
from manual_backprop.layers.linear import linear, no_second_order
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer

Axes = tuple[int, ...]


@layer(structure="movement", takes="any", torch=COMPOSED, jax=COMPOSED)
class Concatenate:
    """y = x and, after it along an axis, `other`.

    Each number of y comes from one place of one array, so dy is cut where they meet:

        dx = dy over the first places of the axis, as many as x has
        dother = dy over the rest

    Three and more arrays are concatenated one after the other.
    """

    @staticmethod
    def forward(x: FloatArray, other: FloatArray, *, axis: int = -1) -> FloatArray:
        """Return y; its axis is as long as those of x and other together."""
        return np.concatenate([x, other], axis=axis)

    @staticmethod
    def backward(
        x: FloatArray, other: FloatArray, dy: FloatArray, *, axis: int = -1
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x and other."""
        dx, dother = np.split(dy, [x.shape[axis]], axis=axis)
        return {"x": dx, "other": dother}

    @staticmethod
    def tangent(tx: FloatArray, tother: FloatArray, *, axis: int = -1) -> FloatArray:
        """Return the tangents, one after the other."""
        return np.concatenate([tx, tother], axis=axis)

    second = no_second_order

    @staticmethod
    def definition(m: Math[N], x: list[N], other: list[N], **_: object) -> list[N]:
        """Return the one number unchanged; the other of the two is a zero of no array."""
        return [x[0] + other[0]]

    @staticmethod
    def rows(x: FloatArray, other: FloatArray, *, axis: int) -> Rows:
        """Return a row for each number of y: where it comes from in one of the arrays."""
        none_x, none_other = np.full(x.shape, -1), np.full(other.shape, -1)
        from_x = np.concatenate([indices(x), none_other], axis=axis)
        from_other = np.concatenate([none_x, indices(other)], axis=axis)
        return _moved(x=from_x, other=from_other)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return two arrays of 2 to 4 axes that differ along one of them."""
        shape = shape or any_shape(draw)
        axis = draw.below(len(shape))
        other = (*shape[:axis], 1 + draw.below(3), *shape[axis + 1 :])
        return Sample({"x": shape, "other": other}, options={"axis": axis})

    @staticmethod
    def composition(xp: Backend, x: Tensor, other: Tensor, *, axis: int) -> Tensor:
        """Return the framework's concatenation."""
        return xp.concat([x, other], axis=axis)


@layer(structure="movement", takes="any", torch=COMPOSED, jax=COMPOSED)
class Slice:
    """y = x[…, start:stop:step, …] along one axis.

    Each number of y is one of x, and the numbers of x that were left out have no part in L:

        dx = 0 but for dx[…, start:stop:step, …] = dy

    """

    @staticmethod
    def forward(
        x: FloatArray, *, axis: int = -1, start: int = 0, stop: int = 1, step: int = 1
    ) -> FloatArray:
        """Return the slice."""
        return x[_along(x, axis, start, stop, step)]

    @staticmethod
    def backward(
        x: FloatArray,
        dy: FloatArray,
        *,
        axis: int = -1,
        start: int = 0,
        stop: int = 1,
        step: int = 1,
    ) -> dict[str, FloatArray]:
        """Return the cotangent of x."""
        dx = np.zeros(x.shape, dy.dtype)
        dx[_along(x, axis, start, stop, step)] = dy
        return {"x": dx}

    tangent, second = linear(forward)

    @staticmethod
    def definition(m: Math[N], x: list[N], **_: object) -> list[N]:
        """Return the number unchanged."""
        return x

    @staticmethod
    def rows(x: FloatArray, *, axis: int, start: int, stop: int, step: int) -> Rows:
        """Return a row for each number of y."""
        return _moved(x=indices(x)[_along(x, axis, start, stop, step)])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a slice of at least one place, with steps of 1 to 3."""
        shape = shape or any_shape(draw)
        axis = draw.below(len(shape))
        start = draw.below(shape[axis])
        stop = start + 1 + draw.below(shape[axis] - start)
        options = {"axis": axis, "start": start, "stop": stop, "step": 1 + draw.below(3)}
        return Sample({"x": shape}, options=options)

    @staticmethod
    def composition(
        xp: Backend, x: Tensor, *, axis: int, start: int, stop: int, step: int
    ) -> Tensor:
        """Return the framework's slice."""
        return x[_along(x, axis, start, stop, step)]


@layer(structure="movement", takes="any", torch=COMPOSED, jax=COMPOSED)
class Reshape:
    """y = x in another shape, its numbers in the same order.

    The order is row by row (the last axis runs first), so dx is dy in the shape of x.
    """

    @staticmethod
    def forward(x: FloatArray, *, shape: Axes = (-1,)) -> FloatArray:
        """Return x in the shape."""
        return x.reshape(shape)

    @staticmethod
    def backward(x: FloatArray, dy: FloatArray, *, shape: Axes = (-1,)) -> dict[str, FloatArray]:
        """Return dy in the shape of x."""
        return {"x": dy.reshape(x.shape)}

    tangent, second = linear(forward)

    definition = Slice.definition

    @staticmethod
    def rows(x: FloatArray, *, shape: Axes) -> Rows:
        """Return a row for each number."""
        return _moved(x=indices(x))

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a shape with two lengths exchanged, of as many axes."""
        shape = shape or any_shape(draw)
        first, second = draw.below(len(shape)), draw.below(len(shape))
        lengths = list(shape)
        lengths[first], lengths[second] = lengths[second], lengths[first]
        return Sample({"x": shape}, options={"shape": tuple(lengths)})

    @staticmethod
    def composition(xp: Backend, x: Tensor, *, shape: Axes) -> Tensor:
        """Return the framework's reshape."""
        return xp.reshape(x, shape)


@layer(structure="movement", takes="any", torch=COMPOSED, jax=COMPOSED)
class Transpose:
    """y has the axes of x in another order: axis k of y is axis a_k of x.

    Axis a_k of dx is therefore axis k of dy: dy is transposed by the inverse order, which is the
    one that sorts a. For two axes it is the same order again.
    """

    @staticmethod
    def forward(x: FloatArray, *, axes: Axes = (1, 0)) -> FloatArray:
        """Return the transposed array."""
        return x.transpose(axes)

    @staticmethod
    def backward(dy: FloatArray, *, axes: Axes = (1, 0)) -> dict[str, FloatArray]:
        """Return dy transposed back."""
        return {"x": dy.transpose(np.argsort(axes))}

    tangent, second = linear(forward)

    definition = Slice.definition

    @staticmethod
    def rows(x: FloatArray, *, axes: Axes) -> Rows:
        """Return a row for each number of y."""
        return _moved(x=indices(x).transpose(axes))

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return any order of 2 to 4 axes."""
        shape = shape or any_shape(draw)
        left = list(range(len(shape)))
        axes = tuple(left.pop(draw.below(len(left))) for _ in shape)
        return Sample({"x": shape}, options={"axes": axes})

    @staticmethod
    def composition(xp: Backend, x: Tensor, *, axes: Axes) -> Tensor:
        """Return the framework's transposition."""
        return xp.permute_dims(x, axes)


def indices(array: FloatArray) -> IntArray:
    """Return the index of each number in the flattened array, in the array's shape."""
    return np.arange(array.size).reshape(array.shape)


def _moved(**sources: IntArray) -> Rows:
    """Return a row of one number for each entry of y, from the indices of where it comes from."""
    columns = {name: source.reshape(-1, 1) for name, source in sources.items()}
    size = next(iter(columns.values())).size
    return Rows(columns, np.arange(size)[:, None])


def _along(
    x: FloatArray | Tensor, axis: int, start: int, stop: int, step: int
) -> tuple[slice, ...]:
    cut = [slice(None)] * x.ndim
    cut[axis] = slice(start, stop, step)
    return tuple(cut)


def any_shape(draw: RandomSource) -> tuple[int, ...]:
    """Return 2 to 4 axes of 1 to 4 numbers."""
    return tuple(1 + draw.below(4) for _ in range(2 + draw.below(3)))
