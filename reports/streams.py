"""Makes standard streams usable: closed ones, and those of a terminal without Unicode."""

import errno
import io
import os
import sys
from typing import NoReturn

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write that are not errors of the program."""


def usable_streams() -> None:
    """Let any text be written: missing characters are escaped, a closed stream discards its text.

    Python gives None for a stream that was closed at its start.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flushed_streams() -> None:
    """Write what is still buffered, so that an error is raised here and not when Python ends."""
    sys.stdout.flush()
    sys.stderr.flush()


def reader_gone() -> NoReturn:
    """Let Python end without a message after the reader of a pipe has gone, as in `… | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(128 + 13)  # as a shell numbers the end by SIGPIPE
