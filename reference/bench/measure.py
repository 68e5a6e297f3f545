"""The bench of training steps, interleaved: four shapes, every contestant, a sweep of widths.

Each plan runs in a separate process, whose environment settles the threads before NumPy loads:
python -m reference.bench.measure < plan.json > rows.json
"""

import os
import random
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import msgspec
import numpy as np

from manual_backprop.fast import CompiledStep, compile_step
from manual_backprop.tape import replay
from reference.bench.contestants import (
    CONTESTANTS,
    SHAPES,
    BenchCase,
    floor_of,
    form_of,
    problem_of,
    takes,
    unavailable,
)

SAMPLE = 1e-3
"""Seconds of one sample at least: a clock's tick and a loop's turn are nothing beside it."""
SHORT = 1e-2
"""Seconds of a call that is soon over: what the caches hold when it begins matters to it."""
_ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
# Where they are set, OpenBLAS takes a slower kernel than the processor's own.
_UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class BenchPlan(msgspec.Struct, frozen=True):
    """What one process times."""

    cases: list[BenchCase]
    implementations: list[str]
    threads: int | None = 1
    seconds: float = 1.0  # for each case, beside preparing
    memory: bool = False
    shares: bool = False
    clock: Literal["wall", "cpu"] = "wall"  # cpu: on a busy machine, and for one thread only
    section: str = "training step"


class Timing(msgspec.Struct, frozen=True):
    """One implementation of one case."""

    shape: str
    batch: int
    dtype: str
    activation: str
    implementation: str
    threads: int
    seconds: float
    quartiles: tuple[float, float]
    ratio_to_floor: float
    memory_bytes: int | None = None
    shares: dict[str, float] = {}
    section: str = "training step"
    form: str = ""  # of our formulas: stable or textbook


class BenchResult(msgspec.Struct, frozen=True):
    """What came of a plan."""

    rows: list[Timing]
    kernels: list[str]
    skipped: dict[str, str]


def environment(threads: int | None) -> dict[str, str]:
    """Return the variables under which a plan's process runs."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNSET}
    return {**kept, **(_ONE_THREAD if threads == 1 else {}), "JAX_ENABLE_X64": "1"}


def interleave(
    calls: Mapping[str, Callable[[], object]], seconds: float, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return samples of seconds a call: one of each in every round, until the time is up.

    `clock` times the calls; there is one called "floor" among them. A round has an order of its
    own, so that nobody always follows the same one. What is timed is a loop that is under way: a
    short call is made once before, untimed, and meets what the others have left in the caches.
    """
    order = random.Random(0)
    names, short = list(calls), set[str]()
    turns: dict[str, int] = {}
    for name, call in calls.items():
        call()
        once = max(1e-9, min(seconds_of(call, clock) for _ in range(3)))
        turns[name] = max(1, round(SAMPLE / once))
        if once < SHORT:
            short.add(name)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples["floor"]) < 3:
        order.shuffle(names)
        for name in names:
            call, repeat = calls[name], range(turns[name])
            if name in short:
                call()
            start = clock()
            for _ in repeat:
                call()
            samples[name].append((clock() - start) / len(repeat))
    return samples


