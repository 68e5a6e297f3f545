# exit: 1
# expect: summed over all axes
import numpy as np


def forward_prop(W1, b1, W2, b2, X):
    Z1 = W1.dot(X) + b1
    A1 = np.maximum(Z1, 0)
    Z2 = W2.dot(A1) + b2
    return Z1, A1, Z2, np.exp(Z2) / np.sum(np.exp(Z2), axis=0)


def one_hot(Y):
    out = np.zeros((Y.size, Y.max() + 1))
    out[np.arange(Y.size), Y] = 1
    return out.T


def backward_prop(Z1, A1, Z2, A2, W1, W2, X, Y):
    m = X.shape[1]
    dZ2 = A2 - one_hot(Y)
    dW2 = 1 / m * dZ2.dot(A1.T)
    db2 = 1 / m * np.sum(dZ2)
    dZ1 = W2.T.dot(dZ2) * (Z1 > 0)
    dW1 = 1 / m * dZ1.dot(X.T)
    db1 = 1 / m * np.sum(dZ1)
    return dW1, db1, dW2, db2
