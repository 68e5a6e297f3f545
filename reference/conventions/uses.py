"""One layer by itself, with random arrays: by hand, by the frameworks, and to 60 digits.

`truth` evaluates the tape of `definition` for each row in ball arithmetic, and multiplies the
row's Jacobian by the cotangents of its outputs. It shares no derivation with the `backward`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np
from flint import arb

from manual_backprop.graph import Graph, GraphProblem, Step
from manual_backprop.operation import LayerOperation
from reference.arithmetic.balls import Ball, exact, precision
from reference.blocks.steps import StepPlan, plan_of
from reference.drawing.builder import Stream
from reference.formats import Array
from reference.oracles import Oracle, load
from reference.oracles.counterparts import resolve
from reference.oracles.jax_x64 import double_precision

Options = Mapping[str, object]
"""Options of a layer by name: numbers, words, tuples of numbers."""

CANCELLED = 2.0**-20
"""The least size of a cotangent, as a share of the largest dy: its terms may cancel to 0."""
BITS = 260  # 60 digits are 200 bits; the others are for cancellation


class LayerUse(NamedTuple):
    """One use of a layer: its arrays, its options and the cotangent of its value."""

    arrays: dict[str, Array]
    options: Options
    dy: Array

    @property
    def floats(self) -> tuple[str, ...]:
        """The names of the arrays that have a gradient."""
        return tuple(name for name, array in self.arrays.items() if array.dtype.kind == "f")


class UseAnswer(NamedTuple):
    """The value and the cotangent of each array of floats."""

    value: Array
    gradient: dict[str, Array]


class UseTruth(NamedTuple):
    """The certified value and cotangents, and the size of their terms, by "y" and array names.

    The right numbers are from `low` to `high`, which differ only at a kink. `size` is Σ |dy ∂y/∂x|
    of each entry of a cotangent (at least CANCELLED · max |dy|, because the terms may cancel to an
    exact 0, which no rounded sum equals). Of a value it is the larger of |y| and Σ |x ∂y/∂x|.
    """

    low: dict[str, Array]
    high: dict[str, Array]
    size: dict[str, Array]

    def misses(self, name: str, found: Array) -> Array:
        """Return how far each entry is outside `low` to `high`."""
        found = found.astype(np.longdouble)
        outside: Array = np.maximum(np.maximum(self.low[name] - found, found - self.high[name]), 0)
        return outside

    def error(self, name: str, found: Array) -> float:
        """Return the largest miss, in units of rounding of the tensor's largest terms."""
        if found.shape != self.low[name].shape or not np.isfinite(found).all():
            return float("inf")
        miss = float(self.misses(name, found).max(initial=0))
        unit = float(np.finfo(found.dtype).eps) / 2 * float(self.size[name].max(initial=0))
        return miss / max(unit, float(np.finfo(found.dtype).smallest_subnormal))


def draw(
    operation: LayerOperation, seed: int, dtype: str = "float64", structure: int | None = None
) -> LayerUse:
    """Return a random use; in every fourth the first argument has special values (`edge`).

    With `structure`, its shapes, options and integer arrays are those of the use with that seed.
    """
    stream = Stream(29, seed if structure is None else structure)
    sample = operation.sample(stream)
    if structure is not None:
        stream = Stream(30, seed)
    arrays: dict[str, Array] = {n: stream.normal(*s) for n, s in sample.shapes.items()}
    arrays |= sample.arrays
    first = operation.arguments[0]
    if operation.edge is not None and seed % 4 == 3:
        arrays[first] = operation.edge(stream, arrays[first])
    return use(operation, arrays, sample.options, stream, dtype)


def use(
    operation: LayerOperation,
    arrays: Mapping[str, Array],
    options: Options,
    stream: Stream,
    dtype: str = "float64",
) -> LayerUse:
    """Return a use of given arrays, with a random cotangent."""
    cast = {n: a.astype(dtype) if a.dtype.kind == "f" else a for n, a in arrays.items()}
    with np.errstate(all="ignore"):
        y = operation.apply("stable", cast, options)
    return LayerUse(cast, options, stream.normal(*y.shape).astype(dtype))


def problem_of(operation: LayerOperation, given: LayerUse) -> GraphProblem:
    """Return a use of a layer as a graph of one step."""
    step = Step("y", operation.name, {n: n for n in given.arrays}, dict(given.options))
    return GraphProblem(Graph((step,), ("y",)), given.arrays, {"y": given.dy})


def use_text(given: LayerUse) -> str:
    """Return the shapes and options of a use."""
    shapes = [f"{name} {array.shape}" for name, array in given.arrays.items()]
    return ", ".join([*shapes, *(f"{name} = {value}" for name, value in given.options.items())])


