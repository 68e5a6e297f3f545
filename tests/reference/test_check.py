"""Checking a gradient: every form, right and wrong; and targets that misbehave."""

import json
import random
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE
from targetsources import DENSE_PAIR, RELU, SOURCES, inside, texts_of

import reference
from manual_backprop.operation import InvalidInput
from reference.checks import checker
from reference.checks.checker import check
from reference.checks.command import worst_of
from reference.checks.comparing import Truth, assessment
from reference.checks.results import Result
from reports.checked import Part

IDS = [name for name, *_ in SOURCES]


@pytest.mark.parametrize(("name", "source", "right", "wrong", "diagnosis"), SOURCES, ids=IDS)
def test_every_form_right_and_wrong(
    name: str, source: str, right: str, wrong: str, diagnosis: str
) -> None:
    found = inside(source)
    assert found.exit_code == 0, str(found)
    assert right in source
    # Of random networks, only those of two layers or more show what is wrong below the first.
    found = inside(source.replace(right, wrong), problems=12 if name == "network" else 6)
    assert found.exit_code == 1, str(found)
    assert any(diagnosis in text for text in texts_of(found)) or not diagnosis, str(found)
    assert len(str(found).splitlines()) <= 24, "one screen"
    assert max(map(len, str(found).splitlines())) <= 100


def test_the_generators_of_the_process_are_as_before() -> None:
    """NumPy draws normal numbers in pairs: the second one is kept for the next call."""
    np.random.seed(3)  # noqa: NPY002
    np.random.standard_normal()  # noqa: NPY002
    before, state = np.random.get_state(), random.getstate()  # noqa: NPY002
    drawing = RELU.replace("(x):\n", "(x):\n    np.random.standard_normal(3)\n")
    assert drawing != RELU and inside(drawing, 2).exit_code == 0
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert random.getstate() == state


def test_a_checker_that_always_agrees_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forms above are wrong for a reason: with a comparison that says yes, nothing is."""
    monkeypatch.setattr(assessment, "close", lambda got, truth, *rest: np.ones(np.shape(got), bool))
    _, source, right, wrong, _ = SOURCES[0]
    assert inside(source.replace(right, wrong)).exit_code == 0


@pytest.mark.parametrize("error", [1e-8, 1e-5, 1.0])
def test_an_entry_that_is_off_is_seen(error: float) -> None:
    value = np.array([1.0, -2.0, 0.5])
    truth = Truth(value, np.zeros(3), np.abs(value))
    assert assessment.close(value, truth).all()
    assert not assessment.close(value + np.array([0, error, 0]), truth).all()
    assert not assessment.close(np.array([1.0, np.nan, 0.5]), truth).all()


SCALED_IN_PLACE = """
import numpy as np
def bend_forward(x, w):
    x *= 0.5
    out = np.array([[np.tanh(float(v)) for v in row] for row in x @ w])
    return out, (x.copy(), w, out)
def bend_backward(dout, cache):
    x, w, out = cache
    dz = dout * (1 - out**2)
    return 0.5 * dz @ w.T, x.T @ dz
"""


def test_differences_are_taken_at_the_same_inputs_whatever_a_forward_writes_into_them() -> None:
    found = inside(SCALED_IN_PLACE, 2)
    assert found.exit_code == 0, str(found)
    assert "by differences" in str(found)
    assert inside(SCALED_IN_PLACE.replace("x.T @ dz", "2 * x.T @ dz"), 2).exit_code == 1


OF_NUMBERS = """
import math
def bend_forward(x: float, w: float):
    if not isinstance(x, float):
        raise TypeError("x is a number")
    out = math.tanh(x * w)
    return out, (x, w, out)
def bend_backward(dout, cache):
    x, w, out = cache
    dz = dout * (1 - out**2)
    return dz * w, dz * x
