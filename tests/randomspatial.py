"""Random convolutions, poolings and recurrent steps with their mistakes."""

import random
from collections.abc import Callable

from randomplans import Edit, Plan

SIGN, FACTOR = "sign", "factor"
_BATCH = ("N, C, H, W_in = $x.shape", "F, _, KH, KW = $W.shape")


def conv2d(rng: random.Random) -> Plan:
    """Return a convolution by loops over places, NCHW, with stride and padding."""
    stride, pad = rng.choice([1, 1, 2]), rng.choice([0, 1])
    padded = f"xp = np.pad($x, ((0, 0), (0, 0), ({pad}, {pad}), ({pad}, {pad})))"
    places = (
        f"HO = (H + {2 * pad} - KH) // {stride} + 1",
        f"WO = (W_in + {2 * pad} - KW) // {stride} + 1",
    )
    window = f"[:, :, i * {stride}:i * {stride} + KH, j * {stride}:j * {stride} + KW]"
    forward = (
        *_BATCH,
        padded,
        *places,
        "$out = np.zeros((N, F, HO, WO))",
        "for i in range(HO):",
        "    for j in range(WO):",
        f"        patch = xp{window}",
        "        $out[:, :, i, j] = np.tensordot(patch, $W, axes=([1, 2, 3], [1, 2, 3])) + $b",
    )
    inner = f"dxp[:, :, {pad}:{pad} + H, {pad}:{pad} + W_in]" if pad else "dxp"
    backward = (
        *_BATCH,
        padded,
        "HO, WO = $dout.shape[2:]",
        "dxp = np.zeros_like(xp)",
        "$d_W = np.zeros_like($W)",
        "for i in range(HO):",
        "    for j in range(WO):",
        f"        patch = xp{window}",
        "        g = $dout[:, :, i, j]",
        "        $d_W += np.tensordot(g, patch, axes=([0], [0]))",
        f"        dxp{window} += np.tensordot(g, $W, axes=([1], [0]))",
        f"$d_x = {inner}",
        "$d_b = $dout.sum(axis=(0, 2, 3))",
    )
    edits = [
        Edit(
            "scatter",
            "$d_W += np",
            "$d_W = np",
        ),
        Edit("scatter", f"dxp{window} += np", f"dxp{window} = np"),
        Edit("flipped", "np.tensordot(g, $W, axes", "np.tensordot(g, $W[:, :, ::-1, ::-1], axes"),
        Edit("mean", "$dout.sum(axis=(0, 2, 3))", "$dout.mean(axis=(0, 2, 3))"),
        Edit(SIGN, "$dout.sum(", "-$dout.sum("),
        Edit(FACTOR, "$d_W += np", "$d_W += 2 * np"),
        Edit(
            "axis",
            "$dout.sum(axis=(0, 2, 3))",
            "$dout[0].sum(axis=(1, 2))",
            r"first|sample|axis|sum|row|only|one",
        ),
    ]
    if stride == 2:
        edits.append(Edit("stride", f"dxp{window}", "dxp[:, :, i:i + KH, j:j + KW]"))
    return Plan(
        "conv2d",
        ("conv", "conv2d", "Conv2D", "convolution"),
        ("x",),
        forward,
        backward,
        tuple(edits),
        (("W", "(n_filters, in_channels, kernel_size, kernel_size)"), ("b", "(n_filters,)")),
        ("in_channels", "n_filters", "kernel_size"),
        needs=("x", "W"),
    )


def conv1d(rng: random.Random) -> Plan:
    """Return a convolution of one sequence with one kernel."""
    forward = (
        "n = len($x) - len($W) + 1",
        "$out = np.array([np.sum($x[i:i + len($W)] * $W) for i in range(n)])",
    )
    backward = (
        "$d_x = np.zeros_like($x)",
        "$d_W = np.zeros_like($W)",
        "for i in range(len($dout)):",
        "    $d_x[i:i + len($W)] += $dout[i] * $W",
        "    $d_W += $dout[i] * $x[i:i + len($W)]",
    )
    edits = (
        Edit("scatter", "$d_x[i:i + len($W)] +=", "$d_x[i:i + len($W)] ="),
        Edit("flipped", "$dout[i] * $W", "$dout[i] * $W[::-1]"),
        Edit("scatter", "$d_W +=", "$d_W ="),
        Edit(SIGN, "$d_W += $dout", "$d_W -= $dout"),
    )
    return Plan(
        "conv1d",
        ("conv1d", "convolve", "correlate"),
        ("x",),
        forward,
        backward,
        edits,
        (("W", "(kernel_size,)"),),
        ("kernel_size",),
        spelled={"W": ("kernel", "w")},
    )


