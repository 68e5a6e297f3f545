# exit: 0
# expect: right: one row at a time, since the bias takes the error as it is; the rate is the class's
import numpy as np


class Layer:
    RATE = 0.1
    LEARNING_RATE = 0.1

    def __init__(self, input_size, output_size):
        self.weights = np.random.rand(input_size, output_size) - 0.5
        self.bias = np.random.rand(1, output_size) - 0.5

    def forward_propagation(self, input_data):
        self.input = input_data
        return np.dot(self.input, self.weights) + self.bias

    def backward_propagation(self, output_error):
        input_error = np.dot(output_error, self.weights.T)
        self.weights -= self.LEARNING_RATE * np.dot(self.input.T, output_error)
        self.bias -= self.LEARNING_RATE * output_error
        return input_error
