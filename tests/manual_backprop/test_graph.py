"""Graphs: the two walks, fan-out, what a graph and its problem refuse, and every layer's pair."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from manual_backprop.graph import (
    Graph,
    GraphProblem,
    Step,
    backward,
    check_graph_problem,
    forward,
    values_and_gradients,
)
from manual_backprop.layers import LAYERS
from manual_backprop.operation import (
    COMPOSED,
    InvalidInput,
    LayerOperation,
    Registry,
    Sample,
    layer,
)
from reference.drawing.builder import Stream

Array = npt.NDArray[Any]


def alone(operation: LayerOperation, seed: int) -> GraphProblem:
    """Return a problem of one layer, float64, with a random cotangent."""
    stream = Stream(11, seed)
    sample: Sample = operation.sample(stream)
    arrays: dict[str, Array] = {n: stream.normal(*s) for n, s in sample.shapes.items()}
    arrays |= sample.arrays
    inputs = {name: name for name in operation.arguments if name in arrays}
    graph = Graph((Step("y", operation.name, inputs, sample.options),), ("y",))
    y = forward(graph, arrays)["y"]
    return GraphProblem(graph, arrays, {"y": stream.normal(*y.shape)})


def total(problem: GraphProblem, arrays: Mapping[str, Array]) -> float:
    made = forward(problem.graph, arrays)
    return float(sum((made[n] * c).sum() for n, c in problem.cotangents.items()))


def differences(problem: GraphProblem, name: str) -> Array:
    """Return the gradient by central differences, extrapolated once."""
    array = problem.arrays[name]
    found = np.empty(array.shape)
    for entry in np.ndindex(array.shape):
        slopes = []
        for h in (1e-3, 5e-4):
            up, down = array.copy(), array.copy()
            up[entry] += h
            down[entry] -= h
            ends = [total(problem, {**problem.arrays, name: a}) for a in (up, down)]
            slopes.append((ends[0] - ends[1]) / (2 * h))
        found[entry] = (4 * slopes[1] - slopes[0]) / 3
    return found


def wrong_entries(problem: GraphProblem) -> list[str]:
    """Return the arrays whose gradient is not that of the differences."""
    _, found = values_and_gradients(problem)
    return [
        name
        for name in problem.floats
        if not np.allclose(found[name], differences(problem, name), rtol=1e-6, atol=1e-7)
    ]


@pytest.mark.parametrize("name", list(LAYERS))
def test_every_layer_has_the_gradient_of_its_forward(name: str) -> None:
    for seed in range(12):
        problem = alone(LAYERS[name], seed)
        check_graph_problem(problem)
        assert wrong_entries(problem) == []


@pytest.mark.parametrize("name", list(LAYERS))
def test_the_differences_catch_a_wrong_cotangent(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = LAYERS[name]

    def wrong(*given: Any, **options: Any) -> Any:
        found = dict(right.backward(*given, **options))
        first = next(iter(found))
        return {**found, first: found[first] * 1.001}

    monkeypatch.setitem(LAYERS._operations, name, replace(right, backward=wrong))
    assert any(wrong_entries(alone(right, seed)) for seed in range(3))


@pytest.mark.parametrize("name", list(LAYERS))
def test_the_rows_and_the_definition_are_the_forward(name: str) -> None:
    """`rows` meets every entry of the value once, and of the definition comes the value."""
    operation = LAYERS[name]
    for seed in range(6):
        problem = alone(operation, seed)
        (step,) = problem.graph.steps
        arrays = step.arrays(problem.arrays)
        y = operation.apply("stable", arrays, step.options)
        if operation.rows is None:
            continue
        given = [arrays.get(argument) for argument in operation.arguments]
        rows = operation.rows(*given, **step.options)
        assert sorted(rows.output.ravel().tolist()) == list(range(y.size))
        for name_, index in rows.inputs.items():
            assert len(index) == len(rows.output)
            assert -1 <= index.min() and index.max() < arrays[name_].size


def test_cotangents_add_up_where_a_value_goes_to_several_steps() -> None:
    # y = tanh(x W) and z = y V with W used again: L = Σ y + Σ z
    steps = (
        Step("h", "dense", {"x": "x", "weight": "W"}),
        Step("y", "tanh", {"x": "h"}),
        Step("z", "dense", {"x": "y", "weight": "W"}),
    )
    draw = np.random.default_rng(3)
    arrays = {"x": draw.standard_normal((3, 4)), "W": draw.standard_normal((4, 4))}
    cotangents = {name: draw.standard_normal((3, 4)) for name in ("y", "z")}
    problem = GraphProblem(Graph(steps, ("y", "z")), arrays, cotangents)
    assert wrong_entries(problem) == []
    assert problem.graph.given == ("x", "W") and problem.graph.trainable == ("W",)
    _, found = values_and_gradients(problem)
    dense = LAYERS["dense"]
    dz, y = found["z"], forward(problem.graph, arrays)["y"]
    assert np.array_equal(found["z"], cotangents["z"])
    assert np.array_equal(found["y"], cotangents["y"] + dense.backward(y, dz, arrays["W"])["x"])


def test_what_nothing_depends_on_has_a_gradient_of_zeros() -> None:
    steps = (Step("y", "tanh", {"x": "x"}), Step("unused", "relu", {"x": "x"}))
    x = np.array([[1.0, -2.0]])
    problem = GraphProblem(Graph(steps, ("y",)), {"x": x}, {"y": np.ones((1, 2))})
    values, found = values_and_gradients(problem)
    assert not found["unused"].any()
    assert "unused" not in backward(problem.graph, {"x": x}, values, {"y": np.ones((1, 2))})


@pytest.mark.parametrize(
    ("steps", "outputs", "words"),
    [
        ([Step("a", "relu", {"x": "b"}), Step("b", "relu", {"x": "x"})], ["a"], "before it is"),
        ([Step("a", "relu", {"x": "x"}), Step("a", "tanh", {"x": "x"})], ["a"], "defined twice"),
        ([Step("a", "relu", {"x": "x"})], ["b"], "outputs: 'b' is not a step"),
    ],
)
def test_a_graph_that_cannot_be_walked_is_refused(
    steps: list[Step], outputs: list[str], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        Graph(tuple(steps), tuple(outputs))


def test_an_unknown_operation_is_named() -> None:
    graph = Graph((Step("a", "relo", {"x": "x"}),), ("a",))
    with pytest.raises(InvalidInput, match="operation='relo' is unknown"):
        forward(graph, {"x": np.zeros((1, 1))})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arrays": {}}, "arrays: 'x' is missing"),
        ({"arrays": {"x": np.zeros((2, 2)), "v": np.zeros(1)}}, "'v' is not of this graph"),
        ({"cotangents": {"y": np.ones((2, 3))}}, "cotangents: 'y' has"),
        ({"arrays": {"x": np.full((2, 2), np.nan)}}, "x: expected finite"),
        ({"arrays": {"x": np.zeros((2, 2), np.float32)}}, "x: dtype float32, expected float64"),
        ({"arrays": {"x": np.zeros((2, 2), complex)}}, "x: dtype complex128"),
        ({"arrays": {"x": [[1.0]]}}, "x: a list, expected a NumPy array"),
    ],
)
def test_a_problem_that_cannot_be_computed_is_refused(change: Any, words: str) -> None:
    graph = Graph((Step("y", "relu", {"x": "x"}),), ("y",))
    problem = GraphProblem(graph, {"x": np.zeros((2, 2))}, {"y": np.ones((2, 2))})
    check_graph_problem(problem)
    with pytest.raises(InvalidInput, match=words):
        check_graph_problem(replace(problem, **change))


def test_shapes_that_do_not_fit_name_the_step() -> None:
    graph = Graph((Step("y", "dense", {"x": "x", "weight": "w"}),), ("y",))
    arrays = {"x": np.zeros((2, 3)), "w": np.zeros((2, 3))}
    with pytest.raises(InvalidInput, match=r"y: dense of .*'weight': \(2, 3\)"):
        check_graph_problem(GraphProblem(graph, arrays, {"y": np.ones((2, 3))}))


def test_an_incomplete_layer_is_refused() -> None:
    class Nothing:
        """y = x."""

        forward = backward = definition = staticmethod(lambda x: x)

    register: Any = layer(
        structure="rows", torch=COMPOSED, jax=COMPOSED, registry=Registry("layer")
    )
    with pytest.raises(InvalidInput, match=r"'nothing' is incomplete: it lacks sample, rows, comp"):
        register(Nothing)
