"""How long a process may be silent, from measurements on this machine in this run.

A process is silent between two events. It hangs when it is silent many times longer than earlier
silences. The first work of a process includes imports and compilation, so first times are compared
with first times. On a busy machine the clock runs on, but neither the processor time of a process
nor its time without waiting for a processor does: these distinguish it from a hang.
"""

import os
import statistics
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple

MAX_FIRST = 300.0
"""Seconds for a first time while nothing is known of this machine: compilation takes 5 to 20."""

MIN_FIRST = 60.0
"""Seconds that a first time is always allowed, and a problem on its own, asked again."""

MIN_SILENCE = 15.0
"""Seconds of silence that are always allowed; one problem takes some milliseconds."""

TIMES = 10.0
"""How many times the usual silence is a hang, not a busy machine."""

TIMES_FIRST = 4.0
"""The same of first times, which vary less: how many times the longest one."""

TIMES_START = 40.0
"""The longest compilation beside the start of a process, with a factor of four."""

START = "start"
"""What the start of a process is noted as."""

MAX_KEPT = 64
"""Blocks that the usual silence is the median of."""

MAX_SLOWDOWN = 20.0
"""The clock beside the processor time of a start, at most: what is slower is a slow disk."""

TICK = 0.5
"""Seconds between two looks at the clock. A machine that slept in between counts as two."""


class Limits(NamedTuple):
    """How long a function may emit nothing: of processor time, and by the clock.

    None is no limit. The clock's limit is a ceiling for what sleeps or waits: it leaves out the
    time that the process waited for a processor, or where the system does not tell that, it is
    multiplied by how much slower than its processor time the process began.
    """

    cpu_seconds: float | None = None
    wall_seconds: float | None = None


class MeasuredTimes:
    """What was measured, shared by the workers of one machine."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._silences: deque[float] = deque(maxlen=MAX_KEPT)
        self._slowdown = 1.0
        self._lock = threading.Lock()

    def first(self, what: str, seconds: float) -> None:
        """Note how long a first time took."""
        with self._lock:
            self._first[what] = max(seconds, self._first.get(what, 0.0))

    def start(self, wall_seconds: float, cpu_seconds: float | None) -> None:
        """Note how long a process took to begin, by the clock and of processor time."""
        self.first(START, wall_seconds)
        if cpu_seconds and cpu_seconds > 0.05:  # shorter ones are not measured well enough
            slower = min(MAX_SLOWDOWN, wall_seconds / cpu_seconds)
            with self._lock:
                self._slowdown = max(self._slowdown, slower)

    def block(self, problems: int, seconds: float) -> None:
        """Note the longest silence within a finished block."""
        with self._lock:
            self._silences.append(seconds / problems)

    @property
    def slowdown(self) -> float:
        """How many seconds of the clock a second of processor time took, at the worst start."""
        return self._slowdown

    def allowed(self, problems: int, first: str = "") -> float:
        """Return how long a process may be silent about so many problems, or at a first time."""
        with self._lock:
            if first or not self._silences:
                return self._allowed_first(first)
            usual = statistics.median(self._silences)
            return max(MIN_SILENCE, TIMES * problems * usual)

    def patient(self, what: str) -> float:
        """Return the seconds after which a problem that is asked again alone counts as hung."""
        with self._lock:
            return self._allowed_first(what)

    def _allowed_first(self, what: str) -> float:
        known = self._first.get(what)
        if known is not None:
            return max(MIN_FIRST, TIMES_FIRST * known)
        if START not in self._first:
            return MAX_FIRST
        # Work that never ended so far is compared with the start of a process, which did end:
        # where that takes long, everything does.
        return max(2 * MIN_FIRST, TIMES_START * self._first[START])


def processor_seconds(pid: int) -> float | None:
    """Return the processor time of a process and its ended children; None if it is unknown."""
    with suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return sum(map(int, fields[11:15])) / float(os.sysconf("SC_CLK_TCK"))
    with suppress(Exception):  # psutil need not be installed, and the process need not be there
        import psutil

        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return None


def waiting_seconds(pid: int) -> float | None:
    """Return how long a process was ready and had no processor; None if it is unknown."""
    with suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    return None


def memory_held() -> int:
    """Return the bytes of memory that this process holds now; at its peak, if that is all known."""
    with suppress(OSError, ValueError, AttributeError):
        with open("/proc/self/statm", "rb") as pages:
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Silence:
    """How long a process has emitted nothing, by its processor time and by the clock.

    `wall` leaves out the time that the process waited for a processor, where the system tells it:
    `corrected` says so. `cpu` is None where the system does not tell it. The system is asked after
    the first tick only: most silences are shorter.
    """

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        self.restart()

    def restart(self) -> None:
        """Begin to count again."""
        self.wall, self.cpu, self.corrected = 0.0, 0.0 if self.pid else None, False
        self._seen = time.monotonic()
        self._used: float | None = None
        self._waited: float | None = None

    def look(self) -> None:
        """Count the time since the last look."""
        now = time.monotonic()
        passed, self._seen = min(now - self._seen, 2 * TICK), now
        if self.pid and self.wall + passed >= TICK:
            passed -= min(passed, self._waited_since_the_last_look(self.pid))
            used = processor_seconds(self.pid)
            if self._used is None:
                self._used = used
            self.cpu = None if used is None or self._used is None else used - self._used
        self.wall += passed

    def _waited_since_the_last_look(self, pid: int) -> float:
        before, self._waited = self._waited, waiting_seconds(pid)
        self.corrected = self._waited is not None
        return 0.0 if before is None or self._waited is None else max(0.0, self._waited - before)
