"""A class of thirty submissions, made for the tests: ten styles, right ones and known mistakes.

Each student is a style and a few edits of it. `STUDENTS` says what is true of each: the state, the
marks that lose their points, and the names of the mistakes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

ASSIGNMENT = """\
title = "A two-layer network"
reference = "solution.py"
feedback = "hint"

[limits]
seconds = 60
hang_seconds = 4

[problems]
count = 3
public_seed = 0
hidden_seed = 20811

[[function]]
name = "affine_backward"
title = "affine"
names = ["linear_backward", "Linear", "Dense", "affine_grad"]
forward = 1
gradients = { x = 2, w = 2, b = 1 }

[[function]]
name = "sigmoid_backward"
title = "sigmoid"
names = ["sigmoid_prime", "Sigmoid", "sigmoid_grad", "d_sigmoid"]
forward = 1
gradients = { x = 2 }
chapters = ["sigmoid"]

[[function]]
name = "softmax_loss"
title = "softmax loss"
names = ["cross_entropy", "SoftmaxLoss"]
forward = 1
gradients = { x = 3 }

[[function]]
name = "two_layer"
title = "network"
names = ["net", "loss", "network"]
forward = 1
gradients = { W1 = 2, b1 = 1, W2 = 2, b2 = 1 }
"""
POSSIBLE = 20

PAIRS = '''\
"""Pairs of functions with a cache."""
import numpy as np


def affine_forward(x, w, b):
    out = x.dot(w) + b
    return out, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    dx = dout.dot(w.T)
    dw = x.T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


def sigmoid_forward(x):
    y = 1 / (1 + np.exp(-x))
    return y, y


def sigmoid_backward(dout, y):
    return dout * y * (1 - y)


def softmax_loss(x, y):
    shifted = x - np.max(x, axis=1, keepdims=True)
    p = np.exp(shifted) / np.sum(np.exp(shifted), axis=1, keepdims=True)
    N = x.shape[0]
    loss = -np.sum(np.log(p[np.arange(N), y])) / N
    dx = p.copy()
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx


def two_layer(X, y, W1, b1, W2, b2):
    z, cache1 = affine_forward(X, W1, b1)
    h, cache2 = sigmoid_forward(z)
    scores, cache3 = affine_forward(h, W2, b2)
    loss, dscores = softmax_loss(scores, y)
    dh, dW2, db2 = affine_backward(dscores, cache3)
    dz = sigmoid_backward(dh, cache2)
    _, dW1, db1 = affine_backward(dz, cache1)
    return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
'''

_NETWORK = """\

