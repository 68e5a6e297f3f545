"""The certified gradient contains an independent truth: finite differences in 200-digit mpmath."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import Dense
from manual_backprop.losses import LOSSES
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import Activation, Loss
from reference.arithmetic.balls import DefinitionArithmetic, exact, precision
from reference.arithmetic.point_derivative import at_point, constants
from reference.oracles.certified import Certificate, CertifiedTensor, certify

WORKING_DIGITS = 200
SURE_BITS = 100  # 30 digits
STEP = mpf(10) ** -60  # the extrapolated difference is then right to 10^-120, relative to f'''
SLACK = mpf(10) ** -60


class Plain:
    """Values only: nothing here knows what a slope is."""

    pi = property(lambda self: +mp.pi)
    exp = staticmethod(mp.exp)
    log = staticmethod(lambda x: mp.log(x) if x > 0 else mp.nan)
    log1p = staticmethod(lambda x: mp.log1p(x) if x > -1 else mp.nan)
    expm1 = staticmethod(mp.expm1)
    sqrt = staticmethod(lambda x: mp.sqrt(x) if x >= 0 else mp.nan)
    tanh = staticmethod(mp.tanh)
    erf = staticmethod(mp.erf)
    erfc = staticmethod(mp.erfc)
    sin = staticmethod(mp.sin)
    cos = staticmethod(mp.cos)
    abs = staticmethod(abs)
    max = staticmethod(max)
    min = staticmethod(min)

    @staticmethod
    def where(c: Any, a: Any, b: Any) -> Any:
        return a if c > 0 else b

    @staticmethod
    def share(part: Any, rest: Any) -> Any:
        return part / (part + rest)

    @staticmethod
    def shifted(x: Any, by: Any) -> Any:
        return x - by

    @staticmethod
    def number(value: Any) -> Any:
        if isinstance(value, str):
            value = Fraction(value)
        return (
            mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else mpf(value)
        )


def plain(arguments: dict[str, Any]) -> dict[str, Any]:
    return {k: mpf(v) if isinstance(v, float) else v for k, v in arguments.items()}


def differences(f: Callable[[Any], Any], x: float) -> tuple[Any, Any, Any]:
    """Value and the difference quotients to the left and to the right, extrapolated once."""
    value = f(mpf(x))

    def quotient(h: Any) -> Any:
        # 2 q(h/2) - q(h): the error falls from h f'' to h² f'''.
        return 2 * (f(x + h / 2) - value) / (h / 2) - (f(x + h) - value) / h

    return value, quotient(-STEP), quotient(STEP)


def on_kinks(certificate: Certificate) -> int:
    """How many decisions were on a variable that is certainly zero."""
    return sum(not lacking for lacking in certificate.undecided_branches())


def thick(leaf: CertifiedTensor) -> np.ndarray:
    """Where the ball is not a single number: fewer than 30 digits, and not next to nothing."""
    sure = [b.rel_accuracy_bits() >= SURE_BITS or b.rad() < 2.0**-1074 for b in leaf.balls]
    return ~np.array(sure).reshape(leaf.shape)


def holds(ball: Any, truth: Any) -> bool:
    """Whether the ball holds the truth, itself known to 60 digits."""
    text = mp.nstr(truth, 70)
    return bool(ball.overlaps(arb(text, arb(mp.nstr(abs(truth) * SLACK + SLACK, 5)))))


numbers = st.one_of(
    st.floats(-40, 40).filter(lambda x: x == 0 or abs(x) > 1e-30),  # STEP must not cross a kink
    st.sampled_from([0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 0.5, -0.5, 20.0, 1e-8, -1e-8, 1e-30, 100.0]),
)


@st.composite
def parameters_of(draw: st.DrawFn, operation: Any) -> dict[str, Any]:
    choices = {k: st.sampled_from((p.default, *p.choices)) for k, p in operation.parameters.items()}
    return {name: draw(choice) for name, choice in choices.items()}


def check(
    evaluate: Callable[..., Any], definition: Callable[..., Any], point: list[float], j: int
) -> None:
    """Compare one partial slope of all outputs with the difference quotients along input j."""

    def along(i: int) -> Callable[[Any], Any]:
        def f(x_j: Any) -> Any:
            row = [x_j if k == j else mpf(x) for k, x in enumerate(point)]
            return mpf(outputs(definition(row))[i])

        return f

    with precision(512):
        found = evaluate([exact(x) for x in point])
    with mp.workdps(WORKING_DIGITS):
        for i, local in enumerate(found):
            value, left, right = differences(along(i), point[j])
            if not (mp.isfinite(value) and mp.isfinite(left) and mp.isfinite(right)):
                continue
            slope = local.slopes[j]
            assert holds(local.value, value), (local.value, value)
            for quotient in (left, right):
                jump = abs(quotient) > mpf(10) ** 60  # the function is not continuous here
                assert jump or holds(slope, quotient), (slope, left, right)


def outputs(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("operation", ACTIVATIONS.values(), ids=lambda o: o.name)
@given(data=st.data())
def test_activations_hold_the_truth(operation: Activation, data: st.DataObject) -> None:
    given_ = data.draw(parameters_of(operation))
    definition, m = operation.definition, Plain()
    if operation.rowwise:
        row = data.draw(st.lists(numbers, min_size=1, max_size=4))
        check(
            lambda x: at_point(definition, x, (), constants(given_)),
            lambda x: definition(m, x, **plain(given_)),
            row,
            data.draw(st.integers(0, len(row) - 1)),
        )
        return
    check(
        lambda x: at_point(definition, x[0], (), constants(given_)),
        lambda x: definition(m, x[0], **plain(given_)),
        [data.draw(numbers)],
        0,
    )


def test_a_shift_that_the_result_depends_on_is_found() -> None:
    def definition(m: Any, x: Any) -> Any:
        return [m.exp(m.shifted(v, m.max(x[0], x[1]))) for v in x]

    with pytest.raises(AssertionError):
        check(
            lambda x: at_point(definition, x, (), {}), partial(definition, Plain()), [1.0, 2.0], 1
        )


@st.composite
def targets_of(draw: st.DrawFn, loss: Loss, width: int) -> Any:
    unit = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0]))
    match draw(st.sampled_from(loss.targets)):
        case "labels":
            return draw(st.integers(0, width - 1))
        case "simplex":
            raw = draw(st.lists(st.integers(0, 8), min_size=width, max_size=width))
            row = [r / (sum(raw) or 1) for r in raw]
            return row[0] if loss.elementwise else row
        case "unit":
            kind: st.SearchStrategy[float] = unit
        case "sign":
            kind = st.sampled_from([-1.0, 1.0])
        case "count":
            kind = st.integers(0, 9).map(float)
        case _:
            kind = numbers
    return draw(kind) if loss.elementwise else draw(st.lists(kind, min_size=width, max_size=width))


@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda o: o.name)
@given(data=st.data())
def test_losses_hold_the_truth(loss: Loss, data: st.DataObject) -> None:
    width = 1 if loss.elementwise else data.draw(st.integers(1, 4))
    inside = st.floats(2.0**-40, 1 - 2.0**-20)
    domain = {"unit": inside, "simplex": inside, "log_simplex": st.floats(-40, -(2.0**-20))}
    point = data.draw(
        st.lists(domain.get(loss.predictions, numbers), min_size=width, max_size=width)
    )
    target = data.draw(targets_of(loss, width))
    given_: dict[str, Any] = dict(data.draw(parameters_of(loss)))
    positive = st.floats(0.125, 8)
    exactly, plainly = constants(given_), plain(given_)
    for name in loss.arrays:
        array = data.draw(st.lists(positive, min_size=width, max_size=width))
        exactly[name] = exact(array[0]) if loss.elementwise else [exact(v) for v in array]
        plainly[name] = mpf(array[0]) if loss.elementwise else [mpf(v) for v in array]
    t_ball, t_plain = target, target
    if isinstance(target, list):
        t_ball, t_plain = [exact(t) for t in target], [mpf(t) for t in target]
    elif isinstance(target, float):
        t_ball, t_plain = exact(target), mpf(target)
    m = Plain()
    if loss.elementwise:
        check(
            lambda y: at_point(loss.definition, y[0], (t_ball,), exactly),
            lambda y: loss.definition(m, y[0], t_plain, **plainly),
            point,
            0,
        )
    else:
        check(
            lambda y: at_point(loss.definition, y, (t_ball,), exactly),
            lambda y: loss.definition(m, y, t_plain, **plainly),
            point,
            data.draw(st.integers(0, width - 1)),
        )


# -- whole networks -------------------------------------------------------------------------------


def small_problem(seed: int, activation: str, loss: str, reduction: Any) -> Problem:
    stream = np.random.default_rng(seed)
    classes = loss in ("cross_entropy", "nll")
    network = Network(3, (Layer(4, activation), Layer(2)), loss, {}, reduction)
    parameters = {k: stream.standard_normal(s) for k, s in network.parameter_shapes().items()}
    shape = (3,) if classes else (3, 2)
    targets = stream.integers(0, 2, shape) if classes else stream.standard_normal(shape)
    weights = stream.uniform(0.5, 2, 3)
    return Problem(network, parameters, stream.standard_normal((3, 3)), targets, weights)


def loss_in_mpmath(problem: Problem, name: str, entry: tuple[int, ...], value: Any) -> Any:
    """Run the definitions, the layer's too, with one number replaced by `value`."""
    arrays = {"x": problem.x, **problem.parameters}
    lists = {k: np.vectorize(mpf, otypes=[object])(v) for k, v in arrays.items()}
    lists[name][entry] = value
    m, network, total = Plain(), problem.network, mpf(0)
    assert problem.weights is not None
    for n in range(problem.batch):
        a = list(lists["x"][n])
        for i, layer in enumerate(network.layers):
            weight, bias = lists[f"layers.{i}.weight"], lists[f"layers.{i}.bias"]
            z = Dense.definition(m, a, weight.tolist(), bias.tolist())
            f = layer.operation.definition
            rowwise = layer.operation.rowwise
            a = f(m, z) if rowwise else [f(m, v) for v in z]
        loss, t = network.loss_operation, problem.targets[n]
        given_, w = plain(dict(network.loss_parameters)), mpf(float(problem.weights[n]))
        if loss.elementwise:
            total += w * sum(
                loss.definition(m, y, mpf(float(u)), **given_) for y, u in zip(a, t, strict=True)
            )
        else:
            total += w * loss.definition(m, a, int(t), **given_)
    each = problem.network.widths[-1] if network.loss_operation.elementwise else 1
    divisor = {"mean": problem.batch * each, "batch_mean": problem.batch, "sum": 1}
    return total / divisor[network.reduction]


