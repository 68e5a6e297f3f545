"""Which disputes are proven: the first of each kind, a share of the rest, whoever does the work."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

import msgspec
import pytest

from manual_backprop.network import Problem
from manual_backprop.spec import InvalidInput
from reference.campaign import (
    BlockResult,
    CellCounter,
    KindCounter,
    Outcome,
    Plan,
    Tally,
    Work,
    run,
    run_block,
    with_proofs,
)
from reference.docket import (
    HELD,
    SHARE,
    SHARE_ALONE,
    Dispute,
    Docket,
    kinds_of,
    sampled,
)
from reference.oracles import Answer, Oracle, load
from reference.problems import number_of_cells
from reference.running.workers import LOST_AT_MOST, Submit, finish
from reports.records import Case, Finding, NetworkShape

PLAN = Plan(problems=96, oracles=("manual", "torch"), per_kind=1, arbiter_share=0.1)
BLOCKS = [(start, start + 24) for start in range(0, 96, 24)]


def disputes(kind: str, count: int, *, alone: bool = False, start: int = 0) -> list[Dispute]:
    return [Dispute(start + i, [kind], alone) for i in range(count)]


def in_process(oracles: Mapping[str, Oracle]) -> Submit:
    """Return an engine that does its work at once."""

    def submit(plan: Plan, work: Work) -> Future[BlockResult]:
        future: Future[BlockResult] = Future()
        future.set_result(run(plan, work, oracles))
        return future

    return submit


def finished(
    oracles: Mapping[str, Oracle], done: Sequence[BlockResult] = (), ahead: int = 3
) -> list[BlockResult]:
    left = [block for block in BLOCKS if block[0] not in {result.start for result in done}]
    found = [*done, *finish(PLAN, left, in_process(oracles), ahead, done)]
    return sorted(found, key=lambda result: result.start)


def test_the_first_of_each_kind_are_chosen() -> None:
    docket = Docket(seed=0, per_kind=3)
    assert docket.choose(disputes("a", 2)) == (0, 1)
    assert docket.choose(disputes("a", 2, start=2) + disputes("b", 1, start=9)) == (2, 9)
    both = Dispute(20, ["a", "new"], False)
    assert docket.choose([both]) == (20,), "one of its kinds is not known"


def test_of_a_known_kind_a_share_is_proven_more_where_ours_stands_alone() -> None:
    docket = Docket(seed=0, per_kind=1)
    for alone, share in ((True, SHARE_ALONE), (False, SHARE)):
        chosen = docket.choose(disputes("a", 20_000, alone=alone))
        assert len(chosen) / 20_000 == pytest.approx(share, rel=0.15)


# A hash that misses two thirds of the cells for ever is seen long before all are met.
ROUNDS = 60


def test_the_share_is_met_in_every_cell() -> None:
    cells = number_of_cells()
    for share in (SHARE_ALONE, 0.02):
        met = {index % cells for index in range(ROUNDS * cells) if sampled(0, index, share)}
        expected = cells * (1 - (1 - share) ** ROUNDS)
        assert len(met) == pytest.approx(expected, rel=0.02)
        for seed in (1, 2**64 - 1):
            again = [index for index in range(10_000) if sampled(seed, index, share)]
            assert len(again) / 10_000 == pytest.approx(share, rel=0.2)
            later = {index - 1 for index in range(1, 10_001) if sampled(0, index, share)}
            assert set(again) != later, "another seed is not a step aside"


def test_a_kind_says_who_where_and_how_far() -> None:
    problem = next(p for p in drawn() if len(p.network.layers) > 1)
    first, last = problem.network.layers[0].activation, problem.network.loss
    inf = float("inf")
    outside = {
        "torch": ("layers.0.z", 3e-8, 2e-8),
        "jax": ("loss", inf, 0.0),
        "c": ("x", 0.5, 0.1),
        "d": ("layers.0.z", 3e-8, 0.5),
        "e": ("layers.0.z", 3e-8, inf),
        "f": ("loss", inf, 3e-8),
    }
    assert kinds_of(problem.network, "float64", outside) == [
        f"torch at {first} (z) by 1e-12 to 1e-6 in float64",
        f"jax at {last} by ∞ in float64",
        "c at dense (x) by 1e-6 to 1 in float64",
        f"d at {first} (z) by 1e-12 to 1e-6, further back by 1e-6 to 1 in float64",
        f"e at {first} (z) by 1e-12 to 1e-6, further back by ∞ in float64",
        f"f at {last} by ∞, further back by 1e-12 to 1e-6 in float64",
    ]


def drawn() -> list[Problem]:
    from reference.problems import draw

    return [draw(0, index).problem for index in range(20)]


def test_neither_the_order_nor_an_interruption_changes_what_is_proven() -> None:
    oracles = load(PLAN.oracles)
    whole = finished(oracles)
    verdicts = Counter(outcome.verdict for block in whole for outcome in block.outcomes)
    assert verdicts[HELD] and len(verdicts) > 2, verdicts
    assert encoded(finished(oracles, ahead=1)) == encoded(whole)
    assert encoded(finished(oracles, done=[whole[0], whole[2]])) == encoded(whole)
    assert encoded(finished(oracles, done=whole[:2])) == encoded(whole)
    assert encoded(finished(oracles, done=whole[1:3])) == encoded(whole)


def encoded(results: list[BlockResult]) -> bytes:
    return msgspec.msgpack.encode(results)  # as the store keeps them; NaN is NaN


def test_every_dispute_is_in_the_records_of_its_kinds() -> None:
    tally = Tally()
    for block in finished(load(PLAN.oracles)):
        # As it comes from a worker: with texts of its own.
        tally.add(msgspec.msgpack.decode(msgspec.msgpack.encode(block), type=BlockResult))
    keys = [key for cell in tally.cells(PLAN.seed) for key in (*cell.verdicts, *cell.histogram)]
    assert len({id(key) for key in keys}) == len(set(keys)), "a text of its own in each counter"
    kinds = list(tally.kinds(PLAN.seed))
    assert sum(kind.verdicts.get(HELD, 0) for kind in kinds) == tally.verdicts[HELD]
    assert all(sum(kind.verdicts.values()) == kind.count for kind in kinds)
    assert all(kind.verdicts.keys() != {HELD} for kind in kinds), "each kind was proven once"


class Wrong:
    """Ours with a gradient that is off in one tensor by a part in a million."""

    name = "manual"

    def __init__(self) -> None:
        (self._right,) = load(("manual",)).values()

    def unavailable(self) -> None:
        return None

    def answer(self, problem: Problem) -> Answer:
        right = self._right.answer(problem)
        return replace(right, gradients={**right.gradients, "x": right.gradients["x"] * (1 + 1e-6)})

    def answers(self, problems: Sequence[Problem]) -> list[Answer]:
        return [self.answer(problem) for problem in problems]


def test_a_wrong_gradient_of_ours_is_proven_though_most_of_its_disputes_are_held() -> None:
    plan = msgspec.structs.replace(PLAN, arbiter_share=0.0, dtypes=("float64",))
    oracles = {**load(("torch",)), "manual": Wrong()}
    oracles = {"manual": oracles["manual"], "torch": oracles["torch"]}
    found = list(finish(plan, BLOCKS, in_process(oracles)))
    verdicts = Counter(outcome.verdict for block in found for outcome in block.outcomes)
    assert sum(n for v, n in verdicts.items() if v.startswith("DEVIATES(manual")) >= 3
    assert verdicts[HELD] > 10


def test_a_block_holds_its_disputes_for_the_docket() -> None:
    block = run_block(PLAN, 0, 24, load(PLAN.oracles))
    held = {outcome.index for outcome in block.outcomes if outcome.verdict == HELD}
    assert held == {dispute.index for dispute in block.disputes}


def test_less_than_one_proof_of_a_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="per_kind=0"):
        Plan(per_kind=0)


def test_few_blocks_are_in_flight_whatever_the_order_they_end_in() -> None:
    """The first block is the last to end: those behind it must not pile up without bound."""
    oracles, ahead = load(PLAN.oracles), 2
    plan = msgspec.structs.replace(PLAN, problems=96)
    blocks = [(start, start + 4) for start in range(0, 96, 4)]
    begun: list[Work] = []
    held: list[Work] = []
    submit = in_process(oracles)
    warm = run(plan, Work(0, 4), oracles)

    def slow_first(plan: Plan, work: Work) -> Future[BlockResult]:
        begun.append(work)
        if work.start or held:
            return submit(plan, work)
        future: Future[BlockResult] = Future()
        held.append(work)
        threading.Timer(1.0, lambda: future.set_result(warm)).start()
        return future

    found = finish(plan, blocks, slow_first, ahead)
    next(found)
    assert len([work for work in begun if not work.proofs]) <= ahead + 2, begun
    assert len(list(found)) == len(blocks) - 1


class KilledWorker(Exception):
    """What Dask says when the workers that had a task were lost; it is known by its name."""


def losing(times: int, oracles: Mapping[str, Oracle]) -> Submit:
    """Return an engine that loses its workers so many times at the first block."""
    submit, lost = in_process(oracles), []

    def lossy(plan: Plan, work: Work) -> Future[BlockResult]:
        if work.start or len(lost) == times:
            return submit(plan, work)
        lost.append(work)
        future: Future[BlockResult] = Future()
        future.set_exception(KilledWorker())
        return future

    return lossy


def test_a_block_whose_workers_are_lost_is_done_again_and_not_for_ever() -> None:
    oracles = load(PLAN.oracles)
    again = sorted(finish(PLAN, BLOCKS, losing(LOST_AT_MOST, oracles)), key=lambda r: r.start)
    assert encoded(again) == encoded(finished(oracles))
    with pytest.raises(InvalidInput, match="lost its workers again and again at the block 0 to 24"):
        list(finish(PLAN, BLOCKS, losing(LOST_AT_MOST + 1, oracles)))


def test_a_scheduler_that_is_gone_is_one_clear_line() -> None:
    def gone(plan: Plan, work: Work) -> Future[BlockResult]:
        future: Future[BlockResult] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future

    with pytest.raises(InvalidInput, match="scheduler was lost; the finished blocks are kept"):
        list(finish(PLAN, BLOCKS, gone))


def test_proofs_are_added_to_what_the_block_had_heard_already() -> None:
    block = run_block(
        Plan(problems=24, oracles=PLAN.oracles, activations=("hard_sigmoid",), arbiter_share=1.0),
        0, 24, load(PLAN.oracles),
    )  # fmt: skip
    whole = msgspec.structs.replace(block, findings=BLOCK_OF_FINDINGS[0], arbitrated=5)
    proofs = msgspec.structs.replace(block, findings=BLOCK_OF_FINDINGS[1], arbitrated=2)
    merged = with_proofs(whole, proofs)
    assert merged.arbitrated == 7
    assert {finding.step for finding in merged.findings} == {"x", "loss"}


def finding(step: str) -> Finding:
    network = NetworkShape(input_width=1, layers=(), loss="mse")
    case = Case(at="0:0", network=network, batch=2, dtype="float64")
    return Finding(
        verdict="DEVIATES(torch)",
        operation="mse",
        step=step,
        dtype="float64",
        count=1,
        example=case,
    )


BLOCK_OF_FINDINGS = ([finding("x")], [finding("loss")])


def test_counters_keep_the_first_problem_and_the_worst_whatever_the_order() -> None:
    outcomes = [Outcome(index, "AGREE", 1e-9, "x", "a, b") for index in (7, 3, 5)]
    for order in (outcomes, outcomes[::-1]):
        cell, kind = CellCounter(), KindCounter()
        for outcome in order:
            cell.add(outcome)
            kind.add(outcome.index, outcome.verdict)
        assert cell.worst.index == 3, "of equal errors the smaller index"
        assert kind.first == 3
