"""What can be asked of anything that is checked: its claims beside the truth, problem by problem.

`ReadingSubject` is a user's NumPy code under one reading; the kinds beside it (torch, jax, an
engine of values, a general form, a whole network) answer the same questions in their own way.
"""

import copy
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from reference.balls import Session, values
from reference.checks.code import NumericValue, Path, Spec, claim_name, sizes_for
from reference.checks.code.argument_spec import spelled_layout
from reference.checks.code.vocabulary import COTANGENT_NAMES, gradient_of
from reference.checks.comparing import Assessment, Row, assess, differences
from reference.checks.explain import Explanation, explain
from reference.checks.judging.chosen import Chosen
from reference.checks.judging.settings import settings_of, with_setting
from reference.checks.running import Reading, RunOutcome, perform
from reference.checks.tolerances import DIGITS, EXTRAPOLATED, SUMMED

_EXPLAINED = 6  # problems from which a mistake is named

Key = tuple[Path, Path]
"""A claim, and what it is the gradient of."""
Sizes = dict[str, int]


@dataclass
class ProblemCase:
    """One problem: what was claimed and what is true, and what else happened."""

    index: int
    assessment: Assessment
    faults: list[tuple[str, str]] = field(default_factory=list)
    """(kind, text): mutated, dtype, shape, printed …"""
    nodes: int = 0
    """How many numbers the tape held: what it cost."""
    outcome: RunOutcome | None = None
    """Of a small problem of NumPy code: the run on plain floats."""
    at_a_kink: bool = False
    """Of the same: whether its forward has no derivative there, max(0, z) at z = 0."""


