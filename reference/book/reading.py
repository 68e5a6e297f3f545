"""Reads the formulas in a docstring: text in, trees and prose out.

The notation is that of a mathematician at a keyboard: `y = x / (1 + |x|)`, `e^{-β|x|}`, `tanh² x`,
`Σ_{k≠j} p_k`, `∂L/∂y_j`, `[i = j]`, `λ x if x > 0, else λ α (e^x - 1)`. Two factors side by side
are a product. What is a name is told by a `Vocabulary`, so prose and formulas may stand in one
sentence: a word that is no name is prose. What looks like a formula (it has a sign that prose has
not) and cannot be read is a `NotRead`, which fails the build. Nothing is ever evaluated as code.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from reports.notation import (
    Around,
    Call,
    Derivative,
    Fold,
    Given,
    Indexed,
    Infix,
    Negative,
    Node,
    Number,
    Piecewise,
    Power,
    Relation,
    Root,
    Symbol,
    Transpose,
)

FUNCTIONS: dict[str, int] = {
    "exp": 1, "log": 1, "log1p": 1, "expm1": 1, "tanh": 1, "sinh": 1, "cosh": 1, "erf": 1,
    "erfc": 1, "erfcx": 1, "sign": 1, "σ": 1, "Φ": 1, "φ": 1, "softmax": 1, "max": 2, "min": 2,
}  # fmt: skip
"""The functions that a formula may use, and how many arguments they take."""

INDICES = frozenset("ijkn")
RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "≠"})
LONGEST, DEEPEST = 20_000, 40

_LETTER = "A-Za-zÀ-ÖØ-öø-ɏΑ-ΡΤ-Ωα-ω"
_INDEX = r"(?:_(?:[a-z]+|\{[a-z]+\}))?"
_TOKEN = re.compile(
    rf"""(?P<code>`[^`]*`)
  | (?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?…?)
  | (?P<derivative>(?P<sign>[d∂])(?P<of>[{_LETTER}]{_INDEX})/(?P=sign)(?P<by>[{_LETTER}]{_INDEX}))
  | (?P<word>log1p|expm1|[{_LETTER}]+[₀₁₂₃₄₅₆₇₈₉]*['′]?)
  | (?P<op><=|>=|[-−+*·/^²³√Σ∂_()\[\]{{}}|=<>≠≤≥,.:;ᵀ])
  | (?P<other>\S)""",
    re.X,
)
_DEFINED = re.compile(
    rf"(?<![{_LETTER}/∂_])(?P<name>[{_LETTER}]+[₀-₉]*)(?:_(?P<at>[{_LETTER}]))?\s=\s"
)
_LOUD = frozenset("=^²³√Σ∂ᵀ<>≠≤≥_")  # prose has no such sign
_CONDITIONS = frozenset({"at", "where", "for", "if", "from", "when", "near", "beyond", "below"})
_GOES_ON = frozenset("+-·/^=|")
_SAME = {"−": "-", "≤": "<=", "≥": ">=", "*": "·"}


class NotRead(Exception):
    """What looks like a formula and could not be read; `line` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True)
class Vocabulary:
    """The names of one operation: those that are given and those that its docstring defines."""

    names: frozenset[str]
    labels: frozenset[str] = frozenset()
    """Names that may stand as an index: the label t in y_t."""

    def defining(self, text: str) -> "Vocabulary":
        """Add the names that stand before an equals sign and are not known."""
        found = {
            match["name"]
            for match in _DEFINED.finditer(text)
            if match["name"] not in FUNCTIONS and match["name"] not in INDICES
        }
        return replace(self, names=self.names | found)


@dataclass(frozen=True)
class Token:
    """A piece of text. Kinds: number, name, function, derivative, word (prose), op, other."""

    kind: str
    text: str
    start: int
    end: int
    line: int


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
    if len(text) > LONGEST:
        raise NotRead(first_line, f"{len(text)} characters, at most {LONGEST} are read")
    tokens = list(_tokens(text, vocabulary, first_line))
    pieces: list[Piece] = []
    at = done = 0
    while at < len(tokens):
        parser = _Parser(tokens, at, vocabulary)
        node = parser.statement()
        if node is None or isinstance(node, (Number, Symbol)) or _mere_brackets(node):
            if tokens[at].kind != "code" and tokens[at].text in _LOUD:
                raise NotRead(tokens[at].line, f"cannot read {_around(text, tokens[at])}")
            at += 1
            continue
        first, last = tokens[at], tokens[parser.at - 1]
        following = tokens[parser.at] if parser.at < len(tokens) else None
        if following is not None and following.text in _GOES_ON:
            raise NotRead(following.line, f"cannot read on at {_around(text, following)}")
        kind: Kind = "term"
        if isinstance(node, (Relation, Given)):
            before = tokens[at - 1].text.lower() if at else ""
            bare = isinstance(node, Relation)
            kind = "condition" if bare and before in _CONDITIONS else "statement"
        pieces.append(text[done : first.start])
        found = " ".join(text[first.start : last.end].split())
        pieces.append(Formula(node, kind, found, first.line))
        at, done = parser.at, last.end
    pieces.append(text[done:])
    return [piece for piece in pieces if piece != ""]


def parse(text: str, vocabulary: Vocabulary) -> Node:
    """Read a text that is one formula and nothing else."""
    pieces = [piece for piece in read(text, vocabulary) if not isinstance(piece, str)]
    tokens = list(_tokens(text, vocabulary, 1))
    parser = _Parser(tokens, 0, vocabulary)
    node = parser.statement()
    if node is None or parser.at != len(tokens):
        raise NotRead(1, f"cannot read {text!r} as one formula ({len(pieces)} parts)")
    return node


def _mere_brackets(node: Node) -> bool:
    """Whether a bracket holds a single word or number, as prose does."""
    if isinstance(node, Negative):
        return isinstance(node.body, (Number, Symbol))
    return isinstance(node, Around) and isinstance(node.body, (Number, Symbol))


def _around(text: str, token: Token) -> str:
    start = max(0, token.start - 25)
    return repr(" ".join(text[start : token.end + 25].split()))


def _tokens(text: str, vocabulary: Vocabulary, first_line: int) -> Iterator[Token]:
    line, counted, before, end = first_line, 0, "", 0
    for match in _TOKEN.finditer(text):
        start = match.start()
        if start < end:  # inside a hyphenated word
            continue
        gap = text[end:start]
        wide = len(gap) > 1 and gap.isspace() and "\n" not in gap
        if wide and end and before != "=" and text[start] != "=":
            yield Token("other", "", start, start, line)  # wide space parts two formulas
            before = "other"
        line += text.count("\n", counted, start)
        counted, end, kind, found = start, match.end(), str(match.lastgroup), match[0]
        if match["derivative"]:
            kind = "derivative"
        elif kind == "word":
            if before == "_":
                yield Token("index", found, start, end, line)
                before = "index"
                continue
            kinds = _resolve(found, vocabulary, before == "number" and text[start - 1] != " ")
            if kinds is None:
                # well-classified, Müller's: one word, not a difference and not a derivative
                if rest := re.match(rf"(?:[-'’][{_LETTER}]+)+", text[end:]):
                    end += rest.end()
                yield Token("word", text[start:end], start, end, line)
            else:
                for k, (part, its) in enumerate(kinds):
                    begin = start + sum(len(p) for p, _ in kinds[:k])
                    yield Token(its, part, begin, begin + len(part), line)
            before = "word"
            continue
        if kind == "op":
            found = _SAME.get(found, found)
        yield Token(kind, found, start, end, line)
        before = found if kind == "op" else kind


def _resolve(word: str, vocabulary: Vocabulary, after_number: bool) -> list[tuple[str, str]] | None:
    """Say what a run of letters is: a function, a name, a product of names, or prose."""
    if word in FUNCTIONS:
        return [(word, "function")]
    if word in vocabulary.names:
        return [(word, "name")]
    if word == "e" or word == "π" or (len(word) == 1 and word in INDICES):
        return [(word, "name")]
    stem = word.rstrip("'′")
    if stem != word and stem in vocabulary.names:
        return [(word, "name")]
    # βx is a product; so is 4xw. But "at" is none, even where a and t are names.
    letters = [(c, "function" if c in FUNCTIONS else "name") for c in word]
    known = all(c in vocabulary.names or c in ("e", "π") for c in word)
    if known and len(word) <= 3 and (after_number or any("α" <= c <= "ω" for c in word)):
        return letters
    return None


class _Parser:
    """Recursive descent with one token of lookahead; a part that does not fit is left unread."""

    def __init__(self, tokens: list[Token], at: int, vocabulary: Vocabulary) -> None:
        self.tokens = tokens
        self.at = at
        self.vocabulary = vocabulary
        self.depth = 0
        self.bars = 0

    # What stands here.

    def _text(self, ahead: int = 0) -> str:
        place = self.at + ahead
        if place >= len(self.tokens) or self.tokens[place].kind in ("code", "number"):
            return ""
        return self.tokens[place].text

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
        return Given(node, tuple(conditions)) if conditions else node

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
        if self.depth > DEEPEST:
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
        """Count a part of a sum, a product or a tower of powers; a tree may not grow for ever."""
        if parts >= DEEPEST:
            line = self.tokens[min(self.at, len(self.tokens) - 1)].line
            raise NotRead(line, f"more than {DEEPEST} terms, factors or powers in a row")
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
                node = Power(node, Number("2" if self._text() == "²" else "3"))
                self.at += 1
            elif self._text() == "ᵀ":
                self.at += 1
                node = Transpose(node)
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
            node = Number(self.tokens[self.at].text)
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
            return Around("(", node) if node is not None else None
        if text == "|":
            self.bars += 1
            node = self._closed("|", self.sum())
            self.bars -= 1
            return Around("|", node) if node is not None else None
        if text == "[":
            bars, self.bars = self.bars, 0
            node = self._closed("]", self.relation())
            self.bars = bars
            return Around("[", node) if isinstance(node, Relation) else None
        if text == "√":
            body = self._atom()
            return Root(body) if body is not None else None
        return self._fold("Σ")

    def _indexed(self, name: str) -> Node | None:
        here = self.at
        if not self._take("_"):
            return Symbol(name)
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
        return Fold(function, index, without, body) if body is not None else None

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
            return Symbol(name)
        return Indexed(name, tuple(letters)) if set(letters) <= allowed else None
