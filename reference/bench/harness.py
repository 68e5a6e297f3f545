"""The bench of the check itself: networks a second, and where the time of a network goes."""

import statistics
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from manual_backprop.fast import compile_step
from manual_backprop.network import Problem
from reference.campaign import Plan, run_block
from reference.judge import judge, screen
from reference.oracles import Answer, Oracle, load
from reference.problems import draw

BLOCK = 512
NAIVE = 8
"""Networks of the naive harness: it needs a third of a second for each."""


class Rate(msgspec.Struct, frozen=True):
    """How fast one thing goes."""

    implementation: str
    seconds: float  # for one network
    per_second: float
    section: str
    ratio: float | None = None
    note: str = ""


def throughput() -> list[Rate]:
    """Time the campaign in one process, the naive harness, and the shares of a network's time.

    Naive is what one writes first: for every network torch's autograd, and a fresh
    `jit(grad)` of JAX.
    """
    plan = Plan(problems=BLOCK)
    oracles = load(plan.oracles)
    run_block(plan, 0, BLOCK, oracles)  # compile
    seconds = _median(lambda: run_block(plan, BLOCK, 2 * BLOCK, oracles)) / BLOCK
    problems = [draw(0, index).problem for index in range(NAIVE)]
    start = time.perf_counter()
    for problem in problems:
        _naive(problem)
    naive = (time.perf_counter() - start) / NAIVE
    rates = [
        _rate("campaign, one process", seconds, "throughput", naive / seconds),
        _rate("naive harness", naive, "throughput", 1.0),
    ]
    drawn = [draw(0, index).problem for index in range(BLOCK)]
    parts = {"draw": _median(lambda: [draw(0, i) for i in range(BLOCK)]) / BLOCK}
    parts |= {name: one.seconds for name, one in _oracles(drawn, oracles).items()}
    answers = [oracles[n].answers(drawn) for n in ("manual", "torch", "jax") if n in oracles]
    parts["screen"] = _median(lambda: _screen_all(drawn, answers)) / BLOCK
    del parts["complex_step"]  # asked only where the arbiter judges
    parts["arbiter and the rest"] = max(0.0, seconds - sum(parts.values()))
    return rates + [
        _rate(name, part, "share of a network", part / seconds) for name, part in parts.items()
    ]


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
    """Time the screen, and the arbiter's judgement, on a block's first problems."""
    problems = [draw(0, index).problem for index in range(64)]
    found = load(("manual", "torch", "jax"))
    answers = [oracle.answers(problems) for oracle in found.values()]
    given = [dict(zip(found, of_one, strict=True)) for of_one in zip(*answers, strict=True)]
    screening = _median(lambda: _screen_all(problems, answers)) / len(problems)
    judged = _median(
        lambda: [judge(problem, one) for problem, one in zip(problems, given, strict=True)], 1
    ) / len(problems)
    return [
        _rate("screen", screening, "judge", 1.0),
        _rate("judge", judged, "judge", judged / screening),
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
            seconds = _median(lambda oracle=oracle: oracle.answers(problems)) / len(problems)  # type: ignore[misc]
            rates[name] = _rate(name, seconds, "oracles", None)
    return rates


def _naive(problem: Problem) -> None:
    from reference.oracles.jax_grad import JaxGrad
    from reference.oracles.torch_autograd import TorchAutograd

    TorchAutograd().answer(problem)
    JaxGrad(padded=False).answer(problem)


def _screen_all(problems: Sequence[Problem], answers: Sequence[Sequence[Answer]]) -> None:
    for i, problem in enumerate(problems):
        screen(problem, {of_one[i].oracle: of_one[i] for of_one in answers})


def _median(call: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _rate(name: str, seconds: float, section: str, ratio: float | None) -> Rate:
    return Rate(name, seconds, 1 / seconds if seconds else 0.0, section, ratio)
