"""Mistakes of products, gates and masks."""

from typing import Any

import numpy as np

from manual_backprop.layers.elementwise import over_repeated
from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, layer_mistake

_BILINEAR, _SWI_GLU, _GLU = ("bilinear",), ("swi_glu",), ("glu",)


def _sigmoid(a: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-a)))


def _drops(c: LayerLine) -> bool:
    return 0 < float(c.options["p"]) < 1


# -- dropout, PReLU -------------------------------------------------------------------------------


@layer_mistake(("dropout",), ("x",), "δx = δy/(1 − p)")
def dropout_mask_left_out(c: LayerLine) -> Any:
    """What was dropped has no part in the output: the mask is left out of the backward."""
    return c.dy / (1 - c.options["p"])


@layer_mistake(("dropout",), ("x",), "δx = m δy", _drops)
def dropout_scale_left_out(c: LayerLine) -> Any:
    """What stays is divided by 1 − p in the forward, and its gradient has to be too."""
    return c.dy * c["mask"]


@layer_mistake(("dropout",), ("x",), "δx = m δy/(1 − p)²", _drops)
def dropout_scale_twice(c: LayerLine) -> Any:
    """1 − p divides once too often."""
    return c.own / (1 - c.options["p"])


@layer_mistake(("dropout",), ("x",), "δx = m δy/p", _drops)
def dropout_divided_by_the_share_dropped(c: LayerLine) -> Any:
    """P is the share that is dropped: 1 − p belongs below the line."""
    return c.dy * c["mask"] / c.options["p"]


@layer_mistake(("prelu",), ("x",), "δx = δy [x > 0]")
def prelu_negative_side_dropped(c: LayerLine) -> Any:
    """The slope is that of ReLU: below 0 the slope is the weight."""
    return c.dy * (c["x"] > 0)


@layer_mistake(("prelu",), ("x",), "δx = δy")
def prelu_slope_left_out(c: LayerLine) -> Any:
    """Below 0 the slope is the weight, not 1."""
    return c.dy


@layer_mistake(("prelu",), ("weight",), "∂L/∂w = Σ δy x")
def prelu_weight_from_all(c: LayerLine) -> Any:
    """The weight multiplies the negative numbers alone."""
    return over_repeated(c.dy * c["x"], c["weight"])


@layer_mistake(("prelu",), ("weight",), "∂L/∂w = Σ δy [x < 0]")
def prelu_weight_without_input(c: LayerLine) -> Any:
    """The derivative of w x by w is x: it is left out."""
    return over_repeated(c.dy * (c["x"] < 0), c["weight"])


@layer_mistake(("prelu",), ("weight",), "a mean over the batch in place of Σ")
def prelu_weight_mean(c: LayerLine) -> Any:
    """Every sample uses the same weight: its gradients add up, a mean was taken."""
    return c.own * (c["weight"].size / c.dy.size)


# -- gates ----------------------------------------------------------------------------------------


@layer_mistake(_GLU, ("x",), "δb = δy a")
def glu_gate_slope_left_out(c: LayerLine) -> Any:
    """The gate goes through a sigmoid: its slope is left out."""
    a, b = np.split(c["x"], 2, axis=-1)
    return np.concatenate([c.dy * _sigmoid(b), c.dy * a], axis=-1)


@layer_mistake(_GLU, ("x",), "δa = δy")
def glu_gate_left_out(c: LayerLine) -> Any:
    """The value is multiplied by the gate: the gate is left out of its cotangent."""
    return np.concatenate([c.dy, np.split(c.own, 2, axis=-1)[1]], axis=-1)


@layer_mistake(_GLU, ("x",), "δx = (δb, δa)")
def glu_halves_exchanged(c: LayerLine) -> Any:
    """The two halves are put together the wrong way round."""
    return np.concatenate(np.split(c.own, 2, axis=-1)[::-1], axis=-1)


@layer_mistake(_GLU, ("x",), "δb = δy σ(b) (1 − σ(b))")
def glu_value_left_out(c: LayerLine) -> Any:
    """The gate is multiplied by the value: the value is left out of its cotangent."""
    _, b = np.split(c["x"], 2, axis=-1)
    s = _sigmoid(b)
    return np.concatenate([c.dy * s, c.dy * s * (1 - s)], axis=-1)


