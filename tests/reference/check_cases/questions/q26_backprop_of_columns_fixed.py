# exit: 0
# mistake: sigmoid_prime applies the sigmoid itself and wants z; it is called with the activation, so the sigmoid is applied twice
# expect: twice|pre-?activation|wants z|of the activation|sigmoid of|evaluated at|at z\b
import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


def backprop(x, y, W1, b1, W2, b2):
    """Squared error, 0.5 * sum((a2 - y) ** 2); x and y are columns."""
    z1 = W1 @ x + b1
    a1 = sigmoid(z1)
    z2 = W2 @ a1 + b2
    a2 = sigmoid(z2)
    loss = 0.5 * np.sum((a2 - y) ** 2)
    delta2 = (a2 - y) * sigmoid_prime(z2)
    delta1 = W2.T @ delta2 * sigmoid_prime(z1)
    return loss, delta1 @ x.T, delta1, delta2 @ a1.T, delta2
