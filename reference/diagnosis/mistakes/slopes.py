"""Another factor stands in the place of an activation's slope: δz = δa · f′(z)."""

from collections.abc import Callable

import numpy as np

from reference.diagnosis.mistakes.activations import GATES
from reference.diagnosis.mistakes.catalogue import ActivationLine, WrongArray, mistake

_RIGHT = "δz = δa · f′(z)"


def _elementwise(c: ActivationLine) -> bool:
    return c.elementwise


def _but(*names: str) -> Callable[[ActivationLine], bool]:
    """Elementwise, and none of those for which it is right or has a name of its own."""
    return lambda c: c.elementwise and c.name not in names


@mistake("activation", "slopes", wrong="δz = δa · a (1 − a)", right=_RIGHT,
         when=_but("sigmoid"))  # fmt: skip
def activation_taken_for_sigmoid(c: ActivationLine) -> WrongArray:
    """The slope of a sigmoid, a (1 − a), replaces this activation's slope."""
    return c.da * c.a * (1 - c.a)


@mistake("activation", "slopes", wrong="δz = δa · (1 − a²)", right=_RIGHT,
         when=_but("tanh"))  # fmt: skip
def activation_taken_for_tanh(c: ActivationLine) -> WrongArray:
    """The slope of tanh, 1 − a², replaces this activation's slope."""
    return c.da * (1 - c.a * c.a)


@mistake("activation", "slopes", wrong="δz = δa · [a > 0]", right=_RIGHT,
         when=lambda c: c.elementwise and bool(((c.a > 0) != (c.z > 0)).any()))  # fmt: skip
def activation_taken_for_step_of_output(c: ActivationLine) -> WrongArray:
    """The mask a > 0, the slope of relu, replaces this activation's slope."""
    return c.da * (c.a > 0)


@mistake("activation", "slopes", wrong="δz = δa · (1 − a)", right=_RIGHT,
         when=_but("sigmoid", "tanh"))  # fmt: skip
def activation_one_minus_value(c: ActivationLine) -> WrongArray:
    """The slope is taken as 1 − a: a factor or a square of it is left out."""
    return c.da * (1 - c.a)


@mistake("activation", "slopes", wrong="δz = δa · (1 + a)", right=_RIGHT, when=_elementwise)
def activation_one_plus_value(c: ActivationLine) -> WrongArray:
    """The slope of another function, 1 + a, replaces this one's."""
    return c.da * (1 + c.a)


@mistake("activation", "slopes", wrong="δz = δa · (1 + a²)", right=_RIGHT, when=_elementwise)
def activation_one_plus_square(c: ActivationLine) -> WrongArray:
    """The sign of the square is wrong: 1 + a² replaces the slope."""
    return c.da * (1 + c.a * c.a)


@mistake("activation", "slopes", wrong="δz = δa · a²", right=_RIGHT, when=_elementwise)
def activation_value_squared(c: ActivationLine) -> WrongArray:
    """The square of the activation replaces its slope."""
    return c.da * c.a * c.a


@mistake("activation", "slopes", wrong="δz = δa · a (1 + a)", right=_RIGHT, when=_elementwise)
def activation_sign_inside(c: ActivationLine) -> WrongArray:
    """The slope is taken as a (1 + a): the sign inside is that of another function."""
    return c.da * c.a * (1 + c.a)


@mistake("activation", "slopes", wrong="δz = δa · (1 − f′(z))", right=_RIGHT,
         when=_but("relu", "softplus", "tanhshrink", "log_sigmoid"))  # fmt: skip
def activation_slope_complement(c: ActivationLine) -> WrongArray:
    """The complement 1 − slope replaces the slope (a sign in an exponent)."""
    return c.da * (1 - c.slope)


@mistake("activation", "slopes", wrong="δz = −δa · (1 + f′(z))", right=_RIGHT,
         when=_elementwise)  # fmt: skip
def activation_slope_reflected(c: ActivationLine) -> WrongArray:
    """The slope is reflected, −1 − slope: the sign in the exponent is wrong."""
    return c.da * (-1 - c.slope)