@dataclass(frozen=True)
class Demonstration:
    """How a kind's code is called: what goes in, and the lines of a function that calls it.

    given: numbers and arrays by name. run: the lines; the last one returns the gradients by
    name; [] where there are none. imports: the modules they need beside NumPy. names: of the
    target's module, that the lines need.
    """

    given: Mapping[str, object]
    run: Sequence[str]
    imports: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Subject:
    """Something that is checked. Some answers are empty unless a kind has its own."""

    name: str
    """Its name in the file."""
    draws: Sequence[int] = range(3)
    """The problems that are tried of a small version of it."""
    patience = 2.0
    """Seconds of the processor for its small versions: JAX compiles again for every shape."""
    uncompared: Sequence[str] = ()
    """Sentences about gradients that came back and were compared with nothing."""
    letters: Mapping[str, int] = MappingProxyType({})
    """The sizes of a small version that may be made smaller one by one."""

    def sentence(self) -> str:
        """Return in one line what it is and how it was read."""
        raise NotImplementedError

    def judged_by(self) -> str:
        """Return what the truth is, and to how many digits: "its own forward, certified"."""
        raise NotImplementedError

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run one problem and compare every claim with the truth; raises what the target raises."""
        raise NotImplementedError

    def drawn_as(self) -> str:
        """Return the shapes of its arguments: "x (N, D), w (D)"; "" where they are its own."""
        return ""

    def remarks(self) -> list[str]:
        """Return remarks about how it was read."""
        return []

    def settle(self, cases: Sequence[ProblemCase]) -> None:
        """Decide by all problems together what one of them leaves open."""

    def settings(self) -> Mapping[str, Sequence[object]]:
        """Return settings that its backward names, each with its value and other ones after it."""
        return {}

    def with_setting(self, name: str, value: object) -> "Subject":
        """Return it under another value of a setting."""
        raise NotImplementedError

    def explanation(self, cases: Sequence[ProblemCase], seed: int) -> Explanation:
        """Return which mistakes make what is wrong in some problems, and where it goes wrong."""
        return Explanation()

    def smaller(self, seed: int, index: int, wrong: Collection[Key]) -> Iterator["Subject"]:
        """Yield it with small sizes and numbers that are easily read, the smallest first.

        index: a problem that fails as it was drawn. wrong: the claims that were called wrong.
        """
        yield from ()

    def with_sizes(self, sizes: Sizes) -> "Subject":
        """Return a small version with other sizes for its letters."""
        raise NotImplementedError

    def small_case(self, seed: int, index: int) -> ProblemCase:
        """Run a problem of a small version."""
        return self.case(seed, index)

    def demonstration(self, index: int, leaves: list[tuple[str, Path]]) -> Demonstration:
        """Return how the problem of this number is run.

        leaves: the names under which the lines return gradients, with what they are of.
        """
        raise NotImplementedError


def _same_outputs(one: RunOutcome, other: RunOutcome) -> bool:
    return all(
        np.array_equal(np.asarray(v), np.asarray(other.outputs.get(p)), equal_nan=True)
        for p, v in one.outputs.items()
        if np.asarray(v).dtype.kind == "f"
    )


def _is_narrow(found: Iterable[object]) -> bool:
    """Whether there are arrays of floats, and none has the digits of float64."""
    types = {np.asarray(v).dtype for v in found}
    types = {t for t in types if t.kind == "f"}
    return bool(types) and types <= {np.dtype(np.float32), np.dtype(np.float16)}


def _before_its_step(row: Row, plain: RunOutcome) -> NumericValue | None:
    """Return a claim as the code holds it: of a step, the local variable that is its gradient."""
    value = plain.claims.get(row.claim)
    if value is None or row.claim[0] != "step":
        return value
    held = (
        v
        for p, v in plain.middle.items()
        if np.shape(v) == np.shape(value) and row.leaf[-1] in gradient_of(p[-1])
    )
    return next(held, value)


class ReadingSubject(Subject):
    """A user's NumPy code, under the reading that was found for it."""

    draws: Sequence[int] = range(5)
    patience = 0.5

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.reading, self.objective = chosen.reading, chosen.objective
        self.name = chosen.reading.unit.name
        self.spelling = "1"

    def sentence(self) -> str:
        """Return what it is and how it is read."""
        forward = self.reading.forward
        if forward is None:
            return "a function that computes the forward and the gradient"
        return self.reading.unit.derivative_of(forward)

    def judged_by(self) -> str:
        """Return what the truth is."""
        if self.chosen.differences:
            return (
                f"{self.objective.sentence()}, by differences, to {EXTRAPOLATED} digits "
                "(its forward cannot run on certified numbers)"
            )
        if self.objective.kind == "implicit" and self.spelling != "1":
            return f"{self.objective.sentence()}, times {self.spelling}, certified"
        return f"{self.objective.sentence()}, certified"

    def drawn_as(self) -> str:
        """Return the shapes of its arguments."""
        return spelled_layout(self.reading.layout)

    def remarks(self) -> list[str]:
        """Return remarks about the reading."""
        found = self._of_the_binding()
        if self.chosen.narrow:
            found.append(
                "read with one output; with several, all gradients would be off by one factor: "
                "the loss and its gradient divide by different numbers"
            )
        if self.chosen.multiple:
            found.append(
                f"its gradients are those of {self.chosen.multiple} times a factor: the two divide "
                "by different numbers"
            )
        other, factors = self.chosen.other, [r.factor for r in self.chosen.first.rows]
        if other is None or None not in factors:  # off by a factor: the mistake says by which
            return found
        return [
            *found,
            f"its gradients are those of {other.objective.sentence()}, but the loss that the code "
            "computes is another function: one of the two is not as intended",
        ]

    def _of_the_binding(self) -> list[str]:
        """Return what is special about the gradient that the backward was given."""
        given, back = dict(self.reading.binding), self.reading.unit.backward
        if "cotangent:single:" in given.values():
            return [
                "it is right where one entry of the incoming gradient is not zero; it skips zeros"
            ]
        return [
            f"read with {p.name} = {p.default}, its default: any other {p.name} is left out"
            for p in back.parameters
            if self.reading.forward is not None
            and p.name.lower() in COTANGENT_NAMES
            and p.default in (1, 1.0)
            and p.name not in given
        ]

    def settings(self) -> Mapping[str, Sequence[object]]:
        """Return the settings of its forward and of its constructor."""
        return settings_of(self.reading)

    def with_setting(self, name: str, value: object) -> "ReadingSubject":
        """Return it under another value of a setting."""
        reading = with_setting(self.reading, name, value)
        return ReadingSubject(replace(self.chosen, reading=reading))

    def settle(self, cases: Sequence[ProblemCase]) -> None:
        """Choose mean or sum for a loss that is not in the file: what fits most problems."""
        if not self.objective.written:
            spelled: Counter[str] = Counter()
            for case in cases:
                spelled.update(case.assessment.spellings)
            self.spelling = max(spelled, key=lambda s: spelled[s], default="1")

    def explanation(self, cases: Sequence[ProblemCase], seed: int) -> Explanation:
        """Search the tape for the mistakes."""
        if self.chosen.differences:
            return Explanation()
        wrong = [c.index for c in cases if not c.assessment.all_right]
        return explain(self.reading, self.objective, seed, wrong[:_EXPLAINED])

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run one problem on the tape and compare every claim with the certified gradient."""
        if self.chosen.differences:
            found, nodes = differences.assessed(self.reading, seed, index, self.objective), 3_000
        else:
            with Session() as session:
                outcome = perform(self.reading, seed, index, session)
                found = assess(self.objective, outcome)
            nodes = session.nodes
        if found is None:
            raise ArithmeticError("the loss has no value here")
        case = ProblemCase(index, found, nodes=nodes)
        self._with_floats(seed, case)
        return case

    def _with_floats(self, seed: int, case: ProblemCase) -> None:
        """Run the same problem on plain floats; note changed inputs and lost digits."""
        plain = perform(self.reading, seed, case.index)
        for name in dict.fromkeys(plain.mutated):
            kind = "overwrites" if name == "the incoming gradient" else "mutated"
            case.faults.append((kind, f"the backward changes {name} in place"))
        for row in case.assessment.rows if not _is_narrow(plain.outputs.values()) else ():
            value = _before_its_step(row, plain)
            if _is_narrow([value]):
                dtype = np.asarray(value).dtype
                case.faults.append(
                    ("dtype", f"{claim_name(row.claim, row.leaf)} is {dtype}, its input float64")
                )
        if self.reading.forward is not None and self.reading.forward.bound and case.index < 2:
            self._after_another(seed, case, plain)

    def _after_another(self, seed: int, case: ProblemCase, plain: RunOutcome) -> None:
        """Ask again after a forward on other numbers: an old cache must not be used."""
        again = perform(self.reading, seed, case.index, warm=True)
        if not _same_outputs(plain, again):
            return  # it draws a mask of its own each time
        for row in case.assessment.rows:
            one, other = plain.claims.get(row.claim), again.claims.get(row.claim)
            if (
                row.right
                and one is not None
                and other is not None
                and not np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
                and not np.allclose(one, other, rtol=SUMMED, atol=DIGITS)
            ):
                case.faults.append(
                    (
                        "stale",
                        f"{claim_name(row.claim, row.leaf)} is right after the first forward and "
                        "wrong after another one: the backward uses what the first forward kept",
                    )
                )

    # -- small versions ----------------------------------------------------------------------

    def smaller(self, seed: int, index: int, wrong: Collection[Key]) -> Iterator[Subject]:
        """Yield every letter 1, then 2, then as drawn: with whole numbers, then with normal ones.

        The last one is the problem as it was drawn.
        """
        if self.chosen.differences:
            return
        letters, style = _letters(self.reading), self.reading.mode.style
        drawn = sizes_for(seed, index, style) | dict(self.reading.fixed)
        for one in ("whole", style):
            for sizes in _ladder(letters, sizes_for(seed, index, style)):
                yield self.with_sizes(sizes, one)
        as_drawn = copy.copy(self)
        as_drawn.draws, as_drawn.letters = (index,), {k: drawn[k] for k in letters}
        yield as_drawn

    def with_sizes(self, sizes: Sizes, style: str = "") -> "ReadingSubject":
        """Return it with sizes for its letters."""
        one, found = copy.copy(self), self.chosen.reading
        mode = replace(found.mode, style=style or self.reading.mode.style)
        fixed = tuple({**sizes, **dict(found.fixed)}.items())
        one.reading, one.letters = replace(found, mode=mode, fixed=fixed), sizes
        return one

    def small_case(self, seed: int, index: int) -> ProblemCase:
        """Run a problem under the scale that was settled, the claims as plain floats make them."""
        with Session() as session:
            outcome = perform(self.reading, seed, index, session)
            found = assess(self.objective, outcome)
        plain = perform(self.reading, seed, index)
        if found is None:
            raise ArithmeticError("the loss has no value here")
        if found.objective.kind == "implicit" and self.spelling not in found.spellings:
            found.rows = []
        found.rows = [replace(r, got=_plain(r, plain)) for r in found.rows]
        return ProblemCase(index, found, outcome=plain, at_a_kink=session.at_a_kink)


def _plain(row: Row, outcome: RunOutcome) -> np.ndarray:
    """Return a claim as plain floats make it, where its shape is the same."""
    try:
        value = np.asarray(values(outcome.claims[row.claim]), dtype=float)
    except (KeyError, TypeError, ValueError):
        return row.got
    return value.reshape(row.got.shape) if value.size == row.got.size else row.got


def _letters(reading: Reading) -> list[str]:
    """Return the letters of a layout that are free, samples first."""
    found: dict[str, None] = {}
    specs: list[Spec] = list(reading.layout.values())
    while specs:
        spec = specs.pop(0)
        for dim in (*spec.dims, spec.high):
            if dim not in ("columns", "rows"):
                found.update(dict.fromkeys(re.findall(r"[A-Z]", dim)))
        specs += spec.parts
    settled = dict(reading.fixed)
    return sorted(
        (k for k in found if k not in settled), key=lambda k: (k != "N", "NDHGCIYX".find(k))
    )


_RUNGS = ((1, 1), (1, 2), (2, 1), (2, 2))  # (samples, every other size)
_WINDOWS: tuple[Sizes, ...] = (
    {"K": 1, "Y": 1, "X": 1},
    {"K": 2, "Y": 2, "X": 2},
    {"K": 2, "Y": 3, "X": 3},
    {},
)


def _ladder(letters: Sequence[str], drawn: Sizes) -> Iterator[Sizes]:
    """Yield sizes, small ones first, each once: kernel and image together, as they were at last."""
    seen: list[Sizes] = []
    for samples, others in _RUNGS:
        for window in _WINDOWS:
            small = dict.fromkeys(letters, others) | {"N": samples}
            small |= {k: drawn[k] for k in ("K", "Y", "X")} | window
            sizes = {k: small[k] for k in letters}
            if sizes not in seen:
                seen.append(sizes)
                yield sizes
    yield {k: min(3, drawn[k]) if k not in "KYX" else drawn[k] for k in letters}
    yield {k: drawn[k] for k in letters}
