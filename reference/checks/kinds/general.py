"""The general form: a forward with named steps, written once, and a backward by hand.

    shapes = {"x": "N D", "W": "D H", "y": "N int(H)"}

    def forward(xp, step, x, W, y):
        h = step("h", xp.tanh(x @ W))
        ...
        return loss

    def backward(inputs, steps):  # and dout, where the output is an array
        return {"h": dh, "W": dW}

The forward runs on balls. Every step whose cotangent the author gives cuts the tape: what comes
before it is judged given that cotangent, so that an error shows where it was made and only there.
"""

import contextlib
import copy
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manual_backprop.operation import InvalidInput
from reference.balls import Session, gradient, is_tracked, lift, numpy_on_balls, values
from reference.checks.code import Layout, Path, Routine, Target, Unit
from reference.checks.code.argument_spec import WholeNumbers, specs_of
from reference.checks.code.routine import routine_of
from reference.checks.comparing import Assessment, Objective, Row, Truth, close, row
from reference.checks.explain import Explanation
from reference.checks.judging import Demonstration, Failure, Key, ProblemCase, modules_of
from reference.checks.kinds._questions import Question, Questioned, RightAnswer, plain, sizes_of
from reference.checks.kinds._rows import written_into
from reference.checks.tolerances import DIGITS
from reference.diagnosis.describe import ArrayPair, describe

Arrays = dict[str, np.ndarray]


@dataclass
class GeneralRun:
    """One problem: what the author gave, what is right given it, and the shares of each sum."""

    inputs: Arrays
    steps: Arrays
    given: dict[str, object]
    cotangents: list[np.ndarray]
    """Of the outputs."""
    truth: dict[str, Truth] = field(default_factory=dict)
    shares: dict[str, Arrays] = field(default_factory=dict)
    """name -> {"through h": the share of its gradient that comes through the step h}"""
    faults: list[tuple[str, str]] = field(default_factory=list)
    nodes: int = 0
    """How many numbers its tape held."""


