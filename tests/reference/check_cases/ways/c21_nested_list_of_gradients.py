# exit: 0
# expect: right: backward returns [dx, [dW, db]]; weights and biases are a list, too
import numpy as np


class DenseLayer:
    def __init__(self, units_in, units_out):
        self.weights = [np.random.randn(units_in, units_out), np.zeros(units_out)]

    def forward(self, inputs):
        self.inputs = inputs
        W, b = self.weights
        return inputs @ W + b

    def backward(self, output_error):
        W, b = self.weights
        return [output_error @ W.T, [self.inputs.T @ output_error, output_error.sum(axis=0)]]
