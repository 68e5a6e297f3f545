"""Says in words how a wrong array differs from the right one, where no named mistake fits.

Constant factors, transposes, permutations, missing parts, added terms. A description is given
only when it makes the wrong array from the right one to rounding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from manual_backprop.operation import FloatArray
from reference.diagnosis.closeness import same_to_rounding
from reference.formats import Array
from reference.judge import ONE_FACTOR, ONE_SMALL_FACTOR, SOME_DIGITS

_FEW = 3  # a description from fewer problems could be chance


@dataclass(frozen=True)
class ArrayPair:
    """A wrong array beside the right one, in one problem.

    `known` holds arrays that may have slipped in (the weight, the input), `sizes` numbers that a
    factor may stem from (N, D_in, D_out), `shares` arrays whose sum is the right one.
    """

    given: Array
    right: FloatArray
    known: Mapping[str, FloatArray] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, FloatArray] = field(default_factory=dict)


def describe(pairs: Sequence[ArrayPair]) -> str:
    """Return what all pairs have in common, or an empty string. Pairs that agree are left out."""
    wrong = [p for p in pairs if not same_to_rounding(p.given, p.right)]
    # An array of zeros is any multiple of itself and its own transpose: it tells nothing.
    wrong = [p for p in wrong if p.right.any() and np.isfinite(p.right).all()]
    if not wrong:
        return ""
    for test in _TESTS:
        found = test(wrong)
        if found:
            return found
    return ""


def _shape(pairs: Sequence[ArrayPair]) -> str:
    if all(p.given.shape == p.right.shape for p in pairs):
        return ""
    p = next(p for p in pairs if p.given.shape != p.right.shape)
    shapes = f"its shape is {p.given.shape}, expected {p.right.shape}"
    if all(p.given.ndim == 2 and _close(p.given.T, p.right) for p in pairs):
        return f"it is the transpose of the right one ({shapes})"
    if all(
        p.given.size == p.right.size and _close(p.given.ravel(), p.right.ravel()) for p in pairs
    ):
        return f"the numbers are right, the shape is not: {shapes}"
    if all(p.given.ndim > p.right.ndim and _close(_summed(p), p.right) for p in pairs):
        return f"a sum is missing: added up over the leading axes it would be right ({shapes})"
    return shapes


def _summed(pair: ArrayPair) -> Array:
    extra = tuple(range(pair.given.ndim - pair.right.ndim))
    return np.asarray(pair.given.sum(axis=extra))


def _not_finite(pairs: Sequence[ArrayPair]) -> str:
    count = sum(not np.isfinite(p.given).all() for p in pairs)
    return f"it has nan or inf in {count} of {len(pairs)} problems" if count else ""


def _zero(pairs: Sequence[ArrayPair]) -> str:
    return "it is all zeros" if all(not p.given.any() for p in pairs) else ""


def _factor(pairs: Sequence[ArrayPair]) -> str:
    """Yours = c · right, c the same everywhere or made from the sizes."""
    factors = [_ratio(p.given, p.right) for p in pairs]
    if any(f is None for f in factors):
        return ""
    c = np.array(factors, float)
    if _constant(c) and abs(c[0] - 1) < ONE_FACTOR:
        return ""  # what differs by less than a factor shows is for the digits
    if _constant(c):
        return f"it is {_number(c[0])} times the right one"
    names = set.intersection(*(set(p.sizes) for p in pairs))
    for name in sorted(names):
        size = np.array([p.sizes[name] for p in pairs], float)
        for power, text in ((1, f"{name} times"), (-1, f"1/{name} of"), (2, f"{name}² times")):
            k = c / size**power
            if _constant(k):
                front = "" if abs(k[0] - 1) < ONE_FACTOR else f"{_number(k[0])} · "
                return f"it is {front}{text} the right one"
    if len(pairs) < _FEW or all(p.right.size == 1 for p in pairs):
        return ""
    low, high = _number(c.min()), _number(c.max())
    return f"it is a multiple of the right one, from {low} to {high} times, by problem"


def _transposed(pairs: Sequence[ArrayPair]) -> str:
    if all(p.right.ndim == 2 and p.right.shape[0] == p.right.shape[1] for p in pairs):
        if all(_close(p.given.T, p.right) for p in pairs):
            return "it is the transpose of the right one"
    return ""


def _signs(pairs: Sequence[ArrayPair]) -> str:
    if all(_close(np.abs(p.given), np.abs(p.right)) for p in pairs):
        return "the magnitudes are right, some signs are not"
    return ""


def _permuted(pairs: Sequence[ArrayPair]) -> str:
    for axis, what in ((0, "rows"), (1, "columns")):
        if all(p.right.ndim == 2 and _same_slices(p, axis) for p in pairs):
            return f"its {what} are the right ones in another order"
    if all(_close(np.sort(p.given.ravel()), np.sort(p.right.ravel())) for p in pairs):
        return "it has the right numbers in another order"
    return ""


def _same_slices(pair: ArrayPair, axis: int) -> bool:
    given, right = np.moveaxis(pair.given, axis, 0), np.moveaxis(pair.right, axis, 0)
    by_sum = np.argsort(given.sum(axis=1)), np.argsort(right.sum(axis=1))
    return _close(given[by_sum[0]], right[by_sum[1]])


def _partly_zero(pairs: Sequence[ArrayPair]) -> str:
    kept = [p.given != 0 for p in pairs]
    if not all(_close(p.given, np.where(k, p.right, 0)) for p, k in zip(pairs, kept, strict=True)):
        return ""
    for axis, what in ((0, "row"), (1, "column")):
        if all(k.ndim > axis for k in kept):
            lines = [np.moveaxis(~k, axis, 0).reshape(k.shape[axis], -1).all(axis=1) for k in kept]
            for index, word in ((-1, "last"), (0, "first")):
                if all(line[index] and line.sum() == 1 for line in lines):
                    part = what if kept[0].ndim > 1 else "entry"
                    return f"its {word} {part} is zero, the rest right"
    return "some of its entries are zero, the rest are right"


def _missing_share(pairs: Sequence[ArrayPair]) -> str:
    names = set.intersection(*(set(p.shares) for p in pairs))
    for name in sorted(names):
        if all(_close(p.given + p.shares[name], p.right) for p in pairs):
            return f"the term {name} is missing from the sum"
    for name in sorted(names):
        if all(_close(p.given, p.shares[name]) for p in pairs):
            return f"only the term {name} of the sum is there"
        if all(_close(p.given, p.right + p.shares[name]) for p in pairs):
            return f"the term {name} is counted twice"
        if all(_close(p.given + 2 * p.shares[name], p.right) for p in pairs):
            return f"the term {name} has the wrong sign"
    return ""


def _known(pairs: Sequence[ArrayPair]) -> Iterator[tuple[str, list[FloatArray]]]:
    for name in pairs[0].known:
        arrays = [p.known[name] for p in pairs if name in p.known and _broadcasts(p, name)]
        if len(arrays) == len(pairs):
            shapes = [p.right.shape for p in pairs]
            yield name, [np.broadcast_to(a, s) for a, s in zip(arrays, shapes, strict=True)]


def _added(pairs: Sequence[ArrayPair]) -> str:
    for name, arrays in _known(pairs):
        factors = [_ratio(p.given - p.right, a) for p, a in zip(pairs, arrays, strict=True)]
        if None not in factors and _constant(np.array(factors, float), loosely=True):
            return f"{_number(float(factors[0] or 0))} · {name} is added to the right one"
    return ""


def _multiplied(pairs: Sequence[ArrayPair]) -> str:
    for name, arrays in _known(pairs):
        zipped = list(zip(pairs, arrays, strict=True))
        if all(_close(p.given, p.right * a) for p, a in zipped):
            return f"it is the right one, multiplied by {name}"
        if all(a.all() and _close(p.given * a, p.right) for p, a in zipped):
            return f"it is the right one, divided by {name}"
        if all(_close(p.given, a) for p, a in zipped):
            return f"it is {name} itself"
    return ""


def _digits(pairs: Sequence[ArrayPair]) -> str:
    """Half of the digits, or fewer, gone: a smaller dtype, an epsilon, a finite difference."""
    worst = max(_scaled(p.given, p.right) for p in pairs)
    if worst < SOME_DIGITS and pairs[0].right.dtype == np.float64:
        digits = int(-np.log10(worst))
        hint = {7: ", as if it had passed through float32", 3: ", as if through float16"}
        return f"it is right to {digits} digits only{hint.get(digits, '')}"
    return ""


def _no_factor(pairs: Sequence[ArrayPair]) -> str:
    one = len(pairs) >= _FEW and all(p.given.size == p.right.size == 1 for p in pairs)
    return "no constant factor explains it" if one else ""


_TESTS: tuple[Callable[[Sequence[ArrayPair]], str], ...] = (
    _shape, _not_finite, _zero, _factor, _transposed, _partly_zero, _missing_share, _added,
    _multiplied, _signs, _permuted, _digits, _no_factor,
)  # fmt: skip


def _close(a: Array, b: Array) -> bool:
    return same_to_rounding(np.asarray(a), np.asarray(b))


def _broadcasts(pair: ArrayPair, name: str) -> bool:
    try:
        return np.broadcast_shapes(pair.known[name].shape, pair.right.shape) == pair.right.shape
    except ValueError:
        return False


def _ratio(a: Array, b: Array) -> float | None:
    """Return c with a = c b to rounding, or None."""
    if a.shape != b.shape or not b.any() or not np.isfinite(a).all():
        return None
    where = np.unravel_index(np.argmax(np.abs(b)), b.shape)
    c = float(a[where] / b[where])
    return c if c != 0 and _close(a, c * b) else None


def _constant(values: Array, *, loosely: bool = False) -> bool:
    """Say whether numbers that come from divisions are one; loosely: found as small differences."""
    spread = np.abs(values - values[0]).max()
    return bool(spread <= (ONE_SMALL_FACTOR if loosely else ONE_FACTOR) * abs(values[0]))


def _scaled(a: Array, b: Array) -> float:
    scale = float(np.abs(b).max())
    return float(np.abs(a - b).max()) / scale if scale else np.inf


def _number(value: float) -> str:
    """Return a number shortly: 1/3 and 2/3 as fractions."""
    for denominator in range(1, 13):
        numerator = value * denominator
        if abs(numerator - round(numerator)) < ONE_FACTOR * max(1, abs(numerator)) and round(
            numerator
        ):
            n = round(numerator)
            return f"{n}" if denominator == 1 else f"{n}/{denominator}"
    return f"{value:.4g}"
