"""Lists everything in a file that computes or looks like a gradient, with possible forwards."""

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reference.checks.code import vocabulary as words
from reference.checks.code.argument_spec import Layout
from reference.checks.code.routine import Routine, returned_by, routine_of, source_of
from reference.checks.code.scripts import NAME, script_of
from reference.checks.code.second import first_derivatives, times_a_vector
from reference.checks.code.signs import (
    averages_later,
    gradient_names,
    gradient_variables,
    has_target,
    is_loss,
    is_no_backward,
    is_optimiser,
    is_slope_of_a_cost,
    names_in,
    partners_of,
    rest_of,
    sigmoid,
    updates,
)
from reference.checks.code.source import Target

Kind = Literal["pair", "method", "alone", "engine", "torch", "jax", "network", "general"]


@dataclass
class Unit:
    """One thing to be checked: a backward, and the forwards it may belong to."""

    name: str
    kind: Kind
    backward: Routine
    partners: list[Routine] = field(default_factory=list)
    """Forwards to try, the likely ones first."""
    alone: bool = False
    """Whether it may compute its forward itself: a loss with its gradients, a whole backprop."""
    owner: type | None = None
    expected: bool = True
    """Whether the result lists it when it stays unchecked."""
    losses: list[Routine] = field(default_factory=list)
    """Functions of the file that compute a loss from outputs and targets."""
    averaged: bool = False
    """Whether the file divides gradients by a count after the backward, as in a step."""
    thing: Any = field(default=None, repr=False)
    """The object itself, where it is not a plain function."""
    shapes: Layout = field(default_factory=dict)
    """What is known of its arguments: a script's weights."""
    second: bool = False
    """Whether it is of second order: its partners are first derivatives."""

    def derivative_of(self, forward: Routine) -> str:
        """Say what it is to a forward."""
        what = "second order, the derivative" if self.second else "the gradient"
        return f"{what} of {forward.name}"


def units_of(target: Target) -> list[Unit]:
    """Return everything in a target that is, or looks like, a gradient."""
    names = target.names
    own = {k: v for k, v in names.items() if _is_own(v, target)}
    functions = {k: v for k, v in own.items() if _is_function(v)}
    classes = {k: v for k, v in own.items() if inspect.isclass(v) and v.__name__ == k}
    found = _whole_units(own, target)
    taken = {id(u.backward.function) for u in found}
    if any(u.kind == "general" for u in found):
        taken.add(id(own["forward"]))
    for name, thing in own.items():
        if type(thing).__name__ == "custom_vjp":
            backward = getattr(thing, "bwd", None)
            found.append(_framework_unit(name, "jax", thing, target, backward))
            taken |= {id(getattr(thing, a, None)) for a in ("fwd", "bwd", "fun", "__wrapped__")}
    rest = {k: v for k, v in functions.items() if id(v) not in taken}
    routines = {k: r for k, v in rest.items() if (r := routine_of(k, v, target))}
    found += _units(routines, None)
    losses = [r for r in routines.values() if is_loss(r)]
    for name, cls in classes.items():
        found += [
            u
            for u in _class_units(name, cls, target)
            if not _leaves_formulas_open(u, cls, list(classes.values()), target)
        ]
    if not found and (script := script_of(target)) is not None:
        found = [Unit(NAME, "alone", script.routine, alone=True, shapes=script.shapes)]
    if target.wanted is not None:
        found = [
            u
            for u in found
            if target.wanted
            in (u.name.split(".")[0], u.backward.short, *(p.short for p in u.partners))
        ]
    found = [u for u in found if not _hands_on(u, found)]
    written = [*functions.values(), *(m for c in classes.values() for m in _methods(c).values())]
    tree = target.tree or ast.parse("\n".join(textwrap.dedent(source_of(f)) for f in written))
    for unit in found:
        unit.expected = unit.expected and not _is_part_of_another(unit, found)
        if unit.owner is not None:
            unit.losses += [r for r in losses if r not in unit.losses]
        before = {r.short for r in (unit.backward, *unit.partners[:1], *unit.losses)}
        unit.averaged = bool(unit.losses) and averages_later(tree, before)
    return found


