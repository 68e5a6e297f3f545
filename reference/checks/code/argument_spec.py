"""How one argument is drawn: its kind, its sizes as letters, and the numbers that these are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from manual_backprop.operation import InvalidInput

Dims = tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """How one argument is drawn."""

    kind: str
    """normal, positive, label, onehot, unit, binary, sign, mask, value, list, dict …"""
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
            case "list":
                return [p.draw(rng, sizes) for p in self.parts]
            case "choice":
                return self.value[int(rng.integers(0, len(self.value)))]
            case "shape":
                return shape
            case "made":
                return self.value(sizes)
        return self.value


def _plain(drawn: np.ndarray | float) -> np.ndarray | float:
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

POOLS = {
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


SMALL_SIZES = (dict.fromkeys(POOLS, 1), dict.fromkeys(POOLS, 2) | {"D": 3})
"""Of problems that are easily read, the smallest first."""


def floats(*dims: str) -> Spec:
    """Return the spec of an array of normal numbers with these axes."""
    return Spec("normal", dims)


def every_layout(text: str) -> tuple[Spec, ...]:
    """Return the specs of arrays of floats by their axes: "N D, D, 1 D"; "-" has no axes."""
    return tuple(floats(*dims.replace("-", "").split()) for dims in text.split(","))


def sizes_for(seed: int, index: int, style: str = "distinct") -> dict[str, int]:
    """Return the letters' numbers for one problem.

    `style` says which: "distinct" (they differ from one another, so that a transposed weight
    shows), "two" (2 everywhere: for code that names each entry), "rows" (the same, but samples),
    "image" sizes always fit a 3 x 3 kernel with stride 2 and padding 1, "pool" ones a 2 x 2 window.
    """
    return dict(_sizes(seed, index, style))


@lru_cache(maxsize=4096)
def _sizes(seed: int, index: int, style: str) -> dict[str, int]:
    if style in ("two", "rows"):
        twos = dict.fromkeys([*POOLS, "K", "Y", "X"], 2)
        return twos | {"N": 3 + index % 3} if style == "rows" else twos
    rng = np.random.default_rng([seed, index, 77])
    while True:
        sizes = {k: int(v[0] if index == 0 else rng.choice(v)) for k, v in POOLS.items()}
        if len({sizes[k] for k in "NDHC"}) == 4:
            break
        if index == 0:
            break
    image = {"K": 2, "Y": 4, "X": 6} if style == "pool" else {"K": 3, "Y": 5, "X": 7}
    return sizes | image


class WholeNumbers(np.random.Generator):
    """Draws what is easily read in place of normal numbers: 1, 2, −1, ½, −2."""

    def standard_normal(self, size: Any = None, *_: object, **__: object) -> Any:
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


def specs_of(shapes: object, what: str) -> dict[str, Spec]:
    """Return the specs of the `shapes` of a target called `what`, by argument.

    Raises InvalidInput for what is no dict of such texts.
    """
    if not isinstance(shapes, Mapping) or not all(isinstance(s, str) for s in shapes.values()):
        example = '{"x": "N D", "y": "N int(H)"}'
        raise InvalidInput(f"{what}: shapes: expected a dict like {example}")
    found = {}
    for name, shape in shapes.items():
        try:
            found[str(name)] = spelled(shape)
        except InvalidInput as error:
            raise InvalidInput(f"{what}: shapes[{str(name)!r}]={error}") from None
    return found


def spelled(shape: str) -> Spec:
    """Return the spec that a user wrote: "N D" floats, "N int(H)" labels below H, "N T mask".

    Raises InvalidInput for what is neither a letter nor a number above 0.
    """
    parts = shape.replace(",", " ").split()
    masked = parts[-1:] == ["mask"]
    parts = parts[:-1] if masked else parts
    limits = [p[4:-1] for p in parts if p.startswith("int(") and p.endswith(")")]
    dims = tuple(p for p in parts if not p.startswith("int("))
    if not all(re.fullmatch(r"[A-Za-z_]\w*|[1-9]\d*", d) for d in (*dims, *limits)):
        raise InvalidInput(
            f"{shape!r}: expected letters and whole numbers above 0, with spaces between them; "
            "int(H) for labels below H, and mask at the end for a mask"
        )
    if limits:
        return Spec("label", dims, limits[0])
    return Spec("mask" if masked else "normal", dims)


def spelled_layout(layout: Layout) -> str:
    """Return the shapes of what is drawn, not of settings: "x (N, D), y (N) labels below C"."""
    found = []
    for name, spec in layout.items():
        if name.startswith("init.") or spec.kind in ("value", "size", *_NOT_SHAPED):
            continue
        below = f" labels below {spec.high}" if spec.kind == "label" else ""
        found.append(f"{name} ({', '.join(spec.dims)}){below}" if spec.dims else f"{name} a number")
    return ", ".join(found)


_NOT_SHAPED = ("sizes", "list", "listed", "dict", "choice", "shape", "made")


# -- members of dicts and lists: params[W1], weights[0], params[out][w] ---------------------------

CONTAINERS = ("dict", "listed")
"""The kinds of an argument that holds others."""


def path_of(name: str) -> tuple[str, ...]:
    """Return the way to what a layout names: params[out][w] -> params, out, w."""
    return tuple(re.findall(r"[^\[\]]+", name))


def assembled(values: Mapping[str, object], layout: Layout) -> dict[str, object]:
    """Return the arguments of which `values` holds the members, by their names in the layout."""
    made: dict[str, Any] = {n: {} for n, s in layout.items() if s.kind in CONTAINERS}
    for name, value in values.items():
        head, *keys = path_of(name)
        if not keys:
            made[head] = value
            continue
        holder = made[head]
        for key in keys[:-1]:
            holder = holder.setdefault(key, {})
        holder[keys[-1]] = value
    for name, spec in layout.items():
        if spec.kind == "listed" and name in made:
            made[name] = list(made[name].values())
    return made
