"""The two forms of an operation: what each keeps, by the judge and by truth to fifty digits."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from highprecision import jacobian, value

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Layer, Network, Problem, backward, forward
from manual_backprop.operation import FORMS, Form, Operation
from reference.judge import STRICT, TEXTBOOK, judge
from reference.oracles import Answer
from reference.problems import draw
from reference.rounding import Rounding

WITH_TEXTBOOK = [o for o in (*ACTIVATIONS.values(), *LOSSES.values()) if o.textbook]


def answer_of(problem: Problem, form: Form) -> Answer:
    with np.errstate(all="ignore"):
        trace = forward(problem, form)
        gradients = backward(problem, trace)
        return Answer("torch", trace.loss, gradients, values=trace.steps)


def models_of(problem: Problem, form: Form) -> set[Rounding | None]:
    """The models beyond *strict* that the answer's tensors need; None where none admits one."""
    findings = judge(problem, {"torch": answer_of(problem, form)}).findings
    return {finding.model for finding in findings} - {STRICT}


def drawn_with_a_textbook_form() -> Iterator[Any]:
    for index in range(0, 100_000, 700):
        problem = draw(8, index).problem
        operations = [layer.operation for layer in problem.network.layers]
        if any(o.textbook for o in (*operations, problem.network.loss_operation)):
            yield pytest.param(problem, id=f"8:{index}")


@pytest.mark.parametrize("problem", list(drawn_with_a_textbook_form()))
def test_the_textbook_form_is_never_outside_convention(problem: Problem) -> None:
    assert None not in models_of(problem, "textbook")


