"""Readings that hide a mistake, and readings that accuse right code: neither is preferred."""

import pytest
from targetsources import inside

from reference.checks.results import Result

JAX = """
import jax
import jax.numpy as jnp

@jax.custom_vjp
def op(ARGUMENTS):
    return VALUE

def fwd(ARGUMENTS):
    return VALUE, (NAMES,)

def bwd(kept, dy):
    NAMES, = kept
    return GRADIENTS

op.defvjp(fwd, bwd)
"""

TORCH = """
import torch

class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ARGUMENTS):
        ctx.kept = NAMES,
        return VALUE

    @staticmethod
    def backward(ctx, dy):
        NAMES, = ctx.kept
        return GRADIENTS
"""


def _answer(form: str, arguments: str, value: str, gradients: str) -> Result:
    names = ", ".join(a.partition("=")[0] for a in arguments.split(", "))
    source = form.replace("ARGUMENTS", arguments).replace("NAMES", names)
    return inside(source.replace("VALUE", value).replace("GRADIENTS", gradients), problems=4)


PRELU = ("jnp.where(x > 0, x, a * x)", "jnp.where(x > 0, dy, a * dy)")
RIGHT, WRONG = "jnp.sum(jnp.where(x > 0, 0, dy * x))", "jnp.sum(dy * x)"


@pytest.mark.parametrize("argument", ["a", "c", "alpha", "w", "a=0.25"])
def test_the_gradient_of_a_number_is_compared_whatever_its_name(argument: str) -> None:
    value, dx, right, wrong = (
        text.replace("a *", f"{argument.partition('=')[0]} *") for text in (*PRELU, RIGHT, WRONG)
    )
    found = _answer(JAX, f"x, {argument}", value, f"{dx}, {wrong}")
    assert found.exit_code == 1, found
    assert [t.right for t in found.parts[0].tensors] == [4, 0]
    found = _answer(JAX, f"x, {argument}", value, f"{dx}, {right}")
    assert found.exit_code == 0, found
    assert len(found.parts[0].tensors) == 2


@pytest.mark.parametrize(
    ("form", "arguments", "value", "dx", "right", "wrong"),
    [
        (JAX, "x, s", "x * s", "dy * s", "jnp.sum(dy * x)", "jnp.mean(dy * x)"),
        (TORCH, "x, s", "x * s", "dy * s", "(dy * x).sum()", "(dy * x).mean()"),
        (JAX, "x, mask", "x * mask", "dy * mask", "dy * x", "dy * mask"),
        (TORCH, "x, mask", "x * mask", "dy * mask", "dy * x", "dy * mask"),
        (TORCH, "x, a=0.25", "x * a", "dy * a", "(dy * x).sum()", "(2 * dy * x).sum()"),
    ],
)
def test_no_gradient_that_comes_back_is_dropped(
    form: str, arguments: str, value: str, dx: str, right: str, wrong: str
) -> None:
    assert _answer(form, arguments, value, f"{dx}, {wrong}").exit_code == 1
    assert _answer(form, arguments, value, f"{dx}, {right}").exit_code == 0


@pytest.mark.parametrize("form", [JAX, TORCH])
@pytest.mark.parametrize("argument", ["a", "mask", "a=0.25"])
def test_none_for_a_number_or_a_mask_is_no_mistake(form: str, argument: str) -> None:
    name = argument.partition("=")[0]
    assert _answer(form, f"x, {argument}", f"x * {name}", f"dy * {name}, None").exit_code == 0


def test_zeros_for_targets_are_no_mistake() -> None:
    value = "-jnp.sum(y * jax.nn.log_softmax(logits))"
    dx = "dy * (jax.nn.softmax(logits) - y)"
    assert _answer(JAX, "logits, y", value, f"{dx}, jnp.zeros_like(y)").exit_code == 0


def test_a_gradient_that_could_not_be_compared_is_not_called_right() -> None:
    found = _answer(JAX, "x, a", "x * float(a)", "dy * float(a), jnp.sum(dy)")
    assert found.exit_code == 2
    assert "da was not compared: a was drawn as a fixed number" in " ".join(str(found).split())


def test_a_backward_that_always_raises_is_failed_with_the_whole_message() -> None:
    shapes = 'shapes = {"x": "N D", "a": "1"}\n'
    found = _answer(shapes + JAX, "x, a", "x * a", "dy * a, jnp.sum(dy * x)")
    assert found.exit_code == 1
    assert "type float64[] corresponding to an input of type float64[1]" in " ".join(
        str(found).split()
    )
    assert "def forward" not in str(found)


def test_a_backward_that_raises_differently_with_every_shape_is_not_checked() -> None:
    found = _answer(JAX, "x, w", "x @ w", "dy @ w.T, dy.T @ x")
    assert found.exit_code == 2
    text = " ".join(str(found).split())
    assert "so the shapes do not match, and other errors with other shapes" in text
    assert "def forward" not in text


# -- windows ------------------------------------------------------------------------------------

CONV1D = """
import numpy as np

def conv1d_forward(x, w, b):
    N, T = x.shape
    K = w.shape[0]
    out = np.zeros((N, T - K + 1))
    for i in range(T - K + 1):
        out[:, i] = x[:, i:i+K] @ w + b
    return out, (x, w)

def conv1d_backward(dout, cache):
    x, w = cache
    K = len(w)
    dx = np.zeros_like(x); dw = np.zeros_like(w)
    for i in range(dout.shape[1]):
        dw += x[:, i:i+K].T @ dout[:, i]
        dx[:, i:i+K] += dout[:, i:i+1] * w
    return dx, dw, dout.sum()
"""

