"""Makes the subject of a unit, by its kind; torch and jax are imported for targets of theirs."""

import re
import types
from collections.abc import Callable, Mapping

from manual_backprop.operation import InvalidInput
from reference.checks.code import Spec, Target, Unit
from reference.checks.judging import Failure, Subject
from reference.checks.kinds import engine, general, network
from reference.checks.kinds._frames import Frame, FrameworkMissing, frame_of


def subject_of(
    unit: Unit, target: Target, seed: int, shapes: Mapping[str, Spec]
) -> Subject | Failure:
    """Return the subject that answers for a unit, or why there is none.

    unit: of kind torch, jax, engine, network or general; one of another kind is taken for code
    on tensors of the framework that its file imports.
    shapes: specs that the user gave, by argument.
    """
    try:
        return _subject(unit, target, seed, dict(shapes))
    except FrameworkMissing as error:
        return Failure(str(error))


def _subject(unit: Unit, target: Target, seed: int, shapes: dict[str, Spec]) -> Subject | Failure:
    if unit.kind in _OWN:
        return _claiming(_OWN[unit.kind](unit, target, seed), seed)
    if unit.kind == "jax" or (unit.kind == "torch" and _is_function(unit.thing)):
        from reference.checks.kinds._function_search import jax_subject, torch_subject

        make = jax_subject if unit.kind == "jax" else torch_subject
        return make(unit, frame_of(unit.kind), seed, shapes, _reference(unit, target))
    frame = _frame_used(unit, target)
    if frame is None:
        return Failure("it uses neither torch nor jax")
    from reference.checks.kinds import tensors

    return tensors.subject(unit, target, frame, seed, shapes)


_OWN: dict[str, Callable[[Unit, Target, int], Subject | Failure]] = {
    "engine": engine.subject,
    "general": general.subject,
    "network": network.subject,
}


def _reference(unit: Unit, target: Target) -> Callable[..., object] | None:
    """Return the plain function beside a kernel: reference = f, or {"Kernel": f} of several."""
    named = target.names.get("reference")
    if isinstance(named, Mapping):
        named = named.get(unit.name)
    if named is None or callable(named):
        return named
    raise InvalidInput(
        f"reference={named!r}: expected a function, or a dict of functions by kernel"
    )


def _claiming(found: Subject | Failure, seed: int) -> Subject | Failure:
    """Return a failure for what gives no gradient at all: nothing could be right about it."""
    if isinstance(found, Failure):
        return found
    try:
        rows = found.case(seed, 0).assessment.rows
    except Exception:
        return found  # the problem that raised it reports it
    return found if rows else Failure("no gradient came back")


def wants_tensors(unit: Unit, target: Target) -> str | None:
    """Return the framework whose functions a unit's own code calls, "torch" or "jax"; else None.

    Such code is asked on tensors first: under NumPy a part of its branches may run.
    """
    text = "\n".join(r.text() for r in (unit.backward, *unit.partners))
    for name, value in vars(target.module).items():
        root = _root(value) if isinstance(value, types.ModuleType) else ""
        if root in ("torch", "jax") and re.search(rf"\b{re.escape(name)}\.", text):
            return root
    return None


def _is_function(thing: object) -> bool:
    return isinstance(thing, type) and any(
        b.__name__ == "_SingleLevelFunction" for b in thing.__mro__
    )


def _frame_used(unit: Unit, target: Target) -> Frame | None:
    """Return the framework that the target imports, whether or not it is installed."""
    if unit.kind == "torch":
        return frame_of("torch")
    names = {_root(value) for value in vars(target.module).values()}
    for name in ("torch", "jax"):
        if name in names:
            return frame_of(name)
    return None


def _root(value: object) -> str:
    """Return the package that a global comes from."""
    if isinstance(value, types.ModuleType):
        return value.__name__.partition(".")[0]
    return (getattr(value, "__module__", None) or "").partition(".")[0]
