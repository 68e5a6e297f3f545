"""Meanings of a backward's arguments: the cotangent, the cache, an input, the output, a target."""

import itertools
import re
from collections.abc import Iterator

from reference.checks.code import Routine
from reference.checks.code import vocabulary as words
from reference.checks.code.routine import EMPTY, NameTree

MAX_BINDINGS = 24
_SKIPS_ZEROS = re.compile(r"if \w+ == 0(\.0)?:\s+continue")
_LEFT = "default"  # an argument that is not given: backward(dout=1) of a loss


def bindings(forward: Routine | None, backward: Routine) -> Iterator[dict[str, str]]:
    """Yield the sources of a backward's arguments, the likely ones first.

    forward: whose arguments, variables and outputs may be handed over; None: the backward computes
    its own; the same as the backward: one function with a switch.
    """
    if forward is None:
        yield {}
    elif forward is backward:
        given = {a: f"input:{a}" for a in forward.required[1:]}
        given[switch_of(forward)] = "extra:__true__"
        for source in (f"input:{forward.arguments[0]}", "output:"):
            yield {forward.arguments[0]: source, **given}
    else:
        yield from itertools.islice(_of_two(forward, backward), MAX_BINDINGS)


def _of_two(forward: Routine, backward: Routine) -> Iterator[dict[str, str]]:
    choices: dict[str, list[str]] = {}
    extras = extras_of(forward, backward)
    for position, name in enumerate(backward.arguments):
        found = _sources(name, position, forward, backward, extras)
        default = backward.default(name)
        if default is not EMPTY:
            if not found or found == ["extra"] or _left_at_default(name, forward):
                continue
            if default in (1, 1.0) and found[:1] == ["cotangent:"]:
                found.append(_LEFT)
        choices[name] = found or ["rest", "input:" + (forward.arguments or [""])[0], "output:"]
    for picked in itertools.product(*choices.values()):
        if _sensible(picked):
            yield {n: p for n, p in zip(choices, picked, strict=True) if p != _LEFT}


def switch_of(routine: Routine) -> str:
    """Return the argument that chooses between value and derivative."""
    return next(a for a in routine.arguments if words.is_switch(a))


def _left_at_default(name: str, forward: Routine) -> bool:
    """Whether the forward has a default for it too, and nothing was drawn in its place."""
    default = forward.default(name)
    return name in forward.arguments and default is not EMPTY and not isinstance(default, float)


def _sensible(picked: tuple[str, ...]) -> bool:
    """Whether no cotangent of one output is given twice; that of no named one is of the first."""
    cotangents = [p for p in picked if p.startswith("cotangent")]
    if len(cotangents) > 1:
        cotangents = ["cotangent:0" if p == "cotangent:" else p for p in cotangents]
    return len(set(cotangents)) == len(cotangents)


def _sources(
    name: str, position: int, forward: Routine, backward: Routine, extras: list[str]
) -> list[str]:
    low = name.lower().rstrip("_")
    inputs = {words.plain(a): a for a in forward.arguments}
    if backward.second and position == 0 and "output" in _variables(forward):
        return [f"input:{forward.arguments[0]}", "variable:output"]
    outputs = _output_names(forward.returned)
    only = len(backward.required) == 1 or len(backward.arguments) == 1
    if low in words.RATES or low in words.REGULARISATION:
        if words.plain(name) in inputs:
            return [f"input:{inputs[words.plain(name)]}"]
        return ["extra", "cotangent:"] if position == 0 else ["extra"]
    if low in words.CACHES or "cache" in low:
        given = [f"output:{i}" for i, o in enumerate(outputs) if o == name and len(outputs) > 1]
        if given:
            return given
    if (low in words.CACHES or "cache" in low) and words.plain(name) not in inputs:
        if len(outputs) > 1 and words.plain(outputs[-1] or "") == words.plain(name):
            return ["last"]  # the forward returns it under this name
        return ["last", "rest", "all", "input:" + (forward.arguments or [""])[0]]
    if _is_cotangent(name, position, forward, backward, outputs):
        found = [f"cotangent:{o}" for o in _named_output(name, outputs)]
        if not found:
            found = ["cotangent:", *(f"cotangent:{i}" for i in _later_outputs(outputs))]
        if low in ("dvalues", "grad", "error", "err", "delta", "d", "y", "top"):
            found.append("input:" + (forward.arguments or [""])[0])
            if forward.bound and words.targets_among(forward.arguments):
                found.append("variable:output")  # the probabilities that the object keeps
        if re.search(r"^d[hy]s$|^dhs|grad_over|^d_hs|_over_time", low):
            found += ["cotangent:each:-1", *(f"cotangent:each:{k}" for k in range(8))]
        if _SKIPS_ZEROS.search(backward.text()):
            found.append("cotangent:single:")
        if low.startswith(("grad_out", "output_grad", "grad")):
            found += ["cotangent:last:", "cotangent:last"]
        if only and low in ("y", "z", "a", "s", "h", "top", "d"):
            found += ["input:" + (forward.arguments or [""])[0], "output:"]
        return found
    if words.plain(name) in inputs:
        found = [f"input:{inputs[words.plain(name)]}"]
        if only and low in _OF_A_SLOPE:
            found.append("output:")
        if low in ("a", "y", "output", "out") and not only:
            found.append("output:")
        if only and "back" in backward.short.lower():
            found.append("cotangent:")  # forward(z) and backward(z): z is what comes in
        return found
    for variable in _variables(forward):
        if words.plain(variable) == words.plain(name):
            return [f"variable:{variable}"]
    for i, output in enumerate(outputs):
        if output and words.same_thing(output, name):
            return [f"output:{i}" if len(outputs) > 1 else "output:"]
    if name in extras:
        return ["extra"]
    first = "input:" + (forward.arguments or [""])[0]
    if low in words.PREDICTION_NAMES or re.search(r"activat|output|^y|^s$|^out|^fx|sig", low):
        found = ["output:", first]
        if outputs and len(outputs) > 1:
            found = [*(f"output:{i}" for i in range(len(outputs))), first]
        return found
    if low in words.DATA_NAMES or only:
        return [first, "output:", "rest"]
    return ["rest", "output:", first, *(f"output:{i}" for i in range(1, len(outputs)))]


