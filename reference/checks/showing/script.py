"""Writes a script that shows a wrong gradient with NumPy and the user's file alone.

It holds the numbers of the smallest failing problem, calls the forward and the backward as the
check read them, and prints the gradient of the file, the certified one and, if the loss is known,
central differences. It is run first; a script that does not show what the check found is dropped.
"""

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.checks.code import (
    Path,
    Routine,
    Target,
    TooSlow,
    claim_name,
    generator,
    sizes_for,
    within,
)
from reference.checks.code.argument_spec import CONTAINERS, assembled
from reference.checks.comparing import Row, losses, targets_of
from reference.checks.judging import ReadingSubject
from reference.checks.running import RunOutcome
from reference.checks.running.experiment import SET_UP
from reference.checks.showing.smallest import Smallest, inputs_of, sentence_of
from reference.checks.showing.spelling import (
    HEAD,
    LOSS_CODE,
    SHOW,
    SHOW_DIFFERENCES,
    SLOPES,
    TRACED,
    NoShortSpelling,
    call_text,
    function_text,
    given_text,
    inner_path,
    lines_of,
    literal,
    module_of,
    part_of,
    resolves,
)
from reference.checks.tolerances import DIGITS, SAME, VISIBLE

_SECONDS = 2.0  # that the script may take
_MODULES = ("ast", "contextlib", "importlib", "importlib.util", "json", "random", "types")


def script_of(small: Smallest, target: Target) -> tuple[str, str]:
    """Return what goes in, in one line, and the script, "" where none runs and shows it."""
    subject, outcome = small.subject, small.case.outcome
    if not isinstance(subject, ReadingSubject) or outcome is None:
        return _of_a_kind(small, target)
    sizes = ", ".join(f"{k} = {n}" for k, n in subject.letters.items())
    sentence = sentence_of(sizes, inputs_of(outcome, subject.reading))
    for lazy, differences in ((False, True), (True, True), (False, False), (True, False)):
        try:
            text = _Writer(small, subject, outcome, target, lazy, differences).text()
            if _shows(text, small.rows, small.scale):
                return sentence, text
        except NoShortSpelling:
            continue
    return sentence, ""


def _of_a_kind(small: Smallest, target: Target) -> tuple[str, str]:
    leaves = [(claim_name(r.claim, r.leaf), r.leaf) for r in small.rows]
    shown = small.subject.demonstration(small.case.index, leaves)
    sentence = sentence_of("", shown.given)
    try:
        if not shown.run or not all(hasattr(target.module, n) for n in shown.names):
            return sentence, ""
        given, load = given_text(shown.given), lines_of(target, target.module)
    except NoShortSpelling:
        return sentence, ""
    run = function_text("run", "Return the gradients of your code.", shown.run)
    modules = ["copy", "sys", *shown.imports]
    modules += ["importlib.util"] * ("importlib.util" in load)
    head = HEAD.format(
        name=small.subject.name,
        needs=", ".join(["NumPy", *shown.imports]),
        judge=small.subject.judged_by(),
        imports="\nimport ".join(sorted(modules)),
        load=load,
        given=given,
    )
    text = f"{head}{run}{_right(small, '')}{SHOW}"
    return sentence, text if _shows(text, small.rows, small.scale) else ""


def _right(small: Smallest, comment: str) -> str:
    """Return the lines of what gradients should be, and of what they are."""
    rows = {
        claim_name(r.claim, r.leaf): np.asarray(r.truth.value * small.scale) for r in small.rows
    }
    return f"\nright = {{{comment}\n{given_text(rows)}\n}}\nyours = run()\n"


def _shows(text: str, rows: Sequence[Row], scale: float) -> bool:
    """Whether a script runs and gives the gradients that the check found."""
    space: dict[str, Any] = {"__name__": "shown"}
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")
            with within(_SECONDS):
                exec(compile(text, "repro.py", "exec"), space)  # the user's own code, as before
            yours = {name: np.array(v, float) for name, v in space["yours"].items()}
    except (Exception, SystemExit, TooSlow):
        return False
    for row in rows:
        name, truth = claim_name(row.claim, row.leaf), row.truth.value * scale
        size = float(np.max(np.abs(truth), initial=SAME))
        mine, got = yours[name].ravel(), row.got.ravel()
        if not np.allclose(mine, got, rtol=DIGITS, atol=SAME * size, equal_nan=True):
            return False
        independent = space.get("differences", {}).get(name)
        if independent is not None and not np.allclose(
            independent, truth, rtol=VISIBLE, atol=VISIBLE * size
        ):
            return False
    return True


