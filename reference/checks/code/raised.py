"""The text of a target's exception, in one line that any terminal, file and pipe can show."""

import traceback
from pathlib import Path

MAX_TEXT = 260
"""Characters that are kept of a message, which may have millions: its beginning and its end."""


def raised_text(error: BaseException) -> str:
    """Return "ValueError: no such cache".

    error: what was raised; its text may fail, be huge, or hold what moves a cursor.
    """
    text = message_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def error_line(error: BaseException) -> str:
    """Return an error in one line, with the line of the target that raised it."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "/reference/" not in f.filename and "site-packages" not in f.filename
    ]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{raised_text(error)}{where}"


def message_of(error: BaseException) -> str:
    """Return what an exception says without its type, "" where it cannot say it."""
    try:
        text = shortened(str(error), 16 * MAX_TEXT)
    except Exception:  # the exception is the target's, and so is its __str__
        return ""
    return shortened(printable(" ".join(text.split())), MAX_TEXT)


def shortened(text: str, most: int) -> str:
    """Return a text without its middle, where it has more characters than `most`."""
    half = (most - len(_LEFT_OUT)) // 2
    return text if len(text) <= most else f"{text[:half]}{_LEFT_OUT}{text[-half:]}"


_LEFT_OUT = " … "


def printable(text: str) -> str:
    """Return a text with every character that is not printed spelled out by its number."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
