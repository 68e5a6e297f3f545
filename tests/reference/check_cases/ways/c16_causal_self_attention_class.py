# exit: 0
# expect: right: several heads, a causal mask by -inf, one matrix for q, k and v; keeps grads in a dict, returns dx of (B, T, C)
import numpy as np


class CausalSelfAttention:
    def __init__(self, n_embd, n_head):
        assert n_embd % n_head == 0
        self.n_head = n_head
        self.c_attn = np.random.randn(n_embd, 3 * n_embd) * 0.1
        self.c_proj = np.random.randn(n_embd, n_embd) * 0.1
        self.grads = {}

    def split(self, t):
        B, T, C = t.shape
        return t.reshape(B, T, self.n_head, C // self.n_head).transpose(0, 2, 1, 3)

    def merge(self, t):
        B, nh, T, hs = t.shape
        return t.transpose(0, 2, 1, 3).reshape(B, T, nh * hs)

    def forward(self, x):
        T = x.shape[1]
        q, k, v = (self.split(t) for t in np.split(x @ self.c_attn, 3, axis=2))
        att = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
        att = np.where(np.tril(np.ones((T, T))) == 0, -np.inf, att)
        att = np.exp(att - att.max(axis=-1, keepdims=True))
        att = att / att.sum(axis=-1, keepdims=True)
        y = self.merge(att @ v)
        self.saved = x, q, k, v, att, y
        return y @ self.c_proj

    def backward(self, dout):
        x, q, k, v, att, y = self.saved
        self.grads["c_proj"] = np.einsum("btc,btd->cd", y, dout)
        dy = self.split(dout @ self.c_proj.T)
        dv = att.transpose(0, 1, 3, 2) @ dy
        datt = dy @ v.transpose(0, 1, 3, 2)
        ds = att * (datt - (datt * att).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
        dqkv = np.concatenate([self.merge(t) for t in (ds @ k, ds.transpose(0, 1, 3, 2) @ q, dv)], axis=2)
        self.grads["c_attn"] = np.einsum("btc,btd->cd", x, dqkv)
        return dqkv @ self.c_attn.T
