"""No false alarm and no false RIGHT where a loss is not written beside a gradient."""

import json
import re

import numpy as np
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


CLASS_WITH_A_LOSS = """
import numpy as np

class Net:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out)
        self.b = np.zeros(n_out)

    def forward(self, X):
        self.X = X
        z = X @ self.W + self.b
        e = np.exp(z - z.max(1, keepdims=True))
        self.p = e / e.sum(1, keepdims=True)
        return self.p

    def loss(self, X, y):
        p = self.forward(X)
        return -np.log(p[np.arange(len(y)), y]).mean()

    def backward(self, y):
        N = len(y)
        dz = self.p.copy()
        dz[np.arange(N), y] -= 1
        dz /= N
        self.dW = self.X.T @ dz
        self.db = dz.sum(0)
"""

COST_BESIDE = """
import numpy as np

def forward_propagation(X, parameters):
    A = 1 / (1 + np.exp(-(parameters["W"] @ X + parameters["b"])))
    return A, {"A": A}

def compute_cost(A, Y):
    m = Y.shape[1]
    return -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m

def backward_propagation(parameters, cache, X, Y):
    m = X.shape[1]
    dZ = cache["A"] - Y
    return {"dW": dZ @ X.T / m, "db": dZ.sum(axis=1, keepdims=True) / m}
"""

REGRESSION = """
import numpy as np

class LogisticRegression:
    def __init__(self, n):
        self.w = np.zeros(n)
        self.b = 0.0

    def predict(self, X):
        return 1 / (1 + np.exp(-(X @ self.w + self.b)))

    def gradient(self, X, y):
        e = self.predict(X) - y
        return X.T @ e / len(y), e.mean()

    def loss(self, X, y):
        p = self.predict(X)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
"""

MEAN_IN_THE_STEP = """
    def step(self, rate, N):
        self.W -= rate / N * self.dW
        self.b -= rate / N * self.db
"""

MEAN_IN_THE_LOOP = """
def train(net, X, y):
    for _ in range(100):
        net.forward(X)
        net.backward(y)
        net.W -= 0.1 * net.dW / len(X)
        net.b -= 0.1 * net.db / len(X)
"""

METRIC = """
import numpy as np

def mse(y_true, y_pred):
    return np.mean((y_true - y_pred) ** 2)

class LinearRegression:
    def __init__(self, n_features):
        self.w = np.zeros(n_features)
        self.b = 0.0

    def predict(self, X):
        return X @ self.w + self.b

    def gradient(self, X, y):
        e = self.predict(X) - y
        return X.T @ e / len(y), e.mean()
"""


@pytest.mark.parametrize("source", [CLASS_WITH_A_LOSS, COST_BESIDE, REGRESSION])
def test_a_gradient_of_the_file_s_own_loss_is_right(source: str) -> None:
    found = inside(source, problems=6)
    assert found.exit_code == 0 and not found.parts[0].remarks, str(found)


@pytest.mark.parametrize(
    ("source", "right", "wrong", "said"),
    [
        (CLASS_WITH_A_LOSS, "        dz /= N\n", "", "mean_left_out"),
        (CLASS_WITH_A_LOSS, "dz /= N", "dz /= self.X.shape[1]", "gradients by D|by W.shape[0] ins"),
        (CLASS_WITH_A_LOSS, "dz /= N", "dz /= 2 * N", "½ times"),
        (COST_BESIDE, "dZ = cache", "dZ = m * cache", ""),
        (COST_BESIDE, "m = X.shape[1]", "m = X.shape[0]", "gradients by D|by X.shape[0] ins"),
        (COST_BESIDE, "m = X.shape[1]", "m = 1", "mean_left_out"),
        (REGRESSION, "e / len(y), e.mean()", "e, e.sum()", "mean_left_out"),
        (
            REGRESSION,
            "e / len(y), e.mean()",
            "e / X.shape[1], e.sum() / X.shape[1]",
            "by D|instead of",
        ),
    ],
)
def test_a_file_s_own_loss_judges_its_gradient(
    source: str, right: str, wrong: str, said: str
) -> None:
    assert source.count(right) == 1
    found = inside(source.replace(right, wrong), problems=6)
    assert found.exit_code == 1, str(found)
    assert any(text in " ".join(str(found).split()) for text in said.split("|"))


