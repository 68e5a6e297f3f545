"""Who may import whom, and what must not be loaded; each check is shown to be able to fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ("torch", "jax")


def loaded_after(code: str) -> set[str]:
    """Return which frameworks a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys\nprint([m for m in {FRAMEWORKS} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name for name in FRAMEWORKS if f"'{name}'" in done.stdout.splitlines()[-1]}


def contracts_hold(project: Path) -> bool:
    """Run the import contracts on a copy of the project."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, cwd=project
    )
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.returncode == 0


@pytest.mark.parametrize(
    "code",
    [
        "import manual_backprop.network",
        "import reports",
        "import reference.grading.command",
        "import reference.grading.running, reference.grading.comparing",
        "import reference.problems, reference.strategies, reference.compare",
        "from typer.testing import CliRunner; import reference.cli;"
        "assert CliRunner().invoke(reference.cli.app, ['--help']).exit_code == 0",
    ],
)
def test_neither_framework_is_loaded(code: str) -> None:
    assert loaded_after(code) == set()


def test_that_check_can_fail() -> None:
    assert loaded_after("import reference.oracles.torch_autograd as t; t.TorchAutograd()\n"
                        "import torch") == {"torch"}  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the three packages and their contracts."""
    for package in ("manual_backprop", "reference", "reports"):
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_hold(copy: Path) -> None:
    assert contracts_hold(copy)


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("manual_backprop/operation.py", "import reference.compare"),
        ("manual_backprop/operation.py", "import reports.records"),
        ("reports/records.py", "import manual_backprop.operation"),
        ("reports/records.py", "import reference.compare"),
        ("reference/arithmetic/balls.py", "import reference.problems"),
        ("reference/oracles/certified.py", "import reference.blocks.weigh"),
        ("reference/findings.py", "import reference.checks.parts"),
        (
            "reference/judge.py",
            "import typing\nif typing.TYPE_CHECKING:\n    import reference.evidence",
        ),
        ("reference/campaign.py", "import reference.running.store"),
        ("reference/checks/code/routine.py", "import reference.checks.running.experiment"),
    ],
)
def test_a_forbidden_import_breaks_a_contract(copy: Path, module: str, forbidden: str) -> None:
    path = copy / module
    path.write_text(path.read_text() + f"\n{forbidden}\n")
    assert not contracts_hold(copy)


def test_a_module_without_a_layer_breaks_a_contract(copy: Path) -> None:
    (copy / "reference" / "elsewhere.py").write_text('"""No layer lists it."""\n')
    assert not contracts_hold(copy)
