"""How many networks a second the whole check does, beside the naive harness, and where time goes.

Naive is what one writes first: for every network torch's autograd and a fresh `jit(grad)` of JAX.
Both are timed in one run, in turn, and the medians are told.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from manual_backprop.network import Layer, Network, Problem
from reference.campaign import BLOCK, Plan, audited, run_block
from reference.judge import WITNESSES, judge, screen
from reference.oracles import Answer, Oracle, load
from reference.oracles.environment import environment
from reference.problems import draw
from reference.running.findings import finding_of
from reference.running.workers import LocalPool, finish

ROUNDS = 3
NAIVE = 6
"""Networks of the naive harness in a round: it needs a third of a second for each."""

CHECKED = (128, 128, 128, 1)
"""The widths of the one network whose full check is timed beside the frameworks' own checkers."""
BATCH = 16


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """What `manual-backprop bench throughput` measures."""

    networks_per_second: float
    ratio_to_naive: float
    naive_per_second: float
    without_arbiter_per_second: float  # the same, were nothing disputed and nothing audited
    workers: int
    networks: int
    disputed: float  # the share of networks that leaves the screen
    shares: dict[str, float]  # of a worker's time, largest first
    milliseconds: dict[str, float]  # for one network; the arbiter's is over all networks
    one_network: dict[str, float]  # milliseconds to check one 128-128-128-1 network, warm
    environment: dict[str, str]


def throughput(workers: int = 2, blocks: int = 4) -> Throughput:
    """Time rounds of campaign blocks in worker processes, the naive harness, and each part."""
    plan = Plan(problems=(blocks * (ROUNDS + 1)) * BLOCK)
    oracles = load(plan.oracles)
    problems = [draw(1, index).problem for index in range(NAIVE * ROUNDS)]
    rates, naive = [], []
    with LocalPool(workers) as pool:
        ranges = plan.blocks()
        list(finish(plan, ranges[:blocks], pool.submit))  # workers start and compile
        for turn in range(ROUNDS):
            here = ranges[blocks * (turn + 1) : blocks * (turn + 2)]
            seconds = _seconds(lambda here=here: list(finish(plan, here, pool.submit)))  # type: ignore[misc]
            rates.append(blocks * BLOCK / seconds)
            few = problems[NAIVE * turn : NAIVE * (turn + 1)]
            naive.append(NAIVE / _seconds(partial(_naive, few)))
    rate, naive_rate = statistics.median(rates), statistics.median(naive)
    parts, disputed = _parts(plan, oracles)
    total = sum(parts.values())
    shares = {name: part / total for name, part in parts.items()}
    return Throughput(
        networks_per_second=rate,
        ratio_to_naive=rate / naive_rate,
        naive_per_second=naive_rate,
        without_arbiter_per_second=rate / (1 - shares["arbiter"]),
        workers=workers,
        networks=blocks * BLOCK * ROUNDS,
        disputed=disputed,
        shares=dict(sorted(shares.items(), key=lambda item: -item[1])),
        milliseconds={name: part * 1e3 for name, part in parts.items()},
        one_network=one_network(oracles),
        environment=environment(),
    )


def _parts(plan: Plan, oracles: dict[str, Oracle]) -> tuple[dict[str, float], float]:
    """Return the seconds of each part of one network, and the share that is disputed."""
    run_block(plan, 0, BLOCK, oracles)  # compile
    selection = plan.selection()
    indices = [selection.index(position) for position in range(BLOCK)]
    drawn = [draw(plan.seed, index) for index in indices]
    parts = {"draw": _median(lambda: [draw(plan.seed, index) for index in indices])}
    problems = [one.problem for one in drawn]
    answers: dict[str, list[Answer]] = {}
    for name, oracle in oracles.items():
        if name in WITNESSES or oracle.unavailable() is not None:
            continue
        answers[name] = oracle.answers(problems)
        parts[name] = _median(lambda oracle=oracle: oracle.answers(problems))  # type: ignore[misc]
    given = [{name: of_one[i] for name, of_one in answers.items()} for i in range(BLOCK)]
    parts["screen"] = _median(
        lambda: [screen(p, one) for p, one in zip(problems, given, strict=True)]
    )
    screened = [screen(p, one) for p, one in zip(problems, given, strict=True)]
    left = [i for i in range(BLOCK) if not screened[i].passed or audited(plan, indices[i])]

    def arbiter() -> None:
        for i in left:
            answered = given[i] | {
                name: oracles[name].answer(problems[i]) for name in WITNESSES if name in oracles
            }
            found = judge(problems[i], answered, screened=screened[i])
            finding_of(drawn[i], answered, found)

    parts["arbiter"] = _seconds(arbiter)
    whole = _seconds(lambda: run_block(plan, 0, BLOCK, oracles))
    parts["records"] = max(0.0, whole - sum(parts.values()))
    disputed = sum(not one.passed for one in screened) / BLOCK
    return {name: seconds / BLOCK for name, seconds in parts.items()}, disputed


