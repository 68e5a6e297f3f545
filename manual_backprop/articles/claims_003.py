"""The claims of article 003, in the order of the text."""

import numpy as np

from manual_backprop.articles.claim import Claim, Evaluation, Side, affine, product
from manual_backprop.articles.system import Arithmetic, Draw, Quantities, System
from manual_backprop.operation import ByName

ACTIVATIONS = ("identity", "tanh", "sigmoid", "softplus", "relu")
"""Activations that stand for the article's general g."""


def draw(d: Draw, samples: int = 1) -> ByName:
    """Draw widths that all differ, so that only the right order multiplies, and the numbers."""
    d_in = d.size(4, 5)
    hidden, out = d.size(3, 3), d.size(2, 2)
    return {
        "g": d.choice(ACTIVATIONS),
        "alpha": d.positive(),
        "X": d.array(d_in, samples),
        "W1": d.array(hidden, d_in),
        "b1": d.array(hidden, 1),
        "W2": d.array(out, hidden),
        "b2": d.array(out, 1),
        "Y": d.binary(out, samples),
    }


def forward(m: Arithmetic, q: Quantities) -> None:
    """Walk forward as printed; J sums the printed cost over outputs and samples."""
    q.Z1 = q.W1 @ q.X + q.b1
    q.A1 = m.apply(q.g, q.Z1)
    q.Z2 = q.W2 @ q.A1 + q.b2
    q.A2 = m.sigmoid(q.Z2)
    q.J = m.sum(-q.Y * m.log(q.A2) - (1 - q.Y) * m.log(1 - q.A2))


LATEX = {
    **{f"{kind}{layer}": f"{kind}^{{[{layer}]}}" for kind in "ZAWb" for layer in (1, 2)},
    "alpha": r"\alpha",
    "g": "g^{[1]}",
}
_SMOOTH = System(
    "g = tanh", lambda d: {**draw(d), "g": "tanh"}, forward, loss="J", samples=1, latex=LATEX
)
_BATCH = System(
    "general g, a batch", lambda d: draw(d, samples=3), forward, loss="J", samples=1, latex=LATEX
)


def _sigma(q: Evaluation) -> np.ndarray:
    sigma: np.ndarray = 1 / (1 + q.m.exp(-q.Z2))
    return sigma


def _product_form(q: Evaluation) -> object:
    e = q.m.exp(-q.Z2)
    return 1 / (1 + e) * ((1 + e - 1) / (1 + e))


def _as_printed(q: Evaluation) -> object:
    return -(q.Y / q.A2) - (1 - q.Y) / (1 - q.A2)


def _quotient(q: Evaluation) -> object:
    return (q.A2 - q.Y) / (q.A2 * (1 - q.A2))


def _delta(q: Evaluation) -> object:
    return q.A2 - q.Y


def _update(name: str) -> tuple[Side, Side]:
    """The step along which J falls fastest, of length α times the slope; and what is printed."""
    return (
        lambda q: q[name] + q.alpha * -q.d("J", name),
        lambda q: q[name] - q.alpha * q.d("J", name),
    )


_D = r"\frac{{\partial {0}}}{{\partial {1}}}".format
_J, _A1, _A2, _Z1, _Z2, _W1, _W2, _b1, _b2 = (
    "J",
    *(LATEX[name] for name in ("A1", "A2", "Z1", "Z2", "W1", "W2", "b1", "b2")),
)
_COST = r"-Y\log A^{[2]} - (1-Y)\log(1-A^{[2]})"
_FRACTIONS = r"-\frac{Y}{A^{[2]}} - \frac{1-Y}{1-A^{[2]}}"
_MENDED = r"-\frac{Y}{A^{[2]}} + \frac{1-Y}{1-A^{[2]}}"
_QUOTIENT = r"\frac{A^{[2]}-Y}{A^{[2]}(1-A^{[2]})}"
_SLOPE = r"g^{[1]\prime}(Z^{[1]})"
_F_DELTA = ("(A^{[2]} - Y)", _delta)
_F_A1 = ("A^{[1]}", lambda q: q.A1)
_F_W2 = ("W^{[2]}", lambda q: q.W2)
_F_SLOPE = (_SLOPE, lambda q: q.slope(q.g, q.Z1))
_F_X = ("X", lambda q: q.X)

