"""Mistakes of a loss's gradient: δy = w ∂L/∂y / divisor, and the rules of single losses."""

import numpy as np

from manual_backprop.operation import FloatArray
from reference.diagnosis.mistakes.catalogue import LOSS

_SQUARES = ("squared_error", "mse", "squared_hinge")
_DIFFERENCES = ("l1", "smooth_l1", "huber", "log_cosh", "gaussian_nll", "poisson_nll",
                "binary_cross_entropy", "categorical_cross_entropy", "bce_with_logits",
                "cross_entropy", "squared_hinge", "hinge")  # fmt: skip
_ENTROPIES = ("binary_cross_entropy", "categorical_cross_entropy", "bce_with_logits",
              "cross_entropy", "nll", "kl_div", "poisson_nll", "gaussian_nll")  # fmt: skip


def _softmax(y: FloatArray) -> FloatArray:
    e = np.exp(y - y.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


# -- any loss -----------------------------------------------------------------------------------

# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
LOSS("loss_sign", "δy = −w ∂L/∂y / divisor",
    "The loss's gradient has the wrong sign: t − y where y − t belongs, or the like.",
    lambda c: -c.right)
LOSS("loss_derivative_skipped", "δy = 1 / divisor",
    "The backward starts from ones at the output: the loss's own derivative is left out.",
    lambda c: np.broadcast_to(c.dL_columns, c.y.shape))
LOSS("loss_value_multiplied_in", "δy = L · ∂L/∂y",
    "The value of the loss is multiplied in; its own cotangent is 1.",
    lambda c: c.right * (c.losses if c.losses.ndim == c.y.ndim else c.losses[:, None]),
    when=lambda c: c.operation.name != "l1")
LOSS.of(*_SQUARES, right="δy = 2 (y − t)")("factor_two_left_out", "δy = y − t",
    "The derivative of a square has a factor 2; it is left out.",
    lambda c: c.right / 2)
LOSS.of("huber", "smooth_l1", "log_cosh", *_ENTROPIES)("factor_two_added", "δy = 2 ∂L/∂y",
    "There is a factor 2 too many: this loss is no plain square.",
    lambda c: 2 * c.right)
LOSS.of(*_DIFFERENCES)("plain_difference", "δy = y − t",
    "The plain y − t is the gradient of half a square, or of a log-loss with respect to logits.",
    lambda c: (c.y - c.t) * c.dL_columns)
LOSS("loss_summed_over_outputs", "δy = Σ over the outputs of ∂L/∂y",
    "The outputs' gradients are added up before they go back; every output has its own.",
    lambda c: c.right.sum(axis=-1, keepdims=True),
    when=lambda c: c.classes > 1)

# -- differences --------------------------------------------------------------------------------

squared_error = LOSS.of("squared_error", "mse", right="δy = 2 (y − t)")
squared_error("square_loses_sign", "δy = 2 |y − t|",
    "The sign of the difference is lost.",
    lambda c: np.abs(c.right))
squared_error("square_not_differentiated", "δy = (y − t)²",
    "The square itself is passed on, not its derivative.",
    lambda c: (c.y - c.t) ** 2 * c.dL_columns)
LOSS.of("huber", right="δy = δ sign(y − t) beyond δ")(
    "huber_delta_left_out", "δy = sign(y − t) beyond δ",
    "Beyond δ the slope is δ times the sign: the factor δ is left out.",
    lambda c: c.dL_columns * np.where(
        np.abs(d := c.y - c.t) <= c.arguments["delta"], d, np.sign(d)))
LOSS.of("smooth_l1", right="δy = (y − t)/β inside β")(
    "smooth_l1_beta_left_out", "δy = y − t inside β",
    "Inside β the slope is (y − t)/β; the β is left out.",
    lambda c: c.dL_columns * np.where(
        np.abs(d := c.y - c.t) < c.arguments["beta"], d, np.sign(d)))
LOSS.of("gaussian_nll", right="δy = (y − t)/v")(
    "gaussian_deviation_for_variance", "δy = (y − t) √v⁻¹",
    "The difference is divided by the standard deviation, not by the variance.",
    lambda c: c.right * np.sqrt(np.maximum(c.arguments["var"], c.arguments["eps"])))

poisson_nll = LOSS.of("poisson_nll", right="δy = eʸ − t")
poisson_nll("poisson_rate_for_log_rate", "δy = 1 − t/y",
    "The prediction is the logarithm of the rate; the gradient is that for the rate itself.",
    lambda c: (1 - c.t / np.where(c.y == 0, 1, c.y)) * c.dL_columns)
poisson_nll("poisson_count_left_out", "δy = eʸ",
    "The term −t of the gradient is left out.",
    lambda c: np.exp(c.y) * c.dL_columns)
LOSS.of("hinge", right="δy = −t where t y < 1, else 0")(
    "hinge_margin_not_tested", "δy = −t for every y",
    "Beyond the margin the hinge is flat; the test t y < 1 is left out.",
    lambda c: -c.t * c.dL_columns)
LOSS.of("hinge", right="δy = −t where t y < 1")("hinge_margin_at_zero", "δy = −t where t y < 0",
    "The margin is at t y = 1, not at 0.",
    lambda c: np.where(c.t * c.y < 0, -c.t, 0) * c.dL_columns)
LOSS.of("squared_hinge", right="δy = −2 t (1 − t y)₊")(
    "squared_hinge_target_left_out", "δy = −2 (1 − t y)₊",
    "The inner derivative −t is left without its t.",
    lambda c: c.right * c.t)

# -- probabilities ------------------------------------------------------------------------------

binary_cross_entropy = LOSS.of("binary_cross_entropy", right="δy = −t/y + (1 − t)/(1 − y)")
binary_cross_entropy("bce_negatives_left_out", "δy = −t/y",
    "The term of the negatives, (1 − t)/(1 − y), is left out.",
    lambda c: -c.t / c.y * c.dL_columns)
binary_cross_entropy("bce_inner_sign", "δy = −t/y − (1 − t)/(1 − y)",
    "The derivative of log(1 − y) is −1/(1 − y): the second sign is wrong.",
    lambda c: (-c.t / c.y - (1 - c.t) / (1 - c.y)) * c.dL_columns)
LOSS.of("binary_cross_entropy", right="δy = (y − t)/(y (1 − y))")(
    "bce_epsilon", "δy = (y − t)/(y (1 − y) + 1e-8)",
    "An epsilon is added in the gradient's denominator and not in the loss.",
    lambda c: (c.y - c.t) / (c.y * (1 - c.y) + 1e-8) * c.dL_columns)

categorical_cross_entropy = LOSS.of("categorical_cross_entropy", right="δy = −t/y")
categorical_cross_entropy("categorical_epsilon", "δy = −t/(y + 1e-8)",
    "An epsilon is added in the gradient's denominator and not in the loss.",
    lambda c: -c.t / (c.y + 1e-8) * c.dL_columns)
categorical_cross_entropy("categorical_log_not_differentiated", "δy = −log y",
    "The derivative of t log y is t/y; −log y stands there.",
    lambda c: -np.log(c.y) * c.dL_columns)
categorical_cross_entropy("categorical_targets_left_out", "δy = −1/y",
    "The targets are left out: every class counts as if it were the true one.",
    lambda c: -1 / c.y * c.dL_columns)

nll = LOSS.of("nll", "kl_div", right="δy = −t")
nll("probability_for_log_probability", "δy = −t e⁻ʸ",
    "The prediction is a logarithm already; the gradient divides by it as if it were not.",
    lambda c: c.right * np.exp(-c.y))
nll("log_softmax_taken_in", "δy = eʸ − t",
    "That is the gradient before the log-softmax, whose backward comes after this once more.",
    lambda c: np.exp(c.y) * c.dL_columns + c.right)
LOSS.of("kl_div", right="δy = −t")("kl_differentiated_by_target", "δy = 1 + log t − y",
    "That is the derivative by the target, not by the prediction.",
    lambda c: (1 + np.log(np.where(c.t > 0, c.t, 1)) - c.y) * c.dL_columns)

# -- logits -------------------------------------------------------------------------------------

bce_with_logits = LOSS.of("bce_with_logits", right="δy = σ(y) − t")
bce_with_logits("sigmoid_slope_twice", "δy = (σ(y) − t) σ(y) (1 − σ(y))",
    "The difference σ(y) − t holds the sigmoid's slope already; it is multiplied in once more.",
    lambda c: c.right * (s := 0.5 * (1 + np.tanh(0.5 * c.y))) * (1 - s))
bce_with_logits("logits_target_left_out", "δy = σ(y)",
    "The targets are left out of the gradient.",
    lambda c: c.right + c.t * c.dL_columns)

cross_entropy = LOSS.of("cross_entropy", right="δy = p − t")
cross_entropy("one_hot_left_out", "δy = p",
    "At the true class 1 is not subtracted: the probabilities alone are passed on.",
    lambda c: _softmax(c.y) * c.dL_columns)
cross_entropy("true_class_only", "δy = −t (1 − p)",
    "Only the true class gets a gradient; the others' scores stand in the sum below as well.",
    lambda c: (_softmax(c.y) - 1) * c.t * c.dL_columns)
cross_entropy("softmax_backward_left_out", "δy = −t/p",
    "That is the gradient by the probabilities; the softmax's own backward is left out.",
    lambda c: -c.t / _softmax(c.y) * c.dL_columns)
cross_entropy("softmax_backward_twice", "δy = p·((p − t) − Σ p (p − t))",
    "The difference p − t holds the softmax's backward already; it is applied once more.",
    lambda c: (p := _softmax(c.y)) * (c.right - (p * c.right).sum(axis=-1, keepdims=True)))
LOSS.of("cross_entropy", right="p = eʸ / Σ over the row")(
    "softmax_over_whole_batch", "p = eʸ / Σ over the whole batch",
    "The probabilities are normalised over the whole batch, not over each row.",
    lambda c: ((e := np.exp(c.y - c.y.max())) / e.sum() - c.t) * c.dL_columns,
    when=lambda c: c.batch > 1)
LOSS.of("cross_entropy", right="δy with (1 − ε) t + ε/C")("label_smoothing_left_out", "ε = 0 in δy",
    "The loss smooths its labels, the gradient does not.",
    lambda c: c.gradient(label_smoothing=0.0),
    when=lambda c: bool(c.arguments.get("label_smoothing", 0)))
LOSS.of("cross_entropy", "nll", right="δy = w_t (p − t)")(
    "class_weights_left_out", "class weights 1 in δy",
    "The class weights multiply the loss but are left out of the gradient.",
    lambda c: c.gradient(class_weight=np.ones_like(c.arguments["class_weight"])),
    when=lambda c: c.arguments.get("class_weight") is not None)
LOSS.of("cross_entropy", "nll", right="[j = t]")("labels_counted_from_one", "[j = t − 1]",
    "The labels are taken to begin at 1: the neighbouring class is treated as the true one.",
    lambda c: c.gradient(targets=np.where(
        c.targets == c.arguments.get("ignore_index", -100),
        c.targets, (c.targets - 1) % c.classes)),
    when=lambda c: c.labels)
LOSS.of("cross_entropy", "nll", right="δy = 0 in ignored rows")(
    "ignored_label_counted", "ignored rows count in δy",
    "Samples whose label is to be ignored send a cotangent back all the same.",
    lambda c: c.gradient(targets=np.where(
        c.targets == c.arguments.get("ignore_index", -100), 0, c.targets)),
    when=lambda c: c.labels and bool((
        c.targets == c.arguments.get("ignore_index", -100)).any()))
