"""Runs compared with a reference solution, here: layouts, scales, causes, other forwards."""

from collections.abc import Callable
from pathlib import Path

import classofthirty
import pytest

from reference.checks.code import source, units_of
from reference.checks.judging import Chosen, ReadingSubject, search
from reference.grading import comparing, running
from reference.grading import solution as solution_module
from reference.grading.records import Described, Judged, ProblemRun, Reference, SubmissionRequest


def forget() -> None:
    """Let a solution of the same name be read anew."""
    solution_module._targets.clear()
    solution_module._solutions.clear()


Hold = Callable[..., list[Judged]]

SOLUTION = """\
import numpy as np


def linear_forward(A, W, b):
    return W @ A + b, (A, W, b)


def linear_backward(dZ, cache):
    A, W, b = cache
    return W.T @ dZ, dZ @ A.T, dZ.sum(axis=1, keepdims=True)


def network(X, T, W1, W2):
    Z1 = X @ W1
    H = np.tanh(Z1)
    Y = H @ W2
    loss = 0.5 * np.sum((Y - T) ** 2)
    dY = Y - T
    dW2 = H.T @ dY
    dH = dY @ W2.T
    dZ1 = dH * (1 - H * H)
    dW1 = X.T @ dZ1
    return loss, {"W1": dW1, "W2": dW2}
"""


@pytest.fixture
def hold(tmp_path: Path) -> Hold:
    """Hold the function of a submission to the one of the solution that is named."""

    def held(
        text: str,
        name: str,
        function: str,
        seed: int = 7,
        solution: str = SOLUTION,
        dtypes: tuple[str, ...] = ("float64",),
        **dialect: bool,
    ) -> list[Judged]:
        (tmp_path / "theirs.py").write_text(text)
        (tmp_path / "ours.py").write_text(solution)
        forget()
        target = source.load(str(tmp_path / "theirs.py"))
        unit = next(u for u in units_of(target) if u.name == name)
        chosen = search(unit, target, seed, {})
        assert isinstance(chosen, Chosen)
        runs: list[object] = []
        running.send_runs(
            0,
            ReadingSubject(chosen),
            SubmissionRequest("", {}, seed, 0, 2, dtypes=dtypes),
            runs.append,
        )
        reference = Reference(
            str(tmp_path / "ours.py"), function, seed,
            tuple(r for r in runs if isinstance(r, ProblemRun)), **dialect,
        )  # fmt: skip
        found: list[object] = []
        comparing.serve(reference, found.append)
        return [j for j in found if isinstance(j, Judged)]

    return held


def right_of(judged: list[Judged]) -> dict[str, bool]:
    return {h.of: all(x.right for j in judged for x in j.held if x.of == h.of)
            for h in judged[0].held}  # fmt: skip


ROWS = """\
import numpy as np


def dense_forward(x, w, b):
    return x @ w + b, (x, w)


def dense_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)
"""


def test_rows_are_held_to_a_solution_in_columns(hold: Hold) -> None:
    judged = hold(ROWS, "dense_backward", "linear_backward")
    assert all(j.forward_right for j in judged)
    assert right_of(judged) == {"A": True, "W": True, "b": True}
    wrong = hold(ROWS.replace("dout @ w.T", "2 * dout @ w.T"), "dense_backward", "linear_backward")
    assert right_of(wrong) == {"A": False, "W": True, "b": True}


def test_a_fixed_layout_admits_no_other(hold: Hold) -> None:
    judged = hold(ROWS, "dense_backward", "linear_backward", same_layout=True)
    assert not any(j.forward_right for j in judged)


def test_a_fixed_mean_admits_no_other(hold: Hold) -> None:
    """dW and db with 1/N, dA without: the mean is taken in the layer, as some courses do."""
    text = SOLUTION.replace("dZ @ A.T,", "dZ @ A.T / A.shape[1],").replace(
        "keepdims=True)\n", "keepdims=True) / A.shape[1]\n", 1
    )
    judged = hold(text, "linear_backward", "linear_backward")
    assert right_of(judged) == {"A": True, "W": True, "b": True}
    judged = hold(text, "linear_backward", "linear_backward", mean_in_loss=True)
    assert right_of(judged) == {"A": True, "W": False, "b": False}


def test_what_follows_from_an_inner_mistake_is_told_from_a_second_one(hold: Hold) -> None:
    text = SOLUTION.replace("dY = Y - T", "dY = 2 * (Y - T)")
    judged = hold(text, "network", "network")
    causes = {h.of: h.follows_from for h in judged[-1].held}
    assert right_of(judged) == {"W1": False, "W2": False}
    assert causes == {"W1": "dY", "W2": "dY"}
    second = text.replace("dW1 = X.T @ dZ1", "dW1 = -X.T @ dZ1")
    causes = {h.of: h.follows_from for h in hold(second, "network", "network")[-1].held}
    assert causes == {"W1": "", "W2": "dY"}


