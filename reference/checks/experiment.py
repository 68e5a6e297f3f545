"""Runs one reading of a target on one problem: with plain floats, or with numbers on the tape.

A reading says what each argument is given; running it yields what the forward made of the
inputs (all named values), what the backward claims, and where each claim came from.
"""

import contextlib
import functools
import linecache
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from reference.balls import Session, lift, numpy_on_balls, values
from reference.checks import instances
from reference.checks.inputs import Layout, Mode, generator, sizes_for
from reference.checks.inventory import Unit
from reference.checks.routine import Path, Routine, Trace, call, is_numeric, leaves_of
from reference.checks.vocabulary import DATA_NAMES, is_target


class Unreadable(Exception):
    """A reading does not fit: an argument has nothing to be given, a shape does not match."""


class ForwardFailed(Exception):
    """The forward raised: with these arguments it does not run."""


@dataclass(frozen=True)
class Reading:
    """What is called, and what each argument gets."""

    unit: Unit
    forward: Routine | None
    """None where the backward computes its forward itself."""
    mode: Mode
    layout: Layout
    binding: tuple[tuple[str, str], ...]
    """The backward's arguments and their sources: ("dout", "cotangent"), ("cache", "rest") …"""
    constructor: Routine | None = None
    fixed: tuple[tuple[str, int], ...] = ()
    """Sizes that the code itself settles: letters and numbers."""
    modules: tuple[ModuleType, ...] = field(default=(), repr=False)

    @property
    def first(self) -> Routine:
        """What the drawn inputs go to."""
        return self.forward or self.unit.backward

    def bound(self, **sources: str) -> "Reading":
        """Return it with other sources for some arguments."""
        return replace(self, binding=tuple({**dict(self.binding), **sources}.items()))


@dataclass
class Outcome:
    """What one run made: inputs, named values, outputs, cotangents, claims."""

    sizes: dict[str, int]
    far: bool = False
    inputs: dict[Path, Any] = field(default_factory=dict)
    """Every float array that went in, by path: arguments, and the object's parameters."""
    others: dict[Path, Any] = field(default_factory=dict)
    """What else went in: targets, labels, masks, numbers."""
    values: dict[Path, Any] = field(default_factory=dict)
    """The forward's named values: its local variables and what it returned."""
    outputs: dict[Path, Any] = field(default_factory=dict)
    cotangents: list[tuple[Any, Any]] = field(default_factory=list)
    """(output, cotangent): what the backward was told of what comes after."""
    claims: dict[Path, Any] = field(default_factory=dict)
    middle: dict[Path, Any] = field(default_factory=dict)
    """The backward's local variables."""
    kept: dict[Path, Any] = field(default_factory=dict)
    """What the object held after its backward."""
    mutated: list[str] = field(default_factory=list)
    steps: dict[Path, Any] = field(default_factory=dict)
    stepped: set[Path] = field(default_factory=set)
    """What the backward moved on purpose: its claims are the steps."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Plain numbers that went in by name: a rate, a strength of regularisation."""
    rate: float | None = None
    adds_steps: bool = False
    """Whether its file adds what its backward returns to the weights: a gradient's negative."""
    told_targets: bool = False
    """Whether the backward was given targets that the forward does not know."""
    paired: bool = False
    """Whether a forward ran before the backward."""
    instance: Any = None
    made: Any = None
    """What the forward returned, as it did."""
    returned: Any = None
    """What the backward returned, as it did."""


_TARGET_KINDS = ("onehot", "label", "binary", "mask")
_FLOATS = ("normal", "positive", "unit", "probability", "sign", "list")


_watch: Callable[[str], None] | None = None
_seen = 0.0


def watch(listener: Callable[[str], None] | None) -> None:
    """Have a listener told which problem is tried, at most five times a second."""
    global _watch
    _watch = listener


def _tell(seed: int, index: int) -> None:
    global _seen
    now = time.monotonic()
    if _watch is not None and now - _seen > 0.2:
        _seen = now
        _watch(f"{seed}:{index}")


