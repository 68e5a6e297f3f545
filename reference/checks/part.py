"""Checks one recognised part: runs it on drawn problems and judges each entry that it gives."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem, Reduction, backward, forward
from manual_backprop.spec import FloatArray, TargetKind
from reference.blocks.weigh import TensorFinding
from reference.checks.result import Fault, Part, Shrunk, Worst, merge
from reference.checks.shrink import hiding_places, shrink, spell
from reference.checks.targets.drawing import Accepts, draw, takes
from reference.checks.targets.process import Runner
from reference.diagnose import diagnose
from reference.diagnosis.describe import Pair, describe
from reference.diagnosis.same import same_to_rounding
from reference.diagnosis.search import Evidence
from reference.judge import judge, judge_whole
from reference.oracles import Answer, load
from reference.oracles.certified import certify
from reference.oracles.manual import Manual
from reference.repro import script_of

Arrays = dict[str, npt.NDArray[Any]]
_PATIENCE = 2  # a target that hung or died so often is not asked again
_ALIASES = {
    "activation": {"layers.0.z": "dx"},
    "loss": {"layers.0.a": "dy"},
    "dense": {"layers.0.weight": "dw", "layers.0.bias": "db"},
}
_REDUCTIONS = ("mean", "batch_mean", "sum", "none")
_MULTIPLES = (1.0, 0.5, 2.0)  # of a loss, as ½ (y − t)² and the like are written
_SETTLING = (0, 2, 3)  # problems of unlike sizes, by which a loss is told


@dataclass
class Case:
    """One problem, what came back, and what the judge said."""

    at: str
    problem: Problem
    answer: Answer
    verdict: str = ""
    worst: Worst | None = None
    wrong: set[str] = field(default_factory=set)  # the tensors that are


@dataclass
class Bench:
    """Runs one part and keeps count."""

    runner: Runner
    index: int
    part: Mapping[str, Any]
    seed: int
    reduction: str = "mean"
    multiple: float = 1.0
    """Of our loss: theirs may be ½ of it. A power of two, so that dividing by it rounds nothing."""
    targets: TargetKind | None = None
    hung: int = 0
    faults: list[Fault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def draw(self, index: int) -> Problem:
        """Draw a problem for this part."""
        return draw(self.part, self.seed, index, self.reduction, self.targets)

    def ask(self, problem: Problem) -> tuple[dict[str, Any], Arrays]:
        """Run the target on a problem; nothing is counted but hangs, and too many end it."""
        if self.hung >= _PATIENCE:
            return {"hung": "not asked again"}, {}
        facts, arrays = self.runner.run(self.index, problem, self.cotangent(problem))
        self.hung += "hung" in facts
        if self.multiple != 1:
            arrays = {n: np.asarray(v / self.multiple) for n, v in arrays.items()}
        for name, shape in _shapes(problem).items():
            if len(shape) == 1 and name in arrays and arrays[name].shape == (1, *shape):
                self.remark(f"{name} came back as a row, (1, D), and was compared as (D,)")
                arrays[name] = arrays[name][0]
        return facts, arrays

    def cotangent(self, problem: Problem) -> FloatArray:
        """Return the cotangent that the target is given, of its output."""
        with np.errstate(all="ignore"):
            found = backward(problem, forward(problem))
        return found["layers.0.z" if self.part["kind"] == "dense" else "layers.0.a"]

    def answer(self, problem: Problem, at: str) -> Answer | None:
        """Run the target and turn what it gave into an answer; faults are noted."""
        facts, arrays = self.ask(problem)
        self._note(facts, at)
        if not arrays:
            return None
        out = arrays.pop("out", None)
        gradients = self._shaped(problem, arrays, at)
        if not gradients:
            if "raised" not in facts:
                self.fault("missing", "no gradient came back under a name that is known", at)
            return None
        self._missing(problem, gradients, facts, at)
        return Answer("yours", self._loss(problem, out, at), gradients)

    def _missing(
        self, problem: Problem, gradients: Arrays, facts: Mapping[str, Any], at: str
    ) -> None:
        """Note whose gradient did not come back; a layer may leave one to another function."""
        network = self.part["kind"] == "network"
        wanted = [*problem.parameters, *([] if network else ["x"])]
        if self.part["kind"] in ("activation", "loss"):
            return  # their only one is there
        names = [n for n in wanted if n not in gradients and n not in facts.get("without", ())]
        if names:
            text = f"no gradient of {', '.join(names)} came back, so it was not checked"
            self.fault("missing", text, at, fatal=network)

    def fault(self, kind: str, text: str, at: str, *, fatal: bool = True) -> None:
        """Note what else the target did."""
        self.faults.append(Fault(kind, text, at, fatal=fatal))

    def _note(self, facts: Mapping[str, Any], at: str) -> None:
        for kind in ("raised", "hung", "died", "exited", "invalid"):
            if kind in facts:
                text = f"exit({facts[kind]}) was called" if kind == "exited" else facts[kind]
                self.fault(kind, text, at)
        for text in facts.get("notes", ()):
            self.remark(text)
        changed = facts.get("mutated")
        if changed:
            text = f"its inputs were changed: {', '.join(changed)}"
            # Writing into the cotangent is common, and harmless where nobody reads it again.
            self.fault("mutated", text, at, fatal=changed != ["dout"])
        if facts.get("printed"):
            text = " ".join(facts["printed"].split())[:60]
            self.fault("printed", f"{text!r}", at, fatal=False)

    def _shaped(self, problem: Problem, arrays: Arrays, at: str) -> Arrays:
        """Return the gradients of known names in the problem's dtype; note shapes and dtypes."""
        shapes = _shapes(problem)
        kept: Arrays = {}
        for name, value in arrays.items():
            if name not in shapes:
                what = "network" if self.part["kind"] == "network" else "layer"
                self.remark(f"{name!r} is no name of this {what} and was not compared")
                continue
            if value.shape != shapes[name]:
                text = f"{name} has the shape {value.shape}, expected {shapes[name]}"
                self.fault("shape", text, at)
            elif value.dtype != problem.dtype:
                coarser = value.dtype.itemsize < problem.dtype.itemsize or value.dtype.kind != "f"
                text = f"{name} is {value.dtype}, the problem {problem.dtype}"
                self.fault("dtype", text, at, fatal=coarser)
            kept[name] = value.astype(problem.dtype)
        return kept

    def _loss(self, problem: Problem, out: Any, at: str) -> FloatArray:
        """Return the loss to be judged: theirs where it is one, else ours, the output compared."""
        with np.errstate(all="ignore"):
            trace = forward(problem)
        kind = self.part["kind"]
        if kind in ("network", "loss"):
            if out is not None and np.shape(out) == trace.loss.shape:
                return np.asarray(out, problem.dtype)
            if out is not None:
                text = f"the loss has the shape {np.shape(out)}, expected {trace.loss.shape}"
                self.fault("shape", text, at)
            return trace.loss
        ours = trace.steps["layers.0.z" if kind == "dense" else "layers.0.a"]
        if out is not None and not same_to_rounding(np.asarray(out, problem.dtype), ours):
            self.fault("forward", f"its output is not that of {self.part['operation']}", at)
        return trace.loss

    def remark(self, text: str) -> None:
        """Note something once."""
        if text not in self.remarks:
            self.remarks.append(text)


