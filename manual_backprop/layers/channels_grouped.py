"""Normalisation of groups of channels of one sample. Shapes as in `channel_norms`."""

import numpy as np

from manual_backprop.arithmetic import A, Backend, Function, Math, N, RandomSource, Tensor
from manual_backprop.layers.channel_norms import BatchNorm, all_but_channels, channels
from manual_backprop.layers.standardised import (
    EPSILONS,
    Standardised,
    from_standardised,
    standardised,
    standardised_composition,
    standardised_definition,
)
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer

MOST = 48
"""Numbers of a group that is drawn of several channels: its Jacobian has the square of it."""


@layer(
    structure="rows",
    takes="image",
    trainable=("weight", "bias"),
    torch="torch.group_norm",
    jax=COMPOSED,
)
class GroupNorm:
    """y = γ_c (x - μ)/σ + β_c, with the statistics of a group of channels of one sample.

    The C channels fall into G groups of C/G. μ and σ² = v + ε are those of the M numbers of one
    group of one sample, all positions included; no sample knows of another. The slope is
    LayerNorm's, taken over the group; γ may differ inside it, so with g = γ dy

        dx_k = (g_k - (1/M) Σ_i g_i - x̂_k (1/M) Σ_i g_i x̂_i)/σ
        dγ_c = Σ dy x̂,   dβ_c = Σ dy, over batch and positions    `(C,)`

    G = 1 normalises the whole sample, G = C each channel by itself. Wu and He, 2018.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        weight: FloatArray,
        bias: FloatArray,
        *,
        groups: int = 1,
        eps: float = 2.0**-16,
    ) -> FloatArray:
        """Return γ (x - μ)/σ + β, shape (N, C, …)."""
        normalised, _ = standardised(_grouped(x, groups), (2,), eps)
        return normalised.reshape(x.shape) * channels(weight, x) + channels(bias, x)

    @staticmethod
    def backward(
        x: FloatArray,
        weight: FloatArray,
        dy: FloatArray,
        *,
        groups: int = 1,
        eps: float = 2.0**-16,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, γ and β."""
        axes = all_but_channels(x)
        normalised, deviation = standardised(_grouped(x, groups), (2,), eps)
        dx = from_standardised(
            _grouped(dy, groups), _spread(weight, x, groups), normalised, deviation, (2,), eps
        )
        return {
            "x": dx.reshape(x.shape),
            "weight": (dy * normalised.reshape(x.shape)).sum(axis=axes),
            "bias": dy.sum(axis=axes),
        }

    @staticmethod
    def tangent(
        x: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tweight: FloatArray,
        tbias: FloatArray,
        *,
        groups: int = 1,
        eps: float = 2.0**-16,
    ) -> FloatArray:
        """Return γ tx̂ + tγ x̂ + tβ."""
        inner = Standardised(_grouped(x, groups), _grouped(tx, groups), (2,), eps)
        ty: FloatArray = inner.tangent.reshape(x.shape) * channels(weight, x)
        ty += inner.normalised.reshape(x.shape) * channels(tweight, x) + channels(tbias, x)
        return ty

    @staticmethod
    def second(
        x: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tweight: FloatArray,
        dy: FloatArray,
        *,
        groups: int = 1,
        eps: float = 2.0**-16,
    ) -> dict[str, FloatArray]:
        """Return the products of x and γ; see `Standardised.second`. That of β is 0."""
        inner = Standardised(_grouped(x, groups), _grouped(tx, groups), (2,), eps)
        parts = (_spread(part, x, groups) for part in (weight, tweight))
        over = (dy * inner.tangent.reshape(x.shape)).sum(axis=all_but_channels(x))
        return {"x": inner.second(_grouped(dy, groups), *parts).reshape(x.shape), "weight": over}

    @staticmethod
    def definition(
        m: Math[N], x: list[N], weight: list[N], bias: list[N], *, eps: N, **_: object
    ) -> list[N]:
        """Return the numbers of one group; its channels have a γ and a β each."""
        each = len(x) // len(weight)
        normalised = standardised_definition(m, x, eps)
        return [n * weight[i // each] + bias[i // each] for i, n in enumerate(normalised)]

    @staticmethod
    def rows(
        x: FloatArray, weight: FloatArray, bias: FloatArray, *, groups: int, eps: float
    ) -> Rows:
        """Return a row for each group of each sample: its numbers, the γ and β of its channels."""
        own = np.arange(x.size).reshape(len(x) * groups, -1)
        channels = np.tile(np.arange(x.shape[1]).reshape(groups, -1), (len(x), 1))
        return Rows({"x": own, "weight": channels, "bias": channels}, own)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return images of 1 to 4 channels in any number of groups."""
        shape = shape or (1 + draw.below(3), 1 + draw.below(4), 1 + draw.below(3), 2)
        numbers = int(np.prod(shape[1:]))
        divisors = [g for g in range(1, shape[1]) if shape[1] % g == 0 and numbers // g <= MOST]
        groups = draw.choice([*divisors, shape[1]])
        shapes = {"x": shape, "weight": shape[1:2], "bias": shape[1:2]}
        return Sample(shapes, options={"groups": groups, "eps": draw.choice(EPSILONS)})

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return x with one sample whose numbers are all equal."""
        x[draw.below(len(x))] = x.flat[0]
        return x

    @staticmethod
    def with_torch(
        f: Function, x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, eps: float
    ) -> Tensor:
        """Call torch's function, which takes the number of groups before the parameters."""
        return f(x, groups, weight, bias, eps, False)

    @staticmethod
    def composition(
        xp: Backend, x: Tensor, weight: Tensor, bias: Tensor, *, groups: int, eps: float
    ) -> Tensor:
        """Return the same by the framework's own primitives."""
        normalised = standardised_composition(xp, _grouped(x, groups), (2,), eps)
        return xp.reshape(normalised, x.shape) * channels(weight, x) + channels(bias, x)


@layer(
    structure="rows",
    takes="image",
    trainable=("weight", "bias"),
    torch="torch.instance_norm",
    jax=COMPOSED,
)
class InstanceNorm:
    """y = γ_c (x - μ)/σ + β_c, with the statistics of one channel of one sample.

    It is GroupNorm with a group for each channel: μ and σ² = v + ε are over the M positions, and

        dx_k = (g_k - (1/M) Σ_i g_i - x̂_k (1/M) Σ_i g_i x̂_i)/σ,   g = γ dy
        dγ_c = Σ dy x̂,   dβ_c = Σ dy, over batch and positions    `(C,)`

    Ulyanov, Vedaldi and Lempitsky, 2016.
    """

    @staticmethod
    def forward(
        x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float = 2.0**-16
    ) -> FloatArray:
        """Return γ (x - μ)/σ + β, shape (N, C, …)."""
        return GroupNorm.forward(x, weight, bias, groups=x.shape[1], eps=eps)

    @staticmethod
    def backward(
        x: FloatArray, weight: FloatArray, dy: FloatArray, *, eps: float = 2.0**-16
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, γ and β."""
        return GroupNorm.backward(x, weight, dy, groups=x.shape[1], eps=eps)

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
        ty: FloatArray = GroupNorm.tangent(
            x, weight, tx, tweight, tbias, groups=x.shape[1], eps=eps
        )
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
        """Return the products of GroupNorm, with a group for each channel."""
        found: dict[str, FloatArray] = GroupNorm.second(
            x, weight, tx, tweight, dy, groups=x.shape[1], eps=eps
        )
        return found

    definition = BatchNorm.definition

    @staticmethod
    def rows(x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float) -> Rows:
        """Return a row for each channel of each sample."""
        return GroupNorm.rows(x, weight, bias, groups=x.shape[1], eps=eps)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return images of 1 to 4 channels."""
        shape = shape or (1 + draw.below(3), 1 + draw.below(4), 1 + draw.below(3), 2)
        shapes = {"x": shape, "weight": shape[1:2], "bias": shape[1:2]}
        return Sample(shapes, options={"eps": draw.choice(EPSILONS)})

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return x with one channel of one sample whose numbers are all equal."""
        x[draw.below(len(x)), draw.below(x.shape[1])] = x.flat[0]
        return x

    with_torch = BatchNorm.with_torch

    @staticmethod
    def composition(xp: Backend, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
        """Return the same by the framework's own primitives."""
        normalised = standardised_composition(xp, _grouped(x, x.shape[1]), (2,), eps)
        return xp.reshape(normalised, x.shape) * channels(weight, x) + channels(bias, x)


def _grouped(x: A, groups: int) -> A:
    return x.reshape((x.shape[0], groups, -1))


def _spread(weight: FloatArray, x: FloatArray, groups: int) -> FloatArray:
    """Return one number a channel, repeated over the samples and positions of the groups."""
    return _grouped(np.broadcast_to(channels(weight, x), x.shape), groups)
