# exit: 0
# expect: right: dvalues is the output that the object keeps; data_loss is the loss, no gradient
import numpy as np


class Loss:
    def calculate(self, output, y):
        sample_losses = self.forward(output, y)
        data_loss = np.mean(sample_losses)
        return data_loss


class Loss_CategoricalCrossentropy(Loss):
    def forward(self, y_pred, y_true):
        return -np.log(np.sum(np.clip(y_pred, 1e-7, 1 - 1e-7) * y_true, axis=1))


class Softmax_Loss:
    def __init__(self):
        self.loss = Loss_CategoricalCrossentropy()

    def forward(self, inputs, y_true):
        powers = np.exp(inputs - inputs.max(axis=1, keepdims=True))
        self.output = powers / powers.sum(axis=1, keepdims=True)
        return self.loss.calculate(self.output, y_true)

    def backward(self, dvalues, y_true):
        samples = len(dvalues)
        self.dinputs = dvalues.copy()
        self.dinputs[range(samples), np.argmax(y_true, axis=1)] -= 1
        self.dinputs = self.dinputs / samples
