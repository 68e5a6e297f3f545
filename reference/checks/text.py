"""Sentences for people: errors in one line, wrappers to paste, wrapped lines of a terminal."""

import traceback
from collections.abc import Iterable
from pathlib import Path

from reference.checks.inventory import Unit
from reference.checks.raised import raised_text
from reference.checks.vocabulary import CACHES, COTANGENT_NAMES

WIDTH = 98  # columns: one screen


def error_line(error: BaseException) -> str:
    """Return an error in one line, with the line of the target that raised it."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "/reference/" not in f.filename and "site-packages" not in f.filename
    ]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{raised_text(error)}{where}"


def wrapper(unit: Unit) -> str:
    """Return lines to paste for a unit that was not checked, filled with its own names."""
    if unit.owner is not None:
        arguments = ", ".join(unit.backward.arguments)
        return (
            'shapes = {"x": "N D"}\n\n\n'
            "def forward(x):\n"
            f"    layer = {unit.owner.__name__}(...)  # with its sizes\n"
            "    return layer.forward(x), layer\n\n\n"
            "def backward(dout, layer):\n"
            f"    return layer.{unit.backward.short}(dout)  # it takes ({arguments})"
        )
    asked = unit.backward.required
    cache = next((a for a in asked if a.lower() in CACHES), None)
    told = next((a for a in asked if a.lower() in COTANGENT_NAMES), "dout")
    names = [a for a in asked if a not in (cache, told)]
    shapes = ", ".join(f'"{n}": "N D"' for n in names) or '"x": "N D"'
    first = ", ".join(names) or "x"
    if cache is not None:
        return (
            f'shapes = {{{shapes}}}  # letters are sizes; "N int(C)" are labels below C\n\n\n'
            f"def forward({first}):\n    ...  # what it is the gradient of\n"
            f"    return out, {cache}\n\n\n"
            f"def backward({told}, {cache}):\n"
            f"    return {unit.backward.short}({', '.join(asked)})"
        )
    return (
        f'shapes = {{{shapes}}}  # letters are sizes; "N int(C)" are labels below C\n\n\n'
        f"def forward({first}):\n    ...  # what it is the gradient of\n\n\n"
        f"def backward({told}, {first}):\n"
        f"    return {unit.backward.short}({', '.join(asked)})"
    )


def wrap(text: str, indent: int, width: int = WIDTH) -> list[str]:
    """Return a sentence in lines of one screen; what follows the first is indented once more."""
    words = text.split(" ")
    lines: list[str] = []
    line = " " * indent
    for word in words:
        if len(line) + len(word) + 1 > width and line.strip():
            lines.append(line.rstrip())
            line = " " * (indent + 2)
        line += word + " "
    lines.append(line.rstrip())
    return lines


def listed(names: Iterable[str], most: int = 4) -> str:
    """Return names in one line: a, b, c and 3 more."""
    all_names = list(names)
    if len(all_names) <= most:
        return ", ".join(all_names)
    return f"{', '.join(all_names[:most])} and {len(all_names) - most} more"
