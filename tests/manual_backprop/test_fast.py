"""The fast step against the plain one: the same digits, no allocation, nobody's arrays changed."""

import copy
import pickle
import threading
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.fast import CompiledStep, compile_step
from manual_backprop.layers import Dense
from manual_backprop.losses import LOSSES
from manual_backprop.network import (
    REDUCTIONS,
    Layer,
    Network,
    Problem,
    Reduction,
    backward,
    check_problem,
    forward,
)
from manual_backprop.operation import FORMS, Activation, Form, InvalidInput, Loss, Registry
from manual_backprop.tape import SMALL, CallTape, Traced, replay
from reference.drawing.builder import outputs_for
from reference.problems import arrays_of, draw

DTYPES = ("float64", "float32")


def targets_of(operation: Loss, kind: str, shape: tuple[int, int], dtype: Any, rng: Any) -> Any:
    """Targets of one kind."""
    made = {
        "real": lambda: rng.standard_normal(shape),
        "unit": lambda: rng.random(shape),
        "sign": lambda: rng.choice([-1.0, 1.0], shape),
        "count": lambda: rng.integers(0, 5, shape),
        "simplex": lambda: rng.dirichlet(np.ones(shape[1]), shape[0]),
    }
    return rng.integers(0, shape[1], shape[0]) if kind == "labels" else made[kind]().astype(dtype)


def a_problem(
    activation: str = "tanh",
    loss: str = "cross_entropy",
    kind: str | None = None,
    dtype: str = "float64",
    reduction: Reduction = "mean",
    weighted: bool = True,
    batch: int = 5,
    widths: tuple[int, ...] = (4, 7, 3),
    seed: int = 0,
) -> Problem:
    """Return an ordinary problem of a given structure."""
    rng = np.random.default_rng(seed)
    operation = LOSSES[loss]
    layers = [Layer(width, activation) for width in widths[1:-1]]
    layers.append(Layer(widths[-1], outputs_for(operation.predictions)[0]))
    network = Network(widths[0], tuple(layers), loss, reduction=reduction)
    shapes = {"classes": (widths[-1],), "samples": (batch,), "entries": (batch, widths[-1])}
    problem = Problem(
        network,
        {
            name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(dtype)
            for name, shape in network.parameter_shapes().items()
        },
        rng.standard_normal((batch, widths[0])).astype(dtype),
        targets_of(operation, kind or operation.targets[0], (batch, widths[-1]), dtype, rng),
        (0.5 + rng.random(batch)).astype(dtype) if weighted else None,
        {
            name: (0.5 + rng.random(shapes.get(what, shapes["entries"]))).astype(dtype)
            for name, what in dict(operation.arrays).items()
        },
    )
    check_problem(problem)
    return problem


def all_names(problem: Problem) -> list[str]:
    network = problem.network
    return [*network.parameter_shapes(), *network.step_names(), "x"]


def assert_same_bits(found: Any, expected: Any, name: str) -> None:
    expected = np.asarray(expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    np.testing.assert_array_equal(found, expected, err_msg=name)
    # array_equal takes 0 for -0.
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected), err_msg=name)


def assert_equals_the_plain_step(
    step: CompiledStep, problem: Problem, form: Form = "stable"
) -> None:
    with np.errstate(all="ignore"):
        trace = forward(problem, form)
        expected = backward(problem, trace)
        loss, gradients = step(problem.x, problem.targets)
    assert_same_bits(loss, trace.loss, "loss")
    for name in gradients:
        assert_same_bits(gradients[name], expected[name], name)


def compiled(problem: Problem, **keywords: Any) -> CompiledStep:
    with np.errstate(all="ignore"):
        return compile_step(problem, **keywords)


SIZES = [(5, (4, 7, 3)), (64, (33, 70, 40))]
"""Below and above the size from which calls are made another way."""


