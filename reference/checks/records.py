"""What a check found, as typed records: they cross the process, fill the page, and are the JSON.

What the page shows is defined with the pages (`reports.checked`); what is said while a check runs
is defined here.
"""

import msgspec

from reports.checked import Fault, Mistake, Numbers, Part, Tensor, Verdict, Worst

__all__ = [
    "Event",
    "Fault",
    "Finished",
    "Loaded",
    "Mistake",
    "Numbers",
    "OurFault",
    "Part",
    "Refused",
    "Request",
    "Started",
    "Tensor",
    "Tried",
    "Verdict",
    "Worst",
]


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


class Tried(msgspec.Struct, frozen=True, tag="tried"):
    """A problem is about to be tried: whoever watches knows that it goes on, and where."""

    problem: str
    certified: bool = False
    """Whether it runs on the numbers that carry their derivative, which takes our time."""


Event = Tried | Started | Loaded | Finished | Refused | OurFault


class Request(msgspec.Struct, frozen=True):
    """What the child is asked for."""

    target: str
    like: str | None = None
    problems: int | None = None
    seed: int = 0
    frameworks: tuple[str, ...] = ()
    skip: tuple[int, ...] = ()
    """Parts that hung or crashed when they were tried before."""
