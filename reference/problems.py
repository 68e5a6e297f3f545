"""Draws problems. A problem is a pure function of (seed, index): any can be drawn alone.

Indices from `GRAPHS` to twice that are graphs (`drawing.graphs`), all others are chains of dense
layers; an address shows which: 0:17 and 0:g17. Twice `GRAPHS` further on
are the same problems in bfloat16, 0:b17 and 0:bg17, then those in float16, 0:h17 and 0:hg17. The
rest of this text is about chains.

The index decides the cell (activation, loss, regime, dtype), so that a run of any length has all
cells equally often; a counter-based stream keyed by (seed, index) decides everything else.
Structure is drawn first, then the values, as their regime says.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import GraphProblem
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from manual_backprop.operation import FloatArray, InvalidInput, is_float
from manual_backprop.second_order import variables
from reference.drawing.builder import LARGE, ProblemBuilder, ProblemCell, Stream, sampled
from reference.drawing.graphs import ARCHITECTURES, cell_of_graph, draw_graph
from reference.drawing.regimes import REGIMES
from reference.formats import DTYPES, FORMATS, LOW, Array, format_of, inside

GRAPHS = 10**15
"""The index of the first graph: beyond what any run of dense chains reaches."""


def is_graph(index: int) -> bool:
    """Say whether an index is that of a graph."""
    return GRAPHS <= lowered(index)[1] < 2 * GRAPHS


def lowered(index: int) -> tuple[str, int]:
    """Return the low dtype that an index is of, or "", and the index of the same problem else."""
    times, rest = divmod(index, 2 * GRAPHS)
    return (LOW[times - 1], rest) if 1 <= times <= len(LOW) else ("", index)


def in_low(dtype: str, index: int) -> int:
    """Return the index in a low dtype of the problem at an ordinary index."""
    return index + 2 * GRAPHS * (1 + LOW.index(dtype))


@dataclass(frozen=True)
class DirectedProblem(Problem):
    """A problem with a direction: tangents of x and of every parameter, for second order."""

    direction: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class DirectedGraph(GraphProblem):
    """A graph with a direction: a tangent of every array of floats that is given."""

    direction: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True)
class _Addressed:
    """A problem and where it came from."""

    problem: "AnyProblem"
    seed: int
    index: int
    cell: ProblemCell

    @property
    def at(self) -> str:
        """The address that draws it again."""
        return address(self.seed, self.index)


@dataclass(frozen=True)
class Drawn(_Addressed):
    """A chain of dense layers and where it came from."""

    problem: Problem


@dataclass(frozen=True)
class DrawnGraph(_Addressed):
    """A graph and where it came from."""

    problem: GraphProblem


AnyDrawn = Drawn | DrawnGraph
AnyProblem = Problem | GraphProblem
P = TypeVar("P", Problem, GraphProblem)


def address(seed: int, index: int) -> str:
    """Return the address of a problem: SEED:INDEX, of a graph SEED:gINDEX, a letter for a dtype."""
    dtype, number = lowered(index)
    prefix = FORMATS[dtype].prefix if dtype else ""
    graph = is_graph(index)
    return f"{seed}:{prefix}{'g' * graph}{number - GRAPHS * graph}"


@dataclass(frozen=True)
class Selection:
    """The cells a run is restricted to; an empty tuple means all, but for the architectures."""

    activations: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ("dense",)

    def __post_init__(self) -> None:
        known = {
            "activation": (self.activations, tuple(ACTIVATIONS)),
            "loss": (self.losses, tuple(LOSSES)),
            "regime": (self.regimes, tuple(REGIMES)),
            "dtype": (self.dtypes, tuple(FORMATS)),
            "architecture": (self.architectures, ARCHITECTURES),
        }
        for argument, (given, valid) in known.items():
            check_names(argument, given, valid)
        if (self.activations or self.losses) and set(self.architectures) - {"dense"}:
            raise InvalidInput(
                f"architecture={self.architectures!r}: with an activation or a loss chosen, "
                "expected dense"
            )

    def index(self, position: int) -> int:
        """Return the index of the problem at `position` (0, 1, 2…) within this selection.

        Chains and graphs take turns where both are chosen, and so do the low dtypes.
        """
        low = [dtype for dtype in self.dtypes if dtype in LOW]
        if low:
            turn, place = divmod(position, len(self._by_dtype))
            dtype, others = self._by_dtype[place]
            index = others.index(turn)
            return in_low(dtype, index) if dtype else index
        graphs = [a for a in self.architectures if a != "dense"]
        if not graphs:
            return self._chain(position)
        if len(graphs) == len(self.architectures):
            return GRAPHS + self._graph(position)
        half, odd = divmod(position, 2)
        return GRAPHS + self._graph(half) if odd else self._chain(half)

    @cached_property
    def _by_dtype(self) -> "list[tuple[str, Selection]]":
        """The selection once for each low dtype, whose problems are those of the other dtypes."""
        others = tuple(dtype for dtype in self.dtypes if dtype not in LOW)
        low = [dtype for dtype in self.dtypes if dtype in LOW]
        found = [(dtype, replace(self, dtypes=())) for dtype in low]
        return [*found, *([("", replace(self, dtypes=others))] if others else [])]

    def indices(self, count: int) -> Iterator[int]:
        """Return the first `count` indices of this selection."""
        return (self.index(position) for position in range(count))

    def _chain(self, position: int) -> int:
        turns, rest = divmod(position, len(self._cells))
        return turns * number_of_cells() + self._cells[rest]

    @cached_property
    def _cells(self) -> Sequence[int]:
        wanted = (self.activations, self.losses, self.regimes, self.dtypes)
        if not any(wanted):
            return range(number_of_cells())
        return [
            i
            for i in range(number_of_cells())
            if all(not names or part in names for part, names in zip(cell(i), wanted, strict=False))
        ]

    def _graph(self, position: int) -> int:
        """Return which graph stands at a position among those that are asked for."""
        wanted = (self.regimes, self.dtypes, self.architectures)
        if not any(wanted[:2]) and set(ARCHITECTURES) - {"dense"} <= set(self.architectures):
            return position
        found, k = self._chosen, self._chosen[-1] + 1 if self._chosen else 0
        while len(found) <= position:
            own = cell_of_graph(k, tuple(REGIMES))
            parts = (own.regime, own.dtype, own.architecture)
            if all(not n or part in n for part, n in zip(parts, wanted, strict=True)):
                found.append(k)
            k += 1
        return found[position]

    @cached_property
    def _chosen(self) -> list[int]:
        return []


def check_names(argument: str, given: Sequence[str], valid: Sequence[str]) -> None:
    """Raise InvalidInput unless every name is a known one; a single text is not a list of names."""
    for name in [given] if isinstance(given, str) else given:
        if name not in valid:
            known = ", ".join(valid)
            raise InvalidInput(f"{argument}={name!r} is unknown; expected one of: {known}")
    if isinstance(given, str):
        raise InvalidInput(f"{argument}={given!r}: expected a tuple of names, as ({given!r},)")


def number_of_cells() -> int:
    """Return how many cells there are; index and index + this share their cell."""
    return len(ACTIVATIONS) * len(LOSSES) * len(REGIMES) * len(DTYPES)


def cell(index: int) -> ProblemCell:
    """Return the cell of an index. Neighbours differ; a whole turn meets each cell once."""
    dtype, index = lowered(index)
    if dtype:
        return cell(index)._replace(dtype=dtype)
    if is_graph(index):
        return cell_of_graph(index - GRAPHS, tuple(REGIMES))
    activations, losses, regimes = list(ACTIVATIONS), list(LOSSES), list(REGIMES)
    block, pair = divmod(index % number_of_cells(), len(activations) * len(losses))
    turn, a = divmod(pair, len(activations))
    # For a fixed pair, block -> (regime, dtype) is one to one; so is turn -> loss for a fixed a.
    dtype_turn, regime = divmod(block, len(regimes))
    return ProblemCell(
        activations[a],
        losses[(turn + a) % len(losses)],
        regimes[(regime + pair) % len(regimes)],
        DTYPES[(dtype_turn + regime + turn) % len(DTYPES)],
    )


def check_order(order: int) -> None:
    """Raise InvalidInput for an order of derivatives that is neither 1 nor 2."""
    if order not in (1, 2):
        raise InvalidInput(f"order={order!r}: expected 1 (gradients) or 2 (Hessian times v)")


def check_seed(seed: int, name: str = "seed") -> None:
    """Raise InvalidInput unless the stream of a problem can be keyed by this number."""
    if type(seed) is not int or not 0 <= seed < 2**64:
        raise InvalidInput(f"{name}={seed!r}: expected an integer from 0 to 2**64 − 1")


def draw(seed: int, index: int, order: int = 1) -> Drawn:
    """Draw the chain at (seed, index); that of a graph is an error."""
    one = draw_any(seed, index, order)
    if not isinstance(one, Drawn):
        raise InvalidInput(f"address={one.at!r}: a graph, expected a chain of dense layers")
    return one


def draw_any(seed: int, index: int, order: int = 1) -> AnyDrawn:
    """Draw the chain or the graph at (seed, index); at order 2 the same one, with a direction.

    At order 2 no chain is large: JAX takes seconds to compile for the shapes of each.
    """
    check_seed(seed)
    check_seed(index, "index")
    where, (dtype, base) = cell(index), lowered(index)
    if dtype and order == 2:
        raise InvalidInput(f"dtype={dtype!r}: at order 2 expected one of: {', '.join(DTYPES)}")
    problem: AnyProblem
    if is_graph(index):
        problem = draw_graph(seed, base, base - GRAPHS, where)
        if order == 2:
            problem = directed_graph(problem, Stream(seed ^ _DIRECTIONS, index))
        return DrawnGraph(with_loss_scale(problem, base), seed, index, where)
    builder = ProblemBuilder(Stream(seed, base), where, large=order == 1 and is_large(seed, base))
    REGIMES[where.regime](builder)
    problem = builder.problem()
    if order == 2:
        direction = _direction(Stream(seed ^ _DIRECTIONS, index), problem)
        problem = DirectedProblem(**vars(problem), direction=direction)
    return Drawn(with_loss_scale(problem, base), seed, index, where)


def with_loss_scale(problem: P, turn: int) -> P:
    """Return the problem with its loss multiplied by one of the scales of its dtype.

    So are sample weights, or the cotangents of a graph: with those every cotangent is multiplied.
    """
    kind = format_of(problem.dtype)
    one: Any = problem
    scale = problem.dtype.type(2.0 ** kind.loss_scales[turn // 7 % len(kind.loss_scales)])
    if scale == 1:
        return problem
    if isinstance(one, GraphProblem):
        cotangents = {name: c * scale for name, c in one.cotangents.items()}
        changed: Any = replace(one, cotangents=cotangents)
        return cast(P, changed)
    if one.weights is None:
        return problem
    with np.errstate(over="ignore"):
        weights = np.minimum(one.weights * scale, one.dtype.type(kind.largest))
    return cast(P, replace(one, weights=weights))


_DIRECTIONS = 0x5EC0ED
"""Sets the stream of the directions apart from that of the problems."""


def directed_graph(problem: GraphProblem, stream: Stream) -> DirectedGraph:
    """Return the graph with a drawn direction."""
    return DirectedGraph(**vars(problem), direction=_direction(stream, problem))


def _direction(stream: Stream, problem: AnyProblem) -> dict[str, FloatArray]:
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


# A number below 2^64 has 20 digits; there may be zeros in front.
_ADDRESS = re.compile(
    rf"(?P<seed>\d{{1,40}}):(?P<low>[{''.join(FORMATS[dtype].prefix for dtype in LOW)}]?)"
    r"(?P<graph>g?)(?P<number>\d{1,40})",
    re.ASCII,
)


def parse_address(address: str) -> tuple[int, int]:
    """Return (seed, index) from "SEED:INDEX" or "SEED:gINDEX", in a low dtype "SEED:bgINDEX"."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise InvalidInput(
            f"address={address!r}: expected SEED:INDEX, two whole numbers, as 0:17, "
            "0:g17 for a graph, 0:b17 or 0:h17 in bfloat16 or float16"
        )
    index = int(match["number"])
    if (match["low"] or match["graph"]) and index >= GRAPHS:
        raise InvalidInput(f"address={address!r}: expected an index below {GRAPHS}")
    index += GRAPHS * bool(match["graph"])
    low = next((dtype for dtype in LOW if FORMATS[dtype].prefix == match["low"]), "")
    return int(match["seed"]), in_low(low, index) if low else index


