"""Certified points of f and f′, split at every kink so that a jump is drawn as a jump."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from manual_backprop.operation import Activation, Loss, Operation
from reference.arithmetic.balls import Ball, exact, precision
from reference.arithmetic.point_derivative import at_point, constants
from reference.drawing.regimes import kinks
from reports.book import Curve, Plot

_POINTS = 160
_TARGETS = {"real": 0.5, "unit": 0.75, "sign": 1.0, "count": 2.0, "simplex": 0.5}
_REST = (0.0, 1.0)
"""The other entries of a row of three."""


def plot(operation: Operation) -> Plot | None:
    """Return the curves of an operation; a layer has none."""
    if not isinstance(operation, (Activation, Loss)):
        return None
    low, high = _window(operation)
    arguments = constants(operation.defaults())
    target = _TARGETS.get(operation.targets[0], 0.0) if isinstance(operation, Loss) else 0.0
    at = kinks(operation.name, tuple(operation.defaults().items()), target)
    across = "x" if isinstance(operation, Activation) else "y"
    if isinstance(operation, Activation) and not operation.rowwise:
        note = ""
        function = _of_number(operation, (), arguments)
    elif isinstance(operation, Loss) and operation.elementwise:
        own = {name: exact(0.5) for name in operation.arrays}
        note = ", ".join([f"t = {target:g}", *(f"{name} = 0.5" for name in own)])
        function = _of_number(operation, (target,), {**arguments, **own})
    else:
        function, note = _of_row(operation, arguments, low)
        across = f"{across}₁"
    usual = ", ".join(f"{name} = {value:g}" for name, value in operation.defaults().items())
    at = tuple(k for k in at if low < k < high)
    name = "f" if isinstance(operation, Activation) else "L"
    pieces = _pieces(function, low, high, at)
    curves = (
        Curve(name, tuple(tuple((x, y) for x, y, _ in piece) for piece in pieces)),
        Curve(f"{name}′", tuple(tuple((x, s) for x, _, s in piece) for piece in pieces)),
    )
    return Plot(across, curves, at, "; ".join(filter(None, [note, usual])))


def _window(operation: Activation | Loss) -> tuple[float, float]:
    if isinstance(operation, Activation):
        defaults = tuple(operation.defaults().items())
        far = max((abs(k) for k in kinks(operation.name, defaults)), default=0.0)
        return -max(6.0, 1.4 * far), max(6.0, 1.4 * far)
    return {
        "real": (-4.0, 4.0),
        "unit": (0.02, 0.98),
        "simplex": (0.02, 0.98),
        "log_simplex": (-4.0, 0.0),
    }[operation.predictions]


Point = tuple[float, float, float]
Function = Callable[[Ball], tuple[float, float]]
"""A function of a ball: the middle of its value and of its slope."""


def _pieces(function: Function, low: float, high: float, at: Sequence[float]) -> list[list[Point]]:
    """Evaluate between kinks, up to just beside them."""
    ends = [low, *at, high]
    found = []
    with precision(128):
        for left, right in pairwise(ends):
            count = max(2, round(_POINTS * (right - left) / (high - low)))
            piece = []
            for k in range(count + 1):
                x = exact(left) + (exact(right) - exact(left)) * k / count
                beside = exact(2) ** -60
                if k == 0 and left != low:
                    x = x + beside
                if k == count and right != high:
                    x = x - beside
                value, slope = function(x)
                piece.append((float(x.mid()), value, slope))
            found.append(piece)
    return found


def _of_number(
    operation: Operation, before: tuple[object, ...], arguments: Mapping[str, Ball]
) -> Function:
    def function(x: Ball) -> tuple[float, float]:
        local = at_point(operation.definition, x, before, arguments)[0]
        return float(local.value.mid()), float(local.slopes[0].mid())

    return function


def _of_row(
    operation: Activation | Loss, arguments: Mapping[str, Ball], low: float
) -> tuple[Function, str]:
    """Return the first output as the first of three entries changes."""
    rest: tuple[float, ...] = _REST
    if isinstance(operation, Loss):
        rest = {"simplex": (0.25, 0.25), "log_simplex": (-1.0, -1.5)}.get(
            operation.predictions, _REST
        )
    before: tuple[object, ...] = ()
    across = "x" if isinstance(operation, Activation) else "y"
    note = ", ".join(f"{across}{'₂₃'[k]} = {v:g}" for k, v in enumerate(rest))
    if isinstance(operation, Loss):
        soft = operation.targets[0] != "labels"
        before = ([0.5, 0.25, 0.25],) if soft else (0,)
        note += ", t = (0.5, 0.25, 0.25)" if soft else ", the label is class 1"

    def function(x: Ball) -> tuple[float, float]:
        row = [x, *(exact(v) for v in rest)]
        local = at_point(operation.definition, row, before, arguments)[0]
        return float(local.value.mid()), float(local.slopes[0].mid())

    first = "output 1 by input 1; " if isinstance(operation, Activation) else ""
    return function, f"{first}{note}"
