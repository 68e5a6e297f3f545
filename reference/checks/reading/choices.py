"""Possible meanings of each argument: rules that read its name, the likeliest meaning first.

A rule returns specs, or None where it does not apply to the argument.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from reference.checks.code import Spec
from reference.checks.code import vocabulary as words
from reference.checks.code.argument_spec import POOLS, Dims, every_layout, floats
from reference.checks.reading.shapes import (
    ROWS,
    SIZES,
    Chain,
    Mode,
    bare_name,
    bias_spec,
    number_specs,
    size_specs,
    target_specs,
    weight_spec,
)


@dataclass(frozen=True)
class LayoutRequest:
    """The arguments that need a layout."""

    names: list[str]
    text: str
    fixed: Mapping[str, Spec] = field(default_factory=dict)
    """What is known already: the user's `shapes`, dicts and lists whose parts are asked for."""
    builders: Mapping[str, object] = field(default_factory=dict)
    """Makers of what a name stands for: a list of layers."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Shapes of arrays that the module holds."""
    claimed: frozenset[str] = frozenset()
    """Arguments whose gradient is returned by name: they are not settings."""
    free: bool = False
    """Whether every weight is tried in every shape by itself."""
    arrays: tuple[str, ...] = ()
    """A constructor's arguments that are taken for weights, whatever they are called."""
    alike: bool = False
    """Whether all arguments have the shape of the data, whatever they are called: f(u, v)."""


@dataclass(frozen=True)
class Argument:
    """One argument, and what stands beside it."""

    full: str
    """Its name as it is asked for: "x", "init.n_hidden", "params[W1]"."""
    mode: Mode
    chain: Chain
    weights: list[str]
    biases: list[str]
    request: LayoutRequest

    @cached_property
    def name(self) -> str:
        """The name alone."""
        return bare_name(self.full)

    @cached_property
    def bare(self) -> str:
        """The name alone, in small letters."""
        return self.name.lower()

    @property
    def of_constructor(self) -> bool:
        """Whether the constructor takes it."""
        return self.full.startswith("init.")

    @property
    def is_part(self) -> bool:
        """Whether it is a member of a list or a dict."""
        return "[" in self.full

    @cached_property
    def text(self) -> str:
        """The code that it is used in."""
        return self.request.text

    @cached_property
    def dims(self) -> Dims:
        """The axes of the data."""
        return self.mode.data.dims

    @property
    def image(self) -> bool:
        """Whether the data are images."""
        return "Y" in self.dims

    @cached_property
    def outs(self) -> list[str]:
        """The width that each layer gives."""
        return [out for _, out in self.chain.values()] or [self.dims[-1] if self.dims else ""]

    @cached_property
    def any_built(self) -> bool:
        """Whether an object is built for it."""
        return any(n.startswith("init.") for n in self.request.names)

    @cached_property
    def is_target(self) -> bool:
        """Whether it is what the output is compared with."""
        beside = [
            bare_name(n) for n in self.request.names if n.startswith("init.") == self.of_constructor
        ]
        known = self.name in words.targets_among(beside)
        return known and (not self.of_constructor or self.bare in ("y", "t"))

    @cached_property
    def numbers(self) -> list[Spec]:
        """The plain numbers that its name stands for."""
        return number_specs(self.full)

    @cached_property
    def columns(self) -> list[Spec]:
        """The arrays of the module that are one column or row."""
        return [Spec("normal", tuple(map(str, s))) for s in self.request.shapes if 1 in s]


Rule = Callable[[Argument], list[Spec] | None]


@lru_cache(maxsize=4096)
def _all_found(pattern: str, text: str) -> list[str]:
    """Search as re.findall does for one group."""
    return re.findall(pattern, text)


@lru_cache(maxsize=4096)
def _found(pattern: str, text: str, flags: int = 0) -> re.Match[str] | None:
    """Search as re.search does; each layout of the same arguments asks the same of the code."""
    return re.search(pattern, text, flags)


