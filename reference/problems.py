"""Draws problems. A problem is a pure function of (seed, index): any can be drawn alone.

The index decides the cell (activation, loss, regime, dtype), so that a run of whatever length
meets the cells evenly; a counter-based stream keyed by (seed, index) decides everything else.
Structure is drawn first, then the values, as their regime says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS, Layer, Network, Problem, forward
from manual_backprop.spec import Domain, FloatArray, InvalidInput, Loss, Operation
from reference.kinks import kinks

DTYPES = ("float64", "float32")
MAX_DEPTH, MAX_WIDTH, MAX_BATCH = 4, 8, 8


class Cell(NamedTuple):
    """What the index alone decides."""

    activation: str
    loss: str
    regime: str
    dtype: str


@dataclass(frozen=True)
class Drawn:
    """A problem and where it came from."""

    problem: Problem
    seed: int
    index: int
    cell: Cell

    @property
    def at(self) -> str:
        """The address that draws it again."""
        return f"{self.seed}:{self.index}"


@dataclass(frozen=True)
class Selection:
    """The cells a run is restricted to; an empty tuple means all."""

    activations: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {
            "activation": (self.activations, tuple(ACTIVATIONS)),
            "loss": (self.losses, tuple(LOSSES)),
            "regime": (self.regimes, tuple(REGIMES)),
            "dtype": (self.dtypes, DTYPES),
        }
        for argument, (given, valid) in known.items():
            for name in given:
                if name not in valid:
                    raise InvalidInput(
                        f"{argument}={name!r} is unknown; expected one of: {', '.join(valid)}"
                    )

    def index(self, position: int) -> int:
        """Return the index of the problem at `position` (0, 1, 2…) within this selection."""
        turns, rest = divmod(position, len(self._cells))
        return turns * number_of_cells() + self._cells[rest]

    def indices(self, count: int) -> Iterator[int]:
        """Return the first `count` indices of this selection."""
        return (self.index(position) for position in range(count))

    @cached_property
    def _cells(self) -> list[int]:
        wanted = (self.activations, self.losses, self.regimes, self.dtypes)
        return [
            i
            for i in range(number_of_cells())
            if all(not names or part in names for part, names in zip(cell(i), wanted, strict=True))
        ]


def number_of_cells() -> int:
    """Return how many cells there are; index and index + this share their cell."""
    return len(ACTIVATIONS) * len(LOSSES) * len(REGIMES) * len(DTYPES)


def cell(index: int) -> Cell:
    """Return the cell of an index. Neighbours differ; a whole turn meets each cell once."""
    activations, losses, regimes = list(ACTIVATIONS), list(LOSSES), list(REGIMES)
    block, pair = divmod(index % number_of_cells(), len(activations) * len(losses))
    turn, a = divmod(pair, len(activations))
    # For a fixed pair, block -> (regime, dtype) is one to one; so is turn -> loss for a fixed a.
    dtype_turn, regime = divmod(block, len(regimes))
    return Cell(
        activations[a],
        losses[(turn + a) % len(losses)],
        regimes[(regime + pair) % len(regimes)],
        DTYPES[(dtype_turn + pair) % len(DTYPES)],
    )


def draw(seed: int, index: int) -> Drawn:
    """Draw the problem at (seed, index)."""
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value < 2**64:
            raise InvalidInput(f"{name}={value}: expected an integer from 0 to 2**64 − 1")
    where = cell(index)
    stream = Stream(seed, index)
    draft = Draft(stream, where)
    REGIMES[where.regime](draft)
    return Drawn(draft.problem(), seed, index, where)


def parse_address(address: str) -> tuple[int, int]:
    """Return (seed, index) from "SEED:INDEX"."""
    seed, separator, index = address.partition(":")
    if not (
        separator and seed.isascii() and seed.isdigit() and index.isascii() and index.isdigit()
    ):
        raise InvalidInput(f"address={address!r}: expected SEED:INDEX, two whole numbers, as 0:17")
    return int(seed), int(index)


def arrays_of(problem: Problem) -> dict[str, npt.NDArray[Any]]:
    """Return every array that the problem consists of."""
    arrays = {"x": problem.x, **problem.parameters, "targets": problem.targets}
    if problem.weights is not None:
        arrays["weights"] = problem.weights
    return {**arrays, **problem.arrays}


class Stream:
    """The random numbers of one problem: Philox keyed by (seed, index)."""

    def __init__(self, seed: int, index: int) -> None:
        self.generator = np.random.Generator(
            np.random.Philox(key=np.array([seed, index], np.uint64))
        )
        # Structure needs some dozens of small whole numbers; one call is cheaper than dozens.
        self._words: list[int] = self.generator.integers(0, 2**32, 64, np.uint64).tolist()

    def below(self, n: int) -> int:
        """Return a whole number from 0 to n − 1."""
        if not self._words:
            self._words = self.generator.integers(0, 2**32, 64, np.uint64).tolist()
        return self._words.pop() * n >> 32

    def chance(self, numerator: int, denominator: int) -> bool:
        """Return True in `numerator` of `denominator` cases."""
        return self.below(denominator) < numerator

    def choice(self, options: Any) -> Any:
        """Return one of a sequence."""
        return options[self.below(len(options))]

    def normal(self, *shape: int) -> npt.NDArray[np.float64]:
        """Return independent standard normal numbers."""
        return self.generator.standard_normal(shape)


class Draft:
    """A problem in the making: the structure stands; a regime sets the values."""

    def __init__(self, stream: Stream, where: Cell) -> None:
        self.stream, self.where = stream, where
        self.dtype = np.dtype(where.dtype)
        self.loss: Loss = LOSSES[where.loss]
        self.depth = 1 + stream.below(MAX_DEPTH)
        self.place = self._place_of_the_activation()
        self.batch = 2 + stream.below(MAX_BATCH - 1)
        self.widths = [2 + stream.below(MAX_WIDTH - 1)]
        for _ in range(self.depth):  # no two neighbours alike: a transposed weight would not fit
            step = 1 + stream.below(MAX_WIDTH - 2)
            self.widths.append(2 + (self.widths[-1] - 2 + step) % (MAX_WIDTH - 1))
        self.biases = [not stream.chance(1, 8) for _ in range(self.depth)]
        self.activations = self._activations()
        self.reduction = stream.choice(REDUCTIONS)
        self.loss_parameters = _drawn_parameters(stream, self.loss)
        self.weighted = not stream.chance(1, 4)
        self.parameters: dict[str, npt.NDArray[np.float64]] = {}
        self.x: npt.NDArray[np.float64] = np.empty(0)
        self.targets: npt.NDArray[Any] | None = None

    def _place_of_the_activation(self) -> int:
        """Choose the layer of the cell's activation: the output only where the loss takes it."""
        at_output = fits(ACTIVATIONS[self.where.activation].range, self.loss.predictions)
        if not at_output:
            self.depth = max(2, self.depth)
        return self.stream.below(self.depth if at_output else self.depth - 1)

    def _activations(self) -> list[tuple[str, dict[str, float]]]:
        """Choose the other activations: any where hidden, what the loss takes at the end."""
        hidden = _hidden()
        last = outputs_for(self.loss.predictions)
        names = [self.stream.choice(hidden) for _ in range(self.depth - 1)]
        plain = "identity" in last and self.stream.chance(2, 3)
        names.append("identity" if plain else self.stream.choice(last))
        names[self.place] = self.where.activation
        return [(name, _drawn_parameters(self.stream, ACTIVATIONS[name])) for name in names]

    # -- values -----------------------------------------------------------------------------

    def fill(
        self, weight: float = 1.0, bias: float = 0.5, x: float = 1.0, *, lattice: bool = False
    ) -> None:
        """Set parameters and x: normal numbers at the given scales, weights over √D_in.

        On the lattice everything is a multiple of one half, so sums are exact in any order.
        """
        for i, (d_in, d_out) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            w = self.stream.normal(d_in, d_out)
            self.parameters[f"layers.{i}.weight"] = (
                np.rint(2 * w) / 2 if lattice else w * (weight / d_in**0.5)
            )
            if self.biases[i]:
                b = self.stream.normal(d_out)
                self.parameters[f"layers.{i}.bias"] = np.rint(2 * b) / 2 if lattice else b * bias
        rows = self.stream.normal(self.batch, self.widths[0])
        self.x = np.rint(2 * rows) / 2 if lattice else rows * x

    def draw_targets(self) -> npt.NDArray[Any]:
        """Return targets of a kind that the loss takes."""
        stream, shape = self.stream, (self.batch, self.widths[-1])
        match stream.choice(self.loss.targets):
            case "real":
                targets = stream.normal(*shape)
                if self.where.regime == "lattice":
                    targets = np.rint(2 * targets) / 2
            case "unit":
                targets = stream.generator.random(shape)
                if stream.chance(1, 2):
                    targets = np.rint(targets)
            case "sign":
                targets = np.where(stream.generator.random(shape) < 0.5, -1.0, 1.0)
            case "count":
                targets = np.floor(6 * stream.generator.random(shape))
            case "labels":
                labels = stream.generator.integers(0, shape[1], shape[0])
                if "ignore_index" in self.loss_parameters and stream.chance(1, 4):
                    labels[stream.below(shape[0])] = int(self.loss_parameters["ignore_index"])
                return labels
            case _:
                targets = np.exp(stream.normal(*shape))
                if stream.chance(1, 4):  # one-hot rows hold exact zeros
                    targets = (targets == targets.max(axis=1, keepdims=True)).astype(np.float64)
                targets /= targets.sum(axis=1, keepdims=True)
        return targets.astype(self.dtype)

    def draw_arrays(self) -> dict[str, FloatArray]:
        """Return the loss's array arguments: positive numbers, for each class or each entry."""
        arrays: dict[str, FloatArray] = {}
        for name, extent in self.loss.arrays.items():
            per_class = extent == "classes"
            shape = (self.widths[-1],) if per_class else (self.batch, self.widths[-1])
            if not per_class or self.stream.chance(1, 2):  # class weights may be left out
                arrays[name] = np.exp(self.stream.normal(*shape) / 2).astype(self.dtype)
        return arrays

    def network(self) -> Network:
        """Return the structure."""
        layers = tuple(
            Layer(width, name, parameters, bias)
            for width, (name, parameters), bias in zip(
                self.widths[1:], self.activations, self.biases, strict=True
            )
        )
        return Network(self.widths[0], layers, self.loss.name, self.loss_parameters, self.reduction)

    def problem(self) -> Problem:
        """Return the finished problem, every float in the cell's dtype."""
        weights = np.exp(self.stream.normal(self.batch) / 2) if self.weighted else None
        return Problem(
            network=self.network(),
            parameters={k: v.astype(self.dtype) for k, v in self.parameters.items()},
            x=self.x.astype(self.dtype),
            targets=self.draw_targets() if self.targets is None else self.targets,
            weights=None if weights is None else weights.astype(self.dtype),
            arrays=self.draw_arrays(),
        )


