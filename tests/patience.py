"""How long a test waits for what takes a moment: never so short that a busy machine fails it."""

import time
from collections.abc import Callable

PATIENCE = 600.0
"""Seconds. A test that waits so long has found something that will never happen."""


def wait_until(happened: Callable[[], object]) -> bool:
    """Wait until something has happened; say whether it has."""
    until = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
