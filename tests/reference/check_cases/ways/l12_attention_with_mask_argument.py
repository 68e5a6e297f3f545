# exit: 0
# expect: right: batches of sequences, an additive mask with a default, extra arguments that are not differentiated
import numpy as np


def scaled_dot_product_attention(q, k, v, mask=None, scale=None):
    scale = scale or 1.0 / np.sqrt(q.shape[-1])
    scores = np.einsum("bqd,bkd->bqk", q, k) * scale
    if mask is not None:
        scores = scores + mask
    w = np.exp(scores - scores.max(-1, keepdims=True))
    w /= w.sum(-1, keepdims=True)
    return np.einsum("bqk,bkd->bqd", w, v), (q, k, v, w, scale)


def scaled_dot_product_attention_backward(d_out, cache):
    q, k, v, w, scale = cache
    d_v = np.einsum("bqk,bqd->bkd", w, d_out)
    d_w = np.einsum("bqd,bkd->bqk", d_out, v)
    d_scores = w * (d_w - np.sum(d_w * w, axis=-1, keepdims=True))
    d_q = np.einsum("bqk,bkd->bqd", d_scores, k) * scale
    d_k = np.einsum("bqk,bqd->bkd", d_scores, q) * scale
    return d_q, d_k, d_v
