"""A campaign: a plan, one function for a block of it, and the merge of the blocks' results.

A plan may be restricted to some activations, losses or regimes. Then only some of all problems
remain. The *index* of a problem is its number among all problems, its *position* its number among
those that remain; a block is a range of positions. Example: with `--loss mse` the problems at
positions 0, 1 and 2 have the indices 11, 35 and 59, and `show 0:11` draws the first of them.

The result of a block depends only on the plan and its range, and results merge in any order. So
workers, interruptions and resumption do not change the report.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from sys import intern

import msgspec

from manual_backprop.operation import InvalidInput
from reference.compare import Farthest, farthest
from reference.drawing.builder import sampled
from reference.drawing.graphs import ARCHITECTURES
from reference.evidence import outside_enclosure
from reference.findings import finding_of, fingerprint, merge_findings, short_finding_of
from reference.formats import DTYPES, LOW
from reference.judge import ADVISORY, MODELS, TEXTBOOK, Judgement, judge_all
from reference.oracles import SECOND_ORDER, Answer, Oracle, crashed, load, skipped, takes_graphs
from reference.oracles.certified import CertifiedTensor
from reference.oracles.enclosure import enclose
from reference.problems import (
    AnyDrawn,
    Drawn,
    DrawnGraph,
    Selection,
    address,
    cell,
    check_order,
    check_seed,
    draw_any,
)
from reference.recomputation import settle_recomputation
from reference.rounding import Rounding, RoundingUnit
from reference.translation import settle_values
from reports.records import Cell, Coverage, Finding, OracleStatus, decade

MAX_PROBLEMS = 10**9
"""Problems in one run; the list of its blocks is in memory, about 150 bytes for each block."""

BLOCK = 512
"""Problems in a block: many, so that saving a result is cheap; few, so that an interruption loses
little."""

LONG_RUN = 16
"""A run of more than this many blocks has blocks of twice the size, so half as many. In a larger
block each problem needs less time."""

MAX_CONTRADICTIONS = 20
"""How many of the gradients are listed about which the judge and the enclosure disagree."""

AUDIT = 1 / 100
"""The share of dense networks (only at order 1) whose final gradients are also compared with the
enclosure of the whole network. It does not use the answers' own steps, so it checks the judge."""

AGAIN = 1 / 32
"""The share of problems that every side answers twice, the second time in the opposite order. An
answer must not depend on earlier calls."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, as plain data: it is sent to workers and saved in the store."""

    seed: int = 0
    problems: int = 2000
    activations: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    oracles: tuple[str, ...] = ("manual", "torch", "jax")
    order: int = 1  # 2: Hessian-vector products
    sections: tuple[str, ...] = ()  # further parts of the report: `running.sections`

    def __post_init__(self) -> None:
        if not 1 <= self.problems <= MAX_PROBLEMS:
            raise InvalidInput(
                f"problems={self.problems}: expected 1 to {MAX_PROBLEMS:,}; "
                "split a larger run into several seeds"
            )
        check_seed(self.seed)
        check_order(self.order)
        for name in (d for d in self.dtypes if d in LOW) if self.order == 2 else ():
            known = ", ".join(DTYPES)
            raise InvalidInput(f"dtype={name!r}: at order 2 expected one of: {known}")
        for name in self.oracles if self.order == 2 else ():
            if name not in SECOND_ORDER:
                known = ", ".join(SECOND_ORDER)
                raise InvalidInput(f"oracle={name!r}: at order 2 expected one of: {known}")
        if "manual" not in self.oracles:
            raise InvalidInput(f"oracle={', '.join(self.oracles)!r}: expected manual in the list")
        self.selection()

    def selection(self) -> Selection:
        """Return the cells that the plan is restricted to."""
        chosen = self.activations or self.losses
        architectures = self.architectures or (("dense",) if chosen else ARCHITECTURES)
        return Selection(self.activations, self.losses, self.regimes, self.dtypes, architectures)

    @property
    def block(self) -> int:
        """How many problems a block has."""
        return BLOCK if self.problems <= LONG_RUN * BLOCK else 2 * BLOCK

    def blocks(self) -> list[tuple[int, int]]:
        """Return the ranges of positions that make up the run."""
        starts = range(0, self.problems, self.block)
        return [(start, min(start + self.block, self.problems)) for start in starts]

    def work(self) -> "list[Work]":
        """Return the blocks as `Work` objects, which can be sent to workers."""
        return [Work(*block) for block in self.blocks()]


