"""Decides the claims of an article by evaluating both sides; no verdict is written by hand.

Both sides are computed in ball arithmetic on random problems. Sides whose enclosures overlap
on all of them are equal (a false identity would have to hold to `derivatives.BITS` bits at random
points); sides with disjoint enclosures certainly differ. PyTorch and JAX must confirm the left
side, which holds the true derivatives.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np

from manual_backprop.articles.claim import (
    Article,
    Claim,
    Evaluation,
    NoSuchEntries,
    Product,
    ShapeMismatch,
    Side,
)
from manual_backprop.articles.system import System, Undefined, differentiable
from manual_backprop.operation import ByName, InvalidInput
from reference.arithmetic.balls import precision
from reference.articles.derivatives import BITS, DerivativeEngine, engine, floats, overlap, thin
from reference.articles.reorder import arrangements
from reference.articles.words import changed_formula, digits_at, numeric, spell, spell_case, telling
from reference.diagnosis.closeness import same_to_rounding

_Change = Callable[[np.ndarray], np.ndarray]
Kind = Literal["RIGHT", "RIGHT UP TO", "WRONG", "SHAPE", "NOT DECIDABLE"]

PROBLEMS = 8
"""Random problems for each claim in ball arithmetic; structure and numbers vary."""

CONFIRMED = 2
"""Random problems on which PyTorch and JAX confirm the left side."""

_SEARCHED = 60  # integer problems tried for a counterexample, at each magnitude
_MAGNITUDES = (1, 2, 3)
# How the printed right side differs from the true one, and the correction.
_FACTORS = (
    ("factor −1", -1.0),
    ("factor 2", 0.5),
    ("factor −2", -0.5),
    ("factor 1/2", 2.0),
    ("factor −1/2", -2.0),
)


@dataclass(frozen=True)
class ClaimDecision:
    """What evaluation says of a claim.

    `detail` completes the verdict: up to what, why not decidable, which shapes. `correction` is
    LaTeX, and `checked` says whether it was evaluated and found right. `answers` holds both sides
    as each engine has them, at the first problem and its most telling entry.
    """

    claim: Claim
    kind: Kind
    detail: str = ""
    correction: str = ""
    checked: bool = False
    counterexample: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The verdict as it is spelled: RIGHT, RIGHT UP TO factor −1, NOT DECIDABLE(reason)."""
        match self.kind:
            case "RIGHT UP TO":
                return f"RIGHT UP TO {self.detail}"
            case "NOT DECIDABLE":
                return f"NOT DECIDABLE({self.detail})"
            case _:
                return self.kind


