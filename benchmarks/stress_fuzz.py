"""Broken records, databases, option values and hostile names: refused in one line, or a page.

Everything runs in this process, through the same doors as the commands: a traceback is an
exception that is no `InvalidInput`, a hang is more than `SECONDS` for one case.
"""

import contextlib
import io
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from unittest import mock

from stress_kills import message_of

from manual_backprop.operation import InvalidInput
from reports.folder import write_report
from reports.records import Case, Cell, Finding, NetworkShape, Record, ReportError, Run

SECONDS = 30
STORE = "campaign.sqlite"
ROOT = Path(__file__).parent.parent
CLEAR = (InvalidInput, ReportError)
Tried = tuple[int, int]
sys.path.append(str(ROOT / "tests"))  # its hostile records serve here

HOSTILE = (
    "<script>alert(1)</script>",
    "a\nb\r\nc\x00d\x1b[31m\u202e\ud800",
    "../../../../etc/passwd",
    "/etc/passwd",
    "'; DROP TABLE blocks; --",
    "{{ 7 * 7 }}{% raw %}",
    "]]>&lt;&#x3c;\"'`",
    "=cmd|' /C calc'!A0",
    "x" * 10_000_000,
    "",
    "nan",
    "-0",
    "1e999",
    "9" * 400,
    "9" * 5000,
    "0:" + "9" * 5000,
    "\N{DEVANAGARI DIGIT ONE}",
)
ORACLES = (
    "os:path", "os:getcwd", ":X", ".foo:X", "numpy:array", "builtins:list", "builtins:object",
    "nowhere:X", "json:tool", "a:b:c", ":",
)  # fmt: skip
VALUES: tuple[object, ...] = (
    None, True, -1, 0, 2**63, 2**64, -(2**70), 1e308, float("inf"), float("nan"), "", [], {}, [[]],
    {"": {}}, *HOSTILE[:8],
)  # fmt: skip


class Escaped(Exception):
    """A case that ended neither in a page nor in a clear error."""


