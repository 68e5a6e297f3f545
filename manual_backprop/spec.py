"""What an operation says about itself, and the registries that hold what was said.

One class is one operation. A decorator (`activation`, `loss`, `layer`) turns the class into a
frozen record and enters it in the registry of its kind; everything else in the project (oracles,
tests, reports) iterates over the registries and names no operation.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]

Domain = Literal["real", "unit", "simplex", "log_simplex"]
"""Where values live: all reals, [0, 1], rows that sum to 1, logarithms of such rows."""

TargetKind = Literal["real", "unit", "sign", "count", "labels", "simplex"]
"""Targets: reals, [0, 1], −1 or +1, 0, 1, 2…, class indices (N,), rows that sum to 1."""


Extent = Literal["classes", "entries"]
"""The shape of a loss's array argument: (C,), one number a class; or (N, C), one an entry of y."""

Form = Literal["careful", "textbook"]
"""careful: right to the last digits, also where a function saturates; what the checks use.
textbook: the formula as books and frameworks have it, in fewer calls; each says what it loses."""
FORMS: tuple[Form, ...] = get_args(Form)


class InvalidInput(ValueError):
    """Unusable input; the message names the argument, its value and what was expected."""


@dataclass(frozen=True)
class Counterpart:
    """The same operation in a framework: a dotted name and how it is called.

    `keywords` are passed as they are; `renamed` maps our parameter's name to theirs. The name is
    resolved by attribute access inside `reference`, never evaluated.
    """

    name: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def composed(self) -> bool:
        """Whether the framework lacks it and our `composition` of its primitives stands in."""
        return self is COMPOSED


COMPOSED = Counterpart("composition")
"""The framework lacks the operation: the class gives `composition(xp, …)` over its primitives."""


def counterpart(
    name: str, *, renamed: Mapping[str, str] | None = None, **keywords: Any
) -> Counterpart:
    """Name a framework's function together with fixed keywords and renamed parameters."""
    return Counterpart(name, MappingProxyType(keywords), MappingProxyType(dict(renamed or {})))


@dataclass(frozen=True)
class Parameter:
    """A number that belongs to an operation: the frameworks' default and other values to draw.

    The choices are exact in float32, so that every implementation computes with the same number;
    a default that is not (0.01) is half an ulp off in each of them. Outside the range `above`
    (excluded), `at_least` to `at_most` (included) the formula is wrong or NaN.
    """

    default: float
    choices: tuple[float, ...]
    above: float = -math.inf
    at_least: float = -math.inf
    at_most: float = sys.float_info.max

    def __post_init__(self) -> None:
        for value in (self.default, *self.choices):
            if not self.admits(value):
                raise InvalidInput(f"parameter {value!r}: expected {self.expected}")

    def admits(self, value: float) -> bool:
        """Say whether the number is finite and in the range."""
        return self.above < value <= self.at_most and self.at_least <= value

    @property
    def expected(self) -> str:
        """What a message says of the numbers that are admitted."""
        said = {"above": self.above, "at least": self.at_least, "at most": self.at_most}
        bounds = (f" {how} {k:g}" for how, k in said.items() if abs(k) < sys.float_info.max)
        return "a finite number" + " and".join(bounds)


