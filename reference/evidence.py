"""What a verdict rests on: the entry, every answer there, and the certified value of the step.

The certified value is that of one operation at the deviating answer's own inputs. It is written
with 32 digits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flint import arb

from manual_backprop.graph import GraphProblem
from manual_backprop.network import Problem
from reference.arithmetic.balls import Ball, exact, precision
from reference.blocks.gather import LossPlan
from reference.blocks.graph_entry import truth_in_graph
from reference.blocks.second_truth import second_truth
from reference.blocks.tapes import activation_tape
from reference.blocks.weigh import TensorFinding
from reference.formats import format_of
from reference.judge import Judgement, operation_at
from reference.oracles import Answer
from reference.oracles.certified import CertifiedTensor, exact_divisor
from reference.problems import AnyProblem, DirectedProblem, computed_in
from reports.records import Enclosure

_DIGITS = 32
_BITS = 4400  # holds any sum of products of float64 numbers without rounding

NO_NUMBER = ("undefined", "unbounded")
"""The text of an enclosure without a certified number: 0/0, the slope of log at 0."""


@dataclass(frozen=True)
class Evidence:
    """The proof that is shown with a verdict.

    `ulp` and `scaled` are the error of each side, in ULP and relative to the largest number of the
    tensor; `bound` is the allowed error; `mark` is "flush" if small numbers were replaced by zero.
    """

    tensor: str
    entry: tuple[int, ...]
    operation: str
    answers: Mapping[str, str] = field(default_factory=dict)
    enclosure: Enclosure | None = None
    ulp: Mapping[str, float] = field(default_factory=dict)
    scaled: Mapping[str, float] = field(default_factory=dict)
    bound: str = ""
    mark: str = ""
    sentence: str = ""


def gather(problem: AnyProblem, answers: Mapping[str, Answer], judgement: Judgement) -> Evidence:
    """Return the evidence for a verdict."""
    finding, at_kink = judgement.leading, next(iter(judgement.kink_slopes), None)
    place = at_kink if finding is None else finding
    if place is None or (finding is None and judgement.kind != "CONVENTION"):
        return Evidence("", (), "", sentence=plain_sentence(judgement))
    tensor, entry = place.tensor, place.entry
    evidence = Evidence(tensor, entry, operation_at(problem, tensor))
    accused = answers[place.oracle]
    if finding is None or not finding.reason:
        ball = local_truth(problem, accused, tensor, entry)
        # At a kink the ball is thick: it contains every slope in between, which are all allowed.
        thin = ball.rel_accuracy_bits() > 90 or bool(ball.is_zero())
        evidence = replace(evidence, enclosure=enclosure_of(ball, not thin))
        evidence = _with_answers(evidence, problem, answers)
    if finding is not None:
        mark = "flush" if finding.model is not None and finding.model.flush else ""
        evidence = replace(evidence, bound=_bound(finding), mark=mark)
    return replace(evidence, sentence=_sentence(judgement, evidence, finding))


def _with_answers(
    evidence: Evidence, problem: AnyProblem, answers: Mapping[str, Answer]
) -> Evidence:
    """Add what every side says at the entry, each beside the certified value at its own inputs."""
    values: dict[str, str] = {}
    ulp: dict[str, float] = {}
    scaled: dict[str, float] = {}
    for name, answer in answers.items():
        array = tensor_of(answer, evidence.tensor)
        if array is None or len(np.shape(array)) != len(evidence.entry):
            continue
        value = float(array[evidence.entry])
        values[name] = repr(value)
        truth = local_truth(problem, answer, evidence.tensor, evidence.entry)
        with np.errstate(all="ignore"):
            error = float(abs(arb(value) - truth).lower()) if np.isfinite(value) else np.inf
            spacing = float(np.spacing(np.abs(np.asarray(float(truth.mid()), problem.dtype))))
            scale = float(np.abs(np.where(np.isfinite(array), array, 0)).max(initial=0.0))
        error = max(0.0, error) if np.isfinite(error) else np.inf
        ulp[name] = error / spacing if np.isfinite(spacing) and spacing else np.inf
        scaled[name] = 0.0 if error == 0 else error / scale if scale else np.inf
    return replace(evidence, answers=values, ulp=ulp, scaled=scaled)


def tensor_of(answer: Answer, tensor: str) -> Any:
    """Return one tensor of an answer by its name: "loss", "forward layers.0.z", "layers.0.z".

    Of second order are "tangent layers.0.z" and "product layers.0.z".
    """
    if tensor == "loss":
        return None if answer.loss is None else np.asarray(answer.loss)
    kind, _, name = tensor.rpartition(" ")
    kinds = {"": answer.gradients, "forward": answer.values, "tangent": answer.tangents,
             "product": answer.products}  # fmt: skip
    return kinds[kind].get(name)


def local_truth(problem: AnyProblem, answer: Answer, tensor: str, entry: tuple[int, ...]) -> Ball:
    """Return the certified value of one entry: of its operation at the answer's own inputs.

    If the answer has no values of its steps, it is the certified value of the whole network.
    """
    if isinstance(problem, GraphProblem):
        with precision(_BITS):
            return truth_in_graph(problem, answer, tensor, entry)
    if isinstance(problem, DirectedProblem) and tensor.startswith(("tangent ", "product ")):
        return second_truth(problem, answer, tensor, entry)
    if not answer.values:
        from reference.oracles.certified import certify

        return certify(problem)[tensor].ball(entry)
    with precision(_BITS):
        return _ChainEntry(problem, answer).truth(tensor, entry)


class _ChainEntry:
    """The certified value of one entry of a dense network, from the answer's own inputs.

    `_smallest` is a positive number far below the smallest of the dtype.
    """

    def __init__(self, problem: Problem, answer: Answer) -> None:
        self.problem, self.values, self.gradients = problem, answer.values, answer.gradients
        self._smallest = exact(format_of(problem.dtype).smallest) / 2**30

    def truth(self, tensor: str, entry: tuple[int, ...]) -> Ball:
        network, parameters = self.problem.network, self.problem.parameters
        last = len(network.layers) - 1
        if tensor in ("loss", f"layers.{last}.a"):
            return self._loss(tensor, entry)
        forward, step = tensor.startswith("forward "), tensor.removeprefix("forward ")
        if step == "x":
            i, part = -1, "a"
        else:
            _, number, part = step.split(".")
            i = int(number)
        if part == "a" and not forward:
            weight = parameters[f"layers.{i + 1}.weight"]
            return _dot(self.gradients[f"layers.{i + 1}.z"][entry[0]], weight[entry[1]])
        if part in "az" and (part == "a") == forward:
            return self._activation(i, entry, forward)
        below = self.values[f"layers.{i - 1}.a"] if i else self.problem.x
        dz = self.gradients.get(f"layers.{i}.z")
        if part == "z":
            product = _dot(below[entry[0]], parameters[f"layers.{i}.weight"][:, entry[1]])
            bias = parameters.get(f"layers.{i}.bias") if network.layers[i].bias else None
            return product if bias is None else product + arb(float(bias[entry[1]]))
        assert dz is not None
        if part == "weight":
            return _dot(below[:, entry[0]], dz[:, entry[1]])
        return _dot(np.ones(len(dz)), dz[:, entry[0]])

    def _activation(self, i: int, entry: tuple[int, ...], forward: bool) -> Ball:
        layer = self.problem.network.layers[i]
        n, j = entry
        rowwise = layer.operation.rowwise
        tape = activation_tape(layer.operation, layer.parameters, layer.width if rowwise else None)
        z = self.values[f"layers.{i}.z"][n]
        da = self.gradients[f"layers.{i}.a"][n]
        if not rowwise:
            z, da, j = z[j : j + 1], da[j : j + 1], 0
        made = tape.evaluate_with_arb([arb(float(v)) for v in z], self._smallest)
        if forward:
            return made.values[j]
        return sum((arb(float(d)) * row[j] for d, row in zip(da, made.slopes, strict=True)), arb(0))

    def _loss(self, tensor: str, entry: tuple[int, ...]) -> Ball:
        problem = self.problem
        y = self.values[f"layers.{len(problem.network.layers) - 1}.a"]
        plan = LossPlan(computed_in(problem))
        width = y.shape[1]
        divisor = exact(1 if problem.network.reduction == "none" else exact_divisor(problem))
        whole = tensor == "loss" and problem.network.reduction != "none"
        wanted = entry[0] * width + entry[1] if plan.elementwise and not whole else None
        total = arb(0)
        for tape, rows, _, given in plan.groups:
            for k, row in enumerate(rows.tolist()):
                if not whole and row != (wanted if plan.elementwise else entry[0]):
                    continue
                numbers = y.ravel()[row : row + 1] if plan.elementwise else y[row]
                rest = () if given is None else np.atleast_1d(given[k])
                inputs = [arb(float(v)) for v in (*numbers, *rest)]
                made = tape.evaluate_with_arb(inputs, self._smallest)
                sample = row // width if plan.elementwise else row
                weight = 1.0 if problem.weights is None else float(problem.weights[sample])
                scale = arb(weight) / divisor
                slope = 0 if plan.elementwise or tensor == "loss" else entry[1]
                number = made.values[0] if tensor == "loss" else made.slopes[0][slope]
                total = total + number * scale
        return total


def _dot(left: Iterable[float], right: Iterable[float]) -> Ball:
    return sum((arb(float(a)) * arb(float(b)) for a, b in zip(left, right, strict=True)), arb(0))


def enclosure_of(ball: Ball, thick: bool) -> Enclosure:
    """Return a ball as two decimals; a thin one as its certified digits."""
    if not ball.is_finite():
        text = NO_NUMBER[0] if ball.is_nan() else NO_NUMBER[1]
        return Enclosure(low=text, high=text, digits=0, thin=False)
    with precision(max(256, ball.bits() + 64)):
        low, high = (end.mid().str(_DIGITS, radius=False) for end in (ball.lower(), ball.upper()))
    digits = min(int(ball.rel_accuracy_bits() * 0.30102), 10_000)
    return Enclosure(low=low, high=high, digits=None if thick else digits, thin=not thick)


def _bound(finding: TensorFinding) -> str:
    if finding.reason:
        return finding.reason
    model = finding.model.name if finding.model else "the widest model"
    return f"{finding.allowed:.3g} ({model})"


def plain_sentence(judgement: Judgement) -> str:
    """Return the sentence for a judgement that has no entry to show."""
    names = " and ".join(judgement.who)
    match judgement.kind:
        case "CRASHED":
            outside = {f.oracle: f.tensor for f in reversed(judgement.findings) if f.is_wrong}
            besides = ", ".join(f"{who} in {tensor}" for who, tensor in outside.items())
            also = f" Also outside what is admissible: {besides}." if outside else ""
            return f"{names} failed while answering.{also}"
        case "SKIPPED":
            return f"No side could answer: {names or 'none was asked'}."
        case "UNSUPPORTED":
            return " ".join(judgement.reasons[name] for name in judgement.who[:1])
    return "Every step of every answer is right, up to rounding in the last places."


def _sentence(judgement: Judgement, evidence: Evidence, finding: TensorFinding | None) -> str:
    place = f"{evidence.tensor}{list(evidence.entry) if evidence.entry else ''}"
    enclosure = evidence.enclosure
    if finding is None:
        low, high = (enclosure.low, enclosure.high) if enclosure else ("", "")
        return f"At {place} every slope from {low} to {high} is allowed; every answer lies there."
    names = " and ".join(judgement.who)
    if enclosure is None:
        return f"{names}: {finding.reason} at {place}."
    own = evidence.answers.get(finding.oracle, "")
    differs = f"differs by {finding.error:.3g} from"
    if not np.isfinite(finding.error):
        differs = f"has {own} instead of"
    off = (
        f"{finding.oracle} {differs} the certified {enclosure.brief} at {place}, computed from "
        f"{finding.oracle}'s own inputs of this step"
    )
    if judgement.kind == "PRECISION":
        how = "flushed to zero" if evidence.mark else "digits are lost that a stable form keeps"
        return f"{off}: {how}."
    if judgement.kind == "VALUE":
        return (
            f"{off}. For ordinary numbers too, the value of {evidence.operation} differs from the "
            "definition: either we call the framework's function incorrectly or it is wrong. "
            "Its gradient is not judged."
        )
    return f"{off}; rounding in {evidence.operation} allows {finding.allowed:.3g}."


def outside_enclosure(enclosure: Mapping[str, CertifiedTensor], answer: Answer) -> str | None:
    """Return the first final gradient of an answer outside the enclosure of the whole network."""
    for name in ("loss", *answer.gradients):
        value = tensor_of(answer, name)
        if name in enclosure and value is not None:
            inside = enclosure[name].contains(value) | ~np.isfinite(enclosure[name].radius)
            if not inside.all():
                return name
    return None
