# exit: 0


class MatMul:
    def __init__(self):
        self.a, self.b = None, None

    def forward(self, a, b):
        self.a, self.b = a, b
        return a @ b

    def backward(self, dout):
        return dout @ self.b.T, self.a.T @ dout
