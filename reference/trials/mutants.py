"""Mutants of the backward code: its own source with one small thing changed.

The operators are those of the mutation testers (cosmic-ray, mutmut): another operator, a term
left out, a sign, a comparison, a constant, the branches of a choice. They exist in memory alone: a
mutant is a function that replaces the right one, and no file is changed. Those of a layer and of
second order are tried on uses of their operation (drawn arrays, options); a helper that a backward
calls is changed too, for that call alone.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from manual_backprop import graph, network
from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import GraphProblem
from manual_backprop.layers import LAYERS, Dense
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem, Trace
from manual_backprop.operation import FloatArray, LayerOperation, Registry
from reference.conventions.uses import draw, problem_of
from reference.drawing.builder import Stream
from reference.formats import DTYPES
from reference.judge import judge_all
from reference.oracles import Answer
from reference.oracles.manual import Manual
from reference.problems import AnyProblem, directed_graph
from reference.trials.second_order import problems_of

Function = Callable[..., object]
"""A backward or another function of the subject, whatever it takes."""

_SWAPS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.Lt,
    ast.Lt: ast.Gt,
    ast.GtE: ast.LtE,
    ast.LtE: ast.GtE,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
_WALKS = {"backward": graph, "losses_cotangent": network}
"""What joins the operations, and the module in which it is called by name."""

REGISTRIES: dict[str, Registry[Any]] = {
    "activation": ACTIVATIONS, "loss": LOSSES, "layer": LAYERS
}  # fmt: skip

_CALLS = {"maximum": "minimum", "minimum": "maximum", "exp": "expm1", "expm1": "exp"}


@dataclass(frozen=True)
class Mutant:
    """One changed function: what it belongs to, what was changed, and how it is injected."""

    group: str  # "activation", "loss", "layer", "network"
    operation: str
    change: str
    function: Function
    method: str = "backward"

    @property
    def name(self) -> str:
        """Whose backward, and the change."""
        return f"{self.operation}: {self.change}"


def generated() -> Iterator[Mutant]:
    """Yield every mutant of every hand-written backward, and of the walk that joins them."""
    for group, registry in (("activation", ACTIVATIONS), ("loss", LOSSES)):
        for name, operation in registry.items():
            for change, function in mutate(operation.backward):
                yield Mutant(group, name, change, function)
    for change, function in mutate(Dense.backward):
        yield Mutant("layer", "dense", change, function)
    for name, module in _WALKS.items():
        for change, function in mutate(getattr(module, name)):
            yield Mutant("network", name, change, function)


def mutate(function: Function) -> Iterator[tuple[str, Function]]:
    """Yield the mutants of one function, each with its change in words."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    definition.returns = None
    for argument in definition.args.args:
        argument.annotation = None
    places = {id(n): (holder, key) for holder, key, n in _places(definition)}
    documented = ast.get_docstring(definition) is not None
    body = definition.body[1:] if documented else definition.body
    nodes = [n for statement in body for n in ast.walk(statement)]
    for node in nodes:
        for text, changed in _changes(node):
            ast.fix_missing_locations(ast.copy_location(changed, node))
            holder, key = places[id(node)]
            holder[key] = changed
            mutant = _compiled(tree, function)
            holder[key] = node
            yield f"line {node.lineno}: {text}", mutant  # type: ignore[attr-defined]


