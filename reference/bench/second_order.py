"""What a Hessian-vector product costs beside a gradient: by hand, in PyTorch, in JAX.

Processor time, one thread, the median of rounds in which everybody has a turn. Each row says how
many gradients of its own side a product costs.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec
import numpy as np

from manual_backprop.fast import compile_product, compile_step
from manual_backprop.network import Problem
from manual_backprop.second_order import hessian_vector_product
from reference.bench.contestants import SHAPES, BenchCase, jax_loss, problem_of, torch_loss
from reference.bench.measure import limited, on_one_core

Pair = tuple[Callable[[], object], Callable[[], object]]
"""A gradient and a Hessian-vector product, of one side."""


def _by_hand(problem: Problem, direction: dict[str, np.ndarray]) -> dict[str, Pair]:
    step, product = compile_step(problem), compile_product(problem)
    x, targets = step.inputs["x"], step.inputs["targets"]
    product(direction)
    return {"by hand, fast": (lambda: step(x, targets), lambda: product({}))}


def _plain(problem: Problem, direction: dict[str, np.ndarray]) -> dict[str, Pair]:
    from manual_backprop.network import backward, forward

    return {"by hand, plain": (lambda: backward(problem, forward(problem)),
                               lambda: hessian_vector_product(problem, direction))}  # fmt: skip


def _torch_side(problem: Problem, direction: dict[str, np.ndarray]) -> dict[str, Pair]:
    import torch

    torch.set_num_threads(1)
    names, of_data = list(direction), torch_loss(problem)
    leaves = {n: torch.tensor(problem.parameters[n], requires_grad=True) for n in names}
    wanted, along = list(leaves.values()), [torch.tensor(direction[n]) for n in names]
    data = torch.tensor(problem.x), torch.tensor(problem.targets)

    def gradient(again: bool = False) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(of_data(leaves, *data), wanted, create_graph=again)

    def product() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(gradient(again=True), wanted, grad_outputs=along)

    return {"PyTorch, double backward": (gradient, product)}


def _jax_side(problem: Problem, direction: dict[str, np.ndarray]) -> dict[str, Pair]:
    import jax

    update: Callable[..., object] = jax.config.update
    update("jax_enable_x64", True)
    jnp = jax.numpy
    parameters = {n: jnp.asarray(problem.parameters[n]) for n in direction}
    along = {n: jnp.asarray(v) for n, v in direction.items()}
    data = jnp.asarray(problem.x), jnp.asarray(problem.targets)

    loss = jax_loss(problem)

    # Everything is an argument: XLA would fold x times a constant direction while it compiles.
    gradient = jax.jit(jax.grad(loss))
    product = jax.jit(lambda p, v, *d: jax.jvp(lambda q: jax.grad(loss)(q, *d), (p,), (v,))[1])
    wait: Callable[..., object] = jax.block_until_ready
    pair = (lambda: wait(gradient(parameters, *data)),
            lambda: wait(product(parameters, along, *data)))  # fmt: skip
    return {"JAX, forward over reverse": pair}


def _cost(call: Callable[[], object], seconds: float, clock: Callable[[], float]) -> float:
    """Return the time of one call, of as many as fit."""
    start, calls = clock(), 0
    while clock() - start < seconds or not calls:
        call()
        calls += 1
    return (clock() - start) / calls


class ProductTiming(msgspec.Struct, frozen=True):
    """Seconds that a gradient and a Hessian-vector product cost one side."""

    shape: str
    batch: int
    side: str
    gradient: float
    product: float

    @property
    def gradients(self) -> float:
        """How many gradients a product costs."""
        return self.product / self.gradient


def second_order(
    progress: Callable[[str], None] = print,
    seconds: float = 1.0,
    rounds: int = 7,
    clock: Callable[[], float] = time.process_time,
) -> list[ProductTiming]:
    """Time three shapes by hand, in PyTorch and in JAX; those not installed are left out."""
    found: list[ProductTiming] = []
    on_one_core()
    with limited(1):
        for widths, batch in SHAPES[:3]:
            case = BenchCase(widths, batch)
            progress(case.shape)
            found += _measured(case, seconds, rounds, clock)
    return found


def _measured(
    case: BenchCase, seconds: float, rounds: int, clock: Callable[[], float]
) -> Iterator[ProductTiming]:
    problem, rng = problem_of(case), np.random.default_rng(1)
    direction = {
        n: rng.standard_normal(v.shape).astype(case.dtype) for n, v in problem.parameters.items()
    }
    pairs: dict[str, Pair] = {}
    for side in (_by_hand, _plain, _torch_side, _jax_side):
        with suppress(ImportError):
            pairs |= side(problem, direction)
    for calls in pairs.values():
        for call in calls:
            call()
    for name, calls in pairs.items():
        each = [[_cost(call, seconds / rounds, clock) for call in calls] for _ in range(rounds)]
        medians = (statistics.median(column) for column in zip(*each, strict=True))
        yield ProductTiming(case.shape, case.batch, name, *medians)


def render(rows: Sequence[ProductTiming]) -> str:
    """Return the rows as a table."""
    lines = [f"{'shape':18}{'side':28}{'gradient':>13}{'product':>13}  gradients a product"]
    for row in rows:
        times = "".join(f"{time * 1e6:10.1f} us" for time in (row.gradient, row.product))
        lines.append(f"{row.shape:18}{row.side:28}{times}{row.gradients:8.2f}")
    return "\n".join(lines)