def perform(
    reading: Reading,
    seed: int,
    index: int,
    session: Session | None = None,
    override: Mapping[str, Any] | None = None,
    warm: bool = False,
    moved: Mapping[Path, Any] | None = None,
    far: bool = False,
) -> Outcome:
    """Run a reading on one problem; with a session, on numbers that carry their derivative.

    override: values for arguments by name, in place of the drawn ones.
    moved: what is added to inputs, by path.
    far: whether an output that is not finite is of interest, not a reason to refuse the inputs.
    warm: whether the object's forward runs on other numbers first.
    Returns the outcome; raises what the target raises, or Unreadable.
    """
    _tell(seed, index)
    rng = generator(seed, index, reading.mode.style)
    sizes = sizes_for(seed, index, reading.mode.style) | dict(reading.fixed)
    drawn = {k: s.draw(rng, sizes) for k, s in reading.layout.items()}
    drawn |= override or {}
    code = getattr(reading.first.function, "__code__", None)
    outcome = Outcome(sizes, far=far, adds_steps=_adds_steps(code.co_filename if code else ""))
    keep = _Keeper(outcome, reading, session is not None, moved or {})
    with (
        _quiet(),
        _on_tape(reading, session, seed + index),
        _weights_of_the_module(reading, rng, keep),
    ):
        try:
            instance = _build(reading, drawn, rng, keep)
        except Exception as error:
            raise ForwardFailed(str(error)) from error
        if warm and instance is not None:
            _warm_up(reading, instance, seed, index, sizes)
            np.random.seed((seed + index) % 2**32)  # noqa: NPY002
        arguments = _assembled({k: v for k, v in drawn.items() if not k.startswith("init.")}, keep)
        if reading.forward is None:
            _run_alone(reading, arguments, instance, outcome, session)
        else:
            _run_pair(reading, arguments, instance, outcome, rng, session)
    return outcome


_ADDED = re.compile(
    r"\+=\s*[\w.\[\]'\"]*(lr|rate|eta|alpha|step)|=[^=\n]+\+\s*(self\.)?(lr|learning_rate|eta|alpha|rate|step_size)\s*\*"
)


@functools.cache
def _adds_steps(file: str) -> bool:
    """Whether a file adds steps to weights: W += rate · …; yes where it cannot be read."""
    text = "".join(linecache.getlines(file))
    return not text or bool(_ADDED.search(text))


def _warm_up(
    reading: Reading, instance: Any, seed: int, index: int, sizes: Mapping[str, int]
) -> None:
    """Run the forward of an object on other numbers, and forget what it gave."""
    rng = np.random.default_rng([seed, index, 5])
    layout = {k: s for k, s in reading.layout.items() if not k.startswith("init.")}
    other = {k: s.draw(rng, sizes) for k, s in layout.items()}
    given = _assembled(other, _Keeper(Outcome({}), reading, False))
    if reading.forward is not None:
        call(reading.forward, _only(reading.forward, given), instance)


class _Keeper:
    """Registers what goes in; on the tape it is lifted first."""

    def __init__(
        self,
        outcome: Outcome,
        reading: Reading,
        tape: bool,
        moved: Mapping[Path, Any] | None = None,
    ) -> None:
        self.outcome, self.reading, self.tape = outcome, reading, tape
        self.moved = moved or {}

    def put(self, path: Path, value: Any, kind: str) -> Any:
        """Return a value as it is given to the target, registered under its path."""
        if kind == "list":
            return [self.put((*path, str(i)), v, "normal") for i, v in enumerate(value)]
        if kind not in _FLOATS or not is_numeric(value):
            if isinstance(value, float):
                self.outcome.numbers[path[-1]] = value
            elif is_numeric(value) or isinstance(value, np.ndarray):
                self.outcome.others[path] = value
            return value
        value = value + self.moved[path] if path in self.moved else value
        given = lift(value) if self.tape else value
        self.outcome.inputs[path] = given
        return given


class _Builder(_Keeper):
    """Gives a constructor plain weights (drawn anew and lifted later), and its data lifted."""

    def __init__(self, keep: _Keeper, outcome: Outcome) -> None:
        super().__init__(outcome, keep.reading, False)
        self.keep = keep

    def put(self, path: Path, value: Any, kind: str) -> Any:
        """Return a value as the constructor gets it."""
        name = path[-1].lower()
        if name in DATA_NAMES or is_target(name):
            return self.keep.put(path, value, kind)
        return super().put(path, value, kind)


