"""Hypothesis profiles: `dev` is fast, `ci` thorough, `nightly` long; `fresh` draws new examples.

`again` is for a second pass whose seed is given: `--hypothesis-seed=N` replays it.
`oldest` is for a second pass over tests with the oldest versions: it looks for what they lack.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from everythird import MANY, THIRD, every_third
from hypothesis import HealthCheck, settings

# The tests begin hundreds of processes, and each of them would compile this project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_COMMON = {
    "deadline": None,  # the first call of an oracle compiles; a timed test would lie
    "print_blob": True,  # the failure message holds what replays it
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("oldest", max_examples=3, derandomize=True, **_COMMON)
settings.register_profile("again", max_examples=10, **_COMMON)
settings.register_profile("dev", max_examples=20, derandomize=True, **_COMMON)
settings.register_profile("ci", max_examples=100, derandomize=True, **_COMMON)
settings.register_profile("fresh", max_examples=250, **_COMMON)
settings.register_profile("nightly", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole",
        action="store_true",
        help=f"Run every case of each test. Without it, of a test with more than {MANY} selected "
        "cases every third one runs, of hundreds every ninth, and a test that goes through many "
        "cases itself takes every third.",
    )


@pytest.hookimpl(trylast=True)  # after -k and -m have selected theirs
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if whole(config):
        return
    kept = set(every_third([item.nodeid for item in items]))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]


def whole(config: pytest.Config) -> bool:
    """Say whether every case of each test runs."""
    return any(config.getoption(name, False) for name in ("whole", "lf", "failedfirst"))


@pytest.fixture(scope="session")
def every(request: pytest.FixtureRequest) -> int:
    """Of the many cases that one test goes through, every so-many-th runs."""
    return 1 if whole(request.config) else THIRD


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_in_the_working_folder() -> Iterator[None]:
    """The user may have reports here, and none of them is the suite's to write."""
    before = written(Path.cwd())
    yield
    assert written(Path.cwd()) == before


def written(folder: Path) -> dict[str, float]:
    """Return when the reports in a folder were written, and what else of ours lies there."""
    found = [p for p in folder.iterdir() if p.is_dir() and (p / ".manual-backprop-report").exists()]
    return {str(p): p.stat().st_mtime for folder in found for p in (folder, *folder.iterdir())}
