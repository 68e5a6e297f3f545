"""Random layers with their mistakes: dense, activations, normalisations, attention, embedding."""

import random
from collections.abc import Callable

from randomexpressions import derivative, expression, mistakes
from randomplans import Edit, Plan, pick

SIGN, FACTOR, AXIS, MEAN = "sign", "factor", "axis", "mean"


def elementwise(rng: random.Random) -> Plan:
    """Return a random function of one array, or of two."""
    names = ["x"] if rng.random() < 0.6 else rng.choice([["x", "v"], ["u", "v"], ["x1", "x2"]])
    while True:
        node = expression(rng, names, rng.randint(1, 3))
        slopes = {n: derivative(node, n) for n in names}
        if all(s.op != "leaf" for s in slopes.values()):
            break
    lines = tuple(f"$d_{n} = $dout * ({_dollars(str(s), names)})" for n, s in slopes.items())
    edits = tuple(
        Edit(kind, f"({_dollars(str(slopes[n]), names)})", f"({_dollars(wrong, names)})", pattern)
        for n in names
        for kind, wrong, pattern in mistakes(node, n)
    )
    stem = pick(rng, "f", "act", "activation", "squash", "mix", "my_func", "phi")
    return Plan(
        "elementwise",
        (stem,),
        tuple(names),
        (f"$out = {_dollars(str(node), names)}",),
        lines,
        edits,
        spelled={n: (n,) for n in names},
    )


def _dollars(text: str, names: list[str]) -> str:
    import re

    return re.sub(rf"\b({'|'.join(names)})\b", r"$\1", text)


def dense(rng: random.Random) -> Plan:
    """Return x W + b in one of three layouts, with or without bias."""
    layout = pick(rng, "rows", "turned", "columns")
    bias = rng.random() < 0.75
    product, dx, dw, db, shape, bias_shape = {
        "rows": (
            "$x @ $W",
            "$dout @ $W.T",
            "$x.T @ $dout",
            "$dout.sum(axis=0)",
            "(n_in, n_out)",
            "(n_out,)",
        ),
        "turned": (
            "$x @ $W.T",
            "$dout @ $W",
            "$dout.T @ $x",
            "np.sum($dout, axis=0)",
            "(n_out, n_in)",
            "(n_out,)",
        ),
        "columns": (
            "$W @ $x",
            "$W.T @ $dout",
            "$dout @ $x.T",
            "$dout.sum(axis=1, keepdims=True)",
            "(n_out, n_in)",
            "(n_out, 1)",
        ),
    }[layout]
    if rng.random() < 0.3:
        product = product.replace(" @ ", ".dot(", 1) + ")"
    parameters = [("W", shape)] + [("b", bias_shape)] * bias
    lines = [f"$d_x = {dx}", f"$d_W = {dw}"] + [f"$d_b = {db}"] * bias
    edits = [
        Edit(SIGN, f"$d_W = {dw}", f"$d_W = -({dw})"),
        Edit(FACTOR, f"$d_W = {dw}", f"$d_W = 2 * ({dw})"),
        Edit(SIGN, f"$d_x = {dx}", f"$d_x = -({dx})"),
        Edit("zero", f"$d_W = {dw}", "$d_W = np.zeros_like($W)"),
        Edit("clipped", f"$d_W = {dw}", f"$d_W = np.clip({dw}, -0.5, 0.5)"),
        Edit("regularisation", f"$d_W = {dw}", f"$d_W = {dw} + 0.1 * $W"),
    ]
    if bias:
        axis = 1 if layout == "columns" else 0
        edits += [
            Edit(MEAN, f"$d_b = {db}", f"$d_b = {db.replace('sum', 'mean')}"),
            Edit(
                AXIS,
                f"$d_b = {db}",
                f"$d_b = {'$dout[:, :1]' if axis else '$dout[0]'}",
                r"first|only|sum|row|column|overwrit|sample|axis|left",
            ),
            Edit(
                AXIS,
                f"$d_b = {db}",
                "$d_b = np.full($b.shape, $dout.sum())",
                r"everything|axis|axes|sum",
            ),
        ]
    forward = f"$out = {product}" + " + $b" * bias
    name = ("linear", "affine", "dense", "fc", "Linear", "fully_connected")
    return Plan(
        "dense" if bias else "dense without bias",
        name,
        ("x",),
        (forward,),
        tuple(lines),
        tuple(edits),
        tuple(parameters),
        ("n_in", "n_out"),
    )


