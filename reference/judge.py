"""From answers to verdicts. All tolerances of the report are here.

Each step is judged by itself. An answer names all its tensors; each is a function of others in the
same answer. It is right if it differs from the certified value of its operation *at the answer's
own inputs* by no more than a stated rounding. No error is carried through the network. An answer
that has only final gradients is judged as a whole: it must lie in the enclosure of the network with
the same rounding at every step (`oracles.enclosure`).
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from manual_backprop.graph import GraphProblem
from manual_backprop.network import Problem
from manual_backprop.operation import FloatArray
from reference.blocks.gather import expected_tensors, mismatch
from reference.blocks.graph_weigh import weigh_graphs
from reference.blocks.second import weigh_second
from reference.blocks.weigh import KinkSlope, TensorFinding, differing_slopes, weigh
from reference.oracles import ORACLES, Answer
from reference.oracles.enclosure import enclose
from reference.problems import AnyProblem, DirectedProblem
from reference.rounding import Rounding, RoundingUnit
from reports.summary import kind_named

P = TypeVar("P", Problem, GraphProblem)

# Every constant has its measurement; benchmarks/judge_constants.py repeats those of the verdicts.

# -- constants of the verdicts --------------------------------------------------------------------

ULPS = 8.0
"""strict: an operation's value and slope are right to this many ulps, given its inputs."""

TEXTBOOK_ULPS = 64.0
"""textbook: the same number for right formulas that lose digits because they take a slope from the
rounded output, as textbooks write it. XLA's log1p is 32 ulps off in float64 (at -0.393), its
gelu_tanh 30 u."""

LOW_ULPS = 4.0
"""As TEXTBOOK_ULPS, for operations that are computed in bfloat16 or float16 themselves. At all
numbers of the dtype torch's activations need 0.97 at most (tanhshrink), JAX's 2.58 (selu) for a
value and 1.83 (gelu_tanh) for a slope (`benchmarks/low_precision.py ulps`)."""

FORMULA = 4.0
"""For layers in graphs, whose formula may cancel or take a slope from a rounded output. The allowed
error is this many times what the definition loses when each of its primitives rounds. Beyond
*strict* the layers of the hand-written side need at most 0.27 times that amount (attention; 1,640
graphs of all layers), torch 2.9 times (attention) and 0.27 times (all others; 820 graphs).
benchmarks/graph_constants.py measures it."""

FUNCTION = 4.0
"""When the loss of digits of a definition is computed, a library function (exp, log, …) counts as
this many units of rounding, and a sum or a product as 1. A test evaluates the definitions in
float32 and checks them with it."""

DOUBT = 2.0**-10
"""If an entry is outside *strict*, and the error bound of its certified value is more than this
share of the allowed error, all rows are computed again in ball arithmetic (arb)."""

RECOMPUTED = 2.0**20
"""An error of a cotangent up to so many times what is allowed may come from a compiler that
computed the cotangent before it twice (see recomputation.py). Ill-conditioned numbers make it
large: 3.6e5 was seen. An answer in float32 that has no digit right is beyond it."""

MAX_LOST_SHARE = 2.0**-4
"""The hand-written side may lose digits under TEXTBOOK, but its error must stay below this share of
the number itself (except for an activation over rows, whose slopes cancel). In 12,000 networks the
largest error was 1.3e-3 of the number (float32) and 7e-14 of it (float64). So a wrong sign or
factor in a saturated tail does not count as a loss of digits."""

# -- constants of `accuracy` ----------------------------------------------------------------------

OUTSIDE_BY_CHANCE = 4
"""The hand-written side may be outside *strict* at up to 2 n + 4 of 600 points, where n is the
number of points at which the better framework is outside. Measured where terms cancel: poisson_nll
of the hand-written side is outside at 1 point and that of the better framework at 0; gaussian_nll
at 6 and at 4. A formula that loses a saturated tail is outside at a fifth of the points."""

# -- constants of the diagnosis -------------------------------------------------------------------

REPRODUCES = {np.dtype(np.float64): 2.0**-40, np.dtype(np.float32): 2.0**-13}
"""Two arrays are equal for a diagnosis if they differ by at most this share of the larger: the same
formula, added up in another order. Examples written by others differed by 8e-15 at most; the
smallest mistakes of the catalogue (an ε of 1e-8, a conversion to float32) change a tensor by about
1e-8. bfloat16 and float16 have none: the same call of a framework is compared in float32."""

