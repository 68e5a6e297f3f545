"""Random losses with their gradients: as pairs, fused functions and classes."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from string import Template

from randomplans import NAMED, Injected, RandomTarget, filled, pick

NUMPY = "import numpy as np\n\n\n"


@dataclass(frozen=True)
class LossPlan:
    """A loss of `$p` and `$t`: lines that give `$loss`, lines that give `$d`, and mistakes."""

    family: str
    names: tuple[str, ...]
    forward: tuple[str, ...]
    backward: tuple[str, ...]
    mistakes: tuple[tuple[str, str, str], ...]
    """Kind, what is written in the backward, and what stands there by mistake."""
    predictions: tuple[str, ...] = ("y_pred", "y_hat", "pred", "predictions", "output")
    targets: tuple[str, ...] = ("y_true", "y", "target", "targets", "t")
    targets_first: bool = True


def _squared(rng: random.Random) -> LossPlan:
    half, mean = rng.random() < 0.5, rng.choice(["size", "rows", "sum"])
    value = {
        "size": "np.mean(($p - $t) ** 2)",
        "rows": "np.sum(($p - $t) ** 2) / len($p)",
        "sum": "np.sum(($p - $t) ** 2)",
    }[mean]
    by = {"size": " / $p.size", "rows": " / len($p)", "sum": ""}[mean]
    slope = f"{'' if half else '2 * '}($p - $t){by}"
    wrong = [
        ("sign", slope, slope.replace("($p - $t)", "($t - $p)")),
        ("factor", slope, "2 * " + slope if half else slope[4:]),
    ]
    wrong += (
        [("factor", by, ""), ("factor", by, " / len($p)" if mean == "size" else " / $p.size")]
        if by
        else [("mean", slope, slope + " / len($p)")]
    )
    names = ("mse", "mse_loss", "squared_error", "mean_squared_error", "quadratic_cost")
    return LossPlan(
        "half mse" if half else "mse",
        names,
        (f"$loss = {'0.5 * ' * half}{value}",),
        (f"$d = {slope}",),
        tuple(wrong),
    )


def _bce(rng: random.Random) -> LossPlan:
    mean = rng.choice(["np.mean", "np.sum"])
    by = " / $p.size" if mean == "np.mean" else ""
    slope = (
        f"($p - $t) / ($p * (1 - $p)){by}"
        if rng.random() < 0.5
        else f"(-$t / $p + (1 - $t) / (1 - $p)){by}"
    )
    wrong = [
        ("sign", slope, f"-{slope}" if slope.startswith("($p") else slope.replace("+", "-")),
        ("left out", slope, f"($p - $t){by}" if "$p - $t" in slope else f"(-$t / $p){by}"),
    ]
    wrong += [("factor", by, "")] if by else [("mean", slope, slope + " / len($p)")]
    return LossPlan(
        "bce",
        ("bce", "binary_cross_entropy", "bce_loss", "log_loss"),
        (f"$loss = -{mean}($t * np.log($p) + (1 - $t) * np.log(1 - $p))",),
        (f"$d = {slope}",),
        tuple(wrong),
    )


def _cross_entropy(rng: random.Random) -> LossPlan:
    labels = rng.random() < 0.5
    back: tuple[str, ...]
    shifted = (
        "z = $p - np.max($p, axis=1, keepdims=True)",
        "$prob = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)",
    )
    n = "$p.shape[0]"
    if labels:
        value = f"$loss = -np.sum(np.log($prob[np.arange({n}), $t])) / {n}"
        back = ("$d = $prob.copy()", f"$d[np.arange({n}), $t] -= 1", f"$d /= {n}")
        wrong = [
            ("factor", f"$d /= {n}", "$d = $d * 1.0"),
            ("left out", "-= 1", "-= 0"),
            ("sign", "-= 1", "+= 1"),
            ("factor", "-= 1", "-= 2"),
            ("scatter", f"[np.arange({n}), $t] -= 1", "[:, $t] -= 1"),
            ("factor", f"$d /= {n}", "$d /= $p.size"),
        ]
    else:
        value = f"$loss = -np.sum($t * np.log($prob)) / {n}"
        back = (f"$d = ($prob - $t) / {n}",)
        wrong = [
            ("sign", "($prob - $t)", "($t - $prob)"),
            ("factor", f" / {n}", ""),
            ("factor", f" / {n}", " / $p.size"),
            ("left out", "($prob - $t)", "$prob"),
            ("softmax", "($prob - $t)", "($prob - $t) * $prob * (1 - $prob)"),
            ("factor", f"/ {n}", "* 2"),
        ]
    return LossPlan(
        "cross entropy",
        ("softmax_loss", "softmax_cross_entropy", "cross_entropy_loss", "softmax_with_loss"),
        (*shifted, value),
        back,
        tuple(wrong),
        ("scores", "logits", "x"),
        ("y", "labels", "targets") if labels else ("y", "t", "y_true", "onehot"),
        False,
    )


def _huber(rng: random.Random) -> LossPlan:
    d = rng.choice(["1.0", "0.5"])
    value = (
        f"$loss = np.mean(np.where(np.abs($p - $t) <= {d}, 0.5 * ($p - $t) ** 2, "
        f"{d} * (np.abs($p - $t) - 0.5 * {d})))"
    )
    slope = f"np.where(np.abs($p - $t) <= {d}, $p - $t, {d} * np.sign($p - $t)) / $p.size"
    return LossPlan(
        "huber",
        ("huber", "huber_loss", "smooth_l1"),
        (value,),
        (f"$d = {slope}",),
        (
            ("factor", " / $p.size", ""),
            ("sign", f"{d} * np.sign", f"-{d} * np.sign"),
            ("constant", f", {d} * np.sign", f", 2 * {d} * np.sign"),
            ("constant", f"{d}, $p - $t,", f"{d}, 2 * ($p - $t),"),
        ),
    )


def _svm(rng: random.Random) -> LossPlan:
    n = "$p.shape[0]"
    forward = (
        f"n = {n}",
        "right = $p[np.arange(n), $t][:, None]",
        "margins = np.maximum(0, $p - right + 1)",
        "margins[np.arange(n), $t] = 0",
        "$loss = np.sum(margins) / n",
    )
    back = (
        f"n = {n}",
        "right = $p[np.arange(n), $t][:, None]",
        "margins = np.maximum(0, $p - right + 1)",
        "margins[np.arange(n), $t] = 0",
        "$d = np.zeros_like($p)",
        "$d[margins > 0] = 1",
        "$d[np.arange(n), $t] -= (margins > 0).sum(axis=1)",
        "$d /= n",
    )
    return LossPlan(
        "svm",
        ("svm_loss", "hinge_loss", "multiclass_hinge"),
        forward,
        back,
        (
            ("factor", "$d /= n", "$d /= 1"),
            ("left out", "-= (margins > 0).sum(axis=1)", "-= 0"),
            ("constant", "-= (margins > 0).sum(axis=1)", "-= 1"),
            ("sign", "-= (margins > 0)", "+= (margins > 0)"),
        ),
        ("scores", "x", "logits"),
        ("y", "labels"),
        False,
    )


Made = Callable[[LossPlan, dict[str, str], random.Random], str]


def _pair(plan: LossPlan, names: dict[str, str], rng: random.Random) -> str:
    name = rng.choice(plan.names)
    back = pick(
        rng,
        f"{name}_grad",
        f"{name}_backward",
        f"{name}_prime",
        f"{name}_derivative",
        f"{name}_gradient",
        f"d_{name}",
    )
    args = _arguments(plan, names, rng)
    again = filled(plan.forward[:2], names) if "$prob" in "".join(plan.backward) else ""
    return (
        f"def {name}({args}):\n{filled(plan.forward, names)}    return {names['loss']}\n\n\n"
        f"def {back}({args}):\n{again}{filled(plan.backward, names)}    return {names['d']}\n"
    )


def _arguments(plan: LossPlan, names: dict[str, str], rng: random.Random) -> str:
    first = plan.targets_first and rng.random() < 0.5
    return f"{names['t']}, {names['p']}" if first else f"{names['p']}, {names['t']}"


def _fused(plan: LossPlan, names: dict[str, str], rng: random.Random) -> str:
    name = rng.choice(plan.names)
    body = [*plan.forward, *(line for line in plan.backward if line not in plan.forward)]
    if plan.family == "svm":
        body = [*plan.forward, *plan.backward[4:]]
    return (
        f"def {name}({_arguments(plan, names, rng)}):\n{filled(body, names)}"
        f"    return {names['loss']}, {names['d']}\n"
    )


def _class(plan: LossPlan, names: dict[str, str], rng: random.Random) -> str:
    title = plan.names[0].title().replace("_", "")
    forward, backward = rng.choice(
        [
            ("forward", "backward"),
            ("__call__", "backward"),
            ("loss", "gradient"),
            ("forward", "gradient"),
            ("calculate", "backward"),
        ]
    )
    both = f"{names['p']}, {names['t']}"
    no_state = forward == "loss"
    kept = {k: f"self.{names[k]}" for k in (("p", "t", "prob") if not no_state else ())}
    inside = names | ({"prob": kept["prob"]} if kept else {})
    saved = [f"{v} = {names[k]}" for k, v in kept.items() if k != "prob"]
    again = (
        filled(plan.forward[:2], names, 8) if no_state and "$prob" in "".join(plan.backward) else ""
    )
    return (
        f"class {title}:\n    def {forward}(self, {both}):\n"
        f"{filled(saved, {}, 8)}{filled(plan.forward, inside, 8)}"
        f"        return {names['loss']}\n\n"
        f"    def {backward}(self{', ' + both if no_state else ''}):\n"
        f"{again}{filled(plan.backward, names | kept, 8)}"
        f"        return {names['d']}\n"
    )


def loss(seed: int, rng: random.Random) -> RandomTarget:
    """Return a loss in a random way of writing, with its mistakes."""
    plan = rng.choice([_squared, _squared, _cross_entropy, _cross_entropy, _bce, _huber, _svm])(rng)
    made: Made = rng.choice([_pair, _pair, _fused, _class])
    p = rng.choice(plan.predictions)
    t = rng.choice(plan.targets)
    names = {
        "p": p,
        "t": t,
        "loss": "loss",
        "d": rng.choice([f"d{p}", "grad", "dx", f"grad_{p}"]),
        "prob": "probs",
    }

    def written(plan: LossPlan) -> str:
        return NUMPY + made(plan, names, random.Random(seed))

    mistakes = []
    text = "\n".join(plan.backward)
    for kind, old, new in plan.mistakes:
        if old in text:
            wrong = LossPlan(
                **(vars(plan) | {"backward": tuple(text.replace(old, new, 1).split("\n"))})
            )
            mistakes.append(Injected(kind, written(wrong), NAMED[kind]))
    assert Template(text)
    return RandomTarget(seed, plan.family, written(plan), tuple(mistakes))
