"""What random targets are made of: formulas with placeholders, and the mistakes that fit them.

A `Plan` is one computation, its forward and its backward as lines over `$names`. `randomdialects`
writes a plan as a function pair, a class, … with names of its own choice.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from string import Template


@dataclass(frozen=True)
class Injected:
    """A mistake in a target: its kind, the source with it, what a good explanation matches."""

    kind: str
    source: str
    pattern: str


@dataclass(frozen=True)
class RandomTarget:
    """A right target as source text, and the same with one mistake each."""

    seed: int
    family: str
    source: str
    mistakes: tuple[Injected, ...] = ()


@dataclass(frozen=True)
class Edit:
    """A mistake of a plan: in its backward, `old` is written as `new`."""

    kind: str
    old: str
    new: str
    pattern: str = ""


NAMED = {
    "sign": r"sign|negative|minus|−1|-1 times",
    "factor": r"factor|times|half|twice|½|2|division",
    "axis": r"axis|axes|row|column|order|transpos|sum",
    "mean": r"mean|factor|1/|times",
    "slope left out": r"skip|left out|slope|missing|derivative|factor",
    "transposed": r"transpos|operand|axis|axes|order|row",
    "wrong variable": r"slope|input|activation|output|value|place|instead|factor",
    "square left out": r"square|power|slope|factor",
    "zero": r"zero|0",
    "swapped": r"swap|another|gradient of|exchanged",
    "regularisation": r"regular|penalty|decay|factor|times|weight",
    "clipped": r"clip|cut|limit|bounded",
    "constant": r"constant|factor|slope|times|coefficient|exponent|inverted",
    "scatter": r"overwrit|=|last|accumul|scatter|add|sum|once|path|left",
    "left out": r"left out|missing|constant|held|term|path|through|ignored|sum|not",
    "error": r"error|slope|delta|skip|activation|left out",
    "flipped": r"flip|revers|order|kernel|shift",
    "stride": r"stride|order|step|window|shift",
    "mask": r"mask|skip|ignored|left out|slope|factor",
    "softmax": r"softmax|diagonal|sum|left out|path|through",
    "gate": r"gate|slope|value|factor|skip|activation|left out",
    "time": r"time|carry|step|passed|path|left out|through",
}
"""For each kind of mistake, what an explanation that names it would say."""


@dataclass(frozen=True)
class Plan:
    """One computation: what it takes, its forward, its backward, and mistakes in it."""

    family: str
    names: tuple[str, ...]
    """What its author may call it."""
    data: tuple[str, ...]
    """What comes from the layer below."""
    forward: tuple[str, ...]
    """Lines that end with `$out = …`."""
    backward: tuple[str, ...]
    """Lines that give `$d_x` for each input and parameter x."""
    mistakes: tuple[Edit, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    """Names, and the shape in terms of `sizes`."""
    sizes: tuple[str, ...] = ()
    """A constructor's arguments."""
    kept: tuple[str, ...] = ()
    """What the backward needs of the forward, beside inputs and parameters."""
    without: tuple[str, ...] = ()
    """Inputs that have no gradient: labels, indices, masks."""
    helpers: str = ""
    """Functions of the module that it calls."""
    options: tuple[tuple[str, object], ...] = ()
    """Numbers with defaults: stride, eps."""
    spelled: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What its data may be called."""
    needs: tuple[str, ...] = ()
    """Which of inputs and parameters the backward reads; all by default."""

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The parameters without their shapes."""
        return tuple(n for n, _ in self.parameters)

    @property
    def wanted(self) -> tuple[str, ...]:
        """What has a gradient."""
        return tuple(n for n in (*self.data, *self.parameter_names) if n not in self.without)

    def edited(self, edit: Edit) -> "Plan":
        """Return it with a mistake.

        Raises ValueError where the edit changes nothing.
        """
        lines = "\n".join(self.backward)
        if edit.old not in lines:
            raise ValueError(f"{self.family}: {edit.old!r} is not in its backward")
        changed = lines.replace(edit.old, edit.new, 1)
        return replace(self, backward=tuple(changed.split("\n")))


def filled(lines: Sequence[str], names: dict[str, str], indent: int = 4) -> str:
    """Return lines with their placeholders filled, indented."""
    pad = " " * indent
    return "".join(f"{pad}{Template(line).substitute(names)}\n" for line in lines)


def pattern_of(edit: Edit) -> str:
    """Return the regex of a mistake's explanation."""
    return edit.pattern or NAMED[edit.kind]


def pick(rng: random.Random, *choices: str) -> str:
    """Return one of some strings."""
    return rng.choice(choices)
