"""Injects every mutant of the hand-written gradients and prints those that survive, with why.

    python benchmarks/mutants.py [--order 1] [--kind layer] [--only tanh conv2d] [--share 1]

Order 1: each `backward` and the helpers that it calls, and the walk over the network. Order 2: each
`tangent` and `second`. With --share n every nth. Exit 1 if one survives that is not equivalent.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from reference.trials.mutants import of_second, result_of_second
from reference.trials.mutation import Banks, of_first, result_of_first

OPERATIONS = {*ACTIVATIONS, *LOSSES, *LAYERS}
KINDS = ("activation", "loss", "layer", "network")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the survivors and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--order", type=int, default=1, choices=(1, 2))
    parser.add_argument("--kind", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(OPERATIONS))
    parser.add_argument("--share", type=int, default=1)
    given = parser.parse_args(arguments)
    every = of_first() if given.order == 1 else of_second()
    result_of = partial(result_of_first, Banks(0)) if given.order == 1 else result_of_second
    chosen = [m for m in every if m.group in given.kind]
    chosen = [m for m in chosen if not given.only or m.operation in given.only]
    counts: Counter[str] = Counter()
    for mutant in chosen[:: given.share]:
        dead, why = result_of(mutant)
        result = "killed" if dead else "equivalent" if why.startswith("equivalent") else "survived"
        counts[f"{mutant.group} {result}"] += 1
        counts[result] += 1
        if not dead:
            print(f"{mutant.name}: {why}", flush=True)
    print(", ".join(f"{name} {n}" for name, n in sorted(counts.items())))
    return int(counts["survived"] > 0)


if __name__ == "__main__":
    sys.exit(main())
