"""The claims of article 001, in the order of the text; indices count from 0, as printed."""

import numpy as np

from manual_backprop.articles.claim import Claim, Evaluation
from manual_backprop.articles.system import Arithmetic, Draw, Quantities, System
from manual_backprop.operation import ByName

ACTIVATIONS = ("identity", "tanh", "sigmoid", "softplus", "relu")
"""Activations that stand for the article's general g."""


def draw(d: Draw) -> ByName:
    """Draw a depth, widths of at least 3 (the text uses the index 2), weights and targets."""
    depth = d.size(2, 3)
    widths = tuple(d.size(3 + layer % 2, 4 + layer % 2) for layer in range(depth + 1))
    return {
        "L": depth,
        "l": d.size(1, depth),
        "g": ("", *(d.choice(ACTIVATIONS) for _ in range(depth))),
        "widths": widths,
        "a0": d.array(widths[0]),
        **{f"w{i}": d.array(widths[i], widths[i - 1]) for i in range(1, depth + 1)},
        "y": d.array(widths[-1]),
        "eta": d.positive(),
    }


def forward(m: Arithmetic, q: Quantities) -> None:
    """Walk forward as printed, and sum the squared errors of the nodes."""
    for layer in range(1, q.L + 1):
        q[f"z{layer}"] = q[f"w{layer}"] @ q[f"a{layer - 1}"]
        q[f"a{layer}"] = m.apply(q.g[layer], q[f"z{layer}"])
    error = q[f"a{q.L}"] - q.y
    q.C0 = m.sum(error * error)


def _forward_samples(m: Arithmetic, q: Quantities) -> None:
    """One output layer, N = 4 samples: the loss of each, and their average C."""
    losses = []
    for i in range(4):
        error = m.tanh(q.w @ q.a[i]) - q.y[i]
        q[f"C{i}"] = m.sum(error * error)
        losses.append(q[f"C{i}"])
    q.C = (losses[0] + losses[1] + losses[2] + losses[3]) / 4


LATEX = {
    **{f"{kind}{layer}": f"{kind}^{layer}" for kind in "waz" for layer in range(5)},
    "C0": "C_0",
    "eta": r"\eta",
}
SYSTEM = System("any depth, squared errors", draw, forward, loss="C0", latex=LATEX, labels=())
_SAMPLES = System(
    "four samples",
    lambda d: {"w": d.array(2, 3), "a": d.array(4, 3), "y": d.array(4, 2)},
    _forward_samples,
    loss="C",
    latex=LATEX,
)


def _out(q: Evaluation, kind: str) -> np.ndarray:
    out: np.ndarray = q[f"{kind}{q.L}"]
    return out


def _below(q: Evaluation, kind: str) -> np.ndarray:
    below: np.ndarray = q[f"{kind}{q.L - 1}"]
    return below


def _slope(q: Evaluation, layer: int, j: int) -> np.ndarray:
    return q.slope(q.g[layer], q[f"z{layer}"][j])


def _local(q: Evaluation, layer: int) -> np.ndarray:
    """Return ∂a_j/∂z_j of a layer."""
    return q.d(f"a{layer}", f"z{layer}", "j,j->j")


def _recomputed(q: Evaluation) -> object:
    """Return C0 from a_j(z_j(w_j)) of layer l, row by row, and the layers after it."""
    rows = [sum(w * a for w, a in zip(row, q[f"a{q.l - 1}"], strict=True)) for row in q[f"w{q.l}"]]
    a = q.m.apply(q.g[q.l], q.m.stack(rows))
    for layer in range(q.l + 1, q.L + 1):
        a = q.m.apply(q.g[layer], q[f"w{layer}"] @ a)
    return sum((a_j - y_j) * (a_j - y_j) for a_j, y_j in zip(a, q.y, strict=True))


def _weighted_sum(q: Evaluation) -> np.ndarray:
    """Return node 0 of layer 1: a1 w1 + a2 w2 + … + aN wN."""
    total: np.ndarray = q.a0[0] * q.w1[0, 0]
    for k in range(1, len(q.a0)):
        total = total + q.a0[k] * q.w1[0, k]
    return total


