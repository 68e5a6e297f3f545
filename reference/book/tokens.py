"""The words and signs of a docstring: which are names, which are prose."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

FUNCTIONS: dict[str, int] = {
    "exp": 1, "log": 1, "log1p": 1, "expm1": 1, "tanh": 1, "sinh": 1, "cosh": 1, "erf": 1,
    "erfc": 1, "erfcx": 1, "sign": 1, "σ": 1, "Φ": 1, "φ": 1, "softmax": 1, "max": 2, "min": 2,
}  # fmt: skip
"""The functions that a formula may use, and how many arguments they take."""

INDICES = frozenset("ijkn")
RELATIONS = frozenset({"=", "<", ">", "<=", ">=", "≠"})
MAX_CHARACTERS, MAX_DEPTH = 20_000, 40

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


def tokens_of(text: str, vocabulary: Vocabulary, first_line: int) -> Iterator[Token]:
    """Yield the tokens of a text; wide space inside a line is one of its own."""
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
