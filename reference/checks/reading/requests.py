"""The arguments that a function needs, and the layouts that are tried: one spec for each of them.

There are several requests for one function, the likely one first: a list of weights may have two or
three members, a class may choose its sizes itself, a name without meaning may be anything. Names
propose shapes (`shapes.py`, `choices.py`), and trying decides (`searching.py`).
"""

import ast
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FunctionType

import numpy as np

from reference.checks.code import Layout, Routine, Spec, Target, Unit, instances, plain, source_of
from reference.checks.code.argument_spec import floats
from reference.checks.code.routine import EMPTY, routine_of
from reference.checks.code.signs import names_in
from reference.checks.code.vocabulary import KEEPS, gradient_of
from reference.checks.reading.binding import extras_of, switch_of
from reference.checks.reading.choices import Argument, LayoutRequest, choices_of
from reference.checks.reading.probe import dict_keys, is_listed, unpacked_names
from reference.checks.reading.shapes import (
    Mode,
    bias_names,
    chains,
    modes,
    number_specs,
    size_specs,
    weight_names,
)

Fixed = tuple[tuple[str, int], ...]


def requests(
    unit: Unit, forward: Routine | None, target: Target, shapes: dict[str, Spec]
) -> Iterator[tuple[LayoutRequest, Routine | None, Fixed]]:
    """Yield what is to be drawn, the constructor if there is one, and the sizes it settles."""
    first = forward or unit.backward
    constructor = _constructor(unit, first, target)
    names = _names(unit, forward, constructor)
    fixed = {p.name: Spec("value", value=True) for p in first.parameters if _keeps(p)}
    fixed |= {k: v for k, v in {**unit.shapes, **shapes}.items() if k in names}
    if forward is unit.backward and forward is not None:
        switch = switch_of(forward)
        names = [n for n in names if n != switch]
        fixed["__true__"] = Spec("value", value=True)
        if forward.default(switch) is EMPTY:
            fixed[switch] = Spec("value", value=False)
    text = _text(unit, first, target)
    builders = {**_builders(unit, target), **_given_functions(names, target)}
    for settled in _settled(unit, constructor, names, _held_shapes(unit, first)):
        base = LayoutRequest([], text, fixed, builders, _held_shapes(unit, first), _claimed(unit))
        if _of_vectors(names, fixed, first, unit.backward):
            yield replace(base, names=names, vectors=True), constructor, settled
        for variant in _variants(names, first, text + _handed_on(first, target)):
            spread = {k: Spec(v[0]) for k, v in variant.items()}
            inner = [f"{k}[{key}]" for k, (_, keys) in variant.items() for key in keys]
            asked = [n for n in names if n not in variant and n not in fixed] + inner
            yield replace(base, names=asked, fixed={**fixed, **spread}), constructor, settled
        if _of_one_shape(names, fixed, first):
            yield replace(base, names=names, all_like_data=True), constructor, settled
        plain = [n for n in names if n not in fixed]
        layers = tuple(n for n in names if re.match(r"init\..*(layer|theta)", n, re.I))
        if layers:
            yield replace(base, names=plain, arrays=layers), constructor, settled
        if len(plain) <= 5:
            yield replace(base, names=plain, any_weight_shape=True), constructor, settled


def _claimed(unit: Unit) -> frozenset[str]:
    """Return the arguments whose gradients a backward returns under their names."""
    named = names_in(unit.backward.returned)
    return frozenset(plain(base) for n in named for base in gradient_of(n))


def _of_one_shape(names: list[str], fixed: dict[str, Spec], first: Routine) -> bool:
    """Whether all arguments may be arrays of one shape: several, and no product of matrices."""
    if len(names) < 2 or fixed or any(n.startswith("init.") for n in names):
        return False
    if bias_names(names) and not {"a", "u"} & {n.lower() for n in names}:
        return False
    return not re.search(r"@|dot\(|matmul|einsum|tensordot", first.text())


_OF_MATRICES = re.compile(
    r"\.T\b|transpose|swapaxes|einsum|outer|reshape|axis|keepdims|shape\[1\]|None\]|newaxis|"
    r"\[:,|, :\]|\.(sum|mean)\(-?\d"
)
_OF_A_GRADIENT = r"(d\w+|g|grad\w*|delta\w*)"
_MOVED_ON = re.compile(
    rf"@ {_OF_A_GRADIENT}\b|\b{_OF_A_GRADIENT} @|dot\([^()]*\b{_OF_A_GRADIENT}\b[^()]*\)"
)


