"""Mistakes of activations over rows: softmax and its logarithm, whose slope is a matrix."""

import numpy as np

from manual_backprop.operation import FloatArray
from reference.diagnosis.mistakes.catalogue import ACTIVATION, ActivationLine, WrongArray


def _rows(values: FloatArray) -> FloatArray:
    return np.asarray(values.sum(axis=-1, keepdims=True))


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
softmax = ACTIVATION.of("softmax", right="δz = p · (δa − Σⱼ pⱼ δaⱼ)")
softmax("softmax_diagonal_only", "δz = p (1 − p) · δa",
    "Only the diagonal p (1 − p) is used: the Jacobian is a matrix, with more off the diagonal.",
    lambda c: c.da * c.a * (1 - c.a))
softmax("softmax_sum_over_batch", "δz = p · (δa − Σ over the whole batch)",
    "The sum runs over everything (an axis= is missing), not along each row.",
    lambda c: c.a * (c.da - (c.da * c.a).sum()),
    when=lambda c: len(c.a) > 1)
softmax("softmax_sum_without_probabilities", "δz = p · (δa − Σⱼ δaⱼ)",
    "The probabilities are missing inside the sum of the softmax's backward.",
    lambda c: c.a * (c.da - _rows(c.da)))
softmax("softmax_parentheses", "δz = p · δa − Σⱼ pⱼ δaⱼ",
    "The sum is subtracted outside the parentheses: it has to be multiplied by p as well.",
    lambda c: c.a * c.da - _rows(c.a * c.da))
softmax("softmax_sign_of_sum", "δz = p · (δa + Σⱼ pⱼ δaⱼ)",
    "The sum in the softmax's backward has the wrong sign.",
    lambda c: c.a * (c.da + _rows(c.a * c.da)))

log_softmax = ACTIVATION.of("log_softmax", right="δz = δa − p Σⱼ δaⱼ")
log_softmax("log_softmax_probabilities_left_out", "δz = δa − Σⱼ δaⱼ",
    "The probabilities in front of the sum are left out.",
    lambda c: c.da - _rows(c.da))
log_softmax("log_softmax_log_for_probability", "δz = δa − log p Σⱼ δaⱼ",
    "The stored log-probabilities were not exponentiated.",
    lambda c: c.da - c.a * _rows(c.da))
log_softmax("log_softmax_diagonal_only", "δz = δa − p δa",
    "The sum over the row is missing: only the diagonal of the Jacobian, a matrix, is used.",
    lambda c: c.da - np.exp(c.a) * c.da)
softmax("softmax_sum_left_out", "δz = δa · p",
    "The sum over the row is left out: the Jacobian matrix also has entries off the diagonal.",
    lambda c: c.da * c.a)
softmax("softmax_slope_once_more", "δz = p · (δa − Σⱼ pⱼ δaⱼ) · p (1 − p)",
    "The slope p (1 − p) is applied once more: the gradient, p − y for cross-entropy, has it.",
    lambda c: c.right * c.a * (1 - c.a))
softmax("softmax_probability_once_more", "δz = p · (δa − Σⱼ pⱼ δaⱼ) · p",
    "The probability is multiplied in once more: the gradient at the input has it already.",
    lambda c: c.right * c.a)
softmax("softmax_factor_left_out", "δz = δa · (1 − p)",
    "The factor p is left out, and so is what the Jacobian matrix has off the diagonal.",
    lambda c: c.da * (1 - c.a))
softmax("softmax_mean_for_sum", "δz = p · (δa − mean of p δa)",
    "A mean is used instead of the sum over the row.",
    lambda c: c.a * (c.da - (c.da * c.a).mean(axis=-1, keepdims=True)))
softmax("softmax_sum_over_samples", "δz = p · (δa − Σₙ pₙ δaₙ over the samples)",
    "The sum is taken over the wrong axis: over the samples, not over its own row.",
    lambda c: c.a * (c.da - (c.da * c.a).sum(axis=0, keepdims=True)),
    when=lambda c: len(c.a) > 1)
softmax("softmax_probability_left_out", "δz = δa − Σⱼ pⱼ δaⱼ",
    "The factor p in front of the bracket is left out.",
    lambda c: c.da - _rows(c.da * c.a))
softmax("softmax_formula_at_input", "δz = δa · z (1 − z)",
    "The slope is made of the input z; the Jacobian is a matrix, also off the diagonal.",
    lambda c: c.da * c.z * (1 - c.z))
log_softmax("log_softmax_sum_left_out", "δz = δa − p",
    "The probabilities have to be multiplied by the sum of the cotangents over the row.",
    lambda c: c.da - np.exp(c.a))
log_softmax("log_softmax_log_without_sum", "δz = δa − log p",
    "The logarithm stands for the probability, and the sum over the row is left out.",
    lambda c: c.da - c.a)
log_softmax("log_softmax_jacobian_transposed", "δz = δa − Σⱼ pⱼ δaⱼ",
    "The Jacobian is transposed: the sum is of p δa, not of δa times p.",
    lambda c: c.da - _rows(np.exp(c.a) * c.da))


def _row_diagonal_only(c: ActivationLine) -> WrongArray:
    assert c.jacobian is not None
    return c.da * np.diagonal(c.jacobian, axis1=1, axis2=2)


ACTIVATION.of(right="δz = δa · ∂a/∂z, a matrix for each row")(
    "row_diagonal_only", "δz = δa · diagonal of ∂a/∂z",
    "The derivative of a whole row is a matrix, the Jacobian, with entries off the diagonal.",
    _row_diagonal_only,
    when=lambda c: c.jacobian is not None)