"""


def test_a_number_goes_in_as_a_number_where_differences_are_taken() -> None:
    found = inside(OF_NUMBERS, 2)
    assert found.exit_code == 0, str(found)
    assert "by differences" in str(found)


def test_a_file_may_call_its_shapes_none() -> None:
    assert inside(f"shapes = None\n{RELU}", 2).exit_code == 0
    with pytest.raises(InvalidInput, match="shapes: expected a dict"):
        inside(f"shapes = []\n{RELU}", 2)


def test_the_python_call_is_public() -> None:
    assert reference.check is check
    with pytest.raises(AttributeError, match="no attribute 'cheque'"):
        reference.cheque  # noqa: B018


def _target(folder: Path, body: str) -> Path:
    file = folder / "layers.py"
    file.write_text(
        "import numpy as np\n"
        "def relu_forward(x):\n    return np.maximum(x, 0), x\n"
        f"def relu_backward(dout, cache):\n    {body}\n"
    )
    return file


MISBEHAVING = [
    ("raised", "raise ValueError('no such cache')", "ValueError: no such cache", 1),
    ("hung", "while True: pass", "no answer", 3),
    ("raised", "import sys; sys.exit(3)", "it called exit(3)", 1),
    ("crashed", "import os; os._exit(4)", "exited with 4", 4),
    ("crashed", "import ctypes; ctypes.string_at(0)", "SIGSEGV", 4),
    ("mutated", "dx = dout * (cache > 0); cache *= 2; return dx", "changes x in place", 1),
    ("dtype", "return (dout * (cache > 0)).astype(np.float32)", "float32", 1),
]


@pytest.mark.parametrize(
    ("kind", "body", "text", "status"), MISBEHAVING, ids=[m[2] for m in MISBEHAVING]
)
def test_a_target_that_misbehaves_is_survived_and_named(
    tmp_path: Path, kind: str, body: str, text: str, status: int
) -> None:
    result = check(_target(tmp_path, body), problems=3, timeout=1.0)
    assert result.exit_code == status, str(result)
    faults = {f.kind: f for f in result.parts[0].faults}
    assert kind in faults, str(result)
    assert text in faults[kind].text
    assert faults[kind].problem == "0:0"


@pytest.mark.parametrize("where", ["as it is loaded", "as it runs"])
def test_a_target_that_replaces_the_judges_numpy_is_refused(tmp_path: Path, where: str) -> None:
    patch = "np.abs = np.max = lambda *a, **k: 0.0"
    body = "return 3 * dout * (cache > 0)"  # wrong, and right for a judge that sees no distance
    file = _target(tmp_path, f"{patch}; {body}" if where == "as it runs" else body)
    if where == "as it is loaded":
        file.write_text(f"{file.read_text()}{patch}\n")
    with pytest.raises(InvalidInput, match=r"it replaces numpy\.(max, numpy\.abs|abs, )"):
        check(file, problems=3)


@pytest.mark.parametrize(
    ("patch", "named"),
    [
        (
            "import reference.checks.tolerances as t; t.SUMMED = t.DIGITS = 1e300",
            "tolerances.DIGITS",
        ),
        (
            "import reference.checks.comparing.assessment as a; "
            "a.Row.right = property(lambda s: 1, print)",
            "reference.checks.comparing.assessment.Row.right",
        ),
        ("import sys; del sys.modules['numpy']", "it replaces numpy"),
    ],
)
def test_a_target_that_replaces_a_part_of_the_judge_is_refused(
    tmp_path: Path, patch: str, named: str
) -> None:
    with pytest.raises(InvalidInput, match=named):
        check(_target(tmp_path, f"{patch}; return 3 * dout * (cache > 0)"), problems=3)


def test_what_the_judge_keeps_for_itself_is_no_replacement() -> None:
    names = {"cube": lambda x: x**3, "cube_prime": lambda x: 3 * x**2}
    for _ in range(2):  # in this process, so that the second time something is kept already
        assert check(names, problems=3).exit_code == 0


RETURNED = {
    "a class of its own": (
        "class A(np.ndarray):\n    __sub__ = __rsub__ = __abs__ = lambda *a: 0.0\n"
        "    def __array_ufunc__(self, *a, **k): return 0.0\n",
        "return np.asarray(3 * dout).view(A)", 1, "WRONG",
    ),
    "numbers of its own": (
        "class F(float):\n    __sub__ = __rsub__ = __abs__ = lambda *a: 0.0\n",
        "return np.array([[F(3.0)] * dout.shape[1]] * len(dout), object)", 1, "WRONG",
    ),
    "another library's array": (
        "class Lazy:\n    def __init__(self, a): self.a = a\n"
        "    def __array__(self, dtype=None, copy=None): return np.asarray(self.a)\n",
        "return Lazy(dout * (cache > 0))", 0, "RIGHT",
    ),
    "a tensor": ("", "import torch; return torch.tensor(dout * (cache > 0))", 0, "RIGHT"),
    "more than fits": (
        "", "return np.broadcast_to(1.0, (10**6, 10**6))", 1, "it returned 1000000000000 numbers",
    ),
    "a list that holds itself": (
        "", "a = [dout * (cache > 0)]; a.append(a); return a", 2, "no input was found",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", RETURNED)
def test_what_comes_back_is_read_as_plain_numbers(tmp_path: Path, what: str) -> None:
    head, body, status, text = RETURNED[what]
    file = _target(tmp_path, body)
    file.write_text(file.read_text().replace("def relu_forward", f"{head}def relu_forward", 1))
    result = check(file, problems=3)
    assert result.exit_code == status, str(result)
    assert text in str(result) and "our own code" not in str(result)


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("class E(Exception):\n    def __str__(self): raise ValueError\n", "E (layers.py"),
        (
            r"def E(_): return ValueError('\x1b[2J\x00\ud800 ' + 'x' * 10**7)",
            r"\x1b[2J\x00\ud800 x",
        ),
    ],
)
def test_an_exception_says_what_can_be_printed(tmp_path: Path, head: str, text: str) -> None:
    file = _target(tmp_path, "raise E(1)")
    file.write_text(f"{file.read_text()}{head}\n")
    result = check(file, problems=3)
    assert result.exit_code == 1, str(result)
    (sentence,) = {fault.text for fault in result.parts[0].faults}
    assert text in sentence and sentence.isprintable() and len(sentence) < 300


def test_files_beside_a_target_are_found_and_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It imports from its own folder, and what it writes and removes is in another."""
    body = (
        "import os; from helpers import slope; open('data.txt', 'w').write('gone')\n"
        "    os.remove('data.txt'); return dout * slope(cache)"
    )
    (tmp_path / "helpers.py").write_text("def slope(x):\n    return x > 0\n")
    (tmp_path / "data.txt").write_text("kept")
    file = _target(tmp_path, body)
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    assert check(file, problems=3).exit_code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_an_object_that_cannot_be_looked_at_hides_nothing_else(tmp_path: Path) -> None:
    file = _target(tmp_path, "return dout * (cache > 0)")
    file.write_text(
        file.read_text() + "class Evil:\n    def __getattr__(self, name): raise KeyError(name)\n"
        "evil = Evil()\n"
    )
    assert check(file, problems=3).exit_code == 0


