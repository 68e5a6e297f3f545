"""Small expression programs over the operators that an engine of values has.

A program is the text of an expression over its leaves, and what is run is that text. The small ones
ask one operator at a time: used once, with a value that is used twice, in the middle of a chain;
the random ones mix them.
"""

import functools
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from reference.checks.code import NumericValue

Use = Literal["once", "twice", "middle", "constant", "mixed"]
Finish = Callable[[object, bool], object]
"""From an array of the engine to one number of it: its sum, or a weighed one."""

_ANY, _POSITIVE = (-1.5, 1.5), (0.4, 1.6)
_OF_POSITIVE = re.compile(
    r"log(?!is|_?sig|_?soft)|sqrt|^ln$|entropy|^__r?truediv__$|^__pow__$", re.I
)


@dataclass(frozen=True)
class Operator:
    """Something an engine can do: `+`, `tanh`, `sum`."""

    name: str
    """The method or function: __add__, tanh."""
    symbol: str
    """How a program spells it: "{} + {}", "{}.tanh()"."""
    count: int = 1
    constant: bool = False
    """Whether it meets a plain number: a + 2.0, 2.0 * a, a ** 3."""

    @property
    def domain(self) -> tuple[float, float]:
        """Where its first operand is drawn from, in small programs."""
        return _POSITIVE if _OF_POSITIVE.search(self.name) else _ANY

    def spell(self, *parts: str) -> str:
        """Return it with its operands."""
        return self.symbol.format(*parts)


@dataclass(frozen=True)
class ExpressionProgram:
    """An expression over leaves, after the values that it names: "c = a * b; c + c"."""

    code: str
    leaves: tuple[str, ...]
    operators: tuple[str, ...]
    use: Use
    domain: tuple[float, float] = _ANY
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    note: str = ""
    """What stands beside its text: " with b a row"."""
    finish: Callable[[object], object] = field(default=lambda out: out, repr=False)

    @property
    def text(self) -> str:
        """How it is shown."""
        return self.code + self.note

    def run(self, functions: Mapping[str, object], *given: object) -> object:
        """Return its value; functions: those of the file, which its text may call."""
        space = {**functions, **dict(zip(self.leaves, given, strict=True))}
        for name, code in _compiled(self.code):
            space[name] = eval(code, space)  # our own text
        return self.finish(space[""])

    def draw(self, rng: np.random.Generator) -> dict[str, NumericValue]:
        """Return values for the leaves, none near 0, where kinks are."""
        low, high = self.domain
        found: dict[str, NumericValue] = {}
        for name in self.leaves:
            drawn = rng.uniform(low, high, self.shapes.get(name, ()))
            drawn = np.where(np.abs(drawn) < 0.1, drawn + 0.25 * (high > 0), drawn)
            found[name] = float(drawn) if not drawn.shape else drawn
        return found


@functools.cache
def _compiled(code: str) -> list[tuple[str, types.CodeType]]:
    """Return the values that a program names in turn, "" the last, each with its code."""
    steps = [step.rpartition(" = ") for step in code.split("; ")]
    names = [*(name for name, _, _ in steps[:-1]), ""]
    return [(n, compile(s[2], __file__, "eval")) for n, s in zip(names, steps, strict=True)]


_BINARY = {
    "__add__": "{} + {}",
    "__mul__": "{} * {}",
    "__sub__": "{} - {}",
    "__truediv__": "{} / {}",
    "__pow__": "{} ** {}",
}
_CONSTANTS = (
    ("__add__", "{} + 1.75"),
    ("__radd__", "1.75 + {}"),
    ("__mul__", "{} * 1.75"),
    ("__rmul__", "1.75 * {}"),
    ("__sub__", "{} - 1.75"),
    ("__rsub__", "1.75 - {}"),
    ("__truediv__", "{} / 1.75"),
    ("__rtruediv__", "1.75 / {}"),
    ("__pow__", "{} ** 3"),
    ("__neg__", "-{}"),
)
_NO_OPERATOR = re.compile(
    r"back|grad|detach|clone|copy|item|numpy|param|zero|topo|step|data|value|const|print|repr|show|"
    r"draw|plot|graph|viz|eval|train|size|shape|^is_|^to_|^set_|^get_|reset|clear|trace|build|init|"
    r"rand|noise|drop|ones|load|save|update|stop|sort|arg|list|float|int$|main|test|check|ensure|^as_",
    re.I,
)
"""Methods and functions that are none of the graph's, by their names."""


def named_operators(cls: type, functions: Mapping[str, Callable[..., object]]) -> list[Operator]:
    """Return what may be operators by their signatures: a.tanh(), tanh(a), mse(a, b).

    Whether a call gives a value of the engine is found by trying it.
    """
    found = []
    for name in dir(cls):
        method = getattr(cls, name, None)
        if _usable(name, method) and _required(method) == 1:
            found.append(Operator(name, "{}." + name + "()"))
    for name, function in functions.items():
        if _usable(name, function) and (count := _required(function)) in (1, 2):
            found.append(Operator(name, f"{name}({', '.join(['{}'] * count)})", count))
    return found


def _usable(name: str, thing: object) -> bool:
    return (
        isinstance(thing, types.FunctionType)
        and not name.startswith("_")
        and not _NO_OPERATOR.search(name)
    )


def _required(function: Any) -> int:
    """Count the arguments without a default; -1 where they are not plain ones."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind in (p.VAR_POSITIONAL, p.KEYWORD_ONLY) for p in parameters):
        return -1
    return sum(p.default is p.empty for p in parameters)


def operators(has: Callable[[str], bool]) -> list[Operator]:
    """Return the operators of scalars that a class has for Python's own signs: + − × ÷ **."""
    found = [Operator(n, s, 2) for n, s in _BINARY.items() if has(n)]
    return found + [Operator(n, s, constant=True) for n, s in _CONSTANTS if has(n)]


