"""How every file of a report's folder is read: whole, bounded in size and depth, with one error.

A folder may hold anything by these names: a pipe, a device, gigabytes, half a character, brackets
without end. All of that is a ReportError of one line, and is found before anything is written.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from reports.records import ReportError

MAX_BYTES = 256 << 20
"""Bytes of one file, but for records.jsonl. A check.json of ours has some kilobytes."""

MAX_LINE = 64 << 20
"""Bytes of one line of records.jsonl; a finding with its numbers takes some kilobytes."""

MAX_RECORDS = 4 << 30
"""Bytes of records.jsonl."""

MAX_DEPTH = 50
"""Objects and lists inside one another."""

_T = TypeVar("_T")


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return a file's bytes.

    Raises ReportError where it is no regular file, or has more than `most` bytes; OSError where
    the system cannot read it (FileNotFoundError where there is none).
    """
    _refuse_irregular(path, most)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:  # it grew, or is one of those files that claim to be empty
        raise ReportError(f"{show(path)}: larger than {most:,} bytes")
    return content


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file of records; the same errors as `read_bytes`."""
    _refuse_irregular(path, MAX_RECORDS)
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise ReportError(f"{show(path)}: a line of more than {MAX_LINE:,} bytes")
            yield line


def read_json(path: Path, kind: type[_T]) -> _T:
    """Return a JSON file as `kind`; raises as `read_bytes`, and for other content."""
    content = read_bytes(path)
    try:
        found: object = msgspec.json.decode(content)
        if _deeper_than(found, MAX_DEPTH):
            raise RecursionError
        return msgspec.convert(found, kind)
    except RecursionError:
        raise ReportError(f"{show(path)}: damaged, it nests too deep") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())[:200]
        raise ReportError(f"{show(path)}: damaged, or not ours ({text})") from None


def show(path: Path) -> str:
    """Return a path as it can be printed in one line."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def _refuse_irregular(path: Path, most: int) -> None:
    found = path.stat()
    if not path.is_file():  # a pipe would never end
        raise ReportError(f"{show(path)}: not a regular file")
    if found.st_size > most:
        raise ReportError(f"{show(path)}: {found.st_size:,} bytes; expected at most {most:,}")


def _deeper_than(found: object, depth: int) -> bool:
    if not isinstance(found, dict | list):
        return False
    inside = found.values() if isinstance(found, dict) else found
    return depth == 0 or any(_deeper_than(value, depth - 1) for value in inside)
