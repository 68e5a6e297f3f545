"""Every mistake of the catalogue as a source file: an own forward, and a backward that makes it.

The wrong line is the transform of the catalogue itself, rewritten to the names of a function;
the forward and the right lines are written as people write them (`injectedforms`), the whole in a
random dialect (`randomdialects`).
"""

import ast
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from injected_forms import (
    ACTIVATION_FORMS,
    LOSS_FORMS,
    OTHER_FORMS,
    UNIT_ROWS_DIAGONAL,
    ActivationForm,
    LossForm,
)
from randomdialects import write
from randomplans import Plan

from manual_backprop.losses import LOSSES
from reference.diagnosis.mistakes import CATALOGUE, DenseLine, LossLine, Mistake
from reference.diagnosis.mistakes.catalogue import right_of, statements

OF_ANY = ("tanh", "sigmoid", "softplus", "silu")
"""The activations that a mistake of any activation is injected in, in turn."""
ONLY_OF = {
    "mask_ignored": "dropout",
    "row_diagonal_only": "unit_rows",
    "activation_slope_in_integers": "silu",
    "activation_taken_for_sigmoid": "tanh",
    "activation_taken_for_tanh": "sigmoid",
    "activation_taken_for_step_of_output": "softplus",
    "activation_one_minus_value": "softplus",
    "activation_slope_complement": "silu",
}
"""Mistakes of functions that the registry does not know, or that show in few of them."""
LOSSES_OF_ANY = ("mse", "cross_entropy", "log_cosh", "categorical_cross_entropy")

NO_OWN_FORM: dict[str, str] = {
    "mean_counts_ignored": "the scale of class weights is not seen from the gradient",
    "bce_epsilon": "a stabiliser below 1e-4 is a remark of a check, no mistake",
    "categorical_epsilon": "a stabiliser below 1e-4 is a remark of a check, no mistake",
}
"""Mistakes without an own-forward form, and why."""


@dataclass(frozen=True)
class InjectedFile:
    """A source with one mistake of the catalogue, and the same without it."""

    name: str
    operation: str
    wrong: str
    right: str
    seed: int = 0


def injected_files(seed: int = 0) -> Iterator[InjectedFile]:
    """Yield every mistake in every operation that it is about, in the dialects of a seed."""
    for name in CATALOGUE:
        if name not in NO_OWN_FORM:
            yield from injected(name, seed)


def injected(name: str, seed: int) -> Iterator[InjectedFile]:
    """Yield a mistake in each operation that it is about; where it is of any, in one of a few."""
    mistake = CATALOGUE[name]
    some = LOSSES_OF_ANY if mistake.line == "loss" else OF_ANY
    fitting = [o for o in some if _suits(mistake, o)]
    own = (ONLY_OF[name],) if name in ONLY_OF else mistake.operations
    for operation in own or (fitting[(seed + len(name)) % len(fitting)],):
        right, wrong = _pair(mistake, operation, seed)
        if right != wrong:
            yield InjectedFile(name, operation, wrong, right, seed)


def _suits(mistake: Mistake, operation: str) -> bool:
    """Whether a mistake can be made with a loss: one that divides by N C has columns to count."""
    rowwise = operation in LOSS_FORMS and LOSS_FORMS[operation].rowwise
    by_entry = ("mean_over_batch_only", "mean_over_outputs_only")
    return not (rowwise and mistake.name in by_entry)


