# exit: !0
# mistake: train() forgets the hidden slope: hidden_delta is the error sent back, without hidden (1 - hidden)
# expect: not exit 0: sigmoid_derivative is right, but the updates inside train() are not
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_derivative(y):
    return y * (1 - y)


class Brain:
    def __init__(self, ins, hids, outs):
        self.w_ih = np.random.uniform(-1, 1, (hids, ins))
        self.w_ho = np.random.uniform(-1, 1, (outs, hids))
        self.lr = 0.1

    def guess(self, inputs):
        return sigmoid(self.w_ho @ sigmoid(self.w_ih @ inputs))

    def train(self, inputs, targets):
        hidden = sigmoid(self.w_ih @ inputs)
        outputs = sigmoid(self.w_ho @ hidden)
        output_delta = (targets - outputs) * sigmoid_derivative(outputs)
        hidden_delta = self.w_ho.T @ output_delta
        self.w_ho += self.lr * np.outer(output_delta, hidden)
        self.w_ih += self.lr * np.outer(hidden_delta, inputs)
