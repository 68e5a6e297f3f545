"""How small an error the judge finds: one entry of one tensor wrong, by regime and by shape.

Any tensor that an answer names may be the wrong one: values and cotangents of steps, gradients of
parameters, the loss. Beside the judge stand torch's gradcheck and JAX's check_grads, who see final
gradients only. What rounding in the dtype hides is counted apart: where the error is
less than the spacing of the smallest numbers, or nothing in the tensor is finite and not zero.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from manual_backprop.network import Layer, Network, Problem, forward
from manual_backprop.operation import FloatArray
from reference.drawing.regimes import REGIMES
from reference.formats import DTYPES, format_of
from reference.oracles import Answer
from reference.oracles.jax_x64 import double_precision
from reference.oracles.manual import Manual
from reference.problems import AnyProblem, Selection, draw
from reference.trials.mutants import kinds_of
from reports.records import TrialRow, Value


@dataclass(frozen=True)
class Checker:
    """One of the rivals: how it is asked, and how many gradients of a width are worth the time."""

    rejects: Callable[[Problem, Answer], bool]
    largest_width: int
    few: int = 4

    def injected(self, width: int) -> int:
        """Return how many wrong gradients it is given; none where one would take minutes."""
        return self.few if width <= self.largest_width else 0


def _tensor(problem: Problem, answer: Answer) -> str:
    """Return the tensor that is wrong, or a weight where nothing is."""
    from reference.oracles.manual import Manual

    right = Manual().answer(problem)
    for name, value in answer.gradients.items():
        if not np.array_equal(value, right.gradients[name]):
            return name
    return "layers.0.weight"


def _loss(problem: Problem, name: str, value: FloatArray) -> FloatArray:
    value = value.reshape(problem.x.shape if name == "x" else problem.parameters[name].shape)
    value = value.astype(problem.dtype)
    if name == "x":
        return forward(replace(problem, x=value)).loss
    return forward(replace(problem, parameters={**problem.parameters, name: value})).loss


def gradcheck(problem: Problem, answer: Answer, fast: bool) -> bool:
    """Return whether torch's gradcheck rejects the gradient.

    By finite differences at every entry, or, where `fast`, along one random direction.
    """
    import torch

    name = _tensor(problem, answer)
    start = problem.x if name == "x" else problem.parameters[name]
    gradient = torch.from_numpy(np.ascontiguousarray(answer.gradients[name]))

    class WithGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(np.asarray(_loss(problem, name, x.detach().numpy())))

        @staticmethod
        def backward(ctx: object, dy: torch.Tensor) -> torch.Tensor:
            return dy * gradient

    x = torch.from_numpy(start.copy()).requires_grad_()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input #0 requires gradient and is not a double")
        return not torch.autograd.gradcheck(
            WithGradient.apply, (x,), fast_mode=fast, raise_exception=False
        )


def check_grads(problem: Problem, answer: Answer) -> bool:
    """Return whether JAX's check_grads rejects the gradient, at its usual tolerance."""
    import jax
    from jax import test_util

    from reference.oracles.jax_grad import arguments_of, loss_function

    name = _tensor(problem, answer)
    start = problem.x if name == "x" else problem.parameters[name]

    with double_precision():
        gradient = jax.numpy.asarray(answer.gradients[name])
        whole = loss_function(problem)
        inputs, zeros, data = arguments_of(problem)

        @jax.custom_vjp
        def loss(x: jax.Array) -> jax.Array:
            return whole({**inputs, name: x}, zeros, data)[0]

        loss.defvjp(lambda x: (loss(x), None), lambda _, dy: (dy * gradient,))
        try:
            check: Callable[..., object] = test_util.check_grads
            check(loss, (jax.numpy.asarray(start),), order=1, modes=["rev"])
        except AssertionError:
            return True
    return False


CHECKERS: dict[str, Checker] = {
    "gradcheck, slow": Checker(partial(gradcheck, fast=False), 16),
    "gradcheck, fast": Checker(partial(gradcheck, fast=True), 128),
    "check_grads": Checker(check_grads, 128),
}


# -- what the judge finds, beside the checkers -----------------------------------------------------

STATED = {"float64": 10, "float32": 4}
"""The sensitivity that is stated: one entry wrong by 10^-k of the tensor's largest."""

FLOOR = 64
"""An error below so many spacings of the smallest numbers is below the floor of the dtype."""

SHAPES = tuple((width, depth) for depth in (1, 4, 16, 32) for width in (4, 16, 64, 128))


