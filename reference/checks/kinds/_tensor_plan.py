"""What is called on tensors and with what: drawn problems, arguments, objects with parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reference.checks import vocabulary as words
from reference.checks.argument_spec import CONTAINERS, assembled, generator, path_of, sizes_for
from reference.checks.kinds._frames import Array, Frame, Path, Tensors, shape_index
from reference.checks.outcome import Reading

_LEAVES = ("normal", "positive", "unit", "sign", "list")


@dataclass
class CallProblem:
    """The numbers of one problem."""

    drawn: dict[str, Any]
    leaves: dict[Path, Array] = field(default_factory=dict)
    seed: int = 0


def draw(plan: Reading, frame: Frame, seed: int, index: int) -> CallProblem:
    """Draw one problem; parameters of an object are drawn when it was made once."""
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
) -> dict[str, Any]:
    """Return what the first routine is called with: tensors, dicts and lists of them, numbers."""
    given = {
        name: _given(path_of(name), value, frame, tensors)
        for name, value in problem.drawn.items()
        if not name.startswith("init.") and plan.layout[name].kind not in CONTAINERS
    }
    return assembled(
        given, {n: s for n, s in plan.layout.items() if n in problem.drawn and "init." not in n}
    )


def _given(path: Path, value: Any, frame: Frame, tensors: Tensors) -> Any:
    if path in tensors:
        return tensors[path]
    if (*path, "0") in tensors:
        return [tensors[(*path, str(i))] for i in range(len(value))]
    return frame.tensor(value) if isinstance(value, np.ndarray) else value


def make(plan: Reading, frame: Frame, problem: CallProblem, tensors: Tensors) -> Any:
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


def held(instance: object, frame: Frame, path: Path = ()) -> dict[Path, Any]:
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
