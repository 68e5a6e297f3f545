"""Fail when a hand-written step has become slower beside the floor of its products.

python benchmarks/guard.py            compare with the history of this vector unit
python benchmarks/guard.py --update   compare, and enter this run when it is not a regression
"""

import sys
from pathlib import Path

from reference.bench.guard import read, regressions, remember, short, vector_unit, write

HISTORY = Path(__file__).with_name(f"history_{vector_unit()}.json")


def main() -> int:
    history = read(HISTORY)
    if not history and "--update" not in sys.argv:
        print(f"{HISTORY.name}: no run on such a processor is kept; --update begins with this one")
        return 1
    rows = short()
    for row in rows:
        print(
            f"{row.implementation:18} {row.shape:16} {row.dtype} {row.activation}"
            f" {row.ratio_to_floor:6.2f}"
        )
    worse = regressions(history, rows)
    # A second look: a regression stays, a noisy minute does not.
    if worse:
        worse = regressions(history, short())
    print("\n".join(worse) or "no ratio is worse than its history allows")
    if "--update" in sys.argv and not worse:
        write(HISTORY, remember(history, rows))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
