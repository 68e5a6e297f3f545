"""The description of an operation, and the registries that hold the descriptions.

One class is one operation. A decorator (`activation`, `loss`, `layer`) turns the class into a
frozen record and enters it in the registry of its kind. The oracles, the judge, the tests and the
reports iterate over the registries, so a new operation needs no change in them. Named elsewhere are
only the dense layer, of which every network consists, a few operations that need a special case,
and those of examples and benchmarks.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, Literal, NamedTuple, NoReturn, TypeVar, get_args

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

ByName = Mapping[str, Any]
"""Arrays by name: NumPy arrays, or objects that compute like them (traced numbers, balls); or
options by name."""

Domain = Literal["real", "unit", "simplex", "log_simplex"]
"""Where values live: all reals, [0, 1], rows that sum to 1, logarithms of such rows."""

TargetKind = Literal["real", "unit", "sign", "count", "labels", "simplex"]
"""The kinds of targets: real numbers; numbers in [0, 1]; −1 or +1; counts (0, 1, 2, …); class
indices of shape (N,); rows that sum to 1."""


Extent = Literal["classes", "entries"]
"""The shape of a loss's array argument: (C,), one number a class; or (N, C), one an entry of y."""

Form = Literal["stable", "textbook"]
"""stable: right to the last digits, also where a function saturates; the checks use it.
textbook: the formula of books and frameworks, in fewer calls; its docstring says what it loses."""
FORMS: tuple[Form, ...] = get_args(Form)


Structure = Literal["elementwise", "rows", "contraction", "movement"]
"""How an operation of several arrays is judged and certified.

elementwise: one number from one of each array, broadcast. rows: a small function of each row,
window or group. contraction: sums of products. movement: numbers are moved, not changed."""

Takes = Literal["features", "image", "sequence", "any", "nothing"]
"""The first argument of a layer: (N, D); (N, C, H, W); (N, T, D); any of them, with the same number
of axes in the result; nothing: it is not a batch of samples but, for example, a weight, so the
layer cannot follow another one (it is drawn alone)."""


def is_float(array: np.ndarray) -> bool:
    """Say whether an array holds floats; NumPy does not count bfloat16 among its own."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


class InvalidInput(ValueError):
    """Unusable input; the message names the argument, its value and what was expected."""


@dataclass(frozen=True)
class Counterpart:
    """The same operation in a framework: a dotted name and how it is called.

    `keywords` are passed as they are; `renamed` maps our parameter's name to theirs. The name is
    resolved by attribute access inside `reference`, never evaluated.
    """

    name: str
    keywords: ByName = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def composed(self) -> bool:
        """Whether the framework lacks it and our `composition` of its primitives is used."""
        return self is COMPOSED


COMPOSED = Counterpart("composition")
"""The framework lacks the operation: the class gives `composition(xp, …)` over its primitives."""


def counterpart(
    name: str, *, renamed: Mapping[str, str] | None = None, **keywords: object
) -> Counterpart:
    """Name a framework's function together with fixed keywords and renamed parameters."""
    return Counterpart(name, MappingProxyType(keywords), MappingProxyType(dict(renamed or {})))


