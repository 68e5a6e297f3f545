"""From a `Counterpart`, a dotted name, to the framework's own function.

Names are resolved by import and attribute access, never evaluated. The functions are called like
our own operations: `f(x, **parameters)` for an activation, `f(y, t, **arguments)` for a loss,
`f(*arrays, **options)` for a layer. Renamed and fixed keywords are handled inside. torch losses
also take `reduction`.
"""

import importlib
from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any, Literal, TypeGuard

from manual_backprop.arithmetic import Tensor
from manual_backprop.operation import InvalidInput, LayerOperation, Operation
from reference.formats import LOW

Framework = Literal["torch", "jax"]
Resolved = Callable[..., Any]
"""A framework's function, called as our own operation is."""

# Where a composition finds the framework's primitives under their array-API names.
_NAMESPACES: dict[Framework, str] = {"torch": "array_api_compat.torch", "jax": "jax.numpy"}

# A layer of these structures is only one or two of the framework's primitives.
_ONE_PRIMITIVE = ("contraction", "movement")

# id(operation) -> the operation (kept, so that no other object gets its id) and its function.
_resolved: dict[tuple[Framework, int], tuple[Operation, Resolved]] = {}


def resolve(operation: Operation, framework: Framework) -> Resolved:
    """Return the framework's function for an operation, called with our own argument names."""
    key = (framework, id(operation))
    if key not in _resolved:
        _resolved[key] = operation, _resolve(operation, framework)
    return _resolved[key][1]


def namespace(framework: Framework) -> ModuleType:
    """Return the framework's primitives under their array-API names."""
    return importlib.import_module(_NAMESPACES[framework])


def find(name: str) -> Any:
    """Return the object of a dotted name: the longest importable module, then its attributes."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[length:]:
                found = getattr(found, part)
        except AttributeError as error:
            raise InvalidInput(f"counterpart {name!r}: {error}") from None
        return found
    raise InvalidInput(f"counterpart {name!r}: no module {parts[0]!r} is installed")


def _resolve(operation: Operation, framework: Framework) -> Resolved:
    counterpart = operation.counterpart(framework)
    if counterpart.composed:
        if operation.composition is None:
            raise InvalidInput(
                f"{operation.name}: marked as COMPOSED, expected a method composition"
            )
        composed = partial(operation.composition, namespace(framework))
        one = isinstance(operation, LayerOperation) and operation.structure in _ONE_PRIMITIVE
        return composed if one else _in_float32(composed, namespace(framework))
    try:
        function: Resolved = find(counterpart.name)
    except InvalidInput as error:
        raise InvalidInput(f"{operation.name}: {error}") from None
    if isinstance(operation, LayerOperation):
        adapted = operation.with_torch if framework == "torch" else operation.with_jax
        if adapted is not None:
            function = _stacking(partial(adapted, function), namespace(framework))
    if counterpart.renamed:
        function = _renaming(function, dict(counterpart.renamed))
    if counterpart.keywords:
        function = partial(function, **counterpart.keywords)
    return function


def _in_float32(function: Resolved, xp: ModuleType) -> Resolved:
    """Return a composition that converts low dtypes to float32, and its result back.

    The frameworks' own libraries do the same (flax in its norms, torch in its own): in float16 the
    squares of a norm would overflow, which would not be the framework's mistake.
    """

    def call(*arguments: object, **keywords: object) -> object:
        given = [*arguments, *keywords.values()]
        low = next((a.dtype for a in given if _is_low(a)), None)
        if low is None:
            return function(*arguments, **keywords)
        arguments = tuple(wide(a) for a in arguments)
        found = function(*arguments, **{name: wide(a) for name, a in keywords.items()})
        return xp.astype(found, low)

    def wide(array: object) -> object:
        return xp.astype(array, xp.float32) if _is_low(array) else array

    return call


def _is_low(array: object) -> TypeGuard[Tensor]:
    return _names_a_low(getattr(array, "dtype", ""))


@cache
def _names_a_low(dtype: object) -> bool:
    return str(dtype).removeprefix("torch.") in LOW


def _stacking(function: Resolved, xp: ModuleType) -> Resolved:
    """Return the function; if it returns a tuple of arrays, they are stacked."""

    def call(*arguments: object, **keywords: object) -> object:
        found = function(*arguments, **keywords)
        return xp.stack(found) if isinstance(found, tuple) else found

    return call


def _renaming(function: Resolved, renamed: dict[str, str]) -> Resolved:
    def call(*arguments: object, **keywords: object) -> object:
        return function(*arguments, **{renamed.get(k, k): v for k, v in keywords.items()})

    return call