def choices_of(one: Argument) -> list[Spec]:
    """Return what an argument may be drawn as, the likely ones first."""
    found = next(found for rule in RULES if (found := rule(one)))
    return _of_its_axes(one, _of_two_axes(one, found))


def _of_two_axes(one: Argument, found: list[Spec]) -> list[Spec]:
    """Keep what has two axes, of an argument that is transposed or asked for its second axis."""
    bare = re.escape(one.full.partition("[")[0].removeprefix("init."))
    if not _found(rf"\b{bare}\.(T\b|transpose|shape\[1\])", one.text):
        return found
    return [s for s in found if len(s.dims) > 1 or s.kind in ("list", "value", "made")] or found


def _of_its_axes(one: Argument, found: list[Spec]) -> list[Spec]:
    """Keep what has as many axes as the code takes its shape apart into: N, T, H = h.shape."""
    name = re.escape(one.full.partition("[")[0])
    apart = _found(rf"^\s*\(?([\w, ]+),?\)? = {name}\.shape\s*$", one.text, re.M)
    if apart is None or "," not in apart[0].partition("=")[0] or one.is_part or one.of_constructor:
        return found
    count = len([n for n in apart[1].split(",") if n.strip()])
    fitting = [s for s in found if len(s.dims) == count or s.kind in ("list", "value", "made")]
    if fitting:
        return fitting
    return [one.mode.data] if len(one.dims) == count else found


_ALL_SHAPES = every_layout("D H, D, -, D D, H D, H C, H, C H, D C, D 1")
_ALL_BIASES = every_layout("-, H, D, C")


def _free(one: Argument) -> list[Spec] | None:
    if not one.request.free or one.full not in (*one.weights, *one.biases):
        return None
    return list(_ALL_BIASES if one.full in one.biases else _ALL_SHAPES)


def _sample_weights(one: Argument) -> list[Spec] | None:
    """Weights of samples, not of a layer: w[:, None] multiplies the rows."""
    rows = len(one.dims) > 1 and one.mode.samples == "rows" and not one.image
    column = rf"\b{re.escape(one.name)}\[:, (None|np\.newaxis)\]"
    used = rf"{column} \*|\* {column}"
    found = rows and not one.of_constructor and _found(used, one.text)
    return [Spec("positive", one.dims[:1])] if found else None


def _weight(one: Argument) -> list[Spec] | None:
    if one.full not in one.chain:
        return None
    layer = one.chain[one.full]
    found = [weight_spec(layer, one.mode, one.image)]
    last = one.full == one.weights[-1]
    if last and one.mode.samples in ("rows", "vector") and not one.image:
        found.append(Spec("normal", (layer[0],)))
    if one.mode.bias == "scalar" and not one.image and found[0].dims:
        found.append(floats())
    return found


def _bias(one: Argument) -> list[Spec] | None:
    if one.full not in one.biases:
        return None
    others = {bare_name(n).lower() for n in one.request.names}
    if not one.weights and one.bare in ("b", "b1", "b2") and others & {"a", "a1"}:
        return [one.mode.data, floats(*one.dims[-1:])]
    if one.image:
        if _found(rf"\b{one.name}\[:, :, None, None\]", one.text):
            return [floats("N", "I")]
        if not one.weights:  # a normalisation's shift
            return [floats("I"), floats("1", "I", "1", "1")]
        found = [floats("F"), floats("F", "1"), floats()]
        return [floats("1", "1", "1", "F")] if one.mode.bias == "image" else found
    tail = re.sub(r"^(bias|b)_?", "", one.name, flags=re.I).lower()
    for weight, (_, out) in one.chain.items():
        head = re.sub(r"^(weights?|w|theta|u|kernel)_?", "", bare_name(weight), flags=re.I).lower()
        if tail and (head == tail or head.endswith(tail)):
            return [bias_spec(out, one.mode)]
    return _bias_by_place(one)


