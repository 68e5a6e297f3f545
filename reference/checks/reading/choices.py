"""What each argument of a user's function may be: rules that guess it, the likeliest meaning first.

A rule looks at the argument's name, and searches the user's source text with regular expressions:
`y[np.arange(n), t]`, for example, shows that t holds labels. It returns specs (`Spec`), or None if
it does not apply. Four terms:

- A *spec* says how one argument is drawn. `Spec("normal", ("N", "D"))`: normal numbers, one row for
  each sample. `Spec("label", ("N",), "C")`: class indices below C. `kind` is the first word.
- A *mode* is one layout of a whole file: X as (N, D) or (D, N), weights as (D_in, D_out) or
  (D_out, D_in), biases as (M,), (1, M) or (M, 1).
- A *chain* gives each weight its two widths: {"W1": ("D", "H"), "W2": ("H", "C")}.
- A *layout* is all of this together: a mode, a chain and a spec for each argument. Several are
  tried, until the user's code runs on one.

Each rule below has a line of user code to which it applies. Specs have the axes of an array as
letters:

| letter | size | letter | size |
|---|---|---|---|
| N | samples | T | time steps |
| D | input features | S | other sequence length |
| H, G | hidden units of two layers | V | vocabulary |
| C | classes or outputs | I | channels of an image |
| Y, X | height and width of an image | F | filters (output channels) |
| K | kernel size | | |
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

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
    """The arguments of a user's function, and what is known of them: each needs a spec."""

    names: list[str]
    text: str
    """The user's source text."""
    fixed: Mapping[str, Spec] = field(default_factory=dict)
    """Specs that are known: the user's `shapes`, and dicts and lists whose parts are arguments."""
    builders: Mapping[str, object] = field(default_factory=dict)
    """Functions that make the value of an argument, by its name: a list of layers, for example."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Shapes of arrays that the module holds."""
    claimed: frozenset[str] = frozenset()
    """Arguments whose gradient is returned by name: they are not settings."""
    any_weight_shape: bool = False
    """Whether each weight may have any of the usual shapes, whatever the others have."""
    arrays: tuple[str, ...] = ()
    """A constructor's arguments that are treated as weights, whatever their names."""
    all_like_data: bool = False
    """Whether all arguments have the shape of the data, whatever their names: f(u, v)."""
    vectors: bool = False
    """Whether all arguments are vectors of one length, biases single numbers: u @ v / |u|."""


@dataclass(frozen=True)
class Argument:
    """One argument, and what is known of the others."""

    full: str
    """Its name with its place: "x", "init.n_hidden" (of the constructor), "params[W1]"."""
    mode: Mode
    chain: Chain
    weights: list[str]
    biases: list[str]
    request: LayoutRequest

    @cached_property
    def name(self) -> str:
        """The name without its place: "n_hidden"."""
        return bare_name(self.full)

    @cached_property
    def lower_name(self) -> str:
        """The name without its place, in lower case."""
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
        """The user's source text, in which it is used."""
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
        """The letter of each layer's output width."""
        return [out for _, out in self.chain.values()] or [self.dims[-1] if self.dims else ""]

    @cached_property
    def has_constructor(self) -> bool:
        """Whether the target is a class, whose constructor has arguments too."""
        return any(n.startswith("init.") for n in self.request.names)

    @cached_property
    def is_target(self) -> bool:
        """Whether the output is compared with it, as its name suggests."""
        beside = [
            bare_name(n) for n in self.request.names if n.startswith("init.") == self.of_constructor
        ]
        known = self.name in words.targets_among(beside)
        return known and (not self.of_constructor or self.lower_name in ("y", "t"))

    @cached_property
    def numbers(self) -> list[Spec]:
        """The specs of the plain numbers that its name suggests."""
        return number_specs(self.full)

    @cached_property
    def columns(self) -> list[Spec]:
        """The arrays of the module that are one column or row."""
        return [Spec("normal", tuple(map(str, s))) for s in self.request.shapes if 1 in s]


Rule = Callable[[Argument], list[Spec] | None]

_DEFAULT_NUMBER = 0.3
"""The value of a number that nothing is known about, such as a learning rate."""


@lru_cache(maxsize=4096)
def _all_found(pattern: str, text: str) -> list[str]:
    """Search as re.findall does for one group."""
    return re.findall(pattern, text)


@lru_cache(maxsize=4096)
def _found(pattern: str, text: str, flags: int = 0) -> re.Match[str] | None:
    """Search as re.search does; each layout of the same arguments asks the same of the code."""
    return re.search(pattern, text, flags)


