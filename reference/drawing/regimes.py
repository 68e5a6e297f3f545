"""The value regimes: one function each, which sets the numbers of a problem (or bends its shape).

Each aims at a kind of bug: cancellation, ties, kinks, saturation, the ends of the range, and
structures in which a transposed or forgotten axis cannot be seen. Kinks are found in the
definition, with ball arithmetic.
"""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import InvalidInput, Operation
from reference.arithmetic.balls import Ball, exact, precision
from reference.arithmetic.point_derivative import Definition, PointDerivative, at_point, constants
from reference.drawing.builder import ProblemBuilder
from reference.formats import format_of

_BITS = 192
# Far kinks lie at thresholds such as 20, near ones at parameters such as 0.5: whole numbers and
# halves to 32, powers of two beyond and below.
_POINTS = sorted(
    {k / 2 for k in range(-64, 65)} | {s * 2.0**k for s in (-1, 1) for k in range(-12, 11)}
)

Parameters = tuple[tuple[str, float], ...]


@cache
def kinks(name: str, parameters: Parameters = (), target: float = 0.0) -> tuple[float, ...]:
    """Return the kinks of an elementwise operation, ascending, as floats.

    For a loss they are kinks in the prediction, at the given target. An operation on rows has its
    kinks where entries tie, at no one number: the result is empty.
    """
    before: tuple[Ball, ...] = ()
    if name in ACTIVATIONS:
        if ACTIVATIONS[name].rowwise:
            return ()
        operation: Operation = ACTIVATIONS[name]
    elif name in LOSSES:
        loss = LOSSES[name]
        if not loss.elementwise or loss.arrays:
            return ()
        operation, before = loss, (_ball(target),)
    else:
        raise InvalidInput(f"operation={name!r} is unknown; expected an activation or a loss")
    with precision(_BITS):
        return find(operation.definition, {**operation.defaults(), **dict(parameters)}, before)


def find(
    definition: Definition, parameters: Mapping[str, float], before: tuple[Ball, ...] = ()
) -> tuple[float, ...]:
    """Scan one definition for kinks.

    It decides by the sign of a decision variable. Where that sign changes, and the two branches
    have other values or slopes, there is a kink. The sign is scanned over a fixed set of points,
    and the change is bisected down to one float.
    """
    arguments = constants(parameters)

    def signs(x: float) -> list[int]:
        decisions = at_point(definition, _ball(x), before, arguments)[0].decisions
        return [1 if d.value > 0 else -1 if d.value < 0 else 0 for d in decisions]

    points = sorted({*_POINTS, *_near(parameters, before)})
    seen = [signs(x) for x in points]
    found = set()
    for left, right, at_left, at_right in zip(points, points[1:], seen, seen[1:], strict=False):
        for i, (s, t) in enumerate(zip(at_left, at_right, strict=True)):
            if s * t < 0:
                found.add((_bisect(signs, i, left, right), i))
            elif s == 0:
                found.add((left, i))
    return tuple(sorted({x for x, i in found if _is_kink(definition, x, i, before, arguments)}))


def one_sided(
    definition: Definition,
    x: Ball,
    decision: int,
    before: tuple[Ball, ...] = (),
    arguments: Mapping[str, Ball] | None = None,
) -> tuple[PointDerivative, PointDerivative]:
    """Return the operation at x with one decision taken each way: first negative, then positive."""
    below, above = (
        at_point(definition, x, before, arguments, forced={decision: taken})[0]
        for taken in (False, True)
    )
    return below, above


def _is_kink(
    definition: Definition,
    x: float,
    decision: int,
    before: tuple[Ball, ...],
    arguments: Mapping[str, Ball],
) -> bool:
    """Say whether the two branches differ at x, beyond what one float of x can make them differ."""
    below, above = one_sided(definition, _ball(x), decision, before, arguments)
    spacing = float(np.spacing(abs(x)))
    pairs = ((below.value, above.value), (below.slopes[0], above.slopes[0]))
    return any(not p.overlaps(q) and abs(float(p - q)) > 8 * spacing for p, q in pairs)


def _bisect(signs: Callable[[float], list[int]], i: int, left: float, right: float) -> float:
    """Return the float where decision i is zero, or else the last float left of its change."""
    at_left = signs(left)[i]
    while (middle := left + (right - left) / 2) not in (left, right):
        sign = signs(middle)[i]
        if sign == 0:
            return middle
        left, right = (middle, right) if sign == at_left else (left, middle)
    return left


def _near(parameters: Mapping[str, float], before: tuple[Ball, ...]) -> list[float]:
    """Return the points where a parameter or the target is likely to make a kink."""
    numbers = [*map(float, parameters.values()), *map(float, before)]
    return [0.0, *numbers, *(-p for p in numbers), *(p + q for p in numbers for q in numbers)]


def _ball(x: float) -> Ball:
    return exact(float(x))


def _ordinary(builder: ProblemBuilder) -> None:
    """Numbers of the size that networks have."""
    builder.fill()


def _lattice(builder: ProblemBuilder) -> None:
    """Small integers and halves: pre-activations land on kinks and ties."""
    builder.fill(lattice=True)


