"""Recurrent cells: one step through time. Several steps are several steps of a graph.

Shapes: x (N, D), h (N, H); the weights of G gates (G H, D) and (G H, H), as PyTorch keeps them,
their biases (G H,). Each gate's a = W x + U h + b + c is a dense layer of x and of h, so with da
known dx = da W, dh = da U, dW = daᵀ x, dU = daᵀ h, and both biases get da summed over the batch.
Where a sequence uses the same weights at every step, the graph adds their cotangents up.
"""

import numpy as np

from manual_backprop.activations.piecewise import Relu
from manual_backprop.activations.sigmoid import Tanh
from manual_backprop.arithmetic import Backend, Math, N, RandomSource, Tensor
from manual_backprop.layers.gates import (
    gate_products,
    gate_tangents,
    gates_definition,
    of_gates,
    sample_of_cell,
    unit_inputs,
)
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer


@layer(
    structure="rows",
    trainable=("weight_x", "weight_h", "bias_x", "bias_h"),
    torch="torch.rnn_tanh_cell",
    jax=COMPOSED,
)
class RnnTanhCell:
    """h' = tanh(a) with a = W x + U h + b + c.

    From h' = tanh(a), da = dh'/cosh² a, and the rest is that of a dense layer:

        dx = da W,   dh = da U,   dW = daᵀ x,   dU = daᵀ h,   db = dc = Σ_n da_n

    1/cosh² a keeps its digits where 1 - h'² has none. Elman, 1990.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> FloatArray:
        """Return h', shape (N, H)."""
        return Tanh.forward(x @ weight_x.T + h @ weight_h.T + (bias_x + bias_h))

    @staticmethod
    def backward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        y: FloatArray,
        dy: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of all six."""
        a = x @ weight_x.T + h @ weight_h.T + (bias_x + bias_h)
        da = Tanh.backward(a, y, dy)
        return of_gates(x, h, weight_x, weight_h, da, da)

    @staticmethod
    def tangent(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        y: FloatArray,
        tx: FloatArray,
        th: FloatArray,
        tweight_x: FloatArray,
        tweight_h: FloatArray,
        tbias_x: FloatArray,
        tbias_h: FloatArray,
    ) -> FloatArray:
        """Return ta/cosh² a."""
        a = x @ weight_x.T + h @ weight_h.T + (bias_x + bias_h)
        of_x, of_h = gate_tangents(
            (x, h, weight_x, weight_h), (tx, th, tweight_x, tweight_h), tbias_x, tbias_h
        )
        return Tanh.backward(a, y, of_x + of_h)

    @staticmethod
    def second(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        y: FloatArray,
        dy: FloatArray,
        tx: FloatArray,
        th: FloatArray,
        tweight_x: FloatArray,
        tweight_h: FloatArray,
        tbias_x: FloatArray,
        tbias_h: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return tda = tanh''(a) dh' ta, and the products of the cotangents from it."""
        given, tangents = (x, h, weight_x, weight_h), (tx, th, tweight_x, tweight_h)
        a = x @ weight_x.T + h @ weight_h.T + (bias_x + bias_h)
        of_x, of_h = gate_tangents(given, tangents, tbias_x, tbias_h)
        da, tda = Tanh.backward(a, y, dy), Tanh.second(a, y, dy, of_x + of_h)
        return gate_products(given, tangents, (da, da), (tda, tda))

    @staticmethod
    def definition(
        m: Math[N],
        x: list[N],
        h: list[N],
        weight_x: list[list[N]],
        weight_h: list[list[N]],
        bias_x: list[N],
        bias_h: list[N],
    ) -> list[N]:
        """Return one unit of h'."""
        (a,) = gates_definition(x, h, weight_x, weight_h, bias_x, bias_h)
        return [m.tanh(a)]

    @staticmethod
    def rows(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> Rows:
        """Return a row for each unit of each sample: x, h, the unit's weights and biases."""
        own = np.arange(h.size)[:, None]
        return Rows(unit_inputs(x, h, weight_x, weight_h), own)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 inputs and units."""
        return sample_of_cell(draw, shape, 1)

    @staticmethod
    def composition(xp: Backend, x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
        """Return the same by the framework's own primitives."""
        weight_x, weight_h, bias_x, bias_h = weights
        return xp.tanh(x @ weight_x.T + bias_x + h @ weight_h.T + bias_h)


@layer(
    structure="rows",
    trainable=("weight_x", "weight_h", "bias_x", "bias_h"),
    torch="torch.rnn_relu_cell",
    jax=COMPOSED,
)
class RnnReluCell:
    """h' = max(a, 0) with a = W x + U h + b + c.

    As RnnTanhCell with another slope: da = dh' where a > 0, else 0, and

        dx = da W,   dh = da U,   dW = daᵀ x,   dU = daᵀ h,   db = dc = Σ_n da_n

    Le, Jaitly and Hinton, 2015.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> FloatArray:
        """Return h', shape (N, H)."""
        return Relu.forward(x @ weight_x.T + h @ weight_h.T + (bias_x + bias_h))

    @staticmethod
    def backward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        y: FloatArray,
        dy: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of all six; y > 0 just where a > 0."""
        da = Relu.backward(y, y, dy)
        return of_gates(x, h, weight_x, weight_h, da, da)

    @staticmethod
    def tangent(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        y: FloatArray,
        tx: FloatArray,
        th: FloatArray,
        tweight_x: FloatArray,
        tweight_h: FloatArray,
        tbias_x: FloatArray,
        tbias_h: FloatArray,
    ) -> FloatArray:
        """Return ta where a > 0, else 0."""
        of_x, of_h = gate_tangents(
            (x, h, weight_x, weight_h), (tx, th, tweight_x, tweight_h), tbias_x, tbias_h
        )
        return Relu.backward(y, y, of_x + of_h)

    @staticmethod
    def second(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        y: FloatArray,
        dy: FloatArray,
        tx: FloatArray,
        th: FloatArray,
        tweight_x: FloatArray,
        tweight_h: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the products of the cotangents; da has a constant slope of 0 or 1, so tda = 0."""
        given, tangents = (x, h, weight_x, weight_h), (tx, th, tweight_x, tweight_h)
        da = Relu.backward(y, y, dy)
        return gate_products(given, tangents, (da, da), (0.0 * da, 0.0 * da))

    @staticmethod
    def definition(
        m: Math[N],
        x: list[N],
        h: list[N],
        weight_x: list[list[N]],
        weight_h: list[list[N]],
        bias_x: list[N],
        bias_h: list[N],
    ) -> list[N]:
        """Return one unit of h'."""
        (a,) = gates_definition(x, h, weight_x, weight_h, bias_x, bias_h)
        return [m.max(a, m.number(0))]

    rows = RnnTanhCell.rows
    sample = RnnTanhCell.sample

    @staticmethod
    def composition(xp: Backend, x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
        """Return the same by the framework's own primitives."""
        weight_x, weight_h, bias_x, bias_h = weights
        return xp.clip(x @ weight_x.T + bias_x + h @ weight_h.T + bias_h, 0.0, None)
