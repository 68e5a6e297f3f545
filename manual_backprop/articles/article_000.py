"""Article 000: a network of any depth with biases, softmax and cross-entropy.

Its formulas were pictures and are lost. Network and claims are reconstructed from the prose and
marked so. Layer 1 is the input and layer l the output, as in "the 2nd neuron in 3 layer".
`W3` is W^(3): to layer 3 from layer 2, its entry [j, k] to neuron j from neuron k.
"""

import numpy as np

from manual_backprop.articles.claim import Article
from manual_backprop.articles.claims_000 import CLAIMS, SYSTEM
from manual_backprop.articles.project_form import LayerNames, ProjectForm
from manual_backprop.articles.system import Quantities, SlopeArithmetic
from manual_backprop.operation import ByName


def backward(m: SlopeArithmetic, q: Quantities, g: Quantities) -> None:
    """Walk backward from layer l to layer 2 and, beyond the article, to the input."""
    for layer in range(q.l, 1, -1):
        if layer == q.l:
            g[f"a{layer}"] = -(q.y / q[f"a{layer}"])
            g[f"z{layer}"] = q[f"a{layer}"] - q.y
        else:
            g[f"a{layer}"] = q[f"W{layer + 1}"].T @ g[f"z{layer + 1}"]
            g[f"z{layer}"] = g[f"a{layer}"] * m.slope(q.g, q[f"z{layer}"])
        g[f"W{layer}"] = g[f"z{layer}"].reshape(-1, 1) * q[f"a{layer - 1}"].reshape(1, -1)
        g[f"b{layer}"] = g[f"z{layer}"] * 1
    g.a1 = q.W2.T @ g.z2


def example() -> ByName:
    """Return small numbers that can be followed by hand: 2 inputs, 3 sigmoid units, 2 classes."""
    return {
        "l": 3,
        "g": "sigmoid",
        "widths": (2, 3, 2),
        "a1": np.array([1.0, 2.0]),
        "W2": np.array([[0.5, -1.0], [1.0, 0.5], [-0.5, 0.25]]),
        "b2": np.array([0.5, -1.0, 0.0]),
        "W3": np.array([[1.5, -2.0, 0.5], [1.0, 0.5, -1.0]]),
        "b3": np.array([0.25, -0.25]),
        "y": np.array([1.0, 0.0]),
    }


def _layers(inputs: ByName) -> list[LayerNames]:
    last = inputs["l"]
    return [
        LayerNames(f"W{i}", f"b{i}", f"z{i}", f"a{i}", "softmax" if i == last else inputs["g"])
        for i in range(2, last + 1)
    ]


FORM = ProjectForm("a1", "y", "categorical_cross_entropy", _layers, columns=True)

ARTICLE = Article(
    "000",
    "Softmax and cross-entropy in a network of any depth (formulas reconstructed)",
    SYSTEM,
    CLAIMS,
    backward,
    forward_formulas={
        "z<l>": r"z^{(<l>)} = W^{(<l>)} a^{(<l-1>)} + b^{(<l>)}",
        "a<l>": r"a^{(<l>)} = g(z^{(<l>)}), \text{ softmax in the last layer}",
        "L": r"L = -\sum_k y_k \log a_k",
    },
    backward_formulas={
        "a3": r"-\frac{y}{a^{(3)}}",
        "z3": r"a^{(3)} - y",
        "a<l>": r"W^{(<l+1>)T} \frac{\partial L}{\partial z^{(<l+1>)}}",
        "z<l>": r"\frac{\partial L}{\partial a^{(<l>)}} * g'(z^{(<l>)})",
        "W<l>": r"\frac{\partial L}{\partial z^{(<l>)}} a^{(<l-1>)T}",
        "b<l>": r"\frac{\partial L}{\partial z^{(<l>)}}",
    },
    example=example,
    problem=FORM.problem,
    in_project=FORM.in_project,
)
