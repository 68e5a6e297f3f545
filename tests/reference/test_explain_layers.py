"""Mistakes injected into layers: convolution, normalisation, recurrence, attention."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from reference.checks.code import load, units_of
from reference.checks.explain import LIMIT, explain
from reference.checks.judging import Chosen, search

LAYERS = {
    "softmax_ce": """
import numpy as np

def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

def loss_and_grads(X, Y, W1, b1, W2, b2):
    n = len(X)
    z1 = X @ W1 + b1
    h = np.maximum(0, z1)
    p = softmax(h @ W2 + b2)
    loss = -np.sum(Y * np.log(p)) / n
    dz2 = (p - Y) / n
    dW2 = h.T @ dz2
    db2 = dz2.sum(axis=0)
    dh = dz2 @ W2.T
    dz1 = dh * (z1 > 0)
    dW1 = X.T @ dz1
    db1 = dz1.sum(axis=0)
    return loss, dW1, db1, dW2, db2
""",
    "softmax_layer": """
import numpy as np

class Softmax:
    def forward(self, x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        self.p = e / e.sum(axis=-1, keepdims=True)
        return self.p

    def backward(self, dout):
        s = np.sum(dout * self.p, axis=-1, keepdims=True)
        return self.p * (dout - s)
""",
    "batchnorm": """
import numpy as np

def bn_forward(x, gamma, beta, eps=1e-5):
    mean = x.mean(axis=0)
    xc = x - mean
    var = (xc ** 2).mean(axis=0)
    std = np.sqrt(var + eps)
    xhat = xc / std
    return gamma * xhat + beta, (xc, xhat, std, gamma)

def bn_backward(dout, cache):
    xc, xhat, std, gamma = cache
    n = len(dout)
    dgamma = (dout * xhat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dxhat = dout * gamma
    dxc = dxhat / std
    dstd = -(dxhat * xc).sum(axis=0) / std ** 2
    dvar = 0.5 * dstd / std
    dxc = dxc + 2 * xc * dvar / n
    dmean = -dxc.sum(axis=0)
    dx = dxc + dmean / n
    return dx, dgamma, dbeta
""",
    "embedding": """
import numpy as np

class Embedding:
    def __init__(self, V, D):
        self.W = np.random.randn(V, D)

    def forward(self, idx):
        self.idx = idx
        return self.W[idx]

    def backward(self, dout):
        self.dW = np.zeros_like(self.W)
        np.add.at(self.dW, self.idx, dout)
""",
    "rnn": """
import numpy as np

def rnn_forward(x, h0, Wx, Wh, b):
    N, T, D = x.shape
    H = len(b)
    h = np.zeros((N, T, H))
    prev = h0
    for t in range(T):
        prev = np.tanh(x[:, t] @ Wx + prev @ Wh + b)
        h[:, t] = prev
    return h, (x, h0, Wx, Wh, h)

def rnn_backward(dh, cache):
    x, h0, Wx, Wh, h = cache
    N, T, D = x.shape
    dx = np.zeros_like(x)
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wh.shape[0])
    dprev = np.zeros_like(h0)
    for t in range(T - 1, -1, -1):
        hp = h[:, t - 1] if t > 0 else h0
        da = (dh[:, t] + dprev) * (1 - h[:, t] ** 2)
        dx[:, t] = da @ Wx.T
        dprev = da @ Wh.T
        dWx += x[:, t].T @ da
        dWh += hp.T @ da
        db += da.sum(axis=0)
    return dx, dprev, dWx, dWh, db
""",
    "lstm": """
import numpy as np

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def lstm_step(x, h, c, Wx, Wh, b):
    H = h.shape[1]
    a = x @ Wx + h @ Wh + b
    i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H:2*H]), sigmoid(a[:, 2*H:3*H])
    g = np.tanh(a[:, 3*H:])
    cn = f * c + i * g
    tc = np.tanh(cn)
    hn = o * tc
    return hn, cn, (x, h, c, Wx, Wh, i, f, o, g, tc)

