"""Puts the drawn members of dicts and lists together: params[W1], weights[0], params[out][w]."""

import re
from collections.abc import Mapping
from typing import Any

from reference.checks.argument_spec import Layout

CONTAINERS = ("dict", "listed")
"""The kinds of an argument that holds others."""


def path_of(name: str) -> tuple[str, ...]:
    """Return the way to what a layout names: params[out][w] -> params, out, w."""
    return tuple(re.findall(r"[^\[\]]+", name))


def assembled(values: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """Return the arguments of which `values` holds the members, by their names in the layout."""
    made: dict[str, Any] = {n: {} for n, s in layout.items() if s.kind in CONTAINERS}
    for name, value in values.items():
        head, *keys = path_of(name)
        if not keys:
            made[head] = value
            continue
        holder = made[head]
        for key in keys[:-1]:
            holder = holder.setdefault(key, {})
        holder[keys[-1]] = value
    for name, spec in layout.items():
        if spec.kind == "listed" and name in made:
            made[name] = list(made[name].values())
    return made
