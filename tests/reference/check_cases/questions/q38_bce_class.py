# exit: 1
# mistake: only -y/p is there; the samples of class 0 give (1 - y)/(1 - p), which is missing
# expect: term|missing|lacks|1 . (y|t)|left out
import numpy as np


class BinaryCrossEntropyLoss:
    def __init__(self):
        self.name = "bce"

    def compute(self, y_hat, y):
        return -np.sum(y * np.log(y_hat) + (1 - y) * np.log(1 - y_hat)) / y.shape[0]

    def derivative(self, y_hat, y):
        return -(y / y_hat) / y.shape[0]