def choices_of(arg: Argument) -> list[Spec]:
    """Return what an argument may be drawn as, the likely ones first."""
    found = next(found for rule in RULES if (found := rule(arg)))
    return _of_its_axes(arg, _of_two_axes(arg, found))


def _of_two_axes(arg: Argument, found: list[Spec]) -> list[Spec]:
    """Keep the specs with two axes if the code transposes the argument or uses its shape[1]."""
    bare = re.escape(arg.full.partition("[")[0].removeprefix("init."))
    if not _found(rf"\b{bare}\.(T\b|transpose|shape\[1\])", arg.text):
        return found
    return [s for s in found if len(s.dims) > 1 or s.kind in ("list", "value", "made")] or found


def _of_its_axes(arg: Argument, found: list[Spec]) -> list[Spec]:
    """Keep the specs with as many axes as the code unpacks: N, T, H = h.shape."""
    name = re.escape(arg.full.partition("[")[0])
    apart = _found(rf"^\s*\(?([\w, ]+),?\)? = {name}\.shape\s*$", arg.text, re.M)
    if apart is None or "," not in apart[0].partition("=")[0] or arg.is_part or arg.of_constructor:
        return found
    count = len([n for n in apart[1].split(",") if n.strip()])
    fitting = [s for s in found if len(s.dims) == count or s.kind in ("list", "value", "made")]
    if fitting:
        return fitting
    return [arg.mode.data] if len(arg.dims) == count else found


_ALL_SHAPES = every_layout("D H, D, -, D D, H D, H C, H, C H, D C, D 1")
_ALL_BIASES = every_layout("-, H, D, C")


def _free(arg: Argument) -> list[Spec] | None:
    """Return all usual shapes of a weight or bias, if the request lets each have any of them.

    Example: z = a @ W + b, where no chain of widths ran.
    """
    if not arg.request.any_weight_shape or arg.full not in (*arg.weights, *arg.biases):
        return None
    return list(_ALL_BIASES if arg.full in arg.biases else _ALL_SHAPES)


def _sample_weights(arg: Argument) -> list[Spec] | None:
    """Return weights of samples, not of a layer. Example: loss = np.sum(w[:, None] * (y - t))."""
    rows = len(arg.dims) > 1 and arg.mode.samples == "rows" and not arg.image
    column = rf"\b{re.escape(arg.name)}\[:, (None|np\.newaxis)\]"
    used = rf"{column} \*|\* {column}"
    found = rows and not arg.of_constructor and _found(used, arg.text)
    return [Spec("positive", arg.dims[:1])] if found else None


def _weight(arg: Argument) -> list[Spec] | None:
    """Return the weight of a layer, of the widths in the chain. Example: z1 = X @ W1 + b1."""
    if arg.full not in arg.chain:
        return None
    layer = arg.chain[arg.full]
    found = [weight_spec(layer, arg.mode, arg.image)]
    last = arg.full == arg.weights[-1]
    if last and arg.mode.samples in ("rows", "vector") and not arg.image:
        found.append(Spec("normal", (layer[0],)))
    if arg.mode.bias == "scalar" and not arg.image and found[0].dims:
        found.append(floats())
    return found


def _bias(arg: Argument) -> list[Spec] | None:
    """Return a bias, as wide as the output of its weight. Example: z1 = X @ W1 + b1."""
    if arg.full not in arg.biases:
        return None
    others = {bare_name(n).lower() for n in arg.request.names}
    if not arg.weights and arg.lower_name in ("b", "b1", "b2") and others & {"a", "a1"}:
        return [arg.mode.data, floats(*arg.dims[-1:])]
    if arg.image:
        if _found(rf"\b{arg.name}\[:, :, None, None\]", arg.text):
            return [floats("N", "I")]
        if not arg.weights:  # a normalisation's shift
            return [floats("I"), floats("1", "I", "1", "1")]
        found = [floats("F"), floats("F", "1"), floats()]
        return [floats("1", "1", "1", "F")] if arg.mode.bias == "image" else found
    tail = re.sub(r"^(bias|b)_?", "", arg.name, flags=re.I).lower()
    for weight, (_, out) in arg.chain.items():
        head = re.sub(r"^(weights?|w|theta|u|kernel)_?", "", bare_name(weight), flags=re.I).lower()
        if tail and (head == tail or head.endswith(tail)):
            return [bias_spec(out, arg.mode)]
    return _bias_by_place(arg)


