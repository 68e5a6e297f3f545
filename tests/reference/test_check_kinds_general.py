"""The general form: every step given the author's own after it."""

from pathlib import Path

import pytest
from kindtools import checked, only
from targetsources import GENERAL, INPUTS

from manual_backprop.operation import InvalidInput
from reference.checks.judging import Failure

SHORT = (
    "import numpy as np\nshapes = {'x': 'N D'}\n"
    "def forward(xp, step, x):\n    return FORWARD\n"
    "def backward(inputs, steps):\n    x = inputs['x']\n    return GRADIENTS\n"
)


def short(forward: str, gradients: str) -> str:
    return SHORT.replace("FORWARD", forward).replace("GRADIENTS", gradients)


FORMS = {
    "a missing path": (
        GENERAL,
        "d * v + dgate * 2 * h",
        "d * v",
        {"h"},
        "the term through gate is missing from the sum",
    ),
    "a path counted twice": (
        GENERAL,
        "dgate * 2 * h",
        "2 * dgate * 2 * h",
        {"h"},
        "the term through gate is counted twice",
    ),
    "an input": (GENERAL, "x.T @ (dh", "-x.T @ (dh", {"W"}, "-1 times the right one"),
    "only where it was made": (
        GENERAL,
        "dgate = d * v",
        "dgate = 3 * d * v",
        {"gate"},
        "gate: it is 3 times the right one",
    ),
    "an array for output": (
        INPUTS,
        "ds.T @ q",
        "2 * ds.T @ q",
        {"k"},
        "k: it is 2 times the right one",
    ),
    "softmax without its sum": (
        INPUTS,
        "(dp - (dp * p).sum(axis=1, keepdims=True))",
        "dp",
        {"s"},
        "s: ",
    ),
    "clipped": (
        short("xp.sum(xp.exp(3 * x))", "{'x': 3 * np.exp(3 * x)}"),
        "3 * np.exp(3 * x)}",
        "np.clip(3 * np.exp(3 * x), -5, 5)}",
        {"x"},
        "is clipped to ±5",
    ),
    "integers beside": (
        "import numpy as np\nshapes = {'x': 'N C', 'y': 'N int(C)'}\n"
        "def forward(xp, step, x, y):\n    s = step('s', x - xp.max(x, axis=1, keepdims=True))\n"
        "    logz = xp.log(xp.sum(xp.exp(s), axis=1))\n"
        "    return xp.sum(logz - s[xp.arange(len(y)), y])\n"
        "def backward(inputs, steps):\n    x, y, s = inputs['x'], inputs['y'], steps['s']\n"
        "    p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)\n"
        "    p[np.arange(len(y)), y] -= 1\n    return {'s': p}\n",
        "-= 1",
        "-= 2",
        {"s"},
        "s: ",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_right_and_wrong(tmp_path: Path, form: str) -> None:
    source, right, wrong, leaves, text = FORMS[form]
    found = only(tmp_path, source)
    assert found.kind == "general"
    assert found.right, found.text
    assert right in source
    found = only(tmp_path, source.replace(right, wrong))
    assert not found.right
    assert found.wrong_leaves == leaves
    assert text in found.text, found.text


def test_digits_that_cancel_are_no_wrong_formula(tmp_path: Path) -> None:
    """log(1 − p): through a framework's float64 the truth itself was off by 1.9e-9."""
    source = short("xp.sum(xp.log(1 - p(xp, x)))", "{'x': -p(np, x)}")
    source += "def p(xp, x):\n    return 1 / (1 + xp.exp(-x))\ndef inputs(rng):\n"
    source += "    return {'x': 18 + rng.random((3, 2))}\n"
    found = only(tmp_path, source.replace("shapes = {'x': 'N D'}\n", ""))
    assert found.right


def test_a_gradient_that_is_left_out_on_exact_numbers_is_judged_on_floats(tmp_path: Path) -> None:
    wrong = "{'x': x} if type(x) is np.ndarray else {}"
    found = only(tmp_path, short("xp.sum(x * x)", wrong))
    assert found.wrong_leaves == {"x"}


def test_what_did_not_come_back_is_missing_and_no_names_are_made_up(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, short("xp.sum(x * x)", "{}"))
    assert isinstance(found.subject, Failure)
    assert found.subject.reason == "no gradient came back"
    found = only(tmp_path, GENERAL.replace(', "v": dv}', "}"))
    assert found.right
    assert found.cases[0].assessment.missing == [("x",), ("v",)]
    with pytest.raises(InvalidInput, match="backward returned 'z'; expected one of: x"):
        only(tmp_path, short("xp.sum(x * x)", "{'z': x}"))
    with pytest.raises(InvalidInput, match="expected a dict from names to gradients"):
        only(tmp_path, short("xp.sum(x * x)", "x"))


def test_nothing_is_right_where_the_forward_has_no_value(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match="has no value here"):
        only(tmp_path, short("xp.sum(xp.sqrt(x * x - 100))", "{'x': 7 * x}"))


def test_it_is_judged_by_the_inputs_it_was_given(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        short("xp.sum(x * x)", "inputs.update(x=np.multiply(x, 3, out=x)) or {'x': 2 * x}"),
    )
    assert not found.right
    assert ("mutated", "its inputs were changed: x") in found.cases[0].faults


@pytest.mark.parametrize("shape", ["N 0", "N -1", "N 2.5"])
def test_a_shape_without_numbers_is_refused(tmp_path: Path, shape: str) -> None:
    source = short("xp.sum(x * x)", "{'x': 2 * x}").replace("N D", shape)
    with pytest.raises(InvalidInput, match=rf"shapes\['x'\]='{shape}': expected letters"):
        checked(tmp_path, source)


def test_other_gradients_in_the_file_are_checked_too(tmp_path: Path) -> None:
    source = GENERAL + "\ndef sigmoid(x):\n    return 1\ndef sigmoid_prime(x):\n    return 0\n"
    assert {f.kind for f in checked(tmp_path, source)} == {"general", "pair"}


def test_the_example_says_what_it_is_there_to_show(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "check" / "batchnorm_exercise.py"
    found = only(tmp_path, example.read_text(), problems=12)
    assert found.wrong_leaves == {"centred"}
    assert found.text == "centred: the term through var is missing from the sum"
