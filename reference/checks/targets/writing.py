"""Ways of writing that mean the same: the order of a loss's arguments, a dense layer's arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from manual_backprop.network import Layer, Network, Problem
from manual_backprop.spec import FloatArray, InvalidInput
from reference.checks.targets.forms import COTANGENTS, accepted
from reference.diagnosis.same import same_to_rounding

_TRUTHS = {"y_true", "ytrue", "t", "target", "targets", "tgt", "label", "labels", "true", "truth",
           "actual", "expected", "gt", "ground_truth", "y_gt", "yt"}  # fmt: skip
_PREDICTIONS = {"y_pred", "ypred", "y_hat", "yhat", "p", "pred", "preds", "prediction",
                "predictions", "predicted", "output", "outputs", "logits", "scores",
                "probs", "yp"}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """Whether a loss takes (predictions, targets), as here, or (targets, predictions)."""

    targets_first: bool = False

    def put(self, predictions: Any, targets: Any) -> tuple[Any, Any]:
        """Return both in this order."""
        return (targets, predictions) if self.targets_first else (predictions, targets)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is to be said of it."""
        said = "it takes the targets first, as its arguments are named"
        return (said,) if self.targets_first else ()


def order_of(*functions: Callable[..., Any]) -> Order:
    """Return the order that the names of a loss's arguments tell: of the first that tells any.

    Only what is named for what it is tells: of mse(recon, x) and mse(a, b) the order is ours.
    """
    for function in functions:
        names = [n.lower() for n in accepted(function)]
        while names and (names[0] in COTANGENTS or names[0] == "ctx"):
            del names[0]
        first, second, *_ = [*names, "", ""]
        if first in _TRUTHS and second not in _TRUTHS:
            return Order(targets_first=True)
        if first == "y" and second in _PREDICTIONS:
            return Order(targets_first=True)
        if first in _PREDICTIONS | {"y"} or second in _TRUTHS:
            return Order()
    return Order()


@dataclass(frozen=True)
class Layout:
    """How somebody keeps the arrays of a dense layer.

    Ours: x (N, D_in), W (D_in, D_out), b (D_out,). `turned`: W is (D_out, D_in). `columns`: a
    sample is a column, so that x is (D_in, N) and b (D_out, 1).
    """

    turned: bool = False
    columns: bool = False
    bias: bool = True

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what is to be said of it."""
        said = {
            "it keeps W as (D_out, D_in)": self.turned,
            "it keeps a sample as a column": self.columns,
            "it has no bias": not self.bias,
        }
        return tuple(text for text, holds in said.items() if holds)

    @property
    def without(self) -> tuple[str, ...]:
        """Return the parameters that it does not have."""
        return () if self.bias else ("layers.0.bias",)

    def samples(self, array: Any) -> Any:
        """Put samples into this layout, or back: x, a cotangent, an output."""
        return np.asarray(array).T if self.columns else array

    def inputs(self, problem: Problem) -> list[FloatArray]:
        """Return x, W and, where there is one, b."""
        weight, bias = _parameters(problem)
        # Views: what is written into them is seen in the problem.
        kept = [self.samples(problem.x), weight.T if self.turned else weight]
        return [*kept, bias[:, None] if self.columns else bias] if self.bias else kept

    def output(self, problem: Problem, found: Any) -> Any:
        """Return an output in our layout; where there is no bias, ours is added to it."""
        out = self.samples(found)
        return out if self.bias else out + _parameters(problem)[1]

    def ours(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """Put gradients back into our layout."""
        found = dict(named)
        if "x" in found:
            found["x"] = self.samples(found["x"])
        if self.turned and "layers.0.weight" in found:
            found["layers.0.weight"] = np.asarray(found["layers.0.weight"]).T
        if self.columns and "layers.0.bias" in found:
            bias = np.asarray(found["layers.0.bias"])
            if bias.shape[1:] != (1,):
                raise InvalidInput(f"db has the shape {bias.shape}, expected (D_out, 1) as b has")
            found["layers.0.bias"] = bias[:, 0]
        return found


def rectangular() -> Problem:
    """Return a dense layer of 3 inputs and 4 outputs, 2 samples: no two sizes alike."""
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((3, 4)), rng.standard_normal(4)
    network = Network(3, (Layer(4),), "kl_div", {}, "sum")
    parameters = {"layers.0.weight": weight, "layers.0.bias": bias}
    return Problem(network, parameters, rng.standard_normal((2, 3)), np.zeros((2, 4)))


def layout_of(forward: Callable[..., Any]) -> Layout:
    """Return the layout in which a dense forward(x, W[, b]) gives the right output.

    Asked of a layer that is not square, where only one of them can be multiplied. Where no output
    is right, the shape tells; where none fits, the layout is ours.
    """
    problem = rectangular()
    product_, bias = problem.x @ _parameters(problem)[0], _parameters(problem)[1]
    shaped = []
    for layout, out in _outputs(forward, problem):
        if np.shape(out) != product_.shape:
            continue
        if same_to_rounding(out, product_ + bias if layout.bias else product_):
            return layout
        shaped.append(layout)
    return shaped[0] if shaped else Layout()


def _outputs(forward: Callable[..., Any], problem: Problem) -> Iterator[tuple[Layout, Any]]:
    """Yield every layout that the forward can be called in, with its output in ours."""
    for bias, columns, turned in product((True, False), (False, True), (False, True)):
        layout = Layout(turned, columns, bias)
        try:
            yield layout, np.asarray(layout.samples(forward(*layout.inputs(problem))))
        except Exception:  # whatever it raises where the arrays do not fit
            continue


def _parameters(problem: Problem) -> Sequence[FloatArray]:
    return [problem.parameters["layers.0.weight"], problem.parameters["layers.0.bias"]]