def _pair(mistake: Mistake, operation: str, seed: int) -> tuple[str, str]:
    if mistake.line == "loss":
        return _loss_sources(mistake, operation, seed)
    if mistake.line == "activation":
        plan, (symbols, calls) = _activation_plan(mistake, operation), _of_activation(operation)
        target = "d_z" if "d_z" in "".join(plan.backward) else "d_x"
        if target == "d_x":
            symbols = {k: v.replace("$z", "$x") for k, v in symbols.items()}
    else:
        before = "c.x_before" in _code(mistake)
        plan, symbols, calls = _dense_plan(mistake, before), _dense_symbols(before), _ROWS
        target = {"weight": "d_W", "bias": "d_b", "below": "d_x"}[mistake.line]
    made = _lines(mistake, symbols, calls, target)
    if mistake.line != "activation" and _narrow(mistake):
        like = {"d_x": "$x", "d_W": "$W", "d_b": "$b"}[target]
        made = (*made[:-1], f"{made[-1]} + np.zeros_like({like})")
    place = next(i for i, ln in enumerate(plan.backward) if ln.startswith(f"${target} ="))
    lines = (*plan.backward[:place], *made, *plan.backward[place + 1 :])
    wrong = replace(plan, backward=lines)
    return write(_inner(plan), seed), write(_inner(wrong), seed)


def _narrow(mistake: Mistake) -> bool:
    """Whether a transform leaves it to the catalogue to give its value the right shape."""
    rng = np.random.default_rng(0)
    x, dz, da, w = (rng.standard_normal(s) for s in ((3, 3), (3, 3), (3, 3), (3, 3)))
    line = DenseLine(x, dz, w, rng.standard_normal(3), da, rng.standard_normal((3, 3)))
    return np.shape(mistake.transform(line)) != right_of(mistake.line, line).shape


def _inner(plan: Plan) -> Plan:
    """Return a plan whose δz is a local variable."""
    return replace(plan, backward=tuple(ln.replace("$d_z", "dz") for ln in plan.backward))


# -- the wrong line, rewritten -----------------------------------------------------------------

Calls = Mapping[str, Callable[[list[str], dict[str, str]], str]]


class _Rewriting(ast.NodeTransformer):
    """Puts the names of a source in the place of what a line of the catalogue calls them."""

    def __init__(self, symbols: Mapping[str, str], calls: Calls) -> None:
        self.symbols, self.calls = symbols, calls

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "c":
            return _parsed(self.symbols[node.attr])
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        owner = node.value
        if isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name):
            keyed = owner.value.id == "c" and owner.attr in ("right", "arguments")
            if keyed and isinstance(node.slice, ast.Constant):
                return _parsed(self.symbols[f"{owner.attr}.{ast.unparse(node.slice)[1:-1]}"])
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = ast.unparse(node.func).removeprefix("c.")
        if name == "arguments.get":
            return _parsed(self.symbols[f"arguments.{ast.unparse(node.args[0])[1:-1]}"])
        if name not in self.calls:
            return self.generic_visit(node)
        given = [ast.unparse(self.visit(a)) for a in node.args]
        named = {k.arg or "": ast.unparse(self.visit(k.value)) for k in node.keywords}
        return _parsed(self.calls[name](given, named))


def _parsed(text: str) -> ast.expr:
    return ast.parse(f"({text.replace('$', '_V_')})", mode="eval").body


def _code(mistake: Mistake) -> str:
    return "\n".join(map(ast.unparse, statements(mistake.transform)))


def _lines(
    mistake: Mistake, symbols: Mapping[str, str], calls: Calls, target: str
) -> tuple[str, ...]:
    """Return the lines of a mistake's transform, the last of which gives the target."""
    rewriting = _Rewriting(symbols, calls)
    found: list[str] = []
    for node in statements(mistake.transform):
        if isinstance(node, ast.Return):
            assert node.value is not None
            found.append(f"_V_{target} = {ast.unparse(rewriting.visit(node.value))}")
        else:
            found.append(ast.unparse(rewriting.visit(node)))
    return tuple(line.replace("_V_", "$") for line in "\n".join(found).split("\n"))


_ROWS = {
    "_rows": lambda a, k: f"({a[0]}).sum(axis=-1, keepdims=True)",
    "_logistic": lambda a, k: f"1 / (1 + np.exp(-({a[0]})))",
    "_softmax": lambda a, k: f"np.exp({a[0]}) / np.exp({a[0]}).sum(axis=-1, keepdims=True)",
}


# -- activations -------------------------------------------------------------------------------


