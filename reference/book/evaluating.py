"""Evaluates the trees of formulas over balls, at one sample: a point where everything is known.

A tree is walked against a table of functions; there is nothing else that it can reach. Inputs are
dual numbers, so a derivative in a formula comes from differentiating over balls: either the
operation's definition, or a quantity that the docstring itself defines.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from flint import arb

from reference.arithmetic.balls import Ball, DefinitionArithmetic, dual, exact
from reference.book.functions import FUNCTIONS, Undecided
from reference.formats import Array
from reports.notation import (
    Bracketed,
    Call,
    Conditional,
    Derivative,
    Indexed,
    Infix,
    Negative,
    Node,
    Piecewise,
    Power,
    Reduction,
    Relation,
    Root,
    SymbolName,
    Transposed,
    WrittenNumber,
)

MAX_STEPS = 20_000
Value = Any
"""A ball, a Dual, or an object array of them."""


class Unclear(Exception):
    """The formula cannot be evaluated at any sample."""


@dataclass
class FormulaPoint:
    """One point: what every name stands for there, how far indices run, which label is given.

    `variables` maps an input to the positions of its entries among the slopes. `definitions` are
    the docstring's own: their indices and their tree.
    """

    m: DefinitionArithmetic
    values: dict[str, Value]
    sizes: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    variables: Mapping[str, Array] = field(default_factory=dict)
    where: str = ""
    definitions: dict[str, tuple[tuple[str, ...], Node]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    _steps: int = 0
    _open: list[str] = field(default_factory=list)

    def evaluate(self, node: Node, at: Mapping[str, int] | None = None) -> Value:
        """Return the value of an expression, its free indices given."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise Unclear(f"takes more than {MAX_STEPS} steps")
        return _EVALUATE[type(node)](self, node, at or {})

    def holds(self, relation: Node, at: Mapping[str, int]) -> bool:
        """Say whether a condition holds; one that is open is Undecided."""
        assert isinstance(relation, Relation)
        values = [_plain(self.evaluate(o, at)) for o in relation.operands]
        found = True
        for sign, a, b in zip(relation.signs, values, values[1:], strict=False):
            found = found and _compare(sign, a, b)
        return found

    def statement(
        self, node: Node, free: Sequence[str] | None = None
    ) -> Iterator[tuple[str, Value, Value]]:
        """Yield every pair of values that a statement puts into a relation, at each free index.

        `free` holds `free_indices(node)`, where the caller has them.
        """
        free = sorted(free_indices(node)) if free is None else free
        given = node.conditions if isinstance(node, Conditional) else ()
        node = node.relation if isinstance(node, Conditional) else node
        assert isinstance(node, Relation)
        for at in self._every(free):
            self._steps = 0
            if not all(self.holds(c, at) for c in given):
                continue
            values = [_array(self.evaluate(o, at)) for o in node.operands]
            for sign, a, b in zip(node.signs, values, values[1:], strict=False):
                try:
                    pairs = np.broadcast(a, b)
                except ValueError:
                    shapes = f"{a.shape} and {b.shape}"
                    raise Unclear(f"compares quantities of shapes {shapes}") from None
                if a.shape != b.shape and a.size > 1 and b.size > 1:
                    raise Unclear(f"compares quantities of shapes {a.shape} and {b.shape}")
                for p, q in pairs:
                    yield sign, _plain(p), _plain(q)

    def _every(self, free: Sequence[str]) -> Iterator[dict[str, int]]:
        """Yield every assignment of the free indices; one that is a label is given."""
        free = [name for name in free if name not in self.labels]
        for name in free:
            if name not in self.sizes:
                raise Undecided(f"no index {name} here")
        for places in product(*(range(self.sizes[name]) for name in free)):
            yield dict(zip(free, places, strict=True))

    def place(self, index: str, at: Mapping[str, int]) -> int:
        """Return where an index stands."""
        if index in at:
            return at[index]
        if index in self.labels:
            return self.labels[index]
        raise Undecided(f"no {index} here")

    def named(self, name: str) -> Value:
        """Return what a name stands for."""
        if name in self.values:
            if name in self.definitions:
                self.used.add(name)
            return self.values[name]
        if name not in self.definitions:
            if name == "e":
                return self.m.exp(exact(1))
            if name == "π":
                return self.m.pi
            stem = name.rstrip("'′")
            if stem != name and len(self.variables) == 1:
                (by,) = self.variables
                return _slope(self, self.named(stem), by, ())
            raise Undecided(f"{name} is not known here")
        indices, body = self.definitions[name]
        if indices:
            raise Unclear(f"{name} has indices where it is defined and none where it is used")
        value = self._defined(name, body, {})
        self.values[name] = value
        return value

    def _defined(self, name: str, body: Node, at: Mapping[str, int]) -> Value:
        if name in self._open:
            raise Unclear(f"{name} is defined by itself")
        self.used.add(name)
        self._open.append(name)
        try:
            return self.evaluate(body, at)
        finally:
            self._open.pop()

    def entry(self, name: str, indices: tuple[str, ...], at: Mapping[str, int]) -> Value:
        """Return an entry of a row or a matrix."""
        places = tuple(self.place(i, at) for i in indices)
        if name not in self.values and name in self.definitions:
            own, body = self.definitions[name]
            if own:
                if len(own) != len(indices):
                    raise Unclear(f"{name} is defined with {len(own)} indices")
                return self._defined(name, body, dict(zip(own, places, strict=True)))
        value = _array(self.named(name))
        if value.ndim != len(places):
            raise Unclear(f"{name} has {value.ndim} indices, not {len(places)}")
        return value[places]


