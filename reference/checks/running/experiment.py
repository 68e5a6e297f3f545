"""Runs one reading of a target on one problem: with plain floats, or with numbers on the tape.

A reading says what each argument gets. Running it gives all named values of the forward, the claims
of the backward, and where each claim came from.
"""

import contextlib
import functools
import inspect
import linecache
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from reference.balls import Session, lift
from reference.checks.code import (
    NumericValue,
    Path,
    Routine,
    generator,
    instances,
    is_numeric,
    is_target,
    leaves_of,
    plain,
    raised_text,
    sizes_for,
)
from reference.checks.code.argument_spec import CONTAINERS, assembled, path_of
from reference.checks.code.routine import CallTrace, call
from reference.checks.code.vocabulary import DATA_NAMES, PREDICTION_NAMES
from reference.checks.reading.choices import PlainSgd
from reference.checks.running.arguments_and_claims import (
    collect,
    cotangent_of,
    inputs_copied,
    kept_now,
    note_mutation,
    rate_of,
    same,
    steps_in_arguments,
    steps_of_the_module,
    value_of,
)
from reference.checks.running.outcome import (
    ForwardFailed,
    NotFinite,
    Reading,
    RunOutcome,
    Unreadable,
)
from reference.checks.running.surroundings import on_tape, quiet, weights_of_the_module

Value = TypeVar("Value")
_FLOATS = ("normal", "positive", "unit", "list")


_watch: Callable[[str, bool], None] | None = None
_seen = (0.0, False)
_problem = ""


def watch(listener: Callable[[str, bool], None] | None) -> None:
    """Call a listener with the problem that is being tried, and whether it is on the tape.

    At most five times a second, and when the tape begins or ends.
    """
    global _watch
    _watch = listener


def announce(seed: int, index: int, tape: bool = False) -> None:
    """Tell the listener of a problem that is about to be tried; its time begins again.

    tape: whether what follows is our computation, not the target's.
    """
    global _seen, _problem
    now, (then, before) = time.monotonic(), _seen
    _problem = f"{seed}:{index}"
    if _watch is not None and (now - then > 0.2 or tape != before):
        _seen = (now, tape)
        _watch(_problem, tape)


def still_computing() -> None:
    """Tell the listener that our own computation goes on: the target's time begins again."""
    global _seen
    now = time.monotonic()
    if _watch is not None and now - _seen[0] > 0.2:
        _seen = (now, True)
        _watch(_problem, True)


def perform(
    reading: Reading,
    seed: int,
    index: int,
    session: Session | None = None,
    warm: bool = False,
    far: bool = False,
    given: Mapping[Path, NumericValue] | None = None,
    dtype: str = "",
) -> RunOutcome:
    """Run a reading on one problem; with a session, on numbers that carry their derivative.

    given: what goes in, by path, in place of the drawn values.
    dtype: the type of all arrays of floats that go in, "" as they are drawn.
    far: whether an output that is not finite is of interest, not a reason to refuse the inputs.
    warm: whether the object's forward runs on other numbers first.
    Returns the outcome; raises what the target raises, or Unreadable.
    """
    announce(seed, index, session is not None)
    rng = generator(seed, index, reading.mode.style)
    sizes = sizes_for(seed, index, reading.mode.style) | dict(reading.fixed)
    drawn = {k: s.draw(rng, sizes) for k, s in reading.layout.items()}
    drawn |= _widened(reading, drawn, index)
    code = getattr(reading.first.function, "__code__", None)
    outcome = RunOutcome(
        sizes, far=far, dtype=dtype, adds_steps=_adds_steps(code.co_filename if code else "")
    )
    keep = _Keeper(outcome, reading, session is not None, given)
    with (
        quiet(),
        on_tape(reading, session, seed + index),
        weights_of_the_module(reading, rng, keep.put),
    ):
        try:
            instance = _build(reading, drawn, rng, keep)
        except Exception as error:
            raise ForwardFailed(raised_text(error)) from error
        if warm and instance is not None:
            _warm_up(reading, instance, seed, index, sizes)
            np.random.seed((seed + index) % 2**32)  # noqa: NPY002
        arguments = _assembled(_of_call(drawn), keep)
        if reading.forward is None:
            _run_alone(reading, arguments, instance, outcome)
        else:
            _run_pair(reading, arguments, instance, outcome, rng, session)
    return outcome