def arrays_of(problem: AnyProblem) -> dict[str, Array]:
    """Return every array that the problem consists of."""
    if isinstance(problem, GraphProblem):
        cotangents = {f"cotangent of {n}": array for n, array in problem.cotangents.items()}
        return {**problem.arrays, **cotangents, **_directions(problem)}
    arrays = {"x": problem.x, **problem.parameters, "targets": problem.targets}
    if problem.weights is not None:
        arrays["weights"] = problem.weights
    return {**arrays, **_directions(problem), **problem.arrays}


def _directions(problem: AnyProblem) -> dict[str, FloatArray]:
    if not isinstance(problem, DirectedProblem | DirectedGraph):
        return {}
    return {f"direction of {name}": value for name, value in problem.direction.items()}


def with_arrays(problem: Problem, change: Callable[[Array], Array]) -> Problem:
    """Return the problem with each of its arrays changed."""
    return replace(
        problem,
        parameters={name: change(value) for name, value in problem.parameters.items()},
        x=change(problem.x),
        targets=change(problem.targets),
        weights=None if problem.weights is None else change(problem.weights),
        arrays={name: change(value) for name, value in problem.arrays.items()},
    )


def in_dtype(problem: P, dtype: npt.DTypeLike) -> P:
    """Return the same problem in another floating type; labels stay as they are."""

    def change(array: Array) -> Array:
        return array.astype(dtype) if is_float(array) else array

    one: Any = problem
    graph = isinstance(one, GraphProblem)
    return cast(P, one.map_arrays(change) if graph else with_arrays(one, change))


def computed_in(problem: P) -> P:
    """Return a problem with its floats in the type that its operations compute in, all exact."""
    return in_dtype(problem, inside(problem.dtype)) if format_of(problem.dtype).low else problem