def free_indices(node: Node) -> set[str]:
    """Return the indices of a tree that no sum binds."""
    if isinstance(node, Indexed):
        return set(node.indices)
    if isinstance(node, Reduction):
        return (free_indices(node.body) | set(filter(None, [node.without]))) - {node.index}
    if isinstance(node, Bracketed) and node.bracket == "[":
        symbols = {o.name for o in node.body.operands if isinstance(o, SymbolName)}  # type: ignore[union-attr]
        return free_indices(node.body) | {s for s in symbols if s in "ijkn" and len(s) == 1}
    return set().union(*(free_indices(child) for child in children(node)), set())


def children(node: Node) -> list[Node]:
    """Return the trees right below a tree."""
    found: list[Node] = []
    for value in (getattr(node, name) for name in node.__dataclass_fields__):
        for item in value if isinstance(value, tuple) else (value,):
            found += [part for part in (item if isinstance(item, tuple) else (item,))
                      if hasattr(part, "__dataclass_fields__")]  # fmt: skip
    return found


def _array(value: Value) -> Array:
    if isinstance(value, np.ndarray):
        return value
    array = np.empty((), object)
    array[()] = value
    return array


def _plain(value: Value) -> Ball:
    """Return the ball of a number."""
    if isinstance(value, np.ndarray):
        if value.shape:
            raise Unclear("compares a whole row or matrix")
        value = value[()]
    return dual(value).value


def _compare(sign: str, a: Ball, b: Ball) -> bool:
    difference = a - b
    if sign in ("=", "≠"):
        if difference.is_zero():
            return sign == "="
        if difference.contains(0):
            raise Undecided("a condition is too close to call")
        return sign == "≠"
    if difference.is_zero():
        return sign in ("<=", ">=")
    if difference > 0:
        return sign in (">", ">=")
    if difference < 0:
        return sign in ("<", "<=")
    raise Undecided("a condition is too close to call")


def _slope(sample: FormulaPoint, value: Value, by: str, places: tuple[int, ...]) -> Value:
    """Return the slope of a number by one entry of an input."""
    if by not in sample.variables:
        raise Undecided(f"{by} is no input here")
    if isinstance(value, np.ndarray):
        found = np.empty(value.shape, object)
        for at in np.ndindex(value.shape):
            found[at] = _slope(sample, value[at], by, places)
        return found
    return dual(value).slope.by.get(int(sample.variables[by][places]), arb(0))


# One function for each kind of tree.


def _number(sample: FormulaPoint, node: WrittenNumber, at: Mapping[str, int]) -> Value:
    if not node.text.endswith("…"):
        return exact(Fraction(node.text))
    digits = node.text[:-1]
    unit = Fraction(10) ** -len(digits.partition(".")[2])
    middle = Fraction(digits) + unit / 2
    return exact(middle) + arb(0, float(unit / 2) * 1.001)


def _symbol(sample: FormulaPoint, node: SymbolName, at: Mapping[str, int]) -> Value:
    if len(node.name) == 1 and node.name in at:
        return exact(at[node.name])
    if node.name in sample.labels:  # t, the label; t_k is the one-hot row
        return exact(sample.labels[node.name])
    return sample.named(node.name)


def _indexed(sample: FormulaPoint, node: Indexed, at: Mapping[str, int]) -> Value:
    return sample.entry(node.name, node.indices, at)


def _each(f: Callable[..., Value], *values: Value) -> Value:
    if not any(isinstance(v, np.ndarray) for v in values):
        return f(*values)
    return np.frompyfunc(f, len(values), 1)(*values)