def lstm_step_backward(dhn, dcn, cache):
    x, h, c, Wx, Wh, i, f, o, g, tc = cache
    do = dhn * tc
    dcn = dcn + dhn * o * (1 - tc ** 2)
    df = dcn * c
    dc = dcn * f
    di = dcn * g
    dg = dcn * i
    da = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g ** 2)])
    dx = da @ Wx.T
    dh = da @ Wh.T
    dWx = x.T @ da
    dWh = h.T @ da
    db = da.sum(axis=0)
    return dx, dh, dc, dWx, dWh, db
""",
    "conv": """
import numpy as np

def conv_forward(x, w, b, stride=2, pad=1):
    N, C, H, W = x.shape
    F, _, k, _ = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    Ho, Wo = (H + 2 * pad - k) // stride + 1, (W + 2 * pad - k) // stride + 1
    out = np.zeros((N, F, Ho, Wo))
    for i in range(Ho):
        for j in range(Wo):
            win = xp[:, :, i * stride:i * stride + k, j * stride:j * stride + k]
            out[:, :, i, j] = np.tensordot(win, w, axes=([1, 2, 3], [1, 2, 3])) + b
    return out, (x.shape, xp, w, stride, pad)

def conv_backward(dout, cache):
    shape, xp, w, stride, pad = cache
    N, C, H, W = shape
    k = w.shape[2]
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            win = xp[:, :, i * stride:i * stride + k, j * stride:j * stride + k]
            dw += np.tensordot(dout[:, :, i, j], win, axes=([0], [0]))
            dwin = np.tensordot(dout[:, :, i, j], w, axes=([1], [0]))
            dxp[:, :, i * stride:i * stride + k, j * stride:j * stride + k] += dwin
    db = dout.sum(axis=(0, 2, 3))
    dx = dxp[:, :, pad:pad + H, pad:pad + W]
    return dx, dw, db
""",
    "attention": """
import numpy as np

def attention_forward(q, k, v):
    d = q.shape[-1]
    s = q @ k.T / np.sqrt(d)
    e = np.exp(s - s.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p @ v, (q, k, v, p)

def attention_backward(dout, cache):
    q, k, v, p = cache
    d = q.shape[-1]
    dv = p.T @ dout
    dp = dout @ v.T
    ds = p * (dp - (dp * p).sum(axis=1, keepdims=True))
    ds = ds / np.sqrt(d)
    dq = ds @ k
    dk = ds.T @ q
    return dq, dk, dv
""",
    "dropout": """
import numpy as np

class Net:
    def forward(self, x, w, b, mask, keep_prob=0.8):
        self.x, self.w, self.mask, self.keep_prob = x, w, mask, keep_prob
        self.z = x @ w + b
        self.a = np.maximum(self.z, 0)
        self.out = self.a * mask / keep_prob
        return self.out

    def backward(self, dout):
        da = dout * self.mask / self.keep_prob
        dz = da * (self.z > 0)
        dw = self.x.T @ dz
        db = dz.sum(axis=0)
        dx = dz @ self.w.T
        return dx, dw, db
""",
    "reg": """
import numpy as np

def loss(W, b, X, y, lam):
    p = 1 / (1 + np.exp(-(X @ W + b)))
    J = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)) + lam / 2 * np.sum(W ** 2)
    dW = X.T @ (p - y) / p.size + lam * W
    db = np.mean(p - y)
    return J, dW, db
""",
    "gelu": """
import numpy as np

def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))

def gelu_grad(x):
    u = np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)
    t = np.tanh(u)
    du = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x ** 2)
    return 0.5 * (1 + t) + 0.5 * x * (1 - t ** 2) * du
""",
    "elu": """
import numpy as np

class ELU:
    def __init__(self, alpha=1.3):
        self.alpha = alpha

    def forward(self, x):
        self.x = x
        self.y = np.where(x > 0, x, self.alpha * (np.exp(x) - 1))
        return self.y

    def backward(self, dy):
        return dy * np.where(self.x > 0, 1, self.y + self.alpha)
""",
    "train": """
import numpy as np

class Network:
    def __init__(self, n_in, n_hidden, n_out, lr=0.3):
        self.wih = np.random.randn(n_hidden, n_in)
        self.who = np.random.randn(n_out, n_hidden)
        self.lr = lr

    def train(self, inputs, targets):
        hidden = 1 / (1 + np.exp(-(self.wih @ inputs)))
        final = 1 / (1 + np.exp(-(self.who @ hidden)))
        out_delta = (final - targets) * final * (1 - final)
        hid_delta = (self.who.T @ out_delta) * hidden * (1 - hidden)
        self.who -= self.lr * np.outer(out_delta, hidden)
        self.wih -= self.lr * np.outer(hid_delta, inputs)
