"""Mistakes of attention.

dv = pᵀ dy, dp = dy vᵀ, ds = p (dp - Σ p dp), dq = ds k/√D, dk = dsᵀ q/√D.
"""

import math

import numpy as np

from manual_backprop.layers.elementwise import over_repeated
from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, LayerRule

_ATTENTION = ("attention",)
_SCORES = ("q", "k", "bias")


class _Scores:
    """The weights p of an attention, their cotangent dp, and Σ p dp of each row.

    p is the value at an identity in the place of v.
    """

    def __init__(self, c: LayerLine) -> None:
        self.line, keys = c, c["k"].shape[-2]
        one = np.broadcast_to(np.eye(keys, dtype=c.dy.dtype), (*c["k"].shape[:-2], keys, keys))
        self.p, self.dp = c.value(v=one), c.dy @ c["v"].swapaxes(-1, -2)
        self.sums = (self.p * self.dp).sum(axis=-1, keepdims=True)
        self.right = self.p * (self.dp - self.sums)

    def back(self, ds: FloatArray) -> FloatArray:
        """Return what a cotangent of the scores gives to q, k or the bias."""
        c, scale = self.line, 1.0 / math.sqrt(self.line["q"].shape[-1])
        if c.argument == "bias":
            return over_repeated(ds, c["bias"])
        found = ds @ c["k"] if c.argument == "q" else ds.swapaxes(-1, -2) @ c["q"]
        return np.asarray(found * scale)


def _square(c: LayerLine) -> bool:
    return bool(c["q"].shape[-2] == c["k"].shape[-2])


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
attention_q = LayerRule(_ATTENTION, ("q", "k"))
attention_q("attention_scale_left_out", "δq = δs k, δk = δsᵀ q",
    "The scores are divided by √D in the forward, and their gradients have to be too.",
    lambda c: c.own * math.sqrt(c["q"].shape[-1]))
attention_q("attention_scale_twice", "δq = δs k/D",
    "√D divides once too often.",
    lambda c: c.own / math.sqrt(c["q"].shape[-1]))
attention_scores = LayerRule(_ATTENTION, _SCORES)
attention_scores("attention_row_sum_left_out", "δs = p δp",
    "The softmax makes every weight depend on every score: Σ p δp is to be subtracted.",
    lambda c: (s := _Scores(c)).back(s.p * s.dp))
attention_scores("attention_softmax_left_out", "δs = δp",
    "The cotangent of the weights is taken for that of the scores: the softmax is left out.",
    lambda c: (s := _Scores(c)).back(s.dp))
attention_scores("attention_weight_left_out", "δs = δp − Σ p δp",
    "The factor p in front of the softmax's bracket is left out.",
    lambda c: (s := _Scores(c)).back(s.dp - s.sums))
attention_scores("attention_softmax_diagonal", "δs = p (1 − p) δp",
    "P (1 − p) is the diagonal of the softmax's Jacobian alone.",
    lambda c: (s := _Scores(c)).back(s.p * (1 - s.p) * s.dp))
attention_scores("attention_row_sum_unweighted", "δs = p (δp − Σ δp)",
    "The sum that is subtracted is to be weighted by p.",
    lambda c: (s := _Scores(c)).back(s.p * (s.dp - s.dp.sum(axis=-1, keepdims=True))))
attention_scores("attention_mask_forgotten", "δs of all keys",
    "The backward makes the weights again without the mask.",
    lambda c: c.pulled(mask=None, causal=False)[c.argument],
    when=lambda c: c.arrays.get("mask") is not None or bool(c.options["causal"]))
LayerRule(_ATTENTION, ("v",))("attention_weights_not_transposed", "δv = p δy",
    "Key s collects from the queries that saw it: p is to be transposed; T = S hides it.",
    lambda c: _Scores(c).p @ c.dy, when=_square)
LayerRule(_ATTENTION, ("k",))("attention_scores_not_transposed", "δk = δs q/√D",
    "A key collects from the queries: δs is to be transposed; T = S hides it.",
    lambda c: _Scores(c).right @ c["q"] / math.sqrt(c["q"].shape[-1]), when=_square)
LayerRule(_ATTENTION, ("bias",))("attention_bias_scaled", "δb = δs/√D",
    "The bias is added after the division by √D.",
    lambda c: c.own / math.sqrt(c["q"].shape[-1]))
LayerRule(_ATTENTION, ("q",))("attention_query_from_queries", "δq = δs q/√D",
    "The score is q · k: its slope by q is k.",
    lambda c: _Scores(c).right @ c["q"] / math.sqrt(c["q"].shape[-1]), when=_square)
