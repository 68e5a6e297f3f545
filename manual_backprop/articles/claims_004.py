"""The claims of article 004, in the order of the text and by its equation numbers."""

import numpy as np

from manual_backprop.articles.claim import Claim, Evaluation, affine, product
from manual_backprop.articles.system import Arithmetic, Draw, Quantities, System
from manual_backprop.operation import ByName


def draw(d: Draw, samples: int = 1, hidden: int = 0) -> ByName:
    """Draw 2 inputs, `hidden` units (a few, unless given) and 2 outputs, as printed."""
    hidden = hidden or d.size(3, 5)
    return {
        "x": d.array(samples, 2),
        "W1": d.array(2, hidden),
        "b1": d.array(1, hidden),
        "W2": d.array(hidden, 2),
        "b2": d.array(1, 2),
        "y": d.one_hot(samples, 2),
    }


def forward(m: Arithmetic, q: Quantities) -> None:
    """Walk forward as printed, and take the loss in all the ways it can be read.

    Loss is (5) with σ the sigmoid, as its form says; Loss_s is (5) with σ(z2) = ŷ, as the line
    after (7) says; P is the logarithm of the likelihood under the softmax, with the sign of (5);
    E = -P is what is minimised.
    """
    q.z1 = q.x @ q.W1 + q.b1
    q.a1 = m.tanh(q.z1)
    q.z2 = q.a1 @ q.W2 + q.b2
    q.yhat = m.softmax(q.z2)
    q.sigma = m.sigmoid(q.z2)
    q.Loss = m.sum(q.y * m.log(q.sigma) + (1 - q.y) * m.log(1 - q.sigma))
    q.Loss_s = m.sum(q.y * m.log(q.yhat) + (1 - q.y) * m.log(1 - q.yhat))
    q.P = m.sum(q.y * m.log(q.yhat))
    q.E = -m.sum(q.y * m.log(q.yhat))


LATEX = {
    "z1": "z_1",
    "a1": "a_1",
    "z2": "z_2",
    "W1": "W_1",
    "b1": "b_1",
    "W2": "W_2",
    "b2": "b_2",
    "yhat": r"\hat y",
    "sigma": r"\sigma(z_2)",
    "Loss_s": r"Loss_{\mathrm{softmax}}",
}
_BATCH = System("a batch", lambda d: draw(d, 3), forward, loss="E", samples=0, latex=LATEX)

_MINIMISED = "Loss is what is minimised, the cross-entropy -Σ y ln ŷ of the softmax in (4)"
_SIGN_OF_5 = "Loss has the sign of (5): Σ y ln ŷ, with the softmax of (4)"
_CONTRACT = "the product of derivatives contracts the indices they share"


def _delta(q: Evaluation) -> object:
    return q.y - q.yhat


def _two_class(q: Evaluation) -> object:
    """The softmax of two numbers is the sigmoid of their difference."""
    return q.m.sigmoid(q.z2 - q.z2[:, ::-1])


def _ones(q: Evaluation, name: str) -> np.ndarray:
    return np.ones(np.shape(q[name]))


_D = r"\frac{{\partial {0}}}{{\partial {1}}}".format
_L = "Loss"
_TANH = r"\tanh(z_1)"
_AFFINE_TANH = r"(\tanh(z_1) W_2 + b_2)"
_F_XT = ("x^T", lambda q: q.x.T)
_F_SLOPE = (r"(1-\tanh^2 z_1)", lambda q: 1 - q.a1 * q.a1)
_F_DELTA = (r"(y-\hat y)", _delta)
_F_W2T = ("W_2^T", lambda q: q.W2.T)
_F_A1T = ("a_1^T", lambda q: q.a1.T)

