"""Draws what a function is called with: shapes are proposed by name and settled by trying.

A `Spec` says how one argument is drawn, its sizes as letters (N samples, D inputs, H hidden,
C outputs or classes, T time, K kernel …); the letters get other numbers in every problem. A
`Layout` has one spec for each argument. `layouts` proposes them, the likely ones first.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from manual_backprop.spec import InvalidInput
from reference.checks import vocabulary as words

Dims = tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """How one argument is drawn."""

    kind: str
    """normal, positive, label, onehot, probability, binary, mask, number, value, list, dict"""
    dims: Dims = ()
    high: str = ""
    """Of labels: the letter of the number of classes."""
    value: Any = None
    parts: tuple["Spec", ...] = ()

    def draw(self, rng: np.random.Generator, sizes: Mapping[str, int]) -> Any:
        """Return a value; float arrays are fresh ones."""
        shape = tuple(size_of(d, sizes) for d in self.dims)
        match self.kind:
            case "normal":
                return _plain(rng.standard_normal(shape))
            case "positive":
                return rng.uniform(0.4, 1.6, shape)
            case "unit":  # strictly inside (0, 1): a probability, an activation
                return _plain(rng.uniform(0.1, 0.9, shape))
            case "probability":
                drawn = rng.uniform(0.2, 1.0, shape)
                axis = 0 if self.high == "columns" else -1
                return drawn / drawn.sum(axis=axis, keepdims=True)
            case "label":
                labels = rng.integers(0, size_of(self.high, sizes), shape)
                return int(labels) if not shape else labels
            case "onehot":
                axis = 0 if self.high == "columns" else -1
                rows = np.moveaxis(np.zeros(shape), axis, -1)
                hot = rng.integers(0, rows.shape[-1], rows.shape[:-1])
                np.put_along_axis(rows, hot[..., None], 1.0, axis=-1)
                return np.ascontiguousarray(np.moveaxis(rows, -1, axis))
            case "binary" | "mask":
                return _plain(rng.integers(0, 2, shape).astype(float))
            case "sign":
                return np.where(rng.random(shape) < 0.5, -1.0, 1.0)
            case "size":
                return size_of(self.dims[0], sizes)
            case "sizes":
                return list(shape)
            case "number":
                low, high = self.value
                return round(float(rng.uniform(low, high)), 3)
            case "list":
                return [p.draw(rng, sizes) for p in self.parts]
            case "choice":
                return self.value[int(rng.integers(0, len(self.value)))]
            case "shape":
                return shape
            case "made":
                return self.value(sizes)
        return self.value


def _plain(drawn: Any) -> Any:
    """Return a number without axes as a Python float, as people pass it."""
    return float(drawn) if np.ndim(drawn) == 0 else drawn


def size_of(letter: str, sizes: Mapping[str, int]) -> int:
    """Return a size: a letter's, a number's, or a sum or product of two (H+1, 4*H)."""
    if letter in sizes:
        return sizes[letter]
    total = 0
    for term in letter.split("+"):
        product = 1
        for factor in term.split("*"):
            factor = factor.strip()
            product *= sizes[factor] if factor in sizes else int(factor)
        total += product
    return total


Layout = dict[str, Spec]

_POOLS = {
    "N": (5, 4, 3, 2),
    "D": (4, 3, 2, 5),
    "H": (6, 5, 4, 7),
    "G": (7, 6, 5, 4),
    "C": (3, 4, 2, 5),
    "T": (8, 7, 5, 4),
    "S": (7, 6, 5, 3),
    "V": (9, 8, 7, 6),
    "F": (4, 3, 5, 6),
    "I": (2, 4, 2, 4),
}


def sizes_for(seed: int, index: int, style: str = "distinct") -> dict[str, int]:
    """Return the letters' numbers for one problem.

    `style` says which: "distinct" (they differ from one another, so that a transposed weight
    shows), "two" (2 everywhere: for code that names each entry), "image" sizes always fit a
    3 x 3 kernel with stride 2 and padding 1, "pool" ones a 2 x 2 window.
    """
    if style == "two":
        return dict.fromkeys([*_POOLS, "K", "Y", "X"], 2)
    rng = np.random.default_rng([seed, index, 77])
    while True:
        sizes = {k: int(v[0] if index == 0 else rng.choice(v)) for k, v in _POOLS.items()}
        if len({sizes[k] for k in "NDHC"}) == 4:
            break
        if index == 0:
            break
    image = {"K": 2, "Y": 4, "X": 6} if style == "pool" else {"K": 3, "Y": 5, "X": 7}
    return sizes | image


class WholeNumbers(np.random.Generator):
    """Draws what is easily read in place of normal numbers: 1, 2, −1, ½, −2."""

    def standard_normal(self, size: Any = None, *_: Any, **__: Any) -> Any:
        """Return small whole numbers and halves, none of them zero."""
        drawn = self.choice(np.array([1.0, 2.0, -1.0, 0.5, -2.0]), size)
        return float(drawn) if size is None else np.asarray(drawn)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Return numbers with at most two digits behind the point."""
        return np.round(super().uniform(low, high, size), 1 if high - low > 0.5 else 2)


