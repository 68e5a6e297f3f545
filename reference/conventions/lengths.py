"""What an implementation answers to one number alone, and to the same number among others.

Vector code takes several numbers at once and the last few one by one. Where the two compare in
another way, a NaN takes another branch, and the answer depends on the length of the tensor.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from manual_backprop.operation import Activation
from reference.conventions.pointwise import IMPLEMENTATIONS, Batch, PointAnswers, ask
from reference.conventions.situations import numbers
from reports.records import Convention

AMONG = 64
"""Equal numbers in the long tensor: more than any vector unit takes at once."""


def discover_lengths(operations: Sequence[Activation], dtype: str) -> Iterator[Convention]:
    """Yield a row for each number that an elementwise operation answers by a tensor's length."""
    chosen = [operation for operation in operations if not operation.rowwise]
    special = [(name, x) for name, xs in numbers(dtype).items() for x in xs if not np.isfinite(x)]
    points = [(operation, *one) for operation in chosen for one in special]
    batches = [
        Batch(operation, np.full((n, 1), x, dtype), None, operation.defaults())
        for operation, _, x in points
        for n in (1, AMONG)
    ]
    answers = {name: ask(name, batches) for name in IMPLEMENTATIONS}
    for k, (operation, situation, x) in enumerate(points):
        for quantity in ("value", "slope"):
            pairs = {
                name: _two(found[2 * k], found[2 * k + 1], quantity)
                for name, found in answers.items()
            }
            if any(alone != among for alone, among in pairs.values()):
                yield Convention(
                    operation=operation.name,
                    kind="activation",
                    situation=f"{situation}, alone and among {AMONG}",
                    input=f"x = {x!r}",
                    quantity=quantity,
                    dtype=dtype,
                    answers={name: _text(*pair) for name, pair in pairs.items()},
                    truth="the same at any length",
                    admissible={name: pair[0] == pair[1] for name, pair in pairs.items()},
                    deviation={
                        name: f"{alone} alone, {among} among {AMONG}"
                        for name, (alone, among) in pairs.items()
                        if alone != among
                    },
                )


def _two(alone: PointAnswers, among: PointAnswers, quantity: str) -> tuple[str, str]:
    """Return the two answers as text; of the long tensor the first, which vector code made."""
    found = [one.values if quantity == "value" else one.slopes for one in (alone, among)]
    first, second = (f"{float(v.flat[0]):.6g}" for v in found)
    return first, second


def _text(alone: str, among: str) -> str:
    return alone if alone == among else f"{alone} or {among}"