def _places(tree: ast.AST) -> Iterator[tuple[Any, Any, ast.AST]]:
    """Yield each node below a tree, with the list or the attributes that hold it, and where."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            members = enumerate(value) if isinstance(value, list) else [(field, value)]
            holder = value if isinstance(value, list) else vars(parent)
            yield from ((holder, key, n) for key, n in members if isinstance(n, ast.AST))


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what may stand in place of one node."""
    was = ast.unparse(node) if isinstance(node, ast.expr) else ""

    def changed(new: ast.expr) -> tuple[str, ast.AST]:
        return f"`{was}` → `{ast.unparse(new)}`", new

    match node:
        case ast.BinOp(left, operator, right):
            if type(operator) in _SWAPS:
                yield changed(ast.BinOp(left, _SWAPS[type(operator)](), right))
                yield changed(left)
                if isinstance(operator, ast.Add | ast.Mult):
                    yield changed(right)
            elif isinstance(operator, ast.MatMult):
                yield changed(ast.BinOp(right, operator, left))
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            yield changed(operand)
        case ast.Compare(left, [operator], [right]) if type(operator) in _COMPARISONS:
            yield changed(ast.Compare(left, [_COMPARISONS[type(operator)]()], [right]))
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            yield changed(ast.Constant(value + 1))
            if isinstance(value, float) and value:
                yield changed(ast.Constant(value * (1 + 1e-6)))
        case ast.Call(ast.Attribute(module, name), arguments, keywords):
            if name in _CALLS:
                other = ast.Attribute(module, _CALLS[name], ast.Load())
                yield changed(ast.Call(other, arguments, keywords))
            if name == "where":
                c, a, b = arguments
                yield changed(
                    ast.Call(ast.Attribute(module, name, ast.Load()), [c, b, a], keywords)
                )
        case ast.Attribute(value, "T"):
            yield changed(value)


def _compiled(tree: ast.Module, function: Function) -> Function:
    """Return the function that the tree defines, in the namespace of the right one."""
    found: dict[str, Function] = {}
    # The source is this project's own, one operator changed.
    exec(compile(tree, "<mutant>", "exec"), function.__globals__, found)
    return found[function.__name__]


def backward_by(mutant: Mutant, problem: Problem, trace: Trace) -> dict[str, FloatArray]:
    """Walk backward with the mutant in place."""
    with injected(mutant), np.errstate(all="ignore"):
        return network.backward(problem, trace)


def injected(mutant: Mutant) -> AbstractContextManager[object]:
    """Let the mutant stand where the right function stands."""
    if mutant.group not in REGISTRIES:
        return patch.object(_WALKS[mutant.operation], mutant.operation, mutant.function)
    operations = REGISTRIES[mutant.group]._operations
    changed = replace(operations[mutant.operation], **{mutant.method: mutant.function})
    return patch.dict(operations, {mutant.operation: changed})


# -- layers ----------------------------------------------------------------------------------------

Arrays = Mapping[str, FloatArray]
Bank = Sequence[tuple[AnyProblem, Answer]]
"""Problems with the right answers."""
_USES, _REGIMES, _RANGES = {"few uses": range(8), "many uses": range(8, 120)}, 240, range(240)
"""The seeds of the uses on which each mutant is tried (in each dtype), and of more uses for those
that survive; how many problems of all regimes are tried then; the seeds of uses with numbers far
out in the range, which are tried last."""
_ROUNDING = 4.0
"""Gradients that differ by at most this many ulps of the largest entry differ by rounding."""


def of_layers() -> Iterator[Mutant]:
    """Yield every mutant of the backward of every layer but the dense one, and of its helpers."""
    for name, operation in LAYERS.items():
        if name == "dense":
            continue
        right = operation.backward
        for change, function in (*mutate(right), *mutate_helpers(right)):
            yield Mutant("layer", name, change, function)


def mutate_helpers(method: Function) -> Iterator[tuple[str, Function]]:
    """Yield a method with each mutant of each helper that it calls, and what was changed.

    The helpers of helpers are among them, and the methods of classes that are made.
    """
    for right, owners in _helpers(method).items():
        for change, function in mutate(right):
            yield f"{right.__qualname__}, {change}", _with_helper(method, owners, right, function)


_Owner = ModuleType | type
"""A module or a class that knows a helper by its name."""


def _helpers(method: Function) -> dict[FunctionType, list[_Owner]]:
    """Return the functions and methods of the subject that a method calls, and who knows them."""
    found: dict[FunctionType, list[_Owner]] = {}
    while True:
        functions: list[Function] = [method, *found]
        called = {"__init__"}.union(*(_names(f.__code__) for f in functions))
        owners: list[_Owner] = list(dict.fromkeys(sys.modules[f.__module__] for f in functions))
        named = [v for owner in owners for n, v in vars(owner).items() if n in called]
        owners += dict.fromkeys(v for v in named if isinstance(v, type))
        again: dict[FunctionType, list[_Owner]] = {}
        for owner in owners:
            for name, value in vars(owner).items():
                if name in called and isinstance(value, FunctionType) and value is not method:
                    if value.__module__.startswith("manual_backprop."):
                        again.setdefault(value, []).append(owner)
        if again == found:
            return found
        found = again