def sensitivity(
    seed: int = 0,
    *,
    injected: int = 100,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    regimes: Sequence[str] = tuple(REGIMES),
    checkers: bool = True,
) -> Iterator[TrialRow]:
    """Yield a row for each dtype and regime, and for each dtype, width and depth."""
    for dtype in DTYPES:
        size = f"wrong by 1e-{STATED[dtype]}"
        for regime in regimes:
            selection = Selection(regimes=(regime,), dtypes=(dtype,))
            problems = [draw(seed, selection.index(37 * k)).problem for k in range(injected)]
            columns, _ = _columns(problems, seed, 1)
            yield TrialRow(
                section="sensitivity by regime", row=f"{dtype}, {regime}, {size}", columns=columns
            )
        for width, depth in shapes:
            stream = np.random.default_rng([seed, width, depth])
            problem = deep(stream, width, depth, dtype)
            columns, wrong = _columns([problem], seed, injected)
            if checkers:
                columns |= _rivals(problem, wrong, width, depth)
            row = f"{dtype}, width {width}, depth {depth}, {size}"
            yield TrialRow(section="sensitivity by shape", row=row, columns=columns)


def _columns(
    problems: Sequence[Problem], seed: int, each: int
) -> tuple[dict[str, Value], list[Answer]]:
    """Make errors in the answers to some problems; return the share caught, and the answers."""
    stream = np.random.default_rng([seed, len(problems), each])
    right = Manual().answers(problems)
    wrong: list[tuple[AnyProblem, Answer]] = []
    floor = 0
    for problem, answer in zip(problems, right, strict=True):
        for _ in range(each):
            found = inject(answer, 10.0 ** -STATED[str(problem.dtype)], stream)
            if found is None:
                floor += 1
            else:
                wrong.append((problem, found))
    few = (wrong[k : k + 50] for k in range(0, len(wrong), 50))
    hits = [kind == "DEVIATES" for some in few for kind in kinds_of(some)]
    share = sum(hits) / len(hits) if hits else None
    columns: dict[str, Value] = {
        "injected": len(hits),
        "manual-backprop": share,
        "below the floor": floor,
    }
    return columns, [answer for _, answer in wrong]


def inject(answer: Answer, by: float, stream: np.random.Generator) -> Answer | None:
    """Return the answer with one entry of any tensor wrong; None where the dtype cannot show it."""
    names = ["loss", *answer.gradients, *(f"forward {name}" for name in answer.values)]
    name = names[stream.integers(len(names))]
    values, gradients = dict(answer.values), dict(answer.gradients)
    step = name.removeprefix("forward ")
    before = answer.loss if name == "loss" else (values if name != step else gradients)[step]
    assert before is not None
    tensor = np.array(before)
    finite = np.abs(np.where(np.isfinite(tensor), tensor, 0))
    entry = stream.integers(tensor.size)
    error = by * float(finite.max(initial=0.0))
    smallest = format_of(tensor.dtype).smallest
    with np.errstate(all="ignore"):
        changed = tensor.dtype.type(float(tensor.flat[entry]) + stream.choice((-1, 1)) * error)
    if not np.isfinite(changed) or error < FLOOR * smallest:
        return None
    tensor.flat[entry] = changed
    if name == "loss":
        return replace(answer, loss=tensor)
    (values if name != step else gradients)[step] = tensor
    return replace(answer, values=values, gradients=gradients)


def _rivals(
    problem: Problem, wrong: Sequence[Answer], width: int, depth: int
) -> dict[str, float | None]:
    """Return what the frameworks' checkers catch of the errors in final gradients."""
    final = [a for a in wrong if _final(problem, a)]
    shares: dict[str, float | None] = {}
    for name, checker in CHECKERS.items():
        few = final[: checker.injected(width)] if depth <= 4 else []
        found = [checker.rejects(problem, answer) for answer in few]
        shares[name] = sum(found) / len(found) if found else None
    return shares


def _final(problem: Problem, answer: Answer) -> bool:
    """Say whether it is a parameter's gradient, or that of x, which is wrong."""
    right = Manual().answer(problem).gradients
    names = ("x", *problem.parameters)
    return any(not np.array_equal(answer.gradients[name], right[name]) for name in names)


def deep(stream: np.random.Generator, width: int, depth: int, dtype: str) -> Problem:
    """Return an ordinary network: so many layers of a width, smooth and piecewise in turn."""
    activations = ("tanh", "gelu", "relu", "silu")
    layers = tuple(Layer(width, activations[i % 4]) for i in range(depth - 1))
    network = Network(width, (*layers, Layer(max(2, width // 2))), "mse")
    parameters = {
        k: (stream.standard_normal(s) / np.sqrt(s[0])).astype(dtype)
        for k, s in network.parameter_shapes().items()
    }
    x = stream.standard_normal((8, width)).astype(dtype)
    targets = stream.standard_normal((8, network.widths[-1])).astype(dtype)
    return Problem(network, parameters, x, targets, stream.uniform(0.5, 2, 8).astype(dtype))
