"""The scripts that show a difference: every one is run, with numpy, torch and jax alone."""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE
from targetsources import ACTIVATION_PAIR, DENSE_PAIR, LOSS

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import Graph, GraphProblem, Step
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.network import (
    REDUCTIONS,
    Layer,
    Network,
    Problem,
    backward,
    check_problem,
    forward,
)
from reference.checks.checker import check
from reference.conventions.uses import draw as draw_use
from reference.conventions.uses import problem_of
from reference.drawing.builder import fits
from reference.evidence import Evidence
from reference.findings import finding_of
from reference.judge import judge
from reference.oracles import load
from reference.oracles.manual import Manual
from reference.problems import GRAPHS, DrawnGraph, Selection, draw, draw_any
from reference.repro import script_of, script_of_graph

_ALONE = """
import sys
for name in ("reference", "manual_backprop", "reports", "scipy", "hypothesis", "array_api_compat"):
    sys.modules[name] = None
import runpy
for path in sys.argv[1:]:
    print("==", path)
    runpy.run_path(path, run_name="__main__")
"""


def run(*paths: Path) -> dict[str, str]:
    """Run scripts in one process in which nothing of this project can be imported."""
    ran = subprocess.run(
        [sys.executable, "-c", _ALONE, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    parts = ran.stdout.split("== ")[1:]
    return {part.splitlines()[0]: part for part in parts}


def largest(output: str) -> float:
    lines = [line for line in output.splitlines() if "largest difference" in line]
    assert lines, output
    return max(float(line.split()[-1]) for line in lines)


def test_every_operation_has_a_script_that_runs_and_agrees(tmp_path: Path, every: int) -> None:
    """Our own gradient, written as yours: the script's torch and jax have to say the same."""
    rng = np.random.default_rng(0)
    hidden = cycle(ACTIVATIONS)
    paths: list[Path] = []
    for name, loss in LOSSES.items():
        last = next(n for n, a in ACTIVATIONS.items() if fits(a.range, loss.predictions))
        names = [next(hidden), next(hidden), last]
        # One width and batch for all: what JAX compiled for one script serves the next.
        layers = tuple(Layer(3, n) for n in names)
        network = Network(3, layers, name, reduction=REDUCTIONS[len(paths) % len(REDUCTIONS)])
        parameters = {k: rng.standard_normal(s) for k, s in network.parameter_shapes().items()}
        targets = {
            "real": rng.standard_normal((2, 3)), "unit": rng.random((2, 3)),
            "sign": np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]]), "labels": np.array([2, 0]),
            "count": np.array([[0.0, 2.0, 1.0], [3.0, 1.0, 0.0]]),
            "simplex": np.array([[0.25, 0.25, 0.5], [0.125, 0.5, 0.375]]),
        }[loss.targets[0]]  # fmt: skip
        arrays = {k: np.array([0.5, 1.0, 2.0]) + np.zeros((2, 3) if e == "entries" else 3)
                  for k, e in loss.arrays.items()}  # fmt: skip
        x, weights = rng.standard_normal((2, 3)), np.array([0.5, 2.0])
        problem = Problem(network, parameters, x, targets, weights, arrays)
        check_problem(problem)
        path = tmp_path / f"repro_{name}.py"
        path.write_text(script_of(problem, backward(problem, forward(problem)), "A network."))
        paths.append(path)
    assert 2 * len(LOSSES) >= len(ACTIVATIONS), "every activation stands in a script"
    outputs = run(*paths[::every])
    assert len(outputs) == len(paths[::every])
    for path, output in outputs.items():
        assert "torch" in output and "jax" in output, path
        # The frameworks' own constants differ in the eighth digit (torch's, in selu).
        assert largest(output) < 1e-6, output


WRONG = [
    (ACTIVATION_PAIR, "cache**2", "cache"),
    (DENSE_PAIR, "dout.sum(axis=0)", "2 * dout.sum(axis=0)"),
    (LOSS, "p / len(x)", "p"),
]


