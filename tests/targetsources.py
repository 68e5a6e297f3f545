"""Targets in every form that is recognised: right as they stand; one edit makes each wrong.

Each entry: (name, source, right part, wrong part, what the diagnosis has to hold).
"""

import itertools
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from reference.checks.checker import check
from reference.checks.results import CheckedRun, CheckRequest, Result
from reference.checks.session import serve

NUMPY = "import numpy as np\n"

ACTIVATION_PAIR = (
    NUMPY
    + """
def tanh_forward(x):
    out = np.tanh(x)
    return out, out

def tanh_backward(dout, cache):
    return dout * (1 - cache**2)
"""
)

RELU = (
    "import numpy as np\n"
    "def relu_forward(x):\n    return np.maximum(x, 0), x\n"
    "def relu_backward(dout, cache):\n    return dout * (cache > 0)\n"
)

SLOPE = (
    NUMPY
    + """
def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def sigmoid_prime(x):
    return sigmoid(x) * (1 - sigmoid(x))
"""
)

DENSE_PAIR = (
    NUMPY
    + """
def affine_forward(x, w, b):
    return x @ w + b, (x, w, b)

def affine_backward(dout, cache):
    x, w, b = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)
"""
)

DENSE_COLUMNS = (
    NUMPY
    + """
def linear_forward(A, W, b):
    return W @ A + b, (A, W)

def linear_backward(dZ, cache):
    A, W = cache
    return W.T @ dZ, dZ @ A.T, dZ.sum(axis=1, keepdims=True)
"""
)

DENSE_WITHOUT_BIAS = """
def linear_forward(x, w):
    return x @ w.T, (x, w)

def linear_backward(dout, cache=None):
    x, w = cache
    return dout @ w, dout.T @ x
"""

TARGETS_FIRST = (
    NUMPY
    + """
def mse(y_true, y_pred):
    return np.mean((y_true - y_pred) ** 2)

def mse_grad(y_true, y_pred):
    return 2 * (y_pred - y_true) / y_true.size
"""
)

HALF = (
    NUMPY
    + """
def mse(y, t):
    return 0.5 * np.mean((y - t) ** 2)

def mse_grad(y, t):
    return (y - t) / y.size
"""
)

LOSS = (
    NUMPY
    + """
def softmax_loss(x, y):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    return loss, p / len(x)
"""
)

LOSS_PAIR = (
    NUMPY
    + """
def mse(y, t):
    return ((y - t) ** 2).mean()

def mse_grad(y, t):
    return 2 * (y - t) / y.size
"""
)

PARAMETER = (
    NUMPY
    + """
def leaky_relu_forward(x, alpha=0.125):
    return np.where(x > 0, x, alpha * x), x

def leaky_relu_backward(dout, cache, alpha=0.125):
    return np.where(cache > 0, dout, alpha * dout)
"""
)

CLASS = (
    NUMPY
    + """
class Sigmoid:
    def __call__(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout):
        return dout * self.out * (1 - self.out)
"""
)

CLASS_GRAD = (
    NUMPY
    + """
class Act:
    like = "softplus"

    def forward(self, x):
        return np.logaddexp(0, x)

    def grad(self, x):
        return 1 / (1 + np.exp(-x))
"""
)

CLASS_PARAMETER = (
    NUMPY
    + """
class LeakyRelu:
    def __init__(self, slope):
        self.slope = slope

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.slope * x)

    def backward(self, dout):
        return dout * np.where(self.x > 0, 1, self.slope)
"""
)

CLASS_DENSE = (
    NUMPY
    + """
class Linear:
    def __init__(self, n_in, n_out):
        self.W, self.b = np.zeros((n_in, n_out)), np.zeros(n_out)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return dout @ self.W.T
"""
)

CLASS_GRADS = (
    NUMPY
    + """
class Dense:
    def __init__(self, W, b):
        self.params = {"W": W, "b": b}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout):
        self.grads["W"] = self.x.T @ dout
        self.grads["b"] = dout.sum(axis=0)
        return dout @ self.params["W"].T
"""
)

CLASS_LOSS = (
    NUMPY
    + """
class MSELoss:
    def forward(self, y, t):
        self.d = y - t
        return (self.d ** 2).mean()

    def backward(self):
        return 2 * self.d / self.d.size
"""
)

TORCH = """
import torch

class MyTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * (1 - y * y)
"""

TORCH_LINEAR = """
import torch

class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x.mm(weight.t()) + bias

    @staticmethod
    def backward(ctx, dout):
        x, weight = ctx.saved_tensors
        return dout.mm(weight), dout.t().mm(x), dout.sum(0)
"""

