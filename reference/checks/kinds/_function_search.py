"""Finds how a framework's own function is called: what it takes, in which shapes."""

import inspect
import itertools
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reference.checks.code import (
    Layout,
    Spec,
    Unit,
    path_name,
    raised_text,
    sizes_for,
    source_of,
)
from reference.checks.code.vocabulary import TARGET_NAMES
from reference.checks.comparing import Assessment, close
from reference.checks.judging import Failure
from reference.checks.judging.chosen import Extent, extent_of, says_nothing
from reference.checks.kinds._catalogue import FunctionProblem
from reference.checks.kinds._frames import Frame, flat_tensors
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

    def run(given: Sequence[object]) -> tuple[TorchContext, object]:
        context = TorchContext(len(given))
        outputs = cls.forward(*given) if apart else cls.forward(context, *given)
        if apart:
            cls.setup_context(context, tuple(given), outputs)
        return context, outputs

    def primal(given: Sequence[object]) -> object:
        context, outputs = run(given)
        return context.differentiable(outputs)

    def returned(given: Sequence[object]) -> Mapping[str, object]:
        context, outputs = run(given)
        tensors = [o for o in flat_tensors(outputs) if isinstance(o, torch.Tensor)]
        ones = [torch.ones_like(o) for o in tensors]
        gradients = cls.backward(context, *ones)
        every = gradients if isinstance(gradients, tuple) else (gradients,)
        return dict(zip(names, every, strict=False))

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
        returned=returned,
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

    def returned(given: Sequence[object]) -> Mapping[str, object]:
        import jax

        outputs, kept = thing.fwd(*given)
        settings = [given[i] for i in positions]
        gradients = thing.bwd(*settings, kept, jax.tree.map(jax.numpy.ones_like, outputs))
        return dict(zip((n for n in names if n not in fixed), gradients, strict=True))

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
        returned=returned,
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
    for found in _runnable(written, frame, seed, shapes, failure):
        subject = _with_all_that_comes_back(found, seed)
        extent = extent_of(subject.layout)
        if any(extent.narrower_than(w) for w in wide):
            continue  # one sample, or one unit, hides what several have shown
        try:
            rows = subject.case(seed, 0).assessment
        except Exception as error:
            if not failure.errors or failure.reason != "its backward raised":
                failure.reason, failure.raised = "its backward raised", error
                failure.errors = [raised_text(error)]
            failure.raised_texts.add(raised_text(error))
            again = _in_the_shapes_that_come_back(subject, seed, shapes)
            if again is None:
                continue
            subject = _with_all_that_comes_back(again, seed)
            rows = subject.case(seed, 0).assessment
            extent = extent_of(subject.layout)
        if says_nothing(subject.layout, rows):
            failure.reason = "with one class or one unit, all its gradients are 0"
            continue
        judged += 1
        asked = len(rows.rows) + len(subject.written.uncompared)
        right = sum(r.right for r in rows.rows) / (asked or 1)
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


def _with_all_that_comes_back(subject: FunctionSubject, seed: int) -> FunctionSubject:
    """Make inputs of the numbers, masks and targets that the backward returns a gradient of.

    A number with a default is one of them; so is the slope of a PReLU, which looks like a setting.
    """
    written = subject.written
    drawn = subject.inputs(seed, 0)
    returned = _returned(subject, drawn, seed)
    none = frozenset(n for n, g in returned.items() if _is_none(n, g, subject))
    subject = _noting(subject, none=none, uncompared=())
    inputs = {p[0] for p in subject.leaves(drawn)} | written.fixed | subject.written.none
    for name in written.names:
        given = drawn.get(name, written.defaults.get(name))
        if name in inputs or not _has_a_slope(given):
            continue
        for spec in _specs_of_returned(name, given, returned.get(name), subject, seed):
            layout = {**subject.layout, name: spec}
            with_it = _noting(subject, layout, compared=subject.written.compared | {name})
            try:
                with_it.case(seed, 0)
            except Exception:
                continue
            if with_it.seen[0].got.get((name,)) is not None:
                subject = with_it
            break
        else:
            if name in returned and _is_not_zero(returned[name]):
                subject = _noting(subject, uncompared=(*subject.written.uncompared, name))
    return subject


def _specs_of_returned(
    name: str, given: object, returned: object, subject: FunctionSubject, seed: int
) -> list[Spec]:
    """Return how an input of a returned gradient is drawn; a number may stand for an array.

    It does where its gradient comes back in the shape of one: r of r * cos(theta).
    """
    if isinstance(given, np.ndarray):
        return [subject.layout.get(name, Spec("value"))]
    shape = np.shape(np.asarray(returned)) if returned is not None else ()
    if not shape or name in subject.written.defaults:
        return [Spec("unit")]
    return [Spec("unit", _letters_of(shape, subject, seed)), Spec("unit")]


