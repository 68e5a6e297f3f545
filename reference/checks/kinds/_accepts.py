"""What a function of a whole network takes, from its `accepts`; a missing entry allows all."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS
from manual_backprop.operation import InvalidInput, Loss, TargetKind
from reference.drawing.builder import fits

_NAMES: Mapping[str, Iterable[str]] = {
    "activations": ACTIVATIONS,
    "output": ACTIVATIONS,
    "losses": LOSSES,
    "reductions": REDUCTIONS,
    "targets": get_args(TargetKind),
}
_SIZES = ("depths", "widths")
_FLAGS = ("bias", "parameters", "weights", "arrays")


class Accepts:
    """An `accepts`, checked: what means nothing is refused by name (InvalidInput).

    activations, output, losses, reductions, targets: names; depths, widths: whole numbers;
    bias, parameters, weights, arrays: True or False.
    """

    def __init__(self, accepts: Mapping[str, Any]) -> None:
        if not isinstance(accepts, Mapping):
            raise InvalidInput(f"accepts = {accepts!r}: expected a dict")
        known = sorted((*_NAMES, "reduction", *_SIZES, *_FLAGS))
        for key in accepts:
            if key not in known:
                raise InvalidInput(f"accepts: {key!r}; expected {', '.join(known)}")
        given = {key: _listed(accepts, key) for key in accepts if key not in _FLAGS}
        given.setdefault("reductions", given.get("reduction", REDUCTIONS[1:]))
        for key in _FLAGS:
            if not isinstance(accepts.get(key, True), bool):
                raise InvalidInput(f"accepts: {key} = {accepts[key]!r}: expected True or False")
        for key, names in _NAMES.items():
            for name in given.get(key, ()):
                if name not in [*names]:
                    expected = ", ".join(names)
                    raise InvalidInput(f"accepts: {key}: {name!r}; expected one of {expected}")
        for key in _SIZES:
            if not all(type(n) is int and n > 0 for n in given.get(key, ())):
                raise InvalidInput(f"accepts: {key} = {accepts[key]!r}: expected whole numbers > 0")
        self.output, self.kinds = given.get("output", ()), given.get("targets", ())
        self.activations = given.get("activations", tuple(ACTIVATIONS))
        self.reductions = given["reductions"]
        self.depths, self.widths = given.get("depths", (1, 2, 3)), list(given.get("widths", ()))
        if "widths" in accepts and len(self.widths) < 2:
            raise InvalidInput(f"accepts: widths = {self.widths}: expected two of them at least")
        self.bias, self.vary = accepts.get("bias", True), accepts.get("parameters", True)
        self.vary_asked = accepts.get("parameters") is True
        self.weights, self.arrays = accepts.get("weights", False), accepts.get("arrays", False)
        # gaussian_nll takes an array more: only who asks for it gets it
        plain = (n for n, loss in LOSSES.items() if "entries" not in loss.arrays.values())
        self.losses = given.get("losses", tuple(plain))

    def outputs(self, loss: Loss) -> list[str]:
        """Return the activations that may stand before a loss."""
        if self.output:
            return [str(name) for name in self.output]
        return [n for n in ACTIVATIONS if fits(ACTIVATIONS[n].range, loss.predictions)]

    def targets(self, loss: Loss) -> tuple[TargetKind, ...]:
        """Return the kinds of targets that may be drawn."""
        return tuple(k for k in loss.targets if k in self.kinds) or loss.targets


def _listed(accepts: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    value = accepts[key]
    if isinstance(value, str | int):
        return (value,)
    if not isinstance(value, list | tuple | set | frozenset | range) or not value:
        raise InvalidInput(f"accepts: {key} = {value!r}: expected a list that is not empty")
    return tuple(value)
