"""The throughput bench: its keys, its shares, and the network that is checked alone."""

import pytest

from manual_backprop.operation import InvalidInput
from reference.bench import throughput as bench
from reference.campaign import Plan
from reference.judge import judge
from reference.oracles import load


def test_the_parts_of_a_network_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BLOCK", 16)
    plan = Plan(problems=16, architectures=("dense",), oracles=("manual", "torch"))
    parts = bench._parts(plan, load(plan.oracles))
    assert set(parts) == {"draw", "manual", "torch", "judge", "audit, records"}
    assert all(seconds >= 0 for seconds in parts.values())


def test_the_network_checked_alone_is_the_one_that_is_named() -> None:
    problem = bench._checked()
    assert problem.network.widths == bench.CHECKED
    assert problem.batch == bench.BATCH
    oracles = load(("manual", "torch"))
    answers = {name: oracle.answer(problem) for name, oracle in oracles.items()}
    found = judge(problem, answers)  # torch takes the slope of tanh from its rounded output
    assert found.kind in ("AGREE", "PRECISION") and "manual" not in found.who


def test_both_networks_are_judged_in_processor_time() -> None:
    for widths in (bench.CHECKED, bench.DEEP[:4]):
        found = bench.judging(load(("manual", "torch")), widths)
        assert 0 < found["the hand-written one"] < found["every answer"]


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
