"""What a process has used: processor time, and the time it waited for a processor.

On a busy machine the clock runs on but these do not, so they distinguish it from a hang.
"""

import os
import sys
import time
from contextlib import suppress

TICK = 0.5
"""Seconds between two looks at the clock. A machine that slept in between counts as two."""


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
