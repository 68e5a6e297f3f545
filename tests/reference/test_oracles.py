"""The oracles: they give every leaf, agree, and give the same bits in whatever company."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count as count_from
from itertools import cycle, islice
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from nearness import near

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Layer, Network, Problem, backward, forward
from manual_backprop.operation import Operation, Registry, counterpart
from reference.drawing.builder import outputs_for
from reference.evidence import gather
from reference.judge import judge, judge_final_gradients
from reference.oracles import ORACLES, Answer, load
from reference.oracles.certified import certify
from reference.oracles.complex_step import ComplexStep
from reference.oracles.jax_grad import JaxGrad, registered
from reference.oracles.jax_padded import SIZES
from reference.oracles.torch_autograd import TorchAutograd
from reference.problems import Selection, cell, draw, number_of_cells, with_arrays
from reference.strategies import problems

# The other profiles run long: each network is compiled by itself.
NETWORKS_ALONE = 16 if hypothesis.settings.get_current_profile_name() == "dev" else 128
PADDED = JaxGrad()


def some_problems(count: int) -> list[Problem]:
    """Draw problems spread over the cells: every regime, both dtypes."""
    # A step without a common factor with the number of cells meets them all in the end.
    step = next(s for s in range(977, 10**6) if np.gcd(s, number_of_cells()) == 1)
    return [draw(7, i * step % number_of_cells()).problem for i in range(count)]


def covering_problems(count: int) -> list[Problem]:
    """Draw problems in which, however few, every activation and every loss stands."""
    found = []
    names = cycle(ACTIVATIONS)
    for i, loss in enumerate(islice(cycle(LOSSES.values()), count)):
        regime = "ordinary" if i % 2 else "saturated"
        # Later turns of the cells bring other networks of the same cell.
        indices = (k for k in count_from(i * 31) if cell(k)[1:3] == (loss.name, regime))
        drawn = (draw(3, k).problem for k in indices)
        problem = next(p for p in drawn if len(p.network.layers) >= 3)
        layers = list(problem.network.layers)
        for j in range(len(layers) - 1):
            layers[j] = replace(layers[j], activation=next(names), parameters={})
        last = list(outputs_for(loss.predictions))
        layers[-1] = replace(layers[-1], activation=last[i % len(last)], parameters={})
        found.append(replace(problem, network=replace(problem.network, layers=tuple(layers))))
    return found


def assert_same_bits(one: Answer, other: Answer) -> None:
    assert one.gradients.keys() == other.gradients.keys()
    pairs = {"loss": (one.loss, other.loss)}
    pairs |= {name: (g, other.gradients[name]) for name, g in one.gradients.items()}
    for name, (a, b) in pairs.items():
        assert a is not None and b is not None
        assert a.shape == b.shape, name
        assert a.tobytes() == b.tobytes(), f"{one.oracle} {name}: {a} and {b}"


def assert_rounding_only(problem: Problem, one: Answer, other: Answer) -> None:
    """Two answers are near, or the judge admits the same of both."""
    if near(problem, one, other):
        return
    admitted = [
        {f.tensor for f in judge(problem, {"jax": answer}).findings if f.is_wrong}
        for answer in (one, other)
    ]
    assert admitted[0] == admitted[1], problem


# -- completeness and agreement ---------------------------------------------------------------


@pytest.mark.parametrize("name", ORACLES)
def test_every_leaf_is_answered_in_its_shape_and_dtype(name: str) -> None:
    oracle = load([name])[name]
    assert oracle.name == name and oracle.unavailable() is None
    drawn = some_problems(12)
    for problem, answer in zip(drawn, oracle.answers(drawn), strict=True):
        with np.errstate(all="ignore"):
            trace = forward(problem)
            expected = {"loss": trace.loss, **backward(problem, trace)}
        found = {"loss": answer.loss, **answer.gradients}
        assert found.keys() == expected.keys()
        for key, value in found.items():
            assert isinstance(value, np.ndarray | np.floating), key
            assert value.shape == expected[key].shape, key
            assert value.dtype == problem.dtype, key


ALL = {**load(("manual", "torch", "complex_step")), "jax": PADDED}


@given(problem=problems(regimes=("ordinary",)))
def test_ours_is_never_the_one_that_deviates(problem: Problem) -> None:
    """A framework may: each has tails of its own in which it loses digits."""
    answers = {name: oracle.answer(problem) for name, oracle in ALL.items()}
    found = judge(problem, answers)
    blamed = found.kind == "DEVIATES" and "manual" in found.who
    assert not blamed, gather(problem, answers, found).sentence


@pytest.mark.parametrize("loss", LOSSES)
def test_all_oracles_agree_on_most_ordinary_problems(loss: str) -> None:
    """What is wrong in an oracle itself shows on every problem, not on some.

    (Some lose digits in the tails: log(1 - p) of a p near 1 does, in every framework.)
    """
    selection = Selection(losses=(loss,), regimes=("ordinary",))
    drawn = [draw(11, index).problem for index in selection.indices(20)]
    answers = {name: oracle.answers(drawn) for name, oracle in ALL.items()}
    asked = [block for name, block in answers.items() if name != "complex_step"]
    close = [near(problem, *(block[i] for block in asked)) for i, problem in enumerate(drawn)]
    assert sum(close) >= 0.5 * len(close), [i for i, passed in enumerate(close) if not passed]


COMPLEX_STEP = 1e-6  # of the tensor: some formulas lose digits in a tail, a bug loses them all
SMALLEST = 2.0**-20  # h times a slope below 1e-123 has few digits, however right the formula


@given(problem=problems(regimes=("ordinary",), dtypes=("float64",)))
def test_the_complex_step_is_ours_at_every_layer(problem: Problem) -> None:
    """Where complex arithmetic has no number, it is silent.

    What is not near is for the enclosure: slopes cancel, and a number may round to a kink.
    """
    problem = with_arrays(problem, lambda v: np.where(np.abs(v) < SMALLEST, 0, v).astype(v.dtype))
    advisory, manual = ALL["complex_step"].answer(problem), ALL["manual"].answer(problem)
    assert advisory.gradients.keys() == manual.gradients.keys()
    far = {}
    for name, value in advisory.gradients.items():
        ours = manual.gradients[name]
        scale = np.abs(ours).max(initial=0.0)
        known = np.isfinite(value) & np.isfinite(ours)
        if (np.abs(value - ours)[known] > COMPLEX_STEP * scale).any():
            far[name] = np.where(known, value, ours)
    if far and all(certify(problem).undecided_branches()):  # not on a kink
        heard = replace(advisory, gradients={**manual.gradients, **far}, loss=manual.loss)
        found = judge_final_gradients(problem, heard, framework_models=False)
        assert not [f.tensor for f in found if f.is_wrong]


def test_the_complex_step_is_seldom_silent() -> None:
    selection = Selection(regimes=("ordinary",), dtypes=("float64",))
    drawn = [draw(11, index).problem for index in selection.indices(40)]
    answers = ALL["complex_step"].answers(drawn)
    finite = [np.isfinite(g).all() for answer in answers for g in answer.gradients.values()]
    assert np.mean(finite) > 0.95


@given(problem=problems(regimes=("ordinary",)))
def test_the_torch_reductions_are_ours(problem: Problem) -> None:
    """Without weights torch reduces by itself; with weights of one we do. Both must be the same."""
    ones = np.ones(problem.batch, problem.dtype)
    own = TorchAutograd().answer(replace(problem, weights=None))
    ours = TorchAutograd().answer(replace(problem, weights=ones))
    assert_rounding_only(problem, own, ours)


# -- the padded program -----------------------------------------------------------------------


@pytest.mark.parametrize("problem", covering_problems(NETWORKS_ALONE), ids=lambda p: p.network.loss)
def test_the_padded_program_and_a_program_of_its_own_agree(problem: Problem) -> None:
    alone = JaxGrad(padded=False).answer(problem)
    assert_rounding_only(problem, PADDED.answer(problem), alone)


def test_the_comparison_above_meets_every_operation() -> None:
    networks = [problem.network for problem in covering_problems(NETWORKS_ALONE)]
    assert {layer.activation for net in networks for layer in net.layers} == set(ACTIVATIONS)
    assert {net.loss for net in networks} == set(LOSSES)


def test_padding_leaks_nothing_where_numbers_overflow() -> None:
    drawn = [p for p in some_problems(90) if not np.isfinite(PADDED.answer(p).loss).all()]
    assert drawn, "none of the problems overflows"
    for problem in drawn[:3]:
        padded, alone = PADDED.answer(problem), JaxGrad(padded=False).answer(problem)
        for name, gradient in alone.gradients.items():
            same = np.isfinite(gradient) == np.isfinite(padded.gradients[name])
            assert same.all(), (name, gradient, padded.gradients[name])


def network_of(width: int) -> Problem:
    rng = np.random.default_rng(0)
    net = Network(width, (Layer(width, "tanh"),), "mse")
    return Problem(
        net,
        {k: rng.standard_normal(s) / s[0] for k, s in net.parameter_shapes().items()},
        rng.standard_normal((3, width)),
        rng.standard_normal((3, width)),
    )


def test_the_smallest_program_that_holds_a_network_is_taken() -> None:
    for width, size in ((8, SIZES[0]), (9, SIZES[1]), (32, SIZES[1])):
        assert PADDED._program(network_of(width), registered()).size == size
    assert PADDED._program(network_of(65), registered()) is None


def test_what_is_drawn_fits_the_first_two_programs() -> None:
    selection, operations = Selection(architectures=("dense",)), registered()
    for position in range(3000):
        problem = draw(0, selection.index(position)).problem
        program = PADDED._program(problem, operations)
        assert program is not None and program.size in SIZES[:2], (position, problem.network)


def test_a_network_beyond_the_programs_takes_its_own() -> None:
    problem = network_of(70)
    assert_same_bits(PADDED.answer(problem), JaxGrad(padded=False).answer(problem))


def test_op_by_op_and_compiled_agree() -> None:
    problem = network_of(4)
    slow = JaxGrad(padded=False, compiled=False).answer(problem)
    assert_rounding_only(problem, slow, PADDED.answer(problem))


# -- the same bits ----------------------------------------------------------------------------


@pytest.mark.parametrize("oracle", [TorchAutograd(), PADDED, ComplexStep()], ids=lambda o: o.name)
def test_a_problem_has_the_same_bits_in_any_company(oracle: Any) -> None:
    drawn = some_problems(90 if oracle.name != "complex_step" else 10)
    answers = oracle.answers(drawn)
    for one, other in zip(answers, oracle.answers(drawn[::-1])[::-1], strict=True):
        assert_same_bits(one, other)
    for i in range(0, len(drawn), 9):
        assert_same_bits(answers[i], oracle.answer(drawn[i]))


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def strided(array: np.ndarray) -> np.ndarray:
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def reversed_(array: np.ndarray) -> np.ndarray:
    return array[::-1].copy()[::-1]


def misaligned(array: np.ndarray) -> np.ndarray:
    raw = np.zeros(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64 + array.itemsize  # one number past a boundary
    found = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


LAYOUTS = (np.asfortranarray, read_only, strided, reversed_, misaligned)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("oracle", [TorchAutograd(), PADDED, ComplexStep()], ids=lambda o: o.name)
def test_the_layout_of_an_array_changes_nothing(
    oracle: Any, layout: Callable[[np.ndarray], np.ndarray]
) -> None:
    for problem in some_problems(6):
        other = with_arrays(problem, layout)
        one, two = oracle.answer(problem), oracle.answer(other)
        if oracle.name == "complex_step":  # NumPy's own sums follow the layout
            assert near(problem, one, two) or not np.isfinite(one.loss).all()
        else:
            assert_same_bits(one, two)


@pytest.mark.parametrize("oracle", [TorchAutograd(), PADDED, ComplexStep()], ids=lambda o: o.name)
def test_the_callers_arrays_stay_and_answers_stand_alone(oracle: Any) -> None:
    problem = some_problems(1)[0]
    arrays = [problem.x, problem.targets, *problem.parameters.values(), *problem.arrays.values()]
    before = [array.copy() for array in arrays]
    first = oracle.answer(problem)
    kept = {name: value.copy() for name, value in first.gradients.items()}
    for value in oracle.answer(problem).gradients.values():
        value[...] = 0  # what a caller does to one answer
    for name, value in first.gradients.items():
        np.testing.assert_array_equal(value, kept[name])
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


# -- injected bugs -----------------------------------------------------------------------------


def inject(
    monkeypatch: pytest.MonkeyPatch, registry: Registry[Any], name: str, **changes: Any
) -> None:
    wrong: Operation = replace(registry[name], **changes)
    monkeypatch.setitem(registry._operations, name, wrong)


def injected_answers() -> tuple[Problem, dict[str, Answer]]:
    problem = replace(network_of(3), weights=np.array([1.0, 2.0, 3.0]))
    oracles = {**load(("manual", "torch", "complex_step")), "jax": JaxGrad(padded=False)}
    return problem, {name: oracle.answer(problem) for name, oracle in oracles.items()}


def test_what_is_right_passes() -> None:
    problem, answers = injected_answers()
    assert near(problem, *answers.values())


@pytest.mark.parametrize(
    ("where", "changes", "culprit"),
    [
        ("torch", {"torch": counterpart("torch.sigmoid")}, "torch"),
        ("jax", {"jax": counterpart("jax.nn.hard_tanh")}, "jax"),
        ("backward", {"backward": lambda x, y, dy: dy * (1 - x * x)}, "manual"),
        ("backward", {"backward": lambda x, y, dy: dy * (1 - y * y) * (1 + 1e-9)}, "manual"),
    ],
)
def test_a_bug_in_one_oracle_is_named(
    monkeypatch: pytest.MonkeyPatch, where: str, changes: dict[str, Any], culprit: str
) -> None:
    inject(monkeypatch, ACTIVATIONS, "tanh", **changes)
    problem, answers = injected_answers()
    assert not near(problem, *answers.values()), where
    verdict = judge(problem, answers)
    assert verdict.kind == "DEVIATES" and culprit in verdict.who


def test_a_bug_in_the_forward_is_seen_although_the_backward_fits_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The complex step follows our own forward, so only the frameworks can see this one."""
    inject(
        monkeypatch,
        ACTIVATIONS,
        "tanh",
        forward=lambda x: np.tanh(1.000001 * x),
        backward=lambda x, y, dy: dy * 1.000001 * (1 - y * y),
    )
    problem, answers = injected_answers()
    assert near(problem, answers["manual"], answers["complex_step"])
    assert not near(problem, answers["manual"], answers["torch"])
    assert judge(problem, answers).verdict == "DEVIATES(manual)"