@pytest.mark.parametrize(
    ("activation", "loss", "reduction"),
    [
        ("tanh", "mse", "mean"),
        ("gelu", "huber", "batch_mean"),
        ("softmax", "cross_entropy", "mean"),
        ("relu", "cross_entropy", "sum"),
    ],
)
def test_the_gradient_of_a_network_holds_the_truth(
    activation: str, loss: str, reduction: str
) -> None:
    problem = small_problem(7, activation, loss, reduction)
    certificate = certify(problem)
    for name, entry in (("layers.0.weight", (2, 3)), ("layers.1.bias", (1,)), ("x", (1, 2))):
        start = {"x": problem.x, **problem.parameters}[name][entry]
        with mp.workdps(WORKING_DIGITS):
            value, left, right = differences(
                partial(loss_in_mpmath, problem, name, entry), float(start)
            )
        assert holds(certificate["loss"].ball(), value)
        assert holds(certificate[name].ball(entry), left)
        assert holds(certificate[name].ball(entry), right)
        assert certificate[name].ball(entry).rel_accuracy_bits() >= SURE_BITS


def test_an_answer_that_is_wrong_in_the_last_bit_is_outside() -> None:
    problem = small_problem(3, "tanh", "mse", "mean")
    leaf = certify(problem)["x"]
    assert not leaf.contains(np.nextafter(leaf.high, np.inf)).any()
    assert (leaf.distance(np.nextafter(leaf.high, np.inf)) > 0).all()


