# exit: 0
# mistake: dx = dout - p: the softmax has to be multiplied by the row's sum of dout
# expect: Σ|sum of (the )?(dout|row|cotangent|gradient)|row.?s? sum|sum over|summed
import numpy as np


class LogSoftmax:
    def forward(self, x):
        shifted = x - x.max(axis=-1, keepdims=True)
        self.logp = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return self.logp

    def backward(self, dout):
        return dout - np.exp(self.logp) * dout.sum(axis=-1, keepdims=True)


class NLLLoss:
    def forward(self, logp, targets):
        self.shape, self.targets = logp.shape, targets
        return -np.mean(logp[np.arange(len(targets)), targets])

    def backward(self):
        grad = np.zeros(self.shape)
        grad[np.arange(len(self.targets)), self.targets] = -1 / len(self.targets)
        return grad
