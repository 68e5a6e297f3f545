"""Draws graphs beyond dense chains: a grammar that makes only what can be computed.

The structure comes from a number that neighbouring problems share, so that what is compiled or
traced for one serves them all; the values come from the problem's own index. Every layer of the
registry has its turn, in an architecture that its first argument fits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import Graph, GraphProblem, Step
from manual_backprop.layers import LAYERS
from manual_backprop.operation import InvalidInput, LayerOperation, Takes
from reference.drawing.builder import ProblemCell, Stream
from reference.formats import Array, format_of

Shape = tuple[int, ...]

SHARED = 256
"""Problems among which a few structures are shared in turn; a block of a run has so many."""
STRUCTURES = 12
"""Structures in so many problems: the 1,000 graphs of a report by default have every layer."""
MANY, SHARED_BY_MORE = 1024, 2048
"""Beyond the first graphs so many share: JAX compiles a structure for a third of a second."""
FIRST_STRUCTURE = 2**63
"""Keys of the random streams of structures: far from the indices of problems."""
MAX_ENTRIES = 96
"""Entries of a value in a graph: a step of more is not taken."""
TRIES = 8


@dataclass(frozen=True)
class Structure:
    """A graph, and how its arrays are made: floats by shape, others as they are."""

    architecture: str
    operation: str
    dtype: str
    graph: Graph
    shapes: Mapping[str, Shape]
    arrays: Mapping[str, Array]
    cotangents: Mapping[str, Shape]


@dataclass
class _GraphBuilder:
    """A graph in the making; every value's shape is known."""

    stream: Stream
    steps: list[Step] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)  # of the floats that are given
    arrays: dict[str, Array] = field(default_factory=dict)
    made: dict[str, Shape] = field(default_factory=dict)  # of every value of floats

    def given(self, name: str, shape: Shape) -> str:
        """Enter an array of floats."""
        self.shapes[name] = self.made[name] = shape
        return name

    def layer(self, operation: LayerOperation, x: str | None) -> str | None:
        """Add a layer to x (or to an array of its own); None where it does not fit."""
        sample = operation.sample(self.stream, None if x is None else self.made[x])
        name = f"{len(self.steps)}.{operation.name}"
        inputs: dict[str, str] = {}
        fresh: dict[str, Shape] = {}
        others: dict[str, Array] = {}
        for k, argument in enumerate(operation.arguments):
            own = f"{name}.{argument}"
            if k == 0 and x is not None:
                inputs[argument] = x
            elif argument in sample.arrays:
                inputs[argument], others[own] = own, sample.arrays[argument]
            elif argument in sample.shapes:
                inputs[argument] = (
                    self._another(operation, argument, sample.shapes[argument]) or own
                )
                if inputs[argument] == own:
                    fresh[own] = sample.shapes[argument]
        step = Step(name, operation.name, inputs, dict(sample.options))
        shape = self._shape(step, fresh, others)
        if shape is None:
            return None
        self.steps.append(step)
        self.shapes |= fresh
        self.arrays |= others
        self.made |= {**fresh, name: shape}
        return name

    def _another(self, operation: LayerOperation, argument: str, shape: Shape) -> str | None:
        """Return a value that was made before and fits, for an argument that is not a parameter."""
        if argument in operation.trainable or not self.stream.chance(1, 2):
            return None
        fitting = [step.name for step in self.steps if self.made[step.name] == shape]
        return self.stream.choice(fitting) if fitting else None

    def activation(self, name: str, x: str) -> str:
        """Add an activation."""
        operation = ACTIVATIONS[name]
        options = {k: self.stream.choice((p.default, *p.choices))
                   for k, p in operation.parameters.items()}  # fmt: skip
        return self.step(name, {"x": x}, self.made[x], **options)

    def step(self, name: str, inputs: Mapping[str, str], made: Shape, **options: object) -> str:
        """Add an operation whose value has the given shape to values that are there."""
        step = Step(f"{len(self.steps)}.{name}", name, dict(inputs), options)
        self.steps.append(step)
        self.made[step.name] = made
        return step.name

    def dense(self, x: str, units: int) -> str:
        """Add a dense layer."""
        name, (n, d) = f"{len(self.steps)}.dense", self.made[x]
        weight = self.given(f"{name}.weight", (d, units))
        bias = self.given(f"{name}.bias", (units,))
        return self.step("dense", {"x": x, "weight": weight, "bias": bias}, (n, units))

    def _shape(
        self, step: Step, fresh: Mapping[str, Shape], others: Mapping[str, Array]
    ) -> Shape | None:
        values: dict[str, Array] = {n: np.ones(s) for n, s in {**self.made, **fresh}.items()}
        try:
            with np.errstate(all="ignore"):
                y = step.description.apply(
                    "stable", step.arrays({**values, **others}), step.options
                )
        except (ValueError, IndexError):
            return None
        return np.shape(y) if 0 < np.size(y) <= MAX_ENTRIES else None

    def grow(self, x: str, takes: Takes, count: int, aim: LayerOperation | None = None) -> str:
        """Add `count` layers or activations, the aimed one among them."""
        place = self.stream.below(count)
        for k in range(count):
            operation = aim if aim is not None and k == place else None
            x = self._next(x, takes, operation)
        return x

    def _next(self, x: str, takes: Takes, aim: LayerOperation | None) -> str:
        for _ in range(TRIES):
            operation = aim or self._chosen(takes)
            if operation is None:
                break
            made = self.layer(operation, x)
            if made is not None:
                return made
        return self.activation(self.stream.choice(list(ACTIVATIONS)), x)

    def _chosen(self, takes: Takes) -> LayerOperation | None:
        """Return a layer for this layout, or None for an activation."""
        if self.stream.chance(1, 2):
            return None
        return self.stream.choice([o for o in LAYERS.values() if o.takes in (takes, "any")])

    def finished(self, architecture: str, aim: LayerOperation, dtype: str) -> Structure:
        """Return the structure; what no step takes comes out."""
        taken = {name for step in self.steps for name in step.inputs.values()}
        outputs = tuple(step.name for step in self.steps if step.name not in taken)
        graph = Graph(tuple(self.steps), outputs)
        shapes = {name: shape for name, shape in self.shapes.items() if name in graph.given}
        cotangents = {name: self.made[name] for name in outputs}
        return Structure(architecture, aim.name, dtype, graph, shapes, self.arrays, cotangents)