""",
    "layernorm": """
import numpy as np

class LayerNorm:
    def __init__(self, d, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(d), np.zeros(d), eps

    def forward(self, x):
        self.mu = x.mean(axis=-1, keepdims=True)
        self.var = x.var(axis=-1, keepdims=True)
        self.inv = 1 / np.sqrt(self.var + self.eps)
        self.xhat = (x - self.mu) * self.inv
        return self.gamma * self.xhat + self.beta

    def backward(self, dy):
        self.dgamma = (dy * self.xhat).sum(axis=0)
        self.dbeta = dy.sum(axis=0)
        g = dy * self.gamma
        m1 = g.mean(axis=-1, keepdims=True)
        m2 = (g * self.xhat).mean(axis=-1, keepdims=True)
        return self.inv * (g - m1 - self.xhat * m2)
""",
    "maxpool": """
import numpy as np

def pool_forward(x, size=2):
    N, C, H, W = x.shape
    out = np.zeros((N, C, H // size, W // size))
    for i in range(H // size):
        for j in range(W // size):
            out[:, :, i, j] = x[:, :, i*size:(i+1)*size, j*size:(j+1)*size].max(axis=(2, 3))
    return out, (x, size)

def pool_backward(dout, cache):
    x, size = cache
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*dout.shape):
        win = x[n, c, i*size:(i+1)*size, j*size:(j+1)*size]
        mask = win == win.max()
        dx[n, c, i*size:(i+1)*size, j*size:(j+1)*size] += mask * dout[n, c, i, j]
    return dx
""",
}

INJECTED = [
    ("softmax_ce", "dz1 = dh * (z1 > 0)", "dz1 = dh * (dh > 0)", "cotangent|incoming|mask"),
    (
        "softmax_ce",
        "dz2 = (p - Y) / n",
        "dz2 = (p - Y) * p * (1 - p) / n",
        "once more|twice|p \\(1 . p\\)",
    ),
    ("softmax_ce", "dz2 = (p - Y) / n", "dz2 = -Y / p / n", "Jacobian|left out"),
    ("softmax_layer", "return self.p * (dout - s)", "return self.p * dout", "sum"),
    (
        "softmax_layer",
        "return self.p * (dout - s)",
        "return dout * self.p * (1 - self.p)",
        "diagonal",
    ),
    ("softmax_layer", "return self.p * (dout - s)", "return dout", "left out"),
    ("softmax_layer", "return self.p * (dout - s)", "return dout - s", "factor"),
    (
        "softmax_layer",
        "return self.p * (dout - s)",
        "return self.p * (dout - dout.sum(axis=-1, keepdims=True))",
        "sum",
    ),
    ("batchnorm", "dx = dxc + dmean / n", "dx = dxc", "mean"),
    ("batchnorm", "dxc = dxc + 2 * xc * dvar / n", "pass", "var|std"),
    ("batchnorm", "dvar = 0.5 * dstd / std", "dvar = dstd / std", "2|twice"),
    ("batchnorm", "/ std ** 2", "/ std", "power|factor|exponent"),
    ("batchnorm", "dxhat = dout * gamma", "dxhat = dout", "gamma"),
    (
        "batchnorm",
        "dgamma = (dout * xhat).sum(axis=0)",
        "dgamma = (dout * xc).sum(axis=0)",
        "xc|xhat",
    ),
    ("embedding", "np.add.at(self.dW, self.idx, dout)", "self.dW[self.idx] = dout", "overwrit"),
    ("rnn", "(dh[:, t] + dprev)", "dh[:, t]", "time|path"),
    ("rnn", "dprev = da @ Wh.T", "dprev = da @ Wh", "transpos"),
    ("rnn", "dWh += hp.T @ da", "dWh += h[:, t].T @ da", "own output"),
    ("rnn", "dWx += x[:, t].T @ da", "dWx = x[:, t].T @ da", "overwrit|only the"),
    ("rnn", "* (1 - h[:, t] ** 2)", "* (1 - h[:, t])", "square"),
    (
        "rnn",
        "dprev = da @ Wh.T",
        "dprev = (dh[:, t] + dprev) @ Wh.T",
        "before its derivative|skips",
    ),
    ("lstm", "do * o * (1 - o)", "do * o", "instead of by its derivative"),
    ("lstm", "dg * (1 - g ** 2)", "dg * g * (1 - g)", "slope"),
    (
        "conv",
        "win = xp[:, :, i * stride:i * stride + k, j * stride:j * stride + k]\n            dw",
        "win = xp[:, :, i:i + k, j:j + k]\n            dw",
        "stride",
    ),
    ("conv", "dx = dxp[:, :, pad:pad + H, pad:pad + W]", "dx = dxp[:, :, :H, :W]", "shift|pad"),
    (
        "conv",
        "np.tensordot(dout[:, :, i, j], w, axes=([1], [0]))",
        "np.tensordot(dout[:, :, i, j], w[:, :, ::-1, ::-1], axes=([1], [0]))",
        "flip",
    ),
    ("attention", "dk = ds.T @ q", "dk = ds @ q", "transpos"),
    ("attention", "ds = ds / np.sqrt(d)", "pass", "factor √"),
    ("attention", "- (dp * p).sum(axis=1, keepdims=True)", "", "sum|diagonal"),
    ("attention", "dv = p.T @ dout", "dv = p @ dout", "transpos"),
    ("attention", "(dp * p).sum(axis=1", "(dp * p).sum(axis=0", "axis"),
    ("dropout", "da = dout * self.mask / self.keep_prob", "da = dout", "mask"),
    ("dropout", "da = dout * self.mask / self.keep_prob", "da = dout * self.mask", "keep|factor"),
    ("reg", "+ lam * W", "+ 2 * lam * W", "regular"),
    ("gelu", "* (1 - t ** 2) * du", "* (1 - t ** 2)", "inner derivative"),
    ("gelu", "0.5 * (1 + t) + 0.5 * x", "0.5 * x", "term|left out|missing"),
    ("gelu", "(1 - t ** 2) * du", "(1 - t) * du", "square|factor"),
    ("elu", "self.y + self.alpha", "self.y", r"f\(z\) \+ α"),
    ("elu", "self.y + self.alpha", "self.alpha", "constant|slope"),
    (
        "train",
        "self.who -= self.lr * np.outer(out_delta, hidden)\n",
        "self.who -= self.lr * np.outer(out_delta, hidden)\n"
        "        hid_delta = (self.who.T @ out_delta) * hidden * (1 - hidden)\n",
        "updated",
    ),
    ("train", "* hidden * (1 - hidden)", "", "left out"),
    ("layernorm", "- self.xhat * m2", "", "var"),
    ("maxpool", "+= mask * dout[n, c, i, j]", "+= dout[n, c, i, j]", "maximum|mask|window|every"),
    ("maxpool", "+= mask * dout[n, c, i, j]", "+= mask", "cotangent|incoming"),
]


def _often(injected: tuple[str, ...], index: int) -> Any:
    """Two mistakes of a recurrent layer are explained in each run, the others with -m broad."""
    first = [i for i, p in enumerate(INJECTED) if p[0] == injected[0]][:2]
    rare = injected[0] in ("rnn", "lstm") and index not in first
    return pytest.param(
        *injected, id=f"{index}-{injected[0]}", marks=[pytest.mark.broad] if rare else []
    )


@pytest.mark.parametrize(
    ("layer", "right", "wrong", "text"), [_often(p, i) for i, p in enumerate(INJECTED)]
)
def test_a_mistake_in_a_layer_is_said(
    tmp_path: Path, layer: str, right: str, wrong: str, text: str
) -> None:
    assert right in LAYERS[layer]
    file = tmp_path / f"{layer}.py"
    file.write_text(textwrap.dedent(LAYERS[layer].replace(right, wrong)))
    target = load(str(file))
    found = []
    for unit in units_of(target):
        chosen = search(unit, target, 0, {})
        if isinstance(chosen, Chosen):
            found += explain(chosen.reading, chosen.objective, 0, range(12), limit=20 * LIMIT).named
    assert re.search(text, " ".join(f"{n.name} {n.sentence}" for n in found))
    assert all(n.matched >= 1 and n.distance < 1e-9 for n in found)
