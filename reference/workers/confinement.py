"""What a worker may use and reach: limits, namespaces, a user of its own, a closed file system.

Each measure is taken where the system has it. `Measures` says which are active and which are
missing. Linux has all of them; other systems have the limits of POSIX.

Two steps: `separate` before anything else is loaded (a namespace needs a process of one thread),
`close` after all of ours is imported.
"""

import ctypes
import errno
import os
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000  # linux/sched.h
_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS of linux/prctl.h
_SET_DEATH_SIGNAL = 1

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same number on every machine
_VERSION, _PATH_BENEATH = 1, 1
_READ = 1 << 2 | 1 << 3
_EXECUTE = 1 << 0
_DEVICES = 1 << 6 | 1 << 11  # character and block
_FILES_OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many kinds of access to files a version of Landlock knows; later ones know 16."""

FIRST_USER = 61_000
"""A user that nobody has: each worker of a root gets one of its own."""


class Confinement(msgspec.Struct, frozen=True):
    """What a worker may use and reach; its memory has a limit of its own (`Worker.memory`)."""

    cpu_seconds: float
    file_bytes: int
    """Of one file that it writes."""
    open_files: int
    processes: int
    """Processes and threads, itself among them."""
    readable: tuple[str, ...] = ()
    """Folders that it may read and import from, besides Python's and ours."""


class Measures(msgspec.Struct, frozen=True):
    """What was taken and what this system does not have."""

    holds: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


taken = Measures()
"""The measures of this process; set by `separate` and `close`."""


def _note(what: str, holds: bool) -> None:
    global taken
    if holds:
        taken = msgspec.structs.replace(taken, holds=(*taken.holds, what))
    else:
        taken = msgspec.structs.replace(taken, lacks=(*taken.lacks, what))


def separate() -> None:
    """Leave the network and the host's shared memory, where the system lets us."""
    if sys.platform != "linux":
        _note("no network", False)
        return
    flags = _NEW_NET | _NEW_IPC | (0 if os.geteuid() == 0 else _NEW_USER)
    done = _libc().unshare(flags) == 0
    if not done and os.geteuid() == 0:
        done = _libc().unshare(flags | _NEW_USER) == 0
    _note("no network", done)


def close(confinement: Confinement) -> None:
    """Take every remaining measure; called once, before any code of others runs."""
    _limit(confinement)
    _note("a user of its own", _another_user())
    _note("no rights of root", _no_rights_of_root())
    _note("files: only Python's and its own folder", _close_files(confinement))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _limit(confinement: Confinement) -> None:
    try:
        import resource
    except ImportError:
        _note("limits of time, processes, file size and open files", False)
        return
    seconds = max(1, int(confinement.cpu_seconds))
    limits = (
        ("RLIMIT_CPU", seconds, seconds + 5),
        ("RLIMIT_FSIZE", confinement.file_bytes, confinement.file_bytes),
        ("RLIMIT_NOFILE", confinement.open_files, confinement.open_files),
        ("RLIMIT_NPROC", confinement.processes, confinement.processes),
        ("RLIMIT_CORE", 0, 0),
    )
    held = True
    for name, soft, hard in limits:
        try:
            most = resource.getrlimit(getattr(resource, name))[1]
            hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
            resource.setrlimit(getattr(resource, name), (min(soft, hard), hard))
        except (AttributeError, ValueError, OSError):
            held = False
    _note("limits of time, processes, file size and open files", held)


def _another_user() -> bool:
    """Become a user that owns nothing, where we are root and such a user can read our modules."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False  # the same user as the grader's
    user, needed = FIRST_USER + os.getpid() % 4000, list(_needed())
    try:
        os.chown(".", user, user)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.seteuid(user)
        readable = all(os.access(p, os.R_OK | os.X_OK, effective_ids=True) for p in needed)
        os.seteuid(0)
        if readable:
            os.setresuid(user, user, user)
        else:
            os.setresgid(0, 0, 0)
            os.chown(".", 0, 0)
    except OSError:
        return False
    # A change of the user forgets it.
    _libc().prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    return readable


def _no_rights_of_root() -> bool:
    """Lose what root may do beyond its own files, in a namespace where it is nobody."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return True
    return sys.platform == "linux" and bool(_libc().unshare(_NEW_USER) == 0)


def _needed() -> Iterator[str]:
    """Yield the folders that Python and our modules are read from."""
    root = Path(__file__).resolve().parents[2]
    yield from (str(root / name) for name in ("reference", "manual_backprop", "reports"))
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix}
    places |= {p for p in sys.path if "site-packages" in p or "dist-packages" in p}
    places |= {os.path.dirname(os.__file__)}
    yield from sorted(p for p in places if os.path.isdir(p))


def _close_files(confinement: Confinement) -> bool:
    """Let the process read Python's folders and write its own, by Landlock (Linux 5.13)."""
    if sys.platform != "linux":
        return False
    libc = _libc()
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        return False
    files = (1 << _FILES_OF_VERSION.get(version, 16)) - 1
    # Access to files; to TCP, from version 4; signals and sockets to others, from version 6.
    fields = [files, 0b11, 0b11][: 1 + (version >= 4) + (version >= 6)]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        system = (
            "/usr/lib",
            "/usr/lib64",
            "/lib",
            "/lib64",
            "/usr/local/lib",
            "/usr/share/zoneinfo",
        )
        own = f"/proc/{os.getpid()}"
        for place in (
            *_needed(),
            *system,
            "/etc/ld.so.cache",
            "/etc/localtime",
            own,
            *confinement.readable,
        ):
            _allow(libc, ruleset, place, files & _READ)
        for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
            _allow(libc, ruleset, device, files & (_READ | 1 << 1))
        _allow(libc, ruleset, ".", files & ~_EXECUTE & ~_DEVICES)
        if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, place: str, access: int) -> None:
    with suppress(OSError):
        folder = os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(place):
                access &= ~(1 << 3)  # a file has no entries
            rule = struct.pack("=Qi", access, folder)
            if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0) != 0:
                raise OSError(ctypes.get_errno(), errno.errorcode.get(ctypes.get_errno(), ""))
        finally:
            os.close(folder)
