"""From distances to a verdict. The only file with a tolerance.

One principle: an answer is admissible when it lies inside the enclosure of the true gradient
under a stated model of rounding. `screen` is cheap and runs on every problem; `judge` proves the
gradient (`oracles.certified`), carries rounding through the network (`rounding.radii`) and
says who is right.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Problem
from reference.compare import Apart, apart
from reference.oracles import Answer
from reference.oracles.certified import Certificate, Doubles, certify
from reference.rounding.evidence import Evidence, gather
from reference.rounding.radii import Radii, Rounding, Unit, radii

# -- the constants, each with its measurement (benchmarks/judge_constants.py makes them again) ----

SCREEN = 64.0
"""Answers whose difference is below SCREEN · u · max|tensor| on every tensor need no arbiter.
Half of all tensors are within 1.5 u of the truth; of 12,000 problems 75% stay inside."""

ULPS = 8.0
"""An operation's value and slope are right to this many ulps. Of 600 problems by hand, 596 lie
inside: 99% of their 5,779 tensors at 1.1 ulps, the worst at 7.2."""

FACTOR = 100.0
"""How many times further from the truth than the better reference an answer may be. Among errors
above FLOOR the median ratio is 1; above 100 were 8 of 5,779 tensors, all below CHANCE."""

FLOOR = 16.0
"""Errors below FLOOR · u · max|tensor| are never held against the better reference."""

CHANCE = 8.0
"""Nor are errors below CHANCE times what rounding, each operation to 1 ulp, may be expected to
add up to: where a tensor has few entries, the better reference may be exact by luck. The median
error is 0.24 of what is expected; those 8 tensors were at 1.35."""

COMPARABLE = ("manual", "torch", "jax")
"""Who can be the better reference: all that compute in the problem's own dtype. (The complex step
computes float32 problems in float64.)"""

CUSTOMARY_ULPS = 64.0
"""The same by custom. XLA's log1p is 32 ulps off in float64 (at -0.393), its gelu_tanh 30 u. Of
600 problems PyTorch is outside *tight* in 88 and outside this in 30, nearly all by its
hard_sigmoid and its clamped binary_cross_entropy; JAX in 123 (50 of them flush to zero) and 1."""

OUTSIDE_BY_CHANCE = 4
"""Points (of 600) by which a side may be outside *tight* more often than twice the better
framework, where terms cancel: measured 1 beside 0 (poisson_nll) and 6 beside 4 (gaussian_nll).
A formula that loses a saturated tail is outside at a fifth of the points."""

REPRODUCES = {np.dtype(np.float64): 2.0**-40, np.dtype(np.float32): 2.0**-13}
"""Two arrays this near, to the larger's size, are one for a diagnosis: the same formula, added up
in another order. Examples written by others left 8e-15 at most; the smallest mistakes of the
catalogue (an epsilon, a float32) are 1e-8."""

SUMMANDS = 2.0**-8
"""Of that, to the largest number in the problem: what a sum that cancels is left with."""

ONE_FACTOR, ONE_SMALL_FACTOR = 1e-6, 1e-4
"""Ratios this near are one factor; the second where it was found from small differences."""

SOME_DIGITS = 1e-3
"""What is off by less has some of its digits, and is said to have lost the others."""

TIGHT = Rounding(ULPS)
CUSTOMARY = Rounding(CUSTOMARY_ULPS, customary=True)
WITNESSES = ("complex_step",)
"""Who is shown and not named: the complex step is NaN where complex arithmetic meets infinity and
loses digits below 1e-123, and neither says anything about a gradient."""

PROBABLE = Rounding(1.0, probable=True)
STRENGTHS = (
    TIGHT,
    CUSTOMARY,
    Rounding(ULPS, flush=True),
    Rounding(CUSTOMARY_ULPS, customary=True, flush=True),
)
"""The models of rounding, in the order in which they are tried."""


@dataclass(frozen=True)
class Screening:
    """What the cheap look at a problem found: whether all is near, and what is farthest.

    `comparable`: there are two whole answers, and nobody crashed. `worst` is the largest distance
    on a tensor's own scale, `between` whom. `outside` has, for each oracle that leaves the screen,
    the first tensor back from the loss that does, by how much, and the most by which any further
    back does (where the first is infinitely far: the most that is finite, for an infinity hides
    what else there is). `alone`: that is every oracle.
    """

    passed: bool
    comparable: bool = False
    alone: bool = False
    worst: float = 0.0
    tensor: str = ""
    between: str = ""
    outside: Mapping[str, tuple[str, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorFinding:
    """One tensor of one answer: the first strength that holds it, or None, and how far off it is.

    `error` is the largest distance from the truth outside of jumps, `allowed` the bound there.
    """

    oracle: str
    tensor: str
    strength: Rounding | None
    entry: tuple[int, ...]
    error: float
    allowed: float
    reason: str = ""


@dataclass(frozen=True)
class Judgement:
    """A verdict, who it names, and the evidence."""

    kind: str
    who: tuple[str, ...] = ()
    digits_lost: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[TensorFinding, ...] = ()
    certificate: Certificate | None = None
    evidence: Evidence | None = None
    sentence: str = ""
    screened: bool = False

    @property
    def verdict(self) -> str:
        """The verdict as it is spelled: AGREE, DEVIATES(torch), PRECISION(jax, torch)."""
        return f"{self.kind}({', '.join(self.who)})" if self.who else self.kind

    @property
    def screen_failed(self) -> bool:
        """Whether the screen passed what the arbiter does not admit: an error of the judge."""
        return self.screened and self.kind == "DEVIATES"


# -- the screen -----------------------------------------------------------------------------------


def screen(problem: Problem, answers: Mapping[str, Answer]) -> Screening:
    """Screen one problem."""
    return screen_all([problem], {name: [answer] for name, answer in answers.items()})[0]


def screen_all(
    problems: Sequence[Problem], answers: Mapping[str, Sequence[Answer]]
) -> list[Screening]:
    """Compare every answer with the first, tensor by tensor, to the tensor's own size.

    What is left out, and what is not finite, is for the arbiter; witnesses are not asked.
    """
    heard = [of_all for name, of_all in answers.items() if name not in WITNESSES]
    complete: list[bool] = []
    lefts: list[Answer] = []
    rights: list[Answer] = []
    pairs: list[int] = []  # of which problem each pair is
    for k, problem in enumerate(problems):
        given = [of_all[k] for of_all in heard]
        ok = [answer for answer in given if answer.status == "ok"]
        whole = 2 * len(problem.network.layers) + len(problem.parameters) + 1
        if ok and ok[0].oracle in COMPARABLE and len(ok[0].gradients) != whole:
            ok = []
        complete.append(len(ok) > 1 and all(answer.status != "crashed" for answer in given))
        lefts += ok[:1] * (len(ok) - 1)
        rights += ok[1:]
        pairs += [k] * (len(ok) - 1)
    seen: list[list[tuple[Answer, Answer, Apart]]] = [[] for _ in problems]
    for k, left, right, found in zip(pairs, lefts, rights, apart(lefts, rights), strict=True):
        seen[k].append((left, right, found))
    return list(map(_screening, problems, complete, seen))


def _screening(
    problem: Problem, complete: bool, seen: Sequence[tuple[Answer, Answer, Apart]]
) -> Screening:
    limit = SCREEN * float(np.finfo(problem.dtype).eps) / 2
    worst, tensor, between = 0.0, "", ""
    outside: dict[str, tuple[str, float, float]] = {}
    for left, right, found in seen:
        for name, difference, scale in zip(*found, strict=True):
            if not difference:
                scaled = 0.0
            else:
                scaled = difference / scale if scale and difference == difference else math.inf
            if scaled > worst or not between:
                worst, tensor, between = scaled, name, f"{left.oracle}, {right.oracle}"
            if not difference <= limit * scale:
                first, size, further = outside.setdefault(right.oracle, (name, scaled, 0.0))
                if first != name and (math.isfinite(size) or math.isfinite(scaled)):
                    outside[right.oracle] = first, size, max(further, scaled)
    alone = len(outside) == len(seen)
    passed = complete and not outside
    return Screening(passed, complete, alone, worst, tensor, between, outside)


# -- the judge ------------------------------------------------------------------------------------


def judge(
    problem: Problem,
    answers: Mapping[str, Answer],
    *,
    screened: Screening | None = None,
    certificate: Certificate | None = None,
    subject: str = "manual",
    witnesses: Callable[[], Mapping[str, Answer]] = dict,
) -> Judgement:
    """Prove the gradient and say which answers it admits.

    The subject is what is on trial: it is excused nothing that a framework does not need.
    `witnesses` are heard only where there is something to show.
    """
    if screened is None:
        screened = screen(problem, answers)
    ok = {name: answer for name, answer in answers.items() if answer.status == "ok"}
    bench = Bench(
        certificate or certify(problem), ok, held_to_screen=screened.passed, subject=subject
    )
    findings = tuple(finding for name in ok for finding in bench.examine(name))
    kind, who = _verdict(bench, findings, answers, screened.passed)
    if kind != "AGREE":
        called = {n: answer for n, answer in witnesses().items() if answer.status == "ok"}
        ok |= called  # the bench looks at the same mapping
        findings += tuple(finding for name in called for finding in bench.examine(name))
    digits = {
        name: lost
        for name in ok
        if (lost := max((bench.digits_lost(f) for f in findings if f.oracle == name), default=0))
    }
    evidence = gather(bench, kind, who, findings)
    return Judgement(
        kind=kind,
        who=who,
        digits_lost=digits,
        findings=findings,
        certificate=bench.certificate,
        evidence=evidence,
        sentence=evidence.sentence + (_besides(findings) if kind == "CRASHED" else ""),
        screened=screened.passed,
    )


def _verdict(
    bench: "Bench",
    findings: tuple[TensorFinding, ...],
    answers: Mapping[str, Answer],
    passed: bool,
) -> tuple[str, tuple[str, ...]]:
    """Choose the verdict: ours is wrong, somebody crashed, others are wrong, what is right."""
    decisive = [f for f in findings if f.oracle not in WITNESSES or len(bench.answers) == 1]
    wrong = _who(f for f in decisive if f.strength is None)
    crashed = tuple(name for name, a in answers.items() if a.status == "crashed")
    if wrong and (bench.subject in wrong or not crashed):
        return "DEVIATES", wrong
    if crashed:
        return "CRASHED", crashed
    others = [name for name in bench.judged if name != bench.subject]
    if not others:
        return "SKIPPED", tuple(name for name, a in answers.items() if a.status == "skipped")
    if bench.choices_differ():
        return "CONVENTION", ()
    lossy = _who(f for f in decisive if f.strength not in (TIGHT, None))
    if passed:
        return "AGREE", ()
    return ("PRECISION", lossy) if lossy else ("ROUNDING", ())


def _besides(findings: tuple[TensorFinding, ...]) -> str:
    """Return whose gradient is wrong where somebody else's crash is the verdict."""
    outside = [f for f in findings if f.strength is None and f.oracle not in WITNESSES]
    if not outside:
        return ""
    places = ", ".join(f"{who} in {next(f.tensor for f in outside if f.oracle == who)}"
                       for who in _who(outside))  # fmt: skip
    return f" Outside the proven gradient besides: {places}."


