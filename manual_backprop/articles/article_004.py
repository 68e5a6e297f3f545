"""Article 004: z = x W + b by rows, tanh, softmax; 2-500-2 as printed.

The printed loss (5) has no minus, is written for a sigmoid, and calls the softmax of (4) σ; the
system names all the readings (see `claims_004.forward`). What is minimised is E, the cross-entropy
of the softmax, and its gradient is `backward`.
"""

import numpy as np

from manual_backprop.articles.claim import Article
from manual_backprop.articles.claims_004 import CLAIMS, LATEX, draw, forward
from manual_backprop.articles.project_form import LayerNames, ProjectForm
from manual_backprop.articles.system import Quantities, SlopeArithmetic, System
from manual_backprop.operation import ByName

SYSTEM = System("2-h-2, tanh, softmax", draw, forward, loss="E", samples=0, latex=LATEX)


def backward(m: SlopeArithmetic, q: Quantities, g: Quantities) -> None:
    """Walk backward from E, with the sign and the order of (14) to (17) put right."""
    g.yhat = -(q.y / q.yhat)
    g.z2 = q.yhat - q.y
    g.W2 = q.a1.T @ g.z2
    g.b2 = m.sum(g.z2, axis=0, keepdims=True)
    g.a1 = g.z2 @ q.W2.T
    g.z1 = g.a1 * (1 - q.a1 * q.a1)
    g.W1 = q.x.T @ g.z1
    g.b1 = m.sum(g.z1, axis=0, keepdims=True)
    g.x = g.z1 @ q.W1.T


def example() -> ByName:
    """Return small numbers that can be followed by hand, with 3 hidden units in place of 500."""
    return {
        "x": np.array([[1.0, -2.0]]),
        "W1": np.array([[0.5, -1.0, 0.25], [1.0, 0.5, -0.5]]),
        "b1": np.array([[0.5, 0.0, -1.0]]),
        "W2": np.array([[1.5, -0.5], [-1.0, 0.5], [0.5, 2.0]]),
        "b2": np.array([[0.25, -0.25]]),
        "y": np.array([[0.0, 1.0]]),
    }


LAYERS = (
    LayerNames("W1", "b1", "z1", "a1", "tanh"),
    LayerNames("W2", "b2", "z2", "yhat", "softmax"),
)
FORM = ProjectForm("x", "y", "categorical_cross_entropy", lambda inputs: LAYERS, columns=False)

ARTICLE = Article(
    "004",
    "A 2-500-2 network with tanh and softmax, in rows",
    SYSTEM,
    CLAIMS,
    backward,
    forward_formulas={
        "z1": r"z_1 = x W_1 + b_1",
        "a1": r"a_1 = \tanh(z_1)",
        "z2": r"z_2 = a_1 W_2 + b_2",
        "yhat": r"\hat y = \mathrm{softmax}(z_2)",
        "E": r"E = -\sum y * \ln \hat y",
    },
    backward_formulas={
        "yhat": r"-\frac{y}{\hat y}",
        "z2": r"\hat y - y",
        "W2": r"a_1^T (\hat y - y)",
        "b2": r"\sum_n (\hat y - y)_n",
        "a1": r"(\hat y - y)\, W_2^T",
        "z1": r"(1-\tanh^2 z_1) * ((\hat y - y)\, W_2^T)",
        "W1": r"x^T \frac{\partial E}{\partial z_1}",
        "b1": r"\sum_n \left(\frac{\partial E}{\partial z_1}\right)_n",
        "x": r"\frac{\partial E}{\partial z_1} W_1^T",
    },
    example=example,
    problem=FORM.problem,
    in_project=FORM.in_project,
)
