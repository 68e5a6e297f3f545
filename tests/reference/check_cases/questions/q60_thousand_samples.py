# exit: 0
# mistake: none: right; the loss is a sum over all samples, so with a thousand of them a rate of 0.1 is far too large
# expect: right
import numpy as np


def predict(X, w, b):
    return np.tanh(X @ w + b)


def loss(X, y, w, b):
    return 0.5 * np.sum((predict(X, w, b) - y) ** 2)


def gradients(X, y, w, b):
    out = predict(X, w, b)
    d = (out - y) * (1 - out ** 2)
    return X.T @ d, np.sum(d)


def train(X, y, rate=0.1, epochs=100):
    w, b = np.zeros(X.shape[1]), 0.0
    for _ in range(epochs):
        dw, db = gradients(X, y, w, b)
        w, b = w - rate * dw, b - rate * db
    return w, b


if __name__ == "__main__":
    X = np.random.randn(1000, 3)
    y = np.tanh(X @ [1.0, -2.0, 0.5])
    print(loss(X, y, *train(X, y)))
