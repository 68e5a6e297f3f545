"""Compares every layer's backward with PyTorch, JAX and its definition, in both dtypes.

    python benchmarks/layer_accuracy.py --uses 1000 [--layers conv2d lstm_cell] [--structures 10]

For each layer: the worst error of the hand-written side, of PyTorch and of JAX over so many drawn
uses, in units of rounding of the tensor's largest terms; every fourth use has the layer's edge,
where frameworks may follow another convention and are left out. JAX compiles a program for each
structure (shapes and options), so it gets every second use only: these share a few structures. The
others have a structure each. Beside a framework's error stands the worst error of the hand-written
side at the uses that the framework got. Exit 1 where the hand-written side is wrong.
"""

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from manual_backprop.layers import LAYERS
from reference.conventions.uses import (
    LayerUse,
    UseAnswer,
    UseTruth,
    all_by_jax,
    by_framework,
    by_hand,
    draw,
    truth,
)

WRONG = 2.0**12
"""Units of rounding beyond which a gradient has lost more than a sum of many terms may lose."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each layer and dtype."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uses", type=int, default=1000)
    parser.add_argument("--structures", type=int, default=10, help="programs that JAX compiles")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    given = parser.parse_args(arguments)
    print("layer, dtype: worst error of manual; of torch, jax (manual at the same uses); where")
    wrong = 0
    for name in given.layers:
        for dtype in ("float64", "float32"):
            seeds = range(given.first, given.first + given.uses)
            wrong += not _one(name, dtype, seeds, given.structures)
    print(f"{wrong} wrong")
    return 1 if wrong else 0


class Errors(NamedTuple):
    """The errors of one use in units of rounding; NaN where a framework was not asked."""

    manual: float
    torch: float
    jax: float
    tensor: str  # of the hand-written side's error


def measure(name: str, dtype: str, seeds: range, structures: int) -> list[Errors]:
    """Return the errors of every use of a layer."""
    operation, found = LAYERS[name], list[Errors]()
    shared: defaultdict[int, list[tuple[int, LayerUse, UseTruth]]] = defaultdict(list)
    for place, seed in enumerate(seeds):
        structure = seed // 2 % structures if seed % 2 == 0 else None
        use = draw(operation, seed, dtype, structure)
        true = truth(operation, use)
        manual, tensor = _error(true, by_hand(operation, use))
        torch = math.nan
        if seed % 4 != 3:
            torch, _ = _error(true, by_framework("torch", operation, use))
        if structure is not None:
            shared[structure].append((place, use, true))
        found.append(Errors(manual, torch, math.nan, tensor))
    for group in shared.values():
        answers = all_by_jax(operation, [use for _, use, _ in group])
        for (place, _, true), answer in zip(group, answers, strict=True):
            found[place] = found[place]._replace(jax=_error(true, answer)[0])
    return found


def _one(name: str, dtype: str, seeds: range, structures: int) -> bool:
    """Print the line of a layer in a dtype; say whether the hand-written side is right."""
    found = measure(name, dtype, seeds, structures)
    worst = max(range(len(found)), key=lambda k: found[k].manual)
    right = found[worst].manual <= WRONG
    figures = [f"manual {found[worst].manual:.3g}"]
    for framework in ("torch", "jax"):
        pairs = [(getattr(e, framework), e.manual) for e in found]
        theirs, ours = zip(*(pair for pair in pairs if not math.isnan(pair[0])), strict=True)
        figures.append(f"{framework} {max(theirs):.3g} (manual {max(ours):.3g})")
    place = f"{found[worst].tensor} of use {seeds[worst]}"
    print(f"{name}, {dtype}: {'' if right else 'WRONG  '}{'  '.join(figures)}  {place}", flush=True)
    return right


def _error(true: UseTruth, found: UseAnswer) -> tuple[float, str]:
    tensors = {"y": found.value, **found.gradient}
    return max((true.error(name, tensor), name) for name, tensor in tensors.items())


if __name__ == "__main__":
    sys.exit(main())
