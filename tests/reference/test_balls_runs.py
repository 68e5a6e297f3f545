"""Layers as people write them run unchanged on balls, and their gradients are torch's."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.balls import (
    Number,
    Session,
    gradient,
    gradient_balls,
    lift,
    numpy_on_balls,
    radii,
    values,
)

SOURCE = """
import math
import numpy as np
from numpy import exp, sqrt
from numpy.lib.stride_tricks import as_strided
from scipy.special import expit

def conv_loops(x, w, b, pad=1):
    n, c, h, width = x.shape
    f, _, kh, kw = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="constant")
    out = np.zeros((n, f, h + 2 * pad - kh + 1, width + 2 * pad - kw + 1))
    for i in range(n):
        for k in range(f):
            for p in range(out.shape[2]):
                for q in range(out.shape[3]):
                    out[i, k, p, q] = np.sum(xp[i, :, p:p+kh, q:q+kw] * w[k]) + b[k]
    return out

def conv_im2col(x, w, b):
    n, c, h, width = x.shape
    f, _, kh, kw = w.shape
    oh, ow = h - kh + 1, width - kw + 1
    cols = np.empty((n, c, kh, kw, oh, ow), dtype=x.dtype)
    for i in range(kh):
        for j in range(kw):
            cols[:, :, i, j] = x[:, :, i:i+oh, j:j+ow]
    cols = cols.transpose(0, 4, 5, 1, 2, 3).reshape(n * oh * ow, -1)
    out = np.dot(cols, w.reshape(f, -1).T) + b
    return out.reshape(n, oh, ow, -1).transpose(0, 3, 1, 2)

def conv_einsum(x, w, b):
    kh, kw = w.shape[2:]
    n, c, h, width = x.shape
    s = x.strides
    windows = as_strided(x, (n, c, h - kh + 1, width - kw + 1, kh, kw), s + s[2:])
    return np.einsum("ncpqij,fcij->nfpq", windows, w, optimize=True) + b[:, None, None]

