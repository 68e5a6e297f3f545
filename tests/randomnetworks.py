"""Random networks of two or three layers, with their own loss, written in random ways."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from randomplans import Edit, Injected, RandomTarget, filled, pattern_of

NUMPY = "import numpy as np\n\n\n"
_SLOPES = {
    "tanh": (
        "np.tanh({})",
        "(1 - {a} ** 2)",
        (("square left out", "(1 - {a})"), ("wrong variable", "(1 - {z} ** 2)")),
    ),
    "sigmoid": (
        "1 / (1 + np.exp(-{}))",
        "{a} * (1 - {a})",
        (("slope left out", "(1 - {a})"), ("slope left out", "{a}")),
    ),
    "relu": (
        "np.maximum(0, {})",
        "({z} > 0)",
        (("constant", "({z} < 0)"), ("wrong variable", "{z}")),
    ),
}


@dataclass(frozen=True)
class NetworkPlan:
    """A network: its lines over `$W1`, `$b1`, `$X`, `$y`, and mistakes in them."""

    layers: int
    forward: tuple[str, ...]
    loss: tuple[str, ...]
    backward: tuple[str, ...]
    mistakes: tuple[Edit, ...]
    output: str
    columns: bool

    @property
    def parameters(self) -> list[str]:
        """W1, b1, W2, b2, …"""
        return [f"{k}{i}" for i in range(1, self.layers + 1) for k in "Wb"]

    @property
    def kept(self) -> list[str]:
        """What the forward makes and the backward needs."""
        return [
            f"{k}{i}"
            for i in range(1, self.layers + 1)
            for k in "za"
            if not (k == "a" and i == self.layers)
        ] + ["out"]


def _plan(rng: random.Random) -> NetworkPlan:
    layers, columns, act = rng.choice([2, 2, 3]), rng.random() < 0.35, rng.choice(sorted(_SLOPES))
    value, slope, wrong = _SLOPES[act]
    head = rng.choice(["softmax", "linear", "sigmoid"])
    forward: list[str] = []
    below = "$X"
    for i in range(1, layers + 1):
        forward.append(
            f"z{i} = $W{i} @ {below} + $b{i}" if columns else f"z{i} = {below} @ $W{i} + $b{i}"
        )
        if i < layers:
            forward.append(f"a{i} = {value.format(f'z{i}')}")
            below = f"a{i}"
    n, axis = ("$X.shape[1]", 0) if columns else ("$X.shape[0]", 1)
    forward += _heads(head, layers, axis)
    reg = rng.random() < 0.2
    loss = {
        "softmax": f"loss = -np.sum($y * np.log(out)) / {n}",
        "linear": f"loss = np.sum((out - $y) ** 2) / (2 * {n})",
        "sigmoid": f"loss = -np.sum($y * np.log(out) + (1 - $y) * np.log(1 - out)) / {n}",
    }[head]
    losses = [loss] + [
        "loss += 0.05 * (" + " + ".join(f"np.sum($W{i} ** 2)" for i in range(1, layers + 1)) + ")"
    ] * reg
    back = [f"dz{layers} = (out - $y) / {n}"]
    edits = [
        Edit("sign", "(out - $y)", "($y - out)"),
        Edit("factor", f"(out - $y) / {n}", "(out - $y)"),
        Edit("factor", f"(out - $y) / {n}", f"2 * (out - $y) / {n}"),
    ]
    for i in range(layers, 0, -1):
        below = f"a{i - 1}" if i > 1 else "$X"
        dw = f"dz{i} @ {below}.T" if columns else f"{below}.T @ dz{i}"
        db = f"dz{i}.sum(axis=1, keepdims=True)" if columns else f"dz{i}.sum(axis=0)"
        back += [f"$dW{i} = {dw}" + f" + 0.1 * $W{i}" * reg, f"$db{i} = {db}"]
        edits += [
            Edit("sign", f"$dW{i} = {dw}", f"$dW{i} = -{dw}"),
            Edit("mean", db, db.replace("sum", "mean")),
        ]
        if reg:
            edits += [
                Edit("regularisation", f" + 0.1 * $W{i}", f" + 0.05 * $W{i}"),
                Edit("regularisation", f" + 0.1 * $W{i}", ""),
            ]
        if i > 1:
            s = slope.format(a=f"a{i - 1}", z=f"z{i - 1}")
            da = f"$W{i}.T @ dz{i}" if columns else f"dz{i} @ $W{i}.T"
            back += [f"da{i - 1} = {da}", f"dz{i - 1} = da{i - 1} * {s}"]
            edits += [
                Edit(k, f"da{i - 1} * {s}", f"da{i - 1} * {w.format(a=f'a{i - 1}', z=f'z{i - 1}')}")
                for k, w in wrong
            ]
            edits += [
                Edit(
                    "slope left out", f"dz{i - 1} = da{i - 1} * {s}", f"dz{i - 1} = da{i - 1} * 1.0"
                ),
                Edit("wrong variable", dw, dw.replace(f"a{i - 1}", f"z{i - 1}")),
            ]
    return NetworkPlan(
        layers, tuple(forward), tuple(losses), tuple(back), tuple(edits), head, columns
    )


def _heads(head: str, layers: int, axis: int) -> list[str]:
    z = f"z{layers}"
    return {
        "softmax": [
            f"e = np.exp({z} - np.max({z}, axis={axis}, keepdims=True))",
            f"out = e / np.sum(e, axis={axis}, keepdims=True)",
        ],
        "linear": [f"out = {z}"],
        "sigmoid": [f"out = 1 / (1 + np.exp(-{z}))"],
    }[head]


def _plain(plan: NetworkPlan) -> dict[str, str]:
    return (
        {p: p for p in plan.parameters}
        | {f"d{p}": f"d{p}" for p in plan.parameters}
        | {"X": "X", "y": "y"}
    )


def with_params(plan: NetworkPlan, rng: random.Random) -> str:
    """Return f(params, X, y) -> loss, grads."""
    held = rng.choice(["params", "parameters", "model"])
    bare = rng.random() < 0.6
    names = {p: f'{held}["{p}"]' for p in plan.parameters} | {"X": "X", "y": rng.choice(["y", "Y"])}
    names |= {f"d{p}": f'grads["{p if bare else "d" + p}"]' for p in plan.parameters}
    title = rng.choice(
        ["loss_and_grads", "loss_and_gradients", "compute_loss_and_grad", "backprop"]
    )
    return (
        f"def {title}({held}, X, {names['y']}):\n"
        + filled([*plan.forward, *plan.loss], names)
        + "    grads = {}\n"
        + filled(plan.backward, names)
        + "    return loss, grads\n"
    )


def params_class(plan: NetworkPlan, rng: random.Random) -> str:
    """Return a class with self.params and loss(X, y) -> loss, grads."""
    names = {p: f'self.params["{p}"]' for p in plan.parameters} | {
        f"d{p}": f'grads["{p}"]' for p in plan.parameters
    }
    names |= {"X": "X", "y": "y"}
    return (
        "class Network:\n"
        + _constructor(plan, names, "self.params = {}")
        + "    def loss(self, X, y):\n"
        + filled([*plan.forward, *plan.loss], names, 8)
        + "        grads = {}\n"
        + filled(plan.backward, names, 8)
        + "        return loss, grads\n"
    )


def _constructor(plan: NetworkPlan, names: dict[str, str], first: str = "") -> str:
    sizes = ["input_size", *[f"hidden{i}_size" for i in range(1, plan.layers)], "output_size"]
    if plan.layers == 2:
        sizes[1] = "hidden_size"
    body = ["rng = np.random.default_rng(0)"] + [first] * bool(first)
    for i in range(1, plan.layers + 1):
        shape = f"{sizes[i]}, {sizes[i - 1]}" if plan.columns else f"{sizes[i - 1]}, {sizes[i]}"
        bias = f"({sizes[i]}, 1)" if plan.columns else f"{sizes[i]}"
        body += [
            f"{names[f'W{i}']} = rng.standard_normal(({shape})) * 0.1",
            f"{names[f'b{i}']} = np.zeros({bias})",
        ]
    return f"    def __init__(self, {', '.join(sizes)}):\n" + filled(body, {}, 8) + "\n"


def separate(plan: NetworkPlan, rng: random.Random) -> str:
    """Return one function of X, y, W1, b1, … with its loss and gradients in order."""
    names = _plain(plan)
    order = plan.parameters
    title = rng.choice(["loss_and_grads", "forward_backward", "network_gradients"])
    return (
        f"def {title}(X, y, {', '.join(order)}):\n"
        + filled([*plan.forward, *plan.loss, *plan.backward], names)
        + f"    return loss, {', '.join('d' + p for p in order)}\n"
    )


def two_functions(plan: NetworkPlan, rng: random.Random) -> str:
    """Return forward(X, params), compute_loss(out, y) and backward(params, cache, X, y)."""
    names = {p: f'params["{p}"]' for p in plan.parameters} | {"X": "X", "y": "Y"}
    names |= {f"d{p}": f'grads["d{p}"]' for p in plan.parameters}
    cache = "{" + ", ".join(f'"{k}": {k}' for k in plan.kept) + "}"
    unpack = [f'{k} = cache["{k}"]' for k in plan.kept]
    forward, backward = rng.choice(
        [
            ("forward_propagation", "backward_propagation"),
            ("forward", "backward"),
            ("forward_pass", "backward_pass"),
        ]
    )
    more = ", params" if any("+=" in line for line in plan.loss) else ""
    body = filled(plan.loss, names | {"X": "Y"})
    cost = f"def compute_cost(out, Y{more}):\n{body}    return loss\n\n\n"
    return (
        f"def {forward}(X, params):\n"
        + filled(plan.forward, names)
        + f"    return out, {cache}\n\n\n"
        + cost
        + f"def {backward}(params, cache, X, Y):\n"
        + filled([*unpack, "grads = {}"], {})
        + filled(plan.backward, names)
        + "    return grads\n"
    )


def keeping_class(plan: NetworkPlan, rng: random.Random) -> str:
    """Return a class with forward(X), loss(y) and backward(X, y); gradients are kept or steps."""
    update = rng.random() < 0.4
    names = {p: f"self.{p}" for p in plan.parameters} | {"X": "X", "y": "y"}
    kept = plan.kept
    import re

    def own(lines: tuple[str, ...]) -> list[str]:
        return [re.sub(rf"(?<![\w.$])({'|'.join(kept)})\b", r"self.\1", line) for line in lines]

    names |= {f"d{p}": f"d{p}" if update else f"self.d{p}" for p in plan.parameters}
    steps = [f"self.{p} -= lr * d{p}" for p in plan.parameters] if update else []
    return (
        "class NeuralNetwork:\n"
        + _constructor(plan, names)
        + "    def forward(self, X):\n"
        + filled(own(plan.forward), names, 8)
        + "        return self.out\n\n"
        + "    def loss(self, X, y):\n        out = self.forward(X)\n"
        + filled(plan.loss, names, 8)
        + "        return loss\n\n"
        + f"    def backward(self, X, y{', lr=0.1' if update else ''}):\n"
        + filled(own(plan.backward), names, 8)
        + filled(steps, {}, 8)
    )


def lists(plan: NetworkPlan, rng: random.Random) -> str:
    """Return backprop(weights, biases, X, y) -> loss, and lists of gradients."""
    names = {"X": "X", "y": "y"}
    for i in range(1, plan.layers + 1):
        names |= {
            f"W{i}": f"weights[{i - 1}]",
            f"b{i}": f"biases[{i - 1}]",
            f"dW{i}": f"dW{i}",
            f"db{i}": f"db{i}",
        }
    dws, dbs = (", ".join(f"{k}{i}" for i in range(1, plan.layers + 1)) for k in ("dW", "db"))
    return (
        "def backprop(X, y, weights, biases):\n"
        + filled([*plan.forward, *plan.loss, *plan.backward], names)
        + f"    return loss, [{dws}], [{dbs}]\n"
    )


Writer = Callable[[NetworkPlan, random.Random], str]
WRITERS: tuple[Writer, ...] = (
    with_params,
    params_class,
    separate,
    two_functions,
    keeping_class,
    lists,
)


def network(seed: int, rng: random.Random) -> RandomTarget:
    """Return a network, with its mistakes."""
    plan = _plan(rng)
    writer = rng.choice(WRITERS)
    source = NUMPY + writer(plan, random.Random(seed))
    mistakes = []
    text = "\n".join(plan.backward)
    apart = writer in (two_functions, keeping_class)
    for edit in plan.mistakes:
        # A loss that is only printed may be a mean where the gradient is that of a sum.
        if edit.old not in text or (apart and edit.kind == "factor"):
            continue
        changed = NetworkPlan(
            **(vars(plan) | {"backward": tuple(text.replace(edit.old, edit.new, 1).split("\n"))})
        )
        wrong = NUMPY + writer(changed, random.Random(seed))
        if wrong != source:
            mistakes.append(Injected(edit.kind, wrong, pattern_of(edit)))
    return RandomTarget(
        seed, f"network, {writer.__name__.replace('_', ' ')}", source, tuple(mistakes)
    )
