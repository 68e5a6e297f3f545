"""Checking a gradient: every form, right and wrong; and targets that misbehave."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE
from targetsources import RELU, SOURCES, inside

import reference
from manual_backprop.network import Layer, Network, Problem, backward, forward
from manual_backprop.spec import InvalidInput
from reference.checks.checker import check
from reference.checks.pages import write_report
from reference.checks.part import Case, _judge
from reference.checks.targets.host import load
from reference.checks.targets.process import Apart
from reference.oracles import Answer
from reports.folder import read_report
from reports.folder import write_report as write_random
from reports.records import Run

IDS = [name for name, *_ in SOURCES]


@pytest.mark.parametrize(("name", "source", "right", "wrong", "diagnosis"), SOURCES, ids=IDS)
def test_every_form_right_and_wrong(
    name: str, source: str, right: str, wrong: str, diagnosis: str
) -> None:
    found = inside(source)
    assert found.ok, str(found)
    assert found.exit_code == 0
    assert "right on 6 problems, every entry, judged against" in " ".join(str(found).split())
    assert right in source
    found = inside(source.replace(right, wrong))
    assert found.exit_code == 1
    (part,) = found.parts
    assert part.wrong
    assert part.diagnosis is not None
    said = [n.mistake.name for n in part.diagnosis.named] + [t for _, t in part.diagnosis.described]
    assert any(diagnosis in s for s in said), str(found)
    assert len(str(found).splitlines()) <= 24, "one screen"
    assert max(map(len, str(found).splitlines())) <= 100


def test_the_python_call_is_public() -> None:
    assert reference.check is check
    with pytest.raises(AttributeError, match="no attribute 'cheque'"):
        reference.cheque  # noqa: B018


MISBEHAVING = [
    ("raised", "raise ValueError('no such cache')", "ValueError: no such cache"),
    ("hung", "while True: pass", "no answer"),
    ("exited", "import sys; sys.exit(3)", "exit(3)"),
    ("died", "import os; os._exit(4)", "exit code 4"),
    ("died", "import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ("mutated", "cache *= 2; return dout * (cache > 0)", "inputs were changed: x"),
    ("shape", "return (dout * (cache > 0)).T", "expected"),
    ("dtype", "return (dout * (cache > 0)).astype(np.float32)", "float32"),
]


@pytest.mark.parametrize(("kind", "body", "said"), MISBEHAVING, ids=[m[2] for m in MISBEHAVING])
def test_a_target_that_misbehaves_is_survived_and_named(
    tmp_path: Path, kind: str, body: str, said: str
) -> None:
    target = tmp_path / "layers.py"
    target.write_text(
        "import numpy as np\n"
        "def relu_forward(x):\n    return np.maximum(x, 0), x\n"
        f"def relu_backward(dout, cache):\n    {body}\n"
    )
    result = check(target, problems=3, seconds=1.0)
    assert result.exit_code == 1
    faults = {f.kind: f for f in result.parts[0].faults}
    assert kind in faults, str(result)
    assert said in faults[kind].text
    assert faults[kind].problem == "0:0"
    assert said in " ".join(str(result).split())


def test_what_prints_is_told_and_no_mistake() -> None:
    source = SOURCES[0][1].replace("return dout", "print('here'); return dout")
    result = inside(source)
    assert result.ok
    assert "remark: printed: 'here'" in str(result)


def test_a_coarser_dtype_is_wrong_and_a_finer_one_a_remark() -> None:
    finer = inside(SOURCES[0][1].replace("return dout", "return np.float64(1.0) * dout"), 8)
    assert finer.ok
    assert "float64, the problem float32" in str(finer)


def test_an_unknown_target_lists_the_forms(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"value_and_grad\(network, params, x, y\)"):
        inside("def f(x): return x")
    with pytest.raises(InvalidInput, match="no such file"):
        check(str(tmp_path / "missing.py"))
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    with pytest.raises(InvalidInput, match="ZeroDivisionError"):
        check(broken)
    with pytest.raises(InvalidInput, match="problems=0"):
        inside(SOURCES[0][1], 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"problems": "3"}, "problems='3': expected a whole number"),
        ({"problems": 2.5}, "problems=2.5: expected a whole number"),
        ({"problems": True}, "problems=True: expected a whole number"),
        ({"seed": 2**63}, f"seed={2**63}: expected a whole number from 0 to 2**63 - 1"),
        ({"seed": -1}, "seed=-1: expected a whole number from 0 to"),
        ({"seed": 0.0}, "seed=0.0: expected a whole number"),
        ({"like": 3}, "like=3: expected the name of an operation"),
        ({"like": "nope"}, "like='nope' is unknown; expected one of dense, "),
        ({"like": ""}, "like='' is unknown; expected one of dense, "),
    ],
)
def test_a_bad_argument_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        inside(SOURCES[0][1], **options)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_whole_numbers_of_numpy_are_taken() -> None:
    assert inside(SOURCES[0][1], np.int64(2), seed=np.uint32(1)).plain()["problems"] == 2


def test_like_is_never_left_out() -> None:
    sources = {name: source for name, source, *_ in SOURCES}
    with pytest.raises(InvalidInput, match="like='gelu' does not apply to a whole network"):
        inside(sources["network"], like="gelu")
    with pytest.raises(InvalidInput, match="like='gelu' does not apply to the general form"):
        inside(sources["general form"], like="gelu")
    assert inside(sources["network"], 2, like="network").ok
    with pytest.raises(InvalidInput, match="like='nope' is unknown"):
        inside(sources["activation pair"] + "\nlike = 'nope'\n")


def test_like_goes_over_the_name() -> None:
    source = SOURCES[0][1].replace("tanh_", "squash_")
    assert inside(source, like="tanh").ok
    assert inside(source + "\nlike = 'tanh'\n").ok
    assert not inside(source, like="sigmoid").ok


def test_single_objects_are_found_with_their_partners() -> None:
    def double(x: Any) -> Any:
        return np.maximum(x, 0.0)

    def slope(dout: Any, x: Any) -> Any:
        return dout * (x > 0)

    assert check((double, slope), like="relu", problems=4).ok
    assert not check((double, slope), like="tanh", problems=4).ok


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
    assert json.loads(ran.stdout)["parts"][0]["first_wrong"] == "db"
    ran = _command("check", str(tmp_path / "missing.py"))
    assert ran.returncode == 2
    assert ran.stderr.startswith("manual-backprop: TARGET=")


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
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_say_what_they_are_there_to_show(name: str) -> None:
    folder = Path(__file__).parents[2] / "examples" / "check"
    assert {p.stem for p in folder.glob("*.py")} == set(EXAMPLES)
    if name == "sklearn_mlp":
        pytest.importorskip("sklearn")
    names, what = load(str(folder / f"{name}.py"))
    result = check(names, problems=12)
    said = set()
    for part in result.parts:
        if part.diagnosis is not None:
            said |= part.diagnosis.names | {text for _, text in part.diagnosis.described}
    assert said == EXAMPLES[name], str(result)
    assert result.ok is (not said), what


def test_a_cache_is_handed_over_whatever_its_argument_is_called() -> None:
    """backward(dout, y) gets what forward kept, also where that is not the y it should be."""
    source = """
