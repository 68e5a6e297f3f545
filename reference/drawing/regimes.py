"""The value regimes: one function each, which sets the numbers of a draft (and may bend its shape).

Each aims at a kind of bug: cancellation, ties, kinks, saturation, the ends of the range, and
structures in which a transposed or forgotten axis cannot be seen.
"""

from collections.abc import Callable

import numpy as np

from reference.drawing.draft import Draft
from reference.drawing.kinks import kinks
from reference.formats import format_of


def _ordinary(draft: Draft) -> None:
    """Numbers of the size that networks have."""
    draft.fill()


def _lattice(draft: Draft) -> None:
    """Small integers and halves: pre-activations land on kinks and ties."""
    draft.fill(lattice=True)


def _kink(draft: Draft) -> None:
    """One pre-activation is a kink or one float beside it; if all is smooth, aim the loss."""
    draft.biases[draft.place] = True
    draft.fill(lattice=draft.place == 0)
    name, parameters = draft.activations[draft.place]
    found = kinks(name, tuple(sorted(parameters.items())))
    if not found:
        _aim_the_loss(draft)
        return
    stream = draft.stream
    unit = stream.below(draft.widths[draft.place + 1])
    aim = draft.dtype.type(stream.choice(found))
    if stream.chance(1, 3):
        towards = draft.dtype.type(stream.choice((-np.inf, np.inf)))
        aim = np.nextafter(aim, towards)
    weight = draft.parameters[f"layers.{draft.place}.weight"]
    bias = draft.parameters[f"layers.{draft.place}.bias"]
    if draft.place == 0 and stream.chance(1, 2):  # one sample sits on the kink, by an exact sum
        bias[unit] = float(aim) - draft.x[stream.below(draft.batch)] @ weight[:, unit]
    else:  # every sample does: the bias alone is what arrives
        weight[:, unit] = 0
        bias[unit] = float(aim)


def _aim_the_loss(draft: Draft) -> None:
    """Put one real target on the prediction, where losses of a difference have their kink."""
    name, _ = draft.activations[-1]
    if draft.loss.targets != ("real",) or name != "identity":
        return
    # The bias alone arrives at one unit, and is the target of one sample.
    unit, last = draft.stream.below(draft.widths[-1]), draft.depth - 1
    draft.parameters[f"layers.{last}.weight"][:, unit] = 0
    bias = draft.parameters.get(f"layers.{last}.bias")
    draft.targets = draft.draw_targets()
    aim = 0.0 if bias is None else bias[unit]
    draft.targets[draft.stream.below(draft.batch), unit] = aim


def _saturated(draft: Draft) -> None:
    """Weights so large that sigmoids, tanh and softmax sit at their ends."""
    draft.fill(weight=10.0 ** (1 + draft.stream.below(3)), bias=5.0)


def _tiny(draft: Draft) -> None:
    """Everything small, far above the subnormal range."""
    draft.fill(weight=_power(draft, -20), bias=_power(draft, -20), x=_power(draft, -20))


def _huge(draft: Draft) -> None:
    """Inputs or weights large enough that products near or pass the end of the range."""
    draft.fill(weight=_power(draft, 20), bias=1.0, x=_power(draft, 20))


def _power(draft: Draft, exponent: int) -> float:
    """Return 2^e, e between 1 and `exponent` in float32, in others as far as they reach."""
    reach = int(exponent * format_of(draft.dtype).reach)
    e = 1 + draft.stream.below(abs(reach))
    return 2.0 ** (e if reach > 0 else -e)


def _subnormal(draft: Draft) -> None:
    """Inputs below the normal range: flushing to zero shows here."""
    draft.fill(x=format_of(draft.dtype).tiny * 2.0 ** -draft.stream.below(12), bias=0.0)


def _ill_conditioned(draft: Draft) -> None:
    """Nearly parallel columns, and inputs whose large parts cancel in every sum."""
    draft.fill()
    unit = 2 * format_of(draft.dtype).u
    nearness = unit ** (0.25 + 0.5 * draft.stream.below(3) / 2)
    for name, weight in draft.parameters.items():
        if name.endswith("weight"):
            weight[:] = weight[:, :1] * np.sign(weight) + nearness * weight
    first = draft.parameters["layers.0.weight"]
    draft.x[:, 1] = -draft.x[:, 0] * (1 + nearness * draft.x[:, 1])
    first[1] = first[0] * (1 + nearness)
    draft.x[:, :2] *= nearness**-0.5


def _repeated_rows(draft: Draft) -> None:
    """Samples alike: a sum over the batch that forgets one still differs, a mean may not."""
    draft.fill()
    draft.x[:] = draft.x[draft.stream.below(draft.batch)]


def _special(draft: Draft) -> None:
    """Where bugs hide or show: one sample, one unit, square, symmetric, diagonal, no bias."""
    shape = draft.stream.choice(
        ("one sample", "one unit", "square", "symmetric", "diagonal", "zero")
    )
    width = 2 + draft.stream.below(4)
    if shape == "one sample":
        draft.batch = 1
    elif shape == "one unit":
        draft.widths = [1] * len(draft.widths)
    elif shape in ("square", "symmetric", "diagonal"):
        draft.widths, draft.batch = [width] * len(draft.widths), width
    draft.fill()
    for name, value in draft.parameters.items():
        if shape == "symmetric" and name.endswith("weight"):
            value += value.T.copy()
        if shape == "diagonal" and name.endswith("weight"):
            value *= np.eye(width)
        if shape == "zero" and name.endswith("bias"):
            value *= 0


REGIMES: dict[str, Callable[[Draft], None]] = {
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
