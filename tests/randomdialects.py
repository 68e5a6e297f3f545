"""Writes a plan as somebody would: a pair of functions, a class, static methods; names at random."""

import random
from collections.abc import Callable
from string import Template

from randomplans import Plan, filled, pick

NUMPY = "import numpy as np\n\n\n"
Dialect = Callable[[Plan, random.Random], str]


def write(plan: Plan, seed: int) -> str:
    """Return the source of a plan in the dialect of a seed; the same seed gives the same dialect."""
    rng = random.Random(seed)
    choices: list[Dialect] = [pair_with_cache, pair_with_cache, pair_with_inputs, static_methods]
    choices += (
        [layer_class, layer_class, layer_class] if plan.parameters else [kept_class, kept_class]
    )
    if plan.family in ("elementwise", "activation") and len(plan.data) == 1:
        choices += [slope_pair] * 4 + [switch] * 2
    if plan.family == "activation" and _by_output(plan):
        choices += [slope_of_output] * 2
    return NUMPY + plan.helpers + rng.choice(choices)(plan, rng)


def _names(plan: Plan, rng: random.Random) -> dict[str, str]:
    """Return what each placeholder is called: data, parameters, gradients, kept values."""
    capital = rng.random() < 0.3
    found: dict[str, str] = {}
    for name in plan.data:
        usual = ("X", "A_prev", "inputs") if capital else ("x", "x", "inputs", "a_prev")
        found[name] = rng.choice(plan.spelled.get(name, usual if name == "x" else (name,)))
    found |= _parameter_names(plan, rng)
    found |= {k: k for k in plan.kept} | {k: k for k, _ in plan.options}
    out = pick(rng, "out", "y", "Z", "output", "out")
    found["out"] = out if out not in found.values() else "out"
    style = rng.choice(_STYLES)
    for name in plan.wanted:
        found[f"d_{name}"] = style.format(found[name])
    dout = rng.choice(["dout", "dout", "grad_output", "dY", "upstream", "d_out", "dZ", "grad_out"])
    found["dout"] = dout if dout not in found.values() else "dout"
    return found


_STYLES = ("d{}", "d{}", "d{}", "grad_{}", "{}_grad", "d_{}", "dL_d{}", "dLd{}")
_WEIGHTS = (
    ("W", "b"),
    ("W", "b"),
    ("w", "b"),
    ("weights", "bias"),
    ("weights", "biases"),
    ("kernel", "bias"),
    ("theta", "b"),
    ("weight", "bias"),
)


def _parameter_names(plan: Plan, rng: random.Random) -> dict[str, str]:
    names = plan.parameter_names
    weight, bias = rng.choice(_WEIGHTS)
    found = {n: n for n in names}
    if "W" in names:
        found["W"] = rng.choice(plan.spelled.get("W", (weight,)))
        if plan.family == "embedding":
            found["W"] = pick(rng, "W", "weights", "table", "E")
    if "b" in names and len(names) == 2:
        found["b"] = bias
    return found


def _needed(plan: Plan) -> tuple[str, ...]:
    return plan.needs or (*plan.data, *plan.parameter_names)


def _tuple(parts: list[str]) -> str:
    return ", ".join(parts)


def _returned(plan: Plan, names: dict[str, str], rng: random.Random) -> str:
    grads = [names[f"d_{n}"] for n in plan.wanted]
    if len(grads) > 1 and rng.random() < 0.2:
        return "{" + ", ".join(f'"{g}": {g}' for g in grads) + "}"
    if len(grads) > 1 and rng.random() < 0.1:
        return f"({_tuple(grads)})"
    return _tuple(grads)


def _options(plan: Plan) -> list[str]:
    return [f"{k}={v!r}" for k, v in plan.options]


def _titles(plan: Plan, rng: random.Random) -> tuple[str, str]:
    """Return the names of a forward and of its backward."""
    name = rng.choice([n for n in plan.names if n[0].islower()])
    return rng.choice(
        [
            (f"{name}_forward", f"{name}_backward"),
            (f"{name}_forward", f"{name}_backward"),
            (f"{name}Forward", f"{name}Backward"),
            (name, f"{name}_backward"),
            (name, f"{name}_grad"),
            (f"forward_{name}", f"backward_{name}"),
            (f"{name}_fwd", f"{name}_bwd"),
        ]
    )


