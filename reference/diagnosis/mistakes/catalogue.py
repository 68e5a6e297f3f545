"""The record of a mistake, the lines of a backward that it can change, and the registry.

A mistake is a wrong line of mathematics as code. It has two uses: injected into a correct backward
it makes a mutant that the judge must catch; and where a user's gradient is wrong, the mistake that
reproduces it is the diagnosis.
"""

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from manual_backprop.layers import Dense
from manual_backprop.operation import Activation, FloatArray, InvalidInput, Loss
from reference.formats import Array

LineName = Literal["loss", "activation", "weight", "bias", "below"]
"""The lines of a backward: δa of the last layer, δz, ∂L/∂W, ∂L/∂b, and δa of the layer below."""

WrongArray = object
"""What a wrong line computes: an array or a number; `Mistake.make` gives it its shape and dtype."""

Family = Literal["layers", "activations", "slopes", "losses", "batching", "memory", "dtype"]


@dataclass(frozen=True)
class DenseLine:
    """What stands around ∂L/∂W = xᵀ δz, ∂L/∂b = 1ᵀ δz and δx = δz Wᵀ.

    `x_before` is the pre-activation that x came from, and `da` the cotangent that δz came from;
    None where there is none, as for a dense layer alone.
    """

    x: FloatArray
    dz: FloatArray
    weight: FloatArray
    bias: FloatArray | None = None
    da: FloatArray | None = None
    x_before: FloatArray | None = None

    @cached_property
    def right(self) -> dict[str, FloatArray]:
        """The right cotangents of x, weight and bias."""
        return Dense.backward(self.x, self.dz, self.weight, self.bias)

    @property
    def batch(self) -> int:
        """N."""
        return len(self.x)

    @property
    def square(self) -> bool:
        """Whether a transposed weight would fit."""
        return bool(self.weight.shape[0] == self.weight.shape[1])


@dataclass(frozen=True)
class ActivationLine:
    """What stands around δz = δa · f′(z).

    `operation` is None where f is none that we know; then `known` is its slope, entry by entry,
    or `jacobian` its matrix for each row: ∂aᵢ/∂zⱼ of shape (rows, n, n).
    """

    operation: Activation | None
    parameters: Mapping[str, float]
    z: FloatArray
    a: FloatArray
    da: FloatArray
    x: FloatArray | None = None
    known: FloatArray | None = None
    jacobian: FloatArray | None = None
    masked: bool = False
    """Whether f′(z) is a mask that was given: dropout's."""

    def backward(self, z: FloatArray, a: FloatArray, da: FloatArray) -> FloatArray:
        """Return the right formula, at whatever it is given."""
        assert self.operation is not None
        found: FloatArray = self.operation.backward(z, a, da, **self.parameters)
        return found

    def forward(self, z: FloatArray) -> FloatArray:
        """Return f(z)."""
        assert self.operation is not None
        found: FloatArray = self.operation.forward(z, **self.parameters)
        return found

    @property
    def name(self) -> str:
        """What f is called, "" where it is none that we know."""
        return self.operation.name if self.operation is not None else ""

    @property
    def elementwise(self) -> bool:
        """Whether f works entry by entry."""
        if self.operation is None:
            return self.jacobian is None
        return not self.operation.rowwise

    @cached_property
    def right(self) -> FloatArray:
        """The right δz."""
        if self.jacobian is not None:
            return np.asarray(np.einsum("ri,rij->rj", self.da, self.jacobian))
        if self.known is not None:
            return self.da * self.known
        return self.backward(self.z, self.a, self.da)

    @cached_property
    def slope(self) -> FloatArray:
        """f′(z), of an elementwise activation."""
        if self.known is not None:
            return self.known
        return self.backward(self.z, self.a, np.ones_like(self.z))


@dataclass(frozen=True)
class LossLine:
    """What stands around δy = ∂(Σ w L / divisor)/∂y.

    `dL` is the right cotangent of the losses before reduction, w / divisor. `targets` is t as the
    loss takes it; `t` is t in the shape of y, one-hot where t holds class indices.
    """

    operation: Loss
    arguments: Mapping[str, Any]
    y: FloatArray
    targets: Array
    losses: FloatArray
    dL: FloatArray
    divisor: float = 1.0
    reduction: str = "none"
    weights: FloatArray | None = None

    def gradient(
        self,
        dL: FloatArray | None = None,
        targets: Array | None = None,
        **arguments: object,
    ) -> FloatArray:
        """Return the right formula, at another cotangent, other targets or other arguments."""
        found: FloatArray = self.operation.backward(
            self.y,
            self.targets if targets is None else targets,
            self.dL if dL is None else dL,
            **{**self.arguments, **arguments},
        )
        return found

    @cached_property
    def right(self) -> FloatArray:
        """The right δy."""
        return self.gradient()

    @cached_property
    def slope(self) -> FloatArray:
        """∂L/∂y of each sample before weights and reduction."""
        return self.gradient(np.ones_like(self.dL))

    @cached_property
    def dL_columns(self) -> FloatArray:
        """The cotangent of the losses, so that it multiplies y."""
        return self.dL if self.dL.ndim == self.y.ndim else self.dL[..., None]

    @property
    def labels(self) -> bool:
        """Whether the targets are class indices."""
        return bool(np.issubdtype(self.targets.dtype, np.integer))

    @cached_property
    def t(self) -> FloatArray:
        """The targets in the shape of y; rows of an ignored label are zero."""
        if not self.labels:
            return self.targets
        one_hot = self.targets[:, None] == np.arange(self.y.shape[-1])
        return np.asarray(one_hot, self.y.dtype)

    @property
    def batch(self) -> int:
        """N."""
        return int(self.y.shape[-2])

    @property
    def classes(self) -> int:
        """C."""
        return int(self.y.shape[-1])


