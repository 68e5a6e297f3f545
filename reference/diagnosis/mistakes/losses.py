"""Mistakes of a loss's gradient: δy = w ∂L/∂y / divisor, and the rules of single losses."""

import numpy as np

from manual_backprop.operation import FloatArray
from reference.diagnosis.mistakes.catalogue import LossLine, WrongArray, mistake

_RIGHT = "δy = w ∂L/∂y / divisor"
_SQUARES = ("squared_error", "mse", "squared_hinge")
_DIFFERENCES = ("l1", "smooth_l1", "huber", "log_cosh", "gaussian_nll", "poisson_nll",
                "binary_cross_entropy", "categorical_cross_entropy", "bce_with_logits",
                "cross_entropy", "squared_hinge", "hinge")  # fmt: skip
_ENTROPIES = ("binary_cross_entropy", "categorical_cross_entropy", "bce_with_logits",
              "cross_entropy", "nll", "kl_div", "poisson_nll", "gaussian_nll")  # fmt: skip


def _softmax(y: FloatArray) -> WrongArray:
    e = np.exp(y - y.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _smoothed(c: LossLine) -> bool:
    return bool(c.arguments.get("label_smoothing", 0))


# -- any loss -----------------------------------------------------------------------------------


@mistake("loss", "losses", wrong="δy = −w ∂L/∂y / divisor", right=_RIGHT)
def loss_sign(c: LossLine) -> WrongArray:
    """The loss's gradient has the wrong sign: t − y where y − t belongs, or the like."""
    return -c.right


@mistake("loss", "losses", wrong="δy = 1 / divisor", right=_RIGHT)
def loss_derivative_skipped(c: LossLine) -> WrongArray:
    """The backward starts from ones at the output: the loss's own derivative is left out."""
    return np.broadcast_to(c.dL_columns, c.y.shape)


@mistake("loss", "losses", wrong="δy = L · ∂L/∂y", right=_RIGHT,
         when=lambda c: c.operation.name != "l1")  # fmt: skip
def loss_value_multiplied_in(c: LossLine) -> WrongArray:
    """The value of the loss is multiplied in; its own cotangent is 1."""
    value = c.losses if c.losses.ndim == c.y.ndim else c.losses[:, None]
    return c.right * value


@mistake("loss", "losses", wrong="δy = y − t", right="δy = 2 (y − t)", operations=_SQUARES)
def factor_two_left_out(c: LossLine) -> WrongArray:
    """The derivative of a square has a factor 2; it is left out."""
    return c.right / 2


@mistake("loss", "losses", wrong="δy = 2 ∂L/∂y", right=_RIGHT,
         operations=("huber", "smooth_l1", "log_cosh", *_ENTROPIES))  # fmt: skip
def factor_two_added(c: LossLine) -> WrongArray:
    """There is a factor 2 too many: this loss is no plain square."""
    return 2 * c.right


@mistake("loss", "losses", wrong="δy = y − t", right=_RIGHT, operations=_DIFFERENCES)
def plain_difference(c: LossLine) -> WrongArray:
    """The plain y − t is the gradient of half a square, or of a log-loss with respect to logits."""
    return (c.y - c.t) * c.dL_columns


@mistake("loss", "losses", wrong="δy = Σ over the outputs of ∂L/∂y", right=_RIGHT,
         when=lambda c: c.classes > 1)  # fmt: skip
def loss_summed_over_outputs(c: LossLine) -> WrongArray:
    """The outputs' gradients are added up before they go back; every output has its own."""
    return c.right.sum(axis=-1, keepdims=True)


# -- differences --------------------------------------------------------------------------------


@mistake("loss", "losses", wrong="δy = 2 |y − t|", right="δy = 2 (y − t)",
         operations=("squared_error", "mse"))  # fmt: skip
def square_loses_sign(c: LossLine) -> WrongArray:
    """The sign of the difference is lost."""
    return np.abs(c.right)


@mistake("loss", "losses", wrong="δy = (y − t)²", right="δy = 2 (y − t)",
         operations=("squared_error", "mse"))  # fmt: skip
def square_not_differentiated(c: LossLine) -> WrongArray:
    """The square itself is passed on, not its derivative."""
    return (c.y - c.t) ** 2 * c.dL_columns


@mistake("loss", "losses", wrong="δy = sign(y − t) beyond δ", right="δy = δ sign(y − t) beyond δ",
         operations=("huber",))  # fmt: skip
def huber_delta_left_out(c: LossLine) -> WrongArray:
    """Beyond δ the slope is δ times the sign: the factor δ is left out."""
    d, delta = c.y - c.t, c.arguments["delta"]
    return np.where(np.abs(d) <= delta, d, np.sign(d)) * c.dL_columns


@mistake("loss", "losses", wrong="δy = y − t inside β", right="δy = (y − t)/β inside β",
         operations=("smooth_l1",))  # fmt: skip
def smooth_l1_beta_left_out(c: LossLine) -> WrongArray:
    """Inside β the slope is (y − t)/β; the β is left out."""
    d, beta = c.y - c.t, c.arguments["beta"]
    return np.where(np.abs(d) < beta, d, np.sign(d)) * c.dL_columns


@mistake("loss", "losses", wrong="δy = (y − t) √v⁻¹", right="δy = (y − t)/v",
         operations=("gaussian_nll",))  # fmt: skip
def gaussian_deviation_for_variance(c: LossLine) -> WrongArray:
    """The difference is divided by the standard deviation, not by the variance."""
    v = np.maximum(c.arguments["var"], c.arguments["eps"])
    return c.right * np.sqrt(v)


@mistake("loss", "losses", wrong="δy = 1 − t/y", right="δy = eʸ − t",
         operations=("poisson_nll",))  # fmt: skip
def poisson_rate_for_log_rate(c: LossLine) -> WrongArray:
    """The prediction is the logarithm of the rate; the gradient is that for the rate itself."""
    return (1 - c.t / np.where(c.y == 0, 1, c.y)) * c.dL_columns


@mistake("loss", "losses", wrong="δy = eʸ", right="δy = eʸ − t", operations=("poisson_nll",))
def poisson_count_left_out(c: LossLine) -> WrongArray:
    """The term −t of the gradient is left out."""
    return np.exp(c.y) * c.dL_columns


@mistake("loss", "losses", wrong="δy = −t for every y", right="δy = −t where t y < 1, else 0",
         operations=("hinge",))  # fmt: skip
def hinge_margin_not_tested(c: LossLine) -> WrongArray:
    """Beyond the margin the hinge is flat; the test t y < 1 is left out."""
    return -c.t * c.dL_columns


@mistake("loss", "losses", wrong="δy = −t where t y < 0", right="δy = −t where t y < 1",
         operations=("hinge",))  # fmt: skip
def hinge_margin_at_zero(c: LossLine) -> WrongArray:
    """The margin is at t y = 1, not at 0."""
    return np.where(c.t * c.y < 0, -c.t, 0) * c.dL_columns


@mistake("loss", "losses", wrong="δy = −2 (1 − t y)₊", right="δy = −2 t (1 − t y)₊",
         operations=("squared_hinge",))  # fmt: skip
def squared_hinge_target_left_out(c: LossLine) -> WrongArray:
    """The inner derivative −t is left without its t."""
    return c.right * c.t


# -- probabilities ------------------------------------------------------------------------------


@mistake("loss", "losses", wrong="δy = −t/y", right="δy = −t/y + (1 − t)/(1 − y)",
         operations=("binary_cross_entropy",))  # fmt: skip
def bce_negatives_left_out(c: LossLine) -> WrongArray:
    """The term of the negatives, (1 − t)/(1 − y), is left out."""
    return -c.t / c.y * c.dL_columns


@mistake("loss", "losses", wrong="δy = −t/y − (1 − t)/(1 − y)",
         right="δy = −t/y + (1 − t)/(1 − y)", operations=("binary_cross_entropy",))  # fmt: skip
def bce_inner_sign(c: LossLine) -> WrongArray:
    """The derivative of log(1 − y) is −1/(1 − y): the second sign is wrong."""
    return (-c.t / c.y - (1 - c.t) / (1 - c.y)) * c.dL_columns


@mistake("loss", "losses", wrong="δy = (y − t)/(y (1 − y) + 1e-8)",
         right="δy = (y − t)/(y (1 − y))", operations=("binary_cross_entropy",))  # fmt: skip
def bce_epsilon(c: LossLine) -> WrongArray:
    """An epsilon is added in the gradient's denominator and not in the loss."""
    return (c.y - c.t) / (c.y * (1 - c.y) + 1e-8) * c.dL_columns


@mistake("loss", "losses", wrong="δy = −t/(y + 1e-8)", right="δy = −t/y",
         operations=("categorical_cross_entropy",))  # fmt: skip
def categorical_epsilon(c: LossLine) -> WrongArray:
    """An epsilon is added in the gradient's denominator and not in the loss."""
    return -c.t / (c.y + 1e-8) * c.dL_columns


@mistake("loss", "losses", wrong="δy = −log y", right="δy = −t/y",
         operations=("categorical_cross_entropy",))  # fmt: skip
def categorical_log_not_differentiated(c: LossLine) -> WrongArray:
    """The derivative of t log y is t/y; −log y stands there."""
    return -np.log(c.y) * c.dL_columns


@mistake("loss", "losses", wrong="δy = −1/y", right="δy = −t/y",
         operations=("categorical_cross_entropy",))  # fmt: skip
def categorical_targets_left_out(c: LossLine) -> WrongArray:
    """The targets are left out: every class counts as if it were the true one."""
    return -1 / c.y * c.dL_columns


@mistake("loss", "losses", wrong="δy = −t e⁻ʸ", right="δy = −t", operations=("nll", "kl_div"))
def probability_for_log_probability(c: LossLine) -> WrongArray:
    """The prediction is a logarithm already; the gradient divides by it as if it were not."""
    return c.right * np.exp(-c.y)


@mistake("loss", "losses", wrong="δy = eʸ − t", right="δy = −t", operations=("nll", "kl_div"))
def log_softmax_taken_in(c: LossLine) -> WrongArray:
    """That is the gradient before the log-softmax, whose backward comes after this once more."""
    return np.exp(c.y) * c.dL_columns + c.right


@mistake("loss", "losses", wrong="δy = 1 + log t − y", right="δy = −t", operations=("kl_div",))
def kl_differentiated_by_target(c: LossLine) -> WrongArray:
    """That is the derivative by the target, not by the prediction."""
    return (1 + np.log(np.where(c.t > 0, c.t, 1)) - c.y) * c.dL_columns


# -- logits -------------------------------------------------------------------------------------


@mistake("loss", "losses", wrong="δy = (σ(y) − t) σ(y) (1 − σ(y))", right="δy = σ(y) − t",
         operations=("bce_with_logits",))  # fmt: skip
def sigmoid_slope_twice(c: LossLine) -> WrongArray:
    """The difference σ(y) − t holds the sigmoid's slope already; it is multiplied in once more."""
    s = 0.5 * (1 + np.tanh(0.5 * c.y))
    return c.right * s * (1 - s)


@mistake("loss", "losses", wrong="δy = σ(y)", right="δy = σ(y) − t",
         operations=("bce_with_logits",))  # fmt: skip
def logits_target_left_out(c: LossLine) -> WrongArray:
    """The targets are left out of the gradient."""
    return c.right + c.t * c.dL_columns


@mistake("loss", "losses", wrong="δy = p", right="δy = p − t", operations=("cross_entropy",))
def one_hot_left_out(c: LossLine) -> WrongArray:
    """At the true class 1 is not subtracted: the probabilities alone are passed on."""
    return _softmax(c.y) * c.dL_columns


@mistake("loss", "losses", wrong="δy = −t (1 − p)", right="δy = p − t",
         operations=("cross_entropy",))  # fmt: skip
def true_class_only(c: LossLine) -> WrongArray:
    """Only the true class gets a gradient; the others' scores stand in the sum below as well."""
    return (_softmax(c.y) - 1) * c.t * c.dL_columns


@mistake("loss", "losses", wrong="δy = −t/p", right="δy = p − t", operations=("cross_entropy",))
def softmax_backward_left_out(c: LossLine) -> WrongArray:
    """That is the gradient by the probabilities; the softmax's own backward is left out."""
    return -c.t / _softmax(c.y) * c.dL_columns


@mistake("loss", "losses", wrong="δy = p·((p − t) − Σ p (p − t))", right="δy = p − t",
         operations=("cross_entropy",))  # fmt: skip
def softmax_backward_twice(c: LossLine) -> WrongArray:
    """The difference p − t holds the softmax's backward already; it is applied once more."""
    p = _softmax(c.y)
    return p * (c.right - (p * c.right).sum(axis=-1, keepdims=True))


@mistake("loss", "losses", wrong="p = eʸ / Σ over the whole batch", right="p = eʸ / Σ over the row",
         operations=("cross_entropy",), when=lambda c: c.batch > 1)  # fmt: skip
def softmax_over_whole_batch(c: LossLine) -> WrongArray:
    """The probabilities are normalised over the whole batch, not over each row."""
    e = np.exp(c.y - c.y.max())
    return (e / e.sum() - c.t) * c.dL_columns


@mistake("loss", "losses", wrong="ε = 0 in δy", right="δy with (1 − ε) t + ε/C",
         operations=("cross_entropy",), when=_smoothed)  # fmt: skip
def label_smoothing_left_out(c: LossLine) -> WrongArray:
    """The loss smooths its labels, the gradient does not."""
    return c.gradient(label_smoothing=0.0)


@mistake("loss", "losses", wrong="class weights 1 in δy", right="δy = w_t (p − t)",
         operations=("cross_entropy", "nll"),
         when=lambda c: c.arguments.get("class_weight") is not None)  # fmt: skip
def class_weights_left_out(c: LossLine) -> WrongArray:
    """The class weights multiply the loss but are left out of the gradient."""
    return c.gradient(class_weight=np.ones_like(c.arguments["class_weight"]))


@mistake("loss", "losses", wrong="[j = t − 1]", right="[j = t]",
         operations=("cross_entropy", "nll"), when=lambda c: c.labels)  # fmt: skip
def labels_counted_from_one(c: LossLine) -> WrongArray:
    """The labels are taken to begin at 1: the neighbouring class is treated as the true one."""
    ignored = c.targets == c.arguments.get("ignore_index", -100)
    return c.gradient(targets=np.where(ignored, c.targets, (c.targets - 1) % c.classes))


@mistake("loss", "losses", wrong="ignored rows count in δy", right="δy = 0 in ignored rows",
         operations=("cross_entropy", "nll"),
         when=lambda c: c.labels
         and bool((c.targets == c.arguments.get("ignore_index", -100)).any()))  # fmt: skip
def ignored_label_counted(c: LossLine) -> WrongArray:
    """Samples whose label is to be ignored send a cotangent back all the same."""
    ignored = c.targets == c.arguments.get("ignore_index", -100)
    return c.gradient(targets=np.where(ignored, 0, c.targets))
