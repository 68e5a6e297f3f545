"""A network of the project written as an article's system, so that it can be walked like one."""

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.articles.claim import Article
from manual_backprop.articles.system import (
    Arithmetic,
    NumpyArithmetic,
    Quantities,
    SlopeArithmetic,
    System,
)
from manual_backprop.losses import LOSSES
from manual_backprop.network import (
    Layer,
    Network,
    Problem,
    backward,
    check_problem,
    forward,
    loss_divisor,
)
from manual_backprop.operation import ByName, InvalidInput
from reference.problems import draw, parse_address


def problem_article(address: str) -> Article:
    """Return the problem at SEED:INDEX of a report."""
    drawn = draw(*parse_address(address))
    cell = drawn.cell
    title = f"Problem {drawn.at}: {describe(drawn.problem)}, {cell.regime}, {cell.dtype}"
    return article_of(drawn.problem, title)


WIDEST = 64
"""Units in a layer of a network that is to be read."""


def network_article(text: str) -> Article:
    """Return a network such as "2-3-1", "2-3-1:relu" or "2-3-1:tanh:mse" with small numbers."""
    shape, _, rest = text.partition(":")
    activation, _, loss = rest.partition(":")
    try:
        widths = [int(width) for width in shape.split("-")]
    except ValueError:
        raise InvalidInput(f"network={text!r}: expected widths such as 2-3-1") from None
    if max(widths) > WIDEST:
        raise InvalidInput(f"network={text!r}: expected widths of at most {WIDEST}")
    if len(widths) < 2:
        raise InvalidInput(f"network={text!r}: expected an input and at least one layer")
    hidden = [Layer(width, ACTIVATIONS[activation or "tanh"].name) for width in widths[1:-1]]
    operation = LOSSES[loss or "mse"]
    last = {"unit": "sigmoid", "simplex": "softmax", "log_simplex": "log_softmax"}
    layers = (*hidden, Layer(widths[-1], last.get(operation.predictions, "identity")))
    network = Network(widths[0], layers, operation.name)
    stream = np.random.Generator(np.random.Philox(key=widths[0]))
    halves = {
        name: stream.integers(-4, 5, shape) / 2
        for name, shape in network.parameter_shapes().items()
    }
    x = stream.integers(-4, 5, (2, widths[0])) / 2
    problem = Problem(network, halves, x, _targets(operation.targets[0], widths[-1]))
    check_problem(problem)
    return article_of(problem, f"Network {text}: {describe(problem)}")


def describe(problem: Problem) -> str:
    """Return a network in a few words: 4-8-3, tanh, softmax, nll (mean)."""
    network = problem.network
    names = ", ".join(dict.fromkeys(layer.activation for layer in network.layers))
    widths = "-".join(map(str, network.widths))
    return f"{widths}, {names}, {network.loss} ({network.reduction}), batch {problem.batch}"


