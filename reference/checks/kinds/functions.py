"""A framework's own function with a gradient by hand: torch.autograd.Function, jax.custom_vjp.

The truth is the framework's gradient of the operations of its own forward, run outside of it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reference.checks.code import Layout, Path, Spec, generator, path_name, sizes_for
from reference.checks.code.argument_spec import SMALL_SIZES, spelled_layout
from reference.checks.code.vocabulary import TARGET_NAMES
from reference.checks.comparing import Assessment, Objective, row
from reference.checks.comparing.differences import by_differences
from reference.checks.explain import Explanation
from reference.checks.judging import Demonstration, Key, ProblemCase
from reference.checks.judging.settings import others
from reference.checks.kinds._catalogue import (
    FunctionProblem,
    by_catalogue,
    simple_mistakes,
)
from reference.checks.kinds._frames import (
    Frame,
    Function,
    Tensors,
    filled,
    flat_tensors,
    shape_index,
)
from reference.checks.kinds._questions import (
    Question,
    Questioned,
    RightAnswer,
    cotangents_of,
    described,
    question_of,
)
from reference.checks.kinds._rows import FLOAT32, float_truth
from reference.checks.reading import Mode
from reference.checks.running import announce
from reference.checks.showing.spelling import NoShortSpelling, literal
from reference.checks.tolerances import COARSE, DIFFERENCES, DIGITS
from reference.formats import Array


@dataclass(frozen=True)
class FrameworkFunction:
    """What was written: how it is called, outside of the framework's machinery and in it."""

    name: str
    form: str
    names: tuple[str, ...]
    """Its arguments, in order."""
    defaults: Mapping[str, object]
    primal: Callable[[Sequence[object]], object]
    custom: Callable[[Sequence[object]], object]
    text: str
    fixed: frozenset[str] = frozenset()
    """Arguments that have no gradient: nondiff_argnums."""
    thing: Any = None
    """The function itself, as its framework knows it."""
    space: Mapping[str, object] = field(default_factory=dict)
    """The names of its module."""
    primal_text: str = ""
    """The source of what the truth is taken of."""
    reference: str = ""
    """The name of the plain function that it is to compute, where its file names one."""
    cotangent: str = "dout"
    """What its backward calls the gradient with respect to its output."""
    returned: Callable[[Sequence[object]], Mapping[str, object]] | None = None
    """What its backward returns for each argument, asked outside of the machinery."""
    compared: frozenset[str] = frozenset()
    """Numbers, masks and targets that its backward returns a gradient of."""
    none: frozenset[str] = frozenset()
    """Arguments of which it returns none, where the framework makes zeros of it."""
    uncompared: tuple[str, ...] = ()
    """Numbers and masks whose gradient is returned, and cannot be compared."""