def by_hand(operation: LayerOperation, given: LayerUse) -> UseAnswer:
    """Return the answer of the layer's own forward and backward."""
    with np.errstate(all="ignore"):
        y = operation.apply("stable", given.arrays, given.options)
        pulled = operation.pull_back("stable", given.arrays, y, given.dy, given.options)
    return UseAnswer(y, {name: pulled[name] for name in given.floats})


def by_framework(name: str, operation: LayerOperation, given: LayerUse) -> UseAnswer:
    """Return the answer of an oracle to a use, as a graph of one step."""
    answer = _oracle(name).answer(problem_of(operation, given))
    return UseAnswer(answer.values["y"], {n: answer.gradients[n] for n in given.floats})


def all_by_jax(operation: LayerOperation, uses: Sequence[LayerUse]) -> list[UseAnswer]:
    """Return JAX's answers to uses of the same shapes and options, from one compiled program."""
    import jax

    first = uses[0]
    function: Callable[..., jax.Array] = resolve(operation, "jax")

    def both(given: tuple[dict[str, jax.Array], jax.Array]) -> tuple[jax.Array, ...]:
        arrays, dy = given

        def value(floats: dict[str, jax.Array]) -> jax.Array:
            known = {**arrays, **floats}
            return function(*[known.get(name) for name in operation.arguments], **first.options)

        y, pull = jax.vjp(value, {name: arrays[name] for name in first.floats})
        return y, *pull(dy)

    with double_precision():
        arrays = {name: np.stack([use.arrays[name] for use in uses]) for name in first.arrays}
        dy = np.stack([use.dy for use in uses])
        y, found = jax.device_get(jax.jit(lambda given: jax.lax.map(both, given))((arrays, dy)))
    return [UseAnswer(y[k], {name: g[k] for name, g in found.items()}) for k in range(len(uses))]


@cache
def _oracle(name: str) -> Oracle:
    """Return an oracle, which keeps what it has compiled."""
    return load((name,))[name]


def truth(operation: LayerOperation, given: LayerUse) -> UseTruth:
    """Return value and cotangents by the definition, to 60 digits."""
    (step,) = problem_of(operation, given).graph.steps
    plan = plan_of(step, given.arrays, given.dy.shape)
    shapes = {"y": given.dy.shape, **{name: given.arrays[name].shape for name in given.floats}}
    total = {name: np.full(prod(shape), arb(0)) for name, shape in shapes.items()}
    size = {name: np.zeros(prod(shape)) for name, shape in shapes.items()}
    names = [plan.arguments[k] for k in plan.owner]
    of, by = plan.row.of.tolist(), plan.row.by.tolist()
    with precision(BITS):
        for inputs, entries, outputs in zip(
            _inputs(plan, given), plan.index, plan.output, strict=True
        ):
            found = plan.row.tape.outputs([exact(v) for v in inputs])
            values, slopes = found[: plan.row.values], found[plan.row.values :]
            reach = np.zeros(len(values))
            for slope, j, i in zip(slopes, of, by, strict=True):
                if (at := entries[i]) >= 0:
                    dy = exact(float(given.dy.flat[outputs[j]]))
                    total[names[i]][at] += slope * dy
                    size[names[i]][at] += abs(float(slope.mid()) * float(dy))
                    reach[j] += abs(float(slope.mid()) * inputs[i])
            total["y"][outputs] = values
            size["y"][outputs] = np.maximum(reach, [abs(float(v.mid())) for v in values])
        ends = {
            name: np.array([_ends(entry) for entry in entries], np.longdouble).reshape(-1, 2)
            for name, entries in total.items()
        }
    least = CANCELLED * float(np.abs(given.dy).max(initial=0))
    size = {name: s if name == "y" else np.maximum(s, least) for name, s in size.items()}
    return UseTruth(
        {name: end[:, 0].reshape(shapes[name]) for name, end in ends.items()},
        {name: end[:, 1].reshape(shapes[name]) for name, end in ends.items()},
        {name: sizes.reshape(shapes[name]) for name, sizes in size.items()},
    )


def _inputs(plan: StepPlan, given: LayerUse) -> list[list[float]]:
    """Return the inputs of the tape for each row."""
    parts = [
        np.append(given.arrays[argument].astype(float), 0)[plan.index[:, plan.owner == k]]
        for k, argument in enumerate(plan.arguments)
    ]
    rows: list[list[float]] = np.concatenate([*parts, plan.numbers], axis=1).tolist()
    return rows


def _ends(ball: Ball) -> tuple[np.longdouble, np.longdouble]:
    """Return the ends of a ball as long doubles, each the sum of two doubles."""
    return tuple(  # type: ignore[return-value]  # of two
        np.longdouble(float(end.mid())) + np.longdouble(float((end - float(end.mid())).mid()))
        for end in (ball.lower(), ball.upper())
    )
