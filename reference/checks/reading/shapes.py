"""Meanings that an argument's name suggests: a weight, a bias, a target, a number, with layouts."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reference.checks.code import Spec
from reference.checks.code import vocabulary as words
from reference.checks.code.argument_spec import POOLS, Dims, every_layout, floats


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
    def of_twos(self) -> bool:
        """Whether sizes are 2 that otherwise differ from one another: what is turned is hidden."""
        return self.style in ("two", "rows")

    @property
    def samples(self) -> str:
        """rows, columns, vector, column, scalar, image: where the samples are."""
        dims = self.data.dims
        if len(dims) >= 3:
            return "rows"
        if len(dims) == 2:
            return "columns" if dims[-1] in ("N", "1") or dims == ("D", "T") else "rows"
        return "vector" if dims else "scalar"


ROWS = floats("N", "D")
_DATA = every_layout("N D, D N, D, D 1, -, N T D, T D, D T, 1 D")
_IMAGES = every_layout("N I Y X, N Y X I, Y X I, Y X, I Y X")
_SIGNALS: dict[Dims, Dims] = {
    ("N", "T"): ("K",),
    ("T",): ("K",),
    ("N", "I", "T"): ("F", "I", "K"),
    ("N", "T", "I"): ("K", "I", "F"),
}
"""The layouts of signals, and what a kernel that slides over them is like."""
_SIGNAL_WORDS = re.compile(r"conv_?1d|conv\w*1d|1d_?conv|dilat|temporal_?conv", re.I)
_INDICES = (Spec("label", ("N",), "V"), Spec("label", ("N", "T"), "V"))
_IMAGE_WORDS = re.compile(
    r"conv|pool|im2col|image|filter|kernel|stride|n_h|height|spatial|2d|channel|"
    r"H, W|H, Wd|axis=\((0, )?[12], [23]\)",
    re.I,
)
_OVER_TIME = re.compile(r"swapaxes\(-1, -2\)|swapaxes\(-2, -1\)|axis=\(0, 1\)")
_INDEX_WORDS = re.compile(r"embed|lookup|vocab", re.I)


def modes(text: str) -> Iterator[Mode]:
    """Yield the ways a file may lay things out, the likely ones first; `text` is its source."""
    data: list[Spec] = list(_DATA)
    if _IMAGE_WORDS.search(text):
        first = re.search(r"conv|pool|im2col", text, re.I)
        data = [*_IMAGES, *data] if first else [*data, *_IMAGES]
    if _OVER_TIME.search(text):  # with two axes it may run and give another shape's gradient
        data.sort(key=lambda spec: spec.dims != ("N", "T", "D"))
    if _INDEX_WORDS.search(text):
        data = [*_INDICES, *data]
    if _SIGNAL_WORDS.search(text):
        data = [*(floats(*dims) for dims in _SIGNALS), *data]
    for spec in data:
        columns = spec.dims[-1:] in (("N",), ("1",)) or spec.dims == ("D", "T")
        if len(spec.dims) >= 3 and "Y" in spec.dims:
            styles = ("distinct", "pool") if "pool" not in text.lower() else ("pool", "distinct")
            for style, bias in itertools.product(styles, ("row", "image")):
                yield Mode(spec, False, bias, style)
            continue
        if spec.dims == ("Y", "X"):
            yield Mode(spec, False, "scalar", "distinct")
            yield Mode(spec, False, "scalar", "pool")
            continue
        biases = ("column", "scalar", "row") if columns else ("row", "flat", "scalar", "column")
        for turned in (True, False) if columns or len(spec.dims) == 1 else (False, True):
            yield from (Mode(spec, turned, bias) for bias in biases)
        yield Mode(spec, True, "inside")
        yield Mode(spec, False, "inside")
    for bias in ("row", "inside"):
        yield Mode(floats("D"), False, bias, "two")
        yield Mode(floats("D"), True, bias, "two")
    yield Mode(ROWS, False, "row", "rows")
    yield Mode(ROWS, False, "row", "two")


def weight_names(names: Sequence[str]) -> list[str]:
    """Return the arguments that are called like weights, in the order of the layers."""
    found = [n for n in names if _is_weight(n)]
    bare = {bare_name(n).lower() for n in names}
    if {"q", "k"} <= bare:  # attention: v is a value, not a weight
        found = [n for n in found if bare_name(n).lower() not in ("q", "k", "v")]
    numbered = [n for n in found if re.search(r"\d", n)]
    return sorted(found, key=_number) if len(numbered) == len(found) else found


def bias_names(names: Sequence[str]) -> list[str]:
    """Return the arguments that are called like biases."""
    found = [n for n in names if _is_bias(n)]
    numbered = [n for n in found if re.search(r"\d", n)]
    return sorted(found, key=_number) if len(numbered) == len(found) else found


def bare_name(name: str) -> str:
    """Return the last part of a path: parameters[W1] -> W1, weights[0] -> weights0."""
    match = re.fullmatch(r"(.*)\[(.*)\]", name)
    if not match:
        return name.rpartition(".")[2]
    head = match[1].rpartition(".")[2]
    return head + match[2] if match[2].lstrip("-").isdigit() else match[2]


def _is_weight(name: str) -> bool:
    bare = bare_name(name)
    short = bare.rstrip("0123456789") or bare
    if (
        bare.lower() in ("words", "word", "width", "window", "width_in")
        or re.search(r"(pool|filter|kernel|stride|pad)_?[hw]$", bare, re.I)
        or (name.startswith("init.") and bare in POOLS)
    ):
        return False
    return (
        bool(words.WEIGHTS.match(bare) or words.WEIGHTS.match(short))
        and not _is_bias(name)
        and not words.is_gradient_name(bare)
    )


def _is_bias(name: str) -> bool:
    bare = bare_name(name).rstrip("0123456789") or bare_name(name)
    return bool(words.BIASES.match(bare)) and bare.lower() not in ("batch", "bn_param", "bs_")


def _number(name: str) -> int:
    digits = re.findall(r"\d+", bare_name(name))
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
    classic = {bare_name(w).lower(): w for w in weights}
    if set(classic) == {"u", "v", "w"}:  # the recurrent network of many tutorials
        yield {classic["u"]: ("D", "H"), classic["w"]: ("H", "H"), classic["v"]: ("H", "C")}
    recurrent = bool(re.search(r"rnn|lstm|gru|hidden|h_?prev|prev_?h|recurren|time", text, re.I))
    letters = [_by_letters(w) for w in weights]
    by_letters = {w: x for w, x in zip(weights, letters, strict=True) if x}
    gates = {w: ("D+H", "H") for w in weights}
    outs = {w: ("H", "C") for w in weights if re.search(r"_?(y|hy|ho|out)$", bare_name(w), re.I)}
    if gates_by_letters := _gates(weights):
        yield gates_by_letters
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
            w: ("D" if re.search(r"x|^w|^u", bare_name(w), re.I) and not _hidden(w) else "H", "4*H")
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
    bare = bare_name(name).lower()
    return bool(re.search(r"hh$|aa$|_h$|wh$|whh|u_?[a-z]?$|ss$|rec", bare))


def _gates(weights: Sequence[str]) -> Chain:
    """Return the ends of W_xz, W_hz, W_xr, W_hr …: gates as wide as the state; W_hq leads out."""
    found = {w: re.fullmatch(r"[wu]_?([xh])_?([a-z])", bare_name(w).lower()) for w in weights}
    letters = {w: m.groups() for w, m in found.items() if m}
    made = {gate for start, gate in letters.values() if start == "x"}
    if len(letters) < len(weights) or len(made) < 2:
        return {}
    return {
        w: ("D" if x == "x" else "H", "H" if g in made else "C") for w, (x, g) in letters.items()
    }


def _by_letters(name: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"[wu]_?([a-z])_?([a-z])", bare_name(name).lower())
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
        by_layout = {"NIYX": "FIKK", "NYXI": "KKIF", "YXI": "KKIF", "IYX": "FIKK"}
        return floats(*by_layout.get("".join(mode.data.dims), "KK"))
    if mode.data.dims == ():
        return floats()
    if mode.data.dims in _SIGNALS:
        return floats(*_SIGNALS[mode.data.dims])
    if mode.data.kind == "label":
        return floats("V", "D")
    before += "+1" if mode.bias == "inside" else ""
    return floats(after, before) if mode.turned else floats(before, after)


def bias_spec(after: str, mode: Mode) -> Spec:
    """Return a bias's spec from the width it is added to."""
    if mode.data.dims == () or mode.data.dims in (("N", "T"), ("T",)):
        return floats()
    if mode.data.dims in _SIGNALS:
        return floats("F")
    shapes: dict[str, Dims] = {
        "row": (after,),
        "flat": ("1", after),
        "column": (after, "1"),
        "scalar": () if after == "1" else (after,),
        "inside": (after,),
        "image": ("1", "1", "1", after),
    }
    return Spec("normal", shapes[mode.bias])


