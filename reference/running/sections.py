"""The sections of a report that are not about its networks, made in a worker during the run.

The ledger, the accuracy of each operation and the audit of the articles do not depend on the
seed. The validation of the judge and the bench take too long for a report: the last
measurement is kept in `baselines/` and shown with its versions.

Making them takes as long as 1,000 networks, so they are kept between runs. A kept section is named
after everything it depends on: this project's source, the versions, the processor and the variables
that choose kernels. So it is read only where the same section would be made again.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import manual_backprop
import reference
import reports
from reference.oracles import load
from reference.oracles.environment import installed
from reference.user_cache import cache_folder, usable
from reports.reading import read_lines
from reports.records import Record, ReportError, decode, encode

MAX_KEPT = 8
"""Files of one section: those of a few environments."""

BASELINES = Path(__file__).parent / "baselines"


def conventions() -> list[Record]:
    """Return the ledger of the installed framework versions: the kept one, or one swept now."""
    from reference.conventions import ledger

    if any(oracle.unavailable() for oracle in load(("torch", "jax")).values()):
        return []
    file = ledger.path()
    return [*(ledger.read(file) if file.is_file() else ledger.discover())]


def accuracy() -> list[Record]:
    """Return the worst errors of each operation in each implementation."""
    from reference.trials.accuracy import measure

    return [*measure()]


def second() -> list[Record]:
    """Return the worst errors of each operation's second derivative."""
    from reference.trials.accuracy import measure

    rows = measure(points=300, curves=False, order=2)
    return [row for row in rows if row.quantity == "second"]


def articles() -> list[Record]:
    """Return every claim of the five articles, decided."""
    from reference.articles.commands import audit

    return [*audit()]


def baselines() -> list[Record]:
    """Return the kept records of the last trial and the last bench."""
    files = sorted(BASELINES.glob("*.jsonl"))
    return [decode(line) for file in files for line in file.read_bytes().splitlines()]


SECTIONS: dict[str, Callable[[], list[Record]]] = {
    "conventions": conventions,
    "accuracy": accuracy,
    "articles": articles,
    "baselines": baselines,
    "second": second,
}
OF_ORDER = {1: ("conventions", "accuracy", "articles", "baselines"), 2: ("second",)}
"""The sections of a report, by its order."""

CACHED = ("accuracy", "articles", "second")
"""Sections that are kept between runs: the others are read from a file already."""


def section(name: str) -> list[Record]:
    """Make one section, or take it from the cache; a worker calls this."""
    return kept(name, SECTIONS[name]) if name in CACHED else SECTIONS[name]()


def keep(name: str, records: Iterable[Record]) -> Path:
    """Keep the records of a long measurement for every report from now on."""
    BASELINES.mkdir(exist_ok=True)
    file = BASELINES / f"{name}.jsonl"
    file.write_bytes(b"".join(encode(record) + b"\n" for record in records))
    return file


def kept(name: str, make: Callable[[], list[Record]]) -> list[Record]:
    """Return a section from the cache, or make it and keep it; without a cache it takes longer."""
    base = cache_folder()
    place = None if base is None else base / "sections"
    if place is None or not usable(place):
        return make()
    file = place / f"{name}-{_key()}.jsonl"
    with suppress(OSError, ReportError):
        if found := _read(file):
            return found
    records = make()
    with suppress(OSError):
        _write(file, records)
        _prune(place, name)
    return records


def _read(file: Path) -> list[Record]:
    """Return the records of a file; its last line is a checksum of the others."""
    lines = list(read_lines(file))
    if not lines or lines[-1].strip() != _checksum(lines[:-1]):
        raise ReportError(f"{file}: damaged")
    return [decode(line) for line in lines[:-1]]


def _write(file: Path, records: list[Record]) -> None:
    lines = [encode(record) + b"\n" for record in records]
    descriptor, temporary = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(descriptor, "wb") as output:
        output.writelines([*lines, _checksum(lines), b"\n"])
    os.replace(temporary, file)


def _checksum(lines: list[bytes]) -> bytes:
    return hashlib.blake2b(b"".join(lines), digest_size=16).hexdigest().encode()


def _prune(place: Path, name: str) -> None:
    files = sorted(place.glob(f"{name}-*.jsonl"), key=lambda p: p.stat().st_mtime, reverse=True)
    for file in files[MAX_KEPT:]:
        file.unlink(missing_ok=True)


@cache
def _key() -> str:
    whole = hashlib.blake2b(repr(sorted(installed().items())).encode(), digest_size=16)
    for package in (manual_backprop, reference, reports):
        for path in package.__path__:
            for file in sorted(Path(path).rglob("*.py")):
                whole.update(file.read_bytes())
    return whole.hexdigest()
