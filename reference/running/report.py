"""Runs a plan: it becomes finished blocks, the blocks become records, the records pages."""

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import InvalidInput
from reference.campaign import Plan, RunStatistics, Work
from reference.drawing.regimes import REGIMES
from reference.formats import DTYPES
from reference.oracles import SECOND_ORDER
from reference.oracles.environment import difference
from reference.problems import parse_address
from reference.running.store import NAME, Store
from reference.running.tasks import EnvironmentReport
from reference.running.workers import LocalPool, ctrl_c_later, ctrl_c_waits, finish
from reports.folder import claim_folder, remove_unfinished, unclaim_folder, write_report
from reports.records import OracleStatus, Record, ReportError, Run
from reports.summary import Summary

if TYPE_CHECKING:
    from reference.running.cluster import DaskPool

EXAMPLES = 64
"""Findings whose examples are worked out at once."""

Progress = Callable[[int, int], None]
"""Called with the problems done and the problems in all."""


class Interrupted(Exception):
    """Raised by Ctrl-C: `command` continues the run; the page of the finished part is written."""

    def __init__(self, summary: Summary | None, command: str) -> None:
        super().__init__(command)
        self.summary, self.command = summary, command


def report(
    plan: Plan | None,
    out: Path,
    *,
    workers: int = 2,
    scheduler: str | None = None,
    resume: bool = False,
    fresh: bool = False,
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Run the plan (or what is left of it) and write the report into `out`.

    The plan's `sections` are added to the report. Without a plan the unfinished run's own plan is
    continued.
    """
    if workers < 1:
        raise InvalidInput(f"workers={workers}: expected at least 1")
    if resume and fresh:
        raise InvalidInput(
            "--resume continues a run, --fresh starts a new one; expected one of them"
        )
    began = time.monotonic()
    if plan is None and not resume:
        raise InvalidInput("plan=None: expected a plan, or resume=True to continue a run")
    if resume and not (out / NAME).is_file():
        raise InvalidInput(f"out={str(out)!r}: nothing to resume, the folder has no {NAME}")
    is_new = not out.exists()
    claim_folder(out)
    store = Store(out, fresh)
    environment_report: EnvironmentReport | None = None
    statistics, begun = RunStatistics(), resume
    try:
        known = store.plan()
        if resume:
            if known is None:
                raise InvalidInput(f"out={str(out)!r}: nothing to resume, the run had not started")
            if plan not in (None, known[0]):
                raise InvalidInput(
                    f"out={str(out)!r} holds a run of another plan ({command_of(known[0])}); "
                    "--resume takes no other options, --fresh starts a new run"
                )
            plan = known[0]
        elif known and not fresh:
            raise InvalidInput(
                f"out={str(out)!r} holds an unfinished run; "
                "--resume continues it, --fresh starts a new one"
            )
        remove_unfinished(out)  # what a kill in the middle of the pages left
        assert plan is not None
        pieces = len(plan.blocks()) + len(plan.sections)
        with _pool(min(workers, pieces), scheduler) as pool:
            environment_report = pool.environment(plan.oracles)
            plan = _begin(store, plan, environment_report, known if resume else None)
            begun = True
            # Kept from here on, so that the page of Ctrl-C need not read the blocks again.
            blocks = set(plan.blocks())
            for result in store.results():
                if (result.start, result.stop) not in blocks:
                    raise InvalidInput(f"{store.path}: damaged, it has a block of another run")
                statistics.add(result)
            done = store.finished()
            left = [block for block in plan.blocks() if block[0] not in done]
            finished = plan.problems - sum(stop - start for start, stop in left)
            progress(finished, plan.problems)
            extra = [pool.section(name) for name in plan.sections]
            work = [Work(*block) for block in left]
            for result in finish(plan, work, pool.submit, pool.ahead):
                with ctrl_c_later():  # a page of half a block would not add up
                    store.add(result)
                    statistics.add(result)
                finished += result.stop - result.start
                progress(finished, plan.problems)
            for result in finish(plan, examples(statistics), pool.submit, pool.ahead):
                statistics.add_evidence(result.findings)
            made = [record for future in extra for record in future.result()]
        records = chain(
            records_of(plan, statistics, environment_report), made
        )  # one after another, not a list
        summary = _written(out, records, {"seconds": time.monotonic() - began})
        with ctrl_c_waits():
            store.remove()
        return summary
    except (InvalidInput, ReportError):
        if not begun and is_new:
            store.remove()
            unclaim_folder(out)
        raise
    except KeyboardInterrupt:
        if begun or plan is None:
            words = ["manual-backprop", "report", "--resume"]
        else:
            words = [*shlex.split(command_of(plan)), *["--fresh"] * fresh]
        words += ["--scheduler", scheduler] if scheduler else []
        partial = None
        if plan is not None and environment_report is not None and statistics.problems:
            with ctrl_c_waits():
                partial = _written(out, records_of(plan, statistics, environment_report))
        raise Interrupted(partial, shlex.join([*words, "--out", str(out)])) from None
    finally:
        store.close()


def examples(statistics: RunStatistics) -> Iterator[Work]:
    """Yield the work of giving every finding's example its evidence."""
    # A problem that crashed would crash again, and its finding is complete.
    bare = [f.example.at for f in statistics.findings() if not f.sentence]
    indices = sorted({parse_address(address)[1] for address in bare})
    for start in range(0, len(indices), EXAMPLES):
        few = indices[start : start + EXAMPLES]
        yield Work(start, start + len(few), tuple(few))


def _written(
    out: Path, records: Iterable[Record], timing: Mapping[str, float] = MappingProxyType({})
) -> Summary:
    """Write the report of finished blocks, which are kept if it cannot be written."""
    try:
        return write_report(out, records, timing)
    except ReportError as error:
        raise ReportError(
            f"{error}; the finished blocks are kept; --resume continues the run"
        ) from None


def _pool(workers: int, scheduler: str | None) -> "LocalPool | DaskPool":
    if scheduler is None:
        return LocalPool(workers)
    from reference.running.cluster import DaskPool

    return DaskPool(scheduler)


def records_of(
    plan: Plan, statistics: RunStatistics, environment_report: EnvironmentReport
) -> Iterator[Record]:
    """Yield the records of everything finished so far."""
    environment, oracles = environment_report
    yield Run(
        command=command_of(plan),
        seed=plan.seed,
        problems=plan.problems,
        order=plan.order,
        version=environment.get("manual-backprop", ""),
        dtypes=plan.dtypes or DTYPES,
        activations=plan.activations or tuple(ACTIVATIONS),
        losses=plan.losses or tuple(LOSSES),
        regimes=plan.regimes or tuple(REGIMES),
        architectures=plan.selection().architectures,
        oracles=tuple(_named(oracles, environment)),
        verdicts=statistics.verdicts,
        entries=statistics.entries,
        audited=statistics.audited,
        unsound=tuple(statistics.contradictions),
        unsound_problems=statistics.contradicted,
        unfinished=plan.problems - statistics.problems,
        environment=environment,
    )
    yield from statistics.cells(plan.seed)
    yield from statistics.findings()
    yield from statistics.coverage()


def command_of(plan: Plan) -> str:
    """Return the command that runs this plan again."""
    default = Plan(order=plan.order, oracles=SECOND_ORDER if plan.order == 2 else Plan().oracles)
    words = ["manual-backprop", "report", "--problems", str(plan.problems)]
    words += ["--order", "2"] if plan.order == 2 else []
    words += ["--seed", str(plan.seed)]
    for option in ("activations", "losses", "regimes", "dtypes", "architectures", "oracles"):
        names = getattr(plan, option)
        if names != getattr(default, option):
            flag = {"losses": "--loss"}.get(option, f"--{option[:-1]}")
            words += [word for name in names for word in (flag, name)]
    if not plan.sections:
        words.append("--networks-only")
    return shlex.join(words)


def _begin(
    store: Store,
    plan: Plan,
    environment_report: EnvironmentReport,
    known: tuple[Plan, dict[str, str]] | None,
) -> Plan:
    """Start a run, or continue the stored plan if it was started with the same versions."""
    environment = environment_report[0]
    if known is None:
        store.begin(plan, environment)
        return plan
    stored, before = known
    if changed := difference(before, environment):
        name, was, is_now = changed
        raise InvalidInput(
            f"the run was started with {name} {was}, here it is {is_now}; a report needs one "
            "environment: --fresh starts a new run"
        )
    return stored


def _named(oracles: list[OracleStatus], environment: dict[str, str]) -> Iterator[OracleStatus]:
    for status in oracles:
        package = {"manual": "manual-backprop"}.get(status.name, status.name.split("_")[0])
        version = environment.get(package, "")
        yield msgspec.structs.replace(status, version=version)
    yield OracleStatus(name="certified", version=environment.get("python-flint", ""))
