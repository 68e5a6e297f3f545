"""The summary of a run: verdicts in order of weight, headline figures, the headline sentence."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from msgspec import structs

from reports.records import (
    Cell,
    Finding,
    OracleStatus,
    Record,
    ReportError,
    Run,
    TrialRow,
    grouped,
    of_type,
)

NAMES = {
    "manual": "the hand-written gradient",
    "torch": "PyTorch",
    "jax": "JAX",
    "complex_step": "the complex step",
    "torch_reverse": "PyTorch, double backward",
    "torch_forward": "PyTorch, forward over reverse",
    "torch_nested": "PyTorch, forward over forward",
    "jax_forward": "JAX, forward over reverse",
    "jax_reverse": "JAX, reverse over reverse",
    "certified": "the certified gradient",
}
LABELS = {**NAMES, "manual": "by hand", "complex_step": "complex step", "certified": "certified"}
"""The sides as heads of columns."""
MAX_DTYPES, MAX_VERDICTS = 6, 60


@dataclass(frozen=True)
class Kind:
    """A kind of verdict: its mark (a shape, so that colour is never alone) and its meaning.

    `manual`: the hand-written side is at fault.
    """

    name: str
    mark: str
    meaning: str
    manual: bool = False

    @property
    def weight(self) -> int:
        """How serious it is: its place in the list of kinds, the last one 0."""
        known = self if self in _IN_ORDER else KINDS["PRECISION"]
        return len(_IN_ORDER) - 1 - _IN_ORDER.index(known)


MANUAL_WRONG = Kind("DEVIATES", "✕", "the hand-written gradient is wrong", manual=True)
MANUAL_CRASHED = Kind("CRASHED", "!", "the hand-written side failed while answering", manual=True)
UNKNOWN = Kind("OTHER", "•", "another verdict")
"""As serious as PRECISION."""
_IN_ORDER = (
    MANUAL_WRONG,
    MANUAL_CRASHED,
    Kind("CRASHED", "!", "a side failed while answering"),
    Kind("DEVIATES", "✕", "outside what rounding allows: wrong"),
    Kind(
        "VALUE", "≠", "a framework computes another value: it is wrong, or we call it incorrectly"
    ),
    Kind("PRECISION", "◔", "the formula is correct, but digits are lost"),
    Kind("CONVENTION", "◇", "a kink: different slopes were chosen, each of them admissible"),
    Kind("UNSUPPORTED", "○", "a framework has no such derivative; the others agree"),
    Kind("SKIPPED", "–", "no side could answer; for example, none is installed"),
    Kind("AGREE", "✓", "all sides are right up to rounding"),
)
"""The kinds, the most serious first. The judge returns the first one that applies."""
KINDS = {kind.name: kind for kind in _IN_ORDER if not kind.manual}


def kind_of(verdict: str) -> Kind:
    """Return the kind of a spelled verdict: DEVIATES for "DEVIATES(torch)"."""
    return kind_named(verdict.partition("(")[0].strip(), manual="manual" in who(verdict))


def kind_named(name: str, *, manual: bool) -> Kind:
    """Return the kind of a name; `manual`: the verdict names the hand-written side."""
    of_manual = {"DEVIATES": MANUAL_WRONG, "CRASHED": MANUAL_CRASHED} if manual else {}
    return of_manual.get(name) or KINDS.get(name, UNKNOWN)


def meaning(verdict: str) -> str:
    """Say what a verdict means, with its names: "PyTorch lies outside what rounding allows"."""
    kind, named = kind_of(verdict), [NAMES.get(name, name) for name in who(verdict)]
    if not named:
        return kind.meaning
    several = len(named) > 1
    names = listed(named)
    return {
        "DEVIATES": f"{names} {'lie' if several else 'lies'} outside what rounding allows: wrong",
        "VALUE": f"{names} {'compute' if several else 'computes'} another value than the "
        "definition: either we call the framework's function incorrectly or it is wrong",
        "PRECISION": f"the formula is correct, but {names} {'lose' if several else 'loses'} digits",
        "SKIPPED": f"{names} could not answer: not installed, or not able to",
        "UNSUPPORTED": f"{names} {'have' if several else 'has'} no such derivative",
        "CRASHED": f"{names} failed while answering",
    }.get(kind.name, kind.meaning)


def who(verdict: str) -> tuple[str, ...]:
    """Return whom a verdict names: ("manual", "torch") for "PRECISION(manual,torch)"."""
    inside = re.search(r"\(([^)]*)\)", verdict)
    return tuple(part.strip() for part in inside[1].split(",")) if inside else ()


def label(name: str) -> str:
    """Return a side's name as the head of a column: "by hand", "PyTorch"."""
    return LABELS.get(name, name)