def saturated(operation: Operation, dtype: str) -> Problem:
    """One layer that is certain of itself: the numbers lie where the forms differ."""
    rng = np.random.default_rng(0)
    rows, width = 24, 3
    z = np.where(rng.random((rows, width)) < 0.5, -1, 1) * rng.uniform(4, 14, (rows, width))
    targets: Any = rng.standard_normal((rows, width)).astype(dtype)
    activation = operation.name if operation.name in ACTIVATIONS else "identity"
    loss = operation.name if operation.name in LOSSES else "squared_error"
    network = Network(width, (Layer(width, activation, bias=False),), loss)
    if activation == "log_softmax":
        network = replace(
            network, loss="nll", loss_parameters={}
        )  # a cotangent for the class that has it all
    if network.loss != "squared_error":  # well classified
        labels = "labels" in network.loss_operation.targets
        targets = np.argmax(z, axis=1) if labels else (z > 0).astype(dtype)
    return Problem(
        network, {"layers.0.weight": np.eye(width, dtype=dtype)}, z.astype(dtype), targets
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("operation", WITH_TEXTBOOK, ids=lambda o: o.name)
def test_saturated_the_stable_form_is_strict_and_the_textbook_s_is_not(
    operation: Operation, dtype: str
) -> None:
    problem = saturated(operation, dtype)
    assert models_of(problem, "stable") == set()
    assert models_of(problem, "textbook") == {TEXTBOOK}


def digits_kept(found: float, truth: Any) -> float:
    """How many decimal digits are right; 17 where all are."""
    error = abs((found - truth) / truth)
    return 17.0 if error == 0 else float(-math.log10(error))


def slopes(name: str, x: list[float], dtype: str, form: Form, i: int) -> tuple[float, Any]:
    """∂y_i/∂x_i of an activation by a form, and the truth."""
    operation, given = ACTIVATIONS[name], np.array([x], dtype)
    formulas = operation.formulas(form)
    along = np.zeros_like(given)
    along[0, i] = 1
    found = formulas.backward(given, formulas.forward(given), along)[0, i]
    if operation.rowwise:
        return found, jacobian(operation.definition, given[0].tolist())[i][0][i]
    return found, jacobian(lambda m, row: operation.definition(m, row[i]), given[0].tolist())[i][0]


def loss_slopes(
    name: str, y: list[float], t: Any, dtype: str, form: Form, i: int
) -> tuple[float, Any]:
    """∂L/∂y_i of a loss by a form, and the truth."""
    operation, given = LOSSES[name], np.array([y], dtype)
    one = np.ones((1, len(y)) if operation.elementwise else 1, dtype)
    targets = np.array([t]) if isinstance(t, int) else np.array([[t]], dtype)
    found = operation.formulas(form).backward(given, targets, one)[0, i]

    def definition(m: Any, row: list[Any]) -> Any:
        return operation.definition(m, row[0] if operation.elementwise else row, t)

    return found, jacobian(definition, given[0].tolist())[i][0]


HALF, NONE = (6.5, 9.5), (-1.0, 0.7)
"""How many of float64's digits are left, at least and at most."""


@pytest.mark.parametrize(
    ("name", "x", "dtype", "left"),
    [
        ("tanh", [9.0], "float64", HALF),
        ("tanh", [19.0], "float64", NONE),
        ("tanh", [9.2], "float32", NONE),
        ("sigmoid", [18.0], "float64", HALF),
        ("sigmoid", [37.0], "float64", NONE),
        ("sigmoid", [17.0], "float32", NONE),
        ("softmax", [18.0, 0.0, -9.0], "float64", HALF),
        ("softmax", [37.0, 0.0, -9.0], "float64", NONE),
        ("softmax", [17.0, 0.0, -9.0], "float32", NONE),
        ("log_softmax", [37.0, 0.0, -9.0], "float64", NONE),
        ("log_softmax", [17.0, 0.0, -9.0], "float32", NONE),
    ],
)
def test_the_slope_loses_what_its_docstring_says(
    name: str, x: list[float], dtype: str, left: tuple[float, float]
) -> None:
    """The worst of some points that follow: one may be right by luck."""

    def worst(form: Form) -> float:
        points = ([x[0] + step / 64, *x[1:]] for step in range(10))
        return min(digits_kept(*slopes(name, point, dtype, form, 0)) for point in points)

    least, most = left
    assert least <= worst("textbook") <= most
    assert worst("stable") >= (14.5 if dtype == "float64" else 6.0)


@pytest.mark.parametrize(
    ("name", "y", "t", "dtype"),
    [
        ("cross_entropy", [37.3, 0.1, -9.0], 0, "float64"),
        ("cross_entropy", [17.3, 0.1, -9.0], 0, "float32"),
        ("bce_with_logits", [37.0], 1.0, "float64"),
        ("bce_with_logits", [17.0], 1.0, "float32"),
    ],
)
def test_the_slope_of_what_is_well_classified_is_lost(
    name: str, y: list[float], t: Any, dtype: str
) -> None:
    found, truth = loss_slopes(name, y, t, dtype, "textbook", 0)
    assert found == 0.0 and truth < 0
    whole = 14.5 if dtype == "float64" else 6.0
    assert digits_kept(*loss_slopes(name, y, t, dtype, "stable", 0)) >= whole


@pytest.mark.parametrize(
    ("form", "least", "most"), [("stable", 14.5, 17.0), ("textbook", 12.5, 14.5)]
)
def test_the_hopeless_class_loses_two_or_three_digits(form: Form, least: int, most: int) -> None:
    """e^{x - max x} with the gap 700, over many gaps: the worst."""
    softmax, worst = ACTIVATIONS["softmax"], 17.0
    for shift in np.linspace(0.0, 1.0, 25):
        row = [0.1 + shift, 0.3, -699.3 - shift / 3]
        found = softmax.formulas(form).forward(np.array([row]))[0, 2]
        worst = min(worst, digits_kept(found, value(softmax.definition, row)[2]))
    assert least <= worst <= most


@pytest.mark.parametrize("form", FORMS)
def test_values_of_what_is_certain(form: Form) -> None:
    log_softmax, cross_entropy, bce = (
        ACTIVATIONS["log_softmax"],
        LOSSES["cross_entropy"],
        LOSSES["bce_with_logits"],
    )
    row, t = [37.3, 0.1, -9.0], 1 - 2.0**-40
    log_p = log_softmax.formulas(form).forward(np.array([row]))[0, 0]
    loss = cross_entropy.formulas(form).forward(np.array([row]), np.array([0]))[0]
    near = bce.formulas(form).forward(np.array([[30.1]]), np.array([[t]]))[0, 0]
    kept = [
        digits_kept(log_p, value(log_softmax.definition, row)[0]),
        digits_kept(loss, value(cross_entropy.definition, row, 0)),
        digits_kept(near, value(bce.definition, 30.1, t)),
    ]
    if form == "stable":
        assert min(kept) >= 14.5
    else:
        assert kept[:2] == [0.0, 0.0] and 2.5 <= kept[2] <= 6.0


@pytest.mark.parametrize("label_smoothing", [0.0, 0.125])
@pytest.mark.parametrize("ignored", [-100, -1, 1, 7])
@pytest.mark.parametrize("form", FORMS)
def test_ignored_labels_count_for_nothing(form: Form, ignored: int, label_smoothing: float) -> None:
    """Also where the ignored label is one of the classes, or far above them."""
    rng = np.random.default_rng(0)
    y, t = rng.standard_normal((4, 3)), np.array([0, ignored, 2, ignored])
    formulas, arguments = LOSSES["cross_entropy"].formulas(form), (label_smoothing, ignored)
    loss = formulas.forward(y, t, *arguments)
    dy = formulas.backward(y, t, np.ones(4), *arguments)
    counts = t != ignored
    assert not loss[~counts].any() and not dy[~counts].any()
    alone = formulas.forward(y[counts], t[counts], *arguments)
    np.testing.assert_array_equal(loss[counts], alone)
    np.testing.assert_array_equal(
        dy[counts], formulas.backward(y[counts], t[counts], np.ones(2), *arguments)
    )
