# exit: 0
import numpy as np


class ReLU:
    def forward(self, z, save_cache=False):
        if save_cache:
            self.z = z
        return np.maximum(z, 0)

    def backward(self, dout):
        return dout * (self.z > 0)


class Tanh:
    def forward(self, z, cache=False):
        a = np.tanh(z)
        if cache:
            self.a = a
        return a

    def backward(self, dout):
        return dout * (1 - self.a**2)
