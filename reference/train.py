"""One network trained three times from one start: hand-written, PyTorch and JAX gradients.

Each run moves its own parameters by the same hand-written optimiser, so that whatever separates
the runs comes from the gradients. In exact arithmetic they would stay together; rounding separates
their last bits, and training may amplify the difference.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Layer, Network, Problem, forward
from manual_backprop.operation import FloatArray, InvalidInput
from manual_backprop.optimisers import (
    Adam,
    GradientDescent,
    Momentum,
    Optimiser,
    start_all,
    step_all,
)
from reference.formats import Array
from reference.oracles import Oracle
from reference.oracles.jax_grad import JaxGrad
from reference.oracles.manual import Manual
from reference.oracles.torch_autograd import TorchAutograd
from reference.problems import check_seed

Floats = npt.NDArray[np.float64]
Parameters = Mapping[str, FloatArray]


MAX_STEPS = 1_000_000
"""Steps of a training, whose losses are kept."""

INSTALL = "python -m pip install -c constraints.txt -e '.[train]'"


class Examples(NamedTuple):
    """Inputs of shape (N, D_in), and what belongs to them: labels (N,), or rows (N, C)."""

    x: FloatArray
    targets: Array


@dataclass(frozen=True)
class Task:
    """A task: a network, training and held-out data, the size of a batch, an optimiser, steps."""

    name: str
    title: str
    network: Network
    samples: Examples
    held_out: Examples
    batch: int
    optimiser: GradientDescent | Momentum | Adam
    steps: int


@dataclass(frozen=True)
class Training:
    """Three runs side by side; `losses`, `distances` and `accuracy` go by who gave the gradient.

    `distances` is max |w - w_manual| / max |w_manual| after each step. `first_bit` is the first
    step after which any bit differs from the hand-written run, `parted` the first after which half
    of the digits do; None where that did not happen.
    """

    task: Task
    dtype: str
    losses: Mapping[str, Floats]
    distances: Mapping[str, Floats]
    accuracy: Mapping[str, float]
    parameters: Mapping[str, Parameters]
    skipped: Mapping[str, str]

    def first_bit(self, who: str) -> int | None:
        """Return the first step after which a bit differs."""
        return _first(self.distances[who] > 0)

    def parted(self, who: str) -> int | None:
        """Return the first step after which half of the digits differ."""
        return _first(self.distances[who] > np.finfo(self.dtype).eps ** 0.5)


def train(
    name: str = "digits",
    steps: int | None = None,
    dtype: str = "float64",
    seed: int = 0,
    learning_rate: float | None = None,
) -> Training:
    """Train a task three times from one start; steps and learning rate are its own unless given."""
    if dtype not in ("float32", "float64"):
        raise InvalidInput(f"dtype={dtype!r}: expected float32 or float64")
    if steps is not None and not 1 <= steps <= MAX_STEPS:
        raise InvalidInput(f"steps={steps}: expected 1 to {MAX_STEPS:,}")
    check_seed(seed)
    task = load(name, dtype)
    task = task if steps is None else replace(task, steps=steps)
    if learning_rate is not None:
        optimiser = replace(task.optimiser, learning_rate=learning_rate)
        title = f"{task.title}, learning rate {learning_rate:g}"
        task = replace(task, optimiser=optimiser, title=title)
    stream = np.random.Generator(np.random.Philox(key=seed))
    begin = _initial(task.network, stream, dtype)
    batches = list(_batches(task, stream))
    sources: dict[str, Oracle] = {
        "manual": Manual(),
        "torch": TorchAutograd(),
        "jax": JaxGrad(padded=False),
    }
    skipped = {n: reason for n, one in sources.items() if (reason := one.unavailable())}
    runs = {
        n: _TrainingRun(one, begin, task.optimiser)
        for n, one in sources.items()
        if n not in skipped
    }
    losses: dict[str, list[float]] = {who: [] for who in runs}
    distances: dict[str, list[float]] = {who: [] for who in runs if who != "manual"}
    x, targets = task.samples
    for rows in batches:
        for who, run in runs.items():
            losses[who].append(run.step(Problem(task.network, {}, x[rows], targets[rows])))
        for who, apart in distances.items():
            apart.append(_distance(runs[who].parameters, runs["manual"].parameters))
    return Training(
        task,
        dtype,
        {who: np.array(values) for who, values in losses.items()},
        {who: np.array(values) for who, values in distances.items()},
        {who: accuracy(task, run.parameters) for who, run in runs.items()},
        {who: run.parameters for who, run in runs.items()},
        skipped,
    )


class _TrainingRun:
    """One run: whose gradient it uses, its parameters and the optimiser's state."""

    def __init__(self, source: Oracle, begin: Parameters, optimiser: Optimiser) -> None:
        self.source, self.optimiser = source, optimiser
        self.parameters = dict(begin)
        self.state = start_all(optimiser, begin)

    def step(self, batch: Problem) -> float:
        """Take one step; return the loss before it."""
        answer = self.source.answer(replace(batch, parameters=self.parameters))
        self.parameters, self.state = step_all(
            self.optimiser, self.parameters, answer.gradients, self.state
        )
        return float(np.asarray(answer.loss))