import numpy as np
def sigmoid_forward(x):
    y = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    return y, KEPT
def sigmoid_backward(dout, y):
    return dout * y * (1 - y)
"""
    assert inside(source.replace("KEPT", "y")).ok
    assert not inside(source.replace("KEPT", "x")).ok


@pytest.mark.parametrize("wrong", [1.0, 30.0, -1.0])
def test_yours_is_on_trial_and_excused_nothing(wrong: float) -> None:
    """Saturated classes: by custom all digits of a tiny gradient may go, but the others keep it."""
    layers = (Layer(3, "celu"), Layer(2, "softmax"))
    stream = np.random.default_rng(4)
    problem = Problem(
        Network(2, layers, "categorical_cross_entropy"),
        {
            "layers.0.weight": stream.standard_normal((2, 3)).astype(np.float32),
            "layers.0.bias": stream.standard_normal(3).astype(np.float32),
            "layers.1.weight": stream.standard_normal((3, 2)).astype(np.float32),
            "layers.1.bias": np.array([0, -14], np.float32),
        },
        stream.standard_normal((4, 2)).astype(np.float32),
        np.tile(np.array([0, 1], np.float32), (4, 1)),
    )
    trace = forward(problem, "textbook")
    gradients = backward(problem, trace)
    gradients["layers.0.bias"] = gradients["layers.0.bias"] * np.float32(wrong)
    case = Case("0:0", problem, Answer("yours", trace.loss, gradients))
    _judge([case])
    assert case.verdict == ("right" if wrong == 1.0 else "wrong")


def test_another_slope_on_a_kink_is_right_and_remarked() -> None:
    """relu' = 1 at 0 is admissible; that nobody else chose it is worth a word."""
    source = (
        "import numpy as np\n"
        "def relu_forward(x):\n    return np.maximum(x, 0), x\n"
        "def relu_backward(dout, cache):\n    return dout * (cache {} 0)\n"
    )
    remark = "on a kink it chose another slope than the references"
    (part,) = inside(source.format(">="), problems=40).parts
    assert not part.wrong and any(remark in said for said in part.remarks), part.remarks
    (part,) = inside(source.format(">"), problems=40).parts
    assert not part.wrong and not part.remarks


