"""The main job end to end: same bytes twice, whatever the workers, the interruptions, the order."""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from manual_backprop.operation import InvalidInput
from reference.campaign import (
    AUDIT,
    BlockResult,
    Outcome,
    Plan,
    RunStatistics,
    audited,
    merge_results,
    run_block,
)
from reference.oracles import load
from reference.problems import Selection
from reference.running.report import Interrupted, _begin, command_of, records_of, report
from reference.running.store import NAME, Store
from reference.running.tasks import EnvironmentReport
from reference.running.workers import LocalPool
from reports.folder import TIMING, WRITING
from reports.html import render_html
from reports.records import ReportError, Run, of_type
from reports.summary import Summary
from reports.text import render_markdown, render_text

LIGHT = Plan(
    problems=24,
    losses=("mse", "cross_entropy"),
    regimes=("ordinary", "lattice"),
    oracles=("manual", "complex_step"),
)
# Of one dtype: each worker of a run traces JAX's program of each dtype anew.
SMALL = msgspec.structs.replace(LIGHT, oracles=Plan().oracles, dtypes=("float64",))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small plan, made by one worker in one go."""
    out = tmp_path_factory.mktemp("report") / "undisturbed"
    report(SMALL, out, workers=1)
    return out


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without torch and JAX, which every run has to load again."""
    out = tmp_path_factory.mktemp("report") / "light"
    report(LIGHT, out, workers=1)
    return out


@pytest.fixture(scope="module")
def environments() -> dict[tuple[str, ...], EnvironmentReport]:
    """What workers said of their environment, by the oracles asked about."""
    return {}


