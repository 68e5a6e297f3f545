"""A campaign: many problems through draw → answers → screen → judge → record, block by block.

A block is a range of positions in the selection. What its screen says depends on nothing but the
plan and that range, which of its disputes are proven on the blocks before it as well
(`running.docket`), and results merge in any order: so workers, interruptions and resumption change
no byte.
"""

from collections.abc import Iterable, Iterator, Mapping
from sys import intern

import msgspec

from manual_backprop.spec import InvalidInput
from reference.docket import HELD, Dispute, kinds_of, sampled
from reference.findings import finding_of, fingerprint, merge_findings
from reference.judge import WITNESSES, Judgement, judge, screen, screen_all
from reference.oracles import Answer, Oracle, crashed, load, skipped
from reference.problems import Drawn, Selection, cell, check_seed, draw
from reports.records import Cell, Coverage, DisputeKind, Finding, OracleStatus, decade

MOST_PROBLEMS = 10**9
"""Problems in one run; its blocks are listed in memory, some 150 bytes each."""

BLOCK = 512
"""Problems in a block: enough that a transaction is cheap, few enough that little is lost."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run, as plain data: it travels to workers and into the store."""

    seed: int = 0
    problems: int = 2000
    activations: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    oracles: tuple[str, ...] = ("manual", "torch", "jax", "complex_step")
    arbiter_share: float = 0.02
    per_kind: int = 8  # so many disputes of each kind are proven: `running.docket`
    sections: tuple[str, ...] = ()  # what the report holds beside the run: `running.sections`

    def __post_init__(self) -> None:
        if not 1 <= self.problems <= MOST_PROBLEMS:
            raise InvalidInput(
                f"problems={self.problems}: expected 1 to {MOST_PROBLEMS:,}; "
                "a larger run is split by its seeds"
            )
        check_seed(self.seed)
        if not 0 <= self.arbiter_share <= 1:
            raise InvalidInput(f"arbiter_share={self.arbiter_share}: expected a share from 0 to 1")
        if not 1 <= self.per_kind <= MOST_PROBLEMS:
            raise InvalidInput(f"per_kind={self.per_kind}: expected 1 to {MOST_PROBLEMS:,}")
        if "manual" not in self.oracles:
            raise InvalidInput(f"oracle={', '.join(self.oracles)!r}: expected manual among them")
        self.selection()

    def selection(self) -> Selection:
        """Return the cells that the plan is restricted to."""
        return Selection(self.activations, self.losses, self.regimes, self.dtypes)

    def blocks(self) -> list[tuple[int, int]]:
        """Return the ranges of positions that make up the run."""
        return [
            (start, min(start + BLOCK, self.problems)) for start in range(0, self.problems, BLOCK)
        ]


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What one problem came to, in few bytes."""

    index: int
    verdict: str
    scaled: float
    tensor: str
    between: str


class BlockResult(msgspec.Struct, frozen=True, array_like=True):
    """What a block came to."""

    start: int
    stop: int
    outcomes: list[Outcome]
    findings: list[Finding]
    arbitrated: int
    entries: int
    coverage: dict[str, int]
    disputes: list[Dispute] = []


class Work(msgspec.Struct, frozen=True):
    """What a worker does at once: a block, or the proofs of some of its disputes, by index."""

    start: int
    stop: int
    proofs: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many problems are worked on."""
        return len(self.proofs) or self.stop - self.start

    def part(self, first: int, last: int) -> "Work":
        """Return the work on some of the problems: the first-th to the one before the last-th."""
        if self.proofs:
            return Work(self.start, self.stop, self.proofs[first:last])
        return Work(self.start + first, self.start + last)


def run(plan: Plan, work: Work, oracles: Mapping[str, Oracle]) -> BlockResult:
    """Do a piece of work."""
    if work.proofs:
        return prove(plan, work, oracles)
    return run_block(plan, work.start, work.stop, oracles)


def run_block(plan: Plan, start: int, stop: int, oracles: Mapping[str, Oracle]) -> BlockResult:
    """Draw, answer and screen the problems at positions start to stop − 1.

    The arbiter hears at once what the screen cannot compare, and the audited share of what agrees;
    disputes are held for the docket.
    """
    selection = plan.selection()
    drawn = [draw(plan.seed, selection.index(position)) for position in range(start, stop)]
    hearing = Hearing(drawn, oracles)
    outcomes, disputes, entries = [], [], 0
    coverage: dict[str, int] = {}
    for i, (one, screening) in enumerate(zip(drawn, hearing.screenings, strict=True)):
        entries += sum(g.size for g in hearing.answers["manual"][i].gradients.values())
        _add_counts(coverage, dict.fromkeys(_coverage_keys(one), 1))
        verdict = "AGREE"
        if screening.comparable and not screening.passed:
            verdict = HELD
            kinds = kinds_of(one.problem.network, one.cell.dtype, screening.outside)
            disputes.append(Dispute(one.index, kinds, screening.alone))
        elif audited(plan, one.index) or not screening.comparable:
            verdict = hearing.judge(i)
        outcomes.append(
            Outcome(one.index, verdict, screening.worst, screening.tensor, screening.between)
        )
    findings = merge_findings(hearing.findings)
    return BlockResult(start, stop, outcomes, findings, hearing.heard, entries, coverage, disputes)