def _bias_by_place(one: Argument) -> list[Spec]:
    place = one.biases.index(one.full)
    if len(one.biases) == len(one.weights):
        out = list(one.chain.values())[place][1]
    elif one.weights:
        out = one.outs[-1] if place == len(one.biases) - 1 else one.outs[0]
    else:
        out = one.dims[-1] if one.dims and one.dims[-1] != "N" else "D"
    return [bias_spec(out, one.mode)] if out else [floats()]


def _setting(one: Argument) -> list[Spec] | None:
    """A flag, one of the strings it is compared with, a function, an object, a module."""
    if one.bare in words.FLAGS:
        return [Spec("value", value=True)]
    strings = strings_for(one.bare, one.text)
    training = [s for s in strings if s.startswith("train")]
    if training and len(strings) > 1:  # "test" keeps nothing for a backward
        return [Spec("value", value=training[0])]
    if strings:
        return [Spec("choice", value=strings), *(Spec("value", value=v) for v in strings)]
    made = _objects(one)
    if made:
        return made
    return [Spec("value", value="train")] if one.bare == "mode" else None


def _noise(one: Argument) -> list[Spec] | None:
    """An eps that is multiplied, and added to nothing: the noise of mu + std * eps."""
    if one.bare not in ("eps", "epsilon", "noise", "xi") or one.of_constructor or one.is_part:
        return None
    factor = _found(rf"\* {one.name}\b|\b{one.name} \*", one.text)
    return [one.mode.data] if factor and not _found(rf"[+-] {one.name}\b", one.text) else None


def _scale(one: Argument) -> list[Spec] | None:
    if one.bare not in ("gamma", "scale", "shift") and one.name != "g":
        return None
    width = "I" if one.image else (one.dims[-1] if one.dims else "")
    shapes: tuple[Dims, ...] = ((width,), ("1", width), (width, "1"), ("1", width, "1", "1"))
    if _found(rf"\b{one.name}\[:, :, None, None\]", one.text):  # one for each sample
        shapes = (("N", width),)
    return [Spec("positive", s) for s in (shapes if width else ((),))]


def _module(one: Argument) -> list[Spec] | None:
    known = one.bare in ("xp", "device", "np", "backend", "lib", "numpy")
    return [Spec("value", value=np)] if known else None


def _kernel_size(one: Argument) -> list[Spec] | None:
    known = one.image and _found(SIZES[0][0], one.bare) and one.full not in one.weights
    return [Spec("size", ("K",))] if known else None


def _claimed_number(one: Argument) -> list[Spec] | None:
    """A number whose gradient is returned by name is not a setting."""
    if words.plain(one.name) not in one.request.claimed or not one.numbers:
        return None
    return [one.mode.data, *(Spec("positive", d) for d in (one.dims, one.dims[-1:], ()))]


_DATA_OF_CONSTRUCTORS = ("x", "y", "data", "x_train", "y_train", "train_x")


_SIZE_LETTERS = {"i": "D", "c": "C", "o": "C"}
"""Sizes of one letter that no other rule knows: TwoLayers(d, h, c)."""


def _size_of_constructor(one: Argument) -> list[Spec] | None:
    data_like = one.bare in _DATA_OF_CONSTRUCTORS and ".shape" in one.text
    if not one.of_constructor or one.full in one.request.arrays or data_like:
        return None
    if one.bare == "dtype":
        return [Spec("value", value=np.float64)]
    if _is_listed(one):
        ends = [n for n in one.request.names if n.startswith("init.") and n != one.full]
        between = any(size_specs(n) for n in ends) or "hidden" in one.bare
        lists: tuple[Dims, ...] = (("H",), ("H", "G")) if between else (("D", "H", "C"),)
        return [Spec("sizes", dims) for dims in lists]
    sizes = [Spec("size", (one.name,))] if one.name in POOLS else size_specs(one.full)
    maker = rf"(zeros|ones|empty|full|rand|randn|normal|uniform)\([^\n]*\b{one.name}\b"
    if not sizes and one.name in _SIZE_LETTERS and _found(maker, one.text):
        sizes = [Spec("size", (_SIZE_LETTERS[one.name],))]
    return sizes or one.numbers or [Spec("size", ("D",)), Spec("value", value=0.3)]


