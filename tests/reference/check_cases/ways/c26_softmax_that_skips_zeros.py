# exit: 0
# expect: right for a gradient with one entry that is not zero, as its loss gives it; a remark says so
import numpy as np


class Softmax:
    def __init__(self, input_len, nodes):
        self.weights = np.random.randn(input_len, nodes) / input_len
        self.biases = np.zeros(nodes)

    def forward(self, input):
        self.last_input = input
        self.totals = input @ self.weights + self.biases
        exp = np.exp(self.totals)
        return exp / np.sum(exp)

    def backprop(self, d_L_d_out, learn_rate):
        for i, gradient in enumerate(d_L_d_out):
            if gradient == 0:
                continue
            exp = np.exp(self.totals)
            S = np.sum(exp)
            d_out_d_t = -exp[i] * exp / S**2
            d_out_d_t[i] = exp[i] * (S - exp[i]) / S**2
            d_L_d_t = gradient * d_out_d_t
            d_L_d_inputs = self.weights @ d_L_d_t
            self.weights -= learn_rate * np.outer(self.last_input, d_L_d_t)
            self.biases -= learn_rate * d_L_d_t
            return d_L_d_inputs
