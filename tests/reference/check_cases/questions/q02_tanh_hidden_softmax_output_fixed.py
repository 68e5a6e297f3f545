# exit: 0
# mistake: p - y is already the gradient at the logits; it is multiplied by p(1 - p) once more
# expect: p ?\(1 . p\)|slope|twice|once more|derivative
import numpy as np

rng = np.random.default_rng(0)
W1, b1 = rng.normal(size=(4, 6)), np.zeros(6)
W2, b2 = rng.normal(size=(6, 3)), np.zeros(3)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def forward(X, W1, b1, W2, b2):
    hidden = np.tanh(X @ W1 + b1)
    return hidden, softmax(hidden @ W2 + b2)


def cross_entropy(probs, Y):
    return -np.sum(Y * np.log(probs)) / len(Y)


def backward(X, Y, W1, b1, W2, b2):
    hidden, probs = forward(X, W1, b1, W2, b2)
    delta_out = (probs - Y) / len(X)
    dW2 = hidden.T @ delta_out
    db2 = delta_out.sum(axis=0)
    delta_hidden = delta_out @ W2.T * (1 - hidden ** 2)
    dW1 = X.T @ delta_hidden
    db1 = delta_hidden.sum(axis=0)
    return dW1, db1, dW2, db2
