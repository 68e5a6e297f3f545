"""Sections of a report that depend on no run, kept between runs.

They take as long as 1,000 networks. A kept section is named after everything it depends on: this
project's source, the versions, the processor and the variables that choose kernels. So it is
read only where the same section would be made again.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import manual_backprop
import reference
import reports
from reference.oracles.environment import installed
from reference.user_cache import cache_folder, usable
from reports.reading import read_lines
from reports.records import Record, ReportError, decode, encode

MAX_KEPT = 8
"""Files of one section: those of a few environments."""


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
