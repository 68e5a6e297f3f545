# exit: 1
# mistake: the bias takes the mean over the batch, though dO is divided by the batch already
# expect: averages|mean
"""Softmax regression from scratch, in the way of Dive into Deep Learning, without autograd."""

import numpy as np


class SoftmaxRegressionScratch:
    def __init__(self, num_inputs, num_outputs, lr, sigma=0.01):
        self.lr = lr
        self.W = np.random.normal(0, sigma, size=(num_inputs, num_outputs))
        self.b = np.zeros(num_outputs)

    def parameters(self):
        return [self.W, self.b]

    def forward(self, X):
        X = X.reshape((-1, self.W.shape[0]))
        X_exp = np.exp(X @ self.W + self.b)
        partition = X_exp.sum(1, keepdims=True)
        return X_exp / partition

    def loss(self, y_hat, y):
        return -np.log(y_hat[list(range(len(y_hat))), y]).mean()

    def gradients(self, X, y):
        y_hat = self.forward(X)
        dO = y_hat.copy()
        dO[list(range(len(y_hat))), y] -= 1
        dO /= len(y)
        return [X.T @ dO, dO.mean(0)]
