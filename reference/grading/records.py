"""What crosses between the processes of a grading run: requests, runs of a submission, judgements.

The submission's process sends `Run`s: plain numbers that went in and came out. Another process,
which never loads a submission, holds them to the reference solution and answers with `Judged`.
"""

from collections.abc import Iterator
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from reference.checks.code import Path
from reference.checks.results import (
    InternalError,
    PartFinished,
    PartStarted,
    Refused,
    TargetLoaded,
    Tried,
)

Array = npt.NDArray[np.generic]


class NamedArray(msgspec.Struct, frozen=True):
    """A number or an array, by the path under which the code names it."""

    path: Path
    value: Array


class Scalar(msgspec.Struct, frozen=True):
    """Which scalar the claims are the gradient of (`checks.comparing.Objective`)."""

    kind: str
    output: Path = ()
    loss: str = ""
    target: Path = ()


class Coarse(msgspec.Struct, frozen=True):
    """The gradients of a problem whose numbers were in another type, as float32."""

    dtype: str
    claims: tuple[NamedArray, ...] = ()
    """In the type in which they came back."""


class ProblemRun(msgspec.Struct, frozen=True, tag="run"):
    """One problem as a submission computed it, on plain floats."""

    unit: int
    """The number of the part, as the check counts them."""
    seed: int
    index: int
    scalar: Scalar
    sizes: dict[str, int]
    inputs: tuple[NamedArray, ...]
    others: tuple[NamedArray, ...]
    numbers: dict[str, float]
    values: tuple[NamedArray, ...]
    """The forward's named values."""
    outputs: tuple[NamedArray, ...]
    cotangents: tuple[tuple[Array, Array], ...]
    """(output, the cotangent that the backward was given)."""
    claims: tuple[NamedArray, ...]
    inner: tuple[NamedArray, ...]
    """The backward's own variables that are called after a gradient."""
    paired: bool
    told_targets: bool
    adds_steps: bool
    rate: float | None = None
    moved: tuple[NamedArray, ...] = ()
    """A direction for each input: by how much the inputs were moved, forward and back."""
    up: Array | None = None
    """The judged output where the inputs were moved forward."""
    down: Array | None = None
    """The same where they were moved back."""
    cached: tuple[Array, ...] = ()
    """What the forward returned beside its output, in order."""
    coarse: tuple[Coarse, ...] = ()
    """What came back for the same numbers in other types."""
    kind: ClassVar[str] = "numpy"

    @property
    def arrays(self) -> Iterator[Array]:
        """All its numbers."""
        yield from (a for pair in self.cotangents for a in pair)
        named = (*self.inputs, *self.others, *self.values, *self.outputs, *self.claims)
        yield from (n.value for n in (*named, *self.inner, *self.moved))
        yield from (*self.cached, *(n.value for one in self.coarse for n in one.claims))


class Answered(msgspec.Struct, frozen=True):
    """One question and its answer (`reference.checks.kinds.Question`)."""

    inputs: tuple[NamedArray, ...]
    others: tuple[NamedArray, ...]
    outputs: tuple[Array, ...]
    cotangents: tuple[Array, ...]
    claims: tuple[NamedArray, ...]
    name: str = ""
    moved: tuple[NamedArray, ...] = ()
    """A direction for each input, as in `ProblemRun`."""
    up: tuple[Array, ...] = ()
    down: tuple[Array, ...] = ()


class KindRun(msgspec.Struct, frozen=True, tag="kind_run"):
    """One problem of code on tensors, of an engine of values, of a general form."""

    unit: int
    seed: int
    index: int
    kind: str
    questions: tuple[Answered, ...]

    @property
    def arrays(self) -> Iterator[Array]:
        """All its numbers."""
        for one in self.questions:
            yield from (*one.outputs, *one.cotangents, *one.up, *one.down)
            yield from (n.value for n in (*one.inputs, *one.others, *one.claims, *one.moved))


AnyRun = ProblemRun | KindRun


class Unrun(msgspec.Struct, frozen=True, tag="unrun"):
    """A part that gave no run on plain floats, and why."""

    unit: int
    why: str


class Confined(msgspec.Struct, frozen=True, tag="confined"):
    """What holds the submission's process, and which measures this system lacks."""

    holds: tuple[str, ...]
    lacks: tuple[str, ...]


class Attempt(msgspec.Struct, frozen=True, tag="attempt"):
    """Something that a submission tried and that no gradient needs."""

    kind: str
    detail: str


SubmissionEvent = (
    ProblemRun
    | KindRun
    | Unrun
    | Confined
    | Attempt
    | Tried
    | PartStarted
    | TargetLoaded
    | PartFinished
    | Refused
    | InternalError
)


class SubmissionRequest(msgspec.Struct, frozen=True):
    """What the submission's process is asked for."""

    file: str
    """The path of the file to grade, in the working folder."""
    files: dict[str, bytes]
    """What the working folder gets: the file and what lies beside it."""
    seed: int
    """The hidden seed."""
    public_seed: int
    problems: int
    skip: tuple[int, ...] = ()
    only: str = ""
    """The one function or class to run; "" runs all."""
    dtypes: tuple[str, ...] = ("float64",)
    shapes: dict[str, str] = {}
    """How arguments are drawn, as `check` has it: {"x": "N D"}."""


class Reference(msgspec.Struct, frozen=True):
    """What the judging process is asked for: the runs of one part, to compare with one function."""

    file: str
    unit: str
    seed: int
    runs: tuple[AnyRun, ...] = ()
    same_layout: bool = False
    """Whether samples and weights have to lie as in the reference solution."""
    mean_in_loss: bool = False
    """Whether 1/N has to stand where the reference solution has it."""
    same_cache: bool = False
    """Whether a forward has to hand on what the reference solution does."""


class ComparedGradient(msgspec.Struct, frozen=True):
    """One gradient of one run, compared with the reference solution."""

    of: str
    """What it is the gradient of, as the solution calls it."""
    claim: str
    """What the submission calls it."""
    right: bool
    follows_from: str = ""
    """The inner gradient whose mistake alone makes this one wrong; it is right given that one."""
    dtype: str = ""
    """The type in which it is wrong, where it is right in float64."""


class Judged(msgspec.Struct, frozen=True, tag="judged"):
    """One run, compared with the reference solution."""

    public: bool
    fits: bool
    """Whether the numbers that went in fit the reference solution's arguments at all."""
    forward_right: bool
    own: bool = False
    """Whether all that was claimed is the slope of the submission's own, other forward."""
    held: tuple[ComparedGradient, ...] = ()
    cached: str = ""
    """What is wrong with what the forward hands on, "" where it is as in the solution."""
    scale: tuple[str, ...] = ("1",)
    """The factors that a loss which nobody wrote may carry here."""


class Described(msgspec.Struct, frozen=True, tag="described"):
    """The reference solution's own part: what has a gradient, and what its forward is."""

    unit: str
    gradients: tuple[str, ...]
    operation: str
    verdict: str
    shapes: dict[str, str] = {}
    """How its arguments are drawn, where `shapes` of a file can say it."""
    kind: str = "numpy"
    """What its submissions have to be as well: "numpy", "torch", "jax", "engine", "general"."""


class SolutionFailed(msgspec.Struct, frozen=True, tag="failed"):
    """The reference solution cannot be judged with, and why."""

    text: str


JudgeEvent = Judged | Described | SolutionFailed
