"""Draws the networks that `value_and_grad` is asked about: a pure function of (seed, index).

Structure and values avoid hiding places (N ≥ 2, no two widths alike, biases that are not zero),
save for every fifth problem, which goes into one on purpose.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from manual_backprop.operation import FloatArray
from reference.checks.kinds._accepts import Accepts
from reference.drawing.builder import ProblemBuilder, ProblemCell, Stream

_REGIMES = {
    1: "lattice", 4: "one sample", 6: "lattice", 9: "square", 12: "lattice", 14: "one unit",
}  # fmt: skip
"""Of each fifteen problems those that are not ordinary."""


def draw(wanted: Accepts, seed: int, index: int, ordinary: bool = False) -> Problem:
    """Draw a network with its problem; every eighth is in float32.

    ordinary: without multiples of one half, which meet kinks.
    """
    regime = "ordinary" if ordinary else _REGIMES.get(index % 15, "ordinary")
    dtype = "float32" if index % 8 == 7 else "float64"
    return _AcceptedBuilder(Stream(seed, index), wanted, regime, dtype).problem()


class _AcceptedBuilder(ProblemBuilder):
    """A problem of what the target says it takes: activations, losses, depths, widths."""

    def __init__(self, stream: Stream, wanted: Accepts, regime: str, dtype: str) -> None:
        self.stream, self.wanted = stream, wanted
        name = stream.choice(wanted.losses)
        self.where, self.dtype = ProblemCell("", name, regime, dtype), np.dtype(dtype)
        self.loss = LOSSES[name]
        self.target_kinds = wanted.targets(self.loss)
        self.batch = 1 if regime == "one sample" else 2 + stream.below(5)
        self.widths = wanted.widths or self._widths(1 + int(stream.choice(wanted.depths)))
        self.biases = [wanted.bias] * len(self.widths[1:])
        names = [stream.choice(wanted.activations) for _ in self.widths[2:]]
        names.append(stream.choice(wanted.outputs(self.loss)))
        self.activations = [(a, self._options(ACTIVATIONS[a].parameters)) for a in names]
        self.reduction = stream.choice(wanted.reductions)
        self.loss_parameters = self._options(self.loss.parameters)
        self.weighted = wanted.weights and stream.chance(3, 4)
        self.parameters, self.targets = {}, None
        self.fill(lattice=regime == "lattice")

    def _widths(self, count: int) -> list[int]:
        """Return sizes, neighbours all different and none the batch's, but for the special ones."""
        if self.where.regime == "one unit":
            return [1] * count
        if self.where.regime == "square":
            self.batch = 2 + self.stream.below(3)
            return [self.batch] * count
        found: list[int] = []
        for _ in range(count):
            free = [w for w in range(2, 8) if w != self.batch and w not in found[-1:]]
            found.append(self.stream.choice(free))
        return found

    def _options(self, known: Mapping[str, Any]) -> dict[str, float]:
        """Draw an operation's numbers: the default in half the cases.

        Targets are smoothed only where `parameters` was asked for: who writes a cross-entropy of
        labels means the plain one.
        """
        if not self.wanted.vary or self.stream.chance(1, 2):
            return {}
        left_out = {"ignore_index", *([] if self.wanted.vary_asked else ["label_smoothing"])}
        return {k: self.stream.choice(p.choices) for k, p in known.items() if k not in left_out}

    def draw_arrays(self) -> dict[str, FloatArray]:
        """Return a loss's array arguments: all, or only those that it cannot do without."""
        kept = {n for n, of in self.loss.arrays.items() if of == "entries" or self.wanted.arrays}
        return {k: v for k, v in super().draw_arrays().items() if k in kept}