def _names(code: CodeType) -> set[str]:
    """Return the names that a function uses, those of its generators and lambdas among them."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def _with_helper(
    method: Function, owners: Iterable[_Owner], right: FunctionType, helper: Function
) -> Function:
    """Return the method with one of its helpers changed while it runs."""

    def changed(*arrays: object, **options: object) -> object:
        with ExitStack() as stack:
            for owner in owners:
                stack.enter_context(patch.object(owner, right.__name__, helper))
            return method(*arrays, **options)

    return changed


@cache
def _bank(name: str, bank: str) -> Bank:
    """Return problems of a layer; every fourth use is at an edge of the layer."""
    if bank == "ranges":
        far = [_far_out(LAYERS[name], seed, dtype) for seed in _RANGES for dtype in DTYPES]
        return _agreeing(bank_of(far))
    if bank == "regimes":
        return bank_of([
            GraphProblem(p.graph, p.arrays, p.cotangents)
            for p in problems_of(name, _REGIMES) if isinstance(p, GraphProblem)
        ])  # fmt: skip
    uses = [draw(LAYERS[name], seed, dtype) for seed in _USES[bank] for dtype in DTYPES]
    return bank_of([problem_of(LAYERS[name], use) for use in uses])


def _far_out(operation: LayerOperation, seed: int, dtype: str) -> GraphProblem:
    """Return a use whose arrays are huge, tiny, or far from zero.

    The square of what is huge or tiny leaves the range; a 0 is among what is tiny. Far from zero,
    half of the digits are equal.
    """
    stream, info, given = Stream(33, seed), np.finfo(dtype), draw(operation, seed, dtype)
    power = info.maxexp * 9 // 16

    def moved(array: FloatArray) -> FloatArray:
        far = array + array.dtype.type(2.0 ** (info.nmant // 2))
        huge, tiny = np.ldexp(array, power), np.ldexp(array, -power)
        tiny.flat[:1] = 0
        return stream.choice((huge, tiny, far))

    arrays = {n: moved(a) if n in given.floats else a for n, a in given.arrays.items()}
    return problem_of(operation, given._replace(arrays=arrays, dy=moved(given.dy)))


def _agreeing(bank: Bank) -> Bank:
    """Return the problems of a bank of which the right answer is AGREE: not all far out are."""
    return [one for one, kind in zip(bank, kinds_of(bank), strict=True) if kind == "AGREE"]


def bank_of(problems: Sequence[AnyProblem]) -> Bank:
    """Return problems with the right answers."""
    return list(zip(problems, Manual().answers(problems), strict=True))


def mutant_result(mutant: Mutant) -> tuple[bool, str]:
    """Say whether the judge catches a mutant of a layer, and if not, why."""
    banks = (_bank(mutant.operation, bank) for bank in (*_USES, "regimes", "ranges"))
    return result_of(mutant, banks, lambda answer: answer.gradients)


def result_of(
    mutant: Mutant, banks: Iterable[Bank], changed: Callable[[Answer], Arrays]
) -> tuple[bool, str]:
    """Say whether the judge catches a mutant on one of the banks, and if not, why.

    `changed` returns the tensors of an answer that the mutant may change. One that loses digits is
    caught too: the right function is AGREE and the mutant PRECISION.
    """
    worst, count, worse = 0.0, 0, set[str]()
    for bank in banks:
        problems = [problem for problem, _ in bank]
        try:
            with injected(mutant), np.errstate(all="ignore"):
                answers = [_with_arrays(a) for a in Manual().answers(problems)]
            pairs = zip(bank, answers, strict=True)
            ulps = [apart_in_ulps(changed(right), changed(a)) for (_, right), a in pairs]
        except Exception:  # a mutant that raises is noticed by its caller
            return True, ""
        worst, count = max(worst, *ulps), count + len(bank)
        met = [k for k, apart in enumerate(ulps) if apart]
        judged = kinds_of([(problems[k], answers[k]) for k in met])
        if "DEVIATES" in judged:
            return True, ""
        lossy = [(k, now) for k, now in zip(met, judged, strict=True) if now != "AGREE"]
        before = kinds_of([bank[k] for k, _ in lossy])
        pairs_of_kinds = zip((now for _, now in lossy), before, strict=True)
        worse |= {now for now, then in pairs_of_kinds if now != then or now == "SKIPPED"}
        if "PRECISION" in worse:
            return True, ""
    return False, survived(worst, count, worse)


def kinds_of(bank: Bank) -> list[str]:
    """Return what the judge says of each answer, given as the hand-written one."""
    judged = judge_all([problem for problem, _ in bank], {"manual": [answer for _, answer in bank]})
    return [judgement.kind for judgement in judged]


def _with_arrays(answer: Answer) -> Answer:
    """Return an answer whose numbers are arrays: a mutant may return a plain number."""
    parts = (answer.gradients, answer.products)
    gradients, products = ({n: np.asarray(v) for n, v in part.items()} for part in parts)
    return replace(answer, gradients=gradients, products=products)


def survived(worst: float, uses: int, kinds: set[str]) -> str:
    """Say why a mutant is not caught: how far it is off at most, and its verdicts."""
    if not worst:
        return f"equivalent: the same bits at {uses} uses"
    if worst <= _ROUNDING:
        return f"equivalent but for rounding: at most {worst:.2g} ulp at {uses} uses"
    if kinds <= {"AGREE", "CONVENTION"}:
        return "equivalent but for kinks and rounding: admissible at every use"
    return f"not caught: {', '.join(sorted(kinds))}"


def apart_in_ulps(right: Arrays, other: Arrays) -> float:
    """Return how far tensors are apart, in ulps of each one's largest entry."""
    worst = 0.0
    for name, gradient in right.items():
        found = np.asarray(other[name])
        if found.shape != gradient.shape:
            return np.inf
        if np.array_equal(found, gradient, equal_nan=True):
            continue
        with np.errstate(all="ignore"):
            unit = float(np.spacing(np.abs(gradient).max()))
            apart = float(np.abs(found.astype(np.float64) - gradient).max()) / unit
        worst = max(worst, apart if np.isfinite(apart) else np.inf)
    return worst


