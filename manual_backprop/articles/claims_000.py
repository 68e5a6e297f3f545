"""The claims of article 000, in the order of the text.

Every formula was a picture and is lost: each is reconstructed from the sentence beside it.
"""

from functools import partial

import numpy as np

from manual_backprop.articles import claim as _claim
from manual_backprop.articles.claim import Evaluation, Side
from manual_backprop.articles.system import Arithmetic, Draw, Quantities, System
from manual_backprop.operation import ByName

Claim = partial(_claim.Claim, reconstructed=True)

HIDDEN = ("tanh", "sigmoid", "softplus", "relu")
"""Activations that stand for the article's general g."""


def draw(d: Draw) -> ByName:
    """Draw 3 or 4 layers (the first is the input), widths, weights, biases and a one-hot target."""
    last = d.size(3, 4)
    widths = tuple(d.size(2 + (layer + 1) % 2, 4) for layer in range(last))
    return {
        "l": last,
        "g": d.choice(HIDDEN),
        "widths": widths,
        "a1": d.array(widths[0]),
        **{f"W{i}": d.array(widths[i - 1], widths[i - 2]) for i in range(2, last + 1)},
        **{f"b{i}": d.array(widths[i - 1]) for i in range(2, last + 1)},
        "y": d.one_hot(1, widths[-1])[0],
    }


def forward(m: Arithmetic, q: Quantities) -> None:
    """Walk forward: weighted sums and g, softmax in the last layer, cross-entropy."""
    for layer in range(2, q.l + 1):
        q[f"z{layer}"] = q[f"W{layer}"] @ q[f"a{layer - 1}"] + q[f"b{layer}"]
        z = q[f"z{layer}"]
        q[f"a{layer}"] = m.softmax(z) if layer == q.l else m.apply(q.g, z)
    q.L = -m.sum(q.y * m.log(q[f"a{q.l}"]))


LATEX = {f"{kind}{layer}": f"{kind}^{{({layer})}}" for kind in "Wbaz" for layer in range(1, 5)}
SYSTEM = System("any depth, softmax", draw, forward, loss="L", latex=LATEX)


def _a(q: Evaluation) -> np.ndarray:
    a: np.ndarray = q[f"a{q.l}"]
    return a


def _softmax_slopes(q: Evaluation) -> np.ndarray:
    return q.d(f"a{q.l}", f"z{q.l}")


def _quotient_rule(q: Evaluation) -> np.ndarray:
    """Return (g' h - g h')/h² with g = e^z_i and h = Σ e^z_k, for all i and j."""
    e = q.m.exp(q[f"z{q.l}"])
    h = sum(e)
    return np.array(
        [
            [((e[i] if i == j else 0) * h - e[i] * e[j]) / (h * h) for j in range(len(e))]
            for i in range(len(e))
        ]
    )


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(matrix)[~np.eye(len(matrix), dtype=bool)]


def _backwards(q: Evaluation) -> object:
    """Return ∂L/∂W^(2) by the general equations, from the last layer to the first."""
    dz = _a(q) - q.y
    for layer in range(q.l - 1, 1, -1):
        da = [sum(dz * q[f"W{layer + 1}"][:, k]) for k in range(len(q[f"a{layer}"]))]
        dz = q.m.stack(da) * q.slope(q.g, q[f"z{layer}"])
    return dz[:, None] * q.a1[None, :]


def _out(name: str) -> Side:
    """Return the side ∂L/∂name^(l)."""
    return lambda q: q.d("L", f"{name}{q.l}")


_DZ = r"\frac{\partial L}{\partial z_i^{(l)}}"
_DW = r"\frac{\partial L}{\partial w_{jk}^{(l)}}"

