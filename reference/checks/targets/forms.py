"""What a recognised target is, and how a name is matched to an operation that we hold.

Every operation is checked as a network of one layer: an activation behind a unit weight, a loss
behind that, a dense layer alone. So one judge, one diagnosis and one shrinker serve every form.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from manual_backprop.spec import FloatArray, InvalidInput

Kind = Literal["network", "activation", "loss", "dense", "general"]

FORMS = """\
  value_and_grad(network, params, x, y) -> (loss, grads)      a whole network;
  relu_forward(x) -> (out, cache) with relu_backward(dout, cache);
  affine_forward(x, w, b) with affine_backward(dout, cache) -> (dx, dw, db);
  sigmoid(x) with sigmoid_prime(x), sigmoid_grad, sigmoid_backward(dout, x);
  softmax_loss(x, y) -> (loss, dx);   mse(y, t) with mse_grad(y, t);
  class Relu: forward(x), backward(dout)   also __call__, grad(x); gradients in dW, db, grads;
  a torch.autograd.Function;   a jax.custom_vjp function;
  forward(xp, step, **inputs) with backward(inputs, steps) -> {name: gradient}
      and shapes = {"x": "N D"} or inputs(rng)                any computation at all;
  forward(...) with backward(...) and torch = "torch…", jax = "jax…" naming counterparts;
