"""Dense layers. Shapes: N batch, D_in inputs, D_out outputs."""

from collections.abc import Sequence

import numpy as np

from manual_backprop.arithmetic import Backend, Math, N, RandomSource, Tensor
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer


@layer(structure="contraction", trainable=("weight", "bias"), torch=COMPOSED, jax=COMPOSED)
class Dense:
    """y = x W + b, one row a sample.

    With dy given, all later steps may be replaced by L = Σ_n Σ_j dy_nj y_nj. From
    y_nj = Σ_i x_ni W_ij + b_j comes ∂y_nj/∂W_ik = x_ni [j = k], so

        ∂L/∂W_ij = Σ_n x_ni dy_nj      dW = xᵀ dy    `(D_in, D_out)`
        ∂L/∂b_j  = Σ_n dy_nj           db = 1ᵀ dy    `(D_out,)`
        ∂L/∂x_ni = Σ_j dy_nj W_ij      dx = dy Wᵀ    `(N, D_in)`

    The batch is summed in dW and db because every sample used the same weight.
    Rumelhart, Hinton and Williams, 1986.
    """

    @staticmethod
    def forward(x: FloatArray, weight: FloatArray, bias: FloatArray | None = None) -> FloatArray:
        """Return x W + b, shape (N, D_out)."""
        y = x @ weight
        return y if bias is None else y + bias

    @staticmethod
    def backward(
        x: FloatArray, dy: FloatArray, weight: FloatArray, bias: FloatArray | None = None
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, the weight and, where there is one, the bias."""
        cotangents: dict[str, FloatArray] = {"weight": x.T @ dy}
        if bias is not None:
            # A product with a row of ones sums over the batch, several times faster than sum(0).
            cotangents["bias"] = np.ones(len(dy), dy.dtype) @ dy
        # Last, so that it is still in the cache where the layer below begins.
        cotangents["x"] = dy @ weight.T
        return cotangents

    @staticmethod
    def tangent(
        x: FloatArray,
        tx: FloatArray,
        weight: FloatArray,
        tweight: FloatArray,
        tbias: FloatArray | None = None,
    ) -> FloatArray:
        """Return tx W + x tW + tb, by the product rule."""
        ty = tx @ weight + x @ tweight
        return ty if tbias is None else ty + tbias

    @staticmethod
    def second(tx: FloatArray, dy: FloatArray, tweight: FloatArray) -> dict[str, FloatArray]:
        """Return txᵀ dy and dy tWᵀ, the directional derivatives of dW and dx with dy constant.

        From dW = xᵀ dy and dx = dy Wᵀ. db = 1ᵀ dy has neither x nor W in it and gains nothing.
        """
        return {"weight": tx.T @ dy, "x": dy @ tweight.T}

    @staticmethod
    def definition(
        m: Math[N], x: list[N], weight: list[list[N]], bias: list[N] | None = None
    ) -> Sequence[N | float]:
        """Return one row of y from one row of x, term by term."""
        columns = range(len(weight[0]))
        products = [sum(x_i * row[j] for x_i, row in zip(x, weight, strict=True)) for j in columns]
        return products if bias is None else [y + b for y, b in zip(products, bias, strict=True)]

    @staticmethod
    def rows(x: FloatArray, weight: FloatArray, bias: FloatArray | None = None) -> Rows:
        """Return a row for each sample: its D_in numbers, the whole weight and bias."""
        n, d_out = len(x), weight.shape[1]
        whole = np.broadcast_to(np.arange(weight.size).reshape(weight.shape), (n, *weight.shape))
        inputs = {"x": np.arange(x.size).reshape(x.shape), "weight": whole}
        if bias is not None:
            inputs["bias"] = np.broadcast_to(np.arange(d_out), (n, d_out))
        return Rows(inputs, np.arange(n * d_out).reshape(n, d_out))

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a layer of 1 to 6 units, the bias left out in one case of eight."""
        n, d_in = shape or (2 + draw.below(4), 2 + draw.below(5))
        d_out = 1 + draw.below(6)
        shapes: dict[str, tuple[int, ...]] = {"x": (n, d_in), "weight": (d_in, d_out)}
        if not draw.chance(1, 8):
            shapes["bias"] = (d_out,)
        return Sample(shapes)

    @staticmethod
    def composition(xp: Backend, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return x W + b by the framework's own matrix product."""
        y = x @ weight
        return y if bias is None else y + bias