class Auditor:
    """Decides claims; problems worked out for one claim are kept for the next."""

    def __init__(
        self,
        problems: int = PROBLEMS,
        confirm: Sequence[str] = ("torch", "jax"),
        counterexamples: bool = True,
    ) -> None:
        self._problems, self._search = problems, counterexamples
        self._certified = engine("certified")
        candidates = [engine(name) for name in confirm]
        self._confirming = [one for one in candidates if one.unavailable() is None]
        self._known: dict[tuple[str, int, int], Evaluation] = {}

    def audit(self, audited: Article) -> list[ClaimDecision]:
        """Decide every claim of an article, in order."""
        return [self.decide(audited, claim) for claim in audited.claims]

    def decide(self, audited: Article, claim: Claim) -> ClaimDecision:
        """Decide one claim."""
        system = claim.system or audited.system
        with precision(BITS):
            try:
                decision = self._decide(audited, system, claim)
                return replace(decision, answers=self._answers(system, claim, decision))
            except (Undefined, NoSuchEntries, InvalidInput) as error:
                return ClaimDecision(claim, "NOT DECIDABLE", str(error.args[0]))
            except Exception as error:  # an author's code may fail in any way
                return ClaimDecision(claim, "NOT DECIDABLE", f"{type(error).__name__}: {error}")

    def _decide(self, audited: Article, system: System, claim: Claim) -> ClaimDecision:
        evaluations = self._evaluations(system)
        lefts = [claim.left(q) for q in evaluations]
        dissent = self._dissent(system, claim)
        if dissent:
            return ClaimDecision(claim, "NOT DECIDABLE", dissent)
        try:
            rights = [claim.right(q) for q in evaluations]
        except InvalidInput:
            raise
        except ValueError as error:
            return self._misshapen(claim, evaluations, lefts, error)
        equal = [_equal(claim, p, q) for p, q in zip(lefts, rights, strict=True)]
        if None in equal:
            return ClaimDecision(claim, "NOT DECIDABLE", "a problem met a kink or left the range")
        if all(equal):
            return ClaimDecision(claim, "RIGHT")
        if claim.asserts == "equal":
            upto = _up_to(system, lefts, rights)
            if upto:
                corrected = changed_formula(claim.formula, upto)
                return ClaimDecision(claim, "RIGHT UP TO", ", ".join(upto), corrected, True)
            names = self._names(audited, system, claim) if _is_label(claim, evaluations[0]) else []
            if names:
                found = ClaimDecision(
                    claim, "RIGHT UP TO", "naming of the left side", " = ".join(names), True
                )
                return self._mended(system, found)
        wrong = self._mended(system, ClaimDecision(claim, "WRONG"))
        case = self._counterexample(system, claim) if self._search else ""
        return replace(wrong, counterexample=case)

    def _evaluations(self, system: System) -> list[Evaluation]:
        return [self._at(self._certified, system, index) for index in range(self._problems)]

    def _at(self, by: DerivativeEngine, system: System, index: int) -> Evaluation:
        key = (by.name, id(system), index)
        if key not in self._known:
            self._known[key] = by.evaluate(system, system.inputs(0, index))
        return self._known[key]

    def _alike(self, system: System, count: int = CONFIRMED) -> list[int]:
        """Return indices of problems with one structure: the same names, and one JAX program."""
        first = _structure(system.inputs(0, 0))
        alike = (i for i in range(50) if _structure(system.inputs(0, i)) == first)
        return list(islice(alike, count))

    def _dissent(self, system: System, claim: Claim) -> str:
        """Return who contradicts the certified left side; "" when nobody does."""
        for index in self._alike(system):
            certified = claim.left(self._at(self._certified, system, index))
            if not numeric(certified) or not thin(certified):
                return ""  # on a kink every side may choose its own slope
            for by in self._confirming:
                found = claim.left(self._at(by, system, index))
                if not same_to_rounding(floats(certified), np.asarray(found, dtype=np.float64)):
                    return f"{by.name} contradicts the certified value of the left side"
        return ""

    def _misshapen(
        self, claim: Claim, evaluations: list[Evaluation], lefts: list[np.ndarray], error: Exception
    ) -> ClaimDecision:
        """Look for the order of the printed factors that multiplies and is right."""
        detail = f"the shapes {error} do not fit"
        if not isinstance(claim.right, Product):
            return ClaimDecision(claim, "SHAPE", detail)
        target = floats(lefts[0])
        for found in arrangements(claim.right, evaluations[0], target):
            values = [found.evaluate(q) for q in evaluations]
            if all(_same(p, v) for p, v in zip(lefts, values, strict=True)):
                return ClaimDecision(claim, "SHAPE", detail, spell(found), True)
        return ClaimDecision(claim, "SHAPE", detail)

    def _mended(self, system: System, decision: ClaimDecision) -> ClaimDecision:
        """Check the author's correction, if there is one, by the same evaluation."""
        claim = decision.claim
        if claim.correction is None and claim.correction_left is None:
            return decision
        left: Side = claim.correction_left or claim.left
        right: Side = claim.correction or claim.right
        try:
            holds = all(_equal(claim, left(q), right(q)) for q in self._evaluations(system))
        except (Undefined, NoSuchEntries, ShapeMismatch, ValueError):
            holds = False
        if not holds:
            return decision
        return replace(decision, correction=claim.correction_formula, checked=True)

    def _names(self, audited: Article, system: System, claim: Claim) -> list[str]:
        """Return the derivatives, of all that the article speaks of, that the right side equals."""
        alike = [
            self._at(self._certified, system, index)
            for index in self._alike(system, self._problems)
        ]
        rights = [claim.right(q) for q in alike]
        if not numeric(rights[0]):
            return []
        if not np.ndim(rights[0]) and all(overlap(rights[0], one) for one in rights):
            return []  # a number that does not depend on the problem names nothing
        names: dict[str, None] = {}
        for of, by, reading in self._spoken_of(audited, system):
            try:
                found = [q.d(of, by, reading) for q in alike]
            except (Undefined, NoSuchEntries, InvalidInput):
                continue
            if all(_same(p, r) for p, r in zip(found, rights, strict=True)):
                name = rf"\frac{{\partial {system.spell(of)}}}{{\partial {system.spell(by)}}}"
                names[name] = None
        return list(names)

    def _spoken_of(self, audited: Article, system: System) -> list[tuple[str, str, str]]:
        """Return every derivative in the article's claims, and the loss by every quantity."""
        first = self._at(self._certified, system, 0)
        for other in audited.claims:
            if (other.system or audited.system) is audited.system:
                for side in (other.left, other.right):
                    try:
                        side(first)
                    except (Undefined, NoSuchEntries, ValueError):
                        continue
        inputs = system.inputs(0, 0)
        run = system.run(inputs)
        loss = [(system.loss, by, "") for by in (*differentiable(inputs), *run.computed())]
        return list(dict.fromkeys([*first.asked, *loss]))

    def _counterexample(self, system: System, claim: Claim) -> str:
        """Search small integers for a certain difference, then shrink it entry by entry."""
        for magnitude in _MAGNITUDES:
            for index in range(_SEARCHED):
                inputs = system.inputs(1, index, integers=magnitude)
                if self._parts(self._certified, system, claim, inputs):
                    small = self._shrunk(system, claim, inputs)
                    q = self._certified.evaluate(system, small)
                    return spell_case(small, claim.left(q), claim.right(q))
        return ""

    def _shrunk(self, system: System, claim: Claim, inputs: ByName) -> ByName:
        """Set entry after entry to 0 or 1 as long as the sides stay different."""
        small = dict(inputs)
        q = self._certified.evaluate(system, inputs)
        if claim.asserts == "equal" and np.shape(claim.left(q)) != np.shape(claim.right(q)):
            return small  # any numbers do; zeros would show nothing
        # A framework is quicker; what it keeps is certified again.
        quick = self._confirming[0] if self._confirming else self._certified
        for name in differentiable(inputs):
            if name in system.labels:
                continue
            for entry in np.ndindex(small[name].shape):
                for simpler in (0.0, 1.0):
                    if small[name][entry] in (0.0, simpler):
                        break
                    trial = small[name].copy()
                    trial[entry] = simpler
                    attempt = {**small, name: trial}
                    if all(
                        self._parts(by, system, claim, attempt) for by in (quick, self._certified)
                    ):
                        small = attempt
                        break
        return small

    def _parts(self, by: DerivativeEngine, system: System, claim: Claim, inputs: ByName) -> bool:
        """Whether the two sides are finite and clearly different at these inputs."""
        try:
            q = by.evaluate(system, inputs)
            with np.errstate(all="ignore"):
                left, right = claim.left(q), claim.right(q)
        except (ValueError, ZeroDivisionError):
            return False
        if claim.asserts == "member":
            return left not in right
        if by.name != "certified":
            p, r = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
            finite = bool(np.isfinite(p).all() and np.isfinite(r).all())
            return finite and not same_to_rounding(p, r)
        return _equal(claim, left, right) is False

    def _answers(self, system: System, claim: Claim, decision: ClaimDecision) -> dict[str, str]:
        """Return both sides at the first problem, at the entry where they differ most."""
        index = self._alike(system)[0]
        left = claim.left(self._at(self._certified, system, index))
        if not numeric(left) or decision.kind == "NOT DECIDABLE":
            return {}
        try:
            right = claim.right(self._at(self._certified, system, index))
        except (ShapeMismatch, ValueError):
            right = None
        if right is not None and not numeric(right):
            return {}
        entry = telling(left, right)
        answers = {"left side (certified)": digits_at(left, entry)}
        for by in self._confirming:
            digits = digits_at(claim.left(self._at(by, system, index)), entry)
            answers[f"left side ({by.name})"] = digits
        if right is not None:
            answers["printed right side"] = digits_at(right, entry)
        return answers