def generator(seed: int, index: int, style: str) -> np.random.Generator:
    """Return what the numbers of a problem are drawn from; style "whole" draws whole numbers."""
    if style == "whole":
        return WholeNumbers(np.random.PCG64([seed, index]))
    return np.random.default_rng([seed, index])


def spelled(shape: str) -> Spec:
    """Return the spec that a user wrote: "N D" floats, "N int(H)" labels below H.

    Raises InvalidInput for what is neither a letter nor a number above 0.
    """
    parts = shape.replace(",", " ").split()
    limits = [p[4:-1] for p in parts if p.startswith("int(") and p.endswith(")")]
    dims = tuple(p for p in parts if not p.startswith("int("))
    if not all(re.fullmatch(r"[A-Za-z_]\w*|[1-9]\d*", d) for d in (*dims, *limits)):
        raise InvalidInput(f"shapes: {shape!r}; expected letters and numbers > 0")
    return Spec("label", dims, limits[0]) if limits else Spec("normal", dims)


# -- what a name proposes ----------------------------------------------------------------------


@dataclass(frozen=True)
class Mode:
    """One way to lay out samples, weights and biases: the flags of a whole file."""

    data: Spec
    """What X is like."""
    turned: bool
    """Weights as (D_out, D_in)."""
    bias: str
    """row (M,), flat (1, M), column (M, 1), scalar (), column one: the weights hold a column."""
    style: str = "distinct"

    @property
    def general(self) -> bool:
        """Whether there are several samples: with one, a mistake in their axis hides."""
        return len(self.data.dims) > 1 and "1" not in self.data.dims and self.style != "two"

    @property
    def samples(self) -> str:
        """rows, columns, vector, column, scalar, image: where the samples are."""
        dims = self.data.dims
        if len(dims) >= 3:
            return "rows"
        if len(dims) == 2:
            return "columns" if dims[-1] in ("N", "1") or dims == ("D", "T") else "rows"
        return "vector" if dims else "scalar"


_ROWS, _COLUMNS = Spec("normal", ("N", "D")), Spec("normal", ("D", "N"))
_DATA = (
    _ROWS,
    _COLUMNS,
    Spec("normal", ("D",)),
    Spec("normal", ("D", "1")),
    Spec("normal", ()),
    Spec("normal", ("N", "T", "D")),
    Spec("normal", ("T", "D")),
    Spec("normal", ("D", "T")),
)
_IMAGES = (
    Spec("normal", ("N", "I", "Y", "X")),
    Spec("normal", ("N", "Y", "X", "I")),
    Spec("normal", ("Y", "X", "I")),
    Spec("normal", ("Y", "X")),
    Spec("normal", ("I", "Y", "X")),
)
_INDICES = (Spec("label", ("N",), "V"), Spec("label", ("N", "T"), "V"))
_IMAGE_WORDS = re.compile(
    r"conv|pool|im2col|image|filter|kernel|stride|n_h|height|spatial|2d|channel|"
    r"H, W|H, Wd|axis=\(0, 2, 3\)"
)
_INDEX_WORDS = re.compile(r"embed|lookup|vocab", re.I)


