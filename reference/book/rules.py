"""The textbook's rules of differentiation on formula trees, with the steps they were used in."""

from collections.abc import Mapping
from typing import Any, cast

from reference.book.evaluating import children
from reports.notation import (
    Bracketed,
    Call,
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
    WrittenNumber,
)

ZERO, ONE, TWO = WrittenNumber("0"), WrittenNumber("1"), WrittenNumber("2")


class NoRule(Exception):
    """The rules, as far as they are here, do not cover a formula."""


class Rules:
    """Differentiates by one variable; `steps` holds each rule used and what it gave."""

    def __init__(self, by: SymbolName | Indexed, defined: Mapping[str, Node], sign: str) -> None:
        self.by = by
        self.defined = defined
        self.sign = sign
        self.steps: list[tuple[str, Relation]] = []

    def slope(self, node: Node) -> Node:
        """Return the slope of a tree, and note the steps that are worth a line."""
        if not self.depends(node):
            return ZERO
        match node:
            case SymbolName():
                return self._symbol(node)
            case Indexed():
                return self._entry(node)
            case Negative(body):
                return _minus(self.slope(body))
            case Bracketed("(", body):
                return self.slope(body)
            case Bracketed("|", body):
                inner, sign = self.slope(body), Call("sign", (_plain(body),))
                return self._note("slope of the absolute value", node, _times(sign, inner))
            case Infix("+" | "-" as operator, left, right):
                return _plus(operator, self.slope(left), self.slope(right))
            case Infix("/", left, right):
                return self._quotient(node, left, right)
            case Infix(_, left, right):
                return self._product(node, left, right)
            case Power(base, exponent):
                return self._power(node, base, exponent)
            case Root(body):
                return self._chain(node, _over(ONE, _times(TWO, node)), body)
            case Call():
                return self._call(node)
            case Reduction("Σ", index, without, body):
                return self._sum(node, index, without, self.slope(body))
            case Piecewise(pieces):
                cases = tuple((self.slope(value), condition) for value, condition in pieces)
                return Piecewise(cases)
        raise NoRule

    def depends(self, node: Node) -> bool:
        """Whether the variable goes into a tree."""
        if isinstance(node, (SymbolName, Indexed)):
            if node.name == self.by.name:
                return True
            return node.name in self.defined and self.depends(self.defined[node.name])
        if isinstance(node, Power) and self._is_exponential(node):
            return self.depends(node.exponent)
        return any(self.depends(child) for child in children(node))

    def _is_exponential(self, node: Power) -> bool:
        """Whether the base is Euler's number; e² is a square where the docstring defines an e."""
        own = isinstance(node.exponent, WrittenNumber) and "e" in self.defined
        return node.base == SymbolName("e") and not own

    def _note(self, rule: str, node: Node, slope: Node) -> Node:
        body = node if isinstance(node, (SymbolName, Indexed, Bracketed)) else Bracketed("(", node)
        if isinstance(body, Bracketed) and body.bracket == "|":
            body = Bracketed("(", body)
        left = Derivative(body, self.by, self.sign)
        step = (rule, Relation((left, _plain(slope)), ("=",)))
        if step not in self.steps:
            self.steps.append(step)
        return slope

    def _symbol(self, node: SymbolName) -> Node:
        if node == self.by:
            return ONE
        if node.name == self.by.name:
            raise NoRule  # a whole row
        slope = self.slope(self.defined[node.name])
        self._note(f"with its definition, {node.name}", node, slope)
        return slope if slope == ONE else Derivative(node, self.by, self.sign)

    def _entry(self, node: Indexed) -> Node:
        """x_i by x_k: 1 where they are the same; an entry of a softmax by its known slope."""
        if node == self.by:
            return ONE
        if not isinstance(self.by, Indexed) or len(node.indices) != 1:
            raise NoRule
        same = Bracketed(
            "[", Relation((SymbolName(node.indices[0]), SymbolName(self.by.indices[0])), ("=",))
        )
        if node.name == self.by.name:
            return same
        if self.defined.get(node.name) == Call("softmax", (SymbolName(self.by.name),)):
            other = Indexed(node.name, self.by.indices)
            slope = _times(node, Bracketed("(", Infix("-", same, other)))
            return self._note("slope of the softmax", node, slope)
        raise NoRule

    def _product(self, node: Node, left: Node, right: Node) -> Node:
        first, second = _times(self.slope(left), right), _times(left, self.slope(right))
        both = self.depends(left) and self.depends(right)
        slope = _plus("+", first, second)
        return self._note("product rule", node, slope) if both else slope

    def _quotient(self, node: Node, above: Node, below: Node) -> Node:
        if not self.depends(below):
            return _over(self.slope(above), below)
        top = _plus("-", _times(self.slope(above), below), _times(above, self.slope(below)))
        return self._note("quotient rule", node, _over(top, Power(_raised(below), TWO)))

    def _power(self, node: Power, base: Node, exponent: Node) -> Node:
        if self._is_exponential(node):
            return self._chain(node, node, exponent)
        if not isinstance(exponent, WrittenNumber) or not exponent.text.isdecimal():
            raise NoRule
        n = int(exponent.text)
        lower = base if n == 2 else Power(_raised(base), WrittenNumber(str(n - 1)))
        return self._chain(node, _times(exponent, lower), base)

    def _call(self, node: Call) -> Node:
        if node.function in ("max", "min"):
            a, b = node.arguments
            sign = ">" if node.function == "max" else "<"
            first, second = self.slope(a), self.slope(b)
            condition = Relation((_plain(a), _plain(b)), (sign,))
            slope = Piecewise(((first, condition), (second, None)))
            self._note(f"slope of the {node.function}imum", node, slope)
            # Named, not written out: pieces within pieces are hard to read.
            return Derivative(Bracketed("(", node), self.by, self.sign)
        if len(node.arguments) != 1:
            raise NoRule
        (u,) = node.arguments
        outer = _outer(node.function, _plain(u))
        if node.power:
            lower = Call(node.function, (_plain(u),), "2" if node.power == "3" else "")
            outer = _times(_times(WrittenNumber(node.power), lower), _atom(outer))
        return self._chain(node, outer, u)

    def _chain(self, node: Node, outer: Node, inner: Node) -> Node:
        slope = self.slope(inner)
        chained = (
            _over(slope, outer.right)
            if isinstance(outer, Infix) and outer.operator == "/" and outer.left == ONE
            else _times(slope, outer)
            if isinstance(slope, SymbolName)
            else _times(outer, slope)
        )
        return self._note("known slope" if slope == ONE else "chain rule", node, chained)

    def _sum(self, node: Node, index: str, without: str, body: Node) -> Node:
        """Σ_j f_j [j = k] is f_k."""
        if not without and (picked := _pick(body, index)) is not None:
            slope = picked
        else:
            slope = Reduction("Σ", index, without, _atom(body))
        return self._note("slope of the sum", node, slope)


