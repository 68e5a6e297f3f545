"""Sentences for people: wrappers to paste, wrapped lines of a terminal."""

import re
from collections.abc import Iterable

from reference.checks.argument_spec import Layout, Spec
from reference.checks.choices import LayoutRequest
from reference.checks.inputs import layouts
from reference.checks.inventory import Unit
from reference.checks.vocabulary import CACHES, COTANGENT_NAMES

WIDTH = 98  # columns: one screen


def wrapper(unit: Unit) -> str:
    """Return lines to paste for a unit that was not checked, filled with its own names.

    What each argument is drawn as follows from its name, as where a layout is looked for.
    """
    if unit.owner is not None:
        return _wrapper_of_class(unit)
    asked = unit.backward.required
    cache = next((a for a in asked if a.lower() in CACHES), None)
    cotangent = next((a for a in asked if a.lower() in COTANGENT_NAMES), "dout")
    names = [a for a in asked if a not in (cache, cotangent)]
    layout = _likely_layout(names, unit.backward.text())
    numbers = {n: s.value for n, s in layout.items() if s.kind == "value"}
    drawn = {n: _letters(s) for n, s in layout.items() if n not in numbers} or {"x": "N D"}
    shapes = ", ".join(f'"{name}": "{letters}"' for name, letters in drawn.items())
    takes = [cotangent, *([cache] if cache is not None else []), *(n for n in drawn if n in names)]
    kept = f"    return out, {cache}\n" if cache is not None else ""
    given = ", ".join(repr(numbers[a]) if a in numbers else a for a in asked)
    return (
        f'shapes = {{{shapes}}}  # letters are sizes; "N int(C)" are labels below C\n\n\n'
        f"def forward({', '.join(drawn)}):\n"
        f"    ...  # the computation whose gradient it is\n{kept}\n\n"
        f"def backward({', '.join(takes)}):\n"
        f"    return {unit.backward.short}({given})"
    )


def _wrapper_of_class(unit: Unit) -> str:
    assert unit.owner is not None
    forward = unit.partners[0] if unit.partners else None
    names = list(forward.required) if forward is not None else ["x"]
    body = f"{unit.name} {unit.backward.text()} {forward.text() if forward is not None else ''}"
    layout = _likely_layout(names, body)
    numbers = {n: s.value for n, s in layout.items() if s.kind == "value"}
    drawn = {n: _letters(s) for n, s in layout.items() if n not in numbers}
    shapes = ", ".join(f'"{name}": "{letters}"' for name, letters in drawn.items())
    given = ", ".join(repr(numbers[n]) if n in numbers else n for n in names)
    method = forward.short if forward is not None else "forward"
    return (
        f"shapes = {{{shapes}}}\n\n\n"
        f"def forward({', '.join(drawn)}):\n"
        f"    layer = {unit.owner.__name__}(...)  # with its sizes\n"
        f"    return layer.{method}({given}), layer\n\n\n"
        "def backward(dout, layer):\n"
        f"    return layer.{unit.backward.short}(dout)  # it takes "
        f"({', '.join(unit.backward.arguments)})"
    )


def _likely_layout(names: list[str], body: str) -> Layout:
    """Return the first layout that would be tried for some arguments."""
    _, layout = next(layouts(LayoutRequest(names, body)))
    return layout


def _letters(spec: Spec) -> str:
    """Return an argument as `shapes` has it; 4*H and D+1 become names of their own: H4, D1."""
    limit = [f"int({spec.high})"] if spec.kind == "label" else []
    names = (re.sub(r"\W", "", re.sub(r"(\d)\*(\w)", r"\2\1", d)) for d in spec.dims)
    return " ".join([*names, *limit])


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