def modes(text: str) -> Iterator[Mode]:
    """Yield the ways a file may lay things out, the likely ones first; `text` is its source."""
    data: list[Spec] = list(_DATA)
    if _IMAGE_WORDS.search(text):
        data = (
            [*_IMAGES, *data] if re.search(r"conv|pool|im2col", text, re.I) else [*data, *_IMAGES]
        )
    if _INDEX_WORDS.search(text):
        data = [*_INDICES, *data]
    for spec in data:
        columns = spec.dims[-1:] in (("N",), ("1",)) or spec.dims == ("D", "T")
        if len(spec.dims) >= 3 and "Y" in spec.dims:
            for style in (
                ("distinct", "pool") if "pool" not in text.lower() else ("pool", "distinct")
            ):
                for bias in ("row", "image"):
                    yield Mode(spec, False, bias, style)
            continue
        if spec.dims == ("Y", "X"):
            yield Mode(spec, False, "scalar", "distinct")
            yield Mode(spec, False, "scalar", "pool")
            continue
        for turned in (True, False) if columns or len(spec.dims) == 1 else (False, True):
            forms = (
                ("row", "flat", "scalar", "column") if not columns else ("column", "scalar", "row")
            )
            for bias in forms:
                yield Mode(spec, turned, bias)
        yield Mode(spec, True, "inside")
        yield Mode(spec, False, "inside")
    for bias in ("row", "inside"):
        yield Mode(Spec("normal", ("D",)), False, bias, "two")
        yield Mode(Spec("normal", ("D",)), True, bias, "two")
    yield Mode(_ROWS, False, "row", "two")


def weight_names(names: Sequence[str]) -> list[str]:
    """Return the arguments that are called like weights, in the order of the layers."""
    found = [n for n in names if _is_weight(n)]
    bare = {_bare(n).lower() for n in names}
    if {"q", "k"} <= bare:  # attention: v is a value, not a weight
        found = [n for n in found if _bare(n).lower() not in ("q", "k", "v")]
    numbered = [n for n in found if re.search(r"\d", n)]
    return sorted(found, key=_number) if len(numbered) == len(found) else found


def bias_names(names: Sequence[str]) -> list[str]:
    """Return the arguments that are called like biases."""
    found = [n for n in names if _is_bias(n)]
    numbered = [n for n in found if re.search(r"\d", n)]
    return sorted(found, key=_number) if len(numbered) == len(found) else found


def _bare(name: str) -> str:
    """Return the last part of a path: parameters[W1] -> W1, weights[0] -> weights0."""
    match = re.fullmatch(r"(.*)\[(.*)\]", name)
    if not match:
        return name.rpartition(".")[2]
    head = match[1].rpartition(".")[2]
    return head + match[2] if match[2].lstrip("-").isdigit() else match[2]


def _is_weight(name: str) -> bool:
    bare = _bare(name)
    short = bare.rstrip("0123456789") or bare
    if bare.lower() in ("words", "word", "width", "window", "width_in") or (
        name.startswith("init.") and bare in _POOLS
    ):
        return False
    return (
        bool(words.WEIGHTS.match(bare) or words.WEIGHTS.match(short))
        and not _is_bias(name)
        and not words.is_gradient_name(bare)
    )


def _is_bias(name: str) -> bool:
    bare = _bare(name).rstrip("0123456789") or _bare(name)
    return bool(words.BIASES.match(bare)) and bare.lower() not in ("batch", "bn_param", "bs_")


def _number(name: str) -> int:
    digits = re.findall(r"\d+", _bare(name))
    return int(digits[-1]) if digits else 0