def _layout(stream: Stream, takes: Takes) -> Shape:
    """Return the shape of an input."""
    match takes:
        case "image":
            return (1 + stream.below(2), 1 + stream.below(4), 3 + stream.below(3),
                    3 + stream.below(3))  # fmt: skip
        case "sequence":
            return 1 + stream.below(2), 2 + stream.below(3), 2 + stream.below(4)
        case _:
            return 2 + stream.below(4), 2 + stream.below(6)


def _alone(b: _GraphBuilder, takes: Takes, aim: LayerOperation) -> None:
    """One layer, on arrays of its own."""
    for _ in range(TRIES):
        if b.layer(aim, None) is not None:
            return
    raise InvalidInput(f"layer {aim.name!r}: none of {TRIES} samples can be computed")


def _stack(b: _GraphBuilder, takes: Takes, aim: LayerOperation) -> None:
    """Layers and activations one after another."""
    b.grow(b.given("x", _layout(b.stream, takes)), takes, 2 + b.stream.below(4), aim)


def _residual(b: _GraphBuilder, takes: Takes, aim: LayerOperation) -> None:
    """Blocks y = x + f(x), where f keeps the shape; else f's own result goes on."""
    x = b.given("x", _layout(b.stream, takes))
    for k in range(1 + b.stream.below(2)):
        made = b.grow(x, takes, 1 + b.stream.below(3), aim if k == 0 else None)
        if b.made[made] == b.made[x]:
            made = b.step("add", {"a": x, "b": made}, b.made[x])
        x = made


def _branches(b: _GraphBuilder, takes: Takes, aim: LayerOperation) -> None:
    """Two ways from one value, which is used twice; where they fit, they meet."""
    x = b.given("x", _layout(b.stream, takes))
    fork = b.grow(x, takes, 1)
    left = b.grow(fork, takes, 1 + b.stream.below(2), aim)
    right = b.grow(fork, takes, 1 + b.stream.below(2))
    if b.made[left] == b.made[right]:
        joined = b.stream.choice(("add", "multiply"))
        b.step(joined, {"a": left, "b": right}, b.made[left])


def _transformer(b: _GraphBuilder, takes: Takes, aim: LayerOperation) -> None:
    """A block over a sequence (T, D): x + attention(norm(x)), then x + f(norm(x))."""
    x = b.given("x", (2 + b.stream.below(2), 2 + b.stream.below(2)))
    length, d = b.made[x]
    norm = LAYERS[b.stream.choice(("layer_norm", "rms_norm"))]
    normed = b.layer(norm, x) or x
    inputs = {argument: b.dense(normed, d) for argument in ("q", "k", "v")}
    seen = b.step("attention", inputs, (length, d), causal=b.stream.chance(1, 2))
    x = b.step("add", {"a": x, "b": b.dense(seen, d)}, (length, d))
    made = b.grow(b.layer(norm, x) or x, takes, 1 + b.stream.below(2), aim)
    if len(b.made[made]) == 2 and b.made[made][0] == length:
        b.step("add", {"a": x, "b": b.dense(made, d)}, (length, d))


