"""What one wrong claim is of the right one: twice it, transposed, another's, clipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reference.checks.explain import ownslope, regions
from reference.checks.explain.factors import ratio, spelled, symbols
from reference.checks.explain.finding import ENOUGH, ClaimCase, Support, distance, evidence
from reference.checks.explain.graph import Array
from reference.checks.explain.hypothesis import Words
from reference.checks.explain.problem import close, close_entries
from reference.checks.tolerances import DIGITS, SAME
from reference.checks.vocabulary import REGULARISATION

Result = tuple[Words, Support] | None
Analyser = Callable[[Sequence[ClaimCase]], Result]


def analyse(cases: Sequence[ClaimCase], sure: bool) -> Result:
    """Return the words for a claim and the evidence, by the first of the analysers that fits.

    sure: only what leaves no doubt; the rest is asked when no change of the sweep explains it.
    """
    off = [c for c in cases if c.off]
    if not off:
        return None
    for one in _SURE if sure else _LESS_SURE:
        result = one(off)
        if result is not None and result[1].enough:
            return result
    return None


def described(cases: Sequence[ClaimCase]) -> str:
    """Return in words how a claim differs where no name fits."""
    off = [c for c in cases if c.off]
    return regions.described(off) if off else ""


def all_of(cases: Sequence[ClaimCase], predicted: Sequence[Array | None]) -> Support | None:
    """Return the evidence where it is enough."""
    found = evidence(cases, predicted)
    return found if found.enough else None


def _zero(cases: Sequence[ClaimCase]) -> Result:
    found = all_of(cases, [np.zeros_like(c.base) for c in cases])
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


def _factor(cases: Sequence[ClaimCase]) -> Result:
    values = [ratio(c.claim.got, c.base) for c in cases]
    if any(v is None for v in values) or not values:
        return None
    plain = [v for v in values if v is not None]
    if len(plain) < min(ENOUGH, len(cases)):
        return None
    problems = [c.problem for c in cases]
    text = spelled(problems, plain)
    claim = cases[0].claim
    if text is None or (claim.got.size == 1 and len(plain) < ENOUGH):
        return None
    found = Support(
        len(plain),
        len(cases),
        max(distance(c.claim.got, v * c.base) for c, v in zip(cases, plain, strict=True)),
    )
    yours = f"{claim.text} = {text} · the right one"
    inverse = spelled(problems, [1 / v for v in plain])
    if text == "−1":
        return Words(
            "wrong_sign",
            f"{claim.text} has the wrong sign: it is the negative of the gradient.",
            f"{claim.text} = −(…)",
            f"{claim.text} = (…)",
        ), found
    what = (
        f"a factor {inverse} is missing"
        if inverse and len(inverse) <= len(text)
        else f"there is a factor {text} too many"
    )
    averaged = _averaged(text, inverse)
    return Words(
        "constant_factor",
        f"{claim.text} is {text} times the right one: {what}{averaged}.",
        yours,
        f"{claim.text} = the right one",
    ), found


def _averaged(text: str, inverse: str | None) -> str:
    both = f"{text} {inverse or ''}"
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


def _copied(cases: Sequence[ClaimCase]) -> Result:
    first = cases[0]
    for path, other in first.problem.claims.items():
        if other.leaf == first.claim.leaf or other.truth.shape != first.base.shape or other.inner:
            continue
        found = all_of(
            cases,
            [c.problem.claims[path].truth if path in c.problem.claims else None for c in cases],
        )
        if found is None:
            continue
        mine, theirs = first.claim, other
        if close(other.got, first.claim.truth) and not other.right:
            return Words(
                "swapped",
                f"{mine.text} and {theirs.text} are swapped: each is the other's gradient.",
                f"{mine.text} = ∂/∂{theirs.of}",
                f"{mine.text} = ∂/∂{mine.of}",
            ), found
        return Words(
            "gradient_of_another",
            f"{mine.text} is another parameter's gradient: it is that of {theirs.of}, "
            f"not of {mine.of} (copied and pasted?).",
            f"{mine.text} = {theirs.text}",
            f"{mine.text} = ∂/∂{mine.of}",
        ), found
    return _copied_value(cases)


def _copied_value(cases: Sequence[ClaimCase]) -> Result:
    """The gradient of another value of the forward: the error before a step."""
    first = cases[0]
    for path, array in first.problem.named.items():
        if array.shape != first.base.shape or path == first.claim.leaf or first.base.ndim == 0:
            continue
        if path in first.problem.outcome.inputs and first.base.size < 2:
            continue
        values = [
            c.problem.cotangent(c.problem.named[path]) if path in c.problem.named else None
            for c in cases
        ]
        found = all_of(cases, values)
        if found is not None and path in first.problem.outcome.inputs:
            return Words(
                "gradient_of_another",
                f"{first.claim.text} is another's gradient: it is that of {array.text}, "
                f"not of {first.claim.of}.",
                f"{first.claim.text} = δ{array.text}",
                f"{first.claim.text} = δ{first.claim.of}",
            ), found
    return None


def _turned(cases: Sequence[ClaimCase]) -> Result:
    base, name = cases[0].base, cases[0].claim.text
    if base.ndim < 1 or base.size < 2:
        return None
    if base.ndim >= 2 and base.shape[-1] == base.shape[-2]:
        found = all_of(
            cases, [np.swapaxes(c.base, -1, -2) if c.base.ndim >= 2 else None for c in cases]
        )
        if found is not None:
            return Words(
                "transposed", f"{name} is transposed.", f"{name} = (…)ᵀ", f"{name} = (…)"
            ), found
    for axes, text in _flips(base.ndim):
        found = all_of(cases, [np.flip(c.base, axes) for c in cases])
        if found is not None:
            return Words(
                "flipped",
                f"{name} is flipped (in reversed order) along {text}: the kernel or the order of a "
                "loop is turned round.",
                f"{name}[::-1]",
                name,
            ), found
    for axes in _orders(base.ndim):
        found = all_of(cases, [np.transpose(c.base, axes).reshape(c.base.shape) for c in cases])
        if found is not None:
            return Words(
                "reshaped_in_another_order",
                f"{name} has the right numbers in another order: it is reshaped without "
                f"moving its axes first (a transpose is missing).",
                f"{name} reshaped",
                f"{name} transposed, then reshaped",
            ), found
    return None


def _flips(ndim: int) -> list[tuple[tuple[int, ...], str]]:
    found: list[tuple[tuple[int, ...], str]] = [((a,), f"axis {a}") for a in range(ndim)]
    if ndim >= 2:
        found += [((ndim - 2, ndim - 1), "its last two axes"), ((0, 1), "its first two axes")]
    return found


def _orders(ndim: int) -> list[tuple[int, ...]]:
    import itertools

    return [p for p in itertools.permutations(range(ndim)) if p != tuple(range(ndim))][:24]


def _parameter(case: ClaimCase) -> Array | None:
    named = case.problem.named.get(case.claim.leaf)
    return named.value if named is not None and named.shape == case.base.shape else None


def _decay(cases: Sequence[ClaimCase]) -> Result:
    """Return a multiple of the parameter that is added: regularisation that is wrong."""
    values: list[float] = []
    wheres = []
    if ownslope.is_own_step(cases[0]):
        return None
    for case in cases:
        w = _parameter(case)
        if w is None:
            return None
        wrong = ~close_entries(case.claim.got, case.base)
        c = ratio((case.claim.got - case.base)[wrong], w[wrong]) if wrong.sum() > 0 else None
        if c is None or (wrong.sum() < 2 and len(cases) < ENOUGH):
            return None
        values.append(c)
        wheres.append(wrong)
    if not any(w.sum() >= 2 for w in wheres):
        return None
    claim = cases[0].claim
    text = spelled([c.problem for c in cases], values, pairs=True)
    where = regions.region(wheres[0])
    if text is None:
        return None
    found = Support(len(cases), len(cases), 0.0)
    if wheres[0].all():
        part = "is added wrongly" if values[0] > 0 and not _negative(text) else "is missing"
        amount = text.lstrip("−")
        more = _half_or_twice(cases, values)
        return Words(
            "regularisation_factor",
            f"The regularisation (weight decay) in {claim.text} is wrong: {amount} · {claim.of} "
            f"{part}{more}.",
            f"{claim.text} = right {'−' if part == 'is missing' else '+'} {amount}·{claim.of}",
            f"{claim.text} = right",
        ), found
    return Words(
        "bias_regularised",
        f"The regularisation term {text} · {claim.of} is also added to {where} of {claim.text}, "
        "which the loss "
        "leaves out (the bias is regularised, or another row or column is).",
        f"{claim.text} + {text}·{claim.of} everywhere",
        f"not in {where}",
    ), found


def _negative(text: str) -> bool:
    return text.startswith("−")


def _half_or_twice(cases: Sequence[ClaimCase], values: list[float]) -> str:
    """Say whether the term is half or twice of what it should be: the loss's own strength c₀·W."""
    names = symbols(cases[0].problem)
    known = [n for n in names if n.lower().lstrip("_") in REGULARISATION]
    if not known:
        return ""
    return f" (the term is half or double of the loss's: check the factor 2 of {known[0]})"


