"""The bench: contestants do the same work, a slow step is caught, rows are as promised."""

import json
import platform
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import guard
import msgspec
import numpy as np
import pytest

from manual_backprop.fast import compile_step
from manual_backprop.network import backward, forward
from manual_backprop.operation import InvalidInput
from reference.bench import command, measure, second_order
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
from reference.bench.measure import (
    BenchPlan,
    BenchResult,
    Timing,
    environment,
    interleave,
    kernels,
    limited,
    quartiles,
    run,
    shares_of,
)
from reference.bench.text import picture, render, summary
from reference.compare import distance

SMALL = BenchCase((4, 8, 3), 4)
# Half a minute of compiling; the bench itself compares its numbers with the clock only.
SLOW = ("torch_compile",)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [n for n in CONTESTANTS if n not in SLOW])
def test_every_contestant_computes_our_gradients(name: str, dtype: Any, activation: Any) -> None:
    if unavailable(name):
        pytest.skip(unavailable(name) or "")
    problem = problem_of(BenchCase((6, 9, 7, 4), 5, dtype, activation))
    with _float64_in_jax() if name == "jax_jit" else nullcontext():
        call, gradients = CONTESTANTS[name](problem)
        call()
        found = gradients(call())
    expected = backward(problem, forward(problem))
    for parameter in problem.parameters:
        far = distance(parameter, found[parameter], expected[parameter])
        assert far.scaled <= 64 * np.finfo(dtype).eps / 2, far


def _float64_in_jax() -> Any:
    import jax

    return jax.enable_x64(True)


def test_an_unknown_contestant_is_named() -> None:
    with pytest.raises(InvalidInput, match="implementation='numpi': expected one of numpy_plain"):
        unavailable("numpi")


def test_torch_compile_is_asked_where_it_is_worth_it() -> None:
    asked = [
        takes("torch_compile", BenchCase((4, 8, 3), 4, dtype, activation))
        for dtype in ("float64", "float32")
        for activation in ("tanh", "relu")
    ]
    assert asked == [False, False, True, False]


def test_the_floor_makes_the_step_s_products(monkeypatch: pytest.MonkeyPatch) -> None:
    case, sizes = BenchCase((5, 7, 3), 4), []

    def matmul(a: Any, b: Any, out: Any) -> None:
        sizes.append(2 * a.shape[0] * a.shape[1] * b.shape[1])
        assert out.shape == (a @ b).shape

    monkeypatch.setattr(np, "matmul", matmul)
    floor_of(case)()
    assert len(sizes) == 5  # two forward, two for the weights, one for the layer below
    assert sum(sizes) == 2 * 4 * (3 * (5 * 7 + 7 * 3) - 5 * 7)


class InventedClock:
    """Shows the seconds that the calls it made have taken."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float) -> Callable[[], None]:
        """Return a call that takes so long."""

        def call() -> None:
            self.now += seconds

        return call


def test_interleaving_measures_each_by_itself() -> None:
    clock = InventedClock()
    calls = {"floor": clock.taking(0.001), "thrice": clock.taking(0.003)}
    samples = interleave(calls, 0.05, clock)
    medians = {name: quartiles(values)[1] for name, values in samples.items()}
    assert len(samples["floor"]) == len(samples["thrice"])
    assert medians == pytest.approx({"floor": 0.001, "thrice": 0.003})


def test_what_others_left_in_the_caches_is_not_timed() -> None:
    """By an invented clock: a call after another one's costs ten times what it costs by itself."""
    now, made = 0.0, [""]

    def costing(name: str, seconds: float) -> Callable[[], None]:
        def call() -> None:
            nonlocal now
            now += seconds if made[-1] == name else 10 * seconds
            made.append(name)

        return call

    calls = {"floor": costing("floor", 4e-4), "short": costing("short", 9e-4)}
    calls["long"] = costing("long", 0.5)
    samples = interleave(calls, 1e-4, lambda: now)
    medians = {name: quartiles(values)[1] for name, values in samples.items()}
    assert medians == pytest.approx({"floor": 4e-4, "short": 9e-4, "long": 5.0})
    # Four calls of each to begin with; then in every round 1 + 2, 1 + 1 and 1 of the three.
    rounds = [tuple(dict.fromkeys(made[i : i + 6])) for i in range(13, len(made), 6)]
    assert {len(one) for one in rounds} == {3} and len(set(rounds)) > 1


def test_the_shares_are_of_the_whole() -> None:
    step, least = (compile_step(problem_of(BenchCase(w, 4))) for w in ((4, 8, 3), (1, 1, 1)))
    with np.errstate(all="ignore"):
        shares = shares_of(step, least, 0.05)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(0.0 <= share <= 1.0 for share in shares.values())


def test_the_process_runs_without_the_variables_that_slow_openblas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1")
    assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & environment(1).keys()
    assert environment(1)["OMP_NUM_THREADS"] == "1"
    assert environment(None).get("OPENBLAS_NUM_THREADS") != "1"