def pooling(rng: random.Random) -> Plan:
    """Return max or average pooling of 2 × 2 windows."""
    head = ("N, C, H, W = $x.shape", "HO, WO = H // 2, W // 2")
    loops = ("for i in range(HO):", "    for j in range(WO):")
    window = "[:, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2]"
    if rng.random() < 0.4:
        return Plan(
            "average pooling",
            ("avg_pool", "avgpool", "AvgPool", "average_pooling"),
            ("x",),
            (
                *head,
                "$out = np.zeros((N, C, HO, WO))",
                *loops,
                f"        $out[:, :, i, j] = $x{window}.mean(axis=(2, 3))",
            ),
            (
                *head,
                "$d_x = np.zeros_like($x)",
                *loops,
                f"        $d_x{window} += $dout[:, :, i, j][:, :, None, None] / 4",
            ),
            (
                Edit(FACTOR, " / 4", ""),
                Edit(SIGN, "+=", "-="),
                Edit("stride", f"$d_x{window}", "$d_x[:, :, i:i + 2, j:j + 2]"),
            ),
        )
    return Plan(
        "max pooling",
        ("max_pool", "maxpool", "MaxPool", "pool2d"),
        ("x",),
        (
            *head,
            "$out = np.zeros((N, C, HO, WO))",
            *loops,
            f"        $out[:, :, i, j] = $x{window}.max(axis=(2, 3))",
        ),
        (
            *head,
            "$d_x = np.zeros_like($x)",
            *loops,
            f"        w = $x{window}",
            "        m = w == w.max(axis=(2, 3), keepdims=True)",
            f"        $d_x{window} += m * $dout[:, :, i, j][:, :, None, None]",
        ),
        (
            Edit("mask", "m * $dout", "1.0 * $dout"),
            Edit(SIGN, "+= m *", "-= m *"),
            Edit(FACTOR, "m * $dout", "m / 4 * $dout"),
            Edit(
                "axis",
                "w.max(axis=(2, 3), keepdims=True)",
                "$x.max()",
                r"max|mask|axis|zero|left|whole|window|everything",
            ),
        ),
    )


def rnn_step(rng: random.Random) -> Plan:
    """Return a step of a simple recurrent cell."""
    forward = ("$out = np.tanh($x @ $Wx + $h_prev @ $Wh + $b)",)
    backward = (
        "dz = $dout * (1 - $out ** 2)",
        "$d_x = dz @ $Wx.T",
        "$d_h_prev = dz @ $Wh.T",
        "$d_Wx = $x.T @ dz",
        "$d_Wh = $h_prev.T @ dz",
        "$d_b = dz.sum(axis=0)",
    )
    edits = (
        Edit("slope left out", "$dout * (1 - $out ** 2)", "$dout"),
        Edit("square left out", "(1 - $out ** 2)", "(1 - $out)"),
        Edit(
            "wrong variable",
            "$h_prev.T @ dz",
            "$out.T @ dz",
            r"output|place|instead|input|own|value",
        ),
        Edit("transposed", "dz @ $Wh.T", "dz @ $Wh"),
        Edit(SIGN, "$d_Wx = $x", "$d_Wx = -$x"),
        Edit(
            "time",
            "$d_h_prev = dz @ $Wh.T",
            "$d_h_prev = $dout @ $Wh.T",
            r"slope|skip|activation|factor",
        ),
        Edit("mean", "dz.sum", "dz.mean"),
    )
    return Plan(
        "rnn step",
        ("rnn_step", "rnn_cell", "RNNCell"),
        ("x", "h_prev"),
        forward,
        backward,
        edits,
        (
            ("Wx", "(input_size, hidden_size)"),
            ("Wh", "(hidden_size, hidden_size)"),
            ("b", "(hidden_size,)"),
        ),
        ("input_size", "hidden_size"),
        spelled={"x": ("x", "xt", "x_t")},
        kept=("out",),
    )


