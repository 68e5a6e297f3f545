"""Sums over axes, of arrays of any shape: one number for all that lie along the axes."""

from functools import partial, reduce
from typing import Any

import numpy as np

from manual_backprop.activations.rowwise import centred
from manual_backprop.activations.sigmoid import log_add_exp
from manual_backprop.layers.linear import linear
from manual_backprop.layers.movements import Axes, any_shape, indices
from manual_backprop.operation import FloatArray, InvalidInput, Rows, Sample, layer


@layer(structure="contraction", takes="any", torch="torch.sum", jax="jax.numpy.sum")
class Sum:
    """y = Σ x over some axes, which stay with length 1 if `keepdims`.

    Each x is a term of one sum, with the slope 1, so dy is repeated along the axes that were
    summed: dx_i = dy of the sum that i is in.
    """

    @staticmethod
    def forward(x: FloatArray, *, axis: Axes = (-1,), keepdims: bool = True) -> FloatArray:
        """Return the sum."""
        y: FloatArray = x.sum(axis=axis, keepdims=keepdims)
        return y

    @staticmethod
    def backward(
        x: FloatArray, dy: FloatArray, *, axis: Axes = (-1,), keepdims: bool = True
    ) -> dict[str, FloatArray]:
        """Return dy repeated along the axes."""
        return {"x": np.broadcast_to(_kept(x, dy, axis), x.shape)}

    tangent, second = linear(forward)

    @staticmethod
    def definition(m: Any, x: list[Any], **_: Any) -> list[Any]:
        """Return the sum of a row."""
        return [sum(x[1:], x[0])]

    @staticmethod
    def rows(x: FloatArray, *, axis: Axes, keepdims: bool) -> Rows:
        """Return a row for each number of y: the numbers that it is made of."""
        return _summed(x, axis)

    @staticmethod
    def sample(draw: Any, shape: tuple[int, ...] | None = None) -> Sample:
        """Return one or two axes of 2 to 4; they stay where a shape is given."""
        return _reduction(draw, shape)

    @staticmethod
    def with_torch(f: Any, x: Any, *, axis: Axes, keepdims: bool) -> Any:
        """Call torch's function."""
        return f(x, axis, keepdims)


