"""The pytest plugin: a fixture that checks a hand-written gradient, and a page of the session.

    def test_gradient(check_gradient):
        check_gradient(my_module.relu_backward_pair, like="relu")

    @pytest.mark.backprop(problems=100)
    def test_mlp(check_gradient):
        check_gradient("student_mlp.py")

Loading it imports neither torch nor jax nor numpy: what it needs comes with the first check.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference.checks.result import Result

_LINES = 25  # of an assertion's message

RESULTS = pytest.StashKey[list[Any]]()
_SENT = "backprop_results"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("backprop", "checks of hand-written gradients")
    group.addoption(
        "--backprop-problems", type=int, default=None, metavar="N",
        help="problems that each check draws (default: 40, or the marker's)",
    )  # fmt: skip
    group.addoption(
        "--backprop-seed", type=int, default=0, metavar="S", help="the stream they are drawn from"
    )
    group.addoption(
        "--backprop-report", default=None, metavar="FOLDER",
        help="write the page of all checks of the session there",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and make room for the results."""
    config.addinivalue_line(
        "markers",
        "backprop(problems=N, seed=S, like=NAME): settings of check_gradient in this test",
    )
    config.stash[RESULTS] = []
    problems, seed = config.getoption("--backprop-problems"), config.getoption("--backprop-seed")
    if problems is not None and problems < 1:
        raise pytest.UsageError(f"--backprop-problems={problems}: expected at least 1")
    if seed < 0:
        raise pytest.UsageError(f"--backprop-seed={seed}: expected a whole number from 0")


@pytest.fixture
def check_gradient(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """Return a function that checks a target and fails the test where its gradient is wrong.

    check_gradient(target, like=None, problems=None, seed=None): the target is a file, a
    module:name, a function, a class, a pair (forward, backward) or a module.
    """
    __tracebackhide__ = True
    config = request.config
    marker = request.node.get_closest_marker("backprop")
    settings = dict(marker.kwargs) if marker else {}

    def check_gradient(
        target: Any, like: str | None = None, problems: int | None = None, seed: int | None = None
    ) -> Result:
        __tracebackhide__ = True
        from reference.checks.checker import PROBLEMS, check

        # What is asked for on the command line goes over the marker, the call over both.
        asked = problems or config.getoption("--backprop-problems") or settings.get("problems")
        given_seed = config.getoption("--backprop-seed") or settings.get("seed", 0)
        result = check(
            target,
            like or settings.get("like"),
            problems=asked or PROBLEMS,
            seed=given_seed if seed is None else seed,
        )
        config.stash[RESULTS].append(result)
        if not result.ok:
            pytest.fail(message(result), pytrace=False)
        return result

    return check_gradient


def message(result: Result) -> str:
    """Return what an assertion says: the finding, in a few lines."""
    lines = [line for part in result.parts if not part.ok for line in part.lines()]
    if len(lines) > _LINES - 1:
        lines = [*lines[: _LINES - 2], "  …"]
    again = f"manual-backprop check {result.target} --seed {result.seed}"
    return "\n".join([*lines, f"again: {again} --problems {result.problems}"])


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
            from reference.checks.pages import encoded

            output[_SENT] = encoded(results)
        return
    if not folder:
        return
    from reference.checks.pages import write_session

    write_session(results, Path(folder))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the page is."""
    folder = config.getoption("--backprop-report")
    if folder and not hasattr(config, "workeroutput"):
        terminalreporter.write_line(f"gradient report: {Path(folder) / 'index.html'}")
