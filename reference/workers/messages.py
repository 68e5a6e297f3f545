"""The messages between us and a worker process: typed records in msgpack, never code.

A record may hold NumPy arrays of numbers: they travel as dtype, shape and bytes.
"""

import math
import struct
from typing import Any, BinaryIO, TypeVar, get_origin

import msgspec

from reference.workers.confinement import Confinement

MAX_BYTES = 1 << 31
"""Maximal bytes of one message; a longer one was not written by us."""

KINDS = "fiubc"
"""Kinds of NumPy arrays that travel: numbers, nothing that could hold an object."""

_LENGTH = struct.Struct(">Q")
_T = TypeVar("_T")


class Start(msgspec.Struct, frozen=True, tag=True):
    """The first message to a worker: which function it serves, and where it finds modules.

    `entry` is "package.module:function". `path` is searched after everything of our own.
    `pythonpath` is what PYTHONPATH was, for the processes that the worker starts. `confinement`
    has its limits.
    """

    entry: str
    memory: int
    path: list[str]
    pythonpath: str | None
    confinement: Confinement | None = None


class Request(msgspec.Struct, frozen=True, tag=True):
    """One call of the function, with its encoded argument."""

    content: bytes


class Started(msgspec.Struct, frozen=True, tag=True):
    """The worker has loaded its function; the number of its process."""

    pid: int


class Loading(msgspec.Struct, frozen=True, tag=True):
    """The worker imports a framework for the first time, which takes seconds."""

    name: str


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """That import has ended."""

    name: str


class Event(msgspec.Struct, frozen=True, tag=True):
    """What the function emitted, encoded."""

    content: bytes


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The function returned; `memory` is the bytes that its process holds now."""

    memory: int


class Raised(msgspec.Struct, frozen=True, tag=True):
    """The function raised an exception; its process lives on.

    `kind` is the exception's class and `message` its text; `memory` as in `Finished`.
    """

    kind: str
    message: str
    memory: int = 0


class Hung(msgspec.Struct, frozen=True, tag=True):
    """The function took too long and its process was ended.

    The times are since its last event: of the processor (None where the system does not tell) and
    of the clock, without the time that the process waited for a processor.
    """

    cpu_seconds: float | None
    wall_seconds: float

    @property
    def reason(self) -> str:
        """The sentence for a person."""
        if self.cpu_seconds is not None and self.cpu_seconds > self.wall_seconds / 2:
            return f"no answer after {self.cpu_seconds:.0f} s of processor time"
        return f"no answer after {self.wall_seconds:.0f} s"


class Died(msgspec.Struct, frozen=True, tag=True):
    """The process ended. `signal` is the name of a signal; `exit_code` is None with one."""

    exit_code: int | None = None
    signal: str = ""
    text: str = ""

    @property
    def reason(self) -> str:
        """The sentence for a person."""
        if self.text:
            return self.text
        return f"killed by {self.signal}" if self.signal else f"exited with {self.exit_code}"


ToWorker = Start | Request
FromWorker = Started | Loading | Loaded | Event | Finished | Raised
End = Finished | Raised | Hung | Died
"""The last item of every run."""


def encode(value: object) -> bytes:
    """Return a record or plain data as msgpack.

    Raises TypeError for what is neither, an array of objects among it.
    """
    return msgspec.msgpack.encode(value, enc_hook=_plain)


def decode(content: bytes, kind: type[_T]) -> _T:
    """Return the record of type `kind` that `encode` encoded.

    Raises msgspec.DecodeError or msgspec.ValidationError where it is none.
    """
    return msgspec.msgpack.decode(content, type=kind, dec_hook=_typed)


def _plain(value: object) -> object:
    import numpy as np  # late: a worker that supervises need not load it

    if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
        return [value.dtype.str, list(value.shape), np.ascontiguousarray(value).tobytes()]
    if isinstance(value, np.generic) and value.dtype.kind in KINDS:
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be sent to another process")


def _typed(kind: Any, value: Any) -> Any:
    import numpy as np

    if (get_origin(kind) or kind) is not np.ndarray:
        raise TypeError(f"{kind} cannot be received from another process")
    text, shape, content = msgspec.convert(value, tuple[str, list[int], bytes])
    dtype = np.dtype(text)
    if dtype.kind not in KINDS or len(content) != dtype.itemsize * math.prod(shape):
        raise ValueError(f"an array of {text}, {shape} in {len(content)} bytes")
    return np.frombuffer(content, dtype).reshape(shape).copy()  # writable, and aligned


def write(file: BinaryIO, message: ToWorker | FromWorker) -> None:
    """Write one message: its length, then msgpack. Raises OSError when nobody reads any more."""
    content = msgspec.msgpack.encode(message)
    file.write(_LENGTH.pack(len(content)) + content)
    file.flush()


def read(file: BinaryIO, at_most: int = MAX_BYTES) -> bytes | None:
    """Read one message's bytes; None where the other side has ended, in the middle or not.

    Raises ValueError for a length that no message of ours has.
    """
    head = _exactly(file, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > at_most:
        raise ValueError(f"a message of {length} bytes; expected at most {at_most}")
    return _exactly(file, length)


def _exactly(file: BinaryIO, count: int) -> bytes | None:
    parts: list[bytes] = []
    while count:
        part = file.read(min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
