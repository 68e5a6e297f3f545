"""The throughput bench: its keys, its shares, and the network that is checked alone."""

import itertools
from collections.abc import Callable

import pytest

from manual_backprop.network import Problem
from manual_backprop.operation import InvalidInput
from reference.bench import throughput as bench
from reference.campaign import BLOCK, LONG_RUN, Plan
from reference.judge import Judgement, judge
from reference.oracles import Answer, load


def test_the_parts_of_a_network_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an invented clock: of a whole block's 20 s, 9 are neither drawing nor judging."""
    monkeypatch.setattr("reference.campaign.BLOCK", 16)
    taken = itertools.cycle([3.0, 1.0, 2.0, 8.0, 20.0])

    def seconds(call: Callable[[], object]) -> float:
        call()
        return next(taken)

    monkeypatch.setattr(bench, "seconds_of", seconds)
    plan = Plan(problems=16, architectures=("dense",), oracles=("manual", "torch"))
    parts = bench._parts(plan, load(plan.oracles))
    expected = {"draw": 3.0, "manual": 1.0, "torch": 2.0, "judge": 8.0, "audit, records": 9.0}
    assert {name: part * 16 for name, part in parts.items()} == expected


def test_the_network_checked_alone_is_the_one_that_is_named() -> None:
    problem = bench._checked()
    assert problem.network.widths == bench.CHECKED
    assert problem.batch == bench.BATCH
    oracles = load(("manual", "torch"))
    answers = {name: oracle.answer(problem) for name, oracle in oracles.items()}
    found = judge(problem, answers)  # torch takes the slope of tanh from its rounded output
    assert found.kind in ("AGREE", "PRECISION") and "manual" not in found.who


def test_both_networks_are_judged_in_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an invented clock: a second for each answer that is judged."""
    now = 0.0

    def judged(problem: Problem, answers: dict[str, Answer]) -> Judgement:
        nonlocal now
        now += len(answers)
        return judge(problem, answers)

    monkeypatch.setattr(bench, "judge", judged)
    monkeypatch.setattr(bench.time, "process_time", lambda: now)
    for widths in (bench.CHECKED, bench.DEEP[:4]):
        found = bench.judging(load(("manual", "torch")), widths)
        assert found == {"every answer": 2000.0, "the hand-written one": 1000.0}


def test_the_text_tells_the_figures() -> None:
    found = bench.Throughput(
        networks_per_second=1000.0,
        ratio_to_naive=400.0,
        naive_per_second=2.5,
        whole_run_per_second=900.0,
        workers=2,
        networks=6144,
        shares={"judge": 0.5, "torch": 0.5},
        milliseconds={"judge": 1.0, "torch": 1.0},
        one_network={"torch gradcheck": 12000.0},
        judging={"64 wide, 32 deep, every answer": 60.0},
        environment={},
    )
    text = bench.render(found)
    for sentence in (
        "1,000 networks a second",
        "400 times",
        "12000.00 ms",
        "60.00 ms  64 wide, 32 deep",
        "50.0%  torch",
    ):
        assert sentence in text


def test_too_few_networks_for_the_parts_of_a_run_are_refused() -> None:
    with pytest.raises(InvalidInput, match=f"expected at least {bench.WINDOWS * bench.BLOCK}"):
        bench.throughput(networks=(bench.WINDOWS - 1) * bench.BLOCK)


def test_a_long_run_has_larger_blocks() -> None:
    for problems, size in ((LONG_RUN * BLOCK, BLOCK), (LONG_RUN * BLOCK + 1, 2 * BLOCK)):
        blocks = Plan(problems=problems).blocks()
        assert {stop - start for start, stop in blocks[:-1]} == {size}
        assert [0, *(stop for _, stop in blocks)] == [*(start for start, _ in blocks), problems]