def _is_listed(one: Argument) -> bool:
    """Whether a constructor's argument is a list of layer sizes by what the code does with it."""
    name = re.escape(one.name)
    joined = rf"len\({name}\)|\] \+ {name}\b|\b{name} \+ \[|\*{name}\b(?=[,\]])"
    return bool(one.of_constructor and _found(joined, one.text))


def _unpacked(one: Argument) -> list[Spec] | None:
    """A shape that a constructor takes apart: d, h, w = X_dim."""
    name = re.escape(one.name)
    found = _found(rf"^\s*([\w., ]+?) = (self\.)?{name}$", one.text, re.M)
    count = len([n for n in found[1].split(",") if n.strip()]) if found and "," in found[1] else 0
    by_index = [int(i) + 1 for i in _all_found(rf"\b{name}\[(\d)\]", one.text)]
    count = count or max(by_index, default=0)
    if not one.of_constructor or not count:
        return None
    window = _found(r"kernel|filter|pool|stride|pad|size", one.bare)
    shapes: dict[int, tuple[Dims, ...]] = {
        1: (("D",),),
        2: (("K", "K"),) if window else (("D", "H"), ("Y", "X")),
        3: (("I", "Y", "X"), ("Y", "X", "I")),
        4: (("K", "K", "I", "F"), ("F", "I", "K", "K")),
    }
    if _found(r"stride", one.bare):
        return [Spec("value", value=(1,) * count)]
    return [Spec("shape", dims) for dims in shapes.get(count, ())] or None


def _target(one: Argument) -> list[Spec] | None:
    if not one.is_target:
        return None
    found = _plain_targets(one)
    if not _is_a_sign(one):
        return found
    signs = {s.dims: Spec("sign", s.dims) for s in found if s.kind != "label"}
    return [*signs.values(), *(s for s in found if s.kind == "label")]


def _is_a_sign(one: Argument) -> bool:
    """Whether it multiplies a margin: max(0, 1 − t y), 1 + exp(±t y); it is −1 or 1 then."""
    name = re.escape(one.name)
    product = rf"\(?((self\.)?\w+ \* (self\.)?{name}\b|(self\.)?{name} \* )"
    return bool(
        _found(
            rf"\b1(\.0*)? - {product}|exp\(-{product}|1(\.0*)? \+ (np\.)?exp\({product}", one.text
        )
    )


def _plain_targets(one: Argument) -> list[Spec]:
    if one.request.shapes:
        return [*target_specs(one.mode, "C"), *one.columns]
    if one.weights:
        return target_specs(one.mode, one.outs[-1])
    if one.any_built and one.dims == ("T", "D"):
        return [Spec("label", ("T",), "V"), *target_specs(one.mode, "C")]
    feature = one.dims[0] if one.mode.samples == "columns" else (one.dims or ("",))[-1]
    widths = ["C", feature] if one.any_built else [feature]
    return [t for w in widths for t in target_specs(one.mode, w)]


def _picks(one: Argument) -> list[Spec] | None:
    """An argument that picks a column of each row: scores[np.arange(n), answers]."""
    rows = r"\[(np\.arange|torch\.arange|range|list)\([^\[\]]*\), "
    if one.of_constructor or not _found(rf"{rows}{re.escape(one.name)}\]", one.text):
        return None
    feature = one.dims[0] if one.mode.samples == "columns" else (one.dims or ("",))[-1]
    samples = one.dims[-1] if one.mode.samples == "columns" else (one.dims or ("N",))[0]
    return [Spec("label", (samples,), (one.outs[-1] if one.weights else feature) or "C")]