JAX = """
import jax
import jax.numpy as jnp

@jax.custom_vjp
def silu(x):
    return x * jax.nn.sigmoid(x)

def _forward(x):
    return silu(x), x

def _backward(x, dy):
    s = jax.nn.sigmoid(x)
    return (dy * (s + x * s * (1 - s)),)

silu.defvjp(_forward, _backward)
"""

NETWORK = (
    NUMPY
    + """
accepts = {"activations": "relu", "output": "identity", "losses": "mse", "reductions": "mean"}

def value_and_grad(network, params, x, y):
    values, a, steps = list(params.values()), x, []
    depth = len(network.layers)
    for i in range(depth):
        z = a @ values[2 * i] + values[2 * i + 1]
        steps.append((a, z))
        a = np.maximum(z, 0) if i < depth - 1 else z
    loss = ((a - y) ** 2).mean()
    d = 2 * (a - y) / y.size
    grads = {}
    for i in reversed(range(depth)):
        below, z = steps[i]
        dz = d * (z > 0) if i < depth - 1 else d
        grads[f"layers.{i}.weight"] = below.T @ dz
        grads[f"layers.{i}.bias"] = dz.sum(axis=0)
        d = dz @ values[2 * i].T
    return loss, grads
"""
)

GENERAL = (
    NUMPY
    + """
shapes = {"x": "N D", "W": "D H", "v": "H"}

def forward(xp, step, x, W, v):
    h = step("h", xp.tanh(x @ W))
    gate = step("gate", h * h)
    return xp.sum((h + gate) @ v) / x.shape[0]

def backward(inputs, steps):
    x, W, v = inputs["x"], inputs["W"], inputs["v"]
    h = steps["h"]
    d = np.ones((len(x), 1)) / len(x)
    dgate = d * v
    dh = d * v + dgate * 2 * h
    dv = (h + steps["gate"]).T @ d[:, 0]
    return {"gate": dgate, "h": dh, "W": x.T @ (dh * (1 - h**2)), "v": dv}
"""
)

ENGINE = """
import math

class Value:
    def __init__(self, data, _children=()):
        self.data = data
        self.grad = 0.0
        self._prev = _children
        self._backward = lambda: None

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data + other.data, (self, other))
        def _backward():
            self.grad += out.grad
            other.grad += out.grad
        out._backward = _backward
        return out

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data * other.data, (self, other))
        def _backward():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad
        out._backward = _backward
        return out

    def __pow__(self, n):
        assert isinstance(n, (int, float))
        out = Value(self.data ** n, (self,))
        def _backward():
            self.grad += n * self.data ** (n - 1) * out.grad
        out._backward = _backward
        return out

    def tanh(self):
        t = math.tanh(self.data)
        out = Value(t, (self,))
        def _backward():
            self.grad += (1 - t ** 2) * out.grad
        out._backward = _backward
        return out

    def relu(self):
        out = Value(0 if self.data < 0 else self.data, (self,))
        def _backward():
            self.grad += (out.data > 0) * out.grad
        out._backward = _backward
        return out

    def exp(self):
        out = Value(math.exp(self.data), (self,))
        def _backward():
            self.grad += out.data * out.grad
        out._backward = _backward
        return out

    def __neg__(self): return self * -1
    def __radd__(self, other): return self + other
    def __sub__(self, other): return self + (-other)
    def __rmul__(self, other): return self * other
    def __truediv__(self, other): return self * other ** -1

    def backward(self):
        topo, seen = [], set()
        def build(v):
            if v not in seen:
                seen.add(v)
                for child in v._prev:
                    build(child)
                topo.append(v)
        build(self)
        self.grad = 1.0
        for v in reversed(topo):
            v._backward()
"""
"""An engine of values, as micrograd."""

INPUTS = (
    NUMPY
    + """
def inputs(rng):
    sizes = {"q": (3, 2), "k": (4, 2), "v": (4, 5)}
    return {name: rng.normal(size=size) for name, size in sizes.items()}

def forward(xp, step, q, k, v):
    s = step("s", q @ k.T)
    e = xp.exp(s - xp.max(s, axis=1, keepdims=True))
    p = step("p", e / xp.sum(e, axis=1, keepdims=True))
    return p @ v

def backward(inputs, steps, dout):
    q, k, v, p = inputs["q"], inputs["k"], inputs["v"], steps["p"]
    dp = dout @ v.T
    ds = p * (dp - (dp * p).sum(axis=1, keepdims=True))
    return {"p": dp, "s": ds, "q": ds @ k, "k": ds.T @ q, "v": p.T @ dout}
"""
)