CLAIMS = (
    Claim("softmax.definition", "softmax has the form g(x)/h(x)",
        r"a_i = \frac{e^{z_i}}{\sum_k e^{z_k}}",
        _a,
        lambda q: q.m.exp(q[f"z{q.l}"]) / sum(q.m.exp(q[f"z{q.l}"]))),
    Claim("softmax.quotient", "its derivative by the quotient rule",
        r"\frac{\partial a_i}{\partial z_j}"
        r" = \frac{g' h - g h'}{h^2},\ g = e^{z_i},\ h = \sum_k e^{z_k}",
        _softmax_slopes,
        _quotient_rule),
    Claim("softmax.equal", "the case i equal to j",
        r"\frac{\partial a_i}{\partial z_i} = a_i(1-a_i)",
        lambda q: np.diagonal(_softmax_slopes(q)),
        lambda q: _a(q) * (1 - _a(q))),
    Claim("softmax.unequal", "the case i not equal to j",
        r"\frac{\partial a_i}{\partial z_j} = -a_i a_j,\ i \ne j",
        lambda q: _off_diagonal(_softmax_slopes(q)),
        lambda q: _off_diagonal(-_a(q)[:, None] * _a(q)[None, :])),
    Claim("figure", "the network shown in the figure",
        r"\text{the widths of the network in the figure}",
        lambda q: q.widths,
        lambda q: q["figure"]),
    Claim("z", "z is the weighted sum of the activations before it",
        r"z_j^{(l)} = \sum_k w_{jk}^{(l)} a_k^{(l-1)} + b_j^{(l)}",
        lambda q: q[f"z{q.l}"],
        lambda q: q.m.stack(
            [
                sum(w * a for w, a in zip(row, q[f"a{q.l - 1}"], strict=True)) + b
                for row, b in zip(q[f"W{q.l}"], q[f"b{q.l}"], strict=True)
            ]
        ),
        reading="with the bias, which the article says is present and not shown"),
    Claim("a", "a is the activation function applied to z",
        r"a^{(2)} = g(z^{(2)})",
        lambda q: q.a2,
        lambda q: q.m.apply(q.g, q.z2)),
    Claim("a.example", "the activation of the 2nd neuron in the 3rd layer",
        r"a_2^{(3)} = g\left(\sum_k w_{2k}^{(3)} a_k^{(2)} + b_2^{(3)}\right)",
        lambda q: q.a3[1],
        lambda q: (
            q.m.softmax(q.m.stack([sum(q.W3[j] * q.a2) + q.b3[j] for j in range(len(q.b3))]))[1]
            if q.l == 3
            else q.m.apply(q.g, sum(q.W3[1] * q.a2) + q.b3[1])
        ),
        reading="g is the softmax where the 3rd layer is the last"),
    Claim("loss", "the loss is the cross-entropy",
        r"L = -\sum_k y_k \log a_k^{(l)}",
        lambda q: q.L,
        lambda q: -sum(y * q.m.log(a) for y, a in zip(q.y, _a(q), strict=True))),
    Claim("loss.k", "k, the number of predictions, is the number of neurons in the output layer",
        r"k = n^{(l)}",
        lambda q: len(q.y),
        lambda q: q.widths[-1]),
    Claim("dz.chain", "derivative by z in the output layer, through every prediction",
        rf"{_DZ} = \sum_k \frac{{\partial L}}{{\partial a_k}}"
        r" \frac{\partial a_k}{\partial z_i}",
        _out("z"),
        lambda q: q.d("L", f"a{q.l}") @ _softmax_slopes(q)),
    Claim("dz.log", "derivative by z in the output layer, the logarithm differentiated",
        rf"{_DZ} = -\sum_k \frac{{y_k}}{{a_k}} \frac{{\partial a_k}}{{\partial z_i}}",
        _out("z"),
        lambda q: -((q.y / _a(q)) @ _softmax_slopes(q))),
    Claim("dz.count",
        "the derivative of softmax is needed k times, k - 1 of them with i not equal to k",
        r"|\{k : i \ne k\}| = k - 1",
        lambda q: sum(1 for k in range(len(q.y)) if k != 0),
        lambda q: q.widths[-1] - 1),
    Claim("dz.cases", "derivative by z in the output layer, the two cases put in",
        rf"{_DZ} = -y_i(1-a_i) + \sum_{{k \ne i}} y_k a_i",
        _out("z"),
        lambda q: -q.y * (1 - _a(q)) + _a(q) * (sum(q.y) - q.y)),
    Claim("dz.result", "derivative by z in the output layer, result",
        rf"{_DZ} = a_i - y_i",
        _out("z"),
        lambda q: _a(q) - q.y,
        reading="the targets sum to 1"),
    Claim("dW.label", "the derivative is called that of weights with respect to loss",
        r"\frac{\partial w_{jk}^{(l)}}{\partial L}"
        r" = \frac{\partial L}{\partial z_j^{(l)}}"
        r" \frac{\partial z_j^{(l)}}{\partial w_{jk}^{(l)}}",
        lambda q: q.d(f"W{q.l}", "L"),
        lambda q: q.chain("L", f"z{q.l}", f"W{q.l}"),
        reading="as the sentence says it: of the weights, with respect to the loss",
        correction_left=_out("W"), correction_formula=_DW),
    Claim("dW.chain", "derivative by the weights, chain rule",
        rf"{_DW} = \frac{{\partial L}}{{\partial z_j^{{(l)}}}}"
        r" \frac{\partial z_j^{(l)}}{\partial w_{jk}^{(l)}}",
        _out("W"),
        lambda q: q.chain("L", f"z{q.l}", f"W{q.l}")),
    Claim("dW.factor", "derivative by the weights, second factor",
        r"\frac{\partial z_j^{(l)}}{\partial w_{jk}^{(l)}} = a_k^{(l-1)}",
        lambda q: q.d(f"z{q.l}", f"W{q.l}", "j,jk->k"),
        lambda q: q[f"a{q.l - 1}"]),
    Claim("dW.result", "derivative by the weights, result",
        rf"{_DW} = (a_j^{{(l)}} - y_j)\, a_k^{{(l-1)}}",
        _out("W"),
        lambda q: (_a(q) - q.y)[:, None] * q[f"a{q.l - 1}"][None, :]),
    Claim("db.chain", "derivative by the bias, chain rule",
        r"\frac{\partial L}{\partial b_j^{(l)}} = \frac{\partial L}{\partial z_j^{(l)}}"
        r" \frac{\partial z_j^{(l)}}{\partial b_j^{(l)}}",
        _out("b"),
        lambda q: q.chain("L", f"z{q.l}", f"b{q.l}")),
    Claim("db.result", "derivative by the bias, result",
        r"\frac{\partial L}{\partial b_j^{(l)}} = a_j^{(l)} - y_j",
        _out("b"),
        lambda q: _a(q) - q.y),
    Claim("da", "derivative by the activations of the previous layer",
        r"\frac{\partial L}{\partial a_k^{(l-1)}}"
        r" = \sum_{j=1}^{n} \frac{\partial L}{\partial z_j^{(l)}} w_{jk}^{(l)}",
        lambda q: q.d("L", f"a{q.l - 1}"),
        lambda q: q.d("L", f"z{q.l}") @ q[f"W{q.l}"]),
    Claim("da.n", "n is the number of neurons in the current layer",
        r"n = n^{(l)}",
        lambda q: q[f"W{q.l}"].shape[0],
        lambda q: q.widths[-1],
        reading="the sum over j has n terms; the current layer is l, the previous one l - 1"),
    Claim("hidden.label",
        "the derivative in the hidden layer is called that of z with respect to loss",
        r"\frac{\partial z_j^{(l-1)}}{\partial L}"
        r" = \frac{\partial L}{\partial a_j^{(l-1)}}\, g'(z_j^{(l-1)})",
        lambda q: q.d(f"z{q.l - 1}", "L"),
        lambda q: q.d("L", f"a{q.l - 1}") * q.slope(q.g, q[f"z{q.l - 1}"]),
        reading="as the sentence says it: of z, with respect to the loss",
        correction_left=lambda q: q.d("L", f"z{q.l - 1}"),
        correction_formula=r"\frac{\partial L}{\partial z_j^{(l-1)}}"),
    Claim("hidden.z", "derivative by z in a hidden layer",
        r"\frac{\partial L}{\partial z_j^{(l-1)}}"
        r" = \frac{\partial L}{\partial a_j^{(l-1)}}\, g'(z_j^{(l-1)})",
        lambda q: q.d("L", f"z{q.l - 1}"),
        lambda q: q.d("L", f"a{q.l - 1}") * q.slope(q.g, q[f"z{q.l - 1}"])),
    Claim("hidden.slope", "g' is the derivative of the activation function used in that layer",
        r"g'(z_j^{(l-1)}) = \frac{\partial a_j^{(l-1)}}{\partial z_j^{(l-1)}}",
        lambda q: q.d(f"a{q.l - 1}", f"z{q.l - 1}", "j,j->j"),
        lambda q: q.slope(q.g, q[f"z{q.l - 1}"])),
    Claim("hidden.W", "the general equation for weights",
        r"\frac{\partial L}{\partial w_{jk}^{(2)}}"
        r" = \frac{\partial L}{\partial z_j^{(2)}} a_k^{(1)}",
        lambda q: q.d("L", "W2"),
        lambda q: q.d("L", "z2")[:, None] * q.a1[None, :]),
    Claim("hidden.b", "the general equation for biases",
        r"\frac{\partial L}{\partial b_j^{(2)}} = \frac{\partial L}{\partial z_j^{(2)}}",
        lambda q: q.d("L", "b2"),
        lambda q: q.d("L", "z2")),
    Claim("process", "from the last layer back to the first, each from the one after it",
        r"\frac{\partial L}{\partial W^{(2)}} \text{ from } \frac{\partial L}{\partial z^{(l)}}"
        r" \text{ by the equations above}",
        lambda q: q.d("L", "W2"),
        _backwards),
)  # fmt: skip