def _call(sample: FormulaPoint, node: Call, at: Mapping[str, int]) -> Value:
    arguments = [sample.evaluate(a, at) for a in node.arguments]
    m = sample.m
    if node.function == "softmax":
        (row,) = arguments
        if not isinstance(row, np.ndarray):
            raise Unclear("softmax takes a row")
        powers = _each(m.exp, row)
        value: Value = powers / powers.sum()
    else:
        function = FUNCTIONS[node.function]
        value = _each(lambda *v: function(m, *v), *arguments)
    return value if not node.power else _integer_power(value, int(node.power))


def _infix(sample: FormulaPoint, node: Infix, at: Mapping[str, int]) -> Value:
    left, right = sample.evaluate(node.left, at), sample.evaluate(node.right, at)
    if node.operator == "+":
        return left + right
    if node.operator == "-":
        return left - right
    if node.operator == "/":
        return left / right
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and node.operator == "":
        try:
            return left @ right
        except ValueError:
            raise Unclear(f"multiplies shapes {left.shape} and {right.shape}") from None
    return left * right


def _power(sample: FormulaPoint, node: Power, at: Mapping[str, int]) -> Value:
    exponent = node.exponent
    if node.base == SymbolName("e"):
        if not isinstance(exponent, WrittenNumber) or "e" not in sample.definitions:
            return _each(sample.m.exp, sample.evaluate(exponent, at))
    base = sample.evaluate(node.base, at)
    if isinstance(exponent, WrittenNumber) and exponent.text.isdecimal() and len(exponent.text) < 3:
        return _integer_power(base, int(exponent.text))
    power = sample.evaluate(exponent, at)
    return _each(lambda b, p: sample.m.exp(sample.m.log(b) * p), base, power)


def _integer_power(base: Value, exponent: int) -> Value:
    value = base if exponent else exact(1)
    for _ in range(exponent - 1):
        value = value * base
    return value


def _negative(sample: FormulaPoint, node: Negative, at: Mapping[str, int]) -> Value:
    return -sample.evaluate(node.body, at)


def _around(sample: FormulaPoint, node: Bracketed, at: Mapping[str, int]) -> Value:
    if node.bracket == "[":
        return exact(1) if sample.holds(node.body, at) else exact(0)
    value = sample.evaluate(node.body, at)
    return _each(sample.m.abs, value) if node.bracket == "|" else value


def _root(sample: FormulaPoint, node: Root, at: Mapping[str, int]) -> Value:
    return _each(sample.m.sqrt, sample.evaluate(node.body, at))


def _transpose(sample: FormulaPoint, node: Transposed, at: Mapping[str, int]) -> Value:
    value = sample.evaluate(node.body, at)
    if (
        isinstance(node.body, WrittenNumber) and node.body.text == "1"
    ):  # a row of ones, one a sample
        return np.full(sample.sizes["n"], exact(1), object)
    if not isinstance(value, np.ndarray):
        raise Unclear("transposes a number")
    return value.T


def _fold(sample: FormulaPoint, node: Reduction, at: Mapping[str, int]) -> Value:
    if node.index not in sample.sizes:
        raise Undecided(f"no index {node.index} here")
    skipped = sample.place(node.without, at) if node.without else None
    places = [k for k in range(sample.sizes[node.index]) if k != skipped]
    if node.index in at:
        raise Unclear(f"the index {node.index} is already in use")
    terms = [sample.evaluate(node.body, {**at, node.index: k}) for k in places]
    if node.function == "Σ":
        return sum(terms[1:], terms[0]) if terms else exact(0)
    found = terms[0]
    for term in terms[1:]:
        found = sample.m.max(found, term)
    return found


def _derivative(sample: FormulaPoint, node: Derivative, at: Mapping[str, int]) -> Value:
    value = sample.evaluate(node.of, at)
    if isinstance(node.by, Indexed):
        places = tuple(sample.place(i, at) for i in node.by.indices)
        return _slope(sample, value, node.by.name, places)
    assert isinstance(node.by, SymbolName)
    return _slope(sample, value, node.by.name, ())


def _relation(sample: FormulaPoint, node: Relation, at: Mapping[str, int]) -> Value:
    raise Unclear("a relation is used as a number")


def _piecewise(sample: FormulaPoint, node: Piecewise, at: Mapping[str, int]) -> Value:
    for value, condition in node.pieces:
        if condition is None or sample.holds(condition, at):
            return sample.evaluate(value, at)
    raise Undecided("no piece applies")


_EVALUATE: dict[type, Callable[..., Value]] = {
    WrittenNumber: _number,
    SymbolName: _symbol,
    Indexed: _indexed,
    Call: _call,
    Infix: _infix,
    Power: _power,
    Negative: _negative,
    Bracketed: _around,
    Root: _root,
    Transposed: _transpose,
    Reduction: _fold,
    Derivative: _derivative,
    Relation: _relation,
    Conditional: _relation,
    Piecewise: _piecewise,
}