def seconds_of(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long a call takes."""
    start = clock()
    call()
    return clock() - start


def quartiles(samples: list[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return ordered[last // 4], ordered[last // 2], ordered[last - last // 4]


def shares_of(step: CompiledStep, least: CompiledStep, seconds: float) -> dict[str, float]:
    """Return where a fast step's time goes: products, element-wise work, calls.

    The products are replayed alone. What calls cost is what they cost in `least`, the step of a
    network as deep whose layers have one unit; the rest is element-wise work and memory.
    """

    def again(of: CompiledStep, products: bool) -> Callable[[], None]:
        calls = [c for c in of._calls if not products or getattr(c[0], "__name__", "") == "dot"]
        return lambda: replay(calls)

    replays = {
        "floor": again(step, True),
        "all": again(step, False),
        "least products": again(least, True),
        "least": again(least, False),
    }
    samples = interleave(replays, seconds, time.process_time)
    median = {name: quartiles(values)[1] for name, values in samples.items()}
    calls = max(0.0, median["least"] - median["least products"])
    rest = max(0.0, median["all"] - median["floor"] - calls)
    total = median["floor"] + calls + rest
    return {
        "products": median["floor"] / total,
        "element-wise": rest / total,
        "calls": calls / total,
    }


def run(plan: BenchPlan) -> BenchResult:
    """Time every case of a plan."""
    reasons = {name: unavailable(name) for name in plan.implementations}
    names = [name for name, reason in reasons.items() if reason is None]
    if plan.threads == 1 and any(name.startswith("torch") for name in names):
        import torch

        torch.set_num_threads(1)
    rows: list[Timing] = []
    skipped = {name: reason for name, reason in reasons.items() if reason}
    for case in plan.cases:
        problem = problem_of(case)
        calls: dict[str, Callable[[], object]] = {"floor": floor_of(case)}
        memory: dict[str, int] = {}
        for name in names:
            if not takes(name, case):
                continue
            resident = _peak()
            try:
                calls[name], _ = CONTESTANTS[name](problem)
                calls[name]()
            except Exception as error:  # an optional compiler may fail in ways of its own
                calls.pop(name, None)
                skipped[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
                continue
            if plan.memory:
                calls[name]()
                memory[name] = _traced(calls[name]) if "numpy" in name else _peak() - resident
        with limited(plan.threads):
            clock = time.perf_counter if plan.clock == "wall" else time.process_time
            samples = interleave(calls, plan.seconds, clock)
            shares = {}
            if plan.shares and "numpy_fast" in calls:
                least = msgspec.structs.replace(case, widths=(1,) * len(case.widths), batch=1)
                step = compile_step(problem, form="textbook")
                alone = compile_step(problem_of(least), form="textbook")
                # Products replayed without what lies between them compute nonsense.
                with np.errstate(all="ignore"):
                    shares = shares_of(step, alone, plan.seconds / 4)
        floor = quartiles(samples["floor"])[1]
        for name, values in samples.items():
            low, median, high = quartiles(values)
            rows.append(
                Timing(
                    shape=case.shape,
                    batch=case.batch,
                    dtype=case.dtype,
                    activation=case.activation,
                    implementation=name,
                    threads=plan.threads or os.cpu_count() or 1,
                    seconds=median,
                    quartiles=(low, high),
                    ratio_to_floor=median / floor,
                    memory_bytes=memory.get(name),
                    shares=shares if name == "numpy_fast" else {},
                    section=plan.section,
                    form=form_of(name),
                )
            )
    return BenchResult(rows, kernels(), skipped)


def limited(threads: int | None) -> AbstractContextManager[object]:
    """Hold the BLAS pools to a number of threads; the environment has done so for one."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    found: AbstractContextManager[object] = threadpool_limits(threads)
    return found


def kernels() -> list[str]:
    """Return which kernels the BLAS pools of this process run."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return ["unknown: threadpoolctl is not installed"]
    pools = threadpool_info()
    return sorted(
        {f"{p['internal_api']} {p['version']} {p.get('architecture', '')}".strip() for p in pools}
    )


def _peak() -> int:
    """Return the most memory this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _traced(call: Callable[[], object]) -> int:
    """Return the bytes that a call allocates at most at once."""
    tracemalloc.start()
    try:
        call()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def on_one_core() -> None:
    """Stay on one core: XLA has threads that neither of its flags holds back."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


# -- plans -----------------------------------------------------------------------------------------

Progress = Callable[[str], None]
SWEPT = ("numpy_fast", "torch_eager", "jax_jit")
WIDTHS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
BATCHES = (1, 4, 16, 64, 256, 1024)
MEMORY = ("numpy_plain", "numpy_fast", "torch_eager", "jax_jit", "hips_autograd")


def measure(plan: BenchPlan) -> BenchResult:
    """Run a plan in a separate process."""
    done = subprocess.run(
        [sys.executable, "-m", "reference.bench.measure"],
        input=msgspec.json.encode(plan),
        capture_output=True,
        check=False,
        env=environment(plan.threads),
    )
    if done.returncode:
        raise RuntimeError(f"the bench's process failed:\n{done.stderr.decode()[-2000:]}")
    return msgspec.json.decode(done.stdout, type=BenchResult)


def steps(clock: Literal["wall", "cpu"] = "wall", progress: Progress = print) -> BenchResult:
    """Time the four shapes: both dtypes, both activations, one thread; then all threads; memory."""
    plans = []
    for widths, batch in SHAPES:
        cases = cases_of(widths, batch)
        size = batch * max(widths)
        seconds = 4.0 if size > 2**15 else 1.5
        one = BenchPlan(cases, list(CONTESTANTS), 1, seconds, shares=True, clock=clock)
        plans.append(one)
        tanh = [case for case in cases if case.activation == "tanh"]
        every = [name for name in CONTESTANTS if name != "torch_compile"]
        plans.append(
            BenchPlan(tanh, every, None, 2.0 if size > 2**17 else 0.7, section="all threads")
        )
    for name in MEMORY:
        widths, batch = SHAPES[-1]
        case = BenchCase(widths, batch, "float32", "tanh")
        plans.append(BenchPlan([case], [name], 1, 0.1, memory=True, section="memory"))
    return merged(run_all(plans, progress))


def cases_of(widths: tuple[int, ...], batch: int) -> list[BenchCase]:
    """Return a shape's cases: both dtypes, both activations."""
    return [
        BenchCase(widths, batch, dtype, activation)
        for dtype in ("float64", "float32")
        for activation in ("tanh", "relu")
    ]


def sweep(clock: Literal["wall", "cpu"] = "wall", progress: Progress = print) -> BenchResult:
    """Time w-w-w-10 networks in float32 for every width and batch."""
    plans = [
        BenchPlan(
            [BenchCase((width,) * 3 + (10,), batch, "float32") for batch in BATCHES],
            list(SWEPT),
            1,
            0.25,
            clock=clock,
            section="sweep",
        )
        for width in WIDTHS
    ]
    return merged(run_all(plans, progress))


def run_all(plans: list[BenchPlan], progress: Progress) -> Iterator[BenchResult]:
    """Run plans one after another, saying where it stands."""
    for number, plan in enumerate(plans, 1):
        progress(f"[{number}/{len(plans)}] {plan.section}: {plan.cases[0].shape}")
        yield measure(plan)


def merged(results: Iterable[BenchResult]) -> BenchResult:
    """Return several results as one."""
    rows: list[Timing] = []
    kernels: set[str] = set()
    skipped: dict[str, str] = {}
    for result in results:
        rows += result.rows
        kernels |= set(result.kernels)
        skipped |= result.skipped
    return BenchResult(rows, sorted(kernels), skipped)


if __name__ == "__main__":
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=BenchPlan)
    if plan.threads == 1:
        on_one_core()
    found = run(plan)
    sys.stdout.buffer.write(msgspec.json.encode(found))
