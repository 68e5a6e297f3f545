"""Losses on probabilities and log-probabilities.

Shapes: y (N, C); labels are integers (N,), soft labels are rows of probabilities (N, C).
"""

from typing import cast

import numpy as np

from manual_backprop.activations.piecewise import zero_second
from manual_backprop.arithmetic import Backend, Math, N, Tensor
from manual_backprop.losses.targets import (
    IGNORE_INDEX,
    Labels,
    class_masses,
    composed_hits,
    label_count,
    label_count_definition,
)
from manual_backprop.operation import COMPOSED, FloatArray, counterpart, loss


@loss(
    torch="torch.nn.functional.binary_cross_entropy",
    jax=COMPOSED,
    predictions="unit",
    targets=("unit",),
    elementwise=True,
)
class BinaryCrossEntropy:
    """L = -(t log y + (1 - t) log(1 - y)) on a probability y; a term of weight 0 counts as 0.

        ∂L/∂y = -t/y + (1 - t)/(1 - y) = (y - t)/(y (1 - y))

    In the single fraction only y - t cancels, which is exact to rounding; the sum of two fractions
    would lose digits.
    ∂L/∂y = 1/(1 - y) for t = 0; ∂L/∂y = -1/y for t = 1, also at the ends, 0 and 1, where the
    fraction is 0/0. Nothing is clamped; PyTorch clamps log at -100, so its function differs below
    e^-100. Good, 1952.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return -(t log y + (1 - t) log(1 - y))."""
        log_y = np.log(np.where(t == 0.0, 1.0, y))
        log_rest = np.log1p(-np.where(t == 1.0, 0.0, y))
        return -(t * log_y + (1.0 - t) * log_rest)

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = (y - t)/(y (1 - y)) dL."""
        zero, one = t == 0.0, t == 1.0
        numerator = np.where(zero, 1.0, np.where(one, -1.0, y - t))
        denominator = np.where(zero, 1.0, y) * np.where(one, 1.0, 1.0 - y)
        return cast(FloatArray, numerator / denominator * dL)

    @staticmethod
    def second(y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray) -> FloatArray:
        """Return t dL ty/y² + (1 - t) dL ty/(1 - y)².

        From the slope -t/y + (1 - t)/(1 - y), by the power rule. Both terms have the sign of dL ty,
        so nothing cancels; each is divided twice, and last, for y² may vanish and 1/y² overflow
        where the term does not. A term with t, 1 - t, dL or ty = 0 is 0, also at its pole.
        """
        weight = dL * ty
        inner = np.where((t == 0.0) | (weight == 0.0), 1.0, y)
        rest = np.where((t == 1.0) | (weight == 0.0), 1.0, 1.0 - y)
        return cast(FloatArray, t * weight / inner / inner + (1.0 - t) * weight / rest / rest)

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return -(t log y + (1 - t) log(1 - y)), a term of weight 0 left out."""
        if t == 0:
            return -m.log1p(-y)
        if t == 1:
            return -m.log(y)
        return -(m.log(y) * t + m.log1p(-y) * (m.number(1) - t))

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return the two terms, with log 1 in a term of weight 0."""
        log_y = xp.log(xp.where(t == 0.0, 1.0, y))
        log_rest = xp.log1p(-xp.where(t == 1.0, 0.0, y))
        return -(t * log_y + (1.0 - t) * log_rest)


@loss(
    torch=COMPOSED,
    jax=COMPOSED,
    predictions="simplex",
    targets=("simplex",),
    elementwise=False,
    symmetric=True,
)
class CategoricalCrossEntropy:
    """L = -Σ_j t_j log y_j on a row y of probabilities.   ∂L/∂y_j = -t_j/y_j.

    y_j is in one term only, so the slope has one term. The softmax before the loss makes the row
    sum to 1, not the loss. ∂L/∂y_j = 0 where t_j = 0, also where y_j is 0: a term of weight 0 is 0.
    Good, 1952.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return -Σ_j t_j log y_j, shape (N,)."""
        return cast(FloatArray, -np.sum(t * np.log(np.where(t == 0.0, 1.0, y)), axis=-1))

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy_j = -t_j/y_j dL."""
        return -t / np.where(t == 0.0, 1.0, y) * dL[..., None]

    @staticmethod
    def second(y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray) -> FloatArray:
        """Return t_j/y_j² dL ty_j, from the slope -t_j/y_j."""
        weight = t * dL[..., None] * ty
        inner = np.where(weight == 0.0, 1.0, y)
        return weight / inner / inner

    @staticmethod
    def definition(m: Math[N], y: list[N], t: list[float]) -> N:
        """Return -Σ_j t_j log y_j, the terms of weight 0 left out."""
        terms = [m.log(y_j) * -t_j for y_j, t_j in zip(y, t, strict=True) if t_j != 0]
        return sum(terms, m.number(0))

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return -Σ_j t_j log y_j, with log 1 in a term of weight 0."""
        return -xp.sum(t * xp.log(xp.where(t == 0.0, 1.0, y)), axis=-1)


@loss(
    torch=counterpart("torch.nn.functional.nll_loss", renamed={"class_weight": "weight"}),
    jax=COMPOSED,
    predictions="log_simplex",
    targets=("labels",),
    elementwise=False,
    symmetric=True,
    parameters={"ignore_index": IGNORE_INDEX},
    arrays={"class_weight": "classes"},
)
class Nll:
    """L = -w_t y_t on log-probabilities y with a label t.

    ∂L/∂y_j = -w_t [j = t], and 0 for a row whose label is `ignore_index`. The mean is over the
    weights of the rows that count.
    """

    @staticmethod
    def forward(
        y: FloatArray, t: Labels, ignore_index: float = -100, class_weight: FloatArray | None = None
    ) -> FloatArray:
        """Return -w_t y_t, shape (N,)."""
        mass = class_masses(y, t, 0.0, ignore_index, class_weight)
        counted = np.where(mass == 0.0, 0.0, y)  # another class may have -inf, and 0 · -inf is NaN
        return cast(FloatArray, -np.sum(mass * counted, axis=-1))

    @staticmethod
    def backward(
        y: FloatArray,
        t: Labels,
        dL: FloatArray,
        ignore_index: float = -100,
        class_weight: FloatArray | None = None,
    ) -> FloatArray:
        """Return dy_j = -w_t [j = t] dL."""
        mass = class_masses(y, t, 0.0, ignore_index, class_weight)
        return np.where(mass == 0.0, 0.0, -mass * dL[..., None])

    second = zero_second

    @staticmethod
    def definition(
        m: Math[N],
        y: list[N],
        t: int,
        ignore_index: float = -100,
        class_weight: list[float] | None = None,
    ) -> N:
        """Return -w_t y_t."""
        if t == ignore_index:
            return m.number(0)
        return -y[t] if class_weight is None else y[t] * -m.number(class_weight[t])

    @staticmethod
    def composition(
        xp: Backend,
        y: Tensor,
        t: Tensor,
        ignore_index: float = -100,
        class_weight: Tensor | None = None,
    ) -> Tensor:
        """Return -Σ_j w_j [j = t] y_j."""
        hit, counts = composed_hits(xp, y, t, ignore_index)
        terms = xp.where(hit != 0.0, y, 0.0)
        if class_weight is not None:
            terms = terms * class_weight
        return -xp.sum(xp.where(counts, terms, 0.0), axis=-1)

    count, count_definition = label_count, label_count_definition


@loss(
    torch="torch.nn.functional.kl_div",
    jax=COMPOSED,
    predictions="log_simplex",
    targets=("simplex",),
    elementwise=True,
)
class KlDiv:
    """L = t (log t - y) if t > 0, else 0, on a log-probability y.   ∂L/∂y = -t.

    With p = e^y it is L = t log(t/p) for t > 0; summed over a row, the divergence of p from t.
    Kullback and Leibler, 1951.
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return t (log t - y)."""
        return t * (np.log(np.where(t == 0.0, 1.0, t)) - y)

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = -t dL."""
        return -t * dL

    second = zero_second

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return t (log t - y)."""
        return y * 0 if t == 0 else (m.log(m.number(t)) - y) * t

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return t (log t - y), with log 1 for a target 0."""
        return t * (xp.log(xp.where(t == 0.0, 1.0, t)) - y)
