"""What one wrong claim is of the right one: twice it, transposed, another's, clipped."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from reference.checks.code.vocabulary import REGULARISATION
from reference.checks.explain import ownslope, regions
from reference.checks.explain.cotangents import orders
from reference.checks.explain.finding import (
    ENOUGH,
    ClaimCase,
    Finding,
    Support,
    distance,
    evidence,
    spelled,
    symbols,
)
from reference.checks.explain.graph import Array, Mask
from reference.checks.explain.hypothesis import Words
from reference.checks.explain.problem import close, ratio
from reference.checks.tolerances import DIGITS, SAME

Analyser = Callable[[Sequence[ClaimCase]], Finding]


def analyse(cases: Sequence[ClaimCase], sure: bool) -> tuple[Words, Support] | None:
    """Return the words for a claim and the evidence, by the first of the analysers that fits.

    sure: only what leaves no doubt; the rest is asked when no change of the sweep explains it.
    """
    off = [c for c in cases if c.off]
    if not off:
        return None
    for one in _SURE if sure else _LESS_SURE:
        found = one(off)
        if isinstance(found, Words):
            found = found, Support(len(off), len(off), 0.0)
        if found is not None and found[1].enough:
            return found
    return None


def described(cases: Sequence[ClaimCase]) -> str:
    """Return in words how a claim differs where no name fits."""
    off = [c for c in cases if c.off]
    return regions.described(off) if off else ""


def _all_of(cases: Sequence[ClaimCase], predicted: Sequence[Array | None]) -> Support | None:
    """Return the evidence where it is enough."""
    found = evidence(cases, predicted)
    return found if found.enough else None


def _zero(cases: Sequence[ClaimCase]) -> Finding:
    found = _all_of(cases, [np.zeros_like(c.base) for c in cases])
    if found is None or any(np.any(c.claim.got) for c in cases):
        return None
    name = cases[0].claim.text
    return Words(
        "zero",
        f"{name} is zero everywhere: nothing is added to it. A loop that runs over the wrong "
        "axis, or no step of it, leaves it as it was made.",
        f"{name} = 0",
        f"{name} ≠ 0",
    ), found


def _factor(cases: Sequence[ClaimCase]) -> Finding:
    claim, problems = cases[0].claim, [c.problem for c in cases]
    values = [v for c in cases if (v := ratio(c.claim.got, c.base)) is not None]
    if len(values) < len(cases) or (claim.got.size == 1 and len(values) < ENOUGH):
        return None
    text = spelled(problems, values)
    if text is None:
        return None
    worst = max(distance(c.claim.got, v * c.base) for c, v in zip(cases, values, strict=True))
    found = Support(len(values), len(cases), worst)
    if text == "−1":
        sentence = f"{claim.text} has the wrong sign: it is the negative of the gradient."
        return Words("wrong_sign", sentence, f"{claim.text} = −(…)", f"{claim.text} = (…)"), found
    inverse = spelled(problems, [1 / v for v in values])
    missing = inverse and len(inverse) <= len(text)
    what = f"a factor {inverse} is missing" if missing else f"there is a factor {text} too many"
    return Words(
        "constant_factor",
        f"{claim.text} is {text} times the right one: {what}{_averaged(text, inverse)}.",
        f"{claim.text} = {text} · the right one",
        f"{claim.text} = the right one",
    ), found


def _another_size(cases: Sequence[ClaimCase]) -> Finding:
    """Return that the claim is divided by another size than the right one: D in place of N."""
    claim = cases[0].claim
    values = [v for c in cases if (v := ratio(c.claim.got, c.base)) is not None]
    if len(values) < max(len(cases), ENOUGH):
        return None
    known = [symbols(c.problem) for c in cases]
    names = [n for n, v in known[0].items() if v.is_integer() and all(n in k for k in known)]
    for right, own in itertools.permutations(names, 2):
        made = [k[right] / k[own] for k in known]
        off = [abs(v - m) / m for v, m in zip(values, made, strict=True)]
        if max(off) <= DIGITS:
            return Words(
                "constant_factor",
                f"{claim.text} is {right}/{own} times the right one, as after a division by "
                f"{own} instead of {right}.",
                f"{claim.text} = … / {own}",
                f"{claim.text} = … / {right}",
            ), Support(len(values), len(cases), max(off))
    return None


def _averaged(text: str, inverse: str | None) -> str:
    both = f"{text} {inverse or ''}"
    if "√" in both:
        return " (is a 1/√d, as in attention, missing or used twice?)"
    if ".size" in both or "shape" in both:
        return (
            " (a mean is taken where the forward has a sum, a mean over other axes, or the "
            "mean's division is missing)"
        )
    low = both.lower()
    if "keep" in low or "drop" in low or low.strip(" 1/") in ("p", "scale"):
        return " (dropout's scale)"
    return (
        " (the regularisation's strength)"
        if any(r in low for r in REGULARISATION if len(r) > 2)
        else ""
    )


def _copied(cases: Sequence[ClaimCase]) -> Finding:
    first, mine = cases[0], cases[0].claim
    for path, other in first.problem.claims.items():
        if other.leaf == mine.leaf or other.truth.shape != first.base.shape or other.inner:
            continue
        known = [c.problem.claims.get(path) for c in cases]
        found = _all_of(cases, [None if c is None else c.truth for c in known])
        if found is None:
            continue
        if close(other.got, mine.truth) and not other.right:
            return Words(
                "swapped",
                f"{mine.text} and {other.text} are swapped: each is the other's gradient.",
                f"{mine.text} = ∂/∂{other.of}",
                f"{mine.text} = ∂/∂{mine.of}",
            ), found
        return Words(
            "gradient_of_another",
            f"{mine.text} is another parameter's gradient: it is that of {other.of}, "
            f"not of {mine.of} (copied and pasted?).",
            f"{mine.text} = {other.text}",
            f"{mine.text} = ∂/∂{mine.of}",
        ), found
    return _copied_value(cases)


def _copied_value(cases: Sequence[ClaimCase]) -> Finding:
    """The gradient of another input, of which none came back."""
    first, mine = cases[0], cases[0].claim
    if first.base.size < 2 or first.base.ndim == 0:
        return None
    for path, array in first.problem.named.items():
        other = path in first.problem.outcome.inputs and path != mine.leaf
        if not other or array.shape != first.base.shape:
            continue
        known = [(c.problem, c.problem.named.get(path)) for c in cases]
        found = _all_of(cases, [None if n is None else p.cotangent(n) for p, n in known])
        if found is not None:
            return Words(
                "gradient_of_another",
                f"{mine.text} is another's gradient: it is that of {array.text}, not of {mine.of}.",
                f"{mine.text} = δ{array.text}",
                f"{mine.text} = δ{mine.of}",
            ), found
    return None


def _turned(cases: Sequence[ClaimCase]) -> Finding:
    base, name = cases[0].base, cases[0].claim.text
    if base.ndim < 1 or base.size < 2:
        return None
    if base.ndim >= 2 and base.shape[-1] == base.shape[-2]:
        found = _all_of(cases, [np.swapaxes(c.base, -1, -2) for c in cases])
        if found is not None:
            words = Words("transposed", f"{name} is transposed.", f"{name} = (…)ᵀ", f"{name} = (…)")
            return words, found
    for axes, text in _flips(base.ndim):
        found = _all_of(cases, [np.flip(c.base, axes) for c in cases])
        if found is not None:
            return Words(
                "flipped",
                f"{name} is in reversed order along {text}: the kernel or the order of a loop is "
                "reversed.",
                name + _reversed(base.ndim, axes),
                name,
            ), found
    for axes in orders(base.ndim)[:_MAX_ORDERS]:
        found = _all_of(cases, [np.transpose(c.base, axes).reshape(c.base.shape) for c in cases])
        if found is not None:
            return Words(
                "reshaped_in_another_order",
                f"{name} has the right numbers in another order: it is reshaped without moving "
                "its axes first (a transpose is missing).",
                f"{name} reshaped",
                f"{name} transposed, then reshaped",
            ), found
    return None


_MAX_ORDERS = 24


def _reversed(ndim: int, axes: tuple[int, ...]) -> str:
    """Return the index that reverses some axes: [:, ::-1]."""
    last = max(axes) % ndim
    return f"[{', '.join('::-1' if a in axes else ':' for a in range(last + 1))}]"


def _flips(ndim: int) -> list[tuple[tuple[int, ...], str]]:
    found: list[tuple[tuple[int, ...], str]] = [((a,), f"axis {a}") for a in range(ndim)]
    if ndim >= 2:
        found += [((ndim - 2, ndim - 1), "its last two axes"), ((0, 1), "its first two axes")]
    return found


def _parameter(case: ClaimCase) -> Array | None:
    named = case.problem.named.get(case.claim.leaf)
    return named.value if named is not None and named.shape == case.base.shape else None


def _decay(cases: Sequence[ClaimCase]) -> Finding:
    """Return a multiple of the parameter that is added: regularisation that is wrong."""
    values: list[float] = []
    if ownslope.step_of(cases[0]) is not None:
        return None
    for case in cases:
        w = _parameter(case)
        few = case.wrong.sum() < 2 and len(cases) < ENOUGH
        if w is None or few or not case.wrong.any():
            return None
        c = ratio((case.claim.got - case.base)[case.wrong], w[case.wrong])
        if c is None:
            return None
        values.append(c)
    text = spelled([c.problem for c in cases], values, pairs=True)
    if text is None or not any(c.wrong.sum() >= 2 for c in cases):
        return None
    claim, where = cases[0].claim, regions.region(cases[0].wrong)
    if not cases[0].wrong.all():
        return Words(
            "bias_regularised",
            f"The regularisation term {text} · {claim.of} is also added to {where} of "
            f"{claim.text}, which the loss leaves out (the bias is regularised, or another row or "
            "column is).",
            f"{claim.text} + {text}·{claim.of} everywhere",
            f"not in {where}",
        )
    added = values[0] > 0 and not text.startswith("−")
    part, amount = "is added wrongly" if added else "is missing", text.lstrip("−")
    return Words(
        "regularisation_factor",
        f"The regularisation (weight decay) in {claim.text} is wrong: {amount} · {claim.of} "
        f"{part}{_half_or_twice(cases[0])}.",
        f"{claim.text} = right {'+' if added else '−'} {amount}·{claim.of}",
        f"{claim.text} = right",
    )


def _half_or_twice(case: ClaimCase) -> str:
    """Say whether the term is half or twice of what it should be: the loss's own strength c₀·W."""
    known = [n for n in symbols(case.problem) if n.lower().lstrip("_") in REGULARISATION]
    if not known:
        return ""
    return f" (the term is half or double of the loss's: check the factor 2 of {known[0]})"


