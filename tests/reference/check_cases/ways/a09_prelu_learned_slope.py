# exit: 0
# expect: right: one slope for each channel is learned: backward gives dx, the slope's gradient is kept in grads["alpha"]
import numpy as np


class PReLU:
    def __init__(self, num_parameters, init=0.25):
        self.params = {"alpha": np.full(num_parameters, init)}
        self.grads = {}

    def forward(self, x):
        self._x = x
        return np.maximum(x, 0) + self.params["alpha"] * np.minimum(x, 0)

    def backward(self, grad_out):
        x = self._x
        self.grads["alpha"] = np.sum(grad_out * np.minimum(x, 0), axis=0)
        return grad_out * np.where(x > 0, 1.0, self.params["alpha"])