def _bias_by_place(arg: Argument) -> list[Spec]:
    place = arg.biases.index(arg.full)
    if len(arg.biases) == len(arg.weights):
        out = list(arg.chain.values())[place][1]
    elif arg.weights:
        out = arg.outs[-1] if place == len(arg.biases) - 1 else arg.outs[0]
    else:
        out = arg.dims[-1] if arg.dims and arg.dims[-1] != "N" else "D"
    return [bias_spec(out, arg.mode)] if out else [floats()]


def _setting(arg: Argument) -> list[Spec] | None:
    """Return a flag, the strings that it is compared with, a function or an object.

    Example: if activation == "relu": …
    """
    if arg.lower_name in words.FLAGS:
        return [Spec("value", value=True)]
    strings = strings_for(arg.lower_name, arg.text)
    training = [s for s in strings if s.startswith("train")]
    if training and len(strings) > 1:  # "test" keeps nothing for a backward
        return [Spec("value", value=training[0])]
    if strings:
        return [Spec("choice", value=strings), *(Spec("value", value=v) for v in strings)]
    made = _objects(arg)
    if made:
        return made
    return [Spec("value", value="train")] if arg.lower_name == "mode" else None


def _noise(arg: Argument) -> list[Spec] | None:
    """Return noise: an eps that is multiplied and never added. Example: z = mu + std * eps."""
    if arg.lower_name not in ("eps", "epsilon", "noise", "xi") or arg.of_constructor or arg.is_part:
        return None
    factor = _found(rf"\* {arg.name}\b|\b{arg.name} \*", arg.text)
    return [arg.mode.data] if factor and not _found(rf"[+-] {arg.name}\b", arg.text) else None


def _scale(arg: Argument) -> list[Spec] | None:
    """Return the scale or shift of a normalisation. Example: y = gamma * x_hat + beta."""
    if arg.lower_name not in ("gamma", "scale", "shift") and arg.name != "g":
        return None
    width = "I" if arg.image else (arg.dims[-1] if arg.dims else "")
    shapes: tuple[Dims, ...] = ((width,), ("1", width), (width, "1"), ("1", width, "1", "1"))
    if _found(rf"\b{arg.name}\[:, :, None, None\]", arg.text):  # one for each sample
        shapes = (("N", width),)
    return [Spec("positive", s) for s in (shapes if width else ((),))]


def _module(arg: Argument) -> list[Spec] | None:
    """Return NumPy for an argument that is an array library. Example: def relu(x, xp)."""
    known = arg.lower_name in ("xp", "device", "np", "backend", "lib", "numpy")
    return [Spec("value", value=np)] if known else None


def _kernel_size(arg: Argument) -> list[Spec] | None:
    """Return the width of a window over an image. Example: def max_pool(x, kernel_size)."""
    known = arg.image and _found(SIZES[0][0], arg.lower_name) and arg.full not in arg.weights
    return [Spec("size", ("K",))] if known else None


def _claimed_number(arg: Argument) -> list[Spec] | None:
    """Return numbers whose gradient is returned by name: such a number is not a setting.

    Example: def backward(x, alpha, dout): …; return {"alpha": dalpha}
    """
    if words.plain(arg.name) not in arg.request.claimed or not arg.numbers:
        return None
    return [arg.mode.data, *(Spec("positive", d) for d in (arg.dims, arg.dims[-1:], ()))]


_DATA_OF_CONSTRUCTORS = ("x", "y", "data", "x_train", "y_train", "train_x")


_SIZE_LETTERS = {"i": "D", "c": "C", "o": "C"}
"""Sizes with names of one letter that no other rule knows: TwoLayers(d, h, c)."""


