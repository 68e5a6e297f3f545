"""Plain functions and classes on tensors: forward and backward by hand, judged by the framework.

    class Linear:                                # also functions, an nn.Module, arrays of JAX
        @staticmethod
        def forward(x, w, b): ...; return out, cache
        @staticmethod
        def backward(dout, cache): ...; return dx, dw, db

The truth is the framework's gradient of the operations of the forward.
"""

import itertools
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from reference.checks.code import Path, Routine, Spec, Target, Unit, raised_text
from reference.checks.code.argument_spec import SMALL_SIZES
from reference.checks.code.vocabulary import TARGET_NAMES
from reference.checks.comparing import Assessment, Objective, row
from reference.checks.explain import Explanation
from reference.checks.judging import Demonstration, Failure, Key, ProblemCase
from reference.checks.judging.chosen import Extent, extent_of, says_nothing
from reference.checks.judging.settings import settings_of, with_setting
from reference.checks.kinds._catalogue import FunctionProblem, by_catalogue
from reference.checks.kinds._frames import Frame, filled
from reference.checks.kinds._function_search import NUMBERS, sorted_by_shape
from reference.checks.kinds._questions import (
    Question,
    Questioned,
    RightAnswer,
    cotangents_of,
    described,
    question_of,
)
from reference.checks.kinds._rows import FLOAT32, Unwritten, candidates, float_truth, settle
from reference.checks.kinds._tensor_runs import CallProblem, Claimed, claimed, draw, outputs, state
from reference.checks.kinds._tensor_script import script_lines
from reference.checks.reading import LayoutRequest, bindings, layouts, requests, weight_names
from reference.checks.reading.requests import Fixed
from reference.checks.reading.shapes import number_specs
from reference.checks.running import Reading, Unreadable, matched
from reference.checks.showing.spelling import NoShortSpelling
from reference.checks.tolerances import COARSE, DIGITS
from reference.formats import Array

MAX_SECONDS = 5.0  # of the processor
_JUDGED = 4  # readings whose gradients have the shapes of what they are of, where none is right


