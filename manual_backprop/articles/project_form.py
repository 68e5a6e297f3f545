"""An article's network in the project's own form, in which a row is a sample and z = x W + b."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from manual_backprop.articles.system import Quantities
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import ByName, FloatArray


class LayerNames(NamedTuple):
    """What an article calls a layer's weight, bias ("" for none), z and a; and its activation."""

    weight: str
    bias: str
    z: str
    a: str
    activation: str


@dataclass(frozen=True)
class ProjectForm:
    """How the project's form is read from an article's quantities.

    `layers(inputs)` names them; `x` and `targets` are the article's names of the two. Where
    `columns`, a sample is a vector or a column and z = W a + b; else it is a row.
    """

    x: str
    targets: str
    loss: str
    layers: Callable[[ByName], Sequence[LayerNames]]
    columns: bool

    def problem(self, inputs: ByName) -> Problem:
        """Return the network with its numbers."""
        named = self.layers(inputs)
        read = self._read(inputs, named)
        layers = tuple(
            Layer(read[f"layers.{i}.weight"].shape[1], one.activation, bias=bool(one.bias))
            for i, one in enumerate(named)
        )
        x, targets = read.pop("x"), self._rows(inputs[self.targets])
        network = Network(x.shape[1], layers, self.loss, reduction="sum")
        return Problem(network, read, x=x, targets=targets)

    def in_project(self, inputs: ByName, values: Quantities) -> dict[str, FloatArray]:
        """Return values of the article's names, its gradient for example, under the project's."""
        named = self.layers(inputs)
        steps = {
            f"layers.{i}.{step}": self._rows(values[name])
            for i, one in enumerate(named)
            for step, name in (("z", one.z), ("a", one.a))
        }
        return self._read(values, named) | steps

    def _read(
        self, values: ByName | Quantities, named: Sequence[LayerNames]
    ) -> dict[str, FloatArray]:
        """Return x and the parameters."""
        found = {"x": self._rows(values[self.x])}
        for i, one in enumerate(named):
            found[f"layers.{i}.weight"] = self._rows(values[one.weight])
            if one.bias:
                found[f"layers.{i}.bias"] = values[one.bias].reshape(-1)
        return found

    def _rows(self, array: FloatArray) -> FloatArray:
        return np.ascontiguousarray(np.atleast_2d(array.T if self.columns else array))