def accuracy(task: Task, parameters: Parameters) -> float:
    """Return the share of held-out samples whose largest output is the right one."""
    outputs = outputs_of(Problem(task.network, parameters, *task.held_out))
    targets = task.held_out.targets
    right = targets if targets.ndim == 1 else targets.argmax(axis=1)
    return float((outputs.argmax(axis=1) == right).mean())


def outputs_of(problem: Problem) -> FloatArray:
    """Return the network's outputs, by the hand-written forward."""
    return forward(problem).steps[f"layers.{len(problem.network.layers) - 1}.a"]


def _first(met: npt.NDArray[np.bool_]) -> int | None:
    return int(met.argmax()) + 1 if met.any() else None


def _distance(a: Parameters, b: Parameters) -> float:
    apart = max(float(np.abs(a[name] - b[name]).max()) for name in b)
    return apart / max(float(np.abs(w).max()) for w in b.values())


def _initial(network: Network, stream: np.random.Generator, dtype: str) -> dict[str, FloatArray]:
    """Draw weights of variance 1/D_in, which keeps the size of the activations; biases 0."""
    return {
        name: (
            stream.standard_normal(shape) / np.sqrt(shape[0])
            if len(shape) == 2
            else np.zeros(shape)
        ).astype(dtype)
        for name, shape in network.parameter_shapes().items()
    }


def _batches(task: Task, stream: np.random.Generator) -> Iterator[Array]:
    """Yield the rows of each step's batch: everything, or one pass after another, shuffled."""
    size, order = len(task.samples.x), np.arange(0)
    for _ in range(task.steps):
        if task.batch >= size:
            yield np.arange(size)
            continue
        if len(order) < task.batch:
            order = stream.permutation(size)
        yield order[: task.batch]
        order = order[task.batch :]


# The tasks. Data sets come with scikit-learn; nothing is fetched.


def load(name: str, dtype: str = "float64") -> Task:
    """Return a task by name."""
    if name not in TASKS:
        raise InvalidInput(f"task={name!r} is unknown; expected one of: {', '.join(TASKS)}")
    try:
        import sklearn.datasets as data
    except ImportError:
        raise InvalidInput(
            f"train needs scikit-learn for its data sets; install it in the clone: {INSTALL}"
        ) from None
    return TASKS[name](data, dtype)


def _split(x: Array, t: Array, dtype: str) -> tuple[Examples, Examples]:
    """Hold every fifth sample out, after a fixed shuffle."""
    order = np.random.Generator(np.random.Philox(key=5)).permutation(len(x))
    values, targets = x.astype(dtype), t.astype(dtype if t.ndim == 2 else np.int64)
    kept, held_out = np.setdiff1d(np.arange(len(x)), order[::5]), order[::5]
    return Examples(values[kept], targets[kept]), Examples(values[held_out], targets[held_out])


