"""Recurrent cells with gates: GRU and LSTM. Shapes as in `cells`."""

import numpy as np

from manual_backprop.activations.sigmoid import Sigmoid, Tanh, logistic
from manual_backprop.arithmetic import Backend, Function, Math, N, RandomSource, Tensor
from manual_backprop.layers.elementwise import composed_sigmoid
from manual_backprop.layers.gates import (
    SQUASHED,
    GruTangents,
    LstmTangents,
    four_gates,
    gate_products,
    gates_definition,
    of_gates,
    sample_of_cell,
    three_gates,
    unit_inputs,
)
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer


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
        of_x, of_h = three_gates(x, h, weight_x, weight_h, bias_x, bias_h)
        n = np.tanh(of_x[2] + Sigmoid.forward(of_x[0] + of_h[0]) * of_h[2])
        update = of_x[1] + of_h[1]
        return Sigmoid.forward(-update) * n + Sigmoid.forward(update) * h

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
        of_x, of_h = three_gates(x, h, weight_x, weight_h, bias_x, bias_h)
        reset, update = of_x[0] + of_h[0], of_x[1] + of_h[1]
        r, z = Sigmoid.forward(reset), Sigmoid.forward(update)
        t = of_x[2] + r * of_h[2]
        n = np.tanh(t)
        dt = Tanh.backward(t, n, dy * Sigmoid.forward(-update))
        dreset = Sigmoid.backward(reset, r, dt * of_h[2])
        dupdate = Sigmoid.backward(update, z, dy * (h - n))
        for_x = np.concatenate([dreset, dupdate, dt], axis=1)
        for_h = np.concatenate([dreset, dupdate, dt * r], axis=1)
        found = of_gates(x, h, weight_x, weight_h, for_x, for_h)
        return {**found, "h": found["h"] + dy * z}

    @staticmethod
    def tangent(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        tx: FloatArray,
        th: FloatArray,
        tweight_x: FloatArray,
        tweight_h: FloatArray,
        tbias_x: FloatArray,
        tbias_h: FloatArray,
    ) -> FloatArray:
        """Return tz (h - n) + z th + (1 - z) tn: the product rule of both terms of h'."""
        m = GruTangents(
            (x, h, weight_x, weight_h, bias_x, bias_h),
            (tx, th, tweight_x, tweight_h, tbias_x, tbias_h),
        )
        return m.tz * (h - m.n) + m.z * th + m.closed * m.tn

    @staticmethod
    def second(
        x: FloatArray,
        h: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        dy: FloatArray,
        tx: FloatArray,
        th: FloatArray,
        tweight_x: FloatArray,
        tweight_h: FloatArray,
        tbias_x: FloatArray,
        tbias_h: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the products of the cotangents, in the order in which `backward` computes them.

        With t = a + r a': dt = dh' (1 - z)/cosh² t depends on z and on t, da_r = dt a' r (1 - r)
        in dt, in a' and in r, da_z = dh' (h - n) z (1 - z) in h - n and in z.
        """
        given, tangents = (x, h, weight_x, weight_h), (tx, th, tweight_x, tweight_h)
        m = GruTangents((*given, bias_x, bias_h), (*tangents, tbias_x, tbias_h))
        of_h, tof_h = m.of_h[2], m.tof_h[2]
        dt = Tanh.backward(m.t, m.n, dy * m.closed)
        tdt = Tanh.backward(m.t, m.n, -dy * m.tz) + Tanh.second(m.t, m.n, dy * m.closed, m.tt)
        dreset = Sigmoid.backward(m.reset, m.r, dt * of_h)
        tdreset = Sigmoid.backward(m.reset, m.r, tdt * of_h + dt * tof_h)
        tdreset = tdreset + Sigmoid.second(m.reset, m.r, dt * of_h, m.treset)
        dupdate = Sigmoid.backward(m.update, m.z, dy * (h - m.n))
        tdupdate = Sigmoid.backward(m.update, m.z, dy * (th - m.tn))
        tdupdate = tdupdate + Sigmoid.second(m.update, m.z, dy * (h - m.n), m.tupdate)
        first, second = (dreset, dupdate), (tdreset, tdupdate)
        for_x, for_h = (np.concatenate([*first, last], axis=1) for last in (dt, dt * m.r))
        tfor_x, tfor_h = (
            np.concatenate([*second, last], axis=1) for last in (tdt, tdt * m.r + dt * m.tr)
        )
        found = gate_products(given, tangents, (for_x, for_h), (tfor_x, tfor_h))
        return {**found, "h": found["h"] + dy * m.tz}

    @staticmethod
    def definition(
        m: Math[N],
        x: list[N],
        h: list[N],
        weight_x: list[list[N]],
        weight_h: list[list[N]],
        bias_x: list[N],
        bias_h: list[N],
    ) -> list[N]:
        """Return one unit of h'; its own h is the first."""
        none = [0, 0, 0]
        of_x = gates_definition(x, [], weight_x, [[], [], []], bias_x, none)
        of_h = gates_definition([], h, [[], [], []], weight_h, none, bias_h)
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
        inputs = unit_inputs(x, h, weight_x, weight_h)
        units = h.shape[1]
        own = np.arange(h.size) % units
        order = (own[:, None] + np.arange(units)) % units
        inputs["h"] = np.take_along_axis(inputs["h"], order, axis=1)
        inputs["weight_h"] = np.take_along_axis(inputs["weight_h"], order[:, None], axis=2)
        return Rows(inputs, np.arange(h.size)[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 inputs and units."""
        return sample_of_cell(draw, shape, 3)

    @staticmethod
    def composition(xp: Backend, x: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
        """Return the same by the framework's own primitives."""
        weight_x, weight_h, bias_x, bias_h = weights
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
        _, (i, f, g, o) = four_gates(x, state, weight_x, weight_h, bias_x, bias_h)
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
        a, (i, f, g, o) = four_gates(x, state, weight_x, weight_h, bias_x, bias_h)
        c = np.tanh(y[1])
        dc = dy[1] + Tanh.backward(y[1], c, dy[0] * o)
        di = Sigmoid.backward(a[0], i, dc * g)
        df = Sigmoid.backward(a[1], f, dc * state[1])
        dg = Tanh.backward(a[2], g, dc * i)
        do = Sigmoid.backward(a[3], o, dy[0] * c)
        da = np.concatenate([di, df, dg, do], axis=1)
        found = of_gates(x, state[0], weight_x, weight_h, da, da)
        state_before = np.stack([found.pop("h"), dc * f])
        return {**found, "state": state_before}

    @staticmethod
    def tangent(
        x: FloatArray,
        state: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        tx: FloatArray,
        tstate: FloatArray,
        tweight_x: FloatArray,
        tweight_h: FloatArray,
        tbias_x: FloatArray,
        tbias_h: FloatArray,
    ) -> FloatArray:
        """Return th' = to tanh(c') + o tc'/cosh² c', and tc' = tf c + f tc + ti g + i tg."""
        m = LstmTangents(
            (x, state, weight_x, weight_h, bias_x, bias_h),
            (tx, tstate, tweight_x, tweight_h, tbias_x, tbias_h),
        )
        th = m.tgates[3] * m.out + m.gates[3] * m.tout
        return np.stack([th, m.tc])

    @staticmethod
    def second(
        x: FloatArray,
        state: FloatArray,
        weight_x: FloatArray,
        weight_h: FloatArray,
        bias_x: FloatArray,
        bias_h: FloatArray,
        dy: FloatArray,
        tx: FloatArray,
        tstate: FloatArray,
        tweight_x: FloatArray,
        tweight_h: FloatArray,
        tbias_x: FloatArray,
        tbias_h: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the products of the cotangents, in the order in which `backward` computes them.

        dc = dc' + dh' o/cosh² c' depends on o and on c'. Each gate's da is dc, times another gate
        or c, times the gate's slope; all three have tangents.
        """
        given = (x, state[0], weight_x, weight_h)
        tangents = (tx, tstate[0], tweight_x, tweight_h)
        m = LstmTangents(
            (x, state, weight_x, weight_h, bias_x, bias_h),
            (tx, tstate, tweight_x, tweight_h, tbias_x, tbias_h),
        )
        (i, f, g, o), (ti, _, tg, to) = m.gates, m.tgates
        dc = dy[1] + Tanh.backward(m.c, m.out, dy[0] * o)
        tdc = Tanh.backward(m.c, m.out, dy[0] * to) + Tanh.second(m.c, m.out, dy[0] * o, m.tc)
        into = (dc * g, dc * state[1], dc * i, dy[0] * m.out)
        tinto = (tdc * g + dc * tg, tdc * state[1] + dc * tstate[1], tdc * i + dc * ti,
                 dy[0] * m.tout)  # fmt: skip
        da, tda = [], []
        for k, squash in enumerate(SQUASHED):
            a, gate = m.a[k], m.gates[k]
            da.append(squash.backward(a, gate, into[k]))
            bend = squash.second(a, gate, into[k], m.ta[k])
            tda.append(squash.backward(a, gate, tinto[k]) + bend)
        all_da, all_tda = np.concatenate(da, axis=1), np.concatenate(tda, axis=1)
        found = gate_products(given, tangents, (all_da, all_da), (all_tda, all_tda))
        state_before = np.stack([found.pop("h"), tdc * f + dc * m.tgates[1]])
        return {**found, "state": state_before}

    @staticmethod
    def definition(
        m: Math[N],
        x: list[N],
        state: list[N],
        weight_x: list[list[N]],
        weight_h: list[list[N]],
        bias_x: list[N],
        bias_h: list[N],
    ) -> list[N]:
        """Return h' and c' of one unit; its own c is the last of the state."""
        h, c = state[:-1], state[-1]
        i, f, g, o = gates_definition(x, h, weight_x, weight_h, bias_x, bias_h)
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
        inputs = unit_inputs(x, state[0], weight_x, weight_h)
        own = np.arange(state[0].size)[:, None]
        inputs["state"] = np.concatenate([inputs.pop("h"), own + len(own)], axis=1)
        return Rows(inputs, np.concatenate([own, own + len(own)], axis=1))

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 inputs and units."""
        shapes = dict(sample_of_cell(draw, shape, 4).shapes)
        return Sample({"x": shapes.pop("x"), "state": (2, *shapes.pop("h")), **shapes})

    @staticmethod
    def with_torch(f: Function, x: Tensor, state: Tensor, *weights: Tensor) -> Tensor:
        """Call torch's function, which takes and returns a pair."""
        return f(x, (state[0], state[1]), *weights)

    @staticmethod
    def composition(xp: Backend, x: Tensor, state: Tensor, *weights: Tensor) -> Tensor:
        """Return the same by the framework's own primitives."""
        weight_x, weight_h, bias_x, bias_h = weights
        h, c = state[0], state[1]
        a = x @ weight_x.T + bias_x + h @ weight_h.T + bias_h
        size = h.shape[1]
        i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
        c = composed_sigmoid(xp, f) * c + composed_sigmoid(xp, i) * xp.tanh(g)
        return xp.stack([composed_sigmoid(xp, o) * xp.tanh(c), c])