class Work(msgspec.Struct, frozen=True):
    """One task of a worker: a block of positions, or full evidence for some problems.

    `evidence_for` are the indices of these problems; empty for a block.
    """

    start: int
    stop: int
    evidence_for: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many problems are worked on."""
        return len(self.evidence_for) or self.stop - self.start

    def part(self, first: int, last: int) -> "Work":
        """Return the work on some of the problems: those at places first to last − 1."""
        if self.evidence_for:
            return Work(self.start, self.stop, self.evidence_for[first:last])
        return Work(self.start + first, self.start + last)


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """The result of one problem, in few bytes.

    `scaled` is the largest distance between two answers, relative to the size of the tensor;
    `tensor` says where it is, and `between` which two sides.
    """

    index: int
    verdict: str
    scaled: float
    tensor: str
    between: str


class BlockResult(msgspec.Struct, frozen=True, array_like=True):
    """The result of a block.

    `audited` is the number of problems that were also checked as a whole, `entries` the number of
    compared numbers, `coverage` how often each structure was drawn.
    `contradictions` are addresses of problems for which the two checks contradict each other: the
    judge accepts every step, but a final gradient is outside the enclosure of the whole network.
    Then the judge has an error.
    """

    start: int
    stop: int
    outcomes: list[Outcome]
    findings: list[Finding]
    audited: int
    entries: int
    coverage: dict[str, int]
    contradictions: list[str] = []


def run(plan: Plan, work: Work, oracles: Mapping[str, Oracle]) -> BlockResult:
    """Do a piece of work."""
    if work.evidence_for:
        return answer_with_evidence(plan, work, oracles)
    return run_block(plan, work.start, work.stop, oracles)


def run_block(plan: Plan, start: int, stop: int, oracles: Mapping[str, Oracle]) -> BlockResult:
    """Draw, answer and judge the problems at positions start to stop − 1."""
    selection = plan.selection()
    indices = map(selection.index, range(start, stop))
    drawn = [draw_any(plan.seed, index, plan.order) for index in indices]
    judged = {name: o for name, o in oracles.items() if name not in ADVISORY}
    answers = {name: _answers(oracle, drawn) for name, oracle in judged.items()}
    again = _again(plan, drawn, judged)
    entries: list[int] = []
    problems = [one.problem for one in drawn]
    judgements = judge_all(problems, answers, again=again, count=entries.append)
    judgements = _settled(drawn, judgements, answers, judged, again)
    coverage: dict[str, int] = {}
    outcomes, findings = [], []
    contradictions: list[str] = []
    audits = 0
    for i, (one, judgement, far) in enumerate(
        zip(drawn, judgements, farthest(answers), strict=True)
    ):
        _add_counts(coverage, dict.fromkeys(_coverage_keys(one), 1))
        outcomes.append(_outcome(one.index, judgement, far))
        if judgement.kind != "AGREE":
            findings.append(short_finding_of(one, judgement))
        # The enclosure of a whole network exists only for dense networks and first order.
        if plan.order == 1 and isinstance(one, Drawn) and audited(plan, one.index):
            audits += 1
            contradictions += _audit(
                one, {name: of_all[i] for name, of_all in answers.items()}, judgement
            )
    merged = merge_findings(findings)
    total = sum(entries)
    return BlockResult(start, stop, outcomes, merged, audits, total, coverage, contradictions)


def answer_with_evidence(plan: Plan, work: Work, oracles: Mapping[str, Oracle]) -> BlockResult:
    """Return findings with all their evidence for the problems whose indices are given."""
    drawn = [draw_any(plan.seed, index, plan.order) for index in work.evidence_for]
    answers = {name: _answers(oracle, drawn) for name, oracle in oracles.items()}
    judgements = judge_all([one.problem for one in drawn], answers)
    judgements = _settled(drawn, judgements, answers, oracles)
    found = [
        finding_of(one, {name: of_all[i] for name, of_all in answers.items()}, judgement)
        for i, (one, judgement) in enumerate(zip(drawn, judgements, strict=True))
        if judgement.kind != "AGREE"
    ]
    outcomes = [
        _outcome(index, judgement, Farthest(0.0, "", ""))
        for index, judgement in zip(work.evidence_for, judgements, strict=True)
    ]
    return BlockResult(work.start, work.stop, outcomes, found, 0, 0, {})


def _settled(
    drawn: Sequence[AnyDrawn],
    judgements: Sequence[Judgement],
    answers: Mapping[str, list[Answer]],
    oracles: Mapping[str, Oracle],
    again: Mapping[str, dict[int, Answer]] | None = None,
) -> list[Judgement]:
    """Return the judgements after two more questions about the frameworks that deviate.

    Does a framework deviate only because its compiler computed a cotangent twice
    (`recomputation.py`)? Does it compute another value than defined (VALUE, `translation.py`)?
    """
    judgements = settle_recomputation(drawn, judgements, answers, oracles, again)
    return settle_values(drawn, judgements, oracles)


def _outcome(index: int, judgement: Judgement, far: Farthest) -> Outcome:
    return Outcome(index, judgement.verdict, far.scaled, far.tensor, far.between)


def _again(
    plan: Plan, drawn: list[AnyDrawn], oracles: Mapping[str, Oracle]
) -> dict[str, dict[int, Answer]]:
    """Ask a share of the problems once more, in the opposite order."""
    chosen = [k for k, one in enumerate(drawn) if sampled(plan.seed, one.index, AGAIN, salt=1)]
    chosen.reverse()
    if not chosen:
        return {}
    few = [drawn[k] for k in chosen]
    return {
        name: dict(zip(chosen, _answers(oracle, few), strict=True))
        for name, oracle in oracles.items()
    }


def _audit(one: Drawn, answers: Mapping[str, Answer], judgement: Judgement) -> list[str]:
    """Return the final gradients that lie outside the enclosure although the judge accepts them."""
    found = []
    enclosures: dict[Rounding, Mapping[str, CertifiedTensor]] = {}
    for name, answer in answers.items():
        if answer.status != "ok" or (
            name in judgement.who and judgement.kind in ("DEVIATES", "VALUE")
        ):
            continue
        tensor = None
        # What lies within the narrower enclosure needs no other.
        for model in (TEXTBOOK,) if name == "manual" else (TEXTBOOK, MODELS[-1]):
            if model not in enclosures:
                enclosures[model] = enclose(one.problem, RoundingUnit(one.problem.dtype, model))
            tensor = outside_enclosure(enclosures[model], answer)
            if tensor is None:
                break
        else:
            found.append(f"{one.at} {name} {tensor}")
    return found


def merge_results(parts: list[BlockResult]) -> BlockResult:
    """Return the result of a block from those of its parts, given in order."""
    coverage: dict[str, int] = {}
    for part in parts:
        _add_counts(coverage, part.coverage)
    return BlockResult(
        parts[0].start,
        parts[-1].stop,
        [outcome for part in parts for outcome in part.outcomes],
        merge_findings([finding for part in parts for finding in part.findings]),
        sum(part.audited for part in parts),
        sum(part.entries for part in parts),
        coverage,
        [one for part in parts for one in part.contradictions],
    )


def judge_one(one: AnyDrawn, names: Iterable[str]) -> tuple[dict[str, Answer], Judgement]:
    """Ask the named oracles about one problem and judge their answers."""
    oracles = load(names)
    answers = {name: _answers(oracle, [one]) for name, oracle in oracles.items()}
    (judgement,) = _settled([one], judge_all([one.problem], answers), answers, oracles)
    return {name: of_all[0] for name, of_all in answers.items()}, judgement


def audited(plan: Plan, index: int) -> bool:
    """Say whether a problem's final gradients are also judged as a whole."""
    return sampled(plan.seed, index, AUDIT)