def _nodes_above(q: Evaluation) -> object:
    """Return Σ_j of the three derivatives, over the nodes of layer L."""
    first = q.d("C0", f"a{q.L}") * _local(q, q.L)
    return (first * q.d(f"z{q.L}", f"a{q.L - 1}")[:, 2]).sum()


def _together(q: Evaluation) -> object:
    total = sum(
        2 * (_out(q, "a")[j] - q.y[j]) * _slope(q, q.L, j) * _out(q, "w")[j, 2]
        for j in range(len(q.y))
    )
    return total * _slope(q, q.L - 1, 2) * q[f"a{q.L - 2}"][2]


_C, _A, _Z = r"\partial C_0", r"\partial a_j^l", r"\partial z_j^l"
_HIDDEN = r"\frac{\partial C_0}{\partial w_{22}^{L-1}}"
_TAIL = (
    r"\frac{\partial a_2^{L-1}}{\partial z_2^{L-1}}"
    r" \frac{\partial z_2^{L-1}}{\partial w_{22}^{L-1}}"
)
_ABOVE = (
    r"\sum_{j=0}^{n-1} \frac{\partial C_0}{\partial a_j^L} \frac{\partial a_j^L}{\partial z_j^L}"
    r" \frac{\partial z_j^L}{\partial a_2^{L-1}}"
)

