"""Mistakes of attention.

dv = pᵀ dy, dp = dy vᵀ, ds = p (dp - Σ p dp), dq = ds k/√D, dk = dsᵀ q/√D.
"""

import math
from typing import Any

import numpy as np

from manual_backprop.layers.elementwise import over_repeated
from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, layer_mistake

_ATTENTION = ("attention",)
_SCORES = ("q", "k", "bias")


def _weights(c: LayerLine) -> tuple[FloatArray, FloatArray]:
    """Return p and dp; p is the value at an identity in the place of v."""
    keys = c["k"].shape[-2]
    one = np.broadcast_to(np.eye(keys, dtype=c.dy.dtype), (*c["k"].shape[:-2], keys, keys))
    return c.value(v=one), c.dy @ c["v"].swapaxes(-1, -2)


def _from_scores(c: LayerLine, ds: FloatArray) -> Any:
    """Return what the cotangent of the scores gives to q, k or the bias."""
    scale = 1.0 / math.sqrt(c["q"].shape[-1])
    if c.argument == "bias":
        return over_repeated(ds, c["bias"])
    return (ds @ c["k"] if c.argument == "q" else ds.swapaxes(-1, -2) @ c["q"]) * scale


def _square(c: LayerLine) -> bool:
    return bool(c["q"].shape[-2] == c["k"].shape[-2])


@layer_mistake(_ATTENTION, ("q", "k"), "δq = δs k, δk = δsᵀ q")
def attention_scale_left_out(c: LayerLine) -> Any:
    """The scores are divided by √D in the forward, and their gradients have to be too."""
    return c.own * math.sqrt(c["q"].shape[-1])


@layer_mistake(_ATTENTION, ("q", "k"), "δq = δs k/D")
def attention_scale_twice(c: LayerLine) -> Any:
    """√D divides once too often."""
    return c.own / math.sqrt(c["q"].shape[-1])


@layer_mistake(_ATTENTION, _SCORES, "δs = p δp")
def attention_row_sum_left_out(c: LayerLine) -> Any:
    """The softmax makes every weight depend on every score: Σ p δp is to be subtracted."""
    p, dp = _weights(c)
    return _from_scores(c, p * dp)


@layer_mistake(_ATTENTION, _SCORES, "δs = δp")
def attention_softmax_left_out(c: LayerLine) -> Any:
    """The cotangent of the weights is taken for that of the scores: the softmax is left out."""
    return _from_scores(c, _weights(c)[1])


@layer_mistake(_ATTENTION, _SCORES, "δs = δp − Σ p δp")
def attention_weight_left_out(c: LayerLine) -> Any:
    """The factor p in front of the softmax's bracket is left out."""
    p, dp = _weights(c)
    return _from_scores(c, dp - (p * dp).sum(axis=-1, keepdims=True))


@layer_mistake(_ATTENTION, _SCORES, "δs = p (1 − p) δp")
def attention_softmax_diagonal(c: LayerLine) -> Any:
    """P (1 − p) is the diagonal of the softmax's Jacobian alone."""
    p, dp = _weights(c)
    return _from_scores(c, p * (1 - p) * dp)


@layer_mistake(_ATTENTION, _SCORES, "δs = p (δp − Σ δp)")
def attention_row_sum_unweighted(c: LayerLine) -> Any:
    """The sum that is subtracted is to be weighted by p."""
    p, dp = _weights(c)
    return _from_scores(c, p * (dp - dp.sum(axis=-1, keepdims=True)))


@layer_mistake(
    _ATTENTION, _SCORES, "δs of all keys",
    lambda c: c.arrays.get("mask") is not None or bool(c.options["causal"]),
)  # fmt: skip
def attention_mask_forgotten(c: LayerLine) -> Any:
    """The backward makes the weights again without the mask."""
    return c.pulled(mask=None, causal=False)[c.argument]


@layer_mistake(_ATTENTION, ("v",), "δv = p δy", _square)
def attention_weights_not_transposed(c: LayerLine) -> Any:
    """Key s collects from the queries that saw it: p is to be transposed; T = S hides it."""
    return _weights(c)[0] @ c.dy


@layer_mistake(_ATTENTION, ("k",), "δk = δs q/√D", _square)
def attention_scores_not_transposed(c: LayerLine) -> Any:
    """A key collects from the queries: δs is to be transposed; T = S hides it."""
    p, dp = _weights(c)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
    return ds @ c["q"] / math.sqrt(c["q"].shape[-1])


@layer_mistake(_ATTENTION, ("bias",), "δb = δs/√D")
def attention_bias_scaled(c: LayerLine) -> Any:
    """The bias is added after the division by √D."""
    return c.own / math.sqrt(c["q"].shape[-1])


@layer_mistake(_ATTENTION, ("q",), "δq = δs q/√D", _square)
def attention_query_from_queries(c: LayerLine) -> Any:
    """The score is q · k: its slope by q is k."""
    p, dp = _weights(c)
    ds = p * (dp - (p * dp).sum(axis=-1, keepdims=True))
    return ds @ c["q"] / math.sqrt(c["q"].shape[-1])
