# exit: 0
# mistake: tanh's local slope is 1 - t*t of the output; 1 - self.data**2 takes the input
# expect: of (the|its) (input|output)|takes the input|out\.data|t ?\*\*? ?2|t²|evaluated
import math


class Scalar:
    def __init__(self, data, _prev=()):
        self.data, self.grad, self._prev = data, 0, _prev
        self._backward = lambda: None

    def __add__(self, other):
        out = Scalar(self.data + other.data, (self, other))
        def _backward():
            self.grad += out.grad
            other.grad += out.grad
        out._backward = _backward
        return out

    def __mul__(self, other):
        out = Scalar(self.data * other.data, (self, other))
        def _backward():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad
        out._backward = _backward
        return out

    def tanh(self):
        t = math.tanh(self.data)
        out = Scalar(t, (self,))
        def _backward():
            self.grad += (1 - t ** 2) * out.grad
        out._backward = _backward
        return out

    def backward(self):
        order = []
        def visit(v):
            if v not in order:
                for p in v._prev: visit(p)
                order.append(v)
        visit(self)
        self.grad = 1
        for v in reversed(order): v._backward()