CLAIMS = (
    Claim("node.1", "introduction: the output of a node",
        r"\text{output} = \text{activation}(\text{weighted sum of inputs})",
        lambda q: q.a1[0],
        lambda q: q.m.apply(q.g[1], _weighted_sum(q))),
    Claim("node.2", "introduction: the weighted sum",
        r"\text{weighted sum} = a_1 w_1 + a_2 w_2 + \dots + a_N w_N",
        lambda q: q.z1[0],
        _weighted_sum),
    Claim("range.l", "notation: the range of l",
        r"L \in [0, L-1]",
        lambda q: q.L,
        lambda q: range(q.L),
        reading="every formula that speaks of the output layer uses l = L",
        correction=lambda q: range(q.L + 1),
        correction_formula=r"l \in [0, L], \text{ with layer 0 the input}", asserts="member"),
    Claim("range.j", "notation: the range of j",
        r"j \in [0, n-1]",
        lambda q: len(q[f"a{q.l}"]),
        lambda q: len(range(q.widths[q.l])),
        reading="as many indices as nodes in layer l"),
    Claim("range.k", "notation: the range of k",
        r"k \in [0, m-1]",
        lambda q: q[f"w{q.l}"].shape[1],
        lambda q: len(range(q.widths[q.l - 1])),
        reading="as many indices as nodes in layer l - 1"),
    Claim("loss.1", "loss of a node and of the network, first equality",
        r"C_0 = \sum_{j=0}^{n-1} C_{0j},\ C_{0j} = (a_j^L - y_j)^2",
        lambda q: q.C0,
        lambda q: sum((a - y) * (a - y) for a, y in zip(_out(q, "a"), q.y, strict=True))),
    Claim("loss.2", "loss of the network, second equality",
        r"C_0 = \sum_{j=0}^{n-1} (a_j^L - y_j)",
        lambda q: q.C0,
        lambda q: sum(a - y for a, y in zip(_out(q, "a"), q.y, strict=True)),
        correction=lambda q: sum((a - y) * (a - y) for a, y in zip(_out(q, "a"), q.y, strict=True)),
        correction_formula=r"\sum_{j=0}^{n-1} (a_j^L - y_j)^2"),
    Claim("input", "input of a node",
        r"z_j^l = \sum_{k=0}^{m-1} w_{jk}^l a_k^{l-1}",
        lambda q: q[f"z{q.l}"],
        lambda q: q.m.stack(
            [sum(w * a for w, a in zip(row, q[f"a{q.l - 1}"], strict=True)) for row in q[f"w{q.l}"]]
        )),
    Claim("output", "output of a node",
        r"a_j^l = g^l(z_j^l)",
        lambda q: q[f"a{q.l}"],
        lambda q: q.m.apply(q.g[q.l], q[f"z{q.l}"])),
    Claim("composition", "the loss as a composition",
        r"C_0 = C_0(a_j^l(z_j^l(w_j^l)))",
        lambda q: q.C0,
        _recomputed,
        reading="w_j^l is the row of weights into node j; for all j together"),
    Claim("chain", "the chain rule",
        rf"\frac{{{_C}}}{{\partial w_{{jk}}^l}} = \frac{{{_C}}}{{{_A}}} \frac{{{_A}}}{{{_Z}}}"
        rf" \frac{{{_Z}}}{{\partial w_{{jk}}^l}}",
        lambda q: q.d("C0", f"w{q.l}"),
        lambda q: (
            (q.d("C0", f"a{q.l}") * _local(q, q.l))[:, None] * q.d(f"z{q.l}", f"w{q.l}", "j,jk->jk")
        ),
        reading="for every j and k, without a sum"),
    Claim("out.1", "output layer, first term",
        r"\frac{\partial C_0}{\partial a_j^L}"
        r" = \frac{\partial}{\partial a_j^L} \sum_{j=0}^{n-1} (a_j^L - y_j)^2",
        lambda q: q.d("C0", f"a{q.L}")[1],
        lambda q: q.d(lambda m, p: m.sum((p[f"a{p.L}"] - p.y) * (p[f"a{p.L}"] - p.y)), f"a{q.L}")[
            1
        ],
        reading="j = 1 outside the sum"),
    Claim("out.2", "output layer, first term",
        r"\frac{\partial C_0}{\partial a_j^L} = 2(a_1^L - y_1)",
        lambda q: q.d("C0", f"a{q.L}")[1],
        lambda q: 2 * (_out(q, "a")[1] - q.y[1]),
        reading="j = 1"),
    Claim("out.3", "output layer, second term",
        r"\frac{\partial a_j^L}{\partial z_j^L} = \frac{\partial g^L}{\partial z_1^L}",
        lambda q: q.d(f"a{q.L}", f"z{q.L}")[1, 1],
        lambda q: _slope(q, q.L, 1),
        reading="j = 1"),
    Claim("out.4", "output layer, third term",
        r"\frac{\partial z_j^L}{\partial w_{jk}^L}"
        r" = \frac{\partial}{\partial w_{jk}^L} \sum_{k=0}^{m-1} w_{jk}^L a_k^{L-1}",
        lambda q: q.d(f"z{q.L}", f"w{q.L}")[1, 1, 2],
        lambda q: q.d(lambda m, p: m.sum(p[f"w{p.L}"][1] * p[f"a{p.L - 1}"]), f"w{q.L}")[1, 2],
        reading="j = 1 and k = 2"),
    Claim("out.5", "output layer, third term",
        r"\frac{\partial z_j^L}{\partial w_{jk}^L} = a_2^{L-1}",
        lambda q: q.d(f"z{q.L}", f"w{q.L}")[1, 1, 2],
        lambda q: _below(q, "a")[2],
        reading="j = 1 and k = 2"),
    Claim("out.6", "output layer, put together",
        r"\frac{\partial C_0}{\partial w_{12}^L}"
        r" = 2(a_1^L - y_1) \frac{\partial g^L}{\partial z_1^L} a_2^{L-1}",
        lambda q: q.d("C0", f"w{q.L}")[1, 2],
        lambda q: 2 * (_out(q, "a")[1] - q.y[1]) * _slope(q, q.L, 1) * _below(q, "a")[2]),
    Claim("samples", "output layer, all samples",
        r"\frac{\partial C}{\partial w_{12}^L}"
        r" = \frac{1}{N} \sum_{i=0}^{N-1} \frac{\partial C_i}{\partial w_{12}^L}",
        lambda q: q.d("C", "w")[1, 2],
        lambda q: sum(q.d(f"C{i}", "w")[1, 2] for i in range(4)) / 4,
        reading="C, which is not defined, is the average loss, as the text says; N = 4",
        system=_SAMPLES),
    Claim("hidden.1", "hidden layers, chain rule",
        rf"{_HIDDEN} = \frac{{\partial C_0}}{{\partial a_2^{{L-1}}}} {_TAIL}",
        lambda q: q.d("C0", f"w{q.L - 1}")[2, 2],
        lambda q: (
            q.d("C0", f"a{q.L - 1}")[2]
            * _local(q, q.L - 1)[2]
            * q.d(f"z{q.L - 1}", f"w{q.L - 1}")[2, 2, 2]
        )),
    Claim("hidden.2", "hidden layers: a change in one node affects all nodes of layer L",
        r"\frac{\partial z_j^L}{\partial a_2^{L-1}} \ne 0 \text{ for } n \text{ nodes}",
        lambda q: sum(bool(slope != 0) for slope in q.d(f"z{q.L}", f"a{q.L - 1}")[:, 2]),
        lambda q: q.widths[q.L]),
    Claim("hidden.3", "hidden layers, the first term as a sum",
        rf"{_HIDDEN} = \left({_ABOVE}\right) {_TAIL}",
        lambda q: q.d("C0", f"w{q.L - 1}")[2, 2],
        lambda q: (
            _nodes_above(q) * _local(q, q.L - 1)[2] * q.d(f"z{q.L - 1}", f"w{q.L - 1}")[2, 2, 2]
        ),
        reading="n is the number of nodes of layer L"),
    Claim("hidden.n", "hidden layers, the bound of the sum over the nodes of layer L",
        r"\sum_{j=0}^{n-1} \text{ has a term for each node of layer } L",
        lambda q: q.widths[q.L],
        lambda q: q.widths[q.L - 1],
        reading="n is the number of nodes of layer l, as defined, and l = L - 1 here",
        correction=lambda q: len(_out(q, "a")),
        correction_formula=r"\sum_{j=0}^{n_L-1},\ n_L \text{ the number of nodes of layer } L"),
    Claim("hidden.4", "hidden layers, the third factor of the first term",
        r"\frac{\partial z_j^L}{\partial a_2^{L-1}}"
        r" = \frac{\partial}{\partial a_2^{L-1}} \sum_{k=0}^{m-1} w_{jk}^L a_k^{L-1}",
        lambda q: q.d(f"z{q.L}", f"a{q.L - 1}")[:, 2],
        lambda q: q.d(lambda m, p: p[f"w{p.L}"] @ p[f"a{p.L - 1}"], f"a{q.L - 1}")[:, 2],
        reading="m is the number of nodes of layer L - 1"),
    Claim("hidden.5", "hidden layers, the third factor of the first term",
        r"\frac{\partial z_j^L}{\partial a_2^{L-1}} = w_{j2}^L",
        lambda q: q.d(f"z{q.L}", f"a{q.L - 1}")[:, 2],
        lambda q: _out(q, "w")[:, 2]),
    Claim("hidden.6", "hidden layers, put together",
        rf"{_HIDDEN} = \left(\sum_{{j=0}}^{{n-1}} 2(a_j^L - y_j)"
        r" \frac{\partial g^L}{\partial z_j^L} w_{j2}^L\right)"
        r" \frac{\partial g^{L-1}}{\partial z_2^{L-1}} a_2^{L-2}",
        lambda q: q.d("C0", f"w{q.L - 1}")[2, 2],
        _together,
        reading="n is the number of nodes of layer L"),
    Claim("update", "the update",
        r"\text{new weight} = \text{old weight} - (\text{learning rate} \cdot \text{gradient})",
        lambda q: np.asarray(q[f"w{q.l}"]) + q.eta * -q.d("C0", f"w{q.l}"),
        lambda q: q[f"w{q.l}"] - q.eta * q.d("C0", f"w{q.l}"),
        reading="the step against the gradient, as long as the learning rate says"),
)  # fmt: skip
