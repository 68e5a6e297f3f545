# exit: 1
# mistake: the ones are put in front, so the bias row is the first; the last row is removed from the deltas
# expect: \bbias|\brow|\bcolumn|shift
import numpy as np

g = lambda z: 1 / (1 + np.exp(-z))


def add_bias(A):
    return np.vstack([np.ones((1, A.shape[1])), A])


def forward(X, T1, T2):
    a1 = add_bias(X)
    a2 = add_bias(g(T1 @ a1))
    return a1, a2, g(T2 @ a2)


def cost(X, Y, T1, T2):
    a3 = forward(X, T1, T2)[2]
    return -np.sum(Y * np.log(a3) + (1 - Y) * np.log(1 - a3)) / X.shape[1]


def cost_gradients(X, Y, T1, T2):
    m = X.shape[1]
    a1, a2, a3 = forward(X, T1, T2)
    d3 = a3 - Y
    d2 = (T2.T @ d3) * a2 * (1 - a2)
    d2 = d2[:-1, :]
    return d2 @ a1.T / m, d3 @ a2.T / m