_CELLS = {"rnn_tanh_cell": 1, "rnn_relu_cell": 1, "gru_cell": 3, "lstm_cell": 4}


def _recurrent(b: _GraphBuilder, takes: Takes, aim: LayerOperation) -> None:
    """A cell over two or three steps in time with the same weights, and layers on the last h."""
    cell = aim.name if aim.name in _CELLS else b.stream.choice(list(_CELLS))
    n, d, units = (1 + b.stream.below(3) for _ in range(3))
    gates, long = _CELLS[cell], cell == "lstm_cell"
    shape = (2, n, units) if long else (n, units)
    state = b.given("state", shape)
    weights = {
        "weight_x": b.given("weight_x", (gates * units, d)),
        "weight_h": b.given("weight_h", (gates * units, units)),
        "bias_x": b.given("bias_x", (gates * units,)),
        "bias_h": b.given("bias_h", (gates * units,)),
    }
    for time in range(2 + b.stream.below(2)):
        x = b.given(f"x.{time}", (n, d))
        state = b.step(cell, {"x": x, "state" if long else "h": state, **weights}, shape)
    if long:
        h = b.step("slice", {"x": state}, (1, n, units), axis=0, start=0, stop=1, step=1)
        state = b.step("reshape", {"x": h}, (n, units), shape=(n, units))
    b.grow(state, takes, 1 + b.stream.below(2), None if cell == aim.name else aim)


_Grammar = Callable[[_GraphBuilder, Takes, LayerOperation], None]
_GRAMMARS: dict[str, tuple[_Grammar, tuple[Takes, ...]]] = {
    "alone": (_alone, ("features", "image", "sequence", "any", "nothing")),
    "stack": (_stack, ("features",)),
    "convolution": (_stack, ("image",)),
    "sequence": (_stack, ("sequence",)),
    "residual": (_residual, ("features", "image", "sequence")),
    "branches": (_branches, ("features", "image", "sequence")),
    "transformer": (_transformer, ("features",)),
    "recurrent": (_recurrent, ("features",)),
}
ARCHITECTURES = ("dense", *_GRAMMARS)
"""What networks are drawn as: dense chains, and the grammars of graphs."""


def structure_number(k: int) -> int:
    """Return the structure of the k-th graph: a few are shared in turn among neighbours."""
    groups = k // SHARED if k < MANY else MANY // SHARED + (k - MANY) // SHARED_BY_MORE
    return groups * STRUCTURES + k % STRUCTURES


def first_graph(number: int) -> int:
    """Return the first graph of a structure; each STRUCTURES-th after it is another of the same."""
    group, place = divmod(number, STRUCTURES)
    more = group - MANY // SHARED
    start = group * SHARED if more < 0 else MANY + more * SHARED_BY_MORE
    return start + (place - start) % STRUCTURES


