"""Where a claim is right and where it is not: rows, columns, a first part, a shift; in words."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.finding import ClaimCase, Finding, distance, evidence, spelled
from reference.checks.explain.graph import Array, Mask
from reference.checks.explain.hypothesis import Words, listed
from reference.checks.explain.problem import close, ratio, text_of
from reference.checks.tolerances import DIGITS, LOST


def region(where: Mask) -> str:
    """Return in words which entries are meant: "column 0", "rows 1 and 3", "5 of 12 entries"."""
    if where.ndim == 2:
        columns = [j for j in range(where.shape[1]) if where[:, j].all()]
        rows = [i for i in range(where.shape[0]) if where[i].all()]
        if columns and where.sum() == len(columns) * where.shape[0]:
            return _numbered("column", columns)
        if rows and where.sum() == len(rows) * where.shape[1]:
            return _numbered("row", rows)
    if where.ndim == 1 and where.sum() <= 4:
        return _numbered("entry", np.flatnonzero(where).tolist())
    return f"{int(where.sum())} of {where.size} entries"


def _numbered(what: str, numbers: list[int]) -> str:
    plural = {"entry": "entries", "axis": "axes"}.get(what, what + "s")
    return f"{plural if len(numbers) > 1 else what} {listed([str(n) for n in numbers])}"


def _left_at_zero(cases: Sequence[ClaimCase]) -> Finding:
    """Every entry is right or zero: a loop ends too soon, a part is never filled."""
    for case in cases:
        if case.claim.got[case.wrong].any() or case.wrong.all() or case.base.size < 2:
            return None
    text, where = cases[0].claim.text, cases[0].wrong
    kept = _kept(~where)
    if kept == "a part" and where.sum() > 1:
        return Words(
            "left_at_zero",
            f"{text} is right in some entries and zero in {region(where)}: a term is missing "
            "there (left out for one class or one branch), or a loop ends too soon (only the "
            "first part is filled).",
            f"{text} = 0 there",
            f"{text} with the missing term",
        )
    return Words(
        "left_at_zero",
        f"{text} is right in the first part and zero in {region(where)}: only {kept} is filled "
        "(a return inside of the loop, or a loop that ends or overwrites too soon).",
        f"{text} = 0 there",
        f"{text} filled everywhere",
    )


def _kept(right: Mask) -> str:
    for axis in range(right.ndim):
        other = tuple(a for a in range(right.ndim) if a != axis)
        lines: Mask = np.asarray(right.any(axis=other) if other else right)
        block = lines.reshape([-1 if a == axis else 1 for a in range(right.ndim)])
        if (np.broadcast_to(block, right.shape) != right).any():
            continue
        if not lines.all() and lines.any():
            if lines[0] and not lines[-1]:
                return f"the first {int(lines.sum())} along axis {axis}"
            if lines[-1] and not lines[0]:
                return f"the last {int(lines.sum())} along axis {axis}"
    return "a part"


def _shifted(cases: Sequence[ClaimCase]) -> Finding:
    base, text = cases[0].base, cases[0].claim.text
    for steps in _steps(base.ndim):
        if all(_is_shift(c, steps) for c in cases):
            axes = [a for a, s in enumerate(steps) if s]
            by = max(map(abs, steps))
            return Words(
                "shifted",
                f"{text} is shifted by {by} along {_numbered('axis', axes)}: its windows or its "
                f"index are off by {by} (padding cut at the wrong side, a bias row or column "
                "removed at the wrong end).",
                f"{text}[i] = right[i ± {by}]",
                f"{text}[i] = right[i]",
            )
    return None


def _steps(ndim: int) -> list[tuple[int, ...]]:
    """Return the shifts that are tried: by one or two, along one axis, then along two."""
    if ndim > 5:
        return []
    chosen = [*itertools.combinations(range(ndim), 1), *itertools.combinations(range(ndim), 2)]
    return [tuple(s if a in axes else 0 for a in range(ndim))
            for axes in chosen for s in (1, -1, 2, -2)]  # fmt: skip


def _is_shift(case: ClaimCase, steps: tuple[int, ...]) -> bool:
    got, base = case.claim.got, case.base
    if base.ndim != len(steps):
        return False
    to = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(steps, base.shape, strict=True))
    back = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(steps, base.shape, strict=True))
    part = got[to]
    return bool(part.size >= 3 and part.any() and close(part, base[back]))


def _missing_factor(cases: Sequence[ClaimCase]) -> Finding:
    """A named array that is multiplied in once too often or not at all."""
    first, claim = cases[0].problem, cases[0].claim.text
    others = first.outcome.others
    plain = [p for p, v in others.items() if np.size(v) > 1]
    for path in [*first.named, *plain]:
        text = text_of(path)
        for name, formula, sentence, yours in (
            ("factor_left_out", lambda b, v: b / v, f"the factor {text} is left out", "without"),
            ("factor_too_many", lambda b, v: b * v, f"there is a factor {text} too many", "·"),
            ("factor_squared", lambda b, v: b / v / v, f"the factor {text}² is left out",
             "without"),
        ):  # fmt: skip
            found = evidence(cases, [_applied(c, path, formula) for c in cases])
            if found.enough and found.of == len(cases):
                return Words(
                    name, f"In {claim} {sentence}.", f"{claim} {yours} {text}", claim
                ), found
    return None


def _applied(case: ClaimCase, path: Path, formula: Callable[[Array, Array], Array]) -> Array | None:
    named = case.problem.named.get(path)
    value = named.value if named is not None else case.problem.outcome.others.get(path)
    if value is None:
        return None
    try:
        v = np.asarray(value, dtype=float)
        with np.errstate(all="ignore"):
            made = formula(case.base, v)
    except (ValueError, TypeError):
        return None
    return made if made.shape == case.base.shape and np.isfinite(made).all() else None


def _every_entry_of_a_window(cases: Sequence[ClaimCase]) -> Finding:
    """Entries whose gradient is zero get that of another one: the maximum's, over the window."""
    for case in cases:
        got, base, wrong = case.claim.got, case.base, case.wrong
        right = np.unique(base[~wrong & (base != 0)])
        if base[wrong].any() or not right.size or not wrong.any() or wrong.sum() < 2:
            return None
        near = np.abs(got[wrong][:, None] - right[None, :]).min(axis=1)
        if (near > DIGITS * np.abs(right).max()).any():
            return None
    text = cases[0].claim.text
    return Words(
        "mask_ignored",
        f"In {text} entries that should get nothing get the gradient of another one: every entry "
        "of a window gets it, where only the maximum does (the mask of the maximum is ignored).",
        f"{text} = δ everywhere",
        f"{text} = δ · [x is the maximum]",
    )


