"""Reads the formulas in a docstring: text in, trees and prose out.

The notation is that of a mathematician at a keyboard: `y = x / (1 + |x|)`, `e^{-β|x|}`, `tanh² x`,
`Σ_{k≠j} p_k`, `∂L/∂y_j`, `[i = j]`, `λ x if x > 0, else λ α (e^x - 1)`. Two factors side by side
are a product. A `Vocabulary` lists the names, so prose and formulas may stand in one sentence: a
word that is not a name is prose. A text that looks like a formula (it has a sign that prose has
not) and cannot be read is a `NotRead`, which fails the build. Nothing is evaluated as code.
"""

from dataclasses import dataclass
from typing import Literal

from reference.book.tokens import (
    FUNCTIONS,
    INDICES,
    MAX_CHARACTERS,
    MAX_DEPTH,
    RELATIONS,
    NotRead,
    Token,
    Vocabulary,
    tokens_of,
)
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


class Parser:
    """Recursive descent with one token of lookahead; a part that does not fit is left unread."""

    def __init__(self, tokens: list[Token], at: int, vocabulary: Vocabulary) -> None:
        self.tokens = tokens
        self.at = at
        self.vocabulary = vocabulary
        self.depth = 0
        self.bars = 0

    # What stands here.

    def _text(self) -> str:
        if self._kind() in ("", "code", "number"):
            return ""
        return self.tokens[self.at].text

    def _kind(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else ""

    def _take(self, *texts: str) -> bool:
        if self._text() in texts and self._text():
            self.at += 1
            return True
        return False

    # Statements.

    def statement(self) -> Node | None:
        """Read `expression`, `a = b = c`, `a = b if c, else d`, `a = b for c`."""
        start = self.at
        node = self.relation(pieces=True)
        if not isinstance(node, Relation):
            return node
        conditions: list[Node] = []
        while True:
            here = self.at
            self._take(",")
            if not (self._take("for", "where", "if") or (conditions and self._take("and"))):
                self.at = here
                break
            condition = self.relation()
            if not isinstance(condition, Relation):
                self.at = here
                break
            conditions.append(condition)
        if self.at == start:
            return None
        return Conditional(node, tuple(conditions)) if conditions else node

    def relation(self, pieces: bool = False) -> Node | None:
        """Read `a`, `a = b`, `a < b <= c`."""
        node = self._piecewise() if pieces else self.sum()
        if node is None:
            return None
        operands, signs = [node], []
        while self._text() in RELATIONS and self._text():
            sign, here = self._text(), self.at
            self.at += 1
            following = self._piecewise() if pieces else self.sum()
            if following is None:
                self.at = here
                break
            operands.append(following)
            signs.append(sign)
        return Relation(tuple(operands), tuple(signs)) if signs else node

    def _piecewise(self) -> Node | None:
        value = self.sum()
        found: list[tuple[Node, Node | None]] = []
        here = self.at
        while value is not None and self._take("if"):
            condition = self.relation()
            self._take(",")
            if not isinstance(condition, Relation) or not self._take("else"):
                break
            following = self.sum()
            if following is None:
                break
            found.append((value, condition))
            value, here = following, self.at
        self.at = here
        if value is None or not found:
            return value
        return Piecewise((*found, (value, None)))

    # Expressions.

    def sum(self) -> Node | None:
        """Read terms with + and - between them."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotRead(self.tokens[min(self.at, len(self.tokens) - 1)].line, "nested too deep")
        try:
            node = self._signed()
            terms = 0
            while node is not None and self._text() in ("+", "-"):
                terms = self._counted(terms)
                operator, here = self._text(), self.at
                self.at += 1
                following = self._product()
                if following is None:
                    self.at = here
                    break
                node = Infix(operator, node, following)
            return node
        finally:
            self.depth -= 1

    def _counted(self, parts: int) -> int:
        """Count a part of a sum, a product or a tower of powers; a tree has a limit."""
        if parts >= MAX_DEPTH:
            line = self.tokens[min(self.at, len(self.tokens) - 1)].line
            raise NotRead(line, f"more than {MAX_DEPTH} terms, factors or powers in a row")
        return parts + 1

    def _signed(self) -> Node | None:
        here = self.at
        if self._take("-"):
            body = self._product()
            if body is not None:
                return Negative(body)
            self.at = here
            return None
        return self._product()

    def _product(self) -> Node | None:
        node = self._factor()
        divided, factors = False, 0
        while node is not None:
            factors = self._counted(factors)
            here = self.at
            if self._take("·"):
                following, operator = self._factor(), "·"
            elif self._take("/"):
                following, operator = self._factor(), "/"
            elif self._starts_factor():
                following, operator = self._factor(), ""
                if following is not None and divided:
                    line = self.tokens[here].line
                    raise NotRead(line, "a/b c could be (a/b) c or a/(b c): write the brackets")
            else:
                break
            if following is None:
                self.at = here
                break
            node, divided = Infix(operator, node, following), operator == "/"
        return node

    def _starts_factor(self) -> bool:
        kind, text = self._kind(), self._text()
        if kind in ("name", "function", "derivative"):
            return True
        return kind == "op" and (text in ("(", "[", "√", "Σ") or (text == "|" and not self.bars))

    def _factor(self) -> Node | None:
        """Read an atom with its powers."""
        node, powers = self._atom(), 0
        while node is not None:
            powers = self._counted(powers)
            if self._text() in ("²", "³"):
                node = Power(node, WrittenNumber("2" if self._text() == "²" else "3"))
                self.at += 1
            elif self._text() == "ᵀ":
                self.at += 1
                node = Transposed(node)
            elif self._text() == "^":
                here = self.at
                self.at += 1
                exponent = self._exponent()
                if exponent is None:
                    self.at = here
                    return node
                node = Power(node, exponent)
            else:
                break
        return node

    def _exponent(self) -> Node | None:
        if self._take("{"):
            return self._closed("}", self._outside_bars())
        here = self.at
        negative = self._take("-")
        atom = self._atom()
        if atom is None:
            self.at = here
            return None
        return Negative(atom) if negative else atom

    def _outside_bars(self) -> Node | None:
        """Read a sum in brackets of its own, where | opens again."""
        bars, self.bars = self.bars, 0
        node = self.sum()
        self.bars = bars
        return node

    def _closed(self, bracket: str, node: Node | None) -> Node | None:
        return node if node is not None and self._take(bracket) else None

    def _atom(self) -> Node | None:
        here, kind, text = self.at, self._kind(), self._text()
        node: Node | None = None
        if kind == "number":
            node = WrittenNumber(self.tokens[self.at].text)
            self.at += 1
        elif kind == "derivative":
            node = self._derivative(text)
        elif kind == "name":
            self.at += 1
            node = self._indexed(text)
        elif kind == "function":
            node = self._call(text)
        elif kind == "op" and text in ("(", "[", "|", "√", "Σ"):
            self.at += 1
            node = self._bracketed(text)
        if node is None:
            self.at = here
        return node

    def _bracketed(self, text: str) -> Node | None:
        if text == "(":
            node = self._closed(")", self._outside_bars())
            return Bracketed("(", node) if node is not None else None
        if text == "|":
            self.bars += 1
            node = self._closed("|", self.sum())
            self.bars -= 1
            return Bracketed("|", node) if node is not None else None
        if text == "[":
            bars, self.bars = self.bars, 0
            node = self._closed("]", self.relation())
            self.bars = bars
            return Bracketed("[", node) if isinstance(node, Relation) else None
        if text == "√":
            body = self._atom()
            return Root(body) if body is not None else None
        return self._fold("Σ")

    def _indexed(self, name: str) -> Node | None:
        here = self.at
        if not self._take("_"):
            return SymbolName(name)
        braces = self._take("{")
        letters = self._text()
        self.at += 1
        allowed = INDICES | self.vocabulary.labels
        if not letters or not set(letters) <= allowed or (braces and not self._take("}")):
            self.at = here
            return None
        return Indexed(name, tuple(letters))

    def _fold(self, function: str) -> Node | None:
        """Read `Σ_j body`, `Σ_{k≠j} body`, `max_k body`: the body is a product."""
        if not self._take("_"):
            return None
        braces = self._take("{")
        index, without = self._text(), ""
        self.at += 1
        if braces and self._take("≠"):
            without = self._text()
            self.at += 1
        allowed = INDICES | self.vocabulary.labels
        if index not in INDICES or (without and without not in allowed):
            return None
        if braces and not self._take("}"):
            return None
        body = self._product()
        return Reduction(function, index, without, body) if body is not None else None

    def _call(self, name: str) -> Node | None:
        self.at += 1
        if name == "max" and self._text() == "_":
            return self._fold("max")
        power = ""
        if self._text() in ("²", "³"):
            power = "2" if self._text() == "²" else "3"
            self.at += 1
        if self._text() == "(":
            self.at += 1
            arguments = []
            for k in range(FUNCTIONS[name]):
                argument = self._outside_bars() if not k or self._take(",") else None
                if argument is None:
                    return None
                arguments.append(argument)
            return Call(name, tuple(arguments), power) if self._take(")") else None
        if FUNCTIONS[name] != 1:
            return None
        body = self._factor()
        return Call(name, (body,), power, bare=True) if body is not None else None

    def _derivative(self, text: str) -> Node | None:
        self.at += 1
        sign = text[0]
        of, by = (self._plain(part.removeprefix(sign)) for part in text.split("/"))
        return Derivative(of, by, sign) if of is not None and by is not None else None

    def _plain(self, text: str) -> Node | None:
        name, _, letters = text.partition("_")
        letters = letters.strip("{}")
        if name not in self.vocabulary.names:
            return None
        allowed = INDICES | self.vocabulary.labels
        if not letters:
            return SymbolName(name)
        return Indexed(name, tuple(letters)) if set(letters) <= allowed else None


_LOUD = frozenset("=^²³√Σ∂ᵀ<>≠≤≥_")  # prose has no such sign
_CONDITIONS = frozenset({"at", "where", "for", "if", "from", "when", "near", "beyond", "below"})
_GOES_ON = frozenset("+-·/^=|")

Kind = Literal["statement", "condition", "term"]


@dataclass(frozen=True)
class Formula:
    """A formula as it was found. A statement says something; a term is a part of a sentence."""

    node: Node
    kind: Kind
    text: str
    line: int


Piece = str | Formula


def read(text: str, vocabulary: Vocabulary, first_line: int = 1) -> list[Piece]:
    """Split text into prose and formulas; what looks like a formula and is none is `NotRead`."""
    if len(text) > MAX_CHARACTERS:
        raise NotRead(first_line, f"{len(text)} characters, at most {MAX_CHARACTERS} are read")
    tokens = list(tokens_of(text, vocabulary, first_line))
    pieces: list[Piece] = []
    at = done = 0
    while at < len(tokens):
        parser = Parser(tokens, at, vocabulary)
        node = parser.statement()
        if node is None or isinstance(node, (WrittenNumber, SymbolName)) or _mere_brackets(node):
            if tokens[at].kind != "code" and tokens[at].text in _LOUD:
                raise NotRead(tokens[at].line, f"cannot read {_beside(text, tokens[at])}")
            at += 1
            continue
        first, last = tokens[at], tokens[parser.at - 1]
        following = tokens[parser.at] if parser.at < len(tokens) else None
        if following is not None and following.text in _GOES_ON:
            raise NotRead(following.line, f"cannot read on at {_beside(text, following)}")
        kind: Kind = "term"
        if isinstance(node, (Relation, Conditional)):
            before = tokens[at - 1].text.lower() if at else ""
            bare = isinstance(node, Relation)
            kind = "condition" if bare and before in _CONDITIONS else "statement"
        pieces.append(text[done : first.start])
        found = " ".join(text[first.start : last.end].split())
        pieces.append(Formula(node, kind, found, first.line))
        at, done = parser.at, last.end
    pieces.append(text[done:])
    return [piece for piece in pieces if piece != ""]


def _mere_brackets(node: Node) -> bool:
    """Whether a bracket holds a single word or number, as prose does."""
    if isinstance(node, Negative):
        return isinstance(node.body, (WrittenNumber, SymbolName))
    return isinstance(node, Bracketed) and isinstance(node.body, (WrittenNumber, SymbolName))


def _beside(text: str, token: Token) -> str:
    start = max(0, token.start - 25)
    return repr(" ".join(text[start : token.end + 25].split()))