def sides(*answers: Mapping[str, object]) -> list[str]:
    """Return the sides that the mappings name: the known ones in their order, then the others."""
    met = {name for mapping in answers for name in mapping}
    return [name for name in NAMES if name in met] + sorted(met - NAMES.keys())


def by_weight(verdicts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return verdicts and counts, the most serious first."""
    return sorted(verdicts.items(), key=lambda item: (-kind_of(item[0]).weight, -item[1], item[0]))


def heaviest(verdicts: Mapping[str, int]) -> str:
    """Return the most serious verdict that occurs, or an empty string."""
    met = {verdict: count for verdict, count in verdicts.items() if count}
    return by_weight(met)[0][0] if met else ""


def worse(left: float, right: float) -> bool:
    """Whether the scaled error `left` is worse than `right`; NaN is the worst of all."""
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and not math.isnan(right)
    return left > right


def merged(cells: Iterable[Cell]) -> Cell | None:
    """Add cells up into one that keeps the worst problem of them all."""
    cells = list(cells)
    if not cells:
        return None
    worst = cells[0]
    verdicts: Counter[str] = Counter()
    histogram: Counter[str] = Counter()
    for cell in cells:
        verdicts.update(cell.verdicts)
        histogram.update(cell.histogram)
        if worse(cell.worst_scaled, worst.worst_scaled):
            worst = cell
    n = sum(cell.n for cell in cells)
    return structs.replace(worst, n=n, verdicts=dict(verdicts), histogram=dict(histogram))


@dataclass(frozen=True)
class Summary:
    """The records of a run with the figures that every page shows."""

    records: Sequence[Record]

    @cached_property
    def run(self) -> Run:
        """The run itself."""
        runs = of_type(self.records, Run)
        if len(runs) != 1:
            raise ReportError(f"a report has exactly one run, and here are {len(runs)}")
        return runs[0]

    @cached_property
    def verdicts(self) -> dict[str, int]:
        """Spelled verdicts and their counts: the run's own, or else the sum over its cells."""
        counts: Mapping[str, int] = self.run.verdicts
        if not counts:
            summed: Counter[str] = Counter()
            for cell in of_type(self.records, Cell):
                summed.update(cell.verdicts)
            counts = summed
        return {verdict: count for verdict, count in by_weight(counts) if count}

    @property
    def shown_verdicts(self) -> list[tuple[str, int]]:
        """The verdicts for pages: at most a few, the most serious ones."""
        return list(self.verdicts.items())[:MAX_VERDICTS]

    @cached_property
    def findings(self) -> list[Finding]:
        """The findings: the most serious verdict first, then by operation, most frequent first."""
        findings = of_type(self.records, Finding)
        often: Counter[tuple[int, str]] = Counter()
        for f in findings:
            often[kind_of(f.verdict).weight, f.operation] += f.count

        def place(f: Finding) -> tuple[int, int, str, int, str, str]:
            weight = kind_of(f.verdict).weight
            return -weight, -often[weight, f.operation], f.operation, -f.count, f.step, f.dtype

        return sorted(findings, key=place)

    @cached_property
    def worst(self) -> dict[str, Cell]:
        """For each dtype the cells added up, which names the worst problem."""
        return by_dtype(of_type(self.records, Cell))

    @cached_property
    def agreed(self) -> dict[str, Cell]:
        """For each dtype, add up the cells in which every problem is AGREE or SKIPPED."""
        return by_dtype(
            cell
            for cell in of_type(self.records, Cell)
            if all(kind_of(v).name in ("AGREE", "SKIPPED") for v, n in cell.verdicts.items() if n)
        )

    @property
    def wrong(self) -> int:
        """Problems in which the hand-written gradient is wrong."""
        return sum(n for verdict, n in self.verdicts.items() if kind_of(verdict) is MANUAL_WRONG)

    @property
    def exit_code(self) -> int:
        """1 when the hand-written gradient is wrong somewhere or crashed, else 0."""
        return 1 if self.wrong or "manual" in self.crashes else 0

    @property
    def strict_exit_code(self) -> int:
        """1 also when any side crashed or computes another value: its gradient has no verdict."""
        failed = any(oracle.status == "crashed" for oracle in self.run.oracles)
        return 1 if self.exit_code or self.crashes or failed or self.count("VALUE") else 0

    @cached_property
    def crashes(self) -> dict[str, int]:
        """Return the sides that crashed, and in how many problems."""
        counts: Counter[str] = Counter()
        for verdict, n in self.verdicts.items():
            if kind_of(verdict).name == "CRASHED" and n:
                counts.update(dict.fromkeys(who(verdict) or ("a side",), n))
        return {name: counts[name] for name in sides(counts)}

    def count(self, kind: str, side: str | None = None) -> int:
        """Count the problems with a kind of verdict: any of it, or those that name a side."""
        of_kind = [(v, n) for v, n in self.verdicts.items() if kind_of(v).name == kind]
        return sum(n for verdict, n in of_kind if side is None or side in who(verdict))

    def absent(self) -> list[OracleStatus]:
        """Return the sides that were skipped or crashed."""
        return [oracle for oracle in self.run.oracles if oracle.status != "ok"]

    def present(self) -> list[OracleStatus]:
        """Return the sides that answered, other than the hand-written one."""
        return [o for o in self.run.oracles if o.status == "ok" and o.name != "manual"]

    def trial_total(self, section: str, column: str) -> int | None:
        """Sum a column of a trial's table: None where there is no such table."""
        values = [
            row.columns[column]
            for row in of_type(self.records, TrialRow)
            if row.section == section and column in row.columns
        ]
        numbers = [v for v in values if isinstance(v, int | float) and math.isfinite(v)]
        return int(sum(numbers)) if numbers else None

    @property
    def state(self) -> str:
        """The run in one word: "wrong", "right", or "open".

        Open: a side crashed or has another value, the run is unfinished, the judge contradicts an
        enclosure, or nothing was checked.
        """
        if self.exit_code:
            return "wrong"
        undecided = self.count("CRASHED") or self.count("VALUE") or not self.checked
        return "open" if undecided or self.run.unfinished or self.run.unsound else "right"

    @property
    def unsound(self) -> int:
        """Audited problems in which the judge is wrong; older reports only list them."""
        return self.run.unsound_problems or len(self.run.unsound)

    @property
    def headline(self) -> str:
        """The verdict on the hand-written side in one sentence, then what limits or adds to it."""
        return " ".join([self._judgement(), *self._reservations()])

    @property
    def checked(self) -> int:
        """Problems for which there is an answer of another derivation and a verdict.

        The complex step differentiates our own forward, so it is not enough alone.
        """
        if not any(oracle.name != "complex_step" for oracle in self.present()):
            return 0
        unjudged = ("SKIPPED", "CRASHED")
        judged = sum(n for v, n in self.verdicts.items() if kind_of(v).name not in unjudged)
        return max(0, min(self.run.problems - self.run.unfinished, judged))

    def _judgement(self) -> str:
        done = self.checked
        if self.wrong:
            return (
                f"The hand-written {self.subject} is wrong in {self.wrong:,} "
                f"of {count_of(done, 'problem')}."
            )
        if not done:
            crashed = f" ({' and '.join(self._crashed())})" if self.crashes else ""
            return f"Nothing has been checked against an independent gradient{crashed}."
        if self.crashes:
            return (
                f"The hand-written {self.subject} is right in {count_of(done, 'problem')}; "
                f"there are also {' and '.join(self._crashed())}."
            )
        return f"The hand-written {self.subject} is right in all {count_of(done, 'problem')}."

    def _crashed(self) -> list[str]:
        return [f"{n:,} in which {NAMES.get(k, k)} crashed" for k, n in self.crashes.items()]

    def _reservations(self) -> list[str]:
        sentences = []
        if self.wrong and self.crashes:  # else the judgement says so
            sentences.append(f"There is no verdict on {' and '.join(self._crashed())}.")
        if self.run.unsound:
            sentences.append(
                f"The judge is wrong in {self.unsound:,} of {self.run.audited:,} "
                f"problems that were certified as a whole: {self.run.unsound[0]}."
            )
        for kind, verb, remark in (
            ("VALUE", "computes another value than the definition",
             ": either we call the framework's function incorrectly or it is wrong"),
            ("DEVIATES", "deviates", ""),
        ):  # fmt: skip
            counts = {name: self.count(kind, name) for v in self.verdicts for name in who(v)}
            others = [name for name in sides(counts) if counts[name] and name != "manual"]
            if parts := [f"{NAMES.get(k, k)} {verb} in {counts[k]:,}" for k in others]:
                sentences.append(f"{' and '.join(parts)}{remark}.")
        for oracle in self.absent():
            name = NAMES.get(oracle.name, oracle.name)
            reason = f" ({oracle.reason})" if oracle.reason else ""
            sentences.append(f"{name[:1].upper()}{name[1:]} was {oracle.status}{reason}.")
        if self.run.unfinished:
            sentences.append(
                f"The run was stopped with {self.run.unfinished:,} of {self.run.problems:,} to do."
            )
        return sentences

    @property
    def subject(self) -> str:
        """What was compared: the gradient, or the product of second order."""
        return "Hessian-vector product" if self.run.order == 2 else "gradient"

    def show_command(self, address: str) -> str:
        """Return the command that draws a problem again."""
        order = " --order 2" if self.run.order == 2 else ""
        return f"manual-backprop show {address}{order}"

    def compared(self) -> str:
        """Say what was compared: "PyTorch 2.13.0, JAX 0.10.2 and the certified gradient"."""
        return listed([_versioned(oracle) for oracle in self.present()]) or "nothing"


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def count_of(n: int, noun: str) -> str:
    """Return "1 problem" or "2,000 problems"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def error_text(scaled: float) -> str:
    """Return a scaled error as it is printed everywhere: "3.2e-16", "0", "non-finite"."""
    if not math.isfinite(scaled):
        return "non-finite"
    return "0" if scaled == 0 else f"{scaled:.1e}"


def beyond_text(cell: Cell) -> str:
    """Say in how many problems two answers differ by no finite number; "" where in none."""
    count = cell.histogram.get("nonfinite", 0)
    return f"; in {count:,} a number of one answer is not finite" if count else ""


def summary_json(summary: Summary) -> str:
    """Return summary.json: the figures for programs."""
    run = summary.run
    document: dict[str, object] = {
        "schema": run.schema,
        "state": summary.state,
        "headline": summary.headline,
        "command": run.command,
        "seed": run.seed,
        "problems": run.problems,
        "unfinished": run.unfinished,
        "verdicts": summary.verdicts,
        "findings": len(summary.findings),
        "oracles": {
            o.name: {"version": o.version, "status": o.status, "reason": o.reason}
            for o in run.oracles
        },
        "worst": _worst_json(summary.worst),
        "worst_agreed": _worst_json(summary.agreed),
        "false_alarms": summary.trial_total("false alarms", "false alarms"),
        "mutants": {
            "injected": summary.trial_total("mutants", "injected"),
            "killed": summary.trial_total("mutants", "killed"),
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def by_dtype(cells: Iterable[Cell]) -> dict[str, Cell]:
    """Add cells up for each dtype; of a hostile report with many, the first MAX_DTYPES."""
    groups = grouped(cells, lambda cell: cell.dtype)
    few = sorted(groups)[:MAX_DTYPES]
    return {dtype: total for dtype in few if (total := merged(groups[dtype]))}


def _worst_json(cells: Mapping[str, Cell]) -> dict[str, dict[str, float | str]]:
    return {
        dtype[:80]: {
            "scaled": cell.worst_scaled if math.isfinite(cell.worst_scaled) else "nan",
            "at": cell.worst_at[:80],
        }
        for dtype, cell in cells.items()
    }


def _versioned(oracle: OracleStatus) -> str:
    name = NAMES.get(oracle.name, oracle.name)
    if oracle.name == "certified" and oracle.version[:1].isdigit():
        return f"{name} (python-flint {oracle.version})"
    version = oracle.version if oracle.version[:1].isdigit() else f"({oracle.version})"
    return f"{name} {version}" if oracle.version else name