class GeneralSubject(Questioned):
    """A computation with named steps and its backward."""

    kind, digits = "general", DIGITS

    def __init__(self, unit: Unit, target: Target, forward: Routine) -> None:
        self.name = unit.name
        self.layout = {}
        self.forward, self.backward = forward, unit.backward
        self.modules = modules_of(unit, target)
        self.shapes = _shapes_of(target, forward)
        self.draw = _drawer(target, self.shapes)
        self._runs: dict[int, GeneralRun] = {}

    def sentence(self) -> str:
        """Return what it is."""
        return (
            "forward(xp, step, …) with backward(inputs, steps): every step, from your gradients of "
            "the steps after it"
        )

    def judged_by(self) -> str:
        """Return what the truth is."""
        return "its own forward, certified"

    def inputs(self, seed: int, index: int) -> Arrays:
        """Return the inputs of one problem."""
        return dict(self.draw(np.random.default_rng([seed, index])))

    def smaller(self, seed: int, index: int, wrong: Collection[Key]) -> Iterator["GeneralSubject"]:
        """Yield it with every letter 1, then 2, then 3, and numbers that are easily read."""
        for size in (1, 2, 3) if self.shapes is not None else ():
            one = copy.copy(self)
            one.draw = functools.partial(_drawn_small, self.shapes or {}, size)
            one._runs = {}
            yield one
        yield self

    def demonstration(self, index: int, leaves: list[tuple[str, Path]]) -> Demonstration:
        """Return how its forward and its backward are called, one after the other."""
        run = self._runs[index]
        dout = len(self.backward.arguments) > 2
        given = {**run.inputs, **({"dout": run.cotangents[0]} if dout else {})}
        lines = [
            "steps = {}",
            "def step(name, value):",
            "    steps[name] = np.array(value)",
            "    return value",
            f"inputs = {{k: copy.deepcopy(given[k]) for k in {list(run.inputs)!r}}}",
            "theirs.forward(np, step, **inputs)",
            f"found = theirs.backward(inputs, steps{', given[' + repr('dout') + ']' * dout})"
            if dout
            else "found = theirs.backward(inputs, steps)",
        ]
        texts = (f"{t!r}: found.get({p[0]!r}, found.get({'d' + p[0]!r}))" for t, p in leaves)
        lines.append(f"return {{{', '.join(texts)}}}")
        several = dout and len(run.cotangents) > 1
        return Demonstration(given, [] if several else lines, (), ("forward", "backward"))

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run one problem; hold each cotangent to the certified one, given those after it."""
        run, _ = self._as_written(seed, index)
        self._certify(run, seed)
        self._runs[index] = run
        names = [*reversed(run.steps), *run.inputs]
        rows = [
            row((n,), (n,), run.given[n], run.truth[n])
            for n in names
            if n in run.given and n in run.truth
        ]
        if not all(r.right for r in rows):
            rows = self._exactly(run, rows, seed)
        missing: list[Path] = [
            (n,) for n, v in run.inputs.items() if v.dtype.kind == "f" and n not in run.given
        ]
        found = Assessment(Objective("loss", ("out",)), rows, missing=missing)
        return ProblemCase(index, found, faults=run.faults, nodes=run.nodes)

    def questions(self, seed: int, index: int) -> list[Question]:
        """Run one problem on floats."""
        run, outputs = self._as_written(seed, index)
        floats = plain({(k,): v for k, v in run.inputs.items() if v.dtype.kind == "f"})
        others = plain({(k,): v for k, v in run.inputs.items() if v.dtype.kind != "f"})
        claims = plain({(k,): v for k, v in run.given.items()})
        return [Question(floats, tuple(outputs), tuple(run.cotangents), claims, others)]

    def solved(
        self, question: Question, seed: int, index: int, cuts: Mapping[Path, object]
    ) -> RightAnswer:
        """Differentiate the forward at given inputs, cut at the steps of `cuts`."""
        given = {p[0]: np.asarray(v) for p, v in {**question.inputs, **question.others}.items()}
        run = GeneralRun(given, {}, {p[0]: v for p, v in cuts.items()}, list(question.cotangents))
        outputs = self._certify(run, seed, every=True)
        return RightAnswer(tuple(outputs), {(k,): t for k, t in run.truth.items()})

    def _as_written(self, seed: int, index: int) -> tuple[GeneralRun, list[np.ndarray]]:
        """Run forward and backward on floats; return the run and the outputs."""
        inputs = self.inputs(seed, index)
        kept = {k: v.copy() for k, v in inputs.items()}
        with np.errstate(all="ignore"):
            outputs, steps = self._on_floats({k: v.copy() for k, v in kept.items()})
            cotangents = self._cotangents(outputs, seed, index)
            passed = {k: v.copy() for k, v in steps.items()}
            given = self._backward(inputs, passed, cotangents, {*kept, *steps})
        run = GeneralRun(kept, steps, given, cotangents, faults=written_into(kept, inputs))
        return run, [np.asarray(o) for o in outputs]

    def _on_floats(self, inputs: Arrays) -> tuple[list[object], Arrays]:
        steps: Arrays = {}

        def step(name: str, value: object) -> object:
            if name in steps or name in inputs:
                raise InvalidInput(f"step {name!r} is named twice")
            steps[name] = np.array(value)
            return value

        out = self.forward.function(np, step, **inputs)
        return _several(out), steps

    def _cotangents(self, outputs: Sequence[Any], seed: int, index: int) -> list[np.ndarray]:
        """Return 1 for a loss; for arrays random ones, where the backward asks for them."""
        rng = np.random.default_rng([seed, index, 1])
        takes_cotangent = len(self.backward.arguments) > 2
        shapes = [np.shape(o) for o in outputs]
        return [rng.standard_normal(s) if takes_cotangent and s else np.ones(s) for s in shapes]

    def _backward(
        self,
        inputs: Mapping[str, object],
        steps: Mapping[str, object],
        cotangents: Sequence[object],
        names: set[str],
    ) -> dict[str, object]:
        arguments: list[object] = [inputs, steps]
        if len(self.backward.arguments) > 2:
            arguments.append(cotangents[0] if len(cotangents) == 1 else tuple(cotangents))
        found = self.backward.function(*arguments)
        if not isinstance(found, Mapping):
            raise InvalidInput(
                f"backward returned {type(found).__name__}, expected a dict from names to gradients"
            )
        plain = {str(k): v for k, v in found.items() if v is not None}
        given = {k if k in names else k.removeprefix("d"): v for k, v in plain.items()}
        unknown = sorted(set(given) - names)
        if unknown:
            raise InvalidInput(
                f"backward returned {unknown[0]!r}; expected one of: {', '.join(sorted(names))}"
            )
        return given

    def _certify(self, run: GeneralRun, seed: int, every: bool = False) -> list[np.ndarray]:
        """Differentiate the forward, cut at each step whose cotangent the author gave.

        every: whether the truth of every step and input is wanted, not of what was given alone.
        Returns the outputs.
        """
        with self._on_balls(seed) as (xp, session):
            lifted = {k: lift(v) if v.dtype.kind == "f" else v for k, v in run.inputs.items()}
            nodes = {k: v for k, v in lifted.items() if is_tracked(v)}
            made: dict[str, object] = {}

            def step(name: str, value: object) -> object:
                if not is_tracked(value):
                    return value
                cut = name in run.given and _fits(run.given[name], value)
                made[name] = value
                nodes[name] = lift(values(value)) if cut else value
                return nodes[name]

            outputs = _several(self.forward.function(xp, step, **lifted))
            if not run.cotangents:
                run.cotangents = [np.ones(np.shape(o)) for o in outputs]
            sources = {"the output": (outputs, run.cotangents)}
            sources |= {
                k: ([made[k]], [np.asarray(run.given[k], dtype=float)])
                for k in made
                if nodes[k] is not made[k]
            }
            wanted = {k: v for k, v in nodes.items() if every or k in run.given}
            all_outputs = [o for outs, _ in sources.values() for o in outs]
            all_given = [c for _, given in sources.values() for c in given]
            run.nodes = session.nodes
            found = gradient(all_outputs, all_given, list(wanted.values()))
            run.truth = {k: Truth(*d) for k, d in zip(wanted, found, strict=True)}
            if not all(np.isfinite(t.value).all() for t in run.truth.values()):
                raise ArithmeticError("the gradient of the forward has no value here")
            made_of = [values(o) for o in outputs]
            if every:
                return made_of
            wrong = {k: v for k, v in wanted.items() if not _agrees(run.given[k], run.truth[k])}
            for name, (outs, given) in sources.items() if wrong else ():
                flows = gradient(outs, given, list(wrong.values()))
                for node, flow in zip(wrong, flows, strict=True):
                    if flow.scale.any() and name != node:
                        run.shares.setdefault(node, {})[f"through {name}"] = flow.midpoint
            return made_of

    def _exactly(self, run: GeneralRun, rows: list[Row], seed: int) -> list[Row]:
        """Run the backward on numbers of 60 digits, so that lost digits are no wrong formula."""
        try:
            with self._on_balls(seed) as (_, session), session.paused():
                both = {**run.inputs, **run.steps}
                lifted = {k: lift(v) if v.dtype.kind == "f" else v.copy() for k, v in both.items()}
                inputs = {k: lifted[k] for k in run.inputs}
                steps = {k: lifted[k] for k in run.steps}
                again = self._backward(inputs, steps, run.cotangents, {*lifted})
        except Exception:
            return rows
        named: list[tuple[Path, str]] = [((n,), n) for n in again if n in run.truth]
        exact = {p: row(p, p, values(again[n]), run.truth[n]) for p, n in named}
        return [r if r.right or not (e := exact.get(r.leaf, r)).right else e for r in rows]

    @contextlib.contextmanager
    def _on_balls(self, seed: int) -> Iterator[tuple[object, Session]]:
        with Session() as session, np.errstate(all="ignore"):
            with numpy_on_balls(self.modules, seed=seed) as stand_ins:
                yield stand_ins.of(np), session

    def explanation(self, cases: Sequence[ProblemCase], seed: int) -> Explanation:
        """Say what is wrong of each cotangent, given the author's own after it."""
        pairs: dict[str, list[ArrayPair]] = {}
        for case in cases:
            run = self._runs[case.index]
            for r in case.assessment.rows:
                if not r.right:
                    pairs.setdefault(r.leaf[0], []).append(_pair(run, r))
        texts = []
        for name, found in list(pairs.items())[:4]:
            text = describe(found) or _clipped(found)
            text = text or "it is wrong given your own cotangents after it; no simple relation fits"
            texts.append((name, text))
        return Explanation(texts[0][0] if texts else "", (), tuple(texts))