def prove(plan: Plan, work: Work, oracles: Mapping[str, Oracle]) -> BlockResult:
    """Judge the disputes whose indices are given, whatever their kind."""
    hearing = Hearing([draw(plan.seed, index) for index in work.proofs], oracles)
    outcomes = [
        Outcome(index, hearing.judge(i), screening.worst, screening.tensor, screening.between)
        for i, (index, screening) in enumerate(zip(work.proofs, hearing.screenings, strict=True))
    ]
    findings = merge_findings(hearing.findings)
    return BlockResult(work.start, work.stop, outcomes, findings, hearing.heard, 0, {})


class Hearing:
    """Some problems before the judge: what every oracle answers, and what the screen saw."""

    def __init__(self, drawn: list[Drawn], oracles: Mapping[str, Oracle]) -> None:
        self._drawn = drawn
        # Witnesses are heard where the judge has something to show: see the judge's word on them.
        self._witnesses = [oracle for name, oracle in oracles.items() if name in WITNESSES]
        self.answers = {
            name: _answers(oracle, drawn)
            for name, oracle in oracles.items()
            if name not in WITNESSES
        }
        self.screenings = screen_all([one.problem for one in drawn], self.answers)
        self.findings: list[Finding] = []
        self.heard = 0

    def judge(self, i: int) -> str:
        """Ask the arbiter about one of the problems; return the verdict and keep the finding."""
        one, given = self._drawn[i], {name: of_all[i] for name, of_all in self.answers.items()}

        def witnesses() -> dict[str, Answer]:
            called = {oracle.name: _answers(oracle, [one])[0] for oracle in self._witnesses}
            given.update(called)
            return called

        found = judge(one.problem, given, screened=self.screenings[i], witnesses=witnesses)
        self.heard += 1
        if found.verdict != "AGREE":
            self.findings.append(finding_of(one, given, found))
        return found.verdict


def with_proofs(block: BlockResult, proofs: BlockResult) -> BlockResult:
    """Return a block with the verdicts of those of its disputes that were proven."""
    proven = {outcome.index: outcome for outcome in proofs.outcomes}
    return msgspec.structs.replace(
        block,
        outcomes=[proven.get(outcome.index, outcome) for outcome in block.outcomes],
        findings=merge_findings([*block.findings, *proofs.findings]),
        arbitrated=block.arbitrated + proofs.arbitrated,
    )


def merge_results(parts: list[BlockResult]) -> BlockResult:
    """Put the parts of a block, in order, together again."""
    coverage: dict[str, int] = {}
    for part in parts:
        _add_counts(coverage, part.coverage)
    return BlockResult(
        parts[0].start,
        parts[-1].stop,
        [outcome for part in parts for outcome in part.outcomes],
        merge_findings([finding for part in parts for finding in part.findings]),
        sum(part.arbitrated for part in parts),
        sum(part.entries for part in parts),
        coverage,
        [dispute for part in parts for dispute in part.disputes],
    )


def judge_one(one: Drawn, names: Iterable[str]) -> tuple[dict[str, Answer], Judgement]:
    """Ask the named oracles and the arbiter about one problem, whatever the screen says."""
    answers = {name: _answers(oracle, [one])[0] for name, oracle in load(names).items()}
    return answers, judge(one.problem, answers, screened=screen(one.problem, answers))


def audited(plan: Plan, index: int) -> bool:
    """Say whether the arbiter judges this problem if all agree; disputes are the docket's."""
    return sampled(plan.seed, index, plan.arbiter_share)


def statuses(oracles: Mapping[str, Oracle], versions: Mapping[str, str]) -> list[OracleStatus]:
    """Return which oracles could answer here, and why the others could not."""
    rows = []
    for name, oracle in oracles.items():
        reason = oracle.unavailable()
        rows.append(
            OracleStatus(
                name=name,
                version=versions.get(name, ""),
                status="skipped" if reason else "ok",
                reason=reason or "",
            )
        )
    return rows