@layer(structure="contraction", takes="any", torch="torch.mean", jax="jax.numpy.mean")
class Mean:
    """y = (1/K) Σ x over some axes, K numbers each, which stay with length 1 if `keepdims`.

    Each x is a term of one mean, with the slope 1/K: dx_i = (1/K) dy of the mean that i is in.
    """

    @staticmethod
    def forward(x: FloatArray, *, axis: Axes = (-1,), keepdims: bool = True) -> FloatArray:
        """Return the mean."""
        y: FloatArray = x.mean(axis=axis, keepdims=keepdims)
        return y

    @staticmethod
    def backward(
        x: FloatArray, dy: FloatArray, *, axis: Axes = (-1,), keepdims: bool = True
    ) -> dict[str, FloatArray]:
        """Return dy/K repeated along the axes."""
        share = _kept(x, dy, axis) / (x.size // dy.size)
        return {"x": np.broadcast_to(share, x.shape)}

    tangent, second = linear(forward)

    @staticmethod
    def definition(m: Any, x: list[Any], **_: Any) -> list[Any]:
        """Return the mean of a row."""
        return [sum(x[1:], x[0]) / m.number(len(x))]

    rows, sample, with_torch = Sum.rows, Sum.sample, Sum.with_torch


@layer(structure="rows", takes="any", torch="torch.logsumexp", jax="jax.nn.logsumexp")
class Logsumexp:
    """y = log Σ_k e^{x_k} over some axes, K numbers each, which stay with length 1 if `keepdims`.

    From ∂/∂x_i Σ_k e^{x_k} = e^{x_i} the slopes are the softmax p of the K numbers:

        dx_i = dy p_i,   p_i = e^{x_i}/Σ_k e^{x_k}

    With M = max x the value is y = M + log Σ_k e^{x_k - M}. No term overflows, and one of the
    largest is 1: the logarithm is log1p of the others, which keeps their digits where they are
    small. p is computed from x - M. Taken from the rounded y, e^{x_i - y} is off by u |y| of
    itself: for two equal numbers of 2^{27} in float32 it is 1 in place of 1/2.

    If M is infinite, x - M is not a number where x = M. By convention e^{x - M} is 1 there, as for
    any finite M. So -∞ alone gives y = -∞ and dx_i = dy/K, which is the limit of K equal numbers
    that fall; an entry of +∞ gets the whole dy, and several get equal shares. In each case the
    shares add up to 1. Boltzmann, 1868; Blanchard, Higham and Higham, 2021.
    """

    @staticmethod
    def forward(x: FloatArray, *, axis: Axes = (-1,), keepdims: bool = True) -> FloatArray:
        """Return M + log1p(Σ e^{x - M} - 1), the sum without one of the largest terms."""
        top, s = _below_the_largest(x, axis)
        ties = (s == 0).sum(axis=axis, keepdims=True, dtype=x.dtype)
        smaller = (np.exp(s) * (s < 0)).sum(axis=axis, keepdims=True)
        y: FloatArray = top + np.log1p(smaller + (ties - 1))
        return y if keepdims else y.squeeze(axis)

    @staticmethod
    def backward(
        x: FloatArray, dy: FloatArray, *, axis: Axes = (-1,), keepdims: bool = True
    ) -> dict[str, FloatArray]:
        """Return dy p."""
        return {"x": _kept(x, dy, axis) * shares(x, axis)}

    @staticmethod
    def tangent(
        x: FloatArray, tx: FloatArray, *, axis: Axes = (-1,), keepdims: bool = True
    ) -> FloatArray:
        """Return Σ p tx."""
        ty: FloatArray = (shares(x, axis) * tx).sum(axis=axis, keepdims=keepdims)
        return ty

    @staticmethod
    def second(
        x: FloatArray,
        tx: FloatArray,
        dy: FloatArray,
        *,
        axis: Axes = (-1,),
        keepdims: bool = True,
    ) -> dict[str, FloatArray]:
        """Return dy p (tx - Σ p tx): p changes by the tangent of the softmax."""
        p = shares(x, axis)
        return {"x": _kept(x, dy, axis) * (p * centred(p, tx, axis))}

    @staticmethod
    def definition(m: Any, x: list[Any], **_: Any) -> list[Any]:
        """Return log Σ e^{x_k} of a row, one term after the other."""
        return [reduce(partial(log_add_exp, m), x)]

    rows, with_torch = Sum.rows, Sum.with_torch

    @staticmethod
    def sample(draw: Any, shape: tuple[int, ...] | None = None) -> Sample:
        """Return one or two axes of 2 to 4; they stay where a shape is given.

        K is at least 2 if any axis is longer than 1: of one number the result is that number.
        """
        return _reduction(draw, shape, 2)

    @staticmethod
    def edge(draw: Any, x: FloatArray) -> FloatArray:
        """Return numbers that are all equal and large, so that y is rounded to them."""
        return np.full_like(x, 2.0**27)


def _below_the_largest(x: FloatArray, axis: Axes) -> tuple[FloatArray, FloatArray]:
    """Return M = max x and x - M, which is 0 where x = M, also if M is infinite."""
    if any(x.shape[k] == 0 for k in axis):
        raise InvalidInput(f"axis={axis!r} of {x.shape}: expected at least one number along it")
    top = x.max(axis=axis, keepdims=True)
    return top, np.subtract(x, top, out=np.zeros_like(x), where=x != top)


def shares(x: FloatArray, axis: Axes) -> FloatArray:
    """Return the softmax over the axes."""
    e = np.exp(_below_the_largest(x, axis)[1])
    p: FloatArray = e / e.sum(axis=axis, keepdims=True)
    return p


def _summed(x: FloatArray, axis: Axes) -> Rows:
    """Return a row for each number of y: all of x along the axes."""
    last = tuple(range(-len(axis), 0))
    lengths = [x.shape[k] for k in axis]
    together = np.moveaxis(indices(x), axis, last).reshape(-1, int(np.prod(lengths)))
    return Rows({"x": together}, np.arange(len(together))[:, None])


def _kept(x: FloatArray, dy: FloatArray, axis: Axes) -> FloatArray:
    """Return dy with the axes that were summed, of length 1."""
    summed = {k % x.ndim for k in axis}
    return dy.reshape([1 if k in summed else length for k, length in enumerate(x.shape)])


def _reduction(draw: Any, shape: tuple[int, ...] | None, least: int = 1) -> Sample:
    """Return a use that sums over axes of at least this length, if the shape has one."""
    keepdims = shape is not None or draw.chance(1, 2)
    if shape is None:
        *others, last = any_shape(draw)
        shape = (*others, max(last, least))
    fitting = [k for k, length in enumerate(shape) if length >= least] or range(len(shape))
    axes = {draw.choice(fitting) for _ in range(1 + draw.below(2))}
    return Sample({"x": shape}, options={"axis": tuple(sorted(axes)), "keepdims": keepdims})