_ACTIVATIONS: dict[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "sigmoid": (
        "1 / (1 + np.exp(-$x))",
        "$out * (1 - $out)",
        (
            ("slope left out", "$out"),
            ("wrong variable", "$x * (1 - $x)"),
            ("slope left out", "(1 - $out)"),
        ),
    ),
    "tanh": (
        "np.tanh($x)",
        "(1 - $out ** 2)",
        (
            ("square left out", "(1 - $out)"),
            ("wrong variable", "(1 - $x ** 2)"),
            (SIGN, "(1 + $out ** 2)"),
        ),
    ),
    "relu": ("np.maximum(0, $x)", "($x > 0)", (("wrong variable", "$x"), ("mask", "($x < 0)"))),
    "leaky_relu": (
        "np.where($x > 0, $x, 0.2 * $x)",
        "np.where($x > 0, 1, 0.2)",
        (("constant", "np.where($x > 0, 1, 0.1)"), ("constant", "np.where($x > 0, 1, 0)")),
    ),
    "elu": (
        "np.where($x > 0, $x, np.exp($x) - 1)",
        "np.where($x > 0, 1, np.exp($x))",
        (
            ("constant", "np.where($x > 0, 1, np.exp($x) - 1)"),
            ("constant", "np.where($x > 0, 1, $x)"),
        ),
    ),
    "softplus": (
        "np.log(1 + np.exp($x))",
        "1 / (1 + np.exp(-$x))",
        ((SIGN, "1 / (1 + np.exp($x))"), ("constant", "1 / (2 + np.exp(-$x))")),
    ),
    "swish": (
        "$x / (1 + np.exp(-$x))",
        "($out + (1 - $out) / (1 + np.exp(-$x)))",
        (("left out", "(1 / (1 + np.exp(-$x)))"), ("left out", "$out")),
    ),
    "gelu": (
        "0.5 * $x * (1 + np.tanh(0.7978845608 * ($x + 0.044715 * $x ** 3)))",
        "(0.5 * (1 + np.tanh(0.7978845608 * ($x + 0.044715 * $x ** 3))) + 0.5 * $x * (1 - "
        "np.tanh(0.7978845608 * ($x + 0.044715 * $x ** 3)) ** 2) * 0.7978845608 * (1 + 3 * 0.044715 * $x ** 2))",
        (("left out", "(0.5 * (1 + np.tanh(0.7978845608 * ($x + 0.044715 * $x ** 3))))"),),
    ),
    "softsign": (
        "$x / (1 + np.abs($x))",
        "1 / (1 + np.abs($x)) ** 2",
        (("square left out", "1 / (1 + np.abs($x))"),),
    ),
    "gaussian": (
        "np.exp(-$x ** 2)",
        "(-2 * $x * $out)",
        (("factor", "(-$x * $out)"), (SIGN, "(2 * $x * $out)")),
    ),
}


def activation(rng: random.Random) -> Plan:
    """Return a known activation; its backward reads the input, or the output."""
    name = rng.choice(sorted(_ACTIVATIONS))
    value, slope, wrong = _ACTIVATIONS[name]
    edits = [Edit(kind, slope, new) for kind, new in wrong]
    edits += [
        Edit(SIGN, f"$dout * {slope}", f"-$dout * {slope}"),
        Edit("slope left out", f"$dout * {slope}", "$dout * 1.0"),
    ]
    kept = ("out",) if "$out" in "".join([slope, *(n for _, n in wrong)]) else ()
    return Plan(
        "activation",
        (name, name.title().replace("_", "")),
        ("x",),
        (f"$out = {value}",),
        (f"$d_x = $dout * {slope}",),
        tuple(edits),
        kept=kept,
        spelled={"x": ("x", "z", "Z", "inputs")},
    )


