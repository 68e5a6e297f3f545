"""A graph of operations, differentiated by JAX with JAX's own functions.

Problems of one structure use one compiled program, one after another: in a `vmap` over several the
last bits of a sum depend on the position.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from manual_backprop.graph import Graph, GraphProblem
from reference.oracles import Answer, unless_lacking
from reference.oracles.torch_graph import call
from reference.problems import DirectedGraph

_KEPT = 128  # compiled structures
_LOCKS = 16  # structures that other processes may compile meanwhile, at most


class GraphPrograms:
    """The compiled programs of graphs, one for each structure, shapes and dtype.

    `make(graph)` returns f(floats, others, cotangents, direction) -> the parts of an answer in the
    order of `PARTS`; at first order the direction is empty.
    """

    def __init__(self, oracle: str, make: Callable[[Graph], Callable[..., Any]]) -> None:
        self._oracle, self._make = oracle, make
        self._programs: OrderedDict[Any, tuple[Any, Callable[..., Any]]] = OrderedDict()

    def answers(self, problems: Sequence[GraphProblem]) -> list[Answer]:
        """Answer a block of problems, in order."""
        groups: defaultdict[Any, list[int]] = defaultdict(list)
        for place, problem in enumerate(problems):
            groups[_key(problem)].append(place)
        answers: dict[int, Answer] = {}
        for key, places in groups.items():
            group, found = [problems[p] for p in places], list[Answer]()
            with unless_lacking(self._oracle, group[0]) as lacking:
                found += self._run(self._program(key, group[0]), group)
            answers |= zip(places, found or lacking * len(places), strict=True)
        return [answers[place] for place in range(len(problems))]

    def _program(self, key: Any, problem: GraphProblem) -> Callable[..., Any]:
        import jax

        from reference.oracles import jax_cache

        if key not in self._programs:
            function = jax.jit(self._make(problem.graph)).lower(*_arguments(problem))
            lock = crc32(repr((self._oracle, problem.graph, key[1])).encode()) % _LOCKS
            with jax_cache.persistent(f"lock-{lock}"):
                compiled = function.compile()
            self._programs[key] = problem.graph, compiled  # the graph is kept: its id stays its own
            if len(self._programs) > _KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key][1]

    def _run(
        self, program: Callable[..., Any], problems: Sequence[GraphProblem]
    ) -> Iterator[Answer]:
        import jax

        found = [program(*_arguments(problem)) for problem in problems]
        for loss, *parts in jax.device_get(found):
            yield Answer(self._oracle, np.asarray(loss), **dict(zip(PARTS, parts, strict=False)))


def _arguments(problem: GraphProblem) -> tuple[Mapping[str, Any], ...]:
    """Return what a program is called with."""
    floats = {name: problem.arrays[name] for name in problem.floats}
    others = {name: a for name, a in problem.arrays.items() if name not in floats}
    direction = dict(problem.direction) if isinstance(problem, DirectedGraph) else {}
    return floats, others, dict(problem.cotangents), direction


PARTS = ("gradients", "values", "tangents", "products")
"""What a program returns after the loss, by the names of an answer."""


def _key(problem: GraphProblem) -> Any:
    """Return what one program serves: the operations by identity: one may be registered again."""
    arrays = tuple((name, a.shape, a.dtype) for name, a in problem.arrays.items())
    return id(problem.graph), arrays, tuple(id(step.record) for step in problem.graph.steps)


def graph_loss(graph: Graph) -> Callable[..., tuple[Any, Mapping[str, Any]]]:
    """Return f(floats, probes, others, cotangents, taps) -> (Σ cotangent · output, every value).

    A probe is a zero added at a step: the derivative by it is the cotangent of the step. A tap is
    one added to the step's cotangent.
    """
    from reference.oracles.jax_padded import tap

    def function(
        floats: Mapping[str, Any],
        probes: Mapping[str, Any],
        others: Any,
        cotangents: Any,
        taps: Mapping[str, Any],
    ) -> tuple[Any, Mapping[str, Any]]:
        values = {**floats, **others}
        for step in graph.steps:
            value = call(step, values, "jax")
            value = value + probes[step.name] if step.name in probes else value
            values[step.name] = tap(value, taps[step.name]) if step.name in taps else value
        made = {step.name: values[step.name] for step in graph.steps}
        return sum((cotangents[n] * made[n]).sum() for n in graph.outputs), made

    return function


def zero_probes(graph: Graph, floats: Any, others: Any, cotangents: Any) -> dict[str, Any]:
    """Return a zero for every step."""
    import jax
    import jax.numpy as jnp

    loss = graph_loss(graph)
    shapes = jax.eval_shape(lambda f: loss(f, {}, others, cotangents, {}), floats)[1]
    return {name: jnp.zeros(s.shape, s.dtype) for name, s in shapes.items()}


def first_order(graph: Graph) -> Callable[..., Any]:
    """Return f(floats, others, cotangents, direction) -> (loss, every cotangent, every value)."""
    import jax

    def gradients(floats: Any, others: Any, cotangents: Any, _: Any) -> Any:
        probes = zero_probes(graph, floats, others, cotangents)
        differentiate = jax.value_and_grad(graph_loss(graph), argnums=(0, 1), has_aux=True)
        (loss, made), found = differentiate(floats, probes, others, cotangents, {})
        return loss, {**found[1], **found[0]}, made

    return gradients