@pytest.fixture
def one_environment(
    environments: dict[tuple[str, ...], EnvironmentReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ask one worker about the environment, not one in each run: it loads torch and JAX."""
    ask = LocalPool.environment

    def environment(pool: LocalPool, oracles: tuple[str, ...]) -> EnvironmentReport:
        if oracles not in environments:
            environments[oracles] = ask(pool, oracles)
        return environments[oracles]

    monkeypatch.setattr(LocalPool, "environment", environment)


def pages(folder: Path) -> dict[str, bytes]:
    """Everything but the times."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != TIMING}


def test_the_same_seed_gives_the_same_bytes(light: Path, tmp_path: Path) -> None:
    report(LIGHT, tmp_path / "again", workers=2)
    assert pages(tmp_path / "again") == pages(light)


def test_nothing_of_the_run_is_left_to_resume(undisturbed: Path) -> None:
    assert not (undisturbed / NAME).exists()


def test_the_summary_counts_every_problem(undisturbed: Path) -> None:
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert sum(summary["verdicts"].values()) == SMALL.problems
    assert not any(v.startswith("DEVIATES(manual") for v in summary["verdicts"])


def test_a_run_resumed_after_an_interruption_gives_the_same_bytes(
    light: Path, one_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference.campaign.BLOCK", 6)
    out = tmp_path / "interrupted"

    def stop_after_two(done: int, total: int) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="--resume") as caught:
        report(LIGHT, out, workers=1, progress=stop_after_two)
    assert caught.value.summary is not None
    assert caught.value.summary.run.unfinished == LIGHT.problems - 12
    with pytest.raises(InvalidInput, match="--resume continues"):
        report(LIGHT, out, workers=1)
    with pytest.raises(InvalidInput, match=r"another plan .*--resume takes no other options"):
        report(Plan(problems=25), out, workers=1, resume=True)
    with pytest.raises(InvalidInput, match="another plan"):
        report(Plan(), out, workers=1, resume=True)
    report(None, out, workers=1, resume=True)  # the stored plan continues
    assert pages(out) == pages(light)


def test_blocks_merge_in_any_order() -> None:
    oracles = load(("manual", "torch"))
    plan = Plan(problems=30, oracles=("manual", "torch"))
    parts = [run_block(plan, a, a + 10, oracles) for a in (0, 10, 20)]
    wrong = Plan(problems=60, oracles=plan.oracles, activations=("hard_sigmoid",))

    blocks = [run_block(wrong, start, start + 20, oracles) for start in (0, 20, 40)]

    def folded(results: list[BlockResult]) -> list[object]:
        statistics = RunStatistics()
        for result in results:
            statistics.add(result)
        records = [*statistics.cells(0), *statistics.findings(), *statistics.coverage()]
        return [records, statistics.verdicts, statistics.audited, statistics.entries]

    whole = run_block(plan, 0, 30, oracles)
    assert folded(parts) == folded(parts[::-1]) == folded([whole])
    assert merge_results(parts) == whole
    statistics = RunStatistics()
    for result in blocks:
        statistics.add(result)
    assert folded(blocks) == folded(blocks[::-1]) == folded([merge_results(blocks)])
    met = sum(finding.count for block in blocks for finding in block.findings)
    assert sum(finding.count for finding in statistics.findings()) == met
    assert len(list(statistics.findings())) < sum(len(block.findings) for block in blocks)


def test_where_all_agree_the_largest_finite_difference_is_kept() -> None:
    """An infinity that all may have is counted apart; of a side that deviates it is the worst."""
    far = [1e-16, math.inf, 3e-16, math.nan]
    agreed = [Outcome(0, "AGREE", scaled, "x", "manual, torch") for scaled in far]
    for outcomes, worst in (
        (agreed, 3e-16),
        (agreed[1:2], 0.0),
        ([*agreed, Outcome(0, "DEVIATES(torch)", math.inf, "x", "manual, torch")], math.inf),
    ):
        statistics = RunStatistics()
        statistics.add(BlockResult(0, len(outcomes), outcomes, [], 0, 0, {}))
        (found,) = statistics.cells(0)
        assert found.worst_scaled == worst and bool(found.worst_at) == (worst > 0)
        if worst < math.inf:
            not_finite = sum(not math.isfinite(o.scaled) for o in outcomes)
            for render in (render_text, render_markdown, render_html):
                text = render(Summary([Run(command="report", problems=4, seed=0), found]))
                assert f"in {not_finite} a number of one answer is not finite" in text


def test_all_problems_are_counted_that_the_judge_gets_wrong() -> None:
    plan, statistics = Plan(problems=60), RunStatistics()
    wrong = [f"0:{k} {side} x" for k in range(30) for side in ("torch", "jax")]
    for part in (wrong[:20], wrong[20:]):
        statistics.add(BlockResult(0, 30, [], [], 30, 0, {}, part))
    (record,) = of_type(records_of(plan, statistics, ({}, [])), Run)
    assert len(record.unsound) < record.unsound_problems == 30


def test_the_audited_share_is_what_was_asked() -> None:
    share = sum(audited(Plan(), i) for i in range(50_000)) / 50_000
    assert 0.9 * AUDIT < share < 1.1 * AUDIT


def test_the_command_in_the_record_runs_the_same_plan() -> None:
    plan = Plan(problems=7, seed=3, losses=("mse",), dtypes=("float32",))
    assert command_of(plan) == (
        "manual-backprop report --problems 7 --seed 3 --loss mse --dtype float32 --networks-only"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problems": 0}, "problems=0"),
        ({"problems": 10**10}, "problems=10000000000: expected 1 to 1,000,000,000"),
        ({"seed": -1}, "seed=-1"),
        ({"oracles": ("torch",)}, "oracle='torch': expected manual"),
        ({"activations": ("rleu",)}, "activation='rleu' is unknown"),
        ({"dtypes": ("float8",)}, "dtype='float8' is unknown"),
    ],
)
def test_a_bad_plan_is_a_clear_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Plan(**change)  # type: ignore[arg-type]


def test_a_second_run_on_one_folder_is_refused(tmp_path: Path) -> None:
    held = Store(tmp_path)
    held.begin(SMALL, {})
    with pytest.raises(InvalidInput, match="another run is writing"):
        Store(tmp_path)
    held.close()


def test_a_foreign_folder_is_never_written(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ReportError):
        report(SMALL, tmp_path, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_broken_store_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database" * 100)
    with pytest.raises(InvalidInput, match=NAME):
        Store(tmp_path)


def test_every_oracle_is_asked_or_accounted_for(undisturbed: Path) -> None:
    run = json.loads((undisturbed / "records.jsonl").read_text().splitlines()[0])
    assert {o["name"] for o in run["oracles"]} == {*Plan().oracles, "certified"}
    assert all(o["status"] == "ok" for o in run["oracles"])


@pytest.fixture
def without_frameworks(tmp_path: Path) -> Iterator[str]:
    """A program that runs a command where neither torch nor jax can be imported."""
    yield (
        "import sys, importlib.abc\n"
        "class Refuse(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'jax', 'jaxlib'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )


def test_without_torch_and_jax_everything_is_skipped_with_the_reason(
    without_frameworks: str,
) -> None:
    code = without_frameworks + (
        "from reference.campaign import Plan, run_block, statuses\n"
        "from reference.oracles import load\n"
        "oracles = load()\n"
        "rows = statuses(oracles, {})\n"
        "assert [r.status for r in rows] == ['ok', 'skipped', 'skipped', 'ok'], rows\n"
        "assert all('not installed' in r.reason for r in rows[1:3]), rows\n"
        "result = run_block(Plan(problems=6), 0, 6, oracles)\n"
        "print(sorted({o.verdict for o in result.outcomes}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['AGREE']"


def test_a_selection_is_a_part_of_the_whole_stream() -> None:
    whole = set(Selection().indices(7680 * 2))
    part = Selection(losses=("mse",))
    assert set(part.indices(480)) <= whole


@pytest.mark.parametrize("now", [{"XLA_FLAGS": "-x"}, {"numpy": "2.0"}, {}])
def test_a_run_goes_on_in_its_own_environment_only(now: dict[str, str], tmp_path: Path) -> None:
    """A variable that was set since, one that changed, one that is gone."""
    plan, before = Plan(problems=8), {"numpy": "1.0"}
    store = Store(tmp_path)
    try:
        assert _begin(store, plan, (before, []), (plan, before)) == plan
        environment = {**before, **now} if now else {}
        with pytest.raises(InvalidInput, match="a report needs one environment"):
            _begin(store, plan, (environment, []), (plan, before))
    finally:
        store.close()


def test_many_small_blocks_and_two_workers_give_the_same_bytes(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference.campaign.BLOCK", 6)
    report(SMALL, tmp_path / "blocks", workers=2)
    assert pages(tmp_path / "blocks") == pages(undisturbed)


def test_a_fresh_run_over_an_unfinished_one_has_nothing_of_it(
    light: Path, one_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference.campaign.BLOCK", 6)
    out = tmp_path / "fresh"
    left_over = out / f"{WRITING}abc"

    def stop(done: int, total: int) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        report(msgspec.structs.replace(LIGHT, seed=7), out, workers=1, progress=stop)
    left_over.mkdir()
    report(LIGHT, out, workers=1, fresh=True)
    assert pages(out) == pages(light)
    assert not left_over.exists()


def test_a_kill_in_the_first_moments_leaves_a_folder_that_can_be_used(
    one_environment: None, tmp_path: Path
) -> None:
    (tmp_path / f"{WRITING}abc").mkdir()
    report(LIGHT, tmp_path, workers=1)
    assert not (tmp_path / f"{WRITING}abc").exists()


def test_a_block_of_another_run_in_the_store_is_damage(
    one_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr("reference.campaign.BLOCK", 6)
    with pytest.raises(Interrupted):
        report(LIGHT, tmp_path, workers=1, progress=stop)
    monkeypatch.setattr("reference.campaign.BLOCK", 7)
    with pytest.raises(InvalidInput, match="damaged, it has a block of another run"):
        report(None, tmp_path, workers=1, resume=True)


def test_an_interruption_counts_a_block_whole_or_not_at_all(
    one_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a block is counted: the page's numbers still add up."""
    add = RunStatistics.add

    def interrupted(statistics: RunStatistics, result: BlockResult) -> None:
        signal.raise_signal(signal.SIGINT)
        add(statistics, result)

    # A shell's background job ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("reference.campaign.BLOCK", 6)
    monkeypatch.setattr(RunStatistics, "add", interrupted)
    with pytest.raises(Interrupted) as caught:
        report(LIGHT, tmp_path, workers=1)
    assert caught.value.summary is not None
    run = caught.value.summary.run
    assert sum(run.verdicts.values()) == run.problems - run.unfinished == 6


def test_the_command_after_ctrl_c_says_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(store: Store) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "plan", at_once)
    with pytest.raises(Interrupted) as caught:
        report(SMALL, tmp_path, fresh=True, scheduler="tcp://here:1")
    assert "--fresh --scheduler tcp://here:1 --out" in caught.value.command
