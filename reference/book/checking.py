"""Checks every formula of a docstring against the operation's definition, over balls.

A statement must hold at every sample where it says something, to 40 bits or to the digits that it
prints; a quantity that is defined must be used in a statement that was checked; a term must be
readable. The operation's value and its slope must each be stated. What fails is a `FormulaFault`.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flint import arb

from manual_backprop.operation import Operation
from reference.arithmetic.balls import Ball, precision
from reference.book.evaluating import FormulaPoint, Unclear, children, free_indices
from reference.book.functions import Undecided
from reference.book.parsing import Formula, Kind, Piece, read
from reference.book.samples import Samples
from reference.book.tokens import NotRead
from reports.notation import (
    Conditional,
    Derivative,
    Indexed,
    Node,
    Relation,
    SymbolName,
    WrittenNumber,
)

BITS = 256
THIN_BITS = 40
"""A statement counts as checked where both sides are known to 2^-40 of their size."""
DIGITS_BITS = 9
"""The same for a statement on numbers that are printed with "…", known to their digits only."""


@dataclass(frozen=True)
class FormulaFault:
    """What is wrong with one formula: the operation, the line of its docstring, the reason."""

    operation: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.operation}, docstring line {self.line}: {self.reason}"


class Unchecked(Exception):
    """A book that must not be built: formulas that are wrong, or that nothing checked."""

    def __init__(self, faults: Sequence[FormulaFault]) -> None:
        lines = "\n".join(f"  {fault}" for fault in faults)
        are = "formula is" if len(faults) == 1 else "formulas are"
        super().__init__(f"{len(faults)} {are} wrong or unchecked:\n{lines}")
        self.faults = tuple(faults)


@dataclass(frozen=True)
class CheckedFormula:
    """A formula and what its check came to: at how many samples, and to how many digits."""

    formula: Formula
    kind: Kind | str
    samples: int = 0
    digits: int = 0


@dataclass(frozen=True)
class DocstringBlock:
    """A paragraph, or an indented formula that is set apart."""

    display: bool
    pieces: tuple[str | CheckedFormula, ...]


@dataclass(frozen=True)
class Docstring:
    """A docstring with its formulas checked, and what is wrong with it."""

    blocks: tuple[DocstringBlock, ...]
    faults: tuple[FormulaFault, ...]
    numbers: int = 0
    """How many numbers of the code were judged in place of the formulas, which are not read."""

    @property
    def formulas(self) -> list[CheckedFormula]:
        """The formulas, in order."""
        return [p for block in self.blocks for p in block.pieces if isinstance(p, CheckedFormula)]


def check(operation: Operation) -> Docstring:
    """Read and check the formulas of an operation's docstring."""
    samples = Samples(operation)
    text = inspect.cleandoc(operation.doc)
    vocabulary = samples.vocabulary.defining(text)
    faults: list[FormulaFault] = []
    blocks: list[tuple[bool, list[Piece]]] = []
    for display, line, part in _blocks(text):
        try:
            blocks.append((display, read(part, vocabulary, line)))
        except NotRead as error:
            faults.append(FormulaFault(operation.name, error.line, str(error)))
            blocks.append((display, [part]))
    with precision(BITS):
        checker = _Checker(operation, samples, list(samples), faults)
        formulas = [p for _, pieces in blocks for p in pieces if isinstance(p, Formula)]
        results = checker.check(formulas)
    checked = iter(results)
    done = tuple(
        DocstringBlock(display, tuple(p if isinstance(p, str) else next(checked) for p in pieces))
        for display, pieces in blocks
    )
    return Docstring(done, tuple(faults))


def as_written(operation: Operation, numbers: int, faults: Sequence[FormulaFault]) -> Docstring:
    """Return a docstring whose formulas are shown as they stand."""
    blocks = _blocks(inspect.cleandoc(operation.doc))
    return Docstring(
        tuple(DocstringBlock(display, (part,)) for display, _, part in blocks),
        tuple(faults),
        numbers,
    )


def _blocks(text: str) -> Iterable[tuple[bool, int, str]]:
    """Yield paragraphs and indented lines: whether set apart, the first line's number, the text."""
    line = 1
    for paragraph in re.split(r"(\n\s*\n)", text):
        if paragraph.strip():
            rows = paragraph.split("\n")
            start = 0
            for k in range(1, len(rows) + 1):
                if k == len(rows) or _apart(rows[k]) != _apart(rows[start]) or _apart(rows[k]):
                    yield _apart(rows[start]), line + start, "\n".join(rows[start:k])
                    start = k
        line += paragraph.count("\n")


def _apart(row: str) -> bool:
    return row.startswith("    ")


