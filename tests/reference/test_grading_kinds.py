"""Code on tensors, engines of values and general forms, beside a solution of the same kind."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from manual_backprop.operation import InvalidInput
from reference.checks.code import source, units_of
from reference.checks.judging import Failure
from reference.checks.parts import read
from reference.grading import comparing, running
from reference.grading.assignment import Assignment, Dialect, Function, Problems
from reference.grading.grader import Judge, _refuse_unfit, grade
from reference.grading.records import Described, Judged, KindRun, Reference, SubmissionRequest
from reference.grading.screening import screen_text
from reference.grading.submissions import find_submissions

GENERAL = """\
shapes = {"x": "N D", "W": "D H", "b": "H", "y": "N H"}


def forward(xp, step, x, W, b, y):
    h = step("h", xp.tanh(step("z", x @ W + b)))
    return step("loss", xp.sum((h - y) ** 2))


def backward(inputs, steps):
    x, W, h = inputs["x"], inputs["W"], steps["h"]
    dh = 2 * (h - inputs["y"])
    dz = dh * (1 - h ** 2)
    return {"h": dh, "z": dz, "W": x.T @ dz, "b": dz.sum(0), "x": dz @ W.T, "y": -dh}
"""

ENGINE = """\
import math


class Value:
    def __init__(self, data, children=()):
        self.data, self.grad, self._prev = data, 0.0, set(children)
        self._backward = lambda: None

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data + other.data, (self, other))

        def _backward():
            self.grad += out.grad
            other.grad += out.grad

        out._backward = _backward
        return out

    def tanh(self):
        t = (math.exp(2 * self.data) - 1) / (math.exp(2 * self.data) + 1)
        out = Value(t, (self,))

        def _backward():
            self.grad += (1 - t ** 2) * out.grad

        out._backward = _backward
        return out

    def backward(self):
        order, seen = [], set()

        def visit(v):
            if v not in seen:
                seen.add(v)
                for child in v._prev:
                    visit(child)
                order.append(v)

        visit(self)
        self.grad = 1.0
        for v in reversed(order):
            v._backward()
"""

TENSORS = """\
import torch


class Linear:
    @staticmethod
    def forward(x, w, b):
        return x.mm(w) + b, (x, w)

    @staticmethod
    def backward(dout, cache):
        x, w = cache
        return dout.mm(w.t()), x.t().mm(dout), dout.sum(0)


class Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.tanh(x)

    @staticmethod
    def backward(ctx, dout):
        (x,) = ctx.saved_tensors
        t = torch.tanh(x)
        return dout * (t + x * (1 - t ** 2))