SUMMANDS = 2.0**-8
"""For a sum whose terms cancel, which differs by more than REPRODUCES of itself. The allowed
distance is REPRODUCES · SUMMANDS · (largest number that the sum was made from)."""

ONE_FACTOR, ONE_SMALL_FACTOR = 1e-6, 1e-4
"""If the ratios of all entries agree to the first share, the gradient is off by one factor. The
second applies to ratios of small differences, which have fewer digits."""

SOME_DIGITS = 1e-3
"""An answer whose error is below this share of the number still has some of its digits."""

# -- the models of rounding -----------------------------------------------------------------------

STRICT = Rounding(ULPS)
"""The value and the slope of each operation are right to a few ulps, given its inputs."""

JOINED = replace(STRICT, joined=True)
"""STRICT, but each input may be rounded to the dtype once more, or not at all, as by a compiler
that splits or joins operations."""

TEXTBOOK = Rounding(
    TEXTBOOK_ULPS,
    textbook=True,
    formula=FORMULA,
    function=FUNCTION,
)
"""What formulas lose as textbooks write them: a slope 1 - y² from a rounded y, for example."""

ACCUMULATED = replace(TEXTBOOK, low_ulps=LOW_ULPS, accumulated=True)
"""TEXTBOOK, computed in bfloat16 or float16 itself, and not in float32."""

MODELS = (
    STRICT,
    JOINED,
    TEXTBOOK,
    ACCUMULATED,
    replace(JOINED, flush=True),
    replace(TEXTBOOK, flush=True),
    replace(ACCUMULATED, flush=True),
)
"""The models of rounding, in the order in which they are tried. JOINED and ACCUMULATED are tried
only in bfloat16 and float16. An answer inside JOINED is judged like an answer inside STRICT. The
hand-written side sums in float32, so neither of the two excuses it."""

NESTED = replace(TEXTBOOK, nested="torch_nested")
"""For graphs of second order, the last model; it applies only to nested forward mode.

Example: in group_norm the second-order product of the bias is exactly 0. Nested forward mode gets
it by differentiating s = ⟨tdy, y⟩ + ⟨dy, ty⟩, whose terms cancel, so it gives a rounding error of s
instead of 0. The rule: each product may also be off by the rounding of s, computed with polynomials
multiplied out.

Measured on 1,000 uses of each norm:

- group_norm: 750 need this model, with errors up to 0.14 of what it allows. None deviates.
- PyTorch's other norms are wrong at second order, and deviate in 839 (layer_norm), 830
  (batch_norm) and 866 (instance_norm) uses. The model excuses 106 uses of them; in these it allows
  at least 1.5 % of the largest product.
"""