# -- second order ----------------------------------------------------------------------------------

_SECOND_SIZES = 12, 96, 480
"""Problems that a mutant meets at first, and those that what survives meets."""


_SECOND_USES = 160
"""Uses of a layer that what survives meets: all of its options are among them."""


def of_second() -> Iterator[Mutant]:
    """Yield every mutant of every operation's `tangent` and `second`."""
    for group, registry in REGISTRIES.items():
        for name, operation in registry.items():
            for method in ("tangent", "second"):
                right = getattr(operation, method, None)
                if right is None:  # a loss has no tangent of its own
                    continue
                for change, function in (*mutate(right), *mutate_helpers(right)):
                    yield Mutant(group, name, f"{method}, {change}", function, method)


@cache
def _second_bank(name: str, size: int) -> Bank:
    """Return problems of an operation with the right answers, in the end each of its own shape.

    Then numbers far out in the range are among them.
    """
    if name not in LAYERS or size != _SECOND_SIZES[-1]:
        return bank_of(list(problems_of(name, size)))
    uses = [draw(LAYERS[name], k, DTYPES[k % 2]) for k in range(_SECOND_USES)]
    graphs = [problem_of(LAYERS[name], use) for use in uses]
    far = [_far_out(LAYERS[name], k, DTYPES[k % 2]) for k in _RANGES]
    drawn, out = (
        bank_of([directed_graph(graph, Stream(_SECOND_USES, k)) for k, graph in enumerate(some)])
        for some in (graphs, far)
    )
    return [*drawn, *_agreeing(out)]


def result_of_second(mutant: Mutant) -> tuple[bool, str]:
    """Say whether the judge catches a mutant of second order, and if not, why."""
    return result_of(mutant, (_second_bank(mutant.operation, n) for n in _SECOND_SIZES), _moves)


def _moves(answer: Answer) -> Arrays:
    return {**answer.tangents, **{f"product {n}": p for n, p in answer.products.items()}}