def test_what_hangs_hides_nothing_else(tmp_path: Path) -> None:
    file = _target(tmp_path, "while True: pass")
    file.write_text(file.read_text() + "def cube(x):\n    return x**3\n"
                    "def cube_prime(x):\n    return 3 * x**2\n")  # fmt: skip
    result = check(file, problems=3, timeout=1.0)
    assert {p.name: p.verdict for p in result.parts} == {
        "relu_backward": "failed", "cube_prime": "right"
    }  # fmt: skip


def test_what_is_left_after_many_crashes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "MAX_RESTARTS", 1)
    file = _target(tmp_path, "import os; os._exit(4)")
    file.write_text(file.read_text() + "def cube(x):\n    return x**3\n"
                    "def cube_prime(x):\n    return 3 * x**2\n")  # fmt: skip
    result = check(file, problems=3)
    assert [p.name for p in result.parts] == ["relu_backward"] and result.exit_code == 4
    assert "1 more part was not checked: the check stops after 1 that hung" in str(result)


def test_a_wrong_shape_is_wrong() -> None:
    result = inside(RELU.replace("(cache > 0)", "(cache > 0)[:, :1]"))
    assert result.exit_code == 1, str(result)
    result = inside(RELU.replace("return dout * (cache > 0)", "return (dout * (cache > 0)).T"))
    assert result.exit_code == 1, str(result)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("x.T @ dout", "dout.T @ x"), ("dout @ w.T", "dout @ w"), ("axis=0", "axis=1")],
)
def test_an_array_of_the_wrong_shape_is_wrong_also_without_a_name(right: str, wrong: str) -> None:
    assert inside(DENSE_PAIR).exit_code == 0
    result = inside(DENSE_PAIR.replace(right, wrong))
    assert result.exit_code == 1, str(result)


