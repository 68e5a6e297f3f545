"""Normalisation. Shapes: x, y (…, D), one group of D numbers for each sample or position."""

from typing import Any

import numpy as np

from manual_backprop.spec import COMPOSED, FloatArray, Rows, Sample, layer


@layer(
    structure="rows",
    trainable=("weight", "bias"),
    torch="torch.nn.functional.layer_norm",
    jax=COMPOSED,
)
class LayerNorm:
    """y_i = γ_i x̂_i + β_i with x̂_i = (x_i - μ)/σ.

    μ = (1/D) Σ_i x_i is the mean of the row, σ² = (1/D) Σ_i (x_i - μ)² + ε its variance. Write
    g_i = γ_i dy_i for the cotangent of x̂. x goes into x̂ three times: itself, in μ and in σ.
    From ∂μ/∂x_k = 1/D and ∂σ/∂x_k = (x_k - μ)/(D σ) = x̂_k/D comes
    ∂x̂_i/∂x_k = ([i = k] - 1/D - x̂_i x̂_k/D)/σ, so

        dx_k = (g_k - (1/D) Σ_i g_i - x̂_k (1/D) Σ_i g_i x̂_i)/σ    `(…, D)`
        dγ_i = Σ dy_i x̂_i,   dβ_i = Σ dy_i, over all rows           `(D,)`

    The mean of (x - μ)² is taken, not the mean of x² less μ²: that difference loses all digits
    where μ is much larger than σ. Ba, Kiros and Hinton, 2016.
    """

    @staticmethod
    def forward(
        x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float = 2.0**-16
    ) -> FloatArray:
        """Return γ (x - μ)/σ + β, shape (…, D)."""
        normalised, _ = _normalised(x, eps)
        return normalised * weight + bias

    @staticmethod
    def backward(
        x: FloatArray, weight: FloatArray, dy: FloatArray, *, eps: float = 2.0**-16
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, γ and β."""
        normalised, deviation = _normalised(x, eps)
        g = dy * weight
        along = (g * normalised).mean(axis=-1, keepdims=True)
        dx = (g - g.mean(axis=-1, keepdims=True) - normalised * along) / deviation
        d = x.shape[-1]
        rows, cotangents = normalised.reshape(-1, d), dy.reshape(-1, d)
        return {"x": dx, "weight": (rows * cotangents).sum(axis=0), "bias": cotangents.sum(axis=0)}

    @staticmethod
    def definition(
        m: Any, x: list[Any], weight: list[Any], bias: list[Any], *, eps: Any
    ) -> list[Any]:
        """Return one row of y."""
        d = m.number(len(x))
        mean = sum(x[1:], x[0]) / d
        centred = [x_i - mean for x_i in x]
        squares = [c * c for c in centred]
        deviation = m.sqrt(sum(squares[1:], squares[0]) / d + eps)
        return [c / deviation * w + b for c, w, b in zip(centred, weight, bias, strict=True)]

    @staticmethod
    def rows(x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float) -> Rows:
        """Return the rows: D numbers of x, with all of γ and β."""
        d = x.shape[-1]
        own = np.arange(x.size).reshape(-1, d)
        shared = np.broadcast_to(np.arange(d), own.shape)
        return Rows({"x": own, "weight": shared, "bias": shared}, own)

    @staticmethod
    def sample(draw: Any, shape: tuple[int, ...] | None = None) -> Sample:
        """Return rows of 1 to 8 numbers; at the edge, a row of equal numbers (σ² = ε)."""
        shape = shape or (2 + draw.below(3), 1 + draw.below(8))
        d = shape[-1]
        options = {"eps": draw.choice((2.0**-16, 2.0**-20, 2.0**-7))}
        return Sample({"x": shape, "weight": (d,), "bias": (d,)}, options=options)

    @staticmethod
    def edge(draw: Any, x: FloatArray) -> FloatArray:
        """Return x with one row whose numbers are all equal."""
        rows = x.reshape(-1, x.shape[-1])
        rows[draw.below(len(rows))] = rows[0, 0]
        return rows.reshape(x.shape)

    @staticmethod
    def with_torch(f: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
        """Call torch's function, which is given the shape that it normalises over."""
        return f(x, weight.shape, weight, bias, eps)

    @staticmethod
    def composition(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
        """Return the same by the framework's own primitives."""
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        return centred / xp.sqrt(variance + eps) * weight + bias


def _normalised(x: FloatArray, eps: float) -> tuple[FloatArray, FloatArray]:
    """Return x̂ and σ."""
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    return centred / deviation, deviation
