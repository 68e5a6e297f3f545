"""An engine of values, as micrograd: operators that record, `backward()`, `.grad` of every value.

Random expression programs run on it; the truth is the certified gradient of the engine's own
forward, with numbers on balls as its data.
"""

import copy
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reference.balls import Session, gradient, is_tracked, lift, numpy_on_balls
from reference.checks.code import NumericValue, Path, Target, Unit, generator, raised_text
from reference.checks.comparing import Assessment, Objective, Row, Truth, row
from reference.checks.comparing.differences import by_differences
from reference.checks.explain import Explanation
from reference.checks.judging import Demonstration, Failure, Key, ProblemCase, modules_of
from reference.checks.kinds import _programs as programs
from reference.checks.kinds._engine_words import ProgramGradient, explained
from reference.checks.kinds._programs import ExpressionProgram, Operator
from reference.checks.kinds._questions import Question, Questioned, RightAnswer
from reference.checks.kinds._rows import float_truth
from reference.checks.kinds._scalar_engine import NoEngine, ScalarEngine, name_of, of_program
from reference.checks.showing.spelling import literal
from reference.checks.tolerances import DIFFERENCES, DIGITS

_RANDOM = 4  # mixed programs in each problem
_MOST = 1e6  # a larger gradient (nan as well) is not judged: exp(exp(x)) and the like


