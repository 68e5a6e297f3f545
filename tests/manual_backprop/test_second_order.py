"""Second order by hand: every `tangent` and `second` against mpmath, and the walk.

The truth is the difference quotient, over a step of 6e-67, of a slope that dual numbers carry
through the definition: no formula is shared. The tests iterate over the registries.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from highprecision import bend, jacobian, mpf, ulp_error, unit

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.fast import compile_product
from manual_backprop.losses import LOSSES
from manual_backprop.network import Layer, Network, Problem, backward, forward
from manual_backprop.operation import Activation, InvalidInput, Loss
from manual_backprop.second_order import gradient_norm_gradient, hessian_vector_product, variables

DTYPES = (np.float32, np.float64)
LIMIT = 6.0
"""Units in the last place of the true second derivative, or so many times what one unit of x moves
it by: where its terms cancel, that is what the rounding of x alone would do."""

TAIL = 2.5
"""gelu_tanh far below zero: units for each |v|, as its slope; see test_activations."""

OPERATIONS = [pytest.param(o, id=n) for n, o in ACTIVATIONS.items()]
ELEMENTWISE = [case for case in OPERATIONS if not case.values[0].rowwise]
ROWWISE = [case for case in OPERATIONS if case.values[0].rowwise]


def points(dtype: Any) -> np.ndarray:
    """Return numbers of both signs: all magnitudes, quarters, near the zeros of f'', saturated."""
    info = np.finfo(dtype)
    top, bottom = (30, -45) if dtype is np.float32 else (300, -323)
    rng = np.random.default_rng(20261129)
    size = np.concatenate([
        (10.0 ** np.linspace(bottom, top, 5)).astype(dtype),
        np.array([0, info.smallest_subnormal, info.tiny, info.eps], dtype),
        np.arange(0, 6.1, 1.0).astype(dtype),
        np.array([math.sqrt(2), 2.3994, 1.4142, 2.2564], dtype),  # zeros of gelu'' and silu''
        rng.uniform(0, 8, 5).astype(dtype),
        rng.uniform(8, 100 if dtype is np.float32 else 740, 5).astype(dtype),
    ])  # fmt: skip
    return np.concatenate([size, -size])


def check_elementwise(operation: Activation, dtype: Any) -> None:
    """Fail unless f'' is right at every point, as what `second` returns for dy = tx = 1."""
    x = points(dtype)
    parameters = operation.defaults()
    for parameter in operation.parameters:
        parameters[parameter] = operation.parameters[parameter].choices[0]
    ones = np.ones_like(x)
    y = operation.forward(x, **parameters)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = operation.second(x, y, ones, ones, **parameters)
    assert found.dtype == dtype
    for x_i, f in zip(x, found, strict=True):
        truths = bend(operation.definition, float(x_i), **parameters)[0]
        low, high = min(truths), max(truths)
        if low <= mpf(float(f)) <= high:
            continue
        error = min(ulp_error(f, truth, dtype) for truth in truths)
        allowed = LIMIT
        if operation.name == "gelu_tanh" and x_i < 0:
            held = max(-30.0, float(x_i))
            allowed += TAIL * abs(1.6 * (held + 0.045 * held**3))
        if error > allowed:
            beside = float(np.nextafter(x_i, dtype(np.inf)))
            there = bend(operation.definition, beside, **parameters)[0][0]
            allowed += LIMIT * float(abs(there - truths[0]) / unit(truths[0], dtype))
        assert error <= allowed, (
            f"{operation.name}'' at {x_i!r}: {f!r}, truth {float(truths[0])!r}, "
            f"{error:.3g} ulp, allowed {allowed:.3g}"
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", ELEMENTWISE)
def test_the_second_derivative_is_right_to_the_last_digits(operation: Any, dtype: Any) -> None:
    check_elementwise(operation, dtype)


def rows(dtype: Any) -> list[np.ndarray]:
    """Return rows: random at many scales, ties, one class far ahead, a single class."""
    rng = np.random.default_rng(20261130)
    special = [[0.5], [40.0, -40.0], [80.0, 0.0, -3.0], [1.0, 1.0, -2.0]]
    drawn = [rng.normal(size=3) * scale for scale in (1, 20, 1e-6)]
    return [np.array([row], dtype) for row in (*special, *drawn)]


def nearly(found: Any, terms: list[Any], dtype: Any, what: str) -> None:
    """Fail unless a sum is right to a few units of the sum of its terms' magnitudes."""
    scale = unit(sum(abs(term) for term in terms), dtype)
    error = float(abs(mpf(float(found)) - sum(terms)) / scale)
    assert error <= 2 * LIMIT, f"{what}: {found!r}, truth {float(sum(terms))!r}, {error:.3g} units"