def _assembled(drawn: dict[str, Any], keep: _Keeper) -> dict[str, Any]:
    """Put the drawn parts of dicts and lists together: parameters[W1], weights[0]."""
    layout = keep.reading.layout
    made: dict[str, Any] = {}
    for name, value in drawn.items():
        if layout[name].kind == "dict":
            made[name] = {}
        elif layout[name].kind == "listed":
            made[name] = []
        elif "[" not in name:
            made[name] = keep.put((name,), value, layout[name].kind)
    for name, value in drawn.items():
        if "[" in name:
            head, key = name[:-1].split("[", 1)
            given = keep.put((head, key), value, layout[name].kind)
            if isinstance(made[head], list):
                made[head].append(given)
            else:
                made[head][key] = given
    return made


def _build(reading: Reading, drawn: dict[str, Any], rng: np.random.Generator, keep: _Keeper) -> Any:
    """Return the instance with fresh parameters, or None for a plain function."""
    unit, maker = reading.unit, reading.constructor
    if unit.owner is None or not (reading.first.bound or unit.backward.bound):
        return None
    arguments = {k[5:]: v for k, v in drawn.items() if k.startswith("init.")}
    layout = {k[5:]: s for k, s in reading.layout.items() if k.startswith("init.")}
    inner = _Keeper(keep.outcome, replace(reading, layout=layout), keep.tape)
    made = _assembled(arguments, _Builder(inner, Outcome({})))
    if maker is None:
        instance = unit.owner()
    else:
        instance = unit.owner(**{k: v for k, v in made.items() if k in maker.arguments})
    module = unit.owner.__module__
    _set_up(instance, keep.outcome.sizes)
    fresh = instances.randomise(instance, module, rng)
    if not fresh and reading.forward is not None and _is_lazy(instance):
        with contextlib.suppress(Exception):
            first = _assembled(
                {k: v for k, v in drawn.items() if not k.startswith("init.")},
                _Keeper(Outcome({}), reading, False),
            )
            call(reading.forward, _only(reading.forward, first), instance)
            fresh = instances.randomise(instance, module, rng, lazily=True)
        if not fresh:
            instance = (
                unit.owner()
                if maker is None
                else unit.owner(**{k: v for k, v in made.items() if k in maker.arguments})
            )
    given = {p: keep.put(("self", *p), v, "normal") for p, v in fresh.items()}
    instances.set_parameters(instance, module, given)
    return instance


_SET_UP = (
    "initialize",
    "initialise",
    "init_weights",
    "init_params",
    "initialize_weights",
    "build",
    "setup",
    "initialize_parameters",
    "reset_parameters",
    "init",
)


def _set_up(instance: Any, sizes: Mapping[str, int]) -> None:
    """Call what some classes want before their first forward: layer.initialize(optimizer)."""
    import inspect

    from reference.checks.inputs import Steps

    for name in _SET_UP:
        method = getattr(instance, name, None)
        if not callable(method):
            continue
        given: dict[str, Any] = {}
        for p in inspect.signature(method).parameters.values():
            low = p.name.lower()
            if "opt" in low:
                given[p.name] = Steps()
            elif "shape" in low:
                given[p.name] = (sizes["D"],)
            elif p.default is p.empty:
                break
        else:
            with contextlib.suppress(Exception):
                method(**given)
        return


def _is_lazy(instance: Any) -> bool:
    """Whether a weight is still None: made at the first input."""
    return (
        any(v is None for v in vars(instance).values()) if hasattr(instance, "__dict__") else False
    )


def _only(routine: Routine, given: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k in routine.arguments}


