"""Attention. Shapes: q (…, T, D), k (…, S, D), v (…, S, D_v), y (…, T, D_v)."""

import math
from typing import Any

import numpy as np

from manual_backprop.activations.rowwise import Softmax, exponentials
from manual_backprop.arithmetic import BoolArray, Function, Math, N, RandomSource, Tensor
from manual_backprop.layers.elementwise import over_repeated
from manual_backprop.operation import FloatArray, Rows, Sample, layer


@layer(
    structure="rows",
    takes="sequence",
    torch="torch.nn.functional.scaled_dot_product_attention",
    jax="jax.nn.dot_product_attention",
)
class Attention:
    """y_t = Σ_s p_ts v_s with p_t = softmax of the scores q_t·k_s/√D + b_ts that query t sees.

    Heads are a leading axis. b is added to the scores, the mask is true where t sees s, and a
    causal query t sees s <= t. Backwards, in the order of the steps:

        dv_s = Σ_t p_ts dy_t                        `(…, S, D_v)`
        dp_ts = dy_t · v_s                          `(…, T, S)`
        ds_ts = p_ts (dp_ts - Σ_r p_tr dp_tr)       the softmax; it is db too
        dq_t = Σ_s ds_ts k_s/√D                     `(…, T, D)`
        dk_s = Σ_t ds_ts q_t/√D                     `(…, S, D)`

    What is not seen has p = 0, so it gets 0 by every one of these. A query that sees nothing has
    no softmax (0/0): y is 0 there and gives no gradient. Vaswani et al., 2017.
    """

    @staticmethod
    def forward(
        q: FloatArray,
        k: FloatArray,
        v: FloatArray,
        bias: FloatArray | None = None,
        mask: BoolArray | None = None,
        *,
        causal: bool = False,
    ) -> FloatArray:
        """Return y; bias and mask have a shape that is broadcast to (…, T, S)."""
        return _weights(q, k, bias, mask, causal)[1] @ v

    @staticmethod
    def backward(
        q: FloatArray,
        k: FloatArray,
        v: FloatArray,
        dy: FloatArray,
        bias: FloatArray | None = None,
        mask: BoolArray | None = None,
        *,
        causal: bool = False,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of q, k, v and, where there is one, the bias."""
        scores, p = _weights(q, k, bias, mask, causal)
        dscores = Softmax.backward(scores, p, dy @ v.swapaxes(-1, -2))
        scale = 1.0 / math.sqrt(q.shape[-1])
        found: dict[str, FloatArray] = {
            "q": dscores @ k * scale,
            "k": dscores.swapaxes(-1, -2) @ q * scale,
            "v": p.swapaxes(-1, -2) @ dy,
        }
        return found if bias is None else {**found, "bias": over_repeated(dscores, bias)}

    @staticmethod
    def tangent(
        q: FloatArray,
        k: FloatArray,
        v: FloatArray,
        tq: FloatArray,
        tk: FloatArray,
        tv: FloatArray,
        bias: FloatArray | None = None,
        tbias: FloatArray | None = None,
        mask: BoolArray | None = None,
        *,
        causal: bool = False,
    ) -> FloatArray:
        """Return tp v + p tv, where tp is the softmax's tangent along that of the scores."""
        scores, p = _weights(q, k, bias, mask, causal)
        tp = Softmax.backward(scores, p, _tangent_of_scores(q, k, tq, tk, tbias))
        return tp @ v + p @ tv

    @staticmethod
    def second(
        q: FloatArray,
        k: FloatArray,
        v: FloatArray,
        dy: FloatArray,
        tq: FloatArray,
        tk: FloatArray,
        tv: FloatArray,
        bias: FloatArray | None = None,
        tbias: FloatArray | None = None,
        mask: BoolArray | None = None,
        *,
        causal: bool = False,
    ) -> dict[str, FloatArray]:
        """Return the products of q, k, v and the bias.

        The product of dp_ts = dy_t · v_s is dy_t · tv_s, that of the softmax its own second:

            tds = softmax'(tdp) + softmax''(dp, ts),   ts the tangents of the scores
            tdq = (tds k + ds tk)/√D,   tdk = (tdsᵀ q + dsᵀ tq)/√D,   tdv = tpᵀ dy,   tdb = tds
        """
        scores, p = _weights(q, k, bias, mask, causal)
        tangent = _tangent_of_scores(q, k, tq, tk, tbias)
        dp, tdp = dy @ v.swapaxes(-1, -2), dy @ tv.swapaxes(-1, -2)
        ds = Softmax.backward(scores, p, dp)
        tds = Softmax.backward(scores, p, tdp) + Softmax.second(scores, p, dp, tangent)
        tp, scale = Softmax.backward(scores, p, tangent), 1.0 / math.sqrt(q.shape[-1])
        found: dict[str, FloatArray] = {
            "q": (tds @ k + ds @ tk) * scale,
            "k": (tds.swapaxes(-1, -2) @ q + ds.swapaxes(-1, -2) @ tq) * scale,
            "v": tp.swapaxes(-1, -2) @ dy,
        }
        return found if bias is None else {**found, "bias": over_repeated(tds, bias)}

    @staticmethod
    def definition(
        m: Math[N],
        q: list[N],
        k: list[list[N]],
        v: list[list[N]],
        bias: list[N] | None = None,
        mask: None = None,
        *,
        seen: list[N],
        **_: object,
    ) -> list[N | float]:
        """Return one row of y, with p_s = 1/Σ_r e^{score_r - score_s}; `seen` is 1 or -1."""
        scale = m.sqrt(m.number(len(q)))
        scores = [sum(a * b for a, b in zip(q, row, strict=True)) / scale for row in k]
        if bias is not None:
            scores = [score + b for score, b in zip(scores, bias, strict=True)]
        zero = m.number(0)
        weights = []
        for s, own in enumerate(scores):
            total = m.number(1)
            for r, score in enumerate(scores):
                if r != s:
                    total = total + m.where(seen[r], m.exp(score - own), zero)
            weights.append(m.where(seen[s], 1 / total, zero))
        columns = range(len(v[0]))
        return [sum(p * row[j] for p, row in zip(weights, v, strict=True)) for j in columns]

    @staticmethod
    def rows(
        q: FloatArray,
        k: FloatArray,
        v: FloatArray,
        bias: FloatArray | None = None,
        mask: BoolArray | None = None,
        *,
        causal: bool,
    ) -> Rows:
        """Return a row for each query: its D numbers, and all of k and v of the same sample."""
        length, keys = q.shape[-2], k.shape[-2]
        group = np.repeat(np.arange(q.size // (length * q.shape[-1])), length)
        inputs = {
            "q": np.arange(q.size).reshape(-1, q.shape[-1]),
            "k": np.arange(k.size).reshape(-1, *k.shape[-2:])[group],
            "v": np.arange(v.size).reshape(-1, *v.shape[-2:])[group],
        }
        table = (*q.shape[:-1], keys)
        if bias is not None:
            places = np.arange(bias.size).reshape(bias.shape)
            inputs["bias"] = np.broadcast_to(places, table).reshape(-1, keys)
        visible = np.broadcast_to(_visible(length, keys, mask, causal), table).reshape(-1, keys)
        output = np.arange(len(group) * v.shape[-1]).reshape(len(group), -1)
        return Rows(inputs, output, {"seen": np.where(visible, 1.0, -1.0)})

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return one or two heads, causal or not, with a bias, with a mask, with both or none."""
        if shape is None:
            heads = (1 + draw.below(2),) if draw.chance(1, 2) else ()
            shape = (1 + draw.below(2), *heads, 2 + draw.below(2), 1 + draw.below(3))
        keys, d_v = 2 + draw.below(3), 1 + draw.below(3)  # of one key, p is always 1
        shapes = {
            "q": shape, "k": (*shape[:-2], keys, shape[-1]), "v": (*shape[:-2], keys, d_v)
        }  # fmt: skip
        if draw.chance(1, 2):
            shapes["bias"] = (shape[-2], keys)
        arrays = {}
        if draw.chance(1, 2):
            mask = draw.normal(shape[-2], keys) > -0.5
            if draw.chance(3, 4):
                mask[:, 0] = True  # the first key is seen by all, also where it is causal
            arrays["mask"] = mask
        return Sample(shapes, arrays, {"causal": draw.chance(1, 2)})

    @staticmethod
    def with_torch(
        f: Function, q: Any, k: Any, v: Any, bias: Any = None, mask: Any = None, *, causal: bool
    ) -> Tensor:
        """Call torch's function with one mask: booleans, or a bias that is -∞ where unseen."""
        if causal:
            whole = q.new_ones((q.shape[-2], k.shape[-2])) if mask is None else mask
            mask = whole.tril() != 0
        if bias is not None and mask is not None:
            bias = bias.masked_fill(mask == 0, -math.inf)
        return f(q, k, v, mask if bias is None else bias)

    @staticmethod
    def with_jax(
        f: Function, q: Any, k: Any, v: Any, bias: Any = None, mask: Any = None, *, causal: bool
    ) -> Tensor:
        """Call JAX's function: heads are its last axis but one, and D_v is D.

        A product with ones on the diagonal fills the shorter of the two up with zeros.
        """
        d, d_v = q.shape[-1], v.shape[-1]
        leading, longest = (*q.shape[:-2], 1, 1)[:2], max(d, d_v)
        filled = [a @ np.eye(a.shape[-1], longest, dtype=a.dtype) for a in (q, k, v)]
        by_heads = [a.reshape(*leading, *a.shape[-2:]).swapaxes(1, 2) for a in filled]
        bias, mask = (a if a is None else a[None, None] for a in (bias, mask))
        scale = 1.0 / math.sqrt(d)
        y = f(*by_heads, bias=bias, mask=mask, is_causal=causal, scale=scale).swapaxes(1, 2)
        return y.reshape(*q.shape[:-1], longest)[..., :d_v]


def _visible(length: int, keys: int, mask: BoolArray | None, causal: bool) -> BoolArray:
    """Return which keys each query sees."""
    visible = np.tri(length, keys, dtype=bool) if causal else np.ones((length, keys), bool)
    return visible if mask is None else visible & mask


def _tangent_of_scores(
    q: FloatArray, k: FloatArray, tq: FloatArray, tk: FloatArray, tbias: FloatArray | None
) -> FloatArray:
    """Return the tangents of the scores."""
    tangent: FloatArray = tq @ k.swapaxes(-1, -2) + q @ tk.swapaxes(-1, -2)
    tangent = tangent / math.sqrt(q.shape[-1])
    return tangent if tbias is None else tangent + tbias


def _weights(
    q: FloatArray, k: FloatArray, bias: FloatArray | None, mask: BoolArray | None, causal: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the scores and p; a row that sees nothing has p = 0."""
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    visible = _visible(q.shape[-2], k.shape[-2], mask, causal)
    # What is not seen is set to the row's largest score, so that no difference is infinite.
    top = np.where(visible, scores, np.finfo(scores.dtype).min).max(axis=-1, keepdims=True)
    scores = np.where(visible, scores, top)
    e = exponentials(scores) * visible
    total = e.sum(axis=-1, keepdims=True)
    p: FloatArray = e / np.where(total > 0, total, total.dtype.type(1))
    return scores, p
