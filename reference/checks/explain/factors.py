"""Constant factors and how they are written: 2, 1/N, keep_prob, lam/m, √d."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from reference.checks.explain.problem import ReadingProblem, once, text_of
from reference.checks.routine import Path
from reference.checks.tolerances import DIGITS

_PLAIN = {"1": 1.0, "2": 2.0, "1/2": 0.5, "4": 4.0, "1/4": 0.25, "3": 3.0, "1/3": 1 / 3}


@once
def symbols(problem: ReadingProblem) -> dict[str, float]:
    """Return the numbers of a problem that a factor may be made of, by how they are written."""
    outcome = problem.outcome
    found = dict(problem.factors)
    arrays = {**outcome.inputs, **outcome.others, **outcome.outputs, **outcome.values}
    shapes: dict[tuple[int, ...], Path] = {}
    for path, value in arrays.items():
        if path[0] != "before":
            shapes.setdefault(np.shape(value), path)
    for shape, path in shapes.items():
        for axis, n in enumerate(shape):
            if n > 1:
                found[f"{text_of(path)}.shape[{axis}]"] = float(n)
        if len(shape) > 1:
            found[f"{text_of(path)}.size"] = float(np.prod(shape))
            if len(shape) > 2:
                found[f"{text_of(path)}.shape[-1]·shape[-2]"] = float(shape[-1] * shape[-2])
    for name in [n for n in found if n.startswith(("k", "pool", "size", "kernel"))]:
        found[f"{name}²"] = found[name] ** 2
    return found


def _spelled(problem: ReadingProblem, pairs: bool) -> Iterator[tuple[str, float]]:
    known = {k: v for k, v in symbols(problem).items() if v}
    for a, x in _PLAIN.items():
        yield a, x
    for (name, n), (a, x) in itertools.product(known.items(), _PLAIN.items()):
        before = "" if a == "1" else f"{a}·"
        yield f"{before}{name}", x * n
        yield f"{a}/{name}" if "/" not in a else f"{a}·1/{name}", x / n
        if n > 0 and a == "1":
            yield f"√{name}", math.sqrt(n)
            yield f"1/√{name}", 1 / math.sqrt(n)
            yield f"1 − {name}", 1 - n
            yield f"{name} − 1", n - 1
            yield f"1/(1 − {name})", 1 / (1 - n) if n != 1 else math.nan
            yield f"({name} − 1)/{name}", (n - 1) / n
            yield f"{name}/({name} − 1)", n / (n - 1) if n != 1 else math.nan
    if pairs:
        for (one, n), (other, m) in itertools.permutations(known.items(), 2):
            for a, x in (("", 1.0), ("2·", 2.0), ("1/2·", 0.5)):
                yield f"{a}{one}/{other}", x * n / m
                yield f"{a}{one}·{other}", x * n * m


def spelled(
    problems: Sequence[ReadingProblem], values: Sequence[float], pairs: bool = False
) -> str | None:
    """Return how a factor is written, the same in every problem; None where there is no such way.

    A number that is the same everywhere is written as it is.
    """
    left: list[str] | None = None
    for problem, value in zip(problems, values, strict=True):
        found = [
            text
            for name, x in _spelled(problem, pairs)
            for sign, text in ((1.0, name), (-1.0, f"−{name}"))
            if abs(value - sign * x) <= DIGITS * abs(x)
        ]
        left = found if left is None else [f for f in left if f in found]
        if not left:
            break
    if left:
        return left[0]
    first = values[0]
    if len(values) > 1 and all(abs(v - first) <= DIGITS * abs(first) for v in values):
        return f"{first:.7g}"
    return None
