"""Where a claim is right and where it is not: rows, columns, a first part, a shift; in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from reference.checks.explain.factors import ratio, spelled
from reference.checks.explain.finding import ClaimCase, Support, evidence
from reference.checks.explain.graph import Array, Mask
from reference.checks.explain.hypothesis import Words
from reference.checks.explain.problem import close, close_entries
from reference.checks.tolerances import DIGITS

Result = tuple[Words, Support] | None


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
    plural = {"entry": "entries"}.get(what, what + "s")
    texts = [str(n) for n in numbers]
    if len(texts) == 1:
        return f"{what} {texts[0]}"
    return f"{plural} {', '.join(texts[:-1])} and {texts[-1]}"


def _left_at_zero(cases: Sequence[ClaimCase]) -> Result:
    """Every entry is right or zero: a loop ends too soon, a part is never filled."""
    wheres = []
    for case in cases:
        wrong = ~close_entries(case.claim.got, case.base)
        if case.claim.got[wrong].any() or wrong.all() or case.base.size < 2:
            return None
        wheres.append(wrong)
    text, where = cases[0].claim.text, wheres[0]
    kept = _kept(~where)
    if kept == "a part" and where.sum() > 1:
        return Words(
            "left_at_zero",
            f"{text} is right in some entries and zero in {region(where)}: a term is missing "
            "there (left out for one "
            "class or one branch), or a loop ends too soon (only the first part is filled).",
            f"{text} = 0 there",
            f"{text} with the missing term",
        ), Support(len(cases), len(cases), 0.0)
    return Words(
        "left_at_zero",
        f"{text} is right in the first part and zero in {region(where)}: only {kept} is filled "
        "(a return inside of the loop, or a loop that ends or overwrites too soon).",
        f"{text} = 0 there",
        f"{text} filled everywhere",
    ), Support(len(cases), len(cases), 0.0)


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


def _shifted(cases: Sequence[ClaimCase]) -> Result:
    base, text = cases[0].base, cases[0].claim.text
    for steps in _steps(base.ndim):
        if all(_is_shift(c, steps) for c in cases):
            axes = [a for a, s in enumerate(steps) if s]
            by = next(abs(s) for s in steps if s)
            found = Support(len(cases), len(cases), 0.0)
            return Words(
                "shifted",
                f"{text} is shifted by {by} along {_numbered_axes(axes)}: its windows or its "
                f"index are off by {by} "
                "(padding cut at the wrong side, a bias row or column removed at the wrong end).",
                f"{text}[i] = right[i ± {by}]",
                f"{text}[i] = right[i]",
            ), found
    return None


def _numbered_axes(axes: list[int]) -> str:
    return _numbered("axis", axes).replace("axiss", "axes")


def _steps(ndim: int) -> list[tuple[int, ...]]:
    if ndim == 0 or ndim > 5:
        return []
    single = [
        tuple(s if a == axis else 0 for a in range(ndim))
        for axis in range(ndim)
        for s in (1, -1, 2, -2)
    ]
    double = []
    if ndim >= 2:
        for a, b in itertools.combinations(range(ndim), 2):
            double += [tuple(s if i in (a, b) else 0 for i in range(ndim)) for s in (1, -1, 2, -2)]
    return single + double


def _is_shift(case: ClaimCase, steps: tuple[int, ...]) -> bool:
    got, base = case.claim.got, case.base
    if base.ndim != len(steps):
        return False
    to = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(steps, base.shape, strict=True))
    back = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(steps, base.shape, strict=True))
    part = got[to]
    return bool(part.size >= 3 and part.any() and close(part, base[back]))


def _missing_factor(cases: Sequence[ClaimCase]) -> Result:
    """A named array that is multiplied in once too often or not at all."""
    first = cases[0]
    values = {p: n.value for p, n in first.problem.named.items()}
    for path in [*values, *_plain(first)]:
        text = _text(path)
        for name, formula, sentence in (
            ("factor_left_out", lambda b, v: b / v, f"the factor {text} is left out"),
            ("factor_too_many", lambda b, v: b * v, f"there is a factor {text} too many"),
            ("factor_squared", lambda b, v: b / v / v, f"the factor {text}² is left out"),
        ):
            made = [_applied(c, path, formula) for c in cases]
            found = evidence(cases, made)
            if found.enough and found.of == len(cases):
                claim = first.claim.text
                return Words(
                    name,
                    f"In {claim} {sentence}.",
                    f"{claim} without {text}" if "left" in sentence else f"{claim} · {text}",
                    claim,
                ), found
    return None


def _plain(case: ClaimCase) -> list[tuple[str, ...]]:
    return [
        p for p, v in case.problem.outcome.others.items() if np.size(v) > 1 and p[0] != "before"
    ]


def _text(path: tuple[str, ...]) -> str:
    from reference.checks.explain.problem import text_of

    return text_of(path)


def _applied(
    case: ClaimCase, path: tuple[str, ...], formula: Callable[[Array, Array], Array]
) -> Array | None:
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


def _every_entry_of_a_window(cases: Sequence[ClaimCase]) -> Result:
    """Entries whose gradient is zero get that of another one: the maximum's, over the window."""
    for case in cases:
        got, base = case.claim.got, case.base
        wrong = ~close_entries(got, base)
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
    ), Support(len(cases), len(cases), 0.0)


def _bare_mask(cases: Sequence[ClaimCase]) -> Result:
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
    ), Support(len(cases), len(cases), 0.0)


def _some_signs(cases: Sequence[ClaimCase]) -> Result:
    if any(not close(np.abs(c.claim.got), np.abs(c.base)) for c in cases) or cases[0].base.size < 2:
        return None
    where = ~close_entries(cases[0].claim.got, cases[0].base)
    text = cases[0].claim.text
    return Words(
        "wrong_sign",
        f"{text} has the wrong sign in {region(where)}.",
        f"{text} = −(…) there",
        f"{text} = (…)",
    ), Support(len(cases), len(cases), 0.0)


SURE: tuple[Callable[[Sequence[ClaimCase]], Result], ...] = (_left_at_zero, _shifted)
ANALYSERS: tuple[Callable[[Sequence[ClaimCase]], Result], ...] = (
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
    right = close_entries(got, base)
    off = float(np.max(np.abs(got - base), initial=0.0)) / (
        float(np.max(np.abs(base), initial=0.0)) or 1.0
    )
    if off < 1e-3:
        return f"it is right to {max(1, int(-math.log10(off)))} digits only"
    text = _in_part(got, base, right)
    if text:
        return text
    c = ratio(got, base)
    spelt = spelled([case.problem], [c]) if c is not None else None
    if spelt and got.size > 1:
        return f"it is {spelt} times the right one"
    if got.shape and right.any() and not right.all():
        return f"{region(right)} are right" if right.sum() > 1 else f"{region(right)} is right"
    a, b = got.ravel(), base.ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms and a.size > 2:
        return (
            "it points another way: the cosine of the angle to the right one is "
            f"{float(a @ b) / norms:.2f}"
        )
    return ""


def _in_part(got: Array, base: Array, right: Mask) -> str:
    wrong = ~right
    if not right.any() or not got[wrong].size:
        return ""
    if not got[wrong].any():
        return f"it is zero in {region(wrong)}, and right elsewhere"
    return f"it is wrong in {region(wrong)}, and right elsewhere"