def test_the_sizes_are_on_both_sides_of_the_threshold() -> None:
    (few, narrow), (many, wide) = SIZES
    assert few * max(narrow) < SMALL < many * min(wide)


@pytest.mark.parametrize(("batch", "widths"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, dtype: str, batch: int, widths: Any) -> None:
    problem = a_problem(activation, "squared_error", dtype=dtype, batch=batch, widths=widths)
    step = compiled(problem, wanted=all_names(problem))
    assert_equals_the_plain_step(step, problem)
    other = a_problem(activation, "squared_error", dtype=dtype, batch=batch, widths=widths, seed=1)
    assert_equals_the_plain_step(step, replace(problem, x=other.x, targets=other.targets))


@pytest.mark.parametrize(("batch", "widths"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "kind"), [(n, k) for n in LOSSES for k in LOSSES[n].targets])
def test_every_loss(loss: str, kind: str, dtype: str, batch: int, widths: Any) -> None:
    for reduction in REDUCTIONS:
        for weighted in (True, False):
            problem = a_problem(
                "identity", loss, kind, dtype, reduction, weighted, batch, widths=widths
            )
            step = compiled(problem, wanted=all_names(problem))
            assert_equals_the_plain_step(step, problem)


@pytest.mark.parametrize(("batch", "widths"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [n for n in ACTIVATIONS if ACTIVATIONS[n].textbook])
def test_every_textbook_activation(activation: str, dtype: str, batch: int, widths: Any) -> None:
    problem = a_problem(activation, "squared_error", dtype=dtype, batch=batch, widths=widths)
    step = compiled(problem, wanted=all_names(problem), form="textbook")
    assert_equals_the_plain_step(step, problem, "textbook")
    with pytest.raises(AssertionError):  # the forms do differ
        assert_equals_the_plain_step(step, problem, "stable")


@pytest.mark.parametrize(("batch", "widths"), SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("loss", "kind"), [(n, k) for n in LOSSES for k in LOSSES[n].targets if LOSSES[n].textbook]
)
def test_every_textbook_loss(loss: str, kind: str, dtype: str, batch: int, widths: Any) -> None:
    for reduction in REDUCTIONS:
        for weighted in (True, False):
            problem = a_problem(
                "identity", loss, kind, dtype, reduction, weighted, batch, widths=widths
            )
            step = compiled(problem, wanted=all_names(problem), form="textbook")
            assert_equals_the_plain_step(step, problem, "textbook")


@pytest.mark.parametrize("index", range(300, 120_000, 1200))
def test_any_drawn_problem_in_the_textbook_form(index: int) -> None:
    problem = draw(0, index).problem
    step = compiled(problem, wanted=all_names(problem), form="textbook")
    assert_equals_the_plain_step(step, problem, "textbook")


def test_a_copy_has_the_form_of_its_origin() -> None:
    problem = a_problem()
    step = copy.copy(compile_step(problem, form="textbook"))
    assert_equals_the_plain_step(step, problem, "textbook")
    assert len(step._calls) < len(compile_step(problem)._calls)


def test_an_unknown_form_is_named() -> None:
    with pytest.raises(InvalidInput, match="form='stabel': expected one of stable, textbook"):
        compile_step(a_problem(), form="stabel")  # type: ignore[arg-type]


@pytest.mark.parametrize("index", range(0, 120_000, 600))
def test_any_drawn_problem(index: int) -> None:
    """All regimes: kinks, saturation, the ends of the range, one sample, one unit."""
    problem = draw(0, index).problem
    assert_equals_the_plain_step(compiled(problem, wanted=all_names(problem)), problem)


@pytest.mark.parametrize("form", FORMS)
def test_a_thousand_calls_with_other_data(form: Form) -> None:
    problem = a_problem()
    step = compile_step(problem, form=form)
    rng = np.random.default_rng(0)
    for call in range(1000):
        x = rng.standard_normal(problem.x.shape)
        targets = rng.integers(0, 3, problem.targets.shape)
        loss, gradients = step(x, targets)
        if call % 100 == 99:
            fresh = replace(problem, x=x, targets=targets)
            trace = forward(fresh, form)
            assert loss == trace.loss
            for name, expected in backward(fresh, trace).items():
                if name in gradients:
                    assert_same_bits(gradients[name], expected, name)


def test_training_in_place_is_training() -> None:
    problem = a_problem()
    step = compile_step(problem)
    plain = {name: value.copy() for name, value in problem.parameters.items()}
    first = float(step(problem.x, problem.targets)[0])
    for _ in range(20):
        now = replace(problem, parameters=plain)
        expected = backward(now, forward(now))
        _, gradients = step(problem.x, problem.targets)
        for name, gradient in gradients.items():
            plain[name] -= 0.1 * expected[name]
            step.inputs[name][...] -= 0.1 * gradient
    for name, value in plain.items():
        assert_same_bits(step.inputs[name], value, name)
    assert step(problem.x, problem.targets)[0] < first


def test_the_step_s_own_inputs_need_no_copy() -> None:
    problem, other = a_problem(), a_problem(seed=1)
    step = compile_step(problem)
    step.inputs["x"][...], step.inputs["targets"][...] = other.x, other.targets
    loss, _ = step(step.inputs["x"], step.inputs["targets"])
    assert loss == forward(replace(problem, x=other.x, targets=other.targets)).loss


def test_the_caller_s_arrays_are_left_alone() -> None:
    problem = a_problem(dtype="float32", loss="gaussian_nll")
    before = {name: value.tobytes() for name, value in arrays_of(problem).items()}
    step = compile_step(problem, all_names(problem))
    step(problem.x, problem.targets)
    for value in (*step.inputs.values(), *step.gradients.values(), step.loss):
        value[...] = 7.0
    assert {name: value.tobytes() for name, value in arrays_of(problem).items()} == before


def pickled(step: CompiledStep) -> CompiledStep:
    """Return the step as another process would have it."""
    there: CompiledStep = pickle.loads(pickle.dumps(step))
    return there


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_shares_nothing(duplicate: Any) -> None:
    problem, other = a_problem(), a_problem(seed=1)
    step = compile_step(problem)
    step.inputs["layers.0.weight"][...] *= 2.0
    loss = float(step(problem.x, problem.targets)[0])
    twin = duplicate(step)
    twin.inputs["layers.0.bias"][...] += 1.0
    twin(other.x, other.targets)
    assert float(step.loss) == loss
    assert float(step(problem.x, problem.targets)[0]) == loss
    assert_equals_the_plain_step(
        twin, replace(problem, parameters={n: twin.inputs[n] for n in problem.parameters})
    )


def test_two_threads_with_a_step_each() -> None:
    problems = [a_problem(batch=32, widths=(40, 50, 9), seed=seed) for seed in (1, 2)]
    first = compile_step(replace(problems[0]))
    steps = [first, compile_step(problems[1])]
    expected = [forward(problem).loss for problem in problems]
    wrong: list[tuple[int, float]] = []

    def work(i: int) -> None:
        for _ in range(300):
            loss, _ = steps[i](problems[i].x, problems[i].targets)
            if loss != expected[i]:
                wrong.append((i, float(loss)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def allocated(step: CompiledStep) -> int:
    """Return the bytes that one call takes at most at once, after the first.

    The least of three calls: what the interpreter does now and then is not the step's.
    """
    x, targets = step.inputs["x"].copy(), step.inputs["targets"].copy()
    taken = []
    with np.errstate(all="ignore"):
        step(x, targets)
        tracemalloc.start()
        try:
            for _ in range(3):
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                step(x, targets)
                taken.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
    return min(taken)


# The smallest matrix that could be allocated is 128 x 10 in float32. NumPy and Python take some
# hundred bytes a call for iterators and tuples, up to two thousand in all; no array is that.
ROOM, SMALLEST = 4096, 128 * 10 * 4

numpy_casts_in_place = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.3.0",
    reason="before NumPy 2.3 a product with a mask takes 6 to 12 kB for a moment, to cast it",
)


@numpy_casts_in_place
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_allocates(activation: str, dtype: str) -> None:
    assert ROOM < SMALLEST
    problem = a_problem(activation, dtype=dtype, batch=128, widths=(10, 31, 10))
    assert allocated(compiled(problem)) < ROOM


@numpy_casts_in_place
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "kind"), [(n, k) for n in LOSSES for k in LOSSES[n].targets])
def test_no_loss_allocates(loss: str, kind: str, dtype: str) -> None:
    for reduction in REDUCTIONS:
        problem = a_problem("relu", loss, kind, dtype, reduction, batch=128, widths=(10, 31, 10))
        for form in FORMS if LOSSES[loss].textbook else FORMS[:1]:
            assert allocated(compiled(problem, wanted=all_names(problem), form=form)) < ROOM


def test_an_allocating_step_is_caught() -> None:
    step = compile_step(a_problem(dtype="float32", batch=128, widths=(10, 31, 10)))
    step._calls.insert(0, (lambda: step.inputs["x"] + 1.0,))
    assert allocated(step) >= SMALLEST > ROOM


def test_dead_computation_is_left_out() -> None:
    problem = a_problem()
    only = compile_step(problem, ["layers.1.bias"])
    assert set(only.gradients) == {"layers.1.bias"}
    assert len(only._calls) < len(compile_step(problem)._calls)
    assert_equals_the_plain_step(only, problem)


def test_nothing_is_computed_twice() -> None:
    tape = CallTape()
    x: Any = tape.record("x", np.ones(3))
    calls, _ = tape.assemble([(np.exp(x) - 1.0) * np.exp(x) + (np.exp(x) - 1.0)])
    assert len(calls) == 4  # exp, -, *, +


@pytest.mark.parametrize(
    ("argument", "change", "text"),
    [
        ("x", lambda x: x[:-1], r"x: float64 \(4, 4\), expected float64 \(5, 4\)"),
        ("x", lambda x: x.astype("f4"), r"x: float32 \(5, 4\), expected float64"),
        ("x", lambda x: x.tolist(), r"x: list , expected float64 \(5, 4\)"),
        ("x", lambda x: x[0], r"x: float64 \(4,\), expected"),
        ("targets", lambda t: t.astype("f8"), r"targets: float64 \(5,\), expected int"),
        ("targets", lambda t: t[:1], r"targets: int64 \(1,\), expected"),
    ],
)
def test_a_wrong_input_is_named(argument: str, change: Any, text: str) -> None:
    problem = a_problem()
    step = compile_step(problem)
    given = {"x": problem.x, "targets": problem.targets}
    with pytest.raises(InvalidInput, match=text):
        step(**{**given, argument: change(given[argument])})


def test_an_unknown_gradient_is_named() -> None:
    with pytest.raises(
        InvalidInput, match=r"wanted='layers\.9\.weight' is unknown; expected one of: layers\.0"
    ):
        compile_step(a_problem(), ["layers.9.weight"])


def test_a_problem_that_cannot_be_computed_is_refused() -> None:
    problem = a_problem()
    with pytest.raises(InvalidInput, match="x: shape"):
        compile_step(replace(problem, x=problem.x[:, :-1]))


BRANCHING = {
    "if": lambda x: x if x.sum() > 0 else -x,
    "float": lambda x: x * float(x.max()),
    "int": lambda x: x[int(x.argmax() if False else x.max())],
    "iteration": lambda x: sum(row for row in x),
    "array": lambda x: np.asarray(x) + 1.0,
    "index by an array": lambda x: x[x > 0],
    "a sort": lambda x: np.sort(x),
    "in place": lambda x: np.add(x, 1.0, out=x),
    "two results": lambda x: np.modf(x)[0],
    "an accumulation": lambda x: np.add.accumulate(x),
}


def test_a_refusal_is_short() -> None:
    """An array does not show the arrays it came from: their number doubles with every call."""
    x: Any = CallTape().record("x", np.ones(2))
    for _ in range(60):
        x = x * x
    with pytest.raises(InvalidInput, match=r"does not know add\.__call__\(out\)$"):
        x += 1.0


def test_a_number_and_what_repeats_it_are_two() -> None:
    x: Any = np.broadcast_to(CallTape().record("x", np.array(3.0)), (4,))
    assert (x * x).shape == (4,)
    assert (x[0] * x[0]).shape == ()


def test_a_gradient_that_depends_on_nothing_is_not_its_parameter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mse = LOSSES["mse"]
    constant = replace(mse, backward=lambda y, t, dL: np.ones_like(y) * dL, name="constant")
    monkeypatch.setitem(LOSSES._operations, "constant", constant)
    problem = a_problem("identity", "constant", weighted=False)
    assert_equals_the_plain_step(compile_step(problem, all_names(problem)), problem)


@pytest.mark.parametrize("formula", BRANCHING)
def test_what_cannot_be_traced_is_refused(formula: str) -> None:
    tape = CallTape()
    x: Any = tape.record("x", np.array([1.0, 2.0]))
    with pytest.raises(InvalidInput, match="fast step"):
        BRANCHING[formula](x)


def test_a_stack_of_matrices() -> None:
    """`dot` sums stacks in another way than `matmul`."""
    rng = np.random.default_rng(0)
    tape = CallTape()
    x: Any = tape.record("x", np.ones((2, 30, 40)))
    weight = rng.standard_normal((40, 20))
    product: Any = x @ weight
    calls, places = tape.assemble([product])
    places[x.number][...] = rng.standard_normal(x.shape)
    replay(calls)
    np.testing.assert_array_equal(places[product.number], places[x.number] @ weight)


def test_views_are_told_apart_by_what_they_show() -> None:
    """Long arguments print with dots; two that print alike are two all the same."""
    tape = CallTape()
    x: Any = tape.record("x", np.arange(12.0).reshape(3, 4))
    assert x[1:] is x[1:3]
    assert len({id(view) for view in (x[1:], x[:-1], x[1:, :], x[::2], x.T, x[None], x[:1])}) == 6
    y: Any = tape.record("y", np.arange(12.0).reshape(3, 4))
    assert y[1:] is not x[1:]


def test_an_operand_read_through_two_views_is_not_overwritten() -> None:
    tape = CallTape()
    x: Any = tape.record("x", np.arange(9.0).reshape(3, 3))
    y: Any = np.exp(x)
    z: Any = y * y.T
    calls, places = tape.assemble([z])
    replay(calls)
    expected = np.exp(places[x.number])
    np.testing.assert_array_equal(places[z.number], expected * expected.T)
    assert not np.may_share_memory(places[z.number], places[y.number])


@pytest.mark.parametrize("seed", range(8))
def test_the_tape_replays_any_chain(seed: int) -> None:
    """Random chains of calls, with views and shared operands, replayed on other data."""
    rng = np.random.default_rng(seed)
    steps = [
        lambda a, b: a * b,
        lambda a, b: a - b.T.T,
        lambda a, b: np.where(a > b, a, 0.5),
        lambda a, b: np.where(a > 0.1, b, a),
        lambda a, b: (a @ b.T) @ a,
        lambda a, b: np.maximum(a, 0.0) + np.tanh(b),
        lambda a, b: a - a.max(axis=-1, keepdims=True),
        lambda a, b: a * b[:1] + b[:, None, 0],
        lambda a, b: np.exp(-np.abs(a)) * (b > 0),
        lambda a, b: a / (1.0 + b * b).sum(axis=0),
    ]
    chosen = [(steps[rng.integers(len(steps))], *rng.integers(0, 100, 2)) for _ in range(15)]

    def run(x: Any, y: Any) -> list[Any]:
        made = [x, y]
        for function, i, j in chosen:
            made.append(function(made[i % len(made)], made[j % len(made)]))
        return made[2:]

    shape = (40, 60) if seed % 2 else (4, 6)  # either side of SMALL
    tape = CallTape()
    x, y = (tape.record(name, rng.standard_normal(shape)) for name in "xy")
    outputs = [made for made in run(x, y)[-3:] if isinstance(made, Traced)]
    calls, places = tape.assemble(outputs)
    for _ in range(3):
        new = [rng.standard_normal(shape) for _ in range(2)]
        places[x.number][...], places[y.number][...] = new
        with np.errstate(all="ignore"):
            replay(calls)
            expected = run(*new)[-3:]
        for output, value in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(places[output.number], value)


def test_results_lie_as_their_places_do() -> None:
    """NumPy lays np.exp(x.T) out as x.T is, by columns; reshaping its transpose is then a view."""
    tape = CallTape()
    x: Any = tape.record("x", np.arange(6.0).reshape(2, 3))
    y: Any = np.exp(x.T)
    calls, places = tape.assemble([y.reshape(-1) + 1.0])
    places[x.number][...] = [[6.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    replay(calls)
    expected = np.exp(places[x.number].T).reshape(-1) + 1.0
    np.testing.assert_array_equal(places[tape.order[-1].number], expected)
    with pytest.raises(InvalidInput, match=r"does not know np\.reshape"):
        y.T.reshape(-1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_and_strided_inputs(dtype: str) -> None:
    problem = a_problem(dtype=dtype)
    weight = np.asfortranarray(problem.parameters["layers.0.weight"])
    x = np.repeat(problem.x, 2, axis=1)[:, ::2]
    odd = replace(problem, x=x, parameters={**problem.parameters, "layers.0.weight": weight})
    loss, gradients = compile_step(odd)(x, problem.targets)
    expected, same = compile_step(problem)(problem.x, problem.targets)
    assert loss == expected
    for name, gradient in gradients.items():
        assert_same_bits(gradient, same[name], name)


def test_an_operation_of_one_s_own() -> None:
    """A registered operation needs nothing more to run in the fast step."""
    assert isinstance(ACTIVATIONS, Registry) and isinstance(ACTIVATIONS["relu"], Activation)
    tape = CallTape()
    x, w, b = (tape.record(n, np.ones(s)) for n, s in (("x", (2, 3)), ("w", (3, 4)), ("b", (4,))))
    z: Any = Dense.forward(x, w, b)  # type: ignore[arg-type]
    calls, places = tape.assemble([z])
    places[x.number][...] = 2.0
    replay(calls)
    np.testing.assert_array_equal(places[z.number], np.full((2, 4), 7.0))


@pytest.mark.parametrize("columns", [1, 3, 200, 300])
@pytest.mark.parametrize("keepdims", [False, True])
def test_the_maximum_of_rows_whatever_they_hold(columns: int, keepdims: bool) -> None:
    """Either side of TINY: infinities, NaN, ties and rows of one entry."""
    rng = np.random.default_rng(columns)
    tape = CallTape()
    x: Any = tape.record("x", rng.standard_normal((2, columns)))
    y: Any = np.exp(x.max(axis=-1, keepdims=keepdims))
    calls, places = tape.assemble([y])
    for special in (0.0, np.inf, -np.inf, np.nan):
        new = np.rint(rng.standard_normal((2, columns)))
        new[0, rng.integers(columns)] = special
        places[x.number][...] = new
        replay(calls)
        expected = np.exp(new.max(axis=-1, keepdims=keepdims))
        np.testing.assert_array_equal(places[y.number], expected)