def one_network(oracles: dict[str, Oracle]) -> dict[str, float]:
    """Return the milliseconds of one full check, warm, and of the frameworks' own checkers."""
    problem = _checked()
    asked = [o for n, o in oracles.items() if n not in WITNESSES and o.unavailable() is None]

    def check() -> bool:
        return screen(problem, {oracle.name: oracle.answer(problem) for oracle in asked}).passed

    if not check():  # also compiles
        raise AssertionError("the network that is timed is disputed")
    found = {"every oracle and the screen": _median(check, 30) * 1e3}
    for oracle in asked:
        found[oracle.name] = _median(partial(oracle.answer, problem), 30) * 1e3
    return found | _checkers(problem)


def _checkers(problem: Problem) -> dict[str, float]:
    """Time gradcheck, slow and fast, and check_grads, on the same network."""
    found = {}
    arrays = [problem.x, *problem.parameters.values()]
    try:
        import torch
    except ImportError:
        pass
    else:
        inputs = [torch.from_numpy(array).requires_grad_() for array in arrays]
        t = torch.from_numpy(problem.targets)

        def loss(x: Any, *parameters: Any) -> Any:
            for i in range(0, len(parameters), 2):
                x = x @ parameters[i] + parameters[i + 1]
                x = torch.tanh(x) if i + 2 < len(parameters) else x
            return torch.nn.functional.mse_loss(x, t)

        def gradcheck(*, fast: bool) -> None:
            torch.autograd.gradcheck(loss, inputs, fast_mode=fast)

        found["torch gradcheck, fast"] = _median(lambda: gradcheck(fast=True), 5) * 1e3
        found["torch gradcheck"] = _seconds(lambda: gradcheck(fast=False)) * 1e3
    try:
        import jax
        from jax.test_util import check_grads
    except ImportError:
        return found
    with jax.enable_x64(True):
        import jax.numpy as jnp

        def jax_loss(x: Any, *parameters: Any) -> Any:
            for i in range(0, len(parameters), 2):
                x = x @ parameters[i] + parameters[i + 1]
                x = jnp.tanh(x) if i + 2 < len(parameters) else x
            return ((x - problem.targets) ** 2).mean()

        jitted = jax.jit(jax_loss)
        given = [jnp.asarray(array) for array in arrays]
        run: Any = partial(check_grads, jitted, given, order=1, modes=["rev"])
        run()  # compiles
        found["jax check_grads, rev"] = _median(run, 5) * 1e3
    return found


def _checked() -> Problem:
    stream = np.random.default_rng(0)
    layers = tuple(
        Layer(width, "tanh" if i < len(CHECKED) - 2 else "identity")
        for i, width in enumerate(CHECKED[1:])
    )
    parameters = {}
    for i, (d_in, d_out) in enumerate(pairwise(CHECKED)):
        parameters[f"layers.{i}.weight"] = stream.standard_normal((d_in, d_out)) / math.sqrt(d_in)
        parameters[f"layers.{i}.bias"] = stream.standard_normal(d_out) / 2
    x = stream.standard_normal((BATCH, CHECKED[0]))
    targets = stream.standard_normal((BATCH, CHECKED[-1]))
    return Problem(Network(CHECKED[0], layers, "mse"), parameters, x, targets)


def render(found: Throughput) -> str:
    """Return what was measured as text."""
    lines = [
        f"{found.networks_per_second:10,.0f} networks a second, {found.workers} workers, "
        f"{found.disputed:.1%} of them disputed and judged",
        f"{found.naive_per_second:10,.1f} by the naive harness: {found.ratio_to_naive:,.0f} times",
        f"{found.without_arbiter_per_second:10,.0f} were nothing disputed",
        "",
        "A worker's time, for one network:",
        *(
            f"{found.milliseconds[name]:10.3f} ms {share:6.1%}  {name}"
            for name, share in found.shares.items()
        ),
        "",
        f"One {'-'.join(map(str, CHECKED))} network, batch {BATCH}, float64, warm:",
        *(f"{ms:10.2f} ms  {name}" for name, ms in found.one_network.items()),
    ]
    return "\n".join(lines)


def _naive(problems: Sequence[Problem]) -> None:
    from reference.oracles.jax_grad import JaxGrad
    from reference.oracles.torch_autograd import TorchAutograd

    for problem in problems:
        TorchAutograd().answer(problem)
        JaxGrad(padded=False).answer(problem)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _median(call: Callable[[], object], repeats: int = 3) -> float:
    return statistics.median(_seconds(call) for _ in range(repeats))