An operation is matched by its name, by like = "gelu" in the file, or by --like gelu."""

ALIASES = {
    "affine": "dense", "linear": "dense", "fc": "dense", "fully_connected": "dense",
    "logistic": "sigmoid", "sigm": "sigmoid", "swish": "silu", "lrelu": "leaky_relu",
    "gelu_new": "gelu_tanh", "gelu_approx": "gelu_tanh", "gelu_approximate": "gelu_tanh",
    "softmax_loss": "cross_entropy", "softmax_cross_entropy": "cross_entropy",
    "softmax_with_cross_entropy": "cross_entropy", "softmax_with_loss": "cross_entropy",
    "cross_entropy_with_logits": "cross_entropy", "sigmoid_cross_entropy": "bce_with_logits",
    "bce_logits": "bce_with_logits", "bce_with_logit": "bce_with_logits",
    "binary_cross_entropy_with_logits": "bce_with_logits", "bce": "binary_cross_entropy",
    "log_loss": "binary_cross_entropy", "mean_squared_error": "mse", "l2": "mse", "mae": "l1",
    "mean_absolute_error": "l1", "logcosh": "log_cosh", "negative_log_likelihood": "nll",
    "kl_divergence": "kl_div", "kldiv": "kl_div", "crossentropy": "cross_entropy",
    "softmax_crossentropy": "cross_entropy", "hard_tanh": "hardtanh", "hardswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid", "re_lu": "relu", "ge_lu": "gelu", "si_lu": "silu",
    "e_lu": "elu", "se_lu": "selu", "leaky_re_lu": "leaky_relu", "soft_plus": "softplus",
}  # fmt: skip

COTANGENTS = {"dout", "dy", "da", "grad", "grad_output", "grad_out", "upstream", "delta", "g",
              "dl", "dout_", "cotangent", "d_out", "gradient", "output_grad", "dz"}  # fmt: skip
INPUTS = {"x", "z", "inp", "input"}
CACHES = {"cache", "cached", "saved", "ctx"}
OUTPUTS = {"y", "a", "out", "output", "s", "p", "result", "activation"}
_TRIMMED = re.compile(
    r"_(forward|backward|fwd|bwd|layer|activation|function|fn|op|grad|prime|derivative|deriv|vjp)$"
)


@dataclass(frozen=True)
class Given:
    """What a target gave for a problem: its output or loss, and gradients under our names."""

    out: Any
    gradients: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    """What was assumed of it: the order of its arguments, the layout of its arrays."""
    without: tuple[str, ...] = ()
    """What it does not have: the bias of a layer."""


@dataclass(frozen=True)
class Found:
    """A recognised target: its form, what it was matched to and how, and how to run it."""

    form: str
    what: str
    kind: Kind
    operation: str
    how: str
    run: Callable[[Problem, FloatArray], Given] = field(repr=False)
    parameters: Mapping[str, float] = field(default_factory=dict)
    accepts: Mapping[str, Any] = field(default_factory=dict)
    system: Any = field(default=None, repr=False)
    beside: tuple[str, ...] = ()
    """Names in the module that look like gradients and were matched to nothing."""

    def spell(self) -> dict[str, Any]:
        """Return what the checker has to know, as JSON."""
        return {
            "form": self.form,
            "what": self.what,
            "kind": self.kind,
            "operation": self.operation,
            "how": self.how,
            "parameters": dict(self.parameters),
            "beside": list(self.beside),
            "accepts": {k: v if isinstance(v, str | int) else [*v]
                        for k, v in self.accepts.items()},
        }  # fmt: skip


def match(name: str, like: str | None) -> tuple[Kind, str, str] | None:
    """Return (kind, operation, how it was matched) for a name, or None."""
    if isinstance(like, str):  # a class may mean something else by it
        return *known_like(like), f'by like="{like}"'
    found = _lookup(name)
    return (*found, "by name") if found else None


def known_like(like: str) -> tuple[Kind, str]:
    """Return the operation that `like` names; one that is unknown is an error, never left out."""
    found = _lookup(like)
    if found is None:
        known = ", ".join(["dense", *ACTIVATIONS, *LOSSES, "network"])
        raise InvalidInput(f"like={like!r} is unknown; expected one of {known}")
    return found


def _lookup(name: str) -> tuple[Kind, str] | None:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    tried = [snake]
    while (shorter := _TRIMMED.sub("", tried[-1])) != tried[-1]:
        tried.append(shorter)
    tried += [re.sub(r"^(d_|my_|manual_|np_|numpy_|d(?=[a-z]{3}))", "", t) for t in tried]
    tried += [t.removesuffix("_loss") for t in tried]
    tried += [t.replace("cross_entropy_loss", "cross_entropy") for t in tried]
    for t in tried:
        for known in (t, ALIASES.get(t, "")):
            if known == "dense":
                return "dense", "dense"
            if known in ACTIVATIONS:
                return "activation", known
            if known in LOSSES:
                return "loss", known
    joined = {n.replace("_", ""): n for n in (*ACTIVATIONS, *LOSSES, *ALIASES)}
    for t in tried:
        known = joined.get(t.replace("_", ""), "")
        known = ALIASES.get(known, known)
        if known in ACTIVATIONS:
            return "activation", known
        if known in LOSSES:
            return "loss", known
    return None


def required(function: Callable[..., Any]) -> list[str]:
    """Return the names of the arguments that have to be given, in order."""
    return [
        p.name
        for p in _parameters(function)
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]


def asked(function: Callable[..., Any]) -> list[str]:
    """Return the arguments that a backward is to be given.

    The required ones; after a cotangent also those that stand for something known and may be left
    out, as in backward(dout, cache=None); and a cache that alone may be.
    """
    names = required(function)
    optional = [p.name for p in _parameters(function)
                if p.default is None and p.name in accepted(function)]  # fmt: skip
    if names and names[0].lower() in COTANGENTS:
        return names + [n for n in optional if n.lower() in CACHES | INPUTS | OUTPUTS]
    return names or [n for n in optional if n.lower() in CACHES]


def accepted(function: Callable[..., Any]) -> list[str]:
    """Return the names of all positional arguments."""
    return [
        p.name
        for p in _parameters(function)
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]


def fixed_parameters(operation: str, *functions: Callable[..., Any]) -> dict[str, float]:
    """Return the operation's parameters as the target's signature sets them: alpha=0.01.

    By name; a single parameter under another name is taken for the operation's single one.
    """
    record = ACTIVATIONS[operation] if operation in ACTIVATIONS else LOSSES[operation]
    defaults: dict[str, float] = {}
    for function in functions:
        for p in _parameters(function):
            if isinstance(p.default, int | float) and not isinstance(p.default, bool):
                defaults.setdefault(p.name, float(p.default))
    named = {k: v for k, v in defaults.items() if k in record.parameters}
    if not named and len(record.parameters) == 1 and len(defaults) == 1:
        named = {next(iter(record.parameters)): next(iter(defaults.values()))}
    return named


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    except (TypeError, ValueError):
        return []


def name_gradients(
    kind: Kind, found: Any, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Put our names to what a backward returned: dx; (dx, dw, db); a dict; or attributes."""
    if kind == "activation":
        return {"layers.0.z": _first(found)}
    if kind == "loss":
        return {"layers.0.a": _first(found)}
    named: dict[str, Any] = dict(given or {})
    if isinstance(found, Mapping):
        # A name that is nobody's is kept, and said to be so.
        named |= {our(k) or str(k): v for k, v in found.items()}
    elif found is not None:
        several = found if _is_several(found) else [found]
        named |= dict(zip(("x", "layers.0.weight", "layers.0.bias"), several, strict=False))
    return {k: v for k, v in named.items() if v is not None}


def our(name: str) -> str:
    """Return our name for a dense layer's gradient called dW, grad_w, weights or dx."""
    plain = re.sub(r"^(d_?|grad_?|gradient_?)(?=[a-zA-Z])|_?(grad|gradient)$", "", str(name))
    table = {"w": "layers.0.weight", "weight": "layers.0.weight", "weights": "layers.0.weight",
             "kernel": "layers.0.weight", "b": "layers.0.bias", "bias": "layers.0.bias",
             "biases": "layers.0.bias", "x": "x", "input": "x", "inputs": "x", "a_prev": "x",
             "aprev": "x"}  # fmt: skip
    return table.get(plain.lower(), "")


def _first(found: Any) -> Any:
    if isinstance(found, Mapping):
        return next(iter(found.values()))
    return found[0] if _is_several(found) else found


def _is_several(found: Any) -> bool:
    """Tell the several things that a backward returns from one array, spelled as a list of rows."""
    if isinstance(found, list) and found and np.ndim(found[0]) < 2:
        return False
    return isinstance(found, tuple | list) and len(found) > 0
