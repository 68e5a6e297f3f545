"""Verdicts as findings: everything with one cause is one finding, with a count and an example."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import prod

import msgspec
import numpy as np

from manual_backprop.graph import GraphProblem
from manual_backprop.network import Network, Problem
from reference.blocks.graph_weigh import tensor_shapes
from reference.diagnosis.layer_mistakes import line_of_step, named
from reference.diagnosis.second import name_mistakes
from reference.evidence import Evidence, gather, plain_sentence
from reference.formats import BFLOAT16, Array
from reference.judge import Judgement, operation_at
from reference.oracles import Answer
from reference.problems import (
    AnyDrawn,
    AnyProblem,
    DirectedGraph,
    DirectedProblem,
    Drawn,
    DrawnGraph,
    arrays_of,
    parse_address,
)
from reference.repro import script_of_deviation, script_of_graph
from reference.repro_second import script_of_second
from reports.records import Case, Finding, GraphShape, LayerShape, Nested, NetworkShape, StepShape

OTHERS = 20
"""Further addresses kept with a finding."""

SMALL = 300
"""Problems with more numbers than this are shown by their address alone."""


def short_finding_of(one: AnyDrawn, judgement: Judgement) -> Finding:
    """Return the judgement of one problem as a finding that counts 1, without its evidence."""
    place = judgement.leading or next(iter(judgement.kink_slopes), None)
    tensor = place.tensor if place is not None else ""
    flushed = judgement.leading is not None and judgement.leading.model is not None
    mark = "flush" if flushed and judgement.leading.model.flush else ""  # type: ignore[union-attr]
    crashed = judgement.kind == "CRASHED"
    reasons = [f"{name}: {judgement.reasons[name]}" for name in judgement.who] if crashed else []
    sentence = " ".join([plain_sentence(judgement), *reasons]) if place is None else ""
    kind = tensor.rpartition(" ")[0]
    return Finding(
        operation=operation_at(one.problem, tensor or "loss"),
        verdict=judgement.verdict,
        count=1,
        example=Case(
            at=one.at,
            network=network_shape(one.problem.network) if isinstance(one, Drawn) else None,
            graph=graph_shape(one) if isinstance(one, DrawnGraph) else None,
            batch=one.problem.batch if isinstance(one, Drawn) else 0,
            dtype=one.cell.dtype,
            regime=one.cell.regime,
            values=values_of(one.problem) if crashed else {},
        ),
        # The layer's number says where in one network; what is common to a cause is the kind.
        step=f"{kind} {_part_of(one, tensor)}".strip(),
        who=", ".join(judgement.who),
        kind=f"{judgement.kind} ({mark})" if mark else judgement.kind,
        dtype=one.cell.dtype,
        sentence=sentence,
    )


def _part_of(one: AnyDrawn, tensor: str) -> str:
    """Return what a tensor is to its operation: z, weight; in a graph the argument's name."""
    kind, _, place = tensor.rpartition(" ")
    if isinstance(one, Drawn):
        return place.rsplit(".", 1)[-1]
    if kind in ("forward", "tangent"):
        return "y"
    for step in one.problem.graph.steps:
        for argument, name in step.inputs.items():
            if name == place:
                return argument
    return place


def finding_of(one: AnyDrawn, answers: Mapping[str, Answer], judgement: Judgement) -> Finding:
    """Return the judgement of one problem as a finding that counts 1, with its evidence."""
    bare, problem = short_finding_of(one, judgement), one.problem
    evidence = gather(problem, answers, judgement)
    case = msgspec.structs.replace(
        bare.example,
        values=values_of(problem),
        tensor=evidence.tensor,
        entry=evidence.entry,
        answers=dict(evidence.answers),
        enclosure=evidence.enclosure,
        ulp=dict(evidence.ulp),
        scaled=dict(evidence.scaled),
        bound=evidence.bound,
        first_diverging_step=evidence.tensor or None,
    )
    if judgement.kind == "DEVIATES":
        repro = _script(problem, answers, judgement, evidence)
        case = msgspec.structs.replace(case, repro=repro)
        if "manual" in judgement.who and isinstance(problem, Problem):
            found = next(name_mistakes(problem, answers["manual"].products), None)
            diagnosis = None if found is None else f"{found.name}: {found.sentence} ({found.wrong})"
            case = msgspec.structs.replace(case, diagnosis=diagnosis)
        accused = judgement.leading.oracle if judgement.leading else ""
        if isinstance(problem, GraphProblem) and accused not in ("", "torch", "jax"):
            diagnosis = _named_in_graph(problem, answers[accused], evidence.tensor)
            case = msgspec.structs.replace(case, diagnosis=diagnosis)
    sentence = bare.sentence or evidence.sentence
    return msgspec.structs.replace(bare, example=case, sentence=sentence)


