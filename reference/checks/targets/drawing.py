"""Draws the problems that a recognised target is checked on: a pure function of (seed, index).

Structure and values avoid hiding places (N ≥ 2, no two widths alike, cotangents that differ, biases
that are not zero), save for every fifth problem, which goes into one on purpose.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS, Layer, Network, Problem, Reduction
from manual_backprop.spec import Domain, FloatArray, InvalidInput, Loss, TargetKind
from reference.drawing.draft import fits
from reference.problems import in_dtype

Regime = Literal["ordinary", "lattice", "one sample", "one unit", "square"]
_REGIMES: tuple[Regime, ...] = (
    "ordinary", "lattice", "ordinary", "ordinary", "one sample",
    "ordinary", "lattice", "ordinary", "ordinary", "square",
    "ordinary", "ordinary", "lattice", "ordinary", "one unit",
)  # fmt: skip


def draw(part: Mapping[str, Any], seed: int, index: int, reduction: str = "mean",
         targets: TargetKind | None = None) -> Problem:  # fmt: skip
    """Draw one problem for a recognised part; every eighth is in float32."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    regime = _REGIMES[index % len(_REGIMES)]
    dtype = np.dtype(np.float32 if index % 8 == 7 else np.float64)
    maker = _Maker(rng, regime)
    match part["kind"]:
        case "activation":
            problem = maker.activation(part["operation"], part["parameters"])
        case "dense":
            problem = maker.dense()
        case "loss":
            problem = maker.loss(part["operation"], part["parameters"], reduction, targets)
        case _:
            problem = maker.network(part["accepts"])
    return in_dtype(problem, dtype)


def takes(accepts: Mapping[str, Any], problem: Problem) -> bool:
    """Say whether a whole network's function was written for a problem, by its `accepts`."""
    wanted, network = Accepts(accepts), problem.network
    return (
        network.reduction in wanted.reductions
        and network.loss in wanted.losses
        and ("depths" not in accepts or len(network.layers) in wanted.depths)
        and (not wanted.widths or list(network.widths) == wanted.widths)
        and all(layer.activation in wanted.activations for layer in network.layers[:-1])
        and network.layers[-1].activation in wanted.outputs(network.loss_operation)
    )


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
        values = self.rng.standard_normal(shape)
        return np.rint(2 * values) / 2 if self.regime == "lattice" else values * scale

    def activation(self, name: str, parameters: Mapping[str, float]) -> Problem:
        """An activation behind a unit weight, with a cotangent of eighths given exactly.

        The loss kl_div has the derivative −t, whatever it is given: t and the sample weights, of
        either sign, make the cotangent.
        """
        (width,) = self.widths(1)
        layer = Layer(width, name, parameters, bias=False)
        weight: dict[str, FloatArray] = {"layers.0.weight": np.eye(width)}
        return self._with_cotangent(layer, width, weight, self.normal(self.batch, width, scale=1.5))

    def dense(self) -> Problem:
        """A dense layer alone, with a cotangent given."""
        d_in, d_out = self.widths(2)
        parameters = {
            "layers.0.weight": self.normal(d_in, d_out),
            "layers.0.bias": self.normal(d_out),
        }
        return self._with_cotangent(Layer(d_out), d_in, parameters, self.normal(self.batch, d_in))

    def _with_cotangent(
        self, layer: Layer, d_in: int, parameters: dict[str, FloatArray], x: FloatArray
    ) -> Problem:
        network = Network(d_in, (layer,), "kl_div", {}, "sum")
        t = self.rng.permutation(np.arange(1, 1 + self.batch * layer.width)) / 8
        weights = self.rng.choice([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0], self.batch)
        return Problem(network, parameters, x, t.reshape(self.batch, layer.width), weights)

    def loss(
        self, name: str, parameters: Mapping[str, float], reduction: str, kind: TargetKind | None
    ) -> Problem:
        """A loss behind a unit weight."""
        (classes,) = self.widths(1)
        operation = LOSSES[name]
        network = Network(
            classes, (Layer(classes, bias=False),), name, parameters, cast(Reduction, reduction)
        )
        x = self.predictions(operation.predictions, classes)
        targets = self.targets(operation, classes, kind)
        return Problem(network, {"layers.0.weight": np.eye(classes)}, x, targets,
                       None, self.arrays(operation, classes, required=True))  # fmt: skip

    def predictions(self, domain: Domain, classes: int) -> FloatArray:
        """Return predictions such as a loss takes."""
        z = self.normal(self.batch, classes)
        e = np.exp(z)
        rows = e / e.sum(axis=1, keepdims=True)
        found: dict[Domain, FloatArray] = {"real": z, "unit": 1 / (1 + np.exp(-z)), "simplex": rows,
                "log_simplex": np.log(rows)}  # fmt: skip
        return found[domain]

    def targets(
        self, operation: Loss, classes: int, kind: TargetKind | None = None
    ) -> npt.NDArray[Any]:
        """Return targets such as a loss takes."""
        shape = (self.batch, classes)
        match kind or operation.targets[int(self.rng.integers(len(operation.targets)))]:
            case "real":
                return self.normal(*shape)
            case "unit":
                values = self.rng.random(shape)
                return np.asarray(np.rint(values) if self.rng.random() < 0.5 else values)
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

    def network(self, accepts: Mapping[str, Any]) -> Problem:
        """A network of what the target says it takes: activations, losses, depths, widths."""
        wanted = Accepts(accepts)
        depth = int(self.rng.choice(wanted.depths))
        widths = wanted.widths or self.widths(depth + 1)
        depth = len(widths) - 1
        name = str(self.rng.choice(wanted.losses))
        operation = LOSSES[name]
        hidden = [str(self.rng.choice(wanted.activations)) for _ in range(depth - 1)]
        last = str(self.rng.choice(wanted.outputs(operation)))
        layers = tuple(
            Layer(w, a, self.parameters(ACTIVATIONS[a].parameters, wanted), wanted.bias)
            for w, a in zip(widths[1:], [*hidden, last], strict=True)
        )
        network = Network(
            widths[0], layers, name, self.parameters(operation.parameters, wanted),
            cast(Reduction, str(self.rng.choice(wanted.reductions))),
        )  # fmt: skip
        parameters: dict[str, FloatArray] = {}
        for key, shape in network.parameter_shapes().items():
            scale = shape[0] ** -0.5 if len(shape) == 2 else 0.5
            parameters[key] = self.normal(*shape, scale=scale)
        weighted = accepts.get("weights") and self.rng.random() < 0.75
        return Problem(
            network, parameters, self.normal(self.batch, widths[0]),
            self.targets(operation, widths[-1], wanted.targets(operation, self.rng)),
            np.exp(self.rng.standard_normal(self.batch) / 2) if weighted else None,
            self.arrays(operation, widths[-1], required=not accepts.get("arrays")),
        )  # fmt: skip

    def parameters(self, all_of_it: Mapping[str, Any], wanted: "Accepts") -> dict[str, float]:
        """Draw an operation's parameters: the default in half the cases."""
        if not wanted.vary or self.rng.random() < 0.5:
            return {}
        return {k: float(self.rng.choice(p.choices)) for k, p in all_of_it.items()
                if k != "ignore_index"}  # fmt: skip


