"""What a function of a whole network takes, from its `accepts`; a missing entry allows all."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, get_args

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS
from manual_backprop.operation import InvalidInput, Loss, TargetKind
from reference.drawing.builder import fits

_KNOWN = frozenset(
    {
        "activations",
        "output",
        "losses",
        "reductions",
        "depths",
        "widths",
        "bias",
        "targets",
        "weights",
        "arrays",
        "parameters",
        "reduction",
    }
)


class Accepts:
    """An `accepts`, checked: what means nothing is refused by name (InvalidInput).

    activations, output, losses, reductions, targets: names; depths, widths: whole numbers;
    bias, parameters, weights, arrays: True or False.
    """

    def __init__(self, accepts: Mapping[str, Any]) -> None:
        if not isinstance(accepts, Mapping):
            raise InvalidInput(f"accepts = {accepts!r}: expected a dict")
        for key in accepts:
            if key not in _KNOWN:
                raise InvalidInput(f"accepts: {key!r}; expected {', '.join(sorted(_KNOWN))}")
        self.output = _listed(accepts, "output", ())
        self.activations = _listed(accepts, "activations", tuple(ACTIVATIONS))
        self.losses = _listed(accepts, "losses", ())
        self.reductions = _listed(
            accepts, "reductions", _listed(accepts, "reduction", REDUCTIONS[1:])
        )
        self.depths = _listed(accepts, "depths", (1, 2, 3))
        self.widths = list(_listed(accepts, "widths", ()))
        for key in ("bias", "parameters", "weights", "arrays"):
            if not isinstance(accepts.get(key, True), bool):
                raise InvalidInput(f"accepts: {key} = {accepts[key]!r}: expected True or False")
        self.bias, self.vary = accepts.get("bias", True), accepts.get("parameters", True)
        self.vary_asked = accepts.get("parameters") is True
        self.weights, self.arrays = accepts.get("weights", False), accepts.get("arrays", False)
        self.kinds = _listed(accepts, "targets", ())
        if not self.losses:  # gaussian_nll takes an array more: only who asks for it gets it
            self.losses = tuple(
                n for n, loss in LOSSES.items() if "entries" not in loss.arrays.values()
            )
        _check("activations", self.activations, ACTIVATIONS)
        _check("output", self.output, ACTIVATIONS)
        _check("losses", self.losses, LOSSES)
        _check("reductions", self.reductions, REDUCTIONS)
        _check("targets", self.kinds, get_args(TargetKind))
        for key, sizes in (("depths", self.depths), ("widths", tuple(self.widths))):
            if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes):
                raise InvalidInput(f"accepts: {key} = {accepts[key]!r}: expected whole numbers > 0")
        if "widths" in accepts and len(self.widths) < 2:
            raise InvalidInput(f"accepts: widths = {self.widths}: expected two of them at least")

    def outputs(self, loss: Loss) -> list[str]:
        """Return the activations that may stand before a loss."""
        if self.output:
            return [str(name) for name in self.output]
        return [n for n in ACTIVATIONS if fits(ACTIVATIONS[n].range, loss.predictions)]

    def targets(self, loss: Loss, rng: np.random.Generator) -> TargetKind:
        """Return the kind of targets to draw."""
        kinds = [k for k in loss.targets if not self.kinds or k in self.kinds]
        return cast(TargetKind, str(rng.choice(kinds or list(loss.targets))))


def _check(key: str, names: Sequence[Any], known: Iterable[str]) -> None:
    for name in names:
        if name not in [*known]:
            raise InvalidInput(f"accepts: {key}: {name!r}; expected one of {', '.join(known)}")


def _listed(accepts: Mapping[str, Any], key: str, default: Sequence[Any]) -> tuple[Any, ...]:
    value = accepts.get(key, default)
    if isinstance(value, str | int):
        return (value,)
    listed = isinstance(value, list | tuple | set | frozenset | range)
    if not listed or (key in accepts and not value):
        raise InvalidInput(f"accepts: {key} = {value!r}: expected a list that is not empty")
    return tuple(value)
