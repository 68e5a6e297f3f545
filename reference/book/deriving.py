"""From the formula of a value to that of its slope, rule by rule, each step checked.

The tree of the value's formula is differentiated by the rules of the textbook, inside out. Each
step is a formula `∂(part)/∂x = …` and is evaluated like those of the docstring: the left side by
differentiating the definition in ball arithmetic, the right side as it stands.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from manual_backprop.operation import Activation, LayerOperation, Loss, Operation
from reference.arithmetic.balls import precision
from reference.book.checking import (
    BITS,
    THIN_BITS,
    Docstring,
    FormulaFault,
    Unchecked,
    bits_of,
    wrong_pair,
)
from reference.book.evaluating import FormulaPoint, Unclear, children, free_indices
from reference.book.functions import Undecided
from reference.book.rules import NoRule, Rules, renamed
from reference.book.samples import Samples
from reference.conventions.pointwise import takes_rows
from reports.book import DerivationStep, Set
from reports.notation import (
    Bracketed,
    Derivative,
    Indexed,
    Node,
    Piecewise,
    Reduction,
    Relation,
    SymbolName,
)


def derive(operation: Operation, docstring: Docstring) -> tuple[DerivationStep, ...]:
    """Return the steps from the value's formula to its slope, each checked; none if no rule."""
    if isinstance(operation, LayerOperation):
        return ()
    name = "y" if isinstance(operation, Activation) else "L"
    by = "x" if isinstance(operation, Activation) else "y"
    body = _value(docstring, name)
    if body is None:
        return ()
    variable = _variable(operation, by, docstring)
    sign = "d" if isinstance(operation, Activation) and isinstance(variable, SymbolName) else "∂"
    rules = Rules(variable, {c.name: n for c, n in _definitions(docstring)}, sign)
    try:
        slope = rules.slope(body[1])
    except NoRule:
        return ()
    steps = rules.steps
    if steps and steps[-1][1].operands[0] == slope:
        slope = steps[-1][1].operands[1]
    slope = slope.body if isinstance(slope, Bracketed) and slope.bracket == "(" else slope
    if steps and steps[-1][1].operands[1] == slope:
        steps = steps[:-1]  # the last rule gave the slope itself
    left = Derivative(body[0], variable, sign)
    steps = [*steps, (_last_rule(rules.steps, slope), Relation((left, slope), ("=",)))]
    stated = [n for n in _stated(docstring, left) if n != slope]
    steps += [("which is", Relation((left, n), ("=",))) for n in stated[:1]]
    samples = Samples(operation)
    with precision(BITS):
        points = list(samples)
        definitions = {
            c.name: (c.indices if isinstance(c, Indexed) else (), n)
            for c, n in _definitions(docstring)
        }
        for point in points:
            point.definitions.update(definitions)
        return tuple(_checked(operation.name, rule, node, points) for rule, node in steps)


def _relations(docstring: Docstring, kind: str) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Yield the left side and all sides of each relation of a kind."""
    for checked in docstring.formulas:
        node = checked.formula.node
        if checked.kind == kind and isinstance(node, Relation):
            yield node.operands[0], node.operands


def _value(docstring: Docstring, name: str) -> tuple[Node, Node] | None:
    """Return the value's symbol and the first formula that states it, or nothing."""
    for left, sides in _relations(docstring, "statement"):
        if isinstance(left, (SymbolName, Indexed)) and left.name == name:
            return left, sides[-1]
    return None


def _definitions(docstring: Docstring) -> list[tuple[SymbolName | Indexed, Node]]:
    pairs = _relations(docstring, "definition")
    return [(name, sides[1]) for name, sides in pairs if isinstance(name, (SymbolName, Indexed))]


def _last_rule(steps: Sequence[tuple[str, Relation]], slope: Node) -> str:
    """Return the name of the last step: its rule where one rule gave the slope itself."""
    if steps and steps[-1][1].operands[1] == slope:
        return steps[-1][0]
    if isinstance(slope, Piecewise):
        return "piece by piece"
    return "so" if steps else "directly"


def _stated(docstring: Docstring, left: Derivative) -> list[Node]:
    """Return what the docstring states the slope to be."""
    found = []
    for first, sides in _relations(docstring, "statement"):
        if isinstance(first, Derivative) and (places := _same(first, left)) is not None:
            with suppress(NoRule):
                found.append(renamed(sides[1], places))
    return found


def _same(stated: Derivative, ours: Derivative) -> dict[str, str] | None:
    """Return how the stated slope's indices are called here; None where it is another slope."""
    places: dict[str, str] = {}
    for a, b in ((stated.of, ours.of), (stated.by, ours.by)):
        if isinstance(a, Indexed) and isinstance(b, Indexed) and a.name == b.name:
            places |= dict(zip(a.indices, b.indices, strict=True))
        elif a != b:
            return None
    return {a: b for a, b in places.items() if a != b}


def _variable(operation: Operation, by: str, docstring: Docstring) -> SymbolName | Indexed:
    """Return the variable; by rows, with an index that the docstring does not sum over."""
    assert isinstance(operation, Activation | Loss)
    if not takes_rows(operation):
        return SymbolName(by)
    bound = {i for checked in docstring.formulas for i in _bound(checked.formula.node)}
    free = next((i for i in "jki" if i not in bound), "k")
    return Indexed(by, (free,))


def _bound(node: Node) -> set[str]:
    own = {node.index} if isinstance(node, Reduction) else set()
    return own.union(*(_bound(child) for child in children(node)))


def _checked(
    name: str, rule: str, node: Relation, points: Sequence[FormulaPoint]
) -> DerivationStep:
    """Return a step with what its check came to; one that does not hold is `Unchecked`."""
    checked, fewest = 0, BITS
    free = sorted(free_indices(node))
    for point in points:
        try:
            pairs = list(point.statement(node, free))
        except Undecided:
            continue
        except Unclear as error:
            raise Unchecked([FormulaFault(name, 1, f"derivation, {rule}: {error}")]) from None
        bits = min(bits_of(a, b) for _, a, b in pairs)
        if bits < THIN_BITS:
            continue
        if wrong_pair(pairs):
            raise Unchecked([FormulaFault(name, 1, f"derivation, {rule}: wrong at {point.where}")])
        checked, fewest = checked + 1, min(fewest, bits)
    if not checked:
        raise Unchecked([FormulaFault(name, 1, f"derivation, {rule}: could not be checked")])
    return DerivationStep(rule, Set(node, "", "statement", checked, int(fewest * 0.30103)))
