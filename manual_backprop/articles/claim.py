"""The public format of a claim: what a formula asserts, as code that evaluates both its sides.

A claim never holds its own verdict. `manual-backprop articles` decides it by evaluation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from manual_backprop.articles.system import Arithmetic, Quantities, SlopeArithmetic, System
from manual_backprop.network import Problem
from manual_backprop.operation import ByName, FloatArray, InvalidInput

Expression = Callable[[Arithmetic, Quantities], Any]
Jacobian = Callable[[str | Expression, str], np.ndarray]
Same = Callable[[np.ndarray, np.ndarray | float], bool]
Side = Callable[["Evaluation"], Any]


class ShapeMismatch(ValueError):
    """Two arrays that do not multiply as they stand."""


class NoSuchEntries(ValueError):
    """A Jacobian that is not its claimed factor spread over equal indices."""


class Evaluation:
    """One problem, worked out: what the two sides of a claim may ask.

    `q.z1` is a quantity, `q.m` the arithmetic, `q.d("J", "W2")` the true derivative.
    """

    def __init__(
        self,
        m: SlopeArithmetic,
        values: Quantities,
        jacobian: Jacobian,
        same: Same | None = None,
    ) -> None:
        self.m, self._values, self._jacobian, self._same = m, values, jacobian, same
        self.asked: dict[tuple[str, str, str], None] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._values[name]

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def d(self, of: str | Expression, by: str, reading: str = "") -> np.ndarray:
        """Return the true derivative of a quantity (or an expression `f(m, q)`) by a quantity.

        Its shape is that of `of` followed by that of `by`. A `reading` picks the entries that the
        article's notation means, with one letter an axis: "nj,ij->ni" reads ∂z_nj/∂W_ij, and it
        holds only if the derivative is 0 where the letters differ and does not depend on j.
        """
        if isinstance(of, str):
            self.asked[of, by, reading] = None
        jacobian = self._jacobian(of, by)
        return read(jacobian, reading, self._same) if reading else jacobian

    def chain(self, *names: str) -> np.ndarray:
        """Return the chain-rule product ∂a/∂b · ∂b/∂c · … of true derivatives, contracted."""
        product = self.d(names[0], names[1])
        for of, by in pairwise(names[1:]):
            axes = np.ndim(self._values[of])
            product = np.tensordot(product, self.d(of, by), axes=axes)
        return product[()]

    def slope(self, activation: str, x: np.ndarray) -> np.ndarray:
        """Return g'(x)."""
        return self.m.slope(activation, x)


def read(jacobian: np.ndarray, reading: str, same: Same | None = None) -> Any:
    """Pick entries of a Jacobian: one letter an axis, equal letters equal indices."""
    try:
        pair, wanted = reading.replace(" ", "").split("->")
        letters = pair.replace(",", "")
    except ValueError:
        raise InvalidInput(f"reading={reading!r}: expected one such as 'nj,ij->ni'") from None
    array = np.asarray(jacobian)
    if len(letters) != array.ndim or not set(wanted) <= set(letters):
        raise InvalidInput(f"reading={reading!r} does not fit a derivative of shape {array.shape}")
    kept = list(wanted) + sorted(set(letters) - set(wanted))
    sizes = [array.shape[letters.index(letter)] for letter in kept]
    grid = dict(zip(kept, np.indices(sizes), strict=True))
    index = tuple(grid[letter] for letter in letters)
    entries = array[index].reshape([*sizes[: len(wanted)], -1])
    if same is not None:
        elsewhere = np.ones(array.shape, bool)
        elsewhere[index] = False
        zero = all(same(entry, 0) for entry in array[elsewhere])
        if not zero or not all(
            same(entries[..., 0], entries[..., i]) for i in range(entries.shape[-1])
        ):
            raise NoSuchEntries(f"the derivative is not of the form {reading}")
    return entries[..., 0]


Factor = tuple[str, Side]


