"""What a check leaves behind: the smallest problem, the script that shows it, the folder."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE
from targetsources import CLASS_DENSE, DENSE_PAIR, SLOPE, file_inside, inside

import reference
from manual_backprop.operation import InvalidInput
from reference.checks.results.pages import refuse_folder, write_index, write_report
from reports.checked import Part
from reports.folder import write_report as write_random
from reports.records import Run

NUMPY = "import numpy as np\n"
WRONG_DENSE = DENSE_PAIR.replace("dout.sum(axis=0)", "dout.mean(axis=0)")

TARGETS = {
    "a pair of functions": WRONG_DENSE,
    "a slope": SLOPE.replace("(1 - sigmoid(x))", "(1 + sigmoid(x))"),
    "a class": CLASS_DENSE.replace("dout @ self.W.T", "-dout @ self.W.T"),
    "a class that keeps its output": NUMPY + """
class Tanh:
    def forward(self, inputs):
        self.output = np.tanh(inputs)

    def backward(self, dvalues):
        self.dinputs = dvalues * (1 - self.output)
""",
    "a class that makes its weights at its first input": NUMPY + """
class Scale:
    def __init__(self):
        self.w = None

    def forward(self, x):
        if self.w is None:
            self.w = np.ones(x.shape[1])
        self.x = x
        return x * self.w

    def backward(self, dout):
        self.dw = (dout * self.x).mean(axis=0)
        return dout * self.w
""",
    "a network with parameters in a dict": NUMPY + """
def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def forward_propagation(X, parameters):
    Z1 = parameters["W1"] @ X + parameters["b1"]
    A1 = np.tanh(Z1)
    A2 = sigmoid(parameters["W2"] @ A1 + parameters["b2"])
    return A2, {"A1": A1, "A2": A2}

def backward_propagation(parameters, cache, X, Y):
    m = X.shape[1]
    dZ2 = cache["A2"] - Y
    dZ1 = parameters["W2"].T @ dZ2 * (1 - cache["A1"])
    return {"dW1": dZ1 @ X.T / m, "db1": dZ1.sum(axis=1, keepdims=True) / m,
            "dW2": dZ2 @ cache["A1"].T / m, "db2": dZ2.sum(axis=1, keepdims=True) / m}
""",
    "a network's method": NUMPY + """
class Network:
    def __init__(self, sizes):
        self.biases = [np.random.randn(y, 1) for y in sizes[1:]]
        self.weights = [np.random.randn(y, x) for x, y in zip(sizes[:-1], sizes[1:])]

    def backprop(self, x, y):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        activation, activations, zs = x, [x], []
        for b, w in zip(self.biases, self.weights):
            z = w @ activation + b
            zs.append(z)
            activation = 1 / (1 + np.exp(-z))
            activations.append(activation)
        delta = (activations[-1] - y) * activations[-1] * (1 - activations[-1])
        nabla_b[-1], nabla_w[-1] = delta, delta @ activations[-2].T
        for l in range(2, len(self.weights) + 1):
            delta = self.weights[-l + 1].T @ delta * activations[-l]
            nabla_b[-l], nabla_w[-l] = delta, delta @ activations[-l - 1].T
        return nabla_b, nabla_w
""",
    "a step taken inside backward": NUMPY + """
class Linear:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out)

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout, lr):
        dx = dout @ self.W.T
        self.W -= lr * 2 * self.x.T @ dout
        return dx
""",
    "a script that trains": NUMPY + """
def cube_forward(x):
    return x ** 3, x

def cube_backward(dout, x):
    return dout * 2 * x ** 2

data = open("missing.csv").read()
for epoch in range(10**9):
    cube_forward(np.ones(3))
""",
    "a loss of its own": NUMPY + """
def softmax_loss(x, y):
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(p[rows, y]).mean()
    dx = p.copy()
    dx[rows, y] -= 1
    return loss, dx
