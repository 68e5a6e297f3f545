"""Losses on logits: the softmax or sigmoid and its logarithm in one.

Shapes: y (N, C); labels are integers (N,), soft labels are rows of probabilities (N, C).
"""

from typing import NamedTuple, cast

import numpy as np

from manual_backprop.activations.rowwise import log_shares
from manual_backprop.activations.sigmoid import log_one_plus_exp
from manual_backprop.arithmetic import Backend, Math, N, Tensor
from manual_backprop.losses.targets import (
    IGNORE_INDEX,
    Labels,
    class_masses,
    composed_hits,
    counted,
    hits,
    is_labels,
    label_count,
    label_count_definition,
    row_sums,
)
from manual_backprop.operation import COMPOSED, FloatArray, Parameter, counterpart, loss


@loss(
    torch="torch.nn.functional.binary_cross_entropy_with_logits",
    jax=COMPOSED,
    targets=("unit",),
    elementwise=True,
)
class BceWithLogits:
    """L = -(t log σ(y) + (1 - t) log(1 - σ(y))) on a logit y.   ∂L/∂y = σ(y) - t.

    With -log σ(y) = log(1 + e^-y) and log(1 + e^y) = y + log(1 + e^-y), the value is

        L = c |y| + log(1 + e^-|y|),    c = 1 - t if y > 0, else t

    whose terms are never negative; the usual L = max(y, 0) - t y + log(1 + e^-|y|) cancels for t
    near 1. The slope σ(y) - 1 has no right digit at y = 40, so for y > 0 the other form is used:
    σ(y) - t = (1 - t) - σ(-y). Near 0 the sum σ(y) = 1/2 + tanh(y/2)/2 loses the digits of a small
    y; for |y| < 1 the slope is ∂L/∂y = tanh(y/2)/2 + (1/2 - t).
    """

    @staticmethod
    def forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return c |y| + log(1 + e^-|y|)."""
        distance = np.maximum(y, -y)
        return np.where(y > 0.0, 1.0 - t, t) * distance + np.log1p(np.exp(-distance))

    @staticmethod
    def backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = (σ(y) - t) dL."""
        distance = np.abs(y)
        e = np.exp(-distance)
        lesser = e / (1.0 + e)  # σ(-|y|)
        far = np.where(y > 0.0, (1.0 - t) - lesser, lesser - t)
        return np.where(distance < 1.0, 0.5 * np.tanh(0.5 * y) + (0.5 - t), far) * dL

    @staticmethod
    def textbook_forward(y: FloatArray, t: FloatArray) -> FloatArray:
        """Return max(y, 0) - t y + log(1 + e^-|y|).

        Loses digits of the small loss of a well classified sample: max(y, 0) - t y has an error of
        about u y, but its value is only (1 - t) y. For t = 1 - 2^-40 and y > 25, where
        log(1 + e^-y) is no larger, twelve of float64's 16 digits are lost.
        """
        return np.maximum(y, 0.0) - t * y + np.log1p(np.exp(-np.maximum(y, -y)))

    @staticmethod
    def textbook_backward(y: FloatArray, t: FloatArray, dL: FloatArray) -> FloatArray:
        """Return dy = (σ(y) - t) dL.

        Loses digits of the small slope of a well classified sample with y > 0: σ(y) - 1 has an
        error of about u, but its value is only e^-y. It is 0 from y = 37 (float64) or 17 (float32).
        """
        e = np.exp(-np.maximum(y, -y))
        return (np.where(y > 0.0, 1.0, e) / (1.0 + e) - t) * dL

    @staticmethod
    def second(y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray) -> FloatArray:
        """Return σ'(y) ty dL, from the slope σ(y) - t, by e/(1 + e)² for both tails."""
        e = np.exp(-np.abs(y))
        return e / ((1.0 + e) * (1.0 + e)) * dL * ty

    @staticmethod
    def definition(m: Math[N], y: N, t: float) -> N:
        """Return t log(1 + e^-y) + (1 - t) log(1 + e^y)."""
        terms = []
        if t != 0:
            terms.append(log_one_plus_exp(m, -y) * t)
        if t != 1:
            terms.append(log_one_plus_exp(m, y) * (m.number(1) - t))
        return sum(terms[1:], terms[0])

    @staticmethod
    def composition(xp: Backend, y: Tensor, t: Tensor) -> Tensor:
        """Return t log(1 + e^-y) + (1 - t) log(1 + e^y) by logaddexp, which has no kink at 0."""
        zero = xp.zeros_like(y)
        return t * xp.logaddexp(zero, -y) + (1.0 - t) * xp.logaddexp(zero, y)