def test_what_was_matched_to_nothing_is_named() -> None:
    beside = (
        "def tanh_forwrd(x):\n    return x, x\ndef layernrm_backward(d, c):\n    return 3 * d\n"
    )
    (part,) = inside(RELU + beside).parts
    assert not part.wrong
    (remark,) = part.remarks
    assert remark.startswith("not checked, of no operation's name: layernrm_backward;")
    (part,) = inside(RELU).parts
    assert not part.remarks


@pytest.mark.parametrize("gradient", ["2 * d", "d"])
def test_only_the_value_is_said_to_be_wrong_where_only_the_value_is(gradient: str) -> None:
    source = (
        "import numpy as np\n"
        "def mse_loss(y, t):\n"
        "    d = 2 * (y - t) / y.size\n"
        f"    return 1.5 * np.mean((y - t) ** 2), {gradient}\n"
    )
    (part,) = inside(source).parts
    assert part.wrong
    said = "only the value of the loss is wrong; its gradients are right: it is 3/2 times"
    assert any(r.startswith(said) for r in part.remarks) == (gradient == "d")


def test_a_loss_that_returns_its_gradient_first_is_no_traceback() -> None:
    (part,) = inside(
        "import numpy as np\n"
        "def mse_loss(y, t):\n"
        "    return 2 * (y - t) / y.size, np.mean((y - t) ** 2)\n"
    ).parts
    assert not part.ok


def test_a_target_that_hangs_on_what_it_is_shrunk_to_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zero among the inputs makes it hang: shrinking makes zeros, one after another."""
    started, start = [], Apart._start

    def counted(self: Apart) -> None:
        started.append(self)
        start(self)

    monkeypatch.setattr(Apart, "_start", counted)
    target = tmp_path / "layers.py"
    target.write_text(
        "import numpy as np\n"
        "def relu_forward(x):\n    return np.maximum(x, 0), x\n"
        "def relu_backward(dout, cache):\n"
        "    while (np.asarray(cache) == 0).any(): pass\n    return 2 * dout * (cache > 0)\n"
    )
    result = check(target, problems=1, seconds=1.0)
    assert result.parts[0].wrong == 1
    assert len(started) <= 3, "what hangs is ended and started anew"
