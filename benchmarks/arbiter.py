"""Times the certified gradient and the radii of rounding, in processor time of this thread."""

import statistics
import time

import numpy as np

from manual_backprop.network import Layer, Network, Problem
from reference.judge import TIGHT
from reference.oracles.certified import certify
from reference.rounding.radii import radii

SHAPES = (((4, 8, 3), 4), ((16, 16, 16, 16), 8))
CASES = (("tanh", "mse"), ("sigmoid", "cross_entropy"), ("gelu", "mse"), ("softmax", "mse"))
REPEATS = 21


def problem_of(widths: tuple[int, ...], batch: int, activation: str, loss: str) -> Problem:
    """Return a problem with random numbers."""
    stream = np.random.default_rng(0)
    layers = (*(Layer(w, activation) for w in widths[1:-1]), Layer(widths[-1]))
    network = Network(widths[0], layers, loss)
    parameters = {k: stream.standard_normal(s) / 2 for k, s in network.parameter_shapes().items()}
    shape = (batch, widths[-1])
    labels = stream.integers(0, widths[-1], batch)
    targets = labels if loss == "cross_entropy" else stream.standard_normal(shape)
    return Problem(network, parameters, stream.standard_normal((batch, widths[0])), targets)


def main() -> None:
    """Print the median of each."""
    for widths, batch in SHAPES:
        for activation, loss in CASES:
            problem = problem_of(widths, batch, activation, loss)
            proof, rounding = [], []
            for _ in range(REPEATS):
                start = time.thread_time()
                certificate = certify(problem)
                middle = time.thread_time()
                radii(certificate, TIGHT)
                proof.append(middle - start)
                rounding.append(time.thread_time() - middle)
            name = f"{'-'.join(map(str, widths))}, batch {batch}, {activation}, {loss}"
            print(
                f"{name:48} certified {1e3 * statistics.median(proof):7.2f} ms"
                f" ({certificate.bits} bits)   radii {1e3 * statistics.median(rounding):7.2f} ms"
            )


if __name__ == "__main__":
    main()
