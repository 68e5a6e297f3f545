"""Random elementwise functions of one or two arrays, with the derivative written out."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from randomplans import NAMED

Mistake = tuple[str, str, str]
"""Kind, the wrong derivative, and the regex of its explanation."""


@dataclass(frozen=True)
class Node:
    """An expression: an operator and its parts; leaves are names and numbers."""

    op: str
    parts: tuple["Node", ...] = ()
    text: str = ""

    def __str__(self) -> str:
        """Return it as Python."""
        return _written(self)


def leaf(text: str) -> Node:
    """Return a name or a number."""
    return Node("leaf", (), text)


ZERO, ONE, TWO = leaf("0"), leaf("1"), leaf("2")
_LEVEL = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 2, "**": 4}
_CALLS = {
    "exp": "np.exp",
    "log": "np.log",
    "tanh": "np.tanh",
    "sqrt": "np.sqrt",
    "sin": "np.sin",
    "cos": "np.cos",
    "arctan": "np.arctan",
    "sinh": "np.sinh",
    "cosh": "np.cosh",
}


def _written(node: Node) -> str:
    if node.op == "leaf":
        return node.text
    if node.op in _CALLS:
        return f"{_CALLS[node.op]}({node.parts[0]})"
    level = _LEVEL[node.op]
    if node.op == "neg":
        return f"-{_inside(node.parts[0], 3)}"
    left, right = node.parts
    return f"{_inside(left, level + (node.op == '**'))} {node.op} {_inside(right, level + 1)}"


def _inside(node: Node, level: int) -> str:
    own = _LEVEL.get(node.op, 9)
    return f"({node})" if own < level else str(node)


def add(a: Node, b: Node) -> Node:
    """Return a + b."""
    if a == ZERO:
        return b
    return a if b == ZERO else Node("+", (a, b))


def sub(a: Node, b: Node) -> Node:
    """Return a − b."""
    if b == ZERO:
        return a
    return Node("neg", (b,)) if a == ZERO else Node("-", (a, b))


def mul(a: Node, b: Node) -> Node:
    """Return a · b."""
    if ZERO in (a, b):
        return ZERO
    if a == ONE:
        return b
    return a if b == ONE else Node("*", (a, b))


def div(a: Node, b: Node) -> Node:
    """Return a / b."""
    return ZERO if a == ZERO else Node("/", (a, b))


def call(name: str, a: Node) -> Node:
    """Return a function of a."""
    return Node(name, (a,))


def square(a: Node) -> Node:
    """Return a²."""
    return Node("**", (a, TWO))


Slope = Callable[[Node, Node], Node]
_SLOPES: dict[str, Slope] = {
    "exp": lambda u, y: y,
    "log": lambda u, y: div(ONE, u),
    "tanh": lambda u, y: sub(ONE, square(y)),
    "sqrt": lambda u, y: div(ONE, mul(TWO, y)),
    "sin": lambda u, y: call("cos", u),
    "cos": lambda u, y: Node("neg", (call("sin", u),)),
    "arctan": lambda u, y: div(ONE, add(ONE, square(u))),
    "sinh": lambda u, y: call("cosh", u),
    "cosh": lambda u, y: call("sinh", u),
}


def derivative(node: Node, name: str, wrong: str = "", at: int = -1) -> Node:
    """Return ∂node/∂name; with a mistake at one place where `wrong` says so.

    wrong: "inner" leaves out the inner derivative, "slope" the slope, "sign" turns a sign,
    "term" leaves out the second term of a product, "square" does not square a denominator,
    "two" forgets the exponent.
    at: at which of the places where it is possible.
    """
    return _Derivative(name, wrong, at).of(node)


class _Derivative:
    """Differentiates, and counts the places where a mistake is possible."""

    def __init__(self, name: str, wrong: str, at: int) -> None:
        self.name, self.wrong, self.at, self.seen = name, wrong, at, 0

    def _here(self, kind: str) -> bool:
        if kind != self.wrong:
            return False
        self.seen += 1
        return self.seen - 1 == self.at

    def of(self, node: Node) -> Node:
        """Return the derivative of a node."""
        if node.op == "leaf":
            return ONE if node.text == self.name else ZERO
        if node.op in _SLOPES:
            return self._of_call(node)
        if node.op == "neg":
            return sub(ZERO, self.of(node.parts[0]))
        a, b = node.parts
        if node.op in "+-":
            da, db = self.of(a), self.of(b)
            turned = ZERO not in (da, db) and self._here("sign")
            return (sub if (node.op == "-") != turned else add)(da, db)
        if node.op == "**":
            inner = self.of(a)
            outer = a if self._here("two") else mul(TWO, a)
            return mul(outer, inner)
        return self._of_product(node.op, a, b)

    def _of_call(self, node: Node) -> Node:
        inner = self.of(node.parts[0])
        if inner == ZERO:
            return ZERO
        slope = _SLOPES[node.op](node.parts[0], node)
        if inner != ONE and self._here("inner"):
            return slope
        return inner if self._here("slope") else mul(slope, inner)

    def _of_product(self, op: str, a: Node, b: Node) -> Node:
        da, db = self.of(a), self.of(b)
        if op == "*":
            second = mul(a, db)
            if ZERO not in (da, db) and self._here("term"):
                second = ZERO
            return add(mul(da, b), second)
        if db == ZERO:
            return div(da, b)
        below = b if self._here("square") else square(b)
        return div(sub(mul(da, b), mul(a, db)), below)


def expression(rng: random.Random, names: list[str], depth: int) -> Node:
    """Return a random expression of some names, safe for numbers near 1."""
    if depth == 0:
        return leaf(rng.choice(names))
    kind = rng.choice("affine unary unary product ratio sum square scaled".split())
    inner = expression(rng, names, depth - 1)
    number = leaf(str(rng.choice([0.1, 0.2, 0.3, 0.5, 0.7, 1.5, 2.0, 3.0])))
    match kind:
        case "affine":
            return add(mul(number, inner), leaf(str(rng.choice([0.5, 1.0, 1.2]))))
        case "scaled":
            return mul(number, inner)
        case "square":
            return square(inner if inner.op != "**" else call("tanh", inner))
        case "unary":
            return _unary(rng, inner)
    other = expression(rng, names, rng.randint(0, depth - 1))
    if kind == "product":
        return mul(inner, other)
    if kind == "ratio":
        return div(inner, add(ONE, square(call("tanh", other) if other.op == "**" else other)))
    return Node(rng.choice("+-"), (inner, call("tanh", other) if other == inner else other))


def _unary(rng: random.Random, inner: Node) -> Node:
    name = rng.choice(["exp", "log", "tanh", "sqrt", "sin", "cos", "arctan", "sinh", "cosh"])
    bounded = inner if inner.op in ("leaf", "tanh", "sin", "cos", "arctan") else call("tanh", inner)
    if name == "exp":
        return call("exp", Node("neg", (square(bounded),)) if rng.random() < 0.4 else bounded)
    if name in ("log", "sqrt"):
        return call(name, add(ONE, square(bounded)))
    return call(name, bounded if name in ("sinh", "cosh") else inner)


_KINDS = {
    "inner": "slope left out",
    "slope": "slope left out",
    "sign": "sign",
    "term": "left out",
    "square": "square left out",
    "two": "factor",
}


def mistakes(node: Node, name: str) -> list[Mistake]:
    """Return wrong derivatives of an expression: kind, text, regex."""
    right = derivative(node, name)
    found: list[Mistake] = []
    for wrong, kind in _KINDS.items():
        for at in range(2):
            made = derivative(node, name, wrong, at)
            if made != right and made != ZERO:
                found.append((f"{kind} ({wrong})", str(made), NAMED[kind]))
    found.append(("sign", str(mul(leaf("-1"), right)) if right != ONE else "-1", NAMED["sign"]))
    found.append(("factor", str(mul(TWO, right)), NAMED["factor"]))
    return found