def _digits(data: ModuleType, dtype: str) -> Task:
    found = data.load_digits()
    network = Network(64, (Layer(32, "tanh"), Layer(10)), "cross_entropy")
    samples = _split(found.data / 16, found.target, dtype)
    title = "Digits, 64-32-10, tanh, momentum"
    return Task("digits", title, network, *samples, 128, Momentum(0.1), 400)


def _iris(data: ModuleType, dtype: str) -> Task:
    found = data.load_iris()
    network = Network(4, (Layer(8, "tanh"), Layer(3)), "cross_entropy")
    x = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    samples = _split(x, found.target, dtype)
    return Task("iris", "Iris, 4-8-3, tanh, Adam", network, *samples, len(x), Adam(0.02), 400)


def _moons(data: ModuleType, dtype: str) -> Task:
    x, labels = data.make_moons(300, noise=0.15, random_state=0)
    layers = Layer(500, "tanh"), Layer(2, "softmax")
    network = Network(2, layers, "categorical_cross_entropy", reduction="mean")
    samples = _split(x, np.eye(2)[labels], dtype)
    title = "Two moons, the 2-500-2 network of article 004, gradient descent"
    return Task("moons", title, network, *samples, len(x), GradientDescent(0.1), 600)


TASKS: dict[str, Callable[[ModuleType, str], Task]] = {
    "digits": _digits,
    "iris": _iris,
    "moons": _moons,
}


def training_text(done: Training) -> str:
    """Return the runs' figures for the terminal."""
    lines = [f"{done.task.title}; {done.task.steps} steps, {done.dtype}", ""]
    for who, losses in done.losses.items():
        line = (
            f"  {who:8} loss {losses[0]:.6f} → {losses[-1]:.6f}"
            f"   held-out accuracy {done.accuracy[who]:.4f}"
        )
        if who in done.distances:
            line += f"   parameters apart by {done.distances[who][-1]:.2g}"
        lines.append(line)
    lines += [f"  {who:8} skipped: {reason}" for who, reason in done.skipped.items()]
    lines.append("")
    for who in done.distances:
        bit, half = done.first_bit(who), done.parted(who)
        first = "no bit differs" if bit is None else f"the first bit differs after step {bit}"
        second = "never differ in this run" if half is None else f"differ after step {half}"
        lines.append(f"  {who}: {first}; half of the digits {second}")
    return "\n".join(lines)


def training_data(done: Training) -> dict[str, object]:
    """Return the runs as plain data: losses and distances by step, and the figures."""
    return {
        "task": done.task.name,
        "title": done.task.title,
        "dtype": done.dtype,
        "steps": done.task.steps,
        "losses": {who: values.tolist() for who, values in done.losses.items()},
        "distances": {who: values.tolist() for who, values in done.distances.items()},
        "accuracy": dict(done.accuracy),
        "first_bit": {who: done.first_bit(who) for who in done.distances},
        "parted": {who: done.parted(who) for who in done.distances},
        "skipped": dict(done.skipped),
    }


_METADATA: dict[str, dict[str, str | None]] = {
    ".svg": {"Creator": "manual-backprop", "Date": None},
    ".png": {"Software": "manual-backprop"},
    ".pdf": {"Creator": "manual-backprop", "CreationDate": None},
}


