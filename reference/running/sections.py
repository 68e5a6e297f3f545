"""The sections of a report that are not about its networks, made in a worker during the run.

The ledger, the accuracy of each operation and the audit of the articles do not depend on the
seed. The validation of the judge and the bench take too long for a report: the last
measurement is kept in `baselines/` and shown with its versions.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from reference.oracles import load
from reference.running.section_cache import kept
from reports.records import Record, decode, encode

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

KEPT = ("accuracy", "articles", "second")
"""Sections that are kept between runs: the others are read from a file already."""


def section(name: str) -> list[Record]:
    """Make one section, or take it from the cache; a worker calls this."""
    return kept(name, SECTIONS[name]) if name in KEPT else SECTIONS[name]()


def keep(name: str, records: Iterable[Record]) -> Path:
    """Keep the records of a long measurement for every report from now on."""
    BASELINES.mkdir(exist_ok=True)
    file = BASELINES / f"{name}.jsonl"
    file.write_bytes(b"".join(encode(record) + b"\n" for record in records))
    return file