_CHAIN = {1: ("D", "C"), 2: ("D", "H", "C"), 3: ("D", "H", "G", "C"), 4: ("D", "H", "G", "F", "C")}
_LETTERS = {"x": "D", "i": "D", "h": "H", "a": "H", "s": "H", "y": "C", "o": "C", "z": "H"}

Chain = dict[str, tuple[str, str]]


def chains(weights: Sequence[str], text: str) -> Iterator[Chain]:
    """Yield (in, out) letters of every weight: a feed-forward chain, then recurrent ones."""
    count = len(weights)
    if not count:
        yield {}
        return
    classic = {_bare(w).lower(): w for w in weights}
    if set(classic) == {"u", "v", "w"}:  # the recurrent network of many tutorials
        yield {classic["u"]: ("D", "H"), classic["w"]: ("H", "H"), classic["v"]: ("H", "C")}
    recurrent = bool(re.search(r"rnn|lstm|gru|hidden|h_?prev|prev_?h|recurren|time", text, re.I))
    letters = [_by_letters(w) for w in weights]
    by_letters = {w: x for w, x in zip(weights, letters, strict=True) if x}
    gates = {w: ("D+H", "H") for w in weights}
    outs = {w: ("H", "C") for w in weights if re.search(r"_?(y|hy|ho|out)$", _bare(w), re.I)}
    feed = None
    if count in _CHAIN:
        feed = {w: (_CHAIN[count][i], _CHAIN[count][i + 1]) for i, w in enumerate(weights)}
    if feed and not recurrent:
        yield feed
    if len(by_letters) == count:
        yield by_letters
    plain_cell = {w: ("H", "H") if _hidden(w) else ("D", "H") for w in weights}
    if recurrent and not re.search(r"lstm|gru", text, re.I):
        yield plain_cell | outs
        yield plain_cell
    if recurrent:
        yield {
            w: ("D" if re.search(r"x|^w|^u", _bare(w), re.I) and not _hidden(w) else "H", "4*H")
            for w in weights
        }
        yield gates | outs
        yield {w: ("H+D", "H") for w in weights} | outs
        yield {w: ("H" if _hidden(w) else "D", "H") for w in weights} | outs
        yield {w: ("H" if _hidden(w) else "D", "3*H") for w in weights} | outs
        yield plain_cell | outs
    if feed and recurrent:
        yield feed
    yield {w: ("D", "H") for w in weights}
    yield {w: ("D", "D") for w in weights}
    if count == 1:
        yield {weights[0]: ("D", "1")}
    if count == 2:
        yield {weights[0]: ("D", "H"), weights[1]: ("H", "1")}
        yield {weights[0]: ("D", "C"), weights[1]: ("C", "D")}


def _hidden(name: str) -> bool:
    bare = _bare(name).lower()
    return bool(re.search(r"hh$|aa$|_h$|wh$|whh|u_?[a-z]?$|ss$|rec", bare))


def _by_letters(name: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"[wu]_?([a-z])_?([a-z])", _bare(name).lower())
    if match and match[1] in _LETTERS and match[2] in _LETTERS:
        one, two = _LETTERS[match[1]], _LETTERS[match[2]]
        # Waa, Wya (to, from) or Wxh, Why (from, to): the order in which data flows.
        order = "DHC"
        return (one, two) if order.index(one) <= order.index(two) else (two, one)
    return None


def weight_spec(ends: tuple[str, str], mode: Mode, image: bool = False) -> Spec:
    """Return a weight's spec from its (in, out) and the file's layout."""
    before, after = ends
    if image:
        by_layout = {
            ("N", "I", "Y", "X"): ("F", "I", "K", "K"),
            ("N", "Y", "X", "I"): ("K", "K", "I", "F"),
            ("Y", "X", "I"): ("K", "K", "I", "F"),
            ("Y", "X"): ("K", "K"),
            ("I", "Y", "X"): ("F", "I", "K", "K"),
        }
        return Spec("normal", by_layout.get(mode.data.dims, ("K", "K")))
    if mode.data.dims == ():
        return Spec("normal", ())
    if mode.data.kind == "label":
        return Spec("normal", ("V", "D"))
    if mode.bias == "inside":
        return Spec("normal", (after, before + "+1") if mode.turned else (before + "+1", after))
    if mode.turned:
        return Spec("normal", (after, before))
    return Spec("normal", (before, after))