def _widened(reading: Reading, drawn: Mapping[str, Any], index: int) -> dict[str, object]:
    """Return an input that goes in alone, four times as wide in every third problem.

    Normal numbers do not reach the upper edge of relu6 or of a hard sigmoid.
    """
    normal = [k for k, s in reading.layout.items() if s.kind == "normal" and s.dims]
    if index % 3 != 2 or len(normal) != 1 or reading.mode.style == "whole":
        return {}
    return {normal[0]: 4.0 * drawn[normal[0]]}


_ADDED = re.compile(
    r"\+=\s*[\w.\[\]'\"]*(lr|rate|eta|alpha|step)|=[^=\n]+\+\s*(self\.)?(lr|learning_rate|eta|alpha|rate|step_size)\s*\*"
)


@functools.cache
def _adds_steps(file: str) -> bool:
    """Whether a file adds steps to weights: W += rate · …; yes where it cannot be read."""
    text = "".join(linecache.getlines(file))
    return not text or bool(_ADDED.search(text))


def _of_call(every: Mapping[str, Value]) -> dict[str, Value]:
    """Return what goes to the functions, not to a constructor."""
    return {k: v for k, v in every.items() if not k.startswith("init.")}


def _of_constructor(every: Mapping[str, Value]) -> dict[str, Value]:
    return {k.removeprefix("init."): v for k, v in every.items() if k.startswith("init.")}


def _warm_up(
    reading: Reading, instance: object, seed: int, index: int, sizes: Mapping[str, int]
) -> None:
    """Run the forward of an object on other numbers, and forget what it gave."""
    rng = np.random.default_rng([seed, index, 5])
    other = {k: s.draw(rng, sizes) for k, s in _of_call(reading.layout).items()}
    given = _assembled(other, _Keeper(RunOutcome({}), reading, False))
    if reading.forward is not None:
        call(reading.forward, reading.forward.only(given), instance)


class _Keeper:
    """Registers what goes in; on the tape it is lifted first."""

    def __init__(
        self,
        outcome: RunOutcome,
        reading: Reading,
        tape: bool,
        given: Mapping[Path, NumericValue] | None = None,
    ) -> None:
        self.outcome, self.reading, self.tape = outcome, reading, tape
        self.given = given or {}

    def put(self, path: Path, value: Any, kind: str) -> object:
        """Return a value as it is given to the target, registered under its path."""
        if kind == "list":
            return [self.put((*path, str(i)), v, "normal") for i, v in enumerate(value)]
        value = self.given.get(path, value)
        if kind not in _FLOATS or not is_numeric(value):
            if isinstance(value, float):
                self.outcome.numbers[path[-1]] = value
            elif is_numeric(value) or isinstance(value, np.ndarray):
                self.outcome.others[path] = value
            return value
        if self.outcome.dtype and np.shape(value):
            value = np.asarray(value).astype(self.outcome.dtype)
        given = lift(value) if self.tape else value
        self.outcome.inputs[path] = given
        return given


class _WeightBuilder(_Keeper):
    """Gives a constructor plain weights (drawn again and lifted later), and its data lifted."""

    def __init__(self, keep: _Keeper, outcome: RunOutcome) -> None:
        super().__init__(outcome, keep.reading, False)
        self.keep = keep

    def put(self, path: Path, value: object, kind: str) -> object:
        """Return a value as the constructor gets it."""
        name = path[-1].lower()
        if name in DATA_NAMES or is_target(name):
            return self.keep.put(path, value, kind)
        if isinstance(value, float):
            self.keep.outcome.numbers[path[-1]] = value
        return super().put(path, value, kind)


def _assembled(drawn: dict[str, object], keep: _Keeper) -> dict[str, object]:
    """Return the arguments, each registered; whole ones first, then members of dicts and lists."""
    layout = keep.reading.layout
    single = [n for n in drawn if layout[n].kind not in CONTAINERS]
    single.sort(key=lambda n: "[" in n)
    given = {n: keep.put(path_of(n), drawn[n], layout[n].kind) for n in single}
    return assembled(given, {n: layout[n] for n in drawn})