@loss(
    torch=counterpart("torch.nn.functional.cross_entropy", renamed={"class_weight": "weight"}),
    jax=COMPOSED,
    targets=("labels", "simplex"),
    elementwise=False,
    symmetric=True,
    parameters={
        "label_smoothing": Parameter(0.0, (0.0, 0.125, 0.25), at_least=0, at_most=1),
        "ignore_index": IGNORE_INDEX,
    },
    arrays={"class_weight": "classes"},
)
class CrossEntropy:
    """L = -Σ_k a_k log p_k with p = softmax(y) and a_k = w_k ((1 - ε) t_k + ε/C).

    t is a row of probabilities or the one-hot row of a label, w the class weights, ε the label
    smoothing. The numbers a_k are called the masses of the classes; all are 0 in a row whose label
    is `ignore_index`. From q_k = -log p_k with ∂q_k/∂y_j = p_j - [j = k],

        L = Σ_k a_k q_k
        ∂L/∂y_j = Σ_k a_k (p_j - [j = k]) = p_j Σ_{k≠j} a_k - a_j Σ_{k≠j} p_k

    The last form is used because it has the sum of the other p in place of 1 - p_j: where p_j
    rounds to 1, p_j - 1 has no right digit. In the value, with M = max_k y_k, q_j = M - y_j +
    log(S) and S = Σ_k e^{y_k - M}; for the same reason that logarithm is log1p of the sum without
    its largest term. For a label t alone this becomes, with the rival odds r = Σ_{k≠t} e^{y_k - M}
    and the gap g = y_t - M,

        L = log(r + e^g) - g for ε = 0 and w_t = 1
        ∂L/∂y_j = e^{y_j - M}/(r + e^g) for j ≠ t and ε = 0 and w_t = 1
        ∂L/∂y_t = -r/(r + e^g) for ε = 0 and w_t = 1

    The mean is over the weights of the rows that count. Bridle, 1990; Szegedy et al., 2016.
    """

    @staticmethod
    def forward(
        y: FloatArray,
        t: FloatArray | Labels,
        label_smoothing: float = 0.0,
        ignore_index: float = -100,
        class_weight: FloatArray | None = None,
    ) -> FloatArray:
        """Return -Σ_k a_k log p_k, shape (N,)."""
        if is_labels(t) and label_smoothing == 0.0 and class_weight is None:
            odds = _label_odds(y, t)
            loss: FloatArray = (np.log1p(odds.excess) - odds.gap)[..., 0]
            return loss * counted(y, t, ignore_index)
        a = class_masses(y, t, label_smoothing, ignore_index, class_weight)
        top = np.max(y, axis=-1, keepdims=True)
        _, others = _odds_of_others(y, top)
        # Half of q: a gap may overflow although the loss, its product with a, does not.
        half = (0.5 * top - 0.5 * y) + 0.5 * np.log1p(others)
        return cast(FloatArray, np.sum((2.0 * a) * half, axis=-1))

    @staticmethod
    def backward(
        y: FloatArray,
        t: FloatArray | Labels,
        dL: FloatArray,
        label_smoothing: float = 0.0,
        ignore_index: float = -100,
        class_weight: FloatArray | None = None,
    ) -> FloatArray:
        """Return dy_j = (p_j Σ_{k≠j} a_k - a_j Σ_{k≠j} p_k) dL."""
        if is_labels(t) and label_smoothing == 0.0 and class_weight is None:
            label = _label_odds(y, t)
            scale = (counted(y, t, ignore_index) * dL)[..., None] / (1.0 + label.excess)
            return np.where(hits(y, t), -label.rival_sum, label.rival_terms) * scale
        a = class_masses(y, t, label_smoothing, ignore_index, class_weight)
        top = np.max(y, axis=-1, keepdims=True)
        odds, others = _odds_of_others(y, top)
        total = 1.0 + others
        rest = np.where(y == top, others, total - odds)  # Σ_{k≠j} p_k, times total
        return (odds * _without_self(a) - a * rest) / total * dL[..., None]

    @staticmethod
    def textbook_forward(
        y: FloatArray,
        t: FloatArray | Labels,
        label_smoothing: float = 0.0,
        ignore_index: float = -100,
        class_weight: FloatArray | None = None,
    ) -> FloatArray:
        """Return Σ_k a_k (log S - s_k) with s = y - max y and S = Σ_k e^{s_k}.

        Loses digits where the label's probability is near 1: log S, with S = 1 + r and the rival
        odds r, has an error of about u, and its value r is smaller than u from the gap 37 (float64)
        or 17 (float32) on. A gap beyond the largest float makes it NaN.
        """
        a = class_masses(y, t, label_smoothing, ignore_index, class_weight)
        s, _, total = _exponentials(y)
        return row_sums(a * (np.log(total) - s))[..., 0]

    @staticmethod
    def textbook_backward(
        y: FloatArray,
        t: FloatArray | Labels,
        dL: FloatArray,
        label_smoothing: float = 0.0,
        ignore_index: float = -100,
        class_weight: FloatArray | None = None,
    ) -> FloatArray:
        """Return dy_j = (p_j Σ_k a_k - a_j) dL, the sum of a_k (p_j - [j = k]) multiplied out.

        Loses digits where the label's probability is near 1: p - 1 has an error of about u, but its
        value is only as large as the rival odds. From the gap 37 (float64) or 17 (float32) on it is
        0. The slopes of the other classes have the rounding error of s, up to u g at a gap g.
        """
        a = class_masses(y, t, label_smoothing, ignore_index, class_weight)
        _, e, total = _exponentials(y)
        if is_labels(t) and class_weight is None:
            mass = counted(y, t, ignore_index)[..., None]  # Σ_k a_k: 1, or 0 if ignored
        else:
            mass = row_sums(a)
        return (e * (mass / total) - a) * dL[..., None]

    @staticmethod
    def second(
        y: FloatArray,
        t: FloatArray | Labels,
        dL: FloatArray,
        ty: FloatArray,
        label_smoothing: float = 0.0,
        ignore_index: float = -100,
        class_weight: FloatArray | None = None,
    ) -> FloatArray:
        """Return A p_j (ty_j - Σ_k p_k ty_k) dL with A = Σ_k a_k.

        The slope is p_j A - a_j, in which only p depends on y: the Hessian is A (diag(p) - p pᵀ).
        The bracket does not change if a constant is subtracted from all ty. If one class has
        p > 1/2, its ty is subtracted, so that its large term is exactly 0. A is 0 for ignored rows.
        """
        a = class_masses(y, t, label_smoothing, ignore_index, class_weight)
        odds, others = _odds_of_others(y, np.max(y, axis=-1, keepdims=True))
        p = odds / (1.0 + others)
        from_top = ty - np.sum(ty * (p > 0.5), axis=-1, keepdims=True)
        scale = row_sums(a) * dL[..., None]
        dy: FloatArray = scale * (p * (from_top - np.sum(p * from_top, axis=-1, keepdims=True)))
        return dy

    @staticmethod
    def definition(
        m: Math[N],
        y: list[N],
        t: list[float] | int,
        label_smoothing: float = 0.0,
        ignore_index: float = -100,
        class_weight: list[float] | None = None,
    ) -> N:
        """Return -Σ_k a_k log p_k."""
        classes = len(y)
        loss = m.number(0)
        if classes == 1 or (not isinstance(t, list) and t == ignore_index):
            return loss
        uniform = m.number(label_smoothing) / classes
        for k, log_p in enumerate(log_shares(m, y)):
            t_k = t[k] if isinstance(t, list) else int(k == t)
            if t_k == 0 and label_smoothing == 0:
                continue
            mass = (1 - m.number(label_smoothing)) * t_k + uniform
            if class_weight is not None:
                mass = mass * m.number(class_weight[k])
            loss = loss - log_p * mass
        return loss

    @staticmethod
    def composition(
        xp: Backend,
        y: Tensor,
        t: Tensor,
        label_smoothing: float = 0.0,
        ignore_index: float = -100,
        class_weight: Tensor | None = None,
    ) -> Tensor:
        """Return -Σ_k a_k log p_k; floor makes the shift a constant of differentiation."""
        shifted = y - xp.floor(xp.max(y, axis=-1, keepdims=True))
        log_sum = xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
        hit, counts = composed_hits(xp, y, t, ignore_index)
        mass = hit * (1.0 - label_smoothing) + label_smoothing / y.shape[-1]
        if class_weight is not None:
            mass = mass * class_weight
        terms = xp.where(mass == 0.0, 0.0, mass) * (log_sum - shifted)
        return xp.sum(xp.where(counts, terms, 0.0), axis=-1)

    count, count_definition = label_count, label_count_definition


