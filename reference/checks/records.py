"""What a check found, as typed records: they cross the process, fill the page, and are the JSON."""

from typing import Literal

import msgspec

Verdict = Literal["right", "wrong", "failed", "unchecked"]


class Fault(msgspec.Struct, frozen=True):
    """Something a target did beside a wrong gradient, and the problem that provoked it."""

    kind: str
    """raised, hung, died, shape, dtype, mutated, missing, value"""
    text: str
    problem: str
    count: int = 1
    fatal: bool = True
    """Whether the gradient cannot be called right with it."""


class Worst(msgspec.Struct, frozen=True):
    """The entry that is furthest off: where, what was given, what it is."""

    at: str
    tensor: str
    entry: tuple[int, ...]
    given: float
    truth: float
    bound: float = 0.0

    def sentence(self) -> str:
        """Return both values."""
        where = f"{self.tensor}{list(self.entry)}" if self.entry else self.tensor
        bound = f" ± {self.bound:.1e}" if self.bound else ""
        return (
            f"{where} of problem {self.at}: yours {self.given:.17g}, right {self.truth:.17g}{bound}"
        )


class Mistake(msgspec.Struct, frozen=True):
    """A mistake that reproduces the wrong gradient."""

    name: str
    sentence: str
    yours: str = ""
    right: str = ""
    tensors: tuple[str, ...] = ()
    matched: int = 0
    of: int = 0
    distance: float = 0.0

    def evidence(self) -> str:
        """Return what the name rests on."""
        to = f"to {self.distance:.0e}" if self.distance else "exactly"
        return f"with this mistake, our gradient matches yours {to}, in {self.matched} of {self.of} problems"


class Tensor(msgspec.Struct, frozen=True):
    """One gradient that came back: what it is of, and how often it was right."""

    name: str
    of: str
    right: int
    problems: int
    furthest: float = 0.0
    """The largest distance from the truth, as a share of the tensor's scale."""
    note: str = ""


class Part(msgspec.Struct, frozen=True):
    """One thing in the target and what was found of it."""

    name: str
    verdict: Verdict
    form: str = ""
    judged: str = ""
    problems: int = 0
    right: int = 0
    wrong: int = 0
    tensors: tuple[Tensor, ...] = ()
    missing: tuple[str, ...] = ()
    """Inputs of which no gradient came back."""
    first_wrong: str = ""
    mistakes: tuple[Mistake, ...] = ()
    described: tuple[tuple[str, str], ...] = ()
    worst: Worst | None = None
    smallest: str = ""
    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()
    fragile: tuple[str, ...] = ()
    why: str = ""
    """Why it was not checked."""
    wrapper: str = ""
    """Lines to paste so that it can be checked."""
    script: str = ""
    line: int = 0
    source: str = ""
    operation: str = ""
    """The operation of ours that its forward is, if it is one."""
    numbers: tuple["Numbers", ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every gradient of every problem is right and nothing else went wrong."""
        return self.verdict == "right"

    @property
    def names(self) -> set[str]:
        """The names of the mistakes found."""
        return {m.name for m in self.mistakes}

    @property
    def wrong_tensors(self) -> list[str]:
        """The gradients that are not right in every problem."""
        return [t.name for t in self.tensors if t.right < t.problems]


class Numbers(msgspec.Struct, frozen=True):
    """A wrong gradient of the smallest failing problem, entry by entry."""

    name: str
    shape: tuple[int, ...]
    yours: tuple[float, ...]
    right: tuple[float, ...]


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