class TensorSubject(Questioned):
    """One forward with its backward, on tensors, under the reading that was found."""

    def __init__(self, plan: Reading, frame: Frame) -> None:
        self.plan, self.frame = plan, frame
        self.name = plan.unit.name
        text = plan.unit.backward.text() + plan.first.text()
        self.coarse = bool(FLOAT32.search(text))
        self.kind, self.layout = frame.module, plan.layout
        self.unwritten: Unwritten | None = None
        """The loss that was settled on, where the code computes none."""
        self._seen: dict[int, FunctionProblem] = {}
        self._asked: dict[int, tuple[CallProblem, Claimed]] = {}

    @property
    def digits(self) -> float:
        """How near its gradients come to the right ones."""
        return COARSE if self.coarse else DIGITS

    def sentence(self) -> str:
        """Return what it is and how it is read."""
        if self.plan.forward is None:
            return f"on tensors of {self.frame.name}, the forward and the gradient in one function"
        return f"on tensors of {self.frame.name}, the gradient of {self.plan.forward.name}"

    def judged_by(self) -> str:
        """Return what the truth is."""
        how = "autograd" if self.frame.module == "torch" else "grad"
        text = f"{self.frame.name} {how} through its own operations, float64"
        if self.unwritten is None:
            return text
        return f"{self.unwritten.loss.name}, {self.unwritten.loss.formula}; {text}"

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run one problem and hold every claim to the framework's gradient."""
        problem, found = self._claimed(seed, index)
        self._asked[index] = problem, found
        if found.unwritten:
            case = self._of_unwritten(problem, found, index)
        else:
            case = self._held_to(problem, found, found.cotangents, index)
        if found.mutated:
            text = f"the backward changes {', '.join(found.mutated)} in place"
            case.faults.append(("mutated", text))
        return case

    def settings(self) -> Mapping[str, Sequence[object]]:
        """Return the settings of its forward and of its constructor."""
        return settings_of(self.plan)

    def with_setting(self, name: str, value: object) -> "TensorSubject":
        """Return it under another value of a setting."""
        other = TensorSubject(with_setting(self.plan, name, value), self.frame)
        other.unwritten = self.unwritten
        return other

    def questions(self, seed: int, index: int) -> list[Question]:
        """Run one problem as it is written; what computes no loss of its own cannot be asked."""
        problem, found = self._claimed(seed, index)
        if found.unwritten:
            raise Unreadable("it computes no loss, so it is not known what its gradient is of")
        with self.frame.running(problem.seed):
            run = outputs(self.plan, self.frame, problem, list(found.cotangents))
            pulled = self.frame.pullback(run, problem.leaves)
        placed, _, _ = matched(found.claims, problem.leaves, {})
        claims = {leaf: np.asarray(found.claims[claim]) for claim, leaf in placed}
        given = list(found.cotangents.values())
        return [question_of(problem.leaves, pulled.outputs, given, claims, problem.drawn)]

    def solved(
        self, question: Question, seed: int, index: int, cuts: Mapping[Path, object]
    ) -> RightAnswer:
        """Run its own forward on given tensors, and differentiate it."""
        problem, found = self._claimed(seed, index)
        drawn = problem.drawn | {p[0]: v for p, v in question.others.items()}
        drawn |= {p[0]: v for p, v in question.inputs.items() if len(p) == 1}
        given = CallProblem(drawn, dict(question.inputs), problem.seed)
        with self.frame.running(given.seed):
            run = outputs(self.plan, self.frame, given, list(found.cotangents))
            pulled = self.frame.pullback(run, given.leaves)
            back = pulled.pull(cotangents_of(question, pulled.outputs))
        truth = {p: float_truth(g, self.digits) for p, g in filled(back, given.leaves).items()}
        return RightAnswer(tuple(o for o in pulled.outputs if o is not None), truth)

    def _claimed(self, seed: int, index: int) -> tuple[CallProblem, Claimed]:
        with self.frame.running(seed + index):
            problem = draw(self.plan, self.frame, seed, index)
        return problem, claimed(self.plan, self.frame, problem)

    def _held_to(
        self, problem: CallProblem, found: Claimed, cotangents: Mapping[str, Array], index: int
    ) -> ProblemCase:
        """Hold the claims to the gradient of the outputs, weighed with their cotangents."""
        parts = list(cotangents)
        with self.frame.running(problem.seed):
            run = outputs(self.plan, self.frame, problem, parts)
            pulled = self.frame.pullback(run, problem.leaves)
            given = [
                None if o is None else cotangents[p]
                for o, p in zip(pulled.outputs, parts, strict=True)
            ]
            right = filled(pulled.pull(given), problem.leaves)
        pairs, _, left = matched(found.claims, problem.leaves, {})
        rows = []
        for claim, leaf in pairs:
            true = float_truth(right[leaf], self.digits)
            rows.append(row(claim, leaf, found.claims[claim], true, self.digits))
        got: dict[Path, Array] = {leaf: np.asarray(found.claims[claim]) for claim, leaf in pairs}
        self._seen[index] = FunctionProblem(problem.leaves, pulled.outputs, given, got)
        kept = {leaf for _, leaf in pairs}
        rest = [p for p in problem.leaves if p not in kept and p[-1].lower() not in TARGET_NAMES]
        missing = [p for p in rest if np.any(right[p])]
        if any(r.claim[0] == "step" for r in rows):
            settle(rows, np.zeros(()))
        assessment = Assessment(Objective("cotangents"), rows, unmatched=left, missing=missing)
        return ProblemCase(index, assessment)

    def _of_unwritten(self, problem: CallProblem, found: Claimed, index: int) -> ProblemCase:
        """Hold the claims to the loss under which most is right; the first problem decides."""
        best: tuple[int, Unwritten, ProblemCase] | None = None
        assert found.target is not None
        for loss, slope in candidates(found.unwritten, found.target):
            if self.unwritten not in (None, loss):
                continue
            case = self._held_to(problem, found, {loss.part: slope}, index)
            case.assessment.scale = settle(case.assessment.rows, found.unwritten[loss.part])
            right = sum(r.right for r in case.assessment.rows)
            if best is None or right > best[0]:
                best = right, loss, case
            if right and right == len(case.assessment.rows):
                break
        if best is None:
            raise Unreadable("no loss fits its output and its target")
        self.unwritten = best[1]
        return best[2]

    def smaller(self, seed: int, index: int, wrong: Collection[Key]) -> Iterator["TensorSubject"]:
        """Yield it with every size 1, then 2, and numbers that are easily read."""
        mode = replace(self.plan.mode, style="whole")
        for sizes in SMALL_SIZES:
            fixed = tuple({**sizes, **dict(self.plan.fixed)}.items())
            one = TensorSubject(replace(self.plan, mode=mode, fixed=fixed), self.frame)
            one.unwritten = self.unwritten
            yield one

    def demonstration(self, index: int, leaves: list[tuple[str, Path]]) -> Demonstration:
        """Return how a pair of functions is called; of an object what goes in alone."""
        problem, found = self._asked[index]
        own = {".".join(p): a for p, a in problem.leaves.items() if p[0] == "self"}
        given = {**problem.drawn, **own}
        given |= {f"d_out{k}" if len(found.cotangents) > 1 else "dout": v
                  for k, v in found.cotangents.items()}  # fmt: skip
        plan = self.plan
        if plan.forward is None or plan.of_instance or plan.hung or len(found.cotangents) != 1:
            return Demonstration(given, [])
        try:
            lines = list(script_lines(plan, self.frame, problem, found, leaves))
        except NoShortSpelling:
            lines = []
        modules = ("jax", "jax.numpy") if self.frame.module == "jax" else ("torch",)
        names = (plan.forward.name, plan.unit.backward.name)
        return Demonstration(given, lines, modules, names)

    def explanation(self, cases: Sequence[ProblemCase], seed: int) -> Explanation:
        """Name the mistake where its forward is an operation of ours, else say how they differ."""
        wrong = [c for c in cases if not c.assessment.all_right]
        seen = [self._seen[c.index] for c in wrong]
        found = by_catalogue(seen) if self.unwritten is None else None
        return found or described(wrong, seen)


