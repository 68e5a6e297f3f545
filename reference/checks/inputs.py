"""Proposes what a function is called with: a layout has one spec for each of its arguments.

Names propose shapes (`shapes.py`), trying settles them (`search.py`). `layouts` gives the likely
ones first.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference.checks import vocabulary as words
from reference.checks.shapes import (
    ROWS,
    SIZES,
    Chain,
    Mode,
    bare_name,
    bias_names,
    bias_spec,
    chains,
    modes,
    number_specs,
    size_specs,
    target_specs,
    weight_names,
    weight_spec,
)
from reference.checks.specs import POOLS, Dims, Layout, Spec


@dataclass(frozen=True)
class Request:
    """The arguments for which a layout is looked for."""

    names: list[str]
    text: str
    fixed: Mapping[str, Spec] = field(default_factory=dict)
    """What is known already: the user's `shapes`, dicts and lists whose parts are asked for."""
    builders: Mapping[str, Any] = field(default_factory=dict)
    """Makers of what a name stands for: a list of layers."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Shapes of arrays that the module holds."""
    claimed: frozenset[str] = frozenset()
    """Arguments whose gradient is returned by name: they are no settings."""
    free: bool = False
    """Whether every weight is tried in every shape by itself."""
    arrays: tuple[str, ...] = ()
    """A constructor's arguments that are taken for weights, whatever they are called."""
    alike: bool = False
    """Whether all arguments have the shape of the data, whatever they are called: f(u, v)."""


def layouts(request: Request) -> Iterator[tuple[Mode, Layout]]:
    """Yield layouts for all arguments together, the likely ones first."""
    open_names = [n for n in request.names if n not in request.fixed]
    seen: set[tuple[Any, ...]] = set()
    weights = weight_names(open_names) or [n for n in open_names if n in request.arrays]
    biases = bias_names(open_names)
    for mode in modes(request.text):
        if request.alike:
            yield mode, {**request.fixed, **dict.fromkeys(open_names, mode.data)}
            continue
        image = "Y" in mode.data.dims
        if mode.data.kind == "label" and not weights:
            continue
        for chain in chains(weights, request.text):
            outs = [out for _, out in chain.values()] or [
                mode.data.dims[-1] if mode.data.dims else ""
            ]
            choices = [
                _of_two_axes(
                    n, request.text, _choices(n, mode, chain, outs, weights, biases, image, request)
                )
                for n in open_names
            ]
            grouped = [i for i, n in enumerate(open_names) if n in weights or n in biases]
            most = 60
            if request.free:
                grouped, most = [], 4_000
            for picked in itertools.islice(_together(choices, grouped), most):
                key = (
                    mode.style,
                    *((p.kind, p.dims, str(p.value)[:20], len(p.parts)) for p in picked),
                )
                if key in seen:
                    continue
                seen.add(key)
                yield mode, {**request.fixed, **dict(zip(open_names, picked, strict=True))}


def _of_two_axes(name: str, text: str, found: list[Spec]) -> list[Spec]:
    """Keep what has two axes, of an argument that is transposed or asked for its second axis."""
    bare = re.escape(name.partition("[")[0].removeprefix("init."))
    if not re.search(rf"\b{bare}\.(T\b|transpose|shape\[1\])", text):
        return found
    return [s for s in found if len(s.dims) > 1 or s.kind in ("list", "value", "made")] or found


_ALL_SHAPES: tuple[Dims, ...] = (
    ("D", "H"),
    ("D",),
    (),
    ("D", "D"),
    ("H", "D"),
    ("H", "C"),
    ("H",),
    ("C", "H"),
    ("D", "C"),
    ("D", "1"),
)


def _free_choices(mode: Mode, bias: bool) -> list[Spec]:
    shapes = [(), ("H",), ("D",), ("C",)] if bias else list(_ALL_SHAPES)
    return [Spec("normal", s) for s in shapes]