def _who(findings: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.oracle for finding in findings))


class Bench:
    """The answers to one problem beside its proven gradient."""

    def __init__(
        self,
        certificate: Certificate,
        answers: Mapping[str, Answer],
        *,
        held_to_screen: bool = False,
        subject: str = "manual",
        known: dict[Rounding, Radii] | None = None,
    ) -> None:
        self.held_to_screen = held_to_screen
        self.subject = subject
        self.certificate = certificate
        self.problem = certificate.problem
        self.answers = answers
        self.unit = float(np.finfo(self.problem.dtype).eps) / 2
        self._radii: dict[Rounding, Radii] = {} if known is None else known
        self._errors: dict[tuple[str, str], Doubles | None] = {}
        self._beyond: dict[tuple[str, str, Rounding], float | None] = {}
        self._scales: dict[str, float] = {}

    @property
    def judged(self) -> list[str]:
        """Return whose answers count: all but the witnesses."""
        return [name for name in self.answers if name not in WITNESSES]

    def radii(self, strength: Rounding) -> Radii:
        """Return the radii of every tensor under one model of rounding."""
        if strength not in self._radii:
            self._radii[strength] = radii(self.certificate, strength)
        return self._radii[strength]

    def tensor(self, oracle: str, tensor: str) -> npt.NDArray[Any] | None:
        """Return what an oracle says of one tensor."""
        answer = self.answers[oracle]
        value = answer.loss if tensor == "loss" else answer.gradients.get(tensor)
        return None if value is None else np.asarray(value)

    def errors(self, oracle: str, tensor: str) -> Doubles | None:
        """Return the distances of an answer from the truth, NaN where there is no distance."""
        key = (oracle, tensor)
        if key not in self._errors:
            value, leaf = self.tensor(oracle, tensor), self.certificate[tensor]
            fits = value is not None and value.shape == leaf.shape
            fits = fits and value is not None and value.dtype == self.problem.dtype
            self._errors[key] = leaf.distance(value) if fits and value is not None else None
        return self._errors[key]

    def examine(self, oracle: str) -> list[TensorFinding]:
        """Judge every tensor of one answer, the loss first and then back from it.

        Who answers whole problems answers for every tensor: one left out is one that is wrong.
        """
        given = self.answers[oracle]
        whole = oracle in COMPARABLE
        names = [n for n in self.certificate.leaves if n == "loss" or n in given.gradients or whole]
        return [self.examine_tensor(oracle, name) for name in names]

    def examine_tensor(self, oracle: str, tensor: str) -> TensorFinding:
        """Judge one tensor of one answer."""
        errors = self.errors(oracle, tensor)
        if errors is None:
            value = self.tensor(oracle, tensor)
            said = "nothing" if value is None else f"{value.dtype} {value.shape}"
            leaf = self.certificate[tensor]
            reason = f"{said}, expected {self.problem.dtype} {leaf.shape}"
            return TensorFinding(oracle, tensor, None, (), np.inf, 0.0, reason)
        # AGREE claims no more than the screen sees: nearness on the tensor's own scale.
        claimed = 2 * SCREEN * self.unit * self.scale(tensor) if self.held_to_screen else 0.0
        if self.held_to_screen and (errors <= claimed).all():  # no bound is to be worked out
            worst = tuple(map(int, np.unravel_index(int(np.argmax(errors)), errors.shape)))
            error = float(errors[worst])
            return TensorFinding(oracle, tensor, CUSTOMARY, worst, error, claimed, "the screen")
        first = None
        for strength in STRENGTHS:
            if strength.flush and oracle == self.subject:
                break  # NumPy does not flush
            allowed, reasons = self.allowed(oracle, tensor, strength)
            if strength is not TIGHT:
                allowed = np.maximum(allowed, claimed)
            with np.errstate(invalid="ignore"):
                outside = ~((errors <= allowed) | np.isinf(allowed))
            if not outside.any():
                entry = _worst(errors, allowed)
                return _finding(oracle, tensor, strength, entry, errors, allowed, reasons)
            if strength in (TIGHT, CUSTOMARY):
                entry = _worst(np.where(outside, errors, 0.0), allowed)
                first = _finding(oracle, tensor, None, entry, errors, allowed, reasons)
        assert first is not None
        return first

    def allowed(
        self, oracle: str, tensor: str, strength: Rounding
    ) -> tuple[Doubles, npt.NDArray[np.bool_]]:
        """Return how far each entry may be off, and where the better reference set the bound."""
        found = self.radii(strength)
        radius, jump = found.radius[tensor], found.jump[tensor]
        # Custom, and a flush to zero, excuse frameworks; ours must be as good as one of them.
        held = strength is TIGHT or oracle == self.subject
        best = self.best_reference(oracle, tensor, strength) if held else None
        if best is None:
            return radius, np.zeros(radius.shape, bool)
        # By custom digits may be lost, but not by ours where a framework keeps them.
        sharp = jump + max(FACTOR * best, FLOOR * self.unit * self.scale(tensor))
        errors = self.errors(oracle, tensor)
        if errors is not None and (errors > sharp).any():
            sharp = np.maximum(sharp, jump + CHANCE * self.radii(PROBABLE).radius[tensor])
        sharp = np.where(self.unknown(tensor), np.inf, sharp)
        return np.minimum(radius, sharp), sharp < radius

    def best_reference(self, oracle: str, tensor: str, strength: Rounding) -> float | None:
        """Return the largest error of the better reference on this tensor, jumps left out."""
        others = [name for name in COMPARABLE if name != oracle and name in self.answers]
        found = [self.largest_error(name, tensor, strength) for name in others]
        return min((error for error in found if error is not None), default=None)

    def largest_error(self, oracle: str, tensor: str, strength: Rounding) -> float | None:
        """Return the largest error of an answer, jumps left out; None where there is no number."""
        key = (oracle, tensor, strength)
        if key not in self._beyond:
            errors, found = self.errors(oracle, tensor), self.radii(strength)
            self._beyond[key] = None
            if errors is not None:
                with np.errstate(invalid="ignore"):
                    beyond = np.maximum(errors - found.jump[tensor], 0.0)
                    beyond = np.where(self.unknown(tensor), 0.0, beyond)
                largest = float(beyond.max(initial=0.0))
                self._beyond[key] = largest if math.isfinite(largest) else None
        return self._beyond[key]

    def unknown(self, tensor: str) -> npt.NDArray[np.bool_]:
        """Return where nothing is known: beyond the range even if all is rounded tightly.

        Where custom alone reaches a pole (log p, p within custom's error of 0), digits are lost,
        and a bound is not: whoever is held to the better reference is held to it there too.
        """
        return np.isinf(self.radii(TIGHT).radius[tensor])

    def scale(self, tensor: str) -> float:
        """Return the largest finite magnitude of a tensor's proven value."""
        if tensor not in self._scales:
            magnitudes = np.abs(self.certificate[tensor].high)
            finite = np.where(np.isfinite(magnitudes), magnitudes, 0.0)
            self._scales[tensor] = float(finite.max(initial=0.0))
        return self._scales[tensor]

    def choices_differ(self) -> bool:
        """Say whether answers differ where the proven gradient is a ball of slopes."""
        for name, leaf in self.certificate.leaves.items():
            values = [v for o in self.judged if (v := self.tensor(o, name)) is not None]
            if len(values) < 2 or not leaf.thick.any() or len({v.shape for v in values}) > 1:
                continue
            found = self.radii(TIGHT)
            with np.errstate(invalid="ignore"):
                rounding = found.radius[name] - found.jump[name]
                apart = np.max(values, axis=0) - np.min(values, axis=0)
                differ = ~(apart <= 2 * np.maximum(rounding, 0.0)) | np.isnan(rounding)
            same = np.isnan(values).all(0) | (np.max(values, axis=0) == np.min(values, axis=0))
            if (leaf.thick & differ & ~same).any():
                return True
        return False

    def digits_lost(self, finding: TensorFinding) -> float:
        """Return how many decimal digits of the worst entry are lost beyond the rounding to u."""
        if self.held_to_screen or finding.strength in (TIGHT, None) or not finding.error > 0:
            return 0.0
        truth = abs(float(self.certificate[finding.tensor].high[finding.entry]))
        relative = min(1.0, finding.error / truth) if truth else 1.0
        return max(0.0, round(float(np.log10(relative / self.unit)), 1))