def subject(
    unit: Unit, target: Target, frame: Frame, seed: int, shapes: dict[str, Spec]
) -> TensorSubject | Failure:
    """Return the subject of a unit on tensors, or why no reading of it runs."""
    failure = Failure("no arguments were found that it runs with")
    routes: list[Routine | None] = [*unit.partners, *([None] if unit.alone else [])]
    best: tuple[_Rank, TensorSubject] | None = None
    wide: list[Extent] = []  # of what was judged, and is wrong
    for forward in routes:
        if forward is None and wide:
            break  # its forward is written: no loss has to be guessed
        fitting = 0
        for made in _readings(unit, forward, target, frame, shapes, failure):
            extent = extent_of(made.plan.layout)
            if any(extent.narrower_than(w) for w in wide):
                continue  # one sample, or one unit, hides what several have shown
            rank = _rank(made, seed, failure)
            if rank is None:
                continue
            if best is None or rank > best[0]:
                best = rank, made
            fitting += rank.fit == 1
            if rank.fit == 1 and rank.right < 1 and made.unwritten is None:
                wide.append(extent if rank.right else extent.of_samples())
            if best[0].right == 1 or fitting >= _JUDGED:
                break
        if best is not None and best[0].right == 1:
            break
    if best is None:
        return failure
    return _one_choice(_numbers_for_missing(best[1], seed), seed)


def _one_choice(made: TensorSubject, seed: int) -> TensorSubject:
    """Settle a word that is drawn where the backward runs under one of them only: mode="train"."""
    choices = {n: s for n, s in made.plan.layout.items() if s.kind == "choice"}
    if not choices or _runs(made, seed):
        return made
    for name, spec in choices.items():
        for value in spec.value:
            layout = {**made.plan.layout, name: Spec("value", value=value)}
            other = TensorSubject(replace(made.plan, layout=layout), made.frame)
            if _runs(other, seed):
                return other
    return made