def nothing_found(target: Target) -> str:
    """Say that a target has no gradient, what was looked at, and how a gradient is recognised."""
    own = {k: v for k, v in target.names.items() if _is_own(v, target)}
    names = [k for k, v in own.items() if _is_function(v)]
    for name, cls in own.items():
        if inspect.isclass(cls) and cls.__name__ == name:
            names += [f"{name}.{m}" for m in _methods(cls) if not m.startswith("__")] or [name]
    few = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    seen = f"among {few}" if names else "because it defines no function and no class"
    if target.wanted is not None and names:
        seen = f"that belongs to {target.wanted!r}, {seen}"
    return (
        f"no gradient was found {seen}. A function that computes a gradient is found by its "
        "name (softmax_backward, softmax_grad, d_softmax, backprop, a method backward) or by the "
        "names of what it returns (grads, dW)"
    )


def _hands_on(unit: Unit, found: list[Unit]) -> bool:
    """Whether it only calls another gradient of its class with what the object keeps."""
    node = unit.backward.node
    only = node.body[-1] if node is not None and unit.owner is not None else None
    call = only.value if isinstance(only, ast.Expr | ast.Return) else None
    if node is None or len(node.body) > 1 or unit.backward.required:
        return False
    others = {f"self.{u.backward.short}" for u in found if u.owner is unit.owner and u is not unit}
    return isinstance(call, ast.Call) and ast.unparse(call.func) in others


def _is_part_of_another(unit: Unit, found: list[Unit]) -> bool:
    """Whether another gradient of the file calls it: judging that one judges it as well."""
    call = rf"\b{re.escape(unit.backward.short)}\("
    return any(
        other.expected
        and other.backward.function is not unit.backward.function
        and other.owner is unit.owner
        and re.search(call, other.backward.text().partition("\n")[2]) is not None
        and not re.search(rf"\b{re.escape(other.backward.short)}\(", unit.backward.text())
        for other in found
    )


def _whole_units(own: dict[str, object], target: Target) -> list[Unit]:
    """Return the general form and the functions of a whole network."""
    found = []
    forward, backward = own.get("forward"), own.get("backward")
    if _arguments(forward)[:1] == ["xp"] and _arguments(backward):
        found.append(_framework_unit("backward", "general", backward, target))
    for name, thing in own.items():
        numeric = {"numerical", "numeric"} & set(words.words(name))
        takes_one = _arguments(thing)[:1] in (["network"], ["net"]) and not numeric
        if takes_one and len(_arguments(thing)) >= 4:
            if words.names_a_gradient(name) or vars(target.module).get("like") == "network":
                found.append(_framework_unit(name, "network", thing, target))
    return found


def _arguments(thing: object) -> list[str]:
    """Return the arguments of a function, [] of anything else."""
    code = getattr(thing, "__code__", None)
    return list(code.co_varnames[: code.co_argcount]) if code is not None else []


def _is_own(thing: object, target: Target) -> bool:
    home = getattr(thing, "__module__", None)
    if target.module.__name__ == "objects_at_hand":
        return not isinstance(thing, str | int | float)
    return home == target.module.__name__ or type(thing).__name__ == "custom_vjp"


def _is_function(thing: object) -> bool:
    return isinstance(thing, types.FunctionType) or (
        callable(thing)
        and hasattr(thing, "__wrapped__")
        and not inspect.isclass(thing)
        and type(thing).__name__ != "custom_vjp"
    )


def _framework_unit(
    name: str, kind: Kind, thing: Any, target: Target, backward: object = None
) -> Unit:
    """Return a unit that is not NumPy functions; `backward` is the function by hand in it."""
    routine = routine_of(name, backward or thing, target) or Routine(name, thing)
    return Unit(name, kind, routine, thing=thing)