def _exponentials(y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return s = y - max y, e^s and the sum of e^s over a row."""
    s = y - np.max(y, axis=-1, keepdims=True)
    e = np.exp(s)
    return s, e, row_sums(e)


def _odds(y: FloatArray, top: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (y - top)/2 and e^(y - top) for top = max(y).

    The rounding of y - top alone changes e^(y - top) by 250 ulp at a gap of 700. The rounding error
    of a difference is itself a float, found by Knuth's TwoSum, and corrects the result as a factor.
    Half the gap is used, and its exponential squared, because the gap between the largest floats of
    both signs would overflow. At y = -inf (a masked class) the error is NaN and the odds are 0.
    """
    half, half_top = 0.5 * y, 0.5 * top
    half_gap = half - half_top
    shadow = half_gap - half
    error = (half - (half_gap - shadow)) - (half_top + shadow)
    root: FloatArray = np.exp(half_gap)
    root = root + np.where(root == 0.0, root, root * error)
    return half_gap, root * root


def _odds_of_others(y: FloatArray, top: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the odds and their sum over a row without one largest term, which is 1."""
    _, odds = _odds(y, top)
    largest = y == top
    ties = np.sum(np.where(largest, y.dtype.type(1.0), 0.0), axis=-1, keepdims=True)
    return odds, (ties - 1.0) + np.sum(np.where(largest, 0.0, odds), axis=-1, keepdims=True)


class _LabelOdds(NamedTuple):
    """The odds of a label t, with M = max(y): (…, 1) each, but `rival_terms` (…, C)."""

    gap: FloatArray  # g = y_t - M
    rival_sum: FloatArray  # r = Σ_{k≠t} e^{y_k - M}
    rival_terms: FloatArray  # the terms of r, and 0 for the label
    excess: FloatArray  # r + e^g - 1


def _label_odds(y: FloatArray, t: Labels) -> _LabelOdds:
    """Return the odds of labels.

    r + e^g is at least 1. It is near 1 only if the label has the largest logit; then g = 0, and the
    excess is exactly r, without cancellation.
    """
    hit = hits(y, t)
    half_gaps, odds = _odds(y, np.max(y, axis=-1, keepdims=True))
    rivals = np.where(hit, 0.0, odds)
    gap, rival_sum = 2.0 * row_sums(np.where(hit, half_gaps, 0.0)), row_sums(rivals)
    return _LabelOdds(gap, rival_sum, rivals, rival_sum + np.expm1(gap))


def _without_self(a: FloatArray) -> FloatArray:
    """Return Σ_{k≠j} a_k of a row a >= 0.

    Subtracting a_j from the sum loses digits only where a_j is most of it, so for the largest
    entry the others are added up.
    """
    top = np.max(a, axis=-1, keepdims=True)
    largest = a == top
    ties = np.sum(np.where(largest, a.dtype.type(1.0), 0.0), axis=-1, keepdims=True)
    others = (ties - 1.0) * top + np.sum(np.where(largest, 0.0, a), axis=-1, keepdims=True)
    return cast(FloatArray, np.where(largest, others, others + (top - a)))