def _at(text: str, **given: str) -> str:
    """Return a formula of z, a, da with other expressions in their places."""
    given.setdefault("mask", "$mask")
    return re.sub(r"\b(z|a|da|mask)\b", lambda m: given.get(m[1], m[1]), text)


def _right_line(form: ActivationForm, **given: str) -> str:
    formula = form.slope if form.rowwise else f"da * {form.slope}"
    return _at(formula, **given)


_FORMS = {**ACTIVATION_FORMS, **OTHER_FORMS}
_PLACES = {"z": "$z", "a": "$out", "da": "$dout"}


def _of_activation(operation: str) -> tuple[dict[str, str], Calls]:
    form = _FORMS[operation]
    symbols = {**_PLACES, "x": "$x", "jacobian": "$x", "right": _right_line(form, **_PLACES)}
    if not form.rowwise:
        symbols["slope"] = _at(form.slope, **_PLACES)

    def backward(given: list[str], named: dict[str, str]) -> str:
        z, a, da = (f"({g})" for g in given)
        return _right_line(form, z=z, a=a, da=da)

    def forward(given: list[str], named: dict[str, str]) -> str:
        return _at(form.value, z=f"({given[0]})")

    return symbols, {
        **_ROWS,
        "backward": backward,
        "forward": forward,
        "_parameter": lambda a, k: f"{form.parameter}",
        "np.diagonal": lambda a, k: _at(UNIT_ROWS_DIAGONAL, **_PLACES).replace("$z", "$x"),
    }


def _activation_plan(mistake: Mistake, operation: str) -> Plan:
    """Return f(z); where the mistake takes the layer's input, f(x W + b) of a square layer."""
    form = _FORMS[operation]
    helpers = "from scipy.special import erf\n\n\n" if "erf" in form.value else ""
    title = (operation, operation.title().replace("_", ""))
    value, right = _at(form.value, **_PLACES), _right_line(form, **_PLACES)
    if "c.x" in _code(mistake):
        return Plan(
            "layer", ("layer", "Layer"), ("x",),
            ("$z = $x @ $W + $b", f"$out = {value}"),
            (f"$d_z = {right}", "$d_W = $x.T @ $d_z", "$d_b = $d_z.sum(axis=0)",
             "$d_x = $d_z @ $W.T"),
            parameters=(("W", "(n, n)"), ("b", "(n,)")), sizes=("n",), kept=("z", "out"),
            helpers=helpers,
        )  # fmt: skip
    mask = ("mask",) * ("mask" in value)
    return Plan(
        "mistake", title, ("x", *mask), (f"$out = {value}".replace("$z", "$x"),),
        (f"$d_x = {right}".replace("$z", "$x"),), kept=("out",), helpers=helpers, without=mask,
        spelled={"x": ("x", "z", "inputs")},
    )  # fmt: skip


# -- dense layers ------------------------------------------------------------------------------


def _dense_symbols(before: bool) -> dict[str, str]:
    x = "$a_in" if before else "$x"
    return {
        "x": x, "dz": "$d_z", "weight": "$W", "bias": "$b", "da": "$dout", "x_before": "$x",
        "right.weight": f"{x}.T @ $d_z", "right.bias": "$d_z.sum(axis=0)",
        "right.x": "$d_z @ $W.T", "batch": "len($x)",
    }  # fmt: skip


def _dense_plan(mistake: Mistake, before: bool) -> Plan:
    """Return tanh(x W + b), square where the mistake wants that, of tanh(x) where it wants z₋₁."""
    square = getattr(mistake.applicable, "__name__", "") == "_square"
    sizes = ("n",) if square else ("n_in", "n_out")
    x, dx = ("$a_in", "$d_z @ $W.T * (1 - $a_in**2)") if before else ("$x", "$d_z @ $W.T")
    forward = (f"z = {x} @ $W + $b", "$out = np.tanh(z)")
    backward = ("$d_z = $dout * (1 - $out**2)", f"$d_W = {x}.T @ $d_z",
                "$d_b = $d_z.sum(axis=0)", f"$d_x = {dx}")  # fmt: skip
    shape = "(n, n)" if square else "(n_in, n_out)"
    return Plan(
        "layer", ("dense_tanh", "Dense"), ("x",),
        ("$a_in = np.tanh($x)", *forward) if before else forward, backward,
        parameters=(("W", shape), ("b", f"({sizes[-1]},)")), sizes=sizes,
        kept=("a_in", "out") if before else ("out",),
    )  # fmt: skip