def _outer(function: str, u: Node) -> Node:
    """Return the known slope of a function at u."""
    at = Call(function, (u,))
    logistic = Call("σ", (u,))
    known: dict[str, Node] = {
        "exp": at,
        "expm1": Power(SymbolName("e"), u),
        "log": _over(ONE, u),
        "log1p": _over(ONE, Infix("+", ONE, _atom(u))),
        "tanh": Infix("-", ONE, Call("tanh", (u,), "2")),
        "sinh": Call("cosh", (u,)),
        "cosh": Call("sinh", (u,)),
        "σ": Infix("", logistic, Bracketed("(", Infix("-", ONE, logistic))),
        "Φ": Call("φ", (u,)),
    }
    if function not in known:
        raise NoRule
    return known[function]


def _plain(node: Node) -> Node:
    """Return what stands in round brackets."""
    return node.body if isinstance(node, Bracketed) and node.bracket == "(" else node


def _atom(node: Node) -> Node:
    """Put brackets around what a product or power would tear apart."""
    loose = isinstance(node, (Negative, Piecewise)) or (
        isinstance(node, Infix) and node.operator in ("+", "-")
    )
    return Bracketed("(", node) if loose else node


def _raised(node: Node) -> Node:
    """Put brackets around what a power would tear apart."""
    bare = isinstance(node, Call) and (node.bare or node.power)
    loose = isinstance(node, (Infix, Negative, Reduction, Piecewise, Power, Derivative))
    return Bracketed("(", node) if loose or bare else node


