"""Gives points: each forward and each gradient once, and no mistake twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from reference.grading.assignment import Function
from reference.grading.records import ComparedGradient, Judged
from reports.checked import Part
from reports.graded import GradeMark, Notice, State


@dataclass(frozen=True)
class FunctionEvidence:
    """What is known of one function of a submission."""

    judged: tuple[Judged, ...] = ()
    """Its runs compared with the reference solution; none where nothing of it could be run."""
    part: Part | None = None
    notices: tuple[Notice, ...] = ()
    attempted: bool | None = None
    """None: there is no function of this name."""
    why: str = ""
    """Why it could not be judged."""
    own_counts: bool = True
    """Whether a right gradient of another forward is paid."""

    @property
    def hidden(self) -> tuple[Judged, ...]:
        """The runs on problems that the student does not know."""
        return tuple(j for j in self.judged if not j.public)


def marks_of(function: Function, found: FunctionEvidence, problems: int) -> tuple[GradeMark, ...]:
    """Return the marks of one function: its forward, then each of its gradients.

    problems: how many hidden problems there are; of half of them at least there must be a run.
    """
    wanted = [("forward", function.forward)] if function.forward else []
    wanted += list(function.gradients.items())
    state, text = _as_a_whole(found, problems)
    if state is not None:
        return tuple(GradeMark(what, 0.0, points, state, text) for what, points in wanted)
    marks = []
    if function.forward:
        marks.append(_forward(function.forward, found))
    gradients = [_gradient(of, points, found) for of, points in function.gradients.items()]
    return (*marks, *_charged_once(gradients, found))


def _as_a_whole(found: FunctionEvidence, problems: int) -> tuple[State | None, str]:
    """Return the state of all marks, where one thing decides them all."""
    grave = next((n for n in found.notices if n.grave), None)
    if grave is not None:
        return "refused", grave.text
    if found.hidden and len(found.hidden) * 2 >= problems and any(j.fits for j in found.hidden):
        return None, ""
    if found.attempted is None and found.part is None:
        return "missing", "there is no function of this name in the file"
    if found.attempted is False:
        return "empty", "not attempted"
    return "unreadable", found.why or _unfit(found)


def _unfit(found: FunctionEvidence) -> str:
    if found.judged:
        return "its numbers could not be compared with those of the function asked for"
    return "it could not be run"


def _forward(points: float, found: FunctionEvidence) -> GradeMark:
    other = next((j.cached for j in found.hidden if j.cached), "")
    if other:
        return GradeMark("forward", 0.0, points, "wrong", other)
    if all(j.forward_right for j in found.hidden):
        return GradeMark("forward", points, points, "right", "computes what is asked for")
    text = "computes another function than the one asked for"
    return GradeMark("forward", 0.0, points, "wrong", text)


def _gradient(of: str, points: float, found: FunctionEvidence) -> GradeMark:
    """Return the mark of one gradient, as if no other existed."""
    rows = [[h for h in j.held if h.of == of] for j in found.hidden]
    claim = next((h.claim for held in rows for h in held), "")
    if all(held and held[0].right for held in rows) and _one_scale(found):
        return GradeMark(of, points, points, "right", "right on every problem", claim)
    if any(j.own for j in found.hidden) and all(j.own or j.forward_right for j in found.hidden):
        text = "right for your own forward, which is another function than the one asked for"
        paid = points if found.own_counts else 0.0
        return GradeMark(of, paid, points, "follows" if paid else "wrong", text, claim)
    if not any(rows):
        return GradeMark(of, 0.0, points, "missing", f"no gradient of {of} came back")
    wrong = sum(not (held and held[0].right) for held in rows)
    types = {held[0].dtype for held in rows if held and not held[0].right}
    if len(types) == 1 and "" not in types:
        return GradeMark(of, 0.0, points, "wrong", f"right in float64; {types.pop()}", claim)
    return GradeMark(of, 0.0, points, "wrong", f"wrong on {wrong} of {len(rows)} problems", claim)


def _one_scale(found: FunctionEvidence) -> bool:
    """Whether a loss that nobody wrote may carry the same factor in all problems."""
    scales = [set(j.scale) for j in found.hidden if j.held]
    return not scales or bool(set.intersection(*scales))


def _charged_once(marks: Sequence[GradeMark], found: FunctionEvidence) -> list[GradeMark]:
    """Give back the points of what is wrong only by an inner mistake that is charged already.

    Of the gradients that one inner mistake makes wrong, the one with the most points is charged.
    """
    causes = {m.what: _cause(m.what, found) for m in marks if m.state == "wrong"}
    charged: dict[str, str] = {}
    for mark in sorted(marks, key=lambda m: -m.possible):
        cause = causes.get(mark.what)
        if cause:
            charged.setdefault(cause, mark.what)
    return [_given_back(m, causes.get(m.what, ""), charged) for m in marks]


def _given_back(mark: GradeMark, cause: str, charged: dict[str, str]) -> GradeMark:
    if not cause:
        return mark
    if charged[cause] == mark.what:
        return GradeMark(
            mark.what, 0.0, mark.possible, "wrong",
            f"{mark.text}; the mistake is in a gradient nearer to the loss",
            mark.claim,
        )  # fmt: skip
    text = f"wrong only by the mistake that is charged at {charged[cause]}"
    return GradeMark(mark.what, mark.possible, mark.possible, "follows", text, mark.claim)


def _cause(of: str, found: FunctionEvidence) -> str:
    """Return the inner gradient that makes this one wrong in every problem, "" where none does."""
    wrong: list[ComparedGradient] = [
        h for j in found.hidden for h in j.held if h.of == of and not h.right
    ]
    causes = {h.follows_from for h in wrong}
    return causes.pop() if len(causes) == 1 else ""


def copied(judged: Sequence[Judged]) -> Notice | None:
    """Return a notice where the public problems are right and the hidden ones all wrong."""
    public, hidden = [j for j in judged if j.public], [j for j in judged if not j.public]
    if not public or not hidden:
        return None
    right = all(_all_right(j) for j in public)
    if right and not any(_all_right(j) for j in hidden):
        return Notice(
            "answers",
            "right on the public problems and wrong on all others: answers that were copied, not "
            "a gradient",
            grave=True,
        )
    return None


def _all_right(judged: Judged) -> bool:
    return judged.forward_right and bool(judged.held) and all(h.right for h in judged.held)
