"""How people write the operations of the registry: NumPy forwards with the slopes beside them."""

from typing import NamedTuple


class ActivationForm(NamedTuple):
    """f(z) and f′(z) in terms of z and a; by rows the whole δz. `parameter` is its number."""

    value: str
    slope: str
    parameter: float = 1.0
    rowwise: bool = False


class LossForm(NamedTuple):
    """L by entry (or by row) and ∂L/∂y by entry, in terms of y and t, and numbers by name."""

    value: str
    slope: str
    rowwise: bool = False
    options: tuple[tuple[str, float], ...] = ()


_GATE = "(1 / (1 + np.exp(-z)))"
_NORMAL = "(0.5 * (1 + erf(z / np.sqrt(2))))"
_INNER = "np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))"
_LOG_ONE = "np.log(1 + np.exp(z))"
_SOFTMAX = "np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True)"

ACTIVATION_FORMS = {
    "relu": ActivationForm("np.maximum(z, 0)", "(z > 0)"),
    "leaky_relu": ActivationForm("np.where(z > 0, z, 0.1 * z)", "np.where(z > 0, 1.0, 0.1)", 0.1),
    "relu6": ActivationForm("np.minimum(np.maximum(z, 0), 6)", "((z > 0) & (z < 6))"),
    "hardtanh": ActivationForm("np.clip(z, -1, 1)", "((z > -1) & (z < 1))"),
    "hard_sigmoid": ActivationForm("np.clip(z + 3, 0, 6) / 6", "((z > -3) & (z < 3)) / 6"),
    "hard_swish": ActivationForm(
        "z * np.clip(z + 3, 0, 6) / 6", "np.where(z < -3, 0, np.where(z < 3, (2 * z + 3) / 6, 1))"
    ),
    "softshrink": ActivationForm(
        "np.sign(z) * np.maximum(np.abs(z) - 0.5, 0)", "(np.abs(z) > 0.5)", 0.5
    ),
    "hardshrink": ActivationForm("np.where(np.abs(z) > 0.5, z, 0)", "(np.abs(z) > 0.5)", 0.5),
    "elu": ActivationForm(
        "np.where(z > 0, z, 1.5 * (np.exp(z) - 1))", "np.where(z > 0, 1, 1.5 * np.exp(z))", 1.5
    ),
    "selu": ActivationForm(
        "1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(z) - 1))",
        "1.0507009873554805 * np.where(z > 0, 1, 1.6732632423543772 * np.exp(z))",
    ),
    "celu": ActivationForm(
        "np.where(z > 0, z, 2.0 * (np.exp(z / 2.0) - 1))", "np.where(z > 0, 1, np.exp(z / 2.0))", 2
    ),
    "sigmoid": ActivationForm("1 / (1 + np.exp(-z))", "a * (1 - a)"),
    "tanh": ActivationForm("np.tanh(z)", "(1 - a**2)"),
    "softplus": ActivationForm(_LOG_ONE, _GATE),
    "log_sigmoid": ActivationForm("-np.log(1 + np.exp(-z))", "1 / (1 + np.exp(z))"),
    "softsign": ActivationForm("z / (1 + np.abs(z))", "1 / (1 + np.abs(z)) ** 2"),
    "squareplus": ActivationForm(
        "(z + np.sqrt(z**2 + 4)) / 2", "(1 + z / np.sqrt(z**2 + 4)) / 2", 4
    ),
    "tanhshrink": ActivationForm("z - np.tanh(z)", "np.tanh(z) ** 2"),
    "silu": ActivationForm(f"z * {_GATE}", f"({_GATE} + z * {_GATE} * (1 - {_GATE}))"),
    "mish": ActivationForm(
        f"z * np.tanh({_LOG_ONE})",
        f"(np.tanh({_LOG_ONE}) + z * (1 - np.tanh({_LOG_ONE}) ** 2) * {_GATE})",
    ),
    "gelu": ActivationForm(
        f"z * {_NORMAL}", f"({_NORMAL} + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))"
    ),
    "gelu_tanh": ActivationForm(
        f"0.5 * z * (1 + {_INNER})",
        f"(0.5 * (1 + {_INNER}) + 0.5 * z * (1 - {_INNER}**2) * np.sqrt(2 / np.pi) "
        "* (1 + 3 * 0.044715 * z**2))",
    ),
    "softmax": ActivationForm(
        "np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)",
        "a * (da - (da * a).sum(axis=-1, keepdims=True))",
        rowwise=True,
    ),
    "log_softmax": ActivationForm(
        "z - np.log(np.exp(z).sum(axis=-1, keepdims=True))",
        "da - np.exp(a) * da.sum(axis=-1, keepdims=True)",
        rowwise=True,
    ),
}
"""Every activation but the identity."""

