class Layer:
    def __init__(self):
        self.cache = {}
        self.grads = {}

    def backward(self, grad):
        raise NotImplementedError
