"""The subject as an oracle: the hand-written NumPy backprop."""

import numpy as np

from manual_backprop.graph import GraphProblem, values_and_gradients
from manual_backprop.network import backward, forward
from manual_backprop.operation import Operation
from manual_backprop.second_order import hessian_vector_product
from reference.formats import format_of
from reference.oracles import Answer, Oracle, unsupported
from reference.oracles.low_precision import low_answer
from reference.problems import AnyProblem, DirectedGraph, DirectedProblem


class Manual(Oracle):
    """Asks `manual_backprop` itself, in its stable form."""

    name = "manual"
    graphs = True

    def answer(self, problem: AnyProblem) -> Answer:
        """Walk forward and backward once, at second order with their tangents."""
        # Overflow is an answer (inf) that the judge weighs; a warning would say nothing more.
        with np.errstate(all="ignore"):
            if isinstance(problem, DirectedProblem | DirectedGraph):
                if lacking := _without_second_order(problem):
                    return unsupported(
                        self.name, f"second order is not available for {', '.join(lacking)}"
                    )
                found = hessian_vector_product(problem, problem.direction)
                return Answer(self.name, found.loss, found.cotangents, values=found.values,
                              tangents=found.tangents, products=found.products)  # fmt: skip
            if format_of(problem.dtype).low:
                return low_answer(self.name, problem)
            if isinstance(problem, GraphProblem):
                values, cotangents = values_and_gradients(problem)
                terms = [(c * values[name]).sum() for name, c in problem.cotangents.items()]
                return Answer(self.name, np.asarray(sum(terms)), cotangents, values=values)
            trace = forward(problem)
            return Answer(self.name, trace.loss, backward(problem, trace), values=trace.steps)


def _without_second_order(problem: DirectedProblem | DirectedGraph) -> list[str]:
    if isinstance(problem, DirectedGraph):
        operations: list[Operation] = [step.description for step in problem.graph.steps]
    else:
        network = problem.network
        operations = [network.loss_operation, *(layer.operation for layer in network.layers)]
    return [operation.name for operation in operations if not operation.has_second_order]
