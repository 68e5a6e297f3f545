"""Mistakes of recurrent cells: of each gate da = d(gate) · slope; then that of two dense layers."""

import numpy as np

from manual_backprop.layers.gates import four_gates, of_gates, three_gates
from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, LayerRule

_RNN = ("rnn_tanh_cell", "rnn_relu_cell")
_CELLS = (*_RNN, "gru_cell", "lstm_cell")
_GATES = ("x", "h", "weight_x", "weight_h", "bias_x", "bias_h")
_OF_STATE = ("x", "state", "weight_x", "weight_h", "bias_x", "bias_h")


def _sigmoid(a: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-a)))


def _arrays(c: LayerLine) -> list[FloatArray]:
    return [c[name] for name in c.operation.arguments]


# -- plain cells ----------------------------------------------------------------------------------


def _of_rnn(c: LayerLine, da: FloatArray) -> FloatArray:
    return of_gates(c["x"], c["h"], c["weight_x"], c["weight_h"], da, da)[c.argument]


def _before(c: LayerLine) -> FloatArray:
    """Return a, the sum before the activation."""
    of_h = c["h"] @ c["weight_h"].T + c["bias_h"]
    return np.asarray(c["x"] @ c["weight_x"].T + c["bias_x"] + of_h)


def _slope(c: LayerLine) -> FloatArray:
    """Return the slope of the cell's activation, by its output."""
    relu = c.operation.name == "rnn_relu_cell"
    return np.asarray((c.y > 0) * 1.0 if relu else 1 - c.y * c.y)


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
LayerRule(_RNN, _GATES)("rnn_slope_left_out", "δa = δh′",
    "The slope of the activation is left out of the step back through time.",
    lambda c: _of_rnn(c, c.dy))

rnn_tanh_cell_gates = LayerRule(("rnn_tanh_cell",), _GATES)
rnn_tanh_cell_gates("rnn_slope_at_the_sum", "δa = δh′ (1 − a²)",
    "1 − h′² is tanh's slope at its output; the sum before the tanh stands there.",
    lambda c: _of_rnn(c, c.dy * (1 - _before(c) ** 2)))
rnn_tanh_cell_gates("rnn_slope_not_squared", "δa = δh′ (1 − h′)",
    "The slope of tanh is 1 − h′²: the square is left out.",
    lambda c: _of_rnn(c, c.dy * (1 - c.y)))
rnn_tanh_cell_gates("rnn_slope_of_sigmoid", "δa = δh′ h′ (1 − h′)",
    "h′ (1 − h′) is the slope of the sigmoid.",
    lambda c: _of_rnn(c, c.dy * c.y * (1 - c.y)))
LayerRule(_RNN, ("weight_h",))("rnn_recurrent_weight_from_new_state", "∂L/∂U = δaᵀ h′",
    "The recurrent weight met the state before this step, not the new one.",
    lambda c: (c.dy * _slope(c)).T @ c.y)
LayerRule(_RNN, ("h",))("rnn_recurrent_weight_transposed", "δh = δa Uᵀ",
    "The recurrent weight is square, so that its transpose fits too: h comes back through U.",
    lambda c: (c.dy * _slope(c)) @ c["weight_h"].T,
    when=lambda c: len(c["weight_h"]) > 1)
LayerRule(_CELLS, ("weight_x", "weight_h", "bias_x", "bias_h"))(
    "cell_parameter_mean", "a mean over the batch in place of Σ",
    "The samples of the batch add up; a mean was taken, which the loss has done already.",
    lambda c: c.own / len(c["x"]),
    when=lambda c: len(c["x"]) > 1)
LayerRule(_CELLS, ("bias_x", "bias_h"))("cell_bias_of_the_last_sample", "∂L/∂b = δa of one sample",
    "The bias's gradient is overwritten in a loop over the samples: the last one's is left.",
    lambda c: c.pulled(dy=c.dy[..., -1:, :], **{
        n: c[n][..., -1:, :] for n in ("x", "h", "state") if n in c.arrays})[c.argument],
    when=lambda c: len(c["x"]) > 1)

# -- gated cells ----------------------------------------------------------------------------------


def _of_gru(c: LayerLine, wrong: str) -> FloatArray:
    """Return a cotangent of a GRU, by its textbook formulas with one of them wrong."""
    of_x, of_h = three_gates(*_arrays(c))
    r, z = _sigmoid(of_x[0] + of_h[0]), _sigmoid(of_x[1] + of_h[1])
    n, h, dh = np.tanh(of_x[2] + r * of_h[2]), c["h"], c.dy
    dn = dh * (z if wrong == "gates" else 1 - z)
    dz = dh * {"sign": n - h, "candidate": h}.get(wrong, h - n)
    dt = dn if wrong == "tanh" else dn * (1 - n * n)
    dr = dt * (of_x[2] if wrong == "reset" else of_h[2])
    da = [dr * r * (1 - r), dz if wrong == "slope" else dz * z * (1 - z)]
    for_x = np.concatenate([*da, dt], axis=1)
    for_h = np.concatenate([*da, dt if wrong == "ungated" else dt * r], axis=1)
    found = of_gates(c["x"], h, c["weight_x"], c["weight_h"], for_x, for_h)
    direct = 0 if wrong == "direct" else dh * ((1 - z) if wrong == "gates" else z)
    return {**found, "h": found["h"] + direct}[c.argument]


_GRU = ("gru_cell",)