@pytest.mark.parametrize("later", [MEAN_IN_THE_STEP, MEAN_IN_THE_LOOP])
def test_a_mean_that_is_taken_after_the_backward_is_accepted_with_a_remark(later: str) -> None:
    """loss() is a mean over N; the backward gives sums, and the step divides them."""
    source = CLASS_WITH_A_LOSS.replace("        dz /= N\n", "") + later
    found = inside(source, problems=6)
    assert found.exit_code == 0, str(found)
    assert "those of loss() times a factor" in " ".join(str(found).split())
    wrong = source.replace("dz[np.arange(N), y] -= 1", "dz[np.arange(N), y] -= 2")
    assert inside(wrong, problems=6).exit_code == 1


METRIC_OF_THE_CLASS = (
    "import numpy as np\n\nclass"
    + METRIC.partition("class")[2]
    + """
    def mse(self, X, y):
        return np.mean((self.predict(X) - y) ** 2)
"""
)


@pytest.mark.parametrize("source", [METRIC, METRIC_OF_THE_CLASS])
def test_an_error_that_is_printed_is_no_loss_to_judge_by(source: str) -> None:
    found = inside(source, problems=6)
    assert found.exit_code == 0, str(found)
    assert "those of mse() times a factor" in " ".join(str(found).split())


@pytest.mark.parametrize(
    ("wrong", "spelled"), [("e / len(y), e.mean()", "1/N"), ("e * 2 / len(y), 2 * e.mean()", "2/N")]
)
def test_the_factor_of_a_guessed_loss_is_spelled_by_sizes_that_vary(
    wrong: str, spelled: str
) -> None:
    source = REGRESSION.partition("    def loss")[0].replace("e / len(y), e.mean()", wrong)
    found = " ".join(str(inside(source, problems=6)).split())
    assert f"times {spelled}, certified" in found


SQUARE_LAYER = """
import numpy as np

def forward(X, W1, b1, W2, b2):
    z1 = X @ W1 + b1
    h1 = np.maximum(z1, 0)
    out = np.tanh(h1 @ W2 + b2)
    return out, (X, z1, h1, W2, out)

def backward(dout, cache):
    X, z1, h1, W2, out = cache
    dz2 = dout * (1 - out**2)
    dz1 = (dz2 @ W2) * (z1 > 0)
    return {"W1": X.T @ dz1, "b1": dz1.sum(0), "W2": h1.T @ dz2, "b2": dz2.sum(0)}
"""

KINKED = {
    "transposed": (SQUARE_LAYER, "", ""),
    "in the slope": (SQUARE_LAYER.replace("dz2 @ W2)", "dz2 @ W2.T)"), "1 - out**2", "1 - out"),
    "absolute value": (
        SQUARE_LAYER.replace("dz2 @ W2)", "dz2 @ W2.T)").replace("np.maximum(z1, 0)", "abs(z1)"),
        "(z1 > 0)",
        "np.sign(z1) * (z1 > 0)",
    ),
}


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_smallest_problem_is_not_at_a_kink(name: str, seed: int) -> None:
    """A weight of 1 x 1 is its own transpose: there it would be wrong at z1 = 0 alone."""
    source, right, wrong = KINKED[name]
    (part,) = inside(source.replace(right, wrong), problems=6, seed=seed).parts
    assert part.verdict == "wrong"
    given = {
        key: np.array(json.loads(value))
        for key, value in re.findall(r"(\w+) = (\[.*?\])(?=, \w+ = |$)", part.smallest)
    }
    assert name != "transposed" or given["W2"].shape != (1, 1)
    assert np.all(given["X"] @ given["W1"] + given["b1"] != 0), part.smallest
