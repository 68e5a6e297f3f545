"""Notes and refuses what a submission tries that no gradient needs; in the submission's process.

Python code cannot remove an audit hook. The hook records what is tried and refuses it. What gets
past it is stopped by the measures of `reference.workers.confinement`.
"""

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable
from types import FrameType

from reference.grading.records import Attempt

MAX_ATTEMPTS = 10
"""Attempts that are reported of one process; more tell nothing new."""

_PROCESSES = frozenset(
    "os.fork os.forkpty os.system os.exec os.posix_spawn os.spawn "
    "subprocess.Popen pty.spawn".split()
)
_SIGNALS = frozenset("os.kill os.killpg signal.pthread_kill".split())
_MEMORY = frozenset("gc.get_objects gc.get_referrers gc.get_referents sys.addaudithook".split())
_CHANGES = frozenset(
    "os.remove os.rename os.rmdir os.mkdir os.link os.symlink os.chmod os.chown os.truncate "
    "shutil.rmtree shutil.move shutil.copyfile".split()
)
_STDLIB = os.path.realpath(sysconfig.get_paths()["stdlib"])
_OURS = os.path.realpath(os.path.join(os.path.dirname(__file__), os.pardir, os.pardir))
_PUBLIC = (
    "/dev/null",
    "/dev/urandom",
    "/dev/zero",
    "/usr/lib",
    "/usr/share",
    "/lib",
    "/etc/localtime",
)


class Guard:
    """The hook, and what it has reported."""

    def __init__(self, report: Callable[[Attempt], None]) -> None:
        self._report, self._reported, self._inside = report, set[str](), False
        self._own = os.path.realpath(os.getcwd())
        self._places = (
            self._own, _STDLIB, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix),
            *(os.path.join(_OURS, p) for p in ("reference", "manual_backprop", "reports")),
            *(os.path.realpath(p) for p in sys.path if "-packages" in p), *_PUBLIC,
        )  # fmt: skip

    def watch(self) -> None:
        """Begin to watch; there is no end to it."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._inside:
            return
        self._inside = True
        try:
            kind, detail = self._judge(event, arguments)
        finally:
            self._inside = False
        if kind:
            self._note(kind, detail)
            raise PermissionError(f"{event} is not allowed in a submission")

    def _judge(self, event: str, arguments: tuple[object, ...]) -> tuple[str, str]:
        """Return what kind of attempt it is, ("", "") for none."""
        if event == "open":
            return self._opened(arguments)
        if event in _PROCESSES:
            return "process", f"begins another process ({event})"
        if event in _SIGNALS:
            return "signal", f"sends a signal to a process ({event})"
        if event.startswith("socket.") and event != "socket.gethostname":
            return "network", f"uses the network ({event})"
        if event in _MEMORY and self._by_submission():
            return "judge", f"looks for the judge's objects ({event})"
        if event == "ctypes.dlopen" and self._by_submission():
            return "judge", "loads a C library"
        if event in _CHANGES and not self._inside_own(arguments[0]):
            return "files", f"changes files outside its folder ({event})"
        return "", ""

    def _opened(self, arguments: tuple[object, ...]) -> tuple[str, str]:
        path, mode = arguments[0], arguments[1]
        if not isinstance(path, str | bytes | os.PathLike):
            return "", ""
        place = os.path.realpath(os.fsdecode(path))
        writes = any(c in (mode or "") for c in "wax+") if isinstance(mode, str) else False
        if writes and place != os.devnull and not _within(place, (self._own,)):
            return "files", "writes a file outside its folder"
        if _within(place, self._places) or place.startswith(f"/proc/{os.getpid()}/stat"):
            return "", ""
        return ("files", "reads a file outside its folder") if self._by_submission() else ("", "")

    def _inside_own(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return True
        return _within(os.path.realpath(os.fsdecode(path)), (self._own,))

    def _by_submission(self) -> bool:
        """Whether the submission called, through the standard library alone."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            file = os.path.realpath(frame.f_code.co_filename)
            if _within(file, (self._own,)):
                return True
            inside = _within(file, (_STDLIB,)) and "site-packages" not in file
            if not (
                inside or file == os.path.realpath(__file__) or frame.f_code.co_filename[0] == "<"
            ):
                return False
            frame = frame.f_back
        return False

    def _note(self, kind: str, detail: str) -> None:
        if detail not in self._reported and len(self._reported) < MAX_ATTEMPTS:
            self._reported.add(detail)
            self._inside = True
            try:
                self._report(Attempt(kind, detail))
            finally:
                self._inside = False


def _within(place: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of these or lies in one of them."""
    return any(place == f or place.startswith(f + os.sep) for f in folders)
