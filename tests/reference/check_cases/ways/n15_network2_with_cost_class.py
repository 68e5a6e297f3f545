# exit: 0
# expect: right: the cost is a class given to the network; delta comes from cost.delta(z, a, y); total_cost adds 0.5 lmbda/n times the squares, which backprop leaves to the update
import numpy as np


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


class CrossEntropyCost:
    @staticmethod
    def fn(a, y):
        return np.sum(-y * np.log(a) - (1 - y) * np.log(1 - a))
    @staticmethod
    def delta(z, a, y):
        return a - y


class Network:
    def __init__(self, sizes, cost=CrossEntropyCost):
        self.cost, self.num_layers = cost, len(sizes)
        self.biases = [np.random.randn(y, 1) for y in sizes[1:]]
        self.weights = [np.random.randn(y, x) / np.sqrt(x) for x, y in zip(sizes[:-1], sizes[1:])]

    def total_cost(self, data, lmbda):
        cost = sum(self.cost.fn(self.feedforward(x), y) for x, y in data) / len(data)
        return cost + 0.5 * (lmbda / len(data)) * sum(np.linalg.norm(w) ** 2 for w in self.weights)

    def feedforward(self, a):
        self.zs, self.activations = [], [a]
        for b, w in zip(self.biases, self.weights):
            self.zs.append(w @ self.activations[-1] + b)
            self.activations.append(sigmoid(self.zs[-1]))
        return self.activations[-1]

    def backprop(self, x, y):
        nabla_b, nabla_w = [None] * len(self.biases), [None] * len(self.weights)
        a = self.feedforward(x)
        delta = self.cost.delta(self.zs[-1], a, y)
        for l in range(1, self.num_layers):
            if l > 1:
                s = sigmoid(self.zs[-l])
                delta = (self.weights[-l + 1].T @ delta) * s * (1 - s)
            nabla_b[-l], nabla_w[-l] = delta, delta @ self.activations[-l - 1].T
        return nabla_b, nabla_w