""",
}  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    """Check every target as a file."""
    found = {}
    for name, source in TARGETS.items():
        file = tmp_path_factory.mktemp("target") / "their_layers.py"
        file.write_text(source)
        result = file_inside(file, problems=5)
        found[name] = next(p for p in result.parts if p.verdict == "wrong")
    return found


AS_JSON = """
import json
every = (yours, right, differences)
print(json.dumps([{k: np.ravel(v).tolist() for k, v in one.items()} for one in every]))
"""


@pytest.mark.parametrize("name", TARGETS)
def test_the_script_runs_alone_and_shows_it(
    parts: dict[str, Part], name: str, tmp_path: Path
) -> None:
    part = parts[name]
    assert "right = {  # certified\n" in part.script, part
    (tmp_path / "repro.py").write_text(part.script + AS_JSON)
    ran = subprocess.run(
        [sys.executable, "-I", "repro.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
    assert "yours:" in ran.stdout and "right:" in ran.stdout
    assert "central differences:" in ran.stdout
    yours, right, differences = json.loads(ran.stdout.splitlines()[-1])
    for numbers in part.numbers:
        assert np.allclose(yours[numbers.name], numbers.yours, rtol=1e-9, atol=1e-12)
        assert np.allclose(right[numbers.name], numbers.right, rtol=1e-12)
        assert np.allclose(differences[numbers.name], right[numbers.name], rtol=1e-5, atol=1e-7)
        assert not np.allclose(yours[numbers.name], right[numbers.name], rtol=1e-6)


@pytest.mark.parametrize("name", TARGETS)
def test_the_smallest_problem_is_small_and_read_easily(parts: dict[str, Part], name: str) -> None:
    part = parts[name]
    assert len(part.smallest) < 500
    assert all(len(n.yours) <= 12 for n in part.numbers)
    assert {n.name for n in part.numbers} <= set(part.wrong_tensors)
    assert part.picture and part.source.lstrip().startswith("def ")


def test_it_shrinks_to_one_number_where_one_shows_it(parts: dict[str, Part]) -> None:
    assert parts["a slope"].smallest.startswith(("x = ", "N = 1, D = 1: x = [["))
    assert parts["a pair of functions"].smallest.startswith("N = 2, D = 1, C = 1: x = [[")


def test_lines_are_the_files_own(parts: dict[str, Part]) -> None:
    part = parts["a network's method"]
    assert part.line == 8
    assert "for l in range(2, len(self.weights) + 1):" in part.source


def test_a_target_that_raises_on_what_it_is_shrunk_to_is_not_asked_for_ever(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    file = tmp_path / "picky.py"
    file.write_text(f"""
import numpy as np
def picky_forward(x):
    with open({str(calls)!r}, "a") as f:
        f.write(".")
    if x.shape[0] < 3:
        raise ValueError("at least 3 samples")
    return x ** 2, x
def picky_backward(dout, x):
    return dout * x
""")
    result = reference.check(file, problems=4)
    [part] = result.parts
    assert part.verdict == "wrong" and part.numbers and part.script
    assert len(calls.read_text()) < 200


def test_a_target_that_hangs_on_what_it_is_shrunk_to_is_wrong_still(tmp_path: Path) -> None:
    file = tmp_path / "spinning.py"
    file.write_text("""
import numpy as np
def spinning_forward(x):
    while x.shape[0] < 2:
        try:
            x.sum()
        except Exception:
            pass
    return x ** 2, x
def spinning_backward(dout, x):
    return dout * x
""")
    result = reference.check(file, problems=4, timeout=8)
    assert result.exit_code == 1 and result.parts[0].wrong == 4
    assert result.parts[0].numbers


def test_a_slow_target_is_asked_a_few_times(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    file = tmp_path / "slow.py"
    file.write_text(f"""
import time
def slow_forward(x):
    with open({str(calls)!r}, "a") as f:
        f.write(".")
    time.sleep(0.05)
    return x ** 2, x
def slow_backward(dout, x):
    return dout * x