# -- regimes: one function each ---------------------------------------------------------------


def _ordinary(draft: Draft) -> None:
    """Numbers of the size that networks have."""
    draft.fill()


def _lattice(draft: Draft) -> None:
    """Small integers and halves: pre-activations land on kinks and ties."""
    draft.fill(lattice=True)


def _kink(draft: Draft) -> None:
    """One pre-activation is a kink or one float beside it; if all is smooth, aim the loss."""
    draft.biases[draft.place] = True
    draft.fill(lattice=draft.place == 0)
    name, parameters = draft.activations[draft.place]
    found = kinks(name, tuple(sorted(parameters.items())))
    if not found:
        _aim_the_loss(draft)
        return
    stream = draft.stream
    unit = stream.below(draft.widths[draft.place + 1])
    aim = draft.dtype.type(stream.choice(found))
    if stream.chance(1, 3):
        towards = draft.dtype.type(stream.choice((-np.inf, np.inf)))
        aim = np.nextafter(aim, towards)
    weight = draft.parameters[f"layers.{draft.place}.weight"]
    bias = draft.parameters[f"layers.{draft.place}.bias"]
    if draft.place == 0 and stream.chance(1, 2):  # one sample sits on the kink, by an exact sum
        bias[unit] = float(aim) - draft.x[stream.below(draft.batch)] @ weight[:, unit]
    else:  # every sample does: the bias alone is what arrives
        weight[:, unit] = 0
        bias[unit] = float(aim)


