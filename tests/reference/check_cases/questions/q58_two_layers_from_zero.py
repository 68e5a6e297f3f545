# exit: 0
# mistake: none: right, but with all weights 0 every hidden unit gets the same gradient for ever: start from random ones
# expect: right
import numpy as np


def init(n_x, n_h):
    return np.zeros((n_h, n_x)), np.zeros((n_h, 1)), np.zeros((1, n_h)), np.zeros((1, 1))


def forward(X, W1, b1, W2, b2):
    A1 = np.tanh(W1 @ X + b1)
    return A1, 1 / (1 + np.exp(-(W2 @ A1 + b2)))


def cost(A2, Y):
    return float(-np.mean(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)))


def backward(X, Y, A1, A2, W2):
    m = X.shape[1]
    dZ2 = A2 - Y
    dZ1 = W2.T @ dZ2 * (1 - A1 * A1)
    return dZ1 @ X.T / m, dZ1.sum(1, keepdims=True) / m, dZ2 @ A1.T / m, dZ2.sum(1, keepdims=True) / m


if __name__ == "__main__":
    X, Y = np.random.randn(2, 50), np.random.randint(0, 2, (1, 50))
    W1, b1, W2, b2 = init(2, 4)
    for _ in range(500):
        A1, A2 = forward(X, W1, b1, W2, b2)
        g = backward(X, Y, A1, A2, W2)
        W1, b1, W2, b2 = W1 - g[0], b1 - g[1], W2 - g[2], b2 - g[3]
    print(cost(A2, Y))
