"""Finds how a framework's own function is called: what it takes, in which shapes."""

import inspect
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from reference.checks.code import Layout, Spec, Unit, raised_text, source_of
from reference.checks.comparing import Assessment, close
from reference.checks.judging import Failure
from reference.checks.judging.chosen import Extent, extent_of
from reference.checks.kinds._catalogue import FunctionProblem
from reference.checks.kinds._frames import Frame
from reference.checks.kinds.functions import FrameworkFunction, FunctionSubject
from reference.checks.reading import LayoutRequest, Mode, layouts, weight_names
from reference.checks.reading.choices import SavingContext
from reference.checks.reading.shapes import modes
from reference.checks.tolerances import AUTOGRAD

MAX_SECONDS = 3.0  # of the processor: a busy machine finds what a quiet one finds
NUMBERS = (0.7, 2, 1)
"""What is tried for an argument that has no gradient: a rate, a size."""
_TRIED = 4  # layouts that run and are judged, where the first ones are not right
_LOSING = re.compile(r"detach|\.data\b|no_grad|item\(\)|numpy\(\)|stop_gradient|(?<![.\w])float\(")
"""What autograd does not see through."""


Reference = Callable[..., object]


def torch_subject(
    unit: Unit,
    frame: Frame,
    seed: int,
    shapes: Mapping[str, Spec],
    reference: Reference | None = None,
) -> FunctionSubject | Failure:
    """Return the subject of a torch.autograd.Function.

    reference: the plain function that it is to compute; None: its own forward is taken for it.
    """
    import torch

    cls = unit.thing
    apart = cls.setup_context is not torch.autograd.Function.setup_context
    try:
        names, defaults = _named(cls.forward, 0 if apart else 1)
    except (TypeError, ValueError):
        return Failure("its forward has no readable arguments")

    def primal(given: Sequence[object]) -> object:
        context = TorchContext(len(given))
        outputs = cls.forward(*given) if apart else cls.forward(context, *given)
        if apart:
            cls.setup_context(context, tuple(given), outputs)
        return context.differentiable(outputs)

    written = FrameworkFunction(
        unit.name,
        "a torch.autograd.Function",
        names,
        defaults,
        primal,
        lambda given: cls.apply(*given),
        _source(cls),
        thing=cls,
        primal_text=_source(cls.forward),
        cotangent=_cotangent(cls.backward, 1, names),
        space=getattr(cls.forward, "__globals__", {}),
    )
    return _found(_beside(written, reference), frame, seed, shapes)


def _beside(written: FrameworkFunction, reference: Reference | None) -> FrameworkFunction:
    """Return a function with the reference that its file names."""
    if reference is None:
        return written
    return replace(
        written,
        primal=lambda given: reference(*given),
        primal_text=_source(reference),
        reference=getattr(reference, "__name__", "its reference"),
    )


def jax_subject(
    unit: Unit,
    frame: Frame,
    seed: int,
    shapes: Mapping[str, Spec],
    reference: Reference | None = None,
) -> FunctionSubject | Failure:
    """Return the subject of a jax.custom_vjp function; reference: as of `torch_subject`."""
    thing = unit.thing
    primal = getattr(thing, "fun", None) or thing.__wrapped__
    try:
        names, defaults = _named(primal)
    except (TypeError, ValueError):
        return Failure("its function has no readable arguments")
    positions = getattr(thing, "nondiff_argnums", ())
    fixed = frozenset(
        n for i, n in enumerate(names) if i in positions or i - len(names) in positions
    )
    text = _source(primal) + "".join(_source(getattr(thing, a, None)) for a in ("fwd", "bwd"))
    written = FrameworkFunction(
        unit.name,
        "a jax.custom_vjp",
        names,
        defaults,
        lambda given: primal(*given),
        lambda given: thing(*given),
        text,
        fixed,
        thing=thing,
        primal_text=_source(primal),
        cotangent=_cotangent(getattr(thing, "bwd", None), -1, names),
        space=getattr(primal, "__globals__", {}),
    )
    return _found(_beside(written, reference), frame, seed, shapes)


def _named(
    function: Callable[..., object], skip: int = 0
) -> tuple[tuple[str, ...], dict[str, object]]:
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    ones = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    defaults = {p.name: p.default for p in ones if p.default is not p.empty}
    return tuple(p.name for p in ones), defaults


def _cotangent(backward: Callable[..., object] | None, place: int, inputs: Sequence[str]) -> str:
    """Return what a backward calls the gradient of its output, its argument at `place`."""
    try:
        parameters = list(inspect.signature(backward).parameters.values()) if backward else []
    except (TypeError, ValueError):
        return "dout"
    taken = [p.name for p in parameters[place:][:1] if p.kind is p.POSITIONAL_OR_KEYWORD]
    return taken[0] if taken and taken[0] not in inputs else "dout"


def _source(thing: object) -> str:
    return source_of(thing) or getattr(thing, "__name__", "")


# -- which arguments ---------------------------------------------------------------------------


