"""What a check found, as typed records: they cross the process, fill the page, and are the JSON.

What the page shows is defined with the pages (`reports.checked`); what a check sends while it runs
is defined here.
"""

import msgspec

from reports.checked import Part


class PartStarted(msgspec.Struct, frozen=True, tag="started"):
    """A part is being checked."""

    index: int
    name: str
    of: int


class TargetLoaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The target was loaded, with remarks on it as a whole."""

    remarks: tuple[str, ...] = ()


class PartFinished(msgspec.Struct, frozen=True, tag="finished"):
    """A part was checked."""

    index: int
    part: Part


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The request cannot be carried out: bad input, in one sentence."""

    text: str


class InternalError(msgspec.Struct, frozen=True, tag="our_fault"):
    """Our own code failed; the author's code is not to blame."""

    index: int
    name: str
    text: str


class Tried(msgspec.Struct, frozen=True, tag="tried"):
    """A problem is about to be tried: the parent process sees progress, and where it is."""

    problem: str
    certified: bool = False
    """Whether it runs on the numbers that carry their derivative, which takes our time."""


Event = Tried | PartStarted | TargetLoaded | PartFinished | Refused | InternalError


class CheckRequest(msgspec.Struct, frozen=True):
    """The request to the process."""

    target: str
    like: str | None = None
    problems: int | None = None
    seed: int = 0
    frameworks: tuple[str, ...] = ()
    skip: tuple[int, ...] = ()
    """Parts that hung or crashed when they were tried before."""
