"""Engines of values: operators, uses, order; right, and wrong by one edit."""

from pathlib import Path

import pytest
from kindtools import checked, only
from targetsources import ENGINE

from reference.checks.judging import Failure

OTHER_NAMES = """
import numpy as np

class Node:
    def __init__(self, value, parents=()):
        self.value = float(value)
        self.derivative = 0.0
        self.parents = parents

    def __add__(self, other):
        return Node(self.value + other.value, ((self, 1.0), (other, 1.0)))

    def __mul__(self, other):
        return Node(self.value * other.value, ((self, other.value), (other, self.value)))

    def sin(self):
        return Node(np.sin(self.value), ((self, np.cos(self.value)),))

    def backward(self, seed=1.0):
        self.derivative += seed
        for node, local in self.parents:
            node.backward(seed * local)
"""

TENSOR = """
import numpy as np

def fit(grad, shape):
    while grad.ndim > len(shape):
        grad = grad.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and grad.shape[axis] != 1:
            grad = grad.sum(axis=axis, keepdims=True)
    return grad

class Tensor:
    def __init__(self, data, requires_grad=False, depends_on=()):
        self.data = np.asarray(data)
        self.requires_grad = requires_grad
        self.grad = None
        self.depends_on = depends_on

    def __add__(self, other):
        other = other if isinstance(other, Tensor) else Tensor(other)
        return Tensor(self.data + other.data, True, (
            (self, lambda g: fit(g, self.data.shape)), (other, lambda g: fit(g, other.data.shape))))

    def __mul__(self, other):
        other = other if isinstance(other, Tensor) else Tensor(other)
        return Tensor(self.data * other.data, True, (
            (self, lambda g: fit(g * other.data, self.data.shape)),
            (other, lambda g: fit(g * self.data, other.data.shape))))

    def __matmul__(self, other):
        return Tensor(self.data @ other.data, True, (
            (self, lambda g: g @ other.data.T), (other, lambda g: self.data.T @ g)))

    def sum(self):
        return Tensor(self.data.sum(), True, ((self, lambda g: g * np.ones_like(self.data)),))

    def relu(self):
        return Tensor(np.maximum(self.data, 0), True, ((self, lambda g: g * (self.data > 0)),))

    def backward(self, grad=None):
        grad = np.ones_like(self.data) if grad is None else grad
        self.grad = grad if self.grad is None else self.grad + grad
        for tensor, gradient in self.depends_on:
            tensor.backward(gradient(grad))
"""

SEED_OUTSIDE = ENGINE.replace("        self.grad = 1.0\n", "")

WITH_FUNCTIONS = (
    TENSOR
    + """
def softmax(x):
    e = np.exp(x.data - x.data.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return Tensor(p, True, ((x, lambda g: p * (g - (g * p).sum(axis=1, keepdims=True))),))

def square_error(x, y):
    d = x.data - y.data
    return Tensor((d * d).sum(), True, ((x, lambda g: 2 * g * d), (y, lambda g: -2 * g * d)))
"""
)

