"""Networks per second of the whole check and of the naive harness, and where the time goes.

The naive harness is what one writes first: one process that runs torch's autograd and a fresh
`jit(grad)` of JAX for every network, and judges nothing. One run times both and gives the medians.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import msgspec
import numpy as np

from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import InvalidInput
from reference.bench.contestants import jax_loss, torch_loss
from reference.bench.measure import seconds_of
from reference.campaign import BLOCK, Plan, run_block
from reference.judge import ADVISORY, judge, judge_all
from reference.oracles import Answer, Oracle, load
from reference.oracles.environment import environment
from reference.oracles.jax_x64 import double_precision
from reference.problems import AnyProblem, draw
from reference.running.workers import LocalPool, finish

WINDOWS = 8
"""The run is timed in so many parts, each of as many blocks; their median is the rate."""

NAIVE = 6
"""Networks of the naive harness in a round: it needs a third of a second for each."""

NAIVE_ROUNDS = 4
"""Half of them before the run, half after it."""

ROUNDS = 5
"""So many times each part is timed."""

CHECKED = (128, 128, 128, 1)
"""The widths of the one network whose full check is timed beside the frameworks' own checkers."""
DEEP = (64,) * 33
BATCH = 16


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """What `manual-backprop bench throughput` measures."""

    networks_per_second: float
    ratio_to_naive: float
    naive_per_second: float
    whole_run_per_second: float  # its beginning included
    workers: int
    networks: int
    shares: dict[str, float]  # of a worker's time, largest first
    milliseconds: dict[str, float]  # for one network, part by part
    one_network: dict[str, float]  # milliseconds to check one 128-128-128-1 network, warm
    judging: dict[str, float]  # milliseconds of processor time to judge answers to one network
    environment: dict[str, str]


def throughput(workers: int = 2, networks: int = 512 * BLOCK) -> Throughput:
    """Time one campaign in worker processes, the naive harness before and after it, and parts."""
    plan = Plan(problems=networks, architectures=("dense",))  # what the naive harness can do
    if len(plan.blocks()) < WINDOWS:
        raise InvalidInput(f"networks={networks}: expected at least {WINDOWS * plan.block}")
    problems = [draw(1, index).problem for index in range(NAIVE * NAIVE_ROUNDS)]
    _naive(problems[:1])  # the frameworks begin
    rounds = [problems[k : k + NAIVE] for k in range(0, len(problems), NAIVE)]
    naive = [NAIVE / seconds_of(partial(_naive, few)) for few in rounds[::2]]
    times = [time.perf_counter()]
    with LocalPool(workers) as pool:
        # The results are not kept: a garbage collector that searches a quarter of a million of them
        # slows down what is timed afterwards (measured: 1.2 ms for a network).
        for _ in finish(plan, plan.work(), pool.submit, pool.ahead):
            times.append(time.perf_counter())
    naive += [NAIVE / seconds_of(partial(_naive, few)) for few in rounds[1::2]]
    each = (len(times) - 1) // WINDOWS
    ends = times[: each * WINDOWS + 1 : each]
    rates = [each * plan.block / (b - a) for a, b in pairwise(ends)]
    rate, naive_rate = statistics.median(rates), statistics.median(naive)
    oracles = load(plan.oracles)
    parts = _parts(plan, oracles)
    total = sum(parts.values())
    shares = {name: part / total for name, part in parts.items()}
    return Throughput(
        networks_per_second=rate,
        ratio_to_naive=rate / naive_rate,
        naive_per_second=naive_rate,
        whole_run_per_second=networks / (times[-1] - times[0]),
        workers=workers,
        networks=networks,
        shares=dict(sorted(shares.items(), key=lambda item: -item[1])),
        milliseconds={name: part * 1e3 for name, part in parts.items()},
        one_network=one_network(oracles),
        judging={
            f"{name}, {who}": ms
            for name, widths in (("128-128-128-1", CHECKED), ("64 wide, 32 deep", DEEP))
            for who, ms in judging(oracles, widths).items()
        },
        environment=environment(),
    )


