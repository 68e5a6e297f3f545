"""Layers: operations with parameters. Shapes: N batch, D_in inputs, D_out outputs."""

from typing import Any

import numpy as np

from manual_backprop.spec import COMPOSED, LAYERS, FloatArray, layer

__all__ = ["LAYERS", "Dense"]


@layer(torch=COMPOSED, jax=COMPOSED)
class Dense:
    """z = x W + b, one row a sample.

    With dz given, L = Σ_n Σ_j dz_nj z_nj stands for all that follows the layer. From
    z_nj = Σ_i x_ni W_ij + b_j comes ∂z_nj/∂W_ik = x_ni [j = k], so

        ∂L/∂W_ij = Σ_n x_ni dz_nj      dW = xᵀ dz    `(D_in, D_out)`
        ∂L/∂b_j  = Σ_n dz_nj           db = 1ᵀ dz    `(D_out,)`
        ∂L/∂x_ni = Σ_j dz_nj W_ij      dx = dz Wᵀ    `(N, D_in)`

    The batch is summed in dW and db because every sample used the same weight.
    Rumelhart, Hinton and Williams, 1986.
    """

    @staticmethod
    def forward(x: FloatArray, weight: FloatArray, bias: FloatArray | None = None) -> FloatArray:
        """Return x W + b, shape (N, D_out)."""
        z = x @ weight
        return z if bias is None else z + bias

    @staticmethod
    def backward(
        x: FloatArray, dz: FloatArray, weight: FloatArray, bias: FloatArray | None = None
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, the weight and, where there is one, the bias."""
        cotangents: dict[str, FloatArray] = {"weight": x.T @ dz}
        if bias is not None:
            # A product with a row of ones sums over the batch, several times faster than sum(0).
            cotangents["bias"] = np.ones(len(dz), dz.dtype) @ dz
        # Last, so that it is still in the cache where the layer below begins.
        cotangents["x"] = dz @ weight.T
        return cotangents

    @staticmethod
    def tangent(
        x: FloatArray,
        tx: FloatArray,
        weight: FloatArray,
        tweight: FloatArray,
        tbias: FloatArray | None = None,
    ) -> FloatArray:
        """Return tx W + x tW + tb: by the product rule each factor moves in turn."""
        tz = tx @ weight + x @ tweight
        return tz if tbias is None else tz + tbias

    @staticmethod
    def second(tx: FloatArray, dz: FloatArray, tweight: FloatArray) -> dict[str, FloatArray]:
        """Return what the cotangents gain as x and W move and dz stays: txᵀ dz and dz tWᵀ.

        From dW = xᵀ dz and dx = dz Wᵀ. db = 1ᵀ dz has neither x nor W in it and gains nothing.
        """
        return {"weight": tx.T @ dz, "x": dz @ tweight.T}

    @staticmethod
    def definition(
        m: Any, x: list[Any], weight: list[list[Any]], bias: list[Any] | None
    ) -> list[Any]:
        """Return one row of z from one row of x, term by term."""
        columns = range(len(weight[0]))
        products = [sum(x_i * row[j] for x_i, row in zip(x, weight, strict=True)) for j in columns]
        return products if bias is None else [z + b for z, b in zip(products, bias, strict=True)]

    @staticmethod
    def composition(xp: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """Return x W + b by the framework's own matrix product."""
        z = x @ weight
        return z if bias is None else z + bias
