"""What a function of a whole network `accepts`, and the networks that it is asked about.

Structure and values avoid hiding places (N ≥ 2, no two widths alike, biases that are not zero),
save for every fifth problem, which goes into one on purpose.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS, Layer, Network, Problem, Reduction
from manual_backprop.operation import FloatArray, InvalidInput, Loss, Parameter, TargetKind
from reference.drawing.builder import fits
from reference.problems import in_dtype

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

    def targets(self, loss: Loss, rng: np.random.Generator) -> TargetKind:
        """Return the kind of targets to draw."""
        kinds = [k for k in loss.targets if not self.kinds or k in self.kinds]
        return cast(TargetKind, str(rng.choice(kinds or list(loss.targets))))


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
    """Draw a network with its problem; every eighth is in float32.

    ordinary: without multiples of one half, which meet kinks.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    regime = "ordinary" if ordinary else _REGIMES.get(index % 15, "ordinary")
    dtype = np.dtype(np.float32 if index % 8 == 7 else np.float64)
    return in_dtype(_Maker(rng, regime).network(wanted), dtype)


class _Maker:
    """Sizes and numbers of one problem."""

    def __init__(self, rng: np.random.Generator, regime: Regime) -> None:
        self.rng, self.regime = rng, regime
        self.batch = 1 if regime == "one sample" else 2 + int(rng.integers(5))

    def widths(self, count: int) -> list[int]:
        """Return sizes, neighbours all different and none the batch's, but for the special ones."""
        if self.regime == "one unit":
            return [1] * count
        if self.regime == "square":
            self.batch = 2 + int(self.rng.integers(3))
            return [self.batch] * count
        found: list[int] = []
        for _ in range(count):
            free = [w for w in range(2, 8) if w != self.batch and w not in found[-1:]]
            found.append(int(self.rng.choice(free)))
        return found

    def normal(self, *shape: int, scale: float = 1.0) -> FloatArray:
        """Return normal numbers, or multiples of one half where the regime is the lattice."""
        found = self.rng.standard_normal(shape)
        return np.rint(2 * found) / 2 if self.regime == "lattice" else found * scale

    def network(self, wanted: Accepts) -> Problem:
        """Draw a network of what the target says it takes: activations, losses, depths, widths."""
        widths = wanted.widths or self.widths(int(self.rng.choice(wanted.depths)) + 1)
        name = str(self.rng.choice(wanted.losses))
        operation = LOSSES[name]
        hidden = [str(self.rng.choice(wanted.activations)) for _ in widths[2:]]
        last = str(self.rng.choice(wanted.outputs(operation)))
        layers = tuple(
            Layer(w, a, self.options(ACTIVATIONS[a].parameters, wanted), wanted.bias)
            for w, a in zip(widths[1:], [*hidden, last], strict=True)
        )
        network = Network(
            widths[0],
            layers,
            name,
            self.options(operation.parameters, wanted),
            cast(Reduction, str(self.rng.choice(wanted.reductions))),
        )
        parameters: dict[str, FloatArray] = {}
        for key, shape in network.parameter_shapes().items():
            parameters[key] = self.normal(
                *shape, scale=shape[0] ** -0.5 if len(shape) == 2 else 0.5
            )
        weighted = wanted.weights and self.rng.random() < 0.75
        return Problem(
            network,
            parameters,
            self.normal(self.batch, widths[0]),
            self.targets(operation, widths[-1], wanted.targets(operation, self.rng)),
            np.exp(self.rng.standard_normal(self.batch) / 2) if weighted else None,
            self.arrays(operation, widths[-1], required=not wanted.arrays),
        )

    def options(self, known: Mapping[str, Parameter], wanted: Accepts) -> dict[str, float]:
        """Draw an operation's numbers: the default in half the cases.

        Targets are smoothed only where `parameters` was asked for: who writes a cross-entropy of
        labels means the plain one.
        """
        if not wanted.vary or self.rng.random() < 0.5:
            return {}
        return {
            k: float(self.rng.choice(p.choices))
            for k, p in known.items()
            if k != "ignore_index" and (k != _SMOOTHING or wanted.vary_asked)
        }

    def targets(self, operation: Loss, classes: int, kind: TargetKind) -> np.ndarray:
        """Return targets such as a loss takes."""
        shape = (self.batch, classes)
        match kind:
            case "real":
                return self.normal(*shape)
            case "unit":
                drawn = self.rng.random(shape)
                return np.asarray(np.rint(drawn) if self.rng.random() < 0.5 else drawn)
            case "sign":
                return np.where(self.rng.random(shape) < 0.5, -1.0, 1.0)
            case "count":
                return np.floor(6 * self.rng.random(shape))
            case "labels":
                return self.rng.integers(0, classes, self.batch)
            case _:
                e = np.exp(self.rng.standard_normal(shape))
                return np.asarray(e / e.sum(axis=1, keepdims=True))

    def arrays(self, operation: Loss, classes: int, *, required: bool) -> dict[str, FloatArray]:
        """Return a loss's array arguments: only those it cannot do without, where `required`."""
        sizes = {"classes": (classes,), "entries": (self.batch, classes)}
        return {
            name: np.exp(self.rng.standard_normal(sizes[extent]) / 2)
            for name, extent in operation.arrays.items()
            if extent == "entries" or not required
        }