def pair_with_cache(plan: Plan, rng: random.Random) -> str:
    """Return f_forward(x, …) -> out, cache and f_backward(dout, cache)."""
    names = _names(plan, rng)
    forward, backward = _titles(plan, rng)
    given = [names[n] for n in (*plan.data, *plan.parameter_names)]
    kept = list(dict.fromkeys([*(names[n] for n in _needed(plan)), *(names[k] for k in plan.kept)]))
    as_dict = rng.random() < 0.25 and len(kept) > 1
    pack = "{" + _tuple([f'"{k}": {k}' for k in kept]) + "}" if as_dict else f"({_tuple(kept)})"
    unpack = [f'{k} = cache["{k}"]' for k in kept] if as_dict else [f"{_tuple(kept)} = cache"]
    if len(kept) == 1:
        pack, unpack = kept[0], [f"{kept[0]} = cache"]
    order = [names["dout"], "cache"] if rng.random() < 0.8 else ["cache", names["dout"]]
    back = [Template(line).substitute(names) for line in plan.backward]
    return (
        f"def {forward}({_tuple([*given, *_options(plan)])}):\n"
        + filled(plan.forward, names)
        + f"    cache = {pack}\n    return {names['out']}, cache\n\n\n"
        + f"def {backward}({_tuple(order)}):\n"
        + filled([u.replace("$", "$$") for u in [*unpack, *back]], {})
        + f"    return {_returned(plan, names, rng)}\n"
    )


def pair_with_inputs(plan: Plan, rng: random.Random) -> str:
    """Return f(x, …) and f_backward(dout, x, …) that computes again what it needs."""
    names = _names(plan, rng)
    forward, backward = _titles(plan, rng)
    given = [names[n] for n in (*plan.data, *plan.parameter_names)]
    args = [names["dout"], *given] if rng.random() < 0.7 else [*given, names["dout"]]
    again = filled(plan.forward, names) if plan.kept else ""
    return (
        f"def {forward}({_tuple([*given, *_options(plan)])}):\n"
        + filled(plan.forward, names)
        + f"    return {names['out']}\n\n\n"
        + f"def {backward}({_tuple([*args, *_options(plan)])}):\n"
        + again
        + filled(plan.backward, names)
        + f"    return {_returned(plan, names, rng)}\n"
    )


def static_methods(plan: Plan, rng: random.Random) -> str:
    """Return a class whose forward and backward are static."""
    body = pair_with_cache(plan, rng)
    halves = body.split("\n\n\n")
    title = plan.names[-1].title().replace("_", "")
    made = [f"class {title}:"]
    for half, name in zip(halves, ("forward", "backward"), strict=True):
        _, _, rest = half.partition("(")
        lines = f"def {name}({rest}".rstrip("\n").split("\n")
        made += ["    @staticmethod", *(f"    {line}" for line in lines), ""]
    return "\n".join(made)


def slope_pair(plan: Plan, rng: random.Random) -> str:
    """Return f(x) and its slope, f_prime(x)."""
    names = _names(plan, rng) | {"dout": "1.0"}
    x = names[plan.data[0]]
    f = rng.choice([n for n in plan.names if n[0].islower()])
    prime = pick(
        rng,
        f"{f}_prime",
        f"d_{f}",
        f"{f}_derivative",
        f"d{f}",
        f"{f}_grad",
        f"{f}Prime",
        f"{f}_deriv",
    )
    again = filled([ln for ln in plan.forward], names) if "out" in plan.kept else ""
    slope = f"d_{plan.data[0]}"
    body = filled(plan.backward, names | {slope: "slope"}).replace("1.0 * ", "")
    return (
        f"def {f}({x}):\n" + filled(plan.forward, names) + f"    return {names['out']}\n\n\n"
        f"def {prime}({x}):\n{again}{body}    return slope\n"
    )


def switch(plan: Plan, rng: random.Random) -> str:
    """Return one function with derivative=True."""
    names = _names(plan, rng) | {"dout": "1.0"}
    x = names[plan.data[0]]
    f = rng.choice([n for n in plan.names if n[0].islower()])
    flag = pick(rng, "derivative", "deriv", "prime", "derivative")
    body = filled(plan.backward, names | {f"d_{plan.data[0]}": "slope"}, 8).replace("1.0 * ", "")
    return (
        f"def {f}({x}, {flag}=False):\n"
        + filled(plan.forward, names)
        + f"    if {flag}:\n{body}        return slope\n    return {names['out']}\n"
    )


def _by_output(plan: Plan) -> bool:
    return "$x" not in "".join(plan.backward).replace("$d_x", "")


