"""Styles of whole programs: each is right as it stands, and wrong with one realistic mistake."""

import pytest
from targetsources import inside

TWO_OUTPUTS = """
import numpy as np

def cell_forward(x, h_prev, C_prev, W, b):
    z = np.vstack((h_prev, x))
    g = np.tanh(W @ z + b)
    C = C_prev + g
    h = np.tanh(C)
    return h, C, (z, g, C, h, W)

def cell_backward(dh, dC_next, cache):
    z, g, C, h, W = cache
    dC = dC_next + dh * (1 - h ** 2)
    da = dC * (1 - g ** 2)
    dz = W.T @ da
    H = h.shape[0]
    return dz[H:], dz[:H], dC, {"dW": da @ z.T, "db": da.sum(1, keepdims=True)}
"""

IN_FLOAT32 = """
import numpy as np

def tanh_forward(x):
    out = np.tanh(x).astype(np.float32)
    return out, out

def tanh_backward(dout, cache):
    return (dout * (1 - cache ** 2)).astype(np.float32)
"""

PARAMETERS = """
import numpy as np

class Parameter:
    def __init__(self, data):
        self.data = data
        self.grad = np.zeros_like(data)

class Linear:
    def __init__(self, n_in, n_out):
        self.w = Parameter(np.random.randn(n_in, n_out))
        self.b = Parameter(np.zeros(n_out))

    def forward(self, x):
        self.x = x
        return x @ self.w.data + self.b.data

    def backward(self, grad):
        self.w.grad += self.x.T @ grad
        self.b.grad += grad.sum(axis=0)
        return grad @ self.w.data.T
"""

STEPPED_BEFORE = """
import numpy as np

class Dense:
    def __init__(self, n_in, n_out, lr=0.1):
        self.lr = lr
        self.W = np.random.randn(n_in, n_out)

    def forward(self, X):
        self.X = X
        return X @ self.W

    def backward(self, accum_grad):
        W = self.W
        grad_w = self.X.T @ accum_grad
        self.W = self.W - self.lr * grad_w
        accum_grad = accum_grad @ W.T
        return accum_grad
"""

RESIDUAL = """
import numpy as np

class Residual:
    def __init__(self, n_in, n_hidden):
        self.W1 = np.random.randn(n_in, n_hidden)
        self.W2 = np.random.randn(n_hidden, n_in)

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.W1)
        return x + self.h @ self.W2

    def backward(self, dy):
        self.dW2 = self.h.T @ dy
        back = dy @ self.W2.T * (1 - self.h ** 2)
        self.dW1 = self.x.T @ back
        back = back @ self.W1.T
        back = dy + back
        return back
"""

CALLED = """
import numpy as np

class Module:
    def __call__(self, *args):
        self.args = args
        self.out = self.forward(*args)
        return self.out

    def backward(self, g):
        return self.bwd(g, *self.args)

class Square(Module):
    def forward(self, inp):
        return inp ** 2

    def bwd(self, g, inp):
        return 2 * inp * g
"""

SQUEEZED = """
import numpy as np

class Mse:
    def __call__(self, inp, targ):
        self.inp, self.targ = inp, targ
        return ((inp.squeeze() - targ) ** 2).mean()

    def backward(self):
        return 2 * (self.inp.squeeze() - self.targ)[:, None] / self.targ.shape[0]
"""

RATED = """
import numpy as np

def cofi_cost(X, Theta, Y, R, lam):
    err = (X @ Theta.T - Y) * R
    J = 0.5 * np.sum(err ** 2) + lam / 2 * (np.sum(X ** 2) + np.sum(Theta ** 2))
    X_grad = err @ Theta + lam * X
    Theta_grad = err.T @ X + lam * Theta
    return J, X_grad, Theta_grad
"""

UNPACKED = """
import numpy as np

def forward(params, X):
    W1, b1, W2, b2 = params
    h = np.maximum(X @ W1 + b1, 0)
    return h @ W2 + b2, h

def loss(params, X, y):
    out, _ = forward(params, X)
    return 0.5 * np.sum((out - y) ** 2) / len(y)

def gradients(params, X, y):
    W1, b1, W2, b2 = params
    out, h = forward(params, X)
    d = (out - y) / len(y)
    dh = (d @ W2.T) * (h > 0)
    return [X.T @ dh, dh.sum(axis=0), h.T @ d, d.sum(axis=0)]
"""

