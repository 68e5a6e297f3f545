"""Runs a check in a process of its own, and survives whatever the target does there."""

import subprocess
import sys
from typing import Any

import msgspec

from reference.checks.records import Event, Request, decode, encode


def run(request: Request, gathered: Any, seconds: float | None) -> None:
    """Check a target apart; what hangs or crashes is noted, and the rest is checked anew."""
    skip: list[int] = []
    while True:
        message = msgspec.structs.replace(request, skip=tuple(skip))
        done = subprocess.run(
            [sys.executable, "-c", "import sys; from reference.checks.apart import child; child()"],
            input=msgspec.json.encode(message), capture_output=True, timeout=600,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            if line.startswith(b"EVENT"):
                gathered.take(decode(line[5:]))
        if done.returncode == 0:
            return
        running = gathered.running
        if not gathered.fail("crashed", f"exit {done.returncode} {done.stderr[-600:].decode()}"):
            return
        skip.append(running.index)


def child() -> None:
    """Serve one request."""
    from reference.checks.session import serve

    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    out = sys.stdout.buffer

    def emit(event: Event) -> None:
        out.write(b"EVENT" + encode(event) + b"\n")
        out.flush()

    serve(request, emit)
