"""Measures the library functions that certified columns rest on, against arb.

For each primitive and each wide type: the largest error, in units of rounding, at the ends of its
range, near its poles and zeros, and at points of every size. The stated numbers are `UNITS` and
`OTHER_UNITS` of reference/arithmetic/evaluation.py; ten times what is measured is a good statement.
"""

import argparse

import numpy as np
from flint import arb, ctx

from reference.arithmetic.evaluation import OTHER_UNITS, UNITS, Extended, _Primitives
from reference.arithmetic.tape import _OVER_ARB

FUNCTIONS = ("EXP", "EXPM1", "LOG", "LOG1P", "SQRT", "TANH", "SECH2", "ERF", "ERFC")


def points(count: int, name: str) -> np.ndarray:
    """Return numbers in float64, which both types hold: of every size, near 0, 1, -1 and ends."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-300, 300, count) * rng.choice((-1, 1), count)
    near = np.concatenate([c + 10.0 ** rng.uniform(-16, 0, count) * rng.choice((-1, 1), count)
                           for c in (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)])  # fmt: skip
    even = rng.uniform(-30, 30, 2 * count)
    ends = rng.uniform(-745, 709, count)
    x = np.concatenate([sizes, near, even, ends])
    if name in ("LOG", "SQRT"):
        x = np.abs(x[x != 0])
    if name == "LOG1P":
        x = x[x > -1]
    return x


def main() -> None:
    """Print the largest error of each function in each type."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--points", type=int, default=10_000)
    given = arguments.parse_args()
    ctx.prec = 200
    for wide in (np.dtype(np.float64), np.dtype(Extended)):
        primitives, unit = _Primitives(wide), float(np.finfo(wide).eps) / 2
        smallest = float(np.finfo(wide).tiny) or 0.0
        for name in FUNCTIONS:
            x = points(given.points, name)
            with np.errstate(all="ignore"):
                y, _ = getattr(primitives, name)(x.astype(wide), np.zeros(len(x), wide))
            worst, where = 0.0, 0.0
            for at, value in zip(x.tolist(), y, strict=True):
                high = float(value)
                if not np.isfinite(high) or abs(high) <= max(smallest, 1e-300):
                    continue
                truth = _OVER_ARB[name](arb(at))
                off = abs((arb(high) - truth) + arb(float(value - np.longdouble(high))))
                units = float(off / abs(truth)) / unit
                if units > worst:
                    worst, where = units, at
            stated = UNITS[wide].get(name, OTHER_UNITS)
            print(f"{wide!s:12} {name:6} {worst:9.2f} units at {where!r:24} (stated {stated:g})")


if __name__ == "__main__":
    main()
