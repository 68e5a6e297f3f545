"""Article 003: Z = W A + b by columns, a general g in the first layer, a sigmoid in the second.

A column is a sample. The article speaks of one sample (X is D×1) and leaves batches to the
reader; the system takes N columns, and the claims are drawn with one unless they say otherwise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from manual_backprop.articles.claim import Article, multiply
from manual_backprop.articles.claims_003 import CLAIMS, LATEX, draw, forward
from manual_backprop.articles.system import Quantities, System
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import FloatArray

SYSTEM = System("general g, sigmoid output", draw, forward, loss="J", samples=1, latex=LATEX)


def backward(m: Any, q: Quantities, g: Quantities) -> None:
    """Walk backward, with the printed products put in the order that multiplies."""
    g.A2 = -(q.Y / q.A2) + (1 - q.Y) / (1 - q.A2)
    g.Z2 = q.A2 - q.Y
    g.W2 = g.Z2 @ q.A1.T
    g.b2 = m.sum(g.Z2, axis=1, keepdims=True)
    g.A1 = q.W2.T @ g.Z2
    g.Z1 = g.A1 * m.slope(q.g, q.Z1)
    g.W1 = g.Z1 @ q.X.T
    g.b1 = m.sum(g.Z1, axis=1, keepdims=True)
    g.X = q.W1.T @ g.Z1


def backward_as_printed(m: Any, q: Quantities) -> dict[str, Any]:
    """Return the printed gradients; products that do not multiply raise ShapeMismatch."""
    delta = q.A2 - q.Y
    slope = m.slope(q.g, q.Z1)
    hidden = multiply(multiply(delta, "@", q.W2), "*", slope)
    return {
        "W2": multiply(delta, "@", q.A1),
        "b2": delta,
        "W1": multiply(hidden, "@", q.X),
        "b1": hidden,
    }


def update(
    weights: Mapping[str, Any], gradient: Mapping[str, Any], learning_rate: float
) -> dict[str, Any]:
    """Take the printed step W -= α ∂J/∂W, for every parameter."""
    return {name: w - learning_rate * gradient[name] for name, w in weights.items()}


def example() -> dict[str, Any]:
    """Return small numbers that can be followed by hand: 3 inputs, 2 tanh units, 1 output."""
    return {
        "g": "tanh",
        "X": np.array([[1.0], [-1.0], [2.0]]),
        "W1": np.array([[0.5, -1.0, 0.25], [1.0, 0.5, -0.5]]),
        "b1": np.array([[0.5], [0.0]]),
        "W2": np.array([[1.5, -2.0]]),
        "b2": np.array([[0.5]]),
        "Y": np.array([[1.0]]),
    }


def problem(inputs: Mapping[str, Any]) -> Problem:
    """Return the same network in the project's form, in which a row is a sample."""
    layers = (Layer(len(inputs["W1"]), inputs["g"]), Layer(len(inputs["W2"]), "sigmoid"))
    return Problem(
        Network(len(inputs["X"]), layers, "binary_cross_entropy", reduction="sum"),
        {
            "layers.0.weight": np.ascontiguousarray(inputs["W1"].T),
            "layers.0.bias": inputs["b1"][:, 0],
            "layers.1.weight": np.ascontiguousarray(inputs["W2"].T),
            "layers.1.bias": inputs["b2"][:, 0],
        },
        x=np.ascontiguousarray(inputs["X"].T),
        targets=np.ascontiguousarray(inputs["Y"].T),
    )


def in_project(inputs: Mapping[str, Any], values: Quantities) -> dict[str, FloatArray]:
    """Turn columns into rows."""
    names = {"layers.0": ("W1", "b1", "Z1", "A1"), "layers.1": ("W2", "b2", "Z2", "A2")}
    found = {"x": values["X"].T}
    for layer, (weight, bias, z, a) in names.items():
        found[f"{layer}.weight"] = values[weight].T
        found[f"{layer}.bias"] = values[bias][:, 0]
        found[f"{layer}.z"], found[f"{layer}.a"] = values[z].T, values[a].T
    return found


ARTICLE = Article(
    "003",
    "A two-layer network with a general g, in columns",
    SYSTEM,
    CLAIMS,
    backward,
    forward_formulas={
        "Z1": r"Z^{[1]} = W^{[1]} X + b^{[1]}",
        "A1": r"A^{[1]} = g^{[1]}(Z^{[1]})",
        "Z2": r"Z^{[2]} = W^{[2]} A^{[1]} + b^{[2]}",
        "A2": r"A^{[2]} = \sigma(Z^{[2]})",
        "J": r"J = \sum -Y \log A^{[2]} - (1-Y)\log(1-A^{[2]})",
    },
    backward_formulas={
        "A2": r"-\frac{Y}{A^{[2]}} + \frac{1-Y}{1-A^{[2]}}",
        "Z2": r"A^{[2]} - Y",
        "W2": r"(A^{[2]} - Y)\, A^{[1]T}",
        "b2": r"\sum_n (A^{[2]} - Y)_n",
        "A1": r"W^{[2]T} (A^{[2]} - Y)",
        "Z1": r"W^{[2]T} (A^{[2]} - Y) * g^{[1]\prime}(Z^{[1]})",
        "W1": r"\frac{\partial J}{\partial Z^{[1]}} X^T",
        "b1": r"\sum_n \left(\frac{\partial J}{\partial Z^{[1]}}\right)_n",
        "X": r"W^{[1]T} \frac{\partial J}{\partial Z^{[1]}}",
    },
    example=example,
    problem=problem,
    in_project=in_project,
)