class Tally:
    """Everything a run amounts to, folded from its blocks in any order, in bounded memory."""

    def __init__(self) -> None:
        self.problems = self.arbitrated = self.entries = 0
        self.verdicts: dict[str, int] = {}
        # Packed: an example as objects takes five times its size, and a long run has thousands.
        self._findings: dict[tuple[str, ...], bytes] = {}
        self._coverage: dict[str, int] = {}
        self._cells: dict[tuple[str, ...], CellCounter] = {}
        self._kinds: dict[str, KindCounter] = {}

    def add(self, result: BlockResult) -> None:
        """Count one block."""
        self.problems += result.stop - result.start
        self.arbitrated += result.arbitrated
        self.entries += result.entries
        for finding in result.findings:
            self._add_finding(finding)
        _add_counts(self._coverage, result.coverage)
        for outcome in result.outcomes:
            _add_counts(self.verdicts, {outcome.verdict: 1})
            self._cells.setdefault(cell(outcome.index), CellCounter()).add(outcome)
        verdicts = {outcome.index: outcome.verdict for outcome in result.outcomes}
        for dispute in result.disputes:
            for kind in dispute.kinds:
                counter = self._kinds.setdefault(kind, KindCounter())
                counter.add(dispute.index, verdicts[dispute.index])

    def _add_finding(self, finding: Finding) -> None:
        key = fingerprint(finding)
        if key in self._findings:
            (finding,) = merge_findings([_unpacked(self._findings[key]), finding])
        self._findings[key] = msgspec.msgpack.encode(finding)

    def findings(self) -> Iterator[Finding]:
        """Yield one record a finding."""
        for key in sorted(self._findings):
            yield _unpacked(self._findings[key])

    def kinds(self, seed: int) -> Iterator[DisputeKind]:
        """Yield one record a kind of dispute."""
        for kind in sorted(self._kinds):
            counter = self._kinds[kind]
            yield DisputeKind(
                kind=kind,
                count=counter.n,
                verdicts=counter.verdicts,
                first=f"{seed}:{counter.first}",
            )

    def cells(self, seed: int) -> Iterator[Cell]:
        """Yield one record a cell."""
        for key in sorted(self._cells):
            counter = self._cells[key]
            worst = counter.worst
            activation, loss, regime, dtype = key
            yield Cell(
                activation=activation,
                loss=loss,
                regime=regime,
                dtype=dtype,
                n=counter.n,
                verdicts=counter.verdicts,
                histogram=counter.histogram,
                worst_scaled=worst.scaled,
                worst_at=f"{seed}:{worst.index}",
                worst_tensor=worst.tensor,
                worst_between=worst.between,
            )

    def coverage(self) -> Iterator[Coverage]:
        """Yield how often each structure was met."""
        for key in sorted(self._coverage):
            what, _, name = key.partition("/")
            yield Coverage(what=what, name=name, count=self._coverage[key])


def _unpacked(packed: bytes) -> Finding:
    return msgspec.msgpack.decode(packed, type=Finding)


class CellCounter:
    """The counters of one cell."""

    def __init__(self) -> None:
        self.n = 0
        self.verdicts: dict[str, int] = {}
        self.histogram: dict[str, int] = {}
        self.worst = Outcome(2**64, "", -1.0, "", "")

    def add(self, outcome: Outcome) -> None:
        """Count one problem; the worst is the larger error, then the smaller index."""
        self.n += 1
        _add_counts(self.verdicts, {outcome.verdict: 1})
        _add_counts(self.histogram, {decade(outcome.scaled): 1})
        if (-outcome.scaled, outcome.index) < (-self.worst.scaled, self.worst.index):
            tensor, between = intern(outcome.tensor), intern(outcome.between)
            self.worst = Outcome(outcome.index, "", outcome.scaled, tensor, between)


class KindCounter:
    """The counters of one kind of dispute."""

    def __init__(self) -> None:
        self.n = 0
        self.verdicts: dict[str, int] = {}
        self.first = 2**64

    def add(self, index: int, verdict: str) -> None:
        """Count one dispute, HELD or proven."""
        self.n += 1
        _add_counts(self.verdicts, {verdict: 1})
        self.first = min(self.first, index)


def _add_counts(total: dict[str, int], counts: Mapping[str, int]) -> None:
    for key, count in counts.items():
        # One text for thousands of counters: each result brings its own copies along.
        key = intern(key)
        total[key] = total.get(key, 0) + count


def _coverage_keys(one: Drawn) -> list[str]:
    network = one.problem.network
    keys = [
        f"depth/{len(network.layers)}",
        f"reduction/{network.reduction}",
        f"regime/{one.cell.regime}",
        f"dtype/{one.cell.dtype}",
        "cotangent/" + ("uniform" if one.problem.weights is None else "random"),
        f"batch/{one.problem.batch}",
    ]
    # Each once, and in the order of the layers: a set's would be another in each process.
    keys += dict.fromkeys(f"activation/{layer.activation}" for layer in network.layers)
    return [*keys, f"loss/{network.loss}"]


def _answers(oracle: Oracle, drawn: list[Drawn]) -> list[Answer]:
    """Ask a block at once; where that fails, one by one, so that one failure costs one answer."""
    reason = oracle.unavailable()
    if reason:
        return [skipped(oracle.name, reason)] * len(drawn)
    try:
        return oracle.answers([one.problem for one in drawn])
    except Exception:  # an oracle may fail in any way; the answers say how
        return [_one_answer(oracle, one) for one in drawn]


def _one_answer(oracle: Oracle, one: Drawn) -> Answer:
    try:
        return oracle.answer(one.problem)
    except Exception as error:
        return crashed(oracle.name, error)