def _size_of_constructor(arg: Argument) -> list[Spec] | None:
    """Return a size that a class is made with. Example: def __init__(self, n_in, n_hidden)."""
    data_like = arg.lower_name in _DATA_OF_CONSTRUCTORS and ".shape" in arg.text
    if not arg.of_constructor or arg.full in arg.request.arrays or data_like:
        return None
    if arg.lower_name == "dtype":
        return [Spec("value", value=np.float64)]
    if _is_listed(arg):
        ends = [n for n in arg.request.names if n.startswith("init.") and n != arg.full]
        between = any(size_specs(n) for n in ends) or "hidden" in arg.lower_name
        lists: tuple[Dims, ...] = (("H",), ("H", "G")) if between else (("D", "H", "C"),)
        return [Spec("sizes", dims) for dims in lists]
    sizes = [Spec("size", (arg.name,))] if arg.name in POOLS else size_specs(arg.full)
    maker = rf"(zeros|ones|empty|full|rand|randn|normal|uniform)\([^\n]*\b{arg.name}\b"
    if not sizes and arg.name in _SIZE_LETTERS and _found(maker, arg.text):
        sizes = [Spec("size", (_SIZE_LETTERS[arg.name],))]
    made = [n for n in arg.request.names if n.startswith("init.") and size_specs(n)]
    if made == [arg.full] and sizes == [Spec("size", ("C",))]:  # units, or inputs: Regression(n)
        sizes = [*sizes, Spec("size", ("D",))]
    return sizes or arg.numbers or [Spec("size", ("D",)), Spec("value", value=_DEFAULT_NUMBER)]


def _is_listed(arg: Argument) -> bool:
    """Say whether the code uses a constructor's argument as a list of layer sizes."""
    name = re.escape(arg.name)
    joined = rf"len\({name}\)|\] \+ {name}\b|\b{name} \+ \[|\*{name}\b(?=[,\]])"
    return bool(arg.of_constructor and _found(joined, arg.text))


def _unpacked(arg: Argument) -> list[Spec] | None:
    """Return a shape that a constructor unpacks. Example: d, h, w = X_dim."""
    name = re.escape(arg.name)
    found = _found(rf"^\s*([\w., ]+?) = (self\.)?{name}$", arg.text, re.M)
    count = len([n for n in found[1].split(",") if n.strip()]) if found and "," in found[1] else 0
    by_index = [int(i) + 1 for i in _all_found(rf"\b{name}\[(\d)\]", arg.text)]
    count = count or max(by_index, default=0)
    if not arg.of_constructor or not count:
        return None
    window = _found(r"kernel|filter|pool|stride|pad|size", arg.lower_name)
    shapes: dict[int, tuple[Dims, ...]] = {
        1: (("D",),),
        2: (("K", "K"),) if window else (("D", "H"), ("Y", "X")),
        3: (("I", "Y", "X"), ("Y", "X", "I")),
        4: (("K", "K", "I", "F"), ("F", "I", "K", "K")),
    }
    if _found(r"stride", arg.lower_name):
        return [Spec("value", value=(1,) * count)]
    return [Spec("shape", dims) for dims in shapes.get(count, ())] or None


def _target(arg: Argument) -> list[Spec] | None:
    """Return targets of the output: labels, one-hot rows, numbers. Example: def mse(y, t)."""
    if not arg.is_target:
        return None
    found = _plain_targets(arg)
    if not _is_a_sign(arg):
        return found
    signs = {s.dims: Spec("sign", s.dims) for s in found if s.kind != "label"}
    return [*signs.values(), *(s for s in found if s.kind == "label")]


def _is_a_sign(arg: Argument) -> bool:
    """Say whether it is −1 or 1: it multiplies a margin, max(0, 1 − t y) or 1 + exp(±t y)."""
    name = re.escape(arg.name)
    product = rf"\(?((self\.)?\w+ \* (self\.)?{name}\b|(self\.)?{name} \* )"
    return bool(
        _found(
            rf"\b1(\.0*)? - {product}|exp\(-{product}|1(\.0*)? \+ (np\.)?exp\({product}", arg.text
        )
    )


def _plain_targets(arg: Argument) -> list[Spec]:
    if arg.request.shapes:
        return [*target_specs(arg.mode, "C"), *arg.columns]
    if arg.weights:
        return target_specs(arg.mode, arg.outs[-1])
    if arg.has_constructor and arg.dims == ("T", "D"):
        return [Spec("label", ("T",), "V"), *target_specs(arg.mode, "C")]
    feature = arg.dims[0] if arg.mode.samples == "columns" else (arg.dims or ("",))[-1]
    widths = ["C", feature] if arg.has_constructor else [feature]
    return [t for w in widths for t in target_specs(arg.mode, w)]


def _picks(arg: Argument) -> list[Spec] | None:
    """Return labels: they pick a column of each row. Example: scores[np.arange(n), answers]."""
    rows = r"\[(np\.arange|torch\.arange|range|list)\([^\[\]]*\), "
    if arg.of_constructor or not _found(rf"{rows}{re.escape(arg.name)}\]", arg.text):
        return None
    feature = arg.dims[0] if arg.mode.samples == "columns" else (arg.dims or ("",))[-1]
    samples = arg.dims[-1] if arg.mode.samples == "columns" else (arg.dims or ("N",))[0]
    return [Spec("label", (samples,), (arg.outs[-1] if arg.weights else feature) or "C")]


