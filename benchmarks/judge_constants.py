"""Measures the constants of reference/judge.py on correct answers.

For drawn problems and every tensor of every answer, how far the answer is from the proven value:
in units of u · max|tensor| (SCREEN), in units of the tight radius (ULPS), and beside the
better reference (FACTOR). Overflow and kinks are left out, since the constants do not bear on them.
"""

import argparse
from collections import defaultdict

import numpy as np

from reference.judge import FACTOR, FLOOR, PROBABLE, STRENGTHS, TIGHT, ULPS, Bench
from reference.oracles import load
from reference.oracles.certified import certify
from reference.problems import draw

SIDES = ("manual", "torch", "jax")
SHARES = (50.0, 99.0, 99.9, 100.0)


def main() -> None:
    """Print the distributions."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--problems", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=11)
    given = arguments.parse_args()
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    strengths: dict[str, list[str]] = defaultdict(list)
    with np.errstate(all="ignore"):
        drawn = [draw(given.seed, i).problem for i in range(given.problems)]
        said = {name: oracle.answers(drawn) for name, oracle in load(SIDES).items()}
        for i, problem in enumerate(drawn):
            answers = {name: said[name][i] for name in SIDES}
            bench = Bench(certify(problem), answers)
            for side in SIDES:
                worst = [finding.strength for finding in bench.examine(side)]
                order = [*STRENGTHS, None]
                last = max(worst, key=order.index)
                strengths[side].append(last.name if last else "outside")
                for name in bench.certificate.leaves:
                    collect(bench, side, name, found)
    for (what, side), values in sorted(found.items()):
        spread = "  ".join(f"{s}%: {np.percentile(values, s):.3g}" for s in SHARES)
        print(f"{what:40} {side:7} n {len(values):6}  {spread}")
    for side in SIDES:
        names, counts = np.unique(strengths[side], return_counts=True)
        print(side, dict(zip(names.tolist(), counts.tolist(), strict=True)))


def collect(bench: Bench, side: str, name: str, found: dict[tuple[str, str], list[float]]) -> None:
    """Enter one tensor of one answer."""
    errors = bench.errors(side, name)
    tight = bench.radii(TIGHT)
    radius, jump = tight.radius[name], tight.jump[name]
    leaf = bench.certificate[name]
    if (
        errors is None
        or not np.isfinite(radius).all()
        or (jump > radius / 1000).any()
        or leaf.thick.any()
    ):
        return
    error, scale = float(errors.max()), float(np.abs(leaf.high).max())
    if not np.isfinite(error) or scale == 0:
        return
    inside = bool((errors <= radius).all())
    found["error / (u max|tensor|)", side].append(error / (bench.unit * scale))
    if not inside:
        return
    expected = bench.radii(PROBABLE).radius[name]
    found["error / expected (CHANCE)", side].append(float(np.max(errors / expected)))
    needed = float(np.max(np.where(errors > 0, errors / radius, 0.0)))
    found["ulps an operation needs (error / radius)", side].append(ULPS * needed)
    best = bench.best_reference(side, name, TIGHT)
    if best and error > FLOOR * bench.unit * scale:
        found["error / the better reference's", side].append(error / best)
        if error > FACTOR * best:
            expected = bench.radii(PROBABLE).radius[name]
            found["error / expected, FACTOR times off", side].append(
                float(np.max(errors / expected))
            )


if __name__ == "__main__":
    main()
