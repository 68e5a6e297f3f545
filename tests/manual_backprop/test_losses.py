"""Every loss of the registry: what it keeps, its slope against its own forward, its accuracy."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat.torch
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import Form, Loss
from reference import strategies

DTYPES = ("float64", "float32")
H = 1e-200  # of the complex step: h² vanishes beside everything, h times a slope does not


@dataclass(frozen=True)
class Case:
    """A loss and everything it is called with."""

    loss: Loss
    y: np.ndarray
    t: np.ndarray
    cotangent: np.ndarray
    arguments: dict[str, Any]

    def forward(self, y: np.ndarray | None = None) -> np.ndarray:
        return self.loss.forward(self.y if y is None else y, self.t, **self.arguments)

    def backward(self) -> np.ndarray:
        return self.loss.backward(self.y, self.t, self.cotangent, **self.arguments)

    def arrays(self) -> dict[str, np.ndarray]:
        held = {"y": self.y, "t": self.t, "cotangent": self.cotangent}
        return held | {k: v for k, v in self.arguments.items() if isinstance(v, np.ndarray)}

    def with_arrays(self, change: Callable[[np.ndarray], np.ndarray]) -> "Case":
        changed = {name: change(array) for name, array in self.arrays().items()}
        parts = {name: changed.pop(name) for name in ("y", "t", "cotangent")}
        return replace(self, **parts, arguments=self.arguments | changed)


@st.composite
def predictions(draw: st.DrawFn, loss: Loss, shape: tuple[int, int], dtype: str) -> np.ndarray:
    if loss.predictions == "real":
        regimes = ("ordinary", "lattice", "tiny", "saturated", "huge")
        # A rate e^y overflows rightly beyond the range: those tails are below, against the truth.
        regime = draw(st.sampled_from(regimes[:3] if "count" in loss.targets else regimes))
        return draw(strategies.arrays(shape, dtype, regime))
    parts = draw(hnp.arrays(np.int64, shape, elements=st.integers(1, 15)))
    if loss.predictions == "unit":
        return (parts / 16).astype(dtype)
    simplex = (parts / parts.sum(axis=1, keepdims=True)).astype(dtype)
    return simplex if loss.predictions == "simplex" else np.log(simplex)


@st.composite
def cases(draw: st.DrawFn, loss: Loss, dtypes: tuple[str, ...] = DTYPES) -> Case:
    dtype = draw(st.sampled_from(dtypes))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 5)))
    y = draw(predictions(loss, shape, dtype))
    t = draw(strategies.targets(loss, shape, dtype))
    arguments: dict[str, Any] = draw(strategies.parameters(loss))
    if "ignore_index" in arguments and t.ndim == 1 and draw(st.booleans()):
        t[draw(st.integers(0, len(t) - 1))] = arguments["ignore_index"]
    for name, extent in loss.arrays.items():
        if extent == "entries" or draw(st.booleans()):
            positive = st.integers(1, 24).map(lambda k: k / 8)
            size = shape if extent == "entries" else shape[1]
            arguments[name] = draw(hnp.arrays(dtype, size, elements=positive))
    losses_shape = shape if loss.elementwise else shape[:1]
    return Case(loss, y, t, draw(strategies.cotangents(losses_shape, dtype)), arguments)


every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


# -- what is kept -----------------------------------------------------------------------------


def check_kept(case: Case) -> None:
    """Shapes and dtype stay, nothing given is changed, every number is finite."""
    before = {name: array.copy() for name, array in case.arrays().items()}
    losses, dy = case.forward(), case.backward()
    assert losses.shape == (case.y.shape if case.loss.elementwise else case.y.shape[:1])
    assert dy.shape == case.y.shape
    assert losses.dtype == dy.dtype == case.y.dtype
    assert np.isfinite(losses).all() and np.isfinite(dy).all()
    for name, array in case.arrays().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@every_loss
@given(data=st.data())
def test_shape_and_dtype_are_kept_and_nothing_is_changed(loss: Loss, data: st.DataObject) -> None:
    check_kept(data.draw(cases(loss)))


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def _strided(array: np.ndarray) -> np.ndarray:
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "read-only": _read_only,
    "strided": _strided,
    "Fortran": np.asfortranarray,
    "backward in memory": lambda array: array[::-1].copy()[::-1],
}


@every_loss
@given(data=st.data())
def test_the_layout_in_memory_does_not_matter(loss: Loss, data: st.DataObject) -> None:
    """NumPy's exp runs through memory backward in another loop, which may be off by an ulp."""
    case = data.draw(cases(loss))
    largest = np.abs(case.y).max(initial=1) * np.abs(case.t.astype(float)).max(initial=1)
    for name, layout in LAYOUTS.items():
        other = case.with_arrays(layout)
        for there, here in (
            (other.forward(), case.forward()),
            (other.backward(), case.backward()),
        ):
            size = largest + np.abs(here[np.isfinite(here)]).max(initial=0)
            ulps = 8 * np.finfo(case.y.dtype).eps * size
            np.testing.assert_allclose(there, here, rtol=0, atol=ulps, err_msg=name)


