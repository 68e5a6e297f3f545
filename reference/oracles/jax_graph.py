"""A graph of operations, differentiated by JAX with JAX's own functions.

Problems of one structure use one compiled program, one after another: in a `vmap` over several the
last bits of a sum depend on the position.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from zlib import crc32

import numpy as np

from manual_backprop.graph import Graph, GraphProblem
from manual_backprop.operation import ByName
from reference.oracles import Answer, unless_lacking
from reference.oracles.forwards import graph_sum
from reference.oracles.jax_derivatives import PARTS, Derivative, Found, LossResult, Tree, probed
from reference.problems import DirectedGraph

_KEPT = 128  # compiled structures
_WITHOUT_FUSION: dict[str, str | bool] = {"xla_disable_hlo_passes": "fusion"}
_LOCKS = 16  # structures that other processes may compile meanwhile, at most


class GraphPrograms:
    """The compiled programs of graphs, one for each structure, shapes and dtype."""

    def __init__(self, oracle: str, derivative: Derivative) -> None:
        self._oracle, self._derivative = oracle, derivative
        self._programs: OrderedDict[object, tuple[object, Callable[..., Found]]] = OrderedDict()

    def answers(self, problems: Sequence[GraphProblem], fused: bool = True) -> list[Answer]:
        """Answer a block of problems, in order; each operation by itself if not `fused`."""
        groups: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
        for place, problem in enumerate(problems):
            groups[*_key(problem), fused].append(place)
        answers: dict[int, Answer] = {}
        for key, places in groups.items():
            group, found = [problems[p] for p in places], list[Answer]()
            with unless_lacking(self._oracle, group[0]) as lacking:
                found += self._run(self._program(key, group[0], fused), group)
            answers |= zip(places, found or lacking * len(places), strict=True)
        return [answers[place] for place in range(len(problems))]

    def _program(
        self, key: tuple[object, ...], problem: GraphProblem, fused: bool
    ) -> Callable[..., Found]:
        import jax

        from reference.oracles import jax_cache

        if key not in self._programs:
            program = _program_of(problem.graph, self._derivative)
            function = jax.jit(program).lower(*_arguments(problem))
            lock = crc32(repr((self._oracle, problem.graph, key[1])).encode()) % _LOCKS
            with jax_cache.persistent(f"lock-{lock}"):
                compiled = function.compile({} if fused else _WITHOUT_FUSION)
            self._programs[key] = problem.graph, compiled  # the graph is kept: its id stays its own
            if len(self._programs) > _KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key][1]

    def _run(
        self, program: Callable[..., Found], problems: Sequence[GraphProblem]
    ) -> Iterator[Answer]:
        import jax

        found = [program(*_arguments(problem)) for problem in problems]
        for loss, *parts in jax.device_get(found):
            yield Answer(self._oracle, np.asarray(loss), **dict(zip(PARTS, parts, strict=False)))


def _arguments(problem: GraphProblem) -> tuple[ByName, ...]:
    """Return what a program is called with."""
    floats = {name: problem.arrays[name] for name in problem.floats}
    others = {name: a for name, a in problem.arrays.items() if name not in floats}
    direction = dict(problem.direction) if isinstance(problem, DirectedGraph) else {}
    return floats, others, dict(problem.cotangents), direction


def _key(problem: GraphProblem) -> tuple[object, ...]:
    """Return what one program serves: the operations by identity: one may be registered again."""
    arrays = tuple((name, a.shape, a.dtype) for name, a in problem.arrays.items())
    return id(problem.graph), arrays, tuple(id(step.description) for step in problem.graph.steps)


def _program_of(graph: Graph, derivative: Derivative) -> Callable[..., Found]:
    """Return f(floats, others, cotangents, direction) -> (the loss, the parts of an answer)."""
    import jax
    import jax.numpy as jnp

    value = graph_sum(graph, "jax")

    def answer(floats: Tree, others: Tree, cotangents: Tree, direction: Tree) -> Found:
        def loss(floats: Tree, probes: Tree, taps: Tree) -> LossResult:
            total, made = value({**floats, **others}, cotangents, probed(probes, taps))
            return total, (total, made)

        shapes = jax.eval_shape(lambda given: loss(given, {}, {})[1][1], floats)
        probes = {name: jnp.zeros(s.shape, s.dtype) for name, s in shapes.items()}
        return derivative(loss, floats, probes, direction)[1:]

    return answer