class EngineSubject(Questioned):
    """An engine with the operators that it has."""

    kind = "engine"

    def __init__(
        self,
        unit: Unit,
        engine: ScalarEngine,
        found: Sequence[Operator],
        arrays: Sequence[ExpressionProgram],
    ) -> None:
        self.name = unit.name
        self.layout = {}
        self.engine, self.operators = engine, list(found)
        self.small = [*programs.small(self.operators), *arrays]
        self.by_differences = False
        self.only: ExpressionProgram | None = None
        """The one program that is run, in a small problem."""
        self.results: dict[int, list[ProgramGradient]] = {}
        """Of each problem its rows, with their program and leaf."""
        self._nodes = 0

    def sentence(self) -> str:
        """Return what it is, with its operators."""
        of_programs = (n for p in self.small for n in p.operators)
        names = dict.fromkeys([*(o.name for o in self.operators), *of_programs])
        return f"an engine of values with {', '.join(names)}"

    def judged_by(self) -> str:
        """Return what the truth is."""
        how = "by differences, float64" if self.by_differences else "certified"
        return f"its own forward, {how}"

    def smaller(self, seed: int, index: int, wrong: Collection[Key]) -> Iterator["EngineSubject"]:
        """Yield it with one program that is wrong, the simplest first, and numbers easily read."""
        for program in self.small:
            if any((_path(program, n),) * 2 in wrong for n in program.leaves):
                one = copy.copy(self)
                one.only, one.results = program, {}
                yield one

    def demonstration(self, index: int, leaves: list[tuple[str, Path]]) -> Demonstration:
        """Return how its one program is run."""
        assert self.only is not None
        program, engine = self.only, self.engine
        given = dict(self.results[index][0].given)
        text = program.code
        used = [n for n in program.operators if re.search(rf"(?<![.\w]){n}\(", text)]
        for name in used:
            text = re.sub(rf"(?<![.\w]){name}\(", f"theirs.{name}(", text)
        cls = engine.cls.__name__
        options = "".join(f", {k}={literal(v)}" for k, v in engine.options.items())
        lines = [f"{n} = theirs.{cls}(copy.copy(given[{n!r}]){options})" for n in program.leaves]
        lines.append(f"out = {text}")
        lines += [f"out.{engine.grad} = 1.0"] if engine.seeded else []
        lines.append("out.backward()")
        parts = []
        for name, path in leaves:
            leaf = next(n for n in program.leaves if _path(program, n) == path)
            value = f"{leaf}.{engine.grad}"
            parts.append(f"{name!r}: getattr({value}, {engine.data!r}, {value})")
        return Demonstration(given, [*lines, f"return {{{', '.join(parts)}}}"], (), (cls, *used))

    def programs(self, seed: int, index: int) -> list[ExpressionProgram]:
        """Return the programs of one problem: each operator by itself, then random ones."""
        if self.only is not None:
            return [self.only]
        rng = np.random.default_rng([seed, index, 3])
        usable = [o for o in self.operators if not o.constant or o.name != "__pow__"]
        mixed = [programs.random(usable, rng) for _ in range(_RANDOM)] if usable else []
        return [*self.small, *mixed]

    @property
    def digits(self) -> float:
        """How near its gradients come to the right ones."""
        return DIFFERENCES if self.by_differences else DIGITS

    def questions(self, seed: int, index: int) -> list[Question]:
        """Run each small program: every operator by itself, and with a value used twice."""
        rng = np.random.default_rng([seed, index])
        return [of_program(self.engine, p, p.draw(rng)) for p in self.small]

    def solved(
        self, question: Question, seed: int, index: int, cuts: Mapping[Path, object]
    ) -> RightAnswer:
        """Run the program of that name on given leaves, and differentiate it."""
        program = next(p for p in self.small if name_of(p) == question.name)
        given = {p[0]: v if np.shape(v) else float(v) for p, v in question.inputs.items()}
        with np.errstate(all="ignore"):
            value, truth = self.engine.value(program, given), self.truth(program, given)
        return RightAnswer((value,), {(n,): t for n, t in truth.items()})

    def _drawn(
        self, seed: int, index: int
    ) -> list[tuple[ExpressionProgram, dict[str, NumericValue]]]:
        rng = generator(seed, index, "whole" if self.only is not None else "")
        return [(p, p.draw(rng)) for p in self.programs(seed, index)]

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run every program of one problem and hold its leaves' gradients to the truth."""
        results: list[ProgramGradient] = []
        self._nodes = 0
        missing: list[Path] = []
        faults: list[tuple[str, str]] = []
        for program, given in self._drawn(seed, index):
            if program.use == "mixed" and any(not t.row.right for t in results):
                break  # what an operator does wrong by itself, it does wrong in these
            with np.errstate(all="ignore"):
                truth = self._tame(program, given)
                if truth is None:
                    continue
                try:
                    got = self.engine.gradients(program, given)
                except Exception as error:
                    text = f"backward() of {program.text}: {raised_text(error)}"
                    faults.append(("raised", text))
                    continue
            missing += [
                _path(program, n) for n, t in truth.items() if got[n] is None and t.value.any()
            ]
            some = self._rows(program, given, got, truth)
            results += [ProgramGradient(program, n, r, given) for n, r in some.items()]
        self.results[index] = results
        rows = [t.row for t in results]
        found = Assessment(Objective("loss", ("out",)), rows, missing=missing)
        return ProblemCase(index, found, faults=faults, nodes=self._nodes)

    def _rows(
        self,
        program: ExpressionProgram,
        given: Mapping[str, NumericValue],
        got: Mapping[str, object],
        truth: Mapping[str, Truth],
    ) -> dict[str, Row]:
        """Return a program's rows; where a float is off, 60 digits say whether its formula is."""

        def rows_of(found: Mapping[str, object]) -> dict[str, Row]:
            paths = {n: _path(program, n) for n in truth if found[n] is not None}
            return {n: row(p, p, found[n], truth[n], self.digits) for n, p in paths.items()}

        rows = rows_of(got)
        if self.by_differences or all(r.right for r in rows.values()):
            return rows
        try:
            with Session() as session, numpy_on_balls(self.engine.modules), session.paused():
                again = self.engine.gradients(program, {k: lift(v) for k, v in given.items()})
            exact = rows_of(again)
        except Exception:
            return rows
        return {n: exact[n] if n in exact and exact[n].right else r for n, r in rows.items()}

    def _tame(
        self, program: ExpressionProgram, given: Mapping[str, NumericValue]
    ) -> dict[str, Truth] | None:
        """Return the truth, None where a mixed program overflows or leaves an operator's domain."""
        try:
            truth = self.truth(program, given)
        except (ArithmeticError, ValueError):
            if program.use != "mixed":
                raise
            return None
        sizes = [float(np.max(np.abs(t.value), initial=0.0)) for t in truth.values()]
        return truth if all(s <= _MOST for s in sizes) else None

    def truth(
        self, program: ExpressionProgram, given: Mapping[str, NumericValue]
    ) -> dict[str, Truth]:
        """Return the certified gradient of a program's output by its leaves."""
        if self.by_differences:
            return self._by_differences(program, given)
        with Session() as session, numpy_on_balls(self.engine.modules):
            lifted = {k: lift(v) for k, v in given.items()}
            out, _ = self.engine.forward(program, lifted)
            value = self.engine.held(out)
            if not is_tracked(value):  # a branch that depends on no leaf, as relu's below 0
                return self._by_differences(program, given)
            found = gradient([value], [np.ones(np.shape(value))], list(lifted.values()))
        self._nodes += session.nodes
        return {k: Truth(*d) for k, d in zip(lifted, found, strict=True)}

    def _by_differences(
        self, program: ExpressionProgram, given: Mapping[str, NumericValue]
    ) -> dict[str, Truth]:
        def value(at: Mapping[Path, NumericValue]) -> float:
            plain = {k[0]: float(v) if not np.shape(v) else v for k, v in at.items()}
            out, _ = self.engine.forward(program, plain)
            return float(np.sum(np.asarray(self.engine.held(out), dtype=float)))

        found = by_differences(value, {(k,): np.asarray(v, dtype=float) for k, v in given.items()})
        return {k[0]: float_truth(v, DIFFERENCES) for k, v in found.items()}

    def explanation(self, cases: Sequence[ProblemCase], seed: int) -> Explanation:
        """Name the operator that is wrong, and whether it is when a value is used twice."""
        return explained(self.small, [t for c in cases for t in self.results[c.index]])