def _found(
    written: FrameworkFunction, frame: Frame, seed: int, shapes: Mapping[str, Spec]
) -> FunctionSubject | Failure:
    failure = Failure("no arguments were found that its forward runs with")
    best: tuple[float, FunctionSubject] | None = None
    judged = 0
    wide: list[Extent] = []  # of what was judged, and is wrong
    for subject in _runnable(written, frame, seed, shapes, failure):
        extent = extent_of(subject.layout)
        if any(extent.narrower_than(w) for w in wide):
            continue  # one sample, or one unit, hides what several have shown
        try:
            rows = subject.case(seed, 0).assessment
        except Exception as error:
            if not failure.errors or failure.reason != "its backward raised":
                failure.reason, failure.raised = "its backward raised", error
                failure.errors = [raised_text(error)]
            continue
        judged += 1
        right = sum(r.right for r in rows.rows) / (len(rows.rows) or 1)
        if rows.rows and (best is None or right > best[0]):
            best = right, subject
        if right < 1:
            wide.append(extent if right else extent.of_samples())
        if (best is not None and best[0] == 1) or judged >= _TRIED:
            break
    if best is None:
        return failure
    return _checked(_numbers_for_none(best[1], seed), seed)


def _runnable(
    written: FrameworkFunction,
    frame: Frame,
    seed: int,
    shapes: Mapping[str, Spec],
    failure: Failure,
) -> Iterator[FunctionSubject]:
    """Yield subjects under the layouts that the forward runs with, likely ones first."""
    drawn = [
        n for n in written.names if n not in written.defaults or _stands_for_an_array(n, written)
    ]
    request = LayoutRequest(
        [n for n in drawn if n not in shapes],
        written.text,
        {k: v for k, v in shapes.items() if k in drawn},
    )
    began = time.process_time()
    alike = _all_alike(request)
    for mode, layout in itertools.chain(
        alike, sorted_by_shape(itertools.islice(layouts(request), 2_000))
    ):
        if mode.of_twos and not request.names:
            return  # all shapes are given: sizes of 2 would only hide what is wrong
        if time.process_time() - began > MAX_SECONDS:
            return
        subject = FunctionSubject(written, frame, mode, layout)
        inputs = subject.inputs(seed, 0)
        failure.tried += 1
        try:
            with frame.running(seed):
                leaves = subject.leaves(inputs)
                frame.try_shapes(subject.function(written.primal, inputs), leaves)
        except Exception as error:
            if failure.raised is None:
                failure.errors.append(raised_text(error))
            continue
        if leaves:
            yield subject


def _all_alike(request: LayoutRequest) -> list[tuple[Mode, Layout]]:
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
        return mode.of_twos or any(
            s.kind == "normal" and len(set(s.dims)) < len(s.dims) and "K" not in s.dims
            for s in layout.values()
        )

    return sorted(found, key=square)


def _stands_for_an_array(name: str, written: FrameworkFunction) -> bool:
    low = name.lower()
    return written.defaults[name] is None and low in ("b", "bias", "weight", "w", "beta", "gamma")


def _numbers_for_none(subject: FunctionSubject, seed: int) -> FunctionSubject:
    """Draw a plain number for what the backward has no gradient of, where it runs with one."""
    subject.case(seed, 0)
    for path, got in subject.seen[0].got.items():
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


_HANDED_ON = (
    "its forward hands its input on as it is, and its backward changes the gradient: if that is "
    "meant (to clip, scale or reverse it), there is no gradient to be compared with"
)


def _hands_on(seen: FunctionProblem) -> bool:
    """Whether the only output is one of the inputs, unchanged."""
    outputs = [o for o in seen.outputs if o is not None]
    return len(outputs) == 1 and any(np.array_equal(outputs[0], a) for a in seen.leaves.values())


def _checked(subject: FunctionSubject, seed: int) -> FunctionSubject | Failure:
    """Judge by differences where autograd does not see all of the forward; refuse a flat one."""
    first = subject.case(seed, 0).assessment
    flat = all(not r.truth.value.any() for r in first.rows) and any(r.got.any() for r in first.rows)
    if not flat and first.all_right:
        return subject
    if not first.all_right and _hands_on(subject.seen[0]):
        return Failure(_HANDED_ON)
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
        close(a.truth.value, b.truth, 1.0, AUTOGRAD).all()
        for a, b in zip(one.rows, other.rows, strict=True)
    )


class TorchContext(SavingContext):
    """The ctx of a forward that runs outside of its function: it keeps what is saved."""

    def __init__(self, count: int) -> None:
        self.needs_input_grad = (True,) * count
        self._flat: list[object] = []

    def save_for_forward(self, *tensors: object) -> None:
        """Keep tensors for a jvp, which nobody asks for."""

    def mark_non_differentiable(self, *tensors: object) -> None:
        """Note outputs that have no gradient."""
        self._flat += tensors

    def mark_dirty(self, *tensors: object) -> None:
        """Note inputs that were written into; the leaves are copied before."""

    def set_materialize_grads(self, value: bool) -> None:
        """Do nothing: every cotangent is given."""

    @property
    def saved_variables(self) -> tuple[object, ...]:
        """The old name of saved_tensors."""
        return self.saved_tensors

    def differentiable(self, outputs: object) -> object:
        """Return the outputs, None for those that have no gradient."""
        if isinstance(outputs, tuple | list):
            return [self.differentiable(o) for o in outputs]
        return None if any(outputs is t for t in self._flat) else outputs
