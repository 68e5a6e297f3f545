"""Every activation against fifty digits, and what every activation promises about its arrays.

The tests iterate over the registry. Each check is a function of an operation, so that it can be
shown a injected bug, which it must catch.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from highprecision import jacobian, mpf, slope, tied, ulp_error, unit, value
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.fast import compile_step
from manual_backprop.network import Layer, Network, Problem, backward, forward
from manual_backprop.operation import Activation, Form
from reference.drawing.regimes import kinks

DTYPES = (np.float32, np.float64)
OPERATIONS = [pytest.param(operation, id=name) for name, operation in ACTIVATIONS.items()]
ELEMENTWISE = [case for case in OPERATIONS if not case.values[0].rowwise]
ROWWISE = [case for case in OPERATIONS if case.values[0].rowwise]

LIMIT = 4.0
"""Units in the last place of the true value, on the whole line; subnormals share one unit."""

EXPONENT = 2.5
"""gelu_tanh is x e^v far below zero, with a cubic v(x): each unit that v is off, of |v| before the
result is 0 up to 745, is a relative error of the exponential. Doubled precision for v would
quadruple the time. Units for each |v|, measured 2.0 at worst."""

ERFCX = "scipy.special.erfcx is itself up to 6.6 units off in float64"
ROUNDINGS = "ten roundings after an exponential that is itself up to 2.2 units off in float32"
BEYOND: dict[tuple[str, str], tuple[float, str]] = {
    # operation, value or slope: the limit in place of LIMIT, and why
    ("gelu", "value"): (9.0, ERFCX),
    ("gelu", "slope"): (9.0, ERFCX),
    ("mish", "slope"): (6.0, ROUNDINGS),
}


def points(dtype: Any) -> np.ndarray:
    """Return numbers of both signs: all magnitudes, on and beside quarters to 6.5, saturated."""
    information = np.finfo(dtype)
    top, bottom = (38, -45) if dtype is np.float32 else (300, -323)
    rng = np.random.default_rng(20240229)
    quarters = np.arange(0, 6.6, 0.25).astype(dtype)
    size = np.concatenate(
        [
            (10.0 ** np.linspace(bottom, top, 30)).astype(dtype),
            np.array([0, information.smallest_subnormal, information.tiny, information.eps], dtype),
            quarters,
            np.nextafter(quarters[::4], dtype(np.inf)),
            np.nextafter(quarters[1::4], dtype(0)),
            rng.uniform(0, 8, 24).astype(dtype),
            rng.uniform(8, 110 if dtype is np.float32 else 760, 16).astype(dtype),
        ]
    )
    return np.concatenate([size, -size])


def parameter_sets(operation: Activation) -> list[dict[str, float]]:
    """Return the usual parameters and, for each parameter, its other choices."""
    usual = operation.defaults()
    others = [
        {**usual, name: choice}
        for name, parameter in operation.parameters.items()
        for choice in parameter.choices
        if choice != parameter.default
    ]
    return [usual, *others]


def pair(operation: Activation, x: Any, dy: Any, parameters: dict[str, float]) -> tuple[Any, Any]:
    """Return y and dx; a warning (an overflow, a division by zero) is an error."""
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        y = operation.forward(x, **parameters)
        return y, operation.backward(x, y, dy, **parameters)


def limit(operation: Activation, part: str, x: Any = 0.0) -> float:
    if operation.name == "gelu_tanh":
        held = max(-30.0, min(x, 0.0))
        return LIMIT + 2 + EXPONENT * abs(1.6 * (held + 0.045 * held**3))
    return BEYOND.get((operation.name, part), (LIMIT, ""))[0]


def check_elementwise(operation: Activation, dtype: Any, xs: np.ndarray) -> None:
    """Fail unless value and slope are within the limit of the truth at every point."""
    for n, parameters in enumerate(parameter_sets(operation)):
        x = xs if n == 0 else xs[n::4]
        y, dx = pair(operation, x, np.ones_like(x), parameters)
        for x_i, y_i, dx_i in zip(x.tolist(), y, dx, strict=True):
            truth = value(operation.definition, x_i, digits=25, **parameters)
            sides = slope(operation.definition, x_i, digits=25, **parameters)
            report(operation, "value", dtype, parameters, x_i, y_i, [truth])
            report(operation, "slope", dtype, parameters, x_i, dx_i, sides)


def report(
    operation: Activation,
    part: str,
    dtype: Any,
    parameters: dict[str, float],
    x: Any,
    computed: Any,
    truths: Iterable[Any],
) -> None:
    """Fail with everything one needs, unless one of the truths is near enough."""
    errors = {ulp_error(computed, truth, dtype): truth for truth in truths}
    worst = min(errors)
    allowed = limit(operation, part, x)
    assert worst <= allowed, (
        f"{operation.name}{parameters or ''} {part} at x={x!r} in {np.dtype(dtype)}: "
        f"{computed!r}, truth {float(errors[worst])!r}, {worst:.3g} ulp off, "
        f"limit {allowed}"
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", ELEMENTWISE)
def test_value_and_slope_are_right_to_the_last_digits(operation: Activation, dtype: Any) -> None:
    check_elementwise(operation, dtype, points(dtype))


def rows(dtype: Any) -> list[np.ndarray]:
    """Return rows: random at many scales, ties, one class far ahead, huge, tiny, a single class."""
    rng = np.random.default_rng(20240301)
    huge = 1e37 if dtype is np.float32 else 1e300
    special = [[0.5], [800.0, -800.0], [800.0, 0.0, -30.0], [1.0, 1.0, -2.0], [-40.0, 40.0]]
    special += [[huge, -huge, 0.0], [1 / huge, -1 / huge], [3.0, 3.0, 3.0], [700.25, -10.7, 25.3]]
    drawn = [rng.normal(size=3) * scale for scale in (0.1, 1, 5, 20, 60, 1e-6)]
    return [np.array([row], dtype) for row in (*special, *drawn)]


def check_rowwise(operation: Activation, dtype: Any) -> None:
    """Fail unless each y_i and each ∂y_i/∂x_j, and a random contraction of them, is right.

    In the contraction Σ_i dy_i ∂y_i/∂x_j terms of both signs may cancel; its unit is the one of
    the sum of their absolute values.
    """
    rng = np.random.default_rng(20240302)
    for x in rows(dtype):
        row = x[0].tolist()
        truth = value(operation.definition, row, digits=25)
        columns = [left for left, _ in jacobian(operation.definition, row, digits=25)]
        for i in range(len(row)):
            y, dx = pair(operation, x, np.eye(len(row), dtype=dtype)[[i]], {})
            report(operation, "value", dtype, {}, row, y[0, i], [truth[i]])
            for j, column in enumerate(columns):
                report(operation, "slope", dtype, {}, (row, i, j), dx[0, j], [column[i]])
        dy = rng.normal(size=x.shape).astype(dtype)
        dx = pair(operation, x, dy, {})[1]
        for j, column in enumerate(columns):
            terms = [
                mpf(float(dy_i)) * slope_i for dy_i, slope_i in zip(dy[0], column, strict=True)
            ]
            scale = unit(sum(abs(term) for term in terms), dtype)
            error = float(abs(mpf(float(dx[0, j])) - sum(terms)) / scale)
            assert error <= limit(operation, "contraction"), (
                f"{operation.name} dx[{j}] at x={row}, dy={dy[0].tolist()} in {np.dtype(dtype)}: "
                f"{dx[0, j]!r}, truth {float(sum(terms))!r}, {error:.3g} units off"
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", ROWWISE)
def test_rows_are_right_to_the_last_digits(operation: Activation, dtype: Any) -> None:
    check_rowwise(operation, dtype)


# What every activation promises about its arrays, on arrays that Hypothesis draws.


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return x and a cotangent dy of one shape (N, C) and one dtype, float32 or float64."""
    dtype = draw(st.sampled_from(DTYPES))
    width = 8 * np.dtype(dtype).itemsize
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    numbers = st.floats(-30, 30, width=width) | st.integers(-12, 12).map(lambda k: k / 2)
    cotangents = st.integers(-32, 32).map(lambda k: k / 8)  # no underflow of a product
    return draw(hnp.arrays(dtype, shape, elements=numbers)), draw(
        hnp.arrays(dtype, shape, elements=cotangents)
    )


