"""Article 001: a network of any depth without biases, z_j = Σ_k w_jk a_k, and squared errors.

Layer 0 is the input and layer L the output, as the article's formulas use them (its stated range
of l ends at L - 1; that is one of the claims). `w2` is w^2, its entry [j, k] is w_jk^2, and j and
k count from 0, as printed.
"""

import numpy as np

from manual_backprop.articles.claim import Article
from manual_backprop.articles.claims_001 import CLAIMS, SYSTEM
from manual_backprop.articles.project_form import LayerNames, ProjectForm
from manual_backprop.articles.system import Quantities, SlopeArithmetic
from manual_backprop.operation import ByName


def backward(m: SlopeArithmetic, q: Quantities, g: Quantities) -> None:
    """Walk backward from layer L to layer 1 and, beyond the print, to the input."""
    for layer in range(q.L, 0, -1):
        above = f"z{layer + 1}"
        g[f"a{layer}"] = (
            2 * (q[f"a{layer}"] - q.y) if layer == q.L else q[f"w{layer + 1}"].T @ g[above]
        )
        g[f"z{layer}"] = g[f"a{layer}"] * m.slope(q.g[layer], q[f"z{layer}"])
        g[f"w{layer}"] = g[f"z{layer}"].reshape(-1, 1) * q[f"a{layer - 1}"].reshape(1, -1)
    g.a0 = q.w1.T @ g.z1


def example() -> ByName:
    """Return small numbers that can be followed by hand: 2 inputs, 3 tanh units, 2 outputs."""
    return {
        "L": 2,
        "g": ("", "tanh", "identity"),
        "widths": (2, 3, 2),
        "a0": np.array([1.0, 2.0]),
        "w1": np.array([[0.5, -1.0], [1.0, 0.5], [-0.5, 0.25]]),
        "w2": np.array([[1.5, -2.0, 0.5], [1.0, 0.5, -1.0]]),
        "y": np.array([1.0, 0.0]),
    }


def _layers(inputs: ByName) -> list[LayerNames]:
    return [
        LayerNames(f"w{i}", "", f"z{i}", f"a{i}", inputs["g"][i]) for i in range(1, inputs["L"] + 1)
    ]


FORM = ProjectForm("a0", "y", "squared_error", _layers, columns=True)

ARTICLE = Article(
    "001",
    "Backpropagation index by index, any depth, squared errors",
    SYSTEM,
    CLAIMS,
    backward,
    forward_formulas={
        "z<l>": r"z_j^{<l>} = \sum_k w_{jk}^{<l>} a_k^{<l-1>}",
        "a<l>": r"a_j^{<l>} = g^{<l>}(z_j^{<l>})",
        "C0": r"C_0 = \sum_j (a_j^L - y_j)^2",
    },
    backward_formulas={
        "a<l>": r"\sum_j \frac{\partial C_0}{\partial z_j^{<l+1>}} w_{jk}^{<l+1>}",
        "a2": r"2 (a_j^L - y_j)",
        "z<l>": r"\frac{\partial C_0}{\partial a_j^{<l>}} g^{<l>\prime}(z_j^{<l>})",
        "w<l>": r"\frac{\partial C_0}{\partial z_j^{<l>}} a_k^{<l-1>}",
    },
    example=example,
    problem=FORM.problem,
    in_project=FORM.in_project,
)
