"""What an assignment may ask for beside right gradients: types, and what a forward hands on."""

import numpy as np

from reference.balls import values
from reference.checks.code import Path, leaves_of
from reference.checks.tolerances import IN_FLOAT32
from reference.grading.correspondence import TURNED, agree
from reference.grading.records import Array, NamedArray, ProblemRun


def lost_in_types(run: ProblemRun, claim: Path) -> str:
    """Return in which other type a gradient is not right and why, "" where it is in all.

    It has to come back in the type that went in, and near the gradient in float64.
    """
    exact = _of(run.claims, claim)
    lost = ((c.dtype, _lost(_of(c.claims, claim), exact, c.dtype)) for c in run.coarse)
    return next((f"in {dtype} {what}" for dtype, what in lost if what), "")


def _of(named: tuple[NamedArray, ...], path: Path) -> Array | None:
    return next((n.value for n in named if n.path == path), None)


def _lost(found: Array | None, exact: Array | None, dtype: str) -> str:
    if found is None or exact is None or found.shape != exact.shape:
        return "no gradient of that shape came back"
    if found.dtype != dtype and found.shape:
        return f"it came back as {found.dtype}"
    scale = float(np.max(np.abs(np.asarray(exact, dtype=float)), initial=0.0))
    with np.errstate(all="ignore"):
        off = np.abs(np.subtract(found, exact, dtype=float))
    return "" if bool(np.all(off <= IN_FLOAT32 * scale)) else "its digits are lost"


def handed_on(theirs: tuple[Array, ...], made: object) -> str:
    """Return how what a forward hands on differs from the reference solution's, "" where it is as.

    theirs: the items that the submission's forward returned beside its output. made: all that the
    reference solution's returned for the same numbers.
    """
    ours = list(leaves_of(tuple(made[1:])).values()) if isinstance(made, tuple | list) else []
    if len(theirs) != len(ours):
        return f"{len(theirs)} items are handed on, {len(ours)} are asked for"
    for place, (item, asked) in enumerate(zip(theirs, ours, strict=True), 1):
        plain = np.asarray(values(asked), dtype=float)
        turned = (np.asarray(way, dtype=float) for way in (item, TURNED.there(item)))
        if not any(t.shape == plain.shape and agree(t, plain) for t in turned):
            return f"item {place} of what is handed on is another one than asked for"
    return ""