def on_a_kink(activation: str, bias: float) -> Problem:
    """Zero weights: every pre-activation is the bias, exactly."""
    network = Network(2, (Layer(3, activation), Layer(2)), "mse", {}, "sum")
    stream = np.random.default_rng(1)
    parameters = {k: stream.standard_normal(s) for k, s in network.parameter_shapes().items()}
    parameters["layers.0.weight"] *= 0
    parameters["layers.0.bias"][:] = bias
    return Problem(network, parameters, stream.standard_normal((2, 2)), np.ones((2, 2)))


def test_on_a_kink_the_ball_holds_both_one_sided_slopes_and_says_so() -> None:
    certificate = certify(on_a_kink("relu", 0.0))
    assert on_kinks(certificate) == 6
    below, at = certificate["layers.0.a"], certificate["layers.0.z"]
    assert thick(at).all() and not thick(below).any()
    assert at.contains(np.zeros((2, 3))).all()  # slope 0
    assert at.contains(below.high / 2).all()
    assert not at.contains(1.5 * below.high).any()


def test_beside_a_kink_the_ball_is_thin() -> None:
    certificate = certify(on_a_kink("relu", 5e-324))
    assert not on_kinks(certificate)
    assert not any(thick(leaf).any() for leaf in certificate.tensors.values())