def _constant_added(cases: Sequence[ClaimCase]) -> Finding:
    """Return one number that is added to some entries: a column of ones that is regularised."""
    values = []
    for case in cases:
        more = (case.claim.got - case.base)[case.wrong]
        if more.size < 2 or not close(more, np.full(more.shape, more.flat[0])):
            return None
        values.append(float(more.flat[0]))
    claim = cases[0].claim
    text = spelled([c.problem for c in cases], values, pairs=True)
    if text is None:
        return None
    if "2" in text and all(c.wrong.ndim > 1 and _one_of_each_row(c.wrong) for c in cases):
        return Words(
            "wrong_sign",
            f"{claim.text} is {text} too large at one entry of each row, that of its label: the 1 "
            "of the label is added, but it has to be subtracted (p − y; += is used instead of −=).",
            f"{claim.text} = p + y",
            f"{claim.text} = p − y",
        )
    return Words(
        "constant_added",
        f"The constant {text} is added to {regions.region(cases[0].wrong)} of {claim.text} (the "
        "column of the bias takes part in the regularisation, as ones).",
        f"{claim.text} = right + {text}",
        f"{claim.text} = right",
    )


def _one_of_each_row(wrong: Mask) -> bool:
    """Whether there is one entry in each row, or in each column."""
    return any(bool((wrong.sum(axis=a) == 1).all()) for a in range(wrong.ndim))


