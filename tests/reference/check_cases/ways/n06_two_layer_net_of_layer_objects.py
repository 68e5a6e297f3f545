# exit: 0
# expect: right: an OrderedDict of layers, loss(x, t), gradient(x, t) -> grads by W1, b1, W2, b2; the layers are checked too
from collections import OrderedDict
import numpy as np


class Relu:
    def forward(self, x):
        self.x = x
        return np.maximum(0, x)
    def backward(self, dout):
        return dout * (self.x > 0)


class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b
    def forward(self, x):
        self.x = x
        return np.dot(x, self.W) + self.b
    def backward(self, dout):
        self.dW, self.db = np.dot(self.x.T, dout), np.sum(dout, axis=0)
        return np.dot(dout, self.W.T)


class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size, std=0.1):
        p = self.params = {"W1": std * np.random.randn(input_size, hidden_size), "b1": np.zeros(hidden_size),
                           "W2": std * np.random.randn(hidden_size, output_size), "b2": np.zeros(output_size)}
        self.layers = OrderedDict(Affine1=Affine(p["W1"], p["b1"]), Relu1=Relu(), Affine2=Affine(p["W2"], p["b2"]))

    def loss(self, x, t):
        for layer in self.layers.values():
            x = layer.forward(x)
        self.y, self.t = np.exp(x - x.max(axis=1, keepdims=True)), t
        self.y /= self.y.sum(axis=1, keepdims=True)
        return -np.sum(t * np.log(self.y)) / len(t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = (self.y - self.t) / len(t)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        return {k + n: getattr(self.layers["Affine" + n], "d" + k) for n in "12" for k in "Wb"}