def check_part(
    runner: Runner, index: int, part: Mapping[str, Any], problems: int, seed: int
) -> Part:
    """Check one recognised part on so many problems."""
    bench = Bench(runner, index, part, seed)
    if part["kind"] == "loss":
        _settle(bench)
    cases: list[Case] = []
    for k in range(problems):
        problem, at = bench.draw(k), f"{seed}:{k}"
        answer = bench.answer(problem, at)
        if answer is not None:
            cases.append(Case(at, problem, answer))
        if sum(f.kind in ("hung", "died") for f in bench.faults) >= _PATIENCE:
            break
    judged = _judge(cases)
    wrong = [c for c in cases if c.verdict == "wrong"]
    conventions = sum(c.verdict == "convention" for c in cases)
    if conventions:
        bench.remark(
            f"on a kink it chose another slope than the references in {conventions} problems"
        )
    lost = sum(c.verdict == "precision" for c in cases)
    if lost:
        bench.remark(f"digits are lost that a stabler form keeps, in {lost} problems")
    if wrong and all(c.wrong == {"loss"} for c in wrong):
        text = "only the value of the loss is wrong; its gradients are right"
        values = _values(wrong)
        bench.remark(f"{text}: {values}" if values else text)
    if part.get("beside"):
        bench.remark(
            f"not checked, of no operation's name: {', '.join(part['beside'])}; "
            "--like or like = '…' says which it is meant to be"
        )
    evidence = [Evidence(c.problem, _known(bench, c)) for c in wrong]
    diagnosis = diagnose(evidence) if wrong else None
    shrunk, script = (None, None) if not wrong else _smallest(bench, wrong)
    operation = part["operation"]
    if part["kind"] == "loss":
        operation += f", reduction {bench.reduction}"
    matched = f"checked as {operation}, matched {part['how']}"
    return Part(
        form=part["form"],
        what=part["what"],
        matched="matched " + part["how"] if part["kind"] == "network" else matched,
        problems=problems,
        right=len(cases) - len(wrong),
        wrong=len(wrong),
        judged=judged,
        faults=merge(bench.faults),
        remarks=tuple(bench.remarks),
        diagnosis=diagnosis,
        worst=next((c.worst.times(bench.multiple) for c in wrong if c.worst), None),
        shrunk=shrunk,
        script=script,
        aliases=_ALIASES.get(part["kind"], {}),
    )


