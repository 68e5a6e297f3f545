"""A framework's own function with a gradient by hand: torch.autograd.Function, jax.custom_vjp.

The truth is the framework's gradient of the operations of its own forward, run outside of it.
"""

import inspect
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference.checks.assess import Assessment, close
from reference.checks.inputs import (
    Layout,
    Mode,
    Request,
    Spec,
    layouts,
    modes,
    sizes_for,
    weight_names,
)
from reference.checks.inventory import Unit
from reference.checks.kinds._catalogue import Seen, by_catalogue
from reference.checks.kinds._frames import (
    Array,
    Frame,
    Function,
    Path,
    Tensors,
    flat_tensors,
    shape_index,
)
from reference.checks.kinds._rows import COARSE, DIFFERENCES, FLOAT32, differences, float_truth, row
from reference.checks.kinds._torch_context import Context
from reference.checks.kinds._words import Explained, described, spelled
from reference.checks.objective import Objective
from reference.checks.search import Failure
from reference.checks.subject import Case
from reference.checks.vocabulary import TARGET_NAMES
from reference.diagnose import Diagnosis

MAX_SECONDS = 3.0
_FAR = 1e-6  # what autograd and differences may be apart where autograd sees all of the forward
NUMBERS = (0.7, 2, 1)
"""What is tried for an argument that has no gradient: a rate, a size."""
_TRIED = 4  # layouts that run and are judged, where the first ones are not right
_LOSING = re.compile(r"detach|\.data\b|no_grad|item\(\)|numpy\(\)|stop_gradient|(?<![.\w])float\(")
"""What autograd does not see through."""


@dataclass(frozen=True)
class Written:
    """What was written: how it is called, outside of the framework's machinery and in it."""

    name: str
    form: str
    names: tuple[str, ...]
    """Its arguments, in order."""
    defaults: Mapping[str, Any]
    primal: Callable[[Sequence[Any]], Any]
    custom: Callable[[Sequence[Any]], Any]
    text: str
    fixed: frozenset[str] = frozenset()
    """Arguments that have no gradient: nondiff_argnums."""


