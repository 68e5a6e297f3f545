"""Questions: what a file of torch, JAX or an engine was given and answered, in plain numbers.

A question has what went in, what the forward made of it, the cotangents, and the gradients that
came back. The same question, put to another file of the same kind, gives what is right. The words
for what is wrong are here as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from reference.checks.code import Layout, Path, path_name
from reference.checks.comparing import Truth
from reference.checks.explain import Explanation
from reference.checks.judging import ProblemCase, Subject
from reference.checks.kinds._catalogue import FunctionProblem
from reference.diagnosis.describe import ArrayPair, describe
from reference.formats import Array


def described(
    cases: Sequence[ProblemCase],
    seen: Sequence[FunctionProblem],
    mistakes: Mapping[Path, str] = MappingProxyType({}),
    called: Callable[[Path], str] = path_name,
) -> Explanation:
    """Return which gradients are wrong, each with what its problems have in common.

    seen: what was run in each case; its inputs may have slipped in. mistakes: what is known of a
    gradient already. called: what the target calls the gradient of a leaf.
    """
    pairs: dict[Path, list[ArrayPair]] = {}
    for case, problem in zip(cases, seen, strict=True):
        scale = case.assessment.scale
        leaves = problem.leaves.items()
        beside = {path_name(p): np.asarray(v) for p, v in leaves if v.dtype.kind == "f"}
        rows = case.assessment.rows
        right = {f"the gradient of {path_name(r.leaf)}": r.truth.value for r in rows}
        for r in case.assessment.rows:
            if r.right:
                continue
            own = f"the gradient of {path_name(r.leaf)}"
            others = {k: v for k, v in right.items() if k != own}
            pairs.setdefault(r.leaf, []).append(
                ArrayPair(r.got, scale * r.truth.value, beside | others, sizes_of(beside))
            )
    texts = ((called(p), mistakes.get(p) or describe(found)) for p, found in pairs.items())
    first = next(map(called, pairs), "")
    return Explanation(first, (), tuple((n, t) for n, t in texts if t))


def sizes_of(arrays: Mapping[str, Array]) -> dict[str, int]:
    """Return the sizes that a factor may stem from: N of the first array, each axis by name."""
    found: dict[str, int] = {}
    for name, array in arrays.items():
        for axis, size in enumerate(array.shape):
            found.setdefault(f"size {axis} of {name}", int(size))
    first = next((a for a in arrays.values() if a.ndim), None)
    return ({"N": int(first.shape[0])} if first is not None else {}) | found


@dataclass(frozen=True)
class Question:
    """One run: the numbers that went in, and those that came back."""

    inputs: Mapping[Path, Array]
    """What gradients are taken of, by path."""
    outputs: tuple[Array, ...]
    cotangents: tuple[Array, ...]
    """One for each output; where there is none, all are ones."""
    claims: Mapping[Path, Array]
    """The gradients that came back, by what they are of: an input, or a step of the forward."""
    others: Mapping[Path, Array] = field(default_factory=dict)
    """Labels, masks: what else went in."""
    name: str = ""
    """Which question, where there are several: the program of an engine."""
    of: str = ""
    """What its gradients are counted as; "" where each input counts by itself."""
    needs: tuple[str, ...] = ()
    """What has to be right before this is asked: the operators of a program."""


@dataclass(frozen=True)
class RightAnswer:
    """The outputs of a forward and the right gradients, for given inputs and cotangents."""

    outputs: tuple[Array, ...]
    truth: Mapping[Path, Truth]


class Questioned(Subject):
    """A subject whose problems can be put to another one of its kind."""

    kind: str
    """What two subjects must share: "general", "engine", "torch", "jax"."""
    layout: Layout
    """How its arguments are drawn; empty where it settles that itself."""

    @property
    def digits(self) -> float:
        """How near a gradient in float64 comes to the right one, as a share of the tensor."""
        raise NotImplementedError

    def questions(self, seed: int, index: int) -> list[Question]:
        """Run one problem as its author does; raises what the target raises."""
        raise NotImplementedError

    def solved(
        self, question: Question, seed: int, index: int, cuts: Mapping[Path, Array]
    ) -> RightAnswer:
        """Return what is right for a question of its own with other numbers.

        cuts: cotangents of steps of the forward; what comes before such a step follows from its
        cotangent, not from the true one.
        """
        raise NotImplementedError


def cotangents_of(question: Question, outputs: Sequence[Array | None]) -> list[Array | None]:
    """Return a cotangent for each output, None for one that has no derivative."""
    ones = [np.ones(o.shape) for o in outputs if o is not None]
    rest = iter(question.cotangents or ones)
    return [None if o is None else next(rest) for o in outputs]


def question_of(
    leaves: Mapping[Path, Array],
    outputs: Sequence[Array | None],
    cotangents: Sequence[Array | None],
    claims: Mapping[Path, Array],
    drawn: Mapping[str, object],
) -> Question:
    """Return a question of tensors; what was drawn and is no leaf went in beside them."""
    pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o is not None]
    given = tuple(c for _, c in pairs if c is not None)
    arrays = {(k,): v for k, v in drawn.items() if isinstance(v, np.ndarray)}
    others = plain({p: v for p, v in arrays.items() if p not in leaves})
    return Question(leaves, tuple(o for o, _ in pairs), given, claims, others)


def plain(values: Mapping[Path, object]) -> dict[Path, Array]:
    """Return named values as arrays."""
    return {path: np.asarray(value) for path, value in values.items()}