def _mask(arg: Argument) -> list[Spec] | None:
    """Return zeros and ones. Examples: a1 = a1 * mask / keep_prob; (X @ Theta.T - Y) * R."""
    if "mask" in arg.lower_name and len(arg.dims) == 3 and not arg.image:
        return [Spec("mask", arg.dims[:-1]), Spec("mask", arg.dims)]
    rated = _found(r"\) \* R\b|\bR \* \(", arg.text) if arg.name == "R" else None
    if not rated and not _found(r"mask|^d\d$|dropout|observed|indicator", arg.lower_name):
        return None
    width = "H" if len(arg.weights) > 1 else "D"
    if arg.mode.samples == "columns":
        return [Spec("mask", (width, arg.dims[-1])), arg.mode.data]
    return [Spec("mask", arg.dims), Spec("mask", (*arg.dims[:-1], width))]


def _of_the_module(arg: Argument) -> list[Spec] | None:
    """Return a state or a sequence, if the weights are arrays of the module itself.

    Example: Whh = np.zeros((4, 4)); def loss_fun(inputs, targets, hprev): …
    """
    if arg.request.shapes and _found(r"h_?prev|prev|^h0?$|state|memory", arg.lower_name):
        return [Spec("normal", tuple(map(str, shape))) for shape in arg.request.shapes]
    sequences = ("inputs", "x", "xs", "targets", "y", "input", "target")
    if arg.request.shapes and arg.lower_name in sequences:
        return [Spec("label", ("T",), "C"), arg.mode.data]
    return None


_STATE = re.compile(r"h_?prev|prev_?h|^h0?$|^a_?prev$|hidden|^c0?$|c_?prev|prev_?c|^s0?$|state")


def _state(arg: Argument) -> list[Spec] | None:
    """Return the state of a recurrent network. Example: h = np.tanh(x @ Wx + h_prev @ Wh)."""
    if (
        not _STATE.search(arg.lower_name)
        or arg.lower_name == "a_prev"
        or not (arg.weights or arg.has_constructor)
    ):
        return None
    if arg.mode.samples == "columns" and arg.dims[-1] != "T":
        return [Spec("normal", ("H", arg.dims[-1]))]
    if arg.mode.samples == "vector" or arg.dims in (("D", "T"), ("T", "D")):
        return [floats("H"), floats("H", "1")]
    return [floats("N", "H")]


def _keys(arg: Argument) -> list[Spec] | None:
    """Return keys or values of attention. Example: def attention(q, k, v)."""
    known = arg.lower_name in ("k", "v", "key", "value", "keys", "values")
    if not known or arg.mode.samples != "rows":
        return None
    return [arg.mode.data, Spec("normal", (*arg.dims[:-2], "S", arg.dims[-1]))]


_INDEXED = ("x", "xs", "inputs", "input", "idx", "indices")


def _data(arg: Argument) -> list[Spec] | None:
    """Return the data, or a prediction. Example: def forward(X, W, b)."""
    bare = _unnumbered(arg)
    # In loss(y, t) both names may be targets. `_target` has taken t, so y is the prediction.
    if bare not in words.DATA_NAMES and bare not in words.PREDICTION_NAMES and bare != "y":
        return None
    if arg.mode.data.kind == "label" and bare not in _INDEXED:
        return [ROWS]
    found = [arg.mode.data]
    if bare in words.PREDICTION_NAMES or bare == "y":
        inside = Spec("unit", arg.dims)
        sure = _found(r"clip\(|entropy|1e-\d|log\(", arg.text) and not _found(
            r"exp\(|sigmoid\(|softmax\(", arg.text
        )
        found = [inside, arg.mode.data] if sure else [arg.mode.data, inside]
    if arg.dims == ("T", "D") and bare in ("inputs", "x", "xs"):
        found.append(Spec("label", ("T",), "V"))
    if bare.startswith("x") and _found(r"lstm|rnn|gru", arg.text, re.I):
        found += [Spec("list", parts=(Spec("normal", d),) * 3) for d in (("D",), ("D", "1"))]
    return found


def _unnumbered(arg: Argument) -> str:
    return re.sub(r"\d+$", "", arg.lower_name) if arg.is_part else arg.lower_name


