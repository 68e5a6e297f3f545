# exit: !0
# mistake: the bias is updated with the mean over the batch, not the sum; dx and the step of W are right
# expect: not called right: the gradients go to optimiser objects inside backward_pass, and the bias's is a mean
import numpy as np


class SGD:
    def __init__(self, learning_rate=0.01):
        self.learning_rate = learning_rate

    def update(self, w, grad_wrt_w):
        return w - self.learning_rate * grad_wrt_w


class Dense:
    def __init__(self, n_units, input_shape):
        self.W = np.random.randn(input_shape[0], n_units)
        self.w0 = np.zeros((1, n_units))

    def initialize(self, optimizer):
        self.optimizer = optimizer

    def forward_pass(self, X, training=True):
        self.layer_input = X
        return X.dot(self.W) + self.w0

    def backward_pass(self, accum_grad):
        W = self.W
        self.W = self.optimizer.update(self.W, self.layer_input.T.dot(accum_grad))
        self.w0 = self.optimizer.update(self.w0, np.mean(accum_grad, axis=0, keepdims=True))
        return accum_grad.dot(W.T)