GATES = """
import numpy as np

def gates_forward(inputs, state, params):
    W_xz, W_hz, b_z, W_xr, W_hr, b_r = params
    z = np.tanh(inputs @ W_xz + state @ W_hz + b_z)
    r = np.tanh(inputs @ W_xr + state @ W_hr + b_r)
    return z * r, (inputs, state, z, r)

def gates_backward(dout, cache, params):
    inputs, state, z, r = cache
    dz = dout * r * (1 - z ** 2)
    dr = dout * z * (1 - r ** 2)
    grads = []
    for d in (dz, dr):
        grads += [inputs.T @ d, state.T @ d, d.sum(0)]
    return grads
"""

TRAINED = """
import numpy as np

def step(emb, W1, b1, bngain, W2, b2, t):
    a = np.tanh(emb @ W1 + b1)
    c = a - a.mean(0, keepdims=True)
    h = bngain * c
    out = h @ W2 + b2
    loss = 0.5 * np.sum((out - t) ** 2)
    dout = out - t
    dW2 = h.T @ dout
    db2 = dout.sum(0)
    dh = dout @ W2.T
    dbngain = (dh * c).sum(0, keepdims=True)
    dc = dh * bngain
    da = (dc - dc.mean(0)) * (1 - a ** 2)
    dW1 = emb.T @ da
    db1 = da.sum(0)
    demb = da @ W1.T
    return loss, (demb, dW1, db1, dbngain, dW2, db2)
"""

STYLES = {
    "an incoming gradient for each output": (TWO_OUTPUTS, "(1 - h ** 2)", "(1 - C ** 2)"),
    "in float32 throughout": (IN_FLOAT32, "(1 - cache ** 2)", "(1 - cache)"),
    "data and grad of a parameter": (PARAMETERS, "grad.sum(axis=0)", "grad.mean(axis=0)"),
    "a step, and a gradient alone": (STEPPED_BEFORE, "@ W.T", "@ self.W.T"),
    "a gradient alone of any name": (RESIDUAL, "back = dy + back", "back = 1 * back"),
    "called through a base class": (CALLED, "2 * inp * g", "inp * g"),
    "one column without its axis": (SQUEEZED, "return 2 * (", "return ("),
    "ratings that are there": (RATED, "err @ Theta", "(X @ Theta.T - Y) @ Theta"),
    "weights in one argument": (UNPACKED, "* (h > 0)", "* 1.0"),
    "gates by letters": (GATES, "dout * z *", "dout * r *"),
    "trained arrays of any name": (TRAINED, "(dc - dc.mean(0))", "dc"),
}


@pytest.mark.parametrize(("source", "right", "wrong"), STYLES.values(), ids=STYLES)
def test_right_and_wrong(source: str, right: str, wrong: str) -> None:
    assert right in source
    assert inside(source, problems=4).exit_code == 0
    assert inside(source.replace(right, wrong), problems=4).exit_code == 1


def test_a_gradient_in_float32_of_a_forward_in_float64_is_a_fault() -> None:
    source = IN_FLOAT32.replace("np.tanh(x).astype(np.float32)", "np.tanh(x)")
    assert inside(source, problems=4).exit_code == 1


POLICY = """
import numpy as np

model = {}
model["W1"] = np.random.randn(6, 5)
model["W2"] = np.random.randn(6)

def policy_forward(x):
    h = np.dot(model["W1"], x)
    h[h < 0] = 0
    p = 1.0 / (1.0 + np.exp(-np.dot(model["W2"], h)))
    return p, h

def policy_backward(epx, eph, epdlogp):
    dW2 = np.dot(eph.T, epdlogp).ravel()
    dh = np.outer(epdlogp, model["W2"])
    dh[eph <= 0] = 0
    return {"W1": np.dot(dh.T, epx), "W2": dW2}
"""


def test_gradients_of_weights_that_no_input_holds_are_not_those_of_an_input() -> None:
    result = inside(POLICY, problems=4)
    assert result.exit_code == 2 and not result.our_faults
