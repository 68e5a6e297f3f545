"""Runs a user's forward and backward on tensors: what is drawn, what is called, what is claimed.

As `experiment.perform`, for code that wants tensors: PyTorch's or JAX's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference.checks.code import NumericValue, Path, generator, leaves_of, sizes_for
from reference.checks.code import vocabulary as words
from reference.checks.code.argument_spec import CONTAINERS, assembled, path_of
from reference.checks.code.routine import CallTrace, call
from reference.checks.kinds._frames import Frame, Function, Tensors, shape_index
from reference.checks.running import Reading, Unreadable, announce
from reference.checks.running.arguments_and_claims import value_of
from reference.formats import Array

_LEAVES = ("normal", "positive", "unit", "sign", "list")


@dataclass
class CallProblem:
    """The numbers of one problem."""

    drawn: dict[str, object]
    leaves: dict[Path, Array] = field(default_factory=dict)
    seed: int = 0


def draw(plan: Reading, frame: Frame, seed: int, index: int) -> CallProblem:
    """Draw one problem; parameters of an object are drawn when it was made once."""
    announce(seed, index)
    rng = generator(seed, index, plan.mode.style)
    sizes = sizes_for(seed, shape_index(frame, index), plan.mode.style) | dict(plan.fixed)
    drawn = {k: s.draw(rng, sizes) for k, s in plan.layout.items()}
    problem = CallProblem(drawn, seed=seed + index)
    for name, value in drawn.items():
        kind = plan.layout[name].kind
        if name.startswith("init.") or kind not in _LEAVES:
            continue
        path = path_of(name)
        if kind == "list":
            problem.leaves |= {(*path, str(i)): np.asarray(v, float) for i, v in enumerate(value)}
        elif np.asarray(value).dtype.kind == "f":
            problem.leaves[path] = np.asarray(value)
    if plan.of_instance:
        for key, tensor in state(make(plan, frame, problem, {}), frame).items():
            problem.leaves[("self", *key)] = _fresh(key[-1], frame.plain(tensor), rng)
    return problem


def _fresh(name: str, like: Array, rng: np.random.Generator) -> Array:
    if re.search(r"var|gamma|scale|std", name, re.I):
        return np.asarray(rng.uniform(0.5, 1.5, like.shape))
    return np.asarray(rng.standard_normal(like.shape)) * 0.7


# -- arguments and objects ---------------------------------------------------------------------


def arguments(
    plan: Reading, frame: Frame, problem: CallProblem, tensors: Tensors
) -> dict[str, object]:
    """Return what the first routine is called with: tensors, dicts and lists of them, numbers."""
    given = {
        name: _given(path_of(name), value, frame, tensors)
        for name, value in problem.drawn.items()
        if not name.startswith("init.") and plan.layout[name].kind not in CONTAINERS
    }
    return assembled(
        given, {n: s for n, s in plan.layout.items() if n in problem.drawn and "init." not in n}
    )


def _given(path: Path, value: Any, frame: Frame, tensors: Tensors) -> object:
    if path in tensors:
        return tensors[path]
    if (*path, "0") in tensors:
        return [tensors[(*path, str(i))] for i in range(len(value))]
    return frame.tensor(value) if isinstance(value, np.ndarray) else value


def make(plan: Reading, frame: Frame, problem: CallProblem, tensors: Tensors) -> object:
    """Return an object of the class, its parameters set; None for plain functions."""
    if not plan.of_instance:
        return None
    owner, maker = plan.unit.owner, plan.constructor
    assert owner is not None
    given = {k[5:]: v for k, v in problem.drawn.items() if k.startswith("init.")}
    given = {k: frame.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    wanted = maker.arguments if maker is not None else []
    instance = owner(**{k: v for k, v in given.items() if k in wanted})
    for path, tensor in tensors.items():
        if path[0] == "self":
            _put(instance, path[1:], tensor)
    return instance


def _put(instance: Any, key: Path, tensor: Any) -> None:
    holder = instance
    for part in key[:-1]:
        if isinstance(holder, list):
            holder = holder[int(part)]
        else:
            holder = holder[part] if isinstance(holder, dict) else getattr(holder, part)
    name = key[-1]
    if isinstance(holder, list):
        holder[int(name)] = tensor
    elif isinstance(holder, dict):
        holder[name] = tensor
    elif name in getattr(holder, "_parameters", {}):
        import torch

        if tensor.requires_grad:  # a parameter has to be a leaf: this one is none, and stands in
            del holder._parameters[name]
            object.__setattr__(holder, name, tensor)
        else:
            holder._parameters[name] = torch.nn.Parameter(tensor)
    else:
        setattr(holder, name, tensor)


def state(instance: object, frame: Frame) -> dict[Path, Any]:
    """Return the trainable tensors of an object, by path."""
    return {p: t for p, t in held(instance, frame).items() if frame.is_float(t) and is_parameter(p)}


def is_parameter(path: Path) -> bool:
    """Whether a tensor at this path of an object is trained, by its name."""
    name = next((p for p in reversed(path) if not p.isdigit()), path[-1])
    if any(words.is_gradient_name(p) or p.strip("_") in ("grads", "grad") for p in path):
        return False
    known = words.WEIGHTS.match(name) or words.BIASES.match(name)
    return known is not None or name.lower() in ("gamma", "scale", "alpha")


def held(instance: object, frame: Frame, path: Path = ()) -> dict[Path, object]:
    """Return every tensor that an object holds, by path; parameters of a torch module as well."""
    if frame.is_tensor(instance):
        return {path: instance}
    if len(path) > 4 or isinstance(instance, str | int | float | type):
        return {}
    parts: list[tuple[str, object]] = []
    if isinstance(instance, Mapping):
        parts = [(str(k), v) for k, v in instance.items()]
    elif isinstance(instance, list | tuple):
        parts = [(str(i), v) for i, v in enumerate(instance)]
    elif hasattr(instance, "__dict__"):
        own = dict(vars(instance))
        modules = {**own.pop("_parameters", {}), **own.pop("_modules", {})}
        parts = [(k, v) for k, v in {**own, **modules}.items() if not k.startswith("_")]
    found: dict[Path, object] = {}
    for name, part in parts:
        found |= held(part, frame, (*path, name))
    return found


_LOSSES = ("loss", "cost", "l", "j", "e", "error", "total_loss", "nll")
_HANGERS = ("g", "grad_", "gradient", "d", "dx", "grad")
"""Attributes under which some hang a gradient on its tensor: inp.g."""


@dataclass
class Claimed:
    """What one run gave: claims by path, and the output that each cotangent belongs to."""

    claims: dict[Path, NumericValue]
    cotangents: dict[str, Array]
    """By the part of the output: "" the whole of it, "1" its second, "loss" a variable."""
    target: Array | None = None
    """The targets that the backward was given, where the loss is not written."""
    unwritten: dict[str, Array] = field(default_factory=dict)
    """The outputs that such a loss may be of, by part."""
    mutated: list[str] = field(default_factory=list)
    returned: object = None
    """What the backward returned, with arrays in the place of tensors."""


def outputs(plan: Reading, frame: Frame, problem: CallProblem, parts: Sequence[str]) -> Function:
    """Return the forward as a function of its leaves, to the parts of its output."""

    def function(tensors: Tensors) -> list[object]:
        instance = make(plan, frame, problem, tensors)
        given = plan.first.only(arguments(plan, frame, problem, tensors))
        trace = call(plan.first, given, instance)
        return [part_of(trace, part) for part in parts]

    return function


def part_of(trace: CallTrace, part: str) -> object:
    """Return a part of what came back: the output, one of several, or a variable by name."""
    value = trace.value
    if part == "":
        return value[0] if isinstance(value, tuple | list) else value
    if part.isdigit():
        return value[int(part)]
    if part in trace.variables:
        return trace.variables[part]
    raise Unreadable(f"the output has no part {part}")


def claimed(plan: Reading, frame: Frame, problem: CallProblem) -> Claimed:
    """Run forward and backward as they are written, and return what the backward claims."""
    rng = np.random.default_rng([problem.seed, 5])
    with frame.running(problem.seed), frame.without_gradient():
        tensors = {p: frame.tensor(a) for p, a in problem.leaves.items()}
        instance = make(plan, frame, problem, tensors)
        given = arguments(plan, frame, problem, tensors)
        trace = call(plan.first, plan.first.only(given), instance)
        back = plan.unit.backward
        found = Claimed({}, {})
        before = (
            {k: (t, frame.plain(t)) for k, t in held(instance, frame).items()} if instance else {}
        )
        if plan.forward is None:
            before = {p[1:]: (None, a) for p, a in problem.leaves.items() if p[0] == "self"}
            _own_loss(found, plan, problem, trace, frame)
            value: object = trace.value
        else:

            def cotangent(which: str) -> object:
                output = part_of(trace, which)
                if not frame.is_float(output):
                    raise Unreadable(f"the output has no part {which}")
                drawn = np.asarray(rng.standard_normal(frame.plain(output).shape))
                found.cotangents[which] = drawn
                return frame.tensor(drawn)

            bound = {
                name: value_of(source, name, given, trace, {}, cotangent)
                for name, source in plan.binding
            }
            _hang(plan, frame, trace, bound, found, rng)
            if not found.cotangents:
                _without_cotangent(found, plan, problem, trace, frame)
            kept = {p[-1]: (t, frame.plain(t)) for p, t in tensors.items() if p[0] != "self"}
            value = call(back, bound, instance).value
            found.mutated = [
                n
                for n, (t, was) in kept.items()
                if not np.array_equal(frame.plain(t), was, equal_nan=True)
            ]
        found.claims |= _kept(instance, frame, before)
        found.returned = plain(value, frame)
        found.claims |= leaves_of(found.returned, back.returned)
        found.claims |= _hanging(tensors, frame)
    return found


def plain(value: object, frame: Frame) -> object:
    """Return nested values with arrays in the place of tensors."""
    if frame.is_tensor(value):
        return frame.plain(value)
    if isinstance(value, Mapping):
        return {k: plain(v, frame) for k, v in value.items()}
    if isinstance(value, tuple | list):
        parts = [plain(v, frame) for v in value]
        return tuple(parts) if type(value) is tuple else parts
    return value


def _own_loss(
    found: Claimed, plan: Reading, problem: CallProblem, trace: CallTrace, frame: Frame
) -> None:
    """Find the loss that a backward computes itself; else the outputs that one may be of."""
    value = trace.value
    several = value if isinstance(value, tuple | list) else (value,)
    for i, one in enumerate(several):
        if frame.is_float(one) and np.size(frame.plain(one)) == 1:
            found.cotangents = {str(i) if isinstance(value, tuple | list) else "": np.ones(())}
            return
    for name, one in trace.variables.items():
        if name.lower() in _LOSSES and frame.is_float(one) and np.size(frame.plain(one)) == 1:
            found.cotangents = {name: np.ones(())}
            return
    found.target = _target(plan, problem)
    if found.target is None:
        raise Unreadable("it computes no loss")
    found.unwritten = {
        n: frame.plain(t)
        for n, t in reversed(trace.variables.items())
        if frame.is_float(t) and n not in problem.drawn and not words.is_gradient_name(n)
    }


def _target(plan: Reading, problem: CallProblem) -> Array | None:
    """Return the target among what was drawn that the forward does not know."""
    known = plan.forward.arguments if plan.forward is not None else ()
    for name, value in problem.drawn.items():
        asked = name.lower() in words.TARGET_NAMES and name not in known
        if asked and isinstance(value, np.ndarray):
            return value
    return None


def _without_cotangent(
    found: Claimed, plan: Reading, problem: CallProblem, trace: CallTrace, frame: Frame
) -> None:
    """A backward without a cotangent gives the gradient of a loss, or the slope of each entry."""
    output = part_of(trace, "")
    if not frame.is_float(output):
        raise Unreadable("its output is not a tensor")
    found.target = _target(plan, problem)
    if found.target is not None:
        found.unwritten = {"": frame.plain(output)}
    else:
        found.cotangents[""] = np.ones(frame.plain(output).shape)


def _hang(
    plan: Reading,
    frame: Frame,
    trace: CallTrace,
    bound: Mapping[str, object],
    found: Claimed,
    rng: np.random.Generator,
) -> None:
    """Hang a cotangent on the output, where the backward reads it there: out.g."""
    output = part_of(trace, "")
    if not plan.hung or found.cotangents or not frame.is_float(output):
        return
    kept = not bound  # self.out.g: the object keeps its output
    if not (kept or any(v is output for v in bound.values())) or not re.search(
        rf"\b\w+\.{plan.hung}\b(?!\s*=[^=])", plan.unit.backward.text()
    ):
        return
    drawn = np.asarray(rng.standard_normal(frame.plain(output).shape))
    setattr(output, plan.hung, frame.tensor(drawn))
    found.cotangents[""] = drawn


def _hanging(tensors: Tensors, frame: Frame) -> dict[Path, Array]:
    """Return the gradients that hang on what went in: inp.g, w.grad."""
    found: dict[Path, Array] = {}
    for path, tensor in tensors.items():
        own = _hung_on(tensor, frame)
        if own is not None and path[0] != "self":
            found[(*path[:-1], f"{path[-1]}_grad")] = frame.plain(own)
    return found


def _hung_on(tensor: object, frame: Frame) -> object:
    """Return the gradient that hangs on a tensor, None where there is none."""
    hung = (_attribute(tensor, name) for name in _HANGERS)
    return next((g for g in hung if frame.is_tensor(g)), None)


def _attribute(tensor: object, name: str) -> object:
    try:
        return vars(tensor).get(name) if name != "grad" else getattr(tensor, "grad", None)
    except TypeError:
        return None


def _kept(
    instance: object, frame: Frame, before: Mapping[Path, tuple[object, Array]]
) -> dict[Path, Array]:
    """Return what an object keeps after its backward that looks like a gradient, or a step."""
    found: dict[Path, Array] = {}
    for path, tensor in held(instance, frame).items() if instance is not None else ():
        was, value = before.get(path, (None, None))
        now = frame.plain(tensor)
        changed = value is None or was is not tensor or not np.array_equal(now, value)
        named = any(words.gradient_of(p) or p in ("grads", "grad", "gradients") for p in path)
        if changed and named:
            found[("self", *path)] = now
        elif value is not None and is_parameter(path) and value.shape == now.shape:
            if not np.array_equal(now, value):
                found[("step", "self", *path)] = value - now
        own = _hung_on(tensor, frame) if is_parameter(path) else None
        if own is not None:
            found[("self", *path[:-1], f"{path[-1]}_grad")] = frame.plain(own)
    return found