def _mask(one: Argument) -> list[Spec] | None:
    if "mask" in one.bare and len(one.dims) == 3 and not one.image:
        return [Spec("mask", one.dims[:-1]), Spec("mask", one.dims)]
    if not _found(r"mask|^d\d$|dropout", one.bare):
        return None
    width = "H" if len(one.weights) > 1 else "D"
    if one.mode.samples == "columns":
        return [Spec("mask", (width, one.dims[-1])), one.mode.data]
    return [Spec("mask", one.dims), Spec("mask", (*one.dims[:-1], width))]


def _of_the_module(one: Argument) -> list[Spec] | None:
    """A state or a sequence, where the module holds the weights."""
    if one.request.shapes and _found(r"h_?prev|prev|^h0?$|state|memory", one.bare):
        return [Spec("normal", tuple(map(str, shape))) for shape in one.request.shapes]
    sequences = ("inputs", "x", "xs", "targets", "y", "input", "target")
    if one.request.shapes and one.bare in sequences:
        return [Spec("label", ("T",), "C"), one.mode.data]
    return None


_STATE = re.compile(r"h_?prev|prev_?h|^h0?$|^a_?prev$|hidden|^c0?$|c_?prev|prev_?c|^s0?$|state")


def _state(one: Argument) -> list[Spec] | None:
    if not _STATE.search(one.bare) or one.bare == "a_prev" or not (one.weights or one.any_built):
        return None
    if one.mode.samples == "columns" and one.dims[-1] != "T":
        return [Spec("normal", ("H", one.dims[-1]))]
    if one.mode.samples == "vector" or one.dims in (("D", "T"), ("T", "D")):
        return [floats("H"), floats("H", "1")]
    return [floats("N", "H")]


def _keys(one: Argument) -> list[Spec] | None:
    known = one.bare in ("k", "v", "key", "value", "keys", "values")
    if not known or one.mode.samples != "rows":
        return None
    return [one.mode.data, Spec("normal", (*one.dims[:-2], "S", one.dims[-1]))]


_INDEXED = ("x", "xs", "inputs", "input", "idx", "indices")


def _data(one: Argument) -> list[Spec] | None:
    bare = _unnumbered(one)
    # (y, t): y is a prediction where another argument is the target, or else t would be given it
    if bare not in words.DATA_NAMES and bare not in words.PREDICTION_NAMES and bare != "y":
        return None
    if one.mode.data.kind == "label" and bare not in _INDEXED:
        return [ROWS]
    found = [one.mode.data]
    if bare in words.PREDICTION_NAMES or bare == "y":
        inside = Spec("unit", one.dims)
        sure = _found(r"clip\(|entropy|1e-\d|log\(", one.text) and not _found(
            r"exp\(|sigmoid\(|softmax\(", one.text
        )
        found = [inside, one.mode.data] if sure else [one.mode.data, inside]
    if one.dims == ("T", "D") and bare in ("inputs", "x", "xs"):
        found.append(Spec("label", ("T",), "V"))
    if bare.startswith("x") and _found(r"lstm|rnn|gru", one.text, re.I):
        found += [Spec("list", parts=(Spec("normal", d),) * 3) for d in (("D",), ("D", "1"))]
    return found


def _unnumbered(one: Argument) -> str:
    return re.sub(r"\d+$", "", one.bare) if one.is_part else one.bare


_NAMED: tuple[tuple[str, tuple[Spec | None, ...]], ...] = (
    (r"idx|index|indices|ids|token", (
        Spec("label", ("N",), "V"), Spec("label", (), "V"), Spec("label", ("N", "T"), "V"),
    )),
    (r"vec(tor)?s$|table|matrix|embeddings?$", (floats("V", "D"), None)),
    (r"vec(tor)?$", (floats("D"), None)),
    (r"nn_params|unrolled|flat|^params$|initial_nn", (floats("H*D+H+C*H+C"), floats("H*D+C*H"))),
)  # fmt: skip
"""By the name: indices, embeddings, all weights in one vector. None: as the data."""


