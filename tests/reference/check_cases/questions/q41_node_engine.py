# exit: 1
# mistake: backward goes down to the children at once: a node that is used twice sends on what it got before, again
# expect: topolog|order|twice|more than once|counted|path|several times
class Node:
    def __init__(self, value, parents=()):
        self.value = value
        self.grad = 0.0
        self.parents = parents  # pairs (node, local derivative)

    def __add__(self, other):
        return Node(self.value + other.value, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other):
        return Node(self.value * other.value, ((self, other.value), (other, self.value)))

    def backward(self, seed=1.0):
        self.grad += seed
        for node, local in self.parents:
            node.backward(self.grad * local)