class FunctionSubject(Questioned):
    """One of them, under a layout of its arguments."""

    def __init__(
        self, written: FrameworkFunction, frame: Frame, mode: Mode, layout: Layout
    ) -> None:
        self.written, self.frame, self.mode, self.layout = written, frame, mode, layout
        self.name = written.name
        self.by_differences = False
        self.sizes: dict[str, int] = {}
        """Sizes that are settled, for a small problem."""
        self.seen: dict[int, FunctionProblem] = {}
        self.drawn: dict[int, dict[str, object]] = {}
        self.coarse = bool(FLOAT32.search(written.text))
        self.kind = frame.module
        self.uncompared = [
            f"d{n} was not compared: {n} was drawn as a fixed number or array"
            for n in written.uncompared
        ]

    @property
    def digits(self) -> float:
        """How near its gradients come to the right ones."""
        return COARSE if self.coarse else DIFFERENCES if self.by_differences else DIGITS

    def sentence(self) -> str:
        """Return what it is."""
        return f"{self.written.form}, the gradient of {self.written.reference or 'its own forward'}"

    def judged_by(self) -> str:
        """Return what the truth is."""
        operations = self.written.reference or "its own operations"
        if self.by_differences:
            return f"differences of {self.written.reference or 'its own forward'}, float64"
        if self.frame.module == "torch":
            return f"PyTorch autograd through {operations}, float64"
        return f"JAX's gradient of {operations}, float64"

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run one problem and hold every gradient to the framework's own."""
        drawn = self.inputs(seed, index)
        leaves = self.leaves(drawn)
        rng = generator(seed, index + _COTANGENTS, self.mode.style)
        kept = {p: a.copy() for p, a in leaves.items()}
        with self.frame.running(seed + index):
            mine = self.frame.pullback(self.function(self.written.custom, drawn), leaves)
            cotangents = [
                None if o is None else np.asarray(rng.standard_normal(o.shape))
                for o in mine.outputs
            ]
            got = mine.pull(cotangents)
            got |= {p: None for p in got if p[0] in self.written.none}
            truth = self._truth(drawn, kept, cotangents, seed + index)
        self.drawn[index] = drawn
        self.seen[index] = FunctionProblem(
            kept, mine.outputs, cotangents, got,
            lambda given: self._truth(drawn, kept, given, seed + index),
        )  # fmt: skip
        rows, missing = [], []
        for path, right in truth.items():
            if got.get(path) is None:
                counts = path[0].lower() not in TARGET_NAMES and right.any()
                missing += [path] if counts else []
                continue
            true = float_truth(right, self.digits)
            rows.append(row(_claim(path), path, got[path], true, self.digits))
        return ProblemCase(index, Assessment(Objective("cotangents"), rows, missing=missing))

    def settings(self) -> Mapping[str, Sequence[object]]:
        """Return the settings of its forward."""
        written = self.written
        given = [(n, written.defaults.get(n)) for n in written.names if n not in written.fixed]
        return others(given, self.layout, written.text)

    def with_setting(self, name: str, value: object) -> "FunctionSubject":
        """Return it under another value of a setting."""
        layout = {**self.layout, name: Spec("value", value=value)}
        other = FunctionSubject(self.written, self.frame, self.mode, layout)
        other.by_differences = self.by_differences
        return other

    def questions(self, seed: int, index: int) -> list[Question]:
        """Run one problem through the framework's machinery, with its own backward."""
        self.case(seed, index)
        seen, drawn = self.seen[index], self.drawn[index]
        claims = {p: g for p, g in seen.got.items() if g is not None}
        return [question_of(seen.leaves, seen.outputs, seen.cotangents, claims, drawn)]

    def solved(
        self, question: Question, seed: int, index: int, cuts: Mapping[Path, object]
    ) -> RightAnswer:
        """Run its own forward outside of the machinery, and differentiate it."""
        drawn = self.inputs(seed, index) | {p[0]: v for p, v in question.others.items()}
        leaves = dict(question.inputs)
        for path, value in leaves.items():
            if len(path) == 1:
                drawn[path[0]] = value
        with self.frame.running(seed + index):
            pulled = self.frame.pullback(self.function(self.written.primal, drawn), leaves)
            given = cotangents_of(question, pulled.outputs)
            found = self._truth(drawn, leaves, given, seed + index)
        truth = {p: float_truth(g, self.digits) for p, g in found.items()}
        return RightAnswer(tuple(o for o in pulled.outputs if o is not None), truth)

    def _truth(
        self,
        drawn: dict[str, object],
        leaves: dict[Path, Array],
        cotangents: Sequence[Array | None],
        seed: int,
    ) -> dict[Path, Array]:
        primal = self.function(self.written.primal, drawn)
        if not self.by_differences:
            with self.frame.running(seed):
                found = self.frame.pullback(primal, leaves).pull(cotangents)
            return filled(found, leaves)

        def value(given: Mapping[Path, Array]) -> float:
            with self.frame.running(seed), self.frame.without_gradient():
                outputs = primal({p: self.frame.tensor(a) for p, a in given.items()})
                plain = [None if o is None else self.frame.plain(o) for o in outputs]
            pairs = zip(plain, cotangents, strict=True)
            return float(sum(np.sum(o * c) for o, c in pairs if o is not None and c is not None))

        return by_differences(value, leaves)

    def explanation(self, cases: Sequence[ProblemCase], seed: int) -> Explanation:
        """Name the mistake where its forward is an operation of ours, else say how they differ.

        The gradients are called dx, as in NumPy code.
        """
        wrong = [c for c in cases if not c.assessment.all_right]
        seen = [self.seen[c.index] for c in wrong]
        found = by_catalogue(seen, _called)
        return found or described(wrong, seen, simple_mistakes(seen[:_EXPLAINED]), _called)

    def matrices(self) -> tuple[Array, Array] | None:
        """Return input and output of its forward, if it has one matrix of each, of one shape."""
        seen = next(iter(self.seen.values()), None)
        outputs = [o for o in seen.outputs if o is not None] if seen is not None else []
        if seen is None or len(seen.leaves) != 1 or len(outputs) != 1:
            return None
        (x,), (y,) = seen.leaves.values(), outputs
        return (x, y) if x.ndim == 2 and x.shape == y.shape else None

    # -- a small problem ---------------------------------------------------------------------

    def smaller(self, seed: int, index: int, wrong: Collection[Key]) -> Iterator["FunctionSubject"]:
        """Yield it with every size 1, then 2, and numbers that are easily read."""
        mode = replace(self.mode, style="whole")
        for sizes in SMALL_SIZES:
            one = FunctionSubject(self.written, self.frame, mode, self.layout)
            one.sizes, one.by_differences = sizes, self.by_differences
            yield one

    def demonstration(self, index: int, leaves: list[tuple[str, Path]]) -> Demonstration:
        """Return how a framework asks it for its gradients."""
        drawn, seen = self.drawn[index], self.seen[index]
        given = {k: v for k, v in drawn.items() if k in self.written.names}
        cotangents = [c for c in seen.cotangents if c is not None]
        try:
            arguments = [self._argument(n, given, seen.leaves) for n in self.written.names]
        except NoShortSpelling:
            return Demonstration(given, [])
        names = [p[0] for p in seen.leaves]
        found = ", ".join(f"{text!r}: found[{leaf[0]!r}]" for text, leaf in leaves)
        cotangent = self.written.cotangent
        called = {
            "name": self.name, "arguments": ", ".join(arguments), "names": names,
            "cotangent": cotangent,
        }  # fmt: skip
        run = [line.format_map(called) for line in _ASKED[self.frame.module]]
        run.append(f"return {{{found}}}")
        imports = (self.frame.module, *(("jax.numpy",) if self.frame.module == "jax" else ()))
        dout = cotangents[0] if len(cotangents) == 1 else cotangents
        return Demonstration({**given, cotangent: dout}, run, imports, (self.name,))

    def _argument(
        self, name: str, given: Mapping[str, object], leaves: Mapping[Path, Array]
    ) -> str:
        """Return what an argument gets in a script: a tensor of `v`, or the number itself."""
        if name not in given:
            return literal(self.written.defaults.get(name))
        if (name,) in leaves:
            return f"v[{name!r}]"
        if isinstance(given[name], list):
            raise NoShortSpelling(name)
        array = isinstance(given[name], np.ndarray) and name not in self.written.fixed
        tensor = "torch.tensor" if self.frame.module == "torch" else "jax.numpy.asarray"
        return f"{tensor}(given[{name!r}])" if array else f"given[{name!r}]"

    # -- arguments ---------------------------------------------------------------------------

    def drawn_as(self) -> str:
        """Return the shapes of its arguments."""
        return spelled_layout(self.layout)

    def inputs(self, seed: int, index: int) -> dict[str, object]:
        """Return the plain inputs of one problem."""
        announce(seed, index)
        rng = generator(seed, index, self.mode.style)
        sizes = sizes_for(seed, shape_index(self.frame, index), self.mode.style) | self.sizes
        made = {k: s.draw(rng, sizes) for k, s in self.layout.items()}
        compared = self.written.compared
        return {
            k: np.asarray(v) if self.layout[k].kind == "normal" or k in compared else v
            for k, v in made.items()
        }

    def leaves(self, drawn: Mapping[str, object]) -> dict[Path, Array]:
        """Return the float arrays among what was drawn: what gradients are taken of."""
        found: dict[Path, Array] = {}
        for name, value in drawn.items():
            plain = self.layout[name].kind in _PLAIN and name not in self.written.compared
            if name in self.written.fixed or plain:
                continue
            parts = enumerate(value) if isinstance(value, list) else ()
            members: dict[Path, object] = {(name, str(i)): v for i, v in parts} or {(name,): value}
            found |= {
                p: np.asarray(v)
                for p, v in members.items()
                if isinstance(v, np.ndarray) and v.dtype.kind == "f"
            }
        return found

    def function(
        self, run: Callable[[Sequence[Any]], object], drawn: Mapping[str, Any]
    ) -> Function:
        """Return a way to call it as a function of its leaves, the rest as drawn."""

        def function(tensors: Tensors) -> Sequence[object]:
            given = []
            for name in self.written.names:
                if name not in drawn:
                    given.append(self.written.defaults.get(name))
                    continue
                value = drawn[name]
                if (name,) in tensors:
                    value = tensors[(name,)]
                elif (name, "0") in tensors:
                    value = [tensors[(name, str(i))] for i in range(len(value))]
                elif isinstance(value, np.ndarray) and name not in self.written.fixed:
                    value = self.frame.tensor(value)
                given.append(value)
            return flat_tensors(run(given))

        return function