def _minus(node: Node) -> Node:
    if node == ZERO:
        return ZERO
    return node.body if isinstance(node, Negative) else Negative(_atom(node))


def _plus(operator: str, left: Node, right: Node) -> Node:
    if right == ZERO:
        return left
    if left == ZERO:
        return right if operator == "+" else _minus(right)
    if isinstance(right, Negative):
        return Infix("-" if operator == "+" else "+", left, right.body)
    return Infix(operator, _plain(left), _atom(right))


def _times(left: Node, right: Node) -> Node:
    if ZERO in (left, right):
        return ZERO
    if left == ONE:
        return right
    if right == ONE:
        return left
    if isinstance(left, Negative):
        return _minus(_times(left.body, right))
    if isinstance(right, Negative):
        return _minus(_times(left, right.body))
    if isinstance(right, Infix) and right.operator == "/" and isinstance(right.left, WrittenNumber):
        return _over(_times(right.left, left), right.right)
    if isinstance(right, WrittenNumber) and not isinstance(left, WrittenNumber):
        left, right = right, left
    if isinstance(right, Infix) and right.operator == "" and isinstance(right.left, WrittenNumber):
        if not isinstance(left, WrittenNumber):
            return _times(right.left, _times(left, right.right))
    # A sum takes all that follows it, so it comes last; two numbers need a sign between them.
    if isinstance(left, Reduction):
        left = Bracketed("(", left)
    operator = "·" if isinstance(right, WrittenNumber) or isinstance(left, Call) else ""
    return Infix(operator, _atom(left), _atom(right))


def _over(above: Node, below: Node) -> Node:
    if above == ZERO or below == ONE:
        return above
    below = _plain(below)
    if isinstance(above, Negative):
        return _minus(_over(above.body, below))
    if above == below:
        return ONE
    if (rest := _without(above, below)) is not None:
        return rest
    if isinstance(above, Infix) and above.operator == "/":
        reduced = _over(above.left, below)
        if reduced != Infix("/", _atom(above.left), _tight(below)):
            return _over(reduced, above.right)
        return _over(above.left, _times(_plain(above.right), below))
    return Infix("/", _atom(above), _tight(below))


def _without(product: Node, factor: Node) -> Node | None:
    """Return a product with one factor cancelled; None where it is not among the factors."""
    if product == factor:
        return ONE
    if isinstance(product, Infix) and product.operator in ("", "·"):
        if (rest := _without(product.left, factor)) is not None:
            return _times(rest, product.right)
        if (rest := _without(product.right, factor)) is not None:
            return _times(product.left, rest)
    return None


def _tight(node: Node) -> Node:
    return Bracketed("(", node) if isinstance(node, (Infix, Negative, Reduction)) else node


def _pick(body: Node, index: str) -> Node | None:
    """Return f_k of a product f_j [j = k]; None where the body is another expression."""
    match body:
        case Bracketed("[", Relation((SymbolName(left), SymbolName(right)), ("=",))) if (
            left == index
        ):
            return ONE if right else None
        case Infix("" | "·", left, right):
            for kept, one in ((left, right), (right, left)):
                match one:
                    case Bracketed("[", Relation((SymbolName(a), SymbolName(k)), ("=",))) if (
                        a == index
                    ):
                        return cast(Node, renamed(kept, {index: k}))
    return None


def renamed(node: object, places: Mapping[str, str]) -> Any:
    """Return a tree with other indices; one that a sum binds must not be among them."""
    if isinstance(node, Indexed):
        return Indexed(node.name, tuple(places.get(i, i) for i in node.indices))
    if isinstance(node, SymbolName):
        return SymbolName(places.get(node.name, node.name))
    if isinstance(node, Reduction) and {node.index, node.without} & places.keys():
        raise NoRule
    if isinstance(node, tuple):
        return tuple(renamed(item, places) for item in node)
    if hasattr(node, "__dataclass_fields__"):
        return type(node)(*(renamed(getattr(node, f), places) for f in node.__dataclass_fields__))
    return node