Line = DenseLine | ActivationLine | LossLine


@dataclass(frozen=True)
class Mistake:
    """One mistake: its name, what a teacher would say of it, and the wrong line.

    `operations` are the activations or losses whose formula this is about; empty: any.
    """

    name: str
    line: LineName
    family: Family
    sentence: str
    wrong: str
    right: str
    transform: Callable[..., WrongArray] = field(repr=False)
    operations: tuple[str, ...] = ()
    applicable: Callable[..., bool] | None = field(default=None, repr=False)

    def applies(self, line: Line) -> bool:
        """Say whether the mistake can be made on this line."""
        if isinstance(line, ActivationLine) and line.operation is None:
            if {"backward", "forward"} & set(self.transform.__code__.co_names):
                return False  # it takes f′ at another place, and the formula is not known
        if self.operations:
            if isinstance(line, DenseLine) or line.operation is None:
                return False
            if line.operation.name not in self.operations:
                return False
        return self.applicable is None or bool(self.applicable(line))

    def make(self, line: Line) -> FloatArray:
        """Return what the wrong line computes, in the dtype and shape of the right one."""
        right = right_of(self.line, line)
        with np.errstate(all="ignore"):
            wrong = np.asarray(self.transform(line))
        return np.broadcast_to(wrong, right.shape).astype(right.dtype)


def right_of(name: LineName, line: Line) -> FloatArray:
    """Return what the right line computes."""
    if isinstance(line, DenseLine):
        return line.right["x" if name == "below" else name]
    return line.right


CATALOGUE: dict[str, Mistake] = {}
"""Every mistake by name, in order of definition: of two that fit equally, the first is named."""

L = TypeVar("L", DenseLine, ActivationLine, LossLine)


@dataclass(frozen=True)
class Rule(Generic[L]):
    """A right line of a backward; a call enters a mistake in it.

    `operations` are the activations or losses whose formula this is; empty: any.
    """

    line: LineName
    family: Family
    right: str
    operations: tuple[str, ...] = ()
    when: Callable[[L], bool] | None = None

    def of(
        self,
        *operations: str,
        right: str | None = None,
        family: Family | None = None,
        when: Callable[[L], bool] | None = None,
    ) -> "Rule[L]":
        """Return the rule as it is for some operations, or in another family."""
        return Rule(self.line, family or self.family, right or self.right, operations,
                    when or self.when)  # fmt: skip

    def __call__(
        self,
        name: str,
        wrong: str,
        sentence: str,
        make: Callable[[L], WrongArray],
        when: Callable[[L], bool] | None = None,
    ) -> None:
        """Enter a mistake: the wrong formula, what a teacher would say of it, the wrong array."""
        if name in CATALOGUE:
            raise InvalidInput(f"mistake {name!r} is defined twice")
        CATALOGUE[name] = Mistake(
            name, self.line, self.family, sentence, wrong, self.right, make, self.operations,
            when or self.when,
        )  # fmt: skip


WEIGHT = Rule[DenseLine]("weight", "layers", "∂L/∂W = xᵀ δz")
BIAS = Rule[DenseLine]("bias", "layers", "∂L/∂b = Σₙ δzₙ")
BELOW = Rule[DenseLine]("below", "layers", "δx = δz Wᵀ")
ACTIVATION = Rule[ActivationLine]("activation", "activations", "δz = δa · f′(z)")
LOSS = Rule[LossLine]("loss", "losses", "δy = w ∂L/∂y / divisor")


def statements(transform: Callable[..., object]) -> list[ast.stmt]:
    """Return the code of a mistake's function; of an entry's lambda with each := on its own."""
    module = inspect.getmodule(transform)
    assert module is not None
    line = transform.__code__.co_firstlineno
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.FunctionDef) and node.lineno == line:
            return [s for s in node.body if not isinstance(s, ast.Assert | ast.Expr)]
        if isinstance(node, ast.Lambda) and node.lineno == line:
            named = _Named()
            result = ast.Return(named.visit(node.body))
            return [*named.found, result]
    raise LookupError(f"{transform.__qualname__} begins nowhere in {module.__name__}")


class _Named(ast.NodeTransformer):
    """Takes each `name := value` out of an expression, as an assignment before it."""

    def __init__(self) -> None:
        self.found: list[ast.stmt] = []

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.Name:
        """Leave the name."""
        value = ast.unparse(self.visit(node.value))
        self.found += ast.parse(f"{node.target.id} = {value}").body
        return node.target