@pytest.fixture(scope="module")
def result() -> BenchResult:
    """A real measurement, in a process of its own."""
    cases = [SMALL, BenchCase((3, 5, 2), 7, "float32", "relu")]
    return measure.measure(BenchPlan(cases, ["numpy_plain", "numpy_fast"], 1, 0.1, True, True))


def test_without_threadpoolctl_the_kernel_is_said_to_be_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert kernels() == ["unknown: threadpoolctl is not installed"]
    with limited(1):
        pass


def test_rows_say_what_was_timed(result: BenchResult) -> None:
    assert [(row.shape, row.batch, row.dtype, row.implementation) for row in result.rows] == [
        (shape, batch, dtype, name)
        for shape, batch, dtype in (("4-8-3", 4, "float64"), ("3-5-2", 7, "float32"))
        for name in ("floor", "numpy_plain", "numpy_fast")
    ]
    assert any("openblas" in kernel.lower() or "mkl" in kernel.lower() for kernel in result.kernels)
    for row in result.rows:
        assert row.quartiles[0] <= row.seconds <= row.quartiles[1]
        assert (row.ratio_to_floor == 1.0) == (row.implementation == "floor")
    fast = [row for row in result.rows if row.implementation == "numpy_fast"]
    plain = [row for row in result.rows if row.implementation == "numpy_plain"]
    for quick, slow in zip(fast, plain, strict=True):
        assert (quick.memory_bytes or 0) < (slow.memory_bytes or 0)


def test_the_text_has_every_ratio(result: BenchResult) -> None:
    text = render(result)
    for row in result.rows:
        assert row.shape in text
        if row.implementation != "floor":
            assert f" {row.ratio_to_floor:.2f} |" in text
    assert "Where the fast step's time goes" in text


def test_the_summary_has_every_goal_beside_both_forms() -> None:
    rows = [
        msgspec.structs.replace(
            timing(ratio, name), shape="-".join(map(str, widths)), batch=batch, dtype=dtype
        )
        for widths, batch in SHAPES
        for dtype in ("float64", "float32")
        for name, ratio in (("numpy_fast", 1.03), ("numpy_fast_stable", 1.31), ("jax_jit", 7.0))
    ]
    lines = summary(BenchResult(rows, [], {})).splitlines()
    assert lines[0].startswith("| network | dtype | goal | NumPy fast | fast, stable | torch eager")
    assert lines[2] == "| 4-8-3, batch 4 | float64 | 3.20 | 1.03 | 1.31 |  | 7.00 |"
    assert len(lines) == 2 + 2 * len(SHAPES)
    assert lines[-1].startswith("| 1024-1024-1024-1024-10, batch 256 | float32 | 1.05 |")


def test_rows_say_which_form(result: BenchResult) -> None:
    assert {(row.implementation, row.form) for row in result.rows} == {
        ("floor", ""),
        ("numpy_plain", "textbook"),
        ("numpy_fast", "textbook"),
    }
    assert form_of("numpy_fast_stable") == "stable" and form_of("torch_eager") == ""


def test_a_contestant_that_fails_is_skipped_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(problem: Any) -> Any:
        raise RuntimeError("no compiler\nand a long story")

    monkeypatch.setitem(CONTESTANTS, "numpy_plain", broken)
    plan = BenchPlan([SMALL], ["numpy_plain", "numpy_fast"], 1, 0.01)
    found = run(plan)
    assert found.skipped == {"numpy_plain": "RuntimeError: no compiler"}
    assert [row.implementation for row in found.rows] == ["floor", "numpy_fast"]


def timing(ratio: float, name: str = "numpy_fast", low: float | None = None) -> Timing:
    return Timing(
        *("4-8-3", 4, "float64", "tanh", name, 1),
        seconds=ratio,
        quartiles=(low or ratio, ratio),
        ratio_to_floor=ratio,
    )


@pytest.mark.parametrize(
    ("ratio", "low", "alarm"),
    [(3.0, 3.0, False), (3.7, 3.7, False), (3.9, 3.9, True), (9.0, 3.0, False), (1.0, 1.0, False)],
)
def test_the_guard_knows_noise_from_a_regression(ratio: float, low: float, alarm: bool) -> None:
    history = guard.remember({}, [timing(3.0), timing(1.0, "floor")])
    assert bool(guard.regressions(history, [timing(ratio, low=low)])) == alarm


