"""Mistakes of products, gates and masks."""

import numpy as np

from manual_backprop.layers.elementwise import over_repeated
from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, LayerRule

_BILINEAR, _SWI_GLU, _GLU = ("bilinear",), ("swi_glu",), ("glu",)


def _sigmoid(a: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-a)))


def _drops(c: LayerLine) -> bool:
    return 0 < float(c.options["p"]) < 1


# -- dropout, PReLU -------------------------------------------------------------------------------

# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
dropout_x = LayerRule(("dropout",), ("x",))
dropout_x("dropout_mask_left_out", "δx = δy/(1 − p)",
    "What was dropped has no part in the output: the mask is left out of the backward.",
    lambda c: c.dy / (1 - c.options["p"]))
dropout_x("dropout_scale_left_out", "δx = m δy",
    "What stays is divided by 1 − p in the forward, and its gradient has to be too.",
    lambda c: c.dy * c["mask"], when=_drops)
dropout_x("dropout_scale_twice", "δx = m δy/(1 − p)²",
    "1 − p divides once too often.",
    lambda c: c.own / (1 - c.options["p"]), when=_drops)
dropout_x("dropout_divided_by_the_share_dropped", "δx = m δy/p",
    "P is the share that is dropped: 1 − p belongs below the line.",
    lambda c: c.dy * c["mask"] / c.options["p"], when=_drops)

prelu_x = LayerRule(("prelu",), ("x",))
prelu_x("prelu_negative_side_dropped", "δx = δy [x > 0]",
    "The slope is that of ReLU: below 0 the slope is the weight.",
    lambda c: c.dy * (c["x"] > 0))
prelu_x("prelu_slope_left_out", "δx = δy",
    "Below 0 the slope is the weight, not 1.",
    lambda c: c.dy)

prelu_weight = LayerRule(("prelu",), ("weight",))
prelu_weight("prelu_weight_from_all", "∂L/∂w = Σ δy x",
    "The weight multiplies the negative numbers alone.",
    lambda c: over_repeated(c.dy * c["x"], c["weight"]))
prelu_weight("prelu_weight_without_input", "∂L/∂w = Σ δy [x < 0]",
    "The derivative of w x by w is x: it is left out.",
    lambda c: over_repeated(c.dy * (c["x"] < 0), c["weight"]))
prelu_weight("prelu_weight_mean", "a mean over the batch in place of Σ",
    "Every sample uses the same weight: its gradients add up, a mean was taken.",
    lambda c: c.own * (c["weight"].size / c.dy.size))

# -- gates ----------------------------------------------------------------------------------------


def _glu_gate_slope_left_out(c: LayerLine) -> FloatArray:
    a, b = np.split(c["x"], 2, axis=-1)
    return np.concatenate([c.dy * _sigmoid(b), c.dy * a], axis=-1)


glu_x = LayerRule(_GLU, ("x",))
glu_x("glu_gate_slope_left_out", "δb = δy a",
    "The gate goes through a sigmoid: its slope is left out.",
    _glu_gate_slope_left_out)
glu_x("glu_gate_left_out", "δa = δy",
    "The value is multiplied by the gate: the gate is left out of its cotangent.",
    lambda c: np.concatenate([c.dy, np.split(c.own, 2, axis=-1)[1]], axis=-1))
glu_x("glu_halves_exchanged", "δx = (δb, δa)",
    "The two halves are put together the wrong way round.",
    lambda c: np.concatenate(np.split(c.own, 2, axis=-1)[::-1], axis=-1))


def _glu_value_left_out(c: LayerLine) -> FloatArray:
    _, b = np.split(c["x"], 2, axis=-1)
    s = _sigmoid(b)
    return np.concatenate([c.dy * s, c.dy * s * (1 - s)], axis=-1)


glu_x("glu_value_left_out", "δb = δy σ(b) (1 − σ(b))",
    "The gate is multiplied by the value: the value is left out of its cotangent.",
    _glu_value_left_out)

swi_glu_x = LayerRule(_SWI_GLU, ("x",))
swi_glu_x("swi_glu_sigmoid_for_silu", "δx = δy σ(g)",
    "The gate goes through SiLU, g σ(g), not through the sigmoid alone.",
    lambda c: c.dy * _sigmoid(c["gate"]))

swi_glu_gate = LayerRule(_SWI_GLU, ("gate",))
swi_glu_gate("swi_glu_product_rule_left_out", "δg = δy x σ(g)",
    "SiLU is a product, g σ(g): the slope of its second factor is left out.",
    lambda c: c.dy * c["x"] * _sigmoid(c["gate"]))
swi_glu_gate("swi_glu_slope_of_sigmoid", "δg = δy x σ(g) (1 − σ(g))",
    "The slope is that of the sigmoid, not of SiLU.",
    lambda c: c.dy * c["x"] * (s := _sigmoid(c["gate"])) * (1 - s))
swi_glu_x("swi_glu_gate_not_squashed", "δx = δy g",
    "The value is multiplied by SiLU of the gate, not by the gate.",
    lambda c: c.dy * c["gate"])

# -- products -------------------------------------------------------------------------------------


def _bilinear_other_left_out(c: LayerLine) -> FloatArray:
    other = "z" if c.argument == "x" else "x"
    return c.pulled(**{other: np.ones_like(c[other])})[c.argument]


bilinear_x = LayerRule(_BILINEAR, ("x", "z"))
bilinear_x("bilinear_other_left_out", "δx = Σ δy W, without the other",
    "The slope by one value has the other one in it: it is left out.",
    _bilinear_other_left_out)
bilinear_x("bilinear_weight_transposed", "δx = Σ δy Wᵀ z",
    "The weight's two last axes are exchanged; only where both values are as long does it fit.",
    lambda c: c.pulled(weight=np.swapaxes(c["weight"], 1, 2))[c.argument],
    when=lambda c: c["x"].shape == c["z"].shape and c["x"].shape[1] > 1)
LayerRule(_BILINEAR, ("weight", "bias"))(
    "bilinear_parameter_mean", "a mean over the batch in place of Σ",
    "The samples add up; a mean was taken.",
    lambda c: c.own / len(c["x"]))
LayerRule(_BILINEAR, ("weight",))("bilinear_weight_from_one_value", "∂L/∂W = Σ δy x",
    "The weight multiplies the product of both values: z is left out.",
    lambda c: c.pulled(z=np.ones_like(c["z"]))["weight"])

multiply_a = LayerRule(("multiply",), ("a", "b"))
multiply_a("product_takes_itself", "δa = δy a",
    "The slope of a product by one factor is the other factor.",
    lambda c: c.dy * c[c.argument],
    when=lambda c: c["a"].shape == c["b"].shape)
multiply_a("product_as_sum", "δa = δy",
    "The cotangent is handed on as through a sum: the other factor is left out.",
    lambda c: over_repeated(c.dy, c[c.argument]))
LayerRule(("add",), ("a", "b"))("sum_shared_out", "δa = δy/2",
    "Each term of a sum gets the whole cotangent, not a half of it.",
    lambda c: c.own / 2)

rotary_x = LayerRule(("rotary",), ("x",))
rotary_x("rotary_turned_forwards", "δx = R δy",
    "The transpose of a rotation turns back: the sine changes its sign.",
    lambda c: c.pulled(sin=-c["sin"])["x"])
rotary_x("rotary_sine_left_out", "δx = δy cos",
    "Each number goes into two of the output: the part with the sine is left out.",
    lambda c: c.pulled(sin=np.zeros_like(c["sin"]))["x"])
