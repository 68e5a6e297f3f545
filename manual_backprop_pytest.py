"""The pytest plugin: a fixture that checks a hand-written gradient, and a page of the session.

    def test_gradient(check_gradient):
        check_gradient(my_module.relu_backward_pair, like="relu")

    @pytest.mark.backprop(problems=100)
    def test_mlp(check_gradient):
        check_gradient("student_mlp.py")

pytest loads this file in every project of the environment, and `python -m pytest` searches the
project's own folder first. So it is one module with a name of its own, and imports nothing but
pytest and the standard library. The packages it needs come with the first check; where a file or
folder of the project has the name of one of them, the check says so.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference.checks.results import Result

_LINES = 25  # of an assertion's message
_HERE = Path(__file__).resolve().parent
_PACKAGES = ("manual_backprop", "reference", "reports")

RESULTS = pytest.StashKey[list[Any]]()
UNWRITTEN = pytest.StashKey[str]()
_SETTINGS = ("problems", "seed", "like", "allow_unchecked", "strict")
_SENT = "backprop_results"


class Shadowed(Exception):
    """Another module has the name of one of our packages."""


def ours(name: str) -> Any:
    """Import and return a module of ours.

    Raises Shadowed where the name of one of our packages means something else in this interpreter.
    """
    for package in _PACKAGES:
        try:
            spec = importlib.util.find_spec(package)
        except ValueError:  # a module that was put there without one
            spec = None
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parent != _HERE / package:
            place = f"is {origin}, which" if origin else "means something that"
            raise Shadowed(
                f"the name {package!r} {place} is not manual-backprop's package of that name: "
                "rename it, or run `pytest` instead of `python -m pytest`"
            )
    return importlib.import_module(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("backprop", "checks of hand-written gradients")
    group.addoption(
        "--backprop-problems", type=int, default=None, metavar="N",
        help="problems that each check draws (default: the marker's, or as many as it sees fit)",
    )  # fmt: skip
    group.addoption(
        "--backprop-seed", type=int, default=None, metavar="S",
        help="the stream they are drawn from (default: 0, or the marker's)",
    )  # fmt: skip
    group.addoption(
        "--backprop-report", default=None, metavar="FOLDER",
        help="write the page of all checks of the session there",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and make room for the results."""
    config.addinivalue_line(
        "markers",
        "backprop(problems=N, seed=S, like=NAME, allow_unchecked=BOOL, strict=BOOL): "
        "settings of check_gradient in this test",
    )
    config.stash[RESULTS] = []
    problems, seed = config.getoption("--backprop-problems"), config.getoption("--backprop-seed")
    if problems is not None and problems < 1:
        raise pytest.UsageError(f"--backprop-problems={problems}: expected at least 1")
    if seed is not None and not 0 <= seed < 2**63:
        raise pytest.UsageError(
            f"--backprop-seed={seed}: expected a whole number from 0 to 2**63 - 1"
        )
    folder = config.getoption("--backprop-report")
    if folder is not None and not hasattr(config, "workerinput"):
        try:  # now, not after an hour of tests
            ours("reports.folder").refuse_for_check(folder)
        except Exception as error:
            if not isinstance(error, Shadowed) and type(error).__name__ != "ReportError":
                raise
            raise pytest.UsageError(f"--backprop-report={folder}: {error}") from None


@pytest.fixture
def check_gradient(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """Return a function that checks a target and fails the test where its gradient is wrong.

    check_gradient(target, like=None, problems=None, seed=None, allow_unchecked=None,
    strict=None): the target is a file, a module:name, a function, a class, a pair
    (forward, backward) or a module. The test also fails where a gradient was not checked, unless
    allow_unchecked is true; with strict it fails where one is fragile.
    """
    __tracebackhide__ = True
    config = request.config
    marker = request.node.get_closest_marker("backprop")
    settings = _settings(marker) if marker else {}

    def check_gradient(
        target: Any, like: str | None = None, problems: int | None = None,
        seed: int | None = None, allow_unchecked: bool | None = None, strict: bool | None = None,
    ) -> Result:  # fmt: skip
        __tracebackhide__ = True
        try:
            checker = ours("reference.checks.checker")
        except Shadowed as error:
            pytest.fail(f"check_gradient: {error}", pytrace=False)
        # What is asked for on the command line goes over the marker, the call over both.
        option = config.getoption
        result: Result = checker.check(
            target,
            _first(like, settings.get("like")),
            problems=_first(problems, option("--backprop-problems"), settings.get("problems")),
            seed=_first(seed, option("--backprop-seed"), settings.get("seed"), 0),
            allow_unchecked=_first(allow_unchecked, settings.get("allow_unchecked"), False),
            strict=_first(strict, settings.get("strict"), False),
        )
        config.stash[RESULTS].append(result)
        if not result.ok:
            pytest.fail(message(result), pytrace=False)
        return result

    return check_gradient


def _settings(marker: pytest.Mark) -> dict[str, Any]:
    """Return a marker's settings; what check_gradient would not heed is an error."""
    unknown = [repr(a) for a in marker.args]
    unknown += [f"{k}={v!r}" for k, v in marker.kwargs.items() if k not in _SETTINGS]
    if unknown:
        pytest.fail(
            f"@pytest.mark.backprop({', '.join(unknown)}): "
            f"expected keywords among {', '.join(_SETTINGS)}",
            pytrace=False,
        )
    return dict(marker.kwargs)


def _first(*values: Any) -> Any:
    """Return the first value that was given; 0 is one, which the check then refuses by name."""
    return next((value for value in values if value is not None), None)


def message(result: Result) -> str:
    """Return what an assertion says: the finding, in a few lines."""
    lines = result.lines(right=False)
    if len(lines) > _LINES - 1:
        lines = [*lines[: _LINES - 2], "  …"]
    return "\n".join([*lines, f"again: {result.again}"] if result.again else lines)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    """Collect what an xdist worker checked."""
    sent = getattr(node, "workeroutput", {}).get(_SENT, [])
    node.config.stash[RESULTS].extend(sent)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, once; a worker of xdist hands its results to the main process."""
    config = session.config
    results = config.stash[RESULTS]
    folder = config.getoption("--backprop-report")
    output = getattr(config, "workeroutput", None)
    if output is not None:
        if folder and results:
            output[_SENT] = ours("reference.checks.results.pages").encoded(results)
        return
    if not folder:
        return
    try:
        ours("reference.checks.results.pages").write_session(results, Path(folder))
    except Exception as error:
        if not isinstance(error, Shadowed) and type(error).__name__ != "InvalidInput":
            raise
        config.stash[UNWRITTEN] = str(error)
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the page is, or why there is none."""
    folder = config.getoption("--backprop-report")
    if unwritten := config.stash.get(UNWRITTEN, ""):
        terminalreporter.write_line(f"no gradient report: {unwritten}", red=True)
    elif folder and not hasattr(config, "workeroutput"):
        terminalreporter.write_line(f"gradient report: {Path(folder) / 'index.html'}")
