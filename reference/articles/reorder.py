"""Finds the order in which the factors of a printed product multiply and give what is claimed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np

from manual_backprop.articles.claim import Evaluation, Product, ShapeMismatch, multiply
from reference.articles.derivatives import floats
from reference.diagnosis.closeness import same_to_rounding

Tree: TypeAlias = "tuple[int, bool] | tuple[Tree, str, Tree]"
"""Nested (left, operator, right); a leaf is (factor, transposed)."""


@dataclass(frozen=True)
class Arrangement:
    """The factors of a product in another order, some transposed, perhaps with a minus."""

    product: Product
    tree: Tree
    cost: int
    sign: int = 1

    def evaluate(self, q: Evaluation) -> np.ndarray:
        """Return the product's value."""
        value = _value(self.tree, [factor(q) for _, factor in self.product.factors])
        return -value if self.sign < 0 else value

    @property
    def formula(self) -> str:
        """The product in LaTeX."""
        return _formula(self.tree, [latex for latex, _ in self.product.factors])


def arrangements(product: Product, q: Evaluation, target: np.ndarray) -> Iterator[Arrangement]:
    """Yield the arrangements equal to `target` at one problem, nearest to the print first.

    A transposition, an exchange of two neighbours, a changed operator and a minus cost 1 each.
    """
    values = [floats(factor(q)) for _, factor in product.factors]
    found = []
    for tree, value in _trees(values):
        if value.shape != target.shape:
            continue
        for sign in (1, -1):
            if same_to_rounding(sign * value, target):
                cost = _cost(tree, product.operators) + (sign < 0)
                found.append(Arrangement(product, tree, cost, sign))
    yield from sorted(found, key=lambda arrangement: arrangement.cost)


def _trees(values: list[np.ndarray]) -> list[tuple[Tree, np.ndarray]]:
    """Return every way to multiply all the values, each used once, with its value."""
    known: dict[frozenset[int], list[tuple[Tree, np.ndarray]]] = {}
    everyone = range(len(values))
    for i in everyone:
        known[frozenset([i])] = [((i, False), values[i]), ((i, True), values[i].T)]
    for size in range(2, len(values) + 1):
        for chosen in map(frozenset, combinations(everyone, size)):
            known[chosen] = [
                joined
                for part in _parts(chosen)
                for left in known[part]
                for right in known[chosen - part]
                for joined in _joined(left, right)
            ]
    return known[frozenset(everyone)]


def _parts(chosen: frozenset[int]) -> Iterator[frozenset[int]]:
    for size in range(1, len(chosen)):
        yield from map(frozenset, combinations(sorted(chosen), size))


def _joined(
    left: tuple[Tree, np.ndarray], right: tuple[Tree, np.ndarray]
) -> Iterator[tuple[Tree, np.ndarray]]:
    for operator in ("@", "*"):
        if operator == "*" and _leaves(left[0]) > _leaves(right[0]):
            continue  # entry by entry, the order does not matter: take the one as printed
        try:
            yield (left[0], operator, right[0]), multiply(left[1], operator, right[1])
        except ShapeMismatch:
            continue


def _leaves(tree: Tree) -> list[int]:
    return [tree[0]] if len(tree) == 2 else [*_leaves(tree[0]), *_leaves(tree[2])]


def _transposed(tree: Tree) -> int:
    return int(tree[1]) if len(tree) == 2 else _transposed(tree[0]) + _transposed(tree[2])


def _operators(tree: Tree) -> list[str]:
    return [] if len(tree) == 2 else [*_operators(tree[0]), tree[1], *_operators(tree[2])]


def _cost(tree: Tree, printed: tuple[str, ...]) -> int:
    order = _leaves(tree)
    exchanges = sum(a > b for i, a in enumerate(order) for b in order[i + 1 :])
    changed = sum(a != b for a, b in zip(_operators(tree), printed, strict=True))
    return exchanges + changed + _transposed(tree)


def _value(tree: Tree, values: list[np.ndarray]) -> np.ndarray:
    if len(tree) == 2:
        value = np.asarray(values[tree[0]])
        turned: np.ndarray = value.T if tree[1] else value
        return turned
    product: np.ndarray = multiply(_value(tree[0], values), tree[1], _value(tree[2], values))
    return product


def _formula(tree: Tree, names: list[str], inner: bool = False) -> str:
    if len(tree) == 2:
        name: str = names[tree[0]]
        if not tree[1]:
            return name
        if name.endswith("^T"):
            return name.removesuffix("^T")
        return f"{name}^T" if name.startswith("(") or "^" not in name else f"({name})^T"
    left, operator, right = tree
    # A chain of matrix products needs no brackets; everything else inside another product does.
    chain = operator == "@"
    text = (
        _formula(left, names, inner=not (chain and _is_chain(left)))
        + (r"\, " if chain else " * ")
        + _formula(right, names, inner=not (chain and _is_chain(right)))
    )
    return f"({text})" if inner else text


def _is_chain(tree: Tree) -> bool:
    return len(tree) == 3 and tree[1] == "@"
