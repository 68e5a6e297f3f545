"""Other values for the settings that a backward has branches for: causal=True, reduction="sum".

A gradient may be right under the default and wrong under another value.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from reference.checks.code import Layout, Spec
from reference.checks.code import vocabulary as words
from reference.checks.reading.choices import strings_for
from reference.checks.running import Reading

_AXES = ("axis", "dim")


def values_of(name: str, value: object, text: str) -> list[object]:
    """Return other values of a setting, by the source of what takes it; [] of a mere number."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return [s for s in strings_for(name, text) if s != value]
    if name in _AXES and isinstance(value, int):
        return [-1 if value == 0 else 0]
    return []


def others(
    given: Iterable[tuple[str, object]], layout: Layout, text: str
) -> dict[str, list[object]]:
    """Return settings, each with its value and other ones after it.

    given: arguments with their defaults. text: the source of what takes them.
    """
    found = {}
    for full, default in given:
        name = full.removeprefix("init.")
        if name in words.FLAGS or words.KEEPS.match(name) or words.is_switch(name):
            continue
        spec = layout.get(full)
        value = default if spec is None else spec.value if spec.kind == "value" else None
        if more := values_of(name, value, text):
            found[full] = [value, *more]
    return found


def settings_of(reading: Reading) -> dict[str, list[object]]:
    """Return what a forward, or what makes its object, takes, and its backward names."""
    given: dict[str, object] = {p.name: p.default for p in reading.first.parameters}
    if reading.of_instance and reading.constructor is not None:
        given |= {f"init.{p.name}": p.default for p in reading.constructor.parameters}
    back = reading.unit.backward.text()
    named = [
        (name, default)
        for name, default in given.items()
        if re.search(rf"\b_?{re.escape(name.removeprefix('init.'))}\b", back)
    ]
    return others(named, reading.layout, reading.first.text() + back)


def with_setting(reading: Reading, name: str, value: object) -> Reading:
    """Return a reading under another value of a setting, which its backward gets as well."""
    layout = {**reading.layout, name: Spec("value", value=value)}
    passed_on = reading.forward not in (None, reading.unit.backward)
    bound = {name: f"input:{name}"} if passed_on and name in reading.unit.backward.arguments else {}
    return replace(reading, layout=layout).bound(**bound)
