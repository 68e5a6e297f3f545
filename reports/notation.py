"""Formulas as trees, and their MathML: the tree that was checked is the tree that is shown.

`reference.book` reads the formulas of docstrings into these trees and evaluates them; here they
are only set. A tree is plain data: it names operators and symbols and can do nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup, escape

from reports.formula import visible


@dataclass(frozen=True)
class WrittenNumber:
    """A decimal number as it is written; one that ends in "…" is known to its digits."""

    text: str


@dataclass(frozen=True)
class SymbolName:
    """A name: x, α, dy, x₀."""

    name: str


@dataclass(frozen=True)
class Indexed:
    """An entry of a row or matrix: W_ij."""

    name: str
    indices: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A function: `log(1 + e^x)`, `tanh² x`, `max(x, 0)`; `bare` when written without brackets."""

    function: str
    arguments: "tuple[Node, ...]"
    power: str = ""
    bare: bool = False


@dataclass(frozen=True)
class Infix:
    """Two operands and + - · / or "" (a product written side by side)."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True)
class Power:
    """A base and an exponent."""

    base: "Node"
    exponent: "Node"


@dataclass(frozen=True)
class Negative:
    """Minus something."""

    body: "Node"


@dataclass(frozen=True)
class Bracketed:
    """Something in brackets: "(", "|" for the absolute value, "[" for 1 where true, else 0."""

    bracket: str
    body: "Node"


@dataclass(frozen=True)
class Root:
    """A square root."""

    body: "Node"


@dataclass(frozen=True)
class Transposed:
    """A matrix with rows and columns exchanged."""

    body: "Node"


@dataclass(frozen=True)
class Reduction:
    """A sum or maximum over an index, where `without` is given over all but that one."""

    function: str  # "Σ" or "max"
    index: str
    without: str
    body: "Node"


@dataclass(frozen=True)
class Derivative:
    """∂of/∂by, or dof/dby where the function has one argument."""

    of: "Node"
    by: "Node"
    sign: str = "d"


@dataclass(frozen=True)
class Relation:
    """Operands with = < > <= >= ≠ between them."""

    operands: "tuple[Node, ...]"
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Piecewise:
    """Pairs of a value and the condition under which it is taken; None: in all other cases."""

    pieces: "tuple[tuple[Node, Node | None], ...]"


@dataclass(frozen=True)
class Conditional:
    """A relation and the conditions under which it holds."""

    relation: "Node"
    conditions: "tuple[Node, ...]"


Node = (
    WrittenNumber | SymbolName | Indexed | Call | Infix | Power | Negative | Bracketed | Root
    | Transposed | Reduction | Derivative | Relation | Piecewise | Conditional
)  # fmt: skip

_SIGNS = {"-": "−", "<=": "≤", ">=": "≥", "": "\u2062"}


def mathml(node: Node, display: bool = False) -> Markup:
    """Return a formula as MathML; whatever text it holds is escaped."""
    block = ' display="block"' if display else ""
    return Markup("<math{}>{}</math>").format(Markup(block), _set(node, not display))


def _set(node: Node, small: bool) -> Markup:
    handler: Callable[[Node, bool], Markup] = _HANDLERS[type(node)]
    return handler(node, small)


def _tag(name: str, *children: Markup, attributes: str = "") -> Markup:
    opening = f"<{name}{' ' if attributes else ''}{attributes}>"
    return Markup(opening) + Markup("").join(children) + Markup(f"</{name}>")


def _operator(text: str, attributes: str = "") -> Markup:
    return _tag("mo", escape(visible(_SIGNS.get(text, text))), attributes=attributes)


def _identifier(name: str) -> Markup:
    """Return a name; its subscript digits are set below and a leading d is a differential."""
    base = name.rstrip("₀₁₂₃₄₅₆₇₈₉")
    below = name[len(base) :].translate(str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789"))
    stem = base.rstrip("'′")
    primes = "′" * (len(base) - len(stem))
    found = Markup("<mi>{}</mi>").format(visible(stem))
    if len(stem) == 2 and stem[0] == "d":  # dz: a cotangent
        upright = Markup('<mi mathvariant="normal">d</mi>')
        found = _tag("mrow", upright, Markup("<mi>{}</mi>").format(visible(stem[1])))
    if primes:
        found = _tag("msup", found, _operator(primes))
    return _tag("msub", found, _tag("mn", escape(below))) if below else found


def _number(node: WrittenNumber, small: bool) -> Markup:
    return _tag("mn", escape(visible(node.text)))


def _symbol(node: SymbolName, small: bool) -> Markup:
    return _identifier(node.name)


def _indexed(node: Indexed, small: bool) -> Markup:
    indices = _tag("mrow", *(_identifier(i) for i in node.indices))
    return _tag("msub", _identifier(node.name), indices)


def _call(node: Call, small: bool) -> Markup:
    name = Markup("<mi>{}</mi>").format(visible(node.function))
    if node.power:
        name = _tag("msup", name, _tag("mn", escape(node.power)))
    inside = Markup("<mo>,</mo>").join(_set(a, small) for a in node.arguments)
    if node.bare:
        return _tag("mrow", name, Markup('<mspace width="0.17em"></mspace>'), inside)
    return _tag("mrow", name, Markup("<mo>\u2061</mo>"), _brackets("(", ")", inside))


def _brackets(left: str, right: str, inside: Markup) -> Markup:
    fence = 'fence="true"'
    return _tag(
        "mrow",
        _operator(left, fence + ' form="prefix"'),
        inside,
        _operator(right, fence + ' form="postfix"'),
    )


def _infix(node: Infix, small: bool) -> Markup:
    if node.operator == "/" and not small:
        return _tag("mfrac", _row(_bared(node.left), True), _row(_bared(node.right), True))
    left, right = _set(node.left, small), _set(node.right, small)
    tight = 'lspace="0" rspace="0"' if node.operator == "/" else ""
    named = (Call, Reduction, Derivative)  # x min(a, b): a little space before a name
    if not node.operator and (isinstance(node.left, named) or isinstance(node.right, named)):
        right = Markup('<mspace width="0.17em"></mspace>') + right
    return _tag("mrow", left, _operator(node.operator, tight), right)


def _row(node: Node, small: bool) -> Markup:
    return _tag("mrow", _set(node, small))


def _bared(node: Node) -> Node:
    """Return what stands in round brackets without them: a fraction bar or a root groups already.

    Inside, fractions are written with a slash, so that they stay readable.
    """
    return node.body if isinstance(node, Bracketed) and node.bracket == "(" else node


def _power(node: Power, small: bool) -> Markup:
    exponent = _bared(node.exponent)
    return _tag("msup", _tag("mrow", _set(node.base, small)), _row(exponent, True))


def _negative(node: Negative, small: bool) -> Markup:
    return _tag("mrow", _operator("-", 'form="prefix"'), _set(node.body, small))


def _around(node: Bracketed, small: bool) -> Markup:
    right = {"(": ")", "|": "|", "[": "]"}[node.bracket]
    return _brackets(node.bracket, right, _set(node.body, small))


def _root(node: Root, small: bool) -> Markup:
    return _tag("msqrt", _set(_bared(node.body), True))


def _transpose(node: Transposed, small: bool) -> Markup:
    body = _set(node.body, small)
    return _tag("msup", body, Markup('<mi mathvariant="normal">T</mi>'))


def _fold(node: Reduction, small: bool) -> Markup:
    below = _identifier(node.index)
    if node.without:
        below = _tag("mrow", below, _operator("≠"), _identifier(node.without))
    sign = _operator("∑") if node.function == "Σ" else Markup("<mo>max</mo>")
    frame = "msub" if small else "munder"
    return _tag("mrow", _tag(frame, sign, below), _set(node.body, small))


def _derivative(node: Derivative, small: bool) -> Markup:
    sign = Markup('<mi mathvariant="normal">{}</mi>').format(node.sign)
    above = _tag("mrow", sign, _set(node.of, True))
    below = _tag("mrow", sign, _set(node.by, True))
    if small:
        return _tag("mrow", above, _operator("/", 'lspace="0" rspace="0"'), below)
    return _tag("mfrac", above, below)


def _relation(node: Relation, small: bool) -> Markup:
    parts = [_set(node.operands[0], small)]
    for sign, operand in zip(node.signs, node.operands[1:], strict=True):
        parts += [_operator(sign), _set(operand, small)]
    return _tag("mrow", *parts)


def _piecewise(node: Piecewise, small: bool) -> Markup:
    if small:
        parts = []
        for value, condition in node.pieces:
            suffix = _words("if", condition, small) if condition else Markup("")
            parts += [_tag("mrow", _set(value, small), suffix)]
        return _tag("mrow", Markup("<mtext>, else\u00a0</mtext>").join(parts))
    rows = [
        _tag(
            "mtr",
            _tag("mtd", _set(value, small)),
            _tag("mtd", _words("if", c, small) if c else Markup("<mtext>otherwise</mtext>")),
        )
        for value, c in node.pieces
    ]
    # Few systems have a font whose brace stretches: the style draws one beside the table.
    return _tag("mtable", *rows, attributes='class="pieces"')


def _words(word: str, condition: Node, small: bool) -> Markup:
    label = Markup("<mtext>\u00a0{}\u00a0</mtext>").format(word)
    return _tag("mrow", label, _set(condition, small))


def _given(node: Conditional, small: bool) -> Markup:
    parts = [_set(node.relation, small)]
    for k, condition in enumerate(node.conditions):
        parts.append(_words("and" if k else "for", condition, True))
    return _tag("mrow", *parts)


_HANDLERS: dict[type, Callable[..., Markup]] = {
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
    Piecewise: _piecewise,
    Conditional: _given,
}