def _aim_the_loss(draft: Draft) -> None:
    """Put one real target on the prediction, where losses of a difference have their kink."""
    if draft.loss.targets != ("real",):
        return
    targets = draft.draw_targets()
    draft.targets = targets
    with np.errstate(all="ignore"):
        prediction = forward(draft.problem()).steps[f"layers.{draft.depth - 1}.a"]
    entry = (draft.stream.below(draft.batch), draft.stream.below(draft.widths[-1]))
    if np.isfinite(prediction[entry]):
        targets[entry] = prediction[entry]


def _saturated(draft: Draft) -> None:
    """Weights so large that sigmoids, tanh and softmax sit at their ends."""
    draft.fill(weight=10.0 ** (1 + draft.stream.below(3)), bias=5.0)


def _tiny(draft: Draft) -> None:
    """Everything small, far above the subnormal range."""
    draft.fill(weight=_power(draft, -20), bias=_power(draft, -20), x=_power(draft, -20))


def _huge(draft: Draft) -> None:
    """Inputs or weights large enough that products near or pass the end of the range."""
    draft.fill(weight=_power(draft, 20), bias=1.0, x=_power(draft, 20))


def _power(draft: Draft, exponent: int) -> float:
    """Return 2^e, e between 1 and `exponent` in float32, five times that in float64."""
    reach = exponent * (1 if draft.dtype == np.float32 else 5)
    e = 1 + draft.stream.below(abs(reach))
    return 2.0 ** (e if reach > 0 else -e)


