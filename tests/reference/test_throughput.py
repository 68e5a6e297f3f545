"""The throughput bench: its keys, its shares, and the network that is checked alone."""

import pytest

from manual_backprop.spec import InvalidInput
from reference.bench import throughput as bench
from reference.campaign import Plan, Work, run, run_block, with_proofs
from reference.docket import Docket
from reference.judge import screen
from reference.oracles import load


def test_the_parts_of_a_network_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "BLOCK", 16)
    plan = Plan(problems=16, oracles=("manual", "torch"))
    parts = bench._parts(plan, load(plan.oracles))
    assert set(parts) == {"draw", "manual", "torch", "screen", "records"}
    assert all(seconds >= 0 for seconds in parts.values())


def test_who_was_heard_is_what_was_audited_and_proven() -> None:
    plan = Plan(problems=40, oracles=("manual", "torch"), arbiter_share=0.1)
    oracles = load(plan.oracles)
    block = run_block(plan, 0, 40, oracles)
    before = bench._heard(plan, [block])
    assert len(before) == block.arbitrated and block.disputes
    chosen = Docket(0, 1).choose(block.disputes)
    proven = with_proofs(block, run(plan, Work(0, 40, chosen), oracles))
    assert set(bench._heard(plan, [proven])) == {*before, *chosen}
    assert bench._arbiter(plan, before, oracles) > 0


def test_the_network_checked_alone_is_the_one_that_is_named() -> None:
    problem = bench._checked()
    assert problem.network.widths == bench.CHECKED
    assert problem.batch == bench.BATCH
    oracles = load(("manual", "torch"))
    assert screen(problem, {name: o.answer(problem) for name, o in oracles.items()}).passed


def test_the_text_tells_the_figures() -> None:
    found = bench.Throughput(
        networks_per_second=1000.0,
        ratio_to_naive=400.0,
        naive_per_second=2.5,
        whole_run_per_second=900.0,
        workers=2,
        networks=6144,
        disputed=0.25,
        proven=0.03,
        shares={"arbiter": 0.5, "torch": 0.5},
        milliseconds={"arbiter": 1.0, "torch": 1.0},
        one_network={"torch gradcheck": 12000.0},
        environment={},
    )
    text = bench.render(found)
    for said in (
        "1,000 networks a second",
        "400 times",
        "25.0% leave",
        "3.0% are heard",
        "12000.00 ms",
        "50.0%  torch",
    ):
        assert said in text


def test_too_few_networks_for_the_parts_of_a_run_are_refused() -> None:
    with pytest.raises(InvalidInput, match=f"expected at least {bench.WINDOWS * bench.BLOCK}"):
        bench.throughput(networks=(bench.WINDOWS - 1) * bench.BLOCK)