def _together(choices: list[list[Spec]], grouped: list[int]) -> Iterator[tuple[Spec, ...]]:
    """Yield every choice; weights and biases change together, as one file keeps one layout."""
    ways = max((len(choices[i]) for i in grouped), default=1)
    others = [i for i in range(len(choices)) if i not in grouped]
    for way in range(ways):
        for picked in itertools.product(*(choices[i] for i in others)):
            full = {i: choices[i][min(way, len(choices[i]) - 1)] for i in grouped}
            full |= dict(zip(others, picked, strict=True))
            yield tuple(full[i] for i in range(len(choices)))


def _choices(
    name: str,
    mode: Mode,
    chain: Chain,
    outs: list[str],
    weights: list[str],
    biases: list[str],
    image: bool,
    request: Request,
) -> list[Spec]:
    bare = bare_name(name).lower()
    built = name.startswith("init.")
    beside = [bare_name(n) for n in request.names if n.startswith("init.") == built]
    targeted = bare_name(name) in words.targets_among(beside)
    targeted = targeted and (not name.startswith("init.") or bare in ("y", "t"))
    if request.free and (name in weights or name in biases):
        return _free_choices(mode, name in biases)
    if name in chain:
        found = [weight_spec(chain[name], mode, image)]
        if name == weights[-1] and mode.samples in ("rows", "vector") and not image:
            found.append(Spec("normal", (chain[name][0],)))
        if mode.bias == "scalar" and not image and found[0].dims:
            found.append(Spec("normal", ()))
        return found
    if name in biases:
        return _bias_choices(name, mode, chain, outs, weights, biases, image, request)
    if bare in words.FLAGS:
        return [Spec("value", value=True)]
    strings = strings_for(bare, request.text)
    if strings:
        return [Spec("choice", value=strings), *(Spec("value", value=v) for v in strings)]
    made = _objects(name, bare, mode, request)
    if made:
        return made
    if bare in ("mode",):
        return [Spec("value", value="train")]
    if bare in ("gamma", "scale", "shift") or bare_name(name) == "g":
        width = "I" if image else (mode.data.dims[-1] if mode.data.dims else "")
        if not width:
            return [Spec("positive", ())]
        return [
            Spec("positive", (width,)),
            Spec("positive", ("1", width)),
            Spec("positive", (width, "1")),
            Spec("positive", ("1", width, "1", "1")),
        ]
    if bare in ("xp", "device", "np", "backend", "lib", "numpy"):
        return [Spec("value", value=np)]
    if "Y" in mode.data.dims and re.search(SIZES[0][0], bare) and name not in weights:
        return [Spec("size", ("K",))]
    numbers = number_specs(name)
    if words.plain(bare_name(name)) in request.claimed and numbers:
        return [
            mode.data,
            Spec("positive", mode.data.dims),
            Spec("positive", mode.data.dims[-1:]),
            Spec("positive", ()),
        ]
    data_like = (
        bare in ("x", "y", "data", "x_train", "y_train", "train_x") and ".shape" in request.text
    )
    if name.startswith("init.") and name not in request.arrays and not data_like:
        letter = bare_name(name)
        sizes = [Spec("size", (letter,))] if letter in POOLS else size_specs(name)
        return sizes or numbers or [Spec("size", ("D",)), Spec("value", value=0.3)]
    if targeted and request.shapes:
        columns = [Spec("normal", tuple(map(str, s))) for s in request.shapes if 1 in s]
        return [*_targets(mode, "C"), *columns]
    if targeted:
        if weights:
            return _targets(mode, outs[-1])
        feature = mode.data.dims[0] if mode.samples == "columns" else (mode.data.dims or ("",))[-1]
        is_built = any(n.startswith("init.") for n in request.names)
        if is_built and mode.data.dims == ("T", "D"):
            return [Spec("label", ("T",), "V"), *_targets(mode, "C")]
        widths = ["C", feature] if is_built else [feature]
        return [t for w in widths for t in _targets(mode, w)]
    if "mask" in bare and len(mode.data.dims) == 3 and "Y" not in mode.data.dims:
        return [Spec("mask", mode.data.dims[:-1]), Spec("mask", mode.data.dims)]
    if re.search(r"mask|^d\d$|dropout", bare):
        width = "H" if len(weights) > 1 else "D"
        if mode.samples == "columns":
            return [Spec("mask", (width, mode.data.dims[-1])), mode.data]
        return [Spec("mask", mode.data.dims), Spec("mask", (*mode.data.dims[:-1], width))]
    if request.shapes and re.search(r"h_?prev|prev|^h0?$|state|memory", bare):
        return [Spec("normal", tuple(map(str, shape))) for shape in request.shapes]
    if request.shapes and bare in ("inputs", "x", "xs", "targets", "y", "input", "target"):
        return [Spec("label", ("T",), "C"), mode.data]
    if re.search(
        r"h_?prev|prev_?h|^h0?$|^a_?prev$|hidden|^c0?$|c_?prev|prev_?c|^s0?$|state", bare
    ) and ((weights or any(n.startswith("init.") for n in request.names)) and bare != "a_prev"):
        return _states(mode)
    if bare in ("k", "v", "key", "value", "keys", "values") and mode.samples == "rows":
        return [mode.data, Spec("normal", (*mode.data.dims[:-2], "S", mode.data.dims[-1]))]
    bare = re.sub(r"\d+$", "", bare) if "[" in name else bare
    if bare in words.DATA_NAMES or bare in words.PREDICTION_NAMES:
        if mode.data.kind == "label" and bare not in (
            "x",
            "xs",
            "inputs",
            "input",
            "idx",
            "indices",
        ):
            return [ROWS]
        found = [mode.data]
        if bare in words.PREDICTION_NAMES or bare == "y":
            inside = Spec("unit", mode.data.dims)
            sure = re.search(r"clip\(|entropy|1e-\d|log\(", request.text) and not re.search(
                r"exp\(|sigmoid\(|softmax\(", request.text
            )
            found = [inside, mode.data] if sure else [mode.data, inside]
        if mode.data.dims == ("T", "D") and bare in ("inputs", "x", "xs"):
            found.append(Spec("label", ("T",), "V"))
        if bare.startswith("x") and re.search(r"lstm|rnn|gru", request.text, re.I):
            found.append(Spec("list", parts=(Spec("normal", ("D",)),) * 3))
            found.append(Spec("list", parts=(Spec("normal", ("D", "1")),) * 3))
        return found
    if re.search(r"idx|index|indices|ids|token", bare):
        return [Spec("label", ("N",), "V"), Spec("label", (), "V"), Spec("label", ("N", "T"), "V")]
    if re.search(r"vec(tor)?s$|table|matrix|embeddings?$", bare):
        return [Spec("normal", ("V", "D")), mode.data]
    if re.search(r"vec(tor)?$", bare):
        return [Spec("normal", ("D",)), mode.data]
    if re.search(r"nn_params|unrolled|flat|^params$|initial_nn", bare):
        return [Spec("normal", ("H*D+H+C*H+C",)), Spec("normal", ("H*D+C*H",))]
    if re.search(r"_size$|^num_|^n_(in|out|hid|lab|cla|feat)", bare) and size_specs(name):
        return size_specs(name)
    if request.shapes and "[" not in name:
        columns = [Spec("normal", tuple(map(str, s))) for s in request.shapes if 1 in s]
        return [mode.data, *columns]
    if "[" in name:
        sizes = size_specs(name) if re.search(SIZES[0][0], bare) else []
        return [*(sizes or numbers[:1]), mode.data]
    if "T" in mode.data.dims and len(mode.data.dims) == 3:
        return [mode.data, Spec("label", mode.data.dims[:-1], mode.data.dims[-1])]
    return [*numbers[:1], mode.data] if numbers else [mode.data, Spec("value", value=0.3)]