def test_a_right_gradient_of_another_forward_is_recognised(hold: Hold) -> None:
    text = SOLUTION.replace("W @ A + b,", "W @ A * 3 + b,").replace("W.T @ dZ,", "3 * W.T @ dZ,")
    text = text.replace("dZ @ A.T,", "3 * dZ @ A.T,")
    judged = hold(text, "linear_backward", "linear_backward")
    assert not any(j.forward_right for j in judged) and all(j.own for j in judged)
    wrong = hold(text.replace("3 * dZ @", "dZ @"), "linear_backward", "linear_backward")
    assert not any(j.own or j.forward_right for j in wrong)


@pytest.mark.parametrize("forward", ["0 * (W @ A + b)", "np.ones((W.shape[0], A.shape[1]))"])
def test_a_forward_that_does_nothing_has_no_gradient_to_be_paid(hold: Hold, forward: str) -> None:
    text = SOLUTION.replace("W @ A + b,", f"{forward},").replace("W.T @ dZ,", "0 * W.T @ dZ,")
    text = text.replace("dZ @ A.T,", "0 * dZ @ A.T,").replace("dZ.sum(", "0 * dZ.sum(")
    judged = hold(text, "linear_backward", "linear_backward")
    assert not any(j.own or j.forward_right for j in judged)
    assert not any(h.right for j in judged for h in j.held)


def test_the_public_problems_are_told_from_the_hidden_ones(hold: Hold) -> None:
    judged = hold(ROWS, "dense_backward", "linear_backward")
    assert [j.public for j in judged] == [True, True, False, False]


def test_the_solution_describes_itself(tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(classofthirty.PAIRS)
    found: list[object] = []
    comparing.serve(Reference(str(tmp_path / "solution.py"), "", 3), found.append)
    described = {d.unit: d for d in found if isinstance(d, Described)}
    assert described["affine_backward"].gradients == ("x", "w", "b")
    assert described["sigmoid_backward"].operation == "sigmoid"
    assert described["softmax_loss"].shapes["y"] == "N int(D)"
    assert all(d.verdict == "right" for d in described.values())


def test_an_expression_written_twice_is_one_mistake(hold: Hold) -> None:
    """No variable has the wrong dZ1: it stands in dW1 and again in db1."""
    long = SOLUTION
    for old, new in (
        ("    dZ1 = dH * (1 - H * H)\n", ""),
        ("X @ W1", "X @ W1 + b1"),
        ("T, W1", "T, b1, W1"),
        ("dW1 = X.T @ dZ1", "dW1 = X.T @ (dH * (1 - H * H))"),
        ("return loss, {", 'db1 = np.sum(dH * (1 - H * H), axis=0)\n    return loss, {"b1": db1, '),
    ):
        long = long.replace(old, new)
    assert all(right_of(hold(long, "network", "network", solution=long)).values())
    wrong = long.replace("(1 - H * H)", "(1 - H)")
    judged = hold(wrong, "network", "network", solution=long)
    causes = {h.of: h.follows_from for h in judged[-1].held if not h.right}
    assert causes == {"W1": "dH * (1 - H)", "b1": "dH * (1 - H)"}
    second = wrong.replace("db1 = np.sum(", "db1 = 2 * np.sum(")
    judged = hold(second, "network", "network", solution=long)
    assert {h.of: h.follows_from for h in judged[-1].held}["b1"] == ""


def test_types_have_to_be_kept_where_that_is_asked_for(hold: Hold) -> None:
    both = ("float64", "float32")
    assert right_of(hold(ROWS, "dense_backward", "linear_backward", dtypes=both)) == {
        "A": True, "W": True, "b": True,
    }  # fmt: skip
    wide = ROWS.replace("x.T @ dout,", "x.T @ dout.astype(np.float64),")
    judged = hold(wide, "dense_backward", "linear_backward", dtypes=both)
    assert right_of(judged) == {"A": True, "W": False, "b": True}
    assert {h.dtype for j in judged for h in j.held if h.of == "W"} == {
        "in float32 it came back as float64"
    }
    assert all(right_of(hold(wide, "dense_backward", "linear_backward")).values())
    sum16 = ROWS.replace("dout.sum(axis=0)", "dout.sum(axis=0) + (dout.dtype.itemsize == 4)")
    judged = hold(sum16, "dense_backward", "linear_backward", dtypes=both)
    assert right_of(judged) == {"A": True, "W": True, "b": False}


def test_what_is_handed_on_may_be_asked_for(hold: Hold) -> None:
    def cached(text: str) -> set[str]:
        judged = hold(text, "linear_backward", "linear_backward", same_cache=True)
        assert all(j.forward_right for j in judged) and all(right_of(judged).values())
        return {j.cached for j in judged}

    assert cached(SOLUTION) == {""}
    fewer = SOLUTION.replace("b, (A, W, b)", "b, (A, W)").replace("A, W, b = cache", "A, W = cache")
    assert cached(fewer) == {"2 items are handed on, 3 are asked for"}
    turned = SOLUTION.replace("b, (A, W, b)", "b, (b, W, A)").replace("A, W, b =", "b, W, A =")
    assert cached(turned) == {"item 1 of what is handed on is another one than asked for"}
    assert {j.cached for j in hold(fewer, "linear_backward", "linear_backward")} == {""}