def slope_of_output(plan: Plan, rng: random.Random) -> str:
    """Return f(x) and f_prime(a) of its output."""
    names = _names(plan, rng) | {"dout": "1.0"}
    x, f = names[plan.data[0]], plan.names[0]
    a = pick(rng, "a", "y", "output", "s")
    body = filled(plan.backward, names | {"d_x": "slope", "out": a, "x": a}).replace("1.0 * ", "")
    return (
        f"def {f}({x}):\n" + filled(plan.forward, names) + f"    return {names['out']}\n\n\n"
        f"def {f}_derivative({a}):\n{body}    return slope\n"
    )


def _on_self(plan: Plan, names: dict[str, str], which: tuple[str, ...]) -> dict[str, str]:
    return names | {n: f"self.{names[n]}" for n in which}


def kept_class(plan: Plan, rng: random.Random) -> str:
    """Return a layer without parameters: forward keeps, backward returns."""
    names = _names(plan, rng)
    title = plan.names[-1].title().replace("_", "")
    kept = tuple(k for k in plan.kept if k != "out") + (("out",) if "out" in plan.kept else ())
    given = [names[n] for n in plan.data]
    no_return = rng.random() < 0.2 and len(plan.wanted) == 1
    if no_return:
        names["d_" + plan.wanted[0]] = "self.dinputs"
        names["out"] = "output"
        kept = tuple(dict.fromkeys((*kept, "out")))
    inside = _on_self(plan, names, kept)
    saved = [f"self.{names[n]} = {names[n]}" for n in _needed(plan) if n in plan.data]
    back = _on_self(plan, names, (*plan.data, *kept))
    first = pick(rng, "forward", "forward", "__call__") if not no_return else "forward"
    dout = "dvalues" if no_return else names["dout"]
    return (
        f"class {title}:\n    def {first}(self, {_tuple([*given, *_options(plan)])}):\n"
        + filled(saved, {}, 8)
        + filled(plan.forward, inside, 8)
        + ("" if no_return else f"        return {inside['out']}\n")
        + f"\n    def backward(self, {dout}):\n"
        + filled(plan.backward, back | {"dout": dout}, 8)
        + (
            ""
            if no_return
            else f"        return {_tuple([names[f'd_{n}'] for n in plan.wanted])}\n"
        )
    )


_KEEPING = (
    "self.d{}",
    "self.d{}",
    'self.grads["{}"]',
    "self.dLd{}",
    "self.{}_grad",
    "self.grad_{}",
    "update",
    'self.gradients["d{}"]',
    "self.d_{}",
)


def layer_class(plan: Plan, rng: random.Random) -> str:
    """Return a layer with parameters whose gradients are kept, or which is moved at once."""
    names = _names(plan, rng)
    title = plan.names[-1].title().replace("_", "")
    keep = rng.choice(_KEEPING)
    update = keep == "update"
    parameters = plan.parameter_names
    inside = _on_self(plan, names, (*parameters, *(k for k in plan.kept)))
    back = _on_self(plan, inside, plan.data) | {"d_" + n: names["d_" + n] for n in plan.wanted}
    if not update:
        back |= {f"d_{n}": keep.format(names[n]) for n in parameters}
    saved = [f"self.{names[n]} = {names[n]}" for n in _needed(plan) if n in plan.data]
    sizes = [*plan.sizes, *(["lr=0.1"] if update else [])]
    held = [f"self.{names[n]} = rng.standard_normal({s}) * 0.1" for n, s in plan.parameters]
    held += [f"self.{keep[5:].partition('[')[0]} = {{}}"] if "[" in keep else []
    held += ["self.lr = lr"] if update else []
    steps = (
        [f"self.{names[n]} -= self.lr * {names['d_' + n]}" for n in parameters] if update else []
    )
    data = [n for n in plan.data if n not in plan.without]
    returned = f"        return {_tuple([names[f'd_{n}'] for n in data])}\n" if data else ""
    return (
        f"class {title}:\n    def __init__(self, {_tuple(sizes)}):\n        rng = np.random.default_rng(0)\n"
        + filled(held, {}, 8)
        + f"\n    def forward(self, {_tuple([names[n] for n in plan.data] + _options(plan))}):\n"
        + filled(saved, {}, 8)
        + filled(plan.forward, inside, 8)
        + f"        return {inside['out']}\n"
        + f"\n    def backward(self, {names['dout']}):\n"
        + filled(plan.backward, back, 8)
        + filled(steps, {}, 8)
        + returned
    )
