"""Does our call of a framework compute the function we mean? Its values are compared first.

An operation's counterpart, with its options, reduction and padding, is our own translation and may
be wrong. Where an answer of a framework deviates, the framework is asked about the same use of the
operation with ordinary numbers: once for all problems that have this use. An operation whose value
differs from the definition there is reported: either we call the framework's function incorrectly,
or it is wrong (VALUE). Its gradient is not judged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Reduction
from reference.drawing.builder import ProblemBuilder, ProblemCell, Stream, outputs_for
from reference.drawing.graphs import draw_graph, first_graph, structure_number
from reference.drawing.regimes import REGIMES
from reference.formats import format_of
from reference.judge import Judgement, another_function, differing_values, judge_all, operation_at
from reference.oracles import Answer, Oracle, innermost
from reference.oracles.counterparts import Framework
from reference.problems import GRAPHS, AnyDrawn, AnyProblem, DrawnGraph, lowered

FRAMEWORKS: tuple[Framework, ...] = ("torch", "jax")
"""The oracles that call a framework's functions through our translation."""

DRAWS = 8
"""Problems of ordinary numbers for one use: one alone may miss the branch that is wrong."""

DRAWS_OF_A_GRAPH = 4

_WIDTH = 5  # of an operation of single numbers
_MAX_KNOWN = 4096  # uses that are remembered for one oracle


class Use(NamedTuple):
    """One use of an operation in a chain: all that our call of a framework depends on."""

    operation: str
    options: tuple[tuple[str, float], ...]
    width: int
    reduction: Reduction
    dtype: str

    def problems(self) -> Iterator[AnyProblem]:
        """Yield networks of one layer with this activation, or with this loss."""
        if self.operation in LOSSES:
            last = outputs_for(LOSSES[self.operation].predictions)
            activation, loss = "identity" if "identity" in last else last[0], self.operation
        else:
            activation, loss = self.operation, "mse"
            activation = activation if activation in ACTIVATIONS else "identity"
        cell = ProblemCell(activation, loss, "ordinary", self.dtype)
        for draw in range(DRAWS):
            builder = ProblemBuilder(Stream(0, draw), cell)
            options = dict(self.options)
            builder.depth, builder.widths, builder.biases = 1, [4, self.width], [True]
            builder.activations = [(activation, options if activation == self.operation else {})]
            builder.loss_parameters = options if loss == self.operation else {}
            builder.reduction = self.reduction
            REGIMES["ordinary"](builder)
            yield builder.problem()


class UseOfGraph(NamedTuple):
    """The structure of a graph, with all its operations."""

    seed: int
    structure: int
    cell: ProblemCell

    def problems(self) -> Iterator[AnyProblem]:
        """Yield problems of this structure."""
        first = first_graph(self.structure)
        for draw in range(DRAWS_OF_A_GRAPH):
            yield draw_graph(self.seed, GRAPHS + first + draw, first, self.cell)


AnyUse = Use | UseOfGraph

_differing: WeakKeyDictionary[Oracle, dict[AnyUse, frozenset[str]]] = WeakKeyDictionary()
"""For each oracle and use: the operations whose values differ."""


def settle_values(
    drawn: Sequence[AnyDrawn], judgements: Sequence[Judgement], oracles: Mapping[str, Oracle]
) -> list[Judgement]:
    """Return the judgements, VALUE instead of DEVIATES where a framework computes another value."""
    settled = list(judgements)
    differing: dict[int, dict[str, frozenset[str]]] = {}
    for name in FRAMEWORKS:
        uses = {
            k: list(uses_of(drawn[k], judgement, name))
            for k, judgement in enumerate(judgements)
            if judgement.kind == "DEVIATES" and name in judgement.who
        }
        if not uses:
            continue
        found = _ask(oracles[name], dict.fromkeys(use for some in uses.values() for use in some))
        for k, some in uses.items():
            differing.setdefault(k, {})[name] = frozenset().union(*(found[use] for use in some))
    for k, operations_of in differing.items():
        settled[k] = another_function(drawn[k].problem, judgements[k], operations_of)
    return settled


def uses_of(one: AnyDrawn, judgement: Judgement, oracle: str) -> Iterator[AnyUse]:
    """Yield the uses of the operations for which an oracle is called wrong.

    They are of the same dtype; of float32 for a low one, in which rounding hides a function.
    """
    dtype, (_, base) = format_of(one.cell.dtype).inside, lowered(one.index)
    if isinstance(one, DrawnGraph):
        cell = one.cell._replace(regime="ordinary", dtype=dtype)
        yield UseOfGraph(one.seed, structure_number(base - GRAPHS), cell)
        return
    network = one.problem.network
    accused = {
        operation_at(one.problem, finding.tensor)
        for finding in judgement.findings
        if finding.oracle == oracle and finding.is_wrong
    }

    for layer in network.layers:
        if layer.activation in accused:
            width = layer.width if layer.operation.rowwise else _WIDTH
            yield Use(layer.activation, tuple(layer.parameters.items()), width, "sum", dtype)
    if network.loss in accused:
        width = _WIDTH if network.loss_operation.elementwise else network.widths[-1]
        options = tuple(network.loss_parameters.items())
        yield Use(network.loss, options, width, network.reduction, dtype)
    if "dense" in accused:
        yield Use("dense", (), _WIDTH, "sum", dtype)


def _ask(oracle: Oracle, uses: Iterable[AnyUse]) -> Mapping[AnyUse, frozenset[str]]:
    """Return for each use the operations whose values the oracle gets wrong at ordinary numbers.

    What is known of a use is the same in every block: its problems depend on the use alone.
    """
    known = _differing.setdefault(innermost(oracle), {})
    if len(known) > _MAX_KNOWN:
        known.clear()
    asked = {use: list(use.problems()) for use in uses if use not in known}
    problems = [problem for some in asked.values() for problem in some]
    owners = [use for use, some in asked.items() for _ in some]
    known |= dict.fromkeys(asked, frozenset())
    if not problems:
        return known
    try:
        with np.errstate(all="ignore"):
            answers: Sequence[Answer] = oracle.answers(problems)
    except Exception:  # what fails here has no values to compare; the problem itself was answered
        return known
    judgements = judge_all(problems, {oracle.name: answers})
    for k, use in enumerate(owners):
        known[use] |= differing_values(problems[k], answers[k], judgements[k])
    return known