CLAIMS = (
    Claim("shape.W1", "the shapes: x in R², W1 in R^(2*500), so that (1) gives 500 numbers",
        r"x W_1 + b_1 \in \mathbb R^{h},\ W_1 \in \mathbb R^{2 \times h}",
        lambda q: np.shape(q.x @ q.W1 + q.b1),
        lambda q: (len(q.x), q.W1.shape[1]),
        reading="2*500 means 2 rows and 500 columns, x is a row; the hidden width h is drawn"),
    Claim("shape.W1.count", "the shapes: 2*500 as a product is the number of entries of W1",
        r"W_1 \in \mathbb R^{2 * h}",
        lambda q: q.W1.size,
        lambda q: 2 * q.W1.shape[1],
        reading="2*500 means the product; the hidden width h is drawn"),
    Claim("shape.W2", "the shapes: W2 in R^(500*2), so that (3) gives 2 numbers",
        r"a_1 W_2 + b_2 \in \mathbb R^{2},\ W_2 \in \mathbb R^{h \times 2}",
        lambda q: np.shape(q.a1 @ q.W2 + q.b2),
        lambda q: (len(q.x), 2),
        reading="500*2 means 500 rows and 2 columns; the hidden width h is drawn"),
    Claim("shape.b1", "the shapes: b1 in R^500",
        r"b_1 \in \mathbb R^{h}",
        lambda q: q.b1.size,
        lambda q: q.z1.size,
        reading="the hidden width h is drawn"),
    Claim("shape.b2", "the shapes: b2 in R²",
        r"b_2 \in \mathbb R^2",
        lambda q: q.b2.size,
        lambda q: 2),
    Claim("1", "(1)",
        r"z_1 = x W_1 + b_1",
        lambda q: q.z1,
        affine("x", "W1", "b1")),
    Claim("2", "(2)",
        r"a_1 = \tanh(z_1)",
        lambda q: q.a1,
        lambda q: q.m.tanh(q.z1)),
    Claim("3", "(3)",
        r"z_2 = a_1 W_2 + b_2",
        lambda q: q.z2,
        affine("a1", "W2", "b2")),
    Claim("4", "(4)",
        r"\hat y = \mathrm{softmax}(z_2)",
        lambda q: q.yhat,
        lambda q: q.m.apply("softmax", q.z2)),
    Claim("5.sign", "(5), the sign: the loss is minimised",
        r"Loss = y * \ln \sigma(z_2) + (1-y) * \ln(1-\sigma(z_2))",
        lambda q: -q.m.sum(q.y * q.m.log(q.sigma) + (1 - q.y) * q.m.log(1 - q.sigma)),
        lambda q: q.m.sum(q.y * q.m.log(q.sigma) + (1 - q.y) * q.m.log(1 - q.sigma)),
        reading="the left side is the binary cross-entropy, whose minimum is the best fit"),
    Claim("5.softmax", "(5), the form: the loss that goes with the softmax of (4)",
        r"Loss = y * \ln \hat y + (1-y) * \ln(1-\hat y)",
        lambda q: q.P,
        lambda q: q.m.sum(q.y * q.m.log(q.yhat) + (1 - q.y) * q.m.log(1 - q.yhat)),
        reading="σ(z2) is ŷ; the left side is Σ y ln ŷ, summed over the two outputs"),
    Claim("6", "(6)",
        r"\frac{d\sigma(z_2)}{dz} = \ln \sigma(z_2) * \ln(1-\sigma(z_2))",
        lambda q: q.d("sigma", "z2", "nj,nj->nj"),
        lambda q: q.m.log(q.sigma) * q.m.log(1 - q.sigma),
        reading="σ is the sigmoid and z is z2", correction=lambda q: q.sigma * (1 - q.sigma),
        correction_formula=r"\sigma(z_2) * (1-\sigma(z_2))"),
    Claim("7.sigmoid", "(7), first equality",
        rf"{_D(_L, 'z_2')} = y - \sigma(z_2)",
        lambda q: q.d("Loss", "z2"),
        lambda q: q.y - q.sigma,
        reading="Loss is (5) as printed, σ the sigmoid"),
    Claim("7.second", "(7), second equality",
        r"y - \sigma(z_2) = y - \hat y",
        lambda q: q.y - q.sigma,
        _delta,
        reading="σ is the sigmoid, ŷ the softmax of (4)", correction=lambda q: q.y - q.sigma,
        correction_formula=r"y - \sigma(z_2),\ \sigma \text{ the sigmoid, which is not } \hat y"),
    Claim("7.softmax", "(7), read with σ(z2) = ŷ in (5)",
        rf"{_D(_L, 'z_2')} = y - \hat y",
        lambda q: q.d("Loss_s", "z2"),
        _delta,
        reading="Loss is (5) with σ(z2) = ŷ, the softmax, summed over the two outputs"),
    Claim("7.minimised", "(7), read for the loss that is minimised",
        rf"{_D(_L, 'z_2')} = y - \hat y",
        lambda q: q.d("E", "z2"),
        _delta,
        reading=_MINIMISED),
    Claim("7.likelihood", "(7), read for the log-likelihood of the softmax",
        rf"{_D(_L, 'z_2')} = y - \hat y",
        lambda q: q.d("P", "z2"),
        _delta,
        reading=_SIGN_OF_5),
    Claim("7.since", "the line after (7)",
        r"\sigma(z_2) = \hat y",
        lambda q: q.yhat,
        lambda q: q.sigma,
        reading="σ is the sigmoid that (5) and (6) need, ŷ the softmax of (4)",
        correction=_two_class,
        correction_formula=r"\sigma(z_2 - \bar z_2),\ \bar z_2 \text{ the two entries exchanged}"),
    Claim("8.definition", "(8)",
        rf"{_D('z_2', 'w_2')} = {_D('(a_1 W_2 + b_2)', 'w_2')}",
        lambda q: q.d("z2", "W2"),
        lambda q: q.d(lambda m, p: p.a1 @ p.W2 + p.b2, "W2"),
        reading="w2 is W2"),
    Claim("8", "(8)",
        rf"{_D('z_2', 'w_2')} = a_1",
        lambda q: q.d("z2", "W2", "nj,ij->ni"),
        lambda q: q.a1,
        reading="∂z_nj/∂W_ij, which is the same for every j; w2 is W2"),
    Claim("9", "(9)",
        rf"{_D('z_2', 'b_2')} = 1",
        lambda q: q.d("z2", "b2", "nj,oj->oj"),
        lambda q: _ones(q, "b2"),
        reading="∂z_nj/∂b_j, entry by entry"),
    Claim("10.first", "(10), first line",
        rf"{_D('z_2', _TANH)} = {_D('(a_1 W_2 + b_2)', _TANH)}",
        lambda q: q.d("z2", "a1"),
        lambda q: q.d(lambda m, p: p.a1 @ p.W2 + p.b2, "a1"),
        reading="tanh(z1) is a1"),
    Claim("10.second", "(10), second line",
        rf"{_D('(a_1 W_2 + b_2)', _TANH)} = {_D(_AFFINE_TANH, _TANH)}",
        lambda q: q.d(lambda m, p: p.a1 @ p.W2 + p.b2, "a1"),
        lambda q: q.d("z2", "a1"),
        reading="tanh(z1) is a1"),
    Claim("10.third", "(10), third line",
        rf"{_D('z_2', _TANH)} = z_2",
        lambda q: q.d("z2", "a1", "nj,ni->ji"),
        lambda q: q.z2,
        reading="∂z_nj/∂a_ni in row j and column i", correction=lambda q: q.W2.T,
        correction_formula="W_2^T"),
    Claim("11", "(11)",
        rf"{_D(_TANH, 'z_1')} = 1 - \tanh^2(z_1)",
        lambda q: q.d("a1", "z1", "nj,nj->nj"),
        lambda q: 1 - q.m.tanh(q.z1) * q.m.tanh(q.z1),
        reading="entry by entry"),
    Claim("12.definition", "(12)",
        rf"{_D('z_1', 'W_1')} = {_D('(x W_1 + b_1)', 'W_1')}",
        lambda q: q.d("z1", "W1"),
        lambda q: q.d(lambda m, p: p.x @ p.W1 + p.b1, "W1")),
    Claim("12", "(12)",
        rf"{_D('z_1', 'W_1')} = x",
        lambda q: q.d("z1", "W1", "nj,ij->ni"),
        lambda q: q.x,
        reading="∂z_nj/∂W_ij, which is the same for every j"),
    Claim("13.definition", "(13)",
        rf"{_D('z_1', 'b_1')} = {_D('(x W_1 + b_1)', 'b_1')}",
        lambda q: q.d("z1", "b1"),
        lambda q: q.d(lambda m, p: p.x @ p.W1 + p.b1, "b1")),
    Claim("13", "(13)",
        rf"{_D('z_1', 'b_1')} = 1",
        lambda q: q.d("z1", "b1", "nj,oj->oj"),
        lambda q: _ones(q, "b1"),
        reading="∂z_nj/∂b_j, entry by entry"),
    Claim("14.chain", "(14), chain rule",
        rf"{_D(_L, 'W_2')} = {_D(_L, 'z_2')} * {_D('z_2', 'W_2')}",
        lambda q: q.d("E", "W2"),
        lambda q: q.chain("E", "z2", "W2"),
        reading=_CONTRACT),
    Claim("14", "(14), result",
        rf"{_D(_L, 'W_2')} = a_1^T (y-\hat y)",
        lambda q: q.d("E", "W2"),
        product(_F_A1T, "@", _F_DELTA),
        reading=_MINIMISED),
    Claim("14.likelihood", "(14), result, read for the log-likelihood",
        rf"{_D(_L, 'W_2')} = a_1^T (y-\hat y)",
        lambda q: q.d("P", "W2"),
        product(_F_A1T, "@", _F_DELTA),
        reading=_SIGN_OF_5),
    Claim("15.chain", "(15), chain rule",
        rf"{_D(_L, 'b_2')} = {_D(_L, 'z_2')} * {_D('z_2', 'b_2')}",
        lambda q: q.d("E", "b2"),
        lambda q: q.chain("E", "z2", "b2"),
        reading=_CONTRACT),
    Claim("15", "(15), result",
        rf"{_D(_L, 'b_2')} = (y-\hat y)",
        lambda q: q.d("E", "b2"),
        _delta,
        reading=_MINIMISED + "; one sample"),
    Claim("15.likelihood", "(15), result, read for the log-likelihood",
        rf"{_D(_L, 'b_2')} = (y-\hat y)",
        lambda q: q.d("P", "b2"),
        _delta,
        reading=_SIGN_OF_5 + "; one sample"),
    Claim("15.batch", "(15), result, read for a batch of rows",
        rf"{_D(_L, 'b_2')} = (y-\hat y)",
        lambda q: q.d("P", "b2"),
        _delta,
        reading=_SIGN_OF_5 + "; several samples", system=_BATCH),
    Claim("16.first", "(16), first line",
        rf"{_D(_L, 'W_1')} = {_D(_L, 'z_2')} * {_D('z_2', 'z_1')} * {_D('z_1', 'W_1')}",
        lambda q: q.d("E", "W1"),
        lambda q: q.chain("E", "z2", "z1", "W1"),
        reading=_CONTRACT),
    Claim("16.second", "(16), second line",
        rf"{_D(_L, 'W_1')} = {_D(_L, 'z_2')} * {_D('z_2', _TANH)} * {_D(_TANH, 'z_1')}"
        rf" * {_D('z_1', 'W_1')}",
        lambda q: q.d("E", "W1"),
        lambda q: q.chain("E", "z2", "a1", "z1", "W1"),
        reading=_CONTRACT),
    Claim("16.third", "(16), result",
        rf"{_D(_L, 'W_1')} = x^T (1-\tanh^2 Z_1)(y-\hat y) W_2^T",
        lambda q: q.d("E", "W1"),
        product(_F_XT, "@", _F_SLOPE, "@", _F_DELTA, "@", _F_W2T),
        reading=_MINIMISED + "; factors side by side are matrix products, Z1 is z1"),
    Claim("17.first", "(17), first line, its last factor",
        rf"{_D(_L, 'b_1')} = {_D(_L, 'z_2')} * {_D('z_2', 'z_1')} * {_D('z_1', 'W_1')}",
        lambda q: q.d("E", "b1"),
        lambda q: q.chain("E", "z2", "z1", "W1"),
        reading=_CONTRACT, correction=lambda q: q.chain("E", "z2", "z1", "b1"),
        correction_formula=rf"{_D(_L, 'z_2')} * {_D('z_2', 'z_1')} * {_D('z_1', 'b_1')}"),
    Claim("17.second", "(17), second line",
        rf"{_D(_L, 'b_1')} = {_D(_L, 'z_2')} * {_D('z_2', _TANH)} * {_D(_TANH, 'z_1')}"
        rf" * {_D('z_1', 'b_1')}",
        lambda q: q.d("E", "b1"),
        lambda q: q.chain("E", "z2", "a1", "z1", "b1"),
        reading=_CONTRACT),
    Claim("17.third", "(17), result",
        rf"{_D(_L, 'b_1')} = (1-\tanh^2 Z_1)(y-\hat y) W_2^T",
        lambda q: q.d("E", "b1"),
        product(_F_SLOPE, "@", _F_DELTA, "@", _F_W2T),
        reading=_MINIMISED + "; factors side by side are matrix products, Z1 is z1; one sample"),
)  # fmt: skip
