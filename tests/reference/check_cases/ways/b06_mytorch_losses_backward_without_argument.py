# exit: 0
# expect: right: forward(A, Y) -> a number, backward() -> dLdA of the last forward; the mean is over N C, or over N
import numpy as np


class MSELoss:
    def forward(self, A, Y):
        self.A, self.Y = A, Y
        self.N, self.C = A.shape
        se = (A - Y) * (A - Y)
        sse = np.ones((1, self.N)) @ se @ np.ones((self.C, 1))
        mse = sse / (self.N * self.C)
        return mse

    def backward(self):
        return 2 * (self.A - self.Y) / (self.N * self.C)


class CrossEntropyLoss:
    def forward(self, A, Y):
        self.A, self.Y = A, Y
        self.N, self.C = A.shape
        Ones_C = np.ones((self.C, 1))
        Ones_N = np.ones((self.N, 1))
        expA = np.exp(A - A.max(axis=1, keepdims=True))
        self.softmax = expA / expA.sum(axis=1, keepdims=True)
        crossentropy = (-Y * np.log(self.softmax)) @ Ones_C
        return (Ones_N.T @ crossentropy / self.N).item()

    def backward(self):
        return (self.softmax - self.Y) / self.N