def test_a_wrong_target_leaves_a_script_that_shows_it(tmp_path: Path) -> None:
    paths = []
    for k, (source, right, wrong) in enumerate(WRONG):
        target = tmp_path / f"target_{k}.py"
        target.write_text(source.replace(right, wrong))
        (part,) = check(target, problems=6).parts
        assert part.script, part
        paths.append(tmp_path / f"repro_{k}.py")
        paths[-1].write_text(part.script)
    outputs = run(*paths)
    assert len(outputs) == len(WRONG)
    for output in outputs.values():
        assert all(word in output for word in ("yours", "right", "central differences"))


def layer_scripts(tmp_path: Path, names: Iterable[str]) -> list[Path]:
    """Write a script for the value and one for the cotangent of the last array of each layer."""
    paths = []
    for name in names:
        problem = problem_of(LAYERS[name], draw_use(LAYERS[name], 5))
        paths += graph_scripts(tmp_path, name, problem, ("forward y", problem.floats[-1]))
    return paths


def graph_scripts(
    tmp_path: Path, name: str, problem: GraphProblem, tensors: Iterable[str]
) -> list[Path]:
    paths = []
    for k, tensor in enumerate(tensors):
        script = script_of_graph(problem, Manual().answer(problem), Evidence(tensor, (), name))
        assert script is not None
        paths.append(tmp_path / f"{name}_{k}.py")
        paths[-1].write_text(script)
    return paths


@pytest.mark.broad  # JAX compiles each primitive of each layer anew
def test_every_layer_has_scripts_that_run_and_agree(tmp_path: Path) -> None:
    paths = layer_scripts(tmp_path, LAYERS)
    for path, output in run(*paths).items():
        # JAX's attention computes its softmax in float32.
        assert largest(output) < (1e-6 if "attention" in path else 1e-11), output


def test_scripts_of_graphs_run_alone_and_agree(tmp_path: Path) -> None:
    """A layer that torch takes in another way; a value that two steps take; a finding."""
    steps = (Step("a", "tanh", {"x": "x"}), Step("b", "multiply", {"a": "a", "b": "x"}))
    x = np.array([[0.5, -1.25], [2.0, 0.125]])
    problem = GraphProblem(Graph(steps, ("b", "a")), {"x": x}, {"b": x + 1, "a": x - 2})
    paths = layer_scripts(tmp_path, ("rms_norm",))
    paths += graph_scripts(tmp_path, "two_uses", problem, ("x", "a", "forward b"))
    right = Manual().answer(problem)
    assert script_of_graph(problem, right, Evidence("loss", (), "")) is None
    one = draw_any(0, GRAPHS)
    assert isinstance(one, DrawnGraph)
    right = Manual().answer(one.problem)
    name = one.problem.floats[0]
    wrong = {**right.gradients, name: right.gradients[name] * 1.5}
    answers = {"manual": right, "torch": replace(right, oracle="torch", gradients=wrong)}
    finding = finding_of(one, answers, judge(one.problem, answers))
    assert finding.verdict == "DEVIATES(torch)" and finding.example.repro is not None
    assert "Certified, at its own inputs: " in finding.example.repro
    found = tmp_path / "finding.py"
    found.write_text(finding.example.repro)
    outputs = run(*paths, found)
    assert len(outputs) == 6
    for path, output in outputs.items():
        if path == str(found):
            assert "torch, as judged" in output and largest(output) > 1e-6
        else:
            assert largest(output) < 1e-11, output


def test_a_framework_that_deviates_gets_a_script_in_its_finding() -> None:
    one = draw(0, next(iter(Selection(regimes=("ordinary",), dtypes=("float64",)).indices(1))))
    answers = {
        name: oracle.answer(one.problem) for name, oracle in load(("manual", "torch")).items()
    }
    wrong = {k: 1.5 * v for k, v in answers["torch"].gradients.items()}
    answers["torch"] = replace(answers["torch"], gradients=wrong)
    finding = finding_of(one, answers, judge(one.problem, answers))
    assert finding.verdict == "DEVIATES(torch)"
    assert finding.example.repro is not None
    compile(finding.example.repro, "repro.py", "exec")
    assert "Certified, at its own inputs: " in finding.example.repro
    assert "torch, as judged" in finding.example.repro
