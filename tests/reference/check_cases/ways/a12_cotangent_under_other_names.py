# exit: 0
# expect: right: the cotangent is called grad_from_above, eta, upstream, dL_dy, and stands first, in the middle or last
import numpy as np


class Square:
    def forward(self, x):
        return x ** 2

    def backward(self, x, grad_from_above):
        return 2 * x * grad_from_above


class LeakyRelu:
    def forward(self, x, alpha=0.05):
        self.x = x
        return np.where(x > 0, x, alpha * x)

    def backward(self, eta, alpha=0.05):
        return eta * np.where(self.x > 0, 1, alpha)


def cube(x):
    return x ** 3


def cube_backward(x, upstream, y=None):
    return 3 * x ** 2 * upstream


def scaled_sine(x, amplitude):
    return amplitude * np.sin(x)


def scaled_sine_backward(x, amplitude, dL_dy):
    return dL_dy * amplitude * np.cos(x), np.sum(dL_dy * np.sin(x))
