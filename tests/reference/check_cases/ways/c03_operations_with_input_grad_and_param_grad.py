# exit: 0
# expect: right: operations whose forward calls _output and whose backward calls _input_grad and _param_grad of a base class
import numpy as np


class Operation:
    def forward(self, input_):
        self.input_ = input_
        self.output = self._output()
        return self.output

    def backward(self, output_grad):
        self.input_grad = self._input_grad(output_grad)
        assert self.input_grad.shape == self.input_.shape
        return self.input_grad

    def _output(self): raise NotImplementedError()
    def _input_grad(self, output_grad): raise NotImplementedError()


class WeightMultiply(Operation):
    def __init__(self, W):
        self.param = W

    def backward(self, output_grad):
        super().backward(output_grad)
        self.param_grad = self._param_grad(output_grad)
        return self.input_grad

    def _output(self):
        return np.dot(self.input_, self.param)

    def _input_grad(self, output_grad):
        return np.dot(output_grad, np.transpose(self.param, (1, 0)))

    def _param_grad(self, output_grad):
        return np.dot(np.transpose(self.input_, (1, 0)), output_grad)


class Sigmoid(Operation):
    def _output(self):
        return 1.0 / (1.0 + np.exp(-1.0 * self.input_))

    def _input_grad(self, output_grad):
        return self.output * (1.0 - self.output) * output_grad
