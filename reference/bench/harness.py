"""The bench of the oracles and of the judge, each by itself; `throughput` has the whole."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np

from manual_backprop.fast import compile_step
from manual_backprop.network import Problem
from reference.judge import judge, judge_all
from reference.oracles import Oracle, load
from reference.problems import draw

BLOCK = 512


class Rate(msgspec.Struct, frozen=True):
    """How fast one thing goes."""

    implementation: str
    seconds: float  # for one network
    per_second: float
    section: str
    ratio: float | None = None
    note: str = ""


def oracles() -> list[Rate]:
    """Time every oracle on a block of problems, and the fast step in manual's place.

    A campaign's networks are all of different shapes, so the fast step would be compiled for each.
    """
    problems = [draw(0, index).problem for index in range(BLOCK)]
    rates = list(_oracles(problems, load()).values())
    few = problems[:64]
    with np.errstate(all="ignore"):
        compiled = _median(lambda: [compile_step(problem) for problem in few]) / len(few)
    manual = next(rate.seconds for rate in rates if rate.implementation == "manual")
    return [*rates, _rate("compile_step", compiled, "oracles", compiled / manual)]


def judging() -> list[Rate]:
    """Time the judge on a block, and on one of its problems alone."""
    problems = [draw(0, index).problem for index in range(BLOCK)]
    found = load(("manual", "torch", "jax"))
    answers = {name: oracle.answers(problems) for name, oracle in found.items()}
    one = {name: given[0] for name, given in answers.items()}
    judge_all(problems, answers)  # traces the tapes
    block = _median(lambda: judge_all(problems, answers)) / BLOCK
    alone = _median(lambda: judge(problems[0], one))
    return [
        _rate("judge, in a block", block, "judge", 1.0),
        _rate("judge, alone", alone, "judge", alone / block),
    ]


def render(rates: Sequence[Rate]) -> str:
    """Return rates as text, one a line."""
    return "\n".join(
        f"{rate.section:20} {rate.implementation:24} {rate.seconds * 1e3:10.3f} ms "
        f"{rate.per_second:12.1f}/s" + ("" if rate.ratio is None else f" {rate.ratio:10.2f}")
        for rate in rates
    )


def _oracles(problems: list[Problem], found: dict[str, Oracle]) -> dict[str, Rate]:
    rates = {}
    for name, oracle in found.items():
        if oracle.unavailable() is None:
            oracle.answers(problems)  # compile
            seconds = _median(partial(oracle.answers, problems)) / len(problems)
            rates[name] = _rate(name, seconds, "oracles", None)
    return rates


def _median(call: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _rate(name: str, seconds: float, section: str, ratio: float | None) -> Rate:
    return Rate(name, seconds, 1 / seconds if seconds else 0.0, section, ratio)
