"""Parts that the recurrent cells share: their gates, the tangents of these, and rows."""

from collections.abc import Sequence

import numpy as np

from manual_backprop.activations.sigmoid import Sigmoid, Tanh
from manual_backprop.arithmetic import IntArray, N, RandomSource
from manual_backprop.operation import FloatArray, Sample


def of_gates(
    x: FloatArray,
    h: FloatArray,
    weight_x: FloatArray,
    weight_h: FloatArray,
    for_x: FloatArray,
    for_h: FloatArray,
) -> dict[str, FloatArray]:
    """Return the cotangents of two dense layers, of x and of h, from those of their values."""
    return {
        "x": for_x @ weight_x,
        "h": for_h @ weight_h,
        "weight_x": for_x.T @ x,
        "weight_h": for_h.T @ h,
        "bias_x": for_x.sum(axis=0),
        "bias_h": for_h.sum(axis=0),
    }


def three_gates(
    x: FloatArray,
    h: FloatArray,
    weight_x: FloatArray,
    weight_h: FloatArray,
    bias_x: FloatArray,
    bias_h: FloatArray,
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return x Wᵀ + b and h Uᵀ + c for each of three gates."""
    of_x, of_h = x @ weight_x.T + bias_x, h @ weight_h.T + bias_h
    return np.split(of_x, 3, axis=1), np.split(of_h, 3, axis=1)


def four_gates(
    x: FloatArray,
    state: FloatArray,
    weight_x: FloatArray,
    weight_h: FloatArray,
    bias_x: FloatArray,
    bias_h: FloatArray,
) -> tuple[list[FloatArray], tuple[FloatArray, FloatArray, FloatArray, FloatArray]]:
    """Return the pre-activations a of the four gates, and the gates i, f, g, o."""
    a = np.split(x @ weight_x.T + state[0] @ weight_h.T + (bias_x + bias_h), 4, axis=1)
    i, f, o = (Sigmoid.forward(a[k]) for k in (0, 1, 3))
    return a, (i, f, np.tanh(a[2]), o)


def gates_definition(
    x: Sequence[N],
    h: Sequence[N],
    weight_x: Sequence[Sequence[N]],
    weight_h: Sequence[Sequence[N]],
    bias_x: Sequence[N | float],
    bias_h: Sequence[N | float],
) -> list[N | float]:
    """Return the pre-activation a of each gate of one unit."""
    return [
        sum(w * a for w, a in zip(row_x, x, strict=True))
        + sum(u * a for u, a in zip(row_h, h, strict=True))
        + b
        + c
        for row_x, row_h, b, c in zip(weight_x, weight_h, bias_x, bias_h, strict=True)
    ]


def unit_inputs(
    x: FloatArray, h: FloatArray, weight_x: FloatArray, weight_h: FloatArray
) -> dict[str, IntArray]:
    """Return the rows, one for each unit of each sample: x, h, the weights of its G gates."""
    sample, unit = np.divmod(np.arange(h.size), h.shape[1])
    gates = len(weight_x) // h.shape[1]
    gate = np.arange(gates) * h.shape[1] + unit[:, None]
    return {
        "x": np.arange(x.size).reshape(x.shape)[sample],
        "h": np.arange(h.size).reshape(h.shape)[sample],
        "weight_x": np.arange(weight_x.size).reshape(weight_x.shape)[gate],
        "weight_h": np.arange(weight_h.size).reshape(weight_h.shape)[gate],
        "bias_x": gate,
        "bias_h": gate,
    }


def sample_of_cell(draw: RandomSource, shape: tuple[int, ...] | None, gates: int) -> Sample:
    """Return 1 to 4 inputs and units."""
    n, d = shape or (1 + draw.below(3), 1 + draw.below(4))
    units = 1 + draw.below(4)
    return Sample(
        {
            "x": (n, d),
            "h": (n, units),
            "weight_x": (gates * units, d),
            "weight_h": (gates * units, units),
            "bias_x": (gates * units,),
            "bias_h": (gates * units,),
        }
    )


def gate_tangents(
    given: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    tangents: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    tbias_x: FloatArray,
    tbias_h: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the tangents of x Wᵀ + b and of h Uᵀ + c; `given` are x, h and their weights."""
    (x, h, weight_x, weight_h), (tx, th, tweight_x, tweight_h) = given, tangents
    of_x = tx @ weight_x.T + x @ tweight_x.T + tbias_x
    of_h = th @ weight_h.T + h @ tweight_h.T + tbias_h
    return of_x, of_h


def gate_products(
    given: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    tangents: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    cotangents: tuple[FloatArray, FloatArray],
    products: tuple[FloatArray, FloatArray],
) -> dict[str, FloatArray]:
    """Return the directional derivatives of the result of `of_gates`, by the product rule.

    `cotangents` are those of x Wᵀ + b and of h Uᵀ + c, `products` their directional derivatives.
    Both factors of da W, da U, daᵀ x and daᵀ h have a tangent; the products of the biases are sums
    of tda.
    """
    (for_x, for_h), (tx, th, tweight_x, tweight_h) = cotangents, tangents
    found = of_gates(*given, *products)
    second = {
        "x": for_x @ tweight_x,
        "h": for_h @ tweight_h,
        "weight_x": for_x.T @ tx,
        "weight_h": for_h.T @ th,
    }
    return found | {name: found[name] + part for name, part in second.items()}


class GruTangents:
    """The parts of one step of a GRU, and their tangents: `tz` is that of z."""

    def __init__(self, given: tuple[FloatArray, ...], tangents: tuple[FloatArray, ...]) -> None:
        of_x, self.of_h = three_gates(*given)
        tof_x, tof_h = gate_tangents(given[:4], tangents[:4], *tangents[4:])  # type: ignore[arg-type]
        tx_gates, self.tof_h = np.split(tof_x, 3, axis=1), np.split(tof_h, 3, axis=1)
        self.reset, self.update = of_x[0] + self.of_h[0], of_x[1] + self.of_h[1]
        self.treset, self.tupdate = (tx_gates[k] + self.tof_h[k] for k in range(2))
        self.r, self.z = Sigmoid.forward(self.reset), Sigmoid.forward(self.update)
        self.closed = Sigmoid.forward(-self.update)
        self.tr = Sigmoid.backward(self.reset, self.r, self.treset)
        self.tz = Sigmoid.backward(self.update, self.z, self.tupdate)
        self.t = of_x[2] + self.r * self.of_h[2]
        self.tt = tx_gates[2] + self.tr * self.of_h[2] + self.r * self.tof_h[2]
        self.n: FloatArray = np.tanh(self.t)
        self.tn = Tanh.backward(self.t, self.n, self.tt)


SQUASHED: tuple[type[Sigmoid] | type[Tanh], ...] = (Sigmoid, Sigmoid, Tanh, Sigmoid)
"""The activations of the gates i, f, g and o of an LSTM."""


class LstmTangents:
    """The parts of one step of an LSTM, and their tangents: `tc` is that of c'."""

    def __init__(self, given: tuple[FloatArray, ...], tangents: tuple[FloatArray, ...]) -> None:
        x, state, weight_x, weight_h = given[:4]
        tx, tstate, tweight_x, tweight_h = tangents[:4]
        self.a, self.gates = four_gates(*given)
        of_x, of_h = gate_tangents(
            (x, state[0], weight_x, weight_h), (tx, tstate[0], tweight_x, tweight_h), *tangents[4:]
        )
        self.ta = np.split(of_x + of_h, 4, axis=1)
        parts = zip(SQUASHED, self.a, self.gates, self.ta, strict=True)
        self.tgates = [squash.backward(a, gate, ta) for squash, a, gate, ta in parts]
        (i, f, g, _), (ti, tf, tg, _) = self.gates, self.tgates
        self.c = f * state[1] + i * g
        self.tc = tf * state[1] + f * tstate[1] + ti * g + i * tg
        self.out: FloatArray = np.tanh(self.c)
        self.tout = Tanh.backward(self.c, self.out, self.tc)
