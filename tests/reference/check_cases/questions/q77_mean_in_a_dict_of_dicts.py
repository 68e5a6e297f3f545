# exit: 1
# mistake: the bias of the hidden layer gets the mean over the samples
# expect: averages|mean
"""Pure functions over a nested dict of parameters, in the style of JAX, differentiated by hand."""

import numpy as np


def init_params(rng, sizes):
    return {
        f"layer{i}": {"w": rng.normal(size=(m, n)), "b": np.zeros(n)}
        for i, (m, n) in enumerate(zip(sizes[:-1], sizes[1:]))
    }


def apply(params, x):
    h = np.tanh(x @ params["layer0"]["w"] + params["layer0"]["b"])
    return h @ params["layer1"]["w"] + params["layer1"]["b"]


def loss_fn(params, x, y):
    return np.mean((apply(params, x) - y) ** 2)


def grad_fn(params, x, y):
    h = np.tanh(x @ params["layer0"]["w"] + params["layer0"]["b"])
    pred = h @ params["layer1"]["w"] + params["layer1"]["b"]
    dpred = 2 * (pred - y) / pred.size
    dh = dpred @ params["layer1"]["w"].T
    dz = dh * (1 - h**2)
    return {
        "layer0": {"w": x.T @ dz, "b": dz.mean(0)},
        "layer1": {"w": h.T @ dpred, "b": dpred.sum(0)},
    }