def max_pool_loops(x):
    n, c, h, w = x.shape
    out = np.zeros((n, c, h // 2, w // 2))
    for i in range(h // 2):
        for j in range(w // 2):
            out[:, :, i, j] = np.max(x[:, :, 2*i:2*i+2, 2*j:2*j+2], axis=(2, 3))
    return out

def max_pool_reshaped(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=3).max(axis=4)

def batch_norm(x, gamma, beta, eps=1e-5):
    mean, var = np.mean(x, axis=0), np.var(x, axis=0)
    return gamma * (x - mean) / np.sqrt(var + eps) + beta

def batch_norm_steps(x, gamma, beta, eps=1e-5):
    N, D = x.shape
    mu = 1. / N * np.sum(x, axis=0)
    xmu = x - mu
    sqrtvar = np.sqrt(1. / N * np.sum(xmu ** 2, axis=0) + eps)
    return gamma * (xmu * (1. / sqrtvar)) + beta

def layer_norm(x, gamma, beta):
    return (x - x.mean(axis=-1, keepdims=True)) / (x.std(-1, keepdims=True) + 0) * gamma + beta

def lstm_step(x, h, c, wx, wh, b):
    a = x @ wx + h.dot(wh) + b
    H = h.shape[1]
    i, f, o = expit(a[:, :H]), 1 / (1 + exp(-a[:, H:2*H])), expit(a[:, 2*H:3*H])
    c = f * c + i * np.tanh(a[:, 3*H:])
    return o * np.tanh(c), c

def attention(x, wq, wk, wv):
    q, k, v = x @ wq, x @ wk, x @ wv
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
    scores = np.where(np.triu(np.ones(scores.shape[1:], dtype=bool), 1), -np.inf, scores)
    scores -= scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores)
    weights /= np.sum(weights, axis=-1, keepdims=True)
    return weights @ v

def softmax_loss(x, labels):
    shifted = x - np.max(x, axis=1, keepdims=True)
    probs = np.exp(shifted)
    probs /= np.sum(probs, axis=1, keepdims=True)
    n = x.shape[0]
    return -np.sum(np.log(probs[np.arange(n), labels])) / n

class Network:
    def __init__(self, D, H, C):
        self.params = {"W1": 0.1 * np.random.randn(D, H), "b1": np.zeros(H)}

    def forward(self, x, w2):
        h = np.maximum(0, x.dot(self.params["W1"]) + self.params["b1"])
        return h.dot(w2)
"""


def load(source: str = SOURCE) -> Any:
    """The source as a module."""
    module = types.ModuleType("somebody")
    exec(source, vars(module))
    return module


def compared(ours: Callable[..., Any], torchs: Callable[..., Any], *arrays: Any, seed: int) -> None:
    """The value and every gradient, under random cotangents."""
    module = load()
    rng = np.random.default_rng([seed, 1])
    with Session() as session, numpy_on_balls([module]):
        leaves = [lift(a) for a in arrays]
        out = ours(module, *leaves)
        outputs = list(out) if isinstance(out, tuple) else [out]
        cotangents = [rng.normal(size=np.shape(o)) for o in outputs]
        found = gradient(outputs, cotangents, leaves)
    assert session.nodes < 20_000
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = torchs(*tensors)
    expected = list(expected) if isinstance(expected, tuple) else [expected]
    sum((o * torch.tensor(c)).sum() for o, c in zip(expected, cotangents, strict=True)).backward()
    for o, e in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(values(o), e.detach().numpy(), rtol=1e-12, atol=1e-12)
    for derivative, tensor in zip(found, tensors, strict=True):
        assert np.all(derivative.radius < 1e-40)
        size = float(tensor.grad.abs().max())
        np.testing.assert_allclose(
            derivative.midpoint, tensor.grad.numpy(), rtol=1e-12, atol=1e-12 * size
        )


def torch_lstm(x: Any, h: Any, c: Any, wx: Any, wh: Any, b: Any) -> Any:
    a = x @ wx + h @ wh + b
    size = h.shape[1]
    i, f, o = (a[:, k * size : (k + 1) * size].sigmoid() for k in range(3))
    c = f * c + i * a[:, 3 * size :].tanh()
    return o * c.tanh(), c


def torch_attention(x: Any, wq: Any, wk: Any, wv: Any) -> Any:
    q, k, v = x @ wq, x @ wk, x @ wv
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def torch_batch_norm(x: Any, gamma: Any, beta: Any) -> Any:
    return F.batch_norm(x, None, None, gamma, beta, training=True)


IMAGE, FILTERS = (2, 2, 5, 6), [(3, 2, 3, 2), (3,)]
NORM = [(5, 3), (3,), (3,)]
RUNS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "conv_loops": (lambda x, w, b: F.conv2d(x, w, b, padding=1), [IMAGE, *FILTERS]),
    "conv_im2col": (F.conv2d, [IMAGE, *FILTERS]),
    "conv_einsum": (F.conv2d, [IMAGE, *FILTERS]),
    "max_pool_loops": (lambda x: F.max_pool2d(x, 2), [(2, 3, 4, 6)]),
    "max_pool_reshaped": (lambda x: F.max_pool2d(x, 2), [(2, 3, 4, 6)]),
    "batch_norm": (torch_batch_norm, NORM),
    "batch_norm_steps": (torch_batch_norm, NORM),
    "layer_norm": (lambda x, g, b: F.layer_norm(x, (3,), g, b, eps=0.0), NORM),
    "lstm_step": (torch_lstm, [(2, 3), (2, 4), (2, 4), (3, 16), (4, 16), (16,)]),
    "attention": (torch_attention, [(2, 4, 3), (3, 5), (3, 5), (3, 2)]),
}


@pytest.mark.parametrize("name", RUNS)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_layer_runs_unchanged(name: str, seed: int) -> None:
    torchs, shapes = RUNS[name]
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) for shape in shapes]
    compared(lambda module, *leaves: getattr(module, name)(*leaves), torchs, *arrays, seed=seed)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1.0, 30.0]))
def test_the_softmax_loss_runs_unchanged(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, size=4)
    compared(
        lambda module, x: module.softmax_loss(x, labels),
        lambda x: F.cross_entropy(x, torch.tensor(labels)),
        rng.normal(size=(4, 3)) * scale,
        seed=seed,
    )


def test_a_network_made_while_active_and_one_made_before() -> None:
    module = load()
    np.random.seed(3)  # noqa: NPY002
    before = module.Network(3, 4, 2)
    x, w2 = np.random.default_rng(0).normal(size=(2, 3)), np.ones((4, 2)) / 3
    with Session(), numpy_on_balls([module], seed=3):
        during = module.Network(3, 4, 2)
        leaves = lift(x), lift(w2)
        first, second = before.forward(*leaves), during.forward(*leaves)
        ours, theirs = (gradient([o], [np.ones((2, 2))], leaves) for o in (first, second))
    np.testing.assert_array_equal(values(first), values(second))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.midpoint, b.midpoint)
    np.testing.assert_allclose(values(first), before.forward(x, w2), rtol=1e-14)


@pytest.mark.parametrize("name", RUNS)
def test_the_radius_is_a_bound(name: str) -> None:
    """What 60 bits say with their radius holds what 500 bits know."""
    module, rng = load(), np.random.default_rng(4)
    arrays = [rng.normal(size=shape) for shape in RUNS[name][1]]
    found = []
    for precision in (60, 500):
        with Session(precision), numpy_on_balls([module]):
            leaves = [lift(a) for a in arrays]
            out = getattr(module, name)(*leaves)
            outputs = list(out) if isinstance(out, tuple) else [out]
            cotangents = [np.cos(np.arange(np.size(o))).reshape(np.shape(o)) for o in outputs]
            found.append(gradient_balls(outputs, cotangents, leaves))
    with Session(500):
        for (coarse, _), (fine, _) in zip(*found, strict=True):
            mids = np.frompyfunc(lambda v: Number(v.value.mid(), None, ()), 1, 1)
            apart = values(np.abs(mids(fine) - mids(coarse)))
            assert np.all(apart <= radii(coarse) + radii(fine))
            assert np.all(radii(fine) < 1e-100) and np.all(radii(coarse) < 1e-8)


def test_the_import_is_small() -> None:
    script = "import sys, reference.balls; print({'torch', 'jax', 'scipy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_the_gradient_of_a_local_variable() -> None:
    """An intermediate array is a leaf as good as any, also where a branch chose a plain 0."""
    module = load("import numpy as np\n")
    x, w = np.array([[0.5, -1.0], [2.0, -3.0]]), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])
    for relu in (
        "np.maximum(z, 0)",
        "np.maximum(0, z)",
        "np.where(z > 0, z, 0)",
        "z * (z > 0)",
        "np.clip(z, 0, None)",
        "(z + np.abs(z)) / 2",
    ):
        exec(f"def relu(z): return {relu}", vars(module))
        with Session(), numpy_on_balls([module]):
            z = lift(x)
            h = module.relu(z)
            out = h @ w
            dh, dz = gradient([out], [np.ones((2, 3))], [h, z])
        np.testing.assert_array_equal(dh.midpoint, np.ones((2, 3)) @ w.T)
        np.testing.assert_array_equal(dz.midpoint, np.ones((2, 3)) @ w.T * (x > 0))


def test_a_slope_far_out_keeps_its_digits() -> None:
    """σ'(400) = 1.9e-174, not 0: balls know the tail."""
    for source in (
        "1 / (1 + np.exp(-x))",
        "np.exp(x) / (1 + np.exp(x))",
        "0.5 * (np.tanh(x / 2) + 1)",
    ):
        module = load(f"import numpy as np\ndef f(x): return {source}")
        with Session(2000), numpy_on_balls([module]):
            x = lift([400.0, -400.0, 800.0])
            (dx,) = gradient([module.f(x)], [np.ones(3)], [x])
        np.testing.assert_allclose(dx.midpoint, [1.9151695967140057e-174] * 2 + [0.0], rtol=1e-13)
