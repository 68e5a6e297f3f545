"""Losses with given targets, as operations of a graph. Shapes: x (N, C), the scores or logits."""

import numpy as np

from manual_backprop.activations.sigmoid import log_one_plus_exp
from manual_backprop.arithmetic import Backend, Function, IntArray, Math, N, RandomSource, Tensor
from manual_backprop.layers.linear import no_second_order
from manual_backprop.losses.logits import BceWithLogits
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, counterpart, layer


@layer(
    structure="rows",
    takes="nothing",
    torch=counterpart("torch.nn.functional.multi_margin_loss", reduction="none"),
    jax=COMPOSED,
)
class MultiMargin:
    """L = (1/C) Σ_{j≠t} max(0, margin - x_t + x_j): the label's score is to lead by a margin.

    With a_j = 1 where j ≠ t and margin - x_t + x_j > 0, else 0, each such x_j rises in one term
    and x_t falls in all of them:

        ∂L/∂x_j = a_j/C for j ≠ t,   ∂L/∂x_t = -(1/C) Σ_j a_j

    At a margin met exactly every share is a subgradient; 0 is taken. Crammer and Singer, 2001.
    """

    @staticmethod
    def forward(x: FloatArray, target: IntArray, *, margin: float = 1.0) -> FloatArray:
        """Return L, shape (N,); the targets are labels (N,)."""
        slack = _slack(x, target, margin)
        mean: FloatArray = np.maximum(slack, 0.0).sum(axis=-1) / x.shape[-1]
        return mean

    @staticmethod
    def backward(
        x: FloatArray, target: IntArray, dy: FloatArray, *, margin: float = 1.0
    ) -> dict[str, FloatArray]:
        """Return the cotangent of the scores; dy is that of L."""
        active = (_slack(x, target, margin) > 0).astype(x.dtype)
        active[np.arange(len(x)), target] = -active.sum(axis=-1)
        return {"x": active * (dy[:, None] / x.shape[-1])}

    @staticmethod
    def tangent(
        x: FloatArray, target: IntArray, tx: FloatArray, *, margin: float = 1.0
    ) -> FloatArray:
        """Return Σ_j (∂L/∂x_j) tx_j."""
        slope: FloatArray = MultiMargin.backward(x, target, np.ones_like(x[:, 0]), margin=margin)[
            "x"
        ]
        ty: FloatArray = (slope * tx).sum(axis=-1)
        return ty

    second = no_second_order

    @staticmethod
    def definition(m: Math[N], x: list[N], target: None, *, margin: N) -> list[N | float]:
        """Return L of one sample, whose label has the first score."""
        terms = [m.max(margin - x[0] + x_j, m.number(0)) for x_j in x[1:]]
        return [sum(terms, m.number(0)) / m.number(len(x))]

    @staticmethod
    def rows(x: FloatArray, target: IntArray, *, margin: float) -> Rows:
        """Return a row for each sample, its label's score first."""
        n, classes = x.shape
        order = (target[:, None] + np.arange(classes)) % classes
        own = np.take_along_axis(np.arange(x.size).reshape(x.shape), order, axis=1)
        return Rows({"x": own}, np.arange(n)[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 2 to 5 samples of 1 to 5 classes."""
        n, classes = shape or (2 + draw.below(4), 1 + draw.below(5))
        target = np.array([draw.below(classes) for _ in range(n)])
        options = {"margin": draw.choice((1.0, 0.5, 2.0))}
        return Sample({"x": (n, classes)}, {"target": target}, options)

    @staticmethod
    def with_torch(
        f: Function, x: Tensor, target: Tensor, *, margin: float, reduction: str
    ) -> Tensor:
        """Call torch's function."""
        return f(x, target, margin=margin, reduction=reduction)

    @staticmethod
    def composition(xp: Backend, x: Tensor, target: Tensor, *, margin: float) -> Tensor:
        """Return the terms of the other classes, clipped at 0."""
        is_label = xp.arange(x.shape[-1]) == target[:, None]
        own = xp.sum(xp.where(is_label, x, 0.0 * x), axis=-1, keepdims=True)
        terms = xp.clip(margin - own + x, 0.0, None)
        return xp.sum(xp.where(is_label, 0.0 * x, terms), axis=-1) / x.shape[-1]


@layer(
    structure="rows",
    takes="nothing",
    torch=counterpart("torch.nn.functional.multilabel_soft_margin_loss", reduction="none"),
    jax=COMPOSED,
)
class MultilabelSoftMargin:
    """L = -(1/C) Σ_c (t_c log σ(x_c) + (1 - t_c) log(1 - σ(x_c))), t_c 1 or 0 for each class.

    The mean of C binary cross entropies on logits, each with the slope σ(x) - t:

        ∂L/∂x_c = (σ(x_c) - t_c)/C

    Both are computed as in bce_with_logits, which keeps the digits of small losses and slopes.
    Tsoumakas and Katakis, 2007.
    """

    @staticmethod
    def forward(x: FloatArray, target: IntArray) -> FloatArray:
        """Return L, shape (N,); the targets are 0 and 1, shape (N, C)."""
        losses: FloatArray = BceWithLogits.forward(x, target.astype(x.dtype))
        mean: FloatArray = losses.mean(axis=-1)
        return mean

    @staticmethod
    def backward(x: FloatArray, target: IntArray, dy: FloatArray) -> dict[str, FloatArray]:
        """Return the cotangent of the logits; dy is that of L."""
        share = dy[:, None] / x.shape[-1]
        return {"x": BceWithLogits.backward(x, target.astype(x.dtype), share)}

    @staticmethod
    def tangent(x: FloatArray, target: IntArray, tx: FloatArray) -> FloatArray:
        """Return the mean of (σ(x) - t) tx."""
        ty: FloatArray = BceWithLogits.backward(x, target.astype(x.dtype), tx).mean(axis=-1)
        return ty

    @staticmethod
    def second(
        x: FloatArray, target: IntArray, tx: FloatArray, dy: FloatArray
    ) -> dict[str, FloatArray]:
        """Return σ'(x) tx dy/C, as for bce_with_logits."""
        share = dy[:, None] / x.shape[-1]
        return {"x": BceWithLogits.second(x, target.astype(x.dtype), share, tx)}

    @staticmethod
    def definition(m: Math[N], x: list[N], target: list[N]) -> list[N | float]:
        """Return the mean of log(1 + e^-x) where the target is 1, log(1 + e^x) where it is 0."""
        terms = [
            log_one_plus_exp(m, m.where(t_c - m.number("1/2"), -x_c, x_c))
            for x_c, t_c in zip(x, target, strict=True)
        ]
        return [sum(terms[1:], terms[0]) / m.number(len(x))]

    @staticmethod
    def rows(x: FloatArray, target: IntArray) -> Rows:
        """Return a row for each sample."""
        own = np.arange(x.size).reshape(x.shape)
        return Rows({"x": own, "target": own}, np.arange(len(x))[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 2 to 5 samples of 1 to 5 classes, each of which holds or not."""
        n, classes = shape or (2 + draw.below(4), 1 + draw.below(5))
        target = (draw.normal(n, classes) > 0).astype(np.int64)
        return Sample({"x": (n, classes)}, {"target": target})

    @staticmethod
    def composition(xp: Backend, x: Tensor, target: Tensor) -> Tensor:
        """Return the mean of log(1 + e^-x) and log(1 + e^x) by logaddexp."""
        zero = xp.zeros_like(x)
        losses = xp.where(target > 0, xp.logaddexp(zero, -x), xp.logaddexp(zero, x))
        return xp.mean(losses, axis=-1)


@layer(structure="elementwise", torch=COMPOSED, jax=COMPOSED)
class Focal:
    """L = -(1 - p)^γ log p, with p = σ(x) if the target is 1, else 1 - σ(x).

    With a = x if the target is 1, else -x: p = σ(a) and q = 1 - p = σ(-a). From ∂q/∂a = -p q
    and ∂(-log p)/∂a = -q,

        ∂L/∂a = -q^γ (q - γ p log p)

    The bracket is a sum of two positive terms. ∂L/∂x = ∂L/∂a if the target is 1, else -∂L/∂a.
    q and -log p = log(1 + e^-a) are computed from e^-|a|, so small losses keep their digits. q^γ
    would multiply the rounding errors of q by γ, so with l = log(1 + e^-|a|) it is computed as
    e^{-γ l} if a < 0, else (e^-a)^γ e^{-γ l}. γ = 0 is the binary cross entropy. Lin et al., 2017.
    """

    @staticmethod
    def forward(x: FloatArray, target: IntArray, *, gamma: float = 2.0) -> FloatArray:
        """Return L, shape (N, C); the targets are 0 and 1."""
        _, _, _, power, cost = _focal_parts(x, target, gamma)
        return power * cost

    @staticmethod
    def backward(
        x: FloatArray, target: IntArray, dy: FloatArray, *, gamma: float = 2.0
    ) -> dict[str, FloatArray]:
        """Return the cotangent of the logits; dy is that of L."""
        sign, p, q, power, cost = _focal_parts(x, target, gamma)
        return {"x": -sign * dy * (power * (q + gamma * (p * cost)))}

    @staticmethod
    def tangent(
        x: FloatArray, target: IntArray, tx: FloatArray, *, gamma: float = 2.0
    ) -> FloatArray:
        """Return ∂L/∂x tx: L is a function of each x by itself."""
        return Focal.backward(x, target, tx, gamma=gamma)["x"]

    @staticmethod
    def second(
        x: FloatArray, target: IntArray, tx: FloatArray, dy: FloatArray, *, gamma: float = 2.0
    ) -> dict[str, FloatArray]:
        """Return dy L'' tx with L'' = p q^γ (q (1 + 2γ) + γ c (γ p - q)) and c = -log p.

        From L' = -q^γ (q + γ p c) with ∂q/∂a = -p q, ∂p/∂a = p q and ∂c/∂a = -q: the power moves
        by -γ p q^γ, the bracket by p q (γ c - γ - 1), and q^γ p is common to both. The sign of a
        counts twice and drops out.
        """
        _, p, q, power, cost = _focal_parts(x, target, gamma)
        bend = q * (1.0 + 2.0 * gamma) + gamma * cost * (gamma * p - q)
        return {"x": dy * (p * power * bend) * tx}

    @staticmethod
    def definition(m: Math[N], x: N, target: N, *, gamma: N) -> N:
        """Return (1 - p)^γ (-log p), the power as e^(γ log(1 - p))."""
        a = m.where(target - m.number("1/2"), x, -x)
        return m.exp(-gamma * log_one_plus_exp(m, a)) * log_one_plus_exp(m, -a)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 2 to 5 samples of 1 to 4 classes, and γ from 0 to 2."""
        shape = shape or (2 + draw.below(4), 1 + draw.below(4))
        target = (draw.normal(*shape) > 0).astype(np.int64)
        options = {"gamma": draw.choice((2.0, 1.0, 0.5, 0.0))}
        return Sample({"x": shape}, {"target": target}, options)

    @staticmethod
    def composition(xp: Backend, x: Tensor, target: Tensor, *, gamma: float) -> Tensor:
        """Return the power as e^(-γ log(1 + e^a)), which is 1 - p and does not cancel."""
        a = xp.where(target > 0, x, -x)
        zero = xp.zeros_like(x)
        return xp.exp(-gamma * xp.logaddexp(zero, a)) * xp.logaddexp(zero, -a)


def _slack(x: FloatArray, target: IntArray, margin: float) -> FloatArray:
    """Return margin - x_t + x_j, and 0 for the label itself."""
    own = np.arange(len(x)), target
    slack: FloatArray = (margin - x[own][:, None]) + x
    slack[own] = 0
    return slack


def _focal_parts(
    x: FloatArray, target: IntArray, gamma: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the sign of a, p = σ(a), q = σ(-a), q^γ and -log p."""
    sign = np.where(target > 0, x.dtype.type(1), x.dtype.type(-1))
    a = sign * x
    e = np.exp(-np.abs(a))
    large, small = 1.0 / (1.0 + e), e / (1.0 + e)
    log = np.log1p(e)
    power = np.where(a > 0, e, x.dtype.type(1)) ** gamma * np.exp(-gamma * log)
    p, q = np.where(a > 0, (large, small), (small, large))
    return sign, p, q, power, np.maximum(-a, 0.0) + log
