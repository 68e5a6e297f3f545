"""A whole network: value_and_grad(network, params, x, y[, weights]) -> (loss, grads).

Networks are drawn by what the code says it `accepts`. The truth is the certified gradient of its
own loss, on balls; where its code leaves them, that of the network's definition.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manual_backprop.network import Network, Problem, forward
from manual_backprop.operation import InvalidInput
from reference.balls import Session, gradient, is_tracked, lift, numpy_on_balls, values
from reference.checks.code import Path, Target, Unit
from reference.checks.comparing import Assessment, Objective, Row, Truth, row
from reference.checks.explain import Explanation
from reference.checks.judging import Failure, ProblemCase, Subject, modules_of
from reference.checks.kinds._catalogue import explanation_of
from reference.checks.kinds._problems import Accepts, draw
from reference.checks.kinds._rows import written_into
from reference.checks.tolerances import COARSE, COARSE_LOSS, DIGITS, SAME
from reference.diagnose import diagnose
from reference.diagnosis.search import GradientEvidence, cotangent_names


@dataclass
class NetworkRun:
    """One problem: the loss and the gradients that came back, and what is right."""

    problem: Problem
    loss: float
    given: dict[str, Any]
    truth: dict[str, Truth]
    factor: float | None = None
    """Its loss over ours; None where they are not multiples."""
    by: str = "own"
    faults: list[tuple[str, str]] = field(default_factory=list)
    nodes: int = 0
    """How many numbers its tape held."""


class NetworkSubject(Subject):
    """A function of a whole network."""

    def __init__(self, unit: Unit, target: Target, accepts: Accepts) -> None:
        self.name = unit.name
        self.function, self.accepts = unit.backward.function, accepts
        self.arguments = unit.backward.arguments
        self.modules = modules_of(unit, target)
        self.by = "own"
        self._runs: dict[int, NetworkRun] = {}

    def sentence(self) -> str:
        """Return what it is."""
        return "a whole network, the gradient of its loss"

    def judged_by(self) -> str:
        """Return what the truth is."""
        if self.by == "own":
            return "its own loss, certified"
        return "the definition of the network, certified (its code cannot run on certified numbers)"

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run one problem and hold every gradient to the truth; on a kink another is drawn."""
        run = self._run(draw(self.accepts, seed, index))
        if run is None:
            run = self._run(draw(self.accepts, seed, index, ordinary=True), kinks=True)
        assert run is not None
        self._runs[index] = run
        self.by = run.by
        rows = self._rows(run)
        names = {r.leaf[0] for r in rows}
        missing: list[Path] = [(n,) for n in run.problem.parameters if n not in names]
        unmatched: list[Path] = [(n,) for n in run.given if n not in names]
        found = Assessment(
            Objective("loss", ("loss",)),
            rows,
            missing=missing,
            unmatched=unmatched,
            remarks=self._remarks(run),
        )
        return ProblemCase(index, found, faults=run.faults, nodes=run.nodes)

    def _rows(self, run: NetworkRun) -> list[Row]:
        order = {n: i for i, n in enumerate(cotangent_names(run.problem))}
        names = sorted((n for n in run.given if n in run.truth), key=lambda n: order.get(n, 99))
        coarse = run.by != "own" and run.problem.dtype == np.float32
        digits = 10 * COARSE if coarse else DIGITS
        return [row((n,), (n,), run.given[n], run.truth[n], digits) for n in names]

    def _remarks(self, run: NetworkRun) -> list[str]:
        if run.factor is not None and abs(run.factor - 1) < COARSE_LOSS:
            return []
        name = run.problem.network.loss
        if run.factor is not None and run.by == "own" and _simple(run.factor):
            return [f"its loss is {run.factor:.6g} times {name}; its gradient was judged for that"]
        return [
            f"its loss is another than {name} (reduction {run.problem.network.reduction}): it "
            "was judged by its own"
        ]

    # -- running -----------------------------------------------------------------------------

    def _run(self, problem: Problem, kinks: bool = False) -> NetworkRun | None:
        """Run one problem; None where its forward meets a kink exactly, unless `kinks` says so."""
        given = {k: v.copy() for k, v in problem.parameters.items()}
        x = problem.x.copy()
        with np.errstate(all="ignore"):
            loss, gradients = self._call(problem, given, x)
        plain = {k: v for k, v in named(problem.network, gradients).items() if v is not None}
        run = NetworkRun(problem, float(np.sum(np.asarray(loss, dtype=float))), plain, {})
        run.faults = _faults(problem, given, x, plain)
        run.factor = self._factor(run)
        try:
            tie = self._own_truth(run)
        except Exception:
            self._definition(run)
            return run
        return None if tie and not kinks else run

    def _call(
        self, problem: Problem, params: Mapping[str, object], x: object
    ) -> tuple[Any, Iterable[object]]:
        extra: dict[str, object] = {
            n: problem.weights for n in ("weights", "sample_weights") if n in self.arguments
        }
        if "arrays" in self.arguments:
            extra["arrays"] = dict(problem.arrays)
        found = self.function(problem.network, dict(params), x, problem.targets.copy(), **extra)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise InvalidInput(
                f"{self.name} returned {type(found).__name__}, expected (loss, grads)"
            )
        return found[0], found[1]

    def _factor(self, run: NetworkRun) -> float | None:
        """Return its loss over ours, None where ours is 0 or not finite."""
        with np.errstate(all="ignore"):
            ours = float(np.sum(np.asarray(forward(run.problem, "textbook").loss, dtype=float)))
            if abs(ours) < SAME and abs(run.loss) < SAME:  # one class: any multiple of 0
                return 1.0
            ratio = run.loss / ours if ours else np.nan
        return float(ratio) if np.isfinite(ratio) else None

    def _own_truth(self, run: NetworkRun) -> bool:
        """Differentiate its own loss on balls; take its gradients with 60 digits as well.

        Returns whether a comparison met equal sides that depend on the parameters.
        """
        problem = run.problem
        with Session() as session, np.errstate(all="ignore"), numpy_on_balls(self.modules, seed=0):
            lifted = {k: lift(v) for k, v in problem.parameters.items()}
            x = lift(problem.x)
            loss, gradients = self._call(problem, lifted, x)
            if not is_tracked(loss):
                raise TypeError("its loss does not depend on the numbers that carry a derivative")
            wanted = {**lifted, "x": x}
            found = gradient([loss], [np.ones(np.shape(loss))], list(wanted.values()))
            exact = named(problem.network, gradients)
            again = {k: values(v) for k, v in exact.items() if v is not None}
        run.nodes = session.nodes
        run.truth = {k: Truth(*d) for k, d in zip(wanted, found, strict=True)}
        for name, value in again.items():
            if name in run.given and np.shape(run.given[name]) == value.shape:
                run.given[name] = value
        run.truth |= self._steps(run)
        return session.at_a_kink

    def _steps(self, run: NetworkRun) -> dict[str, Truth]:
        """Return the truth of the inner steps that came back, where its loss is ours."""
        inner = [n for n in run.given if n not in run.truth]
        if not inner or run.factor is None:
            return {}
        certified = _certified(run.problem)
        return {n: _scaled(certified[n], run.factor) for n in inner if n in certified}

    def _definition(self, run: NetworkRun) -> None:
        run.by = "definition"
        factor = run.factor if run.factor is not None and _simple(run.factor) else 1.0
        run.truth = {n: _scaled(t, factor) for n, t in _certified(run.problem).items()}

    # -- which mistake -----------------------------------------------------------------------

    def explanation(self, cases: Sequence[ProblemCase], seed: int) -> Explanation:
        """Name the mistakes of the catalogue that make these gradients; else describe them."""
        evidence = []
        for case in cases:
            run = self._runs[case.index]
            factor = run.factor if run.factor is not None and _simple(run.factor) else 1.0
            fitting = [r for r in case.assessment.rows if r.got.shape == r.truth.value.shape]
            dtype = run.problem.dtype
            given = {r.leaf[0]: (r.got / factor).astype(dtype) for r in fitting}
            evidence.append(GradientEvidence(run.problem, given))
        with np.errstate(all="ignore"):
            return explanation_of(diagnose(evidence))