def check_rowwise(operation: Activation, dtype: Any) -> None:
    """Fail unless `tangent` and `second` are right for each direction and for each cotangent.

    Unit vectors leave one entry of each: it has to have all its digits.
    """
    for x in rows(dtype):
        row, width = x[0].tolist(), x.shape[1]
        columns = [left for left, _ in jacobian(operation.definition, row, digits=25)]
        y = operation.forward(x)
        eye = np.eye(width, dtype=dtype)
        for k in range(width):
            ty = operation.tangent(x, y, eye[[k]])
            for i in range(width):
                error = ulp_error(ty[0, i], columns[k][i], dtype)
                assert error <= LIMIT, f"{operation.name} ∂y_{i}/∂x_{k} at {row}: {error:.3g} ulp"
            moved = bend(operation.definition, row, along=eye[k].tolist())
            for i in range(width):
                dx = operation.second(x, y, eye[[i]], eye[[k]])
                # ∂²y_i/∂x_j∂x_k = y_i ([i = j] - y_j)([i = k] - y_k) - …: its terms, of one size
                for j in range(width):
                    truth = moved[j][0][i]
                    error = ulp_error(dx[0, j], truth, dtype)
                    if error > 2 * LIMIT:
                        terms = _third(y[0], i, j, k)
                        nearly(dx[0, j], [truth, *terms, -sum(terms)], dtype,
                               f"{operation.name} ∂²y_{i}/∂x_{j}∂x_{k} at {row}")  # fmt: skip


def _third(y: np.ndarray, i: int, j: int, k: int) -> list[Any]:
    """Return the two terms of a third cumulant, which cancel where two classes are alike."""
    p = [mpf(float(v)) for v in y]
    return [p[i] * ((i == j) - p[j]) * ((i == k) - p[k]), p[i] * p[j] * ((j == k) - p[k])]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", ROWWISE)
def test_rows_are_right_to_the_last_digits(operation: Any, dtype: Any) -> None:
    check_rowwise(operation, dtype)


def test_tangents_of_elementwise_operations_are_their_slope() -> None:
    x = np.linspace(-4, 4, 33)
    for operation in ACTIVATIONS.values():
        if not operation.rowwise:
            y, ones = operation.forward(x, **operation.defaults()), np.ones_like(x)
            slope = operation.backward(x, y, ones, **operation.defaults())
            np.testing.assert_array_equal(
                operation.tangent(x, y, ones, **operation.defaults()), slope
            )


# -- losses -----------------------------------------------------------------------------------

PREDICTIONS = {
    "real": (0.0, 1e-20, 0.3, -0.7, 1.0, -1.0, 2.5, -4.1, 20.25, -40.5, 80.0),
    "unit": (1e-18, 1e-3, 0.3, 0.5, 0.75, 1 - 2.0**-12),
    "log_simplex": (-1e-20, -0.3, -5.5, -40.0),
}
TARGETS = {
    "real": (0.0, -2.5, 1 / 3), "unit": (0.0, 1.0, 0.5, 1 / 3), "sign": (1.0, -1.0),
    "count": (0.0, 1.0, 5.0), "simplex": (0.0, 1.0, 1 / 3),
}  # fmt: skip


def turns(loss: Loss) -> list[dict[str, float]]:
    """Return the usual parameters and each at its last choice."""
    usual = loss.defaults()
    return [usual, *({**usual, n: p.choices[-1]} for n, p in loss.parameters.items())]


