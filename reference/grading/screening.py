"""Reads a submission's source, without running it: what was attempted, and what is not by hand.

Only what the backward itself reaches counts: a gradient check by differences in the same file is
good practice, a backward made of differences is not a backward.
"""

import ast
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from reference.checks.code import plain, text_of
from reports.graded import Notice

FRAMEWORKS = frozenset(
    "torch jax tensorflow keras autograd mxnet tinygrad theano sympy casadi numdifftools "
    "algopy chainer paddle mlx cupy aesara pytensor".split()
)
NUMERICAL = frozenset(
    "approx_fprime check_grad approx_derivative jacobian derivative "
    "numerical_gradient numerical_grad eval_numerical_gradient grad_check".split()
)
DERIVATIVES = frozenset(
    "autograd grad vjp jvp value_and_grad jacrev jacfwd jacobian hessian linearize "
    "linear_transpose enable_grad requires_grad_ aten".split()
)
"""What differentiates, in a framework whose arithmetic is asked for."""
HARNESS = frozenset({"reference", "manual_backprop", "reports", "flint"})
_EVASIVE = {
    **dict.fromkeys(("exec", "eval", "compile", "__import__", "globals", "vars"), "calls {}"),
    **dict.fromkeys(("importlib", "ctypes", "gc", "inspect", "subprocess", "socket"), "uses {}"),
    **dict.fromkeys(("multiprocessing", "signal", "atexit", "pickle", "builtins"), "uses {}"),
}
_SYSTEM = frozenset(
    "_getframe modules settrace setprofile addaudithook _exit kill fork system popen execv "
    "__subclasses__ __globals__ __builtins__ __code__ f_back f_locals f_globals".split()
)
_STEPS = frozenset({"h", "eps", "epsilon", "delta", "step", "dx", "perturbation", "tiny"})
MAX_STEP = 0.02
MAX_LITERAL = 24
"""Numbers written out in one function: more are a table of answers, not a formula."""


@dataclass
class SourceFunction:
    """A function or method of the file."""

    name: str
    node: ast.FunctionDef
    calls: set[str]

    @property
    def attempted(self) -> bool:
        """Whether its body does anything: not `pass`, `return None` or an error for later."""
        unset = {
            t.id
            for s in self.node.body
            if isinstance(s, ast.Assign) and _is_nothing(s)
            for node in s.targets
            for t in ast.walk(node)
            if isinstance(t, ast.Name)
        }
        return any(not _is_nothing(s, unset) for s in self.node.body)


@dataclass
class Screened:
    """A file's functions by name, and the names that stand for frameworks in it."""

    routines: dict[str, list[SourceFunction]]
    frameworks: dict[str, str]
    """The name in the file -> the package."""

    def attempted(self, names: tuple[str, ...]) -> bool | None:
        """Whether a function of one of these names does anything; None where there is none."""
        found = [r for n in names for r in self._named(n)]
        return any(r.attempted for r in found) if found else None

    def of(self, name: str, kind: str = "") -> Iterator[Notice]:
        """Yield what is not by hand in what a function reaches.

        kind: the framework for whose tensors it is to be written: its arithmetic is none of that,
        its derivatives are.
        """
        reached = self._reached(name)
        for what, wording in (
            ("framework", lambda routine: self._framework(routine, kind)),
            ("differences", _differences),
            ("answers", _table),
        ):
            text = next(filter(None, map(wording, reached)), "")
            if text:
                yield Notice(what, text, grave=True)

    def _named(self, name: str) -> list[SourceFunction]:
        wanted = {plain(name), plain(name.rpartition(".")[2])}
        exact = [r for rs in self.routines.values() for r in rs if plain(r.name) == plain(name)]
        short = [r for n, rs in self.routines.items() for r in rs if plain(n) in wanted]
        methods = [
            r for rs in self.routines.values() for r in rs if r.name.partition(".")[0] == name
        ]
        return exact or short or methods  # an engine, a torch.autograd.Function: a whole class

    def _reached(self, name: str) -> list[SourceFunction]:
        todo, seen = self._named(name), dict[str, SourceFunction]()
        while todo:
            one = todo.pop()
            if one.name not in seen:
                seen[one.name] = one
                todo += [r for call in sorted(one.calls) for r in self.routines.get(call, [])]
        return list(seen.values())

    def _framework(self, routine: SourceFunction, kind: str) -> str:
        imported = self.frameworks | dict(_imports(routine.node))
        for node in ast.walk(routine.node):
            package = imported.get(node.id, "") if isinstance(node, ast.Name) else ""
            if kind and package.partition(".")[0] == kind:
                package = package if DERIVATIVES & set(package.split(".")) else ""
            elif kind and not package:
                package = _derivative(node)
            if package:
                line = getattr(node, "lineno", routine.node.lineno)
                return (
                    f"{routine.name} (line {line}) takes its gradient from {package}, "
                    "but a hand-written backward is required"
                )
        return ""


