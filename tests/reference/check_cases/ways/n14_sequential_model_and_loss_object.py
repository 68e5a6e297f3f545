# exit: 0
# expect: right: a list of layers and a loss object; the model's backward(y) starts at the loss and goes through the list in reverse; params_and_grads gives pairs
import numpy as np


class Linear:
    def __init__(self, input_size, output_size):
        self.params = {"w": np.random.randn(input_size, output_size), "b": np.random.randn(output_size)}
        self.grads = {}

    def forward(self, inputs):
        self.inputs = inputs
        return inputs @ self.params["w"] + self.params["b"]

    def backward(self, grad):
        self.grads["b"] = np.sum(grad, axis=0)
        self.grads["w"] = self.inputs.T @ grad
        return grad @ self.params["w"].T


class TSE:
    def loss(self, predicted, actual):
        return np.sum((predicted - actual) ** 2)
    def grad(self, predicted, actual):
        return 2 * (predicted - actual)


class NeuralNet:
    def __init__(self, layers):
        self.layers, self.loss = layers, TSE()

    def forward(self, inputs):
        for layer in self.layers:
            inputs = layer.forward(inputs)
        return inputs

    def backward(self, grad):
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad

    def params_and_grads(self):
        for layer in self.layers:
            for name, param in layer.params.items():
                yield param, layer.grads[name]