def _settle(bench: Bench) -> None:
    """Find what a loss takes, how it reduces and of what multiple it is: by its own value."""
    operation, accepts = LOSSES[bench.part["operation"]], Accepts(bench.part["accepts"])
    for kind in accepts.kinds or operation.targets:
        bench.targets = kind
        values = list(_values_of(bench))
        if values:
            break
    else:
        bench.targets = operation.targets[0]
        return
    wanted = accepts.wanted_reductions or _REDUCTIONS
    bench.reduction = wanted[0]
    if (told := _told(values, wanted)) is not None:
        bench.multiple, bench.reduction = told
        if bench.multiple != 1:
            bench.remark(f"it is {bench.multiple:g} times the {bench.reduction}; judged as that")
        return
    if accepts.wanted_reductions:
        return
    bench.reduction = next((r for r in _REDUCTIONS if _fits(*values[0], 1.0, r)), "mean")
    if _fits(*values[0], 1.0, bench.reduction):
        return  # its value is wrong on some problems
    bench.remark("its value fits no reduction (none, sum, mean, batch_mean); taken for the mean")
    other = _other_loss(bench)
    if other:
        bench.remark(f"its value is that of {other}: --like {other} (like = '{other}' in the file)")


def _values_of(bench: Bench) -> Iterator[tuple[Problem, Any]]:
    """Yield problems of unlike sizes with the loss that came back; none after one without."""
    for index in _SETTLING:
        problem = bench.draw(index)
        facts, arrays = bench.ask(problem)
        if "out" not in arrays or "raised" in facts:
            return
        yield problem, arrays["out"]


def _told(values: list[tuple[Problem, Any]], reductions: Sequence[str]) -> tuple[float, str] | None:
    """Return the multiple and the reduction that fit the loss of every problem."""
    return next(
        (
            (multiple, reduction)
            for multiple, reduction in product(_MULTIPLES, reductions)
            if all(_fits(problem, out, multiple, reduction) for problem, out in values)
        ),
        None,
    )


def _fits(problem: Problem, out: Any, multiple: float, reduction: str) -> bool:
    """Say whether a loss that came back is a multiple of ours, reduced like this."""
    network = replace(problem.network, reduction=cast(Reduction, reduction))
    with np.errstate(all="ignore"):
        ours = forward(replace(problem, network=network)).loss
        return same_to_rounding(np.asarray(out / multiple, ours.dtype), ours)


def _other_loss(bench: Bench) -> str | None:
    """Return the loss whose value a target has that its name matched to another."""
    for operation in LOSSES.values():
        part = {**bench.part, "operation": operation.name, "parameters": {}}
        for kind in operation.targets:
            values = list(_values_of(replace(bench, part=part, targets=kind)))
            if len(values) == len(_SETTLING) and _told(values, _REDUCTIONS):
                return operation.name
    return None


def _judge(cases: list[Case]) -> dict[str, int]:
    """Give every case its verdict; return how many problems each reference answered.

    Yours is on trial: it is excused nothing that the references do not need. Ours answers in the
    form of the books, so that nobody is held to more digits than the books' formulas keep.
    """
    torch = load(("torch",))["torch"]
    problems = [c.problem for c in cases]
    references = {"manual": Manual("textbook").answers(problems)}
    counts = {"the proven gradient": 0, "the hand-written NumPy": len(cases)}
    if cases and torch.unavailable() is None:
        references["torch"] = torch.answers(problems)
        counts["PyTorch"] = len(cases)
    for k, case in enumerate(cases):
        answers = {"yours": case.answer} | {n: found[k] for n, found in references.items()}
        findings = _findings(case)
        counts["the proven gradient"] += 1
        outside = [f for f in findings if f.model is None]
        if outside:
            case.verdict = "wrong"
            case.wrong = {f.tensor for f in outside}
            case.worst = _worst(case, outside[0], certify(case.problem))
        elif findings:
            case.verdict = "precision"
        else:
            tied = _apart(answers) and bool(certify(case.problem).ties)
            case.verdict = "convention" if tied else "right"
    return counts