@dataclass(frozen=True)
class Parameter:
    """A number that belongs to an operation: the frameworks' default and other values to draw.

    The choices are exactly representable in float32, so that every implementation computes with the
    same number. A default such as 0.01 is not; it has the same rounding error in all
    implementations. The formula is valid only for numbers that are larger than `above`, at least
    `at_least` and at most `at_most`.
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
        """The words for the admissible numbers, for a message."""
        limits = {"above": self.above, "at least": self.at_least, "at most": self.at_most}
        bounds = (f" {how} {k:g}" for how, k in limits.items() if abs(k) < sys.float_info.max)
        return "a finite number" + " and".join(bounds)


@dataclass(frozen=True, kw_only=True)
class Formulas:
    """How an operation is computed and differentiated with NumPy."""

    forward: Callable[..., FloatArray]
    backward: Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Operation(Formulas):
    """What every operation has: its formulas, the textbook definition and the counterparts.

    Some methods do not call NumPy, but take the functions that they need as their first argument
    (the types are in `arithmetic.py`): `definition(m, …)` those of an arithmetic (`Math`: floats,
    balls or formulas), `composition(xp, …)` those of a framework (`Backend`). `draw` of a layer's
    `sample` and `edge` makes random choices (`RandomSource`).

    `second` returns the directional derivative of the result of `backward`, where the arguments
    change and the cotangent is constant. One step of a Hessian-vector product is the sum of two
    parts: `backward`, applied to the derivative of the cotangent, and the result of `second`.

    If the class has no `second`, `has_second_order` is False, and `second` raises InvalidInput.

    Its own formulas are the stable ones. `textbook` has the textbook's if they differ: a class may
    define `textbook_forward`, `textbook_backward`, both or neither.
    """

    name: str
    doc: str
    textbook: Formulas | None = None
    definition: Callable[..., Any]
    composition: Callable[..., object] | None
    second: Callable[..., Any]
    has_second_order: bool
    torch: Counterpart
    jax: Counterpart
    parameters: Mapping[str, Parameter]

    def formulas(self, form: Form) -> Formulas:
        """Return the formulas of a form."""
        if form == "stable":
            return self
        if form != "textbook":
            raise InvalidInput(f"form={form!r}: expected one of {', '.join(FORMS)}")
        return self.textbook or self

    def apply(self, form: Form, arrays: ByName, options: ByName) -> FloatArray:
        """Return the operation's value; arrays by the names of its arguments."""
        raise NotImplementedError

    def pull_back(
        self, form: Form, arrays: ByName, y: FloatArray, dy: FloatArray, options: ByName
    ) -> ByName:
        """Return the cotangents of the arguments, by name, from that of the value (JAX: vjp)."""
        raise NotImplementedError

    def push_forward(
        self, arrays: ByName, y: FloatArray, tangents: ByName, options: ByName
    ) -> FloatArray:
        """Return the tangent of the value (JAX: jvp).

        `tangents` has the tangents of the arguments that change.
        """
        raise NotImplementedError

    def pull_back_along(
        self, arrays: ByName, y: FloatArray, dy: FloatArray, tangents: ByName, options: ByName
    ) -> ByName:
        """Return the directional derivatives of the results of `pull_back`, with dy constant.

        The arguments change along `tangents`.
        """
        raise NotImplementedError

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
    list of a row where `rowwise`. `tangent(x, y, tx, **parameters)` returns the directional
    derivative of y along tx, `second(x, y, dy, tx, **parameters)` that of dx, with dy constant.
    """

    rowwise: bool
    range: Domain
    tangent: Callable[..., FloatArray]

    def apply(self, form: Form, arrays: ByName, options: ByName) -> FloatArray:
        """Return y."""
        return self.formulas(form).forward(arrays["x"], **options)

    def pull_back(
        self, form: Form, arrays: ByName, y: FloatArray, dy: FloatArray, options: ByName
    ) -> ByName:
        """Return dx."""
        return {"x": self.formulas(form).backward(arrays["x"], y, dy, **options)}

    def push_forward(
        self, arrays: ByName, y: FloatArray, tangents: ByName, options: ByName
    ) -> FloatArray:
        """Return ty."""
        return self.tangent(arrays["x"], y, tangents["x"], **options)

    def pull_back_along(
        self, arrays: ByName, y: FloatArray, dy: FloatArray, tangents: ByName, options: ByName
    ) -> ByName:
        """Return the directional derivative of dx."""
        return {"x": self.second(arrays["x"], y, dy, tangents["x"], **options)}


@dataclass(frozen=True, kw_only=True)
class Loss(Operation):
    """`forward(y, t, **arguments) -> L` and `backward(y, t, dL, **arguments) -> dy`.

    L has the shape of y if `elementwise`, else one number for each sample. `arrays` has the other
    array arguments with their extents: class weights have one number for each class and may be
    left out, variances one for each entry. `count(L, t, **arguments)` is the divisor of the
    reduction "mean", `count_definition(t, **arguments)` the same in exact numbers, for the
    certificate; without them it is the number of losses. `second(y, t, dL, ty, **arguments)`
    returns the directional derivative of dy along ty. `symmetric`: L stays the same when the
    classes of y, t and the arrays are permuted together.
    """

    elementwise: bool
    symmetric: bool
    predictions: Domain
    targets: tuple[TargetKind, ...]
    arrays: Mapping[str, Extent]
    count: Callable[..., int | FloatArray]
    count_definition: Callable[..., Fraction | int] | None

    def apply(self, form: Form, arrays: ByName, options: ByName) -> FloatArray:
        """Return the losses L of predictions y and targets t."""
        y, t, rest = _prediction(arrays)
        return self.formulas(form).forward(y, t, **options, **rest)

    def pull_back(
        self, form: Form, arrays: ByName, y: FloatArray, dy: FloatArray, options: ByName
    ) -> ByName:
        """Return the cotangent of the predictions `arrays["y"]`, from `dy`, that of the losses."""
        prediction, t, rest = _prediction(arrays)
        return {"y": self.formulas(form).backward(prediction, t, dy, **options, **rest)}

    def pull_back_along(
        self, arrays: ByName, y: FloatArray, dy: FloatArray, tangents: ByName, options: ByName
    ) -> ByName:
        """Return the directional derivative of the cotangent of the predictions."""
        prediction, t, rest = _prediction(arrays)
        return {"y": self.second(prediction, t, dy, tangents["y"], **options, **rest)}


class Rows(NamedTuple):
    """Which entries of which arrays make each row of a layer, and where its outputs go.

    `inputs` has for each argument R rows of indices into the flattened argument; −1 is a zero that
    belongs to no array (padding). A row has the shape that the definition takes, so the whole is
    (R, …). `output` are the indices of the flattened output, (R, J), each index exactly once.
    `numbers` are other numbers that the definition takes, by name, (R, …): for example a count, or
    which places of a window are inside. They depend only on the shapes and masks, so they have no
    gradient.

    Example: max_pool2d with windows of 2×2 on x of shape (1, 1, 2, 4), whose flat indices are
    [[0, 1, 2, 3], [4, 5, 6, 7]]. There are R = 2 windows of four numbers, with one output each:
    `Rows({"x": [[0, 1, 4, 5], [2, 3, 6, 7]]}, [[0], [1]])`.
    """

    inputs: Mapping[str, npt.NDArray[np.integer]]
    output: npt.NDArray[np.integer]
    numbers: Mapping[str, np.ndarray] = MappingProxyType({})


class Sample(NamedTuple):
    """One use of a layer: the shapes of its arrays of floats, other arrays as they are, options.

    `arrays` has the arrays that are not drawn as random numbers: indices, masks, a row of equal
    numbers. An optional argument that is in neither `shapes` nor `arrays` is left out.
    """

    shapes: Mapping[str, tuple[int, ...]]
    arrays: Mapping[str, np.ndarray] = MappingProxyType({})
    options: ByName = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class LayerOperation(Operation):
    """An operation of several arrays: `forward(*arrays, **options) -> y`.

    `arguments` are the arrays that forward takes, in order; those in `optional` may be left out,
    those in `trainable` are parameters. `backward` takes, by name, those of the arguments, `y`,
    `dy` and the options that it needs (`needs`), and returns the cotangents of the float arguments
    by name. `tangent` and `second` take their arguments in the same way, and tangents: that of x is
    `tx`. `tangent` returns the directional derivative of y, `second` those of the cotangents with
    dy constant, without those that are zero. `rows` says which entries make the rows to which
    `definition` is applied. `edge(draw, x)` returns the first argument with some
    numbers replaced by values at which the operation is special.
    """

    structure: Structure
    takes: Takes
    arguments: tuple[str, ...]
    optional: tuple[str, ...]
    trainable: tuple[str, ...]
    options: ByName
    needs: tuple[str, ...]
    tangent: Callable[..., FloatArray]
    tangent_needs: tuple[str, ...]
    second_needs: tuple[str, ...]
    rows: Callable[..., Rows] | None
    sample: Callable[..., Sample]
    edge: Callable[..., FloatArray] | None
    with_torch: Callable[..., object] | None
    with_jax: Callable[..., object] | None

    def apply(self, form: Form, arrays: ByName, options: ByName) -> FloatArray:
        """Return y."""
        given = [arrays.get(name) for name in self.arguments]
        return self.formulas(form).forward(*given, **options)

    def pull_back(
        self, form: Form, arrays: ByName, y: FloatArray | None, dy: FloatArray, options: ByName
    ) -> ByName:
        """Return the cotangents of the arguments."""
        known = {**arrays, "y": y, "dy": dy}
        given = [known.get(name) for name in self.needs]
        found: ByName = self.formulas(form).backward(*given, **options)
        return found

    def push_forward(
        self, arrays: ByName, y: FloatArray, tangents: ByName, options: ByName
    ) -> FloatArray:
        """Return ty."""
        known = {**arrays, "y": y, **_with_t(tangents)}
        return self.tangent(*map(known.get, self.tangent_needs), **options)

    def pull_back_along(
        self, arrays: ByName, y: FloatArray, dy: FloatArray, tangents: ByName, options: ByName
    ) -> ByName:
        """Return the directional derivatives of the cotangents, without those that are zero."""
        known = {**arrays, "y": y, "dy": dy, **_with_t(tangents)}
        found: ByName = self.second(*map(known.get, self.second_needs), **options)
        return found


O = TypeVar("O", bound=Operation)  # noqa: E741 - the type of one operation


class Registry(Mapping[str, O], Generic[O]):
    """A read-only mapping from an operation's name to the operation, in order of definition."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._operations: dict[str, O] = {}

    def __getitem__(self, name: str) -> O:
        try:
            return self._operations[name]
        except (KeyError, TypeError):  # a list has no hash, and is not a name either
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
        """Enter an operation; a name that is in use is an error."""
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
    """Register a class as an activation; the class becomes a record (`Activation`).

    torch, jax: the framework's function, as a dotted name or a `counterpart`; or COMPOSED.
    parameters: the operation's numbers, such as α, with their defaults.
    rowwise: whether it works on the last axis (softmax), not on each number.
    range: the domain of its values; "unit" and "simplex" fit a loss on probabilities.

    Example; a class has at least these three methods (write @staticmethod above each):

        @activation(torch="torch.nn.functional.softsign", jax="jax.nn.soft_sign")
        class Softsign:
            "y = x / (1 + |x|).   dy/dx = 1 / (1 + |x|)²."

            def forward(x): return x / (1.0 + np.abs(x))
            def backward(x, y, dy): return dy / (1.0 + np.abs(x)) ** 2
            def definition(m, x): return x / (1 + m.abs(x))
    """

    def register(cls: type) -> Activation:
        common = _common("activation", cls, torch, jax, parameters)
        # A symmetric Jacobian, for example a diagonal one, maps tangents as it maps cotangents.
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
    symmetric: bool = False,
    predictions: Domain = "real",
    parameters: Mapping[str, Parameter] | None = None,
    arrays: Mapping[str, Extent] | None = None,
    registry: Registry[Loss] = LOSSES,
) -> Callable[[type], Loss]:
    """Register a class as a loss; the class becomes a record (`Loss`).

    torch, jax, parameters: as for `activation`.
    targets: the kinds of targets that it takes.
    elementwise: whether L has the shape of y, or one number for each sample.
    symmetric: whether L stays the same if the classes are permuted.
    predictions: the domain of y; "simplex", for example, means rows that sum to 1.
    arrays: other array arguments, such as class weights, with their shapes.

    Example; a class has at least these three methods (write @staticmethod above each):

        @loss(torch="torch.nn.functional.mse_loss", jax=COMPOSED,
              targets=("real",), elementwise=True)
        class Mse:
            "L = (y - t)².   ∂L/∂y = 2 (y - t)."

            def forward(y, t): return (y - t) ** 2
            def backward(y, t, dL): return 2 * (y - t) * dL
            def definition(m, y, t): return (y - t) * (y - t)
            def composition(xp, y, t): return (y - t) ** 2
    """

    def register(cls: type) -> Loss:
        common = _common("loss", cls, torch, jax, parameters)
        count, definition = (getattr(cls, part, None) for part in ("count", "count_definition"))
        if (count is None) != (definition is None):
            lacking = "count_definition" if definition is None else "count"
            raise InvalidInput(f"loss {common['name']!r} is incomplete: it lacks {lacking}")
        return registry.register(
            Loss(
                elementwise=elementwise,
                symmetric=symmetric,
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
    structure: Structure,
    torch: str | Counterpart,
    jax: str | Counterpart,
    takes: Takes = "features",
    trainable: tuple[str, ...] = (),
    registry: Registry[LayerOperation] = LAYERS,
) -> Callable[[type], LayerOperation]:
    """Register a class as a layer: an operation of one or more arrays.

    structure: how it is judged and certified (`Structure`). torch, jax: as for `activation`.
    takes: the shape of its first array (`Takes`). trainable: which arrays are parameters.

    The arrays and the options are read from the signature of `forward`: arrays come first, those
    with the default None may be left out, options are keywords with defaults. Beside `forward`,
    `backward` and `definition` the class gives `sample(draw, shape)` and `rows`; without `rows`
    each entry of the value is a row, made of one entry of each array, broadcast. `with_torch` and
    `with_jax` call a counterpart that takes its arguments in another way: they get the
    framework's function and the arguments of forward. See `Dense` for an example.
    """

    def register(cls: type) -> LayerOperation:
        needed = ["forward", "backward", "definition", "sample"]
        needed += ["rows"] * (structure == "rows")
        common = _common("layer", cls, torch, jax, None, needed)
        arrays, options = _signature(common["forward"])
        name = common["name"]
        if {"y", "dy"} & set(arrays):
            raise InvalidInput(
                f"layer {name!r}: arrays {tuple(arrays)}: expected other names than y and dy"
            )
        if not set(trainable) <= set(arrays):
            raise InvalidInput(f"layer {name!r}: trainable={trainable!r}, its arrays: {arrays}")
        given: dict[str, Any] = {part: getattr(cls, part, None) for part in _LAYER_PARTS}
        tangent = getattr(cls, "tangent", partial(_lacks, "layer", name, "tangent"))
        return registry.register(
            LayerOperation(
                structure=structure,
                takes=takes,
                arguments=tuple(arrays),
                optional=tuple(name for name, optional in arrays.items() if optional),
                trainable=trainable,
                options=MappingProxyType(options),
                needs=tuple(_signature(common["backward"])[0]),
                tangent=tangent,
                tangent_needs=tuple(_signature(tangent)[0]),
                second_needs=tuple(_signature(common["second"])[0]),
                **given,
                **common,
            )
        )

    return register


_LAYER_PARTS = ("rows", "sample", "edge", "with_torch", "with_jax")


def _signature(function: Callable[..., object]) -> tuple[dict[str, bool], dict[str, object]]:
    """Return the arrays that a function takes (True: may be left out), and its options."""
    arrays: dict[str, bool] = {}
    options: dict[str, object] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            arrays[name] = parameter.default is None
        elif parameter.kind is parameter.KEYWORD_ONLY:
            options[name] = parameter.default
    return arrays, options


def _with_t(tangents: ByName) -> ByName:
    """Return the tangents under the names by which a layer's methods take them: "x" as "tx"."""
    return {f"t{name}": tangent for name, tangent in tangents.items()}


def _prediction(arrays: ByName) -> tuple[FloatArray, np.ndarray, ByName]:
    rest = {name: array for name, array in arrays.items() if name not in ("y", "t")}
    return arrays["y"], arrays["t"], rest


def _number_of_terms(losses: FloatArray, t: np.ndarray, **_: object) -> int:
    return losses.size


def _common(
    kind: str,
    cls: type,
    torch: str | Counterpart,
    jax: str | Counterpart,
    parameters: Mapping[str, Parameter] | None,
    needed: Sequence[str] = ("forward", "backward", "definition"),
) -> dict[str, Any]:
    """Read what every kind of operation has from its class; an error names a missing part."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
    missing = [part for part in needed if not hasattr(cls, part)]
    if not cls.__doc__ and sys.flags.optimize < 2:  # with -OO no class has one
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
        "second": getattr(cls, "second", partial(_lacks, kind, name, "second")),
        "has_second_order": hasattr(cls, "second"),
        "parameters": MappingProxyType(dict(parameters or {})),
        **counterparts,
    }


def _lacks(kind: str, name: str, method: str, *_: object, **__: object) -> NoReturn:
    raise InvalidInput(f"{kind} {name!r} has no method {method}: second order is not available")


def _textbook(cls: type) -> Formulas | None:
    """Return the textbook's formulas; a method without one uses the stable formula."""
    own = {part: getattr(cls, f"textbook_{part}", None) for part in ("forward", "backward")}
    if not any(own.values()):
        return None
    return Formulas(**{part: formula or getattr(cls, part) for part, formula in own.items()})