# -- functions ---------------------------------------------------------------------------------


def _units(routines: dict[str, Routine], owner: type | None) -> list[Unit]:
    known = frozenset(words.plain(r.short) for r in routines.values())
    seconds = {
        k: r
        for k, r in routines.items()
        if words.names_second_order(r.short, known) and _takes_something(r, owner)
    }
    gradients = {
        k: r
        for k, r in routines.items()
        if k not in seconds
        and words.names_a_gradient(r.short, frozenset(x.short for x in routines.values()))
        and _takes_something(r, owner)
    }
    forwards = [r for k, r in routines.items() if k not in gradients and k not in seconds]
    kind_of_second: Kind = "pair" if owner is None else "method"
    found = []
    for routine in seconds.values():
        firsts = first_derivatives(routine, list(gradients.values()), forwards)
        asked = times_a_vector(routine) if firsts else routine
        found.append(Unit(routine.name, kind_of_second, asked, firsts, owner=owner, second=True))
    for routine in gradients.values():
        if is_no_backward(routine):
            continue
        partners = partners_of(routine, forwards)
        alone = bool(gradient_names(routine.returned)) or has_target(routine) or not partners
        alone = alone or updates(routine)
        expected = words.strongly_a_gradient(routine.short) or bool(
            gradient_names(routine.returned)
        )
        expected = expected and not is_optimiser(routine)
        if routine.required or owner is not None or partners:
            kind: Kind = "method" if owner is not None else "pair"
            losses = [f for f in forwards if is_loss(f) and f not in partners[:1]]
            found.append(
                Unit(routine.name, kind, routine, partners, alone, owner, expected, losses)
            )
    for routine in forwards:
        if is_optimiser(routine) or routine.short.startswith("__") or is_no_backward(routine):
            continue
        # unbroadcast(grad, shape), clip(grads): what it was given first is none of its own.
        returned = gradient_names(routine.returned) or gradient_variables(routine)
        named = [n for n in returned if n not in routine.arguments[:1]]
        by_branch = next((p for p in routine.arguments[1:] if words.is_switch(p)), None)
        if by_branch is not None:
            found.append(Unit(routine.name, "pair", routine, [routine], False, owner, True))
        elif named or (updates(routine) and owner is not None and has_target(routine)):
            losses = [f for f in forwards if is_loss(f) and f is not routine]
            trains = {"train", "fit", "learn", "optimize"} & set(words.words(routine.short))
            expected = bool(named) and not trains
            found.append(Unit(routine.name, "alone", routine, [], True, owner, expected, losses))
    closures = [u for r in forwards if (u := _closure(r)) is not None]
    return [*closures, *(u for u in found if _is_its_own(u, found))]


def _closure(routine: Routine) -> Unit | None:
    """Return the backward that a forward makes and returns: return y, backprop."""
    body = routine.node.body if routine.node is not None else ()
    last = names_in(routine.returned)[-1:]
    inside = (n for n in body if isinstance(n, ast.FunctionDef) and n.name in last)
    inner = next((n for n in inside if len(n.args.args) == 1), None)
    if inner is None or not words.names_a_gradient(inner.name):
        return None
    if not isinstance(routine.returned, tuple) or routine.owner is not None:
        return None

    def backward(dout: object, cache: Callable[[object], object]) -> object:
        return cache(dout)

    parameters = tuple(inspect.signature(backward).parameters.values())
    name = f"{routine.name}.{inner.name}"
    made = Routine(name, backward, parameters=parameters, node=inner, returned=returned_by(inner))
    return Unit(name, "pair", made, [routine])


def _is_its_own(unit: Unit, found: list[Unit]) -> bool:
    """Whether a unit computes gradients, and does not only use those of another: fit, train."""
    if unit.second:
        return True
    if unit.expected and (
        words.strongly_a_gradient(unit.backward.short) or gradient_names(unit.backward.returned)
    ):
        return True
    return not _consumes(unit.backward, found)


