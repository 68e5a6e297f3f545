"""Hypothesis strategies that draw problems for your own tests; what fails shrinks to small numbers.

from hypothesis import given
from reference.strategies import problems

@given(problems(regimes=("lattice",)))
def test_my_backward(problem): ...

The structures are those of `problems.draw`, and so are the regimes but for ill_conditioned and
special, whose numbers depend on each other, which leaves nothing to shrink.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS, Layer, Network, Problem
from manual_backprop.operation import FloatArray, Loss, Operation
from reference.drawing.builder import outputs_for
from reference.drawing.regimes import kinks
from reference.formats import DTYPES, Array
from reference.problems import check_names

REGIMES: tuple[str, ...] = (
    "ordinary", "lattice", "kink", "saturated", "tiny", "huge", "subnormal", "repeated_rows",
)  # fmt: skip


def numbers(dtype: str, regime: str = "ordinary") -> st.SearchStrategy[float]:
    """Return one number of a value regime, exact in `dtype`."""
    width: Literal[32, 64] = 32 if dtype == "float32" else 64
    smallest = float(np.finfo(dtype).tiny)

    def floats(low: float, high: float) -> st.SearchStrategy[float]:
        return st.floats(low, high, width=width, allow_subnormal=False)

    match regime:
        case "lattice":
            return st.integers(-6, 6).map(lambda k: k / 2)
        case "saturated":
            return floats(-128.0, 128.0)
        case "tiny":
            return floats(-(2.0**-20), 2.0**-20)
        case "huge":
            return floats(-(2.0**20), 2.0**20)
        case "subnormal":
            return st.integers(-4096, 4096).map(lambda k: k * smallest * 2.0**-12)
        case _:
            return floats(-4.0, 4.0)


def arrays(
    shape: tuple[int, ...], dtype: str = "float64", regime: str = "ordinary"
) -> st.SearchStrategy[FloatArray]:
    """Return an array of a value regime."""
    return hnp.arrays(dtype, shape, elements=numbers(dtype, regime))


def cotangents(shape: tuple[int, ...], dtype: str = "float64") -> st.SearchStrategy[FloatArray]:
    """Return a cotangent whose entries differ: a uniform one would hide an exchange of entries.

    On a softmax a uniform cotangent even has the true answer zero, which a missing backward gives.
    """
    size = int(np.prod(shape))
    values = st.lists(st.integers(-40, 40), min_size=size, max_size=size, unique=size <= 40)
    return values.map(lambda v: np.array(v, dtype).reshape(shape) / np.array(8, dtype))


@st.composite
def parameters(draw: st.DrawFn, operation: Operation) -> dict[str, float]:
    """Return the parameters of an operation, the default first."""
    return {
        name: draw(st.sampled_from(sorted({p.default, *p.choices}, key=lambda c: c != p.default)))
        for name, p in operation.parameters.items()
    }


@st.composite
def networks(
    draw: st.DrawFn,
    *,
    activations: Sequence[str] = (),
    losses: Sequence[str] = (),
    max_depth: int = 3,
    max_width: int = 5,
) -> Network:
    """Return a network; at the output stands an activation whose range the loss takes."""
    loss = LOSSES[draw(st.sampled_from(list(losses or LOSSES)))]
    hidden = list(activations or ACTIVATIONS)
    last = outputs_for(loss.predictions)
    last = [name for name in last if name in hidden] or last
    depth = draw(st.integers(1, max_depth))
    widths = draw(st.lists(st.integers(2, max_width), min_size=depth + 1, max_size=depth + 1))
    layers = []
    for i in range(depth):
        name = draw(st.sampled_from(last if i == depth - 1 else hidden))
        chosen = draw(parameters(ACTIVATIONS[name]))
        layers.append(Layer(widths[i + 1], name, chosen, bias=draw(st.booleans())))
    reduction = draw(st.sampled_from(REDUCTIONS))
    return Network(widths[0], tuple(layers), loss.name, draw(parameters(loss)), reduction)


@st.composite
def problems(
    draw: st.DrawFn,
    *,
    network: st.SearchStrategy[Network] | None = None,
    dtypes: Sequence[str] = DTYPES,
    regimes: Sequence[str] = REGIMES,
    max_batch: int = 4,
) -> Problem:
    """Return a problem; every array is drawn by Hypothesis, so that a failure shrinks."""
    check_names("regime", regimes, REGIMES)
    check_names("dtype", dtypes, DTYPES)
    net = draw(networks() if network is None else network)
    dtype, regime = draw(st.sampled_from(list(dtypes))), draw(st.sampled_from(list(regimes)))
    batch = draw(st.integers(2, max_batch))
    values = {k: draw(arrays(shape, dtype, regime)) for k, shape in net.parameter_shapes().items()}
    x = draw(arrays((batch, net.input_width), dtype, regime))
    if regime == "kink":
        _aim(draw, net, values, dtype)
    if regime == "repeated_rows":
        x = np.repeat(x[:1], batch, axis=0)
    positive = st.integers(1, 16).map(lambda k: k / 8)
    operation = net.loss_operation
    return Problem(
        network=net,
        parameters=values,
        x=x,
        targets=draw(targets(operation, (batch, net.widths[-1]), dtype)),
        weights=draw(st.none() | hnp.arrays(dtype, batch, elements=positive)),
        arrays={
            name: draw(
                hnp.arrays(
                    dtype,
                    (net.widths[-1],) if extent == "classes" else (batch, net.widths[-1]),
                    elements=positive,
                )
            )
            for name, extent in operation.arrays.items()
        },
    )


@st.composite
def targets(draw: st.DrawFn, operation: Loss, shape: tuple[int, int], dtype: str) -> Array:
    """Return targets of a kind that the loss takes, of shape (N, C), or (N,) for labels."""
    kind = draw(st.sampled_from(operation.targets))
    match kind:
        case "labels":
            labels: Array = draw(
                hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1))
            )
            return labels
        case "simplex":
            parts = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 8)))
            parts[:, 0] += 1  # no row of zeros
            return np.asarray(parts / parts.sum(axis=1, keepdims=True), dtype)
        case "unit":
            elements = st.integers(0, 4).map(lambda k: k / 4)
        case "sign":
            elements = st.sampled_from((1.0, -1.0))
        case "count":
            elements = st.integers(0, 5).map(float)
        case _:
            elements = numbers(dtype)
    return draw(hnp.arrays(dtype, shape, elements=elements))


def _aim(draw: st.DrawFn, net: Network, values: dict[str, FloatArray], dtype: str) -> None:
    """Make one pre-activation exactly a kink, where there is one, by its bias alone."""
    aims = [
        (i, kink)
        for i, layer in enumerate(net.layers)
        for kink in kinks(layer.activation, tuple(sorted(layer.parameters.items())))
        if layer.bias
    ]
    if aims:
        i, kink = draw(st.sampled_from(aims))
        values[f"layers.{i}.weight"][:, 0] = 0
        values[f"layers.{i}.bias"][0] = np.asarray(kink, dtype)
