# exit: 0
# expect: right: compute(input) keeps what it needs, compute_gradient() gives the slope at it
import numpy as np


class Sigmoid:
    def compute(self, input):
        self.value = 1 / (1 + np.exp(-input))
        return self.value

    def compute_gradient(self):
        self.gradient = self.value * (1 - self.value)
        return self.gradient


class LeakyReLU:
    def __init__(self, slope=0.1):
        self.slope = slope

    def compute(self, input):
        self.input = input
        self.value = np.where(input > 0, input, self.slope * input)
        return self.value

    def compute_gradient(self):
        self.gradient = np.ones(self.input.shape)
        self.gradient[self.input <= 0] = self.slope
        return self.gradient
