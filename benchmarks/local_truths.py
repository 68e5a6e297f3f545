"""Checks the judge's certified values against arb at 400 bits, on freshly drawn networks.

Every distinct column (an operation's value and slopes at one number or row of an answer) and one
random entry of every sum must lie within its stated error. Prints the claims and the violations,
and ends with 1 if there are any.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from flint import arb

from manual_backprop.network import Problem
from reference.arithmetic.balls import precision
from reference.blocks.columns import Columns, distinct, evaluate_columns
from reference.blocks.gather import Gathered
from reference.blocks.sums import sum_checks
from reference.oracles import Answer, load
from reference.problems import draw

BITS = 400
BLOCK = 250


def main() -> int:
    """Print what was checked."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--problems", type=int, default=2000)
    arguments.add_argument("--seed", type=int, default=29)
    arguments.add_argument("--oracles", default="manual")
    given = arguments.parse_args()
    stream = np.random.default_rng(given.seed)
    sides = load(given.oracles.split(","))
    claims = violations = undecided = sums = 0
    for start in range(0, given.problems, BLOCK):
        stop = min(start + BLOCK, given.problems)
        problems = [draw(given.seed, index).problem for index in range(start, stop)]
        answers = [pair for side in sides.values() for pair in enumerate(side.answers(problems))]
        for found in (of_columns(problems, answers), of_sums(problems, answers, stream)):
            claims, violations = claims + found[0], violations + found[1]
            undecided += found[2]
        sums += found[0]
        print(f"{stop} networks: {claims} claims ({sums} of sums), {violations} violations, "
              f"{undecided} left to arb", flush=True)  # fmt: skip
    return int(violations > 0)


def of_columns(problems: list[Problem], answers: list[tuple[int, Answer]]) -> tuple[int, int, int]:
    """Return the claims, the violations, and what the arrays leave open, of all operations."""
    gathered = Gathered(problems, answers)
    groups = [job[0] for job in (*gathered.activations(), *gathered.losses())]
    evaluate_columns(groups)
    claims = violations = undecided = 0
    for columns in groups:
        for m in distinct(columns.inputs, columns.tape)[0].tolist():
            if not columns.finite[m]:
                continue
            for middle, radius, ball in numbers(columns, m):
                if not (np.isfinite(middle) and np.isfinite(radius)):
                    undecided += 1
                    continue
                claims += 1
                with precision(BITS):
                    claimed = exactly(middle) + arb(0, 1) * exactly(radius)
                violations += not claimed.overlaps(ball)
    return claims, violations, undecided


def numbers(columns: Columns, m: int) -> Iterator[tuple[np.floating, np.floating, arb]]:
    """Return each number of a column: its middle, its radius, and its ball at 400 bits."""
    tape, found = columns.tapes[int(columns.tape[m])], columns.found
    assert found is not None
    with precision(BITS):
        balls = tape.balls([arb(float(v)) for v in columns.inputs[: tape.inputs, m]])
    for k, node in enumerate(tape.values):
        yield found.value[k, m], found.value_radius[k, m], balls[node]
        for j, slope in enumerate(tape.slopes[k]):
            yield found.slope[k, j, m], found.slope_radius[k, j, m], balls[slope]


def exactly(number: float | np.longdouble) -> arb:
    """Return a float or a long double as it is: their range is wider than that of float()."""
    mantissa, exponent = np.frexp(number)
    return arb(int(mantissa * 2.0**64)) * arb(2) ** (int(exponent) - 64)


def of_sums(
    problems: list[Problem], answers: list[tuple[int, Answer]], stream: np.random.Generator
) -> tuple[int, int, int]:
    """Return the claims and the violations of one entry of each sum of each layer."""
    claims = violations = undecided = 0
    for (dtype, *_), layers in Gathered(problems, answers).dense.items():
        for check in sum_checks(dtype, layers):
            for m in range(len(layers)):
                places = np.argwhere(check.inside[m] & check.judged[m])
                if not len(places):
                    continue
                i, j = places[stream.integers(len(places))].tolist()
                error, radius = float(check.error[m, i, j]), float(check.radius[m, i, j])
                if not (np.isfinite(error) and np.isfinite(radius)):
                    undecided += 1
                    continue
                claims += 1
                violations += abs(error - check.exact_error((m, i, j))) > radius + 2.0**-52 * error
    return claims, violations, undecided


if __name__ == "__main__":
    raise SystemExit(main())
