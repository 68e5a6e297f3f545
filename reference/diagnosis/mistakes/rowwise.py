"""Mistakes of activations over rows: softmax and its logarithm, whose slope is a matrix."""

import numpy as np

from manual_backprop.operation import FloatArray
from reference.diagnosis.mistakes.catalogue import ActivationLine, WrongArray, mistake


def _rows(values: FloatArray) -> WrongArray:
    return values.sum(axis=-1, keepdims=True)


@mistake("activation", "activations", wrong="δz = p (1 − p) · δa",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_diagonal_only(c: ActivationLine) -> WrongArray:
    """Only the diagonal p (1 − p) is used: the Jacobian is a matrix, with more off the diagonal."""
    return c.da * c.a * (1 - c.a)


@mistake("activation", "activations", wrong="δz = p · (δa − Σ over the whole batch)",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",),
         when=lambda c: len(c.a) > 1)  # fmt: skip
def softmax_sum_over_batch(c: ActivationLine) -> WrongArray:
    """The sum runs over everything (an axis= is missing), not along each row."""
    return c.a * (c.da - (c.da * c.a).sum())


@mistake("activation", "activations", wrong="δz = p · (δa − Σⱼ δaⱼ)",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_sum_without_probabilities(c: ActivationLine) -> WrongArray:
    """The probabilities are missing inside the sum of the softmax's backward."""
    return c.a * (c.da - _rows(c.da))


@mistake("activation", "activations", wrong="δz = p · δa − Σⱼ pⱼ δaⱼ",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_parentheses(c: ActivationLine) -> WrongArray:
    """The sum is subtracted outside the parentheses: it has to be multiplied by p as well."""
    return c.a * c.da - _rows(c.a * c.da)


@mistake("activation", "activations", wrong="δz = p · (δa + Σⱼ pⱼ δaⱼ)",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_sign_of_sum(c: ActivationLine) -> WrongArray:
    """The sum in the softmax's backward has the wrong sign."""
    return c.a * (c.da + _rows(c.a * c.da))


@mistake("activation", "activations", wrong="δz = δa − Σⱼ δaⱼ", right="δz = δa − p Σⱼ δaⱼ",
         operations=("log_softmax",))  # fmt: skip
def log_softmax_probabilities_left_out(c: ActivationLine) -> WrongArray:
    """The probabilities in front of the sum are left out."""
    return c.da - _rows(c.da)


@mistake("activation", "activations", wrong="δz = δa − log p Σⱼ δaⱼ", right="δz = δa − p Σⱼ δaⱼ",
         operations=("log_softmax",))  # fmt: skip
def log_softmax_log_for_probability(c: ActivationLine) -> WrongArray:
    """The stored log-probabilities were not exponentiated."""
    return c.da - c.a * _rows(c.da)


@mistake("activation", "activations", wrong="δz = δa − p δa", right="δz = δa − p Σⱼ δaⱼ",
         operations=("log_softmax",))  # fmt: skip
def log_softmax_diagonal_only(c: ActivationLine) -> WrongArray:
    """The sum over the row is missing: only the diagonal of the Jacobian, a matrix, is used."""
    return c.da - np.exp(c.a) * c.da


@mistake("activation", "activations", wrong="δz = δa · p", right="δz = p · (δa − Σⱼ pⱼ δaⱼ)",
         operations=("softmax",))  # fmt: skip
def softmax_sum_left_out(c: ActivationLine) -> WrongArray:
    """The sum over the row is left out: the Jacobian matrix also has entries off the diagonal."""
    return c.da * c.a


@mistake("activation", "activations", wrong="δz = p · (δa − Σⱼ pⱼ δaⱼ) · p (1 − p)",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_slope_once_more(c: ActivationLine) -> WrongArray:
    """The slope p (1 − p) is applied once more: the gradient, p − y for cross-entropy, has it."""
    return c.right * c.a * (1 - c.a)


@mistake("activation", "activations", wrong="δz = p · (δa − Σⱼ pⱼ δaⱼ) · p",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_probability_once_more(c: ActivationLine) -> WrongArray:
    """The probability is multiplied in once more: the gradient at the input has it already."""
    return c.right * c.a


@mistake("activation", "activations", wrong="δz = δa · (1 − p)",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_factor_left_out(c: ActivationLine) -> WrongArray:
    """The factor p is left out, and so is what the Jacobian matrix has off the diagonal."""
    return c.da * (1 - c.a)


@mistake("activation", "activations", wrong="δz = p · (δa − mean of p δa)",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_mean_for_sum(c: ActivationLine) -> WrongArray:
    """A mean is used instead of the sum over the row."""
    return c.a * (c.da - (c.da * c.a).mean(axis=-1, keepdims=True))


@mistake("activation", "activations", wrong="δz = p · (δa − Σₙ pₙ δaₙ over the samples)",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",),
         when=lambda c: len(c.a) > 1)  # fmt: skip
def softmax_sum_over_samples(c: ActivationLine) -> WrongArray:
    """The sum is taken over the wrong axis: over the samples, not over its own row."""
    return c.a * (c.da - (c.da * c.a).sum(axis=0, keepdims=True))


@mistake("activation", "activations", wrong="δz = δa − Σⱼ pⱼ δaⱼ",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_probability_left_out(c: ActivationLine) -> WrongArray:
    """The factor p in front of the bracket is left out."""
    return c.da - _rows(c.da * c.a)


@mistake("activation", "activations", wrong="δz = δa · z (1 − z)",
         right="δz = p · (δa − Σⱼ pⱼ δaⱼ)", operations=("softmax",))  # fmt: skip
def softmax_formula_at_input(c: ActivationLine) -> WrongArray:
    """The slope is made of the input z; the Jacobian is a matrix, also off the diagonal."""
    return c.da * c.z * (1 - c.z)


@mistake("activation", "activations", wrong="δz = δa − p", right="δz = δa − p Σⱼ δaⱼ",
         operations=("log_softmax",))  # fmt: skip
def log_softmax_sum_left_out(c: ActivationLine) -> WrongArray:
    """The probabilities have to be multiplied by the sum of the cotangents over the row."""
    return c.da - np.exp(c.a)


@mistake("activation", "activations", wrong="δz = δa − log p", right="δz = δa − p Σⱼ δaⱼ",
         operations=("log_softmax",))  # fmt: skip
def log_softmax_log_without_sum(c: ActivationLine) -> WrongArray:
    """The logarithm stands for the probability, and the sum over the row is left out."""
    return c.da - c.a


@mistake("activation", "activations", wrong="δz = δa − Σⱼ pⱼ δaⱼ", right="δz = δa − p Σⱼ δaⱼ",
         operations=("log_softmax",))  # fmt: skip
def log_softmax_jacobian_transposed(c: ActivationLine) -> WrongArray:
    """The Jacobian is transposed: the sum is of p δa, not of δa times p."""
    return c.da - _rows(np.exp(c.a) * c.da)


@mistake("activation", "activations", wrong="δz = δa · diagonal of ∂a/∂z",
         right="δz = δa · ∂a/∂z, a matrix for each row",
         when=lambda c: c.jacobian is not None)  # fmt: skip
def row_diagonal_only(c: ActivationLine) -> WrongArray:
    """The derivative of a whole row is a matrix, the Jacobian, with entries off the diagonal."""
    assert c.jacobian is not None
    return c.da * np.diagonal(c.jacobian, axis1=1, axis2=2)
