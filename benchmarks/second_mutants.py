"""Plants every mutant of the hand-written second order and prints those that survive, with why.

    python benchmarks/second_mutants.py [--only tanh conv2d] [--share 1]

With --share n every nth. Exit 1 where one survives that is not equivalent.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from reference.trials.second_mutants import of_second, result_of_second

OPERATIONS = {*ACTIVATIONS, *LOSSES, *LAYERS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the survivors and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(OPERATIONS))
    parser.add_argument("--share", type=int, default=1)
    given = parser.parse_args(arguments)
    chosen = [m for m in of_second() if not given.only or m.operation in given.only]
    counts: Counter[str] = Counter()
    for mutant in chosen[:: given.share]:
        dead, why = result_of_second(mutant)
        result = "killed" if dead else "equivalent" if why.startswith("equivalent") else "survived"
        counts[f"{mutant.group} {result}"] += 1
        counts[result] += 1
        if not dead:
            print(f"{mutant.name}: {why}", flush=True)
    print(", ".join(f"{name} {n}" for name, n in sorted(counts.items())))
    return int(counts["survived"] > 0)


if __name__ == "__main__":
    sys.exit(main())