def check_elements(loss: Loss, dtype: Any) -> None:
    """Fail unless ∂²L/∂y² is right at every prediction beside every target."""
    for y in PREDICTIONS[loss.predictions]:
        for t in TARGETS[loss.targets[0]]:
            for parameters in turns(loss):
                given: dict[str, Any] = dict(parameters)
                given |= {name: np.array([[0.3]], dtype) for name in loss.arrays}
                exact = {k: float(v[0, 0]) if np.ndim(v) else v for k, v in given.items()}
                ys, ts, one = (np.array([[v]], dtype) for v in (y, t, 1.0))
                found = loss.second(ys, ts, one, one, **given)
                assert found.dtype == dtype
                at = float(ys[0, 0]), float(ts[0, 0])
                truths = bend(loss.definition, at[0], at[1], **exact)[0]
                if min(truths) <= mpf(float(found[0, 0])) <= max(truths):
                    continue
                error = min(ulp_error(found[0, 0], truth, dtype) for truth in truths)
                # d = y - t rounds, and of tanh' and its like that is |d| units of the value.
                allowed = LIMIT + 2 * (abs(y) + abs(t))
                assert error <= allowed, f"{loss.name} at {at} {exact}: {found}, {error:.3g} ulp"


def check_rows(loss: Loss, dtype: Any) -> None:
    """Fail unless each ∂²L/∂y_j∂y_k is right, for every kind of target."""
    rng = np.random.default_rng(20261201)
    for row in ([0.3, -0.5, 1.25], [40.0, 0.0, -3.0], [2.0, 2.0, -30.0], [0.5, 0.25]):
        y = np.array([row], dtype)
        if loss.predictions != "real":
            y = np.exp(y - y.max()) / np.exp(y - y.max()).sum()
        y = np.log(y) if loss.predictions == "log_simplex" else y
        for kind in loss.targets:
            soft = rng.dirichlet(np.ones(len(row)), 1).astype(dtype)
            t = np.array([1]) if kind == "labels" else soft
            for n, parameters in enumerate(turns(loss)):
                given: dict[str, Any] = dict(parameters)
                if n:
                    given |= {name: np.array([0.5, 2, 1.5], dtype)[: len(row)]
                              for name in loss.arrays}  # fmt: skip
                check_row(loss, y, t, given)


def check_row(loss: Loss, y: np.ndarray, t: np.ndarray, given: Mapping[str, Any]) -> None:
    """Fail unless the Hessian of one row is right, column by column."""
    exact = {k: v.tolist() if np.ndim(v) else v for k, v in given.items()}
    eye, one = np.eye(y.shape[1], dtype=y.dtype), np.ones(1, y.dtype)
    for k in range(y.shape[1]):
        found = loss.second(y, t, one, eye[[k]], **given)
        truths = bend(loss.definition, y[0].tolist(), t[0].tolist(), along=eye[k].tolist(), **exact)
        for j, (truth, _) in enumerate(truths):
            error = ulp_error(found[0, j], truth, y.dtype)
            # Differences of logits round, and their exponentials by so many units.
            allowed = 2 * LIMIT + float(np.ptp(y))
            assert error <= allowed, f"{loss.name} ∂²L/∂y_{j}∂y_{k} at {y} {t} {given}: {error:.3g}"