def bias_spec(after: str, mode: Mode) -> Spec:
    """Return a bias's spec from the width it is added to."""
    if mode.data.dims == ():
        return Spec("normal", ())
    shapes: dict[str, Dims] = {
        "row": (after,),
        "flat": ("1", after),
        "column": (after, "1"),
        "scalar": (),
        "inside": (after,),
        "image": ("1", "1", "1", after),
    }
    return Spec("normal", shapes[mode.bias])


def target_specs(mode: Mode, width: str = "C") -> list[Spec]:
    """Return the ways targets may be given for this layout of samples."""
    dims = mode.data.dims
    if mode.samples == "columns":
        last = dims[-1]
        return [
            Spec("onehot", (width, last), "columns"),
            Spec("binary", ("1", last)),
            Spec("label", (last,), width),
            Spec("normal", (width, last)),
        ]
    if mode.samples == "vector":
        return [
            Spec("onehot", (width,)),
            Spec("normal", ()),
            Spec("label", (), width),
            Spec("onehot", (width, "1"), "columns"),
        ]
    if mode.samples == "scalar":
        return [Spec("unit", ()), Spec("binary", ())]
    first = dims[0] if mode.data.kind != "label" else "N"
    found = [
        Spec("onehot", (first, width)),
        Spec("label", (first,), width),
        Spec("binary", (first, "1")),
        Spec("normal", (first,)),
        Spec("normal", (first, width)),
    ]
    if "T" in dims:
        found += [Spec("label", ("N", "T"), width), Spec("onehot", ("N", "T", width))]
    return found


_SIZES = (
    (r"kernel|filter_?size|^k$|^f$|^ks$|pool_?(h|w|size|height|width)|window|^hh$|^ww$|field", "K"),
    (r"in_?channels?|^c_?in$|n_?c_?prev|channels_in|input_channels", "I"),
    (r"out_?channels?|^c_?out$|num_?filters|n_?filters|channels_out|n_?kernels", "F"),
    (r"vocab|num_?emb|n_?words|dictionary", "V"),
    (r"embd|d_model|model_dim|embed_?(dim|size)|emb_?(dim|size)", "D"),
    (r"hid|(^|_)h$|^h_?(dim|size)|^n_h(?!ead)|^n_a$", "H"),
    (
        r"(^|_)(in|input|inputs|fan_?in|n_?in)(_|$)|input|in_?(dim|size|features?)|n_x|^n_?f|features|"
        r"^d$|dim$|num_features|^n_prev",
        "D",
    ),
    (
        r"(^|_)(out|output|outputs)(_|$)|output|out_?(dim|size|features?)|class|label|n_y|units|neurons|nodes|"
        r"^m$|width|^n$|size",
        "C",
    ),
)

_NUMBERS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    (r"^stride|strides?$|^s$", (2, 1)),
    (r"^g$|groups?$", (2, 1)),
    (r"pad", (1, 0)),
    (r"dilat|groups", (1,)),
    (r"keep_?prob|keep_rate|^keep", (0.6,)),
    (r"drop|^p$|^prob$", (0.4,)),
    (r"eps", (1e-3, 1e-5)),
    (r"momentum|^beta\d|decay_rate|^rho", (0.9,)),
    (r"seed|random_state", (7,)),
    (r"std|scale|weight_scale|sigma|init", (0.5,)),
    (r"head", (1, 2)),
    (
        r"alpha|slope|leak|negative|lambda|^lam|margin|delta|gamma|beta|threshold|temperature|^tau|"
        r"^c$|coef|weight_?decay|^reg|l2",
        (0.3, 0.7),
    ),
    (r"lr|rate|eta", (0.5,)),
    (r"epoch|iter|n_?steps", (1,)),
    (r"axis|dim", (-1, 1)),
    (r"^t$|^time|seq|length|steps", (3,)),
)