def article_of(problem: Problem, title: str) -> Article:
    """Return a problem as an article with one example and no claims."""
    with np.errstate(all="ignore"):
        divisor = float(loss_divisor(problem, forward(problem).losses, np.dtype(float)))
    inputs = {"x": problem.x, **{_short(n): v for n, v in problem.parameters.items()}}
    constants = _constants(problem)
    inputs |= constants
    network, last = problem.network, len(problem.network.layers)

    def walk_forward(m: Arithmetic, q: Quantities) -> None:
        a = q.x
        for i, layer in enumerate(network.layers, 1):
            z = a @ q[f"W{i}"]
            q[f"z{i}"] = z + q[f"b{i}"] if layer.bias else z
            q[f"a{i}"] = m.apply(layer.activation, q[f"z{i}"], **layer.parameters)
            a = q[f"a{i}"]
        for name in constants:
            q[name]  # read, so that the walk says what the loss is made of
        losses = m.loss(network.loss, a, problem.targets, **problem.loss_arguments())
        if problem.weights is None:
            total = m.sum(losses)
        else:
            total = sum(m.sum(losses[n]) * w for n, w in enumerate(problem.weights.tolist()))
        q.L = total / divisor

    def walk_backward(m: SlopeArithmetic, q: Quantities, g: Quantities) -> None:
        with np.errstate(all="ignore"):
            found = {_short(n): v for n, v in backward(problem, forward(problem)).items()}
        # The subject's own numbers; the sums are written out beside them where they are sums.
        own = isinstance(m, NumpyArithmetic)
        g[f"a{last}"] = found[f"a{last}"] if own else _written_slope(q, last, problem, divisor)
        for i in range(last, 0, -1):
            below = f"a{i - 1}" if i > 1 else "x"
            if not own:
                g[f"a{i}"], q[f"z{i}"]  # read, so that the walk says what the next step is made of
            g[f"z{i}"] = found[f"z{i}"]
            g[f"W{i}"] = found[f"W{i}"] if own else q[below].T @ g[f"z{i}"]
            if f"b{i}" in found:
                g[f"b{i}"] = found[f"b{i}"] if own else m.sum(g[f"z{i}"], axis=0)
            g[below] = found[below] if own else g[f"z{i}"] @ q[f"W{i}"].T

    latex = {"x": "x", "L": "L"}
    formulas: dict[str, str] = {}
    gradients: dict[str, str] = {"x": rf"{_D('z_{1}')} W_{{1}}^T"}
    for i, layer in enumerate(network.layers, 1):
        latex |= {f"{kind}{i}": f"{kind}_{{{i}}}" for kind in "zaWb"}
        below = f"a_{{{i - 1}}}" if i > 1 else "x"
        bias = f" + b_{{{i}}}" if layer.bias else ""
        formulas[f"z{i}"] = rf"z_{{{i}}} = {below} W_{{{i}}}{bias}"
        operation = layer.activation.replace("_", " ")
        formulas[f"a{i}"] = rf"a_{{{i}}} = \text{{{operation}}}(z_{{{i}}})"
        gradients[f"a{i}"] = rf"{_D(f'z_{{{i + 1}}}')} W_{{{i + 1}}}^T"
        gradients[f"z{i}"] = rf"{_D(f'a_{{{i}}}')} \cdot \text{{{operation}}}'(z_{{{i}}})"
        gradients[f"W{i}"] = rf"{below}^T\, {_D(f'z_{{{i}}}')}"
        gradients[f"b{i}"] = rf"\sum_n ({_D(f'z_{{{i}}}')})_n"
    gradients[f"a{last}"] = _slope_formula(last, problem, divisor)
    name = network.loss.replace("_", " ")
    formulas["L"] = rf"L = \text{{{name}}}(a_{{{last}}}, t)"
    return Article(
        "",
        title,
        System("network", lambda d: inputs, walk_forward, loss="L", latex=latex),
        (),
        walk_backward,
        forward_formulas=formulas,
        backward_formulas=gradients,
        example=lambda: inputs,
    )


def _slope_formula(last: int, problem: Problem, divisor: float) -> str:
    """Return the slope of the loss at its prediction, in LaTeX."""
    name, a = problem.network.loss.replace("_", " "), f"a_{{{last}}}"
    slope = f"2 ({a} - t)" if name == "mse" else rf"\text{{{name}}}'({a}, t)"
    weight = "" if problem.weights is None else r"w \cdot "
    below = {1.0: "", float(problem.batch): "/N"}.get(divisor, f"/{divisor:.5g}")
    return f"{weight}{slope}{below}"


def _written_slope(q: Quantities, last: int, problem: Problem, divisor: float) -> np.ndarray:
    """Return that slope as numbers that remember how they were written; read what it is made of."""
    a = q[f"a{last}"]
    for name in _constants(problem):
        q[name]
    if problem.network.loss == "mse" and problem.weights is None:
        return np.asarray(2 * (a - problem.targets.astype(object)) / divisor)
    with np.errstate(all="ignore"):
        return backward(problem, forward(problem))[f"layers.{last - 1}.a"]


def _constants(problem: Problem) -> ByName:
    """Return what the loss is given besides the prediction: no gradient goes there."""
    given = {"t": problem.targets, "weights": problem.weights, **problem.arrays}
    # As lists: an array is what the engines differentiate by.
    return {name: value.tolist() for name, value in given.items() if value is not None}


_D = r"\frac{{\partial L}}{{\partial {0}}}".format


def _short(name: str) -> str:
    """Return W1 for layers.0.weight, and so on."""
    if "." not in name:
        return name
    _, layer, step = name.split(".")
    return {"weight": "W", "bias": "b"}.get(step, step) + str(int(layer) + 1)


def _targets(kind: str, classes: int) -> np.ndarray:
    if kind == "labels":
        return np.array([0, classes - 1])
    if kind == "simplex":
        return np.eye(classes)[[0, classes - 1]]
    if kind == "sign":
        return np.array([[1.0] * classes, [-1.0] * classes])
    return np.array([[1.0] * classes, [0.0] * classes])