def _build(
    reading: Reading, drawn: dict[str, object], rng: np.random.Generator, keep: _Keeper
) -> object:
    """Return the instance with fresh parameters, or None for a plain function."""
    unit, maker = reading.unit, reading.constructor
    if unit.owner is None or not reading.of_instance:
        return None
    layout = _of_constructor(reading.layout)
    inner = _Keeper(keep.outcome, replace(reading, layout=layout), keep.tape, given=keep.given)
    made = _assembled(_of_constructor(drawn), _WeightBuilder(inner, RunOutcome({})))
    wanted = maker.arguments if maker is not None else []
    owner = functools.partial(unit.owner, **{k: v for k, v in made.items() if k in wanted})
    instance, module = owner(), unit.owner.__module__
    _set_up(instance, keep.outcome.sizes)
    fresh = instances.randomise(instance, module, rng)
    lazy = any(v is None for v in getattr(instance, "__dict__", {}).values())
    if not fresh and reading.forward is not None and lazy:  # weights made at the first input
        with contextlib.suppress(Exception):
            first = _assembled(_of_call(drawn), _Keeper(RunOutcome({}), reading, False))
            call(reading.forward, reading.forward.only(first), instance)
            kept = {id(v) for v in first.values()}  # self.b = b keeps an input, no weight
            for name in [n for n, v in vars(instance).items() if id(v) in kept]:
                setattr(instance, name, None)
            fresh = instances.randomise(instance, module, rng, lazily=True)
        instance = instance if fresh else owner()
    given = {p: keep.put(("self", *p), v, "normal") for p, v in fresh.items()}
    instances.set_parameters(instance, module, given)
    return instance


SET_UP = (
    "initialize initialise init_weights init_params initialize_weights build setup "
    "initialize_parameters reset_parameters init".split()
)
"""What some classes want to be called before their first forward: layer.initialize(optimizer)."""


def _set_up(instance: object, sizes: Mapping[str, int]) -> None:
    for name in SET_UP:
        method = getattr(instance, name, None)
        if not callable(method):
            continue
        given: dict[str, object] = {}
        for p in inspect.signature(method).parameters.values():
            low = p.name.lower()
            if "opt" in low:
                given[p.name] = PlainSgd()
            elif "shape" in low:
                given[p.name] = (sizes["D"],)
            elif p.default is p.empty:
                break
        else:
            with contextlib.suppress(Exception):
                method(**given)
        return


def _run_alone(
    reading: Reading, arguments: dict[str, object], instance: object, outcome: RunOutcome
) -> None:
    back = reading.unit.backward
    before = inputs_copied(outcome)
    at_start = kept_now(reading, instance)
    trace = call(back, back.only(arguments), instance)
    outcome.values = _named(trace, back)
    outcome.instance, outcome.returned = instance, trace.value
    outcome.outputs = leaves_of(trace.value, back.returned)
    outcome.middle = {p: v for p, v in outcome.values.items() if is_numeric(v)}
    outcome.rate = rate_of(reading, arguments, instance)
    _add_losses(reading, arguments, instance, trace, outcome)
    collect(reading, trace, instance, at_start, outcome)
    steps_of_the_module(reading, before, outcome)
    note_mutation(outcome, before)