def _runs(made: TensorSubject, seed: int) -> bool:
    try:
        return all(made.case(seed, i).assessment.rows for i in range(6))
    except Exception:
        return False


def _numbers_for_missing(made: TensorSubject, seed: int) -> TensorSubject:
    """Draw a number for what no gradient came back of, where it runs with one: a dropout's p."""
    for path in made.case(seed, 0).assessment.missing:
        name = path[0] + "".join(f"[{p}]" for p in path[1:])
        if name not in made.plan.layout or weight_names([name]):
            continue
        numbers = [*number_specs(name), *(Spec("value", value=v) for v in NUMBERS)]
        for spec in numbers:
            plan = replace(made.plan, layout={**made.plan.layout, name: spec})
            other = TensorSubject(plan, made.frame)
            try:
                found = other.case(seed, 0).assessment
            except Exception:
                continue
            if found.rows and path not in found.missing:
                made = other
                break
    return made


class _Rank(NamedTuple):
    """How well a reading does: the share that is right, the share whose shape fits, how many."""

    right: float
    fit: float
    rows: int


def _rank(made: TensorSubject, seed: int, failure: Failure) -> _Rank | None:
    """Return how well a reading does, None where it does not run."""
    try:
        found = made.case(seed, 0).assessment
    except Exception as error:
        failure.raised = error
        text = raised_text(error)
        failure.errors += [text] if text not in failure.errors else []
        return None
    rows = found.rows
    count = len(rows)
    if not count or says_nothing(made.plan.layout, found):
        return None
    return _Rank(sum(r.right for r in rows) / count, sum(r.same for r in rows) / count, count)


def _readings(
    unit: Unit,
    forward: Routine | None,
    target: Target,
    frame: Frame,
    shapes: dict[str, Spec],
    failure: Failure,
) -> Iterator[TensorSubject]:
    """Yield the readings whose forward runs, likely ones first."""
    began = time.process_time()
    hung = next(iter(re.findall(r"\b\w+\.(g)\b", unit.backward.text())), "")
    for request, constructor, fixed in _requests(unit, forward, target, frame, shapes):
        for mode, layout in sorted_by_shape(itertools.islice(layouts(request), 400)):
            if time.process_time() - began > MAX_SECONDS:
                return
            failure.tried += 1
            first = Reading(unit, forward, mode, layout, (), constructor, fixed, hung=hung)
            if not _forward_runs(first, frame, failure):
                continue
            for binding in bindings(forward, unit.backward):
                yield TensorSubject(first.bound(**binding), frame)


def _requests(
    unit: Unit, forward: Routine | None, target: Target, frame: Frame, shapes: dict[str, Spec]
) -> Iterator[tuple[LayoutRequest, Routine | None, Fixed]]:
    """Yield what is drawn; a class without sizes settles them by the tensors that it makes."""
    for request, constructor, fixed in requests(unit, forward, target, shapes):
        if not fixed and not any(n.startswith("init.") for n in request.names):
            for settled in _settled(unit, frame):
                yield request, constructor, settled
        yield request, constructor, fixed


def _settled(unit: Unit, frame: Frame) -> list[Fixed]:
    try:
        instance = unit.owner() if unit.owner is not None else None
    except Exception:
        return []
    every = [t.shape for t in state(instance, frame).values() if len(t.shape) == 2]
    if instance is None or not every:
        return []
    (d, h), (g, c) = every[0], every[-1]
    return [(("D", d), ("H", h), ("C", c)), (("D", h), ("H", d), ("C", g))]


def _forward_runs(plan: Reading, frame: Frame, failure: Failure) -> bool:
    try:
        with frame.running(0):
            problem = draw(plan, frame, 0, 0)
            parts = [""] if plan.forward is not None else []
            frame.try_shapes(outputs(plan, frame, problem, parts), problem.leaves)
    except Exception as error:
        text = raised_text(error)
        failure.errors += [text] if text not in failure.errors else []
        return False
    return bool(problem.leaves)
