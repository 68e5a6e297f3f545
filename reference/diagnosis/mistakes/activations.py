"""Mistakes of an activation's backward: δz = δa · f′(z), and the rules of single activations."""

import numpy as np

from manual_backprop.operation import FloatArray
from reference.diagnosis.mistakes.catalogue import ActivationLine, WrongArray, mistake

_RIGHT = "δz = δa · f′(z)"
GATES = ("gelu", "gelu_tanh", "silu", "mish", "hard_swish")


def _elementwise(c: ActivationLine) -> bool:
    return c.elementwise


def _parameter(c: ActivationLine, default: float = 1.0) -> float:
    """Return the activation's only parameter (alpha, slope, lambda)."""
    return float(next(iter(c.parameters.values()), default))


def _logistic(z: FloatArray) -> WrongArray:
    return 0.5 * (1 + np.tanh(0.5 * z))


# -- any activation -----------------------------------------------------------------------------


@mistake("activation", "activations", wrong="δz = δa", right=_RIGHT, when=lambda c: not c.masked)
def activation_skipped(c: ActivationLine) -> WrongArray:
    """The activation's derivative is left out: its cotangent is passed on as it was before it."""
    return c.da


@mistake("activation", "activations", wrong="δz = δa", right="δz = δa · mask",
         when=lambda c: c.masked)  # fmt: skip
def mask_ignored(c: ActivationLine) -> WrongArray:
    """The mask, and its factor 1/keep_prob, is ignored: dropped units get a gradient as well."""
    return c.da


@mistake("activation", "activations", wrong="δz = f′(z)", right=_RIGHT, when=_elementwise)
def activation_cotangent_forgotten(c: ActivationLine) -> WrongArray:
    """Only the derivative is passed on: the incoming gradient is left out."""
    return c.slope


@mistake("activation", "activations", wrong="δz = δa · f(z)", right=_RIGHT)
def activation_value_for_slope(c: ActivationLine) -> WrongArray:
    """The activation itself is multiplied in, not its slope: a factor of it is left out."""
    return c.da * c.a


@mistake("activation", "activations", wrong="δz = δa + f′(z)", right=_RIGHT, when=_elementwise)
def activation_added(c: ActivationLine) -> WrongArray:
    """The chain rule multiplies; here the derivative is added."""
    return c.da + c.slope


@mistake("activation", "activations", wrong="δz = δa · f′(z)²", right=_RIGHT, when=_elementwise)
def activation_slope_twice(c: ActivationLine) -> WrongArray:
    """The derivative is multiplied in twice (applied once more than it should be)."""
    return c.da * c.slope * c.slope


@mistake("activation", "activations", wrong="δz = −δa · f′(z)", right=_RIGHT)
def activation_sign(c: ActivationLine) -> WrongArray:
    """The derivative has the wrong sign (it is negated)."""
    return -c.right


@mistake("activation", "activations", wrong="δz = δa · [z > 0]", right=_RIGHT,
         when=lambda c: c.elementwise and c.name != "relu")  # fmt: skip
def activation_taken_for_relu(c: ActivationLine) -> WrongArray:
    """The mask z > 0, the slope of relu, replaces this activation's slope."""
    return c.da * (c.z > 0)


@mistake("activation", "activations", wrong="δz = δa · f′(δa)", right=_RIGHT,
         when=lambda c: c.elementwise and c.name != "relu")  # fmt: skip
def activation_slope_at_cotangent(c: ActivationLine) -> WrongArray:
    """The derivative is taken at the incoming cotangent (the mask is of the wrong array)."""
    return c.backward(c.da, c.forward(c.da), c.da)


@mistake("activation", "activations", wrong="δz = mean(δa) · f′(z)", right=_RIGHT,
         when=lambda c: len(c.da) > 1)  # fmt: skip
def activation_cotangent_averaged(c: ActivationLine) -> WrongArray:
    """The incoming cotangent is averaged over the batch; every sample has its own."""
    return c.backward(c.z, c.a, np.broadcast_to(c.da.mean(axis=0), c.da.shape))


