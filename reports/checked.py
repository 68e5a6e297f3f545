"""What a check found, as records: the check makes them, the page and check.json show them.

A `Checked` holds the verdict as the terminal printed it (headline, exit code). The pages repeat it
and never work it out again, so they cannot contradict it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from reports.records import ReportError, spelled

Verdict = Literal["right", "wrong", "failed", "unchecked"]


class Fault(msgspec.Struct, frozen=True):
    """A fault of a target other than a wrong gradient, and the problem that shows it."""

    kind: str
    """raised, hung, died, shape, dtype, mutated, missing, value"""
    text: str
    problem: str
    count: int = 1
    fatal: bool = True
    """Whether the gradient cannot be called right with it."""


class Worst(msgspec.Struct, frozen=True):
    """The entry with the largest error: its place, the given value, the right value."""

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
        truth = 0.0 if abs(self.truth) <= self.bound else self.truth
        place = problem_text(self.at)
        return f"{where} of {place}: yours {self.given:.17g}, right {truth:.17g}{bound}"


class NamedMistake(msgspec.Struct, frozen=True):
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
        """Return the evidence for the name."""
        close = f"difference {self.distance:.0e}" if self.distance else "no difference"
        return (
            f"A right backward with this mistake put in gives your numbers ({close}, in "
            f"{self.matched} of the {problems_text(self.of)} compared)."
        )


class CheckedTensor(msgspec.Struct, frozen=True):
    """One gradient that came back: its input, and how often it was right."""

    name: str
    of: str
    right: int
    problems: int
    furthest: float = 0.0
    """The largest distance from the truth, as a share of the tensor's scale."""
    note: str = ""


class Numbers(msgspec.Struct, frozen=True):
    """A wrong gradient of one problem, entry by entry."""

    name: str
    shape: tuple[int, ...]
    yours: tuple[float, ...]
    right: tuple[float, ...]


class Part(msgspec.Struct, frozen=True):
    """One part of the target, and the result for it."""

    name: str
    verdict: Verdict
    form: str = ""
    judged: str = ""
    problems: int = 0
    right: int = 0
    wrong: int = 0
    tensors: tuple[CheckedTensor, ...] = ()
    missing: tuple[str, ...] = ()
    """Inputs of which no gradient came back."""
    first_wrong: str = ""
    mistakes: tuple[NamedMistake, ...] = ()
    described: tuple[tuple[str, str], ...] = ()
    worst: Worst | None = None
    smallest: str = ""
    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()
    fragile: tuple[str, ...] = ()
    drawn: str = ""
    """The shapes that were drawn, where the file gives none and something is wrong."""
    why: str = ""
    """Why it was not checked."""
    wrapper: str = ""
    """Lines to paste so that it can be checked."""
    script: str = ""
    line: int = 0
    source: str = ""
    """The file's own lines of the backward, the first of them `line`."""
    operation: str = ""
    """The operation of ours that its forward is, if it is one."""
    numbers: tuple[Numbers, ...] = ()
    """The wrong gradients of the smallest failing problem."""
    picture: tuple[Numbers, ...] = ()
    """The wrong gradients of the problem with the largest error, for the picture."""
    derivation: str = ""
    """The book's text about `operation`, as plain text."""
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


class Checked(msgspec.Struct, frozen=True):
    """What was found in one target, and the sentences about it: one object of check.json."""

    what: str
    exit_code: int
    headline: str
    parts: tuple[Part, ...] = ()
    seed: int = 0
    remarks: tuple[str, ...] = ()
    our_faults: tuple[str, ...] = ()
    ended: str = ""
    seconds: float = 0.0
    again: str = ""
    scripts: tuple[str, ...] = ()
    """Files of the folder that show what is wrong, and that the next check may replace."""
    pages: tuple[str, ...] = ()
    """The page of this target beside index.html, where several were checked."""

    @property
    def state(self) -> str:
        """The exit code in a word: right, wrong, open, hung, crashed."""
        return STATES.get(self.exit_code, "open")

    def count(self, verdict: str) -> int:
        """Return how many parts have a verdict."""
        return sum(p.verdict == verdict for p in self.parts)

    @property
    def wrong(self) -> list[Part]:
        """The parts that are not right."""
        return [p for p in self.parts if p.verdict in ("wrong", "failed")]


def verdict_of(part: Part) -> str:
    """Return a part's verdict in a few words, the same on the terminal and on the page."""
    if part.verdict == "unchecked":
        return "NOT CHECKED"
    if part.verdict == "right":
        return f"RIGHT in {part.right} of {problems_text(part.problems)} ({_compared(part)})"
    if part.wrong:
        return f"WRONG in {part.wrong} of {problems_text(part.problems)}"
    if not part.problems:
        fault = next((f.kind for f in part.faults if f.fatal), "")
        return f"FAILED: it {fault}" if fault else "FAILED"
    count = f"right in {part.right} of {problems_text(part.problems)}"
    if part.right == part.problems:
        return "FAILED: the gradients are right, but see below"
    return f"FAILED: {count}"


def _compared(part: Part) -> str:
    names = list(dict.fromkeys(t.name for t in part.tensors))
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more


def problem_text(at: str) -> str:
    """Return "problem 15 of seed 0" for "0:15"; `show 0:15` would show a problem of a report."""
    seed, _, index = at.partition(":")
    return f"problem {index} of seed {seed}"


def problems_text(count: int) -> str:
    """Return "1 problem", "20 problems"."""
    return f"{count} problem" + "s" * (count != 1)


STATES = {0: "right", 1: "wrong", 2: "open", 3: "hung", 4: "crashed"}
_WORST_FIRST = (1, 3, 4, 2)


def worst_of(codes: Iterable[int]) -> int:
    """Return one exit code for several: wrong before hung, crashed and unchecked."""
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), 0)


def headline_of(checks: Sequence[Checked]) -> str:
    """Return the verdict on several targets in one sentence; one target keeps its own."""
    if len(checks) == 1:
        return checks[0].headline
    if not checks:
        return "nothing was checked"
    words = {1: "not right", 3: "hung", 4: "crashed", 2: "not fully checked", 0: "right"}
    counts = {code: sum(c.exit_code == code for c in checks) for code in words}
    if counts[0] == len(checks):
        return f"all {len(checks)} targets are right"
    listed = ", ".join(f"{n} {words[code]}" for code, n in counts.items() if n)
    return f"{len(checks)} targets: {listed}"


# -- as JSON -----------------------------------------------------------------------------------


def plain(record: object) -> Any:
    """Return a record as JSON holds it.

    JSON has no nan and no inf, so they are strings there; half a character (a file name of another
    encoding) is "?".
    """
    return spelled(msgspec.to_builtins(record))


def read_checked(text: bytes | str) -> list[Checked]:
    """Return the checks of a check.json; raises ReportError for other content."""
    try:
        found = msgspec.json.decode(text)
        several = found if isinstance(found, list) else [found]
        return [msgspec.convert(one, Checked, strict=False) for one in several]
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ReportError(f"not a check.json: {error}") from None
