"""Compares every layer's backward with PyTorch, JAX and its definition, in both dtypes.

    python benchmarks/layer_accuracy.py --uses 1000 [--layers conv2d lstm_cell] [--structures 10]

For each layer: the worst error of the hand-written side, of PyTorch and of JAX over so many drawn
uses, in units of rounding of the tensor's largest terms; every fourth use has the layer's edge,
where frameworks may follow another convention and are left out. Exit 1 where the hand-written side
is wrong. JAX compiles a program for each structure (shapes and options), so it gets every second
use only: these share a few structures. The others have a structure each.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence

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
    print("layer, dtype: worst error of manual, torch, jax (units), where manual is worst")
    wrong = 0
    for name in given.layers:
        for dtype in ("float64", "float32"):
            seeds = range(given.first, given.first + given.uses)
            wrong += _one(name, dtype, seeds, given.structures)
    print(f"{wrong} wrong")
    return 1 if wrong else 0


def _one(name: str, dtype: str, seeds: range, structures: int) -> int:
    operation = LAYERS[name]
    worst = {"manual": 0.0, "torch": 0.0, "jax": 0.0}
    place = ""
    shared: defaultdict[int, list[tuple[LayerUse, UseTruth]]] = defaultdict(list)
    for seed in seeds:
        structure = seed // 2 % structures if seed % 2 == 0 else None
        use = draw(operation, seed, dtype, structure)
        true = truth(operation, use)
        error, tensor = _error(true, by_hand(operation, use))
        if error > worst["manual"]:
            worst["manual"], place = error, f"{tensor} of use {seed}"
        if seed % 4 == 3:
            continue
        worst["torch"] = max(worst["torch"], _error(true, by_framework("torch", operation, use))[0])
        if structure is not None:
            shared[structure].append((use, true))
    for group in shared.values():
        answers = all_by_jax(operation, [use for use, _ in group])
        errors = (_error(true, a)[0] for (_, true), a in zip(group, answers, strict=True))
        worst["jax"] = max(worst["jax"], *errors)
    figures = "  ".join(f"{who} {error:.3g}" for who, error in worst.items())
    verdict = "WRONG  " if not worst["manual"] <= WRONG else ""
    print(f"{name}, {dtype}: {verdict}{figures}  ({place})", flush=True)
    return int(bool(verdict))


def _error(true: UseTruth, found: UseAnswer) -> tuple[float, str]:
    tensors = {"y": found.value, **found.gradient}
    return max((true.error(name, tensor), name) for name, tensor in tensors.items())


if __name__ == "__main__":
    sys.exit(main())