def picture(done: Training, path: Path) -> None:
    """Draw losses, distances and, in the plane, the decision boundary."""
    try:
        import matplotlib
    except ImportError:
        raise InvalidInput(
            f"--picture needs matplotlib; install it in the clone: {INSTALL}"
        ) from None
    if path.suffix not in _METADATA:
        raise InvalidInput(
            f"picture={str(path)!r}: expected a name that ends in .svg, .png or .pdf"
        )
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plane = done.task.network.input_width == 2
    settings: dict[Any, object] = {
        "svg.hashsalt": "manual-backprop",
        "font.size": 10,
        "axes.spines.top": False,
    }
    with plt.rc_context({**settings, "axes.spines.right": False}):
        figure, axes = plt.subplots(1, 2 + plane, figsize=(4.6 * (2 + plane), 3.6))
        _draw_losses(axes[0], done)
        _draw_distances(axes[1], done)
        if plane:
            _draw_boundary(axes[2], done)
        figure.suptitle(f"{done.task.title} ({done.dtype})")
        figure.tight_layout()
        figure.savefig(path, metadata=_METADATA[path.suffix], dpi=120)
        plt.close(figure)


_COLOURS = {"manual": "#1b1b1b", "torch": "#d1495b", "jax": "#2e86ab"}
_STYLES: dict[str, dict[str, object]] = {
    "manual": {"linewidth": 4, "alpha": 0.35},
    "torch": {"linewidth": 1.6},
    "jax": {"linewidth": 1.6, "linestyle": (0, (3, 3))},
}


def _draw_losses(axes: Any, done: Training) -> None:
    for who, losses in done.losses.items():
        steps = np.arange(1, len(losses) + 1)
        axes.plot(steps, losses, color=_COLOURS[who], label=who, **_STYLES[who])
    together = all(done.parted(who) is None for who in done.distances)
    title = "Loss: three curves, one line" if together else "Loss"
    axes.set(xlabel="step", ylabel="loss", title=title, yscale="log")
    axes.legend(frameon=False)


def _draw_distances(axes: Any, done: Training) -> None:
    for who, apart in done.distances.items():
        shown = np.where(apart > 0, apart, np.nan)
        steps = np.arange(1, len(apart) + 1)
        axes.plot(steps, shown, color=_COLOURS[who], label=f"{who} from manual", **_STYLES[who])
        parted = done.parted(who)
        if parted is not None:
            axes.plot(parted, apart[parted - 1], "o", color=_COLOURS[who])
            axes.annotate(
                f"half the digits, step {parted}",
                (parted, apart[parted - 1]),
                xytext=(-118, 8) if who == "torch" else (8, -14),
                textcoords="offset points",
                color=_COLOURS[who],
                fontsize=8,
            )
    axes.axhline(np.finfo(done.dtype).eps, color="#888", linewidth=0.8)
    axes.text(1, np.finfo(done.dtype).eps * 1.2, "one rounding", color="#666", fontsize=8)
    axes.set(xlabel="step", ylabel="max |Δw| / max |w|", title="Distance of the parameters")
    axes.set_yscale("log")
    axes.legend(frameon=False)


def _draw_boundary(axes: Any, done: Training) -> None:
    task, parameters = done.task, done.parameters["manual"]
    x, given = task.samples
    low, high = x.min(axis=0) - 0.4, x.max(axis=0) + 0.4
    across, up = np.meshgrid(*(np.linspace(a, b, 121) for a, b in zip(low, high, strict=True)))
    points = np.stack([across.ravel(), up.ravel()], axis=1).astype(done.dtype)
    targets = np.broadcast_to(given[:1], (len(points), *given.shape[1:]))
    outputs = outputs_of(Problem(task.network, parameters, points, targets))
    first = outputs[:, 0].reshape(across.shape)
    axes.contourf(across, up, first, levels=11, cmap="RdBu", alpha=0.55, vmin=0, vmax=1)
    axes.contour(across, up, first, levels=[0.5], colors="#1b1b1b", linewidths=1.5)
    labels = given.argmax(axis=1) if given.ndim == 2 else given
    axes.scatter(*x.T, c=np.where(labels == 0, "#2166ac", "#b2182b"), s=9, linewidths=0)
    axes.set(title="Decision boundary, hand-written run", xlabel="x₁", ylabel="x₂")