def allowed_alone(
    truth: Doubles, inputs: Doubles, quantity: str, dtype: npt.DTypeLike, strength: Rounding
) -> Doubles:
    """Return how far an operation by itself may be off: no network, no rounding but its own."""
    unit = Unit(np.dtype(dtype), strength)
    rounded = unit.value if quantity == "value" else unit.slope
    with np.errstate(all="ignore"):
        return rounded(np.abs(truth), np.abs(inputs))


def _finding(
    oracle: str,
    tensor: str,
    strength: Rounding | None,
    entry: tuple[int, ...],
    errors: Doubles,
    allowed: Doubles,
    reasons: npt.NDArray[np.bool_],
) -> TensorFinding:
    reason = "the better reference" if reasons[entry] else "rounding"
    return TensorFinding(
        oracle, tensor, strength, entry, float(errors[entry]), float(allowed[entry]), reason
    )


def _worst(errors: Doubles, allowed: Doubles) -> tuple[int, ...]:
    """Return the entry whose error is largest in units of what it may be."""
    with np.errstate(all="ignore"):
        ratio = errors / allowed
        if np.isnan(ratio).any():  # 0 of 0 is nothing, and so is whatever is allowed anyhow
            nothing = (errors == 0) | np.isinf(allowed)
            ratio = np.where(nothing, 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    return tuple(map(int, np.unravel_index(int(ratio.argmax()), ratio.shape)))
