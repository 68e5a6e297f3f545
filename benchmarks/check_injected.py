"""Checks random right targets and injected mistakes: false accusations, misses, names.

python benchmarks/check_injected.py --targets 1000 --mistakes 500
python benchmarks/check_injected.py --catalogue      # every mistake of the catalogue, as a file
python benchmarks/check_injected.py --show 12        # the source of one, and its result
python benchmarks/check_injected.py --show 12:3      # with its mistake number 3
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> int:
    """Return 1 where a right target is accused."""
    from randomcheck import run, run_catalogue

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=100)
    parser.add_argument("--mistakes", type=int, default=50)
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--show", default="", help="SEED or SEED:MISTAKE")
    parser.add_argument("--catalogue", action="store_true", help="inject the whole catalogue")
    options = parser.parse_args()
    if options.show:
        return show(options.show)
    began = time.monotonic()
    first = options.first
    if options.catalogue:
        counts = run_catalogue(first, processes=options.processes)
        report(counts, sum(counts.injected.values()))
        print(f"{time.monotonic() - began:.0f} s")
        return int(bool(counts.accused))
    counts = run(
        range(first, first + options.targets),
        range(first, first + options.mistakes),
        options.processes,
    )
    report(counts, options.targets)
    print(f"{time.monotonic() - began:.0f} s")
    return int(bool(counts.accused))


def show(which: str) -> int:
    """Print a source and the result of its check."""
    from randomcheck import PROBLEMS, PROBLEMS_TO_EXPLAIN, checked, source_of, target

    seed, _, mistake = which.partition(":")
    made = target(int(seed))
    source = source_of(made, int(mistake) if mistake else None)
    outcome = checked(source, PROBLEMS_TO_EXPLAIN if mistake else PROBLEMS)
    print(source, f"# {made.family}: {outcome.verdict}. {outcome.text}", sep="\n")
    return 0


def report(counts: object, targets: int) -> None:
    """Print the counts, and every target that was not right."""
    from randomcheck import Counts

    assert isinstance(counts, Counts)
    right = sum(counts.right.values())
    print(
        f"right targets: {right} of {targets} right, {len(counts.accused)} accused, "
        f"{len(counts.unchecked)} not checked"
    )
    for title, rows in (("ACCUSED", counts.accused), ("not checked", counts.unchecked)):
        for seed, family, outcome in rows:
            print(f"  {title} {seed} ({family}): {outcome.verdict}: {outcome.text[:300]}")
    injected, found, named = (
        sum(c.values()) for c in (counts.injected, counts.found, counts.named)
    )
    if not injected:
        return
    print(
        f"mistakes: {found} of {injected} found ({found / injected:.1%}), "
        f"{named} named ({named / injected:.1%})"
    )
    for kind, count in counts.injected.most_common():
        print(
            f"  {kind:32} {count:4} injected {counts.found[kind]:4} found "
            f"{counts.named[kind]:4} named"
        )
    for title, rows in (("MISSED", counts.missed), ("not named", counts.unnamed)):
        for seed, which, kind, outcome in rows:
            print(f"  {title} {seed}:{which} ({kind}): {outcome.verdict}: {outcome.text[:300]}")


if __name__ == "__main__":
    sys.exit(main())
