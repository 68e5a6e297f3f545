"""Mistakes that are recognised without knowing the operation: by pulling another cotangent back.

With truth(c) the right gradient for a cotangent c, a wrong gradient may be truth(1), truth(c²),
the gradient of another argument, or c · x, c · f(x), c in place of c · f′(x).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.kinds._catalogue import FunctionProblem
from reference.checks.kinds._frames import Array, Path
from reference.checks.names import path_name
from reference.checks.tolerances import SAME

Cotangents = Sequence[Array | None]
Gradients = Mapping[Path, Array]
_FEW = 3  # from fewer problems it could be chance


@dataclass(frozen=True)
class SimpleRun:
    """One problem, and the right gradients for any cotangents of its outputs."""

    seen: FunctionProblem
    truth: Callable[[Cotangents], Gradients]


def simple_mistakes(problems: Sequence[SimpleRun]) -> dict[Path, str]:
    """Return what is wrong with each gradient that one of the simple mistakes makes."""
    if len(problems) < _FEW:
        return {}
    found: dict[Path, str] = {}
    candidates = [dict(_candidates(p)) for p in problems]
    for leaf in problems[0].seen.leaves:
        for key, text in _SENTENCES.items():
            if all(
                _makes(p, c.get((leaf, key))) for p, c in zip(problems, candidates, strict=True)
            ):
                found[leaf] = text
                break
    return found | _swapped(problems)


_SENTENCES = {
    "one": "the incoming gradient (the cotangent) is left out: the slope alone is passed on",
    "square": "the incoming gradient (the cotangent) is multiplied in twice",
    "kept": "the derivative is left out: the incoming gradient is passed on as it is",
    "value": "the output itself is used in place of the derivative",
    "input": "the input itself is used in place of the derivative",
}

_Made = tuple[Path, Array]


def _candidates(problem: SimpleRun) -> Iterator[tuple[tuple[Path, str], _Made]]:
    """Yield what each mistake would make of each leaf's gradient."""
    seen = problem.seen
    cotangents = [None if c is None else np.asarray(c, dtype=float) for c in seen.cotangents]
    for key, change in (("one", np.ones_like), ("square", np.square)):
        made = problem.truth([None if c is None else change(c) for c in cotangents])
        for leaf, gradient in made.items():
            yield (leaf, key), (leaf, gradient)
    output, cotangent = seen.outputs[0], cotangents[0]
    if output is None or cotangent is None:
        return
    for leaf, value in seen.leaves.items():
        if value.shape == np.shape(output):
            yield (leaf, "kept"), (leaf, cotangent)
            yield (leaf, "value"), (leaf, cotangent * output)
            yield (leaf, "input"), (leaf, cotangent * value)


def _makes(problem: SimpleRun, made: _Made | None) -> bool:
    if made is None:
        return False
    leaf, gradient = made
    return _same(problem.seen.got.get(leaf), gradient)


def _same(got: Array | None, made: Array) -> bool:
    if got is None or np.shape(got) != np.shape(made) or np.size(made) < 2:
        return False
    scale = float(np.max(np.abs(made), initial=0.0))
    return scale > 0 and bool(np.allclose(got, made, rtol=SAME, atol=SAME * scale))


def _swapped(problems: Sequence[SimpleRun]) -> dict[Path, str]:
    """Return the pairs of gradients that are each the other's."""
    found: dict[Path, str] = {}
    leaves = list(problems[0].seen.leaves)
    truths = [p.truth(p.seen.cotangents) for p in problems]
    for i, one in enumerate(leaves):
        for other in leaves[i + 1 :]:
            if all(
                one in t
                and other in t
                and _same(p.seen.got.get(one), t[other])
                and _same(p.seen.got.get(other), t[one])
                for p, t in zip(problems, truths, strict=True)
            ):
                text = f"the gradients of {path_name(one)} and {path_name(other)} are swapped"
                found |= {one: text, other: text}
    return found
