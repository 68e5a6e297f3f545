"""Mistakes of losses that are layers of a graph."""

from typing import Any

import numpy as np

from reference.diagnosis.layer_mistakes.catalogue import LayerLine, layer_mistake

_COSINE, _TRIPLET, _MARGIN = ("cosine_embedding",), ("triplet_margin",), ("multi_margin",)
_SOFT, _FOCAL, _PENALTY = ("multilabel_soft_margin",), ("focal",), ("l2_penalty",)


def _lengths(c: LayerLine, name: str) -> Any:
    return np.sqrt((c[name] ** 2).sum(axis=1, keepdims=True))


def _other(c: LayerLine) -> str:
    return "z" if c.argument == "x" else "x"


def _sign(c: LayerLine) -> Any:
    """Return ∓ δL: what multiplies the slope of the cosine; 0 where the margin is kept."""
    active = (c["target"] > 0) | (c.y > 0)
    return np.where(active, -np.where(c["target"] > 0, 1.0, -1.0) * c.dy, 0.0)[:, None]


# -- pairs and triplets ---------------------------------------------------------------------------


@layer_mistake(_COSINE, ("x", "z"), "δx = ∓ δL w/‖x‖")
def cosine_projection_left_out(c: LayerLine) -> Any:
    """The length of x is in the cosine too: the part along x is to be taken off."""
    return _sign(c) * c[_other(c)] / (_lengths(c, "x") * _lengths(c, "z"))


@layer_mistake(_COSINE, ("x", "z"), "δx = ∓ δL (w − u cos)")
def cosine_not_divided_by_length(c: LayerLine) -> Any:
    """The direction is x divided by its length, and so is its gradient."""
    return c.own * _lengths(c, c.argument)


@layer_mistake(_COSINE, ("x", "z"), "δx = −δL ∂cos/∂x whatever the target")
def cosine_sign_of_unlike_pairs(c: LayerLine) -> Any:
    """Pairs that are to be unlike have L = cos − margin: their gradient has the other sign."""
    return c.pulled(dy=np.where(c["target"] > 0, c.dy, -c.dy))[c.argument]


@layer_mistake(_COSINE, ("x", "z"), "δx where cos < margin too")
def cosine_margin_ignored(c: LayerLine) -> Any:
    """A pair that keeps the margin has the loss 0 and gives no gradient."""
    return c.pulled(margin=-2.0)[c.argument]


@layer_mistake(_TRIPLET, ("anchor", "positive", "negative"), "the gradient where L = 0 too")
def triplet_margin_ignored(c: LayerLine) -> Any:
    """A triplet that keeps the margin has the loss 0 and gives no gradient."""
    return c.pulled(margin=1e6)[c.argument]


@layer_mistake(_TRIPLET, ("anchor",), "δa = δL u")
def triplet_anchor_of_the_positive_alone(c: LayerLine) -> Any:
    """The anchor stands in both distances: that to the negative is left out."""
    return -c.right["positive"]


@layer_mistake(_TRIPLET, ("anchor",), "δa = −δL w")
def triplet_anchor_of_the_negative_alone(c: LayerLine) -> Any:
    """The anchor stands in both distances: that to the positive is left out."""
    return -c.right["negative"]


@layer_mistake(_TRIPLET, ("positive", "negative"), "∂‖d‖/∂d = d")
def triplet_distance_not_divided(c: LayerLine) -> Any:
    """The slope of a distance is the direction: it is divided by the distance."""
    difference = c["anchor"] - c[c.argument] + c.options["eps"]
    return c.own * np.sqrt((difference**2).sum(axis=1, keepdims=True))


@layer_mistake(_TRIPLET, ("positive", "negative"), "δp and δn exchanged")
def triplet_sides_exchanged(c: LayerLine) -> Any:
    """The gradients of the positive and the negative are exchanged."""
    return c.right["negative" if c.argument == "positive" else "positive"]


# -- scores ---------------------------------------------------------------------------------------


def _at_label(c: LayerLine) -> tuple[Any, Any]:
    return np.arange(len(c["x"])), c["target"]


@layer_mistake(_MARGIN, ("x",), "δx_t = 0")
def multi_margin_label_left_out(c: LayerLine) -> Any:
    """The label's score stands in every term: its gradient is left out."""
    found = c.own.copy()
    found[_at_label(c)] = 0
    return found


@layer_mistake(_MARGIN, ("x",), "δx_t = −δL/C")
def multi_margin_label_counted_once(c: LayerLine) -> Any:
    """The label's score falls in every term that is above 0, not in one."""
    found = c.own.copy()
    some = (found > 0).any(axis=1) | (found < 0).any(axis=1)
    found[_at_label(c)] = np.where(some, -c.dy / found.shape[1], 0)
    return found


@layer_mistake((*_MARGIN, *_SOFT), ("x",), "δx without 1/C", lambda c: c["x"].shape[1] > 1)
def class_count_left_out(c: LayerLine) -> Any:
    """The loss is a mean over the classes: 1/C is left out of its gradient."""
    return c.own * c["x"].shape[1]


@layer_mistake(_MARGIN, ("x",), "the gradient where the margin is kept too")
def multi_margin_ignores_the_margin(c: LayerLine) -> Any:
    """A score that keeps the margin gives no gradient."""
    return c.pulled(margin=1e6)["x"]


@layer_mistake((*_SOFT, *_FOCAL), ("x",), "δx = σ(x) δL/C")
def target_not_subtracted(c: LayerLine) -> Any:
    """σ(x) − t is the slope: the target is left out, as if none of the classes were there."""
    return c.pulled(target=np.zeros_like(c["target"]))["x"]


@layer_mistake(_SOFT, ("x",), "δx = (t − σ(x)) δL/C")
def soft_margin_sign(c: LayerLine) -> Any:
    """The sign is turned round: the slope is σ(x) − t."""
    return -c.own


@layer_mistake(_SOFT, ("x",), "δx = (σ(x) − t) σ(x) (1 − σ(x)) δL/C")
def soft_margin_sigmoid_twice(c: LayerLine) -> Any:
    """σ(x) − t has the sigmoid's slope in it already."""
    s = 1 / (1 + np.exp(-c["x"]))
    return c.own * s * (1 - s)


@layer_mistake(_FOCAL, ("x",), "δx = (p − t) δL", lambda c: c.options["gamma"] != 0)
def focal_factor_left_out(c: LayerLine) -> Any:
    """The formula is that of binary cross entropy: the focusing factor is left out."""
    return c.pulled(gamma=0.0)["x"]


@layer_mistake(_FOCAL, ("x",), "δx = (1 − p)^γ (p − t) δL", lambda c: c.options["gamma"] != 0)
def focal_factor_as_constant(c: LayerLine) -> Any:
    """The focusing factor depends on x too: its own derivative is left out."""
    return c.pulled(gamma=0.0)["x"] * _of_label(c) ** c.options["gamma"]


def _of_label(c: LayerLine) -> Any:
    """Return 1 − p."""
    return 1 / (1 + np.exp(np.where(c["target"] > 0, c["x"], -c["x"])))


@layer_mistake(_PENALTY, ("weight",), "∂L/∂w = 2 λ w")
def penalty_two_kept(c: LayerLine) -> Any:
    """The ½ of the penalty and the 2 of the square cancel."""
    return 2 * c.own


@layer_mistake(_PENALTY, ("weight",), "∂L/∂w = w", lambda c: c.options["strength"] != 1)
def penalty_strength_left_out(c: LayerLine) -> Any:
    """The strength λ is left out."""
    return c["weight"] * c.dy[0]