def test_every_vector_unit_has_a_history_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tanh with AVX-512 is another program: beside the products it costs two thirds."""
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    for found, unit in ((["X86_V3"], "x86_v3"), (["X86_V3", "X86_V4", "AVX512_SPR"], "x86_v4")):
        config = {"SIMD Extensions": {"baseline": ["X86_V2"], "found": found}}
        monkeypatch.setattr(np, "show_config", lambda mode, config=config: config)
        assert guard.vector_unit() == unit
        assert (benchmarks / f"history_{unit}.json").is_file()
    config = {"SIMD Extensions": {"baseline": ["NEON"], "found": ["ASIMDHP"]}}
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    assert guard.vector_unit() == platform.machine().lower()


def test_a_noisy_history_is_given_its_spread() -> None:
    history = {guard.key_of(timing(1.0)): guard.GuardEntry([2.0, 3.0, 4.0])}
    assert guard.regressions(history, [timing(5.9)]) == []
    assert guard.regressions(history, [timing(6.1)]) == [
        "numpy_fast 4-8-3 4 float64 tanh: 6.10 times the floor, usually 3.00, at most 6.00"
    ]


def test_the_guard_catches_a_step_that_allocates_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A injected regression: the fast step computes as the plain one does."""
    plan = BenchPlan([SMALL], ["numpy_fast"], 1, 0.05, clock="cpu")
    history = guard.remember({}, run(plan).rows)
    monkeypatch.setitem(CONTESTANTS, "numpy_fast", CONTESTANTS["numpy_plain"])
    (alarm,) = guard.regressions(history, run(plan).rows)
    assert alarm.startswith("numpy_fast 4-8-3 4 float64 tanh")


def test_the_history_is_kept_short_and_read_back(tmp_path: Path) -> None:
    history: dict[str, guard.GuardEntry] = {}
    for run_ in range(30):
        history = guard.remember(history, [timing(1.0 + run_), timing(1.0, "torch_eager")])
    guard.write(tmp_path / "history.json", history)
    assert guard.read(tmp_path / "history.json") == history
    assert guard.read(tmp_path / "none.json") == {}
    (entry,) = history.values()
    assert entry.ratios == [float(k) for k in range(11, 31)]


def test_every_history_in_the_repository_knows_every_watched_case() -> None:
    histories = sorted((Path(__file__).parents[2] / "benchmarks").glob("history_*.json"))
    assert len(histories) >= 2
    for file in histories:
        history = guard.read(file)
        assert len(history) == len(guard.GUARDED) * 3 * 2 * 2  # shapes, dtypes, activations
        assert all(ratio > 0.5 for entry in history.values() for ratio in entry.ratios)


def test_the_picture_has_a_cell_for_every_pair() -> None:
    rows = [
        msgspec.structs.replace(timing(1.0, name), shape=f"{w}-{w}-{w}-10", batch=b, seconds=s)
        for w in measure.WIDTHS
        for b in measure.BATCHES
        for name, s in (("numpy_fast", 1.0), ("torch_eager", 16.0), ("jax_jit", 0.5))
    ]
    drawn = picture(rows, "a < b")
    assert "manual-backprop" in drawn  # by which the command knows its own file
    root = ElementTree.fromstring(drawn)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    cells = len(measure.WIDTHS) * len(measure.BATCHES)
    assert texts.count("16") == cells + 2 + 2  # beside the width and the batch 16 of both panels
    assert texts.count("0.5") == cells


def test_json_has_the_promised_fields(
    result: BenchResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "steps", lambda *_: result)
    monkeypatch.setattr(measure, "sweep", lambda *_: result)
    printed = command.bench("steps", True, tmp_path / "sweep.svg", "wall", print)
    found = json.loads(printed)
    promised = {"shape", "batch", "dtype", "implementation", "seconds", "ratio_to_floor"}
    assert all(promised <= row.keys() for row in found["rows"])
    assert "numpy" in found["environment"]
    assert (tmp_path / "sweep.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("stpes", False, None, "wall"), "bench 'stpes': expected one of steps, throughput"),
        (("steps", False, None, "sun"), "clock='sun': expected one of wall, cpu"),
        (("check", False, Path("x.svg"), "wall"), "picture: expected it with steps alone"),
    ],
)
def test_bad_input_is_named(arguments: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        command.bench(*arguments, print)


def test_a_second_derivative_is_timed_beside_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("on_one_core", "_torch_side", "_jax_side"):
        monkeypatch.setattr(second_order, name, lambda *_: {})
    rows = second_order.second_order(lambda _: None, seconds=0.02, rounds=2)
    assert [row.shape for row in rows[::2]] == ["4-8-3", "64-64-64-10", "784-256-128-10"]
    assert {row.side for row in rows} == {"by hand, fast", "by hand, plain"}


def test_a_row_says_how_many_gradients_a_product_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an invented clock: a gradient takes 2 us, a product 5."""
    clock = InventedClock()
    pair = clock.taking(2e-6), clock.taking(5e-6)
    for name in ("on_one_core", "_plain", "_torch_side", "_jax_side"):
        monkeypatch.setattr(second_order, name, lambda *_: {})
    monkeypatch.setattr(second_order, "_by_hand", lambda *_: {"by hand, fast": pair})
    rows = second_order.second_order(lambda _: None, 1e-4, 2, clock)
    assert [row.gradients for row in rows] == pytest.approx([2.5] * 3)
    table = second_order.render(rows)
    assert "2.0 us" in table and "5.0 us" in table and table.endswith("2.50")
