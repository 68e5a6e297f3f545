"""Normalisation of rows of features. Shapes: x, y (…, D); each row of D numbers by itself."""

import numpy as np

from manual_backprop.arithmetic import Backend, Function, IntArray, Math, N, RandomSource, Tensor
from manual_backprop.layers.directions import directions, moved_directions
from manual_backprop.layers.standardised import (
    EPSILONS,
    Standardised,
    divided,
    divided_by_cube,
    from_standardised,
    over_root,
    projections,
    scaled_product,
    standardised,
    standardised_composition,
    standardised_definition,
)
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer


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

    The code computes the mean of (x - μ)², not mean(x²) - μ²: that difference loses all digits
    where μ is much larger than σ. Ba, Kiros and Hinton, 2016.
    """

    @staticmethod
    def forward(
        x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float = 2.0**-16
    ) -> FloatArray:
        """Return γ (x - μ)/σ + β, shape (…, D)."""
        normalised, _ = standardised(x, (x.ndim - 1,), eps)
        return normalised * weight + bias

    @staticmethod
    def backward(
        x: FloatArray, weight: FloatArray, dy: FloatArray, *, eps: float = 2.0**-16
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, γ and β."""
        axes = (x.ndim - 1,)
        normalised, deviation = standardised(x, axes, eps)
        dx = from_standardised(dy, weight, normalised, deviation, axes, eps)
        return {"x": dx, "weight": _over_rows(dy * normalised), "bias": _over_rows(dy)}

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
        """Return γ tx̂ + tγ x̂ + tβ.

        tx̂ is computed with the formula of dx, with tx in the place of g. This is possible because
        ∂x̂/∂x is symmetric.
        """
        inner = Standardised(x, tx, (x.ndim - 1,), eps)
        return inner.tangent * weight + inner.normalised * tweight + tbias

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
        """Return the directional derivatives of dx and dγ = Σ dy x̂; see `Standardised.second`.

        dβ does not depend on x, so its derivative is 0 and is left out.
        """
        inner = Standardised(x, tx, (x.ndim - 1,), eps)
        dx = inner.second(dy, weight, tweight)
        return {"x": dx, "weight": _over_rows(dy * inner.tangent)}

    @staticmethod
    def definition(m: Math[N], x: list[N], weight: list[N], bias: list[N], *, eps: N) -> list[N]:
        """Return one row of y."""
        normalised = standardised_definition(m, x, eps)
        return [n * w + b for n, w, b in zip(normalised, weight, bias, strict=True)]

    @staticmethod
    def rows(x: FloatArray, weight: FloatArray, bias: FloatArray, *, eps: float) -> Rows:
        """Return the rows: D numbers of x, with all of γ and β."""
        own, shared = _row_indices(x)
        return Rows({"x": own, "weight": shared, "bias": shared}, own)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return the shapes for 2 to 4 rows of 1 to 8 numbers, and eps."""
        shape = shape or (2 + draw.below(3), 1 + draw.below(8))
        d = shape[-1]
        options = {"eps": draw.choice(EPSILONS)}
        return Sample({"x": shape, "weight": (d,), "bias": (d,)}, options=options)

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return x with one row whose numbers are all equal (σ² = ε)."""
        rows = x.reshape(-1, x.shape[-1])
        rows[draw.below(len(rows))] = rows[0, 0]
        return rows.reshape(x.shape)

    @staticmethod
    def with_torch(f: Function, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
        """Call torch's function, which is given the shape that it normalises over."""
        return f(x, weight.shape, weight, bias, eps)

    @staticmethod
    def composition(xp: Backend, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float) -> Tensor:
        """Return the same by the framework's own primitives."""
        return standardised_composition(xp, x, (-1,), eps) * weight + bias


@layer(
    structure="rows",
    trainable=("weight",),
    torch="torch.nn.functional.rms_norm",
    jax=COMPOSED,
)
class RmsNorm:
    """y_i = γ_i x_i/ρ with ρ² = (1/D) Σ_j x_j² + ε, the mean of the squares of the row.

    Nothing is subtracted, so x goes in twice: itself and in ρ. From ∂ρ/∂x_k = x_k/(D ρ) comes
    ∂(x_i/ρ)/∂x_k = ([i = k] - x̂_i x̂_k/D)/ρ with x̂ = x/ρ, and with g_i = γ_i dy_i

        dx_k = (g_k - x̂_k (1/D) Σ_i g_i x̂_i)/ρ    `(…, D)`
        dγ_i = Σ dy_i x̂_i, over all rows           `(D,)`

    For D = 1 the bracket is g (1 - x̂²) = g ε/ρ². In this case the code computes g ε/ρ², because
    1 - x̂² loses all digits when ε is small. Zhang and Sennrich, 2019.
    """

    @staticmethod
    def forward(x: FloatArray, weight: FloatArray, *, eps: float = 2.0**-16) -> FloatArray:
        """Return γ x/ρ, shape (…, D)."""
        normalised, _ = over_root(x, (x.ndim - 1,), eps)
        return normalised * weight

    @staticmethod
    def backward(
        x: FloatArray, weight: FloatArray, dy: FloatArray, *, eps: float = 2.0**-16
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x and γ."""
        normalised, rho = over_root(x, (x.ndim - 1,), eps)
        dx = _from_scaled(dy, weight, normalised, rho, eps)
        return {"x": dx, "weight": _over_rows(dy * normalised)}

    @staticmethod
    def tangent(
        x: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tweight: FloatArray,
        *,
        eps: float = 2.0**-16,
    ) -> FloatArray:
        """Return γ tx̂ + tγ x̂; tx̂ has the formula of dx with tx for g: ∂x̂/∂x is symmetric."""
        normalised, rho = over_root(x, (x.ndim - 1,), eps)
        tangent = _from_scaled(tx, np.ones((), x.dtype), normalised, rho, eps)
        return tangent * weight + normalised * tweight

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
        """Return the directional derivatives of dx = (g - x̂ mean(g x̂))/ρ and dγ = Σ dy x̂.

        Let tρ = mean(x̂ tx) and tg = tγ dy. The bracket depends on g, on x̂ outside the mean and on x̂
        inside it, each with a term of its own; the relative change of 1/ρ is -tρ/ρ:

            tdx = (tg - x̂ mean(tg x̂) - tx̂ mean(g x̂) - x̂ mean(g tx̂))/ρ - dx tρ/ρ
        """
        normalised, rho = over_root(x, (x.ndim - 1,), eps)
        tangent = _from_scaled(tx, np.ones((), x.dtype), normalised, rho, eps)
        trho = (normalised * tx).mean(axis=-1, keepdims=True)
        dx = _from_scaled(dy, weight, normalised, rho, eps)
        found = _from_scaled(dy, tweight, normalised, rho, eps)
        turned = projections(dy, weight, normalised, tangent, rho, (-1,))
        return {"x": found - turned - dx * (trho / rho), "weight": _over_rows(dy * tangent)}

    @staticmethod
    def definition(m: Math[N], x: list[N], weight: list[N], *, eps: N) -> list[N | float]:
        """Return one row of y."""
        squares = [x_i * x_i for x_i in x]
        rho = m.sqrt(sum(squares[1:], squares[0]) / m.number(len(x)) + eps)
        return [x_i / rho * w for x_i, w in zip(x, weight, strict=True)]

    @staticmethod
    def rows(x: FloatArray, weight: FloatArray, *, eps: float) -> Rows:
        """Return the rows: D numbers of x, with all of γ."""
        own, shared = _row_indices(x)
        return Rows({"x": own, "weight": shared}, own)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return the shapes for 2 to 4 rows of 1 to 8 numbers, and eps."""
        shape = shape or (2 + draw.below(3), 1 + draw.below(8))
        return Sample({"x": shape, "weight": shape[-1:]}, options={"eps": draw.choice(EPSILONS)})

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return x with one row of zeros."""
        rows = x.reshape(-1, x.shape[-1])
        rows[draw.below(len(rows))] = 0
        return rows.reshape(x.shape)

    @staticmethod
    def with_torch(f: Function, x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
        """Call torch's function, which is given the shape that it normalises over."""
        return f(x, weight.shape, weight, eps)

    @staticmethod
    def composition(xp: Backend, x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
        """Return the same by the framework's own primitives."""
        return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


@layer(
    structure="rows",
    takes="nothing",
    trainable=("v", "g"),
    torch="torch._weight_norm",
    jax=COMPOSED,
)
class WeightNorm:
    """w_oi = g_o u_oi with u_oi = v_oi/‖v_o‖: a weight's rows by direction and length.

    From ∂‖v‖/∂v_k = v_k/‖v‖ = u_k comes ∂u_i/∂v_k = ([i = k] - u_i u_k)/‖v‖. The part of dw along u
    changes only g; the part that is orthogonal to u changes only v. Row by row

        dg_o = Σ_i dw_oi u_oi                                 `(D_out, 1)`
        dv_ok = (g_o/‖v_o‖) (dw_ok - u_ok Σ_i dw_oi u_oi)     `(D_out, D_in)`

    `directions` computes u and ‖v‖, of huge and tiny numbers, too. A row of zeros has no direction
    (0/0): w is 0 there and gives no gradient. Salimans and Kingma, 2016.
    """

    @staticmethod
    def forward(v: FloatArray, g: FloatArray) -> FloatArray:
        """Return the weight, shape (D_out, D_in)."""
        return directions(v)[0] * g

    @staticmethod
    def backward(v: FloatArray, g: FloatArray, dy: FloatArray) -> dict[str, FloatArray]:
        """Return the cotangents of v and g; dy is that of the weight."""
        u, norm = directions(v)
        along = (dy * u).sum(axis=-1, keepdims=True)
        dv = divided(*scaled_product(dy - u * along, g), norm)
        return {"v": np.where(u.any(axis=-1, keepdims=True), dv, dv.dtype.type(0)), "g": along}

    @staticmethod
    def tangent(v: FloatArray, g: FloatArray, tv: FloatArray, tg: FloatArray) -> FloatArray:
        """Return g tu + tg u."""
        u, _, tu, _ = moved_directions(v, tv)
        return tu * g + u * tg

    @staticmethod
    def second(
        v: FloatArray, g: FloatArray, tv: FloatArray, tg: FloatArray, dy: FloatArray
    ) -> dict[str, FloatArray]:
        """Return the directional derivatives of dv and dg.

        tn = Σ u_i tv_i is the derivative of ‖v‖, and tu = (tv - u tn)/‖v‖ that of u. The derivative
        of dg = Σ dw u is Σ dw tu. With P = dw - u Σ dw u, dv is (g/‖v‖) P, and its derivative is

            tdv = (g/‖v‖) (-tu Σ dw u - u Σ dw tu) + P (tg - g tn/‖v‖)/‖v‖
        """
        u, norm, tu, tnorm = moved_directions(v, tv)
        along, tangent = ((dy * part).sum(axis=-1, keepdims=True) for part in (u, tu))
        dv = divided(*scaled_product(dy - u * along, tg - g * (tnorm / norm)), norm)
        dv = dv - divided(*scaled_product(tu * along + u * tangent, g), norm)
        return {"v": np.where(u.any(axis=-1, keepdims=True), dv, dv.dtype.type(0)), "g": tangent}

    @staticmethod
    def definition(m: Math[N], v: list[N], g: list[N]) -> list[N | float]:
        """Return one row of the weight."""
        squares = [v_i * v_i for v_i in v]
        square, zero = sum(squares[1:], squares[0]), m.number(0)
        norm = m.sqrt(m.where(square, square, m.number(1)))
        return [m.where(square, v_i / norm * g[0], zero) for v_i in v]

    @staticmethod
    def rows(v: FloatArray, g: FloatArray) -> Rows:
        """Return the rows: D_in numbers of v and the length g."""
        own, _ = _row_indices(v)
        return Rows({"v": own, "g": np.arange(len(v))[:, None]}, own)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return the shapes for a weight of 1 to 5 outputs and 1 to 6 inputs."""
        d_out, d_in = shape or (1 + draw.below(5), 1 + draw.below(6))
        return Sample({"v": (d_out, d_in), "g": (d_out, 1)})

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return v with one row of zeros, and one column if there are others."""
        x[draw.below(len(x))] = 0
        if x.shape[1] > 1:
            x[:, draw.below(x.shape[1])] = 0
        return x

    @staticmethod
    def composition(xp: Backend, v: Tensor, g: Tensor) -> Tensor:
        """Return the same by the framework's own primitives."""
        return v / xp.sqrt(xp.sum(v * v, axis=-1, keepdims=True)) * g


def _from_scaled(
    dy: FloatArray, weight: FloatArray, normalised: FloatArray, rho: FloatArray, eps: float
) -> FloatArray:
    """Return dx = (g - x̂ mean(g x̂))/ρ with g = γ dy (see RmsNorm)."""
    g, exponent = scaled_product(dy, weight, (-1,))
    if g.shape[-1] == 1:
        return divided_by_cube(g, exponent, rho, eps)
    left = g - normalised * (g * normalised).mean(axis=-1, keepdims=True)
    return divided(left, exponent, rho)


def _over_rows(array: FloatArray) -> FloatArray:
    """Return the sum over all axes but the last."""
    total: FloatArray = array.reshape(-1, array.shape[-1]).sum(axis=0)
    return total


def _row_indices(x: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the indices of each row of x, and those of an array (D,) that all rows share."""
    own = np.arange(x.size).reshape(-1, x.shape[-1])
    return own, np.broadcast_to(np.arange(x.shape[-1]), own.shape)