def strings_for(name: str, text: str) -> tuple[str, ...]:
    """Return the strings that an argument is compared with: activation == "relu"."""
    quoted = rf"\b_?{re.escape(name)}\b\s*==\s*['\"]([^'\"]+)['\"]"
    return tuple(dict.fromkeys(re.findall(quoted, text)))


def _tanh(x: Any) -> Any:
    return np.tanh(x)


def _tanh_slope(x: Any) -> Any:
    return 1 - np.tanh(x) ** 2


class Context:
    """What a framework hands to a function: it keeps what is saved."""

    saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *values: Any) -> None:
        """Keep values."""
        self.saved_tensors = values

    save = store = save_for_backward
    needs_input_grad = (True,) * 8


class Steps:
    """An optimiser that takes the plain step, so that the step tells the gradient."""

    learning_rate = lr = 0.5

    def update(self, w: Any, grad: Any) -> Any:
        """Return w − rate · grad."""
        return w - self.learning_rate * grad

    step = get_update = __call__ = update


def _objects(name: str, bare: str, mode: Mode, request: Request) -> list[Spec]:
    """Return functions and objects that an argument of this name may stand for."""
    if bare in ("ctx", "context"):
        return [Spec("made", value=lambda sizes: Context())]
    if re.search(r"optimi[sz]er|^optim$|^opt$", bare):
        return [Spec("made", value=lambda sizes: Steps())]
    called = re.search(rf"\b{re.escape(bare)}\(", request.text)
    if called and re.search(r"prime|deriv|grad|slope|^df$|^d_", bare):
        return [Spec("value", value=_tanh_slope)]
    if called and re.search(r"activ|func|^f$|^g$|nonlin|^act$|sigma", bare):
        return [Spec("value", value=_tanh)]
    if bare in request.builders:
        return [Spec("made", value=request.builders[bare])]
    if re.search(r"(input|in)_?shape$|^shape$|^input_?dims$", bare):
        dims = (
            mode.data.dims[1:]
            if len(mode.data.dims) > 1 and mode.data.dims[0] == "N"
            else mode.data.dims
        )
        return [Spec("shape", dims), Spec("shape", mode.data.dims)]
    if re.search(r"^depth$", bare) and "Y" in mode.data.dims:
        return [Spec("size", ("F",))]
    return []


