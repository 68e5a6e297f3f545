"""Claims beside their truths: rows, the assessment of a problem, when a claim is right."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reference.checks.code import Path, is_gradient_name
from reference.checks.comparing.objective import Objective, Truth
from reference.checks.running.matching import is_inner, same_shape
from reference.checks.tolerances import DIGITS, NEARLY, SUMMED

Array = npt.NDArray[np.float64]


@dataclass
class Row:
    """One claim compared with the truth."""

    claim: Path
    leaf: Path
    got: Array
    truth: Truth
    factor: float | None
    """The c with claim = c · truth; None where there is none."""
    right: bool
    same: float
    jacobian: bool = False

    @property
    def telling(self) -> bool:
        """Whether the truth is not 0: of 0, every factor gives 0, as where all ReLUs are dead."""
        return bool(np.any(np.abs(self.truth.value) > self.truth.radius))

    def fits(self, factor: float, digits: float = DIGITS) -> bool:
        """Whether the claim is factor · truth."""
        return self.factor is not None and bool(close(self.got, self.truth, factor, digits).all())

    def off(self, scale: float = 1.0) -> Array:
        """Return how far each entry is off, of the shape of the truth; inf where not finite."""
        with np.errstate(invalid="ignore"):
            off = np.abs(self.got - scale * self.truth.value)
        return np.where(np.isfinite(off), off, np.inf)

    def distance(self, scale: float = 1.0) -> float:
        """Return how far it is off, as a share of the largest entry of the truth."""
        if self.got.shape != self.truth.value.shape:
            return float("inf")
        size = float(np.max(np.abs(scale * self.truth.value), initial=0.0)) or 1.0
        return float(np.max(self.off(scale), initial=0.0)) / size


@dataclass
class Assessment:
    """All claims of one problem under one objective."""

    objective: Objective
    rows: list[Row]
    middle: list[Row] = field(default_factory=list)
    unmatched: list[Path] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)
    """Inputs of which no gradient came back."""
    dead: list[Path] = field(default_factory=list)
    """Inputs without a claim that do not change the objective."""
    scale: float = 1.0
    """The factor of all claims: a loss that is not in the code may be a mean or a sum."""
    spellings: tuple[str, ...] = ("1",)
    """The ways to write that factor: 1/N, 2/(N·C) …"""
    remarks: list[str] = field(default_factory=list)

    @property
    def all_right(self) -> bool:
        """Whether every claim is right, and there is one."""
        return bool(self.rows) and all(r.right for r in self.rows)

    @property
    def unplaced(self) -> list[Path]:
        """Gradients that were returned, of an unknown input."""
        return [
            p
            for p in self.unmatched
            if p[0] != "self"
            and p != self.objective.output
            and (p[-1] == "" or p[-1].isdigit() or is_gradient_name(p[-1]))
            and not is_inner(p)
        ]

    @property
    def influence(self) -> bool:
        """Whether every input with a claim changes the objective: softmax of one class does not."""
        return all(r.telling for r in self.rows) and not self.dead

    @property
    def common_factor(self) -> float | None:
        """The one factor with which all claims are the truth, None where there is none."""
        factors = [r.factor for r in self.rows if r.telling]
        first = factors[0] if factors else None
        return first if first is not None and all(r.fits(first) for r in self.rows) else None

    @property
    def rank(self) -> tuple[float, ...]:
        """How well it fits: more claims right, its own loss before a guessed one.

        Directions that agree to `DIGITS` are equally good; which is closer, rounding decides, and
        so the processor. Of these, what is nearly right goes before what is off by a factor.
        """
        right = sum(r.right for r in self.rows)
        inner = sum(r.right for r in self.middle) / (len(self.middle) or 1)
        total = len(self.rows) or 1
        near = sum(_cosine(r) for r in self.rows) / total
        return (
            right / total - (0 if self.rows else 1),
            len(self.rows) - len(self.unplaced),
            round((inner + near) / DIGITS),
            float(self.objective.written) - 0.1 * bool(self.remarks),
            sum(row.distance() < NEARLY for row in self.rows),
        )


def _cosine(row: Row) -> float:
    """Return how well the direction of a claim agrees with the truth, at any length."""
    a, b = row.got.ravel(), row.truth.value.ravel()
    if a.shape != b.shape:
        return 0.0
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not np.isfinite(norms):
        return 0.0
    return abs(float(a @ b)) / norms if norms else float(not a.any() and not b.any())


def row(claim: Path, leaf: Path, got: object, truth: Truth, digits: float = DIGITS) -> Row:
    """Return one claim compared with the truth."""
    plain = np.asarray(got, dtype=np.float64)
    same = same_shape(plain, truth.value)
    if same == 0:
        return Row(claim, leaf, plain, truth, None, False, same)
    if same < 1:
        plain = plain.reshape(truth.value.shape)
    factor = factor_of(plain, truth, digits)
    return Row(claim, leaf, plain, truth, factor, factor == 1.0, same)


def close(got: Array, truth: Truth, factor: float = 1.0, digits: float = DIGITS) -> Array:
    """Return where a claim is factor · truth, to `digits` of the natural unit of its rounding."""
    unit = truth.scale + SUMMED * float(np.max(truth.scale, initial=0.0))
    with np.errstate(invalid="ignore"):
        inside = np.abs(got - factor * truth.value) <= digits * abs(factor) * unit + truth.radius
    return np.asarray(inside & np.isfinite(got))


def factor_of(got: Array, truth: Truth, digits: float = DIGITS) -> float | None:
    """Return the c with got = c · truth in every entry, to some digits; 1 wherever that is so."""
    if close(got, truth, 1.0, digits).all():
        return 1.0
    if got.size < 2 and not np.shape(truth.value):
        value = float(truth.value)
        return float(got) / value if value and np.isfinite(float(got)) else None
    with np.errstate(over="ignore"):
        norm = float(np.sum(truth.value * truth.value))
    if not norm or not np.isfinite(norm) or not np.isfinite(got).all():
        return None
    c = float(np.sum(got * truth.value)) / norm
    return c if c and close(got, truth, c, digits).all() else None
