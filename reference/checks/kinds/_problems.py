"""What a function of a whole network `accepts`, and the networks that it is asked about.

Structure and values avoid hiding places (N ≥ 2, no two widths alike, biases that are not zero),
save for every fifth problem, which goes into one on purpose.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS, Problem
from manual_backprop.operation import InvalidInput, Loss, Operation, TargetKind
from reference.drawing.builder import ProblemBuilder, ProblemCell, Stream, outputs_for

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
        return outputs_for(loss.predictions)

    def targets(self, loss: Loss) -> Sequence[TargetKind]:
        """Return the kinds of targets that a loss may be given."""
        return [k for k in loss.targets if not self.kinds or k in self.kinds] or loss.targets

    def options(self, stream: Stream, operation: Operation) -> dict[str, float]:
        """Draw an operation's numbers: the default in half the cases.

        Targets are smoothed only where `parameters` was asked for: who writes a cross-entropy of
        labels means the plain one.
        """
        if not self.vary or stream.chance(1, 2):
            return {}
        return {
            name: float(stream.choice(parameter.choices))
            for name, parameter in operation.parameters.items()
            if name != "ignore_index" and (name != _SMOOTHING or self.vary_asked)
        }


def _listed(accepts: Mapping[str, object], key: str) -> tuple[Any, ...]:
    value = accepts[key]
    if isinstance(value, str | int):
        return (value,)
    if not isinstance(value, list | tuple | set | frozenset | range) or not value:
        raise InvalidInput(f"accepts: {key} = {value!r}: expected a list that is not empty")
    return tuple(value)


Regime = Literal["ordinary", "lattice", "one sample", "one unit", "square"]
_REGIMES: dict[int, Regime] = {
    1: "lattice", 4: "one sample", 6: "lattice", 9: "square", 12: "lattice", 14: "one unit",
}  # fmt: skip
"""Of each fifteen problems those that are not ordinary."""
_SMOOTHING = "label_smoothing"


def draw(wanted: Accepts, seed: int, index: int, ordinary: bool = False) -> Problem:
    """Draw a network of what the target takes, with its problem; every eighth is in float32.

    ordinary: without multiples of one half, which meet kinks.
    """
    stream = Stream(seed, index)
    regime = "ordinary" if ordinary else _REGIMES.get(index % 15, "ordinary")
    loss = LOSSES[stream.choice(wanted.losses)]
    last = stream.choice(wanted.outputs(loss))
    dtype = "float32" if index % 8 == 7 else "float64"
    made = ProblemBuilder(stream, ProblemCell(last, loss.name, regime, dtype))
    made.batch = 1 if regime == "one sample" else 2 + stream.below(3 if regime == "square" else 5)
    made.widths = wanted.widths or _widths(stream, regime, stream.choice(wanted.depths), made.batch)
    made.depth = len(made.widths) - 1
    names = [*(stream.choice(wanted.activations) for _ in made.widths[2:]), last]
    made.activations = [(name, wanted.options(stream, ACTIVATIONS[name])) for name in names]
    made.biases = [wanted.bias] * made.depth
    made.loss_parameters = wanted.options(stream, loss)
    made.reduction = stream.choice(wanted.reductions)
    made.weighted = wanted.weights and stream.chance(3, 4)
    made.fill(lattice=regime == "lattice")
    made.targets = made.draw_targets(stream.choice(wanted.targets(loss)), one_hot=False)
    problem = made.problem()
    if wanted.arrays:
        return problem
    needed = {name: a for name, a in problem.arrays.items() if loss.arrays[name] == "entries"}
    return replace(problem, arrays=needed)


def _widths(stream: Stream, regime: Regime, depth: int, batch: int) -> list[int]:
    """Return sizes, neighbours all different and none the batch's, but for the special ones."""
    if regime in ("one unit", "square"):
        return [1 if regime == "one unit" else batch] * (depth + 1)
    found: list[int] = []
    for _ in range(depth + 1):
        free = [w for w in range(2, 8) if w != batch and w not in found[-1:]]
        found.append(stream.choice(free))
    return found
