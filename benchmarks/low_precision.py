"""Which errors of single entries the judge sees in bfloat16 and float16, by width and regime.

python benchmarks/low_precision.py sensitivity --errors 400
python benchmarks/low_precision.py loss_scale --problems 2000
python benchmarks/low_precision.py everyday
python benchmarks/low_precision.py ulps

The first injects one wrong entry in any tensor of the hand-written answer, of 2^-5 of the tensor's
largest number in bfloat16 and 2^-8 in float16, and judges it also as PyTorch's, which may
accumulate in the dtype: what it calls PRECISION there is shown, and not caught. The second counts
cotangents that underflow in float16, with and without a loss scale. The third shows how far
everyday operations are off, by hand, by PyTorch and by JAX. The fourth measures LOW_ULPS of
reference/judge.py: the ulps that the frameworks' activations need at all numbers of a dtype.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import Arrays, Graph, GraphProblem, Step, forward
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import Activation
from reference.blocks.columns import SlopeCheck, evaluate_columns
from reference.blocks.gather import Gathered
from reference.blocks.graph_truth import Truths, certify_rows, rows_of_stack
from reference.blocks.graph_weigh import stack_of
from reference.drawing.graphs import ARCHITECTURES
from reference.drawing.regimes import REGIMES
from reference.formats import LOW, format_of
from reference.judge import ACCUMULATED, STRICT, judge_all
from reference.oracles import Answer, load
from reference.oracles.counterparts import Framework, resolve
from reference.oracles.manual import Manual
from reference.oracles.torch_tensors import as_array, as_tensor
from reference.problems import AnyProblem, Selection, draw, draw_any, in_dtype
from reference.rounding import RoundingUnit
from reference.trials.sensitivity import deep, inject

Array = np.ndarray
Answers = dict[str, list[Answer]]
Pair = tuple[AnyProblem, Answer]

SIZES = {"bfloat16": 2.0**-5, "float16": 2.0**-8}
WIDTHS, DEPTHS = (4, 8, 16, 32, 64), (1, 4, 16)
AT_ONCE = 50


def sensitivity(errors: int) -> None:
    """Print the shares by dtype and width, over networks of several depths, and by regime."""
    sides = "by hand: DEVIATES | as torch: DEVIATES | as torch: PRECISION |"
    print(
        f"| dtype | one entry off by | networks | errors | {sides}\n|---|---|---|---|---|---|---|"
    )
    for dtype in LOW:
        for width in WIDTHS:
            _row_of_kinds(dtype, f"width {width}", _of_width(dtype, width, errors))
        for regime in REGIMES:
            _row_of_kinds(dtype, regime, _of_regime(dtype, regime, errors))


def _row_of_kinds(dtype: str, networks: str, wrong: Iterable[Pair]) -> None:
    """Judge wrong answers, each given as the hand-written one and as PyTorch's."""
    manual, torch = [], []
    every = list(wrong)
    for k in range(0, len(every), AT_ONCE):
        pairs = every[k : k + AT_ONCE]
        problems = [problem for problem, _ in pairs]
        mine = [answer for _, answer in pairs]
        theirs = [replace(answer, oracle="torch") for answer in mine]
        manual += [j.kind for j in judge_all(problems, {"manual": mine})]
        torch += [j.kind for j in judge_all(problems, {"torch": theirs})]
    shares = [manual.count("DEVIATES"), torch.count("DEVIATES"), torch.count("PRECISION")]
    texts = [f"{share / len(manual):.1%}" for share in shares]
    size = f"2^{np.log2(SIZES[dtype]):g}"
    print(f"| {dtype} | {size} | {networks} | {len(manual)} | {' | '.join(texts)} |", flush=True)