def test_where_a_forward_gives_nan_is_said() -> None:
    result = inside(RELU.replace("np.maximum(x, 0)", "np.where(x > 0, x, np.nan)"), problems=20)
    (fault,) = result.parts[0].faults
    judged = result.parts[0].problems
    assert 0 < judged < 20
    assert fault.text == f"it gives nan in {20 - judged} of 20 problems, which were not judged"


@pytest.mark.parametrize(
    ("slope", "right"), [("2.5", True), ("0.4", False), ("np.full_like(x, 2.5)", True)]
)
def test_the_slope_of_a_line_may_be_one_number(slope: str, right: bool) -> None:
    source = (
        "import numpy as np\n"
        "def line(x, derivative=False):\n"
        f"    if derivative:\n        return {slope}\n"
        "    return 2.5 * x - 1.0\n"
    )
    found = inside(source)
    assert found.exit_code == (0 if right else 1), str(found)


def test_a_product_with_the_cotangent_is_not_one_number() -> None:
    source = (
        "def line_forward(x):\n    return 2.5 * x, x\n"
        "def line_backward(dout, x):\n    return (2.5 * dout).sum()\n"
    )
    found = inside(source)
    assert found.exit_code == 1, str(found)
    assert "shape" in str(found)


@pytest.mark.parametrize("left", ["[:, :1]", "[:1]", ".sum(axis=0)", ".sum(axis=1, keepdims=True)"])
def test_a_gradient_that_lacks_entries_is_not_read_as_one_of_a_column(left: str) -> None:
    """A reading with one column, or one sample, under which it is right hides nothing."""
    source = (
        "import numpy as np\n"
        "def tanh_forward(x):\n    return np.tanh(x), x\n"
        "def tanh_backward(dout, x):\n    return dout * (1 - np.tanh(x) ** 2)\n"
    )
    assert inside(source).exit_code == 0
    found = inside(source.replace("dout * (1 - np.tanh(x) ** 2)", f"(dout / np.cosh(x)**2){left}"))
    assert found.exit_code == 1, str(found)
    assert "shape" in str(found)


def test_the_library_is_used_where_a_file_beside_the_target_has_its_name(tmp_path: Path) -> None:
    file = _target(tmp_path, "return dout * (cache > 0)")
    for name in ("numpy", "json", "struct", "reference", "reports"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')\n")
    result = check(file, problems=3)
    assert result.exit_code == 0, str(result)
    assert any("has the name of a library" in r for r in result.remarks)


def test_an_unknown_target_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    assert inside("def f(x): return x").exit_code == 2
    with pytest.raises(InvalidInput, match="no such file"):
        check(str(tmp_path / "missing.py"))
    broken = tmp_path / "broken.py"
    broken.write_text("def f(:\n")
    with pytest.raises(InvalidInput, match="SyntaxError"):
        check(broken)
    with pytest.raises(InvalidInput, match="problems=0"):
        inside(SOURCES[0][1], 0)
    with pytest.raises(InvalidInput, match="timeout=0"):
        check(broken, timeout=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"problems": "3"}, "problems='3': expected a whole number"),
        ({"problems": 2.5}, "problems=2.5: expected a whole number"),
        ({"problems": True}, "problems=True: expected a whole number"),
        ({"seed": 2**63}, f"seed={2**63}: expected a whole number from 0 to 2**63 - 1"),
        ({"seed": -1}, "seed=-1: expected a whole number from 0 to"),
        ({"seed": 0.0}, "seed=0.0: expected a whole number"),
        ({"like": 3}, "like=3: expected the name of an operation"),
        ({"like": "nope"}, "like='nope' is unknown; expected one of elu, "),
        ({"like": ""}, "like='' is unknown; expected one of elu, "),
        ({"frameworks": ("tf",)}, "frameworks='tf': expected torch or jax"),
    ],
)
def test_a_bad_argument_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        inside(SOURCES[0][1], **options)
    assert str(raised.value).startswith(text)
    assert "\n" not in str(raised.value)