# -- losses ------------------------------------------------------------------------------------

_PLAIN, _HOT = "t", "np.eye(y.shape[1])[t]"
_VARIANTS = {
    "c.weights": ("sample weights", _PLAIN),
    "sample_weights": ("sample weights", _PLAIN),
    "label_smoothing": ("label smoothing", "((1 - eps) * t + eps / y.shape[1])"),
    "class_weight": ("class weights", f"({_HOT} * (1.0 + np.arange(y.shape[1])))"),
    "mean_counts": ("class weights", f"({_HOT} * (1.0 + np.arange(y.shape[1])))"),
    "ignored": ("ignored labels", f"({_HOT} * (t != 1)[:, None])"),
    "labels": ("labels", _HOT),
}
"""What a mistake speaks of -> the variant of a loss that it can be made in, and its masses."""

_DIVISORS = {"mean": "y.size", "batch_mean": "len(y)", "sum": "1"}


class _Variant(NamedTuple):
    """A loss as its file has it: its masses in terms of t, its divisor, its sample weights."""

    form: LossForm
    masses: str
    plain: str
    divisor: str
    weighted: bool

    @property
    def seed(self) -> str:
        """∂/∂L of each entry."""
        return f"w[:, None] / {self.divisor}" if self.weighted else f"1 / {self.divisor}"

    def gradient(self, given: list[str], named: dict[str, str]) -> str:
        """Return the right formula at other targets, another cotangent or without a setting."""
        masses = self.masses
        if "targets" in named:
            masses = _with(masses, f"({named['targets']})")
        if named.keys() & {"label_smoothing", "class_weight"}:
            masses = self.plain
        return f"{_with(self.form.slope, masses)} * ({given[0] if given else self.seed})"


def _with(formula: str, masses: str) -> str:
    """Return a formula with something else in the place of t."""
    return re.sub(r"\bt\b", lambda _: masses, formula)


def _variant(mistake: Mistake, form: LossForm, rng: random.Random) -> _Variant:
    source = f"{mistake.name} {_code(mistake)}"
    for word, (kind, masses) in _VARIANTS.items():
        if word in source:
            hot = _HOT if "eye" in masses else _PLAIN
            divisor = "(1.0 + t).sum()" if word == "mean_counts" else "len(y)"
            return _Variant(form, masses, hot, divisor, kind == "sample weights")
    options = ["batch_mean", "sum"] if form.rowwise else ["mean", "batch_mean", "sum"]
    chosen = rng.choice([o for o in options if _applies(mistake, o)] or options)
    return _Variant(form, _PLAIN, _PLAIN, _DIVISORS[chosen], False)


def _applies(mistake: Mistake, reduction: str) -> bool:
    y = np.full((3, 4), 0.25)
    divisor = {"mean": 12.0, "batch_mean": 3.0, "sum": 1.0}[reduction]
    kind = "sum" if reduction == "sum" else "mean"
    line = LossLine(LOSSES["mse"], {}, y, y, y, y, divisor, kind, np.ones(3))
    return mistake.applicable is None or bool(mistake.applicable(line))


