"""A two-layer network written from a textbook: sigmoid units, the mean square as loss.

manual-backprop check examples/check/textbook_mlp.py
"""

import numpy as np

accepts = {
    "activations": "sigmoid", "output": "sigmoid", "losses": "mse", "reductions": "mean",
    "depths": 2,
}  # fmt: skip


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def value_and_grad(network, params, x, y):
    W1, b1, W2, b2 = params.values()
    a1 = sigmoid(x @ W1 + b1)
    a2 = sigmoid(a1 @ W2 + b2)
    loss = np.mean((a2 - y) ** 2)

    delta2 = 2 * (a2 - y) / y.size * a2 * (1 - a2)
    delta1 = delta2 @ W2.T * (1 - a1)
    return loss, {
        "W1": x.T @ delta1, "b1": delta1.sum(axis=0),
        "W2": a1.T @ delta2, "b2": delta2.sum(axis=0),
    }  # fmt: skip