@dataclass(frozen=True, kw_only=True)
class Formulas:
    """How an operation is computed and differentiated with NumPy."""

    forward: Callable[..., FloatArray]
    backward: Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Operation(Formulas):
    """What every operation has: its formulas, the textbook definition and the counterparts.

    `second` says how what `backward` returns moves as the arguments move and the cotangent stays;
    `backward` of the moved cotangent, added to it, is one step of a Hessian-vector product.

    Its own formulas are the careful ones. `textbook` has others only where these differ: of
    methods `textbook_forward` and `textbook_backward`, a class gives those that it needs.
    """

    name: str
    doc: str
    textbook: Formulas | None = None
    definition: Callable[..., Any]
    composition: Callable[..., Any] | None
    second: Callable[..., Any]
    torch: Counterpart
    jax: Counterpart
    parameters: Mapping[str, Parameter]

    def formulas(self, form: Form) -> Formulas:
        """Return the formulas of a form."""
        if form == "careful":
            return self
        if form != "textbook":
            raise InvalidInput(f"form={form!r}: expected one of {', '.join(FORMS)}")
        return self.textbook or self

    def defaults(self) -> dict[str, float]:
        """Return the usual value of every parameter."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    def counterpart(self, framework: str) -> Counterpart:
        """Return the counterpart in `framework`, which is "torch" or "jax"."""
        found: Counterpart = getattr(self, framework)
        return found


@dataclass(frozen=True, kw_only=True)
class Activation(Operation):
    """`forward(x, **parameters) -> y` and `backward(x, y, dy, **parameters) -> dx`.

    Elementwise, or over the last axis where `rowwise`. The definition takes one number, or the
    list of a row where `rowwise`. `tangent(x, y, tx, **parameters) -> ty` says how y moves as x
    moves by tx, `second(x, y, dy, tx, **parameters)` how dx does while dy stays.
    """

    rowwise: bool
    range: Domain
    tangent: Callable[..., FloatArray]


@dataclass(frozen=True, kw_only=True)
class Loss(Operation):
    """`forward(y, t, **arguments) -> L` and `backward(y, t, dL, **arguments) -> dy`.

    L has the shape of y where `elementwise`, else one number for each sample. `arrays` maps the
    array arguments beside the parameters to their extent: class weights have one number a class
    and may be left out, variances one an entry. `count(L, t, **arguments)` is the divisor of the
    reduction "mean", `count_definition(t, **arguments)` the same over exact numbers, for the
    arbiter; without them it is the number of losses. `second(y, t, dL, ty, **arguments)` says
    how dy moves as y moves by ty.
    """

    elementwise: bool
    predictions: Domain
    targets: tuple[TargetKind, ...]
    arrays: Mapping[str, Extent]
    count: Callable[..., Any]
    count_definition: Callable[..., Any] | None


@dataclass(frozen=True, kw_only=True)
class LayerOperation(Operation):
    """`forward(x, **parameters) -> z` and `backward(x, dz, **parameters) -> {name: cotangent}`.

    `tangent` says how z moves, `second` how the cotangents do while dz stays; see the class.
    """

    tangent: Callable[..., FloatArray]


O = TypeVar("O", bound=Operation)  # noqa: E741 - the type of one operation


class Registry(Mapping[str, O], Generic[O]):
    """A read-only mapping from an operation's name to the operation, in order of definition."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._operations: dict[str, O] = {}

    def __getitem__(self, name: str) -> O:
        try:
            return self._operations[name]
        except (KeyError, TypeError):  # a list has no hash, and is no name either
            known = ", ".join(self._operations)
            raise InvalidInput(
                f"{self.kind}={name!r} is unknown; expected one of: {known}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._operations

    def __iter__(self) -> Iterator[str]:
        return iter(self._operations)

    def __len__(self) -> int:
        return len(self._operations)

    def register(self, operation: O) -> O:
        """Enter an operation; a name that is taken is an error."""
        if operation.name in self._operations:
            raise InvalidInput(f"{self.kind} {operation.name!r} is defined twice")
        self._operations[operation.name] = operation
        return operation


ACTIVATIONS: Registry[Activation] = Registry("activation")
LOSSES: Registry[Loss] = Registry("loss")
LAYERS: Registry[LayerOperation] = Registry("layer")


def activation(
    *,
    torch: str | Counterpart,
    jax: str | Counterpart,
    parameters: Mapping[str, Parameter] | None = None,
    rowwise: bool = False,
    range: Domain = "real",
    registry: Registry[Activation] = ACTIVATIONS,
) -> Callable[[type], Activation]:
    """Register a class as an activation."""

    def register(cls: type) -> Activation:
        common = _common("activation", cls, torch, jax, parameters)
        # A Jacobian that is symmetric, as a diagonal one is, maps tangents as it maps cotangents.
        tangent = getattr(cls, "tangent", common["backward"])
        made = Activation(rowwise=rowwise, range=range, tangent=tangent, **common)
        return registry.register(made)

    return register


def loss(
    *,
    torch: str | Counterpart,
    jax: str | Counterpart,
    targets: tuple[TargetKind, ...],
    elementwise: bool,
    predictions: Domain = "real",
    parameters: Mapping[str, Parameter] | None = None,
    arrays: Mapping[str, Extent] | None = None,
    registry: Registry[Loss] = LOSSES,
) -> Callable[[type], Loss]:
    """Register a class as a loss."""

    def register(cls: type) -> Loss:
        common = _common("loss", cls, torch, jax, parameters)
        count, definition = (getattr(cls, part, None) for part in ("count", "count_definition"))
        if (count is None) != (definition is None):
            lacking = "count_definition" if definition is None else "count"
            raise InvalidInput(f"loss {common['name']!r} is incomplete: it lacks {lacking}")
        return registry.register(
            Loss(
                elementwise=elementwise,
                predictions=predictions,
                targets=targets,
                arrays=MappingProxyType(dict(arrays or {})),
                count=count or _number_of_terms,
                count_definition=definition,
                **common,
            )
        )

    return register


def layer(
    *,
    torch: str | Counterpart,
    jax: str | Counterpart,
    registry: Registry[LayerOperation] = LAYERS,
) -> Callable[[type], LayerOperation]:
    """Register a class as a layer with parameters."""

    def register(cls: type) -> LayerOperation:
        common = _common("layer", cls, torch, jax, None)
        return registry.register(LayerOperation(tangent=cls.tangent, **common))  # type: ignore[attr-defined]

    return register


def _number_of_terms(losses: FloatArray, t: npt.NDArray[Any], **_: Any) -> int:
    return losses.size


def _common(
    kind: str,
    cls: type,
    torch: str | Counterpart,
    jax: str | Counterpart,
    parameters: Mapping[str, Parameter] | None,
) -> dict[str, Any]:
    """Read what every kind of operation has from its class; what is missing is an error by name."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
    missing = [part for part in ("forward", "backward", "definition") if not hasattr(cls, part)]
    if not cls.__doc__ and sys.flags.optimize < 2:  # `python -OO` has none of any class
        missing.append("a docstring with the derivation")
    counterparts = {
        "torch": Counterpart(torch) if isinstance(torch, str) else torch,
        "jax": Counterpart(jax) if isinstance(jax, str) else jax,
    }
    missing += [f"a {framework} counterpart" for framework, c in counterparts.items() if not c.name]
    if any(c.composed for c in counterparts.values()) and not hasattr(cls, "composition"):
        missing.append("composition (a counterpart is marked COMPOSED)")
    if missing:
        raise InvalidInput(f"{kind} {name!r} is incomplete: it lacks {', '.join(missing)}")
    return {
        "name": name,
        "doc": cls.__doc__,
        "forward": cls.forward,  # type: ignore[attr-defined]
        "backward": cls.backward,  # type: ignore[attr-defined]
        "textbook": _textbook(cls),
        "definition": cls.definition,  # type: ignore[attr-defined]
        "composition": getattr(cls, "composition", None),
        "second": getattr(cls, "second", partial(_no_second, kind, name)),
        "parameters": MappingProxyType(dict(parameters or {})),
        **counterparts,
    }


def _no_second(kind: str, name: str, *_: Any, **__: Any) -> Any:
    raise InvalidInput(f"{kind} {name!r} has no method second: its second order is not known")


def _textbook(cls: type) -> Formulas | None:
    """Return the textbook's formulas; what has none of its own is as it is in the careful ones."""
    own = {part: getattr(cls, f"textbook_{part}", None) for part in ("forward", "backward")}
    if not any(own.values()):
        return None
    return Formulas(**{part: formula or getattr(cls, part) for part, formula in own.items()})
