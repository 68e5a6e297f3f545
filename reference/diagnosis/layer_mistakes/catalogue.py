"""A mistake in the backward of a layer: what it says of itself, and the cotangent it gives."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_backprop.graph import GraphProblem
from manual_backprop.layers import LAYERS
from manual_backprop.operation import FloatArray, InvalidInput, LayerOperation
from reference.diagnosis.closeness import same_to_rounding
from reference.formats import Array
from reference.oracles import Answer

WrongArray = npt.ArrayLike
"""What a wrong line computes; `LayerMistake.make` gives it its dtype."""


@dataclass(frozen=True)
class LayerLine:
    """What stands around the cotangent of one argument of a layer."""

    operation: LayerOperation
    argument: str
    arrays: Mapping[str, Array]
    options: Mapping[str, Any]
    dy: FloatArray

    def __getitem__(self, name: str) -> Array:
        """Return an array by the name of the argument."""
        return self.arrays[name]

    @cached_property
    def y(self) -> FloatArray:
        """The value."""
        return self.value()

    @cached_property
    def right(self) -> Mapping[str, FloatArray]:
        """The right cotangents of all arguments."""
        return self.pulled()

    @property
    def own(self) -> FloatArray:
        """The right cotangent of the argument."""
        return self.right[self.argument]

    def value(self, **changes: object) -> FloatArray:
        """Return the right value, with some arrays or options changed."""
        arrays, options = self._changed(changes)
        found: FloatArray = self.operation.apply("stable", arrays, options)
        return found

    def pulled(self, dy: FloatArray | None = None, **changes: object) -> Mapping[str, FloatArray]:
        """Return the right cotangents, with some arrays, options or dy changed."""
        arrays, options = self._changed(changes)
        dy = self.dy if dy is None else dy
        return self.operation.pull_back("stable", arrays, self.value(**changes), dy, options)

    def _changed(
        self, changes: Mapping[str, object]
    ) -> tuple[dict[str, object], dict[str, object]]:
        arrays = {**self.arrays, **{n: c for n, c in changes.items() if n not in self.options}}
        options = {n: changes.get(n, option) for n, option in self.options.items()}
        return {n: array for n, array in arrays.items() if array is not None}, options


@dataclass(frozen=True)
class LayerMistake:
    """One mistake: its name, what a teacher would say of it, and the wrong line.

    It may be made in the cotangents of `arguments` of `operations`; none: in any.
    """

    name: str
    operations: tuple[str, ...]
    arguments: tuple[str, ...]
    sentence: str
    wrong: str
    transform: Callable[[LayerLine], WrongArray] = field(repr=False)
    applicable: Callable[[LayerLine], bool] = field(repr=False)

    @property
    def cases(self) -> Iterator[tuple[str, str]]:
        """The operations and arguments that it is about."""
        for name in self.operations or LAYERS:
            known = LAYERS[name].arguments
            yield from ((name, a) for a in self.arguments or known if a in known)

    def make(self, line: LayerLine) -> FloatArray | None:
        """Return the wrong cotangent; None where the mistake cannot be made."""
        if self.operations and line.operation.name not in self.operations:
            return None
        if self.arguments and line.argument not in self.arguments:
            return None
        with np.errstate(all="ignore"):
            if not self.applicable(line):
                return None
            return np.asarray(self.transform(line), line.dy.dtype)


LAYER_MISTAKES: dict[str, LayerMistake] = {}
"""Every mistake by name."""


@dataclass(frozen=True)
class LayerRule:
    """The cotangents of some arguments of some layers; a call enters a mistake in them."""

    operations: tuple[str, ...]
    arguments: tuple[str, ...]

    def __call__(
        self,
        name: str,
        wrong: str,
        sentence: str,
        make: Callable[[LayerLine], WrongArray],
        when: Callable[[LayerLine], bool] = lambda line: True,
    ) -> None:
        """Enter a mistake: the wrong formula, what a teacher would say of it, the wrong array."""
        if name in LAYER_MISTAKES:
            raise InvalidInput(f"mistake {name!r} is defined twice")
        LAYER_MISTAKES[name] = LayerMistake(
            name, self.operations, self.arguments, sentence, wrong, make, when
        )


def line_of_step(problem: GraphProblem, answer: Answer, tensor: str) -> LayerLine | None:
    """Return the line of an answer that a cotangent comes from, where one layer's gives it all."""
    uses = [(step, argument) for step in problem.graph.steps
            for argument, name in step.inputs.items() if name == tensor]  # fmt: skip
    if len(uses) != 1 or tensor in problem.cotangents:
        return None
    ((step, argument),) = uses
    if not isinstance(step.description, LayerOperation):
        return None
    options = {**step.description.options, **step.options}
    arrays = step.arrays({**problem.arrays, **answer.values})
    return LayerLine(step.description, argument, arrays, options, answer.gradients[step.name])


def named(line: LayerLine, found: FloatArray) -> LayerMistake | None:
    """Return the mistake whose cotangent is one that was judged wrong; None where none is.

    Of two that fit equally that of the layer is named before that of any layer. The layer's own
    backward is not asked whether it is right: it may be what is wrong.
    """
    for mistake in sorted(LAYER_MISTAKES.values(), key=lambda m: not m.operations):
        made = mistake.make(line)
        if made is not None and same_to_rounding(made, found):
            return mistake
    return None
