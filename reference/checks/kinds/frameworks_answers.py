"""Says what PyTorch and JAX answer for the operation that a forward is, where that is asked for.

They are compared with the same certified gradient; the verdict does not rest on them.
"""

from collections.abc import Callable

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from reference.balls import Session, values
from reference.checks.comparing import Objective, assess
from reference.checks.kinds._frames import FrameworkMissing, Tensors, frame_of
from reference.checks.running import Reading, perform
from reference.oracles.counterparts import Framework, resolve


def answers(
    reading: Reading, objective: Objective, operation: str, asked: tuple[str, ...], seed: int
) -> list[str]:
    """Return a sentence for each framework that is asked, on the first problem.

    operation: the name of ours that the forward computes; "" where it is none of them.
    """
    if operation not in ACTIVATIONS:
        known = {"torch": "PyTorch", "jax": "JAX"}
        return [f"not compared: {known[n]} has no single function for this forward" for n in asked]
    with Session() as session:
        outcome = perform(reading, seed, 0, session)
        found = assess(objective, outcome)
    if found is None or not found.rows or found.rows[0].jacobian:
        return []
    row = found.rows[0]
    x = values(outcome.inputs[row.leaf])
    weights = [np.asarray(c, dtype=float) for _, c in outcome.cotangents] or [np.ones(x.shape)]
    scale = float(np.max(np.abs(row.truth.value), initial=0.0)) or 1.0
    texts = []
    ours = ACTIVATIONS[operation]
    for name in _FRAMEWORKS:
        if name not in asked:
            continue
        try:
            frame, function = frame_of(name), resolve(ours, name)
        except FrameworkMissing as error:
            texts.append(str(error))
            continue

        def run(tensors: Tensors, call: Callable[..., object] = function) -> list[object]:
            return [call(tensors[("x",)], **ours.defaults())]

        with frame.running(seed):
            (gradient,) = frame.pullback(run, {("x",): x}).pull(weights[:1]).values()
        off = np.abs(np.asarray(gradient, dtype=float) - row.truth.value)
        share = float(np.max(off, initial=0.0)) / scale
        texts.append(
            f"{frame.name}'s gradient of {operation} is within {share:.1e} of the same truth"
        )
    return texts


_FRAMEWORKS: tuple[Framework, ...] = ("torch", "jax")