def _run_pair(
    reading: Reading,
    arguments: dict[str, object],
    instance: object,
    outcome: RunOutcome,
    rng: np.random.Generator,
    session: Session | None,
) -> None:
    forward, back = reading.forward, reading.unit.backward
    assert forward is not None
    first_of_all = {p: v.copy() for p, v in outcome.inputs.items() if isinstance(v, np.ndarray)}
    try:
        trace = call(forward, forward.only(arguments), instance)
    except Exception as error:
        raise ForwardFailed(raised_text(error)) from error
    first = trace.value[0] if isinstance(trace.value, tuple) and trace.value else trace.value
    if first is not None and not any(np.size(v) for v in leaves_of(first).values()):
        raise ForwardFailed("its output is empty")
    if session is None and not outcome.far and not _finite(first):
        raise NotFinite("its output is not finite for these inputs")
    outcome.values = _named(trace, forward)
    outcome.instance, outcome.made = instance, trace.value
    outcome.outputs = leaves_of(trace.value, forward.returned)
    kept = kept_now(reading, instance)
    if trace.value is None:
        trace.value = _kept_output(kept, outcome)
    for path, value in kept.items():
        if len(path) == 1:
            outcome.values.setdefault(path, value)
    _add_losses(reading, arguments, instance, trace, outcome)
    cotangent = functools.partial(cotangent_of, trace=trace, outcome=outcome, rng=rng)
    given = {
        name: value_of(source, name, arguments, trace, outcome.values, cotangent)
        for name, source in reading.binding
    }
    outcome.paired = True
    known = set(forward.arguments)
    outcome.told_targets = any(
        is_target(p[-1]) and p[0] not in known for p in (*outcome.others, *outcome.inputs)
    )
    before = inputs_copied(outcome)
    cotangents = [(np.array(c, copy=True)) for _, c in outcome.cotangents]
    with session.paused() if session is not None else contextlib.nullcontext():
        back_trace = call(back, given, instance)
    outcome.returned = back_trace.value
    outcome.middle = {p: v for p, v in _named(back_trace, back).items() if is_numeric(v)}
    outcome.rate = rate_of(reading, {**arguments, **given}, instance)
    collect(reading, back_trace, instance, kept, outcome)
    steps_in_arguments(arguments, before, outcome)
    note_mutation(outcome, before)
    for path, then in first_of_all.items():  # x[x <= 0] = 0 in the forward
        if path[0] != "self" and not same(outcome.inputs[path], then):
            outcome.inputs[path] = then
    for (_, now), then in zip(outcome.cotangents, cotangents, strict=True):
        if isinstance(now, np.ndarray) and not same(now, then):
            outcome.mutated.append("the incoming gradient")


def _finite(value: object) -> bool:
    arrays = map(np.asarray, leaves_of(value).values())
    return not any(a.dtype.kind == "f" and np.isnan(a).any() for a in arrays)


_OUTPUTS = ("output", "outputs", "out", "y", "a", "activation", "result", "activations", "z")


def _kept_output(kept: Mapping[Path, NumericValue], outcome: RunOutcome) -> object:
    """Return what a forward without a return keeps as its output: self.output."""
    names = {p[-1].lower().lstrip("_"): p for p in kept if len(p) == 1}
    for name in _OUTPUTS:
        if name in names:
            outcome.outputs = {names[name]: kept[names[name]]}
            return kept[names[name]]
    raise Unreadable("forward returns nothing and keeps no output")


def _add_losses(
    reading: Reading,
    arguments: Mapping[str, object],
    instance: object,
    trace: CallTrace,
    outcome: RunOutcome,
) -> None:
    """Call the file's own loss functions on what the forward made: compute_cost(A2, Y)."""
    known: dict[str, object] = {}
    for path, value in {**outcome.values, **outcome.others, **outcome.inputs}.items():
        known.setdefault(plain(path[-1]), value)
    known |= {plain(k): v for k, v in arguments.items()}
    first = trace.value[0] if isinstance(trace.value, tuple) and trace.value else trace.value
    targets = (v for k, v in {**outcome.others, **outcome.inputs}.items() if is_target(k[-1]))
    target = next(targets, None)
    for loss in reading.unit.losses:
        given = {}
        for name in loss.arguments:
            if plain(name) in known:
                given[name] = known[plain(name)]
            elif is_target(name) and target is not None:
                given[name] = target
            elif name.lower() in (*PREDICTION_NAMES, "y", "p") and is_numeric(first):
                given[name] = first
        try:
            value = call(loss, given, instance).value
        except Exception:
            continue
        if is_numeric(value) and np.size(value) == 1:
            outcome.values[(f"{loss.short}()",)] = value


def _named(trace: CallTrace, routine: Routine) -> dict[Path, NumericValue]:
    found = leaves_of(trace.value, routine.returned)
    for name, value in trace.variables.items():
        if is_numeric(value):
            found.setdefault((name,), value)
        elif isinstance(value, dict | list | tuple):
            for path, part in leaves_of(value, None, (name,)).items():
                found.setdefault(path, part)
    return found