_OF_A_SLOPE = frozenset("x z a y s h o out output activation sx fx".split())
"""What the only argument of a slope is called, be it given the input or the output."""


def _is_cotangent(
    name: str, position: int, forward: Routine, backward: Routine, outputs: list[str | None]
) -> bool:
    low = name.lower().rstrip("_")
    if name in forward.arguments:
        return False
    if backward.second:
        return name in backward.required  # the v of H v
    if low in words.COTANGENT_NAMES:
        return True
    bases = [words.plain(b) for b in words.gradient_of(name)]
    if any(b in {words.plain(o) for o in outputs if o} for b in bases):
        return True
    return bool(bases) and position <= 2


def _named_output(name: str, outputs: list[str | None]) -> list[str]:
    if len(outputs) < 2:
        return []
    bases = [_without_time(b) for b in words.gradient_of(name)]
    return [str(i) for i, o in enumerate(outputs) if o and _without_time(o) in bases]


def _without_time(name: str) -> str:
    """Return a plain name without the time step that it is of: C_next -> c."""
    kept = [w for w in words.words(name) if w not in ("next", "t", "new", "curr", "current")]
    return "".join(kept) or words.plain(name)


def _later_outputs(outputs: list[str | None]) -> Iterator[int]:
    """Yield the places of the outputs behind the first that are no cache."""
    for i, name in enumerate(outputs[1:], 1):
        if name and name.lower() not in words.CACHES and "cache" not in name.lower():
            yield i


def _output_names(tree: NameTree) -> list[str | None]:
    if isinstance(tree, tuple):
        return [t if isinstance(t, str) else None for t in tree]
    return [tree] if isinstance(tree, str) else []


def _variables(forward: Routine) -> list[str]:
    code = getattr(forward.function, "__code__", None)
    return [] if code is None else list(code.co_varnames[code.co_argcount :])


def extras_of(forward: Routine | None, backward: Routine) -> list[str]:
    """Return the backward's arguments that must be drawn: targets, masks and numbers of its own."""
    if forward is None:
        return []
    known = {words.plain(a) for a in forward.arguments} | {
        words.plain(v) for v in _variables(forward)
    }
    found = []
    for name in backward.required:
        low = name.lower().rstrip("_")
        if words.plain(name) in known:
            continue
        alone = len(backward.required) == 1 and backward.owner is None
        if words.is_target(low) and alone:
            continue  # tanh_derivative(y): y is the output
        known_word = words.is_target(low) or low in words.RATES or low in words.REGULARISATION
        # a function is handed over: backward_prop(data, labels, params, forward_prop_func)
        called = re.search(rf"\b{re.escape(name)}\(", backward.text())
        if known_word or _EXTRAS.search(low) or called:
            found.append(name)
    return found


_EXTRAS = re.compile(r"keep_?prob|alpha|eps|mask|onehot|one_hot|^m$|lr")