def _consumes(routine: Routine, units: list[Unit]) -> bool:
    """Whether it only uses gradients that another function of the file returns: fit, train."""
    text = routine.text()
    return any(
        re.search(rf"\b{re.escape(u.backward.short)}\(", text)
        and u.expected
        and u.backward is not routine
        and re.search(r"grad|backprop|propagate|backward|loss|cost", u.backward.short, re.I)
        for u in units
    )


def _takes_something(routine: Routine, owner: type | None) -> bool:
    return bool(routine.arguments) or owner is not None


def _with_its_slope(unit: Unit, target: Target) -> Unit:
    """Give delta(z, a, y) its forward: the cost fn(a, y) of a = sigmoid(z)."""
    names = [a.lower() for a in unit.backward.required]
    if len(names) != 3 or {"z", "a", "y"} != set(names):
        return unit
    cost = next((p for p in unit.partners if [a.lower() for a in p.required] == ["a", "y"]), None)
    if cost is None:
        return unit
    known = target.names.get("sigmoid", sigmoid)

    def forward(z: object, y: object) -> object:
        a = known(z)
        return cost.function(a, y) if not cost.bound else cost.function(None, a, y)

    made = routine_of(f"{cost.name} of a = sigmoid(z)", forward, target)
    if made is not None:
        unit.partners, unit.alone = [made], False
    return unit


# -- classes -----------------------------------------------------------------------------------

_FORWARDS = (
    "forward __call__ call forward_prop forward_pass forward_propagation forward_propagate fprop "
    "feed_forward feedforward predict compute calculate function func fn f activation activate "
    "apply evaluate value loss cost fire run transform output get_output step".split()
)


def _class_units(name: str, cls: type, target: Target) -> list[Unit]:
    bases = {b.__module__.split(".")[0] + "." + b.__name__ for b in cls.__mro__}
    if "torch.Function" in bases and "torch._SingleLevelFunction" in {
        f"torch.{b.__name__}" for b in cls.__mro__
    }:
        backward = routine_of(f"{name}.backward", vars(cls).get("backward"), target, cls)
        return [Unit(name, "torch", backward or Routine(name, cls), thing=cls)]
    methods = _methods(cls)
    routines: dict[str, Routine] = {}
    for key, value in methods.items():
        routine = routine_of(f"{name}.{key}", value, target, cls)
        if routine is not None and not _is_abstract(routine):
            routines[key] = routine
    if _is_engine(routines):
        return [Unit(name, "engine", routines["backward"], owner=cls, thing=cls)]
    if any(b.__name__ == "Module" and b.__module__.startswith("torch") for b in cls.__mro__):
        return _module_units(name, cls, routines)
    plain = {k: r for k, r in routines.items() if not k.startswith("__") or k == "__call__"}
    order = {m: i for i, m in enumerate(_FORWARDS)}
    if (wrapper := _wrapper_of_forward(plain)) is not None:
        plain["__call__"], order["__call__"] = wrapper, -1
    found = _units(plain, cls)
    for unit in found:
        if unit.second:
            continue
        unit.kind = "method" if unit.partners else "alone"
        unit = _with_its_slope(unit, target)
        if unit.partners and unit.partners[0].owner is None:
            continue
        generic = [r for k, r in plain.items() if k in order and r is not unit.backward]
        if is_slope_of_a_cost(unit.backward):
            generic = [r for r in generic if has_target(r)]
        generic.sort(key=lambda r: order[r.short])
        rest = rest_of(unit.backward.short)
        if rest and [words.plain(p.short) for p in unit.partners] == [rest]:
            continue
        stem = words.stem_of(unit.backward.short)
        by_stem = [p for p in unit.partners if stem and words.stem_of(p.short) == stem]
        if not by_stem:
            ordered = [*generic, *unit.partners]
            unit.partners = list({id(p): p for p in ordered}.values())[:4]
        forwards = [r for k, r in plain.items() if r is not unit.backward]
        unit.losses = [r for r in forwards if is_loss(r) and r not in unit.partners[:1]]
    return found