def _pair(run: GeneralRun, r: Row) -> ArrayPair:
    name = r.leaf[0]
    known: Arrays = {k: v for k, v in {**run.inputs, **run.steps}.items() if v.dtype.kind == "f"}
    known |= {f"the gradient of {k}": t.value for k, t in run.truth.items() if k != name}
    own = run.shares.get(name, {})
    sizes = {f"size {n} of {name}": int(s) for n, s in enumerate(r.truth.value.shape)}
    sizes |= {k: v for k, v in sizes_of(run.inputs).items() if k == "N"}
    return ArrayPair(r.got, r.truth.value, known, sizes, own if len(own) > 1 else {})


def _clipped(pairs: Sequence[ArrayPair]) -> str:
    """Say that a gradient is right up to a bound at which it is cut off."""
    bound = max(float(np.max(np.abs(p.given), initial=0)) for p in pairs)
    if not bound or any(p.given.shape != p.right.shape for p in pairs):
        return ""
    inside = [np.allclose(p.given, np.clip(p.right, -bound, bound), rtol=DIGITS) for p in pairs]
    text = f"every entry that differs is clipped to ±{bound:g}; right up to the clip"
    return text if all(inside) else ""


def _agrees(given: object, truth: Truth) -> bool:
    plain = np.asarray(given, dtype=float)
    return plain.shape == truth.value.shape and bool(close(plain, truth).all())


