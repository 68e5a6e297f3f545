"""Projects that ask for libraries that nobody here has."""

import importlib
import sys
from pathlib import Path

import pytest

from reference.checks.code.standins import standing_in
from reference.checks.results import CheckedRun, CheckRequest, PartStarted, Result, Tried
from reference.checks.session import serve

LAYER = """\
import numpy as np
from {package}.tools import helper

class Layer:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out)
    def forward(self, x):
        self.x = x
        return helper(x) @ self.W
    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W{turned}
"""
TOOLS = """\
import nobody_has_this.plots as plots
from nobody_has_this import njit, trange
try:
    import nobody_has_that as xp
except ImportError:
    import numpy as xp

@njit
def once(x):
    return xp.asarray(x)

@njit(parallel=True)
def helper(x):
    for _ in trange(1):
        x = once(x)
    return x
"""


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """Return a folder whose package imports, in its own __init__, what is not installed."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"project_{abs(hash(request.node.name)) % 10**8}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("import nobody_has_this\n", encoding="utf-8")
    (package / "tools.py").write_text(TOOLS, encoding="utf-8")
    return package


def checked(file: Path) -> Result:
    gathered = CheckedRun()
    serve(CheckRequest(str(file), problems=3), gathered.take)
    return gathered.result(CheckRequest(str(file)))


@pytest.mark.parametrize(("turned", "status"), [(".T", 0), ("", 1)])
def test_a_project_is_checked_without_the_libraries_it_plots_with(
    project: Path, turned: str, status: int
) -> None:
    layer = project / "layer.py"
    text = LAYER.format(package=project.name, turned=turned)
    if not turned:
        text = text.replace("self.x.T @ dout", "2 * self.x.T @ dout").replace(
            "self.W\n", "self.W.T\n"
        )
    layer.write_text(text, encoding="utf-8")
    result = checked(layer)
    assert result.exit_code == status, str(result)
    assert "could not import: nobody_has_this (not installed)" in " ".join(str(result).split())
    assert "nobody_has_this" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("nobody_has_this")


def test_what_uses_a_missing_library_is_not_checked_and_says_so(project: Path) -> None:
    layer = project / "layer.py"
    text = LAYER.format(package=project.name, turned=".T")
    layer.write_text(
        text.replace("return helper(x)", "return plots.show(x)").replace(
            "import helper", "import helper, plots"
        ),
        encoding="utf-8",
    )
    result = checked(layer)
    assert result.exit_code == 2, str(result)
    assert "nobody_has_this.plots.show is not installed" in " ".join(str(result).split())


@pytest.mark.parametrize(("certified", "verdict"), [(True, "unchecked"), (False, "failed")])
def test_who_is_slow_is_told_apart(certified: bool, verdict: str) -> None:
    gathered = CheckedRun()
    gathered.take(PartStarted(0, "backward", 1))
    gathered.take(Tried("0:0", certified))
    assert gathered.fail("hung", "no answer after 10 s of processor time") == 0
    assert gathered.parts[0].verdict == verdict
    assert gathered.ended == ("" if certified else "hung")


def test_what_a_library_asks_for_by_name_is_not_stood_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAX looks for plugins with import_module; the folder of a file near the root holds all."""
    library = tmp_path / "site-packages" / "looks_for_a_plugin.py"
    library.parent.mkdir()
    library.write_text(
        "import importlib\n"
        "def found(name):\n"
        "    try:\n"
        "        return importlib.import_module(name)\n"
        "    except ImportError:\n"
        "        return None\n"
    )
    monkeypatch.syspath_prepend(str(library.parent))
    found = importlib.import_module("looks_for_a_plugin").found
    with standing_in(Path("/")) as missing:
        assert found("nobody_has_this_plugin") is None
    assert missing == []
