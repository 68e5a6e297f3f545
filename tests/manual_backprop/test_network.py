"""Whole networks: the walks' names and shapes, the slope of the loss, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.fast import compile_step
from manual_backprop.losses import LOSSES
from manual_backprop.network import (
    REDUCTIONS,
    Layer,
    Network,
    Problem,
    Trace,
    backward,
    check_problem,
    forward,
    losses_cotangent,
    reduce_losses,
)
from manual_backprop.operation import InvalidInput, Operation
from reference.strategies import networks, problems

H = 1e-200
Gradients = dict[str, np.ndarray]
Backward = Callable[[Problem, Trace], Gradients]

CALM = ("ordinary", "lattice", "kink", "tiny", "repeated_rows")


def leaves(problem: Problem) -> Gradients:
    return {**problem.parameters, "x": problem.x}


def held(problem: Problem) -> Gradients:
    """Return every array of the caller."""
    arrays = {**leaves(problem), "targets": problem.targets, **problem.arrays}
    return arrays if problem.weights is None else arrays | {"weights": problem.weights}


def with_leaf(problem: Problem, name: str, value: np.ndarray) -> Problem:
    if name == "x":
        return replace(problem, x=value)
    return replace(problem, parameters={**problem.parameters, name: value})


def complex_step(problem: Problem, name: str, h: float) -> np.ndarray:
    """Return the derivative of the loss (of the sum of a vector loss) by one leaf."""
    leaf = leaves(problem)[name]
    found = np.empty(leaf.size)
    for i in range(leaf.size):
        stepped = leaf.astype(complex)
        stepped.flat[i] += 1j * h
        changed = with_leaf(problem, name, stepped)
        # x's dtype is the problem's: the divisor stays real, as the one of a real problem.
        losses = forward(replace(changed, x=changed.x.astype(complex))).losses
        found[i] = reduce_losses(problem, losses.imag / h).sum()
    return found.reshape(leaf.shape)


def check_names_and_shapes(problem: Problem, back: Backward = backward) -> None:
    """Every parameter, every step and x have a finite cotangent of their own shape and dtype."""
    network, before = problem.network, {k: v.copy() for k, v in held(problem).items()}
    trace = forward(problem)
    cotangents = back(problem, trace)
    assert list(trace.steps) == network.step_names()
    assert set(cotangents) == {*network.parameter_shapes(), *network.step_names(), "x"}
    for name, value in {**trace.steps, **leaves(problem)}.items():
        assert cotangents[name].shape == value.shape, name
        assert cotangents[name].dtype == value.dtype == problem.dtype, name
        assert np.isfinite(cotangents[name]).all(), name
    assert trace.loss.dtype == trace.losses.dtype == problem.dtype
    loss_shape = trace.losses.shape if network.reduction == "none" else ()
    assert trace.loss.shape == loss_shape
    for name, value in held(problem).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def check_slopes(problem: Problem, back: Backward = backward) -> None:
    """Every leaf's gradient is the complex step's, to 64 ulp of the largest number on the way.

    Where the steps to both sides differ there is a kink, and every gradient may differ; a thick
    answer is left to the certificate.
    """
    cotangents = back(problem, forward(problem))
    path = [np.abs(c).max() for c in cotangents.values()]
    sizes = [1.0, *(np.abs(v).max() for v in leaves(problem).values())]
    # Below 1e-123 the complex step has no digits: h times such a slope is subnormal.
    slack = max(1e-100, 64 * np.finfo(float).eps * max(path) * max(sizes))
    steps = {name: [complex_step(problem, name, h) for h in (H, -H)] for name in leaves(problem)}
    if any((np.abs(above - below) > slack).any() for above, below in steps.values()):
        return
    for name, (above, _) in steps.items():
        assert (np.abs(cotangents[name] - above) <= slack).all(), (name, cotangents[name], above)


def quiet(problem: Problem) -> bool:
    """Say whether the forward walk stays within the range."""
    with np.errstate(all="ignore"):
        trace = forward(problem)
        finite = [*trace.steps.values(), trace.losses, *backward(problem, trace).values()]
    return all(np.isfinite(value).all() for value in finite)


@given(problem=problems(regimes=CALM).filter(quiet))
def test_names_shapes_and_dtypes(problem: Problem) -> None:
    check_problem(problem)
    with np.errstate(over="ignore"):
        check_names_and_shapes(problem)


@given(problem=problems(dtypes=("float64",), regimes=CALM, max_batch=3).filter(quiet))
def test_the_gradient_is_the_slope_of_the_loss(problem: Problem) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        check_slopes(problem)


@given(problem=problems(regimes=CALM).filter(quiet))
def test_a_step_is_the_input_of_the_rest(problem: Problem) -> None:
    """The cotangent of a step is that of x in the network which begins behind the step."""
    network = problem.network
    with np.errstate(over="ignore"):
        trace = forward(problem)
        whole = backward(problem, trace)
        for i in range(1, len(network.layers)):
            rest = replace(
                problem,
                network=replace(network, input_width=network.widths[i], layers=network.layers[i:]),
                x=trace.steps[f"layers.{i - 1}.a"],
                parameters={
                    f"layers.{int(name.split('.')[1]) - i}.{name.split('.')[2]}": value
                    for name, value in problem.parameters.items()
                    if int(name.split(".")[1]) >= i
                },
            )
            tail = backward(rest, forward(rest))
            np.testing.assert_array_equal(tail["x"], whole[f"layers.{i - 1}.a"])


@given(problem=problems(network=networks(max_depth=1), regimes=("lattice",)).filter(quiet))
def test_the_layout_in_memory_does_not_matter(problem: Problem) -> None:
    def fortran(array: np.ndarray) -> np.ndarray:
        array = np.asfortranarray(array)
        array.flags.writeable = False
        return array

    other = replace(
        problem,
        x=fortran(problem.x),
        targets=fortran(problem.targets),
        parameters={name: fortran(value) for name, value in problem.parameters.items()},
    )
    slack = 64 * np.finfo(problem.dtype).eps
    with np.errstate(over="ignore"):
        expected = backward(problem, forward(problem))
        found = backward(other, forward(other))
    # A product may sum in another order; on the lattice z is exact, so no kink is crossed by that.
    largest = max(np.abs(value).max() for value in expected.values())
    size = max(1.0, *(float(np.abs(value).max()) for value in leaves(problem).values()))
    for name, value in expected.items():
        assert (np.abs(found[name] - value) <= slack * largest * size).all(), name


@given(problem=problems(dtypes=("float64",), regimes=("ordinary",)).filter(quiet))
def test_reductions_and_weights(problem: Problem) -> None:
    """Each reduction is its definition on the unreduced losses, weighted row by row."""
    losses = forward(problem).losses
    rows = losses.reshape(problem.batch, -1)
    weights = np.ones(problem.batch) if problem.weights is None else problem.weights
    total = sum(w * row_loss for w, row in zip(weights, rows, strict=True) for row_loss in row)
    operation = problem.network.loss_operation
    terms = operation.count(losses, problem.targets, **problem.loss_arguments())
    divisors = {"sum": 1, "mean": terms, "batch_mean": problem.batch}
    for reduction in REDUCTIONS:
        reduced = replace(problem, network=replace(problem.network, reduction=reduction))
        loss, cotangent = reduce_losses(reduced, losses), losses_cotangent(reduced, losses)
        divisor = divisors.get(reduction, 1)
        expected = (weights[:, None] * np.ones_like(rows) / divisor).reshape(losses.shape)
        np.testing.assert_array_max_ulp(np.asarray(cotangent), expected, 2)
        if reduction == "none":
            np.testing.assert_array_equal(loss, (weights[:, None] * rows).reshape(losses.shape))
        else:
            slack = 64 * np.finfo(float).eps * np.abs(rows).sum() * weights.max() / divisor
            assert abs(loss - total / divisor) <= slack


@pytest.mark.parametrize("stray", [True, False])
def test_the_network_says_whether_there_is_a_bias(stray: bool) -> None:
    """One that the layer does not have is not added, be it among the parameters or not."""
    problem = fixed_problem()
    bare = replace(problem.network, layers=(Layer(4, "tanh", bias=False), Layer(3, "softplus")))
    bias = {"layers.0.bias": np.full(4, 5.0 if stray else 0.0)}
    zero = replace(problem, parameters={**problem.parameters, "layers.0.bias": np.zeros(4)})
    other = replace(problem, network=bare, parameters={**problem.parameters, **bias})
    expected, found = forward(zero), forward(other)
    np.testing.assert_array_equal(found.loss, expected.loss)
    cotangents = backward(other, found)
    assert "layers.0.bias" not in cotangents
    np.testing.assert_array_equal(cotangents["x"], backward(zero, expected)["x"])


@pytest.mark.parametrize("name", ["layers.0.bias", "layers.1.bias", "layers.0.weight"])
def test_the_walks_name_a_parameter_that_is_missing(name: str) -> None:
    problem = fixed_problem()
    message = f"parameters: '{name}' is missing, expected shape "
    for walk in (forward, lambda incomplete: backward(incomplete, forward(problem))):
        with pytest.raises(InvalidInput, match=message):
            walk(without(problem, name))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2"])
@pytest.mark.parametrize("ignore_index", [-100, -1, -1000, 1, 1000])
@pytest.mark.parametrize("loss", [n for n, loss in LOSSES.items() if "labels" in loss.targets])
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_may_be_of_any_integer_dtype(
    loss: str, ignore_index: int, dtype: str, weighted: bool
) -> None:
    """As MNIST has them in uint8, which does not hold -100; in the plain and the fast step."""
    arrays = {"class_weight": np.array([0.5, 1.0, 2.0])} if weighted else {}
    plain = labelled(fixed_problem(), [0, 1, 2, 1, 0, 0], loss, **arrays)
    network = replace(plain.network, loss_parameters={"ignore_index": ignore_index})
    plain = replace(plain, network=network)
    expected = backward(plain, forward(plain))
    other = replace(plain, targets=plain.targets.astype(dtype))
    trace = forward(other)
    assert trace.loss == forward(plain).loss
    found = backward(other, trace)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    loss_again, gradients = compile_step(other)(other.x, other.targets)
    assert loss_again == trace.loss
    for name, value in gradients.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


# -- mistakes, which the checks above must find ---------------------------------------------------


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Backward:
    def wrong(problem: Problem, trace: Trace) -> Gradients:
        found = backward(problem, trace)
        return found | {key: change(found[key]) for key in found if key.endswith(name)}

    return wrong


def unweighted(problem: Problem, trace: Trace) -> Gradients:
    return backward(replace(problem, weights=None), trace)


def of_the_sum(problem: Problem, trace: Trace) -> Gradients:
    return backward(replace(problem, network=replace(problem.network, reduction="sum")), trace)


def mutating(problem: Problem, trace: Trace) -> Gradients:
    found = backward(problem, trace)
    problem.x[...] -= 1
    return found


MISTAKES: dict[str, Backward] = {
    "weight transposed": changed("weight", lambda g: g.T),
    "weight off by 1e-9": changed("weight", lambda g: g * (1 + 1e-9)),
    "bias summed on the wrong axis": changed("bias", lambda g: np.full_like(g, g.sum())),
    "dx missing": changed("x", np.zeros_like),
    "x in float32": changed("x", lambda g: g.astype(np.float32)),
    "sample weights forgotten": unweighted,
    "1/N forgotten": of_the_sum,
    "x changed in place": mutating,
}


def fixed_problem(reduction: str = "mean") -> Problem:
    rng = np.random.default_rng(3)
    layers = (Layer(4, "tanh"), Layer(3, "softplus"))
    network = Network(5, layers, "huber", reduction=reduction)  # type: ignore[arg-type]
    return Problem(
        network,
        {name: rng.normal(size=shape) for name, shape in network.parameter_shapes().items()},
        rng.normal(size=(6, 5)),
        rng.normal(size=(6, 3)),
        rng.uniform(0.5, 2, 6),
    )


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_injected_mistake_is_found(mistake: str) -> None:
    problem = fixed_problem()
    check_names_and_shapes(problem)
    check_slopes(problem)
    with pytest.raises((AssertionError, ValueError)):
        check_names_and_shapes(problem, MISTAKES[mistake])
        check_slopes(fixed_problem(), MISTAKES[mistake])


# -- what is refused ------------------------------------------------------------------------------


def set_at(array: np.ndarray, value: Any) -> np.ndarray:
    array = array.copy()
    array.flat[-1] = value
    return array


def without(problem: Problem, name: str) -> Problem:
    kept = {key: value for key, value in problem.parameters.items() if key != name}
    return replace(problem, parameters=kept)


def labelled(problem: Problem, labels: Any, loss: str = "cross_entropy", **arrays: Any) -> Problem:
    network = replace(problem.network, loss=loss, loss_parameters={})
    return replace(problem, network=network, targets=np.asarray(labels), arrays=arrays)


def matrix(array: np.ndarray) -> np.ndarray:
    return array.view(np.matrix)


BAD: dict[str, tuple[Callable[[Problem], Problem], str]] = {
    "x is a list": (lambda p: replace(p, x=p.x.tolist()), "x: a list"),
    "x of integers": (lambda p: replace(p, x=p.x.astype(int)), "x: dtype int64"),
    "x of half": (lambda p: replace(p, x=p.x.astype(np.float16)), "x: dtype float16"),
    "x of three axes": (lambda p: replace(p, x=p.x[None]), "x: shape (1, 6, 5), expected (N, 5)"),
    "x too wide": (lambda p: replace(p, x=p.x[:, :4]), "x: shape (6, 4), expected (N, 5)"),
    "no samples": (lambda p: replace(p, x=p.x[:0]), "x: an empty batch"),
    "x has a NaN": (lambda p: replace(p, x=set_at(p.x, np.nan)), "x: nan at (5, 4)"),
    "a parameter is missing": (lambda p: without(p, "layers.1.bias"), "'layers.1.bias' is missing"),
    "a parameter too many": (
        lambda p: with_leaf(p, "layers.2.bias", np.ones(3)), "'layers.2.bias' is not of this"
    ),
    "a weight transposed": (
        lambda p: with_leaf(p, "layers.0.weight", p.parameters["layers.0.weight"].T),
        "layers.0.weight: shape (4, 5), expected (5, 4)",
    ),
    "a weight of float32": (
        lambda p: with_leaf(p, "layers.0.weight", np.ones((5, 4), np.float32)),
        "layers.0.weight: dtype float32, expected float64",
    ),
    "a bias is infinite": (
        lambda p: with_leaf(p, "layers.0.bias", set_at(np.ones(4), np.inf)),
        "layers.0.bias: inf at (3,)",
    ),
    "weights too few": (lambda p: replace(p, weights=np.ones(5)), "weights: shape (5,)"),
    "weights have a NaN": (
        lambda p: replace(p, weights=set_at(p.weights, np.nan)), "weights: nan at (5,)"
    ),
    "an array the loss has not": (
        lambda p: replace(p, arrays={"var": np.ones((6, 3))}), "arrays: 'var' is not"
    ),
    "an array is missing": (
        lambda p: replace(p, network=replace(p.network, loss="gaussian_nll", loss_parameters={})),
        "arrays: 'var' is missing, expected shape (6, 3)",
    ),
    "class weights too few": (
        lambda p: labelled(p, np.zeros(6, int), class_weight=np.ones(2)),
        "class_weight: shape (2,), expected (3,)",
    ),
    "targets are a list": (lambda p: replace(p, targets=p.targets.tolist()), "targets: a list"),
    "targets too few": (lambda p: replace(p, targets=p.targets[:5]), "targets: shape (5, 3)"),
    "targets have a NaN": (
        lambda p: replace(p, targets=set_at(p.targets, np.nan)), "targets: nan at (5, 2)"
    ),
    "targets of float32": (
        lambda p: replace(p, targets=p.targets.astype(np.float32)), "targets: dtype float32"
    ),
    "labels where numbers belong": (
        lambda p: replace(p, targets=np.zeros(6, int)), "targets: dtype int64, but huber takes real"
    ),
    "numbers where labels belong": (
        lambda p: labelled(p, p.targets, "nll"), "targets: dtype float64, but nll takes class"
    ),
    "labels of floats": (
        lambda p: labelled(p, np.zeros(6)),
        "targets: dtype float64, but cross_entropy takes class indices: "
        "integers of shape (6,) or rows of float64 of shape (6, 3)",
    ),
    "labels of bools": (
        lambda p: labelled(p, np.zeros(6, bool)),
        "targets: dtype bool, but cross_entropy takes class indices: integers of shape (6,)",
    ),
    "labels that are durations": (
        lambda p: labelled(p, np.zeros(6, "m8[s]")), "targets: dtype timedelta64[s], but cross"
    ),
    "labels where none is ignored": (
        lambda p: labelled(p, np.array([0, 1, 2, 255, 0, 0], np.uint8)),
        "targets: label 255, expected 0 to 2",
    ),
    "labels that are masked": (
        lambda p: replace(labelled(p, 0), targets=np.ma.masked_equal(np.arange(6) % 3, 2)),
        "targets: a MaskedArray, expected a plain NumPy array",
    ),
    "x is masked": (
        lambda p: replace(p, x=np.ma.masked_greater(p.x, 0)),
        "x: a MaskedArray, expected a plain NumPy array",
    ),
    "a weight is a matrix": (
        lambda p: with_leaf(p, "layers.0.weight", matrix(np.ones((5, 4)))),
        "layers.0.weight: a matrix, expected a plain NumPy array",
    ),
    "a bias is of a subclass": (
        lambda p: with_leaf(p, "layers.0.bias", np.ones(4).view(np.recarray)),
        "layers.0.bias: a recarray, expected a plain",
    ),
    "no problem": (lambda p: None, "problem: a NoneType, expected a Problem"),  # type: ignore[return-value, arg-type]
    "no network": (
        lambda p: replace(p, network=None), "network: a NoneType, expected a Network"
    ),
    "no parameters": (
        lambda p: replace(p, parameters=None), "parameters: a NoneType, expected a mapping"
    ),
    "parameters in a list": (
        lambda p: replace(p, parameters=[*p.parameters.values()]), "parameters: a list, expected"
    ),
    "no arrays": (lambda p: replace(p, arrays=None), "arrays: a NoneType, expected a mapping"),
    "a label too large": (
        lambda p: labelled(p, [0, 1, 2, 3, 0, 0]), "targets: label 3, expected 0 to 2"
    ),
    "a label below 0": (
        lambda p: labelled(p, [0, 1, 2, -1, 0, 0]), "targets: label -1, expected 0 to 2"
    ),
    "labels in two axes": (lambda p: labelled(p, np.zeros((6, 3), int)), "targets: shape (6, 3)"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_refused_by_name(bad: str) -> None:
    change, message = BAD[bad]
    check_problem(fixed_problem())
    with pytest.raises(InvalidInput) as error:
        check_problem(change(fixed_problem()))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_map_of_a_file_is_an_array(tmp_path: Path) -> None:
    problem = fixed_problem()
    np.save(tmp_path / "x.npy", problem.x)
    check_problem(replace(problem, x=np.load(tmp_path / "x.npy", mmap_mode="r")))


def test_labels_that_are_ignored_are_not_out_of_range() -> None:
    check_problem(labelled(fixed_problem(), [0, 1, 2, -100, 0, 0]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Layer(0), "width=0"),
        (lambda: Layer(3, "rleu"), "activation='rleu' is unknown"),
        (lambda: Layer(3, "relu", {"slope": 1.0}), "relu has no parameter 'slope'"),
        (lambda: Layer("8"), "width='8': expected an integer"),
        (lambda: Layer(None), "width=None: expected an integer"),
        (lambda: Layer(2.5), "width=2.5: expected an integer"),
        (lambda: Layer(True), "width=True: expected an integer"),
        (lambda: Layer(np.int64(0)), "width=np.int64(0): expected an integer of at least 1"),
        (lambda: Layer(3, ["tanh"]), "activation=['tanh'] is unknown"),
        (lambda: Layer(3, None), "activation=None is unknown"),
        (lambda: Layer(3, "leaky_relu", None), "parameters=None: expected a mapping"),
        (lambda: Layer(3, "leaky_relu", [0.1]), "parameters=[0.1]: expected a mapping"),
        (lambda: Layer(3, bias="no"), "bias='no': expected True or False"),
        (lambda: Layer(3, bias=None), "bias=None: expected True or False"),
        (lambda: Network("4", (Layer(3),), "mse"), "input_width='4': expected an integer"),
        (lambda: Network(4.0, (Layer(3),), "mse"), "input_width=4.0: expected an integer"),
        (lambda: Network(4, 3, "mse"), "layers=3: expected a tuple of Layer"),
        (lambda: Network(4, (3,), "mse"), "layers=(3,): 3 is not a Layer"),
        (lambda: Network(4, (Layer(3),), ["mse"]), "loss=['mse'] is unknown"),
        (lambda: Network(4, (Layer(3),), "mse", None), "loss_parameters=None: expected a mapping"),
        (lambda: Network(0, (Layer(3),), "mse"), "input_width=0"),
        (lambda: Network(2, (), "mse"), "layers=()"),
        (lambda: Network(2, (Layer(3),), "rmse"), "loss='rmse' is unknown"),
        (lambda: Network(2, (Layer(3),), "mse", {"delta": 1.0}), "mse has no parameter 'delta'"),
        (lambda: Network(2, (Layer(3),), "mse", reduction="median"), "reduction='median'"),
    ],
)
def test_a_network_that_cannot_be_is_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        build()
    assert message in str(error.value)


def test_what_numpy_counts_with_is_taken() -> None:
    """Widths and parameters from arrays are Python's numbers then; layers may be in a list."""
    layer = Layer(np.int64(3), "leaky_relu", {"negative_slope": np.float64(0.25)})
    network = Network(np.uint8(2), [layer], "huber", {"delta": np.float32(0.5)})  # type: ignore[arg-type]
    assert network == Network(2, (Layer(3, "leaky_relu", {"negative_slope": 0.25}),), "huber",
                              {"delta": 0.5})  # fmt: skip
    assert hash(network.layers[0].width) and type(network.layers) is tuple
    assert type(layer.width) is int and type(network.input_width) is int
    assert type(layer.parameters["negative_slope"]) is float
    assert type(network.loss_parameters["delta"]) is float