@mistake("activation", "slopes", wrong="δz = δa · z", right=_RIGHT, when=_elementwise)
def activation_input_for_slope(c: ActivationLine) -> WrongArray:
    """The input z replaces the activation's slope."""
    return c.da * c.z


@mistake("activation", "slopes", wrong="δz = δa · δa (1 − δa)", right=_RIGHT,
         when=_elementwise)  # fmt: skip
def sigmoid_formula_at_cotangent(c: ActivationLine) -> WrongArray:
    """The slope a (1 − a) is taken of the error (the incoming cotangent), not of the activation."""
    return c.da * c.da * (1 - c.da)


@mistake("activation", "slopes", wrong="δz = δa (1 − δa)", right=_RIGHT, when=_elementwise)
def sigmoid_formula_at_cotangent_alone(c: ActivationLine) -> WrongArray:
    """The slope a (1 − a) is taken of the error (the incoming cotangent), which is lost."""
    return c.da * (1 - c.da)


@mistake("activation", "slopes", wrong="δz = δa · (1 − δa²)", right=_RIGHT, when=_elementwise)
def tanh_formula_at_cotangent(c: ActivationLine) -> WrongArray:
    """The slope 1 − a² is taken of the error (the incoming cotangent), not of the activation."""
    return c.da * (1 - c.da * c.da)


@mistake("activation", "slopes", wrong="δz = 1 − δa²", right=_RIGHT, when=_elementwise)
def tanh_formula_at_cotangent_alone(c: ActivationLine) -> WrongArray:
    """The slope 1 − a² is taken of the error (the incoming cotangent), which is lost."""
    return 1 - c.da * c.da


@mistake("activation", "slopes", wrong="δz = [δa > 0]", right=_RIGHT, when=_elementwise)
def relu_mask_of_cotangent_alone(c: ActivationLine) -> WrongArray:
    """The mask is made of the incoming gradient's sign, and the gradient itself is left out."""
    return (c.da > 0) * 1.0


@mistake("activation", "slopes", wrong="δz = δa · a · f′(z)", right=_RIGHT, when=_elementwise)
def activation_value_times_slope(c: ActivationLine) -> WrongArray:
    """There is a factor a too many beside the slope."""
    return c.right * c.a


@mistake("activation", "slopes", wrong="δz = δa · z · f′(z)", right=_RIGHT, when=_elementwise)
def activation_input_times_slope(c: ActivationLine) -> WrongArray:
    """There is a factor z too many beside the slope."""
    return c.right * c.z


@mistake("activation", "slopes", wrong="δz = δa / f′(z)", right=_RIGHT, when=_elementwise)
def activation_divided_by_slope(c: ActivationLine) -> WrongArray:
    """It is divided by the slope where it has to be multiplied."""
    return c.da / c.slope


@mistake("activation", "slopes", wrong="δz = 2 δa · f′(z)", right=_RIGHT)
def activation_factor_two_added(c: ActivationLine) -> WrongArray:
    """There is a factor 2 too many beside the slope."""
    return 2 * c.right


@mistake("activation", "slopes", wrong="δz = ½ δa · f′(z)", right=_RIGHT)
def activation_factor_two_left_out(c: ActivationLine) -> WrongArray:
    """A factor 2 is left out beside the slope."""
    return 0.5 * c.right


@mistake("activation", "slopes", wrong="δz = 0", right=_RIGHT)
def activation_path_left_out(c: ActivationLine) -> WrongArray:
    """Nothing is passed on through the activation: the path is left out."""
    return 0 * c.right


@mistake("activation", "slopes", wrong="δz = δa · (g(z) + z g(z))",
         right="δz = δa · (g(z) + z g′(z))", operations=GATES)  # fmt: skip
def gate_value_for_slope(c: ActivationLine) -> WrongArray:
    """The gate stands for its slope in the product rule: of σ(z) the factor 1 − σ(z) is missing."""
    gate = np.where(c.z == 0, c.slope, c.a / np.where(c.z == 0, 1, c.z))
    return c.da * (gate + c.a)