def gru_step(rng: random.Random) -> Plan:
    """Return a step of a gated recurrent unit without biases."""
    forward = (
        "$z = 1 / (1 + np.exp(-($x @ $Wz + $h_prev @ $Uz)))",
        "$r = 1 / (1 + np.exp(-($x @ $Wr + $h_prev @ $Ur)))",
        "$n = np.tanh($x @ $Wn + ($r * $h_prev) @ $Un)",
        "$out = (1 - $z) * $n + $z * $h_prev",
    )
    backward = (
        "dn = $dout * (1 - $z) * (1 - $n ** 2)",
        "dz = $dout * ($h_prev - $n) * $z * (1 - $z)",
        "drh = dn @ $Un.T",
        "dr = drh * $h_prev * $r * (1 - $r)",
        "$d_x = dn @ $Wn.T + dz @ $Wz.T + dr @ $Wr.T",
        "$d_h_prev = $dout * $z + drh * $r + dz @ $Uz.T + dr @ $Ur.T",
        *(f"$d_W{g} = $x.T @ d{g}" for g in "zrn"),
        "$d_Uz = $h_prev.T @ dz",
        "$d_Ur = $h_prev.T @ dr",
        "$d_Un = ($r * $h_prev).T @ dn",
    )
    edits = (
        Edit("gate", "$z * (1 - $z)", "$z"),
        Edit("time", "$dout * $z + drh", "drh"),
        Edit("left out", "drh * $r + ", ""),
        Edit("square left out", "(1 - $n ** 2)", "(1 - $n)"),
        Edit(SIGN, "($h_prev - $n)", "($n - $h_prev)"),
        Edit(
            "wrong variable",
            "($r * $h_prev).T",
            "$h_prev.T",
            r"factor|gate|place|instead|left out|value|operand|input",
        ),
    )
    parameters = tuple(
        (f"{m}{g}", f"({'input_size' if m == 'W' else 'hidden_size'}, hidden_size)")
        for g in "zrn"
        for m in "WU"
    )
    return Plan(
        "gru step",
        ("gru_step", "gru_cell", "GRUCell"),
        ("x", "h_prev"),
        forward,
        backward,
        edits,
        parameters,
        ("input_size", "hidden_size"),
        spelled={"x": ("x", "xt", "x_t")},
        kept=("z", "r", "n"),
    )


def lstm_step(rng: random.Random) -> Plan:
    """Return a step of an LSTM in one matrix; its output is the hidden state, the cell is kept."""
    forward = (
        "a = $x @ $Wx + $h_prev @ $Wh + $b",
        "H = $h_prev.shape[1]",
        "$i = 1 / (1 + np.exp(-a[:, :H]))",
        "$f = 1 / (1 + np.exp(-a[:, H:2 * H]))",
        "$o = 1 / (1 + np.exp(-a[:, 2 * H:3 * H]))",
        "$g = np.tanh(a[:, 3 * H:])",
        "$c = $f * $c_prev + $i * $g",
        "$out = $o * np.tanh($c)",
    )
    backward = (
        "do = $dout * np.tanh($c)",
        "dc = $dout * $o * (1 - np.tanh($c) ** 2)",
        "$d_c_prev = dc * $f",
        "da = np.hstack([dc * $g * $i * (1 - $i), dc * $c_prev * $f * (1 - $f), "
        "do * $o * (1 - $o), dc * $i * (1 - $g ** 2)])",
        "$d_x = da @ $Wx.T",
        "$d_h_prev = da @ $Wh.T",
        "$d_Wx = $x.T @ da",
        "$d_Wh = $h_prev.T @ da",
        "$d_b = da.sum(axis=0)",
    )
    edits = (
        Edit("gate", "$i * (1 - $i)", "$i"),
        Edit("gate", "do * $o * (1 - $o)", "do * $o"),
        Edit("square left out", "(1 - $g ** 2)", "(1 - $g)"),
        Edit("slope left out", " * (1 - np.tanh($c) ** 2)", ""),
        Edit("time", "dc * $f\n", "dc\n"),
        Edit("mean", "da.sum", "da.mean"),
        Edit(
            "transposed",
            "$d_c_prev = dc * $f",
            "$d_c_prev = dc * $i",
            r"gate|factor|place|instead|path|value|another|uses i",
        ),
    )
    return Plan(
        "lstm step",
        ("lstm_step", "lstm_cell", "LSTMCell"),
        ("x", "h_prev", "c_prev"),
        forward,
        backward,
        edits,
        (
            ("Wx", "(input_size, 4 * hidden_size)"),
            ("Wh", "(hidden_size, 4 * hidden_size)"),
            ("b", "(4 * hidden_size,)"),
        ),
        ("input_size", "hidden_size"),
        spelled={"x": ("x", "xt", "x_t")},
        kept=("i", "f", "o", "g", "c"),
    )


Maker = Callable[[random.Random], Plan]
SPATIAL: tuple[Maker, ...] = (conv2d, conv1d, pooling, rnn_step, gru_step, lstm_step)
