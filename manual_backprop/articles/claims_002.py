"""The claims of article 002, in the order of the text."""

import numpy as np

from manual_backprop.articles.claim import Claim, Evaluation
from manual_backprop.articles.system import Arithmetic, Draw, Quantities, System
from manual_backprop.operation import ByName


def _gears(d: Draw) -> ByName:
    return {"r1": np.float64(1), "r2": np.float64(2), "r3": np.float64(6), "pi": np.float64(np.pi)}


def _turn(m: Arithmetic, q: Quantities) -> None:
    """Gears that mesh cover the same distance: turns are inverse to radii."""
    q.distance = 2 * q.pi * q.r3
    q.turns2 = q.distance / (2 * q.pi * q.r2)
    q.turns1 = q.distance / (2 * q.pi * q.r1)


GEARS = System(
    "three gears", _gears, _turn, loss="turns1", latex={"turns1": "n_1", "turns2": "n_2"}
)

_BCE = r"-[y \log \hat y + (1-y)\log(1-\hat y)]"
_DLDY = r"\frac{\partial \mathcal L}{\partial \hat y}"
_DLDZ = r"\frac{\partial \mathcal L}{\partial z_1^{(2)}}"
_DYDZ = r"\frac{\partial \hat y}{\partial z_1^{(2)}}"
_DLDW2 = r"\frac{\partial \mathcal L}{\partial w_{11}^{(2)}}"
_DLDA = r"\frac{\partial \mathcal L}{\partial a_1^{(1)}}"
_DLDZ1 = r"\frac{\partial \mathcal L}{\partial z_1^{(1)}}"
_DADZ1 = r"\frac{\partial a_1^{(1)}}{\partial z_1^{(1)}}"
_DLDW1 = r"\frac{\partial \mathcal L}{\partial w_{11}^{(1)}}"
_DZ1DW1 = r"\frac{\partial z_1^{(1)}}{\partial w_{11}^{(1)}}"
_HIDDEN = r"(\hat y - y)\, w_{11}^{(2)}\, \mathrm{ReLU}'(z_1^{(1)})"


def _sigma(q: Evaluation) -> np.ndarray:
    sigma: np.ndarray = 1 / (1 + q.m.exp(-q.z1_2))
    return sigma


def _hidden(q: Evaluation) -> object:
    return (q.yhat - q.y) * q.w11_2 * q.slope("relu", q.z1_1)


def _dldy(q: Evaluation) -> object:
    return (q.yhat - q.y) / (q.yhat * (1 - q.yhat))


