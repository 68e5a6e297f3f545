"""Runs somebody's forward and backward on tensors: what goes in, what the backward claims.

As `experiment.perform`, for code that wants tensors: PyTorch's or JAX's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference.checks import vocabulary as words
from reference.checks.experiment import Unreadable
from reference.checks.inputs import Layout, Mode, sizes_for
from reference.checks.inventory import Unit
from reference.checks.kinds._frames import Array, Frame, Path, Tensors, shape_index
from reference.checks.requests import Fixed
from reference.checks.routine import Routine, Trace, call, leaves_of

_LEAVES = ("normal", "positive", "unit", "probability", "sign", "list")
_LOSSES = ("loss", "cost", "l", "j", "e", "error", "total_loss", "nll")
_HANGERS = ("g", "grad_", "gradient", "d", "dx")
"""Attributes under which some hang a gradient on its tensor: inp.g."""


@dataclass(frozen=True)
class Plan:
    """What is called, and what each argument gets."""

    unit: Unit
    forward: Routine | None
    mode: Mode
    layout: Layout
    binding: Mapping[str, str]
    constructor: Routine | None
    fixed: Fixed = ()
    """Sizes that a class settles itself."""
    hung: str = ""
    """The attribute under which gradients hang on tensors, "" where they are handed over."""

    @property
    def first(self) -> Routine:
        """What the drawn inputs go to."""
        return self.forward or self.unit.backward

    @property
    def of_instance(self) -> bool:
        """Whether an object of the class is needed."""
        return self.unit.owner is not None and (self.first.bound or self.unit.backward.bound)


@dataclass
class Problem:
    """The numbers of one problem."""

    drawn: dict[str, Any]
    leaves: dict[Path, Array] = field(default_factory=dict)
    seed: int = 0


@dataclass
class Claimed:
    """What one run gave: claims by path, and the output that each cotangent belongs to."""

    claims: dict[Path, Array]
    cotangents: dict[str, Array]
    """By the part of the output: "" the whole of it, "1" its second, "loss" a variable."""
    hung: bool = False


def draw(plan: Plan, frame: Frame, seed: int, index: int) -> Problem:
    """Draw one problem; parameters of an object are drawn when it was made once."""
    rng = np.random.default_rng([seed, index])
    sizes = sizes_for(seed, shape_index(frame, index), plan.mode.style) | dict(plan.fixed)
    drawn = {k: s.draw(rng, sizes) for k, s in plan.layout.items()}
    problem = Problem(drawn, seed=seed + index)
    for name, value in drawn.items():
        kind = plan.layout[name].kind
        if name.startswith("init.") or kind not in _LEAVES:
            continue
        path = tuple(re.findall(r"[^\[\]]+", name))
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


def arguments(plan: Plan, frame: Frame, problem: Problem, tensors: Tensors) -> dict[str, Any]:
    """Return what the first routine is called with: tensors, dicts and lists of them, numbers."""
    made: dict[str, Any] = {}
    for name, value in problem.drawn.items():
        if name.startswith("init."):
            continue
        path = tuple(re.findall(r"[^\[\]]+", name))
        kind = plan.layout[name].kind
        given = _given(path, value, frame, tensors)
        if kind in ("dict", "listed"):
            made[name] = {} if kind == "dict" else []
        elif len(path) == 1:
            made[name] = given
        elif isinstance(made[path[0]], list):
            made[path[0]].append(given)
        else:
            made[path[0]][path[1]] = given
    return made


def _given(path: Path, value: Any, frame: Frame, tensors: Tensors) -> Any:
    if path in tensors:
        return tensors[path]
    if (*path, "0") in tensors:
        return [tensors[(*path, str(i))] for i in range(len(value))]
    return frame.tensor(value) if isinstance(value, np.ndarray) else value


def make(plan: Plan, frame: Frame, problem: Problem, tensors: Tensors) -> Any:
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
        holder = holder[int(part)] if isinstance(holder, list) else (
            holder[part] if isinstance(holder, dict) else getattr(holder, part))  # fmt: skip
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


def state(instance: Any, frame: Frame, path: Path = ()) -> dict[Path, Any]:
    """Return the trainable tensors of an object, by path."""
    return {p: t for p, t in held(instance, frame, path).items()
            if frame.is_float(t) and _is_parameter(p)}  # fmt: skip


def _is_parameter(path: Path) -> bool:
    name = next((p for p in reversed(path) if not p.isdigit()), path[-1])
    if any(words.is_gradient_name(p) or p.strip("_") in ("grads", "grad") for p in path):
        return False
    known = words.WEIGHTS.match(name) or words.BIASES.match(name)
    return known is not None or name.lower() in ("gamma", "scale", "alpha")


def held(instance: Any, frame: Frame, path: Path = ()) -> dict[Path, Any]:
    """Return every tensor that an object holds, by path; parameters of a torch module as well."""
    if frame.is_tensor(instance):
        return {path: instance}
    if len(path) > 4 or isinstance(instance, str | int | float | type):
        return {}
    parts: list[tuple[str, Any]] = []
    if isinstance(instance, Mapping):
        parts = [(str(k), v) for k, v in instance.items()]
    elif isinstance(instance, list | tuple):
        parts = [(str(i), v) for i, v in enumerate(instance)]
    elif hasattr(instance, "__dict__"):
        own = dict(vars(instance))
        modules = {**own.pop("_parameters", {}), **own.pop("_modules", {})}
        parts = [(k, v) for k, v in {**own, **modules}.items() if not k.startswith("_")]
    found: dict[Path, Any] = {}
    for name, part in parts:
        found |= held(part, frame, (*path, name))
    return found


# -- one run -----------------------------------------------------------------------------------


def outputs(plan: Plan, frame: Frame, problem: Problem, parts: Sequence[str]) -> Any:
    """Return the forward as a function of its leaves, to the parts of its output."""

    def function(tensors: Tensors) -> list[Any]:
        instance = make(plan, frame, problem, tensors)
        trace = call(
            plan.first, _only(plan.first, arguments(plan, frame, problem, tensors)), instance
        )
        return [part_of(trace, part) for part in parts]

    return function


def part_of(trace: Trace, part: str) -> Any:
    """Return a part of what came back: the output, one of several, or a variable by name."""
    value = trace.value
    if part == "":
        return value[0] if isinstance(value, tuple | list) else value
    if part.isdigit():
        return value[int(part)]
    if part in trace.variables:
        return trace.variables[part]
    raise Unreadable(f"the output has no part {part}")


def claimed(plan: Plan, frame: Frame, problem: Problem) -> Claimed:
    """Run forward and backward as they are written, and return what the backward claims."""
    rng = np.random.default_rng([problem.seed, 5])
    with frame.running(problem.seed), frame.without_gradient():
        tensors = {p: frame.tensor(a) for p, a in problem.leaves.items()}
        instance = make(plan, frame, problem, tensors)
        given = arguments(plan, frame, problem, tensors)
        trace = call(plan.first, _only(plan.first, given), instance)
        back = plan.unit.backward
        found = Claimed({}, {})
        if plan.forward is None:
            found.cotangents = {_loss_of(trace, back, frame): np.ones(())}
            value: Any = trace.value
        else:
            before = {k: id(v) for k, v in held(instance, frame).items()} if instance else {}
            bound = {name: _source(source, plan, given, trace, found, frame, rng)
                     for name, source in plan.binding.items()}  # fmt: skip
            _hang(plan, frame, trace, bound, found, rng)
            _without_cotangent(found, trace, frame)
            value = call(back, bound, instance).value
            found.claims |= _kept(instance, frame, before)
        found.claims |= leaves_of(plain(value, frame), back.returned)
        found.claims |= _hanging(given, tensors, frame)
    return found


def _only(routine: Routine, given: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k in routine.arguments}


def plain(value: Any, frame: Frame) -> Any:
    """Return nested values with arrays in the place of tensors."""
    if frame.is_tensor(value):
        return frame.plain(value)
    if isinstance(value, Mapping):
        return {k: plain(v, frame) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(plain(v, frame) for v in value) if type(value) in (tuple, list) else [
            plain(v, frame) for v in value]  # fmt: skip
    return value


def _loss_of(trace: Trace, back: Routine, frame: Frame) -> str:
    """Return which part of what a backward computes is its loss."""
    value, names = trace.value, back.returned
    several = value if isinstance(value, tuple | list) else (value,)
    for i, one in enumerate(several):
        if frame.is_float(one) and np.size(frame.plain(one)) == 1:
            return str(i) if isinstance(value, tuple | list) else ""
    for name, one in trace.variables.items():
        if name.lower() in _LOSSES and frame.is_float(one) and np.size(frame.plain(one)) == 1:
            return name
    raise Unreadable(f"no loss was found ({names})")


def _source(
    source: str, plan: Plan, given: Mapping[str, Any], trace: Trace, found: Claimed, frame: Frame,
    rng: np.random.Generator,
) -> Any:  # fmt: skip
    kind, _, which = source.partition(":")
    match kind:
        case "input" | "extra":
            return given[which] if which in given else given[next(iter(given))]
        case "variable" if which in trace.variables:
            return trace.variables[which]
        case "output":
            return part_of(trace, which)
        case "rest" if isinstance(trace.value, tuple | list) and len(trace.value) > 1:
            rest = tuple(trace.value[1:])
            return rest[0] if len(rest) == 1 else rest
        case "all":
            return trace.value
        case "cotangent":
            output = part_of(trace, which)
            if frame.is_float(output):
                drawn = np.asarray(rng.standard_normal(frame.plain(output).shape))
                found.cotangents[which] = drawn
                return frame.tensor(drawn)
    raise Unreadable(f"nothing to give for {source}")


def _without_cotangent(found: Claimed, trace: Trace, frame: Frame) -> None:
    """A backward that was told no cotangent is of a loss, or the slope of each entry."""
    if found.cotangents:
        return
    output = part_of(trace, "")
    if not frame.is_float(output):
        raise Unreadable("its output is no tensor")
    found.cotangents[""] = np.ones(frame.plain(output).shape)


def _hang(
    plan: Plan, frame: Frame, trace: Trace, bound: Mapping[str, Any], found: Claimed,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Hang a cotangent on the output, where the backward reads it there: out.g."""
    output = part_of(trace, "")
    if not plan.hung or found.cotangents or not frame.is_float(output):
        return
    if not any(v is output for v in bound.values()) or not re.search(
        rf"\b\w+\.{plan.hung}\b(?!\s*=[^=])", plan.unit.backward.text()
    ):
        return
    drawn = np.asarray(rng.standard_normal(frame.plain(output).shape))
    setattr(output, plan.hung, frame.tensor(drawn))
    found.cotangents[""] = drawn