def number_specs(name: str) -> list[Spec]:
    """Return the numbers that an argument of this name may be: a rate, a stride, an ε."""
    bare = _bare(name).lower()
    if bare in words.RATES:
        return [Spec("value", value=0.5)]
    if bare in words.REGULARISATION:
        return [Spec("value", value=0.3), Spec("value", value=0.0)]
    for pattern, values in _NUMBERS:
        if re.search(pattern, bare):
            return [Spec("value", value=v) for v in values]
    return []


def size_specs(name: str) -> list[Spec]:
    """Return the sizes that a constructor's argument of this name may be."""
    bare = _bare(name).lower()
    if re.search(
        r"^(sizes|dims|layers?_?(dims|sizes)?|layer_?sizes|architecture|shape|topology|"
        r"structure|layers|nodes_per_layer|hidden_?(sizes|layers|dims)|units_list|arch)$",
        bare,
    ):
        if "hidden" in bare:
            return [Spec("sizes", ("H",)), Spec("sizes", ("H", "G")), Spec("size", ("H",))]
        return [Spec("sizes", ("D", "H", "C"))]
    for pattern, letter in _SIZES:
        if re.search(pattern, bare):
            return [Spec("size", (letter,))]
    return []


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
    bare = _bare(name).lower()
    built = name.startswith("init.")
    beside = [_bare(n) for n in request.names if n.startswith("init.") == built]
    targeted = _bare(name) in words.targets_among(beside)
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
    if bare in ("gamma", "scale", "shift") or _bare(name) == "g":
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
    if "Y" in mode.data.dims and re.search(_SIZES[0][0], bare) and name not in weights:
        return [Spec("size", ("K",))]
    numbers = number_specs(name)
    if words.plain(_bare(name)) in request.claimed and numbers:
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
        letter = _bare(name)
        sizes = [Spec("size", (letter,))] if letter in _POOLS else size_specs(name)
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
            return [_ROWS]
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
        sizes = size_specs(name) if re.search(_SIZES[0][0], bare) else []
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
        self.saved_tensors = self.saved_values = values

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
    bare = _bare(name)
    others = {_bare(n).lower() for n in request.names}
    if not weights and bare.lower() in ("b", "b1", "b2") and others & {"a", "a1"}:
        return [mode.data, Spec("normal", mode.data.dims[-1:])]
    if image:
        if not weights:  # a normalisation's shift
            return [Spec("normal", ("I",)), Spec("normal", ("1", "I", "1", "1"))]
        found = [Spec("normal", ("F",)), Spec("normal", ("F", "1")), Spec("normal", ())]
        return [Spec("normal", ("1", "1", "1", "F"))] if mode.bias == "image" else found
    tail = re.sub(r"^(bias|b)_?", "", bare, flags=re.I).lower()
    for weight, (_, out) in chain.items():
        head = re.sub(r"^(weights?|w|theta|u|kernel)_?", "", _bare(weight), flags=re.I).lower()
        if tail and (head == tail or head.endswith(tail)):
            return [bias_spec(out, mode)]
    if biases and len(biases) == len(weights):
        out = list(chain.values())[biases.index(name)][1]
    elif weights:
        out = outs[-1] if biases.index(name) == len(biases) - 1 else outs[0]
    else:
        out = mode.data.dims[-1] if mode.data.dims and mode.data.dims[-1] != "N" else "D"
    return [bias_spec(out, mode)] if out else [Spec("normal", ())]


def resized(layout: Layout, name: str, spec: Spec) -> Layout:
    """Return a layout with another spec for one argument."""
    return {**layout, name: replace(spec)}