@dataclass(frozen=True)
class Product:
    """A product as printed: factors (LaTeX and code) with "@" or "*" between, from the left.

    Evaluated strictly: "*" wants equal shapes or a number, "@" equal inner sizes. Where it does
    not multiply, the auditor looks for the order that does.
    """

    factors: tuple[Factor, ...]
    operators: tuple[str, ...]

    def __call__(self, q: Evaluation) -> Any:
        """Evaluate from the left."""
        value = self.factors[0][1](q)
        for operator, (_, factor) in zip(self.operators, self.factors[1:], strict=True):
            value = multiply(value, operator, factor(q))
        return value


def product(*parts: Factor | str) -> Product:
    """Return the product of factors, with the operators between them: `product(f, "@", g)`."""
    factors = tuple(part for part in parts if not isinstance(part, str))
    operators = tuple(part for part in parts if isinstance(part, str))
    if len(operators) != len(factors) - 1 or not set(operators) <= {"@", "*"}:
        raise InvalidInput(f"product{parts!r}: expected factors with '@' or '*' between them")
    return Product(factors, operators)


def multiply(a: np.ndarray, operator: str, b: np.ndarray) -> Any:
    """Multiply strictly: no broadcasting beyond a single number."""
    left, right = np.shape(a), np.shape(b)
    if operator == "*":
        if left != right and left != () and right != ():
            raise ShapeMismatch(f"{left} * {right}")
        return a * b
    if len(left) != 2 or len(right) != 2 or left[1] != right[0]:
        raise ShapeMismatch(f"{left} @ {right}")
    return a @ b


def affine(left: str, right: str, bias: str) -> Side:
    """Return a matrix product plus a bias, which is a row or a column, written out by entries."""

    def side(q: Evaluation) -> np.ndarray:
        a, b = q[left], q[right]
        added = np.broadcast_to(q[bias], (len(a), b.shape[1]))
        entries = [
            [sum(a[i, k] * b[k, j] for k in range(len(b))) + added[i, j] for j in range(b.shape[1])]
            for i in range(len(a))
        ]
        return np.array(entries)

    return side


@dataclass(frozen=True)
class Claim:
    """One statement: where it stands, its formula in LaTeX, and code for both sides.

    `asserts` is "equal" (left = right) or "member" (left is one of right). `reading` says in words
    how the notation is read where that is not plain. `correction` is what should stand in place of
    the right side, or `correction_left` in place of the left; `correction_formula` is the corrected
    part in LaTeX. Both are checked by the same evaluation. `system` overrides the article's own.
    `reconstructed` marks a formula that was reconstructed from prose.
    """

    name: str
    where: str
    formula: str
    left: Side
    right: Side
    reading: str = ""
    correction: Side | None = None
    correction_left: Side | None = None
    correction_formula: str = ""
    asserts: Literal["equal", "member"] = "equal"
    system: System | None = None
    reconstructed: bool = False


@dataclass(frozen=True)
class Article:
    """An article: its system, its claims, and, for the explained walk, its gradient by hand.

    `backward(m, q)` defines ∂loss/∂name under each name, in the order of the backward walk, for
    the arithmetic given; `formulas` shows the formula of each step of the two walks, in LaTeX.
    `problem(inputs)` is the same network in the project's own form, and
    `in_project(inputs, values)` reads values of the article's names (its gradient, say) into the
    project's names and layout.
    """

    name: str
    title: str
    system: System
    claims: tuple[Claim, ...]
    backward: Callable[[SlopeArithmetic, Quantities, Quantities], None] | None = None
    forward_formulas: Mapping[str, str] = field(default_factory=dict)
    backward_formulas: Mapping[str, str] = field(default_factory=dict)
    example: Callable[[], ByName] | None = None
    problem: Callable[[ByName], Problem] | None = None
    in_project: Callable[[ByName, Quantities], dict[str, FloatArray]] | None = None

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for claim in self.claims:
            if claim.name in seen:
                raise InvalidInput(f"article {self.name}: claim {claim.name!r} is defined twice")
            seen.add(claim.name)