def test_an_operation_that_is_registered_anew_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle, problem = JaxGrad(padded=False), network_of(2)
    before, program = oracle.answer(problem), PADDED._program(problem, registered())
    inject(monkeypatch, ACTIVATIONS, "tanh", jax=counterpart("jax.nn.relu"))
    assert not near(problem, before, oracle.answer(problem))
    assert PADDED._program(problem, registered()) is not program


# -- a framework that is not installed --------------------------------------------------------

WITHOUT = """
import sys
for name in {missing!r}:
    sys.modules[name] = None  # as if it were not installed
from reference.oracles import load
from reference.problems import draw
for name, oracle in load(("manual", "torch", "jax", "complex_step")).items():
    answers = oracle.answers([draw(0, 0).problem, draw(0, 1).problem])
    print(name, oracle.unavailable(), *(answer.status for answer in answers), sep="; ")
"""


def test_a_missing_framework_is_skipped_with_the_reason() -> None:
    script = WITHOUT.format(missing=("torch", "jax"))
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "manual; None; ok; ok",
        "torch; torch is not installed; skipped; skipped",
        "jax; jax is not installed; skipped; skipped",
        "complex_step; None; ok; ok",
    ]


def test_the_process_keeps_its_own_settings() -> None:
    import jax
    import torch

    threads = torch.get_num_threads()
    names = ("jax_enable_x64", "jax_compilation_cache_dir")
    before = [getattr(jax.config, name) for name in names]
    problem = network_of(2)
    TorchAutograd().answer(problem)
    PADDED.answer(problem)
    assert torch.get_num_threads() == threads
    assert [getattr(jax.config, name) for name in names] == before