def cell_of_graph(k: int, regimes: tuple[str, ...]) -> ProblemCell:
    """Return the cell of the k-th graph: which layer is aimed at, where, with what numbers."""
    number = structure_number(k)
    layers = list(LAYERS.values())
    turn, place = divmod(number, len(layers))
    aim = layers[place]
    fitting = [a for a, (_, takes) in _GRAMMARS.items() if aim.takes in ("any", *takes)]
    regime = regimes[(k // STRUCTURES + number) % len(regimes)]
    dtype = ("float64", "float32")[(turn + place) % 2]
    return ProblemCell(aim.name, "", regime, dtype, fitting[(turn // 2 + place) % len(fitting)])


@lru_cache(maxsize=512)
def _structure(seed: int, number: int, cell: ProblemCell, registered: tuple[int, ...]) -> Structure:
    aim = LAYERS[cell.activation]
    stream = Stream(seed, FIRST_STRUCTURE + number)
    builder = _GraphBuilder(stream)
    grammar, layouts = _GRAMMARS[cell.architecture]
    takes = aim.takes if aim.takes != "any" else stream.choice(layouts)
    grammar(builder, takes, aim)
    return builder.finished(cell.architecture, aim, cell.dtype)


def structure(seed: int, k: int, cell: ProblemCell) -> Structure:
    """Return the structure of the k-th graph."""
    # The layers by identity: one that is registered again makes other graphs.
    registered = tuple(map(id, LAYERS.values()))
    return _structure(seed, structure_number(k), cell._replace(regime=""), registered)


def draw_graph(seed: int, index: int, k: int, cell: ProblemCell) -> GraphProblem:
    """Draw the values of the k-th graph."""
    return fill(structure(seed, k, cell), Stream(seed, index), cell.regime)


def fill(made: Structure, stream: Stream, regime: str) -> GraphProblem:
    """Draw the values of a structure."""
    values = _VALUES[regime](stream, made)
    if regime == "kink":
        _aim(stream, made, values)
    known = {**made.arrays, **values}
    arrays = {name: known[name] for name in made.graph.given}
    arrays = {n: a.astype(made.dtype) if a.dtype.kind == "f" else a for n, a in arrays.items()}
    cotangents = {}
    for name, shape in made.cotangents.items():
        numbers = stream.normal(*shape)
        halves = np.rint(2 * numbers) / 2 if regime == "lattice" else numbers
        cotangents[name] = halves.astype(made.dtype)
    return GraphProblem(made.graph, arrays, cotangents)


def alone(operation: LayerOperation, stream: Stream, dtype: str) -> Structure:
    """Draw the structure of one layer on arrays of its own."""
    builder = _GraphBuilder(stream)
    _alone(builder, operation.takes, operation)
    return builder.finished("alone", operation, dtype)


def _aim(stream: Stream, made: Structure, values: dict[str, Array]) -> None:
    """Put numbers that the operation is special at into an argument that is given."""
    for step in made.graph.steps:
        operation = step.description
        if isinstance(operation, LayerOperation) and operation.edge is not None:
            name = step.inputs[operation.arguments[0]]
            if name in values:
                values[name] = operation.edge(stream, values[name])


def _filled(
    stream: Stream, made: Structure, weight: float = 1.0, x: float = 1.0, *, lattice: bool = False
) -> dict[str, Array]:
    """Return normal numbers at the given scales, those of matrices over √fan-in."""
    trainable = made.graph.trainable
    found = {}
    for name, shape in made.shapes.items():
        numbers = stream.normal(*shape)
        if lattice:
            found[name] = np.rint(2 * numbers) / 2
        elif name in trainable:
            fan_in = np.prod(shape[1:]) if len(shape) > 2 else shape[0] if len(shape) > 1 else 1
            found[name] = numbers * (weight / fan_in**0.5)
        else:
            found[name] = numbers * x
    return found


def _power(stream: Stream, made: Structure, exponent: int) -> float:
    reach = int(exponent * format_of(made.dtype).reach)
    e = 1 + stream.below(abs(reach))
    return float(2.0 ** (e if reach > 0 else -e))


def _tiny(stream: Stream, made: Structure) -> dict[str, Array]:
    return _filled(stream, made, _power(stream, made, -20), _power(stream, made, -20))


def _huge(stream: Stream, made: Structure) -> dict[str, Array]:
    return _filled(stream, made, _power(stream, made, 10), _power(stream, made, 10))


def _subnormal(stream: Stream, made: Structure) -> dict[str, Array]:
    tiny = format_of(made.dtype).tiny
    return _filled(stream, made, 1.0, tiny * 2.0 ** -stream.below(12))


def _ill_conditioned(stream: Stream, made: Structure) -> dict[str, Array]:
    """Numbers whose spread is small beside them: a mean, a difference, a sum cancels."""
    found = _filled(stream, made)
    unit = 2 * format_of(made.dtype).u
    nearness = unit ** (0.25 + 0.25 * stream.below(3) / 2)
    for name in found:
        if name not in made.graph.trainable:
            found[name] = (1 + nearness * found[name]) * stream.choice((-3.0, 1.0, 1000.0))
    return found


def _repeated(stream: Stream, made: Structure) -> dict[str, Array]:
    """Samples alike."""
    found = _filled(stream, made)
    for name, array in found.items():
        if name not in made.graph.trainable:
            array[:] = array[stream.below(len(array))]
    return found


def _special(stream: Stream, made: Structure) -> dict[str, Array]:
    """Parameters or inputs of zeros and ones."""
    found = _filled(stream, made)
    for name, array in found.items():
        if stream.chance(1, 3):
            found[name] = np.full(array.shape, float(stream.below(2)))
    return found


_VALUES: dict[str, Callable[[Stream, Structure], dict[str, Array]]] = {
    "ordinary": _filled,
    "lattice": lambda stream, made: _filled(stream, made, lattice=True),
    "kink": _filled,
    "saturated": lambda stream, made: _filled(stream, made, 10.0 ** (1 + stream.below(3))),
    "tiny": _tiny,
    "huge": _huge,
    "subnormal": _subnormal,
    "ill_conditioned": _ill_conditioned,
    "repeated_rows": _repeated,
    "special": _special,
}