def _findings(case: Case) -> list[TensorFinding]:
    """Judge step by step what gave every cotangent, at our values; anything else as a whole."""
    with np.errstate(all="ignore"):
        trace = forward(case.problem, "textbook")
        names = backward(case.problem, trace).keys()
    if case.answer.gradients.keys() != names:
        return list(judge_whole(case.problem, case.answer, flush=False))
    given = replace(case.answer, values=trace.steps)
    return list(judge(case.problem, {"yours": given}).findings)


def _apart(answers: Mapping[str, Answer]) -> bool:
    """Say whether yours differs from every other answer; they may differ among themselves."""
    yours = answers["yours"].gradients
    return all(
        any(not same_to_rounding(value, other.gradients[name]) for name, value in yours.items())
        for who, other in answers.items()
        if who != "yours"
    )


def _values(wrong: list[Case]) -> str:
    """Return in words how the values of the loss differ from the right ones."""
    pairs = []
    for case in wrong:
        with np.errstate(all="ignore"):
            right = forward(case.problem).loss
        sizes = {"N": case.problem.batch, "C": case.problem.network.widths[-1]}
        pairs.append(Pair(np.atleast_1d(np.asarray(case.answer.loss)), np.atleast_1d(right),
                          sizes=sizes))  # fmt: skip
    return describe(pairs)


def _worst(case: Case, finding: Any, certificate: Any) -> Worst | None:
    given = case.answer.loss if finding.tensor == "loss" else case.answer.gradients[finding.tensor]
    if given is None or np.shape(given) != certificate[finding.tensor].shape:
        return None
    entry = finding.entry
    truth = float(certificate[finding.tensor].high[entry])  # the midpoint of the proven ball
    return Worst(case.at, finding.tensor, entry, float(np.asarray(given)[entry]), truth,
                 finding.allowed)  # fmt: skip


def _known(bench: Bench, case: Case) -> Arrays:
    """Return what was given, with the cotangents that the target was handed."""
    given = dict(case.answer.gradients)
    kind = bench.part["kind"]
    if kind in ("activation", "dense"):
        given["layers.0.a"] = bench.cotangent(case.problem)
    if kind == "dense":
        given["layers.0.z"] = given["layers.0.a"]
    return given


def _smallest(bench: Bench, wrong: list[Case]) -> tuple[Shrunk | None, str | None]:
    """Shrink the smallest failing problem, and write the script that shows it."""
    fails = failing(bench)
    kind = bench.part["kind"]
    for case in sorted(wrong, key=lambda c: sum(c.problem.network.widths) * c.problem.batch)[:3]:
        if fails(case.problem):
            break
    else:
        return None, None
    small = shrink(case.problem, fails, layered=kind == "network")
    _, arrays = bench.ask(small)
    given = {k: v for k, v in arrays.items() if k in _shapes(small)}
    typical = next((c.problem for c in wrong if c.problem.batch > 1), wrong[0].problem)
    invisible = tuple(hiding_places(typical, fails))
    title = f"The gradient of {bench.part['what']} beside the frameworks' own."
    if bench.multiple != 1:
        title += f" Yours is divided by {bench.multiple:g}, as your loss is that times theirs."
    return (
        Shrunk(small, spell(small, kind=kind), invisible),
        script_of(small, given, title, kind=kind),
    )


def failing(bench: Bench) -> Callable[[Problem], bool | None]:
    """Return whether a target is wrong on a problem; None where it gave nothing.

    Our own backward decides first, as it is cheap; what it calls wrong, the proof has to confirm:
    plain numbers land on kinks, where another choice is no mistake.
    """

    def fails(problem: Problem) -> bool | None:
        if bench.part["kind"] == "network" and not takes(bench.part["accepts"], problem):
            return None
        _, arrays = bench.ask(problem)
        with np.errstate(all="ignore"):
            trace = forward(problem, "textbook")
            right = backward(problem, trace)
        if not all(np.isfinite(v).all() for v in right.values()):
            return None
        given = {n: v.astype(problem.dtype) for n, v in arrays.items() if n in right}
        if not given:
            return None
        if all(same_to_rounding(v, right[n]) for n, v in given.items()):
            return False
        if any(v.shape != right[n].shape for n, v in given.items()):
            return True
        yours = Answer("yours", trace.loss, given)
        return any(f.model is None for f in judge_whole(problem, yours, flush=False))

    return fails


def _shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    n = problem.batch
    shapes = dict(problem.network.parameter_shapes())
    for i, width in enumerate(problem.network.widths[1:]):
        shapes[f"layers.{i}.z"] = shapes[f"layers.{i}.a"] = (n, width)
    return {**shapes, "x": problem.x.shape}
