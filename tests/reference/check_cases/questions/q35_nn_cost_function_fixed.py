# exit: 0
# mistake: the gradient regularises the whole of theta; the cost leaves the bias column out
# expect: bias|regulari|column|decay|intercept
import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def nnCostFunction(nn_params, n_in, n_hid, n_labels, X, y, Lambda):
    t1 = nn_params[:n_hid * (n_in + 1)].reshape(n_hid, n_in + 1)
    t2 = nn_params[n_hid * (n_in + 1):].reshape(n_labels, n_hid + 1)
    m = len(X)
    Y = (y[:, None] == np.arange(n_labels)).astype(float)
    a1 = np.hstack((np.ones((m, 1)), X))
    a2 = np.hstack((np.ones((m, 1)), sigmoid(a1.dot(t1.T))))
    h = sigmoid(a2.dot(t2.T))
    J = np.sum(-Y * np.log(h) - (1 - Y) * np.log(1 - h)) / m
    J += Lambda / (2 * m) * (np.sum(t1[:, 1:] ** 2) + np.sum(t2[:, 1:] ** 2))

    d3 = h - Y
    d2 = d3.dot(t2[:, 1:]) * a2[:, 1:] * (1 - a2[:, 1:])
    g1 = d2.T.dot(a1) / m
    g2 = d3.T.dot(a2) / m
    g1[:, 1:] += Lambda / m * t1[:, 1:]
    g2[:, 1:] += Lambda / m * t2[:, 1:]
    return J, np.hstack((g1.ravel(), g2.ravel()))