CLAIMS = (
    Claim("forward.1", "forward propagation",
        r"Z^{[1]} = W^{[1]} X + b^{[1]}",
        lambda q: q.Z1,
        affine("W1", "X", "b1")),
    Claim("forward.2", "forward propagation",
        r"A^{[1]} = g^{[1]}(Z^{[1]})",
        lambda q: q.A1,
        lambda q: q.m.apply(q.g, q.Z1)),
    Claim("forward.3", "forward propagation",
        r"Z^{[2]} = W^{[2]} A^{[1]} + b^{[2]}",
        lambda q: q.Z2,
        affine("W2", "A1", "b2")),
    Claim("forward.4", "forward propagation",
        r"A^{[2]} = g^{[2]}(Z^{[2]}) = \sigma(Z^{[2]})",
        lambda q: q.A2,
        lambda q: q.m.apply("sigmoid", q.Z2)),
    Claim("forward.5", "forward propagation, the note on the sigmoid",
        r"\sigma = \frac{1}{1+e^{-z^{[2]}}}",
        lambda q: q.m.apply("sigmoid", q.Z2),
        _sigma),
    Claim("parameters", "the network has four parameters",
        r"|\{W^{[1]}, b^{[1]}, W^{[2]}, b^{[2]}\}| = 4",
        lambda q: 4,
        lambda q: len([name for name in ("W1", "b1", "W2", "b2") if np.any(q.d("Z2", name) != 0)]),
        reading="counted are those by which the output has a derivative other than 0; g is tanh",
        system=_SMOOTH),
    Claim("W2.1", "gradient of the second weight, chain rule",
        rf"{_D(_J, _W2)} = {_D(_J, _A2)} {_D(_A2, _Z2)} {_D(_Z2, _W2)}",
        lambda q: q.d("J", "W2"),
        lambda q: q.chain("J", "A2", "Z2", "W2"),
        reading="the product of derivatives contracts the indices they share"),
    Claim("A2.1", "first factor, its label",
        rf"{_D(_J, _A2)} = \sigma'(Z)",
        lambda q: q.d("J", "A2"),
        lambda q: q.d("A2", "Z2", "jn,jn->jn"),
        reading="Z is Z^[2], and σ' the derivative of A^[2] = σ(Z^[2]), entry by entry"),
    Claim("A2.2", "first factor",
        r"\sigma'(Z) = \frac{d(1+e^{-Z})^{-1}}{dZ}",
        lambda q: q.d("A2", "Z2", "jn,jn->jn"),
        lambda q: q.d(lambda m, p: 1 / (1 + m.exp(-p.Z2)), "Z2", "jn,jn->jn")),
    Claim("A2.3", "first factor",
        r"\frac{d(1+e^{-Z})^{-1}}{dZ} = \frac{e^{-Z}}{(1+e^{-z})^2}",
        lambda q: q.d(lambda m, p: 1 / (1 + m.exp(-p.Z2)), "Z2", "jn,jn->jn"),
        lambda q: q.m.exp(-q.Z2) / ((1 + q.m.exp(-q.Z2)) * (1 + q.m.exp(-q.Z2))),
        reading="z and Z are the same"),
    Claim("A2.4", "first factor",
        r"\frac{e^{-Z}}{(1+e^{-z})^2} = \frac{1}{1+e^{-Z}} * \frac{1+e^{-Z}-1}{1+e^{-Z}}",
        lambda q: q.m.exp(-q.Z2) / ((1 + q.m.exp(-q.Z2)) * (1 + q.m.exp(-q.Z2))),
        _product_form),
    Claim("A2.5", "first factor",
        r"\frac{1}{1+e^{-Z}} * \frac{1+e^{-Z}-1}{1+e^{-Z}} = \sigma(Z)(1-\sigma(Z))",
        _product_form,
        lambda q: _sigma(q) * (1 - _sigma(q))),
    Claim("A2.6", "derivative of the cost by the output, what is differentiated",
        rf"{_D(_J, _A2)} = {_D(f'({_COST})', _A2)}",
        lambda q: q.d("J", "A2"),
        lambda q: q.d(
            lambda m, p: -p.Y * m.log(p.A2) - (1 - p.Y) * m.log(1 - p.A2), "A2", "jn,jn->jn"
        ),
        reading="the cost is taken for each output"),
    Claim("A2.7", "derivative of the cost by the output, in fractions",
        rf"{_D(f'({_COST})', _A2)} = {_FRACTIONS}",
        lambda q: q.d("J", "A2"),
        _as_printed,
        correction=lambda q: -(q.Y / q.A2) + (1 - q.Y) / (1 - q.A2), correction_formula=_MENDED),
    Claim("A2.8", "derivative of the cost by the output, fractions joined",
        rf"{_FRACTIONS} = {_QUOTIENT}",
        _as_printed,
        _quotient,
        correction=lambda q: -(q.A2 + q.Y - 2 * q.A2 * q.Y) / (q.A2 * (1 - q.A2)),
        correction_formula=r"-\frac{A^{[2]} + Y - 2A^{[2]}Y}{A^{[2]}(1-A^{[2]})}"
        rf"\quad\text{{(and }} {_MENDED} = {_QUOTIENT}\text{{)}}"),
    Claim("A2.9", "derivative of the cost by the output, result",
        rf"{_D(_J, _A2)} = {_QUOTIENT}",
        lambda q: q.d("J", "A2"),
        _quotient),
    Claim("W2.2", "third factor",
        rf"{_D(_Z2, _W2)} = {_D('(W^{[2]}A^{[1]} + b^{[2]})', _W2)}",
        lambda q: q.d("Z2", "W2"),
        lambda q: q.d(lambda m, p: p.W2 @ p.A1 + p.b2, "W2")),
    Claim("W2.3", "third factor",
        rf"{_D(_Z2, _W2)} = A^{{[1]}}",
        lambda q: q.d("Z2", "W2", "jn,jk->kn"),
        lambda q: q.A1,
        reading="∂Z_jn/∂W_jk, which is the same for every j"),
    Claim("W2.4", "gradient of the second weight, result",
        rf"{_D(_J, _W2)} = (A^{{[2]}} - Y) . A^{{[1]}}",
        lambda q: q.d("J", "W2"),
        product(_F_DELTA, "@", _F_A1),
        reading="the dot is the matrix product"),
    Claim("b2.1", "gradient of the second bias, chain rule, its label",
        rf"{_D('A', _b2)} = {_D(_J, _A2)} {_D(_A2, _Z2)} {_D(_Z2, _b2)}",
        lambda q: q.d("A2", "b2"),
        lambda q: q.chain("J", "A2", "Z2", "b2"),
        reading="A is A^[2]"),
    Claim("b2.2", "gradient of the second bias, third factor",
        rf"{_D(_Z2, _b2)} = {_D('(W^{[2]}A^{[1]} + b^{[2]})', _b2)}",
        lambda q: q.d("Z2", "b2"),
        lambda q: q.d(lambda m, p: p.W2 @ p.A1 + p.b2, "b2")),
    Claim("b2.3", "gradient of the second bias, third factor",
        rf"{_D(_Z2, _b2)} = 1",
        lambda q: q.d("Z2", "b2", "jn,jo->jo"),
        lambda q: np.ones((len(q.b2), 1)),
        reading="∂Z_jn/∂b_j, entry by entry"),
    Claim("b2.4", "gradient of the second bias, result, its label",
        rf"{_D(_Z2, _W2)} = A^{{[2]}} - Y",
        lambda q: q.d("Z2", "W2"),
        _delta,
        system=_BATCH, reading="with several columns, so that ∂J/∂Z^[2] and ∂J/∂b^[2] differ"),
    Claim("b2.5", "gradient of the second bias, result, as meant",
        rf"{_D(_J, _b2)} = A^{{[2]}} - Y",
        lambda q: q.d("J", "b2"),
        _delta,
        reading="one sample"),
    Claim("b2.6", "gradient of the second bias, result, as meant",
        rf"{_D(_J, _b2)} = A^{{[2]}} - Y",
        lambda q: q.d("J", "b2"),
        _delta,
        system=_BATCH, reading="a batch, one column a sample"),
    Claim("W1.1", "gradient of the first weight, chain rule",
        rf"{_D(_J, _W1)} = {_D(_J, _A2)} {_D(_A2, _Z2)}"
        rf" {_D(_Z2, _A1)} {_D(_A1, _Z1)} {_D(_Z1, _W1)}",
        lambda q: q.d("J", "W1"),
        lambda q: q.chain("J", "A2", "Z2", "A1", "Z1", "W1"),
        reading="the product of derivatives contracts the indices they share"),
    Claim("W1.2", "gradient of the first weight, third factor",
        rf"{_D(_Z2, _A1)} = W^{{[2]}}",
        lambda q: q.d("Z2", "A1", "jn,kn->jk"),
        lambda q: q.W2,
        reading="∂Z_jn/∂A_kn in row j and column k"),
    Claim("W1.3", "gradient of the first weight, last factor",
        rf"{_D(_Z1, _W1)} = X",
        lambda q: q.d("Z1", "W1", "jn,jk->kn"),
        lambda q: q.X,
        reading="∂Z_jn/∂W_jk, which is the same for every j"),
    Claim("W1.4", "gradient of the first weight, result",
        rf"{_D(_J, _W1)} = (A^{{[2]}} - Y) . W^{{[2]}} * {_SLOPE} . X",
        lambda q: q.d("J", "W1"),
        product(_F_DELTA, "@", _F_W2, "*", _F_SLOPE, "@", _F_X),
        reading="the dot is the matrix product, the star goes entry by entry"),
    Claim("b1.1", "gradient of the first bias, result",
        rf"{_D(_J, _b1)} = (A^{{[2]}} - Y) . W^{{[2]}} * {_SLOPE}",
        lambda q: q.d("J", "b1"),
        product(_F_DELTA, "@", _F_W2, "*", _F_SLOPE),
        reading="the dot is the matrix product, the star goes entry by entry; one sample"),
    *(
        Claim(
            f"update.{name}",
            "gradient descent",
            rf"{LATEX[name]} \mathrel{{-}}= \alpha * {_D(_J, LATEX[name])}",
            *_update(name),
            reading="the step against the gradient, α times as long",
        )
        for name in ("W2", "b2", "W1", "b1")
    ),
)  # fmt: skip