def test_a_loss_that_is_smooth_stays_thin_where_its_parts_have_kinks() -> None:
    problem = on_a_kink("identity", 0.0)
    network = dataclasses.replace(problem.network, loss="bce_with_logits")
    zero = {k: v * 0 for k, v in problem.parameters.items()}
    certificate = certify(dataclasses.replace(problem, network=network, parameters=zero))
    assert not thick(certificate["layers.1.a"]).any()

    def with_kinks(m: Any, y: Any) -> Any:  # max(y, 0) - y t + log(1 + e^-|y|), t = 1
        return m.max(y, m.number(0)) - y + m.log1p(m.exp(-m.abs(y)))

    with precision(128):
        (slope,) = at_point(with_kinks, exact(0.0))[0].slopes
    assert float(slope.rad()) > 0.5  # the parts' choices do not add up to a slope
    assert slope.contains(arb(-0.5))


@pytest.mark.parametrize("name", [n for n, op in ACTIVATIONS.items() if op.rowwise])
@given(row=st.lists(st.floats(-90.0, 90.0), min_size=2, max_size=6, unique=True))
def test_the_slopes_of_a_saturated_row_keep_their_digits(name: str, row: list[float]) -> None:
    """p_i p_j, or p_j, is certain to most of its bits, however small; 1 − p_j has none of them.

    A ball that is wide from cancelling looks like a kink's, and smooth networks had CONVENTIONs.
    """
    with precision(128):
        found = at_point(ACTIVATIONS[name].definition, [arb(v) for v in row])
        slopes = [slope for local in found for slope in local.slopes]
        assert all(slope.is_zero() or slope.rel_accuracy_bits() > 100 for slope in slopes)


def test_definitions_that_leave_the_numbers_give_a_stated_ball() -> None:
    with precision(128):
        m = DefinitionArithmetic()
        zero, large = m.variables([exact(0.0), exact(1e300)])
        assert not m.log(zero).value.is_finite()
        assert (m.number(0) / zero).value.is_nan()
        assert not m.exp(large).value.is_finite()
        (inside,) = at_point(lambda m, x: m.where(x, m.log(x), x), exact(-1.0))
    assert inside.value == -1 and inside.slopes == [1]
