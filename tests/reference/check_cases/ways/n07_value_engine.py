# exit: 0
# expect: right: a scalar engine: +, *, power, relu, tanh, exp, constants on either side, a value used twice
import math

class Value:
    def __init__(self, data, children=()):
        self.data, self.grad = data, 0.0
        self._backward, self._prev = lambda: None, children

    def _make(self, data, *edges):  # edges: (child, local slope)
        out = Value(data, tuple(c for c, _ in edges))

        def _backward():
            for child, slope in edges:
                child.grad += slope * out.grad
        out._backward = _backward
        return out

    def __add__(self, o):
        o = o if isinstance(o, Value) else Value(o)
        return self._make(self.data + o.data, (self, 1.0), (o, 1.0))

    def __mul__(self, o):
        o = o if isinstance(o, Value) else Value(o)
        return self._make(self.data * o.data, (self, o.data), (o, self.data))

    def __pow__(self, n): return self._make(self.data ** n, (self, n * self.data ** (n - 1)))
    def relu(self): return self._make(max(0.0, self.data), (self, float(self.data > 0)))
    def tanh(self): return self._make(math.tanh(self.data), (self, 1 - math.tanh(self.data) ** 2))
    def exp(self): return self._make(math.exp(self.data), (self, math.exp(self.data)))
    def __neg__(self): return self * -1
    def __sub__(self, o): return self + (-o)
    def __truediv__(self, o): return self * o ** -1
    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        topo, visited = [], set()
        def build(v):
            if v not in visited:
                visited.add(v)
                [build(c) for c in v._prev]
                topo.append(v)
        build(self)
        self.grad = 1.0
        for v in reversed(topo): v._backward()
