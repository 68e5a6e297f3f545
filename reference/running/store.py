"""Finished blocks, kept in SQLite beside the report, so that a run can be killed and resumed.

The plan and every block have a checksum; a block's includes its plan and its position. So a changed
file is reported as damaged, and never gives another result.
"""

import errno
import hashlib
import hmac
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from manual_backprop.operation import InvalidInput
from reference.campaign import BlockResult, Plan

NAME = "campaign.sqlite"

CHECKSUM = 16
"""Bytes of a checksum, which precede its content."""

MAX_BLOCK = 1 << 28
"""Maximal bytes of a block, packed or not. Ours have some 100 kB; a damaged one may claim more."""

_DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS plan (only INTEGER PRIMARY KEY CHECK (only = 1), plan BLOB NOT NULL,
                                 environment BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS blocks (start INTEGER PRIMARY KEY, result BLOB NOT NULL);
"""


class Store:
    """The blocks of one run. A finished block is one transaction; the file is held exclusively."""

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        """Lock the folder's file. `fresh` deletes an earlier run's first, damaged or not.

        Raises InvalidInput where another run has the lock, or the file cannot be read or written.
        """
        self.path = folder / NAME
        self._own: os.stat_result
        self._of = b""  # what a block's checksum begins with: its plan's
        with _clear_errors(self.path):
            self._base = sqlite3.connect(":memory:")
            try:
                self._open(fresh)
            except BaseException:
                self._base.close()
                raise

    def _open(self, fresh: bool) -> None:
        if fresh:
            self._forget()
        while not self._lock():  # its owner ended just now, and removed the file
            self._base.close()

    def _lock(self) -> bool:
        """Open and lock the file; return whether the locked file is still the one in the folder."""
        # Closed again before SQLite opens it: closing any descriptor would drop the locks.
        # With a link our tables would be written into another file.
        no_link = getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | no_link, 0o666)
        self._own = os.fstat(descriptor)
        os.close(descriptor)
        # Runs begun at once hinder each other for a moment; then one of them has the lock.
        self._base = sqlite3.connect(self.path, timeout=1.0, isolation_level=None)
        # The lock is taken by the first write and kept until the connection closes or dies.
        self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BLOCK)
        self._base.execute("PRAGMA cache_size = -256")  # kB; blocks are read once, if ever
        self._base.execute("PRAGMA synchronous = FULL")  # a power cut costs no finished block
        self._base.execute("BEGIN EXCLUSIVE")
        for statement in _SCHEMA.split(";"):
            self._base.execute(statement)
        self._base.execute("COMMIT")
        return self._in_place()

    def _forget(self) -> None:
        """Delete an earlier run's file, unless that run still writes it."""
        in_place = True
        try:
            in_place = self._lock()
        except sqlite3.DatabaseError as error:
            if not getattr(error, "sqlite_errorname", "").startswith(_DAMAGED):
                raise
        try:  # while it is locked: another run could begin in it
            if in_place:
                self._delete_files()
        except PermissionError:  # a system that deletes no open file
            self._base.close()
            self._delete_files()
        self._base.close()

    def _delete_files(self) -> None:
        for file in (self.path.with_name(f"{NAME}-journal"), self.path):
            file.unlink(missing_ok=True)

    def _in_place(self) -> bool:
        """Return whether the file in the folder is still the one that was opened."""
        return self.path.exists() and os.path.samestat(self._own, self.path.stat())

    def begin(self, plan: Plan, environment: dict[str, str]) -> None:
        """Start again: delete every block and keep the plan."""
        with _clear_errors(self.path):
            self._base.execute("BEGIN")
            self._base.execute("DELETE FROM blocks")
            self._base.execute(
                "INSERT OR REPLACE INTO plan VALUES (1, ?, ?)",
                (self._kept_plan(plan), _sealed(b"environment", msgspec.json.encode(environment))),
            )
            self._base.execute("COMMIT")

    def _kept_plan(self, plan: Plan) -> bytes:
        content = msgspec.json.encode(plan)
        self._of = b"block" + hashlib.blake2b(content).digest()
        return _sealed(b"plan", content)

    def plan(self) -> tuple[Plan, dict[str, str]] | None:
        """Return the plan and the environment of the run."""
        with _clear_errors(self.path):
            row = self._base.execute("SELECT plan, environment FROM plan").fetchone()
        if row is None:
            return None
        with _clear_errors(self.path):
            content = _opened(b"plan", row[0])
            self._of = b"block" + hashlib.blake2b(content).digest()
            return (
                msgspec.json.decode(content, type=Plan),
                msgspec.json.decode(_opened(b"environment", row[1]), type=dict[str, str]),
            )

    def add(self, result: BlockResult) -> None:
        """Keep a finished block, whole or not at all."""
        packed = self._packed(result)
        with _clear_errors(self.path):
            self._base.execute(
                "INSERT OR REPLACE INTO blocks VALUES (?, ?)", (result.start, packed)
            )

    def _packed(self, result: BlockResult) -> bytes:
        place = self._of + str(result.start).encode()
        return _sealed(place, zlib.compress(msgspec.msgpack.encode(result)))

    def finished(self) -> set[int]:
        """Return the first position of every finished block."""
        found: list[int] = []
        with _clear_errors(self.path):
            for (start,) in self._base.execute("SELECT start FROM blocks ORDER BY start"):
                if not isinstance(start, int) or (found and start <= found[-1]):
                    raise ValueError("its index is out of order")  # and might never end
                found.append(start)
        return set(found)

    def results(self) -> Iterator[BlockResult]:
        """Yield the finished blocks in order, one in memory at a time."""
        # The blocks there are now: those added while this is read are left out.
        for start in sorted(self.finished()):
            with _clear_errors(self.path):
                (sealed,) = self._base.execute(
                    "SELECT result FROM blocks WHERE start = ?", (start,)
                ).fetchone()
                packed = _opened(self._of + str(start).encode(), sealed)
                result = msgspec.msgpack.decode(zlib.decompress(packed), type=BlockResult)
                _check_block(start, result)
            yield result

    def close(self) -> None:
        """Give up the lock; the file stays."""
        self._base.close()

    def remove(self) -> None:
        """Delete the file and close: the report stands, nothing is left to resume."""
        # In this order: between closing and deleting, another run could begin in the file. And
        # without a journal of its own from here on: closing would delete that of the other run.
        with _clear_errors(self.path):
            self._base.execute("PRAGMA journal_mode = OFF")
        if not self._in_place():  # the folder was cleared, and is another run's by now
            self.close()
            return
        try:
            self._delete_files()
        except PermissionError:  # a system that deletes no open file
            self.close()
            self._delete_files()
        self.close()


def _sealed(what: bytes, content: bytes) -> bytes:
    """Return the checksum of the content and of `what` it is, followed by the content."""
    return _checksum(what, content) + content


def _opened(what: bytes, sealed: object) -> bytes:
    """Return the content of a result of `_sealed`; ValueError if anything was changed."""
    if not isinstance(sealed, bytes):
        raise ValueError(f"{what!r}: no bytes")
    content = sealed[CHECKSUM:]
    if not hmac.compare_digest(sealed[:CHECKSUM], _checksum(what, content)):
        raise ValueError("a checksum is wrong")
    return content


def _checksum(what: bytes, content: bytes) -> bytes:
    whole = hashlib.blake2b(len(what).to_bytes(8, "big") + what, digest_size=CHECKSUM)
    whole.update(content)
    return whole.digest()


def _check_block(start: int, result: BlockResult) -> None:
    """Raise ValueError unless a block is where it says, and whole."""
    indices = {outcome.index for outcome in result.outcomes}
    if (
        result.start != start
        or not result.start < result.stop
        or len(indices) != result.stop - result.start
    ):
        raise ValueError(f"the block at {start} is not whole")


# What a damaged file holds may have any type, and any size.
_ERRORS = (
    sqlite3.Error, zlib.error, msgspec.MsgspecError, OSError, ValueError, TypeError, OverflowError,
    MemoryError,
)  # fmt: skip


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Turn an error of SQLite, zlib or msgspec about a broken file or a full disk into one line."""
    try:
        yield
    except _ERRORS as error:
        raise InvalidInput(_explained(path, error)) from None


def _explained(path: Path, error: Exception) -> str:
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"out={str(path.parent)!r}: another run is writing this folder"
    if code.startswith("SQLITE_FULL") or getattr(error, "errno", None) == errno.ENOSPC:
        return f"{path}: the disk is full; the finished blocks are kept; --resume continues the run"
    if isinstance(error, (sqlite3.OperationalError, OSError)):
        return f"{path}: cannot be read or written ({error}); it keeps the finished blocks"
    return (
        f"{path}: damaged, or not a campaign of this version ({type(error).__name__}: {error}); "
        "--fresh starts a new run"
    )