def _kink(builder: ProblemBuilder) -> None:
    """One pre-activation is a kink or one float beside it; if all is smooth, aim the loss."""
    builder.biases[builder.place] = True
    builder.fill(lattice=builder.place == 0)
    name, parameters = builder.activations[builder.place]
    found = kinks(name, tuple(sorted(parameters.items())))
    if not found:
        _aim_the_loss(builder)
        return
    stream = builder.stream
    unit = stream.below(builder.widths[builder.place + 1])
    aim = builder.dtype.type(stream.choice(found))
    if stream.chance(1, 3):
        towards = builder.dtype.type(stream.choice((-np.inf, np.inf)))
        aim = np.nextafter(aim, towards)
    weight = builder.parameters[f"layers.{builder.place}.weight"]
    bias = builder.parameters[f"layers.{builder.place}.bias"]
    if builder.place == 0 and stream.chance(1, 2):  # one sample sits on the kink, by an exact sum
        bias[unit] = float(aim) - builder.x[stream.below(builder.batch)] @ weight[:, unit]
    else:  # every sample does: the bias alone is what arrives
        weight[:, unit] = 0
        bias[unit] = float(aim)


def _aim_the_loss(builder: ProblemBuilder) -> None:
    """Put one real target on the prediction, where losses of a difference have their kink."""
    name, _ = builder.activations[-1]
    if builder.loss.targets != ("real",) or name != "identity":
        return
    # The bias alone arrives at one unit, and is the target of one sample.
    unit, last = builder.stream.below(builder.widths[-1]), builder.depth - 1
    builder.parameters[f"layers.{last}.weight"][:, unit] = 0
    bias = builder.parameters.get(f"layers.{last}.bias")
    builder.targets = builder.draw_targets()
    aim = 0.0 if bias is None else bias[unit]
    builder.targets[builder.stream.below(builder.batch), unit] = aim


def _saturated(builder: ProblemBuilder) -> None:
    """Weights so large that sigmoids, tanh and softmax sit at their ends."""
    builder.fill(weight=10.0 ** (1 + builder.stream.below(3)), bias=5.0)


def _tiny(builder: ProblemBuilder) -> None:
    """Everything small, far above the subnormal range."""
    builder.fill(weight=_power(builder, -20), bias=_power(builder, -20), x=_power(builder, -20))


def _huge(builder: ProblemBuilder) -> None:
    """Inputs or weights large enough that products near or pass the end of the range."""
    builder.fill(weight=_power(builder, 20), bias=1.0, x=_power(builder, 20))


def _power(builder: ProblemBuilder, exponent: int) -> float:
    """Return 2^e, e between 1 and `exponent` in float32, in others as far as they reach."""
    reach = int(exponent * format_of(builder.dtype).reach)
    e = 1 + builder.stream.below(abs(reach))
    return 2.0 ** (e if reach > 0 else -e)


def _subnormal(builder: ProblemBuilder) -> None:
    """Inputs below the normal range: flushing to zero shows here."""
    builder.fill(x=format_of(builder.dtype).tiny * 2.0 ** -builder.stream.below(12), bias=0.0)


def _ill_conditioned(builder: ProblemBuilder) -> None:
    """Nearly parallel columns, and inputs whose large parts cancel in every sum."""
    builder.fill()
    unit = 2 * format_of(builder.dtype).u
    nearness = unit ** (0.25 + 0.5 * builder.stream.below(3) / 2)
    for name, weight in builder.parameters.items():
        if name.endswith("weight"):
            weight[:] = weight[:, :1] * np.sign(weight) + nearness * weight
    first = builder.parameters["layers.0.weight"]
    builder.x[:, 1] = -builder.x[:, 0] * (1 + nearness * builder.x[:, 1])
    first[1] = first[0] * (1 + nearness)
    builder.x[:, :2] *= nearness**-0.5


def _repeated_rows(builder: ProblemBuilder) -> None:
    """Samples alike: a sum over the batch that forgets one still differs, a mean may not."""
    builder.fill()
    builder.x[:] = builder.x[builder.stream.below(builder.batch)]


def _special(builder: ProblemBuilder) -> None:
    """Where bugs hide or show: one sample, one unit, square, symmetric, diagonal, no bias."""
    shape = builder.stream.choice(
        ("one sample", "one unit", "square", "symmetric", "diagonal", "zero")
    )
    width = 2 + builder.stream.below(4)
    if shape == "one sample":
        builder.batch = 1
    elif shape == "one unit":
        builder.widths = [1] * len(builder.widths)
    elif shape in ("square", "symmetric", "diagonal"):
        builder.widths, builder.batch = [width] * len(builder.widths), width
    builder.fill()
    for name, value in builder.parameters.items():
        if shape == "symmetric" and name.endswith("weight"):
            value += value.T.copy()
        if shape == "diagonal" and name.endswith("weight"):
            value *= np.eye(width)
        if shape == "zero" and name.endswith("bias"):
            value *= 0


REGIMES: dict[str, Callable[[ProblemBuilder], None]] = {
    "ordinary": _ordinary,
    "lattice": _lattice,
    "kink": _kink,
    "saturated": _saturated,
    "tiny": _tiny,
    "huge": _huge,
    "subnormal": _subnormal,
    "ill_conditioned": _ill_conditioned,
    "repeated_rows": _repeated_rows,
    "special": _special,
}
