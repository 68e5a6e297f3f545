# exit: 0
# mistake: the weights are updated first, and the gradient for the layer below is taken with the new ones
# expect: updated? (first|before)|already|new weights|old weights|after the (update|step)|update
import numpy as np


class DenseLayer:
    def __init__(self, inputs, outputs):
        self.w = np.random.uniform(-1, 1, (inputs, outputs))
        self.b = np.zeros((1, outputs))

    def forward(self, x):
        self.x = x
        return x.dot(self.w) + self.b

    def backward(self, grad, alpha):
        below = grad.dot(self.w.T)
        self.w -= alpha * self.x.T.dot(grad)
        self.b -= alpha * grad.sum(axis=0, keepdims=True)
        return below