@layer_mistake(_SWI_GLU, ("x",), "δx = δy σ(g)")
def swi_glu_sigmoid_for_silu(c: LayerLine) -> Any:
    """The gate goes through SiLU, g σ(g), not through the sigmoid alone."""
    return c.dy * _sigmoid(c["gate"])


@layer_mistake(_SWI_GLU, ("gate",), "δg = δy x σ(g)")
def swi_glu_product_rule_left_out(c: LayerLine) -> Any:
    """SiLU is a product, g σ(g): the slope of its second factor is left out."""
    return c.dy * c["x"] * _sigmoid(c["gate"])


@layer_mistake(_SWI_GLU, ("gate",), "δg = δy x σ(g) (1 − σ(g))")
def swi_glu_slope_of_sigmoid(c: LayerLine) -> Any:
    """The slope is that of the sigmoid, not of SiLU."""
    s = _sigmoid(c["gate"])
    return c.dy * c["x"] * s * (1 - s)


@layer_mistake(_SWI_GLU, ("x",), "δx = δy g")
def swi_glu_gate_not_squashed(c: LayerLine) -> Any:
    """The value is multiplied by SiLU of the gate, not by the gate."""
    return c.dy * c["gate"]


# -- products -------------------------------------------------------------------------------------


@layer_mistake(_BILINEAR, ("x", "z"), "δx = Σ δy W, without the other")
def bilinear_other_left_out(c: LayerLine) -> Any:
    """The slope by one value has the other one in it: it is left out."""
    other = "z" if c.argument == "x" else "x"
    return c.pulled(**{other: np.ones_like(c[other])})[c.argument]


@layer_mistake(
    _BILINEAR, ("x", "z"), "δx = Σ δy Wᵀ z",
    lambda c: c["x"].shape == c["z"].shape and c["x"].shape[1] > 1,
)  # fmt: skip
def bilinear_weight_transposed(c: LayerLine) -> Any:
    """The weight's two last axes are exchanged; only where both values are as long does it fit."""
    return c.pulled(weight=np.swapaxes(c["weight"], 1, 2))[c.argument]


@layer_mistake(_BILINEAR, ("weight", "bias"), "a mean over the batch in place of Σ")
def bilinear_parameter_mean(c: LayerLine) -> Any:
    """The samples add up; a mean was taken."""
    return c.own / len(c["x"])


@layer_mistake(_BILINEAR, ("weight",), "∂L/∂W = Σ δy x")
def bilinear_weight_from_one_value(c: LayerLine) -> Any:
    """The weight multiplies the product of both values: z is left out."""
    return c.pulled(z=np.ones_like(c["z"]))["weight"]


@layer_mistake(("multiply",), ("a", "b"), "δa = δy a", lambda c: c["a"].shape == c["b"].shape)
def product_takes_itself(c: LayerLine) -> Any:
    """The slope of a product by one factor is the other factor."""
    return c.dy * c[c.argument]


@layer_mistake(("multiply",), ("a", "b"), "δa = δy")
def product_as_sum(c: LayerLine) -> Any:
    """The cotangent is handed on as through a sum: the other factor is left out."""
    return over_repeated(c.dy, c[c.argument])


@layer_mistake(("add",), ("a", "b"), "δa = δy/2")
def sum_shared_out(c: LayerLine) -> Any:
    """Each term of a sum gets the whole cotangent, not a half of it."""
    return c.own / 2


@layer_mistake(("rotary",), ("x",), "δx = R δy")
def rotary_turned_forwards(c: LayerLine) -> Any:
    """The transpose of a rotation turns back: the sine changes its sign."""
    return c.pulled(sin=-c["sin"])["x"]


@layer_mistake(("rotary",), ("x",), "δx = δy cos")
def rotary_sine_left_out(c: LayerLine) -> Any:
    """Each number goes into two of the output: the part with the sine is left out."""
    return c.pulled(sin=np.zeros_like(c["sin"]))["x"]
