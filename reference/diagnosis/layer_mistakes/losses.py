"""Mistakes of losses that are layers of a graph."""

import numpy as np

from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, LayerRule
from reference.formats import Array

_COSINE, _TRIPLET, _MARGIN = ("cosine_embedding",), ("triplet_margin",), ("multi_margin",)
_SOFT, _FOCAL, _PENALTY = ("multilabel_soft_margin",), ("focal",), ("l2_penalty",)


def _lengths(c: LayerLine, name: str) -> FloatArray:
    return np.asarray(np.linalg.norm(c[name], axis=1, keepdims=True))


def _other(c: LayerLine) -> str:
    return "z" if c.argument == "x" else "x"


def _sign(c: LayerLine) -> FloatArray:
    """Return ∓ δL: what multiplies the slope of the cosine; 0 where the margin is kept."""
    active = (c["target"] > 0) | (c.y > 0)
    return np.where(active, -np.where(c["target"] > 0, 1.0, -1.0) * c.dy, 0.0)[:, None]


# -- pairs and triplets ---------------------------------------------------------------------------

# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
cosine_x = LayerRule(_COSINE, ("x", "z"))
cosine_x("cosine_projection_left_out", "δx = ∓ δL w/‖x‖",
    "The length of x is in the cosine too: the part along x is to be taken off.",
    lambda c: _sign(c) * c[_other(c)] / (_lengths(c, "x") * _lengths(c, "z")))
cosine_x("cosine_not_divided_by_length", "δx = ∓ δL (w − u cos)",
    "The direction is x divided by its length, and so is its gradient.",
    lambda c: c.own * _lengths(c, c.argument))
cosine_x("cosine_sign_of_unlike_pairs", "δx = −δL ∂cos/∂x whatever the target",
    "Pairs that are to be unlike have L = cos − margin: their gradient has the other sign.",
    lambda c: c.pulled(dy=np.where(c["target"] > 0, c.dy, -c.dy))[c.argument])
cosine_x("cosine_margin_ignored", "δx where cos < margin too",
    "A pair that keeps the margin has the loss 0 and gives no gradient.",
    lambda c: c.pulled(margin=-2.0)[c.argument])
LayerRule(_TRIPLET, ("anchor", "positive", "negative"))(
    "triplet_margin_ignored", "the gradient where L = 0 too",
    "A triplet that keeps the margin has the loss 0 and gives no gradient.",
    lambda c: c.pulled(margin=1e6)[c.argument])

triplet_anchor = LayerRule(_TRIPLET, ("anchor",))
triplet_anchor("triplet_anchor_of_the_positive_alone", "δa = δL u",
    "The anchor stands in both distances: that to the negative is left out.",
    lambda c: -c.right["positive"])
triplet_anchor("triplet_anchor_of_the_negative_alone", "δa = −δL w",
    "The anchor stands in both distances: that to the positive is left out.",
    lambda c: -c.right["negative"])
triplet_positive = LayerRule(_TRIPLET, ("positive", "negative"))
triplet_positive("triplet_distance_not_divided", "∂‖d‖/∂d = d",
    "The slope of a distance is the direction: it is divided by the distance.",
    lambda c: c.own * np.linalg.norm(
        c["anchor"] - c[c.argument] + c.options["eps"], axis=1, keepdims=True))
triplet_positive("triplet_sides_exchanged", "δp and δn exchanged",
    "The gradients of the positive and the negative are exchanged.",
    lambda c: c.right["negative" if c.argument == "positive" else "positive"])

# -- scores ---------------------------------------------------------------------------------------


def _at_label(c: LayerLine) -> tuple[Array, Array]:
    return np.arange(len(c["x"])), c["target"]


def _multi_margin_label_left_out(c: LayerLine) -> FloatArray:
    found = c.own.copy()
    found[_at_label(c)] = 0
    return found


margin_x = LayerRule(_MARGIN, ("x",))
margin_x("multi_margin_label_left_out", "δx_t = 0",
    "The label's score stands in every term: its gradient is left out.",
    _multi_margin_label_left_out)


def _multi_margin_label_counted_once(c: LayerLine) -> FloatArray:
    found = c.own.copy()
    some = (found > 0).any(axis=1) | (found < 0).any(axis=1)
    found[_at_label(c)] = np.where(some, -c.dy / found.shape[1], 0)
    return found


margin_x("multi_margin_label_counted_once", "δx_t = −δL/C",
    "The label's score falls in every term that is above 0, not in one.",
    _multi_margin_label_counted_once)
LayerRule((*_MARGIN, *_SOFT), ("x",))("class_count_left_out", "δx without 1/C",
    "The loss is a mean over the classes: 1/C is left out of its gradient.",
    lambda c: c.own * c["x"].shape[1],
    when=lambda c: c["x"].shape[1] > 1)
margin_x("multi_margin_ignores_the_margin", "the gradient where the margin is kept too",
    "A score that keeps the margin gives no gradient.",
    lambda c: c.pulled(margin=1e6)["x"])
LayerRule((*_SOFT, *_FOCAL), ("x",))("target_not_subtracted", "δx = σ(x) δL/C",
    "σ(x) − t is the slope: the target is left out, as if none of the classes were there.",
    lambda c: c.pulled(target=np.zeros_like(c["target"]))["x"])

soft_x = LayerRule(_SOFT, ("x",))
soft_x("soft_margin_sign", "δx = (t − σ(x)) δL/C",
    "The sign is wrong: the slope is σ(x) − t.",
    lambda c: -c.own)
soft_x("soft_margin_sigmoid_twice", "δx = (σ(x) − t) σ(x) (1 − σ(x)) δL/C",
    "σ(x) − t has the sigmoid's slope in it already.",
    lambda c: c.own * (s := 1 / (1 + np.exp(-c["x"]))) * (1 - s))

focal_x = LayerRule(_FOCAL, ("x",))
focal_x("focal_factor_left_out", "δx = (p − t) δL",
    "The formula is that of binary cross entropy: the focusing factor is left out.",
    lambda c: c.pulled(gamma=0.0)["x"],
    when=lambda c: c.options["gamma"] != 0)
focal_x("focal_factor_as_constant", "δx = (1 − p)^γ (p − t) δL",
    "The focusing factor depends on x too: its own derivative is left out.",
    lambda c: c.pulled(gamma=0.0)["x"] * _of_label(c) ** c.options["gamma"],
    when=lambda c: c.options["gamma"] != 0)


def _of_label(c: LayerLine) -> FloatArray:
    """Return 1 − p."""
    return np.asarray(1 / (1 + np.exp(np.where(c["target"] > 0, c["x"], -c["x"]))))


penalty_weight = LayerRule(_PENALTY, ("weight",))
penalty_weight("penalty_two_kept", "∂L/∂w = 2 λ w",
    "The ½ of the penalty and the 2 of the square cancel.",
    lambda c: 2 * c.own)
penalty_weight("penalty_strength_left_out", "∂L/∂w = w",
    "The strength λ is left out.",
    lambda c: c["weight"] * c.dy[0],
    when=lambda c: c.options["strength"] != 1)