@mistake("activation", "activations", wrong="δz = δa · f′(x)", right=_RIGHT,
         when=lambda c: c.x is not None and c.x.shape == c.z.shape)  # fmt: skip
def activation_slope_at_layer_input(c: ActivationLine) -> WrongArray:
    """The derivative is taken at the layer's input, before the weights: an index is off by one."""
    assert c.x is not None
    return c.backward(c.x, c.forward(c.x), c.da)


# -- rectifiers ---------------------------------------------------------------------------------


@mistake("activation", "activations", wrong="δz = δa · [z ≤ 0]", right="δz = δa · [z > 0]",
         operations=("relu",))  # fmt: skip
def relu_mask_inverted(c: ActivationLine) -> WrongArray:
    """The mask is inverted: the cotangent passes where the unit was off."""
    return c.da * (c.z <= 0)


@mistake("activation", "activations", wrong="δz = δa · [δa > 0]", right="δz = δa · [z > 0]",
         when=_elementwise)  # fmt: skip
def relu_mask_of_cotangent(c: ActivationLine) -> WrongArray:
    """The mask is made of the incoming gradient (its sign), not of the input."""
    return c.da * (c.da > 0)


@mistake("activation", "activations", wrong="δz = max(δa · [z > 0], 0)", right="δz = δa · [z > 0]",
         operations=("relu",))  # fmt: skip
def relu_applied_to_cotangent(c: ActivationLine) -> WrongArray:
    """ReLU is applied to the cotangent too: negative cotangents are lost."""
    return np.maximum(c.right, 0)


@mistake("activation", "activations", wrong="δz = α δa for every z",
         right="δz = δa · (1 where z > 0, else α)", operations=("leaky_relu",))  # fmt: skip
def leaky_slope_everywhere(c: ActivationLine) -> WrongArray:
    """The small slope is used on both sides."""
    return c.da * _parameter(c)


@mistake("activation", "activations", wrong="δz = δa · (α where z > 0, else 1)",
         right="δz = δa · (1 where z > 0, else α)", operations=("leaky_relu",))  # fmt: skip
def leaky_sides_exchanged(c: ActivationLine) -> WrongArray:
    """The two slopes are exchanged."""
    return c.da * np.where(c.z > 0, _parameter(c), 1.0)


@mistake("activation", "activations", wrong="δz = δa · (1 where z > 0, else −α)",
         right="δz = δa · (1 where z > 0, else α)", operations=("leaky_relu",))  # fmt: skip
def leaky_slope_sign(c: ActivationLine) -> WrongArray:
    """The slope on the negative side has the wrong sign."""
    return c.da * np.where(c.z > 0, 1.0, -_parameter(c))


@mistake("activation", "activations", wrong="δz = δa · [lower edge passed]",
         right="δz = δa inside the range, else 0",
         operations=("relu6", "hardtanh", "hard_sigmoid"))  # fmt: skip
def upper_edge_forgotten(c: ActivationLine) -> WrongArray:
    """Only the lower edge is tested: above the upper one the slope is 0 too."""
    inside = c.slope[c.slope != 0]
    slope = float(inside.flat[0]) if inside.size else 1.0
    return c.da * slope * ((c.slope != 0) | (c.z > 0))


@mistake("activation", "activations", wrong="δz = δa · eᶻ where z ≤ 0",
         right="δz = δa · α eᶻ where z ≤ 0", operations=("elu",))  # fmt: skip
def elu_alpha_left_out(c: ActivationLine) -> WrongArray:
    """The α is left out of the slope on the negative side."""
    return c.da * np.where(c.z > 0, 1.0, np.exp(np.minimum(c.z, 0)))


@mistake("activation", "activations", wrong="δz = δa · f(z) where z ≤ 0",
         right="δz = δa · (f(z) + α) where z ≤ 0",
         operations=("elu", "selu", "celu"))  # fmt: skip
def elu_value_for_slope(c: ActivationLine) -> WrongArray:
    """On the negative side the slope is f(z) + α (the exponential alone), not f(z)."""
    return np.where(c.z > 0, c.right, c.da * c.a)


