"""Compares every layer's backward with PyTorch, JAX and its definition, in both dtypes.

    python benchmarks/layer_accuracy.py --uses 1000 [--layers conv2d lstm_cell] [--jax 10]

For each layer: the worst error of the hand-written side, of PyTorch and of JAX over so many drawn
uses, in units of rounding of the tensor's largest terms; every fourth use has the layer's edge,
where frameworks may follow another convention and are left out. Exit 1 where the hand-written side
is wrong. JAX compiles every use, so it is asked about fewer.
"""

import argparse
import sys
from collections.abc import Sequence

from manual_backprop.layers import LAYERS
from reference.conventions.uses import UseAnswer, UseTruth, by_framework, by_hand, draw, truth

WRONG = 2.0**12
"""Units of rounding beyond which a gradient has lost more than a sum of many terms may lose."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line for each layer and dtype."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uses", type=int, default=1000)
    parser.add_argument("--jax", type=int, default=8, help="uses that JAX is asked about")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    given = parser.parse_args(arguments)
    print("layer, dtype: worst error of manual, torch, jax (units), where manual is worst")
    wrong = 0
    for name in given.layers:
        for dtype in ("float64", "float32"):
            wrong += _one(name, dtype, given.first, given.uses, given.jax)
    print(f"{wrong} wrong")
    return 1 if wrong else 0


def _one(name: str, dtype: str, first: int, uses: int, compiled: int) -> int:
    operation = LAYERS[name]
    worst = {"manual": 0.0, "torch": 0.0, "jax": 0.0}
    place = ""
    for seed in range(first, first + uses):
        use = draw(operation, seed, dtype)
        true = truth(operation, use)
        error, tensor = _error(true, by_hand(operation, use))
        if error > worst["manual"]:
            worst["manual"], place = error, f"{tensor} of use {seed}"
        if seed % 4 == 3:
            continue
        worst["torch"] = max(worst["torch"], _error(true, by_framework("torch", operation, use))[0])
        if seed < first + compiled:
            worst["jax"] = max(worst["jax"], _error(true, by_framework("jax", operation, use))[0])
    figures = "  ".join(f"{who} {error:.3g}" for who, error in worst.items())
    verdict = "WRONG  " if not worst["manual"] <= WRONG else ""
    print(f"{name}, {dtype}: {verdict}{figures}  ({place})", flush=True)
    return int(bool(verdict))


def _error(true: UseTruth, found: UseAnswer) -> tuple[float, str]:
    tensors = {"y": found.value, **found.gradient}
    return max((true.error(name, tensor), name) for name, tensor in tensors.items())


if __name__ == "__main__":
    sys.exit(main())