FORMS = {
    "a function beside": (
        WITH_FUNCTIONS,
        "p * (g - (g * p).sum(axis=1, keepdims=True))",
        "p * (1 - p) * g",
        "softmax: the gradient of a in softmax(a)",
    ),
    "a loss beside": (
        WITH_FUNCTIONS,
        "-2 * g * d",
        "2 * g * d",
        "square_error: the gradient of b in square_error(a, b) is wrong: it is -1 times",
    ),
    "add overwrites": (
        ENGINE,
        "self.grad += out.grad\n            other.grad += out.grad",
        "self.grad = out.grad\n            other.grad = out.grad",
        "__add__: it overwrites: a value that is used twice keeps the gradient of one use only",
    ),
    "mul overwrites": (
        ENGINE,
        "self.grad += other.data",
        "self.grad = other.data",
        "__mul__: it overwrites",
    ),
    "exp overwrites": (
        ENGINE,
        "self.grad += out.data *",
        "self.grad = out.data *",
        "exp: it overwrites",
    ),
    "operands exchanged": (
        ENGINE,
        "other.data * out.grad\n            other.grad += self.data",
        "self.data * out.grad\n            other.grad += other.data",
        "__mul__: the gradients of its two operands are exchanged",
    ),
    "of the input": (
        ENGINE,
        "(1 - t ** 2)",
        "(1 - self.data ** 2)",
        "tanh: the gradient of a in a.tanh() is wrong: 1 − y² is a formula",
    ),
    "exponent": (
        ENGINE,
        "n * self.data ** (n - 1)",
        "self.data ** (n - 1)",
        "__pow__: the gradient of a",
    ),
    "no order": (ENGINE, "reversed(topo)", "topo", "__add__"),
    "a node by node walk": (
        OTHER_NAMES,
        "node.backward(seed * local)",
        "node.backward(self.derivative * local)",
        "sends on its gradient more than once",
    ),
    "other names": (
        OTHER_NAMES,
        "np.cos(self.value)",
        "-np.cos(self.value)",
        "sin: the gradient of a",
    ),
    "a broadcast that is not summed": (
        TENSOR,
        "grad = grad.sum(axis=0)",
        "grad = grad[0]",
        "with b a row",
    ),
    "a transpose": (TENSOR, "self.data.T @ g", "-self.data.T @ g", "__matmul__"),
    "seeded from outside": (SEED_OUTSIDE, "(1 - t ** 2)", "(1 - t)", "tanh: the gradient of a"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_right_and_wrong(tmp_path: Path, form: str) -> None:
    source, right, wrong, text = FORMS[form]
    found = only(tmp_path, source)
    assert found.kind == "engine"
    assert found.right, found.text
    assert found.text == ""
    assert not any(c.faults or c.assessment.missing for c in found.cases)
    assert right in source
    found = only(tmp_path, source.replace(right, wrong))
    assert not found.right
    assert text in found.text, found.text


def test_the_proof_is_told_from_differences(tmp_path: Path) -> None:
    assert only(tmp_path, ENGINE).subject.judged_by() == "its own forward, certified"  # type: ignore[union-attr]
    source = OTHER_NAMES.replace(
        "float(value)", "array('d', [value])[0]"
    )  # floats alone get through
    found = only(tmp_path, "from array import array\n" + source)
    assert found.right
    assert found.subject.judged_by() == "its own forward, by differences, float64"  # type: ignore[union-attr]


def test_its_operators_are_named(tmp_path: Path) -> None:
    sentence = only(tmp_path, ENGINE).subject.sentence()  # type: ignore[union-attr]
    for name in ("__add__", "__pow__", "__truediv__", "tanh", "relu", "exp"):
        assert name in sentence
    assert "__matmul__" in only(tmp_path, TENSOR).subject.sentence()  # type: ignore[union-attr]


def test_gradients_that_add_up_over_two_backwards_are_no_error(tmp_path: Path) -> None:
    """Each program has leaves of its own, and backward() is called once."""
    assert only(tmp_path, ENGINE, problems=8).right


def test_a_backward_that_raises_is_a_fault_of_its_operator(tmp_path: Path) -> None:
    source = ENGINE.replace(
        "            self.grad += out.data * out.grad", "            self.nothing()"
    )
    found = only(tmp_path, source)
    assert any(
        k == "raised" and "backward() of a.exp()" in text
        for c in found.cases
        for k, text in c.faults
    )


def test_what_is_no_engine_is_not_checked(tmp_path: Path) -> None:
    source = (
        "class Money:\n    def __init__(self, data, currency):\n        self.data = str(data)\n"
        "    def __add__(self, other):\n        return self\n"
        "    def backward(self):\n        return 1\n"
    )
    (found,) = checked(tmp_path, source)
    assert isinstance(found.subject, Failure)
    assert "no attribute of Money(1.625) holds 1.625" in found.subject.reason