def test_what_torch_knows_no_gradient_of_has_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    problem, known = draw(0, 0).problem, torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (None, *known(*a, **k)[1:]))
    found = load(("torch",))["torch"].answer(problem).gradients["x"]
    assert (found.shape, found.dtype) == (problem.x.shape, problem.x.dtype) and not found.any()


@pytest.mark.parametrize("kind", ["int64", "int32", "int16", "uint8", "uint16", "soft"])
@pytest.mark.parametrize("loss", ["cross_entropy", "nll"])
@pytest.mark.parametrize("ignored", [-100, -1, 0, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_oracle_answers_every_kind_of_target(
    weighted: bool, ignored: int, loss: str, kind: str
) -> None:
    """Torch takes labels of one width, and no class to be ignored beside soft labels."""
    if kind == "soft" and loss == "nll":
        pytest.skip("nll takes labels alone")
    stream = np.random.default_rng(3)
    layers = (Layer(3, "identity" if loss == "cross_entropy" else "log_softmax"),)
    network = Network(2, layers, loss, {"ignore_index": ignored})
    parameters = {k: stream.standard_normal(s) for k, s in network.parameter_shapes().items()}
    targets = np.eye(3)[[1, 1, 2]] if kind == "soft" else np.array([1, 1, 2], dtype=kind)
    arrays = {"class_weight": np.array([0.5, 2.0, 1.0])} if weighted else {}
    x = stream.standard_normal((3, 2))
    problem = Problem(network, parameters, x, targets, arrays=arrays)
    oracles = load(("manual", "torch"))  # the others are ours: they take what we take
    answers = {name: oracle.answers([problem])[0] for name, oracle in oracles.items()}
    for name, answer in answers.items():
        assert answer.status == "ok", f"{name}: {answer.reason}"
        assert_rounding_only(problem, answers["manual"], answer)