def _of_vectors(
    names: list[str], fixed: dict[str, Spec], first: Routine, backward: Routine
) -> bool:
    """Whether arguments are multiplied as vectors: np.dot(signal[i : i + k], kernel), u @ v.

    The gradient of a product of matrices has transposes and products with the incoming gradient.
    """
    if len(names) < 2 or fixed or any(n.startswith("init.") for n in names):
        return False
    if not re.search(r" @ |dot\(|inner\(", first.text()):
        return False
    both = first.text() + backward.text()
    return not _OF_MATRICES.search(both) and not _MOVED_ON.search(backward.text())


def _constructor(unit: Unit, first: Routine, target: Target) -> Routine | None:
    if unit.owner is None or not (first.bound or unit.backward.bound):
        return None
    maker = next(vars(c)["__init__"] for c in unit.owner.__mro__ if "__init__" in vars(c))
    made = routine_of(f"{unit.owner.__name__}.__init__", maker, target, unit.owner)
    return None if made is None or made.function is object.__init__ else made


def _names(unit: Unit, forward: Routine | None, constructor: Routine | None) -> list[str]:
    first = forward or unit.backward
    shared = {a for a in unit.backward.arguments if forward not in (None, unit.backward)}
    names = [
        p.name
        for p in first.parameters
        if _needed(p.name, p.default)
        or _keeps(p)
        or (p.name in shared and isinstance(p.default, float))
    ]
    made = []
    if constructor is not None:
        made = [f"init.{p.name}" for p in constructor.parameters if _built(p.name, p.default)]
    return [*made, *names, *(e for e in extras_of(forward, unit.backward) if e not in names)]


def _keeps(parameter: inspect.Parameter) -> bool:
    """Whether it is off by default and makes a forward keep what its backward reads."""
    return parameter.default is False and KEEPS.match(parameter.name) is not None


def _needed(name: str, default: object) -> bool:
    """Whether an argument is drawn: it has no default, or a None that stands for an array."""
    if default is EMPTY:
        return True
    low = name.lower()
    if default is None:
        return low in ("b", "bias", "y", "weights", "w", "target", "targets", "labels", "t")
    return not isinstance(default, bool) and low in ("reg", "lam", "lambd", "reg_strength", "lmbda")


def _built(name: str, default: object) -> bool:
    """Whether a constructor's argument is given: sizes, so that they fit the data."""
    if default is EMPTY:
        return True
    low = name.lower()
    if low == "dtype":  # float32 by default: what is checked is float64
        return True
    if default is None:
        return "input_shape" in low
    if "trunc" in low:  # a gradient cut off in time is another one
        return True
    size = re.search(r"input|output|hidden|num_classes|n_in|n_out|in_|out_", low)
    other = re.search(r"iter|epoch|batch|channel|kernel|stride|pad", low)
    return isinstance(default, int) and not isinstance(default, bool) and bool(size and not other)


def _settled(
    unit: Unit, constructor: Routine | None, names: list[str], held: tuple[tuple[int, ...], ...]
) -> Iterator[Fixed]:
    """Yield the sizes that a class settles itself, read off the weights it makes."""
    given = [n for n in names if n.startswith("init.")]
    shapes: list[tuple[int, ...]] = list(held)
    if unit.owner is not None and constructor is not None and not given:
        try:
            instance: object = unit.owner()
            found = instances.parameters(instance, unit.owner.__module__)
            shapes = [np.shape(v) for v, _ in found.values()]
        except Exception:
            shapes = []
    every = [s for s in shapes if len(s) == 2]
    matrices = [s for s in every if 1 not in s] or every
    if not matrices:
        yield ()
        return
    first, last = matrices[0], matrices[-1]
    if not held and len(matrices) == 1 and every[-1] != first:
        last = every[-1]  # the last layer has one unit
    yield (("D", first[0]), ("H", first[1]), ("C", last[1]))
    yield (("D", first[1]), ("H", first[0]), ("C", last[0]))
    yield ()


def _held_shapes(unit: Unit, first: Routine) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the float arrays of the module that a function reads."""
    code = getattr(first.function, "__code__", None)
    space = getattr(first.function, "__globals__", {})
    if unit.owner is not None or code is None:
        return ()
    arrays = [space[n] for n in code.co_names if isinstance(space.get(n), np.ndarray)]
    return tuple(dict.fromkeys(a.shape for a in arrays if a.dtype.kind == "f" and a.ndim))


def _builders(unit: Unit, target: Target) -> dict[str, object]:
    """Return makers of a list of layers, from the file's own classes with two sizes."""
    found: list[tuple[type, int]] = []
    for thing in target.names.values():
        if not inspect.isclass(thing) or thing is unit.owner or not hasattr(thing, "backward"):
            continue
        try:
            needed = [p for p in inspect.signature(thing).parameters.values() if p.default is EMPTY]
        except (TypeError, ValueError):
            continue
        found.append((thing, len(needed)))
    dense = next((c for c, n in found if n == 2), None)
    between = next((c for c, n in found if n == 0 and hasattr(c, "forward")), None)
    if dense is None:
        return {}

    def layers(sizes: dict[str, int]) -> list[object]:
        middle = [between()] if between is not None else []
        return [dense(sizes["D"], sizes["H"]), *middle, dense(sizes["H"], sizes["C"])]

    return {"layers": layers, "modules": layers}