_NAMED: tuple[tuple[str, tuple[Spec | None, ...]], ...] = (
    (r"idx|index|indices|ids|token", (
        Spec("label", ("N",), "V"), Spec("label", (), "V"), Spec("label", ("N", "T"), "V"),
    )),
    (r"vec(tor)?s$|table|matrix|embeddings?$", (floats("V", "D"), None)),
    (r"vec(tor)?$", (floats("D"), None)),
    (r"nn_params|unrolled|flat|^params$|initial_nn", (floats("H*D+H+C*H+C"), floats("H*D+C*H"))),
)  # fmt: skip
"""Specs by the name: indices, embeddings, all weights in one vector. None means like the data."""


def _named(arg: Argument) -> list[Spec] | None:
    """Return what `_NAMED` has for its name. Example: def embed(indices, table)."""
    bare = _unnumbered(arg)
    found = next((specs for pattern, specs in _NAMED if _found(pattern, bare)), ())
    return [arg.mode.data if spec is None else spec for spec in found] or None


def _size(arg: Argument) -> list[Spec] | None:
    """Return a size that a function takes. Example: def unpack(theta, input_size, num_labels)."""
    known = _found(r"_size$|^num_|^n_(in|out|hid|lab|cla|feat)", _unnumbered(arg))
    return size_specs(arg.full) if known else None


def _claimed(arg: Argument) -> list[Spec] | None:
    """Return an array as wide as a layer, if its gradient is returned by name: it is trained.

    Example: h = bngain * z_hat; …; return dW1, dbngain.
    """
    if words.plain(arg.name) not in arg.request.claimed or not arg.weights or not all(arg.outs):
        return None
    return [*(bias_spec(out, arg.mode) for out in dict.fromkeys(arg.outs)), arg.mode.data]


def _unknown(arg: Argument) -> list[Spec]:
    """Return specs for a name without a known meaning. Example: def f(u, v): return u * v."""
    if arg.request.shapes and not arg.is_part:
        return [arg.mode.data, *arg.columns]
    if arg.is_part:
        sizes = size_specs(arg.full) if _found(SIZES[0][0], _unnumbered(arg)) else []
        return [*(sizes or arg.numbers[:1]), arg.mode.data]
    if "T" in arg.dims and len(arg.dims) == 3:
        return [arg.mode.data, Spec("label", arg.dims[:-1], arg.dims[-1])]
    if arg.numbers:
        return [arg.numbers[0], arg.mode.data]
    return [arg.mode.data, Spec("value", value=_DEFAULT_NUMBER)]


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
    _claimed,
    _unknown,
)
"""A rule is asked only if all rules before it returned None."""


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


class PlainSgd:
    """A stand-in optimiser, w − rate · grad: the change of w gives the gradient.

    Example: the rate is 0.5 and w changes from 1.0 to 0.9, so grad = 0.2.
    """

    learning_rate = lr = 0.5

    def update(self, w: np.ndarray, grad: np.ndarray) -> np.ndarray:
        """Return w − rate · grad."""
        return w - self.learning_rate * grad

    step = get_update = __call__ = update


def _tanh(x: Any) -> Any:
    return x.tanh() if hasattr(x, "tanh") else np.tanh(x)  # torch's tensors refuse NumPy


def _objects(arg: Argument) -> list[Spec]:
    """Return functions and objects that an argument of this name may stand for."""
    bare = arg.lower_name
    if bare in arg.request.builders:
        return [Spec("made", value=arg.request.builders[bare])]
    if bare in ("ctx", "context"):
        return [Spec("made", value=lambda sizes: SavingContext())]
    if _found(r"optimi[sz]er|^optim$|^opt$", bare):
        return [Spec("made", value=lambda sizes: PlainSgd())]
    called = _found(rf"\b{re.escape(bare)}\(", arg.text)
    if called and _found(r"prime|deriv|grad|slope|^df$|^d_", bare):
        return [Spec("value", value=lambda x: 1 - np.tanh(x) ** 2)]
    if called and _found(r"activ|func|^f$|^g$|nonlin|^act$|sigma", bare):
        return [Spec("value", value=_tanh)]
    if _found(r"(input|in)_?shape$|^shape$|^input_?dims$", bare):
        of_batch = len(arg.dims) > 1 and arg.dims[0] == "N"
        return [Spec("shape", arg.dims[of_batch:]), Spec("shape", arg.dims)]
    if _found(r"^depth$", bare) and arg.image:
        return [Spec("size", ("F",))]
    return []