def statuses(oracles: Mapping[str, Oracle], versions: Mapping[str, str]) -> list[OracleStatus]:
    """Return for each oracle whether it could answer here, or why not."""
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


class RunStatistics:
    """The result of a run, merged from its blocks in any order, in bounded memory."""

    def __init__(self) -> None:
        self.problems = self.audited = self.contradicted = self.entries = 0
        self.contradictions: list[str] = []
        self.verdicts: dict[str, int] = {}
        # Packed, because a finding as objects takes five times the memory.
        self._findings: dict[tuple[str, ...], bytes] = {}
        self._coverage: dict[str, int] = {}
        self._cells: dict[tuple[str, ...], CellCounter] = {}

    def add(self, result: BlockResult) -> None:
        """Count one block."""
        self.problems += result.stop - result.start
        self.audited += result.audited
        self.contradicted += len({one.partition(" ")[0] for one in result.contradictions})
        self.contradictions = sorted([*self.contradictions, *result.contradictions])[
            :MAX_CONTRADICTIONS
        ]
        self.entries += result.entries
        for finding in result.findings:
            self._add_finding(finding)
        _add_counts(self._coverage, result.coverage)
        for outcome in result.outcomes:
            _add_counts(self.verdicts, {outcome.verdict: 1})
            self._cells.setdefault(cell(outcome.index), CellCounter()).add(outcome)

    def add_evidence(self, findings: Iterable[Finding]) -> None:
        """Replace findings by the same findings with full evidence."""
        for finding in findings:
            key = fingerprint(finding)
            if key in self._findings:
                known = _unpacked(self._findings[key])
                if known.example.at == finding.example.at:
                    full = msgspec.structs.replace(finding, count=known.count, others=known.others)
                    self._findings[key] = msgspec.msgpack.encode(full)

    def _add_finding(self, finding: Finding) -> None:
        key = fingerprint(finding)
        if key in self._findings:
            (finding,) = merge_findings([_unpacked(self._findings[key]), finding])
        self._findings[key] = msgspec.msgpack.encode(finding)

    def findings(self) -> Iterator[Finding]:
        """Yield one record a finding."""
        for key in sorted(self._findings):
            yield _unpacked(self._findings[key])

    def cells(self, seed: int) -> Iterator[Cell]:
        """Yield one record a cell."""
        for key in sorted(self._cells):
            counter = self._cells[key]
            worst = counter.worst or Outcome(0, "", 0.0, "", "")
            activation, loss, regime, dtype, architecture = key
            yield Cell(
                architecture=architecture,
                activation=activation,
                loss=loss,
                regime=regime,
                dtype=dtype,
                n=counter.n,
                verdicts=counter.verdicts,
                histogram=counter.histogram,
                worst_scaled=worst.scaled,
                worst_at=address(seed, worst.index) if counter.worst else "",
                worst_tensor=worst.tensor,
                worst_between=worst.between,
            )

    def coverage(self) -> Iterator[Coverage]:
        """Yield how often each structure was drawn."""
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
        self.worst: Outcome | None = None

    def add(self, outcome: Outcome) -> None:
        """Count one problem and keep the worst, of the largest distance.

        Ties go to the smaller index. ∞ or NaN in an AGREE problem is overflow of the true value,
        and is not counted as worst.
        """
        self.n += 1
        _add_counts(self.verdicts, {outcome.verdict: 1})
        _add_counts(self.histogram, {decade(outcome.scaled): 1})
        if outcome.verdict == "AGREE" and not math.isfinite(outcome.scaled):
            return
        if self.worst is None or (-outcome.scaled, outcome.index) < (
            -self.worst.scaled,
            self.worst.index,
        ):
            tensor, between = intern(outcome.tensor), intern(outcome.between)
            self.worst = Outcome(outcome.index, "", outcome.scaled, tensor, between)