def _claim(leaf: Path) -> Path:
    """Return what the gradient of a leaf is called: dx of x."""
    return (f"d{leaf[0]}", *leaf[1:])


def _called(leaf: Path) -> str:
    return path_name(_claim(leaf))


_COTANGENTS = 1_000_000  # they are drawn from a stream of their own

_ASKED = {
    "torch": (
        "torch.set_default_dtype(torch.float64)",
        "leaves = {{k: torch.tensor(given[k], requires_grad=True) for k in {names!r}}}",
        "v = {{k: leaf.clone() for k, leaf in leaves.items()}}",
        "out = theirs.{name}.apply({arguments})",
        "outputs = [o for o in (out if isinstance(out, tuple) else (out,)) if o.requires_grad]",
        "dout = given[{cotangent!r}] if len(outputs) > 1 else [given[{cotangent!r}]]",
        "torch.autograd.backward(outputs, [torch.tensor(d) for d in dout])",
        "found = {{k: leaf.grad.numpy() for k, leaf in leaves.items() if leaf.grad is not None}}",
    ),
    "jax": (
        "jax.config.update('jax_enable_x64', True)",
        "leaves = {{k: jax.numpy.asarray(given[k]) for k in {names!r}}}",
        "out, pull = jax.vjp(lambda v: theirs.{name}({arguments}), leaves)",
        "dout = jax.tree.map(jax.numpy.asarray, given[{cotangent!r}])",
        "(found,) = pull(tuple(dout) if isinstance(dout, list) else dout)",
    ),
}
"""How a framework is asked for the gradients of a function of its own."""

_EXPLAINED = 4  # problems from which a mistake is named
_PLAIN = ("value", "size", "sizes", "label", "onehot", "binary", "mask")
