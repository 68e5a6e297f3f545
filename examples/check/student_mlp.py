"""A student's three-layer network, as it was handed in, with three mistakes.

manual-backprop check examples/check/student_mlp.py
"""

import numpy as np

# What this code was written for: tanh inside, logits at the end, class labels, the mean loss.
accepts = {
    "activations": ["tanh"], "output": ["identity"], "losses": ["cross_entropy"],
    "reductions": ["mean"], "targets": ["labels"], "depths": [3], "parameters": False,
}  # fmt: skip


def value_and_grad(network, params, x, y):
    W1, b1, W2, b2, W3, b3 = params.values()
    N = len(x)
    # forward
    h1 = np.tanh(x @ W1 + b1)
    h2 = np.tanh(h1 @ W2 + b2)
    scores = h2 @ W3 + b3
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(p[np.arange(N), y]).mean()
    # backward
    dscores = p.copy()
    dscores[np.arange(N), y] -= 1
    dscores /= N
    grads = {}
    grads["W3"] = h2.T @ dscores
    grads["b3"] = dscores.sum(axis=0)
    dz2 = (dscores @ W3.T) * (1 - h2**2)
    grads["W2"] = h1.T @ dz2 / N
    grads["b2"] = dz2.mean(axis=0)
    dz1 = (dz2 @ W2.T) * (1 - h1)
    grads["W1"] = x.T @ dz1
    grads["b1"] = dz1.sum(axis=0)
    return loss, grads