def target_specs(mode: Mode, width: str) -> list[Spec]:
    """Return the ways targets may be given for this layout of samples; width "": of C classes."""
    dims, width = mode.data.dims, width or "C"
    if mode.samples == "columns":
        last = dims[-1]
        # one column of samples, whose axis the code takes away: inp.squeeze() - targ
        squeezed = [floats(dims[0])] if last == "1" else []
        return [
            Spec("onehot", (width, last), "columns"),
            Spec("binary", ("1", last)),
            Spec("label", (last,), width),
            floats(width, last),
            *squeezed,
        ]
    if mode.samples == "vector":
        return [
            Spec("onehot", (width,)),
            floats(),
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
        floats(first),
        floats(first, width),
    ]
    if "T" in dims:
        found += [Spec("label", ("N", "T"), width), Spec("onehot", ("N", "T", width))]
    return found


SIZES = (
    (
        r"kernel|filter_?(size|h|w)$|^k$|^f$|^ks$|pool_?(h|w|size|height|width)|window|^hh$|^ww$|field",
        "K",
    ),
    (r"in_?channels?|^c_?in$|n_?c_?prev|channels_in|input_channels", "I"),
    (r"out_?channels?|^c_?out$|num_?filters|n_?filters|channels_out|n_?kernels", "F"),
    (r"vocab|^word_dim|num_?emb|n_?words|dictionary", "V"),
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

_NUMBERS: tuple[tuple[str, tuple[object, ...]], ...] = (
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
    (r"trunc", (1_000,)),
    (r"lr|rate|eta", (0.5,)),
    (r"epoch|iter|n_?steps", (1,)),
    (r"axis|dim", (-1, 1)),
    (r"^t$|^time|seq|length|steps", (3,)),
)


def number_specs(name: str) -> list[Spec]:
    """Return the numbers that an argument of this name may be: a rate, a stride, an ε."""
    bare = bare_name(name).lower()
    if bare in words.RATES:
        return [Spec("value", value=0.5)]
    if bare in words.REGULARISATION and name.startswith("init."):
        return [Spec("value", value=0.3)]  # with 0, a wrong penalty would not show
    if bare in words.REGULARISATION:
        return [Spec("value", value=0.3), Spec("value", value=0.0)]
    for pattern, values in _NUMBERS:
        if re.search(pattern, bare):
            return [Spec("value", value=v) for v in values]
    return []


def size_specs(name: str) -> list[Spec]:
    """Return the sizes that a constructor's argument of this name may be."""
    bare = bare_name(name).lower()
    if re.search(
        r"^(sizes|dims|layers?_?(dims|sizes)?|layer_?sizes|architecture|shape|topology|"
        r"structure|layers|nodes_per_layer|hidden_?(sizes|layers|dims)|units_list|arch)$",
        bare,
    ):
        if "hidden" in bare:
            return [Spec("sizes", ("H",)), Spec("sizes", ("H", "G")), Spec("size", ("H",))]
        return [Spec("sizes", ("D", "H", "C"))]
    for pattern, letter in SIZES:
        if re.search(pattern, bare):
            return [Spec("size", (letter,))]
    return []
