"""The backward walk with one call a line, so that a mistake can be injected into any of them.

It is the same walk as `manual_backprop.network.backward`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from manual_backprop.network import (
    Problem,
    Trace,
    backward,
    forward,
    loss_divisor,
    losses_cotangent,
)
from manual_backprop.operation import FloatArray
from reference.diagnosis.mistakes.catalogue import (
    CATALOGUE,
    ActivationLine,
    DenseLine,
    Line,
    LineName,
    LossLine,
    Mistake,
    right_of,
)
from reference.oracles import Answer


class FaultSite(NamedTuple):
    """A line of one layer's backward. The loss's line belongs to the last layer."""

    line: LineName
    layer: int

    def tensor(self, depth: int) -> str:
        """Return the name of the cotangent that this line computes."""
        match self.line:
            case "loss":
                return f"layers.{depth - 1}.a"
            case "activation":
                return f"layers.{self.layer}.z"
            case "below":
                return f"layers.{self.layer - 1}.a" if self.layer else "x"
            case _:
                return f"layers.{self.layer}.{self.line}"


class LineWalk:
    """The lines of one problem's backward, each made from whatever cotangents it is given."""

    def __init__(self, problem: Problem, trace: Trace | None = None) -> None:
        with np.errstate(all="ignore"):
            self.trace = forward(problem) if trace is None else trace
        self.problem = problem
        self.depth = len(problem.network.layers)

    def loss(self) -> LossLine:
        """Return the line that the backward begins with."""
        problem, network = self.problem, self.problem.network
        operation = network.loss_operation
        with np.errstate(all="ignore"):  # where no label counts, the mean divides by 0
            cotangent = np.array(losses_cotangent(problem, self.trace.losses))
        divisor = float(loss_divisor(problem, self.trace.losses, np.dtype(float)))
        return LossLine(
            operation=operation,
            arguments=problem.loss_arguments(),
            y=self.trace.steps[f"layers.{self.depth - 1}.a"],
            targets=problem.targets,
            losses=self.trace.losses,
            dL=cotangent,
            divisor=divisor,
            reduction=network.reduction,
            weights=problem.weights,
        )

    def activation(self, layer: int, da: FloatArray) -> ActivationLine:
        """Return the activation's line of a layer, given δa."""
        described = self.problem.network.layers[layer]
        return ActivationLine(
            operation=described.operation,
            parameters=described.parameters,
            z=self.trace.steps[f"layers.{layer}.z"],
            a=self.trace.steps[f"layers.{layer}.a"],
            da=da,
            x=self.below(layer),
        )

    def dense(self, layer: int, dz: FloatArray, da: FloatArray | None) -> DenseLine:
        """Return the dense lines of a layer, given δz and the δa it came from."""
        parameters = self.problem.parameters
        return DenseLine(
            x=self.below(layer),
            dz=dz,
            weight=parameters[f"layers.{layer}.weight"],
            bias=parameters.get(f"layers.{layer}.bias"),
            da=da,
            x_before=self.trace.steps[f"layers.{layer - 1}.z"] if layer else None,
        )

    def below(self, layer: int) -> FloatArray:
        """Return what a layer was fed."""
        return self.trace.steps[f"layers.{layer - 1}.a"] if layer else self.problem.x


def backward_with(
    problem: Problem, trace: Trace | None, injected: Mapping[FaultSite, Mistake]
) -> dict[str, FloatArray]:
    """Walk backward with mistakes in some lines; the other lines are right for what they get.

    A mistake whose place does not admit it here changes nothing.
    """
    walk = LineWalk(problem, trace)

    def at(place: FaultSite, line: Line) -> FloatArray:
        mistake = injected.get(place)
        if mistake is not None and mistake.applies(line):
            return mistake.make(line)
        return right_of(place.line, line)

    with np.errstate(all="ignore"):
        cotangents: dict[str, FloatArray] = {}
        da = at(FaultSite("loss", walk.depth - 1), walk.loss())
        for layer in reversed(range(walk.depth)):
            name = f"layers.{layer}"
            dz = at(FaultSite("activation", layer), walk.activation(layer, da))
            dense = walk.dense(layer, dz, da)
            cotangents[f"{name}.a"], cotangents[f"{name}.z"] = da, dz
            cotangents[f"{name}.weight"] = at(FaultSite("weight", layer), dense)
            if dense.bias is not None:
                cotangents[f"{name}.bias"] = at(FaultSite("bias", layer), dense)
            da = at(FaultSite("below", layer), dense)
        cotangents["x"] = da
    return cotangents


def places(problem: Problem, mistake: Mistake, trace: Trace | None = None) -> Iterator[FaultSite]:
    """Yield every place of a problem's backward where a mistake can be made."""
    walk = LineWalk(problem, trace)
    right = backward(problem, walk.trace)
    for layer in reversed(range(walk.depth)):
        name = f"layers.{layer}"
        line: Line
        if mistake.line == "loss":
            if layer != walk.depth - 1:
                continue
            line = walk.loss()
        elif mistake.line == "activation":
            line = walk.activation(layer, right[f"{name}.a"])
        else:
            line = walk.dense(layer, right[f"{name}.z"], right[f"{name}.a"])
            if mistake.line == "bias" and line.bias is None:
                continue
        if mistake.applies(line):
            yield FaultSite(mistake.line, layer)


@dataclass(frozen=True)
class InjectedFaults:
    """An oracle that is wrong on purpose: the hand-written backward with injected mistakes.

    With no place given, a mistake is injected wherever it fits, like one wrong line in a loop.
    """

    mistakes: tuple[tuple[str, FaultSite | None], ...]
    name: str = "injected"

    def unavailable(self) -> str | None:
        """Return None: it is always here."""
        return None

    def answer(self, problem: Problem) -> Answer:
        """Walk forward rightly and backward wrongly."""
        injected: dict[FaultSite, Mistake] = {}
        with np.errstate(all="ignore"):
            trace = forward(problem)
            for name, place in self.mistakes:
                found = CATALOGUE[name]
                for p in places(problem, found, trace) if place is None else [place]:
                    injected[p] = found
            return Answer(self.name, trace.loss, backward_with(problem, trace, injected))

    def answers(self, problems: list[Problem]) -> list[Answer]:
        """Answer one problem after another."""
        return [self.answer(problem) for problem in problems]