def check_loss(loss: Loss, dtype: Any) -> None:
    (check_elements if loss.elementwise else check_rows)(loss, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_second_derivative_of_a_loss_is_right(loss: Loss, dtype: Any) -> None:
    check_loss(loss, dtype)


# -- the checks themselves, on an injected bug --------------------------------------------------


def spoiled(operation: Any) -> Any:
    """Return the operation with a second derivative that is 64 units off."""

    def wrong(*arguments: Any, **parameters: Any) -> Any:
        found = operation.second(*arguments, **parameters)
        offset = 1.0 if not found.any() else found * (64 * np.finfo(found.dtype).eps)
        return (found + offset).astype(found.dtype)

    return replace(operation, second=wrong)


@pytest.mark.parametrize("name", ["relu", "tanh", "silu", "gelu", "softmax", "log_softmax"])
def test_a_second_derivative_that_is_slightly_off_is_caught(name: str) -> None:
    operation = spoiled(ACTIVATIONS[name])
    check = check_rowwise if operation.rowwise else check_elementwise
    with pytest.raises(AssertionError):
        check(operation, np.float64)


@pytest.mark.parametrize("name", ["mse", "bce_with_logits", "cross_entropy", "nll"])
def test_a_second_derivative_of_a_loss_that_is_off_is_caught(name: str) -> None:
    with pytest.raises(AssertionError):
        check_loss(spoiled(LOSSES[name]), np.float64)


# -- the walk ---------------------------------------------------------------------------------


def smooth(seed: int, *activations: str, loss: str = "mse", reduction: Any = "mean") -> Problem:
    """Return a small network with these activations; their widths are 3, 4, 3, 4, …"""
    rng = np.random.default_rng(seed)
    layers = tuple(Layer(3 + k % 2, a, bias=k != 1) for k, a in enumerate(activations))
    network = Network(2, layers, loss, reduction=reduction)
    parameters = {n: rng.normal(size=s) for n, s in network.parameter_shapes().items()}
    x = rng.normal(size=(5, 2))
    labels = "labels" in LOSSES[loss].targets
    shape = (5, layers[-1].width)
    targets = rng.integers(0, shape[1], 5) if labels else rng.normal(size=shape)
    return Problem(network, parameters, x, targets, weights=rng.uniform(0.5, 2, 5))


def direction_for(problem: Problem, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=v.shape) for name, v in variables(problem).items()}


def moved(problem: Problem, direction: Mapping[str, np.ndarray], by: float) -> Problem:
    """Return the problem a step along the direction."""
    parameters = {n: v + by * direction[n] for n, v in problem.parameters.items()}
    return replace(problem, parameters=parameters, x=problem.x + by * direction["x"])


PROBLEMS = [
    smooth(1, "tanh", "sigmoid"),
    smooth(2, "silu", "softmax", "gelu", loss="log_cosh", reduction="sum"),
    smooth(3, "mish", "log_softmax", "softplus", loss="cross_entropy", reduction="batch_mean"),
    smooth(4, "identity", loss="squared_error", reduction="none"),
]


