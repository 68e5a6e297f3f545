"""Writes what checks found: the report's page, check.json, and a script for each wrong part."""

import json
import platform
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from manual_backprop.spec import InvalidInput
from reference.checks.result import Part, Result, Worst
from reference.findings import network_shape, values_of
from reports.folder import CHECK_COMMAND, refuse_for_check, write_check
from reports.records import Case, Finding, NetworkShape, Record, ReportError, Run, decode, encode


def refuse_folder(folder: str | Path) -> None:
    """Raise InvalidInput, before anything runs, where a check's pages may not be written."""
    try:
        refuse_for_check(folder)
    except ReportError as error:
        raise InvalidInput(str(error)) from None


def write_report(result: Result, folder: Path) -> Result:
    """Write one check's folder; return the result with the folder named in it."""
    write_reports([result], folder)
    return replace(result, folder=str(folder))


def write_reports(results: Sequence[Result], folder: Path) -> None:
    """Write one folder for several checks: index.html, check.json, repro scripts."""
    _write([digest(result) for result in results], folder)


@dataclass(frozen=True)
class Digest:
    """What the folder needs of a check: plain values, which a worker can send."""

    target: str
    seed: int
    verdicts: dict[str, int]
    findings: list[str]
    plain: str
    scripts: dict[str, str]


def digest(result: Result) -> Digest:
    """Return what the folder needs of a check."""
    verdicts: Counter[str] = Counter()
    for part in result.parts:
        verdicts["AGREE"] += part.right
        verdicts["DEVIATES(yours)"] += part.wrong
        verdicts["CRASHED(yours)"] += sum(
            f.count for f in part.faults if f.kind in ("raised", "hung", "died", "exited")
        )
    return Digest(
        target=result.target,
        seed=result.seed,
        verdicts={k: n for k, n in verdicts.items() if n},
        findings=[encode(_finding(p, result.seed)).decode() for p in result.parts if p.wrong],
        plain=json.dumps(result.plain(), default=str),
        scripts={p.what: p.script for p in result.parts if p.script},
    )


def encoded(results: Sequence[Result]) -> list[str]:
    """Return checks as text, for the main process of a parallel test session."""
    return [json.dumps(vars(digest(result))) for result in results]


def write_session(results: Sequence[Result | str], folder: Path) -> None:
    """Write the folder of a test session: its own checks and those that workers sent."""
    digests = [Digest(**json.loads(r)) if isinstance(r, str) else digest(r) for r in results]
    _write(digests, folder)


def _write(digests: Sequence[Digest], folder: Path) -> None:
    scripts: dict[str, str] = {}
    plain: list[dict[str, Any]] = []
    single = sum(len(d.scripts) for d in digests) == 1
    for one in digests:
        named = {
            "repro.py" if single else f"repro_{number}_{_slug(what)}.py": script
            for number, (what, script) in enumerate(one.scripts.items(), len(scripts))
        }
        scripts |= named
        # The next check in this folder deletes these, and no other file.
        plain.append({**json.loads(one.plain), "scripts": list(named)})
    text = json.dumps(plain[0] if len(plain) == 1 else plain, indent=1)
    try:
        write_check(folder, _records(digests), text + "\n", scripts)
    except ReportError as error:
        raise InvalidInput(str(error)) from None


def _records(digests: Sequence[Digest]) -> list[Record]:
    """Return checks as records: a run, and a finding for every part that is wrong."""
    verdicts: Counter[str] = Counter()
    for one in digests:
        verdicts.update(one.verdicts)
    targets = " ".join(dict.fromkeys(d.target for d in digests)) or "TARGET"
    run = Run(
        command=f"{CHECK_COMMAND}{targets}",
        seed=digests[0].seed if digests else 0,
        problems=sum(verdicts.values()),
        verdicts=dict(verdicts),
        environment=_versions(),
    )
    return [run, *(decode(f.encode()) for d in digests for f in d.findings)]


def _finding(part: Part, seed: int) -> Finding:
    problem = part.shrunk.problem if part.shrunk else None
    worst = part.worst or Worst(f"{seed}:0", "", (), float("nan"), float("nan"))
    named = part.diagnosis.named if part.diagnosis else ()
    said = [n.mistake.sentence for n in named]
    said += [f"{t}: {s}" for t, s in (part.diagnosis.described if part.diagnosis else ())]
    location = part.diagnosis.location if part.diagnosis else None
    case = Case(
        at=worst.at,
        network=NetworkShape(1, (), "") if problem is None else network_shape(problem.network),
        batch=1 if problem is None else problem.batch,
        dtype="float64" if problem is None else str(problem.dtype),
        tensor=worst.tensor,
        entry=worst.entry,
        answers={"yours": repr(worst.given), "right": repr(worst.truth)},
        first_diverging_step=location.tensor if location else None,
        values={} if problem is None else values_of(problem),
        repro=part.script,
        diagnosis=" ".join(said) or None,
    )
    return Finding(
        operation=part.what,
        verdict="DEVIATES(yours)",
        count=part.wrong,
        example=case,
        step=location.tensor if location else "",
        who="yours",
        kind="DEVIATES",
        dtype=case.dtype,
        sentence=" ".join(said) or "No mistake of the catalogue fits.",
    )


def _versions() -> dict[str, str]:
    """Return what was installed; to ask the packages themselves would load them all."""
    found = {"python": platform.python_version()}
    for package in ("manual-backprop", "numpy", "torch", "jax"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_").lower()