def _bare_mask(cases: Sequence[ClaimCase]) -> Finding:
    """The claim is 1 where its truth is not zero: the incoming gradient is left out."""
    for case in cases:
        got, base = case.claim.got, case.base
        if got.size < 2 or not close(got, (base != 0) * 1.0) or not (base == 0).any():
            return None
    text = cases[0].claim.text
    return Words(
        "cotangent_left_out",
        f"{text} is 1 where a gradient belongs and 0 elsewhere: the incoming gradient (the "
        "cotangent) is left out, the mask alone is returned.",
        f"{text} = mask",
        f"{text} = mask · δ",
    )


def _some_signs(cases: Sequence[ClaimCase]) -> Finding:
    if any(not close(np.abs(c.claim.got), np.abs(c.base)) for c in cases) or cases[0].base.size < 2:
        return None
    text = cases[0].claim.text
    sentence = f"{text} has the wrong sign in {region(cases[0].wrong)}."
    return Words("wrong_sign", sentence, f"{text} = −(…) there", f"{text} = (…)")


SURE: tuple[Callable[[Sequence[ClaimCase]], Finding], ...] = (_left_at_zero, _shifted)
ANALYSERS: tuple[Callable[[Sequence[ClaimCase]], Finding], ...] = (
    _bare_mask,
    _every_entry_of_a_window,
    _missing_factor,
    _some_signs,
)


# -- in words ----------------------------------------------------------------------------------


def described(cases: Sequence[ClaimCase]) -> str:
    """Return how a claim differs, where no name fits."""
    case = cases[0]
    got, base = case.claim.got, case.base
    if not np.isfinite(got).all():
        return "it is not finite"
    if not base.any():
        return "the right one is zero: as it is read, the loss does not depend on it"
    off = distance(got, base)
    if off < LOST:
        return f"it is right to {max(1, int(-math.log10(off)))} digits only"
    right = ~case.wrong
    if right.any() and case.wrong.any():
        how = "wrong" if got[case.wrong].any() else "zero"
        return f"it is {how} in {region(case.wrong)}, and right elsewhere"
    c = ratio(got, base)
    spelt = spelled([case.problem], [c]) if c is not None else None
    if spelt and got.size > 1:
        return f"it is {spelt} times the right one"
    a, b = got.ravel(), base.ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms and a.size > 2:
        return f"its direction differs from the right one (cosine {float(a @ b) / norms:.4g})"
    return ""