COUNTERPARTS = (
    NUMPY
    + """
torch = "torch.sinh"
jax = "jax.numpy.sinh"

def forward(x):
    return np.sinh(x), x

def backward(dout, cache):
    return dout * np.cosh(cache)
"""
)

SOURCES = [
    ("activation pair", ACTIVATION_PAIR, "cache**2", "cache", "square_left_out"),
    ("slope", SLOPE, "sigmoid(x) * (1 - ", "(1 - ", "factor_left_out"),
    ("dense pair", DENSE_PAIR, "dout.sum(axis=0)", "dout.mean(axis=0)", "bias_mean_over_batch"),
    ("dense pair of columns", DENSE_COLUMNS, "dZ.sum", "dZ.mean", "bias_mean_over_batch"),
    ("dense pair (out, in)", DENSE_WITHOUT_BIAS, "dout @ w", "-dout @ w", "below_sign"),
    ("targets first", TARGETS_FIRST, "(y_pred - y_true)", "(y_true - y_pred)", "loss_sign"),
    ("half of a loss", HALF, "(y - t) / y.size", "2 * (y - t) / y.size", "constant_factor"),
    ("loss", LOSS, "p / len(x)", "p", "mean_left_out"),
    ("loss pair", LOSS_PAIR, "2 * (y - t)", "(y - t)", "factor_two_left_out"),
    ("parameter", PARAMETER, "dout, alpha * dout)", "dout, 0 * dout)", "activation_taken_for_relu"),
    ("class", CLASS, "self.out * (1 - self.out)", "(1 - self.out)", "factor_left_out"),
    ("class with grad", CLASS_GRAD, "np.exp(-x)", "np.exp(x)", "softplus_reflected"),
    ("class with parameter", CLASS_PARAMETER, "1, self.slope)", "self.slope, 1)", ""),
    ("class dense", CLASS_DENSE, "dout @ self.W.T", "-dout @ self.W.T", "below_sign"),
    (
        "class with grads",
        CLASS_GRADS,
        "self.x.T @ dout",
        "2 * self.x.T @ dout",
        "weight_accumulated_twice",
    ),
    ("class loss", CLASS_LOSS, "2 * self.d /", "-2 * self.d /", "loss_sign"),
    ("torch function", TORCH, "(1 - y * y)", "(1 - y)", "tanh_square_left_out"),
    ("torch linear", TORCH_LINEAR, "dout.sum(0)", "dout.mean(0)", "bias_mean_over_batch"),
    ("jax custom_vjp", JAX, "(s + x * s * (1 - s))", "s", "gate_second_term_left_out"),
    ("network", NETWORK, "dz @ values", "d @ values", "below_skips_activation"),
    ("general form", GENERAL, "d * v + dgate * 2 * h", "d * v", "through gate is missing"),
    ("general with inputs", INPUTS, "ds.T @ q", "2 * ds.T @ q", "2 times the right one"),
    ("counterparts", COUNTERPARTS, "* np.cosh", "* -np.cosh", "activation_sign"),
]
"""Each: a name, a source, what is right in it, what makes it wrong, what the diagnosis says."""

_NUMBER = itertools.count()


def loaded(source: str) -> ModuleType:
    """Return a module of a source; its lines are known, as a notebook's cells are."""
    name = f"made_for_a_test_{next(_NUMBER)}"
    file = f"<{name}>"
    made = ModuleType(name)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), vars(made))  # the texts above
    return made


def inside(source: str, problems: int = 6, **options: Any) -> Result:
    """Check a source in this process."""
    return check(dict(vars(loaded(source))), problems=problems, **options)


def file_inside(path: Path, problems: int) -> Result:
    """Check a file of ours in this process: to begin one takes a second."""
    gathered, request = CheckedRun(), CheckRequest(str(path), problems=problems)
    with modules_forgotten(path):
        serve(request, gathered.take)
    return gathered.result(request)


@contextmanager
def modules_forgotten(path: Path) -> Iterator[None]:
    """Forget afterwards what a file and those around it are called: another test has other ones."""
    before, folders = set(sys.modules), list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = folders
        above = path.resolve().parents
        around = above[min(3, len(above) - 2)]
        for name in set(sys.modules) - before:
            spec = getattr(sys.modules[name], "__spec__", None)  # None: `load` made the module
            places = [getattr(sys.modules[name], "__file__", None)]
            places += (spec and spec.submodule_search_locations) or ()
            if any(isinstance(p, str) and Path(p).is_relative_to(around) for p in places):
                del sys.modules[name]


def texts_of(result: Result) -> list[str]:
    """Return the names of the mistakes and the descriptions of a result."""
    named = [m.name for p in result.parts for m in p.mistakes]
    return named + [text for p in result.parts for _, text in p.described]