_NORM = "np.sqrt((z**2).sum(axis=-1, keepdims=True))"
OTHER_FORMS = {
    "dropout": ActivationForm("z * mask / 0.8", "mask / 0.8"),
    "unit_rows": ActivationForm(
        f"z / {_NORM}", f"(da - a * (da * a).sum(axis=-1, keepdims=True)) / {_NORM}", rowwise=True
    ),
}
"""Functions that the registry does not know: one with a mask, one of whole rows."""
UNIT_ROWS_DIAGONAL = f"(1 - a**2) / {_NORM}"

_D = "(y - t)"
LOSS_FORMS = {
    "squared_error": LossForm(f"np.sum({_D} ** 2, axis=-1)", f"2 * {_D}", True),
    "mse": LossForm(f"{_D} ** 2", f"2 * {_D}"),
    "l1": LossForm(f"np.abs{_D}", f"np.sign{_D}"),
    "huber": LossForm(
        f"np.where(np.abs{_D} <= delta, 0.5 * {_D} ** 2, delta * (np.abs{_D} - 0.5 * delta))",
        f"np.where(np.abs{_D} <= delta, {_D}, delta * np.sign{_D})",
        options=(("delta", 0.5),),
    ),
    "smooth_l1": LossForm(
        f"np.where(np.abs{_D} < beta, 0.5 * {_D} ** 2 / beta, np.abs{_D} - 0.5 * beta)",
        f"np.where(np.abs{_D} < beta, {_D} / beta, np.sign{_D})",
        options=(("beta", 0.5),),
    ),
    "log_cosh": LossForm(f"np.log(np.cosh{_D})", f"np.tanh{_D}"),
    "gaussian_nll": LossForm(
        f"0.5 * (np.log(var) + {_D} ** 2 / var)", f"{_D} / var", options=(("var", 0.25),)
    ),
    "poisson_nll": LossForm("np.exp(y) - t * y", "(np.exp(y) - t)"),
    "hinge": LossForm("np.maximum(1 - t * y, 0)", "np.where(t * y < 1, -t, 0)"),
    "squared_hinge": LossForm("np.maximum(1 - t * y, 0) ** 2", "-2 * t * np.maximum(1 - t * y, 0)"),
    "binary_cross_entropy": LossForm(
        "-(t * np.log(y) + (1 - t) * np.log(1 - y))", "(-t / y + (1 - t) / (1 - y))"
    ),
    "categorical_cross_entropy": LossForm("-np.sum(t * np.log(y), axis=-1)", "(-t / y)", True),
    "bce_with_logits": LossForm("np.log(1 + np.exp(y)) - t * y", "(1 / (1 + np.exp(-y)) - t)"),
    "cross_entropy": LossForm(
        f"-np.sum(t * np.log({_SOFTMAX}), axis=-1)",
        f"({_SOFTMAX} * t.sum(axis=-1, keepdims=True) - t)",
        True,
    ),
    "nll": LossForm("-np.sum(t * y, axis=-1)", "(-t)", True),
    "kl_div": LossForm("t * (np.log(t + (t == 0)) - y)", "(-t)"),
}
"""Every loss."""
