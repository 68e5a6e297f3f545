"""Reads the formulas in a docstring: text in, trees and prose out.

The notation is that of a mathematician at a keyboard: `y = x / (1 + |x|)`, `e^{-β|x|}`, `tanh² x`,
`Σ_{k≠j} p_k`, `∂L/∂y_j`, `[i = j]`, `λ x if x > 0, else λ α (e^x - 1)`. Two factors side by side
are a product. A `Vocabulary` lists the names, so prose and formulas may stand in one sentence: a
word that is not a name is prose. A text that looks like a formula (it has a sign that prose has
not) and cannot be read is a `NotRead`, which fails the build. Nothing is evaluated as code.
"""

from dataclasses import dataclass
from typing import Literal

from reference.book.parsing import Parser
from reference.book.tokens import LONGEST, NotRead, Token, Vocabulary, tokens_of
from reports.notation import (
    Bracketed,
    Conditional,
    Negative,
    Node,
    Relation,
    SymbolName,
    WrittenNumber,
)

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
    if len(text) > LONGEST:
        raise NotRead(first_line, f"{len(text)} characters, at most {LONGEST} are read")
    tokens = list(tokens_of(text, vocabulary, first_line))
    pieces: list[Piece] = []
    at = done = 0
    while at < len(tokens):
        parser = Parser(tokens, at, vocabulary)
        node = parser.statement()
        if node is None or isinstance(node, (WrittenNumber, SymbolName)) or _mere_brackets(node):
            if tokens[at].kind != "code" and tokens[at].text in _LOUD:
                raise NotRead(tokens[at].line, f"cannot read {_around(text, tokens[at])}")
            at += 1
            continue
        first, last = tokens[at], tokens[parser.at - 1]
        following = tokens[parser.at] if parser.at < len(tokens) else None
        if following is not None and following.text in _GOES_ON:
            raise NotRead(following.line, f"cannot read on at {_around(text, following)}")
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


def parse(text: str, vocabulary: Vocabulary) -> Node:
    """Read a text that is one formula and nothing else."""
    pieces = [piece for piece in read(text, vocabulary) if not isinstance(piece, str)]
    tokens = list(tokens_of(text, vocabulary, 1))
    parser = Parser(tokens, 0, vocabulary)
    node = parser.statement()
    if node is None or parser.at != len(tokens):
        raise NotRead(1, f"cannot read {text!r} as one formula ({len(pieces)} parts)")
    return node


def _mere_brackets(node: Node) -> bool:
    """Whether a bracket holds a single word or number, as prose does."""
    if isinstance(node, Negative):
        return isinstance(node.body, (WrittenNumber, SymbolName))
    return isinstance(node, Bracketed) and isinstance(node.body, (WrittenNumber, SymbolName))


def _around(text: str, token: Token) -> str:
    start = max(0, token.start - 25)
    return repr(" ".join(text[start : token.end + 25].split()))
