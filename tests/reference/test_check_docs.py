"""What the documents quote of `check` is what it prints, as far as it is the same every time."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from injected_catalogue import injected_files
from patience import PATIENCE
from targetsources import inside

from manual_backprop.layers import LAYERS
from reference.diagnosis.mistakes import CATALOGUE

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "check_cases"
DOCUMENTS = ("docs/check.md", "README.md")
QUOTE = re.compile(r"^```\n\$ manual-backprop check (examples/\S+)\n(.*?)^```", re.M | re.S)


def quoted() -> list[tuple[str, str, str]]:
    """Return (document, target, output) of every quoted command."""
    return [
        (document, target, output)
        for document in DOCUMENTS
        for target, output in QUOTE.findall((ROOT / document).read_text())
    ]


def stable(text: str) -> list[str]:
    """Return lines without what another machine's rounding changes: last digits, tiny distances."""
    text = re.sub(r"\d(?:\.\d+)?e-\d+", "#", text)
    text = re.sub(r"-?\d+\.\d{6,}", lambda m: f"{float(m[0]):.6g}", text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


@pytest.mark.parametrize(("document", "target", "output"), quoted())
def test_a_quoted_output_is_what_is_printed(document: str, target: str, output: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "reference", "check", target],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert not ran.stderr
    printed, at = stable(ran.stdout), 0
    skipping = False
    for line in stable(output):
        if line == "…":
            skipping = True
            continue
        if skipping:
            assert line in printed[at:], f"{document}: {line!r} is not printed"
            at = printed.index(line, at)
        assert printed[at] == line, f"{document}, {target}"
        at += 1
        skipping = False
    assert skipping or at == len(printed), f"{document} leaves out {printed[at:]}"


def test_the_documents_count_the_catalogue() -> None:
    """A new mistake changes these sentences."""
    readme, check = ((ROOT / d).read_text() for d in ("README.md", "docs/check.md"))
    assert f"the catalogue holds {len(CATALOGUE)} mistakes" in readme
    assert f"{len(LAYERS)} kinds of layers" in readme
    assert f"of {len(list(injected_files(0)))})" in check
    files = [p for p in CASES.rglob("*.py") if re.search("^# exit: ", p.read_text(), re.M)]
    assert f"| {len(files)} files as people write them" in check


def test_every_file_and_picture_that_is_named_exists() -> None:
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert ((ROOT / document).parent / link).exists(), f"{document}: {link}"


def test_the_example_of_the_general_form_is_right() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/check.md").read_text(), re.M | re.S)
    (source,) = (block for block in blocks if "def forward(xp, step" in block)
    found = str(inside("import numpy as np\n" + source))
    assert found.startswith("backward: RIGHT in 6 of 6 problems (h, W)"), found


def test_there_is_something_to_compare() -> None:
    assert len(quoted()) >= 5


EXITS = {
    "homework": 1, "textbook_mlp": 1, "student_mlp": 1, "batchnorm_exercise": 1,
    "torch_function": 1, "cs231n_layers": 0, "sklearn_mlp": 0, "fragile_softplus": 0,
    "unfinished": 2,
}  # fmt: skip


def test_every_example_has_its_exit_code() -> None:
    assert {p.stem for p in (ROOT / "examples/check").glob("*.py")} == set(EXITS)


@pytest.mark.parametrize("name", EXITS)
def test_an_example_ends_with_its_code(name: str) -> None:
    command = [sys.executable, "-m", "reference", "check", f"examples/check/{name}.py"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == EXITS[name], ran.stdout + ran.stderr


def test_what_is_fragile_can_be_forbidden() -> None:
    command = [sys.executable, "-m", "reference", "check", "examples/check/fragile_softplus.py"]
    ran = subprocess.run([*command, "--strict"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "fragile, which --strict does not allow" in ran.stdout