def test_a_parameter_from_an_array_keeps_float32() -> None:
    layers = (Layer(3, "leaky_relu", {"negative_slope": np.float64(0.25)}),)
    parameters = {"layers.0.weight": np.ones((2, 3), "f4"), "layers.0.bias": np.ones(3, "f4")}
    network = Network(2, layers, "mse")
    problem = Problem(network, parameters, np.ones((4, 2), "f4"), np.ones((4, 3), "f4"))
    assert forward(problem).loss.dtype == np.float32


PARAMETERS = [
    (kind, operation, name)
    for kind, registry in (("layer", ACTIVATIONS), ("loss", LOSSES))
    for operation in registry.values()
    for name in operation.parameters
]


def with_parameter(kind: str, operation: Operation, name: str, value: Any) -> float:
    """Return the parameter as the layer or network has it."""
    if kind == "layer":
        return Layer(3, operation.name, {name: value}).parameters[name]
    return Network(2, (Layer(3),), operation.name, {name: value}).loss_parameters[name]


@pytest.mark.parametrize(("kind", "operation", "name"), PARAMETERS)
def test_a_parameter_is_a_finite_number_in_its_range(
    kind: str, operation: Operation, name: str
) -> None:
    parameter = operation.parameters[name]
    for value in (parameter.default, *parameter.choices):
        assert with_parameter(kind, operation, name, value) == value
    bad = [True, np.True_, "1", None, [1.0], np.ones(1), 1j, np.nan, np.inf, -np.inf]
    below = [-1.0, 0.0] if parameter.above == 0 else [-1.0] if parameter.at_least == 0 else []
    for value in (*bad, *below):
        with pytest.raises(InvalidInput) as error:
            with_parameter(kind, operation, name, value)
        expected = f"{operation.name}: {name}={value!r}, expected {parameter.expected}"
        assert str(error.value) == expected


@pytest.mark.parametrize(
    ("operation", "name", "bad"),
    [
        (LOSSES["huber"], "delta", (0.0, -1.0)),
        (LOSSES["smooth_l1"], "beta", (0.0, -1.0)),
        (LOSSES["cross_entropy"], "label_smoothing", (-0.125, 1.125)),
        (LOSSES["gaussian_nll"], "eps", (-1e-6,)),
        (ACTIVATIONS["softplus"], "beta", (0.0, -1.0)),
        (ACTIVATIONS["celu"], "alpha", (0.0, -1.0)),
        (ACTIVATIONS["softshrink"], "lambd", (-0.5,)),
        (ACTIVATIONS["hardshrink"], "lambd", (-0.5,)),
    ],
)
def test_where_a_formula_is_wrong_its_parameter_is_refused(
    operation: Operation, name: str, bad: tuple[float, ...]
) -> None:
    for value in bad:
        assert not operation.parameters[name].admits(value), value