def _hanging(given: Mapping[str, Any], tensors: Tensors, frame: Frame) -> dict[Path, Array]:
    """Return the gradients that hang on what went in: inp.g, w.grad."""
    found: dict[Path, Array] = {}
    for path, tensor in tensors.items():
        name = next(
            (a for a in (*_HANGERS, "grad") if frame.is_tensor(_attribute(tensor, a))), None
        )
        if name is not None and path[0] != "self":
            found[(*path[:-1], f"{path[-1]}_grad")] = frame.plain(_attribute(tensor, name))
    return found


def _attribute(tensor: Any, name: str) -> Any:
    try:
        return vars(tensor).get(name) if name != "grad" else getattr(tensor, "grad", None)
    except TypeError:
        return None


def _kept(instance: Any, frame: Frame, before: Mapping[Path, int]) -> dict[Path, Array]:
    """Return what an object keeps after its backward that looks like a gradient."""
    found: dict[Path, Array] = {}
    if instance is None:
        return found
    for path, tensor in held(instance, frame).items():
        changed = before.get(path) != id(tensor)
        if changed and any(
            words.gradient_of(p) or p in ("grads", "grad", "gradients") for p in path
        ):
            found[("self", *path)] = frame.plain(tensor)
        own = _attribute(tensor, "grad")
        if frame.is_tensor(own):
            found[("self", *path[:-1], f"{path[-1]}_grad")] = frame.plain(own)
    return found
