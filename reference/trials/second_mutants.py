"""Mutants of the hand-written second order: each `tangent` and `second`, and their helpers.

Each is injected into its operation alone, in both dtypes and every regime.
"""

from collections.abc import Iterator
from functools import cache

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import FloatArray
from reference.conventions.uses import draw, problem_of
from reference.drawing.builder import Stream
from reference.formats import DTYPES
from reference.oracles import Answer
from reference.problems import directed_graph
from reference.trials.layer_mutants import Bank, bank_of, mutate_helpers, result_of
from reference.trials.mutants import Mutant, mutate
from reference.trials.second_order import problems_of

_SIZES = 12, 96, 480
"""Problems that a mutant meets at first, and those that what survives meets."""


_USES = 160
"""Uses of a layer that what survives meets: all of its options are among them."""


def of_second() -> Iterator[Mutant]:
    """Yield every mutant of every operation's `tangent` and `second`."""
    for group, registry in (("activation", ACTIVATIONS), ("loss", LOSSES), ("layer", LAYERS)):
        operations = registry
        for name, operation in operations.items():
            for method in ("tangent", "second"):
                right = getattr(operation, method, None)
                if right is None:  # a loss has no tangent of its own
                    continue
                for change, function in (*mutate(right), *mutate_helpers(right)):
                    yield Mutant(group, name, f"{method}, {change}", function, method)


@cache
def _bank(name: str, size: int) -> Bank:
    """Return problems of an operation with the right answers, in the end each of its own shape."""
    problems = list(problems_of(name, size))
    if name in LAYERS and size == _SIZES[-1]:
        uses = [draw(LAYERS[name], k, DTYPES[k % 2]) for k in range(_USES)]
        graphs = (problem_of(LAYERS[name], use) for use in uses)
        problems = [directed_graph(graph, Stream(_USES, k)) for k, graph in enumerate(graphs)]
    return bank_of(problems)


def result_of_second(mutant: Mutant) -> tuple[bool, str]:
    """Say whether the judge catches a mutant of second order, and if not, why."""
    return result_of(mutant, (_bank(mutant.operation, n) for n in _SIZES), _moves)


def _moves(answer: Answer) -> dict[str, FloatArray]:
    return {**answer.tangents, **{f"product {n}": p for n, p in answer.products.items()}}
