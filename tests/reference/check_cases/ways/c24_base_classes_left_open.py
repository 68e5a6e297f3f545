# exit: 0
# expect: right: bases call methods that only the classes below them have, or that do nothing
import numpy as np


class Operation:
    def forward(self, input_):
        self.input_ = input_
        return self._output()

    def backward(self, output_grad):
        return self._input_grad(output_grad)


class Square(Operation):
    def _output(self):
        return self.input_**2

    def _input_grad(self, output_grad):
        return 2 * self.input_ * output_grad


class Module:
    def forward(self, input):
        return self.updateOutput(input)

    def backward(self, input, gradOutput):
        self.updateGradInput(input, gradOutput)
        self.accGradParameters(input, gradOutput)
        return self.gradInput

    def updateOutput(self, input):
        pass

    def updateGradInput(self, input, gradOutput):
        pass

    def accGradParameters(self, input, gradOutput):
        pass


class Linear(Module):
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_out, n_in)
        self.b = np.zeros(n_out)
        self.gradW = np.zeros_like(self.W)
        self.gradb = np.zeros_like(self.b)

    def updateOutput(self, input):
        return input @ self.W.T + self.b

    def updateGradInput(self, input, gradOutput):
        self.gradInput = gradOutput @ self.W
        return self.gradInput

    def accGradParameters(self, input, gradOutput):
        self.gradW += gradOutput.T @ input
        self.gradb += gradOutput.sum(axis=0)