def _loss_sources(mistake: Mistake, operation: str, seed: int) -> tuple[str, str]:
    rng = random.Random(f"{mistake.name} {operation} {seed}")
    form = LOSS_FORMS[operation]
    v = _variant(mistake, form, rng)
    value = _with(form.value, v.masses)
    losses = f"({value})[:, None]" if form.rowwise else f"({value})"
    right = f"{_with(form.slope, v.masses)} * ({v.seed})"
    symbols = {
        "y": "y", "t": v.plain, "targets": "t", "right": right, "dL": v.seed, "dL_columns": v.seed,
        "losses": losses, "divisor": v.divisor, "weights": "w", "batch": "len(y)",
        "classes": "y.shape[1]", "arguments.ignore_index": "1", "arguments.eps": "1e-6",
        **{f"arguments.{k}": k for k, _ in form.options},
        "arguments.class_weight": "(1.0 + np.arange(y.shape[1]))",
    }  # fmt: skip
    made = _lines(mistake, symbols, {**_ROWS, "gradient": v.gradient}, "d")
    made = tuple(line.replace("$d = ", "d = ") for line in made)
    if mistake.name in ("loss_summed_over_outputs", "loss_derivative_skipped"):
        made = (*made[:-1], f"{made[-1]} + np.zeros_like(y)")
    weigh = "w[:, None] * " if v.weighted else ""
    total = f"loss = np.sum({weigh}{losses if v.weighted else value}) / {v.divisor}"
    title = rng.choice([operation, f"{operation}_loss"])
    names = {"y": rng.choice(_PREDICTIONS), "t": rng.choice(_TARGETS)}
    if "eye" in v.masses:
        names["t"] = "labels"
    options = [*form.options, *([("eps", 0.1)] if "eps" in v.masses else [])]
    dialect = rng.choice((_loss_pair, _loss_class, _loss_with_cache))
    right_one, wrong_one = (
        _renamed(dialect(title, total, lines, options, v.weighted), names)
        for lines in ([f"d = {right}"], list(made))
    )
    return right_one, wrong_one


_PREDICTIONS = ("y_pred", "y_hat", "pred", "output")
_TARGETS = ("y_true", "t", "target", "targets")
Options = list[tuple[str, float]]


def _renamed(source: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\b(y|t)\b", lambda m: names[m[1]], source)


def _arguments(options: Options, weighted: bool) -> list[str]:
    return ["y", "t", *(["w"] if weighted else []), *(k for k, _ in options)]


def _function(title: str, arguments: list[str], lines: list[str], indent: int = 0) -> str:
    pad = " " * indent
    body = "".join(f"{pad}    {line}\n" for line in lines)
    return f"{pad}def {title}({', '.join(arguments)}):\n{body}\n\n"


def _with_defaults(options: Options, weighted: bool) -> list[str]:
    numbers = dict(options)
    return [f"{k}={numbers[k]}" if k in numbers else k for k in _arguments(options, weighted)]


def _loss_pair(title: str, total: str, back: list[str], options: Options, weighted: bool) -> str:
    """Return loss(y, t) and loss_grad(y, t)."""
    given = _with_defaults(options, weighted)
    return (
        "import numpy as np\n\n\n"
        + _function(title, given, [total, "return loss"])
        + _function(f"{title}_grad", given, [*back, "return d"])
    )


def _loss_with_cache(
    title: str, total: str, back: list[str], options: Options, weighted: bool
) -> str:
    """Return loss_forward(y, t) -> loss, cache and loss_backward(cache)."""
    kept = ", ".join(_arguments(options, weighted))
    given = _with_defaults(options, weighted)
    return (
        "import numpy as np\n\n\n"
        + _function(f"{title}_forward", given, [total, f"return loss, ({kept})"])
        + _function(f"{title}_backward", ["cache"], [f"{kept} = cache", *back, "return d"])
    )


def _loss_class(title: str, total: str, back: list[str], options: Options, weighted: bool) -> str:
    """Return a class with forward(y, t) and backward()."""
    kept = _arguments(options, weighted)
    keep = [f"self.p_{k} = {k}" for k in kept]
    again = [f"{k} = self.p_{k}" for k in kept]
    given = ["self", *_with_defaults(options, weighted)]
    return (
        f"import numpy as np\n\n\nclass {title.title().replace('_', '')}:\n"
        + _function("forward", given, [*keep, total, "return loss"], 4)
        + _function("backward", ["self"], [*again, *back, "return d"], 4)
    )
