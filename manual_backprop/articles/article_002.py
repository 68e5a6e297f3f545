"""Article 002: two inputs, two ReLU units, one sigmoid output, no biases; one sample, all scalars.

Printed weights are w_jk^(l): to unit j of layer l from unit k below. In code `w12_1` is w_12^(1).
"""

import numpy as np

from manual_backprop.articles.claim import Article
from manual_backprop.articles.claims_002 import CLAIMS
from manual_backprop.articles.system import Arithmetic, Draw, Quantities, SlopeArithmetic, System
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import ByName, FloatArray

INPUTS = ("x1", "x2", "w11_1", "w12_1", "w21_1", "w22_1", "w11_2", "w12_2")


def draw(d: Draw) -> ByName:
    """Draw x1, x2, the six weights and a label."""
    return {**{name: d.array() for name in INPUTS}, "y": d.binary()}


def forward(m: Arithmetic, q: Quantities) -> None:
    """Walk forward as printed, layer 1 then layer 2, and take the binary cross-entropy."""
    q.z1_1 = q.w11_1 * q.x1 + q.w12_1 * q.x2
    q.z2_1 = q.w21_1 * q.x1 + q.w22_1 * q.x2
    q.a1_1 = m.relu(q.z1_1)
    q.a2_1 = m.relu(q.z2_1)
    q.z1_2 = q.w11_2 * q.a1_1 + q.w12_2 * q.a2_1
    q.yhat = m.sigmoid(q.z1_2)
    q.L = -(q.y * m.log(q.yhat) + (1 - q.y) * m.log(1 - q.yhat))


def backward(m: SlopeArithmetic, q: Quantities, g: Quantities) -> None:
    """Walk backward: the printed steps, and by the same rule those the article leaves out."""
    g.yhat = (q.yhat - q.y) / (q.yhat * (1 - q.yhat))
    g.z1_2 = q.yhat - q.y
    g.w11_2 = g.z1_2 * q.a1_1
    g.w12_2 = g.z1_2 * q.a2_1
    g.a1_1 = g.z1_2 * q.w11_2
    g.a2_1 = g.z1_2 * q.w12_2
    g.z1_1 = g.a1_1 * m.slope("relu", q.z1_1)
    g.z2_1 = g.a2_1 * m.slope("relu", q.z2_1)
    g.w11_1 = g.z1_1 * q.x1
    g.w12_1 = g.z1_1 * q.x2
    g.w21_1 = g.z2_1 * q.x1
    g.w22_1 = g.z2_1 * q.x2
    g.x1 = g.z1_1 * q.w11_1 + g.z2_1 * q.w21_1
    g.x2 = g.z1_1 * q.w12_1 + g.z2_1 * q.w22_1


def example() -> ByName:
    """Return small numbers that can be followed by hand."""
    numbers = dict(zip(INPUTS, (-1.0, 1.0, 0.5, 2.0, 1.0, -0.5, 1.5, 0.5), strict=True))
    return {name: np.asarray(number) for name, number in {**numbers, "y": 1.0}.items()}


GRID: dict[str, list[list[str]]] = {
    "layers.0.weight": [["w11_1", "w21_1"], ["w12_1", "w22_1"]],
    "layers.1.weight": [["w11_2"], ["w12_2"]],
    "layers.0.z": [["z1_1", "z2_1"]],
    "layers.0.a": [["a1_1", "a2_1"]],
    "layers.1.z": [["z1_2"]],
    "layers.1.a": [["yhat"]],
    "x": [["x1", "x2"]],
}
"""The article's scalars in the project's arrays."""


def problem(inputs: ByName) -> Problem:
    """Return the same network in the project's form, with the weights transposed."""
    layers = (Layer(2, "relu", bias=False), Layer(1, "sigmoid", bias=False))
    network = Network(2, layers, "binary_cross_entropy", reduction="sum")
    read = {name: _read(inputs, name) for name in ("x", *network.parameter_shapes())}
    return Problem(network, read, x=read.pop("x"), targets=np.array([[float(inputs["y"])]]))


def in_project(inputs: ByName, values: Quantities) -> dict[str, FloatArray]:
    """Read the article's scalars into the project's arrays."""
    return {name: _read(values, name) for name in GRID}


def _read(values: ByName | Quantities, name: str) -> FloatArray:
    return np.array([[float(values[entry]) for entry in row] for row in GRID[name]])


LATEX = {
    **{
        f"{kind}{unit}_{layer}": rf"{kind}_{{{unit}}}^{{({layer})}}"
        for layer in (1, 2)
        for kind, units in {"w": ("11", "12", "21", "22"), "z": "12", "a": "12"}.items()
        for unit in units
    },
    "x1": "x_1",
    "x2": "x_2",
    "yhat": r"\hat y",
    "L": r"\mathcal L",
}
SYSTEM = System("2-2-1", draw, forward, loss="L", latex=LATEX)

ARTICLE = Article(
    "002",
    "Back propagation by a gear analogy, then a 2-2-1 network",
    SYSTEM,
    CLAIMS,
    backward,
    forward_formulas={
        "z1_1": r"z_1^{(1)} = w_{11}^{(1)} x_1 + w_{12}^{(1)} x_2",
        "z2_1": r"z_2^{(1)} = w_{21}^{(1)} x_1 + w_{22}^{(1)} x_2",
        "a1_1": r"a_1^{(1)} = \mathrm{ReLU}(z_1^{(1)})",
        "a2_1": r"a_2^{(1)} = \mathrm{ReLU}(z_2^{(1)})",
        "z1_2": r"z_1^{(2)} = w_{11}^{(2)} a_1^{(1)} + w_{12}^{(2)} a_2^{(1)}",
        "yhat": r"\hat y = \sigma(z_1^{(2)})",
        "L": r"\mathcal L = -[y \log \hat y + (1-y) \log(1-\hat y)]",
    },
    backward_formulas={
        "yhat": r"\frac{\hat y - y}{\hat y (1-\hat y)}",
        "z1_2": r"\hat y - y",
        "w11_2": r"(\hat y - y)\, a_1^{(1)}",
        "w12_2": r"(\hat y - y)\, a_2^{(1)}",
        "a1_1": r"(\hat y - y)\, w_{11}^{(2)}",
        "a2_1": r"(\hat y - y)\, w_{12}^{(2)}",
        **{
            f"z{j}_1": rf"\frac{{\partial \mathcal L}}{{\partial a_{j}^{{(1)}}}}"
            rf" \mathrm{{ReLU}}'(z_{j}^{{(1)}})"
            for j in (1, 2)
        },
        **{
            f"w{j}{k}_1": rf"\frac{{\partial \mathcal L}}{{\partial z_{j}^{{(1)}}}} x_{k}"
            for j in (1, 2)
            for k in (1, 2)
        },
        **{
            f"x{k}": r"\sum_j \frac{\partial \mathcal L}{\partial z_j^{(1)}}"
            rf" w_{{j{k}}}^{{(1)}}"
            for k in (1, 2)
        },
    },
    example=example,
    problem=problem,
    in_project=in_project,
)
