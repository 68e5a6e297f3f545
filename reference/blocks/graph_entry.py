"""The certified value of one entry of one tensor of an answer to a graph, with all its digits."""

import numpy as np
from flint import arb

from manual_backprop.graph import GraphProblem
from reference.arithmetic.balls import Ball, exact
from reference.blocks.graph_truth import StepRows, rows_of_stack
from reference.blocks.graph_weigh import stack_of
from reference.formats import format_of
from reference.oracles import Answer
from reference.problems import DirectedGraph


def truth_in_graph(
    problem: GraphProblem, answer: Answer, tensor: str, entry: tuple[int, ...]
) -> Ball:
    """Return what an entry should be at the answer's own numbers."""
    negligible = exact(format_of(problem.dtype).smallest) / 2**30
    if tensor == "loss":
        return sum(
            (
                arb(float(c)) * arb(float(y))
                for name, cotangent in problem.cotangents.items()
                for c, y in zip(cotangent.flat, answer.values[name].flat, strict=True)
            ),
            arb(0),
        )
    stack = stack_of([problem], [(0, answer)])
    kind, _, name = tensor.rpartition(" ")
    forward = kind in ("forward", "tangent")
    shape = np.shape((answer.values if forward else answer.gradients)[name])
    e = int(np.ravel_multi_index(entry, shape)) if entry else 0
    if isinstance(problem, DirectedGraph) and kind in ("tangent", ""):
        e += int(np.prod(shape))  # tangents stand behind values, cotangents behind their products
    total = arb(0)
    if not forward and name in stack.cotangents:
        total = arb(float(stack.cotangents[name][0, e]))
    for rows in rows_of_stack(stack):
        if forward and rows.plan.step.name == name:
            return _value(rows, e, negligible)
        if not forward and name in rows.plan.step.inputs.values():
            dy = stack.gradients[rows.plan.step.name][0]
            total = total + _pulled(rows, name, e, dy, negligible)
    return total


def _value(rows: StepRows, e: int, negligible: Ball) -> Ball:
    (row, j), *_ = np.argwhere(rows.plan.output == e).tolist()
    return _balls(rows, row, negligible)[j]


def _pulled(rows: StepRows, name: str, e: int, dy: object, negligible: Ball) -> Ball:
    """Return Σ dy · slope over the rows of one step that take the entry."""
    plan, total = rows.plan, arb(0)
    given: np.ndarray[tuple[int, ...], np.dtype[np.floating]] = np.asarray(dy)
    mine = [k for k, a in enumerate(plan.arguments) if plan.step.inputs[a] == name]
    takes = (plan.index == e) & np.isin(plan.owner, mine)[None]
    for row in np.flatnonzero(takes.any(axis=1)).tolist():
        balls = _balls(rows, row, negligible)[plan.row.values :]
        for slope, j, i in zip(balls, plan.row.of.tolist(), plan.row.by.tolist(), strict=True):
            cotangent = float(given[plan.output[row, j]])
            if takes[row, i] and cotangent:
                total = total + arb(cotangent) * slope
    return total


def _balls(rows: StepRows, row: int, negligible: Ball) -> list[Ball]:
    return rows.plan.row.tape.evaluate_with_arb(
        [arb(float(v)) for v in rows.inputs[:, row]], negligible
    ).values
