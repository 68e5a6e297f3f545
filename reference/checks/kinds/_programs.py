"""Small expression programs over the operators that an engine of values has.

A program is a function of its leaves and a text. The small ones ask one operator at a time: used
once, with a value that is used twice, in the middle of a chain; the random ones mix them.
"""

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

Use = Literal["once", "twice", "middle", "constant", "mixed"]


@dataclass(frozen=True)
class Operator:
    """Something an engine can do: `+`, `tanh`, `sum`."""

    name: str
    """The method: __add__, tanh."""
    symbol: str
    """How a program spells it: "{} + {}", "{}.tanh()"."""
    apply: Callable[..., Any] = field(repr=False)
    count: int = 1
    domain: tuple[float, float] = (-1.5, 1.5)
    """Where its first operand is drawn from, in small programs."""
    constant: bool = False
    """Whether it meets a plain number: a + 2.0, 2.0 * a, a ** 3."""

    def spell(self, *parts: str) -> str:
        """Return it with its operands."""
        return self.symbol.format(*parts)


@dataclass(frozen=True)
class ExpressionProgram:
    """An expression over leaves."""

    text: str
    leaves: tuple[str, ...]
    run: Callable[..., Any] = field(repr=False)
    operators: tuple[str, ...]
    use: Use
    domain: tuple[float, float] = (-1.5, 1.5)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return values for the leaves, none near 0, where kinks are."""
        low, high = self.domain
        found: dict[str, Any] = {}
        for name in self.leaves:
            drawn = rng.uniform(low, high, self.shapes.get(name, ()))
            drawn = np.where(np.abs(drawn) < 0.1, drawn + 0.25 * (high > 0), drawn)
            found[name] = float(drawn) if not drawn.shape else drawn
        return found


_BINARY = (
    ("__add__", "{} + {}", lambda a, b: a + b, (-1.5, 1.5)),
    ("__mul__", "{} * {}", lambda a, b: a * b, (-1.5, 1.5)),
    ("__sub__", "{} - {}", lambda a, b: a - b, (-1.5, 1.5)),
    ("__truediv__", "{} / {}", lambda a, b: a / b, (0.4, 1.6)),
    ("__pow__", "{} ** {}", lambda a, b: a**b, (0.4, 1.6)),
)
_CONSTANTS = (
    ("__add__", "{} + 1.75", lambda a: a + 1.75, (-1.5, 1.5)),
    ("__radd__", "1.75 + {}", lambda a: 1.75 + a, (-1.5, 1.5)),
    ("__mul__", "{} * 1.75", lambda a: a * 1.75, (-1.5, 1.5)),
    ("__rmul__", "1.75 * {}", lambda a: 1.75 * a, (-1.5, 1.5)),
    ("__sub__", "{} - 1.75", lambda a: a - 1.75, (-1.5, 1.5)),
    ("__rsub__", "1.75 - {}", lambda a: 1.75 - a, (-1.5, 1.5)),
    ("__truediv__", "{} / 1.75", lambda a: a / 1.75, (0.4, 1.6)),
    ("__rtruediv__", "1.75 / {}", lambda a: 1.75 / a, (0.4, 1.6)),
    ("__pow__", "{} ** 3", lambda a: a**3, (0.4, 1.6)),
    ("__neg__", "-{}", lambda a: -a, (-1.5, 1.5)),
)
_POSITIVE = re.compile(r"log(?!is|_?sig|_?soft)|sqrt|^ln$|entropy", re.I)
_NO_OPERATOR = re.compile(
    r"back|grad|detach|clone|copy|item|numpy|param|zero|topo|step|data|value|const|print|repr|show|"
    r"draw|plot|graph|viz|eval|train|size|shape|^is_|^to_|^set_|^get_|reset|clear|trace|build|init|"
    r"rand|noise|drop|ones|load|save|update|stop|sort|arg|list|float|int$|main|test|check|ensure|^as_",
    re.I,
)
"""Methods and functions that are none of the graph's, by their names."""