def _of_width(dtype: str, width: int, errors: int) -> Iterator[Pair]:
    """Yield networks of several depths, each with wrong answers."""
    stream = np.random.default_rng([width, LOW.index(dtype)])
    for k in range(0, errors, AT_ONCE):
        depth = DEPTHS[k // AT_ONCE % len(DEPTHS)]
        problem = in_dtype(deep(stream, width, depth, "float32"), dtype)
        right = Manual().answer(problem)
        for _ in range(AT_ONCE):
            if wrong := inject(right, SIZES[dtype], stream):
                yield problem, wrong


def _of_regime(dtype: str, regime: str, errors: int) -> Iterator[Pair]:
    """Yield drawn networks of a regime and of all architectures, each with one wrong answer."""
    stream = np.random.default_rng([len(regime), LOW.index(dtype)])
    chosen = Selection(regimes=(regime,), dtypes=(dtype,), architectures=ARCHITECTURES)
    for index in chosen.indices(errors):
        problem = draw_any(3, index).problem
        if wrong := inject(Manual().answer(problem), SIZES[dtype], stream):
            yield problem, wrong


def loss_scale(problems: int) -> None:
    """Print the share of gradients of parameters that are 0 in float16, by loss scale."""
    print("| loss scale | zeros in float16 that float32 has not | not finite |\n|---|---|---|")
    for exponent in (0, 4, 8, 12, 16):
        lost = wide = total = 0
        for index in range(problems):
            one = draw(0, index).problem
            if one.weights is None:
                continue
            scaled = replace(one, weights=one.weights * one.dtype.type(2.0**exponent))
            true, low = (_gradients(in_dtype(scaled, d)) for d in ("float32", "float16"))
            lost += np.count_nonzero((low == 0) & (true != 0))
            wide += np.count_nonzero(~np.isfinite(low) & np.isfinite(true))
            total += np.count_nonzero(np.isfinite(true))
        print(f"| 2^{exponent} | {lost / total:.2%} | {wide / total:.2%} |", flush=True)


def _gradients(problem: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    answer: Answer = Manual().answer(problem)  # type: ignore[arg-type]
    parts = [g for name, g in answer.gradients.items() if name.endswith(("weight", "bias"))]
    return np.concatenate(parts, axis=None).astype(np.float32)


EVERYDAY: tuple[tuple[str, dict[str, tuple[int, ...]]], ...] = (
    ("softmax", {"x": (16, 32)}),
    ("log_softmax", {"x": (16, 32)}),
    ("gelu", {"x": (16, 32)}),
    ("silu", {"x": (16, 32)}),
    ("layer_norm", {"x": (16, 32), "weight": (32,), "bias": (32,)}),
    ("rms_norm", {"x": (16, 32), "weight": (32,)}),
    ("attention", {"q": (4, 8), "k": (8, 8), "v": (8, 8)}),
    ("dense", {"x": (16, 32), "weight": (32, 32), "bias": (32,)}),
)
LOSSES = ("mse", "cross_entropy", "bce_with_logits", "huber")
SIDES = ("manual", "torch", "jax")
DTYPE, DRAWS = "bfloat16", 4


def everyday() -> None:
    """Print the worst error of each gradient in roundings: u times the tensor's largest number."""
    print(f"| {DTYPE} | gradient | by hand | torch | JAX | allowed |")
    print("|---|---|---|---|---|---|")
    oracles = load(SIDES)
    stream = np.random.default_rng(0)
    for name, shapes in EVERYDAY:
        step = Step("y", name, {argument: argument for argument in shapes})
        graph, problems = Graph((step,), ("y",)), []
        for _ in range(DRAWS):
            arrays = {n: stream.standard_normal(s).astype(DTYPE) for n, s in shapes.items()}
            (shape,) = {v.shape for v in forward(graph, _inside(arrays)).values()}
            cotangents = {"y": stream.standard_normal(shape).astype(DTYPE)}
            problems.append(GraphProblem(graph, arrays, cotangents))
        answers = {side: oracles[side].answers(problems) for side in SIDES}
        for argument in shapes:
            _row(name, f"d{argument}", [_of_graph(p, k, argument, answers)
                                        for k, p in enumerate(problems)])  # fmt: skip
    for loss in LOSSES:
        network = Network(16, (Layer(16, bias=False),), loss)
        chains = []
        for _ in range(DRAWS):
            y = stream.standard_normal((16, 16)).astype(DTYPE)
            targets = stream.uniform(0, 1, (16, 16)).astype(DTYPE)
            t = stream.integers(0, 16, 16) if loss == "cross_entropy" else targets
            chains.append(Problem(network, {"layers.0.weight": np.eye(16, dtype=DTYPE)}, y, t))
        answers = {side: oracles[side].answers(chains) for side in SIDES}
        _row(loss, "dy", [_of_loss(p, k, answers) for k, p in enumerate(chains)])


def _inside(arrays: Arrays) -> Arrays:
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _of_graph(problem: GraphProblem, k: int, name: str, answers: Answers) -> list[float]:
    """Return how far each side is off, then what is allowed, in roundings."""
    pairs = [(0, answers[side][k]) for side in SIDES]
    stack = stack_of([problem], pairs)
    rows = rows_of_stack(stack)
    certify_rows(rows, stack.dtype)
    unit = RoundingUnit(problem.dtype, STRICT)
    tensors = Truths(stack, rows).tensors(unit)
    (tensor,) = (t for t in tensors if t.name == name)
    scale = format_of(problem.dtype).u * float(np.abs(tensor.truth).max())
    off = [float(e) / scale for e in tensor.error.max(axis=1)]
    return [*off, float(tensor.allowed[0].max()) / scale]


def _of_loss(problem: Problem, k: int, answers: Answers) -> list[float]:
    pairs = [(0, answers[side][k]) for side in SIDES]
    ((columns, (scale, da)),) = Gathered([problem], pairs).losses("scale", "da")
    evaluate_columns([columns])
    check = SlopeCheck(columns, da, scale, roundings=np.full(len(columns.tape), problem.batch + 4))
    size = format_of(problem.dtype).u * float(np.abs(check.truth).max())
    off = [float(check.error[:, columns.chunk == c].max()) / size
           for c in np.unique(columns.chunk)]  # fmt: skip
    return [*off, float(check.allowed(RoundingUnit(problem.dtype, STRICT)).max()) / size]


def _row(name: str, gradient: str, found: list[list[float]]) -> None:
    worst = np.max(np.array(found), axis=0)
    print(f"| {name} | {gradient} | {' | '.join(f'{x:.2g}' for x in worst)} |", flush=True)


def ulps() -> None:
    """Print how many ulps of the dtype each activation needs beyond its end.

    Left out: numbers next to a kink, results that are infinite or about to be flushed.
    """
    print("| dtype | activation | torch value | torch slope | JAX value | JAX slope |")
    print("|---|---|---|---|---|---|")
    for dtype in LOW:
        unit = RoundingUnit(dtype, replace(ACCUMULATED, low_ulps=1.0))
        x = np.arange(1 << 16, dtype=np.uint16).view(unit.dtype)
        x = np.sort(
            x[np.isfinite(x.astype(float)) & (np.abs(x.astype(float)) >= format_of(dtype).tiny)]
        )
        for name, operation in ACTIVATIONS.items():
            if not operation.rowwise:
                needed = [
                    *_needed(operation, x, unit, "torch"),
                    *_needed(operation, x, unit, "jax"),
                ]
                print(
                    f"| {dtype} | {name} | {' | '.join(f'{k:.2f}' for k in needed)} |", flush=True
                )


def _needed(
    operation: Activation, x: Array, unit: RoundingUnit, framework: Framework
) -> tuple[float, float]:
    """Return the ulps that a framework's value and slope need, at the worst of many numbers."""
    options, exact = operation.defaults(), x.astype(np.float64)
    value = operation.forward(exact, **options)
    slope = operation.backward(exact, value, np.ones_like(exact), **options)
    ones = np.ones_like(x)
    function = partial(resolve(operation, framework), **options)
    if framework == "torch":
        leaf = as_tensor(x).requires_grad_()
        made = function(leaf)
        (pulled,) = torch.autograd.grad(made, leaf, as_tensor(ones))
        given = as_array(made.detach()), as_array(pulled)
    else:
        made, pull = jax.vjp(function, jnp.asarray(x))
        given = np.asarray(made), np.asarray(pull(jnp.asarray(ones))[0])
    found = [array.astype(np.float64) for array in given]
    smooth = np.abs(np.diff(slope, prepend=slope[0])) + np.abs(np.diff(slope, append=slope[-1]))
    normal = np.isfinite(found[0]) & (np.abs(value) >= 2 * format_of(x.dtype).tiny)
    rounded = unit.value(np.abs(value), np.abs(exact)), unit.slope(np.abs(slope), np.abs(exact))
    extra = unit.sum_rounding(1, np.abs(slope)) + unit.floor  # of the product with the cotangent
    off_value, off_slope = np.abs(found[0] - value), np.abs(found[1] - slope)
    of_value = (off_value - unit.result_rounding(np.abs(value))) / rounded[0]
    of_slope = (off_slope - unit.result_rounding(np.abs(slope)) - extra) / rounded[1]
    return (
        float(np.nanmax(np.where(normal, of_value, 0), initial=0)),
        float(np.nanmax(np.where(normal & (smooth < 2**-3), of_slope, 0), initial=0)),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("sensitivity", "loss_scale", "everyday", "ulps"))
    parser.add_argument("--errors", type=int, default=400)
    parser.add_argument("--problems", type=int, default=2000)
    given = parser.parse_args()
    if given.what == "sensitivity":
        sensitivity(given.errors)
    elif given.what == "loss_scale":
        loss_scale(given.problems)
    elif given.what == "ulps":
        ulps()
    else:
        everyday()


if __name__ == "__main__":
    main()