def _given_functions(names: list[str], target: Target) -> dict[str, Callable[..., object]]:
    """Return makers of functions of the file that are handed over: forward_prop_func."""
    own = {plain(k): v for k, v in target.names.items() if isinstance(v, FunctionType)}
    found = {}
    for name in names:
        stem = re.sub(r"(func|function|fn|f)$", "", plain(name))
        if stem in own:
            found[name.lower()] = lambda sizes, function=own[stem]: function
    return found


def _variants(
    names: list[str], first: Routine, text: str
) -> Iterator[dict[str, tuple[str, list[str]]]]:
    keys = dict_keys(first, text, names)
    base = {k: ("dict", v) for k, v in keys.items()}
    unpacked = {n: unpacked_names(n, first) for n in names if n not in base}
    base |= {n: ("listed", members) for n, members in unpacked.items() if members}
    made = (n for n in names if n.startswith("init."))
    sizes = {n for n in made if any(s.kind == "sizes" for s in size_specs(n))}  # [2, 3, 1]
    listed = [n for n in names if n not in base and n not in sizes and is_listed(n, text)]
    if listed:
        yield base | {n: ("listed", ["0", "1"]) for n in listed}
        yield base | {n: ("listed", ["0", "1", "2"]) for n in listed}
    yield base


def _handed_on(first: Routine, target: Target) -> str:
    """Return the source of the file's functions that it hands an argument on to, under its name.

    They know the keys of a dict that it only hands on: batchnorm_forward(x, gamma, bn_param).
    """
    found: dict[str, str] = {}
    rest = [first.node] if first.node is not None else []
    while rest:
        for node in ast.walk(rest.pop()):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            called = node.func.id
            arguments = {a.id for a in node.args if isinstance(a, ast.Name)}
            function = target.names.get(called)
            if called in found or not isinstance(function, FunctionType):
                continue
            inner = routine_of(called, function, target)
            if inner is None or inner.node is None:
                continue
            if arguments & {*first.arguments, *inner.arguments}:
                found[called] = f"\n{inner.text()}"
                rest.append(inner.node)
    return "".join(found.values())


def _text(unit: Unit, first: Routine, target: Target) -> str:
    if unit.owner is not None:
        if source := source_of(unit.owner):
            return source
        for node in ast.walk(target.tree) if target.tree is not None else ():
            if isinstance(node, ast.ClassDef) and node.name == unit.owner.__name__:
                return ast.unparse(node)
    return f"{first.name}\n{first.text()}\n{unit.backward.text()}"


def layouts(request: LayoutRequest) -> Iterator[tuple[Mode, Layout]]:
    """Yield layouts for all arguments together, the likely ones first."""
    open_names = [n for n in request.names if n not in request.fixed]
    seen: set[tuple[object, ...]] = set()
    weights = weight_names(open_names) or [n for n in open_names if n in request.arrays]
    biases = bias_names(open_names)
    if request.vectors:
        drawn = {n: floats() if n in biases else floats("D") for n in open_names}
        numbers = {n: number_specs(n)[:1] for n in open_names if len(n) > 1}
        drawn |= {n: found[0] for n, found in numbers.items() if found}
        yield Mode(floats("D"), True, "row"), drawn
        return
    for mode in modes(request.text):
        if request.all_like_data:
            yield mode, {**request.fixed, **dict.fromkeys(open_names, mode.data)}
            continue
        if mode.data.kind == "label" and not weights:
            continue
        for chain in chains(weights, request.text):
            choices = [
                choices_of(Argument(n, mode, chain, weights, biases, request)) for n in open_names
            ]
            grouped = [i for i, n in enumerate(open_names) if n in weights or n in biases]
            most = 60
            if request.any_weight_shape:
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


def _together(choices: list[list[Spec]], grouped: list[int]) -> Iterator[tuple[Spec, ...]]:
    """Yield every choice; weights and biases change together, as one file keeps one layout."""
    ways = max((len(choices[i]) for i in grouped), default=1)
    others = [i for i in range(len(choices)) if i not in grouped]
    for way in range(ways):
        for picked in itertools.product(*(choices[i] for i in others)):
            full = {i: choices[i][min(way, len(choices[i]) - 1)] for i in grouped}
            full |= dict(zip(others, picked, strict=True))
            yield tuple(full[i] for i in range(len(choices)))