def named_operators(cls: type, functions: Mapping[str, Callable[..., Any]]) -> list[Operator]:
    """Return what may be operators by their signatures: a.tanh(), tanh(a), mse(a, b).

    Whether a call gives a value of the engine is found by trying it.
    """
    found = []
    for name in dir(cls):
        method = getattr(cls, name, None)
        if _usable(name, method) and _required(method) == 1:
            found.append(Operator(name, "{}." + name + "()", _method(name), 1, _domain(name)))
    for name, function in functions.items():
        if not _usable(name, function):
            continue
        count = _required(function)
        if count in (1, 2):
            symbol = name + "(" + ", ".join(["{}"] * count) + ")"
            found.append(Operator(name, symbol, function, count, _domain(name)))
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


def _domain(name: str) -> tuple[float, float]:
    return (0.4, 1.6) if _POSITIVE.search(name) else (-1.5, 1.5)


def operators(has: Callable[[str], bool]) -> list[Operator]:
    """Return the operators of scalars that a class has for Python's own signs: + − × ÷ **."""
    found = [Operator(n, s, f, 2, d) for n, s, f, d in _BINARY if has(n)]
    return found + [Operator(n, s, f, 1, d, True) for n, s, f, d in _CONSTANTS if has(n)]


def _method(name: str) -> Callable[[Any], Any]:
    return lambda a: getattr(a, name)()


def small(found: Sequence[Operator]) -> Iterator[ExpressionProgram]:
    """Yield one program for each operator and use, the simplest ones first."""
    yield from map(alone, found)
    pairs = [op for op in found if op.count == 2]
    for op in pairs:
        run = partial(_both, op.apply)
        yield ExpressionProgram(op.spell("a", "a"), ("a",), run, (op.name,), "twice", op.domain)
    for op in found if pairs else ():
        if op.count == 1:
            text, run = pairs[0].spell(f"({op.spell('a')})", "a"), partial(_merged, op, pairs[0])
            names = (op.name, pairs[0].name)
            yield ExpressionProgram(text, ("a",), run, names, "twice", op.domain)
    for op in pairs:
        yield from _in_the_middle(op, pairs[0])


def alone(op: Operator) -> ExpressionProgram:
    """Return the program of one operator, used once."""
    leaves = ("a", "b")[: op.count]
    return ExpressionProgram(op.spell(*leaves), leaves, op.apply, (op.name,), "once", op.domain)


def _both(apply: Callable[..., Any], a: object) -> Any:
    return apply(a, a)


def _merged(op: Operator, merge: Operator, a: object) -> Any:
    return merge.apply(op.apply(a), a)


def _in_the_middle(op: Operator, merge: Operator) -> Iterator[ExpressionProgram]:
    """Yield programs in which a value that was computed is used twice, at unequal depths."""

    def same(a: object, b: object) -> Any:
        c = op.apply(a, b)
        return merge.apply(c, c)

    def deeper(a: object, b: object) -> Any:
        c = op.apply(a, b)
        return merge.apply(merge.apply(c, a), c)

    names = (op.name, merge.name)
    text = f"c = {op.spell('a', 'b')}; "
    after = merge.spell(f"({merge.spell('c', 'a')})", "c")
    for rest, run in ((merge.spell("c", "c"), same), (after, deeper)):
        yield ExpressionProgram(text + rest, ("a", "b"), run, names, "middle", op.domain)


_STEPS = 5  # operators of a random program


def random(found: Sequence[Operator], rng: np.random.Generator) -> ExpressionProgram:
    """Return a program of several steps over two leaves, with values used again."""
    safe = [op for op in found if op.domain[0] < 0 or op.name in ("sqrt",)] or list(found)
    positive = any(op.domain[0] > 0 for op in safe)
    plan: list[tuple[Operator, tuple[int, ...]]] = []
    for k in range(_STEPS):
        op = safe[int(rng.integers(len(safe)))]
        picked = [int(rng.integers(2 + k)) for _ in range(op.count)]
        if k and int(rng.integers(2)):
            picked[0] = 1 + k  # the last one made: a chain
        plan.append((op, tuple(picked)))

    def run(a: object, b: object) -> Any:
        made = [a, b]
        for op, picked in plan:
            made.append(op.apply(*(made[i] for i in picked)))
        return made[-1]

    names = ["a", "b", *(f"v{k}" for k in range(1, _STEPS + 1))]
    text = "; ".join(
        f"v{k + 1} = {op.spell(*(names[i] for i in picked))}" for k, (op, picked) in enumerate(plan)
    )
    used = tuple(dict.fromkeys(op.name for op, _ in plan))
    return ExpressionProgram(
        text, ("a", "b"), run, used, "mixed", (0.4, 1.6) if positive else (-1.2, 1.2)
    )


