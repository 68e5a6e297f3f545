"""Recurrent cells: one step through time. Several steps are several steps of a graph.

Shapes: x (N, D), h (N, H); the weights of G gates (G H, D) and (G H, H), as PyTorch keeps them,
their biases (G H,). Each gate's a = W x + U h + b + c is a dense layer of x and of h, so with da
known dx = da W, dh = da U, dW = daᵀ x, dU = daᵀ h, and both biases get da summed over the batch.
Where a sequence uses the same weights at every step, the graph adds their cotangents up.
"""

from typing import Any

import numpy as np

from manual_backprop.activations.piecewise import Relu
from manual_backprop.activations.sigmoid import Sigmoid, Tanh, logistic
from manual_backprop.layers.elementwise import composed_sigmoid
from manual_backprop.spec import COMPOSED, FloatArray, Rows, Sample, layer


@layer(
    structure="rows",
    trainable=("weight_x", "weight_h", "bias_x", "bias_h"),
    torch="torch.rnn_tanh_cell",
    jax=COMPOSED,
)
class RnnTanhCell:
    """h' = tanh(a) with a = W x + U h + b + c.

    From h' = tanh(a), da = dh'/cosh² a, and the rest is that of a dense layer:

        dx = da W,   dh = da U,   dW = daᵀ x,   dU = daᵀ h,   db = dc = Σ_n da_n

    1/cosh² a keeps its digits where 1 - h'² has none. Elman, 1990.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> FloatArray:
        """Return h', shape (N, H)."""
        y: FloatArray = Tanh.forward(x @ weight_x.T + h @ weight_h.T + (bias_x + bias_h))
        return y

    @staticmethod
    def backward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        y: FloatArray,
        dy: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of all six."""
        a = x @ weight_x.T + h @ weight_h.T + (bias_x + bias_h)
        da = Tanh.backward(a, y, dy)
        return _of_gates(x, h, weight_x, weight_h, da, da)

    @staticmethod
    def definition(
        m: Any, x: Any, h: Any, weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
    ) -> list[Any]:
        """Return one unit of h'."""
        (a,) = _gates_definition(x, h, weight_x, weight_h, bias_x, bias_h)
        return [m.tanh(a)]

    @staticmethod
    def rows(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> Rows:
        """Return a row for each unit of each sample: x, h, the unit's weights and biases."""
        own = np.arange(h.size)[:, None]
        return Rows(_unit_inputs(x, h, weight_x, weight_h), own)

    @staticmethod
    def sample(draw: Any, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 inputs and units."""
        return _sample(draw, shape, 1)

    @staticmethod
    def composition(
        xp: Any, x: Any, h: Any, weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
    ) -> Any:
        """Return the same by the framework's own primitives."""
        return xp.tanh(x @ weight_x.T + bias_x + h @ weight_h.T + bias_h)


@layer(
    structure="rows",
    trainable=("weight_x", "weight_h", "bias_x", "bias_h"),
    torch="torch.rnn_relu_cell",
    jax=COMPOSED,
)
class RnnReluCell:
    """h' = max(a, 0) with a = W x + U h + b + c.

    As RnnTanhCell with another slope: da = dh' where a > 0, else 0, and

        dx = da W,   dh = da U,   dW = daᵀ x,   dU = daᵀ h,   db = dc = Σ_n da_n

    Le, Jaitly and Hinton, 2015.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> FloatArray:
        """Return h', shape (N, H)."""
        y: FloatArray = Relu.forward(x @ weight_x.T + h @ weight_h.T + (bias_x + bias_h))
        return y

    @staticmethod
    def backward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        y: FloatArray,
        dy: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of all six; y > 0 just where a > 0."""
        da = Relu.backward(y, y, dy)
        return _of_gates(x, h, weight_x, weight_h, da, da)

    @staticmethod
    def definition(
        m: Any, x: Any, h: Any, weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
    ) -> list[Any]:
        """Return one unit of h'."""
        (a,) = _gates_definition(x, h, weight_x, weight_h, bias_x, bias_h)
        return [m.max(a, m.number(0))]

    rows = RnnTanhCell.rows
    sample = RnnTanhCell.sample

    @staticmethod
    def composition(
        xp: Any, x: Any, h: Any, weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
    ) -> Any:
        """Return the same by the framework's own primitives."""
        return xp.clip(x @ weight_x.T + bias_x + h @ weight_h.T + bias_h, 0.0, None)


@layer(
    structure="rows",
    trainable=("weight_x", "weight_h", "bias_x", "bias_h"),
    torch="torch.gru_cell",
    jax=COMPOSED,
)
class GruCell:
    """h' = (1 - z) n + z h with three gates of H units each, in the order r, z, n.

    r = σ(a_r), z = σ(a_z), and n = tanh(a + r a') where a = W_n x + b_n, a' = U_n h + c_n: the
    reset gate r decides how much of h goes into n. Backwards, with dh' given and t = a + r a':

        dn = dh' (1 - z),   dz = dh' (h - n),   dt = dn/cosh² t
        dr = dt a',   da_r = dr r (1 - r),   da_z = dz z (1 - z)

    t is a of x whole and a' of h times r, so the gates' cotangents are (da_r, da_z, dt) for what
    meets x and (da_r, da_z, dt r) for what meets h. h goes in directly too, which gives

        dh = dh' z + (da_r, da_z, dt r) U

    1 - z is computed as σ(-a_z), which keeps its digits. Cho et al., 2014.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> FloatArray:
        """Return h', shape (N, H)."""
        of_x, of_h = _three_gates(x, h, weight_x, weight_h, bias_x, bias_h)
        n = np.tanh(of_x[2] + Sigmoid.forward(of_x[0] + of_h[0]) * of_h[2])
        update = of_x[1] + of_h[1]
        y: FloatArray = Sigmoid.forward(-update) * n + Sigmoid.forward(update) * h
        return y

    @staticmethod
    def backward(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        dy: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of all six."""
        of_x, of_h = _three_gates(x, h, weight_x, weight_h, bias_x, bias_h)
        reset, update = of_x[0] + of_h[0], of_x[1] + of_h[1]
        r, z = Sigmoid.forward(reset), Sigmoid.forward(update)
        t = of_x[2] + r * of_h[2]
        n = np.tanh(t)
        dt = Tanh.backward(t, n, dy * Sigmoid.forward(-update))
        dreset = Sigmoid.backward(reset, r, dt * of_h[2])
        dupdate = Sigmoid.backward(update, z, dy * (h - n))
        for_x = np.concatenate([dreset, dupdate, dt], axis=1)
        for_h = np.concatenate([dreset, dupdate, dt * r], axis=1)
        found = _of_gates(x, h, weight_x, weight_h, for_x, for_h)
        return {**found, "h": found["h"] + dy * z}

    @staticmethod
    def definition(
        m: Any, x: Any, h: Any, weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
    ) -> list[Any]:
        """Return one unit of h'; its own h is the first."""
        none = [0, 0, 0]
        of_x = _gates_definition(x, [], weight_x, [[], [], []], bias_x, none)
        of_h = _gates_definition([], h, [[], [], []], weight_h, none, bias_h)
        n = m.tanh(of_x[2] + logistic(m, of_x[0] + of_h[0]) * of_h[2])
        update = of_x[1] + of_h[1]
        return [logistic(m, -update) * n + logistic(m, update) * h[0]]

    @staticmethod
    def rows(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> Rows:
        """Return a row for each unit of each sample, the units of h counted from its own."""
        inputs = _unit_inputs(x, h, weight_x, weight_h)
        units = h.shape[1]
        own = np.arange(h.size) % units
        order = (own[:, None] + np.arange(units)) % units
        inputs["h"] = np.take_along_axis(inputs["h"], order, axis=1)
        inputs["weight_h"] = np.take_along_axis(inputs["weight_h"], order[:, None], axis=2)
        return Rows(inputs, np.arange(h.size)[:, None])

    @staticmethod
    def sample(draw: Any, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 inputs and units."""
        return _sample(draw, shape, 3)

    @staticmethod
    def composition(
        xp: Any, x: Any, h: Any, weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
    ) -> Any:
        """Return the same by the framework's own primitives."""
        size = h.shape[1]
        of_x, of_h = x @ weight_x.T + bias_x, h @ weight_h.T + bias_h
        r = composed_sigmoid(xp, of_x[:, :size] + of_h[:, :size])
        update = of_x[:, size : 2 * size] + of_h[:, size : 2 * size]
        n = xp.tanh(of_x[:, 2 * size :] + r * of_h[:, 2 * size :])
        return composed_sigmoid(xp, -update) * n + composed_sigmoid(xp, update) * h


@layer(
    structure="rows",
    takes="nothing",  # its value is a state, no features
    trainable=("weight_x", "weight_h", "bias_x", "bias_h"),
    torch="torch.lstm_cell",
    jax=COMPOSED,
)
class LstmCell:
    """c' = f c + i g and h' = o tanh(c'), the state being h and c, one after the other.

    Four gates in the order i, f, g, o: i = σ(a_i), f = σ(a_f), g = tanh(a_g), o = σ(a_o). c' goes
    into the next state and into h', so its whole cotangent is

        dc = dc' + dh' o/cosh² c'

    and from the two lines above

        do = dh' tanh(c'),   df = dc c,   di = dc g,   dg = dc i
        da = d(gate) times its slope: s (1 - s) for i, f and o; 1/cosh² a_g for g
        the state before: dc f for c, and da U for h

    Shapes: state and y (2, N, H). Hochreiter and Schmidhuber, 1997; Gers et al., 1999.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        state: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> FloatArray:
        """Return h' and c', stacked: shape (2, N, H)."""
        _, (i, f, g, o) = _four_gates(x, state, weight_x, weight_h, bias_x, bias_h)
        c = f * state[1] + i * g
        return np.stack([o * np.tanh(c), c])

    @staticmethod
    def backward(
        x: FloatArray,
        state: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        y: FloatArray,
        dy: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of all six."""
        a, (i, f, g, o) = _four_gates(x, state, weight_x, weight_h, bias_x, bias_h)
        c = np.tanh(y[1])
        dc = dy[1] + Tanh.backward(y[1], c, dy[0] * o)
        di = Sigmoid.backward(a[0], i, dc * g)
        df = Sigmoid.backward(a[1], f, dc * state[1])
        dg = Tanh.backward(a[2], g, dc * i)
        do = Sigmoid.backward(a[3], o, dy[0] * c)
        da = np.concatenate([di, df, dg, do], axis=1)
        found = _of_gates(x, state[0], weight_x, weight_h, da, da)
        state_before = np.stack([found.pop("h"), dc * f])
        return {**found, "state": state_before}

    @staticmethod
    def definition(
        m: Any, x: Any, state: Any, weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
    ) -> list[Any]:
        """Return h' and c' of one unit; its own c is the last of the state."""
        h, c = state[:-1], state[-1]
        i, f, g, o = _gates_definition(x, h, weight_x, weight_h, bias_x, bias_h)
        c = logistic(m, f) * c + logistic(m, i) * m.tanh(g)
        return [logistic(m, o) * m.tanh(c), c]

    @staticmethod
    def rows(
        x: FloatArray,
        state: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
    ) -> Rows:
        """Return a row for each unit of each sample: x, h and the unit's c, its weights."""
        inputs = _unit_inputs(x, state[0], weight_x, weight_h)
        own = np.arange(state[0].size)[:, None]
        inputs["state"] = np.concatenate([inputs.pop("h"), own + len(own)], axis=1)
        return Rows(inputs, np.concatenate([own, own + len(own)], axis=1))

    @staticmethod
    def sample(draw: Any, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 inputs and units."""
        shapes = dict(_sample(draw, shape, 4).shapes)
        return Sample({"x": shapes.pop("x"), "state": (2, *shapes.pop("h")), **shapes})

    @staticmethod
    def with_torch(f: Any, x: Any, state: Any, *weights: Any) -> Any:
        """Call torch's function, which takes and returns a pair."""
        return f(x, (state[0], state[1]), *weights)

    @staticmethod
    def composition(
        xp: Any, x: Any, state: Any, weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
    ) -> Any:
        """Return the same by the framework's own primitives."""
        h, c = state[0], state[1]
        a = x @ weight_x.T + bias_x + h @ weight_h.T + bias_h
        size = h.shape[1]
        i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
        c = composed_sigmoid(xp, f) * c + composed_sigmoid(xp, i) * xp.tanh(g)
        return xp.stack([composed_sigmoid(xp, o) * xp.tanh(c), c])


def _of_gates(
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


def _three_gates(
    x: FloatArray,
    h: FloatArray,
    weight_x: FloatArray,
    weight_h: FloatArray,
    bias_x: FloatArray,
    bias_h: FloatArray,
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return what x and what h give to each of three gates."""
    of_x, of_h = x @ weight_x.T + bias_x, h @ weight_h.T + bias_h
    return np.split(of_x, 3, axis=1), np.split(of_h, 3, axis=1)


def _four_gates(
    x: FloatArray,
    state: FloatArray,
    weight_x: FloatArray,
    weight_h: FloatArray,
    bias_x: FloatArray,
    bias_h: FloatArray,
) -> tuple[list[FloatArray], tuple[FloatArray, FloatArray, FloatArray, FloatArray]]:
    """Return a and the gates i, f, g, o."""
    a = np.split(x @ weight_x.T + state[0] @ weight_h.T + (bias_x + bias_h), 4, axis=1)
    i, f, o = (Sigmoid.forward(a[k]) for k in (0, 1, 3))
    return a, (i, f, np.tanh(a[2]), o)


def _gates_definition(
    x: list[Any], h: list[Any], weight_x: Any, weight_h: Any, bias_x: Any, bias_h: Any
) -> list[Any]:
    """Return a of each gate of one unit."""
    return [
        sum(w * a for w, a in zip(row_x, x, strict=True))
        + sum(u * a for u, a in zip(row_h, h, strict=True))
        + b
        + c
        for row_x, row_h, b, c in zip(weight_x, weight_h, bias_x, bias_h, strict=True)
    ]


def _unit_inputs(
    x: FloatArray, h: FloatArray, weight_x: FloatArray, weight_h: FloatArray
) -> dict[str, Any]:
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


def _sample(draw: Any, shape: tuple[int, ...] | None, gates: int) -> Sample:
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
