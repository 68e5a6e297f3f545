"""What a function of a whole network `accepts`, and the networks that it is asked about.

Structure and values avoid hiding places (N ≥ 2, no two widths alike, biases that are not zero),
save for every fifth problem, which goes into one on purpose.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS, Problem
from manual_backprop.operation import FloatArray, InvalidInput, Loss, TargetKind
from reference.drawing.builder import ProblemBuilder, ProblemCell, Stream, fits

_NAMES: Mapping[str, Iterable[str]] = {
    "activations": ACTIVATIONS,
    "output": ACTIVATIONS,
    "losses": LOSSES,
    "reductions": REDUCTIONS,
    "targets": get_args(TargetKind),
}
_SIZES = ("depths", "widths")
_FLAGS = ("bias", "parameters", "weights", "arrays")


class Accepts:
    """An `accepts`, checked: what means nothing is refused by name (InvalidInput).

    activations, output, losses, reductions, targets: names; depths, widths: whole numbers;
    bias, parameters, weights, arrays: True or False.
    """

    def __init__(self, accepts: Mapping[str, Any]) -> None:
        if not isinstance(accepts, Mapping):
            raise InvalidInput(f"accepts = {accepts!r}: expected a dict")
        known = sorted((*_NAMES, "reduction", *_SIZES, *_FLAGS))
        for key in accepts:
            if key not in known:
                raise InvalidInput(f"accepts: {key!r}; expected {', '.join(known)}")
        given = {key: _listed(accepts, key) for key in accepts if key not in _FLAGS}
        given.setdefault("reductions", given.get("reduction", REDUCTIONS[1:]))
        for key in _FLAGS:
            if not isinstance(accepts.get(key, True), bool):
                raise InvalidInput(f"accepts: {key} = {accepts[key]!r}: expected True or False")
        for key, names in _NAMES.items():
            for name in given.get(key, ()):
                if name not in [*names]:
                    expected = ", ".join(names)
                    raise InvalidInput(f"accepts: {key}: {name!r}; expected one of {expected}")
        for key in _SIZES:
            if not all(type(n) is int and n > 0 for n in given.get(key, ())):
                raise InvalidInput(f"accepts: {key} = {accepts[key]!r}: expected whole numbers > 0")
        self.output, self.kinds = given.get("output", ()), given.get("targets", ())
        self.activations = given.get("activations", tuple(ACTIVATIONS))
        self.reductions = given["reductions"]
        self.depths, self.widths = given.get("depths", (1, 2, 3)), list(given.get("widths", ()))
        if "widths" in accepts and len(self.widths) < 2:
            raise InvalidInput(f"accepts: widths = {self.widths}: expected two of them at least")
        self.bias, self.vary = accepts.get("bias", True), accepts.get("parameters", True)
        self.vary_asked = accepts.get("parameters") is True
        self.weights, self.arrays = accepts.get("weights", False), accepts.get("arrays", False)
        # gaussian_nll takes an array more: only who asks for it gets it
        plain = (n for n, loss in LOSSES.items() if "entries" not in loss.arrays.values())
        self.losses = given.get("losses", tuple(plain))

    def outputs(self, loss: Loss) -> list[str]:
        """Return the activations that may stand before a loss."""
        if self.output:
            return [str(name) for name in self.output]
        return [n for n in ACTIVATIONS if fits(ACTIVATIONS[n].range, loss.predictions)]

    def targets(self, loss: Loss) -> tuple[TargetKind, ...]:
        """Return the kinds of targets that may be drawn."""
        return tuple(k for k in loss.targets if k in self.kinds) or loss.targets


def _listed(accepts: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    value = accepts[key]
    if isinstance(value, str | int):
        return (value,)
    if not isinstance(value, list | tuple | set | frozenset | range) or not value:
        raise InvalidInput(f"accepts: {key} = {value!r}: expected a list that is not empty")
    return tuple(value)


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
