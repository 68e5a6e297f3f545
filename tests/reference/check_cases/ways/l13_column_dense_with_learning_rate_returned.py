# exit: 0
# expect: right: update as a function: backward_pass(dZ, layer, lr) changes the arrays of a dict in place and returns the gradient for the layer below
import numpy as np


def make_layer(n_in, n_out):
    return {"W": np.random.randn(n_out, n_in) * 0.1, "b": np.zeros((n_out, 1))}


def forward_pass(A, layer):
    layer["A"] = A
    return layer["W"] @ A + layer["b"]


def backward_pass(dZ, layer, lr=0.1):
    below = layer["W"].T @ dZ
    layer["W"] -= lr * dZ @ layer["A"].T
    layer["b"] -= lr * dZ.sum(axis=1, keepdims=True)
    return below
