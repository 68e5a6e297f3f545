"""One operation by itself at second order, in both dtypes and every regime.

An activation and a layer are a graph of one step. A loss is that of drawn chains. f(x) · x² of an
activation goes through `multiply`, with f in a step of its own.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import Graph, GraphProblem, Step
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from reference.drawing.builder import Stream
from reference.drawing.graphs import Structure, alone, fill
from reference.drawing.regimes import REGIMES
from reference.formats import DTYPES, format_of
from reference.problems import AnyProblem, Selection, directed_graph, draw_any

SEED = 0x2ED
STRUCTURES = 3  # of a dtype: JAX compiles each of them twice
SHAPE = (3, 4)
FAR, WIDE = "far out", "all magnitudes"
"""Regimes of an input alone: up to 500 or so, and with exponents spread evenly."""


def structures(name: str, dtype: str) -> list[Structure]:
    """Return some graphs of an activation, of "f(x) x²" of one, or of a layer."""
    streams = (Stream(SEED, 2**40 + k) for k in range(STRUCTURES))
    if name in LAYERS:
        return [alone(LAYERS[name], stream, dtype) for stream in streams]
    operation = ACTIVATIONS[name.removesuffix(POWER)]
    given = [(p.default, *p.choices) for p in operation.parameters.values()]
    kinds = list(zip(operation.parameters, given, strict=True))
    return [
        _of_activation(name, dtype, {n: values[k % len(values)] for n, values in kinds})
        for k in range(STRUCTURES if kinds else 1)
    ]


def _of_activation(name: str, dtype: str, options: Mapping[str, float]) -> Structure:
    operation = ACTIVATIONS[name.removesuffix(POWER)]
    steps = [Step("f", operation.name, {"x": "x"}, options)]
    if name.endswith(POWER):
        steps = [
            Step("u", "identity", {"x": "x"}),
            Step("f", operation.name, {"x": "u"}, options),
            Step("square", "multiply", {"a": "x", "b": "x"}),
            Step("y", "multiply", {"a": "f", "b": "square"}),
        ]
    last = steps[-1].name
    graph = Graph(tuple(steps), (last,))
    return Structure("alone", operation.name, dtype, graph, {"x": SHAPE}, {}, {last: SHAPE})


POWER = "(x)·x²"


def problems_of(name: str, count: int, first: int = 0) -> Iterator[AnyProblem]:
    """Yield problems of an operation, of both dtypes and all regimes in turn."""
    if name in LOSSES:
        selection = Selection(losses=(name,))
        yield from (
            draw_any(SEED, selection.index(k), 2).problem for k in range(first, first + count)
        )
        return
    regimes = (*REGIMES, FAR, WIDE) if name not in LAYERS else tuple(REGIMES)
    made = {dtype: structures(name, dtype) for dtype in DTYPES}
    for k in range(first, first + count):
        some = made[DTYPES[k % 2]]
        regime, stream = regimes[k // 2 % len(regimes)], Stream(SEED, k)
        one = some[k // 2 % len(some)]
        problem = fill(one, stream, "ordinary" if regime in (FAR, WIDE) else regime)
        if regime in (FAR, WIDE):
            problem = _moved_out(problem, stream, regime)
        yield directed_graph(problem, Stream(SEED + 1, k))


def _moved_out(problem: GraphProblem, stream: Stream, regime: str) -> GraphProblem:
    """Return the problem with its input scaled, or with exponents whose squares are finite."""
    x = problem.arrays["x"]
    if regime == FAR:
        far = x * x.dtype.type(10.0 * 2.0 ** stream.below(5))
        return GraphProblem(problem.graph, {"x": far}, problem.cotangents)
    largest = int(np.log2(format_of(problem.dtype).largest)) / 2
    exponents = [largest * (stream.below(2**20) / 2**19 - 1) for _ in range(x.size)]
    wide = np.sign(x) * np.exp2(np.reshape(exponents, x.shape))
    return GraphProblem(problem.graph, {"x": wide.astype(x.dtype)}, problem.cotangents)


NAMES = (*ACTIVATIONS, *(name + POWER for name in ACTIVATIONS), *LOSSES, *LAYERS)