class FunctionSubject(Explained):
    """One of them, under a layout of its arguments."""

    def __init__(self, written: Written, frame: Frame, mode: Mode, layout: Layout) -> None:
        self.written, self.frame, self.mode, self.layout = written, frame, mode, layout
        self.name = written.name
        self.by_differences = False
        self._seen: dict[int, Seen] = {}
        self.coarse = bool(FLOAT32.search(written.text))

    def sentence(self) -> str:
        """Return what it is."""
        return f"{self.written.form}, the gradient of its own forward"

    def judged_by(self) -> str:
        """Return what the truth is."""
        if self.by_differences:
            return "differences of its own forward, float64"
        if self.frame.module == "torch":
            return "PyTorch autograd through its own operations, float64"
        return "JAX's gradient of its own operations, float64"

    def inputs(self, seed: int, index: int) -> dict[str, Any]:
        """Return the plain inputs of one problem."""
        return self._drawn(seed, index)

    def case(self, seed: int, index: int) -> Case:
        """Run one problem and hold every gradient to the framework's own."""
        drawn = self._drawn(seed, index)
        leaves = self._leaves(drawn)
        rng = np.random.default_rng([seed, index, 1])
        kept = {p: a.copy() for p, a in leaves.items()}
        with self.frame.running(seed + index):
            mine = self.frame.pullback(self._function(self.written.custom, drawn), leaves)
            cotangents = [None if o is None else np.asarray(rng.standard_normal(o.shape))
                          for o in mine.outputs]  # fmt: skip
            got = mine.pull(cotangents)
            truth = self._truth(drawn, kept, cotangents, seed + index)
        self._seen[index] = Seen(kept, mine.outputs, cotangents, got)
        digits = COARSE if self.coarse else DIFFERENCES if self.by_differences else 1e-9
        rows, missing = [], []
        for path, right in truth.items():
            if got.get(path) is None:
                told = path[0].lower() not in TARGET_NAMES and right.any()
                missing += [path] if told else []
                continue
            rows.append(row(path, path, got[path], float_truth(right, digits), digits))
        return Case(index, Assessment(Objective("cotangents"), rows, missing=missing))

    def _truth(
        self, drawn: dict[str, Any], leaves: dict[Path, Array],
        cotangents: Sequence[Array | None], seed: int,
    ) -> dict[Path, Array]:  # fmt: skip
        primal = self._function(self.written.primal, drawn)
        if not self.by_differences:
            with self.frame.running(seed):
                found = self.frame.pullback(primal, leaves).pull(cotangents)
            return {p: np.zeros_like(leaves[p]) if g is None else g for p, g in found.items()}

        def value(given: Mapping[Path, Array]) -> float:
            with self.frame.running(seed), self.frame.without_gradient():
                outputs = primal({p: self.frame.tensor(a) for p, a in given.items()})
                plain = [None if o is None else self.frame.plain(o) for o in outputs]
            pairs = zip(plain, cotangents, strict=True)
            return float(sum(np.sum(o * c) for o, c in pairs if o is not None and c is not None))

        return differences(value, leaves)

    def diagnosis(self, cases: Sequence[Case]) -> Diagnosis:
        """Name the mistake where its forward is an operation of ours, else say how they differ."""
        wrong = [c for c in cases if not c.assessment.all_right]
        found = by_catalogue([self._seen[c.index] for c in wrong])
        return found or described(
            wrong, lambda c: {spelled(p): a for p, a in self._seen[c.index].leaves.items()}
        )

    # -- arguments ---------------------------------------------------------------------------

    def _drawn(self, seed: int, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([seed, index])
        sizes = sizes_for(seed, shape_index(self.frame, index), self.mode.style)
        made = {k: s.draw(rng, sizes) for k, s in self.layout.items()}
        return {k: np.asarray(v) if self.layout[k].kind == "normal" else v for k, v in made.items()}

    def _leaves(self, drawn: Mapping[str, Any]) -> dict[Path, Array]:
        found: dict[Path, Array] = {}
        for name, value in drawn.items():
            if name in self.written.fixed or self.layout[name].kind in _PLAIN:
                continue
            parts = enumerate(value) if isinstance(value, list) else ()
            members: dict[Path, Any] = {(name, str(i)): v for i, v in parts} or {(name,): value}
            found |= {p: np.asarray(v) for p, v in members.items()
                      if isinstance(v, np.ndarray) and v.dtype.kind == "f"}  # fmt: skip
        return found

    def _function(self, run: Callable[[Sequence[Any]], Any], drawn: Mapping[str, Any]) -> Function:
        def function(tensors: Tensors) -> Sequence[Any]:
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


_PLAIN = ("value", "size", "sizes", "number", "label", "onehot", "binary", "mask")


# -- what was written --------------------------------------------------------------------------


def torch_subject(
    unit: Unit, frame: Frame, seed: int, shapes: Mapping[str, Spec]
) -> FunctionSubject | Failure:
    """Return the subject of a torch.autograd.Function."""
    cls = unit.thing
    import torch

    apart = cls.setup_context is not torch.autograd.Function.setup_context
    try:
        parameters = list(inspect.signature(cls.forward).parameters.values())
    except (TypeError, ValueError):
        return Failure("its forward has no readable arguments")
    parameters = parameters if apart else parameters[1:]

    def primal(given: Sequence[Any]) -> Any:
        context = Context(len(given))
        outputs = cls.forward(*given) if apart else cls.forward(context, *given)
        if apart:
            cls.setup_context(context, tuple(given), outputs)
        return context.differentiable(outputs)

    written = Written(
        unit.name, "a torch.autograd.Function", *_named(parameters), primal,
        lambda given: cls.apply(*given), _source(cls),
    )  # fmt: skip
    return _found(written, frame, seed, shapes)


def jax_subject(
    unit: Unit, frame: Frame, seed: int, shapes: Mapping[str, Spec]
) -> FunctionSubject | Failure:
    """Return the subject of a jax.custom_vjp function."""
    thing = unit.thing
    primal = getattr(thing, "fun", None) or thing.__wrapped__
    try:
        parameters = list(inspect.signature(primal).parameters.values())
    except (TypeError, ValueError):
        return Failure("its function has no readable arguments")
    names, defaults = _named(parameters)
    positions = getattr(thing, "nondiff_argnums", ())
    fixed = frozenset(
        n for i, n in enumerate(names) if i in positions or i - len(names) in positions
    )
    text = _source(primal) + "".join(_source(getattr(thing, a, None)) for a in ("fwd", "bwd"))
    written = Written(
        unit.name, "a jax.custom_vjp", names, defaults, lambda given: primal(*given),
        lambda given: thing(*given), text, fixed,
    )  # fmt: skip
    return _found(written, frame, seed, shapes)


def _named(parameters: Sequence[inspect.Parameter]) -> tuple[tuple[str, ...], dict[str, Any]]:
    ones = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return (tuple(p.name for p in ones),
            {p.name: p.default for p in ones if p.default is not p.empty})  # fmt: skip


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(inspect.unwrap(thing)) if thing is not None else ""
    except (OSError, TypeError):
        return getattr(thing, "__name__", "")


# -- which arguments ---------------------------------------------------------------------------


def _found(
    written: Written, frame: Frame, seed: int, shapes: Mapping[str, Spec]
) -> FunctionSubject | Failure:
    failure = Failure("no arguments were found that its forward runs with")
    best: tuple[float, FunctionSubject] | None = None
    judged = 0
    for subject in _runnable(written, frame, seed, shapes, failure):
        try:
            rows = subject.case(seed, 0).assessment
        except Exception as error:
            if not failure.errors or failure.reason != "its backward raised":
                failure.reason, failure.raised = "its backward raised", error
                failure.errors = [f"{type(error).__name__}: {' '.join(str(error).split())}"]
            continue
        judged += 1
        right = sum(r.right for r in rows.rows) / (len(rows.rows) or 1)
        if rows.rows and (best is None or right > best[0]):
            best = right, subject
        if (best is not None and best[0] == 1) or judged >= _TRIED:
            break
    if best is None:
        return failure
    return _checked(_numbers_for_none(best[1], seed), seed)


def _runnable(
    written: Written, frame: Frame, seed: int, shapes: Mapping[str, Spec], failure: Failure
) -> Iterator[FunctionSubject]:
    """Yield subjects under the layouts that the forward runs with, likely ones first."""
    drawn = [
        n for n in written.names if n not in written.defaults or _stands_for_an_array(n, written)
    ]
    request = Request([n for n in drawn if n not in shapes], written.text,
                      {k: v for k, v in shapes.items() if k in drawn})  # fmt: skip
    began = time.monotonic()
    alike = _all_alike(request)
    for mode, layout in itertools.chain(
        alike, sorted_by_shape(itertools.islice(layouts(request), 2_000))
    ):
        if time.monotonic() - began > MAX_SECONDS:
            return
        subject = FunctionSubject(written, frame, mode, layout)
        inputs = subject.inputs(seed, 0)
        failure.tried += 1
        try:
            with frame.running(seed):
                leaves = subject._leaves(inputs)
                frame.pullback(subject._function(written.primal, inputs), leaves)
        except Exception as error:
            if failure.raised is None:
                failure.errors.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
            continue
        if leaves:
            yield subject


def _all_alike(request: Request) -> list[tuple[Mode, Layout]]:
    """Return the layout of a function of several arrays that are all alike: f(a, b) by entry."""
    if len(request.names) < 2 or weight_names(request.names):
        return []
    mode = next(modes(request.text))
    rows = Spec("normal", ("N", "D"))
    return [
        (
            Mode(rows, mode.turned, mode.bias),
            {**request.fixed, **dict.fromkeys(request.names, rows)},
        )
    ]


def sorted_by_shape(found: Iterable[tuple[Mode, Layout]]) -> list[tuple[Mode, Layout]]:
    """Return layouts in their order, those with a square array last: it hides a transpose."""

    def square(pair: tuple[Mode, Layout]) -> bool:
        mode, layout = pair
        return mode.style == "two" or any(
            s.kind == "normal" and len(set(s.dims)) < len(s.dims) and "K" not in s.dims
            for s in layout.values()
        )

    return sorted(found, key=square)


def _stands_for_an_array(name: str, written: Written) -> bool:
    low = name.lower()
    return written.defaults[name] is None and low in ("b", "bias", "weight", "w", "beta", "gamma")


def _numbers_for_none(subject: FunctionSubject, seed: int) -> FunctionSubject:
    """Draw a plain number for what the backward has no gradient of, where it runs with one."""
    subject.case(seed, 0)
    for path, got in subject._seen[0].got.items():
        if got is not None:
            continue
        for value in NUMBERS:
            layout = {**subject.layout, path[0]: Spec("value", value=value)}
            other = FunctionSubject(subject.written, subject.frame, subject.mode, layout)
            try:
                found = other.case(seed, 0).assessment
            except Exception:
                continue
            if found.rows:
                subject = other
                break
    return subject


_FLAT = (
    "its forward is flat, so that its gradient is 0 nearly everywhere: a straight-through estimate "
    "has no gradient to be compared with"
)


def _checked(subject: FunctionSubject, seed: int) -> FunctionSubject | Failure:
    """Judge by differences where autograd does not see all of the forward; refuse a flat one."""
    first = subject.case(seed, 0).assessment
    flat = all(not r.truth.value.any() for r in first.rows) and any(r.got.any() for r in first.rows)
    if not flat and first.all_right:
        return subject
    if flat or (_LOSING.search(subject.written.text) and not subject.coarse):
        other = FunctionSubject(subject.written, subject.frame, subject.mode, subject.layout)
        other.by_differences = True
        try:
            again = other.case(seed, 0).assessment
        except Exception:
            again = first
        if flat and all(not r.truth.value.any() for r in again.rows):
            return Failure(_FLAT)
        if again.rows and not _same_truth(first, again):
            return other
    return subject


def _same_truth(one: Assessment, other: Assessment) -> bool:
    if len(one.rows) != len(other.rows):
        return False
    return all(
        close(a.truth.value, b.truth, 1.0, _FAR).all()
        for a, b in zip(one.rows, other.rows, strict=True)
    )


__all__ = ["FunctionSubject", "Written", "jax_subject", "torch_subject"]