_LINES = (
    ("column", "[:, 0]", 1, 0),
    ("row", "[0]", 0, 0),
    ("column", "[:, -1]", 1, -1),
    ("row", "[-1]", 0, -1),
)
"""Where the bias may stand in a matrix: in words, as an index, its axis and its number there."""


def _ones_regularised(cases: Sequence[ClaimCase]) -> Finding:
    """Return a column of ones that is regularised in place of the bias, under a loss not written.

    got = s · truth + c · W outside of one column (or row), + c inside of it.
    """
    claim = cases[0].claim
    for line, index, axis, at in _LINES:
        found = [_with_ones(case, axis, at) for case in cases]
        values = [v for v in found if v is not None]
        if len(values) < len(cases):
            continue
        text = spelled([c.problem for c in cases], values, pairs=True)
        if text is not None:
            return Words(
                "constant_added",
                f"The {line} of the bias takes part in the regularisation of {claim.text} as a "
                f"{line} of ones: the constant {text} is added to every bias gradient.",
                f"{claim.text}{index} + {text}",
                f"{claim.text}{index}",
            )
    return None


def _with_ones(case: ClaimCase, axis: int, at: int) -> float | None:
    """Return the c of one line of a matrix; None where the formula does not hold."""
    w = _parameter(case)
    if w is None or w.ndim != 2 or case.problem.objective.kind != "implicit":
        return None
    rest = [np.delete(x, at, axis).ravel() for x in (case.claim.got, case.base, w)]
    line = [np.take(x, at, axis).ravel() for x in (case.claim.got, case.base)]
    if rest[0].size < 3:
        return None
    (s, c), *_ = np.linalg.lstsq(np.stack(rest[1:], axis=1), rest[0], rcond=None)
    inside = close(s * rest[1] + c * rest[2], rest[0])
    right = inside and abs(c) > DIGITS and close(line[0], s * line[1] + c)
    return float(c) if right else None


