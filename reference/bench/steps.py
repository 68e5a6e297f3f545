"""The bench of training steps: four shapes, every contestant; a sweep of widths and batches."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from reference.bench.cases import SHAPES, BenchCase
from reference.bench.measure import BenchPlan, BenchResult, Timing, environment

Progress = Callable[[str], None]
ALL = (
    "numpy_plain",
    "numpy_fast",
    "numpy_plain_stable",
    "numpy_fast_stable",
    "torch_eager",
    "torch_compile",
    "jax_jit",
    "sklearn_backprop",
    "hips_autograd",
)
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
        one = BenchPlan(cases, list(ALL), 1, seconds, shares=True, clock=clock)
        plans.append(one)
        tanh = [case for case in cases if case["activation"] == "tanh"]
        every = [name for name in ALL if name != "torch_compile"]
        plans.append(
            BenchPlan(tanh, every, None, 2.0 if size > 2**17 else 0.7, section="all threads")
        )
    for name in MEMORY:
        widths, batch = SHAPES[-1]
        case = fields(BenchCase(widths, batch, "float32", "tanh"))
        plans.append(BenchPlan([case], [name], 1, 0.1, memory=True, section="memory"))
    return merged(run_all(plans, progress))


def cases_of(widths: tuple[int, ...], batch: int) -> list[dict[str, object]]:
    """Return a shape's cases: both dtypes, both activations."""
    return [
        fields(BenchCase(widths, batch, dtype, activation))
        for dtype in ("float64", "float32")
        for activation in ("tanh", "relu")
    ]


def sweep(clock: Literal["wall", "cpu"] = "wall", progress: Progress = print) -> BenchResult:
    """Time w-w-w-10 networks in float32 for every width and batch."""
    plans = [
        BenchPlan(
            [fields(BenchCase((width,) * 3 + (10,), batch, "float32")) for batch in BATCHES],
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
        case = plan.cases[0]
        shape = "-".join(map(str, case["widths"]))
        progress(f"[{number}/{len(plans)}] {plan.section}: {shape}")
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


def fields(case: BenchCase) -> dict[str, object]:
    """Return a case as a plan carries it."""
    found: dict[str, object] = msgspec.to_builtins(case)
    return found