CLAIMS = (
    Claim("gear.1", "gears: distance of the largest gear in one turn",
        r"2\pi r_3 = 2 \cdot \pi \cdot 6",
        lambda q: q.distance,
        lambda q: 2 * q.pi * 6,
        system=GEARS),
    Claim("gear.2", "gears: distance of the largest gear in one turn",
        r"2 \cdot \pi \cdot 6 = 12\pi",
        lambda q: 2 * q.pi * 6,
        lambda q: 12 * q.pi,
        system=GEARS),
    Claim("gear.3", "gears: turns of the middle gear",
        r"\frac{12\pi}{2\pi r_2} = \frac{12\pi}{2 \cdot \pi \cdot 2}",
        lambda q: q.turns2,
        lambda q: 12 * q.pi / (2 * q.pi * 2),
        system=GEARS),
    Claim("gear.4", "gears: turns of the middle gear",
        r"\frac{12\pi}{2 \cdot \pi \cdot 2} = 3",
        lambda q: 12 * q.pi / (2 * q.pi * 2),
        lambda q: 3,
        system=GEARS),
    Claim("gear.5", "gears: the smallest gear turns 6 times for one turn of the largest",
        r"\frac{r_3}{r_1} = 6",
        lambda q: q.turns1,
        lambda q: 6,
        system=GEARS),
    Claim("gear.6",
        "gears: the rate from the right end to the left is the product of the adjacent rates",
        r"\frac{r_3}{r_1} = \frac{r_3}{r_2} \cdot \frac{r_2}{r_1}",
        lambda q: q.turns1,
        lambda q: (q.r3 / q.r2) * (q.r2 / q.r1),
        system=GEARS),
    Claim("forward.1", "forward pass, layer 1",
        r"z_1^{(1)} = w_{11}^{(1)} x_1 + w_{12}^{(1)} x_2",
        lambda q: q.z1_1,
        lambda q: q.w11_1 * q.x1 + q.w12_1 * q.x2),
    Claim("forward.2", "forward pass, layer 1",
        r"z_2^{(1)} = w_{21}^{(1)} x_1 + w_{22}^{(1)} x_2",
        lambda q: q.z2_1,
        lambda q: q.w21_1 * q.x1 + q.w22_1 * q.x2),
    Claim("forward.3", "forward pass, layer 1",
        r"a_1^{(1)} = \mathrm{ReLU}(z_1^{(1)})",
        lambda q: q.a1_1,
        lambda q: q.m.relu(q.z1_1)),
    Claim("forward.4", "forward pass, layer 1",
        r"a_2^{(1)} = \mathrm{ReLU}(z_2^{(1)})",
        lambda q: q.a2_1,
        lambda q: q.m.relu(q.z2_1)),
    Claim("forward.5", "forward pass, layer 2",
        r"z_1^{(2)} = w_{11}^{(2)} a_1^{(1)} + w_{12}^{(2)} a_2^{(1)}",
        lambda q: q.z1_2,
        lambda q: q.w11_2 * q.a1_1 + q.w12_2 * q.a2_1),
    Claim("forward.6", "forward pass, layer 2, stated twice",
        r"\hat y = a_1^{(2)} = \sigma(z_1^{(2)})",
        lambda q: q.yhat,
        _sigma),
    Claim("loss.1", "the loss is the binary cross-entropy",
        rf"\mathcal L = {_BCE}",
        lambda q: q.L,
        lambda q: -(q.y * q.m.log(q.yhat) + (1 - q.y) * q.m.log(1 - q.yhat))),
    Claim("yhat.1", "derivative by the output, first line",
        rf"{_DLDY} = -\left[\frac{{y}}{{\hat y}} - \frac{{1-y}}{{1-\hat y}}\right]",
        lambda q: q.d("L", "yhat"),
        lambda q: -(q.y / q.yhat - (1 - q.y) / (1 - q.yhat))),
    Claim("yhat.2", "derivative by the output, second line",
        r"-\left[\frac{y}{\hat y} - \frac{1-y}{1-\hat y}\right]"
        r" = -\frac{y - y\hat y - \hat y + y\hat y}{\hat y(1-\hat y)}",
        lambda q: -(q.y / q.yhat - (1 - q.y) / (1 - q.yhat)),
        lambda q: -(q.y - q.y * q.yhat - q.yhat + q.y * q.yhat) / (q.yhat * (1 - q.yhat))),
    Claim("yhat.3", "derivative by the output, result",
        rf"{_DLDY} = \frac{{\hat y - y}}{{\hat y(1-\hat y)}}",
        lambda q: q.d("L", "yhat"),
        _dldy),
    Claim("z2.1", "derivative by z of layer 2, chain rule",
        rf"{_DLDZ} = {_DLDY} {_DYDZ}",
        lambda q: q.d("L", "z1_2"),
        lambda q: q.chain("L", "yhat", "z1_2")),
    Claim("z2.2", "derivative by z of layer 2",
        rf"{_DYDZ} = \frac{{\partial \sigma(z_1^{{(2)}})}}{{\partial z_1^{{(2)}}}}",
        lambda q: q.d("yhat", "z1_2"),
        lambda q: q.d(lambda m, p: 1 / (1 + m.exp(-p.z1_2)), "z1_2")),
    Claim("z2.3", "slope of the sigmoid",
        r"\frac{\partial \sigma(z)}{\partial z} = \sigma(z)(1-\sigma(z))",
        lambda q: q.d(lambda m, p: 1 / (1 + m.exp(-p.z1_2)), "z1_2"),
        lambda q: _sigma(q) * (1 - _sigma(q)),
        reading="at z = z_1^(2)"),
    Claim("z2.4", "derivative by z of layer 2",
        rf"{_DYDZ} = \hat y(1-\hat y)",
        lambda q: q.d("yhat", "z1_2"),
        lambda q: q.yhat * (1 - q.yhat)),
    Claim("z2.5", "derivative by z of layer 2, the product before cancelling",
        rf"{_DLDZ} = \frac{{\hat y - y}}{{\hat y(1-\hat y)}}\, \hat y(1-\hat y)",
        lambda q: q.d("L", "z1_2"),
        lambda q: _dldy(q) * (q.yhat * (1 - q.yhat))),
    Claim("z2.6", "derivative by z of layer 2, result",
        rf"{_DLDZ} = \hat y - y",
        lambda q: q.d("L", "z1_2"),
        lambda q: q.yhat - q.y),
    Claim("w2.1", "derivative by w_11 of layer 2, chain rule",
        rf"{_DLDW2} = {_DLDZ} \frac{{\partial z_1^{{(2)}}}}{{\partial w_{{11}}^{{(2)}}}}",
        lambda q: q.d("L", "w11_2"),
        lambda q: q.chain("L", "z1_2", "w11_2")),
    Claim("w2.2", "derivative by w_11 of layer 2, its second factor",
        r"\frac{\partial z_1^{(2)}}{\partial w_{11}^{(2)}} = a_1^{(1)}",
        lambda q: q.d("z1_2", "w11_2"),
        lambda q: q.a1_1),
    Claim("w2.3", "derivative by a_1 of layer 1, its second factor",
        r"\frac{\partial z_1^{(2)}}{\partial a_1^{(1)}} = w_{11}^{(2)}",
        lambda q: q.d("z1_2", "a1_1"),
        lambda q: q.w11_2),
    Claim("w2.4", "derivative by w_11 of layer 2, result",
        rf"{_DLDW2} = (\hat y - y)\, a_1^{{(1)}}",
        lambda q: q.d("L", "w11_2"),
        lambda q: (q.yhat - q.y) * q.a1_1),
    Claim("a1.1", "derivative by a_1 of layer 1, chain rule",
        rf"{_DLDA} = {_DLDZ} \frac{{\partial z_1^{{(2)}}}}{{\partial a_1^{{(1)}}}}",
        lambda q: q.d("L", "a1_1"),
        lambda q: q.chain("L", "z1_2", "a1_1")),
    Claim("a1.2", "derivative by a_1 of layer 1, result",
        rf"{_DLDA} = (\hat y - y)\, w_{{11}}^{{(2)}}",
        lambda q: q.d("L", "a1_1"),
        lambda q: (q.yhat - q.y) * q.w11_2),
    Claim("z1.1", "derivative by z_1 of layer 1, chain rule",
        rf"{_DLDZ1} = {_DLDA} {_DADZ1}",
        lambda q: q.d("L", "z1_1"),
        lambda q: q.chain("L", "a1_1", "z1_1")),
    Claim("z1.2", "derivative by z_1 of layer 1, its second factor",
        rf"{_DADZ1} = \frac{{\partial\, \mathrm{{ReLU}}(z_1^{{(1)}})}}{{\partial z_1^{{(1)}}}}",
        lambda q: q.d("a1_1", "z1_1"),
        lambda q: q.d(lambda m, p: m.relu(p.z1_1), "z1_1")),
    Claim("z1.3", "derivative by z_1 of layer 1, its second factor",
        rf"{_DADZ1} = \mathrm{{ReLU}}'(z_1^{{(1)}})",
        lambda q: q.d("a1_1", "z1_1"),
        lambda q: q.slope("relu", q.z1_1)),
    Claim("z1.4", "derivative by z_1 of layer 1, result",
        rf"{_DLDZ1} = {_HIDDEN}",
        lambda q: q.d("L", "z1_1"),
        _hidden),
    Claim("w1.1", "derivative by w_11 of layer 1, chain rule",
        rf"{_DLDW1} = {_DLDZ1} {_DZ1DW1}",
        lambda q: q.d("L", "w11_1"),
        lambda q: q.chain("L", "z1_1", "w11_1")),
    Claim("w1.2", "derivative by w_11 of layer 1, what is known so far",
        rf"{_DLDZ} = {_HIDDEN}",
        lambda q: q.d("L", "z1_2"),
        _hidden,
        reading="the label says layer 2, as printed"),
    Claim("w1.3", "derivative by w_11 of layer 1, its second factor",
        rf"{_DZ1DW1} = x_1",
        lambda q: q.d("z1_1", "w11_1"),
        lambda q: q.x1),
    Claim("w1.4", "derivative by w_11 of layer 1, result",
        rf"{_DLDW1} = {_HIDDEN}\, x_1",
        lambda q: q.d("L", "w11_1"),
        lambda q: _hidden(q) * q.x1),
)  # fmt: skip
