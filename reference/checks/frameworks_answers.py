"""Says what PyTorch and JAX answer for the operation that a forward is, where that is asked for.

They are compared with the same certified gradient; the verdict does not rest on them.
"""

from typing import Any

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from reference.balls import Session, values
from reference.checks.assess import assess
from reference.checks.experiment import perform
from reference.checks.objective import Objective
from reference.checks.outcome import Reading
from reference.oracles.counterparts import Framework, resolve
from reference.oracles.jax_x64 import double_precision

NAMES: dict[Framework, str] = {"torch": "PyTorch", "jax": "JAX"}


def answers(
    reading: Reading, objective: Objective, operation: str, asked: tuple[str, ...], seed: int
) -> list[str]:
    """Return a sentence for each framework that is asked, on the first problem.

    operation: the name of ours that the forward computes; "" where it is none of them.
    """
    if operation not in ACTIVATIONS:
        return [f"{', '.join(asked)}: not asked, as its forward is no operation that they have"]
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
    for framework in ("torch", "jax"):
        if framework not in asked:
            continue
        try:
            gradient = _gradient(framework, operation, x, weights[0])
        except ImportError as error:
            texts.append(f"{NAMES[framework]} is not installed ({error})")
            continue
        off = float(np.max(np.abs(gradient - row.truth.value), initial=0.0)) / scale
        texts.append(
            f"{NAMES[framework]}'s gradient of {operation} is within {off:.1e} of the same truth"
        )
    return texts


def _gradient(framework: Framework, operation: str, x: Any, cotangent: Any) -> Any:
    function = resolve(ACTIVATIONS[operation], framework)
    parameters = ACTIVATIONS[operation].defaults()
    if framework == "torch":
        import torch

        leaf = torch.tensor(x, requires_grad=True)
        function(leaf, **parameters).backward(torch.tensor(cotangent))
        assert leaf.grad is not None
        return leaf.grad.numpy()
    import jax

    with double_precision():
        _, pull = jax.vjp(lambda v: function(v, **parameters), x)
        return np.asarray(pull(cotangent)[0])
