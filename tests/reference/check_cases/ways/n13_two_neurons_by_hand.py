# exit: 0
# expect: right: every weight is a number of its own, the loop over samples updates them one after another from slopes taken before
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def deriv_sigmoid(x):
    fx = sigmoid(x)
    return fx * (1 - fx)


class OurNeuralNetwork:
    def __init__(self):
        self.w1, self.w2, self.w3, self.w4 = np.random.normal(size=4)
        self.b1, self.b2 = np.random.normal(size=2)

    def feedforward(self, x):
        h1 = sigmoid(self.w1 * x[0] + self.w2 * x[1] + self.b1)
        return sigmoid(self.w3 * h1 + self.w4 * x[0] + self.b2)

    def train(self, data, all_y_trues, learn_rate=0.1, epochs=1):
        for epoch in range(epochs):
            for x, y_true in zip(data, all_y_trues):
                sum_h1 = self.w1 * x[0] + self.w2 * x[1] + self.b1
                h1 = sigmoid(sum_h1)
                sum_o1 = self.w3 * h1 + self.w4 * x[0] + self.b2
                o1 = sigmoid(sum_o1)
                d_L_d_ypred = -2 * (y_true - o1)
                d_ypred = d_L_d_ypred * deriv_sigmoid(sum_o1)
                d_h1 = d_ypred * self.w3 * deriv_sigmoid(sum_h1)
                self.w1 -= learn_rate * d_h1 * x[0]
                self.w2 -= learn_rate * d_h1 * x[1]
                self.b1 -= learn_rate * d_h1
                self.w3 -= learn_rate * d_ypred * h1
                self.w4 -= learn_rate * d_ypred * x[0]
                self.b2 -= learn_rate * d_ypred