""")
    assert reference.check(file, problems=2).exit_code == 1
    assert len(calls.read_text()) < 200  # 46 of them today, as many as of a quick one


# -- the folder ---------------------------------------------------------------------------------


def test_the_folder_holds_page_json_and_script(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    wrong = inside(WRONG_DENSE)
    assert write_report(wrong, folder).folder == str(folder)
    plain = json.loads((folder / "check.json").read_text())
    assert plain["exit_code"] == 1 and plain["parts"][0]["verdict"] == "wrong"
    page = (folder / "index.html").read_text()
    assert wrong.headline() in page and "affine_backward" in page
    write_report(inside(DENSE_PAIR), folder)
    assert not list(folder.glob("repro*"))
    assert json.loads((folder / "check.json").read_text())["scripts"] == []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(InvalidInput, match="not a report's"):
        refuse_folder(tmp_path / "other")


def test_a_report_is_no_place_for_a_check(tmp_path: Path) -> None:
    """Its records took hours: refused before the check runs, and everything stays."""
    write_random(tmp_path, [Run(command="manual-backprop report", seed=0, problems=9)])
    (tmp_path / "repro_my_notes.py").write_text("mine")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    refused = "holds a report of random networks; choose another folder"
    with pytest.raises(InvalidInput, match=refused):
        inside("", report=tmp_path)
    with pytest.raises(InvalidInput, match=refused):
        write_report(inside(DENSE_PAIR, 2), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_scripts_of_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "layers.py"
    file.write_text(WRONG_DENSE)
    wrong, folder = reference.check(file, problems=2), tmp_path / "page"
    write_report(wrong, folder)
    (folder / "repro_my_notes.py").write_text("mine")
    write_report(inside(DENSE_PAIR, 2), folder)
    assert {p.name for p in folder.glob("*.py")} == {"repro_my_notes.py"}
    (folder / "repro.py").write_text("mine too")
    with pytest.raises(InvalidInput, match=r"repro\.py: no earlier check wrote it"):
        write_report(wrong, folder)
    assert (folder / "repro.py").read_text() == "mine too"


def test_several_results_have_a_list(tmp_path: Path) -> None:
    write_index([inside(WRONG_DENSE, 2), inside(DENSE_PAIR, 2), inside("x = 1", 2)], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "3 targets: 1 not right, 1 not fully checked, 1 right" in page
    assert len(list(tmp_path.glob("check_*.html"))) == 3


def test_the_command_takes_a_folder_of_files(tmp_path: Path) -> None:
    class_ = tmp_path / "class"
    class_.mkdir()
    (class_ / "ada.py").write_text(WRONG_DENSE)
    (class_ / "bob.py").write_text(DENSE_PAIR)
    (class_ / "cem.py").write_text("def broken(:\n")
    page = tmp_path / "page"
    command = [sys.executable, "-m", "reference", "check", str(class_), "--problems", "3"]
    ran = subprocess.run(
        [*command, "--report", str(page)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ran.returncode == 1, ran.stderr
    assert "3 targets: 1 not right, 1 not fully checked, 1 right" in ran.stdout
    assert "cem.py" in ran.stdout and "SyntaxError" in ran.stdout
    assert ran.stdout.endswith(f"the page: {page / 'index.html'}\n")
    found = json.loads((page / "check.json").read_text())
    assert [one["exit_code"] for one in found] == [1, 0, 2]
    one = subprocess.run([*command[:4], str(class_ / "cem.py")], capture_output=True, text=True)
    assert one.returncode == 2 and "SyntaxError" in one.stderr


def test_terminal_page_json_and_notebook_agree(tmp_path: Path) -> None:
    half = (
        DENSE_PAIR
        + """
class Half:
    def forward(self, x):
        return x / 2

    def backward(self, dout, nowhere):
        return dout @ nowhere.weights
"""
    )
    for source, code in ((DENSE_PAIR, 0), (WRONG_DENSE, 1), (half, 2), ("x = 1\n", 2)):
        result = inside(source, 3)
        assert result.exit_code == code
        write_report(result, tmp_path)
        text = result.headline()
        assert f">{text}</h1>" in (tmp_path / "index.html").read_text()
        assert json.loads((tmp_path / "check.json").read_text())["headline"] == text
        assert json.loads((tmp_path / "check.json").read_text())["exit_code"] == code
        assert f"<caption>{text}</caption>" in result._repr_html_()
        for part in result.parts:
            assert part.name in result._repr_html_() and part.name in str(result)


def test_what_a_backward_returns_need_not_be_a_number() -> None:
    source = (
        NUMPY
        + """
def sq_forward(x):
    return x ** 2, x
def sq_backward(dout, x):
    return dout * np.log(-np.abs(x) - 1)
"""
    )
    result = inside(source, 3)
    assert result.exit_code == 1
    assert "nan" in json.dumps(result.plain()) and "NaN" not in json.dumps(result.plain())
