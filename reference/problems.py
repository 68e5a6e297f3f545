"""Draws problems. A problem is a pure function of (seed, index): any can be drawn alone.

The index decides the cell (activation, loss, regime, dtype), so that a run of whatever length
meets the cells evenly; a counter-based stream keyed by (seed, index) decides everything else.
Structure is drawn first, then the values, as their regime says.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from manual_backprop.second_order import variables
from manual_backprop.spec import FloatArray, InvalidInput
from reference.drawing.draft import LARGE, Cell, Draft, Stream
from reference.drawing.regimes import REGIMES
from reference.drawing.sampling import sampled

DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class DirectedProblem(Problem):
    """A problem with a direction: tangents of x and of every parameter, for second order."""

    direction: Mapping[str, FloatArray] = field(default_factory=dict)


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
            check_names(argument, given, valid)

    def index(self, position: int) -> int:
        """Return the index of the problem at `position` (0, 1, 2…) within this selection."""
        turns, rest = divmod(position, len(self._cells))
        return turns * number_of_cells() + self._cells[rest]

    def indices(self, count: int) -> Iterator[int]:
        """Return the first `count` indices of this selection."""
        return (self.index(position) for position in range(count))

    @cached_property
    def _cells(self) -> Sequence[int]:
        wanted = (self.activations, self.losses, self.regimes, self.dtypes)
        if not any(wanted):
            return range(number_of_cells())
        return [
            i
            for i in range(number_of_cells())
            if all(not names or part in names for part, names in zip(cell(i), wanted, strict=True))
        ]


def check_names(argument: str, given: Sequence[str], valid: Sequence[str]) -> None:
    """Raise InvalidInput unless every name is a known one; a single text is no list of names."""
    for name in [given] if isinstance(given, str) else given:
        if name not in valid:
            known = ", ".join(valid)
            raise InvalidInput(f"{argument}={name!r} is unknown; expected one of: {known}")
    if isinstance(given, str):
        raise InvalidInput(f"{argument}={given!r}: expected a tuple of names, as ({given!r},)")


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
        DTYPES[(dtype_turn + regime + turn) % len(DTYPES)],
    )


def check_seed(seed: int, name: str = "seed") -> None:
    """Raise InvalidInput unless the stream of a problem can be keyed by this number."""
    if type(seed) is not int or not 0 <= seed < 2**64:
        raise InvalidInput(f"{name}={seed!r}: expected an integer from 0 to 2**64 − 1")


def draw(seed: int, index: int, order: int = 1) -> Drawn:
    """Draw the problem at (seed, index); at order 2 the same one, with a direction.

    At order 2 none is large: JAX takes seconds to compile for the shapes of each.
    """
    check_seed(seed)
    check_seed(index, "index")
    where = cell(index)
    stream = Stream(seed, index)
    draft = Draft(stream, where, large=order == 1 and is_large(seed, index))
    REGIMES[where.regime](draft)
    problem = draft.problem()
    if order == 2:
        direction = _direction(Stream(seed ^ _DIRECTIONS, index), problem)
        problem = DirectedProblem(**vars(problem), direction=direction)
    return Drawn(problem, seed, index, where)


_DIRECTIONS = 0x5EC0ED
"""Sets the stream of the directions apart from that of the problems."""


def _direction(stream: Stream, problem: Problem) -> dict[str, FloatArray]:
    """Draw a direction: normal numbers on a grid of 1/256, in one case of four of one name alone.

    Then what is not named has tangents of zero, as for a column of the Hessian.
    """
    given = variables(problem)
    alone = stream.choice(sorted(given)) if stream.chance(1, 4) else None
    return {
        name: (np.rint(stream.normal(*value.shape) * 256) / 256 * (alone in (None, name))).astype(
            problem.dtype
        )
        for name, value in given.items()
    }


def is_large(seed: int, index: int) -> bool:
    """Say whether the network at (seed, index) is one of those drawn larger."""
    return sampled(seed, index, LARGE, salt=2)


_MOST_DIGITS = 40  # of a number below 2^64, with room for zeros in front


def parse_address(address: str) -> tuple[int, int]:
    """Return (seed, index) from "SEED:INDEX"."""
    seed, separator, index = address.partition(":")
    if (
        not (
            separator and seed.isascii() and seed.isdigit() and index.isascii() and index.isdigit()
        )
        or max(len(seed), len(index)) > _MOST_DIGITS
    ):
        raise InvalidInput(f"address={address!r}: expected SEED:INDEX, two whole numbers, as 0:17")
    return int(seed), int(index)


def arrays_of(problem: Problem) -> dict[str, npt.NDArray[Any]]:
    """Return every array that the problem consists of."""
    arrays = {"x": problem.x, **problem.parameters, "targets": problem.targets}
    if problem.weights is not None:
        arrays["weights"] = problem.weights
    if isinstance(problem, DirectedProblem):
        arrays |= {f"direction of {name}": value for name, value in problem.direction.items()}
    return {**arrays, **problem.arrays}


def with_arrays(
    problem: Problem, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> Problem:
    """Return the problem with each of its arrays changed."""
    return replace(
        problem,
        parameters={name: change(value) for name, value in problem.parameters.items()},
        x=change(problem.x),
        targets=change(problem.targets),
        weights=None if problem.weights is None else change(problem.weights),
        arrays={name: change(value) for name, value in problem.arrays.items()},
    )


def in_dtype(problem: Problem, dtype: npt.DTypeLike) -> Problem:
    """Return the same problem in another floating type; labels stay as they are."""
    return with_arrays(problem, lambda a: a.astype(dtype) if a.dtype.kind == "f" else a)