def check_walk(problem: Problem, product: Callable[..., Any] = hessian_vector_product) -> None:
    """Fail unless every tangent and product is a central difference of the function it belongs to.

    Of 16 digits the difference over 1e-5 keeps ten.
    """
    direction, h = direction_for(problem), 1e-5
    found = product(problem, direction)
    traces = [forward(moved(problem, direction, s * h)) for s in (1, -1)]
    cotangents = [backward(moved(problem, direction, s * h), t)
                  for s, t in zip((1, -1), traces, strict=True)]  # fmt: skip
    assert found.tangents.keys() == found.values.keys()
    assert found.products.keys() == found.cotangents.keys()
    for name, tangent in found.tangents.items():
        there = (traces[0].steps[name] - traces[1].steps[name]) / (2 * h)
        np.testing.assert_allclose(tangent, there, rtol=1e-7, atol=1e-8, err_msg=name)
    for name, value in found.products.items():
        there = (cotangents[0][name] - cotangents[1][name]) / (2 * h)
        np.testing.assert_allclose(value, there, rtol=1e-7, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_walk_moves_as_the_differences_do(problem: Problem) -> None:
    check_walk(problem)


def test_a_walk_that_leaves_a_part_out_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from manual_backprop.layers import LAYERS, Dense

    def second(tx: Any, dy: Any, tweight: Any) -> Any:
        return {"weight": tx.T @ dy, "x": 0 * (dy @ tweight.T)}

    monkeypatch.setitem(LAYERS._operations, "dense", replace(Dense, second=second))
    with pytest.raises(AssertionError, match=r"layers\.0\.a|x"):
        check_walk(PROBLEMS[0])


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_hessian_is_symmetric(problem: Problem) -> None:
    one, other = direction_for(problem, 2), direction_for(problem, 3)
    there = hessian_vector_product(problem, one).products
    back = hessian_vector_product(problem, other).products
    left = sum(float(np.sum(other[n] * there[n])) for n in one)
    right = sum(float(np.sum(one[n] * back[n])) for n in one)
    assert left == pytest.approx(right, rel=1e-12)


def test_what_a_direction_does_not_name_does_not_move() -> None:
    problem = PROBLEMS[0]
    whole = direction_for(problem)
    alone = {"x": whole["x"]}
    zeros = {n: np.zeros_like(v) for n, v in whole.items()}
    first = hessian_vector_product(problem, alone).products
    second = hessian_vector_product(problem, {**zeros, **alone}).products
    assert all(np.array_equal(first[n], second[n]) for n in first)


@pytest.mark.parametrize("by", [("x",), ("layers.0.weight", "layers.1.bias")])
def test_the_gradient_of_the_penalty_is_the_slope_of_half_the_squared_norm(by: Any) -> None:
    problem = smooth(5, "tanh", "silu", "identity")
    by = [name for name in by if name in variables(problem)]
    found = gradient_norm_gradient(problem, by)
    direction, h = direction_for(problem), 1e-6

    def penalty(at: Problem) -> float:
        g = backward(at, forward(at))
        return sum(float(np.sum(g[n] ** 2)) for n in by) / 2

    there = penalty(moved(problem, direction, h)) - penalty(moved(problem, direction, -h))
    slope = sum(float(np.sum(found[n] * direction[n])) for n in found)
    assert slope == pytest.approx(there / (2 * h), rel=1e-6)


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        ([1.0], "direction: a list, expected a mapping"),
        ({"layers.7.weight": np.ones(2)}, "'layers.7.weight' is unknown"),
        ({"x": [1.0]}, "a list, expected a NumPy array"),
        ({"x": np.ones((2, 2))}, "expected float64 of shape"),
        ({"x": np.ones((5, 2), np.float32)}, "float32 of shape"),
    ],
)
def test_a_bad_direction_is_a_clear_error(direction: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        hessian_vector_product(PROBLEMS[0], direction)
    with pytest.raises(InvalidInput, match="by='y' is unknown"):
        gradient_norm_gradient(PROBLEMS[0], ["y"])


def test_an_operation_without_second_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from manual_backprop.operation import Registry, activation

    @activation(torch="torch.tanh", jax="jax.numpy.tanh", registry=Registry("activation"))
    class Bare:
        """y = x."""

        forward = backward = definition = staticmethod(lambda *a: a[-1])

    with pytest.raises(InvalidInput, match="'bare' has no method second"):
        Bare.second(1, 2, 3, 4)


def test_every_operation_has_its_second_order() -> None:
    for operation in (*ACTIVATIONS.values(), *LOSSES.values()):
        assert operation.has_second_order, f"{operation.name} has no second"
        assert operation.second.__doc__, f"{operation.name}.second has no derivation"


# -- the fast product ---------------------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_fast_product_has_the_same_bits(problem: Problem) -> None:
    names = tuple(variables(problem))
    fast = compile_product(problem, names)
    for seed in (1, 2):
        direction = direction_for(problem, seed)
        loss, products = fast(direction)
        plain = hessian_vector_product(problem, direction)
        np.testing.assert_array_equal(loss, plain.loss)
        for name in names:
            np.testing.assert_array_equal(products[name], plain.products[name], err_msg=name)


def test_a_bad_direction_of_the_fast_product_is_a_clear_error() -> None:
    with pytest.raises(InvalidInput, match="by='y' is unknown; expected one of"):
        compile_product(PROBLEMS[0], ["y"])
    fast = compile_product(PROBLEMS[0])
    with pytest.raises(InvalidInput, match="direction: 'x' is unknown"):
        fast({"x": PROBLEMS[0].x})
    with pytest.raises(InvalidInput, match=r"direction\[.*expected"):
        fast({"layers.0.weight": np.ones(3)})