def _wrapper_of_forward(routines: Mapping[str, Routine]) -> Routine | None:
    """Return a __call__(*args) that keeps its arguments and calls self.forward(*args).

    It takes what forward takes; a backward may read what it keeps.
    """
    forward, wrapper = routines.get("forward"), routines.get("__call__")
    if forward is None or wrapper is None or wrapper.parameters:
        return None
    if not re.search(r"self\.forward\(\*", wrapper.text()):
        return None
    given = tuple(p for p in forward.parameters if p.default is inspect.Parameter.empty)
    return replace(wrapper, parameters=given, returned=forward.returned)


def _module_units(name: str, cls: type, routines: dict[str, Routine]) -> list[Unit]:
    """Return a torch module whose backward is written by hand."""
    forward, backward = routines.get("forward"), routines.get("backward")
    if forward is None or backward is None:
        return []
    return [Unit(name, "torch", backward, [forward], owner=cls, thing=cls)]


def _methods(cls: type) -> dict[str, object]:
    """Return a class's methods, those of its bases in the same code as well."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        if base is object or base.__module__ in ("builtins", "abc", "typing"):
            continue
        if base.__module__.split(".")[0] in ("torch", "jax", "numpy", "flax", "sklearn"):
            continue
        for key, value in vars(base).items():
            if isinstance(value, types.FunctionType | staticmethod | classmethod):
                found[key] = value
    return found


def _is_abstract(routine: Routine) -> bool:
    """Whether its body says that it is not written: pass, ..., raise NotImplementedError."""
    node = routine.node
    if node is None:
        return False
    body = [
        n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
    ]
    return not body or all(
        isinstance(n, ast.Pass)
        or (isinstance(n, ast.Raise) and re.search(r"not ?implemented", ast.unparse(n), re.I))
        for n in body
    )


def _leaves_formulas_open(unit: Unit, cls: type, classes: list[type], target: Target) -> bool:
    """Whether a base class leaves what its forward or backward needs to the classes below it."""
    below = [c for c in classes if issubclass(c, cls) and c is not cls]
    for routine in (unit.backward, *unit.partners[:1]):
        for used, name in re.findall(r"(return |= |)self\.(\w+)\(", routine.text()):
            method = getattr(cls, name, None)
            if method is None and any(hasattr(c, name) for c in below):
                return True
            called = routine_of("", method, target) if method is not None and below else None
            if called is not None and _is_abstract(called) and (used or "raise" in called.text()):
                return True
    return False


def set_up_by(unit: Unit) -> list[str]:
    """Return the methods that put in place what a class is made without: add, compile.

    They assign or fill what its constructor leaves None or empty, and what its forward or its
    backward reads.
    """
    if unit.owner is None:
        return []
    methods = {
        k: ast.parse(textwrap.dedent(source))
        for k, m in _methods(unit.owner).items()
        if (source := source_of(m))
    }
    empty = {
        ast.unparse(t)
        for n in ast.walk(methods.get("__init__", ast.Module([], [])))
        if isinstance(n, ast.Assign) and ast.unparse(n.value) in ("None", "[]", "{}", "list()")
        for t in n.targets
    }
    used = "\n".join(r.text() for r in (unit.backward, *unit.partners[:1]))
    open_ones = [a for a in empty if re.search(rf"{re.escape(a)}\b", used)]
    running = {"__init__", unit.backward.short, *(p.short for p in unit.partners)}
    return [
        k
        for k, node in methods.items()
        if k not in running
        and any(
            re.search(rf"{re.escape(a)}( = |\.append\(|\.extend\()", ast.unparse(node))
            for a in open_ones
        )
    ]


def _is_engine(routines: dict[str, Routine]) -> bool:
    backward = routines.get("backward")
    return (
        backward is not None
        and not backward.required
        and any(o in routines for o in ("__add__", "__mul__"))
    )