class _Writer:
    """One script. lazy: the layer makes its weights at its first input."""

    def __init__(
        self,
        small: Smallest,
        subject: ReadingSubject,
        outcome: RunOutcome,
        target: Target,
        lazy: bool,
        differences: bool,
    ) -> None:
        self.small, self.subject, self.target = small, subject, target
        self.lazy, self.differences = lazy, differences
        self.reading, self.outcome = subject.reading, outcome
        self.forward, self.back = subject.reading.forward, subject.reading.unit.backward
        self.at = small.seed, small.case.index
        self.module = module_of(target, self.back.function)
        self.given: dict[str, str] = {}
        self.inputs = self._inputs()
        self.tracing = False

    def text(self) -> str:
        """Return the script; raises NoShortSpelling."""
        for routine in (self.forward, self.back):
            if routine is not None and not resolves(self.module, routine):
                raise NoShortSpelling(f"{routine.name} has no name in the module")
        loading = lines_of(self.target, self.module)
        run, loss = self._run(), self._loss() if self.differences else ""
        text = f"{loading}{run}{loss}"
        imports = ["copy", "sys", *(m for m in _MODULES if f"{m}." in text)]
        if "importlib.util" in imports:
            imports.remove("importlib")
        head = HEAD.format(
            name=self.reading.unit.name,
            needs="NumPy",
            judge="the certified gradient" + ". central differences: independent" * bool(loss),
            imports="\nimport ".join(sorted(imports)),
            load=loading,
            given="\n".join(f"    {k!r}: {v}," for k, v in self.given.items()),
        )
        helpers = (TRACED if self.tracing else "") + (SLOPES if loss else "")
        return f"{head}{helpers}{run}{loss}{self._end(bool(loss))}"

    # -- what goes in --------------------------------------------------------------------------

    def _inputs(self) -> dict[str, str]:
        """Spell the drawn arguments and the parameters; return how each argument is reached."""
        reading = self.reading
        rng = generator(*self.at, reading.mode.style)
        sizes = sizes_for(*self.at, reading.mode.style)
        sizes |= dict(reading.fixed)
        drawn = {k: s.draw(rng, sizes) for k, s in reading.layout.items()}
        drawn = {k: v for k, v in drawn.items() if reading.layout[k].kind not in CONTAINERS}
        whole = assembled(drawn, reading.layout)
        reached = {}
        for name, value in whole.items():
            self.given[name] = literal(value)
            reached[name] = f"v[{name!r}]"
        for path, value in self.outcome.inputs.items():
            if path[0] in ("self", "global"):
                self.given[".".join(path)] = literal(np.asarray(value, dtype=_dtype(value)))
        return reached

    def _cotangents(self) -> dict[str, str]:
        """Return how each incoming gradient is reached, by the argument that gets it."""
        reached, rest = {}, [given for _, given in self.outcome.cotangents]
        for name, source in self.reading.binding:
            if source.partition(":")[0] != "cotangent":
                continue
            several = self._several(source)
            value = rest[:several] if several else rest[0]
            rest = rest[several or 1 :]
            self.given[name] = literal(value)
            reached[name] = f"v[{name!r}]"
        return reached

    def _several(self, source: str) -> int:
        which = source.partition(":")[2]
        value = self._value(which)
        if which.startswith("each:"):
            return len(value)
        listed = isinstance(value, list) and not all(np.ndim(x) == 0 for x in value)
        return len(value) if listed else 0

    def _value(self, which: str) -> Any:
        """Return the output that a source names, as the forward returned it."""
        made = self.outcome.made
        if which.startswith("each:"):
            return made if isinstance(made, list) else made[1]
        if made is None:
            return next(iter(self.outcome.outputs.values()))
        if which == "":
            return made[0] if isinstance(made, tuple) else made
        if isinstance(made, dict):
            return made.get(which)
        if which.lstrip("-").isdigit() and isinstance(made, tuple | list):
            return made[int(which)]
        raise NoShortSpelling(which)

    def _output(self, which: str) -> str:
        """Return how the output that a source names is reached."""
        made = self.outcome.made
        if made is None:
            path = next(iter(self.outcome.outputs))
            return inner_path(self.outcome.instance, path, "layer")
        if which.startswith("each:"):
            return f"[s[{which[5:]}] for s in {'out' if isinstance(made, list) else 'out[1]'}]"
        if which == "":
            return "out[0]" if isinstance(made, tuple) else "out"
        self._value(which)
        return f"out[{which!r}]" if isinstance(made, dict) else f"out[{which}]"

    # -- what is called ------------------------------------------------------------------------

    def _start(self) -> list[str]:
        """Return the lines that both functions begin with: fresh copies, seeds, the layer."""
        lines = ["v = copy.deepcopy(given)"]
        text = "\n".join(self.target.lines)
        if "random" in text or not self.target.lines:
            lines += [f"random.seed({sum(self.at)})", f"np.random.seed({sum(self.at) % 2**32})"]
        for path in self.outcome.inputs:
            if path[0] == "global":
                lines.append(f"theirs.{path[1]} = v[{'.'.join(path)!r}]")
        if self.reading.of_instance:
            lines += self._layer()
        return lines

    def _layer(self) -> list[str]:
        unit, maker = self.reading.unit, self.reading.constructor
        assert unit.owner is not None
        name = unit.owner.__name__
        if getattr(self.module, name, None) is not unit.owner:
            raise NoShortSpelling("its class has no name in the module")
        if any(callable(getattr(unit.owner, n, None)) for n in SET_UP):
            raise NoShortSpelling("its class needs a setup call")
        given = {k[5:]: t for k, t in self.inputs.items() if k.startswith("init.")}
        arguments = maker.arguments if maker is not None else []
        named = ", ".join(f"{k}={given[k]}" for k in arguments if k in given)
        lines = [f"layer = theirs.{name}({named})"]
        if self.lazy and self.forward is not None:
            lines.append(self._forward_call() + "  # it makes its weights at its first input")
        for path in self.outcome.inputs:
            if path[0] == "self":
                place = inner_path(self.outcome.instance, path[1:], "layer")
                lines.append(f"{place}[...] = v[{'.'.join(path)!r}]")
        return lines

    def _callee(self, routine: Routine) -> str:
        if " " in routine.name:  # made here of functions of the file
            raise NoShortSpelling(routine.name)
        return f"layer.{routine.short}" if routine.bound else f"theirs.{routine.name}"

    def _forward_call(self, routine: Routine | None = None) -> str:
        routine = routine or self.forward
        assert routine is not None
        given = {k: t for k, t in self.inputs.items() if k in routine.arguments}
        return call_text(self._callee(routine), routine, given)

    def _backward_call(self) -> str:
        cotangents = self._cotangents()
        given = {n: self._source(n, s, cotangents) for n, s in self.reading.binding}
        return call_text(self._callee(self.back), self.back, given)

    def _source(self, name: str, source: str, cotangents: dict[str, str]) -> str:
        kind, _, which = source.partition(":")
        made = self.outcome.made
        match kind:
            case "cotangent":
                return cotangents[name]
            case "input" | "extra":
                return self.inputs[which or name]
            case "output":
                return self._output(which)
            case "rest":
                return "out[1]" if len(made) == 2 else "tuple(out[1:])"
            case "last":
                return "out[-1]"
            case "all":
                return "out"
            case "variable":
                self.tracing = True
                return f"inside[{which!r}]"
        raise NoShortSpelling(source)

    def _run(self) -> str:
        lines = self._start()
        if self.forward is None:
            lines.append(f"returned = {self._forward_call(self.back)}")
        else:
            call, back = self._forward_call(), self._backward_call()
            lines += [
                self._traced(call) if "inside[" in back else f"out = {call}",
                f"returned = {back}",
            ]
        claims = [
            f"    {claim_name(r.claim, r.leaf)!r}: {self._claim(r.claim)}," for r in self.small.rows
        ]
        lines += ["return {", *claims, "}"]
        return function_text("run", "Return the gradients of your code.", lines)

    def _traced(self, call: str, result: str = "out") -> str:
        self.tracing = True
        callee, _, rest = call.partition("(")
        arguments = "" if rest == ")" else ", " + rest[:-1]
        return f"{result}, inside = traced({callee}{arguments})"

    def _claim(self, claim: Path) -> str:
        if claim[0] == "self":
            return inner_path(self.outcome.instance, claim[1:], "layer")
        if claim[0] == "step":
            rate = self.outcome.rate or 1.0
            if claim[1] == "self":
                place = inner_path(self.outcome.instance, claim[2:], "layer")
                return f"(given[{'.'.join(claim[1:])!r}] - {place}) / {rate!r}"
            place = "".join(f"[{p!r}]" for p in claim[1:])
            return f"(given{place} - v{place}) / {rate!r}"
        found = part_of(self.outcome.returned, self.back.returned, claim, "returned")
        if found is None:
            raise NoShortSpelling(f"{claim} is not found in what came back")
        return found

    # -- what is differentiated ----------------------------------------------------------------

    def _loss(self) -> str:
        try:
            value = self._objective()
        except (NoShortSpelling, StopIteration, IndexError, KeyError, TypeError):
            raise NoShortSpelling("its loss has no short spelling") from None
        lines = self._start()
        result = "out" if self.forward is not None else "returned"
        call = self._forward_call(self.forward or self.back)
        lines.append(self._traced(call, result) if "inside[" in value else f"{result} = {call}")
        lines.append(f"return {value}")
        text = self.subject.objective.sentence()
        return function_text("loss", f"Return what is differentiated: {text}.", lines)

    def _objective(self) -> str:
        objective = self.subject.objective
        match objective.kind:
            case "cotangents":
                given = [b for b in self.reading.binding if b[1].startswith("cotangent:")]
                return " + ".join(self._weighed(*one) for one in given)
            case "sum" | "mean":
                return f"np.{objective.kind}({self._named(objective.output)})"
            case "loss":
                return f"np.sum({self._named(objective.output)})"
            case "implicit" if objective.loss is not None:
                over_time = objective.output[-1] == "*"
                code = (self._over_time if over_time else self._implicit)(objective.loss)
                return code if self.small.scale == 1.0 else f"{self.small.scale!r} * ({code})"
        raise NoShortSpelling(objective.kind)

    def _weighed(self, name: str, source: str) -> str:
        which = source.partition(":")[2]
        if self._several(source):
            return f"sum(np.sum(d * o) for d, o in zip(v[{name!r}], {self._output(which)}))"
        return f"np.sum(v[{name!r}] * {self._output(which)})"

    def _implicit(self, loss: losses.CandidateLoss) -> str:
        objective = self.subject.objective
        raw = self.outcome.others.get(objective.target, self.outcome.inputs.get(objective.target))
        fitting = np.asarray(targets_of(objective, self.outcome)[objective.output], dtype=float)
        target = f"v[{objective.target[0]!r}]"
        if len(objective.target) > 1 or not np.array_equal(fitting, np.asarray(raw)):
            self.given["target"], target = literal(fitting), "v['target']"
        return LOSS_CODE[loss.name].format(a=self._named(objective.output), t=target)

    def _over_time(self, loss: losses.CandidateLoss) -> str:
        """Return a loss over a list of outputs, one for each step in time."""
        targets = targets_of(self.subject.objective, self.outcome)
        self.given["target"] = literal([np.asarray(t, dtype=float) for t in targets.values()])
        outputs = ", ".join(map(self._named, targets))
        code = LOSS_CODE[loss.name].format(a="a", t="t")
        return f"sum({code} for a, t in zip([{outputs}], v['target']))"

    def _named(self, path: Path) -> str:
        """Return how a value of the forward is reached: returned, kept, or a local variable."""
        routine = self.forward or self.back
        result = "out" if self.forward is not None else "returned"
        value = self.outcome.made if self.forward is not None else self.outcome.returned
        found = part_of(value, routine.returned, path, result) if value is not None else None
        if found is not None:
            return found
        if path[0] in routine.function.__code__.co_varnames:
            self.tracing = True
            inner = "".join(f"[{p}]" if p.lstrip("-").isdigit() else f"[{p!r}]" for p in path[1:])
            return f"inside[{path[0]!r}]{inner}"
        if self.outcome.instance is not None:
            return inner_path(self.outcome.instance, path, "layer")
        raise NoShortSpelling(f"{path} has no name in the code")

    # -- what is printed -----------------------------------------------------------------------

    def _end(self, differences_too: bool) -> str:
        leaves = "\n".join(
            f"    {claim_name(r.claim, r.leaf)!r}: slopes({self._leaf(r.leaf)}),"
            for r in self.small.rows
        )
        right = _right(self.small, "  # certified")
        if not differences_too:
            return f"{right}{SHOW}"
        return f"{right}differences = {{\n{leaves}\n}}\n{SHOW}{SHOW_DIFFERENCES}"

    def _leaf(self, leaf: Path) -> str:
        """Return the holder of an input and its key there, as two arguments."""
        if leaf[0] in ("self", "global"):
            return f"given, {'.'.join(leaf)!r}"
        keys = [p if p.isdigit() else repr(p) for p in leaf]
        return "given" + "".join(f"[{k}]" for k in keys[:-1]) + f", {keys[-1]}"


def _dtype(value: object) -> npt.DTypeLike:
    return value.dtype if isinstance(value, np.ndarray) and value.dtype.kind == "f" else float