def softmax(rng: random.Random) -> Plan:
    """Return a softmax over rows or columns, by sums or by the Jacobian of each row."""
    axis = rng.choice([1, 0, -1])
    forward = (
        f"e = np.exp($x - $x.max(axis={axis}, keepdims=True))",
        f"$out = e / e.sum(axis={axis}, keepdims=True)",
    )
    total = f"($dout * $out).sum(axis={axis}, keepdims=True)"
    if rng.random() < 0.4:
        return Plan(
            "softmax",
            ("softmax", "Softmax"),
            ("x",),
            (
                "e = np.exp($x - np.max($x, axis=1, keepdims=True))",
                "$out = e / np.sum(e, axis=1, keepdims=True)",
            ),
            (
                "$d_x = np.zeros_like($dout)",
                "for i in range(len($dout)):",
                "    p = $out[i].reshape(-1, 1)",
                "    J = np.diagflat(p) - p @ p.T",
                "    $d_x[i] = J @ $dout[i]",
            ),
            (
                Edit("softmax", "np.diagflat(p) - p @ p.T", "np.diagflat(p * (1 - p))"),
                Edit(
                    "left out",
                    "np.diagflat(p) - p @ p.T",
                    "np.diagflat(p)",
                    r"left out|softmax|sum|term|path",
                ),
                Edit(SIGN, "np.diagflat(p) - p @ p.T", "np.diagflat(p) + p @ p.T"),
                Edit(
                    "scatter",
                    "    $d_x[i] = J @ $dout[i]",
                    "    $d_x[0] = J @ $dout[i]",
                    r"row|overwrit|zero|only|left",
                ),
            ),
            kept=("out",),
        )
    return Plan(
        "softmax",
        ("softmax", "Softmax", "row_softmax"),
        ("x",),
        forward,
        (f"$d_x = $out * ($dout - {total})",),
        (
            Edit("softmax", f"$out * ($dout - {total})", "$dout * $out * (1 - $out)"),
            Edit(
                "left out", f"($dout - {total})", "$dout", r"left out|softmax|sum|term|path|value"
            ),
            Edit(SIGN, f"$dout - {total}", f"$dout + {total}"),
            Edit(AXIS, total, "($dout * $out).sum()", r"axis|everything|sum|whole|softmax"),
        ),
        kept=("out",),
    )


def layer_norm(rng: random.Random) -> Plan:
    """Return layer or batch normalisation, its backward in steps or in one formula."""
    batch = rng.random() < 0.5
    axis = 0 if batch else -1
    keep = "" if batch else ", keepdims=True"
    forward = (
        f"mu = $x.mean(axis={axis}{keep})",
        f"var = $x.var(axis={axis}{keep})",
        "$inv = 1 / np.sqrt(var + $eps)",
        "$xhat = ($x - mu) * $inv",
        "$out = $gamma * $xhat + $beta",
    )
    means = f"dxhat.mean(axis={axis}{keep})", f"(dxhat * $xhat).mean(axis={axis}{keep})"
    if rng.random() < 0.5 and batch:
        middle: tuple[str, ...] = (
            "n = $x.shape[0]",
            "$d_x = $inv / n * (n * dxhat - dxhat.sum(axis=0) - $xhat * (dxhat * $xhat).sum(axis=0))",
        )
        edits = [
            Edit("left out", " - $xhat * (dxhat * $xhat).sum(axis=0)", ""),
            Edit("left out", " - dxhat.sum(axis=0)", ""),
            Edit(FACTOR, "$inv / n", "$inv"),
            Edit(FACTOR, "n * dxhat", "dxhat", r"factor|missing|times|term|sum|mean|left"),
        ]
    else:
        middle = (f"$d_x = $inv * (dxhat - {means[0]} - $xhat * {means[1]})",)
        edits = [
            Edit("left out", f" - {means[0]} - $xhat * {means[1]}", ""),
            Edit("left out", f" - $xhat * {means[1]}", ""),
            Edit("left out", f" - {means[0]}", ""),
            Edit("left out", "$inv * (dxhat", "(dxhat", r"factor|left out|inv|scale|divi|slope"),
        ]
    backward = (
        "dxhat = $dout * $gamma",
        *middle,
        "$d_gamma = ($dout * $xhat).sum(axis=0)",
        "$d_beta = $dout.sum(axis=0)",
    )
    edits += [
        Edit(
            "swapped",
            "\n".join(backward[-2:]),
            "$d_beta = ($dout * $xhat).sum(axis=0)\n$d_gamma = $dout.sum(axis=0)",
        ),
        Edit(
            "wrong variable",
            "($dout * $xhat).sum",
            "($dout * $x).sum",
            r"place|input|value|variable|normal|left|factor|raw",
        ),
        Edit(MEAN, "$d_beta = $dout.sum", "$d_beta = $dout.mean"),
        Edit("left out", "dxhat = $dout * $gamma", "dxhat = $dout", r"gamma|factor|left out|scale"),
    ]
    names = (
        ("batchnorm", "batch_norm", "BatchNorm")
        if batch
        else ("layernorm", "layer_norm", "LayerNorm")
    )
    return Plan(
        "batch norm" if batch else "layer norm",
        names,
        ("x",),
        forward,
        backward,
        tuple(edits),
        (("gamma", "(n_features,)"), ("beta", "(n_features,)")),
        ("n_features",),
        kept=("inv", "xhat"),
        options=(("eps", rng.choice([1e-5, 1e-3, 1e-8])),),
    )


