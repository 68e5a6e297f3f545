# exit: 1
# expect: activation_skipped|skips_activation|left out
import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


class NeuralNetwork:
    def __init__(self, layers):
        self.weights = [np.random.randn(n, m) for m, n in zip(layers[:-1], layers[1:])]
        self.biases = [np.random.randn(n, 1) for n in layers[1:]]

    def backprop(self, x, y):
        acts = [x]
        for w, b in zip(self.weights, self.biases):
            acts.append(sigmoid(w @ acts[-1] + b))
        delta = acts[-1] - y
        dws, dbs = [], []
        for i in range(len(self.weights) - 1, -1, -1):
            dws.insert(0, delta @ acts[i].T)
            dbs.insert(0, delta)
            delta = self.weights[i].T @ delta
        return dbs, dws