def test_whole_numbers_of_numpy_are_taken() -> None:
    assert inside(SOURCES[0][1], np.int64(2), seed=np.uint32(1)).plain()["seed"] == 1


def test_a_name_explains_and_does_not_decide() -> None:
    source = SOURCES[0][1].replace("tanh_", "squash_")
    assert inside(source, like="tanh").ok
    result = inside(source, like="sigmoid")
    assert result.ok
    named = "computes the operation tanh, not the operation sigmoid"
    assert any(named in remark for remark in result.parts[0].remarks)


def test_a_gelu_of_another_formula_is_not_said_to_be_gelu_and_not_to_be() -> None:
    formula = "np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)"
    slope = "np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)"
    result = inside(
        f"import numpy as np\ndef gelu(x):\n    return 0.5 * x * (1 + np.tanh({formula}))\n"
        f"def gelu_backward(x, dy):\n    t = np.tanh({formula})\n"
        f"    return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * {slope})\n",
        like="gelu",
    )
    assert result.ok and result.parts[0].remarks == (
        "your function gelu computes the operation gelu_tanh, not the operation gelu; the gradient "
        "is judged by your own forward",
    )


def test_single_objects_are_found_with_their_partners() -> None:
    def double(x: Any) -> Any:
        return np.maximum(x, 0.0)

    def slope(dout: Any, x: Any) -> Any:
        return dout * (x > 0)

    def wrong(dout: Any, x: Any) -> Any:
        return dout * (x < 0)

    assert check((double, slope), problems=4).ok
    assert not check((double, wrong), problems=4).ok


def test_it_shows_itself_in_a_notebook() -> None:
    result = inside(SOURCES[0][1].replace("cache**2", "cache"), 4)
    table = result._repr_html_()
    assert table.startswith("<table>")
    assert "tanh_backward" in table and "wrong" in table
    assert not result
    lines = ("def forward(x):", "    return x", "")
    unchecked = Part("a" * 90 + " b" * 20, "unchecked", why="no forward", wrapper="\n".join(lines))
    table = Result("layers.py", 0, (unchecked,))._repr_html_()
    assert "<td style='white-space:pre-wrap'>  no forward\n" in table
    assert "\n    def forward(x):\n        return x</td>" in table


def test_again_is_a_command_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "my layers.py"
    target.write_text(SOURCES[0][1])
    again = check(target, "tanh", 2, 5).again
    assert shlex.split(again) == [
        "manual-backprop", "check", str(target), "--like", "tanh", "--seed", "5", "--problems", "2"
    ]  # fmt: skip
    assert inside(SOURCES[0][1], 2).again == ""


def test_the_command(tmp_path: Path) -> None:
    target = tmp_path / "layers.py"
    target.write_text(SOURCES[2][1].replace("dout.sum(axis=0)", "dout.mean(axis=0)"))
    ran = _command("check", str(target), "--problems", "5", "--json")
    assert ran.returncode == 1, ran.stderr
    assert json.loads(ran.stdout)["parts"][0]["verdict"] == "wrong"
    ran = _command("check", str(tmp_path / "missing.py"))
    assert ran.returncode == 2
    assert ran.stderr.startswith("manual-backprop: TARGET=")


@pytest.mark.parametrize(
    ("codes", "worst"), [([0, 0], 0), ([0, 2, 1], 1), ([2, 3], 3), ([4, 2], 4), ([0, 2], 2)]
)
def test_of_several_files_the_worst_counts(codes: list[int], worst: int) -> None:
    assert worst_of(codes) == worst


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reference", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


