"""What the numbers of one run share: do they record, how many are there, which ties were met."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import flint

MAX_NODES = 400_000
PRECISION = 200


class LeftTheTape(TypeError):
    """A number that depends on a leaf was asked to become a float, an int or a complex number.

    Its derivative and its proof would be lost there, so nothing is rounded in silence.
    """


class TooManyNodes(RuntimeError):
    """More numbers were made than the session allows."""


class CloseComparison(NamedTuple):
    """A comparison whose two sides were equal, or too close for the balls to tell apart.

    operation: what compared them ("less", "maximum", "clip" …).
    left, right: the two sides, Numbers or plain floats.
    equal: both are exact and the same; False: the balls overlap, so neither is certain.
    left_tracked, right_tracked: whether that side depends on a leaf.
    recording: False when it was met while the session was paused.
    """

    operation: str
    left: object
    right: object
    equal: bool
    left_tracked: bool
    right_tracked: bool
    recording: bool


class _State:
    """The one mutable place: read by every number that is made."""

    __slots__ = (
        "array_function",
        "array_ufunc",
        "count",
        "limit",
        "methods",
        "precision",
        "recording",
        "session",
        "wrap",
    )

    def __init__(self) -> None:
        self.recording = True
        self.count = 0
        self.limit = sys.maxsize
        self.session: Session | None = None
        self.precision = PRECISION  # of the last session: of `gradient` after it too
        self.methods: dict[str, Callable[..., object]] = {}
        # Filled in by the modules above, so that a scalar can be given to a NumPy function.
        self.array_ufunc: Callable[..., object]
        self.array_function: Callable[..., object]
        self.wrap: Callable[[Any], Any]


STATE = _State()


def too_many() -> TooManyNodes:
    """The error of a run that made more numbers than it may."""
    most = STATE.session.max_nodes if STATE.session else STATE.limit
    return TooManyNodes(f"more than {most:,} numbers were made; use smaller arrays")


def note_tie(
    operation: str, left: object, right: object, equal: bool, tracked: tuple[bool, bool]
) -> None:
    """Remember a comparison that was equal or undecided."""
    session = STATE.session
    if session is not None:
        session.ties.append(
            CloseComparison(operation, left, right, equal, *tracked, STATE.recording)
        )


class Session:
    """One run on balls: the precision of its numbers, its ties, its limit.

    precision: bits of each midpoint.
    max_nodes: `TooManyNodes` is raised once more numbers than that were made.
    """

    def __init__(self, precision: int = PRECISION, max_nodes: int = MAX_NODES) -> None:
        self.precision = precision
        self.max_nodes = max_nodes
        self.ties: list[CloseComparison] = []
        self._start = 0
        self._end: int | None = 0
        self._before: tuple[int, bool, Session | None, int] | None = None

    @property
    def at_a_kink(self) -> bool:
        """Whether a comparison met equal sides that carry a derivative, as max(0, z) at z = 0."""
        return any(t.recording and (t.left_tracked or t.right_tracked) for t in self.ties)

    @property
    def nodes(self) -> int:
        """How many numbers were made on this tape."""
        return (STATE.count if self._end is None else self._end) - self._start

    def __enter__(self) -> "Session":
        self._before = STATE.limit, STATE.recording, STATE.session, flint.ctx.prec
        self._start, self._end = STATE.count, None
        STATE.limit, STATE.recording, STATE.session = STATE.count + self.max_nodes, True, self
        flint.ctx.prec = STATE.precision = self.precision
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._before is not None
        self._end = STATE.count
        STATE.limit, STATE.recording, STATE.session, flint.ctx.prec = self._before

    @contextmanager
    def paused(self) -> "Iterator[Session]":
        """Make numbers that have values and no parents until the end of the block."""
        before, STATE.recording = STATE.recording, False
        try:
            yield self
        finally:
            STATE.recording = before