def _is_label(claim: Claim, q: Evaluation) -> bool:
    """Whether the left side is one derivative and nothing else, so that it may be misnamed."""
    before, q.asked = q.asked, {}
    left = claim.left(q)
    labels = list(q.asked)
    q.asked = before | q.asked
    return len(labels) == 1 and _same(left, q.d(*labels[0]))


def _structure(inputs: ByName) -> str:
    """Return everything about a problem but its numbers."""
    numbers = differentiable(inputs)
    return repr([(n, np.shape(v) if n in numbers else v) for n, v in inputs.items()])


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    return np.shape(left) == np.shape(right) and overlap(left, right)


def _equal(claim: Claim, left: np.ndarray, right: np.ndarray) -> bool | None:
    """Return whether a claim holds at one problem; None where the balls are too wide to say so."""
    if claim.asserts == "member":
        return left in right
    if np.shape(left) != np.shape(right):
        return False
    if not overlap(left, right):
        return False
    return True if thin(left) and thin(right) else None


def _up_to(system: System, lefts: list[np.ndarray], rights: list[np.ndarray]) -> tuple[str, ...]:
    """Return the fewest changes of the right sides that make them equal to the left ones."""
    for names, change in _changes(system):
        try:
            if all(_same(p, change(r)) for p, r in zip(lefts, rights, strict=True)):
                return names
        except (ValueError, np.exceptions.AxisError):
            continue
    return ()


def _times(factor: float, value: np.ndarray) -> np.ndarray:
    return np.asarray(value, dtype=object) * factor


def _both(outer: _Change, inner: _Change, value: np.ndarray) -> np.ndarray:
    return outer(inner(value))


def _changes(system: System) -> Iterator[tuple[tuple[str, ...], _Change]]:
    """Yield changes, the simplest first: a factor, a transposition, the sum over the batch."""
    factors: list[tuple[str, _Change]] = [(n, partial(_times, f)) for n, f in _FACTORS]
    shapes: list[tuple[str, _Change]] = [("transposition", np.transpose)]
    axis = system.samples
    if axis is not None:
        shapes.append(("missing batch sum", partial(np.sum, axis=axis, keepdims=True)))
    for name, change in [*factors, *shapes]:
        yield (name,), change
    for name, change in factors:
        for shape, reshape in shapes:
            yield (name, shape), partial(_both, change, reshape)
