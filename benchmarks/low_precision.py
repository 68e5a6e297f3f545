"""Which errors of single entries the judge sees in bfloat16 and float16, by width.

python benchmarks/low_precision.py sensitivity --errors 400
python benchmarks/low_precision.py loss_scale --problems 2000

The first plants one wrong entry in any tensor of the hand-written answer, of 2^-5 of the tensor's
largest number in bfloat16 and 2^-8 in float16. Caught: it DEVIATES. Seen: that, or it has lost
digits. The second counts cotangents that underflow in float16, with and without a loss scale.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from reference.formats import LOW
from reference.judge import judge_all
from reference.oracles import Answer
from reference.oracles.manual import Manual
from reference.problems import draw, in_dtype
from reference.trials.sensitivity import deep, inject

SIZES = {"bfloat16": 2.0**-5, "float16": 2.0**-8}
WIDTHS, DEPTHS = (4, 8, 16, 32, 64), (1, 4, 16)
AT_ONCE = 50


def sensitivity(errors: int) -> None:
    """Print the shares by dtype and width, over networks of several depths."""
    print("| dtype | one entry off by | width | errors | caught | seen |")
    print("|---|---|---|---|---|---|")
    for dtype in LOW:
        for width in WIDTHS:
            kinds = list(_kinds(dtype, width, errors))
            caught, seen = kinds.count("DEVIATES"), sum(k != "AGREE" for k in kinds)
            n = len(kinds)
            print(f"| {dtype} | 2^{np.log2(SIZES[dtype]):g} | {width} | {n} "
                  f"| {caught / n:.1%} | {seen / n:.1%} |", flush=True)  # fmt: skip


def _kinds(dtype: str, width: int, errors: int) -> Iterator[str]:
    """Yield the verdict of each wrong answer, given as the hand-written one."""
    stream = np.random.default_rng([width, LOW.index(dtype)])
    for k in range(0, errors, AT_ONCE):
        depth = DEPTHS[k // AT_ONCE % len(DEPTHS)]
        problem = in_dtype(deep(stream, width, depth, "float32"), dtype)
        right = Manual().answer(problem)
        wrong = [a for _ in range(AT_ONCE) if (a := inject(right, SIZES[dtype], stream))]
        yield from (j.kind for j in judge_all([problem] * len(wrong), {"manual": wrong}))


def loss_scale(problems: int) -> None:
    """Print the share of gradients of parameters that are 0 in float16, by loss scale."""
    print("| loss scale | zeros in float16 that float32 has not | not finite |\n|---|---|---|")
    for exponent in (0, 4, 8, 12, 16):
        lost = wide = total = 0
        for index in range(problems):
            one = draw(0, index).problem
            if one.weights is None:
                continue
            scaled = replace(one, weights=one.weights * one.dtype.type(2.0**exponent))
            true, low = (_gradients(in_dtype(scaled, d)) for d in ("float32", "float16"))
            lost += np.count_nonzero((low == 0) & (true != 0))
            wide += np.count_nonzero(~np.isfinite(low) & np.isfinite(true))
            total += np.count_nonzero(np.isfinite(true))
        print(f"| 2^{exponent} | {lost / total:.2%} | {wide / total:.2%} |", flush=True)


def _gradients(problem: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    answer: Answer = Manual().answer(problem)  # type: ignore[arg-type]
    parts = [g for name, g in answer.gradients.items() if name.endswith(("weight", "bias"))]
    return np.concatenate(parts, axis=None).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("sensitivity", "loss_scale"))
    parser.add_argument("--errors", type=int, default=400)
    parser.add_argument("--problems", type=int, default=2000)
    given = parser.parse_args()
    if given.what == "sensitivity":
        sensitivity(given.errors)
    else:
        loss_scale(given.problems)


if __name__ == "__main__":
    main()