def _run_alone(
    reading: Reading,
    arguments: dict[str, Any],
    instance: Any,
    outcome: Outcome,
    session: Session | None,
) -> None:
    back = reading.unit.backward
    before = _inputs_copied(outcome)
    at_start = _kept(reading, instance)
    trace = call(back, _only(back, arguments), instance)
    outcome.values = _named(trace, back)
    outcome.instance, outcome.returned = instance, trace.value
    outcome.outputs = leaves_of(trace.value, back.returned)
    outcome.middle = {p: v for p, v in outcome.values.items() if is_numeric(v)}
    outcome.rate = _rate(reading, arguments, instance)
    _add_losses(reading, arguments, instance, trace, outcome)
    _steps_of_the_module(reading, before, outcome)
    _collect(reading, trace, instance, at_start, outcome)
    _note_mutation(outcome, before)


def _run_pair(
    reading: Reading,
    arguments: dict[str, Any],
    instance: Any,
    outcome: Outcome,
    rng: np.random.Generator,
    session: Session | None,
) -> None:
    forward, back = reading.forward, reading.unit.backward
    assert forward is not None
    try:
        trace = call(forward, _only(forward, arguments), instance)
    except Exception as error:
        raise ForwardFailed(str(error)) from error
    first = trace.value[0] if isinstance(trace.value, tuple) and trace.value else trace.value
    if first is not None and not any(np.size(v) for v in leaves_of(first).values()):
        raise ForwardFailed("its output is empty")
    if session is None and not outcome.far and not _finite(first):
        raise ForwardFailed("its output is not finite for these inputs")
    outcome.values = _named(trace, forward)
    outcome.instance, outcome.made = instance, trace.value
    outcome.outputs = leaves_of(trace.value, forward.returned)
    kept = _kept(reading, instance)
    if trace.value is None:
        trace.value = _kept_output(kept, outcome)
    for path, value in kept.items():
        if len(path) == 1:
            outcome.values.setdefault(path, value)
    _add_losses(reading, arguments, instance, trace, outcome)
    given = {
        name: _source(source, name, reading, arguments, trace, outcome, rng)
        for name, source in reading.binding
    }
    outcome.paired = True
    known = set(forward.arguments)
    outcome.told_targets = any(
        is_target(p[-1]) and p[0] not in known for p in (*outcome.others, *outcome.inputs)
    )
    before = _inputs_copied(outcome)
    cotangents = [(np.array(c, copy=True)) for _, c in outcome.cotangents]
    with session.paused() if session is not None else contextlib.nullcontext():
        back_trace = call(back, given, instance)
    outcome.returned = back_trace.value
    outcome.middle = {p: v for p, v in _named(back_trace, back).items() if is_numeric(v)}
    outcome.rate = _rate(reading, {**arguments, **given}, instance)
    _collect(reading, back_trace, instance, kept, outcome)
    _steps_in_arguments(arguments, before, outcome)
    _note_mutation(outcome, before)
    for (_, now), then in zip(outcome.cotangents, cotangents, strict=True):
        if isinstance(now, np.ndarray) and not _same(now, then):
            outcome.mutated.append("the incoming gradient")


def _finite(value: Any) -> bool:
    for part in leaves_of(value).values():
        array = np.asarray(part)
        if array.dtype.kind == "f" and np.isnan(array).any():
            return False
    return True


_OUTPUTS = ("output", "outputs", "out", "y", "a", "activation", "result", "activations", "z")


def _kept_output(kept: Mapping[Path, Any], outcome: Outcome) -> Any:
    """Return what a forward without a return keeps as its output: self.output."""
    names = {p[-1].lower().lstrip("_"): p for p in kept if len(p) == 1}
    for name in _OUTPUTS:
        if name in names:
            outcome.outputs = {names[name]: kept[names[name]]}
            return kept[names[name]]
    raise Unreadable("forward returns nothing and keeps no output")


