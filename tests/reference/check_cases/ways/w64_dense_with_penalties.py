# exit: 0
import numpy as np


class Dense:
    def __init__(self, n_inputs, n_neurons, l1, l2):
        self.weights = 0.1 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))
        self.l1, self.l2 = l1, l2

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        if self.l1 > 0:
            self.dweights += self.l1 * np.sign(self.weights)
        if self.l2 > 0:
            self.dweights += 2 * self.l2 * self.weights
        self.dinputs = dvalues @ self.weights.T