def _path(program: ExpressionProgram, leaf: str) -> Path:
    """Return what a gradient is called: "a in a * b"; programs that mix operators share a name."""
    return (f"{leaf} in mixed programs" if program.use == "mixed" else f"{leaf} in {program.text}",)


# -- what it can do ----------------------------------------------------------------------------


def subject(unit: Unit, target: Target, seed: int) -> EngineSubject | Failure:
    """Return the subject of an engine, or why it cannot be asked."""
    cls: Any = unit.thing
    try:
        home = target.module.__name__
        functions = {k: v for k, v in target.names.items() if getattr(v, "__module__", "") == home}
        engine = ScalarEngine(cls, modules_of(unit, target), functions)
    except NoEngine as error:
        return Failure(str(error), error.__cause__)
    failure = Failure("none of its operators runs")

    def has(name: str) -> bool:
        return callable(getattr(cls, name, None))

    named = programs.named_operators(cls, engine.functions)
    found = [
        op
        for op in (*programs.operators(has), *named)
        if _runs(engine, programs.alone(op), failure)
    ]
    arrays = []
    if any(has(n) for n in ("__matmul__", "dot", "matmul", "mm", "sum", "reshape")):
        every = programs.of_arrays(has, named, _finish(engine, has))
        arrays = [p for p in every if _runs(engine, p, failure)]
    if not found and not arrays:
        return failure
    made = EngineSubject(unit, engine, found, arrays)
    made.engine.seeded = _wants_a_seed(made)
    try:
        for program in made.small:
            made.truth(program, program.draw(np.random.default_rng(seed)))
    except Exception:
        made.by_differences = True
    return made


def _finish(engine: ScalarEngine, has: Callable[[str], bool]) -> programs.Finish:
    """Return what makes one number of an array: its sum, weighed where that is asked for."""

    def finish(out: Any, weigh: bool) -> object:
        shape = np.shape(engine.held(out))
        if weigh and shape:
            weights = 1 + np.cos(np.arange(1.0, 1 + np.prod(shape))).reshape(shape) / 2
            out = out * engine.leaf(weights)
        if not shape:
            return out
        return out.sum() if has("sum") else out.mean() if has("mean") else out

    return finish


def _runs(engine: ScalarEngine, program: ExpressionProgram, failure: Failure) -> bool:
    """Whether an operator gives a value of the engine; its backward is not asked yet."""
    try:
        with np.errstate(all="ignore"):
            out, leaves = engine.forward(program, program.draw(np.random.default_rng(1)))
    except Exception as error:
        failure.errors.append(f"{program.text}: {raised_text(error)}")
        return False
    held = engine.held(out)
    if any(out is leaf for leaf in leaves.values()):
        return False
    numeric = held is not None and np.asarray(held).dtype.kind in "fiuO"
    return isinstance(out, engine.cls) and numeric


def _wants_a_seed(made: EngineSubject) -> bool:
    """Whether backward() leaves everything at 0 unless the output's gradient was set before."""
    program = made.small[0]
    given = program.draw(np.random.default_rng(1))
    try:
        found = made.engine.gradients(program, given)
    except Exception:
        return False
    return all(g is None or not g.any() for g in found.values())