def _add_losses(
    reading: Reading, arguments: Mapping[str, Any], instance: Any, trace: Trace, outcome: Outcome
) -> None:
    """Call the file's own loss functions on what the forward made: compute_cost(A2, Y)."""
    from reference.checks.vocabulary import PREDICTION_NAMES, plain

    known: dict[str, Any] = {}
    for path, value in {**outcome.values, **outcome.others, **outcome.inputs}.items():
        if path[0] != "before":
            known.setdefault(plain(path[-1]), value)
    known |= {plain(k): v for k, v in arguments.items()}
    first = trace.value[0] if isinstance(trace.value, tuple) and trace.value else trace.value
    target = next(
        (v for k, v in {**outcome.others, **outcome.inputs}.items() if is_target(k[-1])), None
    )
    for loss in reading.unit.losses:
        given = {}
        for name in loss.arguments:
            if plain(name) in known:
                given[name] = known[plain(name)]
            elif is_target(name) and target is not None:
                given[name] = target
            elif (name.lower() in PREDICTION_NAMES or name.lower() in ("y", "p")) and is_numeric(
                first
            ):
                given[name] = first
        try:
            value = call(loss, given, instance).value
        except Exception:
            continue
        if is_numeric(value) and np.size(value) == 1:
            outcome.values[(f"{loss.short}()",)] = value


def _named(trace: Trace, routine: Routine) -> dict[Path, Any]:
    found = leaves_of(trace.value, routine.returned)
    for name, value in trace.variables.items():
        if is_numeric(value):
            found.setdefault((name,), value)
        elif isinstance(value, dict | list | tuple):
            for path, part in leaves_of(value, None, (name,)).items():
                found.setdefault(path, part)
    return found


def _kept(reading: Reading, instance: Any) -> dict[Path, Any]:
    if instance is None or reading.unit.owner is None:
        return {}
    return instances.kept_arrays(instance, reading.unit.owner.__module__)


# -- what the backward's arguments get ---------------------------------------------------------


def _source(
    source: str,
    name: str,
    reading: Reading,
    arguments: dict[str, Any],
    trace: Trace,
    outcome: Outcome,
    rng: np.random.Generator,
) -> Any:
    kind, _, which = source.partition(":")
    match kind:
        case "input":
            return arguments[which]
        case "variable":
            if which in trace.variables:
                return trace.variables[which]
            found = {p: v for p, v in outcome.values.items() if p[-1] == which or p[0] == which}
            if not found:
                raise Unreadable(f"{name}: forward has no {which}")
            return next(iter(found.values()))
        case "output":
            return _part(trace.value, which)
        case "rest":
            rest = trace.value[1:] if isinstance(trace.value, tuple | list) else ()
            if not rest:
                raise Unreadable(f"{name}: forward keeps nothing beside its output")
            return rest[0] if len(rest) == 1 else tuple(rest)
        case "last":
            if not isinstance(trace.value, tuple | list) or len(trace.value) < 2:
                raise Unreadable(f"{name}: forward keeps nothing beside its output")
            return trace.value[-1]
        case "all":
            return trace.value
        case "cotangent":
            return _cotangent(which, trace, outcome, rng)
        case "extra":
            return arguments[which or name]
        case "one":
            scalar = _part(trace.value, which)
            outcome.cotangents.append((scalar, np.asarray(1.0)))
            return 1.0
    raise Unreadable(f"{name}: {source}")


def _part(value: Any, which: str) -> Any:
    """Return an output: the whole, or one of several by number, name or the last of them."""
    if which == "":
        return value[0] if isinstance(value, tuple) else value
    if isinstance(value, dict):
        return value[which] if which in value else list(value.values())[int(which)]
    if isinstance(value, tuple | list):
        return value[int(which)]
    raise Unreadable(f"the output has no part {which}")


def _cotangent(which: str, trace: Trace, outcome: Outcome, rng: np.random.Generator) -> Any:
    """Draw a cotangent for an output: of its shape, or one for each member of a list.

    which: "" the output, a number, a name, "last:…" its last column, "each:K" the K-th of
    what is kept for each step.
    """
    if which.startswith("each:"):
        steps = trace.value if isinstance(trace.value, list) else trace.value[1]
        parts = [s[int(which[5:])] for s in steps]
        return _each(parts, outcome, rng)
    if which.startswith("last"):
        value = _part(trace.value, which[5:])
        array = np.asarray(value, dtype=object) if not isinstance(value, np.ndarray) else value
        if array.ndim < 2:
            raise Unreadable("the output has no last column")
        return _drawn(array[..., -1] if which.startswith("last:") else array[-1], outcome, rng)
    if which and not which.lstrip("-").isdigit():
        found = {p: v for p, v in outcome.values.items() if p[-1] == which}
        if not found:
            raise Unreadable(f"forward has no {which}")
        return _drawn(next(iter(found.values())), outcome, rng)
    value = _part(trace.value, which)
    if isinstance(value, list | tuple) and value and all(is_numeric(v) for v in value):
        if isinstance(value, list) and not all(np.ndim(v) == 0 for v in value):
            return _each(value, outcome, rng)
    return _drawn(value, outcome, rng)


