"""Classes and objects with forward and backward, the gradients returned or kept in attributes."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache as once
from typing import Any

import numpy as np

from manual_backprop.network import Problem
from manual_backprop.spec import FloatArray, InvalidInput
from reference.checks.targets.forms import (
    COTANGENTS,
    OUTPUTS,
    Found,
    Given,
    asked,
    fixed_parameters,
    match,
    name_gradients,
    our,
    required,
)
from reference.checks.targets.pairs import split
from reference.checks.targets.writing import Layout, layout_of, order_of, rectangular

_BACKWARD = ("backward", "grad", "gradient", "derivative", "prime", "backprop")
_FORWARD = ("forward", "__call__")


def recognise(
    names: Mapping[str, Any], like: str | None, accepts: Mapping[str, Any]
) -> list[Found]:
    """Return the classes and objects of a module that are operations."""
    found: list[Found] = []
    for name, thing in names.items():
        cls = thing if isinstance(thing, type) else type(thing)
        if inspect.ismodule(thing) or inspect.isfunction(thing):
            continue
        forward, backward = _method(cls, _FORWARD), _method(cls, _BACKWARD)
        if forward is None or backward is None or _framework(cls):
            continue
        matched = match(cls.__name__, like or getattr(thing, "like", None)) or match(name, None)
        if matched is None:
            continue
        kind, operation, how = matched
        make = _maker(thing, operation)
        run = {"activation": _activation, "loss": _loss, "dense": _dense}[kind]
        fixed: dict[str, float] = {}
        if kind != "dense":
            functions = [getattr(cls, forward), getattr(cls, backward)]
            fixed = fixed_parameters(operation, cls, *functions)
            fixed |= (
                {k: v for k, v in vars(thing).items() if k in fixed} if thing is not cls else {}
            )
        what = f"class {name}" if thing is cls else f"object {name}"
        found.append(
            Found(f"{what} with {forward.strip('_')} and {backward}", what, kind, operation, how,
                  run(make, forward, backward), fixed, accepts)
        )  # fmt: skip
    return found


def _method(cls: type, names: tuple[str, ...]) -> str | None:
    for name in names:
        method = getattr(cls, name, None)
        # The metaclass gives every class a __call__: only one that it wrote counts.
        if callable(method) and any(name in vars(base) for base in cls.__mro__[:-1]):
            return name
    return None


def _framework(cls: type) -> bool:
    return any(base.__module__.startswith(("torch", "jax")) for base in cls.__mro__)


def _maker(thing: Any, operation: str) -> Callable[[Problem], Any]:
    """Return what makes a fresh object for a problem: constructor arguments go by their names."""

    def make(problem: Problem) -> Any:
        if not isinstance(thing, type):
            return thing
        d_in, d_out = problem.network.input_width, problem.network.widths[1]
        known = {
            "w": problem.parameters.get("layers.0.weight"),
            "weight": problem.parameters.get("layers.0.weight"),
            "weights": problem.parameters.get("layers.0.weight"),
            "b": problem.parameters.get("layers.0.bias"),
            "bias": problem.parameters.get("layers.0.bias"),
        }
        # One size alone is the number of units: the other is known from the first input.
        sizes = [d_in, d_out] if len(required(thing)) > 1 else [d_out]
        arguments: list[Any] = []
        for name in required(thing):
            value = known.get(name.lower())
            if value is not None:
                arguments.append(value)
            elif operation == "dense" and sizes:
                arguments.append(sizes.pop(0))
            else:
                parameters = {**problem.network.layers[0].parameters,
                              **problem.network.loss_parameters}  # fmt: skip
                if name not in parameters and len(parameters) != 1:
                    raise InvalidInput(
                        f"{thing.__name__}: constructor argument {name!r} is unknown"
                    )
                arguments.append(parameters.get(name, next(iter(parameters.values()))))
        return thing(*arguments)

    return make


def _activation(make: Callable[[Problem], Any], forward: str, backward: str) -> Any:
    def run(problem: Problem, cotangent: FloatArray) -> Given:
        made = make(problem)
        x = problem.x
        out, cache = split(getattr(made, forward)(x))
        method = getattr(made, backward)
        arguments = asked(method)
        if len(arguments) == 2:
            second = out if arguments[1] in OUTPUTS else cache
            return Given(out, name_gradients("activation", method(cotangent,
                         x if second is None else second)))  # fmt: skip
        if backward != "backward" and backward != "backprop":  # grad(x): the slope
            return Given(out, {"layers.0.z": np.asarray(method(x)) * cotangent})
        return Given(out, name_gradients("activation", method(cotangent)))

    return run


def _loss(make: Callable[[Problem], Any], forward: str, backward: str) -> Any:
    def run(problem: Problem, cotangent: FloatArray) -> Given:
        made = make(problem)
        first, method = getattr(made, forward), getattr(made, backward)
        order, arguments = order_of(first), asked(method)
        out = first(*order.put(problem.x, problem.targets))
        value, second = out if isinstance(out, tuple) else (out, None)
        one = np.ones((), problem.dtype)
        if len(arguments) > 1 and arguments[0].lower() in COTANGENTS:
            found = method(one, second)
        elif second is not None:  # the loss with its gradient
            found = second
        elif len(arguments) > 1:
            found = method(*order_of(method, first).put(problem.x, problem.targets))
        else:
            found = method(*[one][: len(arguments)])
        return Given(value, name_gradients("loss", found), order.notes)

    return run


def _dense(make: Callable[[Problem], Any], forward: str, backward: str) -> Any:
    def holding(problem: Problem, x: Any, weight: FloatArray, *bias: FloatArray) -> Any:
        made = make(problem)
        if not _set(made, _WEIGHTS, weight):
            getattr(made, forward)(x)  # some make their weight when they see the first input
            _set(made, _WEIGHTS, weight)
        for value in bias:
            _set(made, _BIASES, value)
        return made

    @once
    def layout() -> Layout:
        def call(x: Any, weight: Any, *bias: Any) -> Any:
            made = holding(rectangular(), x, weight, *bias)
            if not bias and _set(made, _BIASES, rectangular().parameters["layers.0.bias"]):
                raise TypeError("it has a bias")
            return split(getattr(made, forward)(x))[0]

        return layout_of(call)

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        kept = layout()
        inputs = kept.inputs(problem)
        made = holding(problem, *inputs)
        out, cache = split(getattr(made, forward)(inputs[0]))
        method = getattr(made, backward)
        arguments = [kept.samples(cotangent), cache][: max(1, len(asked(method)))]
        named = name_gradients("dense", method(*arguments), _kept(made))
        return Given(kept.output(problem, out), kept.ours(named), kept.notes, kept.without)

    return run


_WEIGHTS = ("W", "w", "weight", "weights", "kernel")
_BIASES = ("b", "bias", "biases")


def _set(made: Any, names: tuple[str, ...], value: FloatArray) -> bool:
    """Put a parameter where the object keeps it, if it does; a bias may be a row or a column."""
    for holder in (vars(made), getattr(made, "params", None), getattr(made, "parameters", None)):
        if not isinstance(holder, dict):
            continue
        for name in names:
            kept = holder.get(name)
            if kept is not None and hasattr(kept, "shape"):
                fits = names is _BIASES and kept.size == value.size
                holder[name] = (value.reshape(kept.shape) if fits else value).copy()
                return True
    return False


def _kept(made: Any) -> dict[str, Any]:
    """Return the gradients an object keeps: dW, db, grad_W, or in gradients, grads."""
    named: dict[str, Any] = {}
    for name, value in vars(made).items():
        if name in ("gradients", "grads", "grad") and isinstance(value, Mapping):
            named |= {our(k): v for k, v in value.items() if our(k)}
        elif name in ("gradients", "grads") and isinstance(value, list | tuple):
            named |= dict(zip(("layers.0.weight", "layers.0.bias"), value, strict=False))
        elif (our(name) and name.lower().startswith(("d", "grad"))) or name.lower().endswith(
            "grad"
        ):
            if our(name):
                named[our(name)] = value
    return named