class _Checker:
    """Checks the formulas of one docstring."""

    def __init__(
        self,
        operation: Operation,
        samples: Samples,
        points: Sequence[FormulaPoint],
        faults: list[FormulaFault],
    ) -> None:
        self.name = operation.name
        self.given = samples.vocabulary.names
        self.outputs = samples.outputs
        self.points = points
        self.faults = faults
        self.definitions: dict[str, tuple[tuple[str, ...], Node]] = {}
        self.vague: set[str] = set()
        self.used: set[str] = set()

    def check(self, formulas: Sequence[Formula]) -> list[CheckedFormula]:
        """Return what each came to; what is wrong goes to the faults."""
        defining = {id(f): name for f in formulas if (name := self._define(f))}
        own = {n for n, (_, body) in self.definitions.items() if _has_ellipsis(body)}
        self.vague = {n for n in self.definitions if self._behind({n}) & own}
        for point in self.points:
            point.definitions.update(self.definitions)
        results = [self._one(f, defining.get(id(f), "")) for f in formulas]
        for formula in formulas:
            name = defining.get(id(formula), "")
            if name and name not in self.used:
                self._fault(formula, f"{name} is defined, and no checked formula uses it")
        statements = [r.formula.node for r in results if r.kind == "statement"]
        for what, found in (
            ("value", any(self._states_value(n) for n in statements)),
            ("slope", any(self._states_slope(n) for n in statements)),
        ):
            if not found:
                self.faults.append(
                    FormulaFault(self.name, 1, f"no checked formula states its {what}")
                )
        return results

    def _behind(self, names: Iterable[str]) -> set[str]:
        """Return definitions with those that they are made from."""
        found, ahead = set(), list(names)
        while ahead:
            name = ahead.pop()
            if name in self.definitions and name not in found:
                found.add(name)
                ahead += _names(self.definitions[name][1])
        return found

    def _fault(self, formula: Formula, reason: str) -> None:
        self.faults.append(FormulaFault(self.name, formula.line, f"{formula.text!r}: {reason}"))

    def _define(self, formula: Formula) -> str:
        """Enter a formula that defines a name; return the name."""
        node = formula.node
        if not isinstance(node, Relation) or node.signs[0] != "=":
            return ""
        name = node.operands[0]
        if not isinstance(name, (SymbolName, Indexed)) or name.name in self.given:
            return ""
        if name.name in self.definitions or name.name.endswith(("'", "′")):
            return ""
        self.definitions[name.name] = (
            name.indices if isinstance(name, Indexed) else (),
            node.operands[1],
        )
        return name.name

    def _one(self, formula: Formula, defines: str) -> CheckedFormula:
        node, kind = formula.node, formula.kind
        if kind == "term":
            return CheckedFormula(formula, "term")
        if defines:
            assert isinstance(node, Relation)
            if len(node.operands) == 2:
                return CheckedFormula(formula, "definition")
        elif kind == "condition" and not (_names(node) & self.outputs or _has_derivative(node)):
            return CheckedFormula(formula, "condition")
        samples, digits = self._statement(formula)
        return CheckedFormula(formula, "definition" if defines else "statement", samples, digits)

    def _statement(self, formula: Formula) -> tuple[int, int]:
        """Check a statement at every sample; return at how many it was, and to how many bits."""
        checked, fewest = 0, BITS
        free, loose = sorted(free_indices(formula.node)), _has_ellipsis(formula.node)
        for point in self.points:
            point.used.clear()
            try:
                pairs = list(point.statement(formula.node, free))
            except Undecided:
                continue
            except (Unclear, RecursionError) as error:
                self._fault(formula, str(error))
                return 0, 0
            thin = [bits_of(a, b) for _, a, b in pairs]
            # A number printed with "…" is known to its digits only.
            bound = DIGITS_BITS if loose or point.used & self.vague else THIN_BITS
            if not pairs or (min(thin) < bound and not wrong_pair(pairs)):
                continue
            if wrong := wrong_pair(pairs):
                sign, a, b = wrong
                left, right = a.str(12, radius=False), b.str(12, radius=False)
                self._fault(formula, f"at {point.where} {left} {_NOT[sign]} {right}")
                return 0, 0
            checked += 1
            fewest = min(fewest, *thin)
            self.used |= self._behind(point.used)
        if not checked:
            self._fault(formula, "could not be checked at any sample")
        return checked, int(fewest * 0.30103)

    def _states_value(self, node: Node) -> bool:
        return any(
            isinstance(o, (SymbolName, Indexed)) and o.name in {"y", "L"} & self.outputs
            for o in _operands(node)
        )

    def _states_slope(self, node: Node) -> bool:
        return any(
            (isinstance(o, Derivative) and _names(o.of) <= self.outputs)
            or (isinstance(o, (SymbolName, Indexed)) and o.name in {"dx", "dy"} & self.outputs)
            for o in _operands(node)
        )


_NOT = {"=": "is not", "<": "is not <", ">": "is not >", "<=": "is not <=", ">=": "is not >=",
        "≠": "is"}  # fmt: skip


def _operands(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Conditional):
        node = node.relation
    return node.operands if isinstance(node, Relation) else ()


def wrong_pair(pairs: Iterable[tuple[str, Ball, Ball]]) -> tuple[str, Ball, Ball] | None:
    """Return a pair whose relation certainly does not hold; None where there is none."""
    for sign, a, b in pairs:
        if not (a.is_finite() and b.is_finite()):
            if a.is_finite() != b.is_finite() and not (a.is_nan() or b.is_nan()):
                return sign, a, b
            continue
        difference = a - b
        true = {
            "=": difference.contains(0),
            "≠": not difference.is_zero(),
            "<": not difference >= 0,
            ">": not difference <= 0,
            "<=": not difference > 0,
            ">=": not difference < 0,
        }[sign]
        if not true:
            return sign, a, b
    return None


def bits_of(a: Ball, b: Ball) -> int:
    """Return to how many bits two balls agree at least, relative to the larger or to 1."""
    difference = a - b
    if not difference.is_finite():
        return 0
    radius = difference.rad()
    if radius.is_zero():
        return BITS
    size = abs(a.mid()).max(abs(b.mid())).max(arb(1))
    return int(float((size / radius).log() / arb(2).log()))


def _names(node: Node) -> set[str]:
    own = {node.name} if isinstance(node, (SymbolName, Indexed)) else set()
    return own.union(*(_names(child) for child in children(node)))


def _has_derivative(node: Node) -> bool:
    return isinstance(node, Derivative) or any(_has_derivative(c) for c in children(node))


def _has_ellipsis(node: Node) -> bool:
    if isinstance(node, WrittenNumber):
        return node.text.endswith("…")
    return any(_has_ellipsis(child) for child in children(node))
