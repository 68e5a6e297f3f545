"""Normalisation of channels. Shapes: x, y (N, C, …); γ, β, means and variances (C,).

All three are LayerNorm's x̂ = (x - μ)/σ over other groups of numbers, so all three have its slope

    dx = (g - mean(g) - x̂ mean(g x̂))/σ

with g = γ dy and the means over the group; γ and β belong to a channel, so their cotangents are
sums over the batch and the positions.
"""

import numpy as np

from manual_backprop.arithmetic import A, Backend, Function, Math, N, RandomSource, Tensor
from manual_backprop.layers import norms  # noqa: F401 - its layers come first in the registry
from manual_backprop.layers.standardised import (
    EPSILONS,
    Standardised,
    divided,
    from_standardised,
    scaled_product,
    standardised,
    standardised_composition,
    standardised_definition,
)
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer


@layer(
    structure="rows",
    takes="image",
    trainable=("weight", "bias"),
    torch="torch.batch_norm",
    jax=COMPOSED,
)
class BatchNorm:
    """y = γ_c (x - μ_c)/σ_c + β_c, as in training: the statistics are those of the batch.

    μ_c and σ_c² = v_c + ε are the mean and the variance of the M numbers of channel c: over the
    batch and, for images, the positions. Every sample of a channel goes into its μ and σ, so
    with x̂ = (x - μ)/σ, ∂x̂_i/∂x_k = ([i = k] - 1/M - x̂_i x̂_k/M)/σ and with g = γ dy

        dx_k = (g_k - (1/M) Σ_i g_i - x̂_k (1/M) Σ_i g_i x̂_i)/σ
        dγ_c = Σ dy x̂,   dβ_c = Σ dy, over batch and positions    `(C,)`

    The running statistics that training keeps for evaluation go into no value here, so they have
    no part in the gradient. Ioffe and Szegedy, 2015.
    """

    @staticmethod
    def forward(
        x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float = 2.0**-16
    ) -> FloatArray:
        """Return γ (x - μ)/σ + β, shape (N, C, …)."""
        normalised, _ = standardised(x, all_but_channels(x), eps)
        return normalised * channels(weight, x) + channels(bias, x)

    @staticmethod
    def backward(
        x: FloatArray, weight: FloatArray, dy: FloatArray, *, eps: float = 2.0**-16
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, γ and β."""
        axes = all_but_channels(x)
        normalised, deviation = standardised(x, axes, eps)
        dx = from_standardised(dy, channels(weight, x), normalised, deviation, axes, eps)
        return {"x": dx, "weight": (dy * normalised).sum(axis=axes), "bias": dy.sum(axis=axes)}

    @staticmethod
    def tangent(
        x: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tweight: FloatArray,
        tbias: FloatArray,
        *,
        eps: float = 2.0**-16,
    ) -> FloatArray:
        """Return γ tx̂ + tγ x̂ + tβ."""
        inner = Standardised(x, tx, all_but_channels(x), eps)
        ty: FloatArray = inner.tangent * channels(weight, x)
        ty += inner.normalised * channels(tweight, x) + channels(tbias, x)
        return ty

    @staticmethod
    def second(
        x: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tweight: FloatArray,
        dy: FloatArray,
        *,
        eps: float = 2.0**-16,
    ) -> dict[str, FloatArray]:
        """Return the products of x and γ; see `Standardised.second`. That of β is 0."""
        axes = all_but_channels(x)
        inner = Standardised(x, tx, axes, eps)
        dx = inner.second(dy, channels(weight, x), channels(tweight, x))
        return {"x": dx, "weight": (dy * inner.tangent).sum(axis=axes)}

    @staticmethod
    def definition(m: Math[N], x: list[N], weight: list[N], bias: list[N], *, eps: N) -> list[N]:
        """Return all numbers of one channel."""
        return [n * weight[0] + bias[0] for n in standardised_definition(m, x, eps)]

    @staticmethod
    def rows(x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float) -> Rows:
        """Return a row for each channel: its M numbers, its γ and β."""
        own = np.moveaxis(np.arange(x.size).reshape(x.shape), 1, 0).reshape(x.shape[1], -1)
        channel = np.arange(x.shape[1])[:, None]
        return Rows({"x": own, "weight": channel, "bias": channel}, own)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a batch of 2 to 4: half of them images, half features."""
        if shape is None:
            positions = (1 + draw.below(3), 1 + draw.below(3)) if draw.chance(1, 2) else ()
            shape = (2 + draw.below(3), 1 + draw.below(4), *positions)
        shapes = {"x": shape, "weight": shape[1:2], "bias": shape[1:2]}
        return Sample(shapes, options={"eps": draw.choice(EPSILONS)})

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return x with one channel whose numbers are all equal."""
        x[:, draw.below(x.shape[1])] = x.flat[0]
        return x

    @staticmethod
    def with_torch(f: Function, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
        """Call torch's function without running statistics, and without cuDNN."""
        return f(x, weight, bias, None, None, True, 0.0, eps, False)

    @staticmethod
    def composition(xp: Backend, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
        """Return the same by the framework's own primitives."""
        normalised = standardised_composition(xp, x, all_but_channels(x), eps)
        return normalised * channels(weight, x) + channels(bias, x)


@layer(
    structure="rows",
    takes="image",
    trainable=("weight", "bias"),
    torch=COMPOSED,  # torch's batch_norm has no gradient by the statistics that it is given
    jax=COMPOSED,
)
class BatchNormEvaluation:
    """y = γ_c x̂ + β_c with x̂ = (x - μ_c)/√(v_c + ε), as in evaluation: μ and v are given.

    Nothing ties the samples, so the layer is a line in x with the slope γ/σ, σ = √(v + ε). From
    ∂x̂/∂μ = -1/σ and ∂x̂/∂v = -x̂/(2σ²), with sums over batch and positions

        dx = γ dy/σ       `(N, C, …)`        dγ = Σ dy x̂,   dβ = Σ dy       `(C,)`
        dμ = -γ dβ/σ,     dv = -γ dγ/(2σ²)                                  `(C,)`

    Ioffe and Szegedy, 2015, algorithm 2.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        weight: FloatArray,
        bias: FloatArray,
        *,
        eps: float = 2.0**-16,
    ) -> FloatArray:
        """Return γ (x - μ)/√(v + ε) + β, shape (N, C, …)."""
        deviation = np.sqrt(channels(variance, x) + eps)
        normalised: FloatArray = (x - channels(mean, x)) / deviation
        return normalised * channels(weight, x) + channels(bias, x)

    @staticmethod
    def backward(
        x: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        weight: FloatArray,
        dy: FloatArray,
        *,
        eps: float = 2.0**-16,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, the statistics, γ and β."""
        axes = all_but_channels(x)
        deviation = np.sqrt(channels(variance, x) + eps)
        normalised = (x - channels(mean, x)) / deviation
        dweight, dbias = (dy * normalised).sum(axis=axes), dy.sum(axis=axes)
        return {
            "x": divided(*scaled_product(dy, channels(weight, x)), deviation),
            "mean": -divided(*scaled_product(dbias, weight), np.sqrt(variance + eps)),
            "variance": -0.5 * divided(*scaled_product(dweight, weight), variance + eps),
            "weight": dweight,
            "bias": dbias,
        }

    @staticmethod
    def tangent(
        x: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tmean: FloatArray,
        tvariance: FloatArray,
        tweight: FloatArray,
        tbias: FloatArray,
        *,
        eps: float = 2.0**-16,
    ) -> FloatArray:
        """Return γ tx̂ + tγ x̂ + tβ."""
        normalised, tangent, _, _ = _with_statistics(x, mean, variance, tx, tmean, tvariance, eps)
        ty: FloatArray = tangent * channels(weight, x) + normalised * channels(tweight, x)
        ty += channels(tbias, x)
        return ty

    @staticmethod
    def second(
        x: FloatArray,
        mean: FloatArray,
        variance: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tmean: FloatArray,
        tvariance: FloatArray,
        tweight: FloatArray,
        dy: FloatArray,
        *,
        eps: float = 2.0**-16,
    ) -> dict[str, FloatArray]:
        """Return the products of x, the statistics and γ; that of β is 0.

        With tσ = tv/(2σ) and tx̂ = (tx - tμ - x̂ tσ)/σ,

            tdx = (tγ dy - dx tσ)/σ, from dx = γ dy/σ
            tdμ = -Σ tdx, from dμ = -Σ dx
            tdγ = Σ dy tx̂, from dγ = Σ dy x̂
            tdv = -Σ (tdx x̂ + dx tx̂ - dx x̂ tσ/σ)/(2σ), from dv = -Σ dx x̂/(2σ)
        """
        axes = all_but_channels(x)
        normalised, tangent, deviation, by = _with_statistics(
            x, mean, variance, tx, tmean, tvariance, eps
        )
        dx = divided(*scaled_product(dy, channels(weight, x)), deviation)
        tdx = divided(*scaled_product(dy, channels(tweight, x)), deviation) - dx * by
        of_variance = tdx * normalised + dx * tangent - dx * normalised * by
        return {
            "x": tdx,
            "mean": -tdx.sum(axis=axes),
            "variance": -0.5 * (of_variance / deviation).sum(axis=axes),
            "weight": (dy * tangent).sum(axis=axes),
        }

    @staticmethod
    def definition(
        m: Math[N],
        x: list[N],
        mean: list[N],
        variance: list[N],
        weight: list[N],
        bias: list[N],
        *,
        eps: N,
    ) -> list[N]:
        """Return one number."""
        return [(x[0] - mean[0]) / m.sqrt(variance[0] + eps) * weight[0] + bias[0]]

    @staticmethod
    def rows(x: FloatArray, *_: FloatArray, eps: float) -> Rows:
        """Return a row for each number: itself, and what belongs to its channel."""
        own = np.arange(x.size)[:, None]
        channel = np.broadcast_to(channels(np.arange(x.shape[1]), x), x.shape).reshape(-1, 1)
        names = ("mean", "variance", "weight", "bias")
        return Rows({"x": own, **dict.fromkeys(names, channel)}, own)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a batch as for training, with variances of 1/16 and more."""
        shapes, _, options = BatchNorm.sample(draw, shape)
        channels = shapes["weight"]
        variance = draw.normal(*channels) ** 2 + 0.0625
        return Sample({**shapes, "mean": channels}, {"variance": variance}, options)

    @staticmethod
    def composition(
        xp: Backend,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor,
        bias: Tensor,
        *,
        eps: float,
    ) -> Tensor:
        """Return the same by the framework's own primitives."""
        deviation = xp.sqrt(channels(variance, x) + eps)
        normalised = (x - channels(mean, x)) / deviation
        return normalised * channels(weight, x) + channels(bias, x)


def _with_statistics(
    x: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    tx: FloatArray,
    tmean: FloatArray,
    tvariance: FloatArray,
    eps: float,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return x̂, tx̂, σ and tσ/σ, from given statistics and their tangents."""
    deviation = np.sqrt(channels(variance, x) + eps)
    normalised = (x - channels(mean, x)) / deviation
    by = channels(tvariance, x) / (2.0 * deviation) / deviation
    tangent = (tx - channels(tmean, x)) / deviation - normalised * by
    return normalised, tangent, deviation, by


def all_but_channels(x: FloatArray | Tensor) -> tuple[int, ...]:
    """Return the axes of the batch and the positions."""
    return (0, *range(2, x.ndim))


def channels(parameter: A, x: FloatArray | Tensor) -> A:
    """Return (C,) as (C, 1, …), so that it meets the channels of x (N, C, …)."""
    return parameter.reshape((-1,) + (1,) * (x.ndim - 2))