@every_loss
@given(data=st.data())
def test_a_leading_axis_broadcasts(loss: Loss, data: st.DataObject) -> None:
    case = data.draw(cases(loss))
    stack = np.stack([case.y, case.y[::-1], case.y])
    both = case.forward(stack)
    for i, y in enumerate(stack):
        np.testing.assert_array_equal(both[i], case.forward(y))


@every_loss
@given(data=st.data())
def test_the_mean_divides_by_the_terms_that_count(loss: Loss, data: st.DataObject) -> None:
    case = data.draw(cases(loss))
    counted = loss.count(case.forward(), case.t, **case.arguments)
    ignored = case.arguments.get("ignore_index")
    if case.t.ndim == 2:
        assert counted == (case.t.size if loss.elementwise else len(case.t))
    else:
        weight = case.arguments.get("class_weight", np.ones(case.y.shape[1]))
        assert counted == sum(float(weight[k]) for k in case.t if k != ignored)


# -- the backward against the forward -----------------------------------------------------------


def complex_step(case: Case, h: float = H) -> np.ndarray:
    """Return dy by the forward at y + ih, one entry of y perturbed in each of a stack."""
    size = case.y.size
    stack = case.y + 1j * h * np.eye(size).reshape(size, *case.y.shape)
    change = case.forward(stack).imag / h * case.cotangent
    return change.reshape(size, -1).sum(axis=1).reshape(case.y.shape)


def largest_slope(case: Case) -> np.ndarray:
    """Return, for each entry, the scale on which its slope is right: the operands of its last sum.

    A slope such as σ(y) - t is as exact as σ(y) and t are, so the unit is theirs, at least one.
    """
    weight = case.arguments.get("class_weight", np.ones(1)).max()
    size = np.abs(case.cotangent if case.loss.elementwise else case.cotangent[:, None])
    return size * max(1.0, float(weight)) + np.abs(case.backward())