"""

Hold = Callable[[str, str, str], list[Judged]]


@pytest.fixture
def hold(tmp_path: Path) -> Hold:
    """Hold a function of a text to the same of a solution."""

    def held(text: str, name: str, solution: str) -> list[Judged]:
        folder = Path(tmp_path, str(len(list(tmp_path.iterdir()))))
        folder.mkdir()
        (folder / "theirs.py").write_text(text)
        (folder / "ours.py").write_text(solution)
        target = source.load(str(folder / "theirs.py"))
        unit = next(u for u in units_of(target) if u.name == name)
        subject = read(unit, target, 7, {})
        assert not isinstance(subject, Failure)
        runs: list[object] = []
        running.send_runs(0, subject, SubmissionRequest("", {}, 7, 0, 2), runs.append)
        sent = tuple(r for r in runs if isinstance(r, KindRun))
        assert len(sent) == 4, runs
        found: list[object] = []
        comparing.serve(Reference(str(folder / "ours.py"), name, 7, sent), found.append)
        return [j for j in found if isinstance(j, Judged)]

    return held


def wrong_of(judged: list[Judged]) -> dict[str, str]:
    """Return what is wrong, with what it follows from."""
    return {h.of: h.follows_from for j in judged for h in j.held if not h.right}


def test_a_general_form_is_held_step_by_step(hold: Hold) -> None:
    right = hold(GENERAL, "backward", GENERAL)
    assert all(j.forward_right for j in right) and wrong_of(right) == {}
    assert {h.of for h in right[0].held} == {"x", "W", "b", "y"}
    slope = hold(GENERAL.replace("1 - h ** 2", "1 - h"), "backward", GENERAL)
    assert wrong_of(slope) == {"x": "z", "W": "z", "b": "z"}
    first = hold(GENERAL.replace("dh = 2 *", "dh ="), "backward", GENERAL)
    assert wrong_of(first) == {"x": "h", "W": "h", "b": "h", "y": ""}
    named = GENERAL.replace('"W"', '"weights"').replace("x, W, b, y)", "x, weights, b, y)")
    assert wrong_of(hold(named.replace("x @ W", "x @ weights"), "backward", GENERAL)) == {}


def test_a_right_gradient_of_another_forward_is_its_own(hold: Hold) -> None:
    half = GENERAL.replace("xp.sum((h", "0.5 * xp.sum((h").replace("dh = 2 *", "dh =")
    judged = hold(half, "backward", GENERAL)
    assert all(j.own and not j.forward_right for j in judged)
    neither = hold(half.replace("(1 - h ** 2)", "(1 - h)"), "backward", GENERAL)
    assert not any(j.own or j.forward_right for j in neither)


def test_an_engine_has_a_mark_for_each_operator_and_one_for_reuse(hold: Hold) -> None:
    right = hold(ENGINE, "Value", ENGINE)
    assert all(j.forward_right for j in right) and wrong_of(right) == {}
    assert {h.of for h in right[0].held} == {"__add__", "tanh", "reuse"}
    assert wrong_of(hold(ENGINE.replace("1 - t ** 2", "1 - t"), "Value", ENGINE)) == {"tanh": ""}
    assigned = hold(ENGINE.replace("grad += ", "grad = "), "Value", ENGINE)
    assert wrong_of(assigned) == {"reuse": ""}
    lacking = ENGINE[: ENGINE.index("    def tanh")] + ENGINE[ENGINE.index("    def backward") :]
    judged = hold(lacking, "Value", ENGINE)
    assert not any(j.forward_right or j.own for j in judged)
    assert {h.of: h.right for j in judged for h in j.held} == {"__add__": True, "reuse": True}


def test_programs_that_are_left_out_are_wrong(hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    """A submission that sends numbers of its own may leave out what it does wrong."""
    right = running._asked

    def without_reuse(*given: Any) -> KindRun:
        run = right(*given)
        kept = tuple(q for q in run.questions if "c = " not in q.name)
        return msgspec.structs.replace(run, questions=kept)

    monkeypatch.setattr(running, "_asked", without_reuse)
    assert wrong_of(hold(ENGINE, "Value", ENGINE)) == {"reuse": ""}


def test_tensors_are_held_to_the_framework_s_gradient_of_the_solution(hold: Hold) -> None:
    pytest.importorskip("torch")
    assert wrong_of(hold(TENSORS, "Linear.backward", TENSORS)) == {}
    turned = TENSORS.replace("x.mm(w) + b", "x.mm(w.t()) + b").replace(
        "dout.mm(w.t()), x.t().mm(dout)", "dout.mm(w), dout.t().mm(x)"
    )
    assert wrong_of(hold(turned, "Linear.backward", TENSORS)) == {}
    wrong = hold(TENSORS.replace("dout.sum(0)", "dout.mean(0)"), "Linear.backward", TENSORS)
    assert wrong_of(wrong) == {"b": ""} and all(j.forward_right for j in wrong)
    assert wrong_of(hold(TENSORS, "Gate", TENSORS)) == {}
    gate = hold(TENSORS.replace("1 - t ** 2", "1 - t"), "Gate", TENSORS)
    assert wrong_of(gate) == {"x": ""}


def test_a_framework_s_arithmetic_is_by_hand_and_its_derivatives_are_not() -> None:
    def notices(text: str, name: str, kind: str) -> list[str]:
        return [n.text for n in screen_text("a.py", text.encode())[0].of(name, kind)]

    assert notices(TENSORS, "Gate", "torch") == notices(TENSORS, "Linear.backward", "torch") == []
    assert "takes its gradient from torch" in notices(TENSORS, "Gate", "numpy")[0]
    for line in (
        "(g,) = torch.autograd.grad(x.tanh().sum(), x)",
        "(x * x).sum().backward()",
        "x = x.detach().requires_grad_()",
        "g = torch.func.vjp(torch.tanh, x)",
    ):
        body = textwrap.indent(f"{line}\n", " " * 8)
        cheat = TENSORS.replace("        t = torch.tanh(x)\n", body)
        assert len(notices(cheat, "Gate", "torch")) == 1, line
    jax = "from jax import grad as g\n\n\ndef f_backward(d, x):\n    return d * g(f)(x)\n"
    assert "jax.grad" in notices(jax, "f_backward", "jax")[0]


def test_another_kind_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(GENERAL)
    (tmp_path / "theirs.py").write_text(
        "import numpy as np\n\n\ndef forward(x, W, b):\n    return np.tanh(x @ W + b)\n\n\n"
        "def backward(dout, x, W, b):\n    dz = dout * (1 - np.tanh(x @ W + b) ** 2)\n"
        "    return dz @ W.T, x.T @ dz, dz.sum(0)\n"
    )
    asked = Assignment(
        str(tmp_path / "ours.py"), (Function("backward", {"W": 2.0}, 1.0),),
        problems=Problems(count=2),
    )  # fmt: skip
    (one,) = grade(asked, find_submissions([tmp_path / "theirs.py"]), workers=1).graded
    (mark,) = {m.text for m in one.items[0].marks}
    assert mark == (
        "it is written for arrays of NumPy, the reference solution in the general form; with a "
        "reference solution written the same way it can be graded"
    )
    assert one.earned == 0 and {m.state for m in one.items[0].marks} == {"unreadable"}


NETWORK = (
    "def backward(network, params, x, t):\n    return 0.0, {k: 0 * v for k, v in params.items()}\n"
)


def test_a_whole_network_of_ours_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(NETWORK)
    found: list[Any] = []
    comparing.serve(Reference(str(tmp_path / "ours.py"), "", 7), found.append)
    (described,) = found
    assert "which is not graded; expected functions or classes on arrays" in described.verdict
    target = source.load(str(tmp_path / "ours.py"))
    (unit,) = units_of(target)
    subject = read(unit, target, 7, {})
    assert not isinstance(subject, Failure)
    running.send_runs(0, subject, SubmissionRequest("", {}, 7, 0, 2), found.append)
    assert found[1].why.endswith("which is not graded")


def test_what_only_arrays_have_is_not_asked_of_another_kind() -> None:
    known = [Described("Value", ("tanh",), "", "right", {}, "engine")]
    function = (Function("Value", {"tanh": 1.0}),)
    _refuse_unfit(Assignment("a.py", function), known)
    for more in (
        Assignment("a.py", function, problems=Problems(dtypes=("float64", "float32"))),
        Assignment("a.py", function, dialect=Dialect(cached="reference")),
    ):
        with pytest.raises(InvalidInput, match="is written as an engine of values: expected"):
            _refuse_unfit(more, known)


def test_a_solution_of_each_kind_describes_itself(tmp_path: Path) -> None:
    for text, kind in ((GENERAL, "general"), (ENGINE, "engine")):
        (tmp_path / f"{kind}.py").write_text(text)
        judge = Judge(Assignment(str(tmp_path / f"{kind}.py"), (Function("all", {"x": 1.0}),)))
        try:
            (described,) = judge.describe()
        finally:
            judge.close()
        assert (described.verdict, described.kind) == ("right", kind)