# -- arrays ------------------------------------------------------------------------------------

_A, _W, _ROW, _COLUMN = (3, 4), (4, 2), (4,), (3, 1)


Finish = Callable[[Any, bool], Any]
"""From an array of the engine to one number of it: its sum, or a weighed one."""


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
        run: Callable[..., Any],
        domain: tuple[float, float] = (-1.5, 1.5),
        use: Use = "once",
        **leaves: tuple[int, ...],
    ) -> ExpressionProgram:
        weigh = name not in ("__mul__", "__rmul__", "__add__") and has("__mul__")
        names = (name, "__mul__") if weigh else (name,)

        def finished(*given: object) -> Any:
            return finish(run(*given), weigh)

        return ExpressionProgram(text, tuple(leaves), finished, names, use, domain, leaves)

    for name, symbol, apply, domain in _BINARY:
        if name == "__pow__" or not has(name):
            continue
        text = symbol.format("a", "b")
        yield program(text, name, apply, domain, a=_A, b=_A)
        yield program(f"{text} with b a row", name, apply, domain, a=_A, b=_ROW)
        yield program(f"{text} with b a column", name, apply, domain, a=_A, b=_COLUMN)
        yield program(symbol.format("a", "a"), name, partial(_both, apply), domain, "twice", a=_A)
    if has("__matmul__"):
        yield program("a @ b", "__matmul__", lambda a, b: a @ b, a=_A, b=_W)
        yield program("a @ a", "__matmul__", lambda a: a @ a, use="twice", a=(3, 3))
    for name in ("dot", "matmul", "mm"):
        if has(name):
            yield program(f"a.{name}(b)", name, _call(name), a=_A, b=_W)
    for op in named:
        if op.count == 1:
            yield program(op.spell("a"), op.name, op.apply, op.domain, a=_A)
        else:
            yield program(op.spell("a", "b"), op.name, op.apply, op.domain, a=_A, b=_A)
            text = f"{op.spell('a', 'b')} of (3, 4) and (4, 2)"
            yield program(text, op.name, op.apply, op.domain, a=_A, b=_W)
    for name, text, run in _ON_ARRAYS:
        if has(name):
            yield program(text, name, run, (0.4, 1.6), a=_A)


_ON_ARRAYS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("__mul__", "a * 1.75", lambda a: a * 1.75),
    ("__add__", "a + 1.75", lambda a: a + 1.75),
    ("__rmul__", "1.75 * a", lambda a: 1.75 * a),
    ("__rsub__", "1.75 - a", lambda a: 1.75 - a),
    ("__neg__", "-a", lambda a: -a),
    ("__pow__", "a ** 3", lambda a: a**3),
    ("__truediv__", "a / 1.75", lambda a: a / 1.75),
    ("__getitem__", "a[1]", lambda a: a[1]),
    ("__getitem__", "a[1:, :2]", lambda a: a[1:, :2]),
    ("sum", "a.sum(axis=0)", lambda a: a.sum(axis=0)),
    ("sum", "a.sum(axis=1, keepdims=True)", lambda a: a.sum(axis=1, keepdims=True)),
    ("mean", "a.mean(axis=0)", lambda a: a.mean(axis=0)),
    ("max", "a.max(axis=1)", lambda a: a.max(axis=1)),
    ("reshape", "a.reshape(4, 3)", lambda a: a.reshape(4, 3)),
    ("reshape", "a.reshape((4, 3))", lambda a: a.reshape((4, 3))),
)


def _call(name: str) -> Callable[[Any, Any], Any]:
    return lambda a, b: getattr(a, name)(b)