def check_accepts(accepts: Any) -> None:
    """Refuse an `accepts` that means nothing, naming the entry."""
    Accepts(accepts)


class Accepts:
    """What a target says it takes, in `accepts`; what is not said is all.

    A whole network's function may say all of it; of a loss the targets and reductions are read.
    """

    _KNOWN = frozenset({"activations", "output", "losses", "reductions", "depths", "widths", "bias",
                        "targets", "weights", "arrays", "parameters", "reduction"})  # fmt: skip

    def __init__(self, accepts: Mapping[str, Any]) -> None:
        if not isinstance(accepts, Mapping):
            raise InvalidInput(f"accepts = {accepts!r}: expected a dict")
        for key in accepts:
            if key not in self._KNOWN:
                raise InvalidInput(f"accepts: {key!r}; expected {', '.join(sorted(self._KNOWN))}")
        self.output = _listed(accepts, "output", ())
        self.activations = _listed(accepts, "activations", tuple(ACTIVATIONS))
        self.losses = _listed(accepts, "losses", ())
        self.wanted_reductions = _listed(accepts, "reductions", _listed(accepts, "reduction", ()))
        self.reductions = self.wanted_reductions or REDUCTIONS[1:]
        self.depths = _listed(accepts, "depths", (1, 2, 3))
        self.widths = list(_listed(accepts, "widths", ()))
        for key in ("bias", "parameters", "weights", "arrays"):
            if not isinstance(accepts.get(key, True), bool):
                raise InvalidInput(f"accepts: {key} = {accepts[key]!r}: expected True or False")
        self.bias, self.vary = accepts.get("bias", True), accepts.get("parameters", True)
        self.kinds = _listed(accepts, "targets", ())
        if not self.losses:  # gaussian_nll takes an array more: only who asks for it gets it
            self.losses = tuple(n for n, loss in LOSSES.items()
                                if "entries" not in loss.arrays.values())  # fmt: skip
        self._check("activations", self.activations, ACTIVATIONS)
        self._check("output", self.output, ACTIVATIONS)
        self._check("losses", self.losses, LOSSES)
        self._check("reductions", self.reductions, REDUCTIONS)
        self._check("targets", self.kinds, get_args(TargetKind))
        for key, sizes in (("depths", self.depths), ("widths", tuple(self.widths))):
            if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes):
                raise InvalidInput(f"accepts: {key} = {accepts[key]!r}: expected whole numbers > 0")
        if "widths" in accepts and len(self.widths) < 2:
            raise InvalidInput(f"accepts: widths = {self.widths}: expected two of them at least")

    @staticmethod
    def _check(key: str, names: Sequence[Any], known: Iterable[str]) -> None:
        for name in names:
            if name not in [*known]:
                raise InvalidInput(f"accepts: {key}: {name!r}; expected one of {', '.join(known)}")

    def outputs(self, loss: Loss) -> list[str]:
        """Return the activations that may stand before a loss."""
        if self.output:
            return [str(name) for name in self.output]
        return [n for n in ACTIVATIONS if fits(ACTIVATIONS[n].range, loss.predictions)]

    def targets(self, loss: Loss, rng: np.random.Generator) -> TargetKind:
        """Return the kind of targets to draw."""
        kinds = [k for k in loss.targets if not self.kinds or k in self.kinds]
        return cast(TargetKind, str(rng.choice(kinds or list(loss.targets))))


def _listed(accepts: Mapping[str, Any], key: str, default: Sequence[Any]) -> tuple[Any, ...]:
    value = accepts.get(key, default)
    if isinstance(value, str | int):
        return (value,)
    listed = isinstance(value, list | tuple | set | frozenset | range)
    if not listed or (key in accepts and not value):
        raise InvalidInput(f"accepts: {key} = {value!r}: expected a list that is not empty")
    return tuple(value)
