"""Networks per second of every oracle, and what the padded program and the blocks save.

Run: python benchmarks/oracles.py [--problems 1024] [--alone 10]. Compilation is timed apart.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

from manual_backprop.network import Problem
from reference.oracles import Answer, load
from reference.oracles.environment import environment
from reference.oracles.jax_grad import JaxGrad
from reference.oracles.torch_autograd import TorchAutograd, _graph
from reference.problems import draw

BLOCK = 512


def rate(function: Callable[[], object], networks: int, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return networks / statistics.median(times)


def in_blocks(
    answers: Callable[[Sequence[Problem]], list[Answer]], problems: list[Problem]
) -> None:
    for start in range(0, len(problems), BLOCK):
        answers(problems[start : start + BLOCK])


def retain_grad(problem: Problem) -> None:
    """The plain way to intermediate gradients, for comparison."""
    import torch

    graph = _graph(problem)
    for tensor in graph.tensors:
        tensor.retain_grad()
    graph.loss.backward(torch.ones_like(graph.loss))
    for tensor in graph.tensors:
        if tensor.grad is not None:  # an output that a loss ignores has none
            tensor.grad.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=1024)
    parser.add_argument("--alone", type=int, default=10, help="networks compiled one by one")
    arguments = parser.parse_args()
    count = arguments.problems

    for name, value in environment().items():
        print(f"{name}: {value}")
    start = time.perf_counter()
    problems = [draw(0, index).problem for index in range(count)]
    print(f"\n{'draw':44}{count / (time.perf_counter() - start):10.0f} networks/s")

    oracles = load()
    start = time.perf_counter()
    oracles["jax"].answers(problems)
    print(f"{'jax, first block (compiles or reads cache)':44}{time.perf_counter() - start:10.1f} s")
    rates = {}
    for name, oracle in oracles.items():
        some = problems[:64] if name == "complex_step" else problems
        rates[name] = rate(lambda o=oracle, s=some: in_blocks(o.answers, s), len(some))
        print(f"{name + ', in blocks':44}{rates[name]:10.0f} networks/s")

    few = problems[:256]
    torch_oracle = TorchAutograd()
    for name, function in (
        ("torch, one launch a network", lambda: [torch_oracle.answer(p) for p in few]),
        ("torch, retain_grad", lambda: [retain_grad(p) for p in few]),
    ):
        print(f"{name:44}{rate(function, len(few)):10.0f} networks/s")

    alone = problems[:: max(1, count // arguments.alone)][: arguments.alone]
    slow = rate(lambda: JaxGrad(padded=False).answers(alone), len(alone), repeats=1)
    print(f"{'jax, a fresh jit(grad) for each network':44}{slow:10.1f} networks/s")
    print(f"{'padded program over fresh jit(grad)':44}{rates['jax'] / slow:10.0f} times")


if __name__ == "__main__":
    main()
