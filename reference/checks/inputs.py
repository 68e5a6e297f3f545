"""Proposes arguments for a function: a layout has one spec for each of them.

Names propose shapes (`shapes.py`, `choices.py`), and trying decides (`search.py`). `layouts` gives
the likely ones first.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from reference.checks.argument_spec import Layout, Spec
from reference.checks.choices import Argument, LayoutRequest, choices_of
from reference.checks.shapes import Mode, bias_names, chains, modes, weight_names


def layouts(request: LayoutRequest) -> Iterator[tuple[Mode, Layout]]:
    """Yield layouts for all arguments together, the likely ones first."""
    open_names = [n for n in request.names if n not in request.fixed]
    seen: set[tuple[Any, ...]] = set()
    weights = weight_names(open_names) or [n for n in open_names if n in request.arrays]
    biases = bias_names(open_names)
    for mode in modes(request.text):
        if request.alike:
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


def _together(choices: list[list[Spec]], grouped: list[int]) -> Iterator[tuple[Spec, ...]]:
    """Yield every choice; weights and biases change together, as one file keeps one layout."""
    ways = max((len(choices[i]) for i in grouped), default=1)
    others = [i for i in range(len(choices)) if i not in grouped]
    for way in range(ways):
        for picked in itertools.product(*(choices[i] for i in others)):
            full = {i: choices[i][min(way, len(choices[i]) - 1)] for i in grouped}
            full |= dict(zip(others, picked, strict=True))
            yield tuple(full[i] for i in range(len(choices)))