def _constant_added(cases: Sequence[ClaimCase]) -> Result:
    """Return one number that is added to some entries: a column of ones that is regularised."""
    values, wheres = [], []
    for case in cases:
        wrong = ~close_entries(case.claim.got, case.base)
        more = (case.claim.got - case.base)[wrong]
        if more.size < 2 or not close(more, np.full(more.shape, more.flat[0])):
            return None
        values.append(float(more.flat[0]))
        wheres.append(wrong)
    claim, where = cases[0].claim, regions.region(wheres[0])
    text = spelled([c.problem for c in cases], values, pairs=True)
    if text is None:
        return None
    if "2" in text and all(w.ndim > 1 and _one_of_each_row(w) for w in wheres):
        return Words(
            "wrong_sign",
            f"{claim.text} is {text} too large at one entry of each row, that of its label: the 1 "
            "of the label is added, but it has to be subtracted (p − y; += is used instead of −=).",
            f"{claim.text} = p + y",
            f"{claim.text} = p − y",
        ), Support(len(cases), len(cases), 0.0)
    return Words(
        "constant_added",
        f"The constant {text} is added to {where} of {claim.text} (the column of the bias takes "
        "part in "
        "the regularisation, as ones).",
        f"{claim.text} = right + {text}",
        f"{claim.text} = right",
    ), Support(len(cases), len(cases), 0.0)


