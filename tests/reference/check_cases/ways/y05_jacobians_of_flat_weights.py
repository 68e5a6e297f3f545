# exit: 0
# expect: right: derivatives by a matrix are Jacobians with a column for each weight
import numpy as np


def softmax(z):
    exp_z = np.exp(z - np.max(z))
    return exp_z / np.sum(exp_z)


def softmax_gradient(z):
    """The Jacobian of softmax for a column z."""
    Sz = softmax(z)
    return -np.outer(Sz, Sz) + np.diag(Sz.flatten())


def fully_connected_gradient(x, W):
    """The Jacobian of W x with respect to W, flattened in row-major order."""
    N, T = x.shape[0], W.shape[0]
    D = np.zeros((T, N * T))
    for t in range(T):
        D[t, t * N : (t + 1) * N] = x.flatten()
    return D


def softmax_layer(x, W):
    logits = np.dot(W, x)
    return softmax(logits)


def softmax_layer_gradient(x, W):
    logits = np.dot(W, x)
    return np.dot(softmax_gradient(logits), fully_connected_gradient(x, W))


def softmax_layer_gradient_direct(x, W):
    N, T = x.shape[0], W.shape[0]
    S = softmax(np.dot(W, x))
    D = np.zeros((T, N * T))
    for t in range(T):
        for k in range(T):
            for j in range(N):
                D[t, k * N + j] = S[t, 0] * ((t == k) - S[k, 0]) * x[j, 0]
    return D


def cross_entropy_loss(p, y):
    return -np.sum(y * np.log(p))


def cross_entropy_loss_gradient(p, y):
    return -(y / p)


def softmax_cross_entropy_loss_gradient(x, W, y):
    p = softmax_layer(x, W)
    return np.dot(cross_entropy_loss_gradient(p, y).T, softmax_layer_gradient(x, W))