@mistake("activation", "activations", wrong="δz = δa · (1 where z > 0, else α eᶻ)",
         right="δz = λ δa · (1 where z > 0, else α eᶻ)", operations=("selu",))  # fmt: skip
def selu_scale_left_out(c: ActivationLine) -> WrongArray:
    """The scale λ = 1.0507… is left out of the slope."""
    return c.right / 1.0507009873554804934193349852946


@mistake("activation", "activations", wrong="δz = δa · α e^{z/α} where z ≤ 0",
         right="δz = δa · e^{z/α} where z ≤ 0", operations=("celu",))  # fmt: skip
def celu_alpha_left_in(c: ActivationLine) -> WrongArray:
    """The inner derivative 1/α cancels the α in front; here it was forgotten."""
    return np.where(c.z > 0, c.right, c.right * _parameter(c))


# -- gates: z · g(z) ----------------------------------------------------------------------------


@mistake("activation", "activations", wrong="δz = δa · g(z)", right="δz = δa · (g(z) + z g′(z))",
         operations=GATES)  # fmt: skip
def gate_second_term_left_out(c: ActivationLine) -> WrongArray:
    """The function z g(z) needs the product rule; the term z g′(z) is left out."""
    return c.da * np.where(c.z == 0, c.slope, c.a / np.where(c.z == 0, 1, c.z))


@mistake("activation", "activations", wrong="δz = δa · z g′(z)",
         right="δz = δa · (g(z) + z g′(z))", operations=GATES)  # fmt: skip
def gate_first_term_left_out(c: ActivationLine) -> WrongArray:
    """The function z g(z) needs the product rule; the term g(z) is left out."""
    return c.right - c.da * np.where(c.z == 0, c.slope, c.a / np.where(c.z == 0, 1, c.z))


@mistake("activation", "activations", wrong="δz = δa · (g(z) + g′(z))",
         right="δz = δa · (g(z) + z g′(z))", operations=GATES)  # fmt: skip
def gate_factor_z_left_out(c: ActivationLine) -> WrongArray:
    """The factor z of the product rule's second term is left out."""
    safe = np.where(c.z == 0, 1, c.z)
    gate = c.a / safe
    return c.da * (gate + (c.slope - gate) / safe)


@mistake("activation", "activations", wrong="δz = δa · slope of the tanh approximation",
         right="δz = δa · (Φ(z) + z φ(z))", operations=("gelu",))  # fmt: skip
def gelu_tanh_slope(c: ActivationLine) -> WrongArray:
    """The forward is the exact GELU, the backward that of its tanh approximation."""
    k, cubic = (2 / np.pi) ** 0.5, 0.044715
    t = np.tanh(k * (c.z + cubic * c.z * c.z * c.z))
    inner = k * (1 + 3 * cubic * c.z * c.z)
    return c.da * (0.5 * (1 + t) + 0.5 * c.z * (1 - t * t) * inner)


@mistake("activation", "activations", wrong="δz = δa · (Φ(z) + z φ(z))",
         right="δz = δa · slope of the tanh approximation",
         operations=("gelu_tanh",))  # fmt: skip
def gelu_exact_slope(c: ActivationLine) -> WrongArray:
    """The forward is the tanh approximation, the backward that of the exact GELU."""
    from scipy.special import ndtr

    return c.da * (ndtr(c.z) + c.z * np.exp(-0.5 * c.z * c.z) / (2 * np.pi) ** 0.5)


# -- sigmoid and tanh ---------------------------------------------------------------------------


@mistake("activation", "activations", wrong="δz = δa · z (1 − z)", right="δz = δa · a (1 − a)",
         operations=("sigmoid",))  # fmt: skip
def sigmoid_formula_at_input(c: ActivationLine) -> WrongArray:
    """The slope a (1 − a) is a formula of the output; here it was given the input z."""
    return c.da * c.z * (1 - c.z)