def embedding(rng: random.Random) -> Plan:
    """Return rows of a table by index."""
    add = pick(
        rng, "np.add.at($d_W, $idx, $dout)", "for i, k in enumerate($idx): $d_W[k] += $dout[i]"
    )
    wrong = "$d_W[$idx] = $dout" if "add" in add else add.replace("+=", "=")
    return Plan(
        "embedding",
        ("embedding", "embed", "Embedding", "lookup"),
        ("idx",),
        ("$out = $W[$idx]",),
        ("$d_W = np.zeros_like($W)", add),
        (
            Edit("scatter", add, wrong),
            Edit(SIGN, add, add.replace("$dout", "-$dout")),
            Edit(FACTOR, add, add.replace("$dout", "2 * $dout")),
        ),
        (("W", "(vocab_size, dim)"),),
        ("vocab_size", "dim"),
        without=("idx",),
        spelled={"idx": ("idx", "ids", "indices", "token_ids")},
    )


def attention(rng: random.Random) -> Plan:
    """Return scaled dot-product attention of a batch or of one sequence."""
    t, last = ("transpose(0, 2, 1)", -1) if rng.random() < 0.5 else ("T", -1)
    forward = (
        f"scores = $q @ $k.{t} / np.sqrt($q.shape[-1])",
        "e = np.exp(scores - scores.max(axis=-1, keepdims=True))",
        "$p = e / e.sum(axis=-1, keepdims=True)",
        "$out = $p @ $v",
    )
    backward = (
        f"$d_v = $p.{t} @ $dout",
        f"dp = $dout @ $v.{t}",
        f"ds = $p * (dp - (dp * $p).sum(axis={last}, keepdims=True))",
        "ds = ds / np.sqrt($q.shape[-1])",
        "$d_q = ds @ $k",
        f"$d_k = ds.{t} @ $q",
    )
    return Plan(
        "attention",
        ("attention", "scaled_dot_product_attention", "Attention"),
        ("q", "k", "v"),
        forward,
        backward,
        (
            Edit(
                "factor",
                "ds = ds / np.sqrt($q.shape[-1])",
                "ds = ds * 1.0",
                r"factor|sqrt|times|scale|√",
            ),
            Edit("softmax", "(dp - (dp * $p).sum(axis=-1, keepdims=True))", "dp"),
            Edit(
                "softmax", "$p * (dp - (dp * $p).sum(axis=-1, keepdims=True))", "dp * $p * (1 - $p)"
            ),
            Edit(SIGN, "$d_q = ds @ $k", "$d_q = -ds @ $k"),
            Edit("transposed", f"ds.{t} @ $q", "ds @ $q"),
            Edit("transposed", f"$p.{t} @ $dout", "$p @ $dout"),
        ),
        kept=("p",),
        spelled={n: (n, n.upper()) for n in "qkv"},
    )


Maker = Callable[[random.Random], Plan]
LAYERS: tuple[Maker, ...] = (
    elementwise,
    elementwise,
    elementwise,
    dense,
    dense,
    activation,
    activation,
    softmax,
    layer_norm,
    embedding,
    attention,
)