def small(found: Sequence[Operator]) -> Iterator[ExpressionProgram]:
    """Yield one program for each operator and use, the simplest ones first."""
    yield from map(alone, found)
    pairs = [op for op in found if op.count == 2]
    for op in pairs:
        yield ExpressionProgram(op.spell("a", "a"), ("a",), (op.name,), "twice", op.domain)
    for op in found if pairs else ():
        if op.count == 1:
            text, names = pairs[0].spell(f"({op.spell('a')})", "a"), (op.name, pairs[0].name)
            yield ExpressionProgram(text, ("a",), names, "twice", op.domain)
    for op in pairs:  # a value that was computed is used twice, at equal and at unequal depths
        merge = pairs[0]
        for rest in (
            merge.spell("c", "c"),
            merge.spell(f"({merge.spell('c', 'a')})", "c"),
        ):
            text, names = f"c = {op.spell('a', 'b')}; {rest}", (op.name, merge.name)
            yield ExpressionProgram(text, ("a", "b"), names, "middle", op.domain)


def alone(op: Operator) -> ExpressionProgram:
    """Return the program of one operator, used once."""
    leaves = ("a", "b")[: op.count]
    return ExpressionProgram(op.spell(*leaves), leaves, (op.name,), "once", op.domain)


_STEPS = 5  # operators of a random program


def random(found: Sequence[Operator], rng: np.random.Generator) -> ExpressionProgram:
    """Return a program of several steps over two leaves, with values used again."""
    safe = [op for op in found if op.domain[0] < 0 or op.name in ("sqrt",)] or list(found)
    positive = any(op.domain[0] > 0 for op in safe)
    names = ["a", "b", *(f"v{k}" for k in range(1, _STEPS + 1))]
    steps, used = [], []
    for k in range(_STEPS):
        op = safe[int(rng.integers(len(safe)))]
        picked = [int(rng.integers(2 + k)) for _ in range(op.count)]
        if k and int(rng.integers(2)):
            picked[0] = 1 + k  # the last one made: a chain
        steps.append(f"v{k + 1} = {op.spell(*(names[i] for i in picked))}")
        used.append(op.name)
    domain = _POSITIVE if positive else (-1.2, 1.2)
    return ExpressionProgram(
        "; ".join(steps), ("a", "b"), tuple(dict.fromkeys(used)), "mixed", domain
    )


# -- arrays ------------------------------------------------------------------------------------

_A, _W, _ROW, _COLUMN = (3, 4), (4, 2), (4,), (3, 1)


def of_arrays(
    has: Callable[[str], bool], named: Sequence[Operator], finish: Finish
) -> Iterator[ExpressionProgram]:
    """Yield programs over arrays: products, broadcasts, sums; each ends in one number.

    named: operators that are not signs. finish: makes the number; weighed by a product, so that
    what only shows under cotangents that differ shows, where the product itself is not asked.
    """

    def program(
        text: str,
        name: str,
        domain: tuple[float, float] = _ANY,
        note: str = "",
        use: Use = "once",
        **leaves: tuple[int, ...],
    ) -> ExpressionProgram:
        weigh = name not in ("__mul__", "__rmul__", "__add__") and has("__mul__")
        names = (name, "__mul__") if weigh else (name,)
        return ExpressionProgram(
            text, tuple(leaves), names, use, domain, leaves, note, lambda out: finish(out, weigh)
        )

    for op in operators(has):
        if op.count == 2 and op.name != "__pow__":
            text, name, domain = op.spell("a", "b"), op.name, op.domain
            yield program(text, name, domain, a=_A, b=_A)
            yield program(text, name, domain, " with b a row", a=_A, b=_ROW)
            yield program(text, name, domain, " with b a column", a=_A, b=_COLUMN)
            yield program(op.spell("a", "a"), name, domain, use="twice", a=_A)
    if has("__matmul__"):
        yield program("a @ b", "__matmul__", a=_A, b=_W)
        yield program("a @ a", "__matmul__", use="twice", a=(3, 3))
    for name in ("dot", "matmul", "mm"):
        if has(name):
            yield program(f"a.{name}(b)", name, a=_A, b=_W)
    for op in named:
        if op.count == 1:
            yield program(op.spell("a"), op.name, op.domain, a=_A)
        else:
            text = op.spell("a", "b")
            yield program(text, op.name, op.domain, a=_A, b=_A)
            yield program(text, op.name, op.domain, " of (3, 4) and (4, 2)", a=_A, b=_W)
    for name, text in _ON_ARRAYS:
        if has(name):
            yield program(text, name, _POSITIVE, a=_A)


_ON_ARRAYS = (
    ("__mul__", "a * 1.75"),
    ("__add__", "a + 1.75"),
    ("__rmul__", "1.75 * a"),
    ("__rsub__", "1.75 - a"),
    ("__neg__", "-a"),
    ("__pow__", "a ** 3"),
    ("__truediv__", "a / 1.75"),
    ("__getitem__", "a[1]"),
    ("__getitem__", "a[1:, :2]"),
    ("sum", "a.sum(axis=0)"),
    ("sum", "a.sum(axis=1, keepdims=True)"),
    ("mean", "a.mean(axis=0)"),
    ("max", "a.max(axis=1)"),
    ("reshape", "a.reshape(4, 3)"),
    ("reshape", "a.reshape((4, 3))"),
)
