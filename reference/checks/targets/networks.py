"""Whole networks: value_and_grad(network, params, x, y) -> (loss, grads)."""

import re
from collections.abc import Mapping
from typing import Any

from manual_backprop.network import Network, Problem
from manual_backprop.spec import FloatArray
from reference.checks.targets.drawing import check_accepts
from reference.checks.targets.forms import Found, Given, accepted

_NAMES = ("value_and_grad", "loss_and_grad", "loss_and_gradients", "value_and_gradients")


def recognise(
    names: Mapping[str, Any], like: str | None, accepts: Mapping[str, Any]
) -> list[Found]:
    """Return the module's function of a whole network, if it has one."""
    for name, function in names.items():
        if callable(function) and (name in _NAMES or like == "network"):
            more = getattr(function, "accepts", {})
            check_accepts(more)
            own = {**accepts, **more}
            how = "by name" if name in _NAMES else 'by like="network"'
            arguments = accepted(function)
            own["weights"] = "weights" in arguments or "sample_weights" in arguments
            own["arrays"] = "arrays" in arguments
            return [Found("a whole network", name, "network", "network", how,
                          _run(function), {}, own)]  # fmt: skip
    return []


def _run(function: Any) -> Any:
    arguments = accepted(function)

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        extra: dict[str, Any] = {
            n: problem.weights for n in ("weights", "sample_weights") if n in arguments
        }
        if "arrays" in arguments:
            extra["arrays"] = dict(problem.arrays)
        loss, gradients = function(
            problem.network, dict(problem.parameters), problem.x, problem.targets, **extra
        )
        return Given(loss, named(problem.network, gradients))

    return run


def named(network: Network, gradients: Any) -> dict[str, Any]:
    """Put our names to gradients: under our names, W1 and b1 (or W0 and b0), or in order."""
    names = list(network.parameter_shapes())
    if not isinstance(gradients, Mapping):
        flat: list[Any] = []
        for entry in gradients:
            flat += entry if isinstance(entry, tuple | list) else [entry]
        names = [*names, "x"]
        return dict(zip(names, flat, strict=False))
    if all(str(k) in {*names, *network.step_names(), "x"} for k in gradients):
        return dict(gradients)
    numbered = [re.fullmatch(r"(?:d|grad_?)?(\w*?)_?(\d+)", str(k)) for k in gradients]
    first = min((int(m[2]) for m in numbered if m), default=0)
    table = {"w": "weight", "weight": "weight", "b": "bias", "bias": "bias", "z": "z", "a": "a"}
    found: dict[str, Any] = {}
    for (key, value), m in zip(gradients.items(), numbered, strict=True):
        if m and m[1].lower() in table:
            found[f"layers.{int(m[2]) - first}.{table[m[1].lower()]}"] = value
        elif str(key).lower() in ("x", "dx", "input"):
            found["x"] = value
        else:
            found[str(key)] = value
    return found