@contextmanager
def limit(what: str) -> Iterator[None]:
    """End a case that hangs; name what escapes."""

    def late(*_: object) -> None:
        raise Escaped(f"{what}: no end within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    except (*CLEAR, Escaped):
        raise
    except BaseException as error:
        raise Escaped(f"{what}: {type(error).__name__}: {str(error)[:300]}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(what: str, case: Callable[[], object]) -> bool:
    """Run a case; say whether it was refused by a clear error."""
    try:
        with limit(what):
            case()
    except CLEAR:
        return True
    return False


def example() -> list[Record]:
    """Return the records of a small run."""
    shape = NetworkShape(input_width=2, layers=(), loss="mse", loss_parameters={}, reduction="mean")
    case = Case(at="0:1", network=shape, batch=2, dtype="float64", regime="ordinary", values={})
    return [
        Run(command="manual-backprop report", seed=0, problems=3, verdicts={"AGREE": 2}),
        Cell(activation="relu", loss="mse", regime="ordinary", dtype="float64", n=3,
             verdicts={"AGREE": 2, "CONVENTION": 1}, histogram={}, worst_scaled=0.0,
             worst_at="0:1", worst_tensor="x", worst_between="manual, torch"),
        Finding(operation="relu", verdict="CONVENTION", count=1, example=case, step="z",
                who="", kind="CONVENTION", dtype="float64", sentence="so"),
    ]  # fmt: skip


def fuzz_records(folder: Path, count: int, chance: random.Random) -> Tried:
    """Break a record file in ways of bytes and of values; build the pages of it again."""
    from reports.folder import rebuild

    source = folder / "records"
    write_report(source, example())
    lines = (source / "records.jsonl").read_bytes()
    none = 0
    for i in range(count):
        broken = _damaged(lines, chance) if i % 2 else _revalued(lines, chance)
        out = folder / "broken"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(source, out)
        (out / "records.jsonl").write_bytes(broken)
        (folder / "neighbour").write_bytes(b"untouched")
        none += refused(f"records {i}: {broken[:200]!r}", partial(rebuild, out))
        if (folder / "neighbour").read_bytes() != b"untouched":
            raise Escaped(f"records {i}: a file outside the report was written")
    return count, none


def fuzz_databases(folder: Path, count: int, chance: random.Random) -> Tried:
    """Break a store in the middle of a run; read it as --resume does."""
    from reference.campaign import RunStatistics
    from reference.running.store import Store

    source = folder / "store"
    source.mkdir()
    whole = _store(source)

    def read(out: Path) -> None:
        opened = Store(out)
        try:
            opened.plan()
            opened.finished()
            statistics = RunStatistics()
            for result in opened.results():
                statistics.add(result)
            list(statistics.cells(0))
        finally:
            opened.close()

    none = 0
    for i in range(count):
        out = folder / "broken-store"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / STORE).write_bytes(_damaged(whole, chance))
        none += refused(f"database {i}", partial(read, out))
    return count, none


def _store(folder: Path) -> bytes:
    """Return a store with two blocks."""
    from reference.campaign import BlockResult, Outcome, Plan
    from reference.running.store import Store

    store = Store(folder)
    store.begin(Plan(problems=1000), {"numpy": "2"})
    for start in (0, 512):
        outcomes = [Outcome(i, "AGREE", 1e-16, "x", "a, b") for i in range(start, start + 512)]
        store.add(BlockResult(start, start + 512, outcomes, [], 1, 10, {"depth/1": 3}))
    store.close()
    return (folder / STORE).read_bytes()


def fuzz_options(folder: Path, count: int, chance: random.Random) -> Tried:
    """Give every option of every quick command hostile values, through the command line's door."""
    from reference import cli
    from reference.campaign import Plan
    from reference.oracles import load
    from reference.running import report

    def nothing_is_run(plan: Plan, out: Path, **_: object) -> None:
        """What a run does before its first block: the blocks are listed, the oracles loaded."""
        plan.blocks()
        load(plan.oracles)
        raise InvalidInput(f"out={str(out)!r}: nothing is run here")

    options = {
        "report": ("--problems", "--seed", "--dtype", "--activation", "--loss", "--regime",
                   "--oracle", "--workers", "--scheduler",
                   "--out"),
        "show": ("",),
        "diff": ("",),
        "bench": ("",),
        "articles": ("",),
        "explain": ("",),
    }  # fmt: skip
    none = 0
    for i in range(count):
        command = chance.choice(list(options))
        option = chance.choice(options[command])
        value = chance.choice(
            ORACLES if option == "--oracle" and chance.random() < 0.5 else HOSTILE
        )
        if option in ("--out", "--scheduler") and "\x00" not in value and len(value) < 200:
            value = f"{value}\x00"  # a folder of that name would be made, and a run begun
        arguments = [command, *([option] if option else []), value.replace("\ud800", "?")]
        if option == "--oracle":
            arguments += ["--oracle", "manual"]
        if command == "diff":
            arguments += [value.replace("\ud800", "?")]
        with mock.patch.object(report, "report", nothing_is_run):
            none += _one_command(f"options {i}: {[a[:80] for a in arguments]}", arguments, cli)
    del folder
    return count, none


def fuzz_names(folder: Path, count: int, chance: random.Random) -> Tried:
    """Put hostile names into every text of every record; write, read again and compare reports."""
    from hostilerecords import HOSTILE as MARKUP
    from hostilerecords import hostile_records

    from reports.folder import diff_folders, rebuild, write_diff

    source = folder / "harmless"
    write_report(source, example())
    for i in range(count):
        name = chance.choice((*HOSTILE, *MARKUP))
        # Ten million characters in one record of each kind are enough: a thousand would be memory.
        records = _named(name) if len(name) > 1000 or i % 2 else hostile_records(name)
        out = folder / "names"
        shutil.rmtree(out, ignore_errors=True)
        before = {path for path in folder.rglob("*") if out not in path.parents}

        def pages(out: Path = out, records: list[Record] = records) -> None:
            write_report(out, records)
            rebuild(out)
            for there, back in ((source, out), (out, source)):
                write_diff(out, diff_folders(there, back))

        refused(f"names {i}: {name[:60]!r}", pages)
        after = {path for path in folder.rglob("*") if out not in path.parents}
        if after - before - {out}:
            raise Escaped(f"names {i}: wrote {after - before}")
        for page in out.glob("*.html"):
            text = page.read_text(encoding="utf-8")
            if any(markup in text for markup in ("<script>alert", "<img src=x", '" onmouseover')):
                raise Escaped(f"names {i}: markup came through in {page.name}")
    return count, 0


def _named(name: str) -> list[Record]:
    from msgspec.structs import replace

    run, cell, finding = example()
    case = replace(finding.example, at=name, tensor=name, answers={name: name}, bound=name)
    return [
        replace(run, command=name, version=name, verdicts={name: 1}, environment={name: name}),
        replace(cell, activation=name, loss=name, regime=name, dtype=name, worst_tensor=name),
        replace(finding, operation=name, verdict=name, sentence=name, who=name, example=case),
    ]


def fuzz_clock(folder: Path, count: int, chance: random.Random) -> Tried:
    """Let the wall clock jump while reports are written: their bytes know no time."""
    pages = []
    for i in range(count):
        out = folder / "clock"
        shutil.rmtree(out, ignore_errors=True)
        jumps = mock.Mock(side_effect=lambda: chance.uniform(0, 2**33))
        with mock.patch("time.time", jumps):
            refused(f"clock {i}", partial(write_report, out, example()))
        pages.append({p.name: p.read_bytes() for p in out.iterdir() if p.suffix != ".json"})
        if pages[-1] != pages[0]:
            raise Escaped(f"clock {i}: the pages differ")
    return count, 0


def fuzz_processes(folder: Path, count: int, chance: random.Random) -> Tried:
    """Give broken stores, records and options to real processes; see their exit and their words."""
    stores, reports = folder / "stores", folder / "reports"
    stores.mkdir()
    whole = _store(stores)
    write_report(reports, example())
    lines = (reports / "records.jsonl").read_bytes()
    none = 0
    for i in range(count):
        out = folder / f"out-{i}"
        shutil.copytree(reports, out)
        match chance.randrange(3):
            case 0:
                (out / STORE).write_bytes(_damaged(whole, chance))
                # Another run's environment: even an unharmed store is refused, nothing is run.
                arguments = ["report", "--resume", "--workers", "1", "--out", str(out)]
            case 1:
                (out / "records.jsonl").write_bytes(_damaged(lines, chance))
                arguments = ["diff", str(reports), str(out)]
            case _:
                option = chance.choice(("--seed", "--dtype", "--loss", "--oracle", "--workers"))
                value = chance.choice([v for v in HOSTILE if len(v) < 10_000 and "\x00" not in v])
                arguments = ["report", "--problems", "0", option, value.replace("\ud800", "?")]
        done = subprocess.run(
            [sys.executable, "-m", "reference", *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS * 4,
            cwd=ROOT,
        )
        what = f"process {i}: {[a[:80] for a in arguments]}"
        _judged(what, done.returncode, f"{message_of(done.stderr)}\n")
        none += done.returncode == 2
        shutil.rmtree(out)
    return count, none


ALL = {
    fuzz_records: 0.55,
    fuzz_databases: 0.3,
    fuzz_options: 0.125,
    fuzz_processes: 0.005,
    fuzz_names: 0.01,
    fuzz_clock: 0.01,
}


def _one_command(what: str, arguments: list[str], cli: ModuleType) -> bool:
    output, errors = io.StringIO(), io.StringIO()
    code: object = 0
    with limit(what), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        with mock.patch.object(sys, "argv", ["manual-backprop", *arguments]):
            try:
                cli.main()
            except SystemExit as exit_:
                code = exit_.code
    _judged(what, code, errors.getvalue())
    return code == 2


def _judged(what: str, code: object, text: str) -> None:
    if "Traceback" in text:
        raise Escaped(f"{what}: a traceback")
    if code == 2 and (text.count("\n") != 1 or len(text) > 4000):
        raise Escaped(f"{what}: exit 2 without one short line: {text[:300]!r}")
    if code not in (0, 1, 2, None):
        raise Escaped(f"{what}: exit {code}")


def _damaged(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes cut, flipped, doubled, overwritten or exchanged somewhere."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(damaged) + 1)
        size = chance.choice((1, 1, 2, 16, 400))
        match chance.randrange(5):
            case 0:
                del damaged[at:]
            case 1:
                damaged[at : at + size] = chance.randbytes(size)
            case 2:
                damaged[at:at] = damaged[max(0, at - size) : at]
            case 3:
                del damaged[at : at + size]
            case 4 if at < len(damaged):
                damaged[at] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def _revalued(lines: bytes, chance: random.Random) -> bytes:
    """Return the records with one value, key or line exchanged for a hostile one."""
    records = [json.loads(line) for line in lines.splitlines()]
    where = chance.choice(records)
    value = chance.choice(VALUES if chance.random() < 0.97 else HOSTILE)
    while True:
        key = (
            chance.choice(list(where)) if isinstance(where, dict) else chance.randrange(len(where))
        )
        inner = where[key]
        if not isinstance(inner, (dict, list)) or not inner or chance.random() < 0.5:
            break
        where = inner
    match chance.randrange(4):
        case 0 if isinstance(where, dict):
            where[str(value)[:200]] = where.pop(key)
        case 1 if isinstance(where, dict):
            del where[key]
        case _:
            where[key] = value
    chance.shuffle(records) if chance.random() < 0.1 else None
    return "\n".join(json.dumps(record) for record in records).encode("utf-8", "replace")