EXAMPLES = {
    "student_mlp": {"tanh_square_left_out", "weight_mean_taken_again", "bias_mean_over_batch"},
    "textbook_mlp": {"sigmoid_first_factor_left_out"},
    "torch_function": {"gate_second_term_left_out"},
    "batchnorm_exercise": {"the term through var is missing from the sum"},
    "cs231n_layers": set(),
    "sklearn_mlp": set(),
    "homework": {"tanh_square_left_out"},
    "fragile_softplus": set(),
    "unfinished": set(),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_say_what_they_are_there_to_show(name: str) -> None:
    folder = Path(__file__).parents[2] / "examples" / "check"
    assert {p.stem for p in folder.glob("*.py")} == set(EXAMPLES)
    if name == "sklearn_mlp":
        pytest.importorskip("sklearn")
    result = check(folder / f"{name}.py", problems=12)
    assert set(texts_of(result)) == EXAMPLES[name], str(result)
    status = 2 if name == "unfinished" else int(bool(EXAMPLES[name]))
    assert result.exit_code == status, str(result)


def test_the_frameworks_are_asked_where_that_is_wanted() -> None:
    source = dict((name, source) for name, source, *_ in SOURCES)
    result = inside(source["slope"], frameworks=("torch", "jax"))
    text = " ".join(result.parts[0].remarks)
    assert "PyTorch's gradient of sigmoid is within" in text
    assert "JAX's gradient of sigmoid is within" in text
    result = inside(source["slope"].replace("sigmoid(x) * (1 - ", "(1 - "), frameworks=("torch",))
    assert result.exit_code == 1
    assert "is within" in " ".join(result.parts[0].remarks), "they are compared with the same truth"


def test_the_lines_to_paste_are_filled_from_the_names_of_the_arguments() -> None:
    """Each argument has the shape that its name proposes, a rate is a number."""
    unfinished = """
        import numpy as np

        def dense_backward(grad, x, W, b, ids, lr):
            raise ValueError("unfinished")

        class Pool2d:
            def forward(self, image):
                raise ValueError("unfinished")

            def backward(self, dout):
                raise ValueError("unfinished")
        """
    found = {part.name: part.wrapper for part in inside(textwrap.dedent(unfinished)).parts}
    lines = found["dense_backward"].splitlines()
    assert lines[0].startswith('shapes = {"x": "N D", "W": "D C", "b": "C", "ids": "N int(V)"}')
    assert "def forward(x, W, b, ids):" in lines
    assert "    return dense_backward(grad, x, W, b, ids, 0.5)" in lines
    assert found["Pool2d.backward"].splitlines()[0] == 'shapes = {"image": "N I Y X"}'
    assert "    return layer.forward(image), layer" in found["Pool2d.backward"]


def test_another_order_of_gradients_is_said() -> None:
    """Shapes tell the gradients apart; the order of the arguments is another one."""
    swapped = """
        import numpy as np

        def dense_forward(x, w, b):
            return x @ w + b, (x, w, b)

        def dense_backward(dout, cache):
            x, w, b = cache
            return dout @ w.T, dout.sum(axis=0), x.T @ dout
        """
    source = textwrap.dedent(swapped)
    text = "the gradients come back in the order x, b, w; its forward takes x, w, b"
    assert text in " ".join(str(inside(source)).split())
    usual = source.replace("dout.sum(axis=0), x.T @ dout", "x.T @ dout, dout.sum(axis=0)")
    assert "come back in the order" not in str(inside(usual))


def test_gradients_without_names_are_compared_at_their_places_beside_one_with_a_name() -> None:
    """The bias gradient has the name of the argument; the other two are not dropped for it."""
    source = textwrap.dedent(
        """
        import numpy as np

        def forward(x, W, b):
            return np.tanh(x @ W + b)

        def backward(x, W, b, dy):
            y = np.tanh(x @ W + b)
            dz = dy * (1 - y * y)
            p = dz @ W.T
            q = x.T @ dz
            b = dz.sum(0)
            return p, q, b
        """
    )
    (part,) = inside(source).parts
    assert part.verdict == "right" and part.missing == ()
    for wrong in ("p = 2 * dz @ W.T", "q = x.T @ dz + 1", "b = dz.mean(0)"):
        right = next(line for line in source.splitlines() if f"    {wrong[0]} = " in line).strip()
        assert inside(source.replace(right, wrong)).parts[0].verdict == "wrong", wrong
    (beside,) = inside(source.replace("return p, q, b", "return y, q, b")).parts
    assert beside.verdict == "right"  # the output is not taken for the gradient of x