def _subnormal(draft: Draft) -> None:
    """Inputs below the normal range: flushing to zero shows here."""
    draft.fill(x=float(np.finfo(draft.dtype).tiny) * 2.0 ** -draft.stream.below(12), bias=0.0)


def _ill_conditioned(draft: Draft) -> None:
    """Nearly parallel columns, and inputs whose large parts cancel in every sum."""
    draft.fill()
    unit = float(np.finfo(draft.dtype).eps)
    nearness = unit ** (0.25 + 0.5 * draft.stream.below(3) / 2)
    for name, weight in draft.parameters.items():
        if name.endswith("weight"):
            weight[:] = weight[:, :1] * np.sign(weight) + nearness * weight
    first = draft.parameters["layers.0.weight"]
    draft.x[:, 1] = -draft.x[:, 0] * (1 + nearness * draft.x[:, 1])
    first[1] = first[0] * (1 + nearness)
    draft.x[:, :2] *= nearness**-0.5


def _repeated_rows(draft: Draft) -> None:
    """Samples alike: a sum over the batch that forgets one still differs, a mean may not."""
    draft.fill()
    draft.x[:] = draft.x[draft.stream.below(draft.batch)]


def _special(draft: Draft) -> None:
    """Where bugs hide or show: one sample, one unit, square, symmetric, diagonal, no bias."""
    shape = draft.stream.choice(
        ("one sample", "one unit", "square", "symmetric", "diagonal", "zero")
    )
    width = 2 + draft.stream.below(4)
    if shape == "one sample":
        draft.batch = 1
    elif shape == "one unit":
        draft.widths = [1] * len(draft.widths)
    elif shape in ("square", "symmetric", "diagonal"):
        draft.widths, draft.batch = [width] * len(draft.widths), width
    draft.fill()
    for name, value in draft.parameters.items():
        if shape == "symmetric" and name.endswith("weight"):
            value += value.T.copy()
        if shape == "diagonal" and name.endswith("weight"):
            value *= np.eye(width)
        if shape == "zero" and name.endswith("bias"):
            value *= 0


REGIMES: dict[str, Callable[[Draft], None]] = {
    "ordinary": _ordinary,
    "lattice": _lattice,
    "kink": _kink,
    "saturated": _saturated,
    "tiny": _tiny,
    "huge": _huge,
    "subnormal": _subnormal,
    "ill_conditioned": _ill_conditioned,
    "repeated_rows": _repeated_rows,
    "special": _special,
}


def fits(range_: Domain, predictions: Domain) -> bool:
    """Say whether values in `range_` are what a loss with this prediction domain takes."""
    accepted: dict[Domain, set[Domain]] = {
        "real": {"real", "unit", "simplex", "log_simplex"},
        "unit": {"unit", "simplex"},
        "simplex": {"simplex"},
        "log_simplex": {"log_simplex"},
    }
    return range_ in accepted[predictions]


@cache
def outputs_for(predictions: Domain) -> list[str]:
    """Return the activations whose range a loss with this prediction domain takes."""
    return [name for name, a in ACTIVATIONS.items() if fits(a.range, predictions)]


@cache
def _hidden() -> list[str]:
    return list(ACTIVATIONS)


def _drawn_parameters(stream: Stream, operation: Operation) -> dict[str, float]:
    """Draw an operation's parameters: the default in half the cases."""
    if not operation.parameters or stream.chance(1, 2):
        return operation.defaults()
    return {name: stream.choice(p.choices) for name, p in operation.parameters.items()}
