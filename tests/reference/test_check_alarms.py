"""No false alarm and no false RIGHT where a loss is not written beside a gradient."""

import pytest
from targetsources import inside

RELU_NETWORK = """
import numpy as np

def forward(X, p):
    z1 = p["W1"] @ X + p["b1"]
    a1 = np.maximum(0, z1)
    a2 = 1 / (1 + np.exp(-(p["W2"] @ a1 + p["b2"])))
    return a2, {"z1": z1, "a1": a1, "a2": a2}

def backward(p, cache, X, Y):
    m = X.shape[1]
    dz2 = cache["a2"] - Y
    dW2 = dz2 @ cache["a1"].T / m
    db2 = dz2.sum(axis=1, keepdims=True) / m
    dz1 = (p["W2"].T @ dz2) * (cache["z1"] > 0)
    return {"dW1": dz1 @ X.T / m, "db1": dz1.sum(axis=1, keepdims=True) / m, "dW2": dW2, "db2": db2}
"""

MEAN_IN_THE_LAYER = """
import numpy as np

def mlp_forward(x, W1, b1, W2, b2):
    z1 = x @ W1 + b1
    h = np.maximum(z1, 0)
    return h @ W2 + b2, (x, W1, z1, h, W2)

def mlp_backward(dout, cache):
    x, W1, z1, h, W2 = cache
    N = x.shape[0]
    dz1 = (dout @ W2.T) * (z1 > 0)
    return dz1 @ W1.T, x.T @ dz1 / N, dz1.sum(0) / N, h.T @ dout / N, dout.sum(0) / N
"""

STEPS = """
import numpy as np

class Net:
    def __init__(self, n_in, n_hidden, n_out):
        self.W1 = np.random.randn(n_in, n_hidden)
        self.b1 = np.zeros(n_hidden)
        self.W2 = np.random.randn(n_hidden, n_out)
        self.b2 = np.zeros(n_out)

    def forward(self, X):
        self.z1 = X @ self.W1 + self.b1
        self.h1 = np.maximum(self.z1, 0)
        return self.h1 @ self.W2 + self.b2

    def backward(self, X, dout):
        dz1 = (dout @ self.W2.T) * (self.z1 > 0)
        self.W2 -= 0.01 * (self.h1.T @ dout)
        self.b2 -= 0.01 * dout.sum(0)
        self.W1 -= 0.01 * (X.T @ dz1)
        self.b1 -= 0.01 * dz1.sum(0)
"""

PENALTY = """
import numpy as np

class Net:
    def __init__(self, D, H, C, reg=0.1):
        self.W1 = np.random.randn(D, H)
        self.W2 = np.random.randn(H, C)
        self.reg = reg

    def forward(self, X):
        self.X = X
        self.h1 = np.maximum(X @ self.W1, 0)
        z2 = self.h1 @ self.W2
        e = np.exp(z2 - z2.max(1, keepdims=True))
        self.p = e / e.sum(1, keepdims=True)
        return self.p

    def backward(self, y):
        N = len(y)
        dz = self.p.copy()
        dz[np.arange(N), y] -= 1
        dz /= N
        self.dW2 = self.h1.T @ dz + self.reg * self.W2
        dz1 = (dz @ self.W2.T) * (self.h1 > 0)
        self.dW1 = self.X.T @ dz1 + self.reg * self.W1
"""


@pytest.mark.parametrize(
    ("source", "seed"), [(RELU_NETWORK, 3), (MEAN_IN_THE_LAYER, 0), (STEPS, 3), (PENALTY, 0)]
)
def test_a_gradient_of_zeros_fits_every_factor(source: str, seed: int) -> None:
    """In some of these problems all ReLUs are dead."""
    found = inside(source, problems=20, seed=seed)
    assert found.exit_code == 0, str(found)


@pytest.mark.parametrize(
    ("source", "right", "wrong"),
    [
        (RELU_NETWORK, '(cache["z1"] > 0)', '(cache["z1"] < 0)'),
        (MEAN_IN_THE_LAYER, "dz1.sum(0) / N", "dz1.sum(0)"),
        (STEPS, "0.01 * (X.T", "0.02 * (X.T"),
        (PENALTY, "self.X.T @ dz1 + self.reg * self.W1", "self.X.T @ dz1 + 3 * self.reg * self.W1"),
    ],
)
def test_another_factor_of_one_weight_is_wrong(source: str, right: str, wrong: str) -> None:
    assert source.count(right) == 1
    assert inside(source.replace(right, wrong), problems=10, seed=3).exit_code == 1