def network(X, y, W1, b1, W2, b2):
    z = X @ W1 + b1
    h = 1 / (1 + np.exp(-z))
    s = h @ W2 + b2
    e = np.exp(s - s.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    n = len(y)
    loss = -np.log(p[np.arange(n), y]).sum() / n
    ds = p.copy()
    ds[np.arange(n), y] -= 1
    ds = ds / n
    dW2 = h.T @ ds
    db2 = ds.sum(axis=0)
    dh = ds @ W2.T
    dz = dh * h * (1 - h)
    dW1 = X.T @ dz
    db1 = dz.sum(axis=0)
    return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
"""

CMU = (
    '''\
"""Classes that keep dLdW, with W of shape (out, in)."""
import numpy as np


class Linear:
    def __init__(self, in_features, out_features):
        self.W = np.zeros((out_features, in_features))
        self.b = np.zeros((out_features, 1))

    def forward(self, A):
        self.A = A
        self.N = A.shape[0]
        self.Ones = np.ones((self.N, 1))
        return A @ self.W.T + self.Ones @ self.b.T

    def backward(self, dLdZ):
        dLdA = dLdZ @ self.W
        self.dLdW = dLdZ.T @ self.A
        self.dLdb = dLdZ.T @ self.Ones
        return dLdA


class Sigmoid:
    def forward(self, Z):
        self.A = 1 / (1 + np.exp(-Z))
        return self.A

    def backward(self, dLdA):
        return dLdA * (self.A - self.A * self.A)


class SoftmaxLoss:
    def forward(self, x, y):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.p, self.y = e / e.sum(axis=1, keepdims=True), y
        self.N = len(y)
        return -np.log(self.p[np.arange(self.N), y]).mean()

    def backward(self):
        dx = self.p.copy()
        dx[np.arange(self.N), self.y] -= 1
        return dx / self.N

'''
    + _NETWORK
)

NNFS = (
    '''\
"""Layers that keep dweights and dinputs and return nothing."""
import numpy as np


class Dense:
    def __init__(self, n_inputs, n_neurons):
        self.weights = 0.01 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = np.dot(dvalues, self.weights.T)


class Sigmoid:
    def forward(self, inputs):
        self.inputs = inputs
        self.output = 1 / (1 + np.exp(-inputs))

    def backward(self, dvalues):
        self.dinputs = dvalues * (1 - self.output) * self.output


def softmax_loss(x, y):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    rows = range(len(y))
    dx = p.copy()
    dx[rows, y] -= 1
    return -np.mean(np.log(p[rows, y])), dx / len(y)

'''
    + _NETWORK
)

SLOPES = (
    '''\
"""Slopes, and gradients that take everything they need as arguments."""
import numpy as np


def affine(x, w, b):
    return np.dot(x, w) + b


def affine_grad(x, w, b, dy):
    dx = np.dot(dy, w.T)
    dw = np.dot(x.T, dy)
    db = dy.sum(axis=0)
    return dx, dw, db


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def sigmoid_prime(x):
    return sigmoid(x) * (1 - sigmoid(x))


def cross_entropy(x, y):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(y)), y]).mean()


def cross_entropy_grad(x, y):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    g = e / e.sum(axis=1, keepdims=True)
    g[np.arange(len(y)), y] -= 1
    return g / len(y)

'''
    + _NETWORK
)

GRADS = (
    '''\
"""Layers with params and grads in dicts."""
import numpy as np


class Linear:
    def __init__(self, input_size, output_size):
        self.params = {"w": np.random.randn(input_size, output_size), "b": np.zeros(output_size)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["w"] + self.params["b"]

    def backward(self, grad):
        self.grads["b"] = np.sum(grad, axis=0)
        self.grads["w"] = self.x.T @ grad
        return grad @ self.params["w"].T


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_grad(dy, x):
    s = sigmoid(x)
    return dy * s * (1 - s)


def softmax_loss(x, y):
    log_z = np.log(np.sum(np.exp(x), axis=1))
    n = x.shape[0]
    loss = np.mean(log_z - x[np.arange(n), y])
    target = np.zeros_like(x)
    target[np.arange(n), y] = 1
    return loss, (np.exp(x - log_z[:, None]) - target) / n

'''
    + _NETWORK
)

LOOPS = (
    '''\
"""Everything in loops."""
import numpy as np


def affine_forward(x, w, b):
    N, D = x.shape
    M = w.shape[1]
    out = np.zeros((N, M))
    for i in range(N):
        for j in range(M):
            total = 0.0
            for k in range(D):
                total = total + x[i, k] * w[k, j]
            out[i, j] = total
    return out + b, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    N, D = x.shape
    M = w.shape[1]
    dx, dw, db = np.zeros((N, D)), np.zeros((D, M)), np.zeros(M)
    for i in range(N):
        for j in range(M):
            db[j] += dout[i, j]
            for k in range(D):
                dx[i, k] += dout[i, j] * w[k, j]
                dw[k, j] += dout[i, j] * x[i, k]
    return dx, dw, db


def sigmoid_forward(x):
    y = 1 / (1 + np.exp(-x))
    return y, y


def sigmoid_backward(dout, cache):
    dx = np.zeros(cache.shape)
    flat, d, c = dx.reshape(-1), dout.reshape(-1), cache.reshape(-1)
    for i in range(len(flat)):
        flat[i] = d[i] * c[i] * (1 - c[i])
    return dx


def softmax_loss(x, y):
    N, C = x.shape
    loss, dx = 0.0, np.zeros((N, C))
    for i in range(N):
        e = np.exp(x[i] - np.max(x[i]))
        p = e / np.sum(e)
        loss = loss - np.log(p[y[i]])
        for j in range(C):
            dx[i, j] = (p[j] - (j == y[i])) / N
    return loss / N, dx

'''
    + _NETWORK
)

EINSUM = (
    '''\
"""Einstein sums, gradients in a dict."""
import numpy as np


def affine_forward(x, w, b):
    return np.einsum("nd,dm->nm", x, w) + b, {"x": x, "w": w}


def affine_backward(dout, cache):
    return {
        "dx": np.einsum("nm,dm->nd", dout, cache["w"]),
        "dw": np.einsum("nd,nm->dm", cache["x"], dout),
        "db": np.einsum("nm->m", dout),
    }


def sigmoid_forward(x):
    s = 1 / (1 + np.exp(-x))
    return s, s


def sigmoid_backward(dout, s):
    return dout * s * (1 - s)


def softmax_loss(x, y):
    p = np.exp(x) / np.einsum("nc->n", np.exp(x))[:, None]
    n = len(y)
    dx = (p - np.eye(x.shape[1])[y]) / n
    return -np.log(p[np.arange(n), y]).sum() / n, dx

'''
    + _NETWORK
)

TYPED = (
    '''\
"""Typed functions with long names and the cache first."""
import numpy as np


def affine_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray):
    cache = (x, w, b)
    return x @ w + b, cache


def affine_backward(cache, dout: np.ndarray):
    x, w, b = cache
    dw = x.T @ dout
    db = dout.sum(0)
    dx = dout @ w.T
    return dx, dw, db


def sigmoid_forward(x: np.ndarray):
    output = 1 / (1 + np.exp(-x))
    return output, output


def sigmoid_backward(cache, dout: np.ndarray):
    return cache * (1 - cache) * dout


def softmax_loss(x: np.ndarray, y: np.ndarray):
    exps = np.exp(x - x.max(axis=-1, keepdims=True))
    probabilities = exps / exps.sum(axis=-1, keepdims=True)
    count = len(x)
    loss = -np.log(probabilities[np.arange(count), y]).sum() / count
    probabilities[np.arange(count), y] -= 1
    return loss, probabilities / count

'''
    + _NETWORK
)

CALLS = (
    '''\
"""Objects that are called, and keep what they need."""
import numpy as np


class Linear:
    def __init__(self, n_in, n_out):
        self.w = np.random.randn(n_in, n_out)
        self.b = np.zeros(n_out)

    def __call__(self, x):
        self.x = x
        return x @ self.w + self.b

    def backward(self, dout):
        self.dw = self.x.T @ dout
        self.db = dout.sum(axis=0)
        return dout @ self.w.T


class Sigmoid:
    def __call__(self, x):
        self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout):
        return dout * (1.0 - self.out) * self.out


def softmax_loss(x, y):
    n = len(y)
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dx = np.exp(log_p)
    dx[np.arange(n), y] -= 1
    return -log_p[np.arange(n), y].mean(), dx / n

'''
    + _NETWORK
)

STEPS = PAIRS.replace('"""Pairs of functions with a cache."""', '"""A network step by step."""')
STEPS = STEPS[: STEPS.index("def two_layer")] + _NETWORK[1:].replace("network(", "two_layer(")

STYLES = {
    "pairs": PAIRS, "cmu": CMU, "nnfs": NNFS, "slopes": SLOPES, "grads": GRADS,
    "loops": LOOPS, "einsum": EINSUM, "typed": TYPED, "calls": CALLS, "steps": STEPS,
}  # fmt: skip

HANGS = "    while True:\n        pass\n"
HOSTILE = """
import os
import socket
import reference.checks.comparing.assessment as judge

judge.close = lambda *a, **k: np.ones(1, dtype=bool)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError:
    pass
"""
EMPTY = '''\
import numpy as np


def affine_forward(x, w, b):
    pass


def affine_backward(dout, cache):
    x, w, b = cache
    dx, dw, db = None, None, None
    # your code here
    return dx, dw, db


def sigmoid_forward(x):
    raise NotImplementedError


def sigmoid_backward(dout, cache):
    """Your code here."""
    raise NotImplementedError("sigmoid_backward")


def softmax_loss(x, y):
    pass


def two_layer(X, y, W1, b1, W2, b2):
    pass
'''

Edit = tuple[str, str]


@dataclass(frozen=True)
class Student:
    """One submission, and what is true of it."""

    name: str
    style: str
    edits: tuple[Edit, ...] = ()
    state: str = "right"
    lost: tuple[str, ...] = ()
    """The marks without points: "affine: w"."""
    mistakes: tuple[str, ...] = ()
    """One of these has to be named, if there are any."""
    notebook: bool = False

    def text(self) -> str:
        """Return the source."""
        if self.style == "empty":
            return EMPTY
        text = STYLES[self.style]
        for old, new in self.edits:
            assert old in text, (self.name, old)
            text = text.replace(old, new, 1)
        return text

    def write(self, folder: Path) -> None:
        """Write the file into a folder."""
        if not self.notebook:
            (folder / f"{self.name}.py").write_text(self.text())
            return
        parts = self.text().split("\n\n\n")
        cells = [{"cell_type": "markdown", "metadata": {}, "source": "# Homework"}]
        cells += [
            {
                "cell_type": "code",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
                "source": p,
            }
            for p in ["%matplotlib inline", *parts]
        ]
        book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (folder / f"{self.name}.ipynb").write_text(json.dumps(book))


EVERYTHING = (
    *("affine: forward", "affine: x", "affine: w", "affine: b", "sigmoid: forward", "sigmoid: x"),
    *("softmax loss: forward", "softmax loss: x", "network: forward"),
    *("network: W1", "network: b1", "network: W2", "network: b2"),
)

RENAMED = "def softmax_loss(logits, labels):\n    x, y = logits, labels\n"
NETWORK = ("network: forward", "network: W1", "network: b1", "network: W2", "network: b2")
AFFINE = ("affine: forward", "affine: x", "affine: w", "affine: b")
TABLE = ", ".join(f"{0.125 * k:.3f}" for k in range(1, 31))

STUDENTS = (
    *(Student(f"right_{style}", style) for style in STYLES),
    Student("right_notebook", "pairs", notebook=True),
    Student("right_keepdims", "steps", (("db = np.sum(dout, axis=0)", "db = dout.sum(axis=0)"),)),
    Student(
        "slope", "steps", (("dout * y * (1 - y)", "dout * (1 - y)"),),
        "wrong", ("sigmoid: x",), ("sigmoid_first_factor_left_out",),
    ),
    Student(
        "divided", "typed", (("dw = x.T @ dout", "dw = x.T @ dout / len(x)"),),
        "wrong", ("affine: w",), ("weight_mean_taken_again",),
    ),
    Student(
        "averaged", "einsum", (('"db": np.einsum("nm->m", dout)', '"db": np.mean(dout, axis=0)'),),
        "wrong", ("affine: b",),
    ),
    Student(
        "not_averaged", "steps", (("    dx /= N\n", ""),),
        "wrong", ("softmax loss: x",), ("mean_left_out",),
    ),
    Student(
        "sign", "cmu", (("dLdA = dLdZ @ self.W", "dLdA = -dLdZ @ self.W"),),
        "wrong", ("affine: x",), ("below_sign",),
    ),
    Student(
        "label", "nnfs",
        (("dx[rows, y] -= 1", "dx[rows, y] += 1"), ("def softmax_loss(x, y):\n", RENAMED)),
        "wrong", ("softmax loss: x",), ("wrong_sign",),
    ),
    Student(
        "inner", "slopes", (("dz = dh * h * (1 - h)", "dz = dh * h"),),
        "wrong", ("network: W1",), ("activation_value_for_slope",),
    ),
    Student(
        "no_slope", "grads", (("dz = dh * h * (1 - h)", "dz = dh"),),
        "wrong", ("network: W1",), ("activation_skipped",),
    ),
    Student(
        "wrong_input", "calls", (("dW2 = h.T @ ds", "dW2 = z.T @ ds"),),
        "wrong", ("network: W2",), ("weight_from_pre_activation",),
    ),
    Student(
        "other_forward", "typed",
        (("np.exp(-x)", "np.exp(-2 * x)"), ("cache * (1 - cache)", "2 * cache * (1 - cache)")),
        "wrong", ("sigmoid: forward",),
    ),
    Student(
        "framework", "loops",
        (
            (
                "    x, w, b = cache\n",
                "    import torch\n\n    x, w, b = cache\n"
                "    t = torch.tensor(w, requires_grad=True)\n",
            ),
        ),
        "not by hand", AFFINE,
    ),
    Student(
        "differences", "steps",
        (
            (
                "    return dout * y * (1 - y)\n",
                "    h = 1e-6\n    x = np.log(y / (1 - y))\n"
                "    up, down = sigmoid_forward(x + h)[0], sigmoid_forward(x - h)[0]\n"
                "    return dout * (up - down) / (2 * h)\n",
            ),
        ),
        "not by hand", ("sigmoid: forward", "sigmoid: x"),
    ),
    Student(
        "answers", "nnfs",
        (("    dx = p.copy()\n", f"    known = np.array([{TABLE}])\n    dx = p + 0 * known[0]\n"),),
        "not by hand", ("softmax loss: forward", "softmax loss: x"),
    ),
    Student(
        "half", "steps",
        ((STEPS[STEPS.index("    z = X @ W1") :], "    pass\n"),),
        "wrong", NETWORK,
    ),
    Student(
        "none", "loops", (("return dx, dw, db", "return dx, dw, None"),),
        "wrong", ("affine: b",),
    ),
    Student(
        "hangs", "steps", (("    x, w, b = cache\n", HANGS),),
        "hung", AFFINE,
    ),
    Student(
        "hostile", "steps", (("import numpy as np\n", "import numpy as np\n" + HOSTILE),),
        "tampering", EVERYTHING,
    ),
    Student("empty", "empty", (), "not attempted", EVERYTHING),
)  # fmt: skip