def _add_counts(total: dict[str, int], counts: Mapping[str, int]) -> None:
    for key, count in counts.items():
        # Each result contains its own copies of the same strings; `intern` keeps one of them.
        key = intern(key)
        total[key] = total.get(key, 0) + count


def _coverage_keys(one: AnyDrawn) -> list[str]:
    if isinstance(one, DrawnGraph):
        return _graph_keys(one)
    network = one.problem.network
    keys = [
        "architecture/dense",
        f"depth/{len(network.layers)}",
        f"reduction/{network.reduction}",
        f"regime/{one.cell.regime}",
        f"dtype/{one.cell.dtype}",
        "cotangent/" + ("uniform" if one.problem.weights is None else "random"),
        f"batch/{one.problem.batch}",
    ]
    # Each only once, in the order of the layers; the order of a set differs between processes.
    keys += dict.fromkeys(f"activation/{layer.activation}" for layer in network.layers)
    return [*keys, f"loss/{network.loss}"]


def _graph_keys(one: DrawnGraph) -> list[str]:
    graph = one.problem.graph
    keys = [
        f"architecture/{one.cell.architecture}",
        f"regime/{one.cell.regime}",
        f"dtype/{one.cell.dtype}",
        f"steps/{len(graph.steps)}",
    ]
    return [*keys, *dict.fromkeys(f"operation/{step.operation}" for step in graph.steps)]


def _answers(oracle: Oracle, drawn: Sequence[AnyDrawn]) -> list[Answer]:
    """Ask for all answers of a block at once; if that fails, for one after the other."""
    reason = oracle.unavailable()
    if reason:
        return [skipped(oracle.name, reason)] * len(drawn)
    if not takes_graphs(oracle) and any(isinstance(one, DrawnGraph) for one in drawn):
        chains = iter(_answers(oracle, [one for one in drawn if isinstance(one, Drawn)]))
        none = skipped(oracle.name, "it supports chains of dense layers only")
        return [next(chains) if isinstance(one, Drawn) else none for one in drawn]
    try:
        return oracle.answers([one.problem for one in drawn])
    except Exception:  # an oracle may fail in any way; `_one_answer` records how
        return [_one_answer(oracle, one) for one in drawn]


def _one_answer(oracle: Oracle, one: AnyDrawn) -> Answer:
    try:
        return oracle.answer(one.problem)
    except Exception as error:
        return crashed(oracle.name, error)
