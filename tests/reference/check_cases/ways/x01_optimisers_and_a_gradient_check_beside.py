# exit: 0
# expect: right: what else has "grad" in its name is no backward pass: a numerical gradient, clipping, optimisers, an accuracy
import numpy as np


def numerical_gradient(f, x):
    h, grad = 1e-4, np.zeros_like(x)
    for i in range(x.size):
        keep = x.flat[i]
        x.flat[i] = keep + h
        up = f(x)
        x.flat[i] = keep - h
        grad.flat[i] = (up - f(x)) / (2 * h)
        x.flat[i] = keep
    return grad


def clip_grads(grads, max_norm):
    total = np.sqrt(sum(np.sum(g ** 2) for g in grads))
    if total > max_norm:
        for g in grads:
            g *= max_norm / total


class AdaGrad:
    def __init__(self, lr=0.01):
        self.lr, self.h = lr, {}

    def update(self, params, grads):
        for key in params:
            self.h[key] = self.h.get(key, 0) + grads[key] * grads[key]
            params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + 1e-7)


def accuracy(y, t):
    return np.mean(np.argmax(y, axis=1) == t)


def softsign_forward(x):
    return x / (1 + np.abs(x)), x


def softsign_backward(dout, x):
    return dout / (1 + np.abs(x)) ** 2
