"""Another factor stands in the place of an activation's slope: δz = δa · f′(z)."""

from collections.abc import Callable

import numpy as np

from reference.diagnosis.mistakes.activations import GATES, elementwise
from reference.diagnosis.mistakes.catalogue import ACTIVATION, ActivationLine


def _but(*names: str) -> Callable[[ActivationLine], bool]:
    """Elementwise, and none of those for which it is right or has a name of its own."""
    return lambda c: c.elementwise and c.name not in names


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
activation = ACTIVATION.of(family="slopes")
activation("activation_taken_for_sigmoid", "δz = δa · a (1 − a)",
    "The slope of a sigmoid, a (1 − a), replaces this activation's slope.",
    lambda c: c.da * c.a * (1 - c.a), when=_but("sigmoid"))
activation("activation_taken_for_tanh", "δz = δa · (1 − a²)",
    "The slope of tanh, 1 − a², replaces this activation's slope.",
    lambda c: c.da * (1 - c.a * c.a), when=_but("tanh"))
activation("activation_taken_for_step_of_output", "δz = δa · [a > 0]",
    "The mask a > 0, the slope of relu, replaces this activation's slope.",
    lambda c: c.da * (c.a > 0),
    when=lambda c: c.elementwise and bool(((c.a > 0) != (c.z > 0)).any()))
activation("activation_one_minus_value", "δz = δa · (1 − a)",
    "The slope is taken as 1 − a: a factor or a square of it is left out.",
    lambda c: c.da * (1 - c.a), when=_but("sigmoid", "tanh"))
activation("activation_one_plus_value", "δz = δa · (1 + a)",
    "The slope of another function, 1 + a, replaces this one's.",
    lambda c: c.da * (1 + c.a), elementwise)
activation("activation_one_plus_square", "δz = δa · (1 + a²)",
    "The sign of the square is wrong: 1 + a² replaces the slope.",
    lambda c: c.da * (1 + c.a * c.a), elementwise)
activation("activation_value_squared", "δz = δa · a²",
    "The square of the activation replaces its slope.",
    lambda c: c.da * c.a * c.a, elementwise)
activation("activation_sign_inside", "δz = δa · a (1 + a)",
    "The slope is taken as a (1 + a): the sign inside is that of another function.",
    lambda c: c.da * c.a * (1 + c.a), elementwise)
activation("activation_slope_complement", "δz = δa · (1 − f′(z))",
    "The complement 1 − slope replaces the slope (a sign in an exponent).",
    lambda c: c.da * (1 - c.slope), when=_but("relu", "softplus", "tanhshrink", "log_sigmoid"))
activation("activation_slope_reflected", "δz = −δa · (1 + f′(z))",
    "The slope is reflected, −1 − slope: the sign in the exponent is wrong.",
    lambda c: c.da * (-1 - c.slope), elementwise)
activation("activation_input_for_slope", "δz = δa · z",
    "The input z replaces the activation's slope.",
    lambda c: c.da * c.z, elementwise)
activation("sigmoid_formula_at_cotangent", "δz = δa · δa (1 − δa)",
    "The slope a (1 − a) is taken of the error (the incoming cotangent), not of the activation.",
    lambda c: c.da * c.da * (1 - c.da), elementwise)
activation("sigmoid_formula_at_cotangent_alone", "δz = δa (1 − δa)",
    "The slope a (1 − a) is taken of the error (the incoming cotangent), which is lost.",
    lambda c: c.da * (1 - c.da), elementwise)
activation("tanh_formula_at_cotangent", "δz = δa · (1 − δa²)",
    "The slope 1 − a² is taken of the error (the incoming cotangent), not of the activation.",
    lambda c: c.da * (1 - c.da * c.da), elementwise)
activation("tanh_formula_at_cotangent_alone", "δz = 1 − δa²",
    "The slope 1 − a² is taken of the error (the incoming cotangent), which is lost.",
    lambda c: 1 - c.da * c.da, elementwise)
activation("relu_mask_of_cotangent_alone", "δz = [δa > 0]",
    "The mask is made of the incoming gradient's sign, and the gradient itself is left out.",
    lambda c: (c.da > 0) * 1.0, elementwise)
activation("activation_value_times_slope", "δz = δa · a · f′(z)",
    "There is a factor a too many beside the slope.",
    lambda c: c.right * c.a, elementwise)
activation("activation_input_times_slope", "δz = δa · z · f′(z)",
    "There is a factor z too many beside the slope.",
    lambda c: c.right * c.z, elementwise)
activation("activation_divided_by_slope", "δz = δa / f′(z)",
    "It is divided by the slope where it has to be multiplied.",
    lambda c: c.da / c.slope, elementwise)
activation("activation_factor_two_added", "δz = 2 δa · f′(z)",
    "There is a factor 2 too many beside the slope.",
    lambda c: 2 * c.right)
activation("activation_factor_two_left_out", "δz = ½ δa · f′(z)",
    "A factor 2 is left out beside the slope.",
    lambda c: 0.5 * c.right)
activation("activation_path_left_out", "δz = 0",
    "Nothing is passed on through the activation: the path is left out.",
    lambda c: 0 * c.right)
activation.of(*GATES, right="δz = δa · (g(z) + z g′(z))")(
    "gate_value_for_slope", "δz = δa · (g(z) + z g(z))",
    "The function is z g(z) (silu: g = σ, gelu: g = Φ). In the product rule, g was used where its "
    "derivative g′ is needed.",
    lambda c: c.da * (c.a + np.where(c.z == 0, c.slope, c.a / np.where(c.z == 0, 1, c.z))))