def _targets(mode: Mode, width: str) -> list[Spec]:
    if mode.samples == "scalar":
        return target_specs(mode)
    return target_specs(mode, width or "C")


def _states(mode: Mode) -> list[Spec]:
    if mode.samples == "columns" and mode.data.dims[-1] != "T":
        return [Spec("normal", ("H", mode.data.dims[-1]))]
    if mode.samples == "vector" or mode.data.dims == ("D", "T") or mode.data.dims == ("T", "D"):
        return [Spec("normal", ("H",)), Spec("normal", ("H", "1"))]
    return [Spec("normal", ("N", "H"))]


def _bias_choices(
    name: str,
    mode: Mode,
    chain: Chain,
    outs: list[str],
    weights: list[str],
    biases: list[str],
    image: bool,
    request: Request,
) -> list[Spec]:
    bare = bare_name(name)
    others = {bare_name(n).lower() for n in request.names}
    if not weights and bare.lower() in ("b", "b1", "b2") and others & {"a", "a1"}:
        return [mode.data, Spec("normal", mode.data.dims[-1:])]
    if image:
        if not weights:  # a normalisation's shift
            return [Spec("normal", ("I",)), Spec("normal", ("1", "I", "1", "1"))]
        found = [Spec("normal", ("F",)), Spec("normal", ("F", "1")), Spec("normal", ())]
        return [Spec("normal", ("1", "1", "1", "F"))] if mode.bias == "image" else found
    tail = re.sub(r"^(bias|b)_?", "", bare, flags=re.I).lower()
    for weight, (_, out) in chain.items():
        head = re.sub(r"^(weights?|w|theta|u|kernel)_?", "", bare_name(weight), flags=re.I).lower()
        if tail and (head == tail or head.endswith(tail)):
            return [bias_spec(out, mode)]
    if biases and len(biases) == len(weights):
        out = list(chain.values())[biases.index(name)][1]
    elif weights:
        out = outs[-1] if biases.index(name) == len(biases) - 1 else outs[0]
    else:
        out = mode.data.dims[-1] if mode.data.dims and mode.data.dims[-1] != "N" else "D"
    return [bias_spec(out, mode)] if out else [Spec("normal", ())]