FILTER = """
import numpy as np

def fir_forward(x, h):
    n, k = len(x), len(h)
    y = np.zeros(n - k + 1)
    for i in range(n - k + 1):
        y[i] = np.sum(x[i:i + k] * h)
    return y, (x, h)

def fir_backward(dy, cache):
    x, h = cache
    k = len(h)
    dx, dh = np.zeros_like(x), np.zeros_like(h)
    for i in range(len(dy)):
        dx[i:i + k] += dy[i] * h
        dh += dy[i] * x[i:i + k]
    return dx, dh
"""

SIGNAL = """
import numpy as np

def conv_forward(signal, kernel):
    n, k = len(signal), len(kernel)
    out = np.array([np.dot(signal[i:i+k], kernel) for i in range(n - k + 1)])
    return out, (signal, kernel)

def conv_backward(grad, cache):
    signal, kernel = cache
    k = len(kernel)
    dsignal = np.zeros_like(signal); dkernel = np.zeros_like(kernel)
    for i, g in enumerate(grad):
        dsignal[i:i+k] += g * kernel
        dkernel += g * signal[i:i+k]
    return dsignal, dkernel
"""

STRIDED = """
import numpy as np

def pool_forward(x, w, stride):
    K = len(w)
    n = (len(x) - K) // stride + 1
    out = np.array([x[i * stride:i * stride + K] @ w for i in range(n)])
    return out, (x, w, stride)

def pool_backward(dout, cache):
    x, w, stride = cache
    K = len(w)
    dx = np.zeros_like(x); dw = np.zeros_like(w)
    for i, g in enumerate(dout):
        dx[i * stride:i * stride + K] += g * w
        dw += g * x[i * stride:i * stride + K]
    return dx, dw
"""

WINDOWS = {
    "conv1d, input": (CONV1D, "dx[:, i:i+K] +="),
    "conv1d, filter": (CONV1D, "dw +="),
    "filter, input": (FILTER, "dx[i:i + k] +="),
    "filter, filter": (FILTER, "dh +="),
    "signal, input": (SIGNAL, "dsignal[i:i+k] +="),
    "signal, kernel": (SIGNAL, "dkernel +="),
    "stride, input": (STRIDED, "dx[i * stride:i * stride + K] +="),
}


@pytest.mark.parametrize("which", WINDOWS)
def test_windows_are_shorter_than_the_signal(which: str) -> None:
    source, added = WINDOWS[which]
    assert added in source
    found = inside(source.replace(added, added.replace("+=", "=")), problems=4)
    assert found.exit_code == 1, found
    assert any(t.right == 4 for t in found.parts[0].tensors)


@pytest.mark.parametrize("source", [CONV1D, FILTER, SIGNAL, STRIDED])
def test_right_windows_are_right(source: str) -> None:
    assert inside(source, problems=4).exit_code == 0


def test_slices_of_both_arrays_are_no_windows() -> None:
    source = """
import numpy as np

def scaled_forward(x, s):
    out = np.zeros_like(x)
    for i in range(0, len(x), 2):
        out[i:i + 2] = x[i:i + 2] * s[i:i + 2]
    return out, (x, s)

def scaled_backward(dout, cache):
    x, s = cache
    dx, ds = np.zeros_like(x), np.zeros_like(s)
    for i in range(0, len(x), 2):
        dx[i:i + 2] = dout[i:i + 2] * s[i:i + 2]
        ds[i:i + 2] = dout[i:i + 2] * x[i:i + 2]
    return dx, ds
"""
    assert inside(source, problems=4).exit_code == 0


# -- vectors ------------------------------------------------------------------------------------

COSINE = """
import numpy as np

def cosine_forward(u, v):
    nu, nv = np.linalg.norm(u), np.linalg.norm(v)
    return u @ v / (nu * nv), (u, v, nu, nv)

def cosine_backward(dout, cache):
    u, v, nu, nv = cache
    c = u @ v / (nu * nv)
    return dout * (v / (nu * nv) - c * u / nu**2), dout * (u / (nu * nv) - c * v / nv**2)
"""

NEURON = """
import numpy as np

def neuron_forward(x, w, b):
    z = np.dot(w, x) + b
    a = np.tanh(z)
    return a, (x, w, a)

def neuron_backward(da, cache):
    x, w, a = cache
    dz = da * (1 - a * a)
    return dz * w, dz * x, dz
"""

PROJECTION = """
import numpy as np

def project_forward(a, b):
    s = np.dot(a, b) / np.dot(b, b)
    return s * b, (a, b, s)

def project_backward(dout, cache):
    a, b, s = cache
    n = np.dot(b, b)
    ds = np.sum(dout * b)
    return ds * b / n, s * dout + ds * (a - 2 * s * b) / n
"""

VECTORS = {
    "cosine": (COSINE, "c * u / nu**2", "c * u / nu"),
    "neuron": (NEURON, "(1 - a * a)", "(1 - a)"),
    "projection": (PROJECTION, "a - 2 * s", "a - s"),
}


@pytest.mark.parametrize("which", VECTORS)
def test_code_on_vectors_is_given_vectors(which: str) -> None:
    source, right, wrong = VECTORS[which]
    found = inside(source, problems=4)
    assert found.exit_code == 0, found
    assert right in source
    assert inside(source.replace(right, wrong), problems=4).exit_code == 1
