"""The gradient inside scikit-learn's MLPRegressor, beside the certified gradient.

    manual-backprop check examples/check/sklearn_mlp.py

The estimator's own `_backprop` is called on the drawn network; it needs scikit-learn.
"""

import numpy as np
from sklearn.neural_network import MLPRegressor

accepts = {
    "activations": "relu", "output": "identity", "losses": "mse", "reductions": "mean",
    "depths": (2, 3, 4),
}  # fmt: skip


def value_and_grad(network, params, x, y):
    hidden = [layer.width for layer in network.layers[:-1]]
    model = MLPRegressor(hidden, activation="relu", alpha=0.0, max_iter=1, solver="sgd")
    model.n_outputs_, model.n_layers_, model.out_activation_ = (
        y.shape[1],
        len(hidden) + 2,
        "identity",
    )
    if not hasattr(model, "_loss"):
        model.loss = "squared_error"
    values = list(params.values())
    model.coefs_, model.intercepts_ = values[0::2], values[1::2]
    activations = [x] + [None] * (model.n_layers_ - 1)
    deltas = [None] * (model.n_layers_ - 1)
    coef_grads = [np.empty_like(w) for w in model.coefs_]
    intercept_grads = [np.empty_like(b) for b in model.intercepts_]
    arguments = (x, y, activations, deltas, coef_grads, intercept_grads)
    try:
        loss, coef_grads, intercept_grads = model._backprop(x, y, None, *arguments[2:])
    except TypeError:  # before sample weights came in
        loss, coef_grads, intercept_grads = model._backprop(*arguments)
    # scikit-learn minimises half the mean square, and divides by the samples alone.
    scale = 2 / y.shape[1]
    grads = {}
    for i, (dW, db) in enumerate(zip(coef_grads, intercept_grads, strict=True)):
        grads[f"layers.{i}.weight"], grads[f"layers.{i}.bias"] = scale * dW, scale * db
    return 2 * loss, grads
