# exit: 1


class ReLU:
    def forward(self, inputs):
        inputs[inputs <= 0] = 0
        return inputs

    def backward(self, inputs, delta):
        return delta * (inputs >= 0)
