"""An engine's values: how they are made and read, and what a program of them is asked."""

import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reference.balls import values
from reference.checks.code import is_numeric, raised_text
from reference.checks.kinds._programs import ExpressionProgram
from reference.checks.kinds._questions import Question, plain

REUSE = "reuse"
"""What the gradients of programs count as in which a value is used twice."""

_METHOD = re.compile(r"(\w+|\([^()]*\))\.(\w+)\(\)")
_DATA = ("data", "value", "val", "v", "x", "item", "_data", "_value", "array", "num")


class NoEngine(Exception):
    """It does not behave like one; the message says how."""


class ScalarEngine:
    """How an engine's values are made and read."""

    def __init__(
        self,
        cls: type,
        modules: tuple[types.ModuleType, ...],
        functions: Mapping[str, Callable[..., object]],
    ) -> None:
        self.cls, self.modules, self.functions = cls, modules, functions
        self.options = _options(cls)
        probe = self._probe()
        self.data, self.grad = self._data_name(probe), self._grad_name(probe)
        self.seeded = False
        """Whether the output's gradient has to be set to 1 before backward()."""

    def _probe(self) -> object:
        try:
            return self.cls(1.625, **self.options)
        except Exception as error:
            raise NoEngine(f"{self.cls.__name__}(1.625) raised {raised_text(error)}") from error

    def _data_name(self, probe: object) -> str:
        held = {n: v for n in _names(probe) if is_numeric(v := _get(probe, n)) and np.size(v) == 1}
        same = [n for n, v in held.items() if float(np.asarray(v, dtype=float).ravel()[0]) == 1.625]
        same.sort(key=lambda n: _DATA.index(n.lower()) if n.lower() in _DATA else len(_DATA))
        if not same:
            raise NoEngine(f"no attribute of {self.cls.__name__}(1.625) holds 1.625")
        return same[0]

    def _grad_name(self, probe: object) -> str:
        names = [n for n in _names(probe) if _like_gradient(n) and not callable(_get(probe, n))]
        if not names:
            raise NoEngine(f"{self.cls.__name__} has no attribute that is called like a gradient")
        return min(names, key=len)

    def leaf(self, value: object) -> Any:
        """Return a value of the engine."""
        return self.cls(value, **self.options)

    def forward(
        self, program: ExpressionProgram, given: Mapping[str, object]
    ) -> tuple[Any, dict[str, object]]:
        """Run a program; return its output's data and the leaves."""
        leaves = {k: self.leaf(v) for k, v in given.items()}
        return program.run(self.functions, *leaves.values()), leaves

    def held(self, out: object) -> Any:
        """Return what a value of the engine holds, None where it is none."""
        return _get(out, self.data)

    def value(self, program: ExpressionProgram, given: Mapping[str, object]) -> np.ndarray:
        """Run a program; return its output's data as an array."""
        return np.asarray(values(self.held(self.forward(program, given)[0])), dtype=float)

    def gradients(
        self, program: ExpressionProgram, given: Mapping[str, object]
    ) -> dict[str, np.ndarray | None]:
        """Run a program and its backward; return the leaves' gradients."""
        out, leaves = self.forward(program, given)
        if self.seeded:
            shape = np.shape(self.held(out))
            setattr(out, self.grad, np.ones(shape) if shape else 1.0)
        out.backward()
        return {k: _plain(_get(v, self.grad), self.data) for k, v in leaves.items()}


def _options(cls: type) -> dict[str, object]:
    """Return what its constructor wants beside the data: requires_grad=True, no children."""
    found: dict[str, object] = {}
    try:
        parameters = list(inspect.signature(cls).parameters.values())[1:]
    except (TypeError, ValueError):
        return found
    for p in parameters:
        low = p.name.lower()
        if low in ("requires_grad", "require_grad", "autograd", "requires_gradient", "trainable"):
            found[p.name] = True
        elif p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            empty = any(w in low for w in ("child", "parent", "prev", "depend", "input"))
            found[p.name] = () if empty else ""
    return found


def _names(thing: object) -> list[str]:
    held = list(vars(thing)) if hasattr(thing, "__dict__") else []
    for base in type(thing).__mro__:
        held += [n for n in getattr(base, "__slots__", ()) if n not in held]
    kind = type(thing)
    properties = [n for n in dir(kind) if isinstance(getattr(kind, n, None), property)]
    return [n for n in (*held, *properties) if not n.startswith("__")]


def _get(thing: object, name: str) -> Any:
    try:
        return getattr(thing, name)
    except Exception:
        return None


def _like_gradient(name: str) -> bool:
    low = name.lower().strip("_")
    if any(w in low for w in ("fn", "func", "require", "need", "zero", "graph")):
        return False
    return "grad" in low or "deriv" in low or low in ("g", "adjoint", "bar", "dv", "delta", "d")


def _plain(value: object, data: str) -> np.ndarray | None:
    """Return a gradient as an array; an engine may keep it as a value of its own, or None."""
    if value is not None and not is_numeric(value) and hasattr(value, data):
        value = getattr(value, data)
    return None if value is None else values(value)


def name_of(program: ExpressionProgram) -> str:
    """Return a program's text, the same for a.tanh() and tanh(a)."""
    before, text = "", program.text
    while before != text:
        before, text = text, _METHOD.sub(lambda m: f"{m[2]}({m[1].strip('()')})", text)
    return text


def of_program(
    engine: ScalarEngine, program: ExpressionProgram, given: Mapping[str, object]
) -> Question:
    """Run a program and its backward; return what went in and what came back."""
    with np.errstate(all="ignore"):
        value, got = engine.value(program, given), engine.gradients(program, given)
    alone = program.use == "once"
    return Question(
        plain({(n,): np.asarray(v, dtype=float) for n, v in given.items()}),
        (value,),
        (np.ones(np.shape(value)),),
        plain({(n,): g for n, g in got.items() if g is not None}),
        name=name_of(program),
        of=program.operators[0] if alone else REUSE,
        needs=() if alone else program.operators,
    )