ADVISORY = ("complex_step",)
"""Oracles that are shown and not judged: the complex step is NaN where complex arithmetic meets
infinity, and loses digits below 1e-123; neither says anything about a gradient."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, who it names, and what was found of each tensor that is not inside *strict*.

    `kind` is AGREE, PRECISION, CONVENTION, DEVIATES, VALUE, UNSUPPORTED, SKIPPED or CRASHED; see
    `reports.summary.KINDS`. `findings` are ordered from the loss backward. `kink_slopes` are the
    entries at a kink, where several slopes are right, and the answers took different ones.
    """

    kind: str
    who: tuple[str, ...] = ()
    findings: tuple[TensorFinding, ...] = ()
    kink_slopes: tuple[KinkSlope, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The verdict as it is spelled: AGREE, DEVIATES(torch), PRECISION(jax, torch)."""
        return f"{self.kind}({', '.join(self.who)})" if self.who else self.kind

    @property
    def leading(self) -> TensorFinding | None:
        """The finding that decides the verdict: the first one, going back from the loss."""
        if self.kind not in ("DEVIATES", "VALUE", "PRECISION"):
            return None
        wrong = self.kind != "PRECISION"
        deciding = (f for f in self.findings if f.is_wrong == wrong and f.oracle in self.who)
        return next(deciding, None)


def judge(
    problem: AnyProblem, answers: Mapping[str, Answer], *, subject: str = "manual"
) -> Judgement:
    """Judge the answers to one problem.

    `subject` is the side under test. It may not replace small numbers by zero; the others may.
    """
    return judge_all([problem], {name: [a] for name, a in answers.items()}, subject=subject)[0]


def judge_all(
    problems: Sequence[AnyProblem],
    answers: Mapping[str, Sequence[Answer]],
    *,
    subject: str = "manual",
    again: Mapping[str, Mapping[int, Answer]] | None = None,
    count: Callable[[int], None] = lambda entries: None,
) -> list[Judgement]:
    """Judge a block: return one judgement for each problem.

    `answers` has the answers of each oracle, in the order of the problems. `again` has second
    answers of an oracle to some of them, by place. `count` is called with how many numbers were
    compared. For problems with a direction the derivatives along the direction are judged.
    """
    again = again or {}
    with_steps, final_only = _by_what_they_have(problems, answers, again)
    findings: list[list[TensorFinding]] = [[] for _ in problems]
    kink_slopes: dict[int, list[KinkSlope]] = {}
    chains, graphs = _apart(problems, with_steps)
    directed = any(isinstance(problem, DirectedProblem) for problem in chains.problems)
    weigh_chains = weigh_second if directed else weigh
    of_graphs, share = (*MODELS, NESTED), MAX_LOST_SHARE
    for some, weighed in (
        (chains, weigh_chains(chains.problems, chains.answers, MODELS, subject, share)),
        (graphs, weigh_graphs(graphs.problems, graphs.answers, of_graphs, subject, share, DOUBT)),
    ):
        count(weighed.entries)
        kink_slopes |= {some.places[p]: made for p, made in weighed.kink_slopes.items()}
        for number, found in weighed.findings.items():
            p, _ = some.answers[number]
            findings[some.places[p]] += found
    for k, answer in final_only:
        problem = problems[k]
        assert isinstance(problem, Problem)
        framework = answer.oracle != subject
        findings[k] += judge_final_gradients(problem, answer, framework_models=framework)
    return [
        _judgement(problem, _answers_to(k, answers, again), findings[k],
                   kink_slopes.get(k, []), subject)
        for k, problem in enumerate(problems)
    ]  # fmt: skip


def _answers_to(
    k: int,
    answers: Mapping[str, Sequence[Answer]],
    again: Mapping[str, Mapping[int, Answer]],
) -> dict[str, Answer]:
    """Return each oracle's answer to one problem, or its second one if that is a crash."""
    second = {name: few[k] for name, few in again.items() if k in few}
    crashes = {name: answer for name, answer in second.items() if answer.status == "crashed"}
    return {name: of_all[k] for name, of_all in answers.items()} | crashes


_Numbered = list[tuple[int, Answer]]  # answers with the places of their problems


def _by_what_they_have(
    problems: Sequence[AnyProblem],
    answers: Mapping[str, Sequence[Answer]],
    again: Mapping[str, Mapping[int, Answer]],
) -> tuple[_Numbered, _Numbered]:
    """Return the answers that are judged step by step, and those that have only final gradients."""
    with_steps: _Numbered = []
    final_only: _Numbered = []
    for name, of_all in answers.items():
        if name in ADVISORY:
            continue
        for k, answer in [*enumerate(of_all), *again.get(name, {}).items()]:
            if answer.status == "ok":
                # Our own oracles give every step: a missing one is wrong.
                required = isinstance(problems[k], DirectedProblem | GraphProblem)
                steps = bool(answer.values) or answer.oracle in ORACLES or required
                (with_steps if steps else final_only).append((k, answer))
    return with_steps, final_only


@dataclass
class _Part(Generic[P]):
    """The problems of one kind, their places in the block, and the answers to them."""

    problems: list[P] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    answers: list[tuple[int, Answer]] = field(default_factory=list)


def _apart(
    problems: Sequence[AnyProblem], answers: Sequence[tuple[int, Answer]]
) -> tuple[_Part[Problem], _Part[GraphProblem]]:
    """Return the chains and the graphs, each with the answers to them."""
    chains: _Part[Problem] = _Part()
    graphs: _Part[GraphProblem] = _Part()
    number: list[int] = []
    for k, problem in enumerate(problems):
        part: Any = chains if isinstance(problem, Problem) else graphs
        number.append(len(part.problems))
        part.problems.append(problem)
        part.places.append(k)
    for k, answer in answers:
        of: Any = chains if isinstance(problems[k], Problem) else graphs
        of.answers.append((number[k], answer))
    return chains, graphs


def judge_final_gradients(
    problem: Problem, answer: Answer, *, framework_models: bool
) -> Iterator[TensorFinding]:
    """Yield the tensors of an answer that lie outside *strict*, judged without its own steps.

    `framework_models`: also try the models that do not apply to the hand-written side (JOINED,
    ACCUMULATED, and those with flush to zero).
    """
    left: dict[str, FloatArray] = dict(answer.gradients)
    if answer.loss is not None:
        left["loss"] = answer.loss
    for name, shape in {
        n: s for kind, n, s in expected_tensors(problem) if kind != "forward"
    }.items():
        if name in left and (reason := mismatch(left[name], problem.dtype, shape)):
            del left[name]
            yield TensorFinding(answer.oracle, name, None, (), np.inf, 0.0, reason)
    for model in MODELS:
        unit = RoundingUnit(problem.dtype, model)
        if unit.has_no_effect or not (framework_models or model.applies_to_manual):
            continue
        enclosure = enclose(problem, unit)
        outside = {}
        for name in [name for name in enclosure if name in left]:
            distance = enclosure[name].distance(left[name])
            inside = enclosure[name].contains(left[name]) | ~np.isfinite(enclosure[name].radius)
            if not inside.all():
                outside[name] = np.where(inside, -1.0, distance), enclosure[name].radius
            elif model is not STRICT:
                entry = _worst(distance, enclosure[name].radius)
                error, allowed = float(distance[entry]), float(enclosure[name].radius[entry])
                yield TensorFinding(answer.oracle, name, model, entry, error, allowed)
        left = {name: left[name] for name in outside}
        if not left:
            return
    for name, (distance, radius) in outside.items():
        entry = _worst(distance, radius)
        error, allowed = float(distance[entry]), float(radius[entry])
        yield TensorFinding(answer.oracle, name, None, entry, error, allowed)


def _worst(errors: np.ndarray, allowed: np.ndarray) -> tuple[int, ...]:
    with np.errstate(all="ignore"):
        ratio = np.nan_to_num(errors / allowed, nan=0.0)
    return tuple(map(int, np.unravel_index(int(ratio.argmax()), ratio.shape)))


def _judgement(
    problem: AnyProblem,
    answers: Mapping[str, Answer],
    findings: list[TensorFinding],
    at_kinks: Sequence[KinkSlope],
    subject: str,
) -> Judgement:
    """Return the judgement: of the verdicts that apply, the most serious (`reports.summary.KINDS`).

    VALUE is decided afterwards, by `another_function`.
    """
    judged = {name: a for name, a in answers.items() if name not in ADVISORY}
    findings = [f for f in findings if f.model != JOINED]
    crashed = tuple(name for name, a in judged.items() if a.status == "crashed")
    reasons = {name: a.reason for name, a in answers.items() if a.status != "ok"}
    unsupported = tuple(name for name, a in judged.items() if a.status == "unsupported")
    slopes = tuple(differing_slopes(at_kinks))
    place = {name: i for i, name in enumerate(back_from_the_loss(problem))} if findings else {}
    found = tuple(sorted(findings, key=lambda f: (place[f.tensor], -f.error)))
    applies = {
        "DEVIATES": _in_order(judged, {f.oracle for f in found if f.is_wrong}),
        "CRASHED": crashed,
        "PRECISION": _in_order(judged, {f.oracle for f in found if not f.is_wrong}),
        "UNSUPPORTED": unsupported,
    }
    verdicts = [(kind, who) for kind, who in applies.items() if who]
    verdicts += [("CONVENTION", ())] if slopes else []
    answered = any(a.status == "ok" for a in judged.values())
    verdicts.append(("AGREE", ()) if answered else ("SKIPPED", tuple(reasons)))
    kind, who = max(verdicts, key=lambda v: kind_named(v[0], manual=subject in v[1]).weight)
    return Judgement(kind, who, found, slopes, reasons)


def _in_order(names: Iterable[str], some: Container[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in some)


def differing_values(problem: AnyProblem, answer: Answer, judgement: Judgement) -> frozenset[str]:
    """Return the operations whose *value* in an answer is another function's, not a rounding."""
    found = set()
    for finding in judgement.findings:
        value = answer.loss
        if finding.tensor.startswith("forward "):
            value = answer.values.get(finding.tensor.removeprefix("forward "))
        elif finding.tensor != "loss":
            continue
        if finding.is_wrong and finding.oracle == answer.oracle and value is not None:
            with np.errstate(all="ignore"):
                size = float(np.max(np.abs(value), initial=0.0))
            if not finding.error <= REPRODUCES[problem.dtype] * size:
                found.add(operation_at(problem, finding.tensor))
    return frozenset(found)


def another_function(
    problem: AnyProblem, judgement: Judgement, operations: Mapping[str, frozenset[str]]
) -> Judgement:
    """Return the judgement without the findings of operations whose value is another function.

    `operations` has the names of these operations for each oracle. A side that is also
    outside elsewhere still DEVIATES. Otherwise the verdict is VALUE.
    """
    others = {
        f
        for f in judgement.findings
        if f.is_wrong and operation_at(problem, f.tensor) in operations.get(f.oracle, ())
    }
    rest = tuple(f for f in judgement.findings if f not in others)
    wrong = _in_order(judgement.who, {f.oracle for f in rest if f.is_wrong})
    if wrong:
        return replace(judgement, who=wrong, findings=rest)
    return replace(judgement, kind="VALUE")


def back_from_the_loss(problem: AnyProblem) -> list[str]:
    """Return the names of all tensors, the loss first; the value of a step is "forward …".

    Those of second order follow: "tangent …" of a step's value, "product …" of a cotangent.
    """
    names = _names_back(problem)
    second = [f"tangent {name.removeprefix('forward ')}" if name.startswith("forward ")
             else f"product {name}" for name in names[1:]]  # fmt: skip
    return [*names, *second]


def _names_back(problem: AnyProblem) -> list[str]:
    names = ["loss"]
    if isinstance(problem, GraphProblem):
        steps = [step.name for step in reversed(problem.graph.steps)]
        return [*names, *(name for s in steps for name in (s, f"forward {s}")), *problem.floats]
    network = problem.network
    for i in reversed(range(len(network.layers))):
        step = f"layers.{i}"
        names += [f"{step}.a", f"forward {step}.a", f"{step}.z", f"{step}.weight", f"{step}.bias"]
        names.append(f"forward {step}.z")
    return [*names, "x"]


def operation_at(problem: AnyProblem, tensor: str) -> str:
    """Return the operation that makes a tensor: a value forward, a cotangent backward."""
    tensor = tensor.removeprefix("product ").replace("tangent ", "forward ")
    if isinstance(problem, GraphProblem):
        return _operation_of_graph(problem, tensor)
    network = problem.network
    if tensor == "loss" or tensor == f"layers.{len(network.layers) - 1}.a":
        return network.loss
    forward, step = tensor.startswith("forward "), tensor.removeprefix("forward ")
    if step.endswith(".a" if forward else ".z"):
        return network.layers[int(step.split(".")[1])].activation
    return "dense"


def _operation_of_graph(problem: GraphProblem, tensor: str) -> str:
    """Return the step that makes a value, or the first of those that a cotangent comes from."""
    forward, name = tensor.startswith("forward "), tensor.removeprefix("forward ")
    for step in problem.graph.steps:
        if step.name == name if forward else name in step.inputs.values():
            return step.operation
    return "the loss"


def allowed_alone(
    truth: np.ndarray,
    inputs: np.ndarray,
    quantity: str,
    dtype: npt.DTypeLike,
    model: Rounding,
) -> np.ndarray:
    """Return how far an activation may be off `truth`, its right value or slope at `inputs`.

    `quantity` is "value" or "slope".
    """
    unit = RoundingUnit(dtype, model)
    rounded = unit.value if quantity == "value" else unit.slope
    with np.errstate(all="ignore"):
        return np.asarray(rounded(np.abs(truth), np.abs(inputs)))