def _named(one: Argument) -> list[Spec] | None:
    bare = _unnumbered(one)
    found = next((specs for pattern, specs in _NAMED if _found(pattern, bare)), ())
    return [one.mode.data if spec is None else spec for spec in found] or None


def _size(one: Argument) -> list[Spec] | None:
    known = _found(r"_size$|^num_|^n_(in|out|hid|lab|cla|feat)", _unnumbered(one))
    return size_specs(one.full) if known else None


def _unknown(one: Argument) -> list[Spec]:
    """An argument with a name without meaning."""
    if one.request.shapes and not one.is_part:
        return [one.mode.data, *one.columns]
    if one.is_part:
        sizes = size_specs(one.full) if _found(SIZES[0][0], _unnumbered(one)) else []
        return [*(sizes or one.numbers[:1]), one.mode.data]
    if "T" in one.dims and len(one.dims) == 3:
        return [one.mode.data, Spec("label", one.dims[:-1], one.dims[-1])]
    if one.numbers:
        return [one.numbers[0], one.mode.data]
    return [one.mode.data, Spec("value", value=0.3)]


RULES: tuple[Rule, ...] = (
    _free,
    _sample_weights,
    _weight,
    _bias,
    _setting,
    _noise,
    _scale,
    _module,
    _unpacked,
    _kernel_size,
    _claimed_number,
    _size_of_constructor,
    _target,
    _picks,
    _mask,
    _of_the_module,
    _state,
    _keys,
    _data,
    _named,
    _size,
    _unknown,
)
"""In this order: a rule is asked when all rules before it returned None."""


def strings_for(name: str, text: str) -> tuple[str, ...]:
    """Return the strings that an argument is compared with: activation == "relu"."""
    quoted = rf"\b_?{re.escape(name)}\b\s*==\s*['\"]([^'\"]+)['\"]"
    return tuple(dict.fromkeys(_all_found(quoted, text)))


class SavingContext:
    """The context that a framework passes to a function: it keeps what is saved."""

    saved_tensors: tuple[object, ...] = ()
    needs_input_grad: tuple[bool, ...] = (True,) * 8

    def save_for_backward(self, *values: object) -> None:
        """Keep values."""
        self.saved_tensors = values

    save = store = save_for_backward


class Steps:
    """An optimiser that takes the plain step, so that the step tells the gradient."""

    learning_rate = lr = 0.5

    def update(self, w: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """Return w − rate · grad."""
        return w - self.learning_rate * grad

    step = get_update = __call__ = update


def _objects(one: Argument) -> list[Spec]:
    """Return functions and objects that an argument of this name may stand for."""
    bare = one.bare
    if bare in one.request.builders:
        return [Spec("made", value=one.request.builders[bare])]
    if bare in ("ctx", "context"):
        return [Spec("made", value=lambda sizes: SavingContext())]
    if _found(r"optimi[sz]er|^optim$|^opt$", bare):
        return [Spec("made", value=lambda sizes: Steps())]
    called = _found(rf"\b{re.escape(bare)}\(", one.text)
    if called and _found(r"prime|deriv|grad|slope|^df$|^d_", bare):
        return [Spec("value", value=lambda x: 1 - np.tanh(x) ** 2)]
    if called and _found(r"activ|func|^f$|^g$|nonlin|^act$|sigma", bare):
        return [Spec("value", value=lambda x: np.tanh(x))]
    if _found(r"(input|in)_?shape$|^shape$|^input_?dims$", bare):
        of_batch = len(one.dims) > 1 and one.dims[0] == "N"
        return [Spec("shape", one.dims[of_batch:]), Spec("shape", one.dims)]
    if _found(r"^depth$", bare) and one.image:
        return [Spec("size", ("F",))]
    return []