def check_slope(case: Case) -> None:
    """The backward is the derivative of the forward, by complex step, to 16 ulp of its scale.

    At a kink the steps to both sides differ, and the backward is one of them or between.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        above, below = complex_step(case), complex_step(case, -H)
    slack = 16 * np.finfo(case.y.dtype).eps * largest_slope(case)
    dy = case.backward()
    assert (dy >= np.minimum(above, below) - slack).all(), (dy, above, below)
    assert (dy <= np.maximum(above, below) + slack).all(), (dy, above, below)


@every_loss
@given(data=st.data())
def test_backward_is_the_slope_of_forward(loss: Loss, data: st.DataObject) -> None:
    check_slope(data.draw(cases(loss, ("float64",))))


@every_loss
@given(data=st.data())
def test_the_composition_is_the_same_function(loss: Loss, data: st.DataObject) -> None:
    if loss.composition is None:
        assert not loss.torch.composed and not loss.jax.composed
        return
    case = data.draw(cases(loss))
    composed = loss.composition(np, case.y, case.t, **case.arguments)
    expected = case.forward()
    assert composed.dtype == case.y.dtype
    # Compositions cancel where ours do not: right to 32 ulp of what they add up.
    scale = (1 + np.abs(case.y).max()) * max(1, case.y.shape[1]) + np.abs(expected)
    weight = max((float(a.max()) for a in case.arguments.values() if np.ndim(a)), default=1.0)
    assert (
        np.abs(composed - expected) <= 32 * np.finfo(case.y.dtype).eps * scale * (1 + weight)
    ).all()


# -- mistakes, which the checks above must find ---------------------------------------------------


def _in_place(case: Case) -> np.ndarray:
    case.y[...] += 1
    return case.loss.backward(case.y, case.t, case.cotangent, **case.arguments)


def _sum_of_cotangents(case: Case) -> np.ndarray:
    uniform = np.full_like(case.cotangent, case.cotangent.sum())
    return case.loss.backward(case.y, case.t, uniform, **case.arguments)


MISTAKES: dict[str, Callable[[Case], np.ndarray]] = {
    "sign": lambda case: -case.backward(),
    "factor 2": lambda case: 2 * case.backward(),
    "missing 1/C": lambda case: case.backward() / case.y.shape[1],
    "one part in 1e12": lambda case: case.backward() * (1 + 1e-12),
    "zero": lambda case: np.zeros_like(case.y),
    "cotangent ignored": lambda case: case.loss.backward(
        case.y, case.t, np.ones_like(case.cotangent), **case.arguments
    ),
    "cotangents summed": _sum_of_cotangents,
    "rows exchanged": lambda case: case.backward()[::-1],
    "float32 inside": lambda case: case.backward().astype(np.float32).astype(np.float64),
    "dtype dropped": lambda case: case.backward().astype(np.float32),
    "argument changed in place": _in_place,
    "a row of the shape lost": lambda case: case.backward()[:1],
}


def fixed_case(loss: Loss, seed: int) -> Case:
    """Return a plain case: 3 rows, 4 columns, nothing at a kink."""
    rng = np.random.default_rng(seed)
    shape = (3, 4)
    simplex = rng.dirichlet(np.ones(4), 3)
    logits = rng.normal(size=shape)
    y = {"real": logits, "unit": rng.uniform(0.1, 0.9, shape), "simplex": simplex,
         "log_simplex": np.log(simplex)}[loss.predictions]  # fmt: skip
    t = {"real": rng.normal(size=shape), "unit": rng.random(shape),
         "sign": rng.choice([-1.0, 1.0], shape), "count": np.floor(rng.random(shape) * 4),
         "labels": rng.integers(0, 4, 3), "simplex": rng.dirichlet(np.ones(4), 3)}  # fmt: skip
    arguments: dict[str, Any] = loss.defaults()
    for name, extent in loss.arrays.items():
        arguments[name] = rng.random(shape if extent == "entries" else 4) + 0.5
    cotangent = rng.normal(size=shape if loss.elementwise else 3) + 3
    return Case(loss, y, t[loss.targets[0]], cotangent, arguments)


@every_loss
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_injected_mistake_is_found(loss: Loss, mistake: str) -> None:
    def wrong(y: np.ndarray, t: np.ndarray, dL: np.ndarray, **arguments: Any) -> np.ndarray:
        return MISTAKES[mistake](Case(loss, y, t, dL, arguments))

    def found(case: Case) -> bool:
        try:
            check_kept(case)
            check_slope(case)
        except (AssertionError, ValueError):
            return True
        return False

    for seed in range(4):
        assert not found(fixed_case(loss, seed))
    injected = replace(loss, backward=wrong)
    assert any(found(replace(fixed_case(loss, seed), loss=injected)) for seed in range(4))


@every_loss
def test_a_forward_that_counts_a_row_twice_is_found(loss: Loss) -> None:
    def doubled(y: np.ndarray, t: np.ndarray, **arguments: Any) -> np.ndarray:
        return 2 * loss.forward(y, t, **arguments)

    case = fixed_case(loss, 0)
    with pytest.raises(AssertionError):
        check_slope(replace(case, loss=replace(loss, forward=doubled)))


@every_loss
def test_the_docstring_derives_the_slope(loss: Loss) -> None:
    doc = inspect.cleandoc(loss.doc)
    assert doc.startswith("L = ") and "∂L/∂y" in doc


@pytest.mark.parametrize("form", ["stable", "textbook"])
@pytest.mark.parametrize("masked", [0, 3])
@np.errstate(invalid="ignore")
def test_a_masked_class_is_no_class(form: Form, masked: int) -> None:
    """A logit of -inf, as masks make it, is the same row without that class."""
    rng = np.random.default_rng(masked)
    few, upstream = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    many, dy = (np.insert(a, masked, v, axis=1) for a, v in ((few, -np.inf), (upstream, 1.5)))
    for name in ("softmax", "log_softmax"):
        formulas = ACTIVATIONS[name].formulas(form)
        y, expected = formulas.forward(many), formulas.forward(few)
        np.testing.assert_allclose(np.delete(y, masked, 1), expected, rtol=1e-15)
        assert (y[:, masked] == (0.0 if name == "softmax" else -np.inf)).all()
        if name == "softmax":
            dx, reference = (
                formulas.backward(many, y, dy),
                formulas.backward(few, expected, upstream),
            )
            np.testing.assert_allclose(np.delete(dx, masked, 1), reference, rtol=1e-14)
            assert (dx[:, masked] == 0.0).all()
    t, cross_entropy = np.array([1, 2]), LOSSES["cross_entropy"].formulas(form)
    nll = LOSSES["nll"].formulas(form).forward(many, t)
    np.testing.assert_array_equal(nll, -many[[0, 1], t])
    dy = cross_entropy.backward(many, t, np.ones(2))
    reference = cross_entropy.backward(few, np.where(t > masked, t - 1, t), np.ones(2))
    np.testing.assert_allclose(np.delete(dy, masked, 1), reference, rtol=1e-14)
    assert (dy[:, masked] == 0.0).all()
    if form == "stable":  # the textbook's form says that it is NaN
        losses = cross_entropy.forward(few, np.where(t > masked, t - 1, t))
        np.testing.assert_allclose(cross_entropy.forward(many, t), losses, rtol=1e-15)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize(
    "name", [name for name in LOSSES if "ignore_index" in LOSSES[name].parameters]
)
def test_no_class_is_taken_for_the_ignored_one(name: str, dtype: str) -> None:
    """In uint8 -100 would wrap to 156, a class like any other."""
    loss = LOSSES[name]
    y, t = np.log(np.full((2, 200), 1 / 200)), np.array([156, 3])
    losses = loss.forward(y, t.astype(dtype))
    np.testing.assert_array_equal(losses, loss.forward(y, t))
    assert (losses > 5).all()
    assert loss.count(losses, t.astype(dtype), ignore_index=-100, class_weight=None) == 2
    weights = np.full(200, 0.5)
    assert loss.count(losses, t.astype(dtype), ignore_index=-100, class_weight=weights) == 1
    assert loss.composition is not None
    if dtype == "uint8":  # PyTorch compares no wider unsigned integers
        composed = loss.composition(
            array_api_compat.torch, torch.from_numpy(y), torch.from_numpy(t.astype(dtype))
        )
        np.testing.assert_allclose(composed.numpy(), losses, rtol=1e-14)


def test_gaussian_nll_is_finite_where_twice_the_loss_is_not() -> None:
    y, one = np.array([[2.1e19]], np.float32), np.ones((1, 1), np.float32)
    loss = LOSSES["gaussian_nll"].forward(y, 0 * y, var=one, eps=np.float32(1e-6))
    np.testing.assert_allclose(loss, [[2.205e38]], rtol=1e-6)
