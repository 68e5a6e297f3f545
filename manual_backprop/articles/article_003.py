"""Article 003: Z = W A + b by columns, a general g in the first layer, a sigmoid in the second.

A column is a sample. The article speaks of one sample (X is D×1) and leaves batches to the
reader; the system takes N columns, and the claims are drawn with one unless they say otherwise.
"""

import numpy as np

from manual_backprop.articles.claim import Article
from manual_backprop.articles.claims_003 import CLAIMS, LATEX, draw, forward
from manual_backprop.articles.project_form import LayerNames, ProjectForm
from manual_backprop.articles.system import Quantities, SlopeArithmetic, System
from manual_backprop.operation import ByName

SYSTEM = System("general g, sigmoid output", draw, forward, loss="J", samples=1, latex=LATEX)


def backward(m: SlopeArithmetic, q: Quantities, g: Quantities) -> None:
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


def example() -> ByName:
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


def _layers(inputs: ByName) -> list[LayerNames]:
    return [
        LayerNames("W1", "b1", "Z1", "A1", inputs["g"]),
        LayerNames("W2", "b2", "Z2", "A2", "sigmoid"),
    ]


FORM = ProjectForm("X", "Y", "binary_cross_entropy", _layers, columns=True)

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
    problem=FORM.problem,
    in_project=FORM.in_project,
)