LayerRule(_GRU, ("h",))("gru_direct_path_left_out", "δh = (δa_r, δa_z, δt r) U",
    "Z h carries the old state over without any weight: that path is left out.",
    lambda c: _of_gru(c, "direct"))

gru_gates = LayerRule(_GRU, _GATES)
gru_gates("gru_update_gate_turned_round", "δn = δh′ z, δh = δh′ (1 − z) + …",
    "Z and 1 − z are exchanged: z keeps the old state here, 1 − z takes the new one.",
    lambda c: _of_gru(c, "gates"))
LayerRule(_GRU, ("h", "weight_h", "bias_h"))(
    "gru_reset_gate_left_out", "δt in place of δt r for what meets h",
    "The reset gate multiplies U_n h: its factor is left out on the way back.",
    lambda c: _of_gru(c, "ungated"))
gru_gates("gru_update_gate_sign", "δz = δh′ (n − h)",
    "h′ = n + z (h − n): the difference has the wrong sign.",
    lambda c: _of_gru(c, "sign"))
gru_gates("gru_update_gate_without_candidate", "δz = δh′ h",
    "Z stands in both terms, (1 − z) n and z h: the first is left out.",
    lambda c: _of_gru(c, "candidate"))
gru_gates("gru_tanh_slope_left_out", "δt = δn",
    "The candidate goes through tanh: its slope is left out.",
    lambda c: _of_gru(c, "tanh"))
gru_gates("gru_reset_gate_from_input", "δr = δt (W_n x + b_n)",
    "The reset gate multiplies what comes of h, not what comes of x.",
    lambda c: _of_gru(c, "reset"))
gru_gates("gru_gate_slope_left_out", "δa_z = δz",
    "The slope of the update gate's sigmoid, z (1 − z), is left out.",
    lambda c: _of_gru(c, "slope"))


def _of_lstm(c: LayerLine, wrong: str) -> FloatArray:
    """Return a cotangent of an LSTM, by its textbook formulas with one of them wrong."""
    _, (i, f, g, o) = four_gates(*_arrays(c))
    (h, before), (dh, dnext) = c["state"], c.dy
    cell = c.y[1]
    out = np.tanh(cell)
    through = dh * o * {"tanh": 1.0}.get(wrong, 1 - out * out)
    dc = {"hidden": dnext, "cell": through}.get(wrong, dnext + through)
    di, dg = (dc * i, dc * g) if wrong == "exchanged" else (dc * g, dc * i)
    df = dc * (cell if wrong == "forget" else before)
    do = dh * (cell if wrong == "output" else out)
    slope_g = 1.0 if wrong == "candidate" else 1 - g * g
    da = [di * i * (1 - i), df * f * (1 - f), dg * slope_g, do * o * (1 - o)]
    if wrong == "order":
        da = [da[0], da[1], da[3], da[2]]
    if wrong == "slope":
        da = [di, df, da[2], do]
    whole = np.concatenate(da, axis=1)
    found = of_gates(c["x"], h, c["weight_x"], c["weight_h"], whole, whole)
    carried = dc * (i if wrong == "carried" else f)
    return {**found, "state": np.stack([found["h"], carried])}[c.argument]


_LSTM = ("lstm_cell",)


lstm_of_state = LayerRule(_LSTM, _OF_STATE)
lstm_of_state("lstm_path_through_hidden_left_out", "δc = δc′",
    "The cell goes into h′ = o tanh(c′) too: δh′ o (1 − tanh² c′) is left out.",
    lambda c: _of_lstm(c, "hidden"))
lstm_of_state("lstm_path_through_cell_left_out", "δc = δh′ o (1 − tanh² c′)",
    "The next step hands back a cotangent of the cell too: δc′ is left out.",
    lambda c: _of_lstm(c, "cell"))
lstm_of_state("lstm_tanh_slope_left_out", "δc = δc′ + δh′ o",
    "The cell goes through tanh on its way into h′: its slope is left out.",
    lambda c: _of_lstm(c, "tanh"))
lstm_of_state("lstm_forget_gate_from_new_cell", "δf = δc c′",
    "The forget gate multiplies the cell before this step, not the new one.",
    lambda c: _of_lstm(c, "forget"))
lstm_of_state("lstm_output_gate_without_tanh", "δo = δh′ c′",
    "The output gate multiplies tanh(c′), not c′.",
    lambda c: _of_lstm(c, "output"))
lstm_of_state("lstm_gates_exchanged", "δi = δc i, δg = δc g",
    "I and g multiply each other: each one's cotangent has the other in it.",
    lambda c: _of_lstm(c, "exchanged"))
lstm_of_state("lstm_candidate_slope_left_out", "δa_g = δg",
    "The candidate goes through tanh: its slope is left out.",
    lambda c: _of_lstm(c, "candidate"))
lstm_of_state("lstm_gates_in_another_order", "δa = (i, f, o, g)",
    "The gates' cotangents are put together in another order than the weights have.",
    lambda c: _of_lstm(c, "order"))
lstm_of_state("lstm_gate_slopes_left_out", "δa = δ(gate)",
    "The slopes of the sigmoids, s (1 − s), are left out.",
    lambda c: _of_lstm(c, "slope"))
LayerRule(_LSTM, ("state",))("lstm_cell_through_input_gate", "δc₋₁ = δc i",
    "The cell before comes back through the forget gate, not through the input gate.",
    lambda c: _of_lstm(c, "carried"))