def check_arrays(operation: Activation, x: np.ndarray, dy: np.ndarray) -> None:
    """Fail unless dtype and shape are kept and neither x, y nor dy is changed."""
    parameters = operation.defaults()
    x_before, dy_before = x.copy(), dy.copy()
    y = operation.forward(x, **parameters)
    y_before = y.copy()
    dx = operation.backward(x, y, dy, **parameters)
    for name, found in (("y", y), ("dx", dx)):
        assert found.dtype == x.dtype, f"{operation.name}: {name} is {found.dtype}, not {x.dtype}"
        assert found.shape == x.shape, f"{operation.name}: {name} {found.shape}, not {x.shape}"
    for name, after, before in (("x", x, x_before), ("dy", dy, dy_before), ("y", y, y_before)):
        assert np.array_equal(after, before), f"{operation.name} changed {name}"


@given(case=cases())
def test_dtype_and_shape_are_kept_and_arguments_untouched(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    for operation in ACTIVATIONS.values():
        check_arrays(operation, *case)


def layouts(a: np.ndarray) -> dict[str, np.ndarray]:
    """Return the same numbers read-only, in Fortran order, strided, and behind a leading axis."""
    frozen = a.copy()
    frozen.setflags(write=False)
    strided = np.zeros((2 * a.shape[0], 3 * a.shape[1]), a.dtype)[::2, ::3]
    strided[...] = a
    return {
        "read-only": frozen,
        "Fortran": np.asfortranarray(a),
        "strided": strided,
        "reversed": a[::-1, ::-1].copy()[::-1, ::-1],
        "leading axis": np.stack([a, a]),
    }


def check_layouts(operation: Activation, x: np.ndarray, dy: np.ndarray) -> None:
    """Fail unless the memory layout changes nothing: to the bit, and for rows to their rounding.

    NumPy may sum a row in another order, and takes other loops of its transcendentals for strided
    memory, whose last digits differ: both are within twice the limit of one truth.
    """
    parameters = operation.defaults()
    y = operation.forward(x, **parameters)
    dx = operation.backward(x, y, dy, **parameters)
    scale_y, scale_dx = np.abs(y), np.abs(dx)
    if operation.rowwise:
        scale_dx = np.maximum(scale_dx, np.abs(dy).max(axis=-1, keepdims=True))
    variants = zip(layouts(x).items(), layouts(dy).values(), strict=True)
    for (name, x_again), dy_again in variants:
        y_again = operation.forward(x_again, **parameters)
        dx_again = operation.backward(x_again, y_again, dy_again, **parameters)
        for part, a, b, scale in (("y", y, y_again, scale_y), ("dx", dx, dx_again, scale_dx)):
            a = np.broadcast_to(a, b.shape)
            bound = 2 * LIMIT * np.spacing(np.broadcast_to(scale, b.shape))
            assert np.all(np.abs(a - b) <= bound), f"{operation.name} {part}, {name}: {a} and {b}"


@given(case=cases())
def test_memory_layout_and_a_leading_axis_change_nothing(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    for operation in ACTIVATIONS.values():
        check_layouts(operation, *case)


STEP = 1e-30


def check_complex_step(operation: Activation, x: np.ndarray, dy: np.ndarray) -> None:
    """Fail unless Im f(x + ih)/h, which has no cancellation, gives backward's dx away from kinks.

    Every entry of x is perturbed by itself, behind a leading axis. float64 only: 2^-40 relative
    to dx, or 2^-52 to dy near a zero of the slope; for rows, whose terms cancel, 2^-40 to dy.
    """
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    parameters = operation.defaults()
    y = operation.forward(x, **parameters)
    dx = operation.backward(x, y, dy, **parameters)
    steps = 1j * STEP * np.eye(x.size).reshape(x.size, *x.shape)
    moved = operation.forward(x + steps, **parameters)
    assert moved.dtype == np.complex128, f"{operation.name}: complex x gives {moved.dtype}"
    by_step = (moved.imag / STEP * dy).sum(axis=(-2, -1)).reshape(x.shape)
    for index in np.ndindex(x.shape):
        if not operation.rowwise:
            if tied(operation.definition, float(x[index]), **parameters):
                continue
        size = max(abs(dx[index]), abs(dy).max() if operation.rowwise else abs(dy[index]) * 2**-12)
        assert abs(by_step[index] - dx[index]) <= 2**-40 * size, (
            f"{operation.name} at x={x[index]!r}: backward {dx[index]!r}, step {by_step[index]!r}"
        )


@given(case=cases())
def test_backward_is_the_complex_step_of_forward(case: tuple[np.ndarray, np.ndarray]) -> None:
    for operation in ACTIVATIONS.values():
        check_complex_step(operation, *case)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_parameters_are_exact_in_float32(operation: Activation) -> None:
    for parameter in operation.parameters.values():
        assert all(float(np.float32(choice)) == choice for choice in parameter.choices)


# Injected bugs: each check must catch its own.


def scaled(f: Callable[..., Any], ulps: int) -> Callable[..., Any]:
    def wrong(*args: Any, **parameters: Any) -> Any:
        result = f(*args, **parameters)
        return result + result * (ulps * np.finfo(result.dtype).eps)

    return wrong


def touching(f: Callable[..., Any], argument: int) -> Callable[..., Any]:
    def wrong(*args: Any, **parameters: Any) -> Any:
        result = f(*args, **parameters).copy()
        args[argument][...] = 7
        return result

    return wrong


def injected(name: str, part: str, bug: Callable[..., Any]) -> Activation:
    return replace(ACTIVATIONS[name], **{part: bug})  # type: ignore[arg-type]


TANH, SOFTMAX = ACTIVATIONS["tanh"], ACTIVATIONS["softmax"]
X = np.array([[0.5, -1.25, 3.0], [2.0, 0.75, -9.0]])
DY = np.array([[1.0, -0.5, 0.25], [0.5, 2.0, -1.5]])

IMPRECISE = [
    ("tanh", "forward", scaled(TANH.forward, 8)),
    ("tanh", "backward", scaled(TANH.backward, 8)),
    ("tanh", "backward", lambda x, y, dy: dy * (1 - y * y)),  # the textbook's, saturated
    ("sigmoid", "backward", lambda x, y, dy: dy * (y * (1 - y))),
    ("softplus", "forward", lambda x, beta: np.log(1 + np.exp(beta * np.minimum(x, 30))) / beta),
    ("squareplus", "forward", lambda x, b: (x + np.hypot(x, b**0.5)) / 2),
    ("squareplus", "backward", lambda x, y, dy, b: dy * (1 + x / np.hypot(x, b**0.5)) / 2),
    ("elu", "backward", lambda x, y, dy, alpha: np.where(x > 0, dy, dy * (y + alpha))),
    ("relu", "backward", lambda x, y, dy: dy * (x > -1)),
    ("relu", "backward", lambda x, y, dy: dy * np.where(x == 0, 0.5, x > 0).astype(x.dtype)),
    ("softmax", "forward", scaled(SOFTMAX.forward, 8)),
    ("softmax", "backward", lambda x, y, dy: dy * y * (1 - y)),  # the diagonal alone
    ("softmax", "backward", lambda x, y, dy: y * (dy - (y * dy).sum(-1, keepdims=True))),
]


@pytest.mark.parametrize("name, part, bug", IMPRECISE)
def test_an_imprecise_or_wrong_operation_is_caught(name: str, part: str, bug: Any) -> None:
    wrong = injected(name, part, bug)
    with pytest.raises(AssertionError, match=f"{name}.* off|{name}.*units"):
        if wrong.rowwise:
            check_rowwise(wrong, np.float64)
        else:
            check_elementwise(wrong, np.float64, points(np.float64))


CARELESS = [
    ("forward", touching(TANH.forward, 0), "changed x"),
    ("backward", touching(TANH.backward, 1), "changed y"),
    ("backward", touching(TANH.backward, 2), "changed dy"),
    ("forward", lambda x: np.tanh(x).astype(np.float32), "float32"),
    ("forward", lambda x: np.tanh(x).sum(axis=-1), "not"),
]


@pytest.mark.parametrize("part, bug, message", CARELESS)
def test_a_careless_operation_is_caught(part: str, bug: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_arrays(injected("tanh", part, bug), X.copy(), DY.copy())


def test_an_operation_that_needs_contiguous_memory_is_caught() -> None:
    wrong = injected("tanh", "forward", lambda x: np.tanh(x.ravel(order="K").reshape(x.shape)))
    with pytest.raises(AssertionError, match="Fortran"):
        check_layouts(wrong, X, DY)


def test_a_sum_over_a_counted_axis_is_caught() -> None:
    def over_axis_one(x: Any) -> Any:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    with pytest.raises(AssertionError, match="leading axis"):
        check_layouts(injected("softmax", "forward", over_axis_one), X, DY)


def test_a_backward_that_is_not_of_its_forward_is_caught() -> None:
    wrong = injected("tanh", "backward", lambda x, y, dy: dy * (1 - y))
    with pytest.raises(AssertionError, match="step"):
        check_complex_step(wrong, X, DY)


def test_a_forward_that_is_not_analytic_is_caught() -> None:
    wrong = injected("softsign", "forward", lambda x: x / (1 + np.abs(x)))
    with pytest.raises(AssertionError, match="step"):
        check_complex_step(wrong, X, DY)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_nan(name: str) -> None:
    """At a NaN a smooth function's slope must not look like a number."""
    operation, x = ACTIVATIONS[name], np.array([[np.nan, 0.5]])
    arguments = operation.defaults()
    for form in get_args(Form):
        formulas = operation.formulas(form)
        with np.errstate(all="ignore"):
            y = formulas.forward(x, **arguments)
            dx = formulas.backward(x, y, np.ones_like(x), **arguments)
        assert np.isnan(y[0, 0])
        assert (
            np.isnan(dx[0, 0])
            or kinks(name, tuple(sorted(arguments.items())))
            or name == "identity"
        )


@pytest.mark.parametrize("name", ["softshrink", "hardshrink"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shrinking_by_nothing_is_the_identity(name: str, dtype: type) -> None:
    operation = ACTIVATIONS[name]
    x = np.array([[0.0, -0.0, 1.5, -2.0, np.finfo(dtype).tiny]], dtype)
    dy = np.array([[-3.0, 2.0, -1.0, 0.5, 4.0]], dtype)
    y = operation.forward(x, lambd=0.0)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(operation.backward(x, y, dy, lambd=0.0), dy)
    # Through the fast step too, which replays the calls that were traced.
    network = Network(2, (Layer(2, name, {"lambd": 0.0}),), "mse")
    parameters = {"layers.0.weight": np.eye(2, dtype=dtype), "layers.0.bias": np.zeros(2, dtype)}
    problem = Problem(network, parameters, x[:, :2], np.ones((1, 2), dtype))
    found = backward(problem, forward(problem))
    _, gradients = compile_step(problem)(problem.x, problem.targets)
    for key, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, found[key])
    np.testing.assert_array_equal(found["layers.0.z"], found["layers.0.a"])
    assert (found["layers.0.z"] != 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_slope_of_log_softmax_is_finite_where_the_sum_of_cotangents_is_not(dtype: type) -> None:
    operation, most = ACTIVATIONS["log_softmax"], np.finfo(dtype).max
    x = np.array([[-1e13, 1e13, 2e13], [0.0, 1.0, 2.0]], dtype)
    dy = np.array([[-0.45, -0.53, -0.47], [1.0, 2.0, 3.0]], dtype)
    dy[0] *= most
    dx = operation.backward(x, operation.forward(x), dy)
    np.testing.assert_allclose(dx[0] / most, [-0.45, -0.53, 0.98], rtol=4 * np.finfo(dtype).eps)
    p = np.exp(x[1]) / np.exp(x[1]).sum()
    np.testing.assert_allclose(dx[1], dy[1] - 6 * p, rtol=64 * np.finfo(dtype).eps)