_PARSING = threading.Lock()
"""Threads grade side by side, and Python 3.11 counts the depth of a tree for all of them at once:
SystemError, "AST constructor recursion depth mismatch"."""


def screen_text(file: str, content: bytes) -> tuple[Screened, list[Notice]]:
    """Return a file's functions, and what of the whole file a teacher should look at.

    Raises what reading or parsing it raises: SyntaxError, ValueError, KeyError, TypeError.
    """
    text = text_of(file, content)
    with _PARSING:
        tree = ast.parse(text)
    routines: dict[str, list[SourceFunction]] = {}
    for owner, node in _functions(tree):
        name = f"{owner}.{node.name}" if owner else node.name
        routine = SourceFunction(name, node, set(_called(node)))
        routines.setdefault(node.name, []).append(routine)
    return Screened(routines, dict(_imports(tree))), list(_evasions(tree))


def _functions(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, node.name)
        elif isinstance(node, ast.FunctionDef):
            yield owner, node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _functions(node, owner)


def _called(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            if isinstance(inner.func, ast.Name):
                yield inner.func.id
            elif isinstance(inner.func, ast.Attribute):
                yield inner.func.attr


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (name in the file, package) of everything imported from a framework."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            pairs = [(a.asname or a.name.split(".")[0], a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            # from jax import grad: which of its functions it is
            pairs = [(a.asname or a.name, f"{node.module or ''}.{a.name}") for a in node.names]
        else:
            continue
        yield from ((n, m) for n, m in pairs if m.split(".")[0] in FRAMEWORKS | HARNESS)


def _derivative(node: ast.AST) -> str:
    """Return a use of a framework's own derivatives: torch.autograd, jax.grad, loss.backward()."""
    match node:
        case ast.Attribute(attr=name) if name in DERIVATIVES - {"grad"}:
            return ast.unparse(node)
        case ast.Call(func=ast.Attribute(attr="grad")):
            return ast.unparse(node.func)
        case ast.Call(func=ast.Attribute(attr="backward"), args=[]):
            return ast.unparse(node.func)
        case ast.keyword(arg="requires_grad", value=ast.Constant(value=True)):
            return "requires_grad"
    return ""


def _is_nothing(statement: ast.stmt, unset: Collection[str] = ()) -> bool:
    """Whether a statement does nothing; unset: names that hold None, or what was only unpacked."""
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Return(value=None):
            return True
        case ast.Raise(exc=ast.Name(id=name)) | ast.Raise(exc=ast.Call(func=ast.Name(id=name))):
            return name == "NotImplementedError"
        case ast.Assign(value=ast.Name() | ast.Subscript()):
            return True  # x, w, b = cache: unpacking alone is not an attempt
        case ast.Return(value=ast.expr() as value) | ast.Assign(value=value):
            parts = value.values if isinstance(value, ast.Dict) else getattr(value, "elts", [value])
            return all(
                (isinstance(p, ast.Constant) and p.value is None)
                or (isinstance(p, ast.Name) and p.id in unset)
                for p in parts
            )
    return False


# -- differences in place of a backward --------------------------------------------------------


def _differences(routine: SourceFunction) -> str:
    how = _differs(routine.node)
    where = f"{routine.name} (line {routine.node.lineno})"
    return f"{where} {how}, but a hand-written backward is required" if how else ""


def _differs(node: ast.FunctionDef) -> str:
    steps = _small(node)
    calls = list(_called(node))
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, complex):
            return "takes a complex step"
        if isinstance(inner, ast.Call):
            name = getattr(inner.func, "attr", getattr(inner.func, "id", ""))
            module = ast.unparse(inner.func).split(".")[0]
            if name in NUMERICAL or (name == "gradient" and module in ("np", "numpy")):
                return f"calls {ast.unparse(inner.func)}"
    for inner in ast.walk(node):
        if (
            isinstance(inner, ast.BinOp)
            and isinstance(inner.op, ast.Div)
            and _is_step(inner.right, steps)
            and _is_difference(inner.left, node)
            and calls
        ):
            return f"divides a difference by {ast.unparse(inner.right)}: finite differences"
    return ""