def _each(parts: Any, outcome: Outcome, rng: np.random.Generator) -> list[Any]:
    return [_drawn(p, outcome, rng) for p in parts]


def _drawn(value: Any, outcome: Outcome, rng: np.random.Generator) -> Any:
    if not is_numeric(value):
        raise Unreadable("the output is no array")
    shape = np.shape(value) if isinstance(value, np.ndarray) else ()
    cotangent = rng.standard_normal(shape)
    given = cotangent if shape else float(cotangent)
    outcome.cotangents.append((value, given))
    return given.copy() if isinstance(given, np.ndarray) else given


def _rate(reading: Reading, arguments: Mapping[str, Any], instance: Any) -> float | None:
    from reference.checks.vocabulary import RATES

    for name, value in arguments.items():
        if name.lower() in RATES and isinstance(value, int | float):
            return float(value)
    default = next(
        (
            p.default
            for p in reading.unit.backward.parameters
            if p.name.lower() in RATES and isinstance(p.default, int | float)
        ),
        None,
    )
    if default is not None:
        return float(default)
    held = vars(instance) if hasattr(instance, "__dict__") else {}
    if any(type(v).__name__ == "Steps" for v in held.values()):
        return 0.5
    for name, value in held.items():
        if name.lower().lstrip("_") in {*RATES, "alpha"} and isinstance(value, int | float):
            return float(value)
    return None


# -- what came back ----------------------------------------------------------------------------


def _collect(
    reading: Reading, trace: Trace, instance: Any, before: Mapping[Path, Any], outcome: Outcome
) -> None:
    back = reading.unit.backward
    claims = {**leaves_of(_as_slope(trace.value), back.returned), **outcome.steps}
    if instance is not None and trace.value is not instance:
        after = _kept(reading, instance)
        outcome.kept = after
        for path, value in after.items():
            changed = path not in before or not _same(value, before[path])
            if changed and _looks_kept(path):
                claims[("self", *path)] = value
        outcome.claims = claims
        _steps_taken(reading, outcome, after)
        return
    outcome.claims = claims


def _as_slope(value: Any) -> Any:
    """Return truths as the numbers 0 and 1: `return x > 0` is the slope of max(x, 0)."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "b":
        return value.astype(float)
    return float(value) if isinstance(value, bool | np.bool_) else value


def _steps_of_the_module(reading: Reading, before: Mapping[Path, Any], outcome: Outcome) -> None:
    """The module's own weights, where the function moves them: W = W - rate * dW."""
    space = getattr(reading.first.function, "__globals__", {})
    for path in list(outcome.inputs):
        if path[0] != "global":
            continue
        now, then = space[path[1]], _view_like(outcome.inputs[path], before[path])
        if np.shape(now) == np.shape(then) and not _same(now, then):
            outcome.steps[("step", *path)] = (then - now) * (1 / (outcome.rate or 1.0))
            outcome.inputs[path] = then
            outcome.stepped.add(path)


def _steps_in_arguments(
    arguments: Mapping[str, Any], before: Mapping[Path, Any], outcome: Outcome
) -> None:
    """A dict of weights that the backward steps itself: layer["W"] -= lr * dW."""
    for path in list(outcome.inputs):
        if len(path) != 2 or path[0] not in arguments or outcome.rate is None:
            continue
        holder = arguments[path[0]]
        now = holder.get(path[1]) if isinstance(holder, dict) else None
        then = _view_like(outcome.inputs[path], before[path])
        if now is not None and np.shape(now) == np.shape(then) and not _same(now, then):
            outcome.claims[("step", *path)] = (then - now) * (1 / outcome.rate)
            outcome.inputs[path] = then
            outcome.stepped.add(path)