def _named_in_graph(problem: GraphProblem, answer: Answer, tensor: str) -> str | None:
    """Return the mistake of a layer's backward with which a cotangent is what was answered."""
    line = line_of_step(problem, answer, tensor) if tensor in answer.gradients else None
    mistake = None if line is None else named(line, answer.gradients[tensor])
    return None if mistake is None else f"{mistake.name}: {mistake.sentence} ({mistake.wrong})"


def _script(
    problem: AnyProblem, answers: Mapping[str, Answer], judgement: Judgement, evidence: Evidence
) -> str | None:
    """Return the script for the side that the judge named first."""
    leading = judgement.leading
    answer = answers.get(judgement.who[0] if leading is None else leading.oracle)
    if answer is None or answer.status != "ok":
        return None
    if problem.dtype == BFLOAT16:  # NumPy, which a script has its numbers in, has none
        return None
    if isinstance(problem, DirectedProblem | DirectedGraph):
        return script_of_second(problem, answer, evidence)
    if isinstance(problem, GraphProblem):
        return script_of_graph(problem, answer, evidence)
    return script_of_deviation(problem, answer, evidence)


def merge_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Make one finding of all with the same fingerprint; the order of merging changes nothing."""
    merged: dict[tuple[str, ...], Finding] = {}
    for finding in findings:
        key = fingerprint(finding)
        merged[key] = _both(merged[key], finding) if key in merged else finding
    return [merged[key] for key in sorted(merged)]


def fingerprint(finding: Finding) -> tuple[str, ...]:
    """Return what findings of one cause share."""
    f = finding
    # Not the regime: a wrong slope is one cause in all ten. The cells say where it occurred.
    return (f.verdict, f.operation, f.step, f.dtype, f.kind)


def network_shape(network: Network) -> NetworkShape:
    """Return the structure as a record."""
    layers = tuple(
        LayerShape(
            width=layer.width,
            activation=layer.activation,
            parameters=dict(layer.parameters),
            bias=layer.bias,
        )
        for layer in network.layers
    )
    return NetworkShape(
        input_width=network.input_width,
        layers=layers,
        loss=network.loss,
        loss_parameters=dict(network.loss_parameters),
        reduction=network.reduction,
    )


def graph_shape(one: DrawnGraph) -> GraphShape:
    """Return the structure of a graph as a record."""
    problem = one.problem
    shapes = tensor_shapes(problem)
    steps = tuple(
        StepShape(
            name=step.name,
            operation=step.operation,
            inputs=dict(step.inputs),
            options={name: str(value) for name, value in step.options.items()},
            shape=shapes[step.name],
        )
        for step in problem.graph.steps
    )
    given = {name: problem.arrays[name].shape for name in problem.graph.given}
    return GraphShape(steps=steps, given=given, architecture=one.cell.architecture)


def values_of(problem: AnyProblem) -> dict[str, Nested]:
    """Return every array of a small problem as nested lists of exact spellings."""
    arrays = arrays_of(problem)
    if sum(array.size for array in arrays.values()) > SMALL:
        return {}
    return {name: spelled(array) for name, array in arrays.items()}


def spelled(array: Array) -> Nested:
    """Return nested lists of the shortest decimals that name each number exactly."""
    spell = np.vectorize(lambda number: str(number), otypes=[object])
    return spell(array).tolist() if np.size(array) else []


def _both(a: Finding, b: Finding) -> Finding:
    """Merge two findings: counts add up, the smaller problem is the example."""
    small, large = (a, b) if _size(a) <= _size(b) else (b, a)
    addresses = {*a.others, *b.others, large.example.at}
    others = sorted(addresses - {small.example.at}, key=parse_address)[:OTHERS]
    return msgspec.structs.replace(small, count=a.count + b.count, others=tuple(others))


def _size(finding: Finding) -> tuple[int, tuple[int, int]]:
    """Return how large the example is: its numbers, then its address, so that no two tie."""
    network, batch = finding.example.network, finding.example.batch
    if network is None:
        graph = finding.example.graph
        shapes = [] if graph is None else [*graph.given.values(), *(s.shape for s in graph.steps)]
        return sum(map(prod, shapes)), parse_address(finding.example.at)
    widths = [network.input_width, *(layer.width for layer in network.layers)]
    weights = sum(a * b + b for a, b in pairwise(widths))
    return weights + batch * (widths[0] + widths[-1]), parse_address(finding.example.at)