def _letters_of(shape: tuple[int, ...], subject: FunctionSubject, seed: int) -> tuple[str, ...]:
    letters = {n: k for k, n in reversed(sizes_for(seed, 0, subject.mode.style).items())}
    return tuple(letters.get(n, str(n)) for n in shape)


def _noting(
    subject: FunctionSubject, layout: Layout | None = None, **noted: Any
) -> FunctionSubject:
    written = replace(subject.written, **noted)
    return FunctionSubject(written, subject.frame, subject.mode, layout or subject.layout)


def _is_none(name: str, returned: object, subject: FunctionSubject) -> bool:
    """Whether a returned value stands for no gradient: None, or 0 for a mask or a target."""
    spec = subject.layout.get(name)
    masked = spec is not None and spec.kind not in ("normal", "value", "size")
    constant = masked or name.lower() in TARGET_NAMES
    return returned is None or (constant and not _is_not_zero(returned))


def _is_not_zero(returned: object) -> bool:
    return any(bool(np.any(np.asarray(t))) for t in flat_tensors(returned))


def _has_a_slope(value: object) -> bool:
    """Whether a value is a number, or an array of floats, that a gradient may be of."""
    if isinstance(value, np.ndarray):
        return bool(value.dtype.kind == "f")
    return isinstance(value, int | float) and not isinstance(value, bool)


def _returned(
    subject: FunctionSubject, drawn: Mapping[str, object], seed: int
) -> Mapping[str, object]:
    """Return what the backward returns for each argument; {} where it cannot be asked."""
    written, frame = subject.written, subject.frame
    if written.returned is None:
        return {}
    every = {n: drawn.get(n, written.defaults.get(n)) for n in written.names}
    try:
        with frame.running(seed), frame.without_gradient():
            return written.returned(
                [
                    frame.tensor(v) if isinstance(v, np.ndarray) and n not in written.fixed else v
                    for n, v in every.items()
                ]
            )
    except Exception:
        return {}


def _in_the_shapes_that_come_back(
    subject: FunctionSubject, seed: int, given: Collection[str]
) -> FunctionSubject | None:
    """Draw an input in the shape that its gradient came back in: s of (), not of (N, D)."""
    leaves = subject.leaves(subject.inputs(seed, 0))
    returned = _returned(subject, subject.inputs(seed, 0), seed)
    layout = dict(subject.layout)
    for (name, *inside), value in [*leaves.items()][1:]:
        shape = np.shape(np.asarray(returned.get(name, value)))
        known = name in given or weight_names([name])
        if not inside and len(shape) < value.ndim and not known:
            layout[name] = Spec("normal", _letters_of(shape, subject, seed))
    if layout == subject.layout:
        return None
    again = _noting(subject, layout)
    try:
        again.case(seed, 0)
    except Exception:
        return None
    return again


def _numbers_for_none(subject: FunctionSubject, seed: int) -> FunctionSubject:
    """Draw a plain number for what the backward has no gradient of, where it runs with one."""
    subject.case(seed, 0)
    for path, got in subject.seen[0].got.items():
        if got is not None:
            continue
        for value in NUMBERS:
            other = _noting(subject, {**subject.layout, path[0]: Spec("value", value=value)})
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


_ROUNDS = re.compile(r"\b(round|rint|floor|ceil|trunc|fix|sign|heaviside)_?\(")

_ROUNDED = 6  # problems in which the truth of what is rounded away has to be 0

_ROUNDED_OFF = (
    "its forward rounds, so that its gradient with respect to {} is 0 nearly everywhere: a "
    "straight-through estimate has no gradient to be compared with"
)


def _estimated(subject: FunctionSubject, seed: int) -> list[str]:
    """Return the inputs that a forward rounds away, and that its backward has gradients of."""
    if not _ROUNDS.search(subject.written.primal_text):
        return []
    cases = [subject.case(seed, index).assessment for index in range(_ROUNDED)]
    telling = {r.leaf for c in cases for r in c.rows if r.telling}
    wrong = {r.leaf: path_name(r.leaf) for c in cases for r in c.rows if not r.right}
    return [name for leaf, name in wrong.items() if leaf not in telling]


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
    if estimated := _estimated(subject, seed):
        return Failure(_ROUNDED_OFF.format(", ".join(estimated)))
    first = subject.case(seed, 0).assessment
    flat = all(not r.truth.value.any() for r in first.rows) and any(r.got.any() for r in first.rows)
    if not flat and first.all_right:
        return subject
    if not first.all_right and _hands_on(subject.seen[0]):
        return Failure(_HANDED_ON)
    if flat or (_LOSING.search(subject.written.text) and not subject.coarse):
        other = _noting(subject)
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