def _one_of_each_row(wrong: Array) -> bool:
    """Whether there is one entry in each row, or in each column."""
    return any(bool((wrong.sum(axis=a) == 1).all()) for a in range(wrong.ndim))


def _ones_regularised(cases: Sequence[ClaimCase]) -> Result:
    """Return a column of ones that is regularised in place of the bias, under a loss not written.

    got = s · truth + c · W outside of one column, + c inside of it.
    """
    texts: list[float] = []
    for case in cases:
        w = _parameter(case)
        if w is None or w.ndim != 2 or case.problem.objective.kind != "implicit":
            return None
        found = _with_ones(case.claim.got, case.base, w)
        if found is None:
            return None
        texts.append(found)
    text = spelled([c.problem for c in cases], texts, pairs=True)
    claim = cases[0].claim
    if text is None:
        return None
    return Words(
        "constant_added",
        f"The column of the bias takes part in the regularisation of {claim.text} as a column of "
        "ones: the constant "
        f"{text} is added to every bias gradient.",
        f"{claim.text}[:, 0] + {text}",
        f"{claim.text}[:, 0]",
    ), Support(len(cases), len(cases), 0.0)


def _with_ones(got: Array, base: Array, w: Array) -> float | None:
    for axis, at in ((1, 0), (0, 0), (1, -1), (0, -1)):
        rest = [np.delete(x, at, axis).ravel() for x in (got, base, w)]
        line = [np.take(x, at, axis).ravel() for x in (got, base)]
        if rest[0].size < 3:
            continue
        (s, c), *_ = np.linalg.lstsq(np.stack(rest[1:], axis=1), rest[0], rcond=None)
        inside = close(s * rest[1] + c * rest[2], rest[0])
        if inside and abs(c) > DIGITS and close(line[0], s * line[1] + c):
            return float(c)
    return None


def _clipped(cases: Sequence[ClaimCase]) -> Result:
    bounds = []
    for case in cases:
        got, wrong = case.claim.got, ~close_entries(case.claim.got, case.base)
        bound = float(np.max(np.abs(got), initial=0.0))
        if not bound or not close(np.clip(case.base, -bound, bound), got):
            return None
        bounds.append(bound)
        if not wrong.any():
            return None
    if any(abs(b - bounds[0]) > SAME * b for b in bounds) or len(bounds) < 2:
        return None
    text = cases[0].claim.text
    return Words(
        "clipped",
        f"{text} is clipped to ±{bounds[0]:g}: every entry that differs is at the bound, the "
        "rest is right.",
        f"{text} = clip(…, −{bounds[0]:g}, {bounds[0]:g})",
        f"{text} = …",
    ), Support(len(cases), len(cases), 0.0)


def _summed_over(cases: Sequence[ClaimCase]) -> Result:
    """Return a sum or a mean over too many axes: every bias gets the same number."""
    base, text = cases[0].base, cases[0].claim.text
    if base.size < 2:
        return None
    axes: list[tuple[int, ...]] = [tuple(range(base.ndim))] + (
        [(a,) for a in range(base.ndim)] if base.ndim > 1 else []
    )
    for axis in axes:
        for how in (np.sum, np.mean):
            made = [
                np.broadcast_to(how(c.base, axis=axis, keepdims=True), c.base.shape) for c in cases
            ]
            found = all_of(cases, list(made))
            if found is not None:
                over = "everything" if len(axis) == base.ndim else f"axis {axis[0]} too"
                kind = "sum" if how is np.sum else "mean"
                return Words(
                    "summed_over_everything",
                    f"{text} is one number, the {kind} over {over}: an axis= is missing, so all "
                    "its "
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
_LESS_SURE: tuple[Analyser, ...] = (ownslope.own_slope, _constant_added, *regions.ANALYSERS)
