"""A reading of a target, and the outcome of one run."""

from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from reference.checks.code import Layout, NumericValue, Path, Routine, Unit
from reference.checks.reading import Mode


class Unreadable(Exception):
    """A reading does not fit: an argument has nothing to be given, a shape does not match."""


class ForwardFailed(Exception):
    """The forward raised: with these arguments it does not run."""


class NotFinite(ForwardFailed):
    """The forward gave nan."""


@dataclass(frozen=True)
class Reading:
    """What is called, and what each argument gets."""

    unit: Unit
    forward: Routine | None
    """None where the backward computes its forward itself."""
    mode: Mode
    layout: Layout
    binding: tuple[tuple[str, str], ...]
    """The backward's arguments and their sources: ("dout", "cotangent"), ("cache", "rest") …"""
    constructor: Routine | None = None
    fixed: tuple[tuple[str, int], ...] = ()
    """Sizes that the code itself settles: letters and numbers."""
    modules: tuple[ModuleType, ...] = field(default=(), repr=False)
    hung: str = ""
    """The attribute under which gradients hang on tensors, "" where they are handed over."""

    @property
    def first(self) -> Routine:
        """The arguments that get the drawn inputs."""
        return self.forward or self.unit.backward

    @property
    def of_instance(self) -> bool:
        """Whether an object of the class is needed."""
        return self.unit.owner is not None and (self.first.bound or self.unit.backward.bound)

    def bound(self, **sources: str) -> "Reading":
        """Return it with other sources for some arguments."""
        return replace(self, binding=tuple({**dict(self.binding), **sources}.items()))


@dataclass
class RunOutcome:
    """What one run made: inputs, named values, outputs, cotangents, claims."""

    sizes: dict[str, int]
    far: bool = False
    dtype: str = ""
    """The type of the arrays of floats that went in, "" where it is that of the drawn ones."""
    inputs: dict[Path, NumericValue] = field(default_factory=dict)
    """Every float array that went in, by path: arguments, and the object's parameters."""
    others: dict[Path, NumericValue] = field(default_factory=dict)
    """What else went in: targets, labels, masks, numbers."""
    before: dict[Path, NumericValue] = field(default_factory=dict)
    """The object's parameters as they were before its backward."""
    values: dict[Path, NumericValue] = field(default_factory=dict)
    """The forward's named values: its local variables and what it returned."""
    outputs: dict[Path, NumericValue] = field(default_factory=dict)
    cotangents: list[tuple[NumericValue, NumericValue]] = field(default_factory=list)
    """(output, cotangent): what the backward was given from the steps after it."""
    claims: dict[Path, NumericValue] = field(default_factory=dict)
    middle: dict[Path, NumericValue] = field(default_factory=dict)
    """The backward's local variables."""
    kept: dict[Path, NumericValue] = field(default_factory=dict)
    """The object's attributes after its backward."""
    mutated: list[str] = field(default_factory=list)
    stepped: set[Path] = field(default_factory=set)
    """The weights that the backward updates: its claims are the steps."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Plain numbers that went in by name: a rate, a strength of regularisation."""
    rate: float | None = None
    adds_steps: bool = False
    """Whether its file adds what its backward returns to the weights: a gradient's negative."""
    told_targets: bool = False
    """Whether the backward was given targets that the forward does not know."""
    paired: bool = False
    """Whether a forward ran before the backward."""
    instance: object = None
    made: Any = None
    """What the forward returned, as it did."""
    returned: object = None
    """What the backward returned, as it did."""