def _simple(factor: float) -> bool:
    """Whether a loss is a plain multiple of ours: ½, 2 …, as people write them."""
    return any(abs(factor - f) < COARSE_LOSS * f for f in (0.5, 1.0, 2.0))


def _certified(problem: Problem) -> dict[str, Truth]:
    from reference.oracles.certified import certify

    certified = certify(problem)
    found = {}
    for name, leaf in certified.tensors.items():
        largest = float(np.max(np.abs(leaf.high), initial=0.0))
        found[name] = Truth(leaf.high, leaf.radius, np.full(leaf.high.shape, largest))
    return found


def _scaled(truth: Truth, factor: float) -> Truth:
    if abs(factor - 1) < COARSE_LOSS:
        return truth
    return Truth(truth.value * factor, truth.radius * abs(factor), truth.scale * abs(factor))


def _faults(
    problem: Problem, params: Mapping[str, Any], x: object, given: Mapping[str, object]
) -> list[tuple[str, str]]:
    found = written_into({**problem.parameters, "x": problem.x}, {**params, "x": x})
    for name, value in given.items():
        dtype = np.asarray(value).dtype
        if dtype.kind == "f" and dtype.itemsize < problem.dtype.itemsize:
            found.append(("dtype", f"{name} is {dtype}, the problem {problem.dtype}"))
    return found


def named(network: Network, gradients: Iterable[object]) -> dict[str, object]:
    """Put our names to gradients: under our names, W1 and b1 (or W0 and b0), or in order."""
    names = list(network.parameter_shapes())
    if not isinstance(gradients, Mapping):
        flat: list[object] = []
        for entry in gradients:
            flat += entry if isinstance(entry, tuple | list) else [entry]
        return dict(zip([*names, "x"], flat, strict=False))
    if all(str(k) in {*names, *network.step_names(), "x"} for k in gradients):
        return dict(gradients)
    numbered = [re.fullmatch(r"(?:d|grad_?)?(\w*?)_?(\d+)", str(k)) for k in gradients]
    first = min((int(m[2]) for m in numbered if m), default=0)
    table = {"w": "weight", "weight": "weight", "b": "bias", "bias": "bias", "z": "z", "a": "a"}
    found: dict[str, object] = {}
    for (key, value), m in zip(gradients.items(), numbered, strict=True):
        if m and m[1].lower() in table:
            found[f"layers.{int(m[2]) - first}.{table[m[1].lower()]}"] = value
        elif str(key).lower() in ("x", "dx", "input"):
            found["x"] = value
        else:
            found[str(key)] = value
    return found


# -- its accepts -------------------------------------------------------------------------------


def subject(unit: Unit, target: Target, seed: int) -> NetworkSubject | Failure:
    """Return the subject of a whole network's function; raises InvalidInput for its `accepts`."""
    accepts = vars(target.module).get("accepts", {})
    if not isinstance(accepts, Mapping):
        Accepts(accepts)  # says what is wrong with it
    accepts = {**accepts, **getattr(unit.backward.function, "accepts", {})}
    Accepts(accepts)
    names = unit.backward.arguments
    accepts["weights"] = "weights" in names or "sample_weights" in names
    accepts["arrays"] = "arrays" in names
    return NetworkSubject(unit, target, Accepts(accepts))
