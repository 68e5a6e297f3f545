"""Keeps a page small whatever the records hold: long texts and tables are cut, with a note."""

import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from reports.records import Record, encode

MAX_TEXT = 4_000
MAX_LIST = 400
MAX_KEY = 120

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
R = TypeVar("R", bound=Record)


def visible(text: str) -> str:
    """Show control characters, and those that turn the direction of text, as what they are: odd."""
    return _INVISIBLE.sub("\ufffd", text)


def fit(records: Iterable[R], budget: int) -> tuple[list[R], int]:
    """Return the first records whose JSON fits into `budget` bytes, and how many are left out."""
    kept: list[R] = []
    left_out, used = 0, 0
    for record in records:
        if used > budget:  # not even clipped: a file of a million findings takes no time here
            left_out += 1
            continue
        size = len(encode(record))
        if size > MAX_TEXT:
            record = clipped(record)
            size = len(encode(record))
        used += size
        if used > budget and kept:
            left_out += 1
        else:
            kept.append(record)
    return kept, left_out


def clipped(record: R) -> R:
    """Return the record with every long text, list and mapping cut short."""
    plain = msgspec.to_builtins(record)
    found: R = msgspec.convert(_clip(plain), type(record), strict=False)
    return found


def _clip(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + " … (clipped)"
    if isinstance(value, dict):
        items = list(value.items())[:MAX_LIST]
        return {key[:MAX_KEY]: _clip(inner) for key, inner in items}
    if isinstance(value, list | tuple):
        return [_clip(inner) for inner in value[:MAX_LIST]]
    return value
