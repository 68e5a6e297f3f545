"""What a check found, as typed records: they cross the process, fill the page, and are the JSON.

What the page shows is defined with the pages (`reports.checked`); what is said while a check runs
is defined here.
"""

from typing import Any

import msgspec

from reports.checked import Fault, Mistake, Numbers, Part, Tensor, Verdict, Worst, plain

__all__ = [
    "Event", "Fault", "Finished", "Loaded", "Mistake", "Numbers", "OurFault", "Part", "Refused",
    "Request", "Started", "Tensor", "Verdict", "Worst", "decode", "encode",
]  # fmt: skip


class Started(msgspec.Struct, frozen=True, tag="started"):
    """A part is being checked."""

    index: int
    name: str
    of: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The target was loaded; what it holds."""

    names: tuple[str, ...]
    remarks: tuple[str, ...] = ()


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """A part was checked."""

    index: int
    part: Part


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The request cannot be carried out: bad input, in one sentence."""

    text: str


class OurFault(msgspec.Struct, frozen=True, tag="our_fault"):
    """Our own code failed; it is not put on the author."""

    index: int
    name: str
    text: str


Event = Started | Loaded | Finished | Refused | OurFault


def encode(record: Any) -> bytes:
    """Return a record as one line of JSON; nan and inf survive it."""
    return msgspec.json.encode(plain(record))


def decode(line: bytes) -> Event:
    """Return the event of a line."""
    found: Event = msgspec.json.decode(line, type=Event, strict=False)
    return found


class Request(msgspec.Struct, frozen=True):
    """What the child is asked for."""

    target: str
    like: str | None = None
    problems: int | None = None
    seed: int = 0
    frameworks: tuple[str, ...] = ()
    skip: tuple[int, ...] = ()
    """Parts that hung or crashed when they were tried before."""