def _parts(plan: Plan, oracles: dict[str, Oracle]) -> dict[str, float]:
    """Return the seconds that each part takes for one network, in this process.

    One of each in every round: a busy minute of the host is every part's.
    """
    size = plan.block
    run_block(plan, 0, size, oracles)  # compile
    selection = plan.selection()
    indices = [selection.index(position) for position in range(size)]
    problems = [draw(plan.seed, index).problem for index in indices]
    calls: dict[str, Callable[[], object]] = {
        "draw": lambda: [draw(plan.seed, index) for index in indices]
    }
    answers: dict[str, list[Answer]] = {}
    known: dict[str, Oracle] = {}
    for name, oracle in oracles.items():
        if name not in ADVISORY and oracle.unavailable() is None:
            answers[name] = oracle.answers(problems)
            known[name] = _Known(name, problems, answers[name])
            calls[name] = partial(oracle.answers, problems)
    calls["judge"] = lambda: judge_all(problems, answers)
    # What is left of a block whose answers are known is small: so is the error of the difference.
    calls["audit, records"] = lambda: run_block(plan, 0, size, known)
    rounds = [{name: seconds_of(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    for one in rounds:
        rest = one["audit, records"] - one["draw"] - one["judge"]
        one["audit, records"] = max(0.0, rest)
    return {name: statistics.median(one[name] for one in rounds) / size for name in calls}


class _Known(Oracle):
    """An oracle that has answered before; asked again about a few, it gives the first answers."""

    def __init__(self, name: str, problems: Sequence[Problem], answers: Sequence[Answer]) -> None:
        self.name = name
        self._answers = {p.x.tobytes(): a for p, a in zip(problems, answers, strict=True)}

    def answer(self, problem: AnyProblem) -> Answer:
        raise NotImplementedError("its answers are those of one block")

    def answers(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        return [self._answers[p.x.tobytes()] for p in problems if isinstance(p, Problem)]


def one_network(oracles: dict[str, Oracle]) -> dict[str, float]:
    """Return the milliseconds of one full check, warm, and of the frameworks' own checkers."""
    problem = _checked()
    asked = [o for n, o in oracles.items() if n not in ADVISORY and o.unavailable() is None]

    def check() -> bool:
        found = judge(problem, {o.name: o.answer(problem) for o in asked})
        return found.kind in ("AGREE", "PRECISION") and "manual" not in found.who

    if not check():  # also compiles
        raise AssertionError("the network that is timed is not right")
    answers = {oracle.name: oracle.answer(problem) for oracle in asked}
    found = {
        "every oracle and the judge": _median(check, 30) * 1e3,
        "judge": _median(lambda: judge(problem, answers), 30) * 1e3,
    }
    for oracle in asked:
        found[oracle.name] = _median(partial(oracle.answer, problem), 30) * 1e3
    return found | _checkers(problem)


def judging(oracles: dict[str, Oracle], widths: Sequence[int]) -> dict[str, float]:
    """Return the milliseconds of processor time to judge every answer to one network, and ours."""
    problem = _checked(widths)
    asked = [o for n, o in oracles.items() if n not in ADVISORY and o.unavailable() is None]
    answers = {oracle.name: oracle.answer(problem) for oracle in asked}
    judge(problem, answers)  # traces the tapes
    found = {}
    for who, some in (
        ("every answer", answers),
        ("the hand-written one", {"manual": answers["manual"]}),
    ):
        call = partial(judge, problem, some)
        found[who] = _median(call, 30, time.process_time) * 1e3
    return found


def _checkers(problem: Problem) -> dict[str, float]:
    """Time gradcheck, slow and fast, and check_grads, on the same network."""
    found = {}
    names = list(problem.parameters)
    arrays = [problem.x, *problem.parameters.values()]
    try:
        import torch
    except ImportError:
        pass
    else:
        of_torch, targets = torch_loss(problem), torch.from_numpy(problem.targets)
        inputs = [torch.from_numpy(array).requires_grad_() for array in arrays]

        def gradcheck(*, fast: bool) -> None:
            torch.autograd.gradcheck(
                lambda x, *values: of_torch(dict(zip(names, values, strict=True)), x, targets),
                inputs,
                fast_mode=fast,
            )

        found["torch gradcheck, fast"] = _median(lambda: gradcheck(fast=True), 5) * 1e3
        found["torch gradcheck"] = seconds_of(lambda: gradcheck(fast=False)) * 1e3
    try:
        import jax
        from jax.test_util import check_grads
    except ImportError:
        return found
    with double_precision():
        of_jax, labels = jax_loss(problem), jax.numpy.asarray(problem.targets)
        jitted = jax.jit(
            lambda x, *values: of_jax(dict(zip(names, values, strict=True)), x, labels)
        )
        given = [jax.numpy.asarray(array) for array in arrays]
        run: Callable[[], object] = partial(check_grads, jitted, given, order=1, modes=["rev"])
        run()  # compiles
        found["jax check_grads, rev"] = _median(run, 5) * 1e3
    return found


def _checked(widths: Sequence[int] = CHECKED) -> Problem:
    stream = np.random.default_rng(0)
    layers = tuple(
        Layer(width, "tanh" if i < len(widths) - 2 else "identity")
        for i, width in enumerate(widths[1:])
    )
    parameters = {}
    for i, (d_in, d_out) in enumerate(pairwise(widths)):
        parameters[f"layers.{i}.weight"] = stream.standard_normal((d_in, d_out)) / math.sqrt(d_in)
        parameters[f"layers.{i}.bias"] = stream.standard_normal(d_out) / 2
    x = stream.standard_normal((BATCH, widths[0]))
    targets = stream.standard_normal((BATCH, widths[-1]))
    return Problem(Network(widths[0], layers, "mse"), parameters, x, targets)


def render(found: Throughput) -> str:
    """Return what was measured as text."""
    lines = [
        f"{found.networks_per_second:10,.0f} networks a second, {found.workers} workers: "
        f"the median of {WINDOWS} parts of a run of {found.networks:,}",
        f"{found.whole_run_per_second:10,.0f} over that run, its beginning included",
        f"{found.naive_per_second:10,.1f} by the naive harness, one process: "
        f"{found.ratio_to_naive:,.0f} times",
        "",
        "The time for one network, part by part in one process:",
        *(
            f"{found.milliseconds[name]:10.3f} ms {share:6.1%}  {name}"
            for name, share in found.shares.items()
        ),
        "",
        f"One {'-'.join(map(str, CHECKED))} network, batch {BATCH}, float64, warm:",
        *(f"{ms:10.2f} ms  {name}" for name, ms in found.one_network.items()),
        "",
        f"Judging one network, batch {BATCH}, float64, processor time:",
        *(f"{ms:10.2f} ms  {name}" for name, ms in found.judging.items()),
    ]
    return "\n".join(lines)


def _naive(problems: Sequence[Problem]) -> None:
    from reference.oracles.jax_grad import JaxGrad
    from reference.oracles.torch_autograd import TorchAutograd

    for problem in problems:
        TorchAutograd().answer(problem)
        JaxGrad(padded=False).answer(problem)


def _median(
    call: Callable[[], object], repeats: int = 3, clock: Callable[[], float] = time.perf_counter
) -> float:
    return statistics.median(seconds_of(call, clock) for _ in range(repeats))