def _looks_kept(path: Path) -> bool:
    from reference.checks.vocabulary import gradient_of, plain

    containers = ("grads", "grad", "gradients", "gradient", "g", "delta", "deltas")
    return any(gradient_of(p) or plain(p) in containers for p in path)


def _steps_taken(reading: Reading, outcome: Outcome, after: Mapping[Path, Any]) -> None:
    """Where the backward moved the weights itself, the step it took is its claim."""
    given = {p for p, _ in _claimed_parameters(outcome)}
    for path, then in list(outcome.inputs.items()):
        if path[0] != "self" or path[1:] not in after or path in given:
            continue
        now = after[path[1:]]
        was = outcome.others.get(("before", *path), then)
        if is_numeric(now) and np.shape(now) == np.shape(was) and not _same(now, was):
            rate = outcome.rate or 1.0
            outcome.claims[("step", *path)] = (was - now) * (1 / rate)


def _claimed_parameters(outcome: Outcome) -> Iterator[tuple[Path, Path]]:
    from reference.checks.matching import matched

    yield from ((leaf, claim) for claim, leaf in matched(outcome.claims, outcome.inputs, {})[0])


def _inputs_copied(outcome: Outcome) -> dict[Path, Any]:
    """Copy what went in, so that what is written into shows; steps are taken from it."""
    copies = {
        k: np.array(v, copy=True) if isinstance(v, np.ndarray) else v
        for k, v in {**outcome.inputs, **outcome.others}.items()
        if k[0] != "before"
    }
    for path in outcome.inputs:
        if path[0] == "self":
            outcome.others[("before", *path)] = _view_like(outcome.inputs[path], copies[path])
    return copies


def _view_like(original: Any, copied: Any) -> Any:
    return copied.view(type(original)) if isinstance(original, np.ndarray) else copied


def _note_mutation(outcome: Outcome, before: Mapping[Path, Any]) -> None:
    for path, then in before.items():
        now = outcome.inputs.get(path, outcome.others.get(path))
        if isinstance(now, np.ndarray) and not _same(now, then):
            if path[0] != "self" and path not in outcome.stepped:
                outcome.mutated.append(path[-1])
            # What is judged is what went in.
            if path in outcome.inputs:
                outcome.inputs[path] = _view_like(now, then)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return not isinstance(one, np.ndarray)
    if np.shape(one) != np.shape(other):
        return False
    if isinstance(one, np.ndarray) and one.dtype == object:
        return all(
            a is b or (not hasattr(a, "parents") and not hasattr(b, "parents") and a == b)
            for a, b in zip(one.flat, np.asarray(other).flat, strict=True)
        )
    if type(one).__name__ == "Number" or type(other).__name__ == "Number":
        return one is other
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f"))


# -- surroundings ------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _on_tape(reading: Reading, session: Session | None, seed: int) -> Iterator[None]:
    import random

    random.seed(seed)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        if session is None:
            yield
        else:
            with numpy_on_balls(reading.modules, seed=seed):
                yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@contextlib.contextmanager
def _weights_of_the_module(
    reading: Reading, rng: np.random.Generator, keep: _Keeper
) -> Iterator[None]:
    """Draw the module's own arrays that the code reads: Wxh = …, used inside lossFun."""
    function = reading.first.function
    code = getattr(function, "__code__", None)
    space = getattr(function, "__globals__", {})
    names = [
        n
        for n in (code.co_names if code else ())
        if isinstance(space.get(n), np.ndarray) and space[n].dtype.kind == "f" and space[n].size
    ]
    kept = {n: space[n] for n in names}
    try:
        for name, value in kept.items():
            scale = 0.7 if type(rng) is np.random.Generator else 1.0
            drawn = rng.standard_normal(value.shape) * scale
            space[name] = keep.put(("global", name), drawn, "normal")
        yield
    finally:
        space.update(kept)


def floats(outcome_values: Mapping[Path, Any]) -> dict[Path, Any]:
    """Return the plain values of tracked or plain arrays."""
    return {k: values(v) for k, v in outcome_values.items()}