@mistake("activation", "activations", wrong="δz = δa · (1 − a)", right="δz = δa · a (1 − a)",
         operations=("sigmoid",))  # fmt: skip
def sigmoid_first_factor_left_out(c: ActivationLine) -> WrongArray:
    """The factor a of the sigmoid's slope a (1 − a) is left out."""
    return c.da * (1 - c.a)


@mistake("activation", "activations", wrong="δz = δa · (1 − z²)", right="δz = δa · (1 − a²)",
         operations=("tanh",))  # fmt: skip
def tanh_formula_at_input(c: ActivationLine) -> WrongArray:
    """The slope 1 − a² is a formula of the output; here it was given the input z."""
    return c.da * (1 - c.z * c.z)


@mistake("activation", "activations", wrong="δz = δa · (1 − a)", right="δz = δa · (1 − a²)",
         operations=("tanh",))  # fmt: skip
def tanh_square_left_out(c: ActivationLine) -> WrongArray:
    """The square is missing in 1 − a²."""
    return c.da * (1 - c.a)


@mistake("activation", "activations", wrong="δz = δa · σ(−z)", right="δz = δa · σ(z)",
         operations=("softplus",))  # fmt: skip
def softplus_reflected(c: ActivationLine) -> WrongArray:
    """The slope of softplus is σ(z); its mirror image 1 − σ(z) stands there."""
    return c.da - c.right


@mistake("activation", "activations", wrong="δz = δa · z/(2√(z² + b))",
         right="δz = δa · (1 + z/√(z² + b))/2", operations=("squareplus",))  # fmt: skip
def squareplus_slope_of_z_left_out(c: ActivationLine) -> WrongArray:
    """The function is half of z and of the root; the slope 1 of z is left out."""
    return c.right - 0.5 * c.da


@mistake("activation", "activations", wrong="δz = δa · (1 + 1/(2√(z² + b)))/2",
         right="δz = δa · (1 + z/√(z² + b))/2", operations=("squareplus",))  # fmt: skip
def squareplus_inner_slope_left_out(c: ActivationLine) -> WrongArray:
    """The root's own slope is 1/(2√(z² + b)); the slope 2z of what is below it is left out."""
    return c.da * (0.5 + 0.25 / np.sqrt(c.z * c.z + _parameter(c, 4.0)))


@mistake("activation", "activations", wrong="δz = δa · σ(z)", right="δz = δa · σ(−z)",
         operations=("log_sigmoid",))  # fmt: skip
def log_sigmoid_reflected(c: ActivationLine) -> WrongArray:
    """The slope of log σ(z) is 1 − σ(z); σ(z) stands there."""
    return c.da * _logistic(c.z)


@mistake("activation", "activations", wrong="δz = δa / (1 + |z|)", right="δz = δa / (1 + |z|)²",
         operations=("softsign",))  # fmt: skip
def softsign_square_left_out(c: ActivationLine) -> WrongArray:
    """The square is missing in 1/(1 + |z|)²."""
    return c.da / (1 + np.abs(c.z))


@mistake("activation", "activations", wrong="δz = δa · (1 − tanh²z)", right="δz = δa · tanh²z",
         operations=("tanhshrink",))  # fmt: skip
def tanhshrink_taken_for_tanh(c: ActivationLine) -> WrongArray:
    """The slope of z − tanh z is tanh²z; that of tanh stands there."""
    return c.da - c.right


@mistake("activation", "activations", wrong="δz = δa inside the range",
         right="δz = δa/6 inside the range", operations=("hard_sigmoid",))  # fmt: skip
def hard_sigmoid_sixth_left_out(c: ActivationLine) -> WrongArray:
    """The factor 1/6 of the slope is left out."""
    return c.right * 6


@mistake("activation", "activations", wrong="δz = δa · [z > λ]", right="δz = δa · [|z| > λ]",
         operations=("softshrink", "hardshrink"))  # fmt: skip
def shrink_negative_side_forgotten(c: ActivationLine) -> WrongArray:
    """The negative side passes its cotangent too: the test is on |z|."""
    return np.where(c.z > 0, c.right, 0)
