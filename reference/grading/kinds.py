"""Compares a submission for torch or JAX, or an engine, with a reference solution of the same kind.

The submission's numbers are put to the reference solution as a question (`checks.kinds`): its own
forward runs on them, and its gradient, certified or by its framework, is what is right. A gradient
that follows from a wrong one of a named step is right given that one, as in `comparing`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from reference.checks.code import Path, path_name
from reference.checks.comparing import Truth, row
from reference.checks.kinds import Question, Questioned, RightAnswer
from reference.checks.tolerances import OWN_SLOPE
from reference.grading.correspondence import AS_IT_IS, Correspondence, Value, Way, proposals, way_to
from reference.grading.records import Answered, Array, ComparedGradient, Judged, KindRun, Reference
from reports.records import grouped

MAX_TRIES = 60
"""Ways to give a submission's numbers to the solution: each is a run of the framework."""


@dataclass
class KindSolution:
    """The reference solution's part, and the correspondence of names that was found last."""

    subject: Questioned
    known: list[Correspondence] = field(default_factory=list)

    def gradients(self, seed: int) -> tuple[str, ...]:
        """Return what its gradients are called: inputs, or the operators of an engine."""
        found = [
            name
            for question in self.subject.questions(seed, 0)
            for name in ([question.of] if question.of else map(leaf_name, question.inputs))
            if question.of or any(leaf_name(c) == name for c in question.claims)
        ]
        return tuple(dict.fromkeys(found))


def leaf_name(path: Path) -> str:
    """Return what an input is called in an assignment: x, W1, weights[0]."""
    if path[0] in ("self", "global") or (len(path) == 2 and not path[1].isdigit()):
        return path_name(path[1:])
    return path_name(path)


def hold_kind(run: KindRun, solution: KindSolution, reference: Reference) -> Judged:
    """Return what of one run is right."""
    public = run.seed != reference.seed
    if run.kind != solution.subject.kind:
        return Judged(public, False, False)
    mine = {q.name: q for q in solution.subject.questions(run.seed, run.index)}
    answered = {a.name: a for a in run.questions if a.name in mine}
    found = [
        one
        for name, given in answered.items()
        if (one := _compared(_question(given, mine[name]), mine[name], run, solution, reference))
    ]
    if not found:
        return Judged(public, False, False)
    complete = len(answered) == len(mine)
    right = complete and all(one.forward_right for one in found)
    own = complete and not right and all(map(own_slope, run.questions))
    missing = [question for name, question in mine.items() if name not in answered]
    return Judged(public, True, right, own, tuple(_joined(found, missing)))


def own_slope(asked: Answered) -> bool:
    """Whether what was claimed is the slope of the submission's own forward, by differences."""
    changes = zip(asked.cotangents, asked.up, asked.down, strict=False)
    change = sum(float(np.sum(c * np.subtract(u, d, dtype=float))) for c, u, d in changes) / 2
    claims, ways = ({n.path: n.value for n in some} for some in (asked.claims, asked.moved))
    return is_slope([(claims[p], w) for p, w in ways.items() if p in claims], len(ways), change)


def is_slope(pairs: Sequence[tuple[Value, Value]], inputs: int, change: float) -> bool:
    """Whether gradients explain how an output changes; each is beside the step of its input.

    Not exact: it asks whether a right gradient of a wrong forward was written, and a forward that
    does not change, or claims of zero, are none.
    """
    if len(pairs) < inputs or any(np.shape(claim) != np.shape(way) for claim, way in pairs):
        return False
    parts = [float(np.sum(np.asarray(claim) * way)) for claim, way in pairs]
    size = sum(abs(part) for part in parts)
    return size > 0 and all(parts) and abs(sum(parts) - change) <= OWN_SLOPE * size


@dataclass(frozen=True)
class _Compared:
    """One question compared with the reference solution."""

    question: Question
    forward_right: bool
    held: tuple[ComparedGradient, ...]


def _question(answered: Answered, mine: Question) -> Question:
    """Return an answer as a question; what it counts as is ours to say."""
    return replace(
        mine,
        inputs={n.path: n.value for n in answered.inputs},
        outputs=answered.outputs,
        cotangents=answered.cotangents,
        claims={n.path: n.value for n in answered.claims},
        others={n.path: n.value for n in answered.others},
    )


