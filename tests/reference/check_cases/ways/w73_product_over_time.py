# exit: 0
import numpy as np
class Product:
    def __init__(self, W):
        self.params = [W]
        self.grads = [np.zeros_like(W)]
        self.x = None
    def forward(self, x):
        W, = self.params
        self.x = x
        return np.matmul(x, W)
    def backward(self, dout):
        W, = self.params
        dx = np.matmul(dout, W.T)
        self.grads[0][...] = np.sum(np.matmul(self.x.swapaxes(-2, -1), dout), axis=0)
        return dx