def _fits(given: Any, value: Any) -> bool:
    """Whether a cotangent can be handed on: of the step's shape, and finite."""
    return np.shape(given) == np.shape(value) and bool(np.isfinite(np.asarray(given, float)).all())


def _several(out: object) -> list[Any]:
    return list(out) if isinstance(out, tuple | list) else [out]


# -- inputs ------------------------------------------------------------------------------------


def subject(unit: Unit, target: Target, seed: int) -> GeneralSubject | Failure:
    """Return the subject of a general form, or why it cannot be run."""
    function = vars(target.module).get("forward")
    forward = routine_of("forward", function, target) if callable(function) else None
    if forward is None or forward.arguments[:1] != ["xp"]:
        return Failure("its backward has no forward(xp, step, …) in the file")
    made = GeneralSubject(unit, target, forward)
    made.inputs(seed, 0)  # shapes that mean nothing are refused here
    return made


def _drawer(target: Target, shapes: Layout | None) -> Callable[[np.random.Generator], Arrays]:
    own = vars(target.module).get("inputs")
    if shapes is None:
        return lambda rng: {k: np.asarray(v) for k, v in own(rng).items()}  # type: ignore[misc]
    return lambda rng: drawn(shapes, rng)


def _drawn_small(shapes: Layout, size: int, rng: np.random.Generator) -> Arrays:
    return drawn(shapes, WholeNumbers(rng.bit_generator), size)


def _shapes_of(target: Target, forward: Routine) -> Layout | None:
    """Return the shapes of the inputs; None where the author draws them."""
    names = vars(target.module)
    if callable(names.get("inputs")):
        return None
    plain = {p: "N D" for p in forward.required if p not in ("xp", "step")}
    return specs_of(plain if names.get("shapes") is None else names["shapes"], target.what)


def drawn(shapes: Layout, rng: np.random.Generator, size: int = 0) -> Arrays:
    """Draw inputs by their shapes: every letter its own size, floats normal, int(H) below H.

    size: what every letter is, for a small problem.
    """
    every = {d for s in shapes.values() for d in (*s.dims, s.high) if d and not d.isdigit()}
    letters = sorted(every)
    numbers = map(int, 2 + rng.permutation(max(6, len(letters))))
    sizes = dict(zip(letters, numbers, strict=False))
    sizes = dict.fromkeys(letters, size) if size else sizes
    return {name: np.asarray(spec.draw(rng, sizes)) for name, spec in shapes.items()}