def _small(node: ast.FunctionDef) -> set[str]:
    """Return the names that hold a small constant: h = 1e-5, def f(x, eps=1e-6)."""
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign) and _is_small(inner.value):
            found |= {t.id for t in inner.targets if isinstance(t, ast.Name)}
    arguments = node.args.args[len(node.args.args) - len(node.args.defaults) :]
    found |= {a.arg for a, d in zip(arguments, node.args.defaults, strict=True) if _is_small(d)}
    named = {a.arg for a in node.args.args if a.arg.lower() in _STEPS - {"dx"}}
    return found | named | {"h", "eps", "EPS", "H"}


def _is_small(value: ast.AST) -> bool:
    match value:
        case ast.Constant(value=float(number)):
            return 0 < number <= MAX_STEP
        case ast.BinOp(left=ast.Constant(value=int(a)), op=ast.Pow(), right=ast.UnaryOp()):
            return a > 1
        case ast.Call(func=ast.Attribute(attr="sqrt" | "cbrt")):
            return "eps" in ast.unparse(value)
    return False


def _is_step(value: ast.AST, steps: set[str]) -> bool:
    """Whether an expression is a small step, or a number times it: h, 2*h, 1e-5."""
    match value:
        case ast.Name(id=name):
            return name in steps
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            one, other = _is_step(left, steps), _is_step(right, steps)
            return (one and isinstance(right, ast.Constant)) or (
                other and isinstance(left, ast.Constant)
            )
    return _is_small(value)


def _is_difference(value: ast.AST, node: ast.FunctionDef) -> bool:
    """Whether an expression is one value of a function less another, or its sum: (f(a) - f(b))."""
    found = [n for n in ast.walk(value) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Sub)]
    return any(
        all(_comes_from_a_call(side, node) for side in (sub.left, sub.right)) for sub in found
    )


def _comes_from_a_call(value: ast.AST, node: ast.FunctionDef) -> bool:
    if any(isinstance(n, ast.Call) for n in ast.walk(value)):
        return True
    names = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign) and any(
            isinstance(n, ast.Call) for n in ast.walk(inner.value)
        ):
            bound = {n.id for t in inner.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            if names & bound:
                return True
    return False


def _table(routine: SourceFunction) -> str:
    constants = (n.value for n in ast.walk(routine.node) if isinstance(n, ast.Constant))
    numbers = sum(isinstance(value, float) for value in constants)
    if numbers <= MAX_LITERAL:
        return ""
    return (
        f"{routine.name} (line {routine.node.lineno}) holds {numbers} numbers written out: "
        "answers, not a formula"
    )


# -- what no gradient needs --------------------------------------------------------------------


def _evasions(tree: ast.AST) -> Iterator[Notice]:
    """Yield what a teacher should look at, since it could reach around the judge."""
    seen: set[str] = set()
    for node in ast.walk(tree):
        text = _evasion(node)
        if text and text not in seen:
            seen.add(text)
            yield Notice("look", f"line {getattr(node, 'lineno', 0)} {text}")


def _evasion(node: ast.AST) -> str:
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in _EVASIVE:
            return f"calls {name}"
        case ast.Import(names=names):
            found = [a.name for a in names if a.name.split(".")[0] in {*_EVASIVE, *HARNESS}]
            return f"imports {', '.join(found)}" if found else ""
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in {*_EVASIVE, *HARNESS}:
            return f"imports {module}"
        case ast.Attribute(attr=name) if name in _SYSTEM:
            return f"uses {ast.unparse(node)[:60]}"
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="np" | "numpy" | "math")) as t]):
            return f"puts something in the place of {ast.unparse(t)}"
        case ast.Call(func=ast.Name(id="setattr"), args=[ast.Name(id="np" | "numpy"), *_]):
            return "puts something in the place of a function of NumPy"
    return ""
