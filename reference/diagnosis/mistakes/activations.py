"""Mistakes of an activation's backward: δz = δa · f′(z), and the rules of single activations."""

import numpy as np

from manual_backprop.operation import FloatArray
from reference.diagnosis.mistakes.catalogue import ACTIVATION, ActivationLine, WrongArray

GATES = ("gelu", "gelu_tanh", "silu", "mish", "hard_swish")
GATE_FORMULAS = {
    "gelu": {"g(z)": "Φ(z)", "g′(z)": "φ(z)"},
    "silu": {"g(z)": "σ(z)", "g′(z)": "σ(z) (1 − σ(z))"},
}
"""What g is in the formulas of the activations z g(z), where it has a short name."""


def elementwise(c: ActivationLine) -> bool:
    """Whether the activation works entry by entry."""
    return c.elementwise


def _parameter(c: ActivationLine, default: float = 1.0) -> float:
    """Return the activation's only parameter (alpha, slope, lambda)."""
    return float(next(iter(c.parameters.values()), default))


def _logistic(z: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


# -- any activation -----------------------------------------------------------------------------

# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
ACTIVATION("activation_skipped", "δz = δa",
    "The activation's derivative is left out: its cotangent is passed on as it was before it.",
    lambda c: c.da,
    when=lambda c: not c.masked)
ACTIVATION.of(right="δz = δa · mask")("mask_ignored", "δz = δa",
    "The mask, and its factor 1/keep_prob, is ignored: dropped units get a gradient as well.",
    lambda c: c.da,
    when=lambda c: c.masked)
ACTIVATION("activation_cotangent_forgotten", "δz = f′(z)",
    "Only the derivative is passed on: the incoming gradient is left out.",
    lambda c: c.slope, elementwise)
ACTIVATION("activation_value_for_slope", "δz = δa · f(z)",
    "Your code multiplies by the activation itself instead of by its derivative.",
    lambda c: c.da * c.a,
    when=lambda c: c.jacobian is None)  # exp(z/√d − max) of rows is √d times its own slope
ACTIVATION("activation_added", "δz = δa + f′(z)",
    "The chain rule multiplies; here the derivative is added.",
    lambda c: c.da + c.slope, elementwise)
ACTIVATION("activation_slope_twice", "δz = δa · f′(z)²",
    "The derivative is multiplied in twice (applied once more than it should be).",
    lambda c: c.da * c.slope * c.slope, elementwise)
ACTIVATION("activation_sign", "δz = −δa · f′(z)",
    "The derivative has the wrong sign (it is negated).",
    lambda c: -c.right)
ACTIVATION("activation_taken_for_relu", "δz = δa · [z > 0]",
    "The mask z > 0, the slope of relu, replaces this activation's slope.",
    lambda c: c.da * (c.z > 0),
    when=lambda c: c.elementwise and c.name != "relu")
ACTIVATION("activation_slope_at_cotangent", "δz = δa · f′(δa)",
    "The derivative is taken at the incoming cotangent (the mask is of the wrong array).",
    lambda c: c.backward(c.da, c.forward(c.da), c.da),
    when=lambda c: c.elementwise and c.name != "relu")
ACTIVATION("activation_cotangent_averaged", "δz = mean(δa) · f′(z)",
    "The incoming cotangent is averaged over the batch; every sample has its own.",
    lambda c: c.backward(c.z, c.a, np.broadcast_to(c.da.mean(axis=0), c.da.shape)),
    when=lambda c: len(c.da) > 1)


def _activation_slope_at_layer_input(c: ActivationLine) -> WrongArray:
    assert c.x is not None
    return c.backward(c.x, c.forward(c.x), c.da)


ACTIVATION("activation_slope_at_layer_input", "δz = δa · f′(x)",
    "The derivative is taken at the layer's input, before the weights: an index is off by one.",
    _activation_slope_at_layer_input,
    when=lambda c: c.x is not None and c.x.shape == c.z.shape)

# -- rectifiers ---------------------------------------------------------------------------------

relu = ACTIVATION.of("relu", right="δz = δa · [z > 0]")
relu("relu_mask_inverted", "δz = δa · [z ≤ 0]",
    "The mask is inverted: the cotangent passes where the unit was off.",
    lambda c: c.da * (c.z <= 0))
ACTIVATION.of(right="δz = δa · [z > 0]")("relu_mask_of_cotangent", "δz = δa · [δa > 0]",
    "The mask is made of the incoming gradient (its sign), not of the input.",
    lambda c: c.da * (c.da > 0), elementwise)
relu("relu_applied_to_cotangent", "δz = max(δa · [z > 0], 0)",
    "ReLU is applied to the cotangent too: negative cotangents are lost.",
    lambda c: np.maximum(c.right, 0))

leaky_relu = ACTIVATION.of("leaky_relu", right="δz = δa · (1 where z > 0, else α)")
leaky_relu("leaky_slope_everywhere", "δz = α δa for every z",
    "The small slope is used on both sides.",
    lambda c: c.da * _parameter(c))
leaky_relu("leaky_sides_exchanged", "δz = δa · (α where z > 0, else 1)",
    "The two slopes are exchanged.",
    lambda c: c.da * np.where(c.z > 0, _parameter(c), 1.0))
leaky_relu("leaky_slope_sign", "δz = δa · (1 where z > 0, else −α)",
    "The slope on the negative side has the wrong sign.",
    lambda c: c.da * np.where(c.z > 0, 1.0, -_parameter(c)))


def _upper_edge_forgotten(c: ActivationLine) -> WrongArray:
    inside = c.slope[c.slope != 0]
    slope = float(inside.flat[0]) if inside.size else 1.0
    return c.da * slope * ((c.slope != 0) | (c.z > 0))


ACTIVATION.of("relu6", "hardtanh", "hard_sigmoid", right="δz = δa inside the range, else 0")(
    "upper_edge_forgotten", "δz = δa · [lower edge passed]",
    "Only the lower edge is tested: above the upper one the slope is 0 too.",
    _upper_edge_forgotten)
ACTIVATION.of("elu", right="δz = δa · α eᶻ where z ≤ 0")(
    "elu_alpha_left_out", "δz = δa · eᶻ where z ≤ 0",
    "The α is left out of the slope on the negative side.",
    lambda c: c.da * np.where(c.z > 0, 1.0, np.exp(np.minimum(c.z, 0))))
ACTIVATION.of("elu", "selu", "celu", right="δz = δa · f′(z) where z ≤ 0")(
    "elu_value_for_slope", "δz = δa · f(z) where z ≤ 0",
    "On the negative side the slope is the exponential alone (elu: f(z) + α), not f(z).",
    lambda c: np.where(c.z > 0, c.right, c.da * c.a))
ACTIVATION.of("selu", right="δz = λ δa · (1 where z > 0, else α eᶻ)")(
    "selu_scale_left_out", "δz = δa · (1 where z > 0, else α eᶻ)",
    "The scale λ = 1.0507… is left out of the slope.",
    lambda c: c.right / 1.0507009873554804934193349852946)
ACTIVATION.of("celu", right="δz = δa · e^{z/α} where z ≤ 0")(
    "celu_alpha_left_in", "δz = δa · α e^{z/α} where z ≤ 0",
    "The inner derivative 1/α cancels the α in front; here it was forgotten.",
    lambda c: np.where(c.z > 0, c.right, c.right * _parameter(c)))

# -- gates: z · g(z) ----------------------------------------------------------------------------

gates = ACTIVATION.of(*GATES, right="δz = δa · (g(z) + z g′(z))")
gates("gate_second_term_left_out", "δz = δa · g(z)",
    "The function z g(z) needs the product rule; the term z g′(z) is left out.",
    lambda c: c.da * np.where(c.z == 0, c.slope, c.a / np.where(c.z == 0, 1, c.z)))
gates("gate_first_term_left_out", "δz = δa · z g′(z)",
    "The function z g(z) needs the product rule; the term g(z) is left out.",
    lambda c: c.right - c.da * np.where(c.z == 0, c.slope, c.a / np.where(c.z == 0, 1, c.z)))
gates("gate_factor_z_left_out", "δz = δa · (g(z) + g′(z))",
    "The factor z of the product rule's second term is left out.",
    lambda c: c.da * (
        (gate := c.a / (safe := np.where(c.z == 0, 1, c.z))) + (c.slope - gate) / safe))


def _gelu_tanh_slope(c: ActivationLine) -> WrongArray:
    k, cubic = (2 / np.pi) ** 0.5, 0.044715
    t = np.tanh(k * (c.z + cubic * c.z * c.z * c.z))
    inner = k * (1 + 3 * cubic * c.z * c.z)
    return c.da * (0.5 * (1 + t) + 0.5 * c.z * (1 - t * t) * inner)


ACTIVATION.of("gelu", right="δz = δa · (Φ(z) + z φ(z))")(
    "gelu_tanh_slope", "δz = δa · slope of the tanh approximation",
    "The forward is the exact GELU, the backward that of its tanh approximation.",
    _gelu_tanh_slope)


def _gelu_exact_slope(c: ActivationLine) -> WrongArray:
    from scipy.special import ndtr

    return c.da * (ndtr(c.z) + c.z * np.exp(-0.5 * c.z * c.z) / (2 * np.pi) ** 0.5)


ACTIVATION.of("gelu_tanh", right="δz = δa · slope of the tanh approximation")(
    "gelu_exact_slope", "δz = δa · (Φ(z) + z φ(z))",
    "The forward is the tanh approximation, the backward that of the exact GELU.",
    _gelu_exact_slope)

# -- sigmoid and tanh ---------------------------------------------------------------------------

sigmoid = ACTIVATION.of("sigmoid", right="δz = δa · a (1 − a)")
sigmoid("sigmoid_formula_at_input", "δz = δa · z (1 − z)",
    "The slope a (1 − a) is a formula of the output; here it was given the input z.",
    lambda c: c.da * c.z * (1 - c.z))
sigmoid("sigmoid_first_factor_left_out", "δz = δa · (1 − a)",
    "The factor a of the sigmoid's slope a (1 − a) is left out.",
    lambda c: c.da * (1 - c.a))

tanh = ACTIVATION.of("tanh", right="δz = δa · (1 − a²)")
tanh("tanh_formula_at_input", "δz = δa · (1 − z²)",
    "The slope 1 − a² is a formula of the output; here it was given the input z.",
    lambda c: c.da * (1 - c.z * c.z))
tanh("tanh_square_left_out", "δz = δa · (1 − a)",
    "The square is missing in 1 − a².",
    lambda c: c.da * (1 - c.a))
ACTIVATION.of("softplus", right="δz = δa · σ(z)")("softplus_reflected", "δz = δa · σ(−z)",
    "The slope of softplus is σ(z); its mirror image 1 − σ(z) stands there.",
    lambda c: c.da - c.right)
squareplus = ACTIVATION.of("squareplus", right="δz = δa · (1 + z/√(z² + b))/2")
squareplus("squareplus_slope_of_z_left_out", "δz = δa · z/(2√(z² + b))",
    "The function is (z + √(z² + b))/2; the slope 1 of z is left out.",
    lambda c: c.right - 0.5 * c.da)
squareplus("squareplus_inner_slope_left_out", "δz = δa · (1 + 1/(2√(z² + b)))/2",
    "The root's own slope is 1/(2√(z² + b)); the slope 2z of what is below it is left out.",
    lambda c: c.da * (0.5 + 0.25 / np.sqrt(c.z * c.z + _parameter(c, 4.0))))
ACTIVATION.of("log_sigmoid", right="δz = δa · σ(−z)")("log_sigmoid_reflected", "δz = δa · σ(z)",
    "The slope of log σ(z) is 1 − σ(z); σ(z) stands there.",
    lambda c: c.da * _logistic(c.z))
ACTIVATION.of("softsign", right="δz = δa / (1 + |z|)²")(
    "softsign_square_left_out", "δz = δa / (1 + |z|)",
    "The square is missing in 1/(1 + |z|)².",
    lambda c: c.da / (1 + np.abs(c.z)))
ACTIVATION.of("tanhshrink", right="δz = δa · tanh²z")(
    "tanhshrink_taken_for_tanh", "δz = δa · (1 − tanh²z)",
    "The slope of z − tanh z is tanh²z; that of tanh stands there.",
    lambda c: c.da - c.right)
ACTIVATION.of("hard_sigmoid", right="δz = δa/6 inside the range")(
    "hard_sigmoid_sixth_left_out", "δz = δa inside the range",
    "The factor 1/6 of the slope is left out.",
    lambda c: c.right * 6)
ACTIVATION.of("softshrink", "hardshrink", right="δz = δa · [|z| > λ]")(
    "shrink_negative_side_forgotten", "δz = δa · [z > λ]",
    "The negative side passes its cotangent too: the test is on |z|.",
    lambda c: np.where(c.z > 0, c.right, 0))