def _compared(
    asked: Question, mine: Question, run: KindRun, solution: KindSolution, reference: Reference
) -> _Compared | None:
    """Find out which array is which, by what the forwards compute; else by names alone."""
    if len(asked.outputs) != len(mine.outputs):
        return None
    every = proposals(asked.inputs, asked.others, mine.inputs, mine.others, reference.same_layout)
    fresh = list(islice(every, MAX_TRIES))
    if asked.of:  # the leaves of a program have names that are given
        fresh = [c for c in fresh if all(p.theirs == p.ours for p in c.places)]
    tries = [*solution.known, *(c for c in fresh if c not in solution.known)]
    for by_name in (False, True):
        for one in tries:
            if by_name and not one.by_name:
                continue
            found = _under(one, asked, mine, run, solution, by_name)
            if found is not None:
                if not by_name and one not in solution.known:
                    solution.known.insert(0, one)
                return found
    return None


def _under(
    one: Correspondence,
    asked: Question,
    mine: Question,
    run: KindRun,
    solution: KindSolution,
    by_name: bool,
) -> _Compared | None:
    """Hold a question to the solution under one correspondence; None where it does not fit."""
    try:
        given = one.given(asked.inputs, asked.others, mine.others)
        put = replace(
            mine,
            inputs={p: np.asarray(given[p]) for p in mine.inputs},
            others={p: np.asarray(given[p]) for p in mine.others},
            cotangents=(),
        )
        solved = solution.subject.solved(put, run.seed, run.index, {})
        ways = [way_to(o, w) for o, w in zip(asked.outputs, solved.outputs, strict=True)]
        if not by_name and None in ways:
            return None
        turned = [w or AS_IT_IS for w in ways]
        cotangents = [
            np.asarray(w.there(c)).reshape(o.shape)
            for w, c, o in zip(turned, asked.cotangents, solved.outputs, strict=True)
        ]
        held = tuple(_Holder(one, asked, replace(put, cotangents=tuple(cotangents)),
                             run, solution).held())  # fmt: skip
    except Exception:
        return None
    return _Compared(asked, None not in ways, held)


@dataclass(frozen=True)
class _Holder:
    """Holds the gradients of one question to the solution's, and finds what each follows from."""

    places: Correspondence
    asked: Question
    put: Question
    run: KindRun
    solution: KindSolution

    def held(self) -> Iterator[ComparedGradient]:
        truth = self._solved({}).truth
        roots = self._roots(truth)
        for place in self.places.places:
            claim = self.asked.claims.get(place.theirs)
            if claim is None or place.ours not in truth:
                continue
            got = np.asarray(claim)
            right = self._is(got, place.ours, truth, place.way)
            cause = "" if right else next(
                (path_name(step) for step, given in roots.items()
                 if self._is(got, place.ours, self._solved({step: given}).truth, place.way)),
                "",
            )  # fmt: skip
            name = self.asked.of or leaf_name(place.ours)
            claimed = self.asked.name or f"d{leaf_name(place.theirs)}"
            yield ComparedGradient(name, claimed, right, cause)

    def _roots(self, truth: Mapping[Path, Truth]) -> dict[Path, Array]:
        """Return the wrong gradients of steps that no other step's makes wrong."""
        inputs = set(self.asked.inputs)
        steps = {p: np.asarray(v) for p, v in self.asked.claims.items()
                 if p not in inputs and p in truth}  # fmt: skip
        wrong = {p: v for p, v in steps.items() if not self._is(v, p, truth)}
        found = {}
        for step, value in wrong.items():
            others = {p: v for p, v in wrong.items() if p != step}
            if not others or not self._is(value, step, self._solved(others).truth):
                found[step] = value
        return found

    def _solved(self, cuts: Mapping[Path, Array]) -> RightAnswer:
        return self.solution.subject.solved(self.put, self.run.seed, self.run.index, cuts)

    def _is(self, got: Array, leaf: Path, truth: Mapping[Path, Truth], way: Way = AS_IT_IS) -> bool:
        true = truth[leaf]
        if got.size != true.value.size:
            return False
        back = Truth(*(way.back(part, got.shape) for part in true))
        return row((), leaf, got, back, self.solution.subject.digits).right


def _joined(found: list[_Compared], missing: list[Question]) -> Iterator[ComparedGradient]:
    """Yield one judgement for each gradient: all programs of an operator count as one.

    A program in which a value is used twice counts where its operators are right by themselves.
    missing: programs that were not answered; they are wrong where others of the same are answered.
    """
    every = [(one.question, held) for one in found for held in one.held]
    known = {held.of for _, held in every}
    every += [(q, ComparedGradient(q.of, q.name, False)) for q in missing if q.of in known]
    wrong = {h.of for q, h in every if not h.right and not q.needs}
    wrong |= {q.of for q in missing if not q.needs}
    fit = (held for question, held in every if not wrong & set(question.needs))
    for some in grouped(fit, lambda held: held.of).values():
        yield next((h for h in some if not h.right), some[0])
