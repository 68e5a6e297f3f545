"""Sentences for people: wrappers to paste, wrapped lines of a terminal."""

import re
import textwrap
from collections.abc import Iterable, Mapping

from reference.checks.code import Spec, Unit
from reference.checks.code.vocabulary import CACHES, COTANGENT_NAMES
from reference.checks.reading import LayoutRequest, layouts

WIDTH = 97  # columns: one screen


def wrapper(unit: Unit) -> str:
    """Return lines to paste for a unit that was not checked, filled with its own names.

    What each argument is drawn as follows from its name, as where a layout is looked for.
    """
    if unit.owner is not None:
        return _wrapper_of_class(unit, unit.owner.__name__)
    asked = unit.backward.required
    cache = next((a for a in asked if a.lower() in CACHES), None)
    cotangent = next((a for a in asked if a.lower() in COTANGENT_NAMES), "dout")
    names = [a for a in asked if a not in (cache, cotangent)]
    numbers, drawn = _likely(names, unit.backward.text())
    drawn = drawn or {"x": "N D"}
    takes = [cotangent, *([cache] if cache is not None else []), *(n for n in drawn if n in names)]
    kept = f"    return out, {cache}\n" if cache is not None else ""
    given = ", ".join(numbers.get(a, a) for a in asked)
    return (
        f'shapes = {_spelled(drawn)}  # letters are sizes; "N int(C)" are labels below C\n\n\n'
        f"def forward({', '.join(drawn)}):\n"
        f"    ...  # the computation whose gradient it is\n{kept}\n\n"
        f"def backward({', '.join(takes)}):\n"
        f"    return {unit.backward.short}({given})"
    )


def _wrapper_of_class(unit: Unit, owner: str) -> str:
    forward = unit.partners[0] if unit.partners else None
    names, method, text = ["x"], "forward", ""
    if forward is not None:
        names, method, text = list(forward.required), forward.short, forward.text()
    numbers, drawn = _likely(names, f"{unit.name} {unit.backward.text()} {text}")
    given = ", ".join(numbers.get(n, n) for n in names)
    return (
        f"shapes = {_spelled(drawn)}\n\n\n"
        f"def forward({', '.join(drawn)}):\n"
        f"    layer = {owner}(...)  # with its sizes\n"
        f"    return layer.{method}({given}), layer\n\n\n"
        "def backward(dout, layer):\n"
        f"    return layer.{unit.backward.short}(dout)  # it takes "
        f"({', '.join(unit.backward.arguments)})"
    )


def _spelled(drawn: Mapping[str, str]) -> str:
    shapes = ", ".join(f'"{name}": "{letters}"' for name, letters in drawn.items())
    return f"{{{shapes}}}"


def _likely(names: list[str], body: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the numbers and the shapes of the first layout that would be tried."""
    _, layout = next(layouts(LayoutRequest(names, body)))
    numbers = {n: repr(s.value) for n, s in layout.items() if s.kind == "value"}
    return numbers, {n: _letters(s) for n, s in layout.items() if n not in numbers}


def _letters(spec: Spec) -> str:
    """Return an argument as `shapes` has it; 4*H and D+1 become names of their own: H4, D1."""
    limit = [f"int({spec.high})"] if spec.kind == "label" else []
    names = (re.sub(r"\W", "", re.sub(r"(\d)\*(\w)", r"\2\1", d)) for d in spec.dims)
    return " ".join([*names, *limit])


def wrap(text: str, indent: int) -> list[str]:
    """Return a sentence in lines of one screen; what follows the first is indented once more."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def listed(names: Iterable[str], most: int = 4) -> str:
    """Return names in one line: a, b, c and 3 more."""
    all_names = list(names)
    if len(all_names) <= most:
        return ", ".join(all_names)
    return f"{', '.join(all_names[:most])} and {len(all_names) - most} more"