def _clipped(cases: Sequence[ClaimCase]) -> Finding:
    bounds = []
    for case in cases:
        bound = float(np.max(np.abs(case.claim.got), initial=0.0))
        inside = bound and close(np.clip(case.base, -bound, bound), case.claim.got)
        if not inside or not case.wrong.any():
            return None
        bounds.append(bound)
    if any(abs(b - bounds[0]) > SAME * b for b in bounds) or len(bounds) < 2:
        return None
    text = cases[0].claim.text
    return Words(
        "clipped",
        f"{text} is clipped to ±{bounds[0]:g}: every entry that differs is at the bound, the "
        "rest is right.",
        f"{text} = clip(…, −{bounds[0]:g}, {bounds[0]:g})",
        f"{text} = …",
    )


def _summed_over(cases: Sequence[ClaimCase]) -> Finding:
    """Return a sum or a mean over too many axes: every bias gets the same number."""
    base, text = cases[0].base, cases[0].claim.text
    if base.size < 2:
        return None
    axes: list[tuple[int, ...]] = [tuple(range(base.ndim))]
    axes += [(a,) for a in range(base.ndim if base.ndim > 1 else 0)]
    for axis, (kind, how) in itertools.product(axes, (("sum", np.sum), ("mean", np.mean))):
        made = [how(c.base, axis=axis, keepdims=True) for c in cases]
        found = _all_of(
            cases, [np.broadcast_to(m, c.base.shape) for m, c in zip(made, cases, strict=True)]
        )
        if found is not None:
            over = "everything" if len(axis) == base.ndim else f"axis {axis[0]} too"
            return Words(
                "summed_over_everything",
                f"{text} is one number, the {kind} over {over}: an axis= is missing, so all its "
                "entries are the same.",
                f"{text} = {kind}(…)",
                f"{text} = {kind}(…, axis=…)",
            ), found
    return None


_SURE: tuple[Analyser, ...] = (
    _zero,
    _factor,
    ownslope.own_slope_in_part,
    _copied,
    _turned,
    _decay,
    _ones_regularised,
    _clipped,
    _summed_over,
    *regions.SURE,
)
_LESS_SURE: tuple[Analyser, ...] = (
    _another_size,
    ownslope.own_slope,
    _constant_added,
    *regions.ANALYSERS,
)
